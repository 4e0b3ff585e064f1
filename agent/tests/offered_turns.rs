//! Changes of what is offered, while one of them hangs.

#![expect(clippy::unwrap_used, reason = "test code")]

mod gate_support;
mod procedures_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gate_support::open_gate;
use procedures_support::{caller, setting};
use redpoll_agent::offered::{Described, Offered};
use redpoll_common::api::{ReloadAnswer, SwitchOrder, agent_method};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::Registry;
use redpoll_net::service::detached_call;
use tokio::task::JoinSet;

async fn ask(offered: Arc<Offered>, method: &str) -> Result<Raw, Fault> {
    let order = SwitchOrder { procedure: "p".to_owned(), operator: None };
    let (call, _output, _stop) =
        detached_call(caller(), method, Raw::empty_array(), Raw::encode(&order).unwrap());
    offered.start(call).answer.await
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn while_a_reload_hangs_others_wait_without_a_thread_and_are_told() {
    // one thread for the reload that hangs, one for everything else
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(2).build().unwrap();
    let state = tempfile::tempdir().unwrap();
    let reads = Arc::new(AtomicUsize::new(0));
    let (release, held) = mpsc::sync_channel::<()>(0);
    let (counted, held) = (reads.clone(), std::sync::Mutex::new(held));
    let source = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        // closed: it does not hang any more
        let _released = held.lock().unwrap().recv();
        Described { manifests: Vec::new(), problems: Vec::new(), unread: Vec::new() }
    });
    runtime.block_on(async {
        let offered =
            Offered::new(Registry::new(), (true, false), setting().0, source, state.path(), open_gate());
        let offered = Arc::new(offered.unwrap());
        let mut first = JoinSet::new();
        first.spawn(ask(offered.clone(), agent_method::RELOAD));
        until(|| reads.load(Ordering::SeqCst) == 1).await;
        let mut others = JoinSet::new();
        for method in
            [agent_method::RELOAD, agent_method::RELOAD, agent_method::DISABLE, agent_method::ENABLE]
        {
            others.spawn(ask(offered.clone(), method));
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let free = tokio::time::timeout(Duration::from_secs(20), tokio::task::spawn_blocking(|| 7));
        let free = free.await;
        if free.is_err() {
            drop(release);
            unreachable!("those who wait have a thread each");
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        while let Some(answer) = others.join_next().await {
            let fault = answer.unwrap().unwrap_err();
            assert_eq!(fault.code, FaultCode::Overloaded, "{fault}");
            assert!(fault.message.contains("nothing changed"), "{fault}");
        }
        tokio::time::resume();
        // those who ask while it goes on are answered by one more, as before
        let mut more: JoinSet<_> = (0..3).map(|_| ask(offered.clone(), agent_method::RELOAD)).collect();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(release);
        first.join_next().await.unwrap().unwrap().unwrap().decode::<ReloadAnswer>().unwrap();
        while let Some(answer) = more.join_next().await {
            answer.unwrap().unwrap().decode::<ReloadAnswer>().unwrap();
        }
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    });
}
