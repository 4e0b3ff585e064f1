//! Programs as somebody else, within limits, and trees that try to get away.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use exec_support::{collect, collect_until, eventually, lives, next_text, shell, spec};
use redpoll_agent::exec::account::Account;
use redpoll_agent::exec::adopted;
use redpoll_agent::exec::cgroup::Usage;
use redpoll_agent::exec::confine::Confine;
use redpoll_agent::exec::{EndedBy, ExecError, ProcessSpec, StopReason};
use tokio::task::JoinSet;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn confine(user: Option<&str>, rlimits: Usage) -> Confine {
    Confine {
        helper: PathBuf::from(env!("CARGO_BIN_EXE_redpoll-agent")),
        account: user.map(|user| Account::find(user, None).unwrap()),
        rlimits,
        cgroup: None,
    }
}

fn confined(spec: ProcessSpec, confine: Confine) -> ProcessSpec {
    ProcessSpec { confine: Some(confine), ..spec }
}

#[tokio::test]
async fn a_program_has_the_user_the_groups_and_no_way_back() {
    if !is_root() {
        return; // nobody else can become somebody else
    }
    let account = Account { groups: vec![4, 33], ..Account::find("nobody", None).unwrap() };
    let script = "id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; ls /proc/self/fd | wc -l";
    let as_nobody = Confine { account: Some(account.clone()), ..confine(None, Usage::default()) };
    let run = collect(confined(shell(script), as_nobody)).await.unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let expected = format!("{}\n{}\n{} 4 33\nNoNewPrivs:\t1\n4\n", account.uid, account.gid, account.gid);
    assert_eq!(said, expected, "three streams and the one that ls opens");
    assert_eq!(run.exit.code, Some(0));
}

#[tokio::test]
async fn memory_and_processes_are_limited_where_there_is_no_control_group() {
    let memory = Usage { memory: Some(256 * 1024 * 1024), ..Usage::default() };
    let hungry = "import sys\ntry:\n  bytearray(1024*1024*1024)\nexcept MemoryError:\n  sys.exit(42)\n";
    let run = collect(confined(spec(&["python3", "-c", hungry]), confine(None, memory))).await.unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!((run.exit.code, run.exit.signal), (Some(42), None), "{said}");
    if !is_root() {
        return;
    }
    let bomb = "import os,sys,time\nn=0\ntry:\n  while n<500:\n    if os.fork()==0:\n      time.sleep(60)\n      os._exit(0)\n    n+=1\nexcept OSError:\n  pass\nprint(n,flush=True)\ntime.sleep(60)";
    let processes = Usage { processes: Some(20), ..Usage::default() };
    let mut limited = confined(spec(&["python3", "-c", bomb]), confine(Some("nobody"), processes));
    limited.grace = Duration::ZERO;
    let (sender, mut chunks) = tokio::sync::mpsc::channel(2);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut run = JoinSet::new();
    run.spawn(redpoll_agent::exec::run(limited, sender, async move {
        stopped.await.ok();
        StopReason::Cancelled
    }));
    let made: u32 = next_text(&mut chunks).await.trim().parse().unwrap();
    assert!(made < 20, "{made} processes");
    stop.send(()).unwrap();
    let exit = run.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((exit.ended_by, exit.left_behind), (EndedBy::Stopped(StopReason::Cancelled), 0));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_found_out_before_anything_runs() {
    let free = || confine(None, Usage::default());
    let missing = collect(confined(spec(&["no-such-program-here"]), free())).await.unwrap_err();
    assert!(matches!(missing, ExecError::NotFound { .. }), "{missing}");
    let missing = collect(confined(spec(&["/nowhere/at/all"]), free())).await.unwrap_err();
    assert!(matches!(missing, ExecError::NotFound { .. }), "{missing}");
    let denied = collect(confined(spec(&["/etc/passwd"]), free())).await.unwrap_err();
    assert!(matches!(denied, ExecError::Denied { .. }), "{denied}");
    let group = Confine { cgroup: Some("/nowhere".into()), ..free() };
    let failed = collect(confined(spec(&["true"]), group)).await.unwrap_err();
    let why = failed.source().map(ToString::to_string).unwrap_or_default();
    assert!(
        matches!(failed, ExecError::System { .. }) && why.starts_with("joining its control group: "),
        "{why}"
    );
}

/// Forks twice, makes a session of its own, clears its environment, lets go of all streams, and writes its number.
fn fugitive(mark: &std::path::Path) -> String {
    format!(
        "import os\nif os.fork()==0:\n  os.setsid()\n  if os.fork()==0:\n    n=os.open('/dev/null',os.O_RDWR)\n    [os.dup2(n,i) for i in range(3)]\n    open('{0}.new','w').write(str(os.getpid()))\n    os.rename('{0}.new','{0}')\n    os.execve('/bin/sleep',['sleep','300'],{{}})\n  os._exit(0)\nos.wait()\nimport time\ntime.sleep(300)\n",
        mark.display()
    )
}

#[tokio::test]
async fn a_daemon_that_left_everything_behind_ends_with_its_run_and_one_of_another_run_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, others) = (folder.path().join("mine"), folder.path().join("others"));
    if std::fs::read_to_string("/proc/1/timerslack_ns").is_err() {
        return; // only who may read the marks finds it
    }
    adopted::adopt().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = |mark: &std::path::Path, stopped: tokio::sync::oneshot::Receiver<()>| {
        let mut spec = spec(&["python3", "-c", &fugitive(mark)]);
        spec.grace = Duration::ZERO;
        let mut run = JoinSet::new();
        run.spawn(collect_until(spec, async move {
            stopped.await.ok();
            StopReason::Cancelled
        }));
        run
    };
    let mut first = run(&mine, stopped);
    let (stop_second, stopped_second) = tokio::sync::oneshot::channel::<()>();
    let mut second = run(&others, stopped_second);
    eventually("both daemons run", || mine.exists() && others.exists()).await;
    let pid = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    assert!(lives(&pid(&mine)) && lives(&pid(&others)));
    stop.send(()).unwrap();
    let ended = first.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(ended.exit.left_behind, 0);
    assert!(!lives(&pid(&mine)), "it went with its run");
    assert!(lives(&pid(&others)), "and nobody else's did");
    stop_second.send(()).unwrap();
    second.join_next().await.unwrap().unwrap().unwrap();
    assert!(!lives(&pid(&others)));
}
