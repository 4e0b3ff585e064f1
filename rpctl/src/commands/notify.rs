//! `rpctl notify`.

use redpoll_common::api::{NotifyArguments, method};
use redpoll_common::wire::Raw;

use super::agent_id;
use super::call::argument_report;
use crate::Ended;
use crate::Stop;
use crate::arguments::read_json;
use crate::cli::NotifyArgs;
use crate::exit::Exit;
use crate::link::Link;
use crate::report::{Report, Target};
use crate::value::encode;

const HELP: &str = "text goes in quotes of its own: '\"text\"'; see rpctl notify --help";

/// A notification, checked.
#[derive(Debug)]
pub(super) struct NotifyQuestion(NotifyArguments);

impl NotifyQuestion {
    pub(super) fn read(args: &NotifyArgs) -> Result<Self, Stop> {
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

    pub(super) async fn run(&self, link: &Link, verbose: bool) -> Ended {
        link.change(link.request(method::NOTIFY, self.0.write()), &self.target(), verbose).await?;
        Ok(Exit::Good)
    }

    pub(super) fn target(&self) -> Target {
        Target::Agent { agent: self.0.agent.clone(), method: method::NOTIFY }
    }
}
