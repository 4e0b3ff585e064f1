//! `rpctl agents reload`, `enable` and `disable`: orders for an agent.

use redpoll_common::api::{AgentArguments, ReloadAnswer, SwitchAnswer, SwitchArguments, method};
use redpoll_common::wire::Raw;

use super::{decoded, encoded, told};
use crate::Ended;
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output};
use crate::report::Target;
use crate::value::{Shown, decode};

/// What an agent is told.
#[derive(Debug)]
pub(super) enum Order {
    Reload,
    Enable(String),
    Disable(String),
}

impl Order {
    fn method(&self) -> &'static str {
        match self {
            Self::Reload => method::AGENTS_RELOAD,
            Self::Enable(_) => method::PROCEDURES_ENABLE,
            Self::Disable(_) => method::PROCEDURES_DISABLE,
        }
    }

    pub(super) fn target(&self, agent: &str) -> Target {
        Target::Agent { agent: agent.to_owned(), method: self.method() }
    }

    /// Gives it, and shows what became of it.
    pub(super) async fn give(&self, agent: &str, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        let (method, target) = (self.method(), self.target(agent));
        let kwargs = match self {
            Self::Reload => encoded(&AgentArguments { agent: agent.to_owned() })?,
            Self::Enable(procedure) | Self::Disable(procedure) => {
                encoded(&SwitchArguments { agent: agent.to_owned(), procedure: procedure.clone() })?
            }
        };
        let answer = link.change(link.request(method, kwargs), &target, verbose).await?;
        self.show(agent, &answer, output)
    }

    /// Problems of a reload make it a failure: somebody has to look at a file.
    fn show(&self, agent: &str, answer: &Raw, output: &mut Output) -> Ended {
        let (rows, exit, done) = match self {
            Self::Reload => {
                let answer: ReloadAnswer = decoded(answer, self.method())?;
                let (exit, how) = match answer.problems.len() {
                    0 => (Exit::Good, String::new()),
                    problems => (Exit::Failed, format!(" with problems: {problems}")),
                };
                (reloaded(answer), exit, format!("{agent} has reloaded{how}"))
            }
            Self::Enable(_) | Self::Disable(_) => {
                let answer: SwitchAnswer = decoded(answer, self.method())?;
                let state = if answer.enabled { "enabled" } else { "disabled" };
                let done = format!("{} is {state} on {agent}", answer.procedure);
                (switched(answer), Exit::Good, done)
            }
        };
        let printed = if output.format() == Format::Table {
            output.table(&[], rows)
        } else {
            output.document(&Shown(&decode(answer)))
        };
        told(printed, exit, &done, &format!("look with rpctl agents procedures {agent}"))
    }
}

fn reloaded(answer: ReloadAnswer) -> Vec<Vec<String>> {
    let ReloadAnswer { offered, added, changed, removed, problems } = answer;
    let counts = [("offered", offered), ("added", added), ("changed", changed), ("removed", removed)];
    let mut rows: Vec<Vec<String>> =
        counts.into_iter().map(|(name, count)| vec![name.to_owned(), count.to_string()]).collect();
    rows.extend(problems.into_iter().map(|problem| vec!["problem".to_owned(), problem]));
    rows
}

fn switched(answer: SwitchAnswer) -> Vec<Vec<String>> {
    let SwitchAnswer { procedure, enabled, changed } = answer;
    let state = match (enabled, changed) {
        (true, true) => "enabled",
        (true, false) => "enabled already",
        (false, true) => "disabled",
        (false, false) => "disabled already",
    };
    vec![vec![procedure, state.to_owned()]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Look, capture};

    #[test]
    fn a_reload_with_problems_shows_them_and_is_no_success() {
        let mut answer = ReloadAnswer { offered: 7, added: 1, ..ReloadAnswer::default() };
        let (mut output, out, _) = capture::output(Look::default());
        let exit = Order::Reload.show("web-1", &Raw::encode(&answer).unwrap(), &mut output).unwrap();
        assert!(exit == Exit::Good && out.text().contains("added"), "{}", out.text());
        answer.problems.push("x.toml: line 3: what is this?".to_owned());
        let (mut output, out, _) = capture::output(Look::default());
        let exit = Order::Reload.show("web-1", &Raw::encode(&answer).unwrap(), &mut output).unwrap();
        assert!(exit == Exit::Failed && out.text().contains("x.toml: line 3"), "{}", out.text());
    }

    #[test]
    fn a_switch_says_whether_it_was_needed() {
        for (enabled, changed, words) in [(true, false, "enabled already"), (false, true, "disabled")] {
            let answer = SwitchAnswer { procedure: "web.deploy@2".to_owned(), enabled, changed };
            let (mut output, out, _) = capture::output(Look::default());
            Order::Disable(String::new()).show("web-1", &Raw::encode(&answer).unwrap(), &mut output).unwrap();
            assert!(out.text().contains("web.deploy@2") && out.text().contains(words), "{}", out.text());
        }
    }
}
