//! `rp.policy.test`: the agent says what would become of a call, by the same judgement as if it came, and nothing happens.

#![expect(clippy::unwrap_used, reason = "test code")]

mod gate_support;
mod procedures_support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gate_support::{gate, rule};
use procedures_support::{caller, json_shell, setting};
use redpoll_agent::builtin::install_but_list;
use redpoll_agent::gate::Gate;
use redpoll_agent::offered::{Described, Offered};
use redpoll_common::api::agent_method::{DISABLE, POLICY_TEST};
use redpoll_common::api::trial::{PolicyTest, PolicyTestAnswer};
use redpoll_common::api::{SwitchAnswer, SwitchOrder};
use redpoll_common::identity::Identity;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::{LimitsConfig, Manifest, ProceduresConfig};
use redpoll_net::Registry;
use redpoll_net::service::detached_call;
use redpoll_net::transport::PeerInfo;
use redpoll_schema::policy::{Constraint, Effect, Pattern, Rate, Rule};
use serde_json::{Value, json};

/// What nobody may see.
const SECRET: &str = "hunter2-s3cr3t";

/// `p@1` and `p@2`, which leave a mark when they run, `sys.*` and `exec.run`, behind these rules.
fn offered(rules: Vec<Rule>, folder: &Path) -> (Arc<Offered>, Arc<Gate>) {
    let script = format!(": > '{}'; echo '{{\"result\": 1}}'", folder.join("ran").display());
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "pin": {"type": "string"}},
        "required": ["n"], "additionalProperties": false, "x-positional": ["n"]});
    let version = move |version| Manifest { version, args: schema.clone(), ..json_shell(&script) };
    let config =
        ProceduresConfig { builtin: vec!["sys.*".into(), "exec.run".into()], ..ProceduresConfig::default() };
    let base =
        install_but_list(Registry::new(), &config, &LimitsConfig::default(), None, (None, None)).unwrap();
    let source =
        Box::new(move || Described { manifests: vec![version(1), version(2)], ..Described::default() });
    let gate = gate(rules);
    let offered = Offered::new(base, (true, false), setting().0, source, folder, gate.clone()).unwrap();
    assert_eq!(offered.reload().problems, Vec::<String>::new());
    (Arc::new(offered), gate)
}

async fn ask(offered: &Offered, who: PeerInfo, test: &PolicyTest, draining: bool) -> Result<Raw, Fault> {
    let (call, _output, _stop) = detached_call(who, POLICY_TEST, Raw::empty_array(), test.write());
    offered.test(&call, draining).answer.await
}

async fn test(offered: &Offered, procedure: &str, args: Value, kwargs: Value) -> PolicyTestAnswer {
    let (args, kwargs) = (Raw::encode(&args).unwrap(), Raw::encode(&kwargs).unwrap());
    let test =
        PolicyTest { procedure: procedure.into(), args, kwargs, operator: Some("ada".into()), roles: None };
    ask(offered, caller(), &test, false).await.unwrap().decode().unwrap()
}

/// The code of the refusal, the rule, and the text.
fn refused(answer: PolicyTestAnswer) -> (String, Option<String>, String) {
    assert!(!answer.allowed && answer.user.is_none(), "{answer:?}");
    let message = answer.message.unwrap();
    assert!(!message.contains(SECRET), "{message}");
    (answer.code.unwrap(), answer.rule, message)
}

#[tokio::test]
async fn the_agent_says_what_would_become_of_a_call_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let low = Rule {
        args: [("n".to_owned(), Constraint::OneOf(vec![json!(7)]))].into(),
        ..rule("no sevens", Effect::Deny, "p")
    };
    let mut ada = rule("ada", Effect::Allow, "p@2");
    ada.operators = Some(vec![Pattern::new("ada").unwrap()]);
    let (offered, _) = offered(vec![low, ada], folder.path());

    let yes = test(&offered, "p", json!([5]), json!({"pin": SECRET})).await;
    let expected = PolicyTestAnswer {
        allowed: true,
        procedure: Some("p@2".into()),
        rule: Some("ada".into()),
        user: Some("tester".into()),
        ..PolicyTestAnswer::default()
    };
    assert_eq!(yes, expected);
    // within the agent there is no other user
    let yes = test(&offered, "sys.ping", json!([]), json!({})).await;
    assert_eq!((yes.allowed, yes.rule.as_deref(), yes.user), (true, Some("default"), None));

    let (code, rule, _) = refused(test(&offered, "p", json!([7]), json!({"pin": SECRET})).await);
    assert_eq!((code.as_str(), rule.as_deref()), ("rejected", Some("no sevens")));
    let (code, rule, text) = refused(test(&offered, "p@1", json!([SECRET]), json!({})).await);
    assert_eq!((code.as_str(), rule), ("bad_arguments", None));
    assert!(text.starts_with("p@1: n: "), "{text}");
    let (code, rule, _) = refused(test(&offered, "exec.run", json!(["id"]), json!({})).await);
    assert_eq!((code.as_str(), rule.as_deref()), ("rejected", Some("default")));
    for absent in ["q", "p@3", "p@02", "rp.job.offer", ""] {
        let answer = test(&offered, absent, json!([]), json!({})).await;
        assert_eq!(answer.procedure, None, "{absent}");
        let expected = if absent.starts_with("rp.") { "unknown_method" } else { "unknown_procedure" };
        assert_eq!(refused(answer).0, expected, "{absent}");
    }
    assert!(!folder.path().join("ran").exists(), "it ran");
}

#[tokio::test]
async fn what_is_switched_off_or_badly_called_would_be_refused_also_when_it_is_built_in() {
    let folder = tempfile::tempdir().unwrap();
    let (offered, _) = offered(vec![rule("all", Effect::Allow, "*")], folder.path());
    let order = SwitchOrder { procedure: "p@2".into(), operator: None };
    let (call, _output, _stop) =
        detached_call(caller(), DISABLE, Raw::empty_array(), Raw::encode(&order).unwrap());
    let done: SwitchAnswer = offered.start(call).answer.await.unwrap().decode().unwrap();
    assert!(done.changed);
    let (code, _, text) = refused(test(&offered, "p@2", json!([1]), json!({})).await);
    assert!(code == "unknown_procedure" && text.contains("switched off by the manager"), "{code} {text}");
    assert_eq!(test(&offered, "p", json!([1]), json!({})).await.procedure.as_deref(), Some("p@1"));

    // what runs within the agent reads its arguments itself, and of a trial nothing runs
    assert!(test(&offered, "exec.run", json!(["id", "-u"]), json!({"cwd": "/"})).await.allowed);
    for (procedure, args, kwargs) in [
        ("exec.run", json!([]), json!({})),
        ("exec.run", json!(["id"]), json!({"cwd": 5})),
        ("exec.run", json!(["id"]), json!({"cwdd": SECRET})),
        ("sys.ping", json!([SECRET]), json!({})),
    ] {
        let (code, rule, text) = refused(test(&offered, procedure, args, kwargs).await);
        assert_eq!((code.as_str(), rule), ("bad_arguments", None), "{text}");
    }
}

#[tokio::test]
async fn a_trial_uses_nothing_of_a_rate_and_says_when_it_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let rate = Some(Rate { count: 1, per: Duration::from_secs(3600) });
    let (offered, _) = offered(vec![Rule { rate, ..rule("once", Effect::Allow, "p") }], folder.path());
    for _ in 0..5 {
        assert!(test(&offered, "p", json!([1]), json!({})).await.allowed);
    }
    let start = || {
        let kwargs = Raw::encode(&json!({"n": 1})).unwrap();
        let (call, output, stop) = detached_call(caller(), "p", Raw::empty_array(), kwargs);
        let running = offered.now().start(call);
        async move {
            let _held = (output, stop);
            running.answer.await
        }
    };
    start().await.unwrap();
    assert!(folder.path().join("ran").exists(), "the other tests would see nothing run");
    let answer = test(&offered, "p", json!([1]), json!({})).await;
    assert!(answer.retry_after_ms.is_some_and(|wait| wait > 60_000), "{answer:?}");
    assert_eq!(refused(answer).1.as_deref(), Some("once"));
    assert_eq!(start().await.unwrap_err().code, FaultCode::Rejected);
}

#[tokio::test]
async fn only_a_manager_is_told_and_an_agent_that_stops_would_run_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (offered, _) = offered(vec![rule("all", Effect::Allow, "*")], folder.path());
    let test = PolicyTest {
        procedure: "sys.ping".into(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        operator: None,
        roles: None,
    };
    let ada = PeerInfo { identity: Identity::parse("spiffe://home/operator/ada").unwrap(), ..caller() };
    assert_eq!(ask(&offered, ada, &test, false).await.unwrap_err().code, FaultCode::Forbidden);
    let answer: PolicyTestAnswer = ask(&offered, caller(), &test, true).await.unwrap().decode().unwrap();
    assert_eq!(refused(answer).0, "shutting_down");
    let (call, _output, _stop) = detached_call(caller(), POLICY_TEST, Raw::empty_array(), Raw::empty_map());
    assert_eq!(offered.test(&call, false).answer.await.unwrap_err().code, FaultCode::BadArguments);
}
