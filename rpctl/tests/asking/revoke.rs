//! `rpctl agents revoke` and `rpctl operators revoke`: in which order, and how they end.

use super::run_verb::at;
use super::support::{code, err, out, three_lines};
use super::{ask, asking, send_interrupt, spawn, world};

#[test]
fn whoever_asks_shuts_themselves_out_last() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["operators", "revoke", "ada", "bob", "--yes"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    for id in ["bob", "ada"] {
        assert_eq!(at(&manager.asked("rp.operators.revoke"), "id"), id.into());
    }
}

#[test]
fn what_may_still_have_an_effect_ends_with_8_after_all_were_asked_for() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["operators", "revoke", "stuck", "bob", "--yes"]);
    assert_eq!(code(&output), 8, "{}", err(&output));
    assert!(err(&output).contains("may still have an effect"), "{}", err(&output));
    for id in ["stuck", "bob"] {
        assert_eq!(at(&manager.asked("rp.operators.revoke"), "id"), id.into());
    }
    let output = ask(home.path(), &manager, &["operators", "revoke", "halfway", "--yes"]);
    assert_eq!(code(&output), 8, "{}", err(&output));
    let [what, _, help] = three_lines(&output);
    assert!(what.contains("done") && help.contains("ask again"), "{what}, {help}");
}

#[test]
fn the_question_whether_to_revoke_does_not_say_that_it_is_for_ever() {
    let (home, manager) = world();
    for (role, what) in [("agents", "cuts"), ("operators", "restoring")] {
        let output = ask(home.path(), &manager, &[role, "revoke", "eve"]);
        assert_eq!(code(&output), 2);
        let [_, why, help] = three_lines(&output);
        assert!(!why.contains("undone") && why.contains(what) && help.contains("--yes"), "{why}, {help}");
    }
    manager.nothing_more();
}

#[test]
fn several_are_one_document_with_their_names() {
    let (home, manager) = world();
    let answered = |words: &[&str]| {
        let output = ask(home.path(), &manager, &[&["operators", "revoke", "--yes"], words].concat());
        while manager.seen.try_recv().is_ok() {}
        output
    };
    let output = answered(&["eve", "stuck", "bob", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    let expected = |id: &str, ending: u64| serde_json::json!({"id": id, "changed": true, "cut": 1, "ending": ending, "known": true});
    assert_eq!(document, serde_json::json!([expected("eve", 0), expected("stuck", 1), expected("bob", 0)]));
    assert_eq!(code(&output), 8);
    let output = answered(&["eve", "-o", "jsonl"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out(&output)).unwrap(), expected("eve", 0));
    let output = answered(&["eve", "bob"]);
    assert_eq!(out(&output), "eve  revoked  1 cut\nbob  revoked  1 cut\n");
    // what was done before something went wrong is told, and what was not asked for
    let output = answered(&["eve", "halfway", "bob", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((code(&output), document), (8, serde_json::json!([expected("eve", 0)])));
    assert!(err(&output).contains("not revoked by this: bob"), "{}", err(&output));
    assert_eq!(out(&answered(&["halfway", "-o", "json"])), "");
}

#[test]
fn all_are_revoked_although_nobody_reads_of_it() {
    let (home, manager) = world();
    let mut child =
        spawn(&mut asking(home.path(), &manager, &["operators", "revoke", "eve", "stuck", "bob", "--yes"]));
    drop(child.stdout.take());
    for id in ["eve", "stuck", "bob"] {
        assert_eq!(at(&manager.asked("rp.operators.revoke"), "id"), id.into());
    }
    assert_eq!(child.wait().unwrap().code(), Some(8));
}

#[test]
fn an_interrupt_after_a_change_was_asked_for_says_that_it_may_be_done() {
    let (home, manager) = world();
    for (words, look) in [
        (&["operators", "revoke", "eve", "silent", "bob", "--yes"][..], "rpctl operators list --revoked"),
        (&["agents", "reload", "web-1"], "rpctl agents procedures web-1"),
        (&["agents", "disable", "web-1", "p"], "rpctl agents procedures web-1"),
        (&["notify", "web-1", "silent"], "the agent's log"),
    ] {
        let child = spawn(&mut asking(home.path(), &manager, words));
        manager.next();
        if words[0] == "operators" {
            manager.next();
        }
        send_interrupt(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 130, "{words:?}: {}", err(&output));
        let text = err(&output);
        assert!(text.contains("it may be done: look") && text.contains(look), "{words:?}: {text}");
        assert!(!text.contains("run it again"), "{words:?}: {text}");
        if words[0] == "operators" {
            assert!(
                out(&output).contains("eve  revoked") && text.contains("not revoked by this: bob"),
                "{text}"
            );
        }
    }
}
