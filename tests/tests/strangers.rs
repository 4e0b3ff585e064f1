//! Strangers who come and say nothing, who come and go, and who say too much.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use redpoll_common::wire::{ByeCode, Message};
use redpoll_tests::line::{Heard, Line, RP1, frame, payload};
use redpoll_tests::world::World;
use redpoll_tests::{SOON, eventually, in_time, within};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// A connection from another address of this machine.
async fn from_host(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn twenty_strangers_who_never_speak_delay_no_honest_agent_and_are_sent_away() {
    let mut world = World::start(&["admission.tls_timeout=1500ms", "admission.hello_timeout=1500ms"]).await;
    let mut mute = Vec::new();
    let mut silent = Vec::new();
    let own = world.certificate("silent-1");
    for _ in 0..10 {
        mute.push(TcpStream::connect(world.address).await.unwrap());
        silent.push(Line::stranger(world.address, &own).await);
    }
    let began = Instant::now();
    let honest = world.line("late-1").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    world.agent("late-2", &[]).await;
    for mut line in silent {
        let bye = line.farewell(SOON).await;
        assert_eq!(bye.code, Some(ByeCode::Protocol));
        assert!(bye.reason.contains("no hello within 1.5s"), "{bye}");
    }
    for mut tcp in mute {
        let end = within(SOON, "the end of a mute stranger", tcp.read(&mut [0; 64])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    world.operator.counted("tls_timed_out", 10).await;
    world.operator.counted("hellos_timed_out", 10).await;
    world.manager.logged(&["WARN", "TLS handshake failed", "127.0.0.1"]).await;
    world.manager.logged(&["WARN", "hello refused", "no hello within 1.5s", "silent-1"]).await;
    // once per address and minute, however many they are
    assert_eq!(world.manager.log().matches("TLS handshake failed").count(), 1);
    assert_eq!(world.manager.log().matches("hello refused").count(), 1);
    drop(honest);
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_address_that_takes_all_its_slots_is_refused_more_and_others_are_not() {
    let settings = ["admission.handshakes_per_address=4", "admission.tls_timeout=1m"];
    let mut world = World::start(&settings).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(from_host(2, world.address).await);
    }
    eventually("the next of the same address is refused", async || {
        let mut more = from_host(2, world.address).await;
        matches!(within(SOON, "a refusal", more.read(&mut [0; 8])).await, Ok(0) | Err(_)).then_some(())
    })
    .await;
    world.manager.logged(&["WARN", "connection refused", "127.0.0.2", "too many handshakes"]).await;
    let own = world.certificate("late-1");
    let mut other = Line::begin(from_host(3, world.address).await, Some(&own), RP1).await.unwrap();
    other.say(&Message::AgentHello(Box::new(redpoll_tests::operator::hello("late-1")))).await;
    assert!(matches!(other.hear().await, Heard::Message(Message::ManagerHello(_))));
    // a slot is free again as soon as its holder has gone
    held.pop();
    let again = async {
        loop {
            let tcp = from_host(2, world.address).await;
            if let Ok(line) = Line::begin(tcp, Some(&own), RP1).await {
                return line;
            }
        }
    };
    in_time("a slot that was given back", again).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn five_hundred_strangers_who_come_and_go_leave_nothing_behind() {
    let mut world = World::start(&[]).await;
    let own = world.certificate("fickle-1");
    let base = world.manager.descriptors();
    let opened = world.operator.counter("sessions_opened").await;
    for round in 0..500 {
        match round % 10 {
            0..7 => drop(TcpStream::connect(world.address).await.unwrap()),
            7 => {
                let mut line = Line::stranger(world.address, &own).await;
                line.send(&[0, 0, 0, 9, 1]).await.unwrap();
            }
            8 => drop(Line::stranger(world.address, &own).await),
            _ => drop(Line::agent(world.address, &own, "fickle-1").await),
        }
    }
    world.operator.counted("sessions_opened", opened + 50).await;
    eventually("every descriptor is given back", async || {
        (world.manager.descriptors() <= base).then_some(())
    })
    .await;
    let status = world.operator.status().await;
    assert_eq!(status.counters["sessions_opened"] - status.counters["sessions_closed"], 2, "{status:?}");
    assert_eq!((status.agents_connected, status.operators_connected), (1, 1));
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_and_disturbs_nobody() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("eager-1").await;
    let flood: Vec<u8> =
        (0..1000_u64).flat_map(|number| frame(&payload(&Message::Ping(number.into())))).collect();
    for _ in 0..10 {
        line.send(&flood).await.unwrap();
        for number in 0..1000_u64 {
            assert_eq!(line.hear().await, Heard::Message(Message::Pong(number.into())));
        }
    }
    drop(line);
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_flood_of_pings_whose_sender_reads_no_pong_ends_its_session_and_costs_little() {
    let mut world = World::start(&["session.write_timeout=2s"]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let tcp = socket.connect(world.address).await.unwrap();
    let mut line = Line::begin(tcp, Some(&world.certificate("deaf-1")), RP1).await.unwrap();
    line.say(&Message::AgentHello(Box::new(redpoll_tests::operator::hello("deaf-1")))).await;
    assert!(matches!(line.hear().await, Heard::Message(Message::ManagerHello(_))));
    let before = world.manager.resident_kib();
    let flood = frame(&payload(&Message::Ping(7_u64.into()))).repeat(10_000);
    let flooding = async {
        while line.send(&flood).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    in_time("the end of the flood", flooding).await;
    world.manager.logged(&["session ends", "deaf-1"]).await;
    let grown = world.manager.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for one that does not read");
    world.nobody_else_noticed().await;
}
