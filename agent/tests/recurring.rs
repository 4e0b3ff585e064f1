//! Procedures that run by themselves: what a run becomes, what a reload does; without a manager.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod gate_support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exec_support::{next_text, shell};
use gate_support::open_gate;
use redpoll_agent::clock::boot_ms;
use redpoll_agent::exec::{self, KILL_WAIT};
use redpoll_agent::manager::{AskError, Manager};
use redpoll_agent::offered::Offered;
use redpoll_agent::schedule::outbox::OutboxOptions;
use redpoll_agent::schedule::record::Kept;
use redpoll_agent::schedule::{Around, Bounds, Entry, Recurring};
use redpoll_common::api::record::RecordArguments;
use redpoll_common::identity::Identity;
use redpoll_common::job::{ItemKind, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_config::ProcedureSchedule;
use redpoll_exec::{Claim, Places};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallContext, ProcedureInfo, Registry, memory};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(20);

/// An agent's recurring procedures, and a registry in the hands of the test.
struct Stage {
    folder: TempDir,
    recurring: Recurring,
    places: Places,
    tasks: JoinSet<()>,
}

impl Stage {
    fn new(registry: Registry, change: impl FnOnce(&mut Bounds)) -> Self {
        let folder = TempDir::new().unwrap();
        let own: PeerInfo = memory::peer(Identity::parse("spiffe://home/agent/web-1").unwrap());
        let places = Places::new(4);
        let mut bounds = Bounds {
            places: places.clone(),
            run_timeout: None,
            grace: Duration::from_millis(10),
            frame_limit: 64 * 1024,
            answer_timeout: PATIENCE,
        };
        change(&mut bounds);
        let offered = Arc::new(Offered::fixed(registry, open_gate()));
        let around = Around { own: Arc::new(own), offered, manager: Manager::default(), bounds };
        let path = folder.path().join("schedule");
        let (recurring, driver) = Recurring::open(&path, OutboxOptions::default(), around).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run(TaskTracker::new()));
        Self { folder, recurring, places, tasks }
    }

    async fn recorded(&self, runs: usize) -> Vec<Kept> {
        let path = self.folder.path().join("schedule");
        let found = timeout(PATIENCE, async {
            loop {
                let found = records(&path);
                if found.len() >= runs {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        found.await.unwrap_or_else(|_late| panic!("never {runs} records"))
    }

    async fn first(&self) -> RecordArguments {
        self.recorded(1).await.remove(0).run
    }
}

/// Whole files, in their order.
fn records(folder: &Path) -> Vec<Kept> {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "end")).collect();
    files.sort();
    let read = |path: std::path::PathBuf| Raw::parse(std::fs::read(path).unwrap().into()).unwrap();
    files.into_iter().map(|path| Kept::read(&read(path)).unwrap()).collect()
}

fn info(name: &str) -> ProcedureInfo {
    ProcedureInfo::new(name, "of a test", serde_json::json!({ "type": "object" }))
}

fn entry(procedure: &str, every: Duration) -> Entry {
    let schedule = ProcedureSchedule { at_start: true, ..ProcedureSchedule::every(every) };
    Entry { name: procedure.into(), procedure: procedure.into(), schedule }
}

const RARELY: Duration = Duration::from_secs(3600);

async fn echo(call: CallContext) -> Result<Raw, Fault> {
    call.output.value(Raw::text("one")).await.unwrap();
    call.output.chunk(ItemKind::Stderr, b"two").await.unwrap();
    call.output.progress(1, None, Raw::nil());
    Ok(call.kwargs)
}

#[tokio::test]
async fn a_run_is_recorded_with_its_arguments_values_and_result() {
    let stage = Stage::new(Registry::new().with(info("test.echo"), echo).unwrap(), |_bounds| {});
    let mut wanted = entry("test.echo@1", RARELY);
    wanted.schedule.kwargs.insert("path".into(), "/var".into());
    stage.recurring.set(vec![wanted]);
    let run = stage.first().await;
    assert_eq!((run.schedule.as_str(), run.procedure.as_str()), ("test.echo@1", "test.echo@1"));
    let kwargs = RawMap::new().text("path", "/var").finish();
    assert_eq!((&run.kwargs, run.ending.result.as_ref()), (&kwargs, Some(&kwargs)));
    assert_eq!((run.ending.outcome, run.ending.started), (Outcome::Succeeded, Some(true)));
    assert!(run.ending.duration_ms.is_some() && run.key.len() == 32);
    let kinds: Vec<_> = run.items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, [ItemKind::Value, ItemKind::Stderr]);
}

#[tokio::test]
async fn what_nobody_may_see_reaches_the_procedure_and_no_file() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = seen.clone();
    let look = move |call: CallContext| {
        sees.lock().unwrap().push(call.kwargs);
        async { Ok(Raw::nil()) }
    };
    let secret = |name: &str| ProcedureInfo { redact: vec!["password".into()], ..info(name) };
    let registry = Registry::new().with(secret("t.look"), look).unwrap();
    let registry = registry.with(secret("t.off"), echo).unwrap().without("t.off", 1, "is off");
    let stage = Stage::new(registry, |_bounds| {});
    let hidden = RawMap::new().text("open", "yes").text("password", "***").finish();
    for (procedure, outcome, kwargs) in [
        ("t.look", Outcome::Succeeded, &hidden),
        ("t.look@1", Outcome::Succeeded, &hidden),
        // it is known what of them is secret although it is not offered
        ("t.off", Outcome::Rejected, &hidden),
        // nobody knows what of them is
        ("t.absent", Outcome::Rejected, &Raw::empty_map()),
    ] {
        let before = records(&stage.folder.path().join("schedule")).len();
        let mut wanted = entry(procedure, RARELY);
        wanted.schedule.kwargs.insert("open".into(), "yes".into());
        wanted.schedule.kwargs.insert("password".into(), "hunter2".into());
        stage.recurring.set(vec![wanted]);
        let run = stage.recorded(before + 1).await.pop().unwrap().run;
        assert_eq!((run.procedure.as_str(), run.ending.outcome), (procedure, outcome));
        assert_eq!(&run.kwargs, kwargs, "{procedure}");
    }
    let clear = RawMap::new().text("open", "yes").text("password", "hunter2").finish();
    assert_eq!(*seen.lock().unwrap(), [clear.clone(), clear]);
}

#[tokio::test]
async fn failures_panics_and_what_is_not_offered_are_told_apart() {
    let fail = |_call| async { Err::<Raw, _>(Fault::new(FaultCode::Failed, "no")) };
    #[expect(unreachable_code, reason = "the type of a procedure that panics")]
    let panic = |_call| async { Ok::<Raw, Fault>(panic!("on purpose")) };
    let large = |_call| async { Ok(Raw::text(&"x".repeat(40 * 1024))) };
    let registry = Registry::new().with(info("t.fail"), fail).unwrap().with(info("t.panic"), panic).unwrap();
    let registry = registry.with(info("t.large"), large).unwrap();
    let never = |_call| async { Err::<Raw, _>(Fault::new(FaultCode::Rejected, "not startable")) };
    let registry = registry.with_program(info("t.never"), never).unwrap();
    let stage = Stage::new(registry, |_bounds| {});
    for (procedure, outcome, started, code) in [
        ("t.fail", Outcome::Failed, true, FaultCode::Failed),
        ("t.panic", Outcome::Failed, true, FaultCode::Internal),
        ("t.large", Outcome::Failed, true, FaultCode::TooLarge),
        ("t.never", Outcome::Rejected, false, FaultCode::Rejected),
        ("t.absent", Outcome::Rejected, false, FaultCode::UnknownProcedure),
    ] {
        let before = records(&stage.folder.path().join("schedule")).len();
        stage.recurring.set(vec![entry(procedure, RARELY)]);
        let run = stage.recorded(before + 1).await.pop().unwrap().run;
        assert_eq!((run.procedure.as_str(), run.ending.outcome), (procedure, outcome));
        assert_eq!(
            (run.ending.started, run.ending.fault.unwrap().code),
            (Some(started), code),
            "{procedure}"
        );
    }
}

#[tokio::test]
async fn a_run_beyond_its_time_and_one_that_the_stop_ends_say_so() {
    let wait = |_call| std::future::pending::<Result<Raw, Fault>>();
    let stage = Stage::new(Registry::new().with(info("t.wait"), wait).unwrap(), |bounds| {
        bounds.run_timeout = Some(SOON);
    });
    stage.recurring.set(vec![entry("t.wait", RARELY)]);
    let run = stage.first().await;
    assert_eq!(run.ending.outcome, Outcome::TimedOut);
    assert!(run.ending.fault.unwrap().message.contains("limits.run_timeout"));

    let late = |call: CallContext| async move {
        call.stop.stopped().await;
        Ok(Raw::nil())
    };
    let registry = Registry::new().with_graceful(info("t.late"), late).unwrap();
    let stage = Stage::new(registry, |bounds| (bounds.run_timeout, bounds.grace) = (Some(SOON), PATIENCE));
    stage.recurring.set(vec![entry("t.late", RARELY)]);
    let ending = stage.first().await.ending;
    assert_eq!((ending.outcome, ending.result), (Outcome::TimedOut, None));
    assert!(ending.fault.unwrap().message.ends_with("which does not count"));

    let began = Arc::new(Notify::new());
    let told = began.clone();
    let graceful = move |call: CallContext| {
        let told = told.clone();
        async move {
            told.notify_one();
            let reason = call.stop.stopped().await;
            Err::<Raw, _>(redpoll_net::service::stop_fault(reason))
        }
    };
    let mut stage =
        Stage::new(Registry::new().with_graceful(info("t.patient"), graceful).unwrap(), |_bounds| {});
    stage.recurring.set(vec![entry("t.patient", RARELY)]);
    timeout(PATIENCE, began.notified()).await.unwrap();
    stage.recurring.drain();
    timeout(PATIENCE, stage.recurring.end(PATIENCE)).await.unwrap();
    let run = stage.first().await;
    assert_eq!(run.ending.outcome, Outcome::Cancelled);
    assert_eq!(run.ending.fault.unwrap().code, FaultCode::ShuttingDown);
    timeout(PATIENCE, stage.tasks.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_asked_to_end_is_heard_until_what_it_started_is_killed_or_given_up() {
    let grace = Duration::from_secs(10);
    let slow = move |call: CallContext| async move {
        let reason = call.stop.stopped().await;
        // as a program that does not go, and is killed, and does not go
        tokio::time::sleep(grace + KILL_WAIT).await;
        Err::<Raw, _>(redpoll_net::service::stop_fault(reason).with_data(Raw::text("its last word")))
    };
    let stage = Stage::new(Registry::new().with_graceful(info("t.slow"), slow).unwrap(), |bounds| {
        (bounds.run_timeout, bounds.grace) = (Some(SOON), grace);
    });
    stage.recurring.set(vec![entry("t.slow", RARELY)]);
    let run = stage.first().await;
    assert_eq!(run.ending.outcome, Outcome::TimedOut);
    assert_eq!(run.ending.fault.unwrap().data, Some(Raw::text("its last word")));
}

#[tokio::test]
async fn a_run_is_timed_with_the_clock_that_goes_on_while_the_machine_sleeps() {
    // the clock of timers goes on by itself here, and that of the boot does not, as the other way round in a sleep
    let over = Arc::new(Notify::new());
    let told = over.clone();
    let hours = move |_call| {
        let told = told.clone();
        async move {
            tokio::time::pause();
            tokio::time::advance(2 * RARELY).await;
            tokio::time::resume();
            told.notify_one();
            Ok(Raw::nil())
        }
    };
    let stage = Stage::new(Registry::new().with(info("t.hours"), hours).unwrap(), |bounds| {
        bounds.run_timeout = Some(RARELY);
    });
    stage.recurring.set(vec![entry("t.hours", 10 * RARELY)]);
    over.notified().await;
    let run = stage.first().await;
    assert_eq!(run.ending.outcome, Outcome::Succeeded);
    assert!(run.ending.duration_ms.unwrap() < 600_000, "{:?}", run.ending.duration_ms);
}

/// Holds a process in the kernel when it is killed: a tracer that wants to see its end, and never looks.
const HOLD: &str = "import ctypes, sys
SEIZE, TRACEEXIT = 0x4206, ctypes.c_void_p(0x40)
libc = ctypes.CDLL(None)
print('no' if libc.ptrace(SEIZE, int(sys.argv[1]), None, TRACEEXIT) else 'yes', flush=True)
sys.stdin.read()
";

#[tokio::test]
async fn no_run_begins_beside_one_of_which_a_process_outlives_sigkill() {
    let (tell, mut told) = mpsc::channel(8);
    let hang = move |_call| {
        let tell = tell.clone();
        async move {
            let (chunks, mut output) = mpsc::channel(8);
            let running = exec::run(shell("echo $$; exec sleep 1000"), chunks, std::future::pending());
            let (ended, ()) = tokio::join!(running, async {
                tell.send(next_text(&mut output).await).await.unwrap();
            });
            ended.map(|_exit| Raw::nil()).map_err(|error| Fault::new(FaultCode::Failed, error.to_string()))
        }
    };
    let stage = Stage::new(Registry::new().with(info("t.hang"), hang).unwrap(), |bounds| {
        bounds.run_timeout = Some(Duration::from_secs(2));
    });
    stage.recurring.set(vec![entry("t.hang", Duration::from_millis(10))]);
    let pid = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    let mut tracer = Command::new("python3");
    tracer.args(["-c", HOLD, pid.trim()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tracer = tracer.spawn().unwrap();
    let mut holds = String::new();
    BufReader::new(tracer.stdout.take().unwrap()).read_line(&mut holds).unwrap();
    let run = stage.first().await;
    let began_beside = told.try_recv().is_ok();
    let is_there = Path::new("/proc").join(pid.trim()).exists();
    stage.recurring.set(Vec::new());
    drop(tracer.stdin.take());
    tracer.wait().unwrap();
    assert_eq!(run.ending.outcome, Outcome::TimedOut);
    // before Linux 5.17, and where nobody may trace, nothing holds it
    if holds == "yes\n" && is_there {
        let fault = run.ending.fault.unwrap();
        assert!(fault.message.ends_with("; a process of it has outlived SIGKILL"), "{fault}");
        assert!(!began_beside, "another run began beside it");
    }
}

#[tokio::test]
async fn a_run_waits_for_a_place_among_the_calls_and_never_runs_beside_itself() {
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (at_once.clone(), most.clone());
    let count = move |_call| {
        let (at_once, most) = counted.clone();
        async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // until others are due beside it, by the clock that decides it
            let due = boot_ms() + 5;
            while boot_ms() < due {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(Raw::nil())
        }
    };
    let stage = Stage::new(Registry::new().with(info("t.count"), count).unwrap(), |_bounds| {});
    let all: Vec<_> = std::iter::from_fn(|| stage.places.take(Claim::Ordinary)).collect();
    stage.recurring.set(vec![entry("t.count", Duration::from_millis(1))]);
    // one is due and waits for a place: nothing may even be noted
    let due = async { while timeout(Duration::from_millis(1), stage.recurring.idle()).await.is_ok() {} };
    timeout(PATIENCE, due).await.unwrap();
    assert_eq!(std::fs::read_dir(stage.folder.path().join("schedule")).unwrap().count(), 0);
    drop(all);
    stage.recorded(4).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reload_ends_what_is_gone_and_lets_what_runs_run() {
    let (go, names) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let around = (go.clone(), names.clone());
    let wait = move |call: CallContext| {
        let (go, names) = around.clone();
        async move {
            names.lock().unwrap().push(call.method);
            go.notified().await;
            Ok(Raw::nil())
        }
    };
    let registry = Registry::new().with(info("t.a"), wait.clone()).unwrap().with(info("t.b"), wait).unwrap();
    let stage = Stage::new(registry, |_bounds| {});
    let began = async |runs: usize| {
        let reached = async {
            while names.lock().unwrap().len() < runs {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap();
    };
    stage.recurring.set(vec![entry("t.a", RARELY)]);
    began(1).await;
    stage.recurring.set(vec![entry("t.b", RARELY)]);
    began(2).await;
    assert_eq!(*names.lock().unwrap(), ["t.a", "t.b"]);
    go.notify_waiters();
    let outcomes: Vec<_> = stage.recorded(2).await.into_iter().map(|kept| kept.run.ending.outcome).collect();
    assert_eq!(outcomes, [Outcome::Succeeded; 2], "what runs is not touched by a reload");
}

#[tokio::test]
async fn without_a_session_asking_the_manager_fails_at_once_and_says_so() {
    let manager = Manager::default();
    let error = manager.emit("disk.full", &1).await.unwrap_err();
    assert_eq!(error, AskError::NoSession);
    assert!(error.to_string().contains("nothing was sent") && !manager.is_connected());
}
