//! What is offered, and how it changes while everything runs.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod gate_support;
mod log_support;
mod procedures_support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exec_support::{eventually, lives};
use gate_support::{gate, open_gate, rule};
use procedures_support::{answering, caller, json_shell, setting};
use redpoll_agent::builtin::install_but_list;
use redpoll_agent::offered::{Described, Offered, Source};
use redpoll_common::api::{ReloadAnswer, SwitchAnswer, SwitchOrder};
use redpoll_common::identity::Identity;
use redpoll_common::ids::RequestId;
use redpoll_common::wire::codec::encode_within;
use redpoll_common::wire::{
    DEFAULT_FRAME_LIMIT, Fault, FaultCode, Message, Notification, PROTOCOL, Raw, Response,
};
use redpoll_config::{LimitsConfig, Manifest, ProceduresConfig};
use redpoll_net::Registry;
use redpoll_net::listing::ListingPage;
use redpoll_net::service::detached_call;
use redpoll_net::transport::PeerInfo;
use redpoll_schema::policy::{Effect, Pattern, Rate, Rule};
use redpoll_schema::{MAX_SCHEMA_DEPTH, Schema};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What the files describe.
type Files = Arc<Mutex<(Vec<Manifest>, Vec<String>)>>;

/// The source of these files, of which all can be read.
fn described((manifests, problems): (Vec<Manifest>, Vec<String>)) -> Described {
    Described { manifests, problems, unread: Vec::new() }
}

fn offered(files: &Files, state: &Path) -> Arc<Offered> {
    let files = files.clone();
    offered_by(Box::new(move || described(files.lock().unwrap().clone())), state)
}

fn offered_by(source: Source, state: &Path) -> Arc<Offered> {
    let config = ProceduresConfig::default();
    let base =
        install_but_list(Registry::new(), &config, &LimitsConfig::default(), None, (None, None)).unwrap();
    let offered = Offered::new(base, (true, true), setting().0, source, state, open_gate()).unwrap();
    offered.reload();
    Arc::new(offered)
}

fn version(version: u32) -> Manifest {
    Manifest { version, ..json_shell(&format!("echo '{{\"result\": {version}}}'")) }
}

async fn call(offered: &Offered, method: &str) -> Result<Value, Fault> {
    let (call, _output, _stop) = detached_call(caller(), method, Raw::empty_array(), Raw::empty_map());
    offered.now().start(call).answer.await.map(|raw| raw.decode().unwrap())
}

async fn ask<T: serde::de::DeserializeOwned>(
    offered: &Arc<Offered>,
    who: PeerInfo,
    method: &str,
    procedure: &str,
) -> Result<T, Fault> {
    let order = SwitchOrder { procedure: procedure.to_owned(), operator: Some("ann".to_owned()) };
    let (call, _output, _stop) = detached_call(who, method, Raw::empty_array(), Raw::encode(&order).unwrap());
    assert!(Offered::serves(method));
    offered.start(call).answer.await.map(|raw| raw.decode().unwrap())
}

async fn switch(offered: &Arc<Offered>, method: &str, procedure: &str) -> Result<SwitchAnswer, Fault> {
    ask(offered, caller(), method, procedure).await
}

#[tokio::test]
async fn what_the_limits_do_not_let_be_is_in_the_log_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let day = Some(Duration::from_secs(86_400));
    let off = Manifest { name: "off".to_owned(), enabled: false, grace: day, ..version(1) };
    // these limits have no longest run
    let files =
        Arc::new(Mutex::new((vec![Manifest { grace: day, run_timeout: day, ..version(1) }, off], vec![])));
    let log = log_support::log();
    let _offered = offered(&files, folder.path());
    let warned = log.lines(tracing::Level::WARN);
    assert_eq!(warned.len(), 1, "{warned:?}");
    let words = "p.toml: grace: warning: it says 1d, and the agent's limits.grace of 20s holds";
    assert!(warned.iter().all(|line| line.contains(words)), "{warned:?}");
}

#[tokio::test]
async fn a_limit_that_nothing_keeps_is_in_the_log_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut limited = version(1);
    limited.limits.cpu = Some(50);
    // these settings have no control groups
    let files = Arc::new(Mutex::new((vec![limited], vec![])));
    let log = log_support::log();
    let _offered = offered(&files, folder.path());
    let warned = log.lines(tracing::Level::WARN);
    assert!(
        warned.len() == 1 && warned[0].contains("p.toml: limits.cpu: warning: control groups"),
        "{warned:?}"
    );
}

#[tokio::test]
async fn what_operators_write_into_the_log_is_the_policys_to_refuse() {
    let heard = |rules: Vec<Rule>| {
        let limits = LimitsConfig::default();
        let base =
            install_but_list(Registry::new(), &ProceduresConfig::default(), &limits, None, (None, None));
        let offered = Offered::fixed(base.unwrap(), gate(rules));
        let log = log_support::log();
        for text in ["one", "two", "three"] {
            let notification = Notification { kind: "sys.log".to_owned(), data: Raw::text(text) };
            assert!(offered.now().notified(&caller(), &notification));
        }
        log.lines(tracing::Level::INFO).iter().filter(|line| line.contains("sys.log")).count()
    };
    let of_ada =
        |effect| Rule { operators: Some(vec![Pattern::new("ada").unwrap()]), ..rule("ada", effect, "sys.*") };
    let rate = Some(Rate { count: 2, per: Duration::from_secs(3600) });
    for (what, rules, lines) in [
        ("the default", vec![], 3),
        ("by name", vec![rule("quiet", Effect::Deny, "sys.log")], 0),
        ("with all of sys", vec![rule("quiet", Effect::Deny, "sys.*")], 0),
        ("another", vec![rule("other", Effect::Deny, "sys.ping")], 3),
        ("nobody says who it is", vec![of_ada(Effect::Allow)], 0),
        ("it may be ada", vec![of_ada(Effect::Deny)], 0),
        ("a rate", vec![Rule { rate, ..rule("some", Effect::Allow, "sys.log") }], 2),
    ] {
        assert_eq!(heard(rules), lines, "{what}");
    }
}

#[tokio::test]
async fn versions_stand_side_by_side_and_the_highest_that_is_enabled_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let old = Manifest { deprecated: Some("use p@2".to_owned()), ..version(1) };
    let files: Files = Arc::new(Mutex::new((vec![old, version(2), version(10)], vec![])));
    let offers = offered(&files, folder.path());
    assert_eq!(call(&offers, "p").await.unwrap(), 10);
    assert_eq!(call(&offers, "p@1").await.unwrap(), 1);
    let list = call(&offers, "sys.procedures").await.unwrap();
    let row = list.as_array().unwrap().iter().find(|row| row["name"] == "p").unwrap();
    assert_eq!((&row["version"], &row["deprecated"]), (&json!(1), &json!("use p@2")));

    let done = switch(&offers, "rp.procedures.disable", "p@10").await.unwrap();
    assert_eq!(done, SwitchAnswer { procedure: "p@10".into(), enabled: false, changed: true });
    assert!(!switch(&offers, "rp.procedures.disable", "p@10").await.unwrap().changed);
    assert_eq!(call(&offers, "p").await.unwrap(), 2);
    let fault = call(&offers, "p@10").await.unwrap_err();
    assert!(
        fault.code == FaultCode::UnknownProcedure
            && fault.message.ends_with("is switched off by the manager"),
        "{fault}"
    );

    let again = offered(&files, folder.path());
    assert_eq!(call(&again, "p").await.unwrap(), 2, "it stays off when the agent starts again");
    assert!(switch(&again, "rp.procedures.enable", "p@10").await.unwrap().changed);
    assert_eq!(call(&again, "p").await.unwrap(), 10);

    assert!(switch(&again, "rp.procedures.disable", "p").await.unwrap().changed);
    assert!(call(&again, "p").await.unwrap_err().message.contains("switched off"));
    let fault = switch(&again, "rp.procedures.enable", "p@2").await.unwrap_err();
    assert!(fault.code == FaultCode::WrongState && fault.message.contains("enable p"), "{fault}");
    assert!(switch(&again, "rp.procedures.enable", "p").await.unwrap().changed);
    assert!(switch(&again, "rp.procedures.disable", "sys.echo").await.unwrap().changed, "built-in ones too");
    assert!(call(&again, "sys.echo").await.is_err());
}

#[tokio::test]
async fn what_the_owner_did_not_enable_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let files: Files = Arc::new(Mutex::new((vec![Manifest { enabled: false, ..version(1) }], vec![])));
    let offers = offered(&files, folder.path());
    let fault = call(&offers, "p").await.unwrap_err();
    assert!(fault.message.contains("not enabled by the file"), "{fault}");
    for procedure in ["p@1", "p"] {
        let fault = switch(&offers, "rp.procedures.enable", procedure).await.unwrap_err();
        assert!(fault.code == FaultCode::WrongState && fault.message.contains("by the file"), "{fault}");
    }
    // what is off anyway may be switched off, too, for the day when its file enables it
    assert!(switch(&offers, "rp.procedures.disable", "p").await.unwrap().changed);
    files.lock().unwrap().0.push(version(2));
    offers.reload();
    assert!(switch(&offers, "rp.procedures.enable", "p").await.unwrap().changed, "one version is enabled");
    assert_eq!(call(&offers, "p").await.unwrap(), 2);
    for (procedure, code) in [
        ("nothing", FaultCode::UnknownProcedure),
        ("p@7", FaultCode::UnknownProcedure),
        ("p@01", FaultCode::BadArguments),
    ] {
        assert_eq!(
            switch(&offers, "rp.procedures.disable", procedure).await.unwrap_err().code,
            code,
            "{procedure}"
        );
    }
    let fault = switch(&offers, "rp.procedures.disable", "p@7").await.unwrap_err();
    assert_eq!(fault.message, "there is no version 7 of p here");
    let operator = PeerInfo { identity: Identity::parse("spiffe://home/operator/ann").unwrap(), ..caller() };
    let fault = ask::<Value>(&offers, operator, "rp.agent.reload", "").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Forbidden);
}

#[tokio::test]
async fn a_reload_says_what_changed_and_leaves_alone_what_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let files: Files = Arc::new(Mutex::new((vec![version(1), version(2), version(3)], vec![])));
    let offers = offered(&files, folder.path());
    let changed = Manifest { description: "Another.".to_owned(), ..version(2) };
    let nobody = Manifest { user: Some("nobody-of-this-name".to_owned()), ..version(5) };
    let taken = Manifest { name: "sys.echo".to_owned(), ..version(1) };
    *files.lock().unwrap() =
        (vec![version(1), changed, version(4), nobody, taken, version(4)], vec!["x.toml: line 3".to_owned()]);
    let answer: ReloadAnswer = ask(&offers, caller(), "rp.agent.reload", "").await.unwrap();
    let ReloadAnswer { offered, added, changed, removed, problems } = answer;
    assert_eq!((added, changed, removed), (2, 1, 1), "{problems:?}");
    assert_eq!(offered, 3 + 6, "three of these, six of sys");
    for words in ["x.toml: line 3", "nobody-of-this-name", "sys.echo@1: there is one", "p@4: there is one"] {
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    }
    assert_eq!(call(&offers, "p").await.unwrap(), 4);
}

#[tokio::test]
async fn names_that_differ_by_case_alone_are_not_offered_together() {
    let folder = tempfile::tempdir().unwrap();
    let named =
        |name: &str| Manifest { name: name.to_owned(), file: format!("{name}.toml").into(), ..version(1) };
    let all = ["Dog.bark", "dog.bark", "SYS.echo"].map(named);
    let offers = offered(&Arc::new(Mutex::new((all.into(), vec![]))), folder.path());
    let ReloadAnswer { problems, offered, .. } = offers.reload();
    assert_eq!((problems.len(), offered), (2, 1 + 6), "{problems:?}");
    assert!(problems[0].starts_with("dog.bark.toml: dog.bark@1: "), "{problems:?}");
    assert!(problems[0].contains("from Dog.bark of Dog.bark.toml by case alone"), "{problems:?}");
    assert!(problems[1].contains("from sys.echo of the agent's own program by case alone"), "{problems:?}");
    assert_eq!(call(&offers, "Dog.bark").await.unwrap(), 1);
    let called = call(&offers, "dog.bark").await.unwrap_err();
    let switched = switch(&offers, "rp.procedures.disable", "DOG.bark").await.unwrap_err();
    for fault in [called, switched] {
        assert_eq!(fault.code, FaultCode::UnknownProcedure);
        assert!(fault.message.ends_with("is \"Dog.bark\" meant?"), "{fault}");
    }
}

#[tokio::test]
async fn what_runs_ends_on_its_old_definition_and_its_worker_goes_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let wait = format!(
        "say(call=call['call'], value=os.getpid())\n    while not os.path.exists('{}'): time.sleep(0.01)",
        go.display()
    );
    let files: Files = Arc::new(Mutex::new((vec![answering(&wait, "'old'")], vec![])));
    let offers = offered(&files, folder.path());
    let (running, mut output, _stop) = detached_call(caller(), "p", Raw::empty_array(), Raw::empty_map());
    let mut task = JoinSet::new();
    task.spawn(offers.now().start(running).answer);
    let pid: u32 = output.next().await.unwrap().unwrap().decode().unwrap();
    *files.lock().unwrap() = (vec![json_shell("echo '{\"result\":\"new\"}'")], vec![]);
    assert_eq!(offers.reload().changed, 1);
    assert_eq!(call(&offers, "p").await.unwrap(), "new");
    assert!(lives(&pid.to_string()));
    std::fs::write(&go, "").unwrap();
    let answer = task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer.decode::<String>().unwrap(), "old");
    eventually("the old worker goes", || !lives(&pid.to_string())).await;
}

#[tokio::test]
async fn runs_of_a_description_that_was_away_count_when_it_comes_back_with_fewer_places() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = |result: &str| {
        let wait = format!("while [ ! -e '{}' ]; do sleep 0.01; done", go.display());
        format!("echo '{{\"value\": 1}}'; {wait}; echo '{{\"result\": \"{result}\"}}'")
    };
    let places = |concurrency: u32, result: &str| Manifest {
        concurrency: Some(concurrency),
        ..json_shell(&script(result))
    };
    let files: Files = Arc::new(Mutex::new((vec![places(2, "old")], vec![])));
    let offers = offered(&files, folder.path());
    let mut tasks = JoinSet::new();
    let mut start = || {
        let (running, output, stop) = detached_call(caller(), "p", Raw::empty_array(), Raw::empty_map());
        let answer = offers.now().start(running).answer;
        tasks.spawn(async move { answer.await.map(|raw| (raw.decode::<String>().unwrap(), stop)) });
        output
    };
    start().next().await.unwrap().unwrap();
    *files.lock().unwrap() = (vec![], vec!["p.toml: a mistake".to_owned()]);
    assert_eq!(offers.reload().removed, 1);
    *files.lock().unwrap() = (vec![places(1, "new")], vec![]);
    assert_eq!(offers.reload().added, 1);
    let mut second = start();
    // long enough for whoever starts beside the first; whoever waits does so as long as that runs
    let early = tokio::time::timeout(Duration::from_millis(300), second.next()).await;
    assert!(early.is_err(), "it runs beside the other, and the file says one at a time");
    std::fs::write(&go, "").unwrap();
    let mut ended = Vec::new();
    while let Some(end) = tasks.join_next().await {
        ended.push(end.unwrap().unwrap().0);
    }
    assert_eq!(ended, ["old", "new"]);
}

#[tokio::test]
async fn what_cannot_be_read_at_a_reload_stays_as_it_was_read_before() {
    let folder = tempfile::tempdir().unwrap();
    let of = |file: &str, manifest: Manifest| Manifest { file: format!("/d/{file}.toml").into(), ..manifest };
    let first =
        Described { manifests: vec![of("a", version(1)), of("b", version(2))], ..Described::default() };
    let now = Arc::new(Mutex::new(first.clone()));
    let source = now.clone();
    let offers = offered_by(Box::new(move || source.lock().unwrap().clone()), folder.path());
    let reload = |described: Described| {
        *now.lock().unwrap() = described;
        offers.reload()
    };
    let told =
        |answer: &ReloadAnswer, words: &str| answer.problems.iter().any(|problem| problem.contains(words));

    // what another file says meanwhile takes no name from one that cannot be read
    let unread = Described {
        manifests: vec![of("c", version(1)), of("c2", version(3))],
        problems: vec!["/d/a.toml: cannot read it".to_owned()],
        unread: vec!["/d/a.toml".into()],
    };
    let answer = reload(unread);
    assert_eq!((answer.added, answer.changed, answer.removed), (1, 0, 1), "{:?}", answer.problems);
    assert!(told(&answer, "cannot read it") && told(&answer, "1 of the procedures"), "{:?}", answer.problems);
    assert!(told(&answer, "/d/c.toml: p@1: there is one"), "{:?}", answer.problems);
    assert_eq!(call(&offers, "p@1").await.unwrap(), 1);
    assert!(call(&offers, "p@2").await.is_err(), "its file is not there any more");

    let answer = reload(Described { unread: vec!["/d".into()], ..Described::default() });
    assert_eq!((answer.removed, answer.offered), (0, 2 + 6));
    assert!(told(&answer, "2 of the procedures"), "{:?}", answer.problems);
    assert_eq!(call(&offers, "p").await.unwrap(), 3);

    assert_eq!(reload(first).removed, 1);
    assert_eq!(reload(Described::default()).removed, 2, "a folder that was read and has nothing in it");
}

/// All that the agent tells the manager of what it offers, page by page, each as the message that it is sent in.
async fn listed(offered: &Arc<Offered>) -> Vec<Value> {
    let (mut after, mut all) = (Some(0), Vec::new());
    while let Some(place) = after {
        let kwargs = Raw::encode(&json!({"after": place})).unwrap();
        let (call, _output, _stop) =
            detached_call(caller(), "rp.agent.procedures", Raw::empty_array(), kwargs);
        let page = offered.start(call).answer.await.unwrap();
        let message = Message::Response(Response { id: RequestId::numbered(0, 0), result: Ok(page.clone()) });
        encode_within(&message, PROTOCOL, DEFAULT_FRAME_LIMIT).unwrap();
        let page = ListingPage::read(&page).unwrap();
        all.extend(page.elements.iter().map(|element| element.decode::<Value>().unwrap()));
        after = page.next;
    }
    all
}

#[tokio::test]
async fn a_list_that_no_message_holds_as_one_keeps_nothing_from_being_offered_listed_or_disabled() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u32> = (0..4000).collect();
    let many = json!({"properties": {"n": {"enum": numbers}}});
    let deep = (0..MAX_SCHEMA_DEPTH).fold(json!({}), |inner, _| json!({"not": inner}));
    let mut manifests: Vec<Manifest> =
        (1..=20).map(|n| Manifest { args: many.clone(), ..version(n) }).collect();
    manifests.push(Manifest { name: "deep".to_owned(), args: deep.clone(), ..version(1) });
    for manifest in &manifests {
        Schema::compile(&manifest.args).unwrap();
    }
    let files: Files = Arc::new(Mutex::new((manifests, vec![])));
    let offers = offered(&files, folder.path());
    let answer = offers.reload();
    assert_eq!((answer.problems, answer.offered), (vec![], 21 + 6));
    let list = listed(&offers).await;
    assert_eq!(list.len(), 21 + 6);
    assert!(list.iter().any(|info| info["name"] == "deep" && info["args"] == deep));
    assert_eq!(call(&offers, "sys.procedures").await.unwrap().as_array().unwrap().len(), 21 + 6);
    assert!(switch(&offers, "rp.procedures.disable", "p@20").await.unwrap().changed);
    assert!(call(&offers, "p@20").await.unwrap_err().message.contains("switched off"));
    files.lock().unwrap().0.truncate(1);
    assert_eq!((offers.reload().removed, call(&offers, "p").await.unwrap()), (20, json!(1)));
}
