//! `rpctl notify`.

use redpoll_common::api::{NotifyArguments, method};
use redpoll_common::wire::{MAX_METHOD_LEN, Raw};

use super::call::argument_report;
use super::{agent_id, silent};
use crate::Ended;
use crate::Stop;
use crate::arguments::read_json;
use crate::cli::NotifyArgs;
use crate::link::Link;
use crate::output::Output;
use crate::report::{Report, Target};
use crate::value::encode;

const HELP: &str = "text goes in quotes of its own: '\"text\"'; see rpctl notify --help";

/// A notification, checked.
#[derive(Debug)]
pub(super) struct NotifyQuestion(NotifyArguments);

impl NotifyQuestion {
    pub(super) fn read(args: &NotifyArgs) -> Result<Self, Stop> {
        if args.kind.is_empty() || args.kind.len() > MAX_METHOD_LEN {
            return Err(Report::usage(
                format!("{:?} is not the type of a notification", args.kind),
                format!("a type has 1 to {MAX_METHOD_LEN} bytes"),
                "see rpctl notify --help",
            )
            .into());
        }
        let data = match &args.data {
            Some(text) => {
                let value = read_json("the content", text, &mut std::io::stdin())
                    .map_err(|error| Report { help: HELP.to_owned(), ..argument_report(&error) })?;
                encode(&value).map_err(|error| argument_report(&error))?
            }
            None => Raw::nil(),
        };
        Ok(Self(NotifyArguments { agent: agent_id(&args.agent)?, kind: args.kind.clone(), data }))
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        link.change(link.request(method::NOTIFY, self.0.write()), &self.target(), verbose).await?;
        let NotifyArguments { agent, kind, .. } = &self.0;
        let entries =
            [("agent", agent.as_str().into()), ("type", kind.as_str().into()), ("sent", true.into())];
        silent::done(entries, (&format!("{agent} was sent {kind}"), "look at the agent's log"), output)
    }

    pub(super) fn target(&self) -> Target {
        Target::Agent { agent: self.0.agent.clone(), method: method::NOTIFY }
    }
}
