//! A port that stays a manager's own while it is dead.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of the loopback that the system gives to nobody else as long as this lives: a socket that is bound to it and does not
/// listen. Whoever says that addresses are to be used again, as managers do, can listen there beside it.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Any port that is free.
    ///
    /// # Panics
    /// When there is none.
    pub fn reserve() -> Self {
        let bound = TcpSocket::new_v4().expect("a socket");
        bound.set_reuseaddr(true).expect("an option");
        bound.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        Self { address: bound.local_addr().expect("an address"), _bound: bound }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn whoever_it_is_for_can_listen_again_and_again_and_others_get_other_ports() {
        let port = Port::reserve();
        assert!(TcpStream::connect(port.address()).await.is_err(), "nobody listens");
        for _ in 0..3 {
            // as the manager does, which says that addresses are to be used again
            let listener = TcpListener::bind(port.address()).await.expect("its port");
            let (dialled, accepted) = tokio::join!(TcpStream::connect(port.address()), listener.accept());
            assert!(dialled.is_ok() && accepted.is_ok());
        }
        let others: Vec<Port> = (0..500).map(|_| Port::reserve()).collect();
        assert!(others.iter().all(|other| other.address() != port.address()));
    }
}
