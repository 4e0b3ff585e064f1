//! Asks the kernel for the machine's IP addresses: one `RTM_GETADDR` dump over a netlink socket, `rtnetlink`(7).
//!
//! This is what the C library does as well. The other ways are worse: `ioctl` knows IPv4 only and needs unsafe code,
//! and `/proc/net/fib_trie` holds a router's whole table. A service file must allow `AF_NETLINK`; without it there
//! are no addresses, and interfaces still have their names and hardware addresses.

use std::net::IpAddr;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// The kernel answers at once; this is for what nobody foresees.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes received at a time: the most that the kernel puts into one answer of a dump.
const BUFFER: usize = 32 * 1024;
/// The most answers read of one dump.
const MAX_ANSWERS: usize = 256;

const HEADER: usize = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Scopes from here on mean nothing beyond one link (253) or this host (254).
const RT_SCOPE_LINK: u8 = 253;

/// An address and the number of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) interface: u32,
    pub(super) ip: IpAddr,
}

/// The machine's addresses that reach beyond one link; none if the kernel does not tell.
pub(super) fn addresses() -> Vec<Address> {
    dump().unwrap_or_else(|error| {
        tracing::debug!(%error, "the kernel does not tell this machine's addresses");
        Vec::new()
    })
}

fn dump() -> rustix::io::Result<Vec<Address>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    // to the kernel, and so only the kernel's answers are received
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    for _ in 0..MAX_ANSWERS {
        let (_, received) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if parse(buffer.get(..received).unwrap_or_default(), &mut found) == Dump::Over {
            break;
        }
    }
    Ok(found)
}

/// A header and an `ifaddrmsg` that asks for all families.
fn request() -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + 8);
    request.extend_from_slice(&24_u32.to_ne_bytes()); // length
    request.extend_from_slice(&RTM_GETADDR.to_ne_bytes());
    request.extend_from_slice(&DUMP.to_ne_bytes());
    request.extend_from_slice(&1_u32.to_ne_bytes()); // our number of the request
    request.extend_from_slice(&0_u32.to_ne_bytes()); // the kernel fills in who asks
    request.extend_from_slice(&[0; 8]);
    request
}

#[derive(Debug, PartialEq, Eq)]
enum Dump {
    GoesOn,
    Over,
}

/// Adds the addresses in one answer.
fn parse(mut answer: &[u8], found: &mut Vec<Address>) -> Dump {
    while let Some((length, kind)) = u32_at(answer, 0).zip(u16_at(answer, 4)) {
        if matches!(kind, NLMSG_DONE | NLMSG_ERROR) {
            return Dump::Over;
        }
        let Some(body) = usize::try_from(length).ok().and_then(|length| answer.get(HEADER..length)) else {
            return Dump::Over; // shorter than its header, or cut off
        };
        if kind == RTM_NEWADDR {
            found.extend(address(body));
        }
        answer = answer.get(aligned(HEADER + body.len())..).unwrap_or_default();
    }
    Dump::GoesOn
}

/// Reads an `ifaddrmsg` (family, prefix, flags, scope: bytes; interface: u32) and its attributes.
fn address(body: &[u8]) -> Option<Address> {
    let scope = *body.get(3)?;
    let interface = u32_at(body, 4)?;
    if scope >= RT_SCOPE_LINK {
        return None;
    }
    let (mut local, mut any) = (None, None);
    let mut attributes = body.get(8..)?;
    while let Some((length, kind)) = u16_at(attributes, 0).zip(u16_at(attributes, 2)) {
        let Some(value) = attributes.get(4..usize::from(length)) else { break };
        match kind {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => any = ip(value),
            _ => {}
        }
        attributes = attributes.get(aligned(usize::from(length))..).unwrap_or_default();
    }
    // on a point-to-point link the plain address is the other end's
    Some(Address { interface, ip: local.or(any)? })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        out.extend_from_slice(value);
        out.resize(aligned(out.len()), 0);
        out
    }

    fn message(kind: u16, scope: u8, interface: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![2, 24, 0, scope];
        body.extend_from_slice(&interface.to_ne_bytes());
        body.extend(attributes.concat());
        let mut out = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&[0; 10]);
        out.extend(body);
        out
    }

    #[test]
    fn addresses_of_both_families_are_read_and_link_local_ones_left_out() {
        let v6: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
        let answer = [
            // a label of five bytes needs padding; the peer's address is not ours
            message(
                20,
                0,
                2,
                &[attribute(1, &[10, 0, 0, 9]), attribute(2, &[10, 0, 0, 2]), attribute(3, b"eth0\0")],
            ),
            message(20, 0, 2, &[attribute(1, &v6.octets())]),
            message(20, 253, 2, &[attribute(1, &[169, 254, 0, 1])]),
            message(16, 0, 3, &[attribute(1, &[10, 0, 0, 3])]), // something else than an address
        ]
        .concat();
        let mut found = Vec::new();
        assert_eq!(parse(&answer, &mut found), Dump::GoesOn);
        let expected = [[10, 0, 0, 2].into(), IpAddr::from(v6)].map(|ip| Address { interface: 2, ip });
        assert_eq!(found, expected);
        assert_eq!(parse(&message(3, 0, 0, &[]), &mut found), Dump::Over);
    }

    #[test]
    fn cut_off_and_malformed_answers_end_the_dump() {
        let whole = message(20, 0, 2, &[attribute(2, &[10, 0, 0, 2])]);
        for cut in 0..whole.len() {
            let mut found = Vec::new();
            parse(&whole[..cut], &mut found);
            assert!(found.is_empty(), "{cut} bytes");
        }
        for length in [0_u32, 3, 15, 16, u32::MAX] {
            let mut bad = whole.clone();
            bad[..4].copy_from_slice(&length.to_ne_bytes());
            parse(&bad, &mut Vec::new());
        }
        for length in [0_u16, 1, 3, 4, u16::MAX] {
            let mut bad = whole.clone();
            bad[24..26].copy_from_slice(&length.to_ne_bytes());
            parse(&bad, &mut Vec::new());
        }
    }
}
