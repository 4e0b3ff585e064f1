//! Users and groups of this machine, from `/etc/passwd` and `/etc/group`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
        let read = |path: &'static str| {
            fs::read_to_string(Path::new(path)).map_err(|source| AccountError::Unreadable { path, source })
        };
        Self::among(user, group, &read("/etc/passwd")?, &read("/etc/group")?)
    }

    fn among(user: &str, group: Option<&str>, passwd: &str, groups: &str) -> Result<Self, AccountError> {
        let no_user = || AccountError::NoUser { name: user.to_owned() };
        let (name, uid, own, home) = passwd
            .lines()
            .filter_map(user_of)
            .find(|(name, ..)| *name == user)
            .or_else(|| {
                let number: u32 = user.parse().ok()?;
                passwd.lines().filter_map(user_of).find(|(_, uid, ..)| *uid == number)
            })
            .ok_or_else(no_user)?;
        let gid = match group {
            None => own,
            Some(wanted) => groups
                .lines()
                .filter_map(group_of)
                .find(|(name, gid, _)| *name == wanted || wanted.parse() == Ok(*gid))
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| AccountError::NoGroup { name: wanted.to_owned() })?,
        };
        let is_in = |members: &str| members.split(',').any(|member| member == name);
        let mut further: Vec<u32> = groups
            .lines()
            .filter_map(group_of)
            .filter(|(_, _, members)| is_in(members))
            .map(|(_, gid, _)| gid)
            .collect();
        // with another group given, the user's own one is still one the user is in
        further.push(own);
        further.retain(|further| *further != gid);
        further.sort_unstable();
        further.dedup();
        Ok(Self { name: name.to_owned(), uid, gid, groups: further, home: PathBuf::from(home) })
    }

    /// Whether this process runs as that user and group already.
    pub fn is_own(&self) -> bool {
        rustix::process::geteuid().as_raw() == self.uid && rustix::process::getegid().as_raw() == self.gid
    }
}

/// `name:password:uid:gid:comment:home:shell`
fn user_of(line: &str) -> Option<(&str, u32, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((name, uid, gid, fields.nth(1)?))
}

/// `name:password:gid:members`
fn group_of(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\nbroken\n# no user\nann:x:1001:100:Ann,,,:/home/ann:/bin/sh\n1002:x:7:7::/:/bin/sh\n";
    const GROUP: &str =
        "root:x:0:\nusers:x:100:bob\nadm:x:4:bob,ann\nwww:x:33:ann\nanna:x:9:annabel\nbroken:x\n";

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
}
