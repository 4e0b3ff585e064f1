//! What agents offer: lists, help for a procedure, and warnings about old ones.

use std::time::Duration;

use redpoll_common::api::{CallArguments, ProceduresArguments, method};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::peer::Call;
use redpoll_net::{CallError, Peer, ProcedureInfo};
use rmpv::Value;

use super::{MANAGER, encoded, procedure_call, unreadable};
use crate::exit::Exit;
use crate::link::{Link, no_answer};
use crate::output::{Format, Output};
use crate::report::{Report, Target};
use crate::schema_help;
use crate::value::{Shown, decode, field};
use crate::{Ended, Stop};

/// The built-in procedure that lists procedures.
pub(crate) const SYS_PROCEDURES: &str = "sys.procedures";
/// The most pages that are read: an agent's list is bounded, and an answer that does not end is none.
const MAX_PAGES: usize = 1000;

/// The procedures of an agent: as the manager knows them, or, when it does not, as the agent says.
pub(super) async fn fetch(
    link: &Link,
    agent: &str,
    procedure: Option<&str>,
    verbose: bool,
) -> Result<Vec<Value>, Stop> {
    let target = Target::Agent { agent: agent.to_owned(), method: method::AGENTS_PROCEDURES };
    let request = |kwargs| link.request(method::AGENTS_PROCEDURES, kwargs);
    // the catalogue is about agents; the manager answers for itself
    if agent != MANAGER {
        match known(link.peer(), request, agent, procedure).await {
            Ok(Some(list)) => return Ok(list),
            Ok(None) => {}
            // an older manager
            Err(CallError::Fault(Fault { code: FaultCode::UnknownMethod, .. })) => {}
            Err(error) => return Err(no_answer(&error, &target, verbose).into()),
        }
    }
    let target = Target::Procedure { agent: agent.to_owned(), procedure: SYS_PROCEDURES.to_owned() };
    let call = CallArguments {
        agent: agent.to_owned(),
        procedure: SYS_PROCEDURES.to_owned(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
    };
    let answer = decode(&link.ask(procedure_call(link, &call), &target, verbose).await?);
    let Some(listed) = listed(&answer) else {
        return Err(unreadable(SYS_PROCEDURES, "it is not a list of procedures").into());
    };
    Ok(listed.iter().filter(|one| procedure.is_none_or(|wanted| is_meant(one, wanted))).cloned().collect())
}

/// The list in an answer of [`SYS_PROCEDURES`], or of who knows it for another.
pub(crate) fn listed(answer: &Value) -> Option<&Vec<Value>> {
    answer.as_array().or_else(|| field(answer, "procedures")?.as_array())
}

/// The same as the manager knows them; `None` when it does not.
pub(crate) async fn known(
    peer: &Peer,
    request: impl Fn(Raw) -> Call,
    agent: &str,
    procedure: Option<&str>,
) -> Result<Option<Vec<Value>>, CallError> {
    let (mut list, mut after) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let arguments =
            ProceduresArguments { agent: agent.to_owned(), procedure: procedure.map(str::to_owned), after };
        let kwargs = Raw::encode(&arguments).unwrap_or_else(|_| Raw::empty_map());
        let answer = decode(&peer.call(request(kwargs)).await?);
        if field(&answer, "known").and_then(Value::as_bool) != Some(true) {
            return Ok(None);
        }
        let page = field(&answer, "procedures").and_then(Value::as_array);
        list.extend(page.into_iter().flatten().cloned());
        match field(&answer, "next").and_then(Value::as_u64) {
            Some(next) if after.is_none_or(|after| next > after) => after = Some(next),
            Some(_) | None => break,
        }
    }
    Ok(Some(list))
}

/// Whether an element of a list is meant by `name` or `name@version`.
fn is_meant(procedure: &Value, wanted: &str) -> bool {
    let name = field(procedure, "name").and_then(Value::as_str).unwrap_or_default();
    let version = field(procedure, "version").and_then(Value::as_u64).unwrap_or_default();
    wanted == name || wanted == format!("{name}@{version}")
}

/// The elements of a list as they are understood; others are left out.
pub(crate) fn read(list: &[Value]) -> Vec<ProcedureInfo> {
    let read = |value: &Value| crate::value::encode(value).ok()?.decode::<ProcedureInfo>().ok();
    list.iter().filter_map(read).collect()
}

/// The version that is meant: the one that is named, or the highest that is enabled, or else the highest.
pub(crate) fn meant<'i>(infos: &'i [ProcedureInfo], procedure: &str) -> Option<&'i ProcedureInfo> {
    let (name, version) = procedure.split_once('@').unwrap_or((procedure, ""));
    let mut fitting: Vec<&ProcedureInfo> = infos.iter().filter(|info| info.name == name).collect();
    fitting.sort_by_key(|info| (info.disabled.is_none(), info.version));
    match version.parse::<u32>() {
        Ok(version) => fitting.into_iter().find(|info| info.version == version),
        Err(_) => fitting.last().copied(),
    }
}

/// `rpctl agents procedures AGENT [PROCEDURE]`
pub(super) async fn show(
    link: &Link,
    (agent, procedure): (&str, Option<&str>),
    output: &mut Output,
    verbose: bool,
) -> Ended {
    let list = fetch(link, agent, procedure, verbose).await?;
    match procedure {
        None => print(&list, output)?,
        Some(procedure) if list.is_empty() => {
            return Err(not_offered(link, agent, procedure, verbose).await?.into());
        }
        Some(procedure) if output.format() == Format::Table => {
            output.bytes(schema_help::text(&read(&list), procedure, &format!("call {agent}")).as_bytes())?;
        }
        Some(_) => output.list(&HEADERS, &list.iter().map(Shown).collect::<Vec<_>>(), row)?,
    }
    Ok(Exit::Good)
}

const HEADERS: [&str; 3] = ["PROCEDURE", "VERSION", "DESCRIPTION"];

fn print(list: &[Value], output: &mut Output) -> Result<(), Stop> {
    let shown: Vec<_> = list.iter().map(Shown).collect();
    Ok(output.list(&HEADERS, &shown, row)?)
}

fn row(Shown(procedure): &Shown<'_>) -> Vec<String> {
    let text = |key| field(procedure, key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let version = field(procedure, "version").and_then(Value::as_u64);
    let note = |what: &str, why: String| if why.is_empty() { why } else { format!("({what}: {why}) ") };
    let disabled = text("disabled");
    let disabled = note("disabled", schema_help::why_disabled(&disabled).to_owned());
    let deprecated = note("deprecated", text("deprecated"));
    let description = format!("{disabled}{deprecated}{}", text("description"));
    vec![text("name"), version.map_or_else(|| "-".to_owned(), |n| n.to_string()), description]
}

/// Nothing has this name; the nearest one that there is stands in the help.
async fn not_offered(link: &Link, agent: &str, procedure: &str, verbose: bool) -> Result<Report, Stop> {
    let all = read(&fetch(link, agent, None, verbose).await?);
    let name = procedure.split_once('@').map_or(procedure, |(name, _)| name);
    let nearest = redpoll_common::nearest::nearest(name, all.iter().map(|info| info.name.as_str()));
    let why = match nearest {
        Some(nearest) if nearest != name => format!("is {nearest:?} meant?"),
        Some(_) => "it has no such version".to_owned(),
        None => "it lists nothing of this name".to_owned(),
    };
    let help = format!("see what there is: rpctl agents procedures {agent}");
    Ok(Report::new(Exit::Refused, format!("{agent} does not offer {procedure}"), why, help))
}

/// `rpctl call AGENT PROCEDURE --help`, and the same for `run`.
pub(super) async fn describe(
    link: &Link,
    (agents, procedure): (&[String], &str),
    usage: &str,
    output: &mut Output,
    verbose: bool,
) -> Ended {
    let name = procedure.split_once('@').map_or(procedure, |(name, _)| name);
    let mut found = None;
    for agent in agents {
        let list = fetch(link, agent, Some(name), verbose).await;
        match list {
            Ok(list) if !list.is_empty() => {
                found = Some(list);
                break;
            }
            // one of several may be away: another can tell
            Err(Stop::Failed(_)) if agents.len() > 1 => {}
            Ok(_) => {}
            Err(stop) => return Err(stop),
        }
    }
    let infos = found.as_deref().map(read).unwrap_or_default();
    match (meant(&infos, procedure), agents.first()) {
        (Some(_), _) => {
            output.bytes(schema_help::text(&infos, procedure, usage).as_bytes())?;
            Ok(Exit::Good)
        }
        (None, Some(agent)) => Err(not_offered(link, agent, procedure, verbose).await?.into()),
        (None, None) => Err(super::agents::nobody_matches("the selector").into()),
    }
}

/// What to say of a procedure that nobody should use any more, if the manager knows.
pub(super) async fn deprecation(peer: Peer, request: Call, procedure: String) -> Option<String> {
    let answer = decode(&peer.call(request).await.ok()?);
    let infos = read(listed(&answer)?);
    let info = meant(&infos, &procedure)?;
    let why = info.deprecated.as_deref()?;
    let why = crate::sanitize::line(why);
    Some(format!("warning: {}@{} is deprecated: {why}", crate::sanitize::line(&info.name), info.version))
}

/// The question for [`deprecation`]: to the manager, also of what it offers itself.
pub(super) fn about(agent: &str, procedure: &str, patience: Duration) -> Result<Call, Stop> {
    if agent == MANAGER {
        return Ok(Call::new(SYS_PROCEDURES, patience));
    }
    let name = procedure.split_once('@').map_or(procedure, |(name, _)| name);
    let arguments =
        ProceduresArguments { agent: agent.to_owned(), procedure: Some(name.to_owned()), after: None };
    Ok(Call::new(method::AGENTS_PROCEDURES, patience).with_kwargs(encoded(&arguments)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Look, capture};
    use crate::value::from_json;

    fn list(json: &str) -> Vec<Value> {
        from_json(json).unwrap().as_array().unwrap().clone()
    }

    #[test]
    fn a_list_says_what_is_deprecated_and_what_is_disabled() {
        let (mut output, out, _) = capture::output(Look::default());
        let json = r#"[{"name":"p","version":1,"description":"does\u001b[2J it","deprecated":"use p@2"},
            {"name":"p","version":2,"description":"does it"},{"name":"p","version":3,"disabled":"is off"}]"#;
        print(&list(json), &mut output).unwrap();
        let expected = "PROCEDURE  VERSION  DESCRIPTION\np          1        (deprecated: use p@2) does it\n\
            p          2        does it\np          3        (disabled: off) \n";
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&out.text()), trimmed(expected));
    }

    #[test]
    fn the_version_that_is_meant_is_the_one_named_or_the_highest_enabled() {
        let infos = read(&list(
            r#"[{"name":"p","version":1},{"name":"p","version":2},{"name":"p","version":3,"disabled":"off"}, 5]"#,
        ));
        let version = |procedure| meant(&infos, procedure).map(|info| info.version);
        assert_eq!((version("p"), version("p@1"), version("p@3")), (Some(2), Some(1), Some(3)));
        assert_eq!((version("p@4"), version("q")), (None, None));
    }
}
