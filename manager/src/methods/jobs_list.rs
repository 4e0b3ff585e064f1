//! `rp.jobs.list`: jobs by where they are and whose they are, the newest first.

use redpoll_common::api::jobs::JobListArguments;
use redpoll_common::job::{JobId, Outcome};
use redpoll_common::nearest::nearest;
use redpoll_common::wire::{Fault, Raw, RawMap};
use redpoll_net::CallContext;

use super::arguments::{bad, job_id, page_size, queue_key, unread};
use super::jobs_rows::Rows;
use super::room::Room;
use super::{read, write};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::state::{parse_agent, parse_submitter};
use crate::store::{Filter, Whereabouts};

/// Jobs in one answer, unless asked for fewer or more.
const PAGE: u32 = 100;
/// The most jobs in one answer.
const MAX_PAGE: u32 = 1000;
/// Jobs read at a time: one may name a hundred thousand agents.
const CHUNK: usize = 50;
/// How often the store looks for one answer, so that also one that finds next to nothing comes.
const MAX_LOOKS: usize = 50;

/// The words for an open run, beside `open`, `ended` and the outcomes.
const STATES: [&str; 6] = ["held", "queued", "offered", "accepted", "running", "in_doubt"];

pub(super) async fn list(engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: JobListArguments = read(&call.kwargs)?;
    let store = engine.store();
    let limit = page_size(arguments.limit, PAGE, MAX_PAGE)?;
    let mut before = arguments.before.as_deref().map(job_id).transpose()?;
    let filter = filter(&arguments, store.clock())?;
    let (mut room, mut jobs, mut rows) = (Room::of(call), Vec::new(), Rows::new(engine));
    'looks: for look in 1.. {
        let wanted = (limit - jobs.len()).min(CHUNK);
        let page = store.list(filter.clone(), before, wanted).await.map_err(unread)?;
        for (record, row) in page.jobs.iter().zip(&rows.of(&page.jobs).await?) {
            let job = write(row)?;
            if !room.take(&job) {
                if jobs.is_empty() {
                    return Err(room.too_large(&format!("what is told of the job {}", record.id), &job));
                }
                break 'looks;
            }
            before = Some(record.id);
            jobs.push(job);
        }
        before = page.next;
        if before.is_none() || jobs.len() == limit || look == MAX_LOOKS {
            break;
        }
    }
    Ok(answer(&jobs, before))
}

fn answer(jobs: &[Raw], next: Option<JobId>) -> Raw {
    let next = next.map(|id| id.to_string());
    RawMap::new().raws("jobs", jobs).opt_text("next", next.as_deref()).finish()
}

fn filter(arguments: &JobListArguments, clock: &Clock) -> Result<Filter, Fault> {
    Ok(Filter {
        state: arguments.state.as_deref().map(whereabouts).transpose()?,
        agent: arguments.agent.as_deref().map(parse_agent).transpose()?,
        queue: arguments.queue.as_ref().map(queue_key).transpose()?,
        submitter: arguments.submitter.as_deref().map(parse_submitter).transpose()?,
        since_ms: match arguments.since_ms_ago {
            Some(ago) => Some(clock.now_ms().saturating_sub(ago)),
            None => arguments.since_ms.map(|since| clock.counted(since)),
        },
    })
}

fn whereabouts(word: &str) -> Result<Whereabouts, Fault> {
    let run = STATES.into_iter().find(|state| *state == word).map(Whereabouts::In);
    match (word, run, Outcome::from_wire(word)) {
        ("open", ..) => Ok(Whereabouts::Open),
        ("ended", ..) => Ok(Whereabouts::Ended),
        (_, Some(run), _) => Ok(run),
        (_, None, Some(outcome)) => Ok(Whereabouts::EndedAs(outcome)),
        (_, None, None) => {
            let outcomes = Outcome::ALL.map(Outcome::as_str);
            let words: Vec<&str> = ["open", "ended"].into_iter().chain(STATES).chain(outcomes).collect();
            let meant = nearest(word, words.iter().copied());
            let meant = meant.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
            let shown: String = word.chars().take(64).collect();
            Err(bad(format!("state {shown:?} is none of {}{meant}", words.join(", "))))
        }
    }
}
