//! What is stored goes on, whatever becomes of whoever asked: no exit code says that it did not run.

use super::run_verb::{at, submitted};
use super::support::{code, err, out, three_lines};
use super::{ask, asking, read_until, spawn, world};

#[test]
fn a_submit_that_was_sent_and_then_refused_may_be_stored() {
    let (home, manager) = world();
    for (procedure, why) in [("lost_forbidden", "forbidden"), ("lost_revoked", "did not take us")] {
        let output = ask(home.path(), &manager, &["run", "web-1", procedure]);
        assert_eq!(code(&output), 8, "{procedure}: {}", err(&output));
        let key = at(&submitted(&manager), "key");
        let [what, found, help] = three_lines(&output);
        assert!(what.contains("stored is not known") && found.contains(why), "{what} / {found}");
        assert!(help.contains(&format!("--key {}", key.as_str().unwrap())), "{help}");
        while manager.seen.try_recv().is_ok() {}
    }
}

#[test]
fn a_job_that_cannot_be_followed_any_more_goes_on() {
    for (procedure, why) in [
        ("hidden", "you may not use"),
        ("revoked", "did not take us"),
        // whoever would dial again has no key any more
        ("hidden", "cannot use this operator's certificate"),
    ] {
        let (home, manager) = world();
        let words = ["run", "web-1", procedure, "-o", "json"];
        let mut child = spawn(&mut asking(home.path(), &manager, &words));
        let begun = read_until(&mut child, "begun");
        if why.contains("certificate") {
            std::fs::remove_file(home.path().join("ca/operator-ada.key")).unwrap();
        }
        manager.go_on();
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 8, "{procedure}: {}", err(&output));
        let text = err(&output);
        assert!(text.contains("cannot be followed any more") && text.contains(why), "{text}");
        assert!(text.contains("goes on without rpctl") && text.contains("rpctl jobs follow 0000"), "{text}");
        let document: serde_json::Value = serde_json::from_str(&(begun + &out(&output))).unwrap();
        assert_eq!(document["stopped"]["exit"], 8);
        while manager.seen.try_recv().is_ok() {}
    }
}

#[test]
fn a_job_that_was_deleted_meanwhile_does_not_go_on() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "web-1", "deleted"]);
    assert_eq!(code(&output), 8, "{}", err(&output));
    let [what, why, _] = three_lines(&output);
    assert!(what.contains("was deleted") && !why.contains("goes on"), "{what} / {why}");
}

#[test]
fn whoever_may_not_follow_at_all_is_refused() {
    let (home, manager) = world();
    let job = out(&ask(home.path(), &manager, &["run", "a", "secret", "--detach"]));
    let output = ask(home.path(), &manager, &["jobs", "follow", job.trim()]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert!(three_lines(&output)[0].contains("you may not use"), "{}", err(&output));
    let output = ask(home.path(), &manager, &["run", "a", "secret"]);
    assert_eq!(code(&output), 8, "{}", err(&output));
}
