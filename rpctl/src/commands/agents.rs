//! `rpctl agents`: who is there, how far away, and what they offer.

use std::time::Duration;

use redpoll_common::api::{
    AgentArguments, AgentList, AgentListArguments, AgentState, AgentSummary, CallArguments, PingAnswer,
    PingArguments, method,
};
use redpoll_common::wire::Raw;
use redpoll_config::format_duration;
use rmpv::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::agent_id;
use crate::cli::AgentsCommand;
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output};
use crate::report::{Report, Target};
use crate::value::{Shown, decode, field};
use crate::{Ended, Stop};

/// The built-in procedure that lists procedures.
const SYS_PROCEDURES: &str = "sys.procedures";

/// A question about agents, checked.
#[derive(Debug)]
pub(super) enum AgentsQuestion {
    List { glob: Option<String>, empty_is_good: bool },
    Show { agent: String },
    Ping { agent: String, count: u32 },
    Procedures { agent: String },
}

impl AgentsQuestion {
    pub(super) fn read(command: &AgentsCommand) -> Result<Self, Stop> {
        Ok(match command {
            AgentsCommand::List { selector: None, .. } => Self::List { glob: None, empty_is_good: true },
            AgentsCommand::List { selector: Some(selector), allow_empty } => {
                Self::List { glob: read_selector(selector)?, empty_is_good: *allow_empty }
            }
            AgentsCommand::Show { agent } => Self::Show { agent: agent_id(agent)? },
            AgentsCommand::Ping { agent, count } => Self::Ping { agent: agent_id(agent)?, count: *count },
            AgentsCommand::Procedures { agent } => Self::Procedures { agent: agent_id(agent)? },
        })
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        match self {
            Self::List { glob, empty_is_good } => {
                let agents = list(link, glob.as_deref(), verbose).await?;
                if let (true, false, Some(glob)) = (agents.is_empty(), *empty_is_good, glob) {
                    return Err(nobody_matches(glob).into());
                }
                output.list(&AGENT_HEADERS, &agents, agent_row)?;
            }
            Self::Show { agent } => {
                let target = Target::Agent { agent: agent.clone(), method: method::AGENTS_SHOW };
                let kwargs = encoded(&AgentArguments { agent: agent.clone() })?;
                let answer = link.ask(link.request(method::AGENTS_SHOW, kwargs), &target, verbose).await?;
                show(&answer, output)?;
            }
            Self::Ping { agent, count } => {
                let target = Target::Agent { agent: agent.clone(), method: method::AGENTS_PING };
                let kwargs = encoded(&PingArguments { agent: agent.clone(), count: *count })?;
                let answer = link.ask(link.request(method::AGENTS_PING, kwargs), &target, verbose).await?;
                let answer: PingAnswer = decoded(&answer, method::AGENTS_PING)?;
                print_ping(agent, answer.round_trips_us, output)?;
            }
            Self::Procedures { agent } => {
                let target = Target::Procedure { agent: agent.clone(), procedure: SYS_PROCEDURES.to_owned() };
                let call = CallArguments {
                    agent: agent.clone(),
                    procedure: SYS_PROCEDURES.to_owned(),
                    args: Raw::empty_array(),
                    kwargs: Raw::empty_map(),
                };
                let answer = link.ask(link.request(method::CALL, call.write()), &target, verbose).await?;
                print_procedures(&decode(&answer), output)?;
            }
        }
        Ok(Exit::Good)
    }
}

/// A selector of this version as a glob on ids; `None` is everybody.
fn read_selector(text: &str) -> Result<Option<String>, Stop> {
    const HELP: &str = "write *, an id such as web-1, or id:GLOB such as 'id:web-*'";
    let is_glob = |glob: &str| {
        !glob.is_empty() && glob.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-*?".contains(&b))
    };
    match text.trim() {
        "" => {
            Err(Report::usage("the selector is empty", "an empty selector never means everybody", HELP)
                .into())
        }
        "*" => Ok(None),
        selector => {
            let (glob, good) = match selector.strip_prefix("id:") {
                Some(glob) => (glob, is_glob(glob)),
                None => (selector, redpoll_common::ids::PeerId::parse(selector).is_ok()),
            };
            if good {
                return Ok(Some(glob.to_owned()));
            }
            let why =
                "this version knows selectors by id only; labels, facts, groups, and, or, not come later";
            Err(Report::usage(format!("cannot select by {text:?}"), why, HELP).into())
        }
    }
}

fn nobody_matches(glob: &str) -> Report {
    Report::new(
        Exit::Away,
        format!("no agent matches {glob}"),
        "the manager knows none with such an id",
        "see which there are: rpctl agents list; --allow-empty takes none for success",
    )
}

/// All agents, page after page.
async fn list(link: &Link, glob: Option<&str>, verbose: bool) -> Result<Vec<AgentSummary>, Stop> {
    let target = Target::Manager { method: method::AGENTS_LIST };
    let mut agents = Vec::new();
    let mut after = None;
    loop {
        let arguments = AgentListArguments { id: glob.map(str::to_owned), after: after.take(), limit: None };
        let call = link.request(method::AGENTS_LIST, encoded(&arguments)?);
        let page: AgentList = decoded(&link.ask(call, &target, verbose).await?, method::AGENTS_LIST)?;
        let progressed = !page.agents.is_empty();
        agents.extend(page.agents);
        match page.next {
            Some(next) if progressed => after = Some(next),
            Some(_) | None => return Ok(agents),
        }
    }
}

const AGENT_HEADERS: [&str; 6] = ["AGENT", "STATE", "SINCE", "ADDRESS", "VERSION", "REASON"];

fn agent_row(agent: &AgentSummary) -> Vec<String> {
    vec![
        agent.id.clone(),
        state_word(agent.state).to_owned(),
        since(agent.since_ms),
        or_dash(&agent.address),
        or_dash(&agent.version),
        agent.reason.clone().unwrap_or_default(),
    ]
}

fn state_word(state: AgentState) -> &'static str {
    match state {
        AgentState::Connected => "connected",
        AgentState::Draining => "draining",
        AgentState::Away => "away",
    }
}

/// The two largest units are enough for a person.
fn since(ms: u64) -> String {
    let text = format_duration(Duration::from_secs(ms / 1000));
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn show(answer: &Raw, output: &mut Output) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return Ok(output.document(&Shown(&decode(answer)))?);
    }
    let agent: AgentSummary = decoded(answer, method::AGENTS_SHOW)?;
    let mut rows = vec![
        vec!["agent".to_owned(), agent.id],
        vec!["state".to_owned(), state_word(agent.state).to_owned()],
        vec!["since".to_owned(), since(agent.since_ms)],
        vec!["address".to_owned(), or_dash(&agent.address)],
        vec!["version".to_owned(), or_dash(&agent.version)],
        vec!["protocol".to_owned(), agent.protocol.to_string()],
    ];
    if let Some(reason) = agent.reason {
        rows.push(vec!["reason".to_owned(), reason]);
    }
    Ok(output.table(&[], rows)?)
}

/// Round trips for scripts, in microseconds.
#[derive(Debug, Serialize)]
struct ShownPing<'a> {
    agent: &'a str,
    round_trips_us: &'a [u64],
    min_us: Option<u64>,
    median_us: Option<u64>,
    max_us: Option<u64>,
}

fn print_ping(agent: &str, round_trips_us: Vec<u64>, output: &mut Output) -> Result<(), Stop> {
    let mut sorted = round_trips_us.clone();
    sorted.sort_unstable();
    let (min, max) = (sorted.first().copied(), sorted.last().copied());
    // Of an even number the lower one of the two in the middle: a time that was measured.
    let median = sorted.get(sorted.len().saturating_sub(1) / 2).copied();
    if output.format() != Format::Table {
        let shown =
            ShownPing { agent, round_trips_us: &round_trips_us, min_us: min, median_us: median, max_us: max };
        return Ok(output.document(&shown)?);
    }
    let row = vec![agent.to_owned(), sorted.len().to_string(), millis(min), millis(median), millis(max)];
    Ok(output.table(&["AGENT", "PINGS", "MIN ms", "MEDIAN ms", "MAX ms"], vec![row])?)
}

/// Microseconds as milliseconds with three places.
fn millis(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| format!("{}.{:03}", us / 1000, us % 1000))
}

fn print_procedures(answer: &Value, output: &mut Output) -> Result<(), Stop> {
    let listed = answer.as_array().or_else(|| field(answer, "procedures")?.as_array());
    let Some(listed) = listed else {
        return Err(unreadable(SYS_PROCEDURES, "it is not a list of procedures").into());
    };
    let shown: Vec<_> = listed.iter().map(Shown).collect();
    output.list(&["PROCEDURE", "VERSION", "DESCRIPTION"], &shown, |Shown(procedure)| {
        let text = |key| field(procedure, key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = field(procedure, "version").and_then(Value::as_u64);
        vec![text("name"), version.map_or_else(|| "-".to_owned(), |n| n.to_string()), text("description")]
    })?;
    Ok(())
}

fn encoded<T: Serialize>(arguments: &T) -> Result<Raw, Stop> {
    Raw::encode(arguments).map_err(|error| super::call::argument_report(&error).into())
}

/// Reads the answer of a method of the manager.
pub(super) fn decoded<T: DeserializeOwned>(answer: &Raw, method: &str) -> Result<T, Stop> {
    answer.decode().map_err(|error| unreadable(method, &error.to_string()).into())
}

fn unreadable(method: &str, why: &str) -> Report {
    Report::new(
        Exit::Internal,
        format!("cannot read the answer of {method}"),
        why,
        "compare the versions: `rpctl --version` and `rpctl status -o json`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Look, capture};
    use crate::value::from_json;

    #[test]
    fn selectors_by_id_are_read_and_others_refused() {
        for (text, glob) in [
            ("*", None),
            (" * ", None),
            ("web-1", Some("web-1")),
            ("id:web-*", Some("web-*")),
            ("id:*", Some("*")),
        ] {
            assert_eq!(read_selector(text).ok(), Some(glob.map(str::to_owned)), "{text:?}");
        }
        for text in ["", "  ", "id:", "label.role=db", "not web-1", "a and b", "web-*", "id:a b", "group:x"] {
            let Err(Stop::Failed(report)) = read_selector(text) else { panic!("{text:?} was accepted") };
            assert_eq!(report.exit, Exit::Usage, "{text:?}");
        }
    }

    #[test]
    fn round_trips_are_shown_in_milliseconds() {
        let (mut output, out, _) = capture::output(Look::default());
        print_ping("web-1", vec![1500, 250, 12_000, 900], &mut output).unwrap();
        let last =
            out.text().lines().last().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(last, ["web-1", "4", "0.250", "0.900", "12.000"]);
        let (mut output, out, _) = capture::output(Look { format: Format::Jsonl, ..Look::default() });
        print_ping("web-1", vec![], &mut output).unwrap();
        assert!(out.text().contains("\"min_us\":null"), "{}", out.text());
    }

    #[test]
    fn procedures_are_read_in_both_forms() {
        for json in [
            r#"[{"name":"p","version":2,"description":"does\u001b[2J it","args":{"type":"object"}}]"#,
            r#"{"procedures":[{"name":"p","version":2,"description":"does it"}]}"#,
        ] {
            let (mut output, out, _) = capture::output(Look::default());
            print_procedures(&from_json(json).unwrap(), &mut output).unwrap();
            assert_eq!(out.text(), "PROCEDURE  VERSION  DESCRIPTION\np          2        does it\n");
        }
        let (mut output, _, _) = capture::output(Look::default());
        assert!(print_procedures(&Value::Nil, &mut output).is_err());
    }

    #[test]
    fn a_person_reads_two_units_of_a_duration() {
        assert_eq!(since(90_061_500), "1d 1h");
        assert_eq!(since(500), "0s");
    }
}
