//! `sys.leftovers` and `sys.leftovers.stop`: what is left of runs whose agent died.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::job::JobId;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::ProceduresConfig;
use redpoll_net::{CallContext, ProcedureInfo, Registry};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;

use super::InstallError;
use super::arguments::{BadArguments, answer, no_arguments};
use crate::exec::leftovers::Leftover;
use crate::leftovers::{LeftOfOther, LeftOfRun, Leftovers};

/// The built-in that lists what is left.
const LIST: &str = "sys.leftovers";
/// The built-in that ends it.
const STOP: &str = "sys.leftovers.stop";
/// Runs that one answer lists.
const MAX_RUNS: usize = 100;
/// Processes of each that it lists. All of it fits half a frame of the usual size.
const MAX_PROCESSES: usize = 32;
/// How long looking may take; only a machine in distress needs so long.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Process {
    pid: i32,
    program: String,
    running_ms: u64,
}

impl From<&Leftover> for Process {
    fn from(leftover: &Leftover) -> Self {
        Self { pid: leftover.pid, program: leftover.program.clone(), running_ms: leftover.age_ms }
    }
}

#[derive(Debug, Serialize)]
struct Run {
    job: String,
    attempt: u16,
    procedure: String,
    found_ms_ago: u64,
    processes: Vec<Process>,
    /// Processes beyond those listed.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
}

#[derive(Debug, Serialize)]
struct Other {
    mark: String,
    kind: &'static str,
    procedure: String,
    found_ms_ago: u64,
    processes: Vec<Process>,
    /// Processes beyond those listed.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
}

#[derive(Debug, Serialize)]
struct List {
    runs: Vec<Run>,
    /// What is no run of a job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Other>,
    /// Runs beyond those listed.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
}

#[derive(Debug, Serialize)]
struct Stopped {
    ended: Vec<Process>,
    /// What outlived SIGKILL.
    left: Vec<Process>,
    /// Processes beyond those listed.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Adds those of the two that `offered` names.
///
/// # Errors
/// [`InstallError`] when the registry has one of the names already.
pub fn install(
    registry: Registry,
    offered: &ProceduresConfig,
    leftovers: &Leftovers,
) -> Result<Registry, InstallError> {
    let mut registry = registry;
    if offered.offers(LIST) {
        // one look at a time: should the machine be slow, callers are told, and threads do not pile up
        let (leftovers, turn) = (leftovers.clone(), Arc::new(Semaphore::new(1)));
        registry = registry.with(list_info(), move |call| list(call, leftovers.clone(), turn.clone()))?;
    }
    if offered.offers(STOP) {
        let leftovers = leftovers.clone();
        // goes on to its end also when its caller leaves: what was asked to end is killed when its grace is over
        registry = registry.with_graceful(stop_info(), move |call| stop(call, leftovers.clone()))?;
    }
    Ok(registry)
}

/// What both are, offered or not.
pub fn infos() -> [ProcedureInfo; 2] {
    [list_info(), stop_info()]
}

fn list_info() -> ProcedureInfo {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let text =
        "Lists processes that are left of runs, calls and workers because the agent died while they ran.";
    ProcedureInfo::new(LIST, text, schema)
}

fn stop_info() -> ProcedureInfo {
    let schema = json!({
        "type": "object",
        "properties": {
            "job": {
                "type": "string", "pattern": "^[0-9a-f]{32}$",
                "description": "The job whose leftovers are ended: SIGTERM, the agent's limits.grace, SIGKILL."
            },
            "mark": {
                "type": "string", "pattern": "^[0-9a-f.]{1,100}$",
                "description": "The mark of what is no run of a job, as sys.leftovers lists it, in place of a job."
            }
        },
        "x-positional": ["job"],
        "additionalProperties": false
    });
    let text = "Ends processes that are left of a job, or of what has a mark, because the agent died while it ran; says which.";
    ProcedureInfo { idempotent: true, ..ProcedureInfo::new(STOP, text, schema) }
}

async fn list(call: CallContext, leftovers: Leftovers, turn: Arc<Semaphore>) -> Result<Raw, Fault> {
    no_arguments(&call)?;
    let listed = tokio::time::timeout(PATIENCE, async {
        let turn = turn.acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _turn = turn; // kept until the thread is done, also when nobody waits for it any more
            (leftovers.list(), leftovers.known_others())
        })
        .await
    });
    match listed.await {
        Ok(Ok((runs, others))) => {
            let (runs, more) = first(&runs, MAX_RUNS, run);
            let (others, beyond) = first(&others, MAX_RUNS - runs.len(), other);
            Ok(answer(&List { runs, others, more: more + beyond })?)
        }
        Ok(Err(_)) => Err(Fault::new(FaultCode::Internal, "looking for leftovers ended unexpectedly")),
        Err(_) => {
            let text = "looking at the processes of the machine takes too long; is it overloaded?";
            Err(Fault::new(FaultCode::Internal, text))
        }
    }
}

/// The first of some in another form, and how many there are beyond.
fn first<'a, T, U>(all: &'a [T], max: usize, form: impl Fn(&'a T) -> U) -> (Vec<U>, usize) {
    (all.iter().take(max).map(form).collect(), all.len().saturating_sub(max))
}

fn run(left: &LeftOfRun) -> Run {
    let (processes, more) = first(&left.processes, MAX_PROCESSES, Process::from);
    Run {
        job: left.run.job.to_string(),
        attempt: left.run.attempt.0,
        procedure: left.procedure.clone(),
        found_ms_ago: left.found_ms_ago,
        processes,
        more,
    }
}

fn other(left: &LeftOfOther) -> Other {
    let (processes, more) = first(&left.processes, MAX_PROCESSES, Process::from);
    Other {
        mark: left.mark.clone(),
        kind: left.kind.as_str(),
        procedure: left.procedure.clone(),
        found_ms_ago: left.found_ms_ago,
        processes,
        more,
    }
}

async fn stop(call: CallContext, leftovers: Leftovers) -> Result<Raw, Fault> {
    let ended = match target_of(&call.args, &call.kwargs)? {
        Target::Job(job) => leftovers.stop(job).await?,
        Target::Mark(mark) => leftovers.stop_other(&mark).await?,
    };
    let (ended, left) = (ended.ended, ended.left);
    let (ended, beyond) = first(&ended, MAX_PROCESSES, Process::from);
    let (left, more) = first(&left, MAX_PROCESSES, Process::from);
    Ok(answer(&Stopped { ended, left, more: beyond + more })?)
}

/// Whose leftovers are ended.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Job(JobId),
    Mark(String),
}

fn target_of(args: &Raw, kwargs: &Raw) -> Result<Target, BadArguments> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        job: Option<String>,
        mark: Option<String>,
    }
    let what = || BadArguments(format!("{STOP} takes one argument, job: the id of a job, or mark"));
    let positional: Vec<String> = args.decode().map_err(|_other| what())?;
    let Named { job: named, mark } = kwargs.decode().map_err(|_other| what())?;
    match (named, positional.as_slice(), mark) {
        (Some(job), [], None) => JobId::parse(&job),
        (None, [job], None) => JobId::parse(job),
        (None, [], Some(mark)) => return Ok(Target::Mark(mark)),
        _ => return Err(what()),
    }
    .map(Target::Job)
    .map_err(|error| BadArguments(format!("job: {error}")))
}

#[cfg(test)]
mod tests {
    use redpoll_common::ids::PeerId;

    use super::*;

    fn installed(entries: &[&str]) -> Vec<String> {
        let builtin = entries.iter().map(|&entry| entry.to_owned()).collect();
        let offered = ProceduresConfig { builtin, ..ProceduresConfig::default() };
        let leftovers = Leftovers::forgetful(PeerId::parse("web-1").unwrap(), Duration::ZERO);
        let registry = install(Registry::new(), &offered, &leftovers).unwrap();
        registry.procedures().map(|info| info.name.clone()).collect()
    }

    #[test]
    fn they_belong_to_sys_and_looking_can_be_had_without_ending() {
        assert_eq!(installed(&["sys.*"]), [LIST, STOP]);
        assert_eq!(installed(&["sys.leftovers"]), [LIST]);
        assert_eq!(installed(&["sys.leftovers.stop"]), [STOP]);
        assert_eq!(installed(&["exec.run", "sys.ping"]), [""; 0]);
        assert!([LIST, STOP].iter().all(|name| super::super::NAMES.contains(name)));
        assert_eq!([LIST, STOP], redpoll_schema::policy::LEFTOVERS, "the policy knows them by these names");
    }

    #[test]
    fn every_schema_is_an_object_that_allows_no_other_arguments() {
        for info in infos() {
            assert_eq!(
                (&info.args["type"], &info.args["additionalProperties"]),
                (&json!("object"), &json!(false))
            );
            assert!(!info.description.is_empty());
        }
    }

    #[test]
    fn a_list_has_an_end_and_says_what_is_beyond() {
        let double = |n: &u32| n * 2;
        assert_eq!(first(&[1, 2, 3], 2, double), (vec![2, 4], 1));
        assert_eq!(first(&[1, 2], 2, double), (vec![2, 4], 0));
        let list = List { runs: Vec::new(), others: Vec::new(), more: 0 };
        let told: serde_json::Value = Raw::encode(&list).unwrap().decode().unwrap();
        assert_eq!(told, json!({"runs": []}), "nothing beyond is nothing said");
    }

    #[test]
    fn a_job_is_named_once_and_well() {
        let id = "05".repeat(16);
        let read = |args: serde_json::Value, kwargs: serde_json::Value| {
            let (args, kwargs) = (Raw::encode(&args).unwrap(), Raw::encode(&kwargs).unwrap());
            let shown = |target| match target {
                Target::Job(job) => job.to_string(),
                Target::Mark(mark) => format!("mark {mark}"),
            };
            target_of(&args, &kwargs).map(shown).map_err(|BadArguments(text)| text)
        };
        assert_eq!(read(json!([id]), json!({})), Ok(id.clone()));
        assert_eq!(read(json!([]), json!({"job": id})), Ok(id.clone()));
        assert_eq!(read(json!([]), json!({"mark": "7.a.1"})), Ok("mark 7.a.1".to_owned()));
        for (args, kwargs) in [
            (json!([]), json!({})),
            (json!([id]), json!({"job": id})),
            (json!([id, id]), json!({})),
            (json!([id]), json!({"mark": "7.a.1"})),
            (json!([7]), json!({})),
            (json!([]), json!({"job": id, "force": true})),
            (json!([]), json!({"job": "x"})),
            (json!(["../.."]), json!({})),
        ] {
            let said = read(args.clone(), kwargs.clone()).unwrap_err();
            assert!(said.contains("job"), "{args} {kwargs}: {said}");
        }
    }
}
