//! Users and groups of this machine, from `/etc/passwd` and `/etc/group`. A line that cannot be read says nothing of the others: comments on
//! old machines are in other encodings than UTF-8.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The number that is nobody's: the kernel takes it for "as it is now", so that who is to become that one stays root.
pub(super) const NOBODYS: u32 = u32::MAX;

/// Whom a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Further groups the user is in, sorted.
    pub groups: Vec<u32>,
    /// The user's home.
    pub home: PathBuf,
}

/// Why there is no such account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No such user.
    #[error(
        "there is no user {name:?} in /etc/passwd of this machine; users of a directory service are not looked up"
    )]
    NoUser {
        /// The name.
        name: String,
    },
    /// No such group.
    #[error("there is no group {name:?} in /etc/group of this machine")]
    NoGroup {
        /// The name.
        name: String,
    },
    /// Only root can become somebody else.
    #[error("it is to run as {name}, and only a daemon that runs as root can start it as somebody else")]
    NotRoot {
        /// The user's name.
        name: String,
    },
}

impl Account {
    /// Looks up a user by name or number, and the group if it is not the user's own.
    ///
    /// # Errors
    /// [`AccountError`]
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, AccountError> {
        Self::among(user, group, &read("/etc/passwd")?, &read("/etc/group")?)
    }

    /// Looks up a group alone, by name or number.
    ///
    /// # Errors
    /// [`AccountError`]
    pub fn check_group(group: &str) -> Result<(), AccountError> {
        gid_among(group, &read("/etc/group")?).map(drop)
    }

    fn among(user: &str, group: Option<&str>, passwd: &[u8], groups: &[u8]) -> Result<Self, AccountError> {
        let no_user = || AccountError::NoUser { name: user.to_owned() };
        let users = || lines(passwd).filter_map(user_of);
        let (name, uid, own, home) = users()
            .find(|(name, ..)| *name == user)
            .or_else(|| {
                let number: u32 = user.parse().ok()?;
                users().find(|(_, uid, ..)| *uid == number)
            })
            .ok_or_else(no_user)?;
        let gid = match group {
            None => own,
            Some(wanted) => gid_among(wanted, groups)?,
        };
        let is_in = |members: &[u8]| members.split(|byte| *byte == b',').any(|one| one == name.as_bytes());
        let mut further: Vec<u32> = lines(groups)
            .filter_map(group_of)
            .filter(|(_, _, members)| is_in(members))
            .map(|(_, gid, _)| gid)
            .collect();
        // with another group given, the user's own one is still one the user is in
        further.push(own);
        further.retain(|further| *further != gid);
        further.sort_unstable();
        further.dedup();
        let home = PathBuf::from(OsStr::from_bytes(home));
        Ok(Self { name: name.to_owned(), uid, gid, groups: further, home })
    }

    /// Whether this process runs as that user and group already.
    pub fn is_own(&self) -> bool {
        rustix::process::geteuid().as_raw() == self.uid && rustix::process::getegid().as_raw() == self.gid
    }
}

fn read(path: &'static str) -> Result<Vec<u8>, AccountError> {
    fs::read(Path::new(path)).map_err(|source| AccountError::Unreadable { path, source })
}

fn gid_among(wanted: &str, groups: &[u8]) -> Result<u32, AccountError> {
    lines(groups)
        .filter_map(group_of)
        .find(|(name, gid, _)| *name == wanted.as_bytes() || wanted.parse() == Ok(*gid))
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| AccountError::NoGroup { name: wanted.to_owned() })
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// `name:password:uid:gid:comment:home:shell`
fn user_of(line: &[u8]) -> Option<(&str, u32, u32, &[u8])> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = std::str::from_utf8(fields.next()?).ok()?;
    let uid = number(fields.nth(1)?)?;
    let gid = number(fields.next()?)?;
    Some((name, uid, gid, fields.nth(1)?))
}

/// `name:password:gid:members`
fn group_of(line: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next()?;
    let gid = number(fields.nth(1)?)?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

/// The number of a user or a group.
fn number(field: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(field).ok()?.parse().ok()?;
    (number != NOBODYS).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\nbroken\n# no user\nann:x:1001:100:Ann,,,:/home/ann:/bin/sh\n1002:x:7:7::/:/bin/sh\n";
    const GROUP: &[u8] =
        b"root:x:0:\nusers:x:100:bob\nadm:x:4:bob,ann\nwww:x:33:ann\nanna:x:9:annabel\nbroken:x\n";

    #[test]
    fn a_user_is_in_all_groups_that_name_it_and_in_no_other() {
        let ann = Account::among("ann", None, PASSWD, GROUP).unwrap();
        assert_eq!((ann.uid, ann.gid, ann.groups.as_slice()), (1001, 100, &[4, 33][..]));
        assert_eq!(ann.home, Path::new("/home/ann"));
        let www = Account::among("ann", Some("www"), PASSWD, GROUP).unwrap();
        assert_eq!((www.gid, www.groups.as_slice()), (33, &[4, 100][..]));
        assert_eq!(Account::among("1001", Some("4"), PASSWD, GROUP).unwrap().gid, 4, "numbers will do");
        assert_eq!(
            Account::among("1002", None, PASSWD, GROUP).unwrap().uid,
            7,
            "a name comes before a number"
        );
    }

    #[test]
    fn who_is_not_there_is_named() {
        let user = Account::among("nobody-here", None, PASSWD, GROUP).unwrap_err().to_string();
        assert!(user.contains("nobody-here") && user.contains("/etc/passwd"), "{user}");
        let group = Account::among("ann", Some("wheel"), PASSWD, GROUP).unwrap_err().to_string();
        assert!(group.contains("wheel") && group.contains("/etc/group"), "{group}");
        assert!(Account::among("broken", None, PASSWD, GROUP).is_err());
    }

    #[test]
    fn a_line_in_another_encoding_hides_no_other() {
        let passwd = [b"joerg:x:7:7:J\xf6rg:/home/j\xf6rg:/bin/sh\nj\xf6rg:x:8:8::/:\n", PASSWD].concat();
        let groups = [b"caf\xe9:x:70:ann,j\xf6rg\n", GROUP].concat();
        let found = |user| Account::among(user, None, &passwd, &groups).unwrap();
        assert_eq!((found("ann").uid, found("ann").groups), (1001, vec![4, 33, 70]));
        assert_eq!(found("0").name, "root");
        let joerg = found("joerg");
        assert_eq!((joerg.uid, joerg.home.as_os_str().as_bytes()), (7, &b"/home/j\xf6rg"[..]));
        assert!(Account::among("8", None, &passwd, &groups).is_err(), "it has no name that could be told");
    }

    #[test]
    fn nobody_runs_as_a_number_that_means_as_it_is() {
        for line in ["odd:x:4294967295:100::/:", "odd:x:100:4294967295::/:"] {
            for user in ["odd", "4294967295"] {
                let found = Account::among(user, None, line.as_bytes(), GROUP);
                assert!(matches!(found, Err(AccountError::NoUser { .. })), "{line} {found:?}");
            }
        }
        let groups = [b"odd:x:4294967295:ann\n", GROUP].concat();
        assert!(Account::among("ann", Some("odd"), PASSWD, &groups).is_err());
        assert!(Account::among("ann", Some("4294967295"), PASSWD, &groups).is_err());
        assert_eq!(Account::among("ann", None, PASSWD, &groups).unwrap().groups, [4, 33]);
    }
}
