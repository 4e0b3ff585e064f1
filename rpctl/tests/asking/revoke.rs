//! `rpctl agents revoke` and `rpctl operators revoke`: in which order, and how they end.

use super::run_verb::at;
use super::support::{code, err, three_lines};
use super::{ask, world};

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
