//! Every way a connection can fail, as far as a caller can act on the difference.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redpoll_certs::CertificateError;
use redpoll_common::rounding::rounded;
use redpoll_common::wire::frame::FrameError;

/// Why a connection cannot be made or has ended. Cheap to clone: everybody who waits on a connection gets one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Nobody answers there.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Where.
        address: Arc<str>,
        /// What the operating system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The name has no address.
    #[error("cannot find the address of {name}")]
    Resolve {
        /// The name.
        name: Arc<str>,
        /// What the resolver says.
        #[source]
        source: Arc<io::Error>,
    },
    /// Somebody took too long.
    #[error("{wait} took longer than {:?}", rounded(*after))]
    Timeout {
        /// What was waited for.
        wait: Wait,
        /// The deadline's length.
        after: Duration,
    },
    /// We do not accept the peer's certificate.
    #[error("the peer's certificate is not accepted")]
    Certificate {
        /// What is wrong with it.
        #[source]
        source: Arc<CertificateError>,
    },
    /// The peer does not accept our certificate.
    #[error("the peer refused our certificate: {why}")]
    Refused {
        /// Why, as far as it says.
        why: Refusal,
        /// What ended the connection.
        #[source]
        source: Arc<io::Error>,
    },
    /// The two ends do not come to terms below the protocol.
    #[error("no TLS with the peer: {problem}")]
    Tls {
        /// What kind of disagreement.
        problem: TlsProblem,
        /// What the TLS library says.
        #[source]
        source: Arc<io::Error>,
    },
    /// What came, or what was to be sent, is not a frame within the limits.
    #[error("not a frame within the limits")]
    Frame(#[source] FrameError),
    /// The connection broke.
    #[error("the connection broke")]
    Reset {
        /// What the operating system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// This side has closed the connection already.
    #[error("the connection is closed")]
    Closed,
    /// The operating system fails in another way.
    #[error("input or output failed")]
    Io {
        /// What it says.
        #[source]
        source: Arc<io::Error>,
    },
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The addresses of a name.
    Resolve,
    /// A connection below TLS.
    Connect,
    /// The handshake of TLS.
    Handshake,
    /// Everything from the first name to the end of the handshake.
    Dial,
    /// The other side of a leg, or the manager on its behalf.
    Leg,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "finding the address",
            Self::Connect => "connecting",
            Self::Handshake => "the TLS handshake",
            Self::Dial => "dialling",
            Self::Leg => "the other side of a leg",
        })
    }
}

/// Why a peer refused our certificate. TLS has few words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is expired, or not valid yet by the peer's clock.
    Expired,
    /// It was signed by an authority the peer does not trust.
    OtherAuthority,
    /// The peer wants one and got none.
    Missing,
    /// It is of a role, a cluster or a form that the peer does not accept.
    Unfit,
    /// It was revoked.
    Revoked,
    /// The peer does not say.
    Unsaid,
    /// The connection ended without a word right after our certificate was sent, which may have this cause.
    Silent,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its time is over or has not come, by the peer's clock",
            Self::OtherAuthority => "the peer does not trust the authority that signed it",
            Self::Missing => "the peer demands one and got none",
            Self::Unfit => "its role, cluster or form is not what the peer accepts",
            Self::Revoked => "it was revoked",
            Self::Unsaid => "the peer does not say why",
            Self::Silent => "at least it closed without a word after it got the certificate",
        })
    }
}

/// Why there is no TLS with a peer, certificates aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsProblem {
    /// What came is something else: plain HTTP, a scan.
    NotTls,
    /// No version in common; ours is 1.3.
    Version,
    /// No application protocol in common; ours is `rp/1`.
    Protocol,
    /// The peer sent no certificate.
    NoCertificate,
    /// Something else.
    Other,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotTls => "what it sends is not TLS",
            Self::Version => "it does not speak TLS 1.3",
            Self::Protocol => "it does not speak the application protocol rp/1",
            Self::NoCertificate => "it sent no certificate",
            Self::Other => "the handshake or a record failed",
        })
    }
}

impl TransportError {
    /// What a person can do about it: one sentence for a `help:` line.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { .. } => "is the manager running, and is the port open from here?",
            Self::Resolve { .. } => "compare the name in the configuration with the name server's",
            Self::Timeout { wait: Wait::Resolve, .. } => "does this machine reach its name server?",
            Self::Timeout { .. } => "is something between here and there that swallows packets?",
            Self::Certificate { source } => source.help(),
            Self::Refused { why, .. } => why.help(),
            Self::Tls { problem, .. } => problem.help()?,
            Self::Frame(_) | Self::Reset { .. } | Self::Closed | Self::Io { .. } => return None,
        })
    }

    /// Whether trying again soon is useless, because a person has to change a certificate or an address first.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Certificate { .. } | Self::Tls { .. } => true,
            Self::Refused { why, .. } => *why != Refusal::Silent,
            Self::Unreachable { .. }
            | Self::Resolve { .. }
            | Self::Timeout { .. }
            | Self::Frame(_)
            | Self::Reset { .. }
            | Self::Closed
            | Self::Io { .. } => false,
        }
    }

    /// A connection that the peer ended in the middle of a frame.
    pub(crate) fn cut() -> Self {
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, "it ended in the middle of a frame");
        Self::Reset { source: Arc::new(source) }
    }
}

/// What an error of the operating system means on a connection that is established.
impl From<io::Error> for TransportError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are many, and open to additions")]
    fn from(source: io::Error) -> Self {
        let kind = source.kind();
        let source = Arc::new(source);
        match kind {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::UnexpectedEof => Self::Reset { source },
            _ => Self::Io { source },
        }
    }
}

impl Refusal {
    fn help(self) -> &'static str {
        match self {
            Self::Expired => "compare the clocks of both machines, and renew the certificate",
            Self::OtherAuthority => "was this certificate signed by the manager's authority?",
            Self::Missing => "give the certificate and the key in [tls]",
            Self::Unfit => {
                "use a certificate issued for this role in the manager's cluster; the manager's log says more"
            }
            Self::Revoked => "enrol again, or ask who revoked it",
            Self::Unsaid | Self::Silent => {
                "is this certificate signed by the manager's authority, and still valid? The manager's log says more"
            }
        }
    }
}

impl TlsProblem {
    fn help(self) -> Option<&'static str> {
        match self {
            Self::NotTls | Self::Version | Self::Protocol => {
                Some("is this the port for agents (7051), or that of HTTP or another service?")
            }
            Self::NoCertificate => Some("a peer needs a certificate of the cluster's authority"),
            Self::Other => None,
        }
    }
}
