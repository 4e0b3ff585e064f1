//! `docs/protocol.md` has every name and number of the protocol, and its bytes are the golden ones: the document cannot
//! fall behind the code.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;

use redpoll_common::api::{agent_method, method, notice};
use redpoll_common::job::wire::{SpoolState, offer, report, resume};
use redpoll_common::job::{ItemKind, Outcome, spec};
use redpoll_common::roles;
use redpoll_common::session::terms::{
    DEFAULT_DEAD, DEFAULT_IN_FLIGHT, DEFAULT_PING, DEFAULT_WINDOW, MAX_IN_FLIGHT, MAX_WINDOW,
    MIN_FRAME_LIMIT, MIN_WINDOW,
};
use redpoll_common::session::{credit, keepalive, outbox};
use redpoll_common::wire::bye::Reaction;
use redpoll_common::wire::message::kind;
use redpoll_common::wire::{self, ByeCode, FaultCode, codec, flight};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");
const GOLDEN: &str = concat!(include_str!("golden/messages.txt"), include_str!("golden/job.txt"));
const JOB_BODIES: &str = include_str!("golden/job.txt");
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

/// The rows of a section whose first cell has this name among others, in backquotes.
fn shared_rows(section: &'static str, name: &str) -> Vec<&'static str> {
    let first = |line: &&str| {
        line.strip_prefix("| ").and_then(|rest| rest.split(" |").next()).unwrap_or_default().to_owned()
    };
    section.lines().filter(|line| first(line).split(", ").any(|cell| cell == format!("`{name}`"))).collect()
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
    let values = values.map(|line| line.split_once(" = ").unwrap().1.trim_end_matches(';'));
    values
        .map(|value| match value.strip_prefix("super::method::") {
            // the same name as that of another method
            Some(other) => source.split_once(&format!("pub const {other}: &str = ")).unwrap().1,
            None => value,
        })
        .map(|value| value.split(';').next().unwrap().trim_matches('"'))
        .collect()
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
        let manager = section("## Methods of the manager");
        assert!(!rows(manager, name).is_empty(), "{name}");
        // the table of answers has two columns
        let answers = shared_rows(manager, name).iter().filter(|row| row.matches('|').count() == 3).count();
        assert_eq!(answers, 1, "{name}: no answer");
    }
    let agents = constants(API, "agent_method");
    assert!(agents.contains(&agent_method::JOB_OFFER) && agents.contains(&method::PROCEDURES_ENABLE));
    for name in agents {
        assert_eq!(shared_rows(section("## Methods of agents"), name).len(), 1, "{name}");
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
    let most_on_the_way = format!("({} with\nthe default window)", DEFAULT_WINDOW / credit::MIN_COST);
    assert!(section("### Credit").contains(&most_on_the_way), "{most_on_the_way}");
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

/// A list of names with a meaning of their own, which is not described here, is one that nobody has looked at.
#[test]
fn every_list_of_names_is_looked_at() {
    let modules = API.split("\npub mod ").skip(1).filter_map(|rest| rest.split_once(" {"));
    let lists: Vec<&str> = modules.map(|(name, _)| name).filter(|name| !name.contains('\n')).collect();
    assert_eq!(lists, ["method", "agent_method", "notice"]);
}

/// Every text that is a key of a map within this value, but for those of whoever calls, and of faults.
fn keys(value: &rmpv::Value, found: &mut BTreeSet<String>) {
    for element in value.as_array().into_iter().flatten() {
        keys(element, found);
    }
    for (key, element) in value.as_map().into_iter().flatten() {
        let key = key.as_str().unwrap();
        found.insert(key.to_owned());
        if !["args", "kwargs", "info", "fault"].contains(&key) {
            keys(element, found);
        }
    }
}

#[test]
fn every_field_and_word_of_jobs_on_an_agent_is_described() {
    let jobs = section("## Jobs on an agent");
    let is_body =
        |line: &&str| !line.is_empty() && !line.starts_with(['#', ' ']) && !line.starts_with("record-");
    for line in JOB_BODIES.lines().filter(is_body) {
        let (name, hex) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let (mut found, value) = (BTreeSet::new(), rmpv::decode::read_value(&mut &bytes[..]).unwrap());
        keys(&value, &mut found);
        for key in found {
            // as the name of a row, or in a map that a cell shows
            let is_there = [format!("`{key}`"), format!("{{`{key}`")].iter().any(|text| jobs.contains(text));
            assert!(is_there, "{key} of {name}");
        }
    }
    let states = section("### What an agent keeps");
    for state in SpoolState::ALL {
        assert_eq!(rows(states, state.as_str()).len(), 1, "{state:?}");
    }
    for outcome in Outcome::ALL {
        assert_eq!(rows(jobs, outcome.as_str()).len(), 1, "{outcome}");
    }
    let words = ItemKind::ALL.map(ItemKind::as_str);
    for word in words.iter().chain(&["continue", "send_from", "kill", "drop", "truncate", "block"]) {
        assert!(jobs.contains(&format!("`{word}`")), "{word}");
    }
    for (field, limit) in [
        ("items", grouped(report::MAX_REPORT_ITEMS as u64)),
        (
            "redact",
            format!(
                "{} of {} KiB",
                grouped(report::MAX_REPORT_REDACT as u64),
                report::MAX_REPORT_PATH / 1024
            ),
        ),
        ("procedure", format!("{} bytes", wire::MAX_METHOD_LEN)),
        ("operator", format!("{} bytes", offer::MAX_OPERATOR)),
        ("roles", format!("{} of {} bytes", roles::MAX_ROLES, roles::MAX_ROLE_LEN)),
        ("info", format!("{} KiB", spec::MAX_INFO / 1024)),
        ("jobs", resume::MAX_RESUME_ROWS.to_string()),
    ] {
        assert!(
            rows(jobs, field).iter().any(|row| row.contains(&format!("| {limit} |"))),
            "{field}: {limit}"
        );
    }
    assert!(jobs.contains(&format!("an array of at most {} maps, each run", report::MAX_REPORTS)));
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
    assert!(blocks.len() >= 23, "{} blocks", blocks.len());
}
