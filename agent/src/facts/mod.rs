//! What the agent says of its machine: read by hand from `/proc`, `/sys`, `/etc/os-release` and the kernel.
//!
//! [`collect`] reads everything anew, in about a millisecond, and keeps nothing: facts cost an idle agent no memory.
//! What a machine does not have or does not show (containers hide a lot) is `None`, an empty list, or absent in the
//! serialized form; nothing here fails as a whole. Sizes are bytes. The names of the fields are what selectors
//! use: `fact.os.family`, `fact.memory.total`.
//!
//! Start reading at [`Facts`]; `parse` has one pure function per source, tested with texts of real machines.

mod addresses;
mod confinement;
mod disks;
mod netlink;
mod parse;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Serialize;

pub use addresses::Interface;
pub use confinement::Confinement;
pub use disks::Disk;

/// The most bytes read of any one file.
const MAX_FILE: u64 = 1024 * 1024;
/// The most characters of a text that a machine says of itself.
const MAX_TEXT: usize = 256;

/// What an agent says of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The agent's own version.
    pub agent_version: &'static str,
    /// The operating system.
    pub os: Os,
    /// The kernel.
    pub kernel: Kernel,
    /// The name the machine gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// That name with its domain, if the machine knows it without asking the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// Network interfaces with their addresses; no loopback, no addresses that hold on one link only.
    pub addresses: Vec<Interface>,
    /// The processors.
    pub cpu: Cpu,
    /// The main memory.
    pub memory: Memory,
    /// Local file systems that hold data.
    pub disks: Vec<Disk>,
    /// Seconds since the machine started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// Differs after each start of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The machine's time zone, such as `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How well programs can be confined; what is no agent says nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confinement: Option<Confinement>,
}

/// The operating system, after `/etc/os-release`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Os {
    /// `debian` (also Ubuntu and the like), `rhel`, `suse`, `arch`, `alpine`, `gentoo`; else the same as `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Such as `debian`, `ubuntu`, `rocky`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// For people: `Debian GNU/Linux 12 (bookworm)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Such as `12` or `22.04`; rolling systems have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The kernel, as `uname` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Kernel {
    /// Such as `Linux`.
    pub name: String,
    /// Such as `6.1.0-18-amd64`.
    pub release: String,
    /// Such as `x86_64` or `aarch64`.
    pub arch: String,
}

/// The processors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Cpu {
    /// The first one's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How many are online, threads counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// The main memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// All of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What programs can still have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
}

/// Reads the facts of this machine. Blocks for as long as its local file systems take to answer.
pub fn collect() -> Facts {
    let addresses =
        addresses::join(addresses::interfaces(Path::new("/sys/class/net")), &netlink::addresses());
    from_files(Path::new("/"), &uname(), addresses)
}

struct Uname {
    kernel: Kernel,
    node: String,
}

fn uname() -> Uname {
    let said = rustix::system::uname();
    let text = |text: &std::ffi::CStr| clean(&text.to_string_lossy()).unwrap_or_default();
    Uname {
        kernel: Kernel {
            name: text(said.sysname()),
            release: text(said.release()),
            arch: text(said.machine()),
        },
        node: text(said.nodename()),
    }
}

/// Everything that comes from files, below `root`.
fn from_files(root: &Path, uname: &Uname, addresses: Vec<Interface>) -> Facts {
    let file = |path: &str| read(&root.join(path));
    let os_release = file("etc/os-release").or_else(|| file("usr/lib/os-release"));
    let cpu_info = file("proc/cpuinfo").unwrap_or_default();
    let host_name = Some(uname.node.clone()).filter(|name| !name.is_empty());
    Facts {
        agent_version: env!("CARGO_PKG_VERSION"),
        os: os_release.as_deref().map(parse::os_release).unwrap_or_default(),
        kernel: uname.kernel.clone(),
        fqdn: host_name.as_deref().and_then(|name| parse::fqdn(name, &file("etc/hosts").unwrap_or_default())),
        host_name,
        addresses,
        cpu: Cpu {
            model: parse::cpu_model(&cpu_info),
            count: file("sys/devices/system/cpu/online")
                .and_then(|list| parse::cpu_list(&list))
                .or_else(|| std::thread::available_parallelism().ok().map(Into::into)),
        },
        memory: file("proc/meminfo").as_deref().map(parse::memory).unwrap_or_default(),
        disks: disks::disks(&file("proc/self/mounts").unwrap_or_default()),
        uptime_s: file("proc/uptime").and_then(|text| parse::uptime(&text)),
        boot_id: file("proc/sys/kernel/random/boot_id").and_then(|text| clean(&text)),
        time_zone: time_zone(root),
        confinement: None,
    }
}

fn time_zone(root: &Path) -> Option<String> {
    let link = std::fs::read_link(root.join("etc/localtime")).ok();
    link.and_then(|target| target.to_str().and_then(parse::zone_of_link))
        .or_else(|| read(&root.join("etc/timezone")).and_then(|text| clean(&text)))
}

/// A file's beginning, as text. `None` if it cannot be read.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text as a fact: trimmed, of bounded length, without control characters. `None` if nothing is left.
fn clean(text: &str) -> Option<String> {
    let kept: String =
        text.trim().chars().filter(|character| !character.is_control()).take(MAX_TEXT).collect();
    Some(kept).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Uname {
        let kernel = Kernel { name: "Linux".into(), release: "6.1.0".into(), arch: "x86_64".into() };
        Uname { kernel, node: "web-1".into() }
    }

    #[test]
    fn a_machine_that_shows_nothing_still_has_facts() {
        let empty = tempfile::tempdir().unwrap();
        let facts = from_files(empty.path(), &said(), Vec::new());
        assert_eq!(facts.os, Os::default());
        assert_eq!(facts.memory, Memory::default());
        assert!(facts.disks.is_empty() && facts.uptime_s.is_none() && facts.boot_id.is_none());
        assert_eq!(facts.host_name.as_deref(), Some("web-1"));
        let json = serde_json::to_value(&facts).unwrap();
        assert_eq!(json["os"], serde_json::json!({}), "what is not known is absent, not null");
        assert!(json.get("uptime_s").is_none());
    }

    #[test]
    fn files_with_rubbish_do_no_harm() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "etc/os-release",
            "etc/hosts",
            "proc/cpuinfo",
            "proc/meminfo",
            "proc/uptime",
            "proc/self/mounts",
            "sys/devices/system/cpu/online",
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, b"\xff\xfe=\0:\n= = =\n\\\\9 \\04\n-,-\n99999999999999999999999999 kB")
                .unwrap();
        }
        from_files(root.path(), &said(), Vec::new());
    }

    #[test]
    fn this_very_machine_has_facts() {
        let facts = collect();
        assert_eq!(facts.kernel.name, "Linux");
        assert!(facts.host_name.is_some());
        assert!(facts.memory.total.unwrap() > facts.memory.available.unwrap());
        assert!(facts.cpu.count.unwrap() >= 1);
        assert!(facts.uptime_s.is_some());
        assert!(facts.disks.iter().any(|disk| disk.mount == "/"), "{:?}", facts.disks);
        assert!(facts.addresses.iter().all(|interface| interface.interface != "lo"));
    }
}
