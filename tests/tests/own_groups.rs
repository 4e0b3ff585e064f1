//! Control groups of real agents that have a part of the hierarchy: which runs have one, and that nothing gets out of it.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use redpoll_tests::manifests::Manifests;
use redpoll_tests::told::Told;
use redpoll_tests::world::World;

const AGENT: &str = "web-1";
/// The numbers of `nobody`, in every Linux.
const NOBODY: u32 = 65534;
const WHERE: &str = "cat /proc/self/cgroup";

/// A part of the hierarchy, as systemd gives one with `Delegate=yes`. Removed with all groups in it.
struct Part(PathBuf);

impl Part {
    /// `None`: here no group can be made, or none can be killed as one.
    fn of(owner: u32) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let name = format!("redpoll-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let part = Self(Path::new(mount).join(name));
        fs::create_dir(&part.0).ok()?;
        for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
            chown(part.0.join(file), Some(owner), Some(owner)).ok()?;
        }
        part.0.join("cgroup.kill").exists().then_some(part)
    }

    /// What starts an agent in it.
    fn wrapper(&self, more: &str) -> [String; 4] {
        let script = format!("echo $$ > {}/cgroup.procs && {more} exec \"$@\"", self.0.display());
        ["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
    }

    /// The groups of runs that are there.
    fn runs(&self) -> usize {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("run-")).count()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _killed = fs::write(self.0.join("cgroup.kill"), "1");
        let groups = |path: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
        };
        // what was killed is gone a moment later
        for _ in 0..200 {
            groups(&self.0).iter().for_each(|group| _ = fs::remove_dir(group));
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Whether a process lives; a zombie does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, tail)| !tail.trim_start().starts_with(['Z', 'X']))
}

async fn said(world: &World, words: &[&str]) -> String {
    let run = world.run_rpctl(&[&["call", AGENT], words].concat()).await;
    String::from_utf8(run.stdout).unwrap()
}

#[tokio::test]
async fn which_runs_have_a_group_of_their_own_is_a_setting() {
    let own = rustix::process::geteuid().as_raw();
    for (groups, is_grouped) in [("all", true), ("limited", false)] {
        let Some(part) = Part::of(own) else { return };
        let mut world = World::quiet(&[]).await;
        let manifests = Manifests::new(world.directory());
        manifests.shell("where.once", "output = \"text\"", WHERE);
        let groups = format!("procedures.groups={groups}");
        world.agent_under(&part.wrapper(""), AGENT, &[&manifests.setting(), &groups]).await;
        for words in [&["where.once"][..], &["exec.run", "--", "sh", "-c", WHERE]] {
            let text = said(&world, words).await;
            assert_eq!(text.contains("/run-"), is_grouped, "{groups} {words:?}: {text}");
        }
        redpoll_tests::eventually("the groups are removed", async || (part.runs() == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn a_group_in_which_a_daemon_was_left_is_removed_once_that_is_gone() {
    let Some(part) = Part::of(rustix::process::geteuid().as_raw()) else { return };
    let mut world = World::quiet(&[]).await;
    world.agent_under(&part.wrapper(""), AGENT, &["procedures.groups=all"]).await;
    let leave = "setsid sleep 300 > /dev/null 2>&1 & echo $!";
    let pid = said(&world, &["exec.run", "--", "sh", "-c", leave]).await.trim().to_owned();
    assert!(lives(&pid) && part.runs() == 1, "it was left on purpose, and so is its group");
    said(&world, &["exec.run", "--", "true"]).await;
    assert_eq!(part.runs(), 1, "and stays");
    let number = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
    redpoll_tests::eventually("the daemon is gone", async || (!lives(&pid)).then_some(())).await;
    redpoll_tests::eventually("its group is removed with the next start", async || {
        said(&world, &["exec.run", "--", "true"]).await;
        (part.runs() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_gets_away_from_an_agent_that_finds_its_processes_by_groups_alone() {
    let Some(part) = Part::of(NOBODY) else { return };
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o1777)).unwrap();
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    // forks twice, makes a session of its own, clears its environment, lets go of all streams, and writes its number
    let script = r#"
import os, sys, time
mark = sys.argv[1]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        [os.dup2(null, stream) for stream in range(3)]
        open(mark + ".new", "w").write(str(os.getpid()))
        os.rename(mark + ".new", mark)
        os.execve("/bin/sleep", ["sleep", "300"], {})
    os._exit(0)
os.wait()
time.sleep(300)
"#;
    let file = place.path().join("fugitive.py");
    fs::write(&file, script).unwrap();
    let (file, mark) = (file.display().to_string(), |name: &str| place.path().join(name));
    let (described, called) = (mark("described").display().to_string(), mark("called").display().to_string());
    let command = format!("command = [\"python3\", \"{file}\", \"{described}\"]");
    manifests.write("fugitive.once", &format!("name = \"fugitive.once\"\noutput = \"text\"\n{command}\n"));

    fs::set_permissions(world.directory(), Permissions::from_mode(0o711)).unwrap();
    let state = world.directory().join(format!("agent-{AGENT}-state"));
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    // what only its owner may read is given to it once all of it is written, and before anything is read
    let more = format!(
        "cd {} && chown {NOBODY}:{NOBODY} agent-{AGENT}.crt agent-{AGENT}.key agent-{AGENT}.toml policy.toml && \
         exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \"$@\";",
        world.directory().display()
    );
    let settings = ["limits.run_timeout=2s", "limits.grace=0s", &manifests.setting()];
    world.agent_under(&part.wrapper(&more), AGENT, &settings).await;

    for (words, mark) in
        [(&["fugitive.once"][..], &described), (&["exec.run", "--", "python3", &file, &called], &called)]
    {
        let told = Told::of(&world, &[&[AGENT], words].concat()).await;
        assert_eq!(told.said("code"), "timed_out", "{told:?}");
        let pid = fs::read_to_string(mark).unwrap();
        assert!(!lives(&pid), "{words:?} left a process behind");
    }
    redpoll_tests::eventually("the groups are removed", async || (part.runs() == 0).then_some(())).await;
}
