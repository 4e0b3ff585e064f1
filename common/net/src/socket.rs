//! TCP sockets as a long-lived connection wants them: options, a listener that survives trouble, addresses of names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::transport::{AcceptError, TransportError, Wait};

/// Connections that may wait to be accepted: a fleet that comes back at once is not turned away.
pub const BACKLOG: i32 = 4096;
/// Bytes the operating system holds unsent before it says that a socket is full. What waits with us can still be
/// overtaken by a ping; what waits there cannot.
pub const NOTSENT_LOWAT: u32 = 16 * 1024;
/// How long to wait when the process or the machine has no descriptors or buffers left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// One in so many failures in a row is logged, after the first.
const LOG_EVERY: u32 = 10;

/// How the sockets of connections are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// How long sent data may stay unacknowledged, and how long a silent peer may be gone, before the operating
    /// system gives the connection up. The keep-alive of the session is what normally notices; this is for a peer
    /// that vanished while nobody polls.
    pub dead_after: Duration,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { dead_after: Duration::from_secs(40) }
    }
}

impl SocketOptions {
    /// Sets an established connection up: no delay for small writes, little unsent in the kernel, keep-alive.
    ///
    /// # Errors
    /// What the operating system says, for instance when the peer is gone already.
    pub fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        // Four probes fit into the time: the first after half of it.
        let half = self.dead_after / 2;
        let keepalive = TcpKeepalive::new()
            .with_time(half.max(Duration::from_secs(1)))
            .with_interval((half / 4).max(Duration::from_secs(1)));
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        {
            socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
            socket.set_tcp_user_timeout(Some(self.dead_after))?;
        }
        Ok(())
    }
}

/// Listens on an address, with a queue of `backlog` connections. Port 0 takes any free port.
///
/// # Errors
/// What the operating system says: the address is in use, is not ours, or needs rights.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted daemon gets its port back although connections of the old one linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// The next connection, set up. Passing trouble is waited out and logged now and then.
///
/// # Errors
/// [`AcceptError::Io`] when the listener itself is broken.
pub async fn accept(
    listener: &TcpListener,
    options: SocketOptions,
) -> Result<(TcpStream, SocketAddr), AcceptError> {
    let mut failures = 0_u32;
    loop {
        let error = match listener.accept().await {
            Ok((stream, from)) => match options.apply(&stream) {
                Ok(()) => return Ok((stream, from)),
                // It hung up while it waited in the queue.
                Err(_gone) => continue,
            },
            Err(error) => error,
        };
        match verdict(&error) {
            Verdict::Next => {}
            Verdict::Pause => {
                if failures.is_multiple_of(LOG_EVERY) {
                    warn!(%error, failures, "cannot accept connections for the moment; is the limit of open files too low?");
                }
                failures = failures.saturating_add(1);
                sleep(EXHAUSTED_PAUSE).await;
            }
            Verdict::Fatal => return Err(AcceptError::Io { source: Arc::new(error) }),
        }
    }
}

/// What to do after a failed accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The stranger is to blame: take the next.
    Next,
    /// Something has run out: wait.
    Pause,
    /// The listener is broken.
    Fatal,
}

fn verdict(error: &io::Error) -> Verdict {
    match Errno::from_io_error(error) {
        // accept(2) passes errors on that belong to the new connection and wants them treated like "try again".
        Some(
            Errno::CONNABORTED
            | Errno::INTR
            | Errno::AGAIN
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::TIMEDOUT
            | Errno::PERM,
        ) => Verdict::Next,
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT) | None => {
            Verdict::Fatal
        }
        // Descriptors, buffers, memory; and whatever nobody foresaw must not become a busy loop.
        Some(_) => Verdict::Pause,
    }
}

/// The addresses of `host:port`, asked for anew: a name may have moved.
///
/// # Errors
/// [`TransportError::Resolve`] when there is none, [`TransportError::Timeout`] when nobody answers within `limit`.
pub async fn resolve(name: &Arc<str>, limit: Duration) -> Result<Vec<SocketAddr>, TransportError> {
    let failed = |source| TransportError::Resolve { name: Arc::clone(name), source: Arc::new(source) };
    let lookup = timeout(limit, tokio::net::lookup_host(&**name));
    let found =
        lookup.await.map_err(|_elapsed| TransportError::Timeout { wait: Wait::Resolve, after: limit })?;
    let addresses: Vec<SocketAddr> = found.map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(addresses)
}

/// Connects to one address and sets the socket up.
///
/// # Errors
/// [`TransportError::Unreachable`], or [`TransportError::Timeout`] when nobody answers within `limit`.
pub async fn connect(
    address: SocketAddr,
    options: SocketOptions,
    limit: Duration,
) -> Result<TcpStream, TransportError> {
    let failed = |source| TransportError::Unreachable {
        address: address.to_string().into(),
        source: Arc::new(source),
    };
    let connecting = timeout(limit, TcpStream::connect(address)).await;
    let stream = connecting
        .map_err(|_elapsed| TransportError::Timeout { wait: Wait::Connect, after: limit })?
        .map_err(failed)?;
    if is_own_end(&stream) {
        // at once, and without a rest that would keep the port from whoever is to listen there
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).map_err(failed)?;
        let text = "nobody listens there: the connection came back to itself";
        return Err(failed(io::Error::new(io::ErrorKind::ConnectionRefused, text)));
    }
    options.apply(&stream).map_err(failed)?;
    Ok(stream)
}

/// Whether a connection has one end: TCP connects a port to itself when whoever dials a port of this machine at which nobody listens
/// is given that very port to dial from. It would hold the port, and a manager that starts again could not listen.
fn is_own_end(stream: &TcpStream) -> bool {
    stream.local_addr().is_ok_and(|own| stream.peer_addr().is_ok_and(|other| own == other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_waited_out() {
        assert_eq!(verdict(&Errno::MFILE.into()), Verdict::Pause);
        assert_eq!(verdict(&Errno::NFILE.into()), Verdict::Pause);
    }

    #[test]
    fn a_stranger_who_hung_up_does_not_stop_the_listener() {
        assert_eq!(verdict(&Errno::CONNABORTED.into()), Verdict::Next);
    }

    #[test]
    fn a_broken_listener_is_told() {
        assert_eq!(verdict(&Errno::BADF.into()), Verdict::Fatal);
    }

    #[tokio::test]
    async fn connections_are_set_up_at_both_ends() {
        let listener = listen(([127, 0, 0, 1], 0).into(), BACKLOG).unwrap();
        let options = SocketOptions { dead_after: Duration::from_secs(7) };
        let address = listener.local_addr().unwrap();
        let (dialled, accepted) =
            tokio::join!(connect(address, options, Duration::from_secs(5)), accept(&listener, options));
        for stream in [&dialled.unwrap(), &accepted.unwrap().0] {
            let socket = SockRef::from(stream);
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            #[cfg(target_os = "linux")]
            {
                assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_LOWAT);
                assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
            }
        }
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_known() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        assert!(is_own_end(&socket.connect(address).await.unwrap()));
        let listener = listen(([127, 0, 0, 1], 0).into(), BACKLOG).unwrap();
        assert!(!is_own_end(&TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()));
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_and_the_error_names_it() {
        let address = {
            let listener = listen(([127, 0, 0, 1], 0).into(), BACKLOG).unwrap();
            listener.local_addr().unwrap()
        };
        let error = connect(address, SocketOptions::default(), Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("cannot reach {address}"));
    }
}
