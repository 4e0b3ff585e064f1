//! `--help` behind a procedure: what it takes, as the schema of the agent that offers it says.

use redpoll_common::api::method;

use super::{agents, procedures};
use crate::cli::DescribeArgs;
use crate::link::Link;
use crate::output::Output;
use crate::report::Target;
use crate::selector::Selector;
use crate::{Ended, Stop};

/// Agents of a selector that are asked, until one offers it.
const ASKED: usize = 20;

/// Which procedure of which agents.
#[derive(Debug)]
pub(super) struct DescribeQuestion {
    selector: Selector,
    args: DescribeArgs,
}

impl DescribeQuestion {
    pub(super) fn read(args: &DescribeArgs) -> Result<Self, Stop> {
        let selector = match args.verb {
            "call" => Selector::Ids(vec![super::callee(&args.selector)?]),
            _ => Selector::parse(&args.selector)?,
        };
        Ok(Self { selector, args: args.clone() })
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        let DescribeArgs { selector, procedure, verb } = &self.args;
        let glob = match &self.selector {
            Selector::Ids(_) => None,
            Selector::All => Some("*"),
            Selector::Glob(glob) => Some(glob.as_str()),
        };
        let mut ids: Vec<String> = match (&self.selector, glob) {
            (Selector::Ids(ids), _) => ids.clone(),
            (_, glob) => {
                let target = Target::Manager { method: method::AGENTS_LIST };
                let ask = async |kwargs| {
                    link.ask(link.request(method::AGENTS_LIST, kwargs), &target, verbose).await
                };
                agents::list(ask, glob).await?.into_iter().map(|agent| agent.read.id).collect()
            }
        };
        ids.truncate(ASKED);
        let usage = format!("{verb} {}", crate::sanitize::line(selector));
        procedures::describe(link, (&ids, procedure), &usage, output, verbose).await
    }
}
