//! Network interfaces, from `/sys/class/net`, joined with the addresses that the kernel tells.

use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use super::netlink::Address;
use super::{clean, read};

/// The most interfaces that are reported; container hosts have thousands.
const MAX_INTERFACES: usize = 64;
/// The most addresses reported of one interface.
const MAX_ADDRESSES: usize = 32;
/// The flag of loopback interfaces, `IFF_LOOPBACK` in `netdevice`(7).
const LOOPBACK: u32 = 0x8;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub interface: String,
    /// Its hardware address, if it has one that is not zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its IP addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
    #[serde(skip)]
    index: u32,
}

/// The interfaces without their addresses, by number; no loopback.
pub(super) fn interfaces(folder: &Path) -> Vec<Interface> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = |name: &str| read(&entry.path().join(name)).and_then(|text| clean(&text));
        let flags = file("flags").and_then(|text| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok());
        let index = file("ifindex").and_then(|text| text.parse().ok());
        let (Some(index), Some(interface)) = (index, clean(&entry.file_name().to_string_lossy())) else {
            continue; // e.g. bonding_masters is a file
        };
        if flags.unwrap_or(0) & LOOPBACK == 0 {
            let mac = file("address").filter(|mac| mac.chars().any(|digit| !matches!(digit, '0' | ':')));
            found.push(Interface { interface, mac, ips: Vec::new(), index });
        }
    }
    found.sort_by_key(|interface| interface.index);
    found
}

/// Gives each interface its addresses. If there are too many, those with addresses stay.
pub(super) fn join(mut interfaces: Vec<Interface>, addresses: &[Address]) -> Vec<Interface> {
    for interface in &mut interfaces {
        let own = addresses.iter().filter(|address| address.interface == interface.index);
        interface.ips = own.map(|address| address.ip).collect();
        interface.ips.sort_unstable(); // IPv4 first
        interface.ips.dedup();
        interface.ips.truncate(MAX_ADDRESSES);
    }
    if interfaces.len() > MAX_INTERFACES {
        interfaces.sort_by_key(|interface| (interface.ips.is_empty(), interface.index));
        interfaces.truncate(MAX_INTERFACES);
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(folder: &Path, name: &str, index: &str, flags: &str, mac: &str) {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        for (file, text) in [("ifindex", index), ("flags", flags), ("address", mac)] {
            std::fs::write(folder.join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn interfaces_get_their_addresses_and_loopback_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        interface(folder.path(), "lo", "1", "0x9", "00:00:00:00:00:00");
        interface(folder.path(), "wg0", "7", "0x10c1", "");
        interface(folder.path(), "eth0", "2", "0x1003", "52:54:00:12:34:56");
        std::fs::write(folder.path().join("bonding_masters"), "").unwrap();
        let address = |interface, ip: &str| Address { interface, ip: ip.parse().unwrap() };
        let addresses = [
            address(2, "2001:db8::1"),
            address(2, "10.0.0.2"),
            address(1, "127.0.0.1"),
            address(2, "10.0.0.2"),
            address(9, "10.9.9.9"),
        ];
        let found = join(interfaces(folder.path()), &addresses);
        assert_eq!(found.iter().map(|i| i.interface.as_str()).collect::<Vec<_>>(), ["eth0", "wg0"]);
        assert_eq!(found[0].mac.as_deref(), Some("52:54:00:12:34:56"));
        assert_eq!(found[0].ips, ["10.0.0.2".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!((found[1].mac.clone(), found[1].ips.len()), (None, 0));
        assert!(interfaces(&folder.path().join("missing")).is_empty());
    }

    #[test]
    fn of_very_many_interfaces_those_with_addresses_are_kept() {
        let many = (1..=200_u32).map(|index| Interface {
            interface: format!("veth{index}"),
            mac: None,
            ips: vec![],
            index,
        });
        let found = join(many.collect(), &[Address { interface: 200, ip: "10.0.0.1".parse().unwrap() }]);
        assert_eq!(found.len(), MAX_INTERFACES);
        assert_eq!(found[0].interface, "veth200");
    }
}
