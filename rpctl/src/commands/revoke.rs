//! `rpctl agents revoke`, `rpctl operators revoke` and their kin: who is shut out.

use redpoll_common::api::method;
use redpoll_common::api::revoked::{
    OperatorList, OperatorListArguments, RestoreArguments, RevokeAnswer, RevokeArguments, RevokedArguments,
    RevokedList, RevokedSummary,
};
use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::wire::Raw;
use rmpv::Value;
use serde::{Serialize, Serializer};

use super::came::{Came, came};
use super::{decoded, encoded, interrupted, interrupted_change, silent, told};
use crate::cli::{OperatorsCommand, RestoreArgs, RevokeArgs};
use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::link::Link;
use crate::output::{Output, OutputError};
use crate::report::{Report, Target};
use crate::value::{Shown, decode};
use crate::{Ended, Stop, prompt, times};

/// Why somebody has to say yes.
const WEIGHT: &str = "it cuts what they have under way, and restoring them does not bring that back";

/// What is asked, checked.
#[derive(Debug)]
pub(super) enum RevokeQuestion {
    Revoke {
        role: Role,
        ids: Vec<String>,
        certificate: Option<String>,
        reason: Option<String>,
        yes: bool,
    },
    Restore {
        role: Role,
        arguments: RestoreArguments,
    },
    /// What is revoked.
    List {
        role: Role,
    },
    /// Operators that are connected or revoked.
    Operators,
}

/// The methods of a role: revoke, restore and list.
fn methods(role: Role) -> (&'static str, &'static str, &'static str) {
    match role {
        Role::Agent => (method::AGENTS_REVOKE, method::AGENTS_RESTORE, method::AGENTS_REVOKED),
        Role::Operator | Role::Manager => {
            (method::OPERATORS_REVOKE, method::OPERATORS_RESTORE, method::OPERATORS_REVOKED)
        }
    }
}

impl RevokeQuestion {
    pub(super) fn read(command: &OperatorsCommand) -> Result<Self, Stop> {
        match command {
            OperatorsCommand::List { revoked: true } => Ok(Self::List { role: Role::Operator }),
            OperatorsCommand::List { revoked: false } => Ok(Self::Operators),
            OperatorsCommand::Revoke(args) => Self::revoke(Role::Operator, args),
            OperatorsCommand::Restore(args) => Self::restore(Role::Operator, args),
        }
    }

    pub(super) fn revoke(role: Role, args: &RevokeArgs) -> Result<Self, Stop> {
        let RevokeArgs { ids, certificate, reason, yes } = args.clone();
        ids.iter().try_for_each(|id| check(role, id))?;
        if certificate.is_some() && ids.len() > 1 {
            let why = "a certificate belongs to one";
            let help = "name the one whose certificate it is";
            return Err(Report::usage(format!("--certificate with {} names", ids.len()), why, help).into());
        }
        Ok(Self::Revoke { role, ids, certificate, reason, yes })
    }

    pub(super) fn restore(role: Role, args: &RestoreArgs) -> Result<Self, Stop> {
        let RestoreArgs { id, certificate } = args.clone();
        check(role, &id)?;
        Ok(Self::Restore { role, arguments: RestoreArguments { id, certificate } })
    }

    pub(super) async fn run(
        &self,
        link: &Link,
        output: &mut Output,
        interrupts: &mut Interrupts,
        verbose: bool,
    ) -> Ended {
        if let Self::Revoke { role, ids, certificate, yes, .. } = self {
            let what = question(*role, ids, certificate.as_deref(), link.own());
            prompt::confirm(&what, WEIGHT, *yes, link.until(), output, interrupts).await?;
        }
        let mut done = Vec::new();
        let ended = tokio::select! {
            biased;
            _ = interrupts.next() => Err(self.interrupted(&done, link.own()).into()),
            ended = self.ask(link, &mut done, output, verbose) => ended,
        };
        match self {
            Self::Revoke { role, ids, .. } => {
                conclude(*role, &own_last(*role, ids, link.own()), &done, ended, output)
            }
            Self::Restore { .. } | Self::List { .. } | Self::Operators => ended,
        }
    }

    async fn ask(&self, link: &Link, done: &mut Vec<Revoked>, output: &mut Output, verbose: bool) -> Ended {
        match self {
            Self::Revoke { role, ids, certificate, reason, .. } => {
                for id in own_last(*role, ids, link.own()) {
                    let (certificate, reason) = (certificate.clone(), reason.clone());
                    let arguments = RevokeArguments { id: id.to_owned(), certificate, reason };
                    done.push(revoke(link, *role, arguments, output, verbose).await?);
                }
                let all_ended = done.iter().all(|revoked| revoked.answer.ending == 0);
                return Ok(if all_ended { Exit::Good } else { Exit::Unknown });
            }
            Self::Restore { role, arguments } => {
                let (_, restore, _) = methods(*role);
                let call = link.request(restore, encoded(arguments)?);
                link.change(call, &target(*role, &arguments.id, restore), verbose).await?;
                let id = &arguments.id;
                let look = format!("look with rpctl {role}s list --revoked");
                let entries = [("id", id.as_str().into()), ("restored", true.into())];
                return silent::done(entries, (&format!("restored: {id}"), &look), output);
            }
            Self::List { role } => list(link, *role, output, verbose).await?,
            Self::Operators => operators(link, output, verbose).await?,
        }
        Ok(Exit::Good)
    }

    /// A signal came while an answer was waited for.
    fn interrupted(&self, done: &[Revoked], own: &str) -> Report {
        match self {
            Self::Revoke { role, ids, .. } => {
                let id = own_last(*role, ids, own).get(done.len()).copied().unwrap_or_default().to_owned();
                interrupted_change(&target(*role, &id, methods(*role).0))
            }
            Self::Restore { role, arguments } => {
                interrupted_change(&target(*role, &arguments.id, methods(*role).1))
            }
            Self::List { .. } | Self::Operators => interrupted("before the answer came"),
        }
    }
}

/// Who is shut out now.
#[derive(Debug)]
struct Revoked {
    id: String,
    answer: RevokeAnswer,
    /// The answer as it came: a newer manager may say more.
    value: Value,
}

impl Serialize for Revoked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = vec![(Value::from("id"), Value::from(self.id.as_str()))];
        if let Value::Map(answer) = &self.value {
            entries.extend(answer.iter().filter(|(key, _)| key.as_str() != Some("id")).cloned());
        }
        Shown(&Value::Map(entries)).serialize(serializer)
    }
}

/// What is done is told, also when something went wrong after it, and what was not asked for.
fn conclude(role: Role, order: &[&str], done: &[Revoked], ended: Ended, output: &mut Output) -> Ended {
    let printed = if done.is_empty() {
        Ok(Exit::Good)
    } else {
        let names: Vec<&str> = done.iter().map(|revoked| revoked.id.as_str()).collect();
        let what = format!("revoked: {}", names.join(", "));
        let look = format!("look with rpctl {role}s list --revoked");
        told(print(done, output), *ended.as_ref().unwrap_or(&Exit::Good), &what, &look)
    };
    let left = order.get(done.len() + 1..).filter(|left| ended.is_err() && !left.is_empty());
    if let Some(left) = left {
        output.note(&format!("not asked for, and not revoked by this: {}", left.join(", ")));
    }
    match (ended, printed) {
        (Ok(_), Err(unprinted)) => Err(unprinted),
        (Err(stop), Err(Stop::Failed(unprinted))) => {
            output.report(&unprinted);
            Err(stop)
        }
        (ended, _) => ended,
    }
}

fn print(done: &[Revoked], output: &mut Output) -> Result<(), OutputError> {
    output.list(&[], done, |Revoked { id, answer, .. }| {
        let state = if answer.changed { "revoked" } else { "revoked already" };
        vec![id.clone(), state.to_owned(), format!("{} cut", answer.cut)]
    })
}

fn check(role: Role, id: &str) -> Result<(), Stop> {
    PeerId::parse(id).map(|_good| ()).map_err(|error| {
        let help = format!("see which there are: rpctl {role}s list");
        Report::usage(format!("{id:?} is not the name of an {role}"), error.to_string(), help).into()
    })
}

fn target(role: Role, id: &str, method: &'static str) -> Target {
    match role {
        Role::Agent => Target::Agent { agent: id.to_owned(), method },
        Role::Operator | Role::Manager => Target::Manager { method },
    }
}

/// What has to be confirmed, with a warning to those who shut themselves out.
fn question(role: Role, ids: &[String], certificate: Option<&str>, own: &str) -> String {
    let whom = format!("{role} {}", ids.join(", "));
    let what = match certificate {
        Some(certificate) => format!("revoke the certificate {certificate} of {whom}"),
        None => format!("revoke {whom} and cut all sessions of theirs"),
    };
    if role == Role::Operator && ids.iter().any(|id| id == own) {
        let who = if certificate.is_some() { "you may be asking with it" } else { "that is you" };
        return format!("{what} ({who}: somebody else would have to restore it)");
    }
    what
}

/// Whoever is revoked can revoke nobody else: one's own name comes last.
fn own_last<'i>(role: Role, ids: &'i [String], own: &str) -> Vec<&'i str> {
    let is_own = |id: &&str| role == Role::Operator && *id == own;
    let (itself, mut ids): (Vec<&str>, Vec<&str>) = ids.iter().map(String::as_str).partition(is_own);
    ids.extend(itself);
    ids
}

/// Shuts one out.
async fn revoke(
    link: &Link,
    role: Role,
    arguments: RevokeArguments,
    output: &mut Output,
    verbose: bool,
) -> Result<Revoked, Stop> {
    let (method, _, _) = methods(role);
    let id = arguments.id.clone();
    let call = link.request(method, encoded(&arguments)?);
    let answer = link.change(call, &target(role, &id, method), verbose).await?;
    let value = decode(&answer);
    let answer: RevokeAnswer = decoded(&answer, method)?;
    if role == Role::Agent && !answer.known {
        output.note(&format!("no agent {id} has ever connected; it will not be let in"));
    }
    if answer.ending > 0 {
        output.note(&format!(
            "something that the manager runs for {id} does not end and may still have an effect; look at its log"
        ));
    }
    Ok(Revoked { id, answer, value })
}

async fn list(link: &Link, role: Role, output: &mut Output, verbose: bool) -> Result<(), Stop> {
    let (_, _, method) = methods(role);
    let mut arguments = RevokedArguments::default();
    let mut all: Vec<Came<RevokedSummary>> = Vec::new();
    loop {
        let call = link.request(method, encoded(&arguments)?);
        let answer = link.ask(call, &Target::Manager { method }, verbose).await?;
        let page: RevokedList = decoded(&answer, method)?;
        let progressed = !page.revoked.is_empty();
        all.extend(came(page.revoked, &answer, "revoked"));
        match page.next {
            Some(next) if progressed => arguments.after = Some(next),
            Some(_) | None => break,
        }
    }
    let headers =
        [if role == Role::Agent { "AGENT" } else { "OPERATOR" }, "CERTIFICATE", "SINCE", "BY", "REASON"];
    Ok(output.list(&headers, &all, |Came { read: entry, .. }| {
        vec![
            entry.id.clone(),
            entry.certificate.clone().unwrap_or_else(|| "all".to_owned()),
            times::local(entry.revocation.at_ms),
            entry.revocation.by.clone(),
            entry.revocation.why.clone().unwrap_or_default(),
        ]
    })?)
}

async fn operators(link: &Link, output: &mut Output, verbose: bool) -> Result<(), Stop> {
    let method = method::OPERATORS_LIST;
    let mut arguments = OperatorListArguments::default();
    let mut all = Vec::new();
    loop {
        let kwargs: Raw = encoded(&arguments)?;
        let answer = link.ask(link.request(method, kwargs), &Target::Manager { method }, verbose).await?;
        let page: OperatorList = decoded(&answer, method)?;
        let progressed = !page.operators.is_empty();
        all.extend(came(page.operators, &answer, "operators"));
        match page.next {
            Some(next) if progressed => arguments.after = Some(next),
            Some(_) | None => break,
        }
    }
    Ok(output.list(
        &["OPERATOR", "STATE", "SESSIONS", "REASON"],
        &all,
        |Came { read: operator, .. }| {
            let state = if operator.revoked.is_some() { "revoked" } else { "connected" };
            let why = operator.revoked.as_ref().and_then(|revocation| revocation.why.clone());
            vec![
                operator.id.clone(),
                state.to_owned(),
                operator.sessions.to_string(),
                why.unwrap_or_default(),
            ]
        },
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_would_shut_themselves_out_is_told() {
        let ids = ["ada".to_owned(), "eve".to_owned()];
        assert!(question(Role::Operator, &ids, None, "ada").contains("that is you"));
        assert!(question(Role::Operator, &ids[..1], Some("0a"), "ada").contains("asking with it"));
        for (role, own) in [(Role::Operator, "bob"), (Role::Agent, "ada")] {
            let asked = question(role, &ids, None, own);
            assert!(!asked.contains("you") && asked.contains("ada, eve"), "{asked}");
        }
    }
    #[test]
    fn whoever_revokes_themselves_among_others_does_so_last() {
        let ids = ["ada".to_owned(), "bob".to_owned(), "ada".to_owned(), "eve".to_owned()];
        assert_eq!(own_last(Role::Operator, &ids, "ada"), ["bob", "eve", "ada", "ada"]);
        assert_eq!(own_last(Role::Operator, &ids, "zoe"), ["ada", "bob", "ada", "eve"]);
        assert_eq!(own_last(Role::Agent, &ids, "ada"), ["ada", "bob", "ada", "eve"], "an agent of that name");
    }
}
