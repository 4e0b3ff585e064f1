//! Agents, operators and who is revoked, over a session with small frames: a page is as much as fits, and all of them are everything.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use jobs_desk::{Desk, peer};
use redpoll_common::api::method;
use redpoll_common::identity::Role;
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_manager_core::revoked::{Denial, Denied, MAX_REVOKE_REASON};
use serde_json::{Value, json};

/// What the smallest frames hold.
const FRAME: usize = 16 * 1024;

/// The names in all pages.
async fn all(desk: &Desk, method: &str, rows: &str) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), Value::Null);
    loop {
        let kwargs = Raw::encode(&json!({"after": after, "limit": 1000})).unwrap();
        let answer = desk.start_within(method, kwargs, FRAME).answer().await.unwrap();
        assert!(answer.len() <= FRAME, "{method}: an answer of {} bytes", answer.len());
        let answer: Value = answer.decode().unwrap();
        let page = answer.get(rows).and_then(Value::as_array).unwrap();
        assert!(!page.is_empty(), "{method}");
        names.extend(page.iter().map(|row| row.get("id").and_then(Value::as_str).unwrap().to_owned()));
        after = answer.get("next").cloned().unwrap_or_default();
        if after.is_null() {
            return names;
        }
    }
}

fn deny(desk: &Desk, role: Role, id: &str) {
    let denied = Denied { role, id: peer(id), certificate: None };
    let reason = Some("r".repeat(MAX_REVOKE_REASON));
    desk.manager.door.deny(Denial { denied, at_ms: 0, by: peer("ada").into(), reason });
}

#[tokio::test]
async fn a_list_is_cut_where_a_frame_is_full_and_goes_on_there() {
    let desk = Desk::memory().await;
    let names: Vec<String> = (0..300).map(|n| format!("web-{n:03}")).collect();
    desk.know(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        deny(&desk, Role::Agent, name);
        deny(&desk, Role::Operator, name);
    }
    assert_eq!(all(&desk, method::AGENTS_LIST, "agents").await, names);
    assert_eq!(all(&desk, method::AGENTS_REVOKED, "revoked").await, names);
    assert_eq!(all(&desk, method::OPERATORS_REVOKED, "revoked").await, names);
    assert_eq!(all(&desk, method::OPERATORS_LIST, "operators").await, names);
    desk.stop().await;
}

#[tokio::test]
async fn what_fits_no_frame_alone_is_named() {
    let desk = Desk::memory().await;
    desk.know(&["web-1"]);
    for role in [Role::Agent, Role::Operator] {
        deny(&desk, role, "web-1");
    }
    let lists =
        [method::AGENTS_LIST, method::AGENTS_REVOKED, method::OPERATORS_REVOKED, method::OPERATORS_LIST];
    for method in lists {
        let fault = desk.start_within(method, Raw::empty_map(), 700).answer().await.unwrap_err();
        assert!(fault.code == FaultCode::TooLarge && fault.message.contains("web-1"), "{method}: {fault}");
    }
    desk.stop().await;
}
