//! `rp.jobs.read`: a page of what one run has given.

use redpoll_common::api::items::{ItemPage, MAX_ITEMS, Missing, ReadArguments};
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, RunKey};
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::jobs::record::{JobRecord, RunRecord};
use redpoll_net::CallContext;

use super::arguments::{bad, job_id, page_size, since_or_recent, unknown_run, unread};
use super::follow::warn_of_missing;
use super::jobs::stored as stored_job;
use super::room::Room;
use super::{jobs_rows, read as arguments, write};
use crate::state::parse_agent;
use crate::store::Store;

/// What an item takes in an answer beside its data.
pub(super) const AROUND_ITEM: (usize, usize) = (40, 6);
/// The same, with what is missing before it.
const AROUND_TORN: (usize, usize) = (80, 12);

pub(super) async fn read(store: &dyn Store, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: ReadArguments = arguments(&call.kwargs)?;
    since_or_recent(arguments.since, arguments.recent)?;
    let most = u32::try_from(MAX_ITEMS).unwrap_or(u32::MAX);
    let limit = page_size(arguments.limit, most, most)?;
    let record = stored_job(store, call, job_id(&arguments.job)?).await?;
    let key = run_of(&record, arguments.agent.as_deref())?;
    // the row first: what it says to be stored is stored when the items are read
    let run = store.run(&key).await.map_err(unread)?.ok_or_else(|| unknown_run(key.job, &key.agent))?;
    let attempt = attempt(&run, arguments.attempt)?;
    let from = match (arguments.since, arguments.recent) {
        (Some(since), _) => since,
        (None, Some(recent)) => stored_items(store, &run, attempt).await?.saturating_sub(recent),
        (None, None) => 0,
    };
    let page = store.items(&key, attempt, from, limit).await.map_err(unread)?;
    let mut room = Room::of(call);
    let stored = stored_items(store, &run, attempt).await?;
    let is_empty = page.is_empty();
    let (items, mut missing, mut next) = fitting(page, from, &mut room)?;
    if is_empty && from < stored {
        missing.push(Missing { from, until: stored });
        next = stored;
    }
    for missing in &missing {
        warn_of_missing(&key, attempt, *missing);
    }
    let in_force = attempt == run.attempt;
    let over = !in_force || run.state.ending().is_some();
    let all_read = next >= stored;
    let (agent, attempt) = (key.agent.to_string(), attempt.0);
    let going_on = (!over).then_some(stored);
    let mut page = ItemPage { agent, attempt, items, missing, next, more: true, stored: going_on, end: None };
    if over && all_read {
        let end = jobs_rows::end_of(&run.state).filter(|_| in_force);
        // an end that does not fit beside the items comes with the next page, which has none
        let written = write(&end)?;
        if room.take(&written) {
            (page.more, page.end) = (false, end);
        } else if page.items.is_empty() && page.missing.is_empty() {
            return Err(room.too_large(&format!("the end of the run on {}", key.agent), &written));
        }
    }
    Ok(page.write())
}

/// The run that is meant.
fn run_of(record: &JobRecord, agent: Option<&str>) -> Result<RunKey, Fault> {
    match (agent, &*record.agents) {
        (Some(agent), agents) => run_on(record.id, agents, agent),
        (None, [agent]) => Ok(RunKey { job: record.id, agent: agent.clone() }),
        (None, agents) => {
            let text = format!("agent is missing: the job {} has {} runs", record.id, agents.len());
            Err(bad(text))
        }
    }
}

/// The run on this agent, which has to be one of the job's.
pub(super) fn run_on(job: JobId, agents: &[PeerId], agent: &str) -> Result<RunKey, Fault> {
    let agent = parse_agent(agent)?;
    match agents.binary_search(&agent) {
        Ok(_place) => Ok(RunKey { job, agent }),
        Err(_place) => Err(unknown_run(job, &agent)),
    }
}

fn attempt(run: &RunRecord, asked: Option<u16>) -> Result<Attempt, Fault> {
    match asked.map(Attempt) {
        None => Ok(run.attempt),
        Some(attempt) if attempt > run.attempt => Err(bad(format!(
            "attempt is {attempt}; the run on {} has had {} so far",
            run.key.agent, run.attempt
        ))),
        Some(Attempt(0)) if run.attempt.0 > 0 => Err(bad("attempt is 0; the first one is 1")),
        Some(attempt) => Ok(attempt),
    }
}

/// How many items of an attempt are stored.
async fn stored_items(store: &dyn Store, run: &RunRecord, attempt: Attempt) -> Result<u64, Fault> {
    if attempt == run.attempt {
        return Ok(run.items);
    }
    store.next_item(&run.key, attempt).await.map_err(unread)
}

/// As many of the items as fit, which are missing before them, and the number to go on with.
fn fitting(page: Vec<Item>, from: u64, room: &mut Room) -> Result<(Vec<Item>, Vec<Missing>, u64), Fault> {
    let (mut items, mut missing, mut next) = (Vec::with_capacity(page.len()), Vec::new(), from);
    for item in page {
        let gap = (next < item.n).then_some(Missing { from: next, until: item.n });
        let around = if gap.is_some() { AROUND_TORN } else { AROUND_ITEM };
        if !room.take_with(&item.data, around) {
            if items.is_empty() {
                return Err(room.too_large(&format!("the item {}", item.n), &item.data));
            }
            break;
        }
        next = item.n.saturating_add(1);
        missing.extend(gap);
        items.push(item);
    }
    Ok((items, missing, next))
}
