//! Local file systems that hold data.

use std::collections::BTreeSet;

use serde::Serialize;

use super::clean;

/// The most file systems that are reported.
const MAX_DISKS: usize = 64;

/// A mounted local file system. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// What is mounted.
    pub device: String,
    /// The kind of file system, such as `ext4`.
    pub fs: String,
    /// Its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What users other than root can still write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
}

/// The file systems of a mount table, with their sizes.
pub(super) fn disks(mounts: &str) -> Vec<Disk> {
    let mut disks: Vec<Disk> = select(mounts).into_iter().take(MAX_DISKS).collect();
    for disk in &mut disks {
        // local only (see `select`): a dead server would block this for ever
        if let Ok(size) = rustix::fs::statvfs(&disk.mount) {
            disk.total = size.f_blocks.checked_mul(size.f_frsize);
            disk.available = size.f_bavail.checked_mul(size.f_frsize);
        }
    }
    disks
}

/// Picks from `/proc/self/mounts` what holds data on this machine, each device once, in the order of mounting.
fn select(mounts: &str) -> Vec<Disk> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').map(unescape);
        let (Some(device), Some(mount), Some(fs)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if !holds_data(&device, &mount, &fs) {
            continue;
        }
        // bind mounts and subvolumes show a device again
        if seen.insert(device.clone())
            && let (Some(device), Some(fs)) = (clean(&device), clean(&fs))
        {
            found.push(Disk { mount, device, fs, total: None, available: None });
        }
    }
    found
}

/// Whether a mount is a local file system with data. Network and user-space file systems are not: asking for their
/// size may block for ever.
fn holds_data(device: &str, mount: &str, fs: &str) -> bool {
    let remote = device.contains(':') && !device.starts_with("/dev/");
    if remote
        || fs.starts_with("fuse")
        || matches!(fs, "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "afs")
    {
        return false;
    }
    // squashfs and iso9660: images, always full, nothing to watch
    let block = device.starts_with("/dev/") && !matches!(fs, "squashfs" | "iso9660" | "devtmpfs");
    // a container's root has no device of its own; neither have the datasets of zfs
    block || fs == "zfs" || (mount == "/" && fs != "rootfs")
}

/// Undoes the mount table's escapes: `\040` is a space.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.first_chunk::<3>().filter(|_| *first == b'\\').and_then(octal);
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_file_systems_with_data_are_picked_each_once() {
        let mounts = "\
sysfs /sys sysfs rw 0 0
proc /proc proc rw 0 0
udev /dev devtmpfs rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/mapper/vg-root / ext4 rw 0 0
/dev/sda1 /boot ext2 rw 0 0
/dev/mapper/vg-root /var/lib/bind ext4 rw 0 0
/dev/sdb1 /mnt/my\\040disk xfs rw 0 0
/dev/loop3 /snap/core/1 squashfs ro 0 0
tank/home /home zfs rw 0 0
server:/export /nfs nfs4 rw 0 0
//server/share /smb cifs rw 0 0
user@host:/ /sshfs fuse.sshfs rw 0 0
/dev/sdc1 /ntfs fuseblk rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
broken
";
        let found: Vec<(String, String)> =
            select(mounts).into_iter().map(|disk| (disk.mount, disk.fs)).collect();
        let expected = [("/", "ext4"), ("/boot", "ext2"), ("/mnt/my disk", "xfs"), ("/home", "zfs")];
        assert_eq!(found, expected.map(|(mount, fs)| (mount.to_owned(), fs.to_owned())));
    }

    #[test]
    fn a_containers_root_counts_and_a_root_on_the_network_does_not() {
        assert_eq!(select("overlay / overlay rw 0 0").len(), 1);
        assert_eq!(select("10.0.0.1:/root / nfs rw 0 0").len(), 0);
        assert_eq!(select("rootfs / rootfs rw 0 0\n/dev/sda / ext4 rw 0 0").len(), 1);
    }

    #[test]
    fn escapes_are_undone_and_halves_of_escapes_kept() {
        assert_eq!(unescape("a\\040b\\134c"), "a b\\c");
        assert_eq!(unescape("\\04"), "\\04");
        assert_eq!(unescape("\\999\\"), "\\999\\");
        assert_eq!(unescape("\\777"), "\\777");
    }
}
