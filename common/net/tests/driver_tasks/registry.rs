//! Procedures by name and version.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode, Notification, Raw};
use redpoll_net::registry::{Duplicate, ProcedureInfo, Registry, RegistryService};
use redpoll_net::service::{Service, detached_call, stop_fault};

use crate::support::agent;

fn info(name: &str, version: u32) -> ProcedureInfo {
    ProcedureInfo { version, ..ProcedureInfo::new(name, "Answers its version.", serde_json::json!({})) }
}

fn with(registry: Registry, name: &str, version: u32) -> Registry {
    registry
        .with(info(name, version), move |_call| async move { Ok(Raw::encode(&version).unwrap()) })
        .unwrap()
}

fn registry() -> Registry {
    let names = [("sys.echo", 1), ("sys.echo", 10), ("sys.echo", 9), ("rp.manager.time", 1)];
    names.into_iter().fold(Registry::new(), |registry, (name, version)| with(registry, name, version))
}

async fn run(registry: &Registry, method: &str) -> Result<u32, (FaultCode, String)> {
    let (call, _output, _stop) = detached_call(agent(), method, Raw::empty_array(), Raw::empty_map());
    let answer = registry.start(call).answer.await;
    answer.map(|version| version.decode().unwrap()).map_err(|Fault { code, message, .. }| (code, message))
}

#[tokio::test]
async fn the_highest_version_answers_unless_one_is_named() {
    let registry = registry();
    for (method, version) in [("sys.echo", 10), ("sys.echo@1", 1), ("sys.echo@9", 9), ("rp.manager.time", 1)]
    {
        assert_eq!(run(&registry, method).await, Ok(version), "{method}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_words() {
    let registry = registry();
    let unknown = [
        ("sys.nothing", "\"sys.nothing\" is not offered here"),
        ("sys.ecoh", "\"sys.ecoh\" is not offered here; is \"sys.echo\" meant?"),
        ("Sys.ECHO", "\"Sys.ECHO\" is not offered here; is \"sys.echo\" meant?"),
        ("SYS.echo@9", "\"SYS.echo\" is not offered here; is \"sys.echo\" meant?"),
        ("sys.echo@2", "there is no version 2 of sys.echo, only 1, 9, 10"),
        ("sys.echo@", "\"\" in \"sys.echo@\" is not a version"),
        ("sys.echo@+1", "\"+1\" in \"sys.echo@+1\" is not a version"),
        ("sys.echo@01", "\"01\" in \"sys.echo@01\" is not a version"),
        ("sys.echo@1@1", "\"1@1\" in \"sys.echo@1@1\" is not a version"),
        ("", "\"\" is not offered here"),
        ("a\nb", "\"a\\nb\" is not offered here"),
    ];
    for (method, text) in unknown {
        assert_eq!(run(&registry, method).await, Err((FaultCode::UnknownProcedure, text.to_owned())));
    }
    let (code, _) = run(&registry, "rp.nothing").await.unwrap_err();
    assert_eq!(code, FaultCode::UnknownMethod, "a method of the protocol is not a procedure");
}

#[test]
fn a_name_and_version_can_be_taken_once() {
    let taken = registry().with(info("sys.echo", 9), |_call| async { Ok(Raw::nil()) }).unwrap_err();
    assert_eq!(taken, Duplicate { name: "sys.echo".into(), version: 9 });
    assert_eq!(taken.to_string(), "sys.echo@9 is registered twice");
}

#[test]
fn procedures_are_listed_in_order() {
    let registry = registry();
    let listed: Vec<_> = registry.procedures().map(|info| (info.name.as_str(), info.version)).collect();
    assert_eq!(listed, [("rp.manager.time", 1), ("sys.echo", 1), ("sys.echo", 9), ("sys.echo", 10)]);
}

#[tokio::test]
async fn a_graceful_procedure_is_marked_so_and_hears_the_stop() {
    let registry = registry();
    let registry = registry
        .with_graceful(info("slow", 1), |call| async move { Err(stop_fault(call.stop.stopped().await)) })
        .unwrap();
    let (call, _output, stop) = detached_call(agent(), "slow", Raw::empty_array(), Raw::empty_map());
    let running = registry.start(call);
    assert!(running.graceful);
    stop.stop(StopReason::TimedOut);
    stop.stop(StopReason::Cancelled);
    assert_eq!(running.answer.await.unwrap_err().code, FaultCode::TimedOut, "the first reason counts");
    let (call, _output, _stop) = detached_call(agent(), "sys.echo", Raw::empty_array(), Raw::empty_map());
    assert!(!registry.start(call).graceful);
}

#[tokio::test]
async fn a_detached_call_gives_values_and_the_newest_progress() {
    let (call, mut output, _stop) = detached_call(agent(), "x", Raw::empty_array(), Raw::empty_map());
    call.output.progress(1, None, Raw::nil());
    call.output.progress(2, None, Raw::nil());
    call.output.value(Raw::text("a")).await.unwrap();
    drop(call);
    assert_eq!(output.next().await.unwrap().unwrap_err().completed, 2);
    assert_eq!(output.next().await.unwrap(), Ok(Raw::text("a")));
    assert!(output.next().await.is_none());
}

#[test]
fn notifications_go_to_their_handler_or_nowhere() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let registry = Registry::new().on_notification("known", move |_from, _data| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let notification = |kind: &str| Notification { kind: kind.into(), data: Raw::nil() };
    assert!(registry.notified(&agent(), &notification("known")));
    assert!(!registry.notified(&agent(), &notification("unknown")));
    RegistryService(Arc::new(registry)).notified(&agent(), notification("unknown"));
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}
