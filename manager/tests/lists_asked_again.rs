//! An agent whose list is asked for and does not come: it is asked again within the session, later and later, and not for ever.
#![expect(clippy::unwrap_used, reason = "test code")]

mod store_folder;

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::{agent_method, method, notice};
use redpoll_common::identity::Identity;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, Fault, FaultCode, Raw, RawMap};
use redpoll_config::ManagerConfig;
use redpoll_manager::gate::accept_loop;
use redpoll_manager::jobs::start_engine;
use redpoll_manager::methods;
use redpoll_manager::sessions::Sessions;
use redpoll_manager::state::Manager;
use redpoll_net::dial::{DialOptions, connect_once};
use redpoll_net::listing::{Announcement, Listing};
use redpoll_net::memory::MemoryNetwork;
use redpoll_net::registry::RegistryService;
use redpoll_net::{Call, DriverOptions, Peer, ProcedureInfo, Registry};
use serde_json::{Value, json};
use store_folder::StoreFolder;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the manager asks for one list. Time is paused: nobody waits.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn identity(who: &str) -> Identity {
    Identity::parse(&format!("spiffe://home/{who}")).unwrap()
}

struct World {
    network: MemoryNetwork,
    tracker: TaskTracker,
    operator: Peer,
    _folder: StoreFolder,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = ManagerConfig::default();
        config.store.path = Some(folder.path().join("store"));
        let manager = Arc::new(Manager::new(identity("manager/m1"), config));
        let (engine, _running) = start_engine(&manager).await.unwrap();
        let folder = StoreFolder::of(folder, engine.store());
        let registry = Arc::new(methods::registry(&manager, &engine).unwrap());
        let sessions = Sessions::new(manager, registry, engine);
        let (network, listener) = MemoryNetwork::new(identity("manager/m1"));
        let tracker = TaskTracker::new();
        tracker.spawn(accept_loop(Box::new(listener), sessions, CancellationToken::new()));
        let operator = dial(&network, &tracker, "operator/ada", Registry::new()).await;
        Self { network, tracker, operator, _folder: folder }
    }

    /// An agent that offers `noop`, answers nothing to so many questions for its list, and counts them.
    async fn agent(&self, deaf: usize, says: Option<FaultCode>) -> (Peer, watch::Receiver<usize>) {
        let (count, counted) = watch::channel(0);
        let listing = Arc::new(list("noop"));
        let ask = ProcedureInfo::new(agent_method::PROCEDURES, "", Value::Null);
        let registry = Registry::new().with(ask, move |_call| {
            let (count, listing, says) = (count.clone(), listing.clone(), says.clone());
            async move {
                count.send_modify(|count| *count += 1);
                if *count.borrow() > deaf {
                    return Ok(listing.page(0, 64 * 1024));
                }
                match says {
                    None => std::future::pending().await,
                    Some(code) => Err(Fault::new(code, "not now")),
                }
            }
        });
        let agent = dial(&self.network, &self.tracker, "agent/web-1", registry.unwrap()).await;
        (agent, counted)
    }

    async fn known(&self) -> bool {
        self.procedures().await.get("known").and_then(Value::as_bool).unwrap()
    }

    /// The names of what the agent offers.
    async fn offers(&self) -> Vec<String> {
        let answer = self.procedures().await;
        let list = answer.get("procedures").and_then(Value::as_array).unwrap();
        list.iter().map(|one| one.get("name").and_then(Value::as_str).unwrap().to_owned()).collect()
    }

    async fn procedures(&self) -> Value {
        let kwargs = Raw::encode(&json!({"agent": "web-1"})).unwrap();
        let call = Call::new(method::AGENTS_PROCEDURES, PATIENCE).with_kwargs(kwargs);
        self.operator.call(call).await.unwrap().decode().unwrap()
    }
}

async fn dial(network: &MemoryNetwork, tracker: &TaskTracker, who: &str, registry: Registry) -> Peer {
    let identity = identity(who);
    let id = identity.id.to_string();
    let hello = AgentHello { id, version: "test".into(), protocol: Some(SPOKEN), ..AgentHello::default() };
    let options = DialOptions {
        hello_timeout: PATIENCE,
        liveness: None,
        driver: DriverOptions::default(),
        backoff: BackoffOptions::default(),
    };
    let service = Arc::new(RegistryService(Arc::new(registry)));
    connect_once(&network.transport(identity), hello, service, &options, tracker).await.unwrap()
}

fn list(name: &str) -> Listing {
    let info = ProcedureInfo::new(name, "", json!({}));
    Listing::of(&Registry::new().with(info, |_call| std::future::ready(Ok(Raw::nil()))).unwrap())
}

async fn announce(agent: &Peer, listing: &Listing) {
    let announcement = Announcement { digest: *listing.digest(), policy: None };
    agent.notify(notice::AGENT_PROCEDURES, announcement.write()).await.unwrap();
}

#[tokio::test]
async fn a_question_that_is_lost_is_asked_again_within_the_session() {
    for (deaf, says) in [(3, None), (2, Some(FaultCode::Overloaded))] {
        let world = World::new().await;
        let (agent, mut asked) = world.agent(deaf, says).await;
        announce(&agent, &list("noop")).await;
        asked.wait_for(|count| *count == 1).await.unwrap();
        assert!(!world.known().await, "it was not told yet");
        tokio::time::pause();
        let told = asked.wait_for(|count| *count == deaf + 1);
        tokio::time::timeout(FOR_EVER, told).await.unwrap().unwrap();
        tokio::time::resume();
        while !world.known().await {
            tokio::task::yield_now().await;
        }
        assert_eq!(*asked.borrow(), deaf + 1, "it is known, and not asked for any more");
    }
}

#[tokio::test]
async fn an_agent_that_never_answers_is_asked_so_often_and_then_left_until_it_says_something_new() {
    let world = World::new().await;
    let (agent, mut asked) = world.agent(usize::MAX, None).await;
    announce(&agent, &list("noop")).await;
    asked.wait_for(|count| *count == 1).await.unwrap();
    tokio::time::pause();
    let more = asked.wait_for(|count| *count == 8);
    tokio::time::timeout(FOR_EVER, more).await.unwrap().unwrap();
    let ninth = tokio::time::timeout(FOR_EVER, asked.wait_for(|count| *count > 8)).await.is_ok();
    assert!(!ninth, "asked without end");
    announce(&agent, &list("other")).await;
    tokio::time::timeout(FOR_EVER, asked.wait_for(|count| *count == 9)).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_would_not_help_is_not_asked_again() {
    let world = World::new().await;
    let (agent, mut asked) = world.agent(usize::MAX, Some(FaultCode::UnknownMethod)).await;
    announce(&agent, &list("noop")).await;
    asked.wait_for(|count| *count == 1).await.unwrap();
    tokio::time::pause();
    assert!(tokio::time::timeout(FOR_EVER, asked.wait_for(|count| *count > 1)).await.is_err());
}

#[tokio::test]
async fn an_answer_that_was_overtaken_by_a_list_that_is_known_is_not_entered() {
    let world = World::new().await;
    let (count, mut asked) = watch::channel(0);
    let (release, held) = watch::channel(false);
    let (first, second) = (Arc::new(list("first")), Arc::new(list("second")));
    let (known, late) = (first.clone(), second.clone());
    let ask = ProcedureInfo::new(agent_method::PROCEDURES, "", Value::Null);
    let registry = Registry::new().with(ask, move |_call| {
        count.send_modify(|count| *count += 1);
        let (number, known, late, mut held) = (*count.borrow(), known.clone(), late.clone(), held.clone());
        async move {
            if number == 1 {
                return Ok(known.page(0, 64 * 1024));
            }
            held.wait_for(|is_released| *is_released).await.unwrap();
            Ok(late.page(0, 64 * 1024))
        }
    });
    let agent = dial(&world.network, &world.tracker, "agent/web-1", registry.unwrap()).await;
    announce(&agent, &first).await;
    while world.offers().await != ["first"] {
        tokio::task::yield_now().await;
    }
    announce(&agent, &second).await;
    asked.wait_for(|count| *count == 2).await.unwrap();
    // what the agent says now is known, and holds at once; the answer to the question before is still on its way
    announce(&agent, &first).await;
    assert_eq!(world.offers().await, ["first"]);
    tokio::time::pause();
    release.send_replace(true);
    let again = tokio::time::timeout(FOR_EVER, asked.wait_for(|count| *count > 2)).await;
    assert!(again.is_err(), "what is known is not asked for");
    tokio::time::resume();
    assert_eq!(world.offers().await, ["first"]);
}

/// An agent that gives this list when it is asked, and counts the questions.
async fn teller(world: &World, name: &str, listing: &Arc<Listing>) -> (Peer, watch::Receiver<usize>) {
    let (count, counted) = watch::channel(0);
    let listing = listing.clone();
    let ask = ProcedureInfo::new(agent_method::PROCEDURES, "", Value::Null);
    let registry = Registry::new().with(ask, move |call| {
        count.send_modify(|count| *count += 1);
        let after = call.kwargs.decode::<Value>().unwrap().get("after").and_then(Value::as_u64).unwrap();
        std::future::ready(Ok(listing.page(usize::try_from(after).unwrap(), 256 * 1024)))
    });
    (dial(&world.network, &world.tracker, &format!("agent/{name}"), registry.unwrap()).await, counted)
}

#[tokio::test]
async fn an_agent_that_goes_from_list_to_list_without_end_ends_with_the_last() {
    let world = World::new().await;
    let lists = [Arc::new(list("first")), Arc::new(list("second"))];
    // what others hold, or it would be forgotten as soon as the agent has another
    let (first, _) = teller(&world, "web-2", &lists[0]).await;
    let (second, _) = teller(&world, "web-3", &lists[1]).await;
    let (agent, _) = teller(&world, "web-1", &lists[0]).await;
    announce(&first, &lists[0]).await;
    announce(&second, &lists[1]).await;
    for (listing, name) in lists.iter().zip(["first", "second"]) {
        while world.offers().await != [name] {
            announce(&agent, listing).await;
            tokio::task::yield_now().await;
        }
    }
    // far more often than hold at once; the last is another than holds now
    for listing in lists.iter().cycle().take(101) {
        announce(&agent, listing).await;
    }
    tokio::time::pause();
    tokio::time::sleep(FOR_EVER).await;
    tokio::time::resume();
    assert_eq!(world.offers().await, ["first"]);
}

#[tokio::test]
async fn a_list_of_more_values_than_may_be_kept_is_not_entered() {
    for (each, entered) in [(30_000, true), (60_000, false)] {
        let world = World::new().await;
        let with = |registry: Registry, n: usize| {
            let info = ProcedureInfo::new(&format!("p{n}"), "", json!(vec![0; each]));
            registry.with(info, |_call| std::future::ready(Ok(Raw::nil()))).unwrap()
        };
        let listing = Arc::new(Listing::of(&(0..10).fold(Registry::new(), with)));
        let (agent, mut asked) = teller(&world, "web-1", &listing).await;
        announce(&agent, &listing).await;
        asked.wait_for(|count| *count >= 1).await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(FOR_EVER).await;
        tokio::time::resume();
        assert_eq!(world.known().await, entered, "{each} values for each procedure");
    }
}

#[tokio::test]
async fn an_agent_whose_pages_are_empty_and_do_not_end_is_asked_once() {
    let world = World::new().await;
    let (count, mut asked) = watch::channel(0_u64);
    let ask = ProcedureInfo::new(agent_method::PROCEDURES, "", Value::Null);
    let registry = Registry::new().with(ask, move |_call| {
        count.send_modify(|count| *count += 1);
        let page = RawMap::new().bin("digest", list("noop").digest().as_ref());
        let page = page.raws("procedures", &[]).uint("next", *count.borrow()).finish();
        std::future::ready(Ok(page))
    });
    let agent = dial(&world.network, &world.tracker, "agent/web-1", registry.unwrap()).await;
    announce(&agent, &list("noop")).await;
    asked.wait_for(|count| *count >= 1).await.unwrap();
    tokio::time::pause();
    let more = tokio::time::timeout(FOR_EVER, asked.wait_for(|count| *count > 1)).await;
    assert!(more.is_err(), "a page that brings nothing and says that there are more is the last one");
}
