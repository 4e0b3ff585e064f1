//! Which open runs are meant: by what the callers of their jobs said, by fields of the jobs, and by fields of the runs.
//!
//! A criterion is a map with one entry: `{"and": [c, …]}`, `{"or": [c, …]}`, or a comparison over a map of fields that all
//! have to hold: `{"eq": {"info.customer": 7}}`. The comparisons:
//!
//! | word | holds when the field |
//! |---|---|
//! | `match` | is equal; in a text, `*` stands for any characters |
//! | `eq`, `neq` | is equal, is there and not equal |
//! | `gt`, `lt` | is greater, is less: both numbers, or both texts |
//! | `in` | is equal to one of the listed values |
//!
//! Fields: `info.…` (keys of the caller's info, with dots into inner maps), `info` (all of it), `info/…` (the same as a JSON Pointer
//! of RFC 6901, for keys that have dots in them), and of the job `id`, `submitter`, `procedure`,
//! `queue`, `key`, `held`, `idempotent`, `submitted_ms`; and of the run `agent`, `state` and `attempt`. All are asked of one run
//! at a time: what speaks of jobs alone holds for all runs of a job or for none, what speaks of runs chooses among them.
//! **A field that is not there never matches**, not even with `neq`: what nobody said is no reason to end a run.

mod compare;
mod times;

use std::collections::BTreeMap;

use redpoll_common::wire::{Fields, Raw};

use super::view::{JobView, RunView};
pub use compare::Comparison;
use compare::{hits, prepared};
use times::{TIME, time};

/// How deep criteria may be nested.
pub const MAX_DEPTH: usize = 8;
/// How many comparisons, lists and listed values one criterion may have in all.
pub const MAX_PARTS: usize = 1_000;
/// How often the criteria of one cancel may compare, with all jobs and runs: about a second's worth, in which nothing else goes on.
pub const MAX_COMPARISONS: u64 = 20_000_000;
/// How many bytes the name of a field and a pattern of `match` may have: each is asked of every open run.
pub const MAX_TEXT: usize = 1_024;

/// How many bytes of an info cost as much to look through as a comparison.
const INFO_BYTES: usize = 64;

/// How often criteria compare, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Comparisons {
    /// With each job.
    of_job: u64,
    /// Walks through the info of each job, one for each level that a field stands down in it, and patterns that a text of it is held
    /// against: each costs as the bytes of the info do.
    of_info: u64,
    /// With each run.
    pub(super) of_run: u64,
}

/// A condition on runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Criteria {
    /// All of them hold.
    And(Vec<Self>),
    /// At least one holds.
    Or(Vec<Self>),
    /// A field compares so with one of the values; with `neq`, with the one value.
    Field(String, Comparison, Vec<Raw>),
}

/// Why a value is no criterion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CriteriaError {
    /// It is no map with one entry.
    #[error("a criterion is a map with one entry, such as {{\"eq\": {{\"info.customer\": 7}}}}")]
    NotOne,
    /// Its word is none of the known ones.
    #[error("{word:?} is none of and, or, match, eq, neq, gt, lt, in")]
    UnknownWord {
        /// The word, shortened.
        word: String,
    },
    /// What follows `and` or `or` is no list with something in it.
    #[error("{word:?} needs a list of criteria, with at least one")]
    NoList {
        /// The word.
        word: &'static str,
    },
    /// What follows a comparison is no map with something in it.
    #[error("{word:?} needs a map of fields, with at least one")]
    NoFields {
        /// The word.
        word: String,
    },
    /// What follows `in` for a field is no list.
    #[error("\"in\" needs a list of values for {field:?}")]
    NoValues {
        /// The field.
        field: String,
    },
    /// Neither jobs nor runs have such a field.
    #[error(
        "{field:?} is no field of a job or a run; the caller's own are info.NAME, or info/NAME for names with dots"
    )]
    UnknownField {
        /// The field, shortened.
        field: String,
    },
    /// No open run can be in this state, or every one is in another.
    #[error("{state:?} is no state of an open run: held, queued, offered, accepted, running, in_doubt")]
    UnknownState {
        /// The state, shortened.
        state: String,
    },
    /// A time is no whole number of milliseconds.
    #[error("{TIME:?} needs times in UTC milliseconds since 1970, such as 1795874400000")]
    NoTime,
    /// A name of a field, or a pattern of `match`.
    #[error("{what} beginning with {text:?} has {len} bytes; the limit is {MAX_TEXT}")]
    TooLong {
        /// Which of them.
        what: &'static str,
        /// It, shortened.
        text: String,
        /// Its bytes.
        len: usize,
    },
    /// It is too deep or too large.
    #[error("the criteria are nested deeper than {MAX_DEPTH} or have more than {MAX_PARTS} parts")]
    TooLarge,
}

const OF_JOBS: [&str; 9] =
    ["id", "submitter", "procedure", "queue", "key", "held", "idempotent", "submitted_ms", "info"];
const OF_RUNS: [&str; 3] = [AGENT, STATE, ATTEMPT];
const AGENT: &str = "agent";
const STATE: &str = "state";
const ATTEMPT: &str = "attempt";
/// What `state` can be of a run that has not ended.
const STATES: [&str; 6] = ["held", "queued", "offered", "accepted", "running", "in_doubt"];

/// What is left of criteria when the job is known: what its runs are asked one by one, so that fields of the job, which may be
/// large, are looked at once.
#[derive(Debug)]
pub enum OfRuns<'c> {
    /// The job alone decides.
    Decided(bool),
    /// All of them hold.
    And(Vec<Self>),
    /// At least one holds.
    Or(Vec<Self>),
    /// A field of the run compares so with one of the values.
    Field(&'c str, Comparison, &'c [Raw]),
}

impl Criteria {
    /// Reads criteria as somebody gave them.
    ///
    /// # Errors
    /// [`CriteriaError`] says what is wrong. Nothing that is misspelt is ever taken for "all".
    pub fn parse(value: &Raw) -> Result<Self, CriteriaError> {
        let mut parts = MAX_PARTS;
        read(value, MAX_DEPTH, &mut parts)
    }

    /// How many comparisons it makes.
    pub(super) fn comparisons(&self) -> Comparisons {
        match self {
            Self::And(list) | Self::Or(list) => {
                list.iter().fold(Comparisons::default(), |sum, one| sum.and(one.comparisons()))
            }
            Self::Field(field, comparison, values) => {
                let (number, none) = (count(values.len()), Comparisons::default());
                match field.as_str() {
                    AGENT | STATE | ATTEMPT => Comparisons { of_run: number, ..none },
                    of_job if !of_job.starts_with("info") => Comparisons { of_job: number, ..none },
                    of_info => {
                        let levels = count(of_info.split(['.', '/']).count());
                        let patterns = if *comparison == Comparison::Match { number } else { 0 };
                        Comparisons { of_job: number, of_info: levels.saturating_add(patterns), ..none }
                    }
                }
            }
        }
    }

    /// What a run of this job has to meet.
    pub fn of_runs(&self, job: &JobView<'_>) -> OfRuns<'_> {
        match self {
            Self::And(all) => reduce(all, job, false, OfRuns::And),
            Self::Or(any) => reduce(any, job, true, OfRuns::Or),
            Self::Field(field, comparison, values) if OF_RUNS.contains(&field.as_str()) => {
                OfRuns::Field(field, *comparison, values)
            }
            Self::Field(field, comparison, values) => {
                OfRuns::Decided(of_job(job, field).is_some_and(|found| hits(*comparison, &found, values)))
            }
        }
    }
}

impl Comparisons {
    fn and(self, other: Self) -> Self {
        Self {
            of_job: self.of_job.saturating_add(other.of_job),
            of_info: self.of_info.saturating_add(other.of_info),
            of_run: self.of_run.saturating_add(other.of_run),
        }
    }

    /// With a job whose info has so many bytes, without its runs.
    pub(super) fn with_job(self, info: usize) -> u64 {
        let weight = count(info / INFO_BYTES).saturating_add(1);
        self.of_job.saturating_add(self.of_info.saturating_mul(weight))
    }
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// One that is `decisive` decides alone; of the others those remain that ask for more.
fn reduce<'c>(
    list: &'c [Criteria],
    job: &JobView<'_>,
    decisive: bool,
    join: fn(Vec<OfRuns<'c>>) -> OfRuns<'c>,
) -> OfRuns<'c> {
    let mut rest = Vec::new();
    for criteria in list {
        match criteria.of_runs(job) {
            OfRuns::Decided(known) if known == decisive => return OfRuns::Decided(decisive),
            OfRuns::Decided(_) => {}
            asks @ (OfRuns::And(_) | OfRuns::Or(_) | OfRuns::Field(..)) => rest.push(asks),
        }
    }
    if rest.is_empty() { OfRuns::Decided(!decisive) } else { join(rest) }
}

impl OfRuns<'_> {
    /// Whether the run meets it.
    pub fn meets(&self, run: &RunView<'_>) -> bool {
        match self {
            Self::Decided(known) => *known,
            Self::And(all) => all.iter().all(|one| one.meets(run)),
            Self::Or(any) => any.iter().any(|one| one.meets(run)),
            Self::Field(field, comparison, values) => {
                of_run(run, field).is_some_and(|found| hits(*comparison, &found, values))
            }
        }
    }
}

fn read(value: &Raw, depth: usize, parts: &mut usize) -> Result<Criteria, CriteriaError> {
    let depth = depth.checked_sub(1).ok_or(CriteriaError::TooLarge)?;
    take(parts, 1)?;
    let entries: BTreeMap<String, Raw> = value.decode().map_err(|_no_map| CriteriaError::NotOne)?;
    let mut entries = entries.into_iter();
    let (Some((word, operand)), None) = (entries.next(), entries.next()) else {
        return Err(CriteriaError::NotOne);
    };
    let list = |word, parts: &mut usize| {
        let all: Vec<Raw> = operand.decode().map_err(|_no_list| CriteriaError::NoList { word })?;
        if all.is_empty() {
            return Err(CriteriaError::NoList { word });
        }
        all.iter().map(|value| read(value, depth, parts)).collect::<Result<Vec<_>, _>>()
    };
    let comparison = match word.as_str() {
        "and" => return list("and", parts).map(Criteria::And),
        "or" => return list("or", parts).map(Criteria::Or),
        "match" => Comparison::Match,
        "eq" => Comparison::Eq,
        "neq" => Comparison::Neq,
        "gt" => Comparison::Gt,
        "lt" => Comparison::Lt,
        "in" => Comparison::In,
        other => return Err(CriteriaError::UnknownWord { word: short(other) }),
    };
    let fields: BTreeMap<String, Raw> =
        operand.decode().map_err(|_no_map| CriteriaError::NoFields { word: word.clone() })?;
    take(parts, fields.len())?;
    let mut all = Vec::with_capacity(fields.len());
    for (field, value) in fields {
        fits_limit("a field", &field)?;
        let of_info = field.starts_with("info.") || field.starts_with("info/");
        if !OF_JOBS.contains(&field.as_str()) && !OF_RUNS.contains(&field.as_str()) && !of_info {
            return Err(CriteriaError::UnknownField { field: short(&field) });
        }
        let values = if comparison == Comparison::In {
            value.decode::<Vec<Raw>>().map_err(|_no_list| CriteriaError::NoValues { field: field.clone() })?
        } else {
            vec![value]
        };
        take(parts, values.len())?;
        let ready = |value| if field == TIME { time(&value) } else { prepared(comparison, value) };
        let values = values.into_iter().map(ready).collect::<Result<Vec<_>, _>>()?;
        if field == STATE && matches!(comparison, Comparison::Eq | Comparison::Neq | Comparison::In) {
            // misspelt, `neq` would be true of every run
            let known = |value: &&Raw| value.as_text().is_some_and(|state| STATES.contains(&state));
            if let Some(wrong) = values.iter().find(|value| !known(value)) {
                let state = wrong.as_text().map_or_else(|| "what is no text".to_owned(), short);
                return Err(CriteriaError::UnknownState { state });
            }
        }
        all.push(Criteria::Field(field, comparison, values));
    }
    match all.len() {
        0 => Err(CriteriaError::NoFields { word }),
        1 => all.pop().ok_or(CriteriaError::NotOne),
        _ => Ok(Criteria::And(all)),
    }
}

fn fits_limit(what: &'static str, text: &str) -> Result<(), CriteriaError> {
    match text.len() {
        ..=MAX_TEXT => Ok(()),
        len => Err(CriteriaError::TooLong { what, text: short(text), len }),
    }
}

fn take(parts: &mut usize, count: usize) -> Result<(), CriteriaError> {
    *parts = parts.checked_sub(count).ok_or(CriteriaError::TooLarge)?;
    Ok(())
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn of_run(run: &RunView<'_>, field: &str) -> Option<Raw> {
    match field {
        AGENT => Some(Raw::text(run.agent.as_str())),
        STATE => Some(Raw::text(run.state)),
        ATTEMPT => Raw::encode(&run.attempt.0).ok(),
        _ => None,
    }
}

fn of_job(job: &JobView<'_>, field: &str) -> Option<Raw> {
    let record = job.record;
    match field {
        "id" => Some(Raw::text(&record.id.to_string())),
        "submitter" => Some(Raw::text(record.submitter.as_str())),
        "procedure" => Some(Raw::text(&record.spec.procedure)),
        "queue" => record.spec.queue.as_ref().map(|queue| queue.name.to_raw()),
        "key" => record.key().map(Raw::text),
        "held" => Raw::encode(&record.is_held()).ok(),
        "idempotent" => Raw::encode(&record.idempotent).ok(),
        "submitted_ms" => Raw::encode(&record.submitted_ms).ok(),
        "info" => Some(record.spec.info.clone()).filter(|info| !info.is_nil()),
        field => match field.strip_prefix("info/") {
            Some(pointer) => {
                let names = pointer.split('/').map(|name| name.replace("~1", "/").replace("~0", "~"));
                within(&record.spec.info, names)
            }
            None => within(&record.spec.info, field.strip_prefix("info.")?.split('.').map(str::to_owned)),
        },
    }
}

/// What stands under these keys, from map to map. Without decoding what stands beside it: it is asked of every open job.
fn within(info: &Raw, names: impl Iterator<Item = String>) -> Option<Raw> {
    let mut value = info.clone();
    for name in names {
        // of a key that is there twice, the last
        let (_, found) = Fields::of(&value).ok()?.iter().filter(|(key, _)| *key == name).last()?;
        value = Raw::parse(value.to_bytes().slice_ref(found)).ok()?;
    }
    Some(value)
}
