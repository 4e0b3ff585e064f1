//! Which agents are meant, where some of them are not there.

use super::run_verb::{at, submitted};
use super::support::{code, err, out, three_lines};
use super::{ask, world};

#[test]
fn a_glob_leaves_out_whoever_is_revoked() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "id:old-*", "p", "--detach"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(at(&submitted(&manager), "agents"), rmpv::Value::Array(vec!["old-1".into()]));
    std::fs::write(home.path().join("file"), "x").unwrap();
    for words in [&["run", "id:gone-*", "p"][..], &["cp", "file", "id:gone-*:/file"]] {
        let output = ask(home.path(), &manager, words);
        assert_eq!(code(&output), 5, "{words:?}: {}", err(&output));
        assert!(three_lines(&output)[0].contains("all that match id:gone-* are revoked"), "{}", err(&output));
    }
    for words in
        [&["run", "id:gone-*", "p", "--allow-empty"][..], &["cp", "file", "id:gone-*:/file", "--allow-empty"]]
    {
        let output = ask(home.path(), &manager, words);
        assert_eq!(code(&output), 0, "{words:?}: {}", err(&output));
        assert!(err(&output).contains("all that match id:gone-* are revoked"), "{}", err(&output));
    }
    manager.nothing_more();
    // a list shows them
    assert!(out(&ask(home.path(), &manager, &["agents", "list", "id:gone-*"])).contains("revoked"));
}

#[test]
fn a_key_that_a_glob_used_for_other_agents_names_its_job() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "id:web-*", "taken", "--key", "k"]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    let [_, _, help] = three_lines(&output);
    assert!(
        help.contains("may match other agents")
            && help.contains("rpctl jobs show 00000000000000000000000000000abc "),
        "{help}"
    );
    let output = ask(home.path(), &manager, &["run", "web-1", "taken", "--key", "k"]);
    assert!(three_lines(&output)[2].contains("look at the job that has the key"), "{}", err(&output));
}

/// Of a call the same would say that something ran.
#[test]
fn a_job_that_is_too_large_is_refused_and_did_not_run() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "web-1", "large"]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    let [what, why, help] = three_lines(&output);
    assert!(what.contains("was not submitted") && why.contains("5 are the limit"), "{what} {why}");
    assert!(help.contains("nothing was stored"), "{help}");
}

#[test]
fn a_list_of_agents_says_which_are_not_known() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["agents", "list", "web-1,web-7,web-9"]);
    assert_eq!(code(&output), 5, "{}", err(&output));
    assert!(
        out(&output).contains("web-1") && three_lines(&output)[0].contains("web-7, web-9"),
        "{}",
        err(&output)
    );
    let output = ask(home.path(), &manager, &["agents", "list", "web-1,web-7", "--allow-empty"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, "there is no agent web-7\n"));
    let output = ask(home.path(), &manager, &["agents", "list", "web-1,web-2"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn the_managers_own_procedures_are_explained_too() {
    let (home, manager) = world();
    for words in [&["call", "@manager", "p", "--help"][..], &["call", "web-1", "p", "--help"]] {
        let output = ask(home.path(), &manager, words);
        assert_eq!(code(&output), 0, "{words:?}: {}", err(&output));
        assert!(out(&output).contains(&format!("call {} p", words[1])), "{}", out(&output));
    }
}

#[test]
fn what_is_deprecated_on_the_manager_is_warned_of_too() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["call", "@manager", "site.notify"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(err(&output), "warning: site.notify@2 is deprecated: use @3\n");
    assert!(
        out(&ask(home.path(), &manager, &["__complete", "words", "rpctl call @manager s"]))
            .contains("site.notify\n")
    );
}

#[test]
fn what_a_newer_manager_says_breaks_no_list_and_is_not_lost() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["agents", "list", "id:new-*"]);
    assert!(
        code(&output) == 0 && out(&output).contains("new-1  unknown"),
        "{}{}",
        out(&output),
        err(&output)
    );
    let output = ask(home.path(), &manager, &["run", "id:new-*", "p", "--detach"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(at(&submitted(&manager), "agents"), rmpv::Value::Array(vec!["new-1".into()]));
    for (words, end) in [
        (&["agents", "list", "id:new-*"][..], 0),
        (&["agents", "list", "--revoked"], 0),
        (&["operators", "list"], 0),
        (&["operators", "list", "--revoked"], 0),
        (&["run", "new-1", "try.newer", "--dry-run"], 3),
    ] {
        let output = ask(home.path(), &manager, &[words, &["-o", "jsonl"]].concat());
        assert_eq!(code(&output), end, "{words:?}: {}", err(&output));
        let said: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
        assert_eq!((&said["id"], &said["mood"]), (&"new-1".into(), &"new".into()), "{words:?}: {said}");
    }
}
