//! The binary as people and scripts meet it, without a manager.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{as_ada, certificates, code, err, out, rpctl, run, three_lines};

#[test]
fn wrong_usage_ends_with_2_and_three_lines() {
    let home = tempfile::tempdir().unwrap();
    for (words, what) in [
        (&[][..], "nothing to do"),
        (&["frobnicate"], "frobnicate"),
        (&["status", "--frobnicate"], "--frobnicate"),
        (&["statsu"], "statsu"),
        (&["call"], "required"),
        (&["call", "web-1"], "PROCEDURE"),
        (&["call", "web/1", "p"], "web/1"),
        (&["call", "web-1", ""], "not the name of a procedure"),
        (&["call", "web-1", "p", "n:=five"], "n is not JSON"),
        (&["call", "web-1", "p", "@missing"], "missing"),
        (&["call", "web-1", "p", "--cwd", "/"], "--cwd belongs to exec.run"),
        (&["call", "web-1", "p", "a=1", "a=2"], "twice"),
        (&["notify", "web-1", "t", "{"], "JSON"),
        (&["agents"], "requires a verb"),
        (&["agents", "list", ""], "selector is empty"),
        (&["agents", "list", "label.role=db"], "cannot select"),
        (&["agents", "ping", "web-1", "--count", "0"], "0"),
        (&["status", "-o", "xml"], "xml"),
        (&["status", "--timeout", "soon"], "command line is wrong"),
        (&["status", "--manager", "a b"], "command line is wrong"),
        (&["status", "--manager", "unix:/run/redpoll/manager.sock"], "unix:"),
        (&["completions", "tcsh"], "tcsh"),
        (&["man", "frobnicate"], "frobnicate"),
        (&["certs", "issue", "king", "x", "--dir", "ca"], "king"),
        (&["certs", "init", "ca"], "--cluster"),
        (&["certs", "init", "ca", "--cluster", "a b"], "a b"),
        (&["certs", "issue", "agent", "web-1", "--dir", "nowhere"], "nowhere"),
        (&["certs", "show", "nothing.crt"], "nothing.crt"),
        (&["certs", "issue", "agent", "web 1", "--dir", "ca"], "\"web 1\" cannot be an id"),
        (&["events", "--since", "x"], "expected a whole number"),
        (&["events", "--since", ""], "whole number"),
        (&["events", "--since", "99999999999999999999"], "the number is too large"),
        (&["jobs", "read", "x", "--recent", "-1"], "-1"),
    ] {
        let output = run(home.path(), words);
        assert_eq!(code(&output), 2, "{words:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{words:?}");
        let [first, _, _] = three_lines(&output);
        assert!(first.contains(what), "{words:?}: {first:?}");
    }
}

#[test]
fn what_is_wrong_is_answered_with_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    for (words, right) in [
        (&["jobs", "cancel", "--where", "agent"][..], "'info.tenant=acme,state in (queued, held)'"),
        (&["jobs", "cancel", "--where", "[1]"], r#"'{"eq": {"agent": "web-1"}}'"#),
        (&["jobs", "cancel", "--where", "@missing"], "@FILE"),
        (&["jobs", "cancel", "--queue", "{"], r#"'{"customer": 7}'"#),
        (&["run", "web-1", "p", "--info", "ticket"], r#"'{"ticket": 4711}'"#),
    ] {
        let output = run(home.path(), words);
        let [_, _, help] = three_lines(&output);
        assert!(code(&output) == 2 && help.contains(right), "{words:?}: {}", err(&output));
    }
    let bytes = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"x=\xff");
    let output = rpctl(home.path(), &["call", "web-1", "p"]).arg(bytes).output().unwrap();
    let [what, why, help] = three_lines(&output);
    assert!(code(&output) == 2 && what.contains("not text") && why.contains("UTF-8"), "{}", err(&output));
    assert!(help.contains("KEY=@FILE"), "{help}");
}

#[test]
fn a_typing_error_gets_the_nearest_right_word() {
    let home = tempfile::tempdir().unwrap();
    let [_, _, help] = three_lines(&run(home.path(), &["statsu"]));
    assert!(help.contains("status"), "{help}");
    let [_, _, help] = three_lines(&run(home.path(), &["status", "--manger", "x"]));
    assert!(help.contains("--manager"), "{help}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let home = tempfile::tempdir().unwrap();
    for (words, expected) in [
        (&["--help"][..], "Exit status:"),
        (&["--version"], "rpctl 0."),
        (&["call", "--help"], "exec.run -- sh"),
        (&["agents", "ping", "--help"], "--count"),
        (&["certs", "issue", "--help"], "--dns"),
    ] {
        let output = run(home.path(), words);
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{words:?}");
        assert!(out(&output).contains(expected), "{words:?}");
        assert!(!out(&output).contains('\u{1b}'), "{words:?} is coloured in a pipe");
    }
}

#[test]
fn every_shell_has_completions() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(home.path(), &["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        for word in ["procedures", "check-config", "issue"] {
            assert!(out(&output).contains(word), "{shell} does not complete {word}");
        }
    }
}

#[test]
fn completions_and_man_work_with_a_broken_configuration() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.toml"), "not toml").unwrap();
    for words in [&["--config", "bad.toml", "completions", "bash"][..], &["--config", "bad.toml", "man"]] {
        assert_eq!(code(&run(home.path(), words)), 0, "{words:?}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_verb() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["man"]);
    assert!(out(&output).contains(".TH rpctl 1 \" \" \"rpctl 0"), "{}", out(&output));
    let call = out(&run(home.path(), &["man", "call"]));
    assert!(call.contains(".TH rpctl\\-call 1 \" \"") || call.contains(".TH rpctl-call 1 \" \""), "{call}");
    let synopsis = call.lines().skip_while(|line| *line != ".SH SYNOPSIS").nth(1).unwrap();
    assert!(synopsis.contains("[ARG|KEY=VALUE|KEY:=JSON|@FILE]…"), "{synopsis}");
    assert!(synopsis.contains("\\-\\- <ARGV>…"), "{synopsis}");
    assert!(out(&run(home.path(), &["man", "agents", "list"])).contains("allow\\-empty"));
    assert_eq!(code(&run(home.path(), &["man", "--dir", "pages"])), 0);
    let mut pages: Vec<_> = std::fs::read_dir(home.path().join("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in ["rpctl.1", "rpctl-call.1", "rpctl-agents-list.1", "rpctl-certs-issue.1", "rpctl-status.1"] {
        assert!(pages.contains(&page.to_owned()), "{page} is not among {pages:?}");
    }
    for page in pages {
        let text = std::fs::read_to_string(home.path().join("pages").join(&page)).unwrap();
        let extra = text.split(".SH EXTRA").nth(1).unwrap_or_default();
        let (_, examples) = extra.split_once("Examples:").unwrap_or_default();
        assert!(examples.contains("rpctl "), "{page} has no example: {extra}");
    }
}

#[test]
fn certificates_are_made_and_shown() {
    let home = tempfile::tempdir().unwrap();
    let init = run(home.path(), &["certs", "init", "ca", "--cluster", "home"]);
    assert_eq!(code(&init), 0, "{}", err(&init));
    assert!(out(&init).contains("ca/ca.key"), "{}", out(&init));
    for words in [
        &["manager", "m1", "--dns", "manager.example", "--ip", "192.0.2.1"][..],
        &["agent", "web-1", "--lifetime", "30d 1h"],
        &["operator", "ada", "-o", "json"],
    ] {
        let words = [&["certs", "issue", "--dir", "ca"], words].concat();
        let issued = run(home.path(), &words);
        assert_eq!(code(&issued), 0, "{words:?}: {}", err(&issued));
        assert!(out(&issued).contains("spiffe://home/"), "{}", out(&issued));
    }
    let shown = run(home.path(), &["certs", "show", "ca", "-o", "json"]);
    assert_eq!(code(&shown), 0, "{}", err(&shown));
    let list: serde_json::Value = serde_json::from_str(&out(&shown)).unwrap();
    let subjects: Vec<_> =
        list.as_array().unwrap().iter().map(|item| item["subject"].as_str().unwrap()).collect();
    assert_eq!(
        subjects,
        [
            "spiffe://home/agent/web-1",
            "authority of home",
            "spiffe://home/manager/m1",
            "spiffe://home/operator/ada"
        ]
    );
    assert_eq!(list[0]["days_left"], 30);
    assert!(list[2]["names"].to_string().contains("manager.example"), "{list}");
    let table = run(home.path(), &["certs", "show", "ca/agent-web-1.crt"]);
    assert!(out(&table).lines().count() == 2 && out(&table).contains("good"), "{}", out(&table));
}

#[test]
fn certificates_are_never_overwritten_and_bad_ones_are_reported() {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    let key = std::fs::read(home.path().join("ca/operator-ada.key")).unwrap();
    for words in [
        &["certs", "init", "ca", "--cluster", "other"][..],
        &["certs", "issue", "operator", "ada", "--dir", "ca"],
        &["certs", "issue", "agent", "web-1", "--dir", "ca", "--dns", "web.example"],
        &["certs", "issue", "agent", "web-1", "--dir", "ca", "--lifetime", "0"],
    ] {
        let output = run(home.path(), words);
        assert_eq!(code(&output), 2, "{words:?}");
        three_lines(&output);
    }
    assert_eq!(std::fs::read(home.path().join("ca/operator-ada.key")).unwrap(), key);

    std::fs::copy(home.path().join("ca/ca.key"), home.path().join("ca/operator-ada.key")).unwrap();
    let output = run(home.path(), &["certs", "show", "ca/operator-ada.crt"]);
    assert_eq!(code(&output), 2);
    assert!(out(&output).contains("bad"), "{}", out(&output));
    three_lines(&output);
}

#[test]
fn a_wrong_configuration_is_told_with_file_key_and_remedy() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("rpctl.toml"), "[manager]\nadress = \"x\"\n").unwrap();
    let output = run(home.path(), &["--config", "rpctl.toml", "status"]);
    assert_eq!(code(&output), 2);
    let [what, why, _] = three_lines(&output);
    assert_eq!(what, "the configuration is wrong");
    for part in ["rpctl.toml", "manager.adress", "manager.address"] {
        assert!(why.contains(part), "{why}");
    }
    std::fs::write(home.path().join("rpctl.toml"), "[manager\n").unwrap();
    let [what, why, _] = three_lines(&run(home.path(), &["--config", "rpctl.toml", "status"]));
    assert!(what.contains("not TOML") && why.contains("rpctl.toml:1"), "{what} / {why}");
    let [what, _, _] = three_lines(&run(home.path(), &["--config", "missing.toml", "status"]));
    assert!(what.contains("missing.toml"), "{what}");
}

#[test]
fn check_config_shows_values_and_origins() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".config/redpoll")).unwrap();
    std::fs::write(home.path().join(".config/redpoll/rpctl.toml"), "[call]\ntimeout = \"7s\"\n").unwrap();
    let output = rpctl(home.path(), &["--check-config", "--manager", "m.example", "-v"])
        .env("RPCTL_OUTPUT__COLOR", "never")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(
        line("call.timeout").contains("\"7s\"") && line("call.timeout").contains("rpctl.toml:2"),
        "{text}"
    );
    assert!(line("manager.address").contains("m.example:7051"), "{text}");
    assert!(line("manager.address").ends_with("flag --manager"), "{text}");
    assert!(line("output.color").ends_with("environment RPCTL_OUTPUT__COLOR"), "{text}");
    assert!(line("manager.dial_timeout").ends_with("default"), "{text}");
    let rows = run(home.path(), &["--check-config", "-o", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&out(&rows)).unwrap();
    assert!(
        rows.as_array().unwrap().iter().any(|row| row["key"] == "call.timeout" && row["value"] == "\"7s\"")
    );
}

#[test]
fn a_missing_certificate_is_told_before_anybody_is_dialled() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["status", "--manager", "127.0.0.1:1"]);
    assert_eq!(code(&output), 2);
    let [what, why, _] = three_lines(&output);
    assert!(what.contains("certificate") && why.contains(".config/redpoll"), "{what} / {why}");
}

#[test]
fn a_manager_that_is_not_there_ends_with_4() {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    // a port that was free a moment ago
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    for words in [
        &["status"][..],
        &["agents", "list"],
        &["agents", "ping", "web-1"],
        &["call", "web-1", "sys.echo", "x"],
        &["notify", "web-1", "t"],
    ] {
        let output = as_ada(&mut rpctl(home.path(), words)).env("RPCTL_MANAGER", &address).output().unwrap();
        assert_eq!(code(&output), 4, "{words:?}: {}", err(&output));
        let [what, _, _] = three_lines(&output);
        assert!(what.contains(&address), "{what}");
    }
}

#[test]
fn a_manager_that_never_speaks_is_given_up_within_the_timeout() {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begin = Instant::now();
    let words = ["--manager", &address, "--timeout", "300ms", "call", "web-1", "sys.echo"];
    let output = as_ada(&mut rpctl(home.path(), &words)).output().unwrap();
    assert_eq!(code(&output), 4, "{}", err(&output));
    three_lines(&output);
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
}

#[test]
fn a_service_that_is_no_manager_is_told_as_such() {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = web.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let words = ["--manager", &address, "--timeout", "5s", "status"];
    let output = as_ada(&mut rpctl(home.path(), &words)).output().unwrap();
    server.join().unwrap();
    assert_eq!(code(&output), 4, "{}", err(&output));
    three_lines(&output);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let mut command = rpctl(home.path(), &["completions", "zsh"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn colours_are_used_when_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let colored = run(home.path(), &["--color", "always", "agents", "list", ""]);
    assert!(err(&colored).contains('\u{1b}'), "{}", err(&colored));
    let plain = run(home.path(), &["--color", "never", "agents", "list", ""]);
    assert!(!err(&plain).contains('\u{1b}'), "{}", err(&plain));
}

#[test]
fn limits_are_told_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(code(&run(home.path(), &["certs", "init", "ca", "--cluster", "home"])), 0);
    std::fs::create_dir(home.path().join("empty")).unwrap();
    let issue = ["certs", "issue", "operator", "ada", "--dir", "ca", "--lifetime"];
    for (words, told) in [
        ([&issue[..], &["100ms"]].concat(), "between one second and 3650 days"),
        ([&issue[..], &["0s"]].concat(), "cannot be valid for 0 s"),
        ([&issue[..], &["9999d"]].concat(), "at most 3650d"),
        (vec!["jobs", "list", "--since", "9999d"], "\"2h\", of at most 3650d"),
        (vec!["events", "--limit", "0"], "0 is less than 1"),
        (vec!["certs", "show", "empty"], "there are no certificates in empty"),
    ] {
        let output = run(home.path(), &words);
        assert!(code(&output) == 2 && err(&output).contains(told), "{words:?}: {}", err(&output));
    }
}
