//! `docs/protocol.md` has every name and number of the protocol, and its bytes are the golden ones: the document cannot
//! fall behind the code.

#![expect(clippy::unwrap_used, reason = "test code")]

use redpoll_common::api::{method, notice};
use redpoll_common::roles;
use redpoll_common::session::terms::{
    DEFAULT_DEAD, DEFAULT_IN_FLIGHT, DEFAULT_PING, DEFAULT_WINDOW, MAX_IN_FLIGHT, MAX_WINDOW,
    MIN_FRAME_LIMIT, MIN_WINDOW,
};
use redpoll_common::session::{keepalive, outbox};
use redpoll_common::wire::bye::Reaction;
use redpoll_common::wire::message::kind;
use redpoll_common::wire::{self, ByeCode, FaultCode, codec, flight};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");
const GOLDEN: &str = include_str!("golden/messages.txt");
const MESSAGE: &str = include_str!("../src/wire/message.rs");
const API: &str = include_str!("../src/api.rs");

/// The part from a heading to the next one of the same level or a higher one.
fn section(heading: &str) -> &'static str {
    let level = heading.split(' ').next().unwrap();
    let start = PROTOCOL.find(&format!("\n{heading}\n")).unwrap_or_else(|| unreachable!("no {heading:?}"));
    let body = PROTOCOL.get(start + heading.len() + 2..).unwrap();
    let ends = (2..=level.len()).filter_map(|n| body.find(&format!("\n{} ", "#".repeat(n))));
    body.get(..ends.min().unwrap_or(body.len())).unwrap()
}

/// The rows of a section whose first cell is this name, in backquotes.
fn rows(section: &'static str, name: &str) -> Vec<&'static str> {
    section.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))).collect()
}

/// The value of a constant as the page writes it: 1,048,576.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The values of the `pub const NAME: &str = "value";` of a module of the source.
fn constants(source: &'static str, module: &str) -> Vec<&'static str> {
    let body = source.split_once(&format!("pub mod {module} {{")).unwrap().1.split_once("\n}").unwrap().0;
    let values = body.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    values.map(|line| line.split_once(" = ").unwrap().1.trim_matches([';', '"'])).collect()
}

#[test]
fn every_kind_of_message_has_its_number_and_its_table() {
    let kinds = [
        (kind::AGENT_HELLO, "AgentHello"),
        (kind::MANAGER_HELLO, "ManagerHello"),
        (kind::PING, "Ping"),
        (kind::PONG, "Pong"),
        (kind::BYE, "Bye"),
        (kind::REQUEST, "Request"),
        (kind::RESPONSE, "Response"),
        (kind::NOTIFICATION, "Notification"),
    ];
    assert_eq!(constants(MESSAGE, "kind").len(), kinds.len(), "a kind that this test does not know");
    let table = section("## The eight kinds");
    for (number, name) in kinds {
        assert!(table.contains(&format!("\n| {number} | [{name}](")), "{number} {name} is not in the table");
    }
}

#[test]
fn every_fault_code_has_one_row_that_says_whether_something_ran() {
    let table = section("## Faults");
    for code in FaultCode::ALL {
        let rows = rows(table, code.as_str());
        assert_eq!(rows.len(), 1, "{code}");
        let cells: Vec<&str> = rows.first().unwrap().split('|').map(str::trim).collect();
        let ran = cells.get(3).unwrap();
        assert!(
            ["no", "yes", "perhaps", "a request"].iter().any(|word| ran.starts_with(word)),
            "{code}: {ran}"
        );
    }
    let rows = table.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, FaultCode::ALL.len(), "a code that does not exist");
}

#[test]
fn every_goodbye_has_one_row_with_the_receivers_reaction() {
    let table = section("## Goodbyes");
    for code in ByeCode::ALL {
        let rows = rows(table, code.as_str());
        assert_eq!(rows.len(), 1, "{code}");
        let reaction = match code.reaction() {
            Reaction::ComeBack => "| comes back |",
            Reaction::ComeBackSlowly => "| comes back slowly |",
            Reaction::BackOff => "| backs off |",
        };
        assert!(rows.first().unwrap().ends_with(reaction), "{code}: {reaction}");
    }
    let rows = table.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, ByeCode::ALL.len(), "a code that does not exist");
}

#[test]
fn every_method_and_every_notification_type_is_described() {
    let methods = constants(API, "method");
    assert!(methods.contains(&method::CALL) && methods.len() >= 9, "{methods:?}");
    for name in methods {
        assert!(!rows(section("## Methods of the manager"), name).is_empty(), "{name}");
    }
    let notices = constants(API, "notice");
    assert!(notices.contains(&notice::SYS_LOG) && notices.len() >= 3, "{notices:?}");
    for name in notices {
        assert_eq!(rows(section("## Notification types"), name).len(), 1, "{name}");
    }
    for name in [flight::VALUE, flight::PROGRESS, flight::CANCEL, flight::CREDIT] {
        assert_eq!(rows(section("## Values, progress, cancel, credit"), name).len(), 1, "{name}");
    }
}

#[test]
fn every_limit_is_the_one_in_the_code() {
    let limits = section("#### Limits");
    for (field, least, most, default) in [
        ("frame", MIN_FRAME_LIMIT, wire::MAX_FRAME_LIMIT as u64, wire::DEFAULT_FRAME_LIMIT as u64),
        ("in_flight", 1, MAX_IN_FLIGHT, DEFAULT_IN_FLIGHT),
        ("window", MIN_WINDOW, MAX_WINDOW, DEFAULT_WINDOW),
    ] {
        let row = *rows(limits, field).first().unwrap();
        let wanted = format!("| {} to {} | {} |", grouped(least), grouped(most), grouped(default));
        assert!(row.contains(&wanted), "{field}: {wanted}");
    }
    let payloads = section("## Payloads");
    for limit in [wire::MAX_DEPTH, wire::MAX_NODES] {
        assert!(payloads.contains(&format!("| {} |", grouped(limit as u64))), "{limit}");
    }
    assert!(
        section("## Frames").contains(&format!("({} bytes of payload)", grouped(wire::HELLO_LIMIT as u64)))
    );
    let hello = section("### 11 ManagerHello");
    assert!(hello.contains(&format!("optional, {} |", DEFAULT_PING.as_millis())));
    assert!(hello.contains(&format!("optional, {} |", DEFAULT_DEAD.as_millis())));
    let request = section("### 20 Request");
    assert!(request.contains(&format!("| {} bytes | a method", wire::MAX_METHOD_LEN)));
    assert!(request.contains(&format!("| 1 to {} bytes |", redpoll_common::ids::MAX_REQUEST_ID_LEN)));
    assert!(request.contains(&format!("| {} bytes | identifies the call", codec::MAX_TEXT_LEN)));
    assert!(request.contains(&format!(
        "| `roles` | array of texts | optional | {} of {} bytes |",
        roles::MAX_ROLES,
        roles::MAX_ROLE_LEN
    )));
    assert!(section("### 10 AgentHello").contains(&format!(
        "{} of {} bytes",
        codec::MAX_CAPS,
        codec::MAX_CAP_LEN
    )));
    assert!(section("### 14 Bye").contains(&format!("| {} bytes | for programs", codec::MAX_CODE_LEN)));
    let keep_alive = section("## Keep-alive");
    assert!(keep_alive.contains(&format!("at most {} unanswered", keepalive::MAX_PINGS)));
    assert!(keep_alive.contains(&format!("more than {} pongs", outbox::MAX_CONTROL)));
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let blocks: Vec<&str> = PROTOCOL.split("```golden ").skip(1).collect();
    for block in &blocks {
        let (name, rest) = block.split_once('\n').unwrap();
        let shown: String = rest.split_once("```").unwrap().0.split_whitespace().collect();
        let line = GOLDEN.lines().find(|line| line.split(' ').next() == Some(name));
        assert_eq!(line, Some(format!("{name} {shown}").as_str()));
    }
    assert!(blocks.len() >= 15, "{} blocks", blocks.len());
}
