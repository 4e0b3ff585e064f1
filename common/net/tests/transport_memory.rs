//! The transports within one process: payloads as they are, and frames in a pipe of seven bytes.

use redpoll_net::conformance::{Pairs, dialler, manager, silent_strangers_delay_nobody};
use redpoll_net::memory::{self, MemoryNetwork};
use redpoll_net::transport::{BoxConnection, Transport as _};

mod payloads {
    use super::*;

    struct Memory;

    impl Pairs for Memory {
        async fn pair(&self) -> (BoxConnection, BoxConnection) {
            memory::pair(memory::peer(dialler()), memory::peer(manager()))
        }
    }

    redpoll_net::transport_conformance!([#[tokio::test(start_paused = true)]] Memory);
}

mod seven_byte_pipe {
    use super::*;

    struct Pipe;

    impl Pairs for Pipe {
        const BULK: usize = 512 * 1024;

        async fn pair(&self) -> (BoxConnection, BoxConnection) {
            memory::framed_pair(memory::peer(dialler()), memory::peer(manager()), 7)
        }
    }

    redpoll_net::transport_conformance!([#[tokio::test(start_paused = true)]] Pipe);
}

#[tokio::test(start_paused = true)]
async fn silent_strangers_do_not_delay_an_honest_peer() {
    let (network, mut listener) = MemoryNetwork::new(manager());
    let honest = network.transport(dialler());
    let silence = async || network.dial_in_silence().await.expect("the listener is there");
    silent_strangers_delay_nobody(&mut listener, &honest, silence).await;
}

#[tokio::test]
async fn nobody_is_reached_where_nobody_listens() {
    let (network, listener) = MemoryNetwork::new(manager());
    drop(listener);
    let error = network.transport(dialler()).connect().await.expect_err("nobody listens");
    assert_eq!(error.to_string(), "cannot reach memory:spiffe://home/manager/m-1");
}
