//! Lists of jobs: one index is walked, from the newest on, and whatever else is asked for is asked of each job on the way.

use redpoll_common::job::JobId;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::read;
use crate::store::{Filter, MAX_LOOKED_AT, Page, ReadError, Whereabouts};

pub(super) fn list(
    db: &Connection,
    filter: &Filter,
    before: Option<JobId>,
    limit: usize,
) -> Result<Page, ReadError> {
    let (sql, parameters) = walk(filter, before);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    let (mut page, mut looked_at, mut last) = (Page::default(), 0_usize, None);
    while let Some(row) = rows.next()? {
        if page.jobs.len() == limit || looked_at >= MAX_LOOKED_AT {
            page.next = last;
            break;
        }
        let id = JobId::from_bytes(row.get(0)?);
        let runs = usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX);
        (looked_at, last) = (looked_at.saturating_add(runs).saturating_add(1), Some(id));
        if !row.get::<_, bool>(1)? {
            continue;
        }
        match read::job(db, id) {
            Ok(job) => page.jobs.extend(job),
            Err(ReadError::Damaged { what }) => read::left_out(id, &what),
            Err(error @ (ReadError::Failed(_) | ReadError::Stopped)) => return Err(error),
        }
    }
    Ok(page)
}

/// A condition, and its parameter.
type Condition = (&'static str, Option<Value>);

/// The question for ids, whether what has this id is wanted, and how many runs that looks at.
fn walk(filter: &Filter, before: Option<JobId>) -> (String, Vec<Value>) {
    let (from, id, walked, asked) = split(filter);
    let words = |conditions: &[Condition]| {
        let words: Vec<_> = conditions.iter().map(|(sql, _)| *sql).collect();
        words.join(" AND ")
    };
    let wanted = if asked.is_empty() { "1".to_owned() } else { format!("({}) IS TRUE", words(&asked)) };
    // what is asked of the runs of a job looks at as many; counting them takes next to no time beside it
    let runs = match filter.state {
        Some(Whereabouts::In(_)) => {
            "(SELECT count(*) FROM run INDEXED BY run_alive WHERE run.job = job.id AND run.alive = 1)"
        }
        Some(Whereabouts::Open | Whereabouts::Ended | Whereabouts::EndedAs(_)) | None => "0",
    };
    let walked_words = if walked.is_empty() { String::new() } else { format!("{} AND ", words(&walked)) };
    // ids begin with the time. All bounds are always there, so that there are few statements
    let since = filter.since_ms.map_or([0; 16], |since| first_of(since).to_bytes());
    let before = before.map_or([u8::MAX; 16], JobId::to_bytes);
    let bounds = [before, since].map(|id| Value::Blob(id.to_vec()));
    let parameters = asked.into_iter().chain(walked).filter_map(|(_, value)| value).chain(bounds);
    let sql = format!(
        "SELECT {id}, {wanted}, {runs} FROM {from} WHERE {walked_words}{id} < ? AND {id} >= ? ORDER BY {id} DESC"
    );
    (sql, parameters.collect())
}

/// What is walked, by which id, and the conditions: those that the index knows, and the others. Of the indexes that fit, the
/// one with the fewest jobs, as far as anybody can say: what is open is bounded, failures are few. They are named, because the database
/// keeps no statistics that it could choose by.
fn split(filter: &Filter) -> (&'static str, &'static str, Vec<Condition>, Vec<Condition>) {
    let mut asked: Vec<Condition> = Vec::new();
    let mut indexes: Vec<(&'static str, Condition)> = Vec::new();
    match filter.state {
        None => {}
        Some(Whereabouts::Open) => indexes.push(("job INDEXED BY job_open", ("job.ended_ms IS NULL", None))),
        Some(Whereabouts::In(word)) => {
            indexes.push(("job INDEXED BY job_open", ("job.ended_ms IS NULL", None)));
            let runs = "EXISTS (SELECT 1 FROM run INDEXED BY run_alive WHERE run.job = job.id AND run.alive = 1 \
                AND run.state = ?)";
            asked.push((runs, Some(word.to_owned().into())));
        }
        Some(Whereabouts::Ended) => asked.push(("job.ended_ms IS NOT NULL", None)),
        Some(Whereabouts::EndedAs(outcome)) => {
            let word = Some(outcome.as_str().to_owned().into());
            if outcome.as_str() == "succeeded" {
                asked.push(("job.outcome = ?", word));
            } else {
                // written out, as the index is of those that did not succeed
                let failed = "job.outcome <> 'succeeded' AND job.outcome = ?";
                indexes.push(("job INDEXED BY job_outcome", (failed, word)));
            }
        }
    }
    if let Some(submitter) = &filter.submitter {
        let submitter = Some(submitter.to_string().into());
        indexes.push(("job INDEXED BY job_submitter", ("job.submitter = ?", submitter)));
    }
    if let Some(queue) = &filter.queue {
        let queue = Some(Value::Blob(queue.as_bytes().to_vec()));
        indexes.push(("job INDEXED BY job_queue", ("job.queue = ?", queue)));
    }
    let is_open = matches!(filter.state, Some(Whereabouts::Open | Whereabouts::In(_)));
    if let Some(agent) = &filter.agent {
        let agent = Some(agent.to_string().into());
        if !is_open {
            asked.extend(indexes.into_iter().map(|(_, condition)| condition));
            let from = "run INDEXED BY run_agent CROSS JOIN job ON job.id = run.job";
            return (from, "run.job", vec![("run.agent = ?", agent)], asked);
        }
        asked.push(("EXISTS (SELECT 1 FROM run WHERE run.job = job.id AND run.agent = ?)", agent));
    }
    let mut indexes = indexes.into_iter();
    let first = indexes.next();
    asked.extend(indexes.map(|(_, condition)| condition));
    match first {
        Some((from, condition)) => (from, "job.id", vec![condition], asked),
        None => ("job INDEXED BY job_id", "job.id", Vec::new(), asked),
    }
}

/// The lowest id of a millisecond.
fn first_of(ms: u64) -> JobId {
    let id = JobId::new(ms, 0).to_bytes();
    JobId::from_bytes((u128::from_be_bytes(id) >> 80 << 80).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use redpoll_common::ids::PeerId;
    use redpoll_common::job::{Outcome, QueueKey};

    use super::super::{files::Files, writer};
    use super::*;

    #[test]
    fn every_list_walks_one_index_in_its_order_and_what_is_open_is_found_among_the_open() {
        let folder = tempfile::tempdir().unwrap();
        let (files, _lock) = Files::prepare(&folder.path().join("store")).unwrap();
        let db = writer::connect(&files).unwrap();
        let states = [
            None,
            Some(Whereabouts::Open),
            Some(Whereabouts::In("queued")),
            Some(Whereabouts::Ended),
            Some(Whereabouts::EndedAs(Outcome::Succeeded)),
            Some(Whereabouts::EndedAs(Outcome::Failed)),
        ];
        let peer = |name: &str| PeerId::parse(name).unwrap();
        for (state, others) in states.into_iter().flat_map(|state| (0..16).map(move |others| (state, others)))
        {
            let filter = Filter {
                state,
                agent: (others & 1 != 0).then(|| peer("a")),
                queue: (others & 2 != 0).then(|| QueueKey::text("q").unwrap()),
                submitter: (others & 4 != 0).then(|| peer("bob").into()),
                since_ms: (others & 8 != 0).then_some(7),
            };
            let (sql, parameters) = walk(&filter, None);
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = plan.query_map(params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            let is_open = matches!(state, Some(Whereabouts::Open | Whereabouts::In(_)));
            assert!(!is_open || steps[0].contains("job_open"), "{filter:?}: {steps:?}");
            assert!(steps[0].starts_with("SEARCH"), "{filter:?}: {steps:?}");
            assert!(
                !steps.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN")),
                "{filter:?}: {steps:?}"
            );
        }
    }

    #[test]
    fn a_look_for_a_state_of_runs_ends_by_the_runs_it_looked_at_and_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (files, _lock) = Files::prepare(&folder.path().join("store")).unwrap();
        let db = writer::connect(&files).unwrap();
        for n in 1..=5 {
            let id = JobId::new(n, 0).to_bytes();
            let job = "INSERT INTO job (id, submitter, digest, procedure, idempotent, submitted_ms, agents, rest, args, kwargs, \
                info) VALUES (?1, 'bob', x'', 'p', 0, 0, 'a', x'', x'', x'', x'')";
            let runs = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 4000) \
                INSERT INTO run (job, agent, alive, place, state, attempt, dno, not_before_ms, items, corrected) \
                SELECT ?1, 'a' || i, 1, i, 'queued', 0, 0, 0, 0, 0 FROM n";
            for sql in [job, runs] {
                db.execute(sql, [&id[..]]).unwrap();
            }
        }
        let filter = Filter { state: Some(Whereabouts::In("running")), ..Filter::default() };
        let page = list(&db, &filter, None, 10).unwrap();
        assert_eq!((page.jobs.len(), page.next), (0, Some(JobId::new(3, 0))), "12,000 runs");
        let page = list(&db, &filter, page.next, 10).unwrap();
        assert_eq!((page.jobs.len(), page.next), (0, None));
    }
}
