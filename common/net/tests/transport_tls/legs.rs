//! Legs and what goes over two of them, with a manager in the hands of the test.

use std::io::{Read as _, Write as _};

use aws_lc_rs::digest::{Context, SHA256};
use redpoll_certs::testing::TestCertificate;
use redpoll_common::ids::PeerId;
use redpoll_common::leg::{LegAnswer, LegHello, Ticket};
use redpoll_common::wire::Raw;
use redpoll_net::tls::{DataEnd, DataError, Leg, Receipt, Stopped, TlsListener, call_digest};
use redpoll_net::transport::Accepted;

use tokio_util::task::TaskTracker;

use super::*;

const IDLE: Duration = Duration::from_secs(20);

/// Both ends of a connection through the manager, which holds the two ends in the middle.
struct Joined {
    operator: TcpStream,
    agent: TcpStream,
    middle: (TcpStream, TcpStream),
    ada: TlsTransport,
    web: TlsTransport,
}

pub(crate) async fn leg(listener: &mut TlsListener) -> Leg {
    let incoming = listener.accept().await.unwrap();
    let Accepted::Leg(leg) = incoming.handshake.await.unwrap() else { panic!("no leg") };
    *leg
}

/// A way to a manager that was reached once.
pub(crate) async fn known(listener: &mut TlsListener, own: &TestCertificate) -> TlsTransport {
    let transport = transport_to(listener, credentials(own));
    let _session = connected(listener, &transport).await;
    transport
}

pub(crate) fn ticket() -> Ticket {
    Ticket::new(redpoll_net::random::bytes16())
}

pub(crate) fn id(name: &str) -> PeerId {
    PeerId::parse(name).unwrap()
}

/// Joins the legs of these two, as a manager does.
async fn join(authority: &TestAuthority, ada: &TestCertificate, web: &TestCertificate) -> Joined {
    let (mut listener, _server) = listen(credentials(&authority.manager("m-1")));
    let (ada, web) = (known(&mut listener, ada).await, known(&mut listener, web).await);
    let ticket = ticket();
    let asked = LegHello { ticket, agent: Some(id("web-1")) };
    let answer = LegHello { ticket, agent: None };
    let manager = async {
        let mut first = leg(&mut listener).await;
        assert_eq!(first.hello(DEADLINE).await.unwrap(), asked);
        first.answer(&LegAnswer::Waiting, DEADLINE).await.unwrap();
        let mut second = leg(&mut listener).await;
        assert_eq!(second.hello(DEADLINE).await.unwrap(), answer);
        tokio::try_join!(first.joined(DEADLINE), second.joined(DEADLINE)).unwrap()
    };
    let ends = async {
        let mut operator = ada.leg(&asked, DEADLINE).await.unwrap();
        operator.known(DEADLINE).await.unwrap();
        let agent = web.leg(&answer, DEADLINE).await.unwrap();
        tokio::try_join!(operator.joined(DEADLINE), agent.joined(DEADLINE)).unwrap()
    };
    let (middle, (operator, agent)) = tokio::join!(manager, ends);
    Joined { operator, agent, middle, ada, web }
}

async fn joined() -> Joined {
    let authority = TestAuthority::new("home");
    Box::pin(join(&authority, &authority.operator("ada"), &authority.agent("web-1"))).await
}

/// Passes on what comes from one to the other through `change`, and keeps it.
async fn pass(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    change: impl Fn(usize, &mut [u8]),
) -> Vec<u8> {
    let (mut seen, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let len = from.read(&mut block).await.unwrap_or(0);
        let Some(bytes) = block.get_mut(..len).filter(|bytes| !bytes.is_empty()) else { break };
        change(seen.len(), bytes);
        seen.extend_from_slice(bytes);
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _gone = to.shutdown().await;
    seen
}

type Ends = (Result<DataEnd, DataError>, Result<DataEnd, DataError>);

/// The handshake between the ends, with whom each expects; the middle changes what `change` says of what the operator sends.
async fn handshake(
    joined: Joined,
    (agent, operator): (&str, &str),
    change: impl Fn(usize, &mut [u8]) + Send + 'static,
) -> (Ends, tokio::task::JoinHandle<Vec<u8>>) {
    let Joined { operator: here, agent: there, middle: (one, other), ada, web } = joined;
    let middle = TaskTracker::new().spawn(async move {
        let ((mut from_one, mut to_one), (mut from_other, mut to_other)) =
            (one.into_split(), other.into_split());
        let both =
            (pass(&mut from_one, &mut to_other, change), pass(&mut from_other, &mut to_one, |_, _| {}));
        let (mut seen, back) = tokio::join!(both.0, both.1);
        seen.extend(back);
        seen
    });
    let (agent, operator) = (id(agent), id(operator));
    let times = (DEADLINE, IDLE);
    let ends =
        tokio::join!(ada.client().data(here, &agent, times), web.client().data(there, &operator, times));
    (ends, middle)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_over_joined_legs_is_whole_and_nobody_in_the_middle_can_read_it() {
    let ((ada, web), middle) = handshake(joined().await, ("web-1", "ada"), |_, _| {}).await;
    let (mut ada, mut web) = (ada.unwrap(), web.unwrap());
    let digest = call_digest("file.write", &Raw::empty_map());
    let secret = b"the launch code is 00000000. ".repeat(40_000);
    let sent = secret.clone();
    let sending = tokio::task::spawn_blocking(move || {
        ada.say_call(digest).unwrap();
        ada.write_all(&sent).unwrap();
        ada.finish().unwrap();
        let mut answer = Vec::new();
        ada.read_to_end(&mut answer).unwrap();
        answer
    });
    let receiving = tokio::task::spawn_blocking(move || {
        web.hear_call(digest).unwrap();
        let mut heard = Vec::new();
        web.read_to_end(&mut heard).unwrap();
        web.write_all(b"thanks").unwrap();
        web.finish().unwrap();
        heard
    });
    assert!(receiving.await.unwrap() == secret);
    assert_eq!(sending.await.unwrap(), b"thanks");
    let seen = middle.await.unwrap();
    assert!(seen.len() > secret.len());
    for clear in [&b"launch"[..], b"thanks", &digest] {
        assert!(!seen.windows(clear.len()).any(|window| window == clear), "the middle can read {clear:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_at_the_other_end_is_refused_by_both() {
    // each expects another than is there
    let ((ada, _), _middle) = handshake(joined().await, ("web-2", "ada"), |_, _| {}).await;
    let error = ada.unwrap_err();
    assert!(matches!(&error, DataError::WrongPeer { found, .. } if found.as_str() == "web-1"), "{error:?}");
    let ((_, web), _middle) = handshake(joined().await, ("web-1", "eve"), |_, _| {}).await;
    let error = web.unwrap_err();
    assert!(matches!(&error, DataError::WrongPeer { found, .. } if found.as_str() == "ada"), "{error:?}");
    assert!(error.is_refusal());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_agent_is_an_agent_and_only_an_operator_an_operator() {
    let (authority, foreign) = (TestAuthority::new("home"), TestAuthority::new("home"));
    let (ada, web) = (authority.operator("ada"), authority.agent("web-1"));
    // the legs are made by those who may, and then somebody else speaks
    let cases = [
        (credentials(&ada), credentials(&foreign.agent("web-1")), "another authority"),
        (credentials(&foreign.operator("ada")), credentials(&web), "another authority"),
        (credentials(&ada), credentials(&TestAuthority::new("other").agent("web-1")), "another cluster"),
    ];
    for (operator, agent, what) in cases {
        let mut joined = Box::pin(join(&authority, &ada, &web)).await;
        let here = |credentials| {
            TlsTransport::new(vec![], Arc::new(TlsClient::new(credentials).unwrap()), DialOptions::default())
        };
        (joined.ada, joined.web) = (here(operator), here(agent));
        let ((ada, web), _middle) = handshake(joined, ("web-1", "ada"), |_, _| {}).await;
        // under TLS 1.3 the operator is done before the agent has looked at its certificate
        assert!(ada.is_err() || web.is_err(), "{what}");
        let refused = [ada.err(), web.err()].into_iter().flatten().any(|error| error.is_refusal());
        assert!(refused, "{what}");
    }
    // two operators: both are clients, and nothing comes of it
    let mut joined = Box::pin(join(&authority, &ada, &web)).await;
    joined.web = transport_of(&authority.operator("eve"));
    let Joined { operator, agent, middle: (one, other), ada, web } = joined;
    let passing = TaskTracker::new().spawn(async move {
        let ((mut from_one, mut to_one), (mut from_other, mut to_other)) =
            (one.into_split(), other.into_split());
        tokio::join!(
            pass(&mut from_one, &mut to_other, |_, _| {}),
            pass(&mut from_other, &mut to_one, |_, _| {})
        )
    });
    let (web_1, ada_1) = (id("web-1"), id("ada"));
    let times = (DEADLINE, IDLE);
    let (one, other) =
        tokio::join!(ada.client().data(operator, &web_1, times), web.client().data(agent, &ada_1, times));
    assert!(one.is_err() && other.is_err());
    passing.await.unwrap();
}

fn transport_of(own: &TestCertificate) -> TlsTransport {
    TlsTransport::new(vec![], Arc::new(TlsClient::new(credentials(own)).unwrap()), DialOptions::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_call_than_the_managers_is_refused() {
    let ((ada, web), _middle) = handshake(joined().await, ("web-1", "ada"), |_, _| {}).await;
    let (mut ada, mut web) = (ada.unwrap(), web.unwrap());
    let asked =
        |path: &str| call_digest("file.read", &Raw::encode(&serde_json::json!({"path": path})).unwrap());
    let (said, passed_on) = (asked("/srv/site.conf"), asked("/etc/shadow"));
    let saying = tokio::task::spawn_blocking(move || ada.say_call(said).map(|()| ada));
    let heard = tokio::task::spawn_blocking(move || web.hear_call(passed_on)).await.unwrap();
    assert!(matches!(heard, Err(DataError::OtherCall { .. })), "{heard:?}");
    saying.await.unwrap().unwrap();
    assert_ne!(
        asked("/a"),
        call_digest("file.write", &Raw::encode(&serde_json::json!({"path": "/a"})).unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_or_cut_off_on_the_way_is_no_file() {
    // one byte is changed; the connection ends where the file does not
    for cut in [false, true] {
        let change = move |before: usize, bytes: &mut [u8]| {
            if !cut && (before..before + bytes.len()).contains(&100_000) {
                bytes[100_000 - before] ^= 1;
            }
        };
        let ((ada, web), _middle) = handshake(joined().await, ("web-1", "ada"), change).await;
        let (mut ada, mut web) = (ada.unwrap(), web.unwrap());
        let sending = tokio::task::spawn_blocking(move || {
            let sent = ada.write_all(&[7; 400_000]).and_then(|()| ada.flush());
            if cut {
                drop(ada)
            } else {
                let _sent = ada.finish();
            }
            sent
        });
        let received = tokio::task::spawn_blocking(move || {
            let mut heard = Vec::new();
            web.read_to_end(&mut heard).map(|_| heard.len())
        });
        let received = received.await.unwrap();
        assert!(received.is_err(), "cut: {cut}: {received:?}");
        let _sent = sending.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutter_ends_it_whatever_the_thread_waits_for() {
    let ((ada, web), _middle) = handshake(joined().await, ("web-1", "ada"), |_, _| {}).await;
    let (_ada, mut web) = (ada.unwrap(), web.unwrap());
    let cutter = web.cutter().unwrap();
    let waiting = tokio::task::spawn_blocking(move || web.read(&mut [0; 8]));
    drop(cutter);
    let ended = tokio::time::timeout(DEADLINE, waiting).await.expect("it waits on").unwrap();
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_flows_in_order_and_whoever_fails_stops_both() {
    let file: Vec<u8> = (0..3_000_001_usize).map(|n| u8::try_from(n % 251).unwrap()).collect();
    // nobody, the one who gives and the one who takes fails in the middle
    for fails in ["nobody", "the giver", "the taker"] {
        let ((ada, web), _middle) = handshake(joined().await, ("web-1", "ada"), |_, _| {}).await;
        let (ada, web, from) = (ada.unwrap(), web.unwrap(), file.clone());
        let sending = tokio::task::spawn_blocking(move || {
            let mut at = 0;
            ada.send(|block| {
                if fails == "the giver" && at > 1_000_000 {
                    return Err("no more");
                }
                let rest = from.get(at..).unwrap_or_default();
                let len = rest.len().min(block.len());
                block[..len].copy_from_slice(&rest[..len]);
                at += len;
                Ok(len)
            })
            .map(|mut end| end.hear_receipt(receipt(&from)))
        });
        let receiving = tokio::task::spawn_blocking(move || {
            let mut heard = Vec::new();
            let received = web.receive(|bytes| {
                heard.extend_from_slice(bytes);
                if fails == "the taker" && heard.len() > 1_000_000 { Err("enough") } else { Ok(()) }
            });
            let received = received.map(|mut end| end.say_receipt(receipt(&heard)).unwrap());
            (heard, received)
        });
        let both = async { (sending.await.unwrap(), receiving.await.unwrap()) };
        let (sent, (heard, received)) =
            tokio::time::timeout(DEADLINE, both).await.expect("somebody waits on");
        assert!(file.starts_with(&heard), "{fails}");
        match fails {
            "nobody" => {
                assert!(matches!(sent, Ok(Ok(()))) && received.is_ok() && heard.len() == file.len());
            }
            "the giver" => {
                assert!(matches!(sent, Err(Stopped::Here("no more"))), "{sent:?}");
                assert!(matches!(received, Err(Stopped::Connection(_))), "{received:?}");
            }
            _ => assert!(matches!(received, Err(Stopped::Here("enough"))), "{received:?}"),
        }
    }
}

fn receipt(bytes: &[u8]) -> Receipt {
    let mut hash = Context::new(&SHA256);
    hash.update(bytes);
    Receipt::of(u64::try_from(bytes.len()).unwrap(), &hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_for_other_bytes_is_none() {
    for said in [&b"other"[..], b"", b"bytes and more"] {
        let ((ada, web), _middle) = handshake(joined().await, ("web-1", "ada"), |_, _| {}).await;
        let (mut ada, mut web) = (ada.unwrap(), web.unwrap());
        let saying = tokio::task::spawn_blocking(move || web.say_receipt(receipt(said)));
        let heard = tokio::task::spawn_blocking(move || ada.hear_receipt(receipt(b"bytes"))).await.unwrap();
        assert!(matches!(heard, Err(DataError::OtherBytes { .. })), "{heard:?}");
        saying.await.unwrap().unwrap();
    }
    // and none at all is none
    let ((ada, web), _middle) = handshake(joined().await, ("web-1", "ada"), |_, _| {}).await;
    let (mut ada, mut web) = (ada.unwrap(), web.unwrap());
    let ending = tokio::task::spawn_blocking(move || web.finish());
    let heard = tokio::task::spawn_blocking(move || ada.hear_receipt(receipt(b""))).await.unwrap();
    assert!(matches!(heard, Err(DataError::Io(_))), "{heard:?}");
    ending.await.unwrap().unwrap();
}

#[tokio::test]
async fn somebody_whose_disk_is_slow_is_not_taken_for_dead_by_the_operating_system() {
    let joined = joined().await;
    for stream in [&joined.operator, &joined.agent, &joined.middle.0, &joined.middle.1] {
        let socket = socket2::SockRef::from(stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap().filter(|after| !after.is_zero()), None);
    }
}
