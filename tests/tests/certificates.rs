//! Certificates that are wrong: of another authority, of another role, expired, nameless, or none at all. At the manager and
//! at the agent, with the reason in the log of whoever refused.
#![expect(clippy::panic, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test code")]

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use redpoll_certs::issue::IssueOptions;
use redpoll_certs::testing::{TestAuthority, TestCertificate, Wrong};
use redpoll_common::api::AgentState;
use redpoll_common::identity::Role;
use redpoll_common::wire::Message;
use redpoll_tests::line::{FakeManager, Heard, Line, RP1, acceptance};
use redpoll_tests::operator::{Operator, hello};
use redpoll_tests::process::Daemon;
use redpoll_tests::world::{World, arguments, start_agent, tls_section, write_config};
use redpoll_tests::{SOON, eventually, in_time, within};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// What a certificate is refused for, as it stands in a log. Two alternative names in two extensions are missing: no
/// library would send such a certificate.
fn reasons(role: Role) -> Vec<(Wrong, &'static str)> {
    let (usage, only) = match role {
        Role::Manager => ("extended usage serverAuth", "no extended usage besides"),
        Role::Agent | Role::Operator => ("extended usage clientAuth", "clientAuth alone"),
    };
    vec![
        (Wrong::Expired, "the certificate expired at"),
        (Wrong::NotYetValid, "valid only from"),
        (Wrong::NoNames, "has no URI"),
        (Wrong::NoUri, "has no URI"),
        (Wrong::TwoUris, "has 2 URIs"),
        (Wrong::UnknownRole, "is not of the form spiffe://"),
        (Wrong::EncodedSlash, "not an identity"),
        (Wrong::TrailingSlash, "is not of the form spiffe://"),
        (Wrong::OtherCluster, "belongs to the cluster home-not"),
        (Wrong::OtherSideUsage, usage),
        (Wrong::TooManyUsages, only),
        (Wrong::NoUsage, usage),
        (Wrong::NoDigitalSignature, "digitalSignature"),
        (Wrong::Authority, "certificate of an authority"),
    ]
}

/// Dials with a certificate from an address of its own, so that the refusal has a line of its own in the log; the error
/// is what the refused one learns.
async fn refused(world: &World, host: u8, own: Option<&TestCertificate>, id: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 1, host), 0).into()).unwrap();
    let tcp = socket.connect(world.address).await.unwrap();
    let mut line = match in_time("TLS", Line::begin(tcp, own, RP1)).await {
        Ok(line) => line,
        Err(error) => return error.to_string(),
    };
    line.say(&Message::AgentHello(Box::new(hello(id)))).await;
    match line.hear_within(SOON).await {
        Heard::Broken(why) => why,
        other => panic!("{id} was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn every_wrong_certificate_is_refused_by_the_manager_and_both_sides_can_tell_why() {
    let mut world = World::start(&[]).await;
    let mut host = 0;
    let mut expect = async |own: Option<TestCertificate>, id: &str, logged: &str, told: &str| {
        host += 1;
        let learned = refused(&world, host, own.as_ref(), id).await;
        assert!(learned.contains(told), "{logged}: the refused one learns {learned:?}, not {told:?}");
        let address = format!("127.0.1.{host}:");
        let line = world.manager.logged(&["WARN", "TLS handshake failed", &address]).await;
        assert!(line.contains(logged), "{line} does not say {logged:?}");
        assert!(line.contains("help="), "{line}");
    };
    for (wrong, says) in reasons(Role::Agent) {
        let told = match wrong {
            Wrong::Expired | Wrong::NotYetValid => "CertificateExpired",
            Wrong::NoNames
            | Wrong::NoUri
            | Wrong::TwoUris
            | Wrong::TwoExtensions
            | Wrong::UnknownRole
            | Wrong::EncodedSlash
            | Wrong::TrailingSlash
            | Wrong::OtherCluster
            | Wrong::OtherSideUsage
            | Wrong::TooManyUsages
            | Wrong::NoUsage
            | Wrong::NoDigitalSignature
            | Wrong::Authority => "ertificate",
        };
        expect(Some(world.authority.wrong(Role::Agent, "wrong-1", wrong)), "wrong-1", says, told).await;
    }
    let elsewhere = TestAuthority::new("home");
    expect(Some(elsewhere.agent("wrong-1")), "wrong-1", "an authority that is not trusted here", "UnknownCA")
        .await;
    expect(Some(elsewhere.operator("ada")), "ada", "an authority that is not trusted here", "UnknownCA")
        .await;
    expect(None, "wrong-1", "it sent no certificate", "CertificateRequired").await;
    let wrong = reasons(Role::Agent).len() as u64 + 3;
    world.operator.counted("tls_failed", wrong).await;
    assert!(world.operator.agent("wrong-1").await.is_none());
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_manager_does_not_dial_a_manager() {
    let mut world = World::start(&[]).await;
    let own = world.authority.manager("m-2");
    let learned = match Line::dial(world.address, Some(&own), RP1).await {
        Err(error) => error.to_string(),
        Ok(mut line) => {
            line.say(&Message::AgentHello(Box::new(hello("m-2")))).await;
            format!("{:?}", line.hear_within(SOON).await)
        }
    };
    assert!(learned.contains("ertificate") || learned.contains("Unauthorized"), "{learned}");
    world.manager.logged(&["manager"]).await;
    assert_eq!(world.operator.counter("sessions_opened").await, 2);
    world.nobody_else_noticed().await;
}

/// A client's first message that offers TLS 1.2 and no more.
fn client_hello_of_tls_12() -> Vec<u8> {
    let mut hello = vec![0x03, 0x03];
    hello.extend_from_slice(&[7; 32]); // random
    hello.push(0); // no session
    hello.extend_from_slice(&[0, 4, 0xc0, 0x2f, 0xc0, 0x2b]); // ECDHE with AES-128-GCM
    hello.extend_from_slice(&[1, 0]); // no compression
    let extensions: &[&[u8]] = &[
        &[0, 10, 0, 4, 0, 2, 0, 23],                     // groups: P-256
        &[0, 11, 0, 2, 1, 0],                            // points: uncompressed
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4],                // signatures
        &[0, 16, 0, 7, 0, 5, 4, b'r', b'p', b'/', b'1'], // rp/1
    ];
    let extensions = extensions.concat();
    hello.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend_from_slice(&extensions);
    let length = u16::try_from(hello.len()).unwrap().to_be_bytes();
    let record = u16::try_from(hello.len() + 4).unwrap().to_be_bytes();
    [&[0x16, 3, 1][..], &record, &[1, 0], &length, &hello].concat()
}

#[tokio::test]
async fn tls_1_2_and_other_protocols_are_refused_in_words() {
    let mut world = World::start(&["admission.tls_timeout=1m"]).await;
    for (host, bytes, says) in [
        (2, client_hello_of_tls_12(), "it does not speak TLS 1.3"),
        (3, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(), "what it sends is not TLS"),
        (4, b"\x00\x00\x00\x07\x82\xa1t\x0c".to_vec(), "what it sends is not TLS"),
    ] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 2, host), 0).into()).unwrap();
        let mut tcp = socket.connect(world.address).await.unwrap();
        tcp.write_all(&bytes).await.unwrap();
        let mut alert = Vec::new();
        within(SOON, "an alert and the end", tcp.read_to_end(&mut alert)).await.unwrap();
        assert_eq!(alert.first(), Some(&0x15), "an alert: {alert:?}");
        if host == 2 {
            assert_eq!(alert.last(), Some(&70), "protocol_version: {alert:?}");
        }
        let address = format!("127.0.2.{host}:");
        let line = world.manager.logged(&["WARN", "TLS handshake failed", &address]).await;
        assert!(line.contains(says), "{line}");
    }
    let own = world.certificate("web-9");
    let refusal = Line::dial(world.address, Some(&own), &[b"h2"]).await.unwrap_err();
    assert!(refusal.to_string().contains("NoApplicationProtocol"), "{refusal}");
    world.nobody_else_noticed().await;
}

/// A real agent that dials a manager which shows `shown`.
async fn agent_meets(
    shown: &TestCertificate,
    authority: &TestAuthority,
) -> (io::Result<Line>, Daemon, TempDir) {
    let directory = TempDir::new().unwrap();
    // who the fake manager lets in does not matter: it is the agent that refuses
    let manager = FakeManager::listen(shown).await;
    authority.agent("web-1").write(directory.path(), "agent-web-1");
    let agent = start_agent(directory.path(), "web-1", &manager.address().to_string(), &[]);
    (manager.accept().await, agent, directory)
}

#[tokio::test]
async fn an_agent_says_no_hello_to_a_manager_with_a_wrong_certificate() {
    let authority = TestAuthority::new("home");
    let mut cases: Vec<(TestCertificate, &str)> =
        [Wrong::Expired, Wrong::OtherCluster, Wrong::TwoUris, Wrong::NoUri, Wrong::OtherSideUsage]
            .into_iter()
            .map(|wrong| {
                let says = reasons(Role::Manager).into_iter().find(|(known, _)| *known == wrong).unwrap().1;
                (authority.wrong(Role::Manager, "m-1", wrong), says)
            })
            .collect();
    let mut elsewhere = TestAuthority::new("home").manager("m-1");
    // it would let the agent in, if the agent came
    elsewhere.root = authority.root();
    cases.push((elsewhere, "an authority that is not trusted here"));
    cases.push((authority.agent("web-2"), "the certificate is for an agent, but a manager is wanted here"));
    cases.push((authority.agent("web-1"), "the certificate is for an agent, but a manager is wanted here"));
    for (shown, says) in cases {
        let (accepted, agent, _directory) = agent_meets(&shown, &authority).await;
        let error = match accepted {
            Err(error) => error.to_string(),
            Ok(mut line) => match line.hear_within(SOON).await {
                Heard::Broken(why) => why,
                other => panic!("{says}: the agent said {other:?}"),
            },
        };
        assert!(error.contains("ertificate") || error.contains("UnknownCA"), "{says}: {error}");
        let line = agent.logged(&["cannot connect", says]).await;
        assert!(line.contains("ERROR") && line.contains("help="), "a person must act: {line}");
    }
    // the same with a good one, so that it is the certificate that makes the difference
    let (accepted, agent, _directory) = agent_meets(&authority.manager("m-1"), &authority).await;
    let mut line = accepted.unwrap();
    assert!(matches!(line.hear().await, Heard::Message(Message::AgentHello(_))));
    line.say(&acceptance()).await;
    agent.logged(&["INFO", "connected", "manager=m-1"]).await;
}

#[tokio::test]
async fn a_daemon_whose_own_certificate_is_wrong_does_not_start_and_says_why() {
    let directory = TempDir::new().unwrap();
    let authority = TestAuthority::new("home");
    let expired = authority.wrong(Role::Agent, "web-1", Wrong::Expired);
    for (name, program, own, says) in [
        ("expired", "redpoll-agent", expired, "expired at"),
        ("operator", "redpoll-agent", authority.operator("ada"), "for an operator, but an agent is wanted"),
        ("agent", "redpoll-manager", authority.agent("web-1"), "for an agent, but a manager is wanted"),
        ("manager", "redpoll-agent", authority.manager("m-1"), "for a manager, but an agent is wanted"),
        ("stranger", "redpoll-agent", TestAuthority::new("home").agent("web-1"), "not trusted"),
    ] {
        own.write(directory.path(), name);
        let config = directory.path().join(format!("{name}.toml"));
        let (top, section) = match program {
            "redpoll-manager" => ("listen = \"127.0.0.1:0\"", "manager"),
            _ => ("manager = \"127.0.0.1:1\"", "agent"),
        };
        let state = directory.path().join(format!("{name}-state"));
        let text = format!(
            "{top}\n[{section}]\nstate_dir = \"{}\"\n{}",
            state.display(),
            tls_section(directory.path(), name)
        );
        write_config(&config, &text);
        let log = directory.path().join(format!("{name}.log"));
        let mut daemon = Daemon::start(program, name, &arguments::<&str>(&config, &[]), &log);
        assert_eq!(daemon.ended().await.code(), Some(64), "{name}: {}", daemon.log());
        let log = daemon.log();
        assert!(log.contains(says) && log.contains("help: "), "{name}: {log}");
    }
}

#[tokio::test]
async fn an_agent_that_is_renewed_on_the_last_day_comes_back_by_itself_once_nothing_is_in_flight() {
    let world = World::quiet(&[]).await;
    let issue = |lifetime| {
        let options = IssueOptions { lifetime, ..IssueOptions::default() };
        for end in ["crt", "key"] {
            let _first = std::fs::remove_file(world.directory().join(format!("agent-web-1.{end}")));
        }
        world.authority.issue(Role::Agent, "web-1", &options).write(world.directory(), "agent-web-1");
    };
    let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
    issue(2 * hour);
    let agent = start_agent(world.directory(), "web-1", &world.address.to_string(), &[]);
    world.operator.until("web-1", AgentState::Connected).await;
    let go = world.directory().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let mut call = world.operator.exec("web-1", &["sh", "-c", &script]).await;
    agent.logged(&["a certificate ends soon", "this agent"]).await;

    // one that is worth no more is none to come back for
    agent.signal(Signal::HUP);
    let warned = || agent.log().matches("a certificate ends soon").count();
    eventually("the reload warns, too", async || (warned() == 2).then_some(())).await;
    issue(90 * day);
    agent.signal(Signal::HUP);
    agent.logged(&["leaving the session when it is idle"]).await;
    assert!(!agent.log().contains("disconnected"), "{}", agent.log());
    std::fs::write(&go, "").unwrap();
    Operator::end_of(&mut call).await.unwrap();
    world.manager.logged(&["agent=web-1 connection=3", "session begins"]).await;
    world.operator.until("web-1", AgentState::Connected).await;
    world.operator.echo("web-1", "with the new one").await.unwrap();
    agent.logged(&["INFO", "disconnected", "newer certificate"]).await;
    assert_eq!(warned(), 2, "the new one is good for long");
    assert_eq!(agent.troubles(), Vec::<String>::new());
    assert_eq!(world.manager.troubles(), Vec::<String>::new());
}
