//! Orders whose answer says nothing: people see no line, scripts a document.

use super::support::{code, err, out, three_lines};
use super::{ask, world};

#[test]
fn an_order_without_an_answer_is_a_small_document_for_scripts() {
    let (home, manager) = world();
    let job = "a".repeat(32);
    for (words, expected) in [
        (&["jobs", "release", &job][..], format!(r#"{{"job":"{job}","released":true}}"#)),
        (&["jobs", "delete", &job, "--yes"], format!(r#"{{"job":"{job}","deleted":true}}"#)),
        (&["agents", "restore", "web-1"], r#"{"id":"web-1","restored":true}"#.to_owned()),
        (&["operators", "restore", "eve"], r#"{"id":"eve","restored":true}"#.to_owned()),
        (&["notify", "web-1", "sys.log"], r#"{"agent":"web-1","type":"sys.log","sent":true}"#.to_owned()),
        (&["run", "id:x*", "p", "--allow-empty"], r#"{"job":null,"runs":0}"#.to_owned()),
        (&["run", "id:x*", "p", "--allow-empty", "--detach"], r#"{"job":null,"runs":0}"#.to_owned()),
        (&["run", "id:x*", "p", "--allow-empty", "--dry-run"], "[]".to_owned()),
    ] {
        let output = ask(home.path(), &manager, words);
        assert_eq!((code(&output), out(&output).as_str()), (0, ""), "{words:?}: {}", err(&output));
        for format in ["json", "yaml"] {
            let output = ask(home.path(), &manager, &[words, &["-o", format]].concat());
            assert_eq!(code(&output), 0, "{words:?}: {}", err(&output));
            let document: serde_json::Value = yaml_serde::from_str(&out(&output)).unwrap();
            let wanted: serde_json::Value = serde_json::from_str(&expected).unwrap();
            assert_eq!(document, wanted, "{words:?}: {}", out(&output));
        }
        while manager.seen.try_recv().is_ok() {}
    }
}

#[test]
fn a_notification_without_a_type_is_not_sent() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["notify", "web-1", ""]);
    assert_eq!(code(&output), 2, "{}", err(&output));
    assert!(three_lines(&output)[1].contains("1 to 128 bytes"), "{}", err(&output));
    manager.nothing_more();
}
