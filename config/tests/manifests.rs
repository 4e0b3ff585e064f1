//! Folders of manifests: real files with real modes.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redpoll_config::{ProcedureMode, ProcedureOutput, Procedures, load_folder};
use tempfile::TempDir;

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| write(&folder.path().join(name), text, 0o600));
    folder
}

fn load(files: &[(&str, &str)]) -> Procedures {
    load_folder(folder(files).path())
}

const SMALL: &str = "name = \"a.b\"\ncommand = [\"true\"]\n";

#[test]
fn a_small_manifest_has_the_defaults() {
    let loaded = load(&[("a.toml", SMALL), (".hidden.toml", "x"), ("note.txt", "x")]);
    assert_eq!(loaded.problems, []);
    let manifest = &loaded.manifests[0];
    assert_eq!((manifest.name.as_str(), manifest.version), ("a.b", 1));
    assert_eq!((manifest.mode, manifest.output), (ProcedureMode::Once, ProcedureOutput::Json));
    assert_eq!(
        (manifest.ready_timeout, manifest.idle_shutdown),
        (Duration::from_secs(10), Duration::from_secs(600))
    );
    assert_eq!(manifest.limits.line, Some(1024 * 1024));
    assert!(manifest.enabled && !manifest.admin && !manifest.idempotent);
}

#[test]
fn a_program_of_a_folder_that_is_relative_is_absolute_as_it_is_started_in_another() {
    let folder = folder(&[("a.toml", "name = \"a\"\ncommand = [\"./bin/a\", \"./x\"]\n")]);
    let up = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect::<PathBuf>();
    let relative = up.join(folder.path().strip_prefix("/").unwrap());
    let loaded = load_folder(&relative);
    assert_eq!(loaded.problems, []);
    let command = &loaded.manifests[0].command;
    assert!(PathBuf::from(&command[0]).is_absolute() && command[0].ends_with("/bin/a"), "{command:?}");
    assert_eq!(command[1], "./x", "arguments are the program's");
}

#[test]
fn every_field_is_read() {
    let text = r#"
name = "web.deploy"
version = 2
description = "Deploys."
deprecated = "use web.roll"
command = ["bin/deploy", "--now"]
mode = "worker"
output = "json"
args = "deploy.json"
user = "www"
group = "www-data"
cwd = "/srv"
run_timeout = "10m"
idle_timeout = "1m"
grace = "5s"
concurrency = 3
idempotent = true
redact = ["password", "keys.*"]
enabled = false
admin = true
ready_timeout = "20s"
idle_shutdown = "0s"
health_interval = "30s"
[env]
STAGE = "live"
[limits]
memory = "256MiB"
cpu = 150
processes = 20
output = "2MiB"
line = "64KiB"
[manager]
submit = true
calls = ["site.*", "note@1"]
[schedule]
every = "1h"
jitter = "5m"
at_start = true
kwargs = { tag = "v1" }
"#;
    let folder = folder(&[
        ("deploy.toml", text),
        ("deploy.json", r#"{"type": "object", "properties": {"tag": {"type": "string"}}}"#),
    ]);
    let loaded = load_folder(folder.path());
    assert_eq!(loaded.problems, []);
    let m = &loaded.manifests[0];
    assert_eq!(PathBuf::from(&m.command[0]), folder.path().join("bin/deploy"));
    assert_eq!((m.version, m.concurrency, m.enabled, m.admin, m.idempotent), (2, Some(3), false, true, true));
    assert_eq!(m.args["properties"]["tag"]["type"], "string");
    assert_eq!((m.user.as_deref(), m.group.as_deref()), (Some("www"), Some("www-data")));
    assert_eq!((m.limits.memory, m.limits.cpu, m.limits.processes), (Some(256 << 20), Some(150), Some(20)));
    assert_eq!((m.limits.output, m.limits.line), (Some(2 << 20), Some(64 << 10)));
    assert_eq!(m.env["STAGE"], "live");
    let seconds = Duration::from_secs;
    assert_eq!((m.run_timeout, m.idle_timeout), (Some(seconds(600)), Some(seconds(60))));
    assert_eq!((m.grace, m.ready_timeout, m.idle_shutdown), (Some(seconds(5)), seconds(20), Duration::ZERO));
    assert_eq!((m.health_interval, m.cancel_line), (Some(seconds(30)), false));
    assert_eq!((m.mode, m.output), (ProcedureMode::Worker, ProcedureOutput::Json));
    assert_eq!((m.name.as_str(), m.description.as_str()), ("web.deploy", "Deploys."));
    assert_eq!((m.deprecated.as_deref(), m.cwd.as_deref()), (Some("use web.roll"), Some(Path::new("/srv"))));
    assert_eq!(
        (m.redact.as_slice(), m.command.get(1).map(String::as_str)),
        (&["password".to_owned(), "keys.*".to_owned()][..], Some("--now"))
    );
    let rights = m.manager.as_ref().unwrap();
    assert!(rights.submit && rights.may_call("site.note") && rights.may_call("note@1"));
    assert!(!rights.may_call("note@2"));
    let schedule = m.schedule.as_ref().unwrap();
    assert_eq!((schedule.every.as_secs(), schedule.jitter.as_secs(), schedule.at_start), (3600, 300, true));
    assert_eq!(schedule.kwargs["tag"], "v1");
}

#[test]
fn each_mistake_is_named_with_line_field_and_remedy() {
    for (line, text, field, part) in [
        (None, "command = [\"true\"]", "name", "it is missing"),
        (Some(1), "name = \"A b\"\ncommand = [\"true\"]", "name", "words with dots between"),
        (Some(1), "name = \"sys.mine\"\ncommand = [\"true\"]", "name", "the agent's own"),
        (Some(1), "name = \"Exec.run\"\ncommand = [\"true\"]", "name", "exec.* is the agent's own"),
        (Some(1), "name = \"exec\"\ncommand = [\"true\"]", "name", "the agent's own"),
        (None, "name = \"a\"", "command", "it is missing"),
        (Some(2), "name = \"a\"\ncommand = \"rm -rf x\"", "command", "[\"rm\", \"-rf\", \"x\"]"),
        (Some(2), "name = \"a\"\ncommand = []", "command", "empty"),
        (Some(2), "name = \"a\"\ncommand = [1]", "command", "a text in quotes"),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\nversion = 0", "version", "from 1"),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\ncomand = 1", "comand", "did you mean command?"),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\nmode = \"twice\"", "mode", "\"once\" or \"worker\""),
        (
            Some(4),
            "name = \"a\"\ncommand = [\"x\"]\nmode = \"worker\"\noutput = \"text\"",
            "output",
            "a worker",
        ),
        (
            Some(3),
            "name = \"a\"\ncommand = [\"x\"]\nhealth_interval = \"30s\"",
            "health_interval",
            "mode = \"worker\"",
        ),
        (
            Some(3),
            "name = \"a\"\ncommand = [\"x\"]\ncancel_line = true\noutput = \"text\"",
            "cancel_line",
            "mode = \"once\"",
        ),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\ncwd = \"x\"", "cwd", "absolute"),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\ngrace = 5", "grace", "a text"),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\ngrace = \"2h\"", "grace", "outside"),
        (Some(4), "name = \"a\"\ncommand = [\"x\"]\n[limits]\nmemroy = 1", "limits.memroy", "memory"),
        (Some(4), "name = \"a\"\ncommand = [\"x\"]\n[limits]\nmemory = \"x\"", "limits.memory", "a size"),
        (
            Some(4),
            "name = \"a\"\ncommand = [\"x\"]\n[env]\nREDPOLL_JOB = \"1\"",
            "env.REDPOLL_JOB",
            "set by the agent",
        ),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\nredact = [\"a..b\"]", "redact", "a path"),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\nargs = {type = \"strnig\"}", "args", "/type"),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\nargs = \"none.json\"", "args", "none.json"),
        (
            Some(3),
            "name = \"a\"\ncommand = [\"x\"]\nschedule = {jitter = \"1s\"}",
            "schedule.every",
            "missing",
        ),
        (
            Some(3),
            "name = \"a\"\ncommand = [\"x\"]\nschedule = {every = \"1m\", jitter = \"60s\"}",
            "schedule.jitter",
            "not shorter than every",
        ),
        (Some(3), "name = \"a\"\ncommand = [\"x\"]\nuser = \"a b\"", "user", "not the name of a user"),
        (Some(2), "name = \"a\"\ncommand = [", "", ""),
    ] {
        let loaded = load(&[("bad.toml", text), ("good.toml", SMALL)]);
        assert_eq!(loaded.manifests.len(), 1, "{text}: the good one is there, and it alone");
        assert_eq!(loaded.problems.len(), 1, "{text}: {:?}", loaded.problems);
        let problem = &loaded.problems[0];
        assert!(problem.what.contains(part), "{text}: {problem}");
        assert_eq!(
            (problem.field.as_str(), problem.file.file_name().unwrap().to_str()),
            (field, Some("bad.toml"))
        );
        assert_eq!(problem.line, line, "{text}: {problem}");
    }
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let loaded = load(&[("a.toml", "name = 1\nversion = -1\ncommand = \"x\"\nfoo = 1\nadmin = 2\n")]);
    let fields: Vec<&str> = loaded.problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["name", "version", "command", "admin", "foo"]);
}

#[test]
fn a_number_that_is_not_finite_is_refused_with_its_line() {
    let begin = "name = \"a.b\"\ncommand = [\"/bin/true\"]\n";
    for (fields, field) in [
        ("[args.properties.x]\ndefault = nan\n", "args.properties.x.default"),
        ("[args.properties.x]\nenum = [1.0, inf]\n", "args.properties.x.enum.1"),
        ("[schedule]\nevery = \"1h\"\nkwargs.x = -inf\n", "schedule.kwargs.x"),
    ] {
        let loaded = load(&[("a.toml", &format!("{begin}{fields}"))]);
        assert!(loaded.manifests.is_empty(), "{fields}");
        let problem = loaded.problems.iter().find(|problem| problem.field == field).unwrap();
        assert!(problem.line.is_some() && problem.what.contains("no number that JSON has"), "{problem}");
    }
}

#[test]
fn a_schedule_whose_arguments_do_not_fit_the_schema_is_refused() {
    let text = format!("{SMALL}args = {{required = [\"x\"]}}\n[schedule]\nevery = \"1h\"\n");
    let problem = load(&[("a.toml", &text)]).problems.remove(0);
    assert_eq!(problem.field, "schedule.kwargs");
}

#[test]
fn what_others_may_change_is_not_used() {
    let folder = folder(&[("a.toml", SMALL), ("b.toml", "name = \"b\"\ncommand = [\"./prog\"]\n")]);
    write(&folder.path().join("prog"), "#!/bin/true\n", 0o777);
    let loaded = load_folder(folder.path());
    assert_eq!(loaded.problems.len(), 1);
    assert!(loaded.problems[0].what.contains("prog can be changed by others"), "{:?}", loaded.problems);

    write(&folder.path().join("a.toml"), SMALL, 0o622);
    let loaded = load_folder(folder.path());
    assert_eq!(loaded.manifests, []);
    assert!(loaded.problems[0].what.contains("chmod go-w"));

    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let loaded = load_folder(folder.path());
    assert_eq!((loaded.manifests.len(), loaded.problems.len()), (0, 1));
    assert!(loaded.problems[0].what.contains("can be changed by others"));
}

#[test]
fn a_file_of_another_user_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder(&[("a.toml", SMALL)]);
    std::os::unix::fs::chown(folder.path().join("a.toml"), Some(65534), None).unwrap();
    // root trusts root alone
    assert!(load_folder(folder.path()).problems[0].what.contains("belongs to user 65534"));
}

#[test]
fn demote_is_the_user_where_the_agent_is_root_and_nobody_where_it_is_not() {
    let text = format!("{SMALL}demote = \"nobody\"\n");
    let both = format!("{text}user = \"deploy\"\n");
    let folder =
        folder(&[("a.toml", &text), ("b.toml", &both), ("c.toml", &format!("{SMALL}demote = \"\"\n"))]);
    let loaded = load_folder(folder.path());
    let wanted = rustix::process::geteuid().is_root().then_some("nobody");
    assert_eq!(loaded.manifests.len(), 1, "{:?}", loaded.problems);
    assert_eq!(loaded.manifests[0].user.as_deref(), wanted);
    let said: Vec<_> = loaded.problems.iter().map(|problem| (&*problem.field, &*problem.what)).collect();
    assert!(said[0].0 == "demote" && said[0].1.contains("keep one of the two"), "{said:?}");
    assert!(said[1].0 == "demote" && said[1].1.contains("name of a user"), "{said:?}");
}

#[test]
fn what_is_too_large_too_deep_or_no_file_is_refused() {
    let long = format!("{SMALL}# {}\n", "x".repeat(300_000));
    let deep = format!("{SMALL}args = {}{}\n", "{not = ".repeat(60), "{}".to_owned() + &"}".repeat(60));
    let folder = folder(&[("deep.toml", &deep), ("long.toml", &long)]);
    fs::create_dir(folder.path().join("dir.toml")).unwrap();
    let loaded = load_folder(folder.path());
    let whats: Vec<&str> = loaded.problems.iter().map(|problem| problem.what.as_str()).collect();
    assert!(whats[0].contains("levels"), "{whats:?}");
    assert!(whats[1].contains("is not a file") && whats[2].contains("262144 bytes"), "{whats:?}");
    assert_eq!(load_folder(&folder.path().join("none")), Procedures::default());
}

#[test]
fn what_others_could_put_in_the_place_of_a_program_or_a_schema_is_not_used() {
    let outer = tempfile::tempdir().unwrap();
    let (safe, open) = (outer.path().join("d"), outer.path().join("open"));
    for folder in [&safe, &open] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    }
    write(&open.join("prog"), "#!/bin/true\n", 0o755);
    write(&open.join("schema.json"), "{}", 0o600);
    std::os::unix::fs::symlink(open.join("prog"), safe.join("linked")).unwrap();
    let problems = |mode: u32, fields: &str| -> Vec<String> {
        fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
        write(&safe.join("a.toml"), &format!("name = \"a\"\n{fields}\n"), 0o600);
        load_folder(&safe).problems.iter().map(ToString::to_string).collect()
    };
    let schema = "command = [\"true\"]\nargs = \"../open/schema.json\"";
    for fields in ["command = [\"../open/prog\"]", "command = [\"./linked\"]", schema] {
        assert_eq!(problems(0o700, fields), Vec::<String>::new());
        assert_eq!(problems(0o1777, fields), Vec::<String>::new(), "what is there stays its owner's");
        for mode in [0o777, 0o770, 0o702] {
            let said = problems(mode, fields);
            assert!(said.len() == 1 && said[0].contains("chmod go-w"), "{mode:o} {fields}: {said:?}");
        }
    }
    let missing = "command = [\"../open/later\"]";
    assert_eq!(problems(0o700, missing), Vec::<String>::new(), "it may come later");
    assert_eq!(problems(0o1777, missing).len(), 1, "anybody could make it");
}

#[test]
fn what_could_not_be_read_at_this_moment_is_told_apart_from_what_is_wrong() {
    let schema = |file: &str| format!("name = \"a\"\ncommand = [\"true\"]\nargs = \"{file}\"\n");
    let folder =
        folder(&[("a.toml", &schema("broken")), ("b.toml", &schema("none")), ("c.toml", "name = 1")]);
    // a file of ours that gives an error when it is read
    for link in ["broken", "d.toml"] {
        std::os::unix::fs::symlink("/proc/self/mem", folder.path().join(link)).unwrap();
    }
    let loaded = load_folder(folder.path());
    let passes: Vec<(String, bool)> =
        loaded.problems.iter().map(|problem| (problem.to_string(), problem.passes)).collect();
    for (file, passing) in [("a.toml", true), ("b.toml", false), ("c.toml", false), ("d.toml", true)] {
        let of_file: Vec<_> = passes.iter().filter(|(said, _)| said.contains(file)).collect();
        assert!(!of_file.is_empty() && of_file.iter().all(|(_, passes)| *passes == passing), "{passes:?}");
    }
    assert_eq!(loaded.manifests, []);
}

#[test]
fn a_file_whose_name_is_no_text_is_named_and_the_others_are_used() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = folder(&[("a.toml", SMALL)]);
    for name in [&b"b\xff.toml"[..], b"c\nERROR d.toml", b"e\x1b[2J.toml"] {
        write(&folder.path().join(std::ffi::OsStr::from_bytes(name)), SMALL, 0o600);
    }
    let loaded = load_folder(folder.path());
    assert_eq!((loaded.manifests.len(), loaded.problems.len()), (1, 3));
    for problem in loaded.problems {
        let said = problem.to_string();
        assert!(said.contains("rename it") && !said.contains(char::is_control), "{said:?}");
    }
}

#[test]
fn a_mistake_in_what_it_may_ask_the_manager_for_is_named() {
    for (line, text, field, part) in [
        (4, "[manager]\nsubmt = true", "manager.submt", "mean submit?"),
        (4, "[manager]\nsubmit = 1", "manager.submit", "true or false"),
        (4, "[manager]\ncalls = [\"rp.*\"]", "manager.calls", "submit = true"),
        (4, "[manager]\ncalls = [\"a b\"]", "manager.calls", "\"site.*\""),
        (3, "manager = true", "manager", "a table"),
        (4, "output = \"text\"\n[manager]\nsubmit = true", "manager", "output = \"json\""),
    ] {
        let loaded = load(&[("a.toml", &format!("{SMALL}{text}\n"))]);
        let problem = &loaded.problems[0];
        assert_eq!((problem.line, problem.field.as_str()), (Some(line), field), "{problem}");
        assert!(problem.what.contains(part), "{problem}");
    }
}
