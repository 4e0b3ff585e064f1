//! The door: who is revoked between two looks, who is replaced, and what is covered by one certificate alone.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;
use std::time::SystemTime;

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::session::terms::{Liveness, Terms};
use redpoll_common::wire::{ByeCode, FaultCode, Limits};
use redpoll_manager::door::{Door, Guest};
use redpoll_manager_core::revoked::{CertificateName, Denial, Denied, MAX_REVOKED};
use redpoll_net::memory::{self, pair};
use redpoll_net::registry::RegistryService;
use redpoll_net::transport::{PeerCertificate, PeerInfo};
use redpoll_net::{DriverOptions, Peer, Registry, drive};
use tokio_util::task::TaskTracker;

fn identity(who: &str) -> Identity {
    Identity::parse(&format!("spiffe://home/{who}")).unwrap()
}

/// Whoever has the certificate with this serial number.
fn whoever(who: &str, serial: &str) -> PeerInfo {
    let certificate = PeerCertificate {
        serial: serial.into(),
        sha256: serial.repeat(32).into(),
        not_after: SystemTime::now(),
    };
    PeerInfo { certificate: Some(certificate), ..memory::peer(identity(who)) }
}

/// A session as it is just before it enters.
fn session(who: &PeerInfo, number: u64) -> (Arc<Guest>, Peer) {
    let (ours, _theirs) = pair(memory::peer(identity("manager/m1")), who.clone());
    let terms = Terms {
        protocol: 1,
        limits: Limits::default(),
        liveness: Liveness { ping: None, dead: None },
        peer_version: "test".into(),
        peer_caps: Vec::new(),
    };
    let service = Arc::new(RegistryService(Arc::new(Registry::new())));
    let (peer, _driver) = drive(ours, terms, service, DriverOptions::default(), TaskTracker::new());
    (Guest::new(who, ConnectionId(number)), peer)
}

fn denial(role: Role, id: &str, certificate: Option<&str>) -> Denial {
    let certificate = certificate.map(|text| CertificateName::parse(text).unwrap());
    let denied = Denied { role, id: PeerId::parse(id).unwrap(), certificate };
    Denial { denied, at_ms: 0, by: PeerId::parse("anna").unwrap().into(), reason: None }
}

fn code(guest: &Guest) -> Option<FaultCode> {
    guest.may_ask().err().map(|fault| fault.code)
}

#[tokio::test]
async fn who_is_revoked_between_the_hello_and_the_entry_does_not_get_in() {
    let (door, web) = (Arc::new(Door::default()), whoever("agent/web-1", "0a"));
    let (guest, peer) = session(&web, 1);
    door.check(&web).unwrap();
    let denial = denial(Role::Agent, "web-1", None);
    door.deny(denial.clone());
    assert_eq!(door.enter(&guest, &peer).unwrap_err().code, Some(ByeCode::Revoked));
    assert_eq!(code(&guest), Some(FaultCode::Forbidden), "and nothing of it is taken");
    assert!(door.inside(&denial.denied).is_empty());
    assert_eq!(door.check(&web).unwrap_err().code, Some(ByeCode::Revoked));
    assert!(door.pass(&web).is_err(), "nor by a leg");
    door.allow(&denial.denied);
    let (guest, peer) = session(&web, 2);
    let _inside = door.enter(&guest, &peer).unwrap();
    assert_eq!((door.check(&web), code(&guest)), (Ok(()), None));
}

#[tokio::test]
async fn who_is_inside_is_found_until_its_last_request_has_ended() {
    let (door, web) = (Arc::new(Door::default()), whoever("agent/web-1", "0a"));
    let ((first, one), (leg, other)) = (session(&web, 1), session(&whoever("operator/web-1", "0b"), 2));
    let inside = door.enter(&first, &one).unwrap();
    let _other = door.enter(&leg, &other).unwrap();
    let denial = denial(Role::Agent, "web-1", None);
    door.deny(denial.clone());
    assert_eq!(
        (code(&first), code(&leg)),
        (Some(FaultCode::Forbidden), None),
        "an operator of that name stays"
    );
    assert_eq!(door.inside(&denial.denied).len(), 1);
    drop(inside);
    assert!(door.inside(&denial.denied).is_empty());
}

#[tokio::test]
async fn of_an_agent_the_session_with_the_highest_number_counts_in_whatever_order_they_enter() {
    for order in [[1, 2], [2, 1]] {
        let (door, web) = (Arc::new(Door::default()), whoever("agent/web-1", "0a"));
        let mut codes = Vec::new();
        let mut all = Vec::new();
        for number in order {
            let (guest, peer) = session(&web, number);
            let inside = door.enter(&guest, &peer).unwrap();
            all.push((number, guest, inside));
        }
        all.sort_by_key(|(number, ..)| *number);
        codes.extend(all.iter().map(|(_, guest, _)| code(guest)));
        assert_eq!(codes, [Some(FaultCode::WrongState), None], "{order:?}");
        // and who is revoked is not merely replaced
        door.deny(denial(Role::Agent, "web-1", None));
        let codes: Vec<_> = all.iter().map(|(_, guest, _)| code(guest)).collect();
        assert_eq!(codes, [Some(FaultCode::Forbidden), Some(FaultCode::Forbidden)]);
    }
}

#[tokio::test]
async fn one_certificate_is_shut_out_by_its_number_or_its_hash_and_another_works() {
    let hash = "0a".repeat(32);
    for name in ["0A", &hash] {
        let door = Arc::new(Door::default());
        let (old, new) = (whoever("operator/ada", "0a"), whoever("operator/ada", "0b"));
        let ((guest, peer), (newer, its)) = (session(&old, 1), session(&new, 2));
        let (_one, _two) = (door.enter(&guest, &peer).unwrap(), door.enter(&newer, &its).unwrap());
        door.deny(denial(Role::Operator, "ada", Some(name)));
        assert_eq!((code(&guest), code(&newer)), (Some(FaultCode::Forbidden), None));
        assert!(door.check(&old).is_err() && door.check(&new).is_ok());
        assert!(door.revoked(Role::Operator, &PeerId::parse("ada").unwrap()).is_none(), "not as a whole");
    }
}

#[tokio::test]
async fn what_the_store_has_is_shut_out_from_the_start_and_no_entry_is_lost_for_want_of_room() {
    let door = Arc::new(Door::default());
    door.load((0..MAX_REVOKED).map(|n| denial(Role::Agent, &format!("x{n}"), None)).collect());
    assert!(door.check(&whoever("agent/x7", "0a")).is_err());
    let web = whoever("agent/web-1", "0a");
    let (guest, peer) = session(&web, 1);
    let _inside = door.enter(&guest, &peer).unwrap();
    door.deny(denial(Role::Agent, "web-1", None));
    assert!(door.check(&web).is_err() && door.pass(&web).is_err());
    assert_eq!(code(&guest), Some(FaultCode::Forbidden));
}

#[tokio::test]
async fn sessions_that_shut_themselves_out_do_not_wait_for_each_other_nor_for_themselves() {
    let (door, bob) = (Arc::new(Door::default()), whoever("operator/bob", "0a"));
    let all: Vec<_> = (1..=3).map(|number| session(&bob, number)).collect();
    let _inside: Vec<_> = all.iter().map(|(guest, peer)| door.enter(guest, peer).unwrap()).collect();
    let denial = denial(Role::Operator, "bob", None);
    let spare = |n: usize| door.spare(all[n].1.info(), &denial.denied).unwrap();
    let left =
        || -> Vec<_> { door.leaving(&denial.denied).iter().map(|guest| guest.connection().0).collect() };
    let (first, again, second) = (spare(0), spare(0), spare(1));
    assert_eq!(left(), [0; 0], "nobody has to leave yet");
    door.deny(denial.clone());
    assert_eq!(left(), [3]);
    drop(first);
    assert_eq!(left(), [3], "it asks a second time");
    drop(again);
    assert_eq!(left(), [1, 3]);
    drop(second);
    assert_eq!(left(), [1, 2, 3]);
}

#[tokio::test]
async fn who_asked_for_a_revocation_of_which_nothing_came_stays() {
    let (door, bob) = (Arc::new(Door::default()), whoever("operator/bob", "0a"));
    let (guest, peer) = session(&bob, 1);
    let _inside = door.enter(&guest, &peer).unwrap();
    let denial = denial(Role::Operator, "bob", None);
    drop(door.spare(peer.info(), &denial.denied));
    assert_eq!(code(&guest), None);
    door.deny(denial);
    assert_eq!(code(&guest), Some(FaultCode::Forbidden), "spared no more");
}

#[tokio::test]
async fn what_lasts_longer_than_its_request_is_found_or_not_begun() {
    let (door, bob) = (Arc::new(Door::default()), whoever("operator/bob", "0a"));
    let (guest, peer) = session(&bob, 1);
    let begin = || door.lasting(peer.info()).map_err(|fault| fault.code);
    assert_eq!(begin().unwrap_err(), FaultCode::WrongState, "not inside");
    let _inside = door.enter(&guest, &peer).unwrap();
    let lasting = begin().unwrap();
    guest.requests().close();
    assert_eq!(guest.requests().len(), 1);
    // whoever asked for it is spared, and begins nothing more all the same
    let denial = denial(Role::Operator, "bob", None);
    let _own = door.spare(peer.info(), &denial.denied);
    door.deny(denial);
    assert_eq!(begin().unwrap_err(), FaultCode::Forbidden);
    drop(lasting);
    guest.requests().wait().await;
}

#[tokio::test]
async fn the_newest_connection_is_known_when_it_is_over_and_another_certificate_keeps_its_own() {
    let (door, old, new) =
        (Arc::new(Door::default()), whoever("agent/web-1", "0a"), whoever("agent/web-1", "0b"));
    let entry = |certificate| denial(Role::Agent, "web-1", certificate).denied;
    let newest = |certificate| door.newest(&entry(certificate)).0;
    assert_eq!(newest(None), 0, "never seen");
    for number in [7, 4] {
        let (guest, peer) = session(&old, number);
        drop(door.enter(&guest, &peer).unwrap());
    }
    assert!(door.inside(&entry(None)).is_empty());
    assert_eq!((newest(None), newest(Some("0a")), newest(Some("0b"))), (7, 7, 6));
    let (guest, peer) = session(&new, 9);
    let _inside = door.enter(&guest, &peer).unwrap();
    assert_eq!((newest(None), newest(Some("0a")), newest(Some("0b"))), (9, 8, 9));
    // by an entry that stands, and by no other
    assert_eq!(door.newest_denied(&entry(None)).0, 0);
    door.deny(denial(Role::Agent, "web-1", Some("0a")));
    assert_eq!((door.newest_denied(&entry(None)).0, door.newest_denied(&entry(Some("0a"))).0), (0, 8));
    door.allow(&entry(Some("0a")));
    assert_eq!(door.newest_denied(&entry(Some("0a"))).0, 0);
    assert_eq!(door.newest(&denial(Role::Operator, "web-1", None).denied).0, 0);
}
