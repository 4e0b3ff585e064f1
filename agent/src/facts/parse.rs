//! Texts of the operating system, taken apart. Pure functions; what does not fit is left out, never an error.

use super::{Memory, Os, clean};

/// Parses `os-release`(5).
pub(super) fn os_release(text: &str) -> Os {
    let value = |wanted: &str| {
        text.lines()
            .filter_map(|line| line.trim().split_once('='))
            .find(|(key, _)| *key == wanted)
            .and_then(|(_, value)| clean(&unquote(value)))
    };
    let id = value("ID");
    let like = value("ID_LIKE").unwrap_or_default();
    Os {
        family: id.as_deref().map(|id| family(id, &like).to_owned()),
        name: value("PRETTY_NAME").or_else(|| value("NAME")),
        version: value("VERSION_ID"),
        id,
    }
}

/// The family of a system by its own id and the ids it says it is like, nearest first.
fn family<'a>(id: &'a str, like: &'a str) -> &'a str {
    let known = |id: &str| match id {
        "debian" | "ubuntu" => Some("debian"),
        "rhel" | "fedora" | "centos" | "amzn" => Some("rhel"),
        "suse" | "opensuse" | "sles" => Some("suse"),
        _ => None,
    };
    std::iter::once(id)
        .chain(like.split_whitespace())
        .find_map(known)
        .or_else(|| like.split_whitespace().next())
        .unwrap_or(id)
}

/// A shell-like value: quotes of either kind around it, backslash before a character that would mean something.
fn unquote(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        out.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    out
}

/// The first processor's name in `/proc/cpuinfo`, whatever the architecture calls it.
pub(super) fn cpu_model(text: &str) -> Option<String> {
    // x86 and POWER, Raspberry Pi and other boards, MIPS, RISC-V, old ARM
    ["model name", "cpu", "Model", "cpu model", "uarch", "Hardware"].into_iter().find_map(|wanted| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == wanted)
            .and_then(|(_, value)| clean(value))
    })
}

/// How many processors a list such as `0-3,8` names.
pub(super) fn cpu_list(text: &str) -> Option<usize> {
    text.trim().split(',').try_fold(0_usize, |count, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// Parses `/proc/meminfo`.
pub(super) fn memory(text: &str) -> Memory {
    let bytes = |wanted: &str| {
        let (_, value) =
            text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == wanted)?;
        let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    // kernels before 3.14 do not say what is available
    let estimate = || {
        bytes("MemFree")?
            .checked_add(bytes("Buffers").unwrap_or(0))?
            .checked_add(bytes("Cached").unwrap_or(0))
    };
    Memory { total: bytes("MemTotal"), available: bytes("MemAvailable").or_else(estimate) }
}

/// Seconds in `/proc/uptime`.
pub(super) fn uptime(text: &str) -> Option<u64> {
    text.split(['.', ' ']).next()?.trim().parse().ok()
}

/// The full name of a host: its own if that has a dot, else the first such name on its line in `/etc/hosts`.
pub(super) fn fqdn(host: &str, hosts: &str) -> Option<String> {
    if host.contains('.') {
        return clean(host);
    }
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>())
        .filter(|names| names.iter().any(|name| *name == host || name.split('.').next() == Some(host)))
        .find_map(|names| {
            names.into_iter().find(|name| name.strip_prefix(host).is_some_and(|rest| rest.starts_with('.')))
        })
        .and_then(clean)
}

/// The zone that `/etc/localtime` links to.
pub(super) fn zone_of_link(target: &str) -> Option<String> {
    target.split_once("zoneinfo/").and_then(|(_, zone)| clean(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> (String, String, String, Option<String>) {
        let os = os_release(text);
        (os.family.unwrap(), os.id.unwrap(), os.name.unwrap(), os.version)
    }

    #[test]
    fn systems_are_known_by_family_id_name_and_version() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(os(debian).0, "debian");
        assert_eq!(os(debian).2, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(os(debian).3.as_deref(), Some("12"));
        let ubuntu = "NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"";
        assert_eq!(os(ubuntu), ("debian".into(), "ubuntu".into(), "Ubuntu".into(), Some("22.04".into())));
        let mint = "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"";
        assert_eq!(os(mint).0, "debian");
        let rocky = "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID='9.3'";
        assert_eq!((os(rocky).0.as_str(), os(rocky).3.as_deref()), ("rhel", Some("9.3")));
        let leap = "NAME=\"openSUSE Leap\"\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"";
        assert_eq!(os(leap).0, "suse");
        let manjaro = "NAME=Manjaro\nID=manjaro\nID_LIKE=arch";
        assert_eq!((os(manjaro).0.as_str(), os(manjaro).3), ("arch", None));
        let own = "NAME=\"A \\\"b\\\" \\$c\"\nID=own";
        assert_eq!((os(own).0.as_str(), os(own).2.as_str()), ("own", "A \"b\" $c"));
        assert_eq!(os_release("# nothing\nIDEAL=x"), Os::default());
    }

    #[test]
    fn processors_are_counted_and_named() {
        assert_eq!(cpu_list("0\n"), Some(1));
        assert_eq!(cpu_list("0-3,8,10-11\n"), Some(7));
        for bad in ["", "a", "3-1", "1-", "0-18446744073709551615"] {
            assert_eq!(cpu_list(bad), None, "{bad:?}");
        }
        let x86 =
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R)\n";
        assert_eq!(cpu_model(x86).as_deref(), Some("Intel(R) Xeon(R)"));
        let pi = "processor\t: 0\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n";
        assert_eq!(cpu_model(pi).as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        let power = "processor\t: 0\ncpu\t\t: POWER9, altivec supported\n";
        assert_eq!(cpu_model(power).as_deref(), Some("POWER9, altivec supported"));
        assert_eq!(cpu_model("processor : 0\n"), None);
    }

    #[test]
    fn memory_is_in_bytes_and_estimated_on_old_kernels() {
        let new = "MemTotal:       24684084 kB\nMemFree: 1 kB\nMemAvailable:   23644356 kB\n";
        assert_eq!(
            memory(new),
            Memory { total: Some(24_684_084 * 1024), available: Some(23_644_356 * 1024) }
        );
        let old = "MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 20 kB\n";
        assert_eq!(memory(old).available, Some(35 * 1024));
        assert_eq!(memory("MemTotal: lots\nMemFree: 99999999999999999999 kB"), Memory::default());
    }

    #[test]
    fn the_full_name_comes_from_the_hosts_file() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1\tweb-1.example.org web-1 # us\n::1 ip6-localhost\n";
        assert_eq!(fqdn("web-1", hosts).as_deref(), Some("web-1.example.org"));
        assert_eq!(fqdn("web", hosts), None);
        assert_eq!(fqdn("a.example.org", "").as_deref(), Some("a.example.org"));
        assert_eq!(fqdn("web-1", "127.0.0.1 localhost.localdomain web-1"), None);
    }

    #[test]
    fn uptime_and_zone_are_read() {
        assert_eq!(uptime("3061.98 12016.41\n"), Some(3061));
        assert_eq!(uptime("soon"), None);
        assert_eq!(zone_of_link("/usr/share/zoneinfo/Europe/Berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(zone_of_link("/etc/other"), None);
    }
}
