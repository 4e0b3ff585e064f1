//! Confinement by a real agent: other users, limits, what a disk refuses, and what the agent says of how well it can do that.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use redpoll_tests::manifests::Manifests;
use redpoll_tests::told::Told;
use redpoll_tests::world::World;
use serde_json::{Value, json};
use tempfile::TempDir;

const AGENT: &str = "web-1";
/// The numbers of `nobody`, in every Linux.
const NOBODY: u32 = 65534;
/// A group of every Linux that nobody's own is not.
const DAEMON: u32 = 1;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder that everybody reaches: those of tests are for their owner alone.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    mode(folder.path(), 0o755);
    folder
}

fn write(path: &Path, text: &str, bits: u32) {
    fs::write(path, text).unwrap();
    mode(path, bits);
}

async fn told(world: &World, words: &[&str]) -> Told {
    Told::of(world, &[&[AGENT], words].concat()).await
}

#[tokio::test]
async fn a_procedure_runs_as_its_user_and_group_and_reaches_what_they_reach() {
    if !is_root() {
        return; // nobody else can start a program as somebody else
    }
    let mut world = World::quiet(&[]).await;
    let (manifests, place) = (Manifests::new(world.directory()), open_folder());
    let own = place.path().join("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    write(&place.path().join("roots"), "secret", 0o600);
    write(&place.path().join("groups"), "for the group", 0o640);
    chown(place.path().join("groups"), Some(0), Some(DAEMON)).unwrap();
    let script = format!(
        r#"
        exec 2>&1; cd {}
        echo "ids $(id -u) $(id -g) $(id -G)"; echo home $HOME
        echo new > own/new && echo wrote
        cat roots || echo refused
        cat groups
        echo x > beside || echo refused again
        grep -E 'NoNewPrivs|CapEff' /proc/self/status
        "#,
        place.path().display()
    );
    let fields = "output = \"text\"\nuser = \"nobody\"\n";
    manifests.shell("as.user", fields, &script);
    manifests.shell("as.group", &format!("{fields}group = \"daemon\"\n"), &script);
    world.agent(AGENT, &[&manifests.setting()]).await;

    let run = world.run_rpctl(&["call", AGENT, "as.user"]).await;
    let text = String::from_utf8(run.stdout).unwrap();
    let has = |part: &str| assert!(text.contains(part), "{part:?} is not in {text}");
    has(&format!("ids {NOBODY} {NOBODY} {NOBODY}\n"));
    has("wrote\n");
    has("refused\n");
    has("refused again\n");
    has("NoNewPrivs:\t1\n");
    has("CapEff:\t0000000000000000\n");
    assert!(
        !text.contains("secret") && !text.contains("for the group") && !text.contains("home /root"),
        "{text}"
    );
    let made = fs::metadata(own.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (NOBODY, NOBODY));

    let run = world.run_rpctl(&["call", AGENT, "as.group"]).await;
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains(&format!("ids {NOBODY} {DAEMON} ")) && text.contains("for the group"), "{text}");
}

#[tokio::test]
async fn a_limit_of_memory_holds_for_a_real_program() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let hungry = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";
    manifests.shell("hungry.free", "output = \"text\"", hungry);
    manifests.shell("hungry.held", "output = \"text\"\nlimits = { memory = \"64MiB\" }", hungry);
    world.agent(AGENT, &[&manifests.setting()]).await;
    assert_eq!(told(&world, &["hungry.free"]).await.result()["exit"], 0);
    let held = told(&world, &["hungry.held"]).await;
    assert_eq!((held.said("code"), held.said("class")), ("failed", "ExitStatus"), "{held:?}");
    // without control groups the program is refused the memory and says so; with them it is killed
    let data = &held.fault()["data"];
    assert!(data["signal"] == 9 || (data["exit"] == 1 && held.said("trace").contains("memory")), "{held:?}");
}

#[tokio::test]
async fn a_limit_of_processes_holds_for_a_real_program() {
    if !is_root() {
        return; // nobody else can start a program as somebody else, and without that the kernel counts all that the user runs
    }
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let fields = "output = \"text\"\nuser = \"nobody\"\n";
    manifests.shell("forks.free", fields, "true | cat; exit 0");
    manifests.shell("forks.held", &format!("{fields}limits = {{ processes = 1 }}"), "true | cat; exit 0");
    world.agent(AGENT, &[&manifests.setting()]).await;
    assert_eq!(told(&world, &["forks.free"]).await.result()["exit"], 0);
    let held = told(&world, &["forks.held"]).await;
    assert_eq!((held.said("code"), held.said("class")), ("failed", "ExitStatus"), "{held:?}");
    assert!(held.said("trace").contains("fork"), "{held:?}");
}

/// Gives a file or folder to `nobody`, if it is there.
fn give(path: PathBuf) {
    if path.exists() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// A world whose agent is nobody, and may read and write below a folder of which the disk lets it touch little.
async fn unprivileged(place: &Path, more: &[&str]) -> World {
    let mut world = World::quiet(&[]).await;
    mode(world.directory(), 0o711);
    let state = world.directory().join(format!("agent-{AGENT}-state"));
    fs::create_dir(&state).unwrap();
    mode(&state, 0o700);
    give(state);
    let folders = [format!("files.read={}", place.display()), format!("files.write={}", place.display())];
    let mut settings = vec!["procedures.builtin=sys.*,exec.run,file.*", &folders[0], &folders[1]];
    settings.extend(more);
    // what only its owner may read is given to it once all of it is written, and before anything is read
    let folder = world.directory().display();
    let hand = format!(
        "cd {folder} && chown {NOBODY}:{NOBODY} agent-{AGENT}.crt agent-{AGENT}.key agent-{AGENT}.toml policy.toml"
    );
    let become_nobody = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \"$@\"");
    let wrapper =
        ["/bin/sh".to_owned(), "-c".to_owned(), format!("{hand} && exec {become_nobody}"), "sh".to_owned()];
    world.agent_under(&wrapper, AGENT, &settings).await;
    world
}

#[tokio::test]
async fn what_the_disk_refuses_is_a_clear_fault_of_each_procedure() {
    if !is_root() {
        return; // whose files could be out of reach?
    }
    let place = open_folder();
    let at = |name: &str| format!("path={}", place.path().join(name).display());
    write(&place.path().join("open"), "open", 0o644);
    write(&place.path().join("closed"), "closed", 0o600);
    fs::create_dir(place.path().join("shut")).unwrap();
    write(&place.path().join("shut/inside"), "inside", 0o644);
    mode(&place.path().join("shut"), 0o700);
    let world = unprivileged(place.path(), &[]).await;

    assert_eq!(told(&world, &["file.stat", &at("closed")]).await.result()["size"], 6, "a look is allowed");
    let sum = told(&world, &["file.hash", &at("open")]).await;
    assert_eq!(sum.result()["bytes"], 4);
    for words in [
        &["file.read", &at("closed")][..],
        &["file.hash", &at("closed")],
        &["file.list", &at("shut")],
        &["file.stat", &at("shut/inside")],
        &["file.read", &at("shut/inside")],
        &["file.write", &at("new"), "data=x"],
        &["file.write", &at("open"), "data=x"],
        &["file.write", &at("folder"), "folder:=true"],
        &["file.remove", &at("open")],
        &["file.remove", &at("shut"), "recursive:=true"],
    ] {
        let failed = told(&world, words).await;
        assert_eq!(
            (failed.said("code"), failed.said("class")),
            ("failed", "PermissionDenied"),
            "{words:?} {failed:?}"
        );
        assert_eq!(failed.code, Some(1));
        assert!(failed.stderr.contains("PermissionDenied"), "{}", failed.stderr);
    }
    let here = world.directory().join("here");
    fs::write(&here, "x").unwrap();
    let target = format!("{AGENT}:{}/new", place.path().display());
    let copied = world.run_rpctl(&["cp", &here.display().to_string(), &target]).await;
    let said = String::from_utf8(copied.stderr).unwrap();
    assert!(copied.status.code() == Some(1) && said.contains("PermissionDenied"), "{said}");
    assert_eq!(fs::read_to_string(place.path().join("open")).unwrap(), "open");
    assert!(place.path().join("shut/inside").exists() && !place.path().join("new").exists());
}

#[tokio::test]
async fn a_copy_has_the_owner_group_and_mode_that_were_asked_for_or_does_not_happen() {
    if !is_root() {
        return; // nobody else gives files away
    }
    let place = open_folder();
    let mut world = World::quiet(&[]).await;
    let folders =
        [format!("files.read={}", place.path().display()), format!("files.write={}", place.path().display())];
    world.agent(AGENT, &["procedures.builtin=file.*", &folders[0], &folders[1]]).await;
    let here = world.directory().join("here");
    fs::write(&here, "new").unwrap();
    let (here, there) = (here.display().to_string(), place.path().join("there"));
    let cp = async |world: &World, options: &[&str]| {
        let target = format!("{AGENT}:{}", there.display());
        let output = world.run_rpctl(&[&["cp"], options, &[&here, &target]].concat()).await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let owned = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    let (code, said) = cp(&world, &["--owner", "nobody", "--group", "daemon", "--mode", "0640"]).await;
    assert_eq!((code, owned(&there)), (Some(0), (NOBODY, DAEMON, 0o640)), "{said}");
    let (code, said) = cp(&world, &[]).await;
    assert_eq!((code, owned(&there)), (Some(0), (NOBODY, DAEMON, 0o640)), "it stays whose it was: {said}");
    let (code, said) = cp(&world, &["--owner", "0", "--group", "0"]).await;
    assert_eq!((code, owned(&there)), (Some(0), (0, 0, 0o640)), "by number: {said}");

    drop(world);
    chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let world = unprivileged(place.path(), &[]).await;
    fs::write(world.directory().join("here"), "newer").unwrap();
    let here = world.directory().join("here").display().to_string();
    let target = format!("{AGENT}:{}", place.path().join("given").display());
    let copied = world.run_rpctl(&["cp", "--owner", "root", &here, &target]).await;
    let said = String::from_utf8(copied.stderr).unwrap();
    assert!(copied.status.code() == Some(1) && said.contains("PermissionDenied"), "{said}");
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["there"], "nothing under another owner, and nothing half done");
    let copied = world.run_rpctl(&["cp", &here, &target]).await;
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    assert_eq!(owned(&place.path().join("given")).0, NOBODY);
}

/// How well an agent says that it can confine programs.
async fn confinement(world: &World) -> Value {
    told(world, &["sys.facts"]).await.result()["confinement"].clone()
}

#[tokio::test]
async fn an_agent_says_how_well_it_can_confine_and_that_is_true() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    manifests.shell("as.nobody", "output = \"text\"\nuser = \"nobody\"", "id -u");
    world.agent(AGENT, &[&manifests.setting()]).await;
    let said = confinement(&world).await;
    assert_eq!((&said["helper"], &said["subreaper"]), (&json!(true), &json!(true)), "{said}");
    let offered = told(&world, &["as.nobody"]).await;
    assert_eq!(said["users"].as_bool(), Some(offered.end.is_ok()), "{said} {offered:?}");
    let log = world.agent_process(AGENT).log();
    let has_groups = !said["cgroups"].as_array().unwrap().is_empty();
    assert_eq!(has_groups, log.contains("kept by control groups, for the whole tree"), "{said}");
    assert_eq!(has_groups, said.get("cgroups_missing").is_none(), "{said}");
    if !has_groups {
        assert!(log.contains(said["cgroups_missing"].as_str().unwrap()), "{said}");
    }
    assert_eq!(said["no_new_privs"], privileges(world.agent_process(AGENT).pid()));

    if is_root() {
        let place = open_folder();
        let mut world = unprivileged(place.path(), &[]).await;
        let said = confinement(&world).await;
        assert_eq!((&said["users"], &said["helper"]), (&json!(false), &json!(true)), "{said}");
        assert_eq!(said["no_new_privs"], privileges(world.agent_process(AGENT).pid()));
    }
}

/// Whether a process cannot gain privileges, as the kernel says.
fn privileges(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.contains("NoNewPrivs:\t1")
}
