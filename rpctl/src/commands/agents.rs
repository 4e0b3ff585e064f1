//! `rpctl agents`: who is there, how far away, and what they offer.

use redpoll_common::api::revoked::Revocation;
use redpoll_common::api::{
    AgentArguments, AgentList, AgentListArguments, AgentState, AgentSummary, PingAnswer, PingArguments,
    method,
};
use redpoll_common::identity::Role;
use redpoll_common::wire::Raw;
use serde::Serialize;

use super::agents_orders::Order;
use super::came::{Came, came};
use super::revoke::RevokeQuestion;
use super::{Question, agent_id, callee, decoded, encoded, procedures};
use crate::cli::AgentsCommand;
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output, OutputError};
use crate::report::{Report, Target};
use crate::selector::Selector;
use crate::times;
use crate::value::{Shown, decode};
use crate::{Ended, Stop};

/// A question about agents, checked.
#[derive(Debug)]
pub(super) enum AgentsQuestion {
    List { selector: Option<(Selector, String)>, empty_is_good: bool },
    Show { agent: String },
    Ping { agent: String, count: u32 },
    Procedures { agent: String, procedure: Option<String> },
    Order { agent: String, order: Order },
}

/// Reads a command; what revokes has a question of its own.
pub(super) fn read(command: &AgentsCommand) -> Result<Question, Stop> {
    let role = Role::Agent;
    if let AgentsCommand::Revoke(args) = command {
        return RevokeQuestion::revoke(role, args).map(Question::Revoke);
    }
    if let AgentsCommand::Restore(args) = command {
        return RevokeQuestion::restore(role, args).map(Question::Revoke);
    }
    if let AgentsCommand::List { revoked: true, .. } = command {
        return Ok(Question::Revoke(RevokeQuestion::List { role }));
    }
    AgentsQuestion::read(command).map(Question::Agents)
}

impl AgentsQuestion {
    fn read(command: &AgentsCommand) -> Result<Self, Stop> {
        Ok(match command {
            // questions of their own, see `read`
            AgentsCommand::Revoke(_) | AgentsCommand::Restore(_) => {
                Self::List { selector: None, empty_is_good: true }
            }
            AgentsCommand::List { selector: None, .. } => Self::List { selector: None, empty_is_good: true },
            AgentsCommand::List { selector: Some(selector), allow_empty, .. } => {
                let parsed = Selector::parse(selector)?;
                Self::List { selector: Some((parsed, selector.clone())), empty_is_good: *allow_empty }
            }
            AgentsCommand::Show { agent } => Self::Show { agent: agent_id(agent)? },
            AgentsCommand::Ping { agent, count } => Self::Ping { agent: agent_id(agent)?, count: *count },
            AgentsCommand::Procedures { agent, procedure } => {
                Self::Procedures { agent: callee(agent)?, procedure: procedure.clone() }
            }
            AgentsCommand::Reload { agent } => Self::Order { agent: agent_id(agent)?, order: Order::Reload },
            AgentsCommand::Enable { agent, procedure } => {
                Self::Order { agent: agent_id(agent)?, order: Order::Enable(procedure.clone()) }
            }
            AgentsCommand::Disable { agent, procedure } => {
                Self::Order { agent: agent_id(agent)?, order: Order::Disable(procedure.clone()) }
            }
        })
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        match self {
            Self::List { selector, empty_is_good } => {
                let agents = selected(link, selector.as_ref().map(|(selector, _)| selector), verbose).await?;
                if let (true, false, Some((_, text))) = (agents.is_empty(), *empty_is_good, selector) {
                    return Err(nobody_matches(text).into());
                }
                let printed = output.list(&AGENT_HEADERS, &agents, |agent| agent_row(&agent.read));
                OutputError::unless_closed(printed)?;
                if let Some(report) = selector.as_ref().and_then(|(selector, _)| unknown(selector, &agents)) {
                    if !empty_is_good {
                        return Err(report.into());
                    }
                    output.note(&report.what);
                }
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
            Self::Procedures { agent, procedure } => {
                return procedures::show(link, (agent, procedure.as_deref()), output, verbose).await;
            }
            Self::Order { agent, order } => return order.give(agent, link, output, verbose).await,
        }
        Ok(Exit::Good)
    }
}

impl AgentsQuestion {
    /// What it changes, if it does.
    pub(super) fn change(&self) -> Option<Target> {
        let Self::Order { agent, order } = self else { return None };
        Some(order.target(agent))
    }
}

/// No agent is selected.
pub(super) fn nobody_matches(glob: &str) -> Report {
    Report::new(
        Exit::Away,
        format!("no agent matches {glob}"),
        "the manager knows none of that kind",
        "see which there are: rpctl agents list; --allow-empty takes none for success",
    )
}

/// Those that were named and are not there.
fn unknown(selector: &Selector, found: &[Came<AgentSummary>]) -> Option<Report> {
    let Selector::Ids(ids) = selector else { return None };
    let missing: Vec<&str> =
        ids.iter().map(String::as_str).filter(|id| found.iter().all(|agent| agent.read.id != *id)).collect();
    let what = match missing.as_slice() {
        [] => return None,
        [id] => format!("there is no agent {id}"),
        [..] => format!("there are no agents {}", missing.join(", ")),
    };
    let why = "the manager knows none of that name; the others are listed";
    let help = "see which there are: rpctl agents list; --allow-empty takes it for success";
    Some(Report::new(Exit::Away, what, why, help))
}

/// Those of them that something can be asked of. A revoked one is no reason against all the others, unless there are none and `empty_is_good`
/// is not said.
pub(super) fn not_revoked(
    found: Vec<Came<AgentSummary>>,
    (selector, empty_is_good): (&str, bool),
    output: &mut Output,
) -> Result<Vec<String>, Stop> {
    let any = !found.is_empty();
    let left: Vec<_> = found
        .into_iter()
        .map(|agent| agent.read)
        .filter(|agent| agent.revoked.is_none())
        .map(|agent| agent.id)
        .collect();
    if any && left.is_empty() {
        let what = format!("all that match {selector} are revoked");
        if !empty_is_good {
            let help = "who, and why: rpctl agents list --revoked; to take it back: rpctl agents restore ID";
            return Err(Report::new(Exit::Away, what, "none of them is let in", help).into());
        }
        output.note(&what);
    }
    Ok(left)
}

/// All agents, page after page.
pub(super) async fn list(
    mut ask: impl AsyncFnMut(Raw) -> Result<Raw, Stop>,
    glob: Option<&str>,
) -> Result<Vec<Came<AgentSummary>>, Stop> {
    let mut agents = Vec::new();
    let mut after = None;
    loop {
        let arguments = AgentListArguments { id: glob.map(str::to_owned), after: after.take(), limit: None };
        let answer = ask(encoded(&arguments)?).await?;
        let page: AgentList = decoded(&answer, method::AGENTS_LIST)?;
        let progressed = !page.agents.is_empty();
        agents.extend(came(page.agents, &answer, "agents"));
        match page.next {
            Some(next) if progressed => after = Some(next),
            Some(_) | None => return Ok(agents),
        }
    }
}

/// Those that a selector selects.
pub(super) async fn selected(
    link: &Link,
    selector: Option<&Selector>,
    verbose: bool,
) -> Result<Vec<Came<AgentSummary>>, Stop> {
    let target = Target::Manager { method: method::AGENTS_LIST };
    let ask = async |kwargs| link.ask(link.request(method::AGENTS_LIST, kwargs), &target, verbose).await;
    match selector {
        None | Some(Selector::All) => list(ask, None).await,
        Some(Selector::Glob(glob)) => list(ask, Some(glob)).await,
        Some(Selector::Ids(ids)) => {
            let glob = if let [id] = ids.as_slice() { Some(id.as_str()) } else { None };
            let mut agents = list(ask, glob).await?;
            agents.retain(|agent| ids.contains(&agent.read.id));
            Ok(agents)
        }
    }
}

const AGENT_HEADERS: [&str; 6] = ["AGENT", "STATE", "SINCE", "ADDRESS", "VERSION", "REASON"];

fn agent_row(agent: &AgentSummary) -> Vec<String> {
    vec![
        agent.id.clone(),
        state_word(agent).to_owned(),
        times::short(agent.since_ms),
        or_dash(&agent.address),
        or_dash(&agent.version),
        reason(agent).unwrap_or_default(),
    ]
}

fn state_word(agent: &AgentSummary) -> &'static str {
    match agent.state {
        _ if agent.revoked.is_some() => "revoked",
        AgentState::Connected => "connected",
        AgentState::Draining => "draining",
        AgentState::Away => "away",
        AgentState::Unknown => "unknown",
    }
}

/// Why it is not there: who shut it out comes before how its last session ended.
fn reason(agent: &AgentSummary) -> Option<String> {
    match &agent.revoked {
        Some(Revocation { by, why: Some(why), .. }) => Some(format!("by {by}: {why}")),
        Some(Revocation { by, why: None, .. }) => Some(format!("by {by}")),
        None => agent.reason.clone(),
    }
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
        vec!["agent".to_owned(), agent.id.clone()],
        vec!["state".to_owned(), state_word(&agent).to_owned()],
        vec!["since".to_owned(), times::short(agent.since_ms)],
        vec!["address".to_owned(), or_dash(&agent.address)],
        vec!["version".to_owned(), or_dash(&agent.version)],
        vec!["protocol".to_owned(), agent.protocol.to_string()],
    ];
    let reason = reason(&agent);
    rows.extend(agent.policy.map(|policy| vec!["policy".to_owned(), policy]));
    rows.extend(reason.map(|reason| vec!["reason".to_owned(), reason]));
    if let Some(revocation) = agent.revoked {
        rows.push(vec!["revoked".to_owned(), times::local(revocation.at_ms)]);
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
    let median = median(&sorted);
    if output.format() != Format::Table {
        let shown =
            ShownPing { agent, round_trips_us: &round_trips_us, min_us: min, median_us: median, max_us: max };
        return Ok(output.document(&shown)?);
    }
    let row = vec![agent.to_owned(), sorted.len().to_string(), millis(min), millis(median), millis(max)];
    Ok(output.table(&["AGENT", "PINGS", "MIN ms", "MEDIAN ms", "MAX ms"], vec![row])?)
}

/// The middle one of sorted numbers; of an even number of them the mean of the two in the middle.
fn median(sorted: &[u64]) -> Option<u64> {
    let upper = sorted.get(sorted.len() / 2).copied()?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied()?;
    Some(lower + upper.saturating_sub(lower) / 2)
}

/// Microseconds as milliseconds with three places.
fn millis(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| format!("{}.{:03}", us / 1000, us % 1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Look, capture};

    #[test]
    fn round_trips_are_shown_in_milliseconds() {
        let (mut output, out, _) = capture::output(Look::default());
        print_ping("web-1", vec![1500, 250, 12_000, 900], &mut output).unwrap();
        let last =
            out.text().lines().last().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(last, ["web-1", "4", "0.250", "1.200", "12.000"]);
        let (mut output, out, _) = capture::output(Look { format: Format::Jsonl, ..Look::default() });
        print_ping("web-1", vec![], &mut output).unwrap();
        assert!(out.text().contains("\"min_us\":null"), "{}", out.text());
    }
}
