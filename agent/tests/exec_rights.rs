//! What a caller says of a program that runs as another user has that user's rights from the first moment on.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use exec_support::{collect, spec};
use redpoll_agent::exec::account::Account;
use redpoll_agent::exec::cgroup::Usage;
use redpoll_agent::exec::confine::Confine;
use redpoll_agent::exec::{ExecError, ProcessSpec};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn confine(user: Option<&str>) -> Confine {
    Confine {
        helper: PathBuf::from(env!("CARGO_BIN_EXE_redpoll-agent")),
        account: user.map(|user| Account::find(user, None).unwrap()),
        rlimits: Usage::default(),
        cgroup: None,
    }
}

/// A folder in which everybody may write, as `/tmp`.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    folder
}

fn as_nobody(spec: ProcessSpec) -> ProcessSpec {
    ProcessSpec { confine: Some(confine(Some("nobody"))), ..spec }
}

/// Who owns what is in a folder.
fn owners(folder: &Path) -> BTreeSet<u32> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().uid()).collect()
}

#[tokio::test]
async fn no_variable_of_the_caller_has_a_meaning_before_the_program_is_another_user() {
    if !is_root() {
        return; // whose rights could be taken?
    }
    let folder = open_folder();
    let report = folder.path().join("report");
    // the loader itself writes a file for these, as whoever is being loaded
    let mut spec = spec(&["/bin/true"]);
    spec.env = [("LD_DEBUG", "files".into()), ("LD_DEBUG_OUTPUT", report.into_os_string())]
        .map(|(name, value)| (name.into(), value))
        .into();
    let run = collect(as_nobody(spec)).await.unwrap();
    assert_eq!(run.exit.code, Some(0));
    let nobody = Account::find("nobody", None).unwrap().uid;
    let expected = if cfg!(target_env = "gnu") { BTreeSet::from([nobody]) } else { BTreeSet::new() };
    assert_eq!(owners(folder.path()), expected, "who had a program loaded as the caller said");
}

#[tokio::test]
async fn a_library_of_the_caller_is_loaded_by_the_other_user_alone() {
    let folder = open_folder();
    let (source, library) = (folder.path().join("who.c"), folder.path().join("who.so"));
    let code = "#include <fcntl.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
        __attribute__((constructor)) static void who(void) {\n\
          char name[] = WHERE \"/XXXXXX\"; int file = mkstemp(name); if (file >= 0) close(file);\n}\n";
    fs::write(&source, code).unwrap();
    let made = folder.path().join("made");
    fs::create_dir(&made).unwrap();
    fs::set_permissions(&made, Permissions::from_mode(0o1777)).unwrap();
    let define = format!("-DWHERE=\"{}\"", made.display());
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", &define, "-o"]).arg(&library).arg(&source).status();
    if !is_root() || !compiled.is_ok_and(|compiled| compiled.success()) {
        return; // the test above needs no compiler
    }
    for name in ["LD_PRELOAD", "LD_AUDIT"] {
        let mut spec = spec(&["/bin/true"]);
        spec.env.insert(name.into(), library.clone().into());
        collect(as_nobody(spec)).await.unwrap();
    }
    let nobody = Account::find("nobody", None).unwrap().uid;
    assert_eq!(owners(&made), BTreeSet::from([nobody]));
}

#[tokio::test]
async fn the_variables_and_the_name_of_a_confined_program_are_those_of_any_other() {
    let script = "tr '\\0' '\\n' < /proc/$$/environ | sed 's/^REDPOLL_RUN=.*/REDPOLL_RUN=/'; echo $0";
    let given = |confine: Option<Confine>| {
        let mut spec = spec(&["sh", "-c", script]);
        spec.env =
            [("X", "1"), ("LD_LIBRARY_PATH", "/nowhere"), ("EMPTY", ""), ("program.Y", "2"), ("A B", "a=b")]
                .map(|(name, value)| (name.into(), value.into()))
                .into();
        ProcessSpec { confine, ..spec }
    };
    let plain = collect(given(None)).await.unwrap();
    let text = String::from_utf8(plain.stdout).unwrap();
    assert!(text.contains("LD_LIBRARY_PATH=/nowhere\n") && text.contains("program.Y=2\n"), "{text}");
    let limited = collect(given(Some(confine(None)))).await.unwrap();
    assert_eq!(String::from_utf8(limited.stdout).unwrap(), text);
}

#[tokio::test]
async fn a_folder_is_entered_with_the_rights_of_the_other_user() {
    if !is_root() {
        return;
    }
    let place = open_folder();
    let (private, open) = (place.path().join("private"), place.path().join("private/open"));
    fs::create_dir_all(&open).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let at = |cwd: &Path| as_nobody(ProcessSpec { cwd: Some(cwd.to_owned()), ..spec(&["pwd"]) });
    for (cwd, kind) in [
        (open.as_path(), ErrorKind::PermissionDenied),
        (&private, ErrorKind::PermissionDenied),
        (&place.path().join("none"), ErrorKind::NotFound),
        (&place.path().join("file"), ErrorKind::NotADirectory),
    ] {
        let refused = collect(at(cwd)).await.unwrap_err();
        assert!(
            matches!(&refused, ExecError::Directory { cwd: said, source } if said == cwd && source.kind() == kind),
            "{refused:?}"
        );
    }
    let run = collect(at(place.path())).await.unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap().trim(), place.path().to_str().unwrap());
    let free = ProcessSpec { cwd: Some(open), confine: Some(confine(None)), ..spec(&["pwd"]) };
    assert_eq!(collect(free).await.unwrap().exit.code, Some(0), "who stays root enters it as before");
}

#[tokio::test]
async fn what_only_the_daemon_sees_is_not_told_to_the_caller() {
    if !is_root() {
        return;
    }
    let place = open_folder();
    let private = place.path().join("private");
    fs::create_dir(&private).unwrap();
    let program = |path: &Path, text: &str, mode: u32| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let hidden = program(&private.join("program"), "#!/bin/sh\n", 0o755);
    let text = program(&private.join("text"), "no program", 0o755);
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    let none = private.join("none").display().to_string();
    for path in [&hidden, &text, &none] {
        let refused = collect(as_nobody(spec(&[path]))).await.unwrap_err();
        assert!(matches!(refused, ExecError::Denied { .. }), "{path}: {refused}");
    }
    let roots = program(&place.path().join("roots"), "#!/bin/sh\n", 0o700);
    let refused = collect(as_nobody(spec(&[&roots]))).await.unwrap_err();
    assert!(matches!(refused, ExecError::Denied { .. }), "{refused}");
    let bad = program(&place.path().join("bad"), "no program", 0o755);
    let refused = collect(as_nobody(spec(&[&bad]))).await.unwrap_err();
    assert!(matches!(refused, ExecError::Format { .. }), "{refused}");
    let script = program(&place.path().join("script"), "#!/no/such/interpreter\n", 0o755);
    let refused = collect(as_nobody(spec(&[&script]))).await.unwrap_err();
    assert!(matches!(refused, ExecError::Interpreter { .. }), "{refused}");
    let mut found = spec(&["script"]);
    program(&place.path().join("script"), "#!/bin/sh\necho $0\n", 0o755);
    found.env.insert("PATH".into(), format!("/nowhere::{}", place.path().display()).into());
    let run = collect(as_nobody(found)).await.unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap().trim(), place.path().join("script").to_str().unwrap());
    let missing = collect(as_nobody(spec(&["no-such-program-here"]))).await.unwrap_err();
    assert!(matches!(missing, ExecError::NotFound { .. }), "{missing}");
}

#[tokio::test]
async fn programs_of_other_users_have_no_session_keyring_in_common() {
    if !is_root() || !Path::new("/proc/keys").exists() {
        return; // a kernel without keys
    }
    // the keyring of a session is seen by whoever has it
    let nobody = || as_nobody(spec(&["cat", "/proc/keys"]));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let text = String::from_utf8(collect(nobody()).await.unwrap().stdout).unwrap();
        let own = text.lines().filter(|line| line.contains(" keyring ") && line.contains(" _ses: empty"));
        let numbers: Vec<String> = own.filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
        assert_eq!(numbers.len(), 1, "one of its own, without a key: {text}");
        seen.extend(numbers);
    }
    assert_ne!(seen[0], seen[1], "nor in common with another run");
}
