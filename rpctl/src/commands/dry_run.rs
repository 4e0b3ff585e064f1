//! `rpctl run --dry-run`: what would become of a job on each of its agents. Nothing is submitted, and nothing runs.

use redpoll_common::api::method;
use redpoll_common::api::submit::{Preview, PreviewAgent, SubmitArguments};
use redpoll_common::api::trial::{Deprecated, Judge, TrialArguments, Verdict};
use redpoll_common::job::Offline;
use redpoll_common::wire::FaultCode;

use super::came::{Came, came};
use super::decoded;
use crate::exit::Exit;
use crate::output::{Output, OutputError};
use crate::report::Target;
use crate::steady::Steady;
use crate::{Ended, Stop};

/// Asks the manager, page after page, and prints what it says.
pub(super) async fn run(submit: SubmitArguments, steady: &mut Steady<'_>, output: &mut Output) -> Ended {
    // without waiting for them, a job does not run on agents that are away
    let waits = submit.spec.offline == Offline::Wait;
    let (preview, agents) = pages(submit, steady, output).await?;
    print(&preview, &agents, waits, output)
}

/// All pages as one, and the agents of all. Each may take as long as a call: the manager asks the agents meanwhile.
async fn pages(
    submit: SubmitArguments,
    steady: &mut Steady<'_>,
    output: &mut Output,
) -> Result<(Preview, Vec<Came<PreviewAgent>>), Stop> {
    let mut trial = TrialArguments { submit, after: None, limit: None };
    let (mut whole, mut agents) = page(&trial, steady).await?;
    // a manager whose pages do not go on is broken, and is not asked for ever
    while let Some(next) = whole.next.take().filter(|next| Some(next) > trial.after.as_ref()) {
        if output.look().live {
            output.progress(&format!("asked {} of {} agents", agents.len(), whole.total));
        }
        trial.after = Some(next);
        let (more, of_page) = page(&trial, steady).await?;
        whole.next = more.next;
        agents.extend(of_page);
    }
    Ok((whole, agents))
}

async fn page(
    trial: &TrialArguments,
    steady: &mut Steady<'_>,
) -> Result<(Preview, Vec<Came<PreviewAgent>>), Stop> {
    let verbose = steady.settings().verbose > 0;
    let time = steady.settings().config.call.timeout;
    let until = steady.answer_by();
    let answer = steady.ask(method::JOBS_PREVIEW, &trial.write(), time, Some(until)).await;
    let target = Target::Manager { method: method::JOBS_PREVIEW };
    let answer = answer.map_err(|no| no.report(&target, verbose))?;
    let mut page: Preview = decoded(&answer, method::JOBS_PREVIEW)?;
    page.next = page.next.filter(|_| !page.agents.is_empty());
    let agents = came(std::mem::take(&mut page.agents), &answer, "agents").collect();
    Ok((page, agents))
}

/// How many there are of each verdict.
#[derive(Debug, Default)]
struct Sums {
    run: usize,
    refuse: usize,
    away: usize,
    unknown: usize,
}

impl Sums {
    fn of(agents: &[Came<PreviewAgent>]) -> Self {
        let mut sums = Self::default();
        for agent in agents {
            match verdict(&agent.read) {
                Verdict::WouldRun => sums.run += 1,
                Verdict::WouldRefuse => sums.refuse += 1,
                Verdict::Away => sums.away += 1,
                Verdict::Unknown => sums.unknown += 1,
            }
        }
        sums
    }
}

/// An older manager says nothing, and nothing is no yes.
fn verdict(agent: &PreviewAgent) -> Verdict {
    agent.verdict.unwrap_or(Verdict::Unknown)
}

fn print(preview: &Preview, agents: &[Came<PreviewAgent>], waits: bool, output: &mut Output) -> Ended {
    let printed = output.list(&["AGENT", "VERDICT", "RULE", "WHY"], agents, |agent| row(&agent.read));
    OutputError::unless_closed(printed)?;
    warn(&preview.deprecated, preview.total, output);
    let Sums { run, refuse, away, unknown } = Sums::of(agents);
    if agents.iter().any(|agent| agent.read.verdict.is_none()) {
        output.note("the manager is older and does not ask agents: whom the job would reach is all it says");
    }
    if let Some(refusal) = &preview.refusal {
        output.note(&format!("the manager would not store the job: {} ({})", refusal.message, refusal.code));
    }
    if away > 0 && waits {
        let (runs, them) =
            if away == 1 { ("1 run", "its agent") } else { (&*format!("{away} runs"), "their agents") };
        output.note(&format!(
            "{runs} would wait for {them} to return, which is asked then; --start-within bounds that"
        ));
    }
    output.note(&format!(
        "{run} would run, {refuse} would refuse, {away} away, {unknown} unknown; nothing was submitted"
    ));
    let refused = preview.refusal.as_ref().map(|whole| Exit::of_fault(&FaultCode::from_wire(&whole.code)));
    Ok(match (refused, refuse, unknown, away) {
        // no agent would be asked
        (Some(exit), ..) => exit,
        (None, 1.., ..) => Exit::Refused,
        (None, 0, 1.., _) => Exit::Unknown,
        (None, 0, 0, 1..) if !waits => Exit::Away,
        (None, 0, 0, _) => Exit::Good,
    })
}

fn row(agent: &PreviewAgent) -> Vec<String> {
    let word = match verdict(agent) {
        Verdict::WouldRun => "would run",
        Verdict::WouldRefuse => "would refuse",
        Verdict::Away => "away",
        Verdict::Unknown => "unknown",
    };
    let text = agent.why.clone().unwrap_or_default();
    let why = match (&agent.code, agent.by, &agent.user) {
        (Some(code), Some(Judge::Manager), _) => format!("{text} ({code}, by the manager)"),
        (Some(code), Some(Judge::Agent | Judge::Unknown) | None, _) => format!("{text} ({code})"),
        (None, _, Some(user)) => format!("as {user}"),
        (None, _, None) => text,
    };
    vec![agent.id.clone(), word.to_owned(), agent.rule.clone().unwrap_or_default(), why]
}

/// Says once what nobody should use any more.
pub(super) fn warn(deprecated: &[Deprecated], total: u64, output: &mut Output) {
    for Deprecated { procedure, why, agents } in deprecated {
        let place = if *agents < total { format!(" on {agents} of {total} agents") } else { String::new() };
        output.note(&format!("warning: {procedure} is deprecated{place}: {why}"));
    }
}
