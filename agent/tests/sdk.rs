//! Procedures in Rust, as an agent of one's own registers them.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;

use redpoll_agent::sdk::{Agent, Context, Failure, JsonSchema, Procedure};
use redpoll_common::identity::Identity;
use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::{Offer, RunRef};
use redpoll_common::job::{Attempt, Dno, JobId, Limits};
use redpoll_common::session::StopReason;
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::Registry;
use redpoll_net::service::{detached_call, run_call};
use redpoll_net::transport::PeerInfo;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is divided by what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Divide {
    /// The dividend.
    a: i64,
    /// The divisor.
    #[serde(default = "two")]
    b: i64,
}

fn two() -> i64 {
    2
}

#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be divided by zero")]
struct ByZero(i64);

async fn divide(asked: Divide, context: Context) -> Result<i64, Failure> {
    let Divide { a, b } = asked;
    context.value(&json!({"a": a, "b": b})).await?;
    context.bytes(b"\x00\xff").await?;
    context.progress_with(1, Some(2), &"half");
    Ok(a.checked_div(b).ok_or(ByZero(a))?)
}

async fn patient(_asked: Nothing, context: Context) -> Result<(), Failure> {
    context.cancelled().await;
    assert!(context.is_cancelled());
    Err(Failure::new("undone").class("Undone").data(&[1, 2]))
}

/// No arguments.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn who(_asked: Nothing, context: Context) -> Result<(Option<String>, Option<Value>), Failure> {
    Ok((context.operator().map(str::to_owned), context.info()))
}

fn agent() -> Agent {
    Agent::new("test", "0")
        .procedure(Procedure::new("test.who", "Says who asks."), who)
        .procedure(Procedure::new("math.divide", "Divides.").version(2), divide)
        .graceful(Procedure::new("test.wait", "Waits."), patient)
}

fn caller() -> PeerInfo {
    PeerInfo {
        identity: Identity::parse("spiffe://home/manager/m").unwrap(),
        address: "test".into(),
        ip: None,
        speaks_rp1: true,
        certificate: None,
    }
}

async fn call(
    registry: &Registry,
    method: &str,
    kwargs: Value,
) -> (Result<Value, Fault>, Vec<Value>, Vec<Progress>) {
    let kwargs = Raw::encode(&kwargs).unwrap();
    let (call, mut output, _stop) = detached_call(caller(), method, Raw::empty_array(), kwargs);
    let answer = registry.start(call).answer.await;
    let (mut values, mut progress) = (Vec::new(), Vec::new());
    while let Some(given) = output.next().await {
        match given {
            Ok(value) => values.push(value.decode().unwrap_or_else(|_bytes| json!(value.as_bytes()))),
            Err(newest) => progress.push(newest),
        }
    }
    (answer.map(|result| result.decode().unwrap()), values, progress)
}

#[tokio::test]
async fn typed_arguments_go_in_and_values_progress_and_a_typed_result_come_out() {
    let registry = agent().into_registry().unwrap();
    let (answer, values, progress) = call(&registry, "math.divide", json!({"a": 7})).await;
    assert_eq!(answer.unwrap(), json!(3));
    assert_eq!(values, [json!({"a": 7, "b": 2}), json!([0xc4, 2, 0x00, 0xff])]);
    let [Progress { completed: 1, total: Some(2), details }] = &progress[..] else {
        unreachable!("{progress:?}")
    };
    assert_eq!(details.as_text(), Some("half"));
}

#[tokio::test]
async fn arguments_of_another_form_never_reach_the_handler() {
    let registry = agent().into_registry().unwrap();
    for (kwargs, word) in
        [(json!({"a": "x"}), "does not fit"), (json!({}), "`a`"), (json!({"a": 1, "c": 1}), "`c`")]
    {
        let (answer, values, _) = call(&registry, "math.divide@2", kwargs.clone()).await;
        let fault = answer.unwrap_err();
        assert_eq!(fault.code, FaultCode::BadArguments, "{kwargs}");
        assert!(fault.message.contains(word), "{kwargs}: {}", fault.message);
        assert!(values.is_empty(), "{kwargs}");
    }
    let (call, _output, _stop) =
        detached_call(caller(), "math.divide", Raw::encode(&[1]).unwrap(), Raw::empty_map());
    assert_eq!(registry.start(call).answer.await.unwrap_err().code, FaultCode::BadArguments);
}

#[tokio::test]
async fn a_handler_knows_who_calls_and_who_submitted() {
    let registry = agent().into_registry().unwrap();
    let mut calls = Vec::new();
    for operator in [None, Some("ada")] {
        let (mut call, _output, _stop) =
            detached_call(caller(), "test.who", Raw::empty_array(), Raw::empty_map());
        call.operator = operator.map(str::to_owned);
        calls.push((call, json!([operator, null])));
    }
    let offer = Offer {
        run: RunRef { job: JobId::from_bytes([1; 16]), attempt: Attempt(1), dno: Dno(1) },
        procedure: "test.who".to_owned(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        limits: Limits::default(),
        info: Raw::encode(&json!({"ticket": 7})).unwrap(),
        operator: "agent:web-2".to_owned(),
        roles: None,
    };
    let own = PeerId::parse("web-1").unwrap();
    let (call, _output, _stop) = run_call(Arc::new(caller()), own, offer, None, 1024);
    calls.push((call, json!(["agent:web-2", {"ticket": 7}])));
    for (call, expected) in calls {
        let answer: Value = registry.start(call).answer.await.unwrap().decode().unwrap();
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn an_error_of_a_handler_crosses_with_its_class() {
    let registry = agent().into_registry().unwrap();
    let (answer, _, _) = call(&registry, "math.divide", json!({"a": 1, "b": 0})).await;
    let fault = answer.unwrap_err();
    assert_eq!((fault.code, fault.class.as_deref()), (FaultCode::Failed, Some("ByZero")));
    assert_eq!(fault.message, "1 cannot be divided by zero");
    assert_eq!(fault.module.as_deref(), Some("sdk"));
}

#[tokio::test]
async fn a_graceful_handler_hears_of_the_cancel_and_has_the_last_word() {
    let registry = agent().into_registry().unwrap();
    let (call, _output, stop) = detached_call(caller(), "test.wait", Raw::empty_array(), Raw::empty_map());
    let running = registry.start(call);
    assert!(running.graceful);
    stop.stop(StopReason::Cancelled);
    let fault = running.answer.await.unwrap_err();
    assert_eq!(
        (fault.class.as_deref(), fault.data.unwrap().decode::<Vec<u8>>().unwrap()),
        (Some("Undone"), vec![1, 2])
    );
}

#[test]
fn the_type_of_the_arguments_gives_their_schema() {
    let registry = agent().into_registry().unwrap();
    let info = registry.procedures().find(|info| info.name == "math.divide").unwrap();
    assert_eq!((info.version, info.description.as_str()), (2, "Divides."));
    assert_eq!(info.args["additionalProperties"], false);
    assert_eq!(info.args["required"], json!(["a"]));
    assert_eq!(info.args["properties"]["b"]["default"], 2);
    assert_eq!(info.args["properties"]["a"]["description"], "The dividend.");
}

/// A secret, and what is open.
#[derive(Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Key {
    pin: String,
    name: String,
}

async fn unlock(asked: Key, context: Context) -> Result<Key, Failure> {
    // the handler has what it was given
    assert_eq!(asked.pin, "hunter2");
    context.value(&asked).await?;
    context.progress_with(1, None, &asked);
    if asked.name == "broken" { Err(Failure::new("as asked").data(&asked)) } else { Ok(asked) }
}

#[tokio::test]
async fn what_is_redacted_is_seen_by_the_handler_alone_and_named_in_the_list() {
    let procedure = Procedure::new("door.unlock", "Unlocks.").redact(["pin"]);
    let registry = Agent::new("test", "0").procedure(procedure, unlock).into_registry().unwrap();
    let info = registry.procedures().next().unwrap();
    assert_eq!(info.redact, ["pin"]);
    let masked = |name: &str| json!({"pin": "***", "name": name});
    let asked = |name: &str| json!({"pin": "hunter2", "name": name});
    let (answer, values, progress) = call(&registry, "door.unlock", asked("front")).await;
    assert_eq!((answer.unwrap(), values), (masked("front"), vec![masked("front")]));
    assert_eq!(progress[0].details.decode::<Value>().unwrap(), masked("front"));
    let (answer, _, _) = call(&registry, "door.unlock", asked("broken")).await;
    assert_eq!(answer.unwrap_err().data.unwrap().decode::<Value>().unwrap(), masked("broken"));
}

async fn tell(asked: Key, context: Context) -> Result<String, Failure> {
    context.value(&format!("the pin is {}", asked.pin)).await?;
    match asked.name.as_str() {
        "front" => Ok(format!("{} opened", asked.pin)),
        _ => Err(Failure::new(format!("bad pin '{}'", asked.pin)).class("Pin").data(&[asked.pin])),
    }
}

#[tokio::test]
async fn what_a_handler_says_in_words_tells_no_secret_either() {
    let procedure = Procedure::new("door.tell", "Tells.").redact(["pin"]);
    let registry = Agent::new("test", "0").procedure(procedure, tell).into_registry().unwrap();
    let asked = |name: &str| json!({"pin": "hunter2", "name": name});
    let (answer, values, _) = call(&registry, "door.tell", asked("front")).await;
    assert_eq!((answer.unwrap(), values), (json!("*** opened"), vec![json!("the pin is ***")]));
    let (answer, _, _) = call(&registry, "door.tell", asked("back")).await;
    let fault = answer.unwrap_err();
    assert_eq!(fault.message, "bad pin '***'");
    assert_eq!(fault.data.unwrap().decode::<Value>().unwrap(), json!(["***"]));
}

/// A type that contains itself.
#[derive(Deserialize, JsonSchema)]
struct Tree {
    name: String,
    children: Vec<Self>,
}

/// Two types that contain themselves at the same place: nobody can tell which of them without looking at all of it.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Sum {
    Plus {
        #[expect(dead_code, reason = "the schema is what matters")]
        left: Box<Self>,
    },
    Minus {
        #[expect(dead_code, reason = "the schema is what matters")]
        left: Box<Self>,
    },
}

async fn grow(asked: Tree, _context: Context) -> Result<usize, Failure> {
    fn count(tree: &Tree) -> usize {
        tree.name.len() + tree.children.iter().map(count).sum::<usize>()
    }
    Ok(count(&asked))
}

async fn add(_asked: Sum, _context: Context) -> Result<(), Failure> {
    Ok(())
}

#[tokio::test]
async fn a_type_that_contains_itself_is_checked_in_all_its_depth() {
    let registry =
        Agent::new("test", "0").procedure(Procedure::new("tree.grow", ""), grow).into_registry().unwrap();
    let tree = |leaf: Value| json!({"name": "ab", "children": [{"name": "c", "children": [{"name": leaf, "children": []}]}]});
    let (answer, _, _) = call(&registry, "tree.grow", tree(json!("d"))).await;
    assert_eq!(answer.unwrap(), json!(4));
    let schema = redpoll_schema::Schema::compile(&registry.info("tree.grow").unwrap().args).unwrap();
    let error = schema.check_json(&tree(json!(1))).unwrap_err().to_string();
    assert!(error.starts_with("children.0.children.0.name: "), "{error}");
}

#[test]
fn paths_that_are_none_and_types_that_cannot_be_checked_are_refused_at_the_start() {
    let wrong = Agent::new("test", "0").procedure(Procedure::new("a.b", "").redact(["x..y"]), patient);
    let said = wrong.into_registry().unwrap_err().to_string();
    assert!(said.starts_with("a.b@1: redact: \"x..y\" is not a path"), "{said}");
    let endless = Agent::new("test", "0").graceful(Procedure::new("sum.add", "").version(3), add);
    let said = endless.into_registry().unwrap_err().to_string();
    assert!(said.starts_with("sum.add@3: the type of its arguments has no schema"), "{said}");
    assert!(said.contains("let no two parts of one schema refer back to it"), "{said}");
}

#[test]
fn a_name_that_is_taken_is_said_at_the_start() {
    let twice = agent().procedure(Procedure::new("math.divide", "Again.").version(2), divide);
    assert_eq!(twice.into_registry().unwrap_err().to_string(), "math.divide@2 is registered twice");
}

async fn nothing<A>(_asked: A, _context: Context) -> Result<(), Failure> {
    Ok(())
}

#[test]
fn what_nobody_could_call_is_refused_when_it_is_registered() {
    /// Read from a name alone.
    #[derive(Deserialize, JsonSchema)]
    enum Word {
        /// One.
        A,
        /// Another.
        B,
    }
    /// Read from a map with one name.
    #[derive(Deserialize, JsonSchema)]
    enum Choice {
        /// One.
        A {},
        /// Another.
        B,
    }
    let one = || (Agent::new("test", "0"), Procedure::new("a", ""));
    let with = |name: &str, version| {
        let agent =
            Agent::new("test", "0").procedure(Procedure::new(name, "").version(version), nothing::<Nothing>);
        agent.into_registry().map(drop).map_err(|error| error.to_string())
    };
    let said = one().0.procedure(one().1, nothing::<()>).into_registry().unwrap_err().to_string();
    assert!(said.starts_with("a@1: ") && said.contains("struct Nothing {}"), "{said}");
    let refused = [
        one().0.procedure(one().1, nothing::<String>),
        one().0.procedure(one().1, nothing::<Vec<u32>>),
        one().0.procedure(one().1, nothing::<Word>),
        one().0.procedure(one().1, nothing::<Option<u64>>),
    ];
    for agent in refused {
        assert!(agent.into_registry().is_err());
    }
    let taken = [
        one().0.procedure(one().1, nothing::<Nothing>),
        one().0.procedure(one().1, nothing::<Option<Nothing>>),
        one().0.procedure(one().1, nothing::<Choice>),
        one().0.procedure(one().1, nothing::<Value>),
        one().0.procedure(one().1, nothing::<std::collections::BTreeMap<String, u32>>),
    ];
    for agent in taken {
        agent.into_registry().unwrap();
    }
    assert_eq!(with("demo.greet-2", 3), Ok(()));
    assert_eq!(with("Demo.Greet", 1), Ok(()));
    let two = |name: &str| {
        one()
            .0
            .procedure(one().1, nothing::<Nothing>)
            .procedure(Procedure::new(name, "").version(2), nothing::<Nothing>)
    };
    two("a").into_registry().unwrap();
    let said = two("A").into_registry().unwrap_err().to_string();
    assert!(
        said.starts_with("A@2: ") && said.contains("differs from a of this program by case alone"),
        "{said}"
    );
    for (name, version, words) in [
        ("Demo Greet", 1, "words with dots between"),
        ("demo@2", 1, "words with dots between"),
        ("Rp.x", 1, "rp.* is the agent's own"),
        ("EXEC.run", 1, "exec.* is the agent's own"),
        ("rp.x", 1, "rp.* is the agent's own"),
        ("sys.x", 1, "sys.* is the agent's own"),
        ("demo.greet", 0, "begin with 1"),
    ] {
        let said = with(name, version).unwrap_err();
        assert!(said.contains(words), "{name}@{version}: {said}");
    }
}
