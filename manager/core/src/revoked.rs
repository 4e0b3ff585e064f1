//! Who is shut out: the deny list. An entry denies an agent or an operator with every certificate, until it is restored; or one certificate
//! of theirs, so that another one works.
//!
//! The list is looked at for every connection that comes in, and by the machine of jobs for every submit. It is bounded: see [`MAX_REVOKED`].

use std::collections::BTreeMap;
use std::ops::Bound;

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::PeerId;
use redpoll_common::job::Submitter;

/// Entries of the list. Beyond, something has to be restored first, or the authority to be replaced.
pub const MAX_REVOKED: usize = 65_536;
/// Bytes of a reason.
pub const MAX_REVOKE_REASON: usize = 512;
/// Digits of a SHA-256 in hexadecimal.
const FINGERPRINT_DIGITS: usize = 64;
/// Digits of the longest serial number that a certificate may have, 20 bytes.
const SERIAL_DIGITS: usize = 40;

/// What is denied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// The role in the certificate.
    pub role: Role,
    /// The name in the certificate.
    pub id: PeerId,
    /// One certificate alone; `None`: every one.
    pub certificate: Option<CertificateName>,
}

/// Names one certificate: its serial number, or its SHA-256, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateName(String);

/// A text that names no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no certificate: it is a serial number (up to 40 hexadecimal digits) or a SHA-256 (64 of them), as rpctl certs show prints them"
)]
pub struct NoCertificateName(String);

impl CertificateName {
    /// Reads a name as people write it: with or without colons, in either case, a serial number also with zeros before it.
    ///
    /// # Errors
    /// [`NoCertificateName`].
    pub fn parse(text: &str) -> Result<Self, NoCertificateName> {
        let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
        let wrong = || NoCertificateName(text.chars().take(2 * FINGERPRINT_DIGITS).collect());
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        if digits.len() == FINGERPRINT_DIGITS {
            return Ok(Self(digits));
        }
        // whole bytes without zeros before them: how certificates are read
        let bare = digits.trim_start_matches('0');
        let bare = if bare.len().is_multiple_of(2) { bare.to_owned() } else { format!("0{bare}") };
        if (1..=SERIAL_DIGITS).contains(&bare.len()) { Ok(Self(bare)) } else { Err(wrong()) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Denied {
    /// An agent or operator with every certificate.
    pub fn whole(role: Role, id: PeerId) -> Self {
        Self { role, id, certificate: None }
    }

    /// Whether this is about a peer with this certificate, named by its serial number and its SHA-256.
    pub fn covers(&self, identity: &Identity, names: &[&str]) -> bool {
        let is_its = |name: &CertificateName| names.contains(&name.as_str());
        self.role == identity.role && self.id == identity.id && self.certificate.as_ref().is_none_or(is_its)
    }
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who, or what.
    pub denied: Denied,
    /// When, [counted](crate::clock).
    pub at_ms: u64,
    /// Who did it.
    pub by: Submitter,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// The list has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of who is revoked holds {MAX_REVOKED} entries and is full")]
pub struct ListFull;

/// All entries, by what they deny.
#[derive(Debug, Clone, Default)]
pub struct DenyList {
    entries: BTreeMap<Denied, Denial>,
}

impl DenyList {
    /// Puts an entry in. `false`, and nothing changes, when there is one for the same.
    ///
    /// # Errors
    /// [`ListFull`].
    pub fn deny(&mut self, denial: Denial) -> Result<bool, ListFull> {
        if self.entries.contains_key(&denial.denied) {
            return Ok(false);
        }
        if self.entries.len() >= MAX_REVOKED {
            return Err(ListFull);
        }
        self.entries.insert(denial.denied.clone(), denial);
        Ok(true)
    }

    /// Puts an entry in that somebody else has taken, also beyond the bound: to lose it would let somebody in. Nothing changes when there is
    /// one for the same.
    pub fn keep(&mut self, denial: Denial) {
        self.entries.entry(denial.denied.clone()).or_insert(denial);
    }

    /// Whether there is an entry for just this.
    pub fn contains(&self, denied: &Denied) -> bool {
        self.entries.contains_key(denied)
    }

    /// Takes an entry out. `false` when there is none.
    pub fn allow(&mut self, denied: &Denied) -> bool {
        self.entries.remove(denied).is_some()
    }

    /// The entry that keeps a peer with this certificate out, named by its serial number and its SHA-256.
    pub fn denies(&self, identity: &Identity, names: &[&str]) -> Option<&Denial> {
        self.of(identity.role, &identity.id).find(|denial| denial.denied.covers(identity, names))
    }

    /// The entry that denies every certificate of an agent or operator.
    pub fn whole(&self, role: Role, id: &PeerId) -> Option<&Denial> {
        // the first of its own, if it is there: no certificate sorts before any
        self.of(role, id).next().filter(|denial| denial.denied.certificate.is_none())
    }

    /// The entries of one agent or operator.
    pub fn of(&self, role: Role, id: &PeerId) -> impl Iterator<Item = &Denial> {
        let first = Denied::whole(role, id.clone());
        let theirs = self.entries.range(first..).map(|(_, denial)| denial);
        theirs.take_while(move |denial| denial.denied.role == role && denial.denied.id == *id)
    }

    /// The first `limit` entries of a role after `after`, in order of name.
    pub fn page(&self, role: Role, after: Option<&Denied>, limit: usize) -> Vec<Denial> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.entries.range::<Denied, _>((from, Bound::Unbounded)).map(|(_, denial)| denial);
        rest.filter(|denial| denial.denied.role == role).take(limit).cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<Denial> for DenyList {
    /// What a store has: as many as it has.
    fn from_iter<I: IntoIterator<Item = Denial>>(denials: I) -> Self {
        Self { entries: denials.into_iter().map(|denial| (denial.denied.clone(), denial)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PeerId {
        PeerId::parse(name).unwrap()
    }

    fn denial(role: Role, name: &str, certificate: Option<&str>) -> Denial {
        let certificate = certificate.map(|text| CertificateName::parse(text).unwrap());
        let denied = Denied { role, id: id(name), certificate };
        Denial { denied, at_ms: 1, by: id("ada").into(), reason: None }
    }

    fn who(uri: &str) -> Identity {
        Identity::parse(uri).unwrap()
    }

    const OWN: [&str; 2] = ["0a1b", "ff"];

    #[test]
    fn an_entry_denies_whom_it_names_and_nobody_else() {
        let web = who("spiffe://home/agent/web-1");
        let long = "A".repeat(64);
        for (entry, denied) in [
            (denial(Role::Agent, "web-1", None), true),
            (denial(Role::Agent, "web-1", Some("0A:1B")), true),
            (denial(Role::Agent, "web-1", Some("ff")), true),
            (denial(Role::Agent, "web-1", Some("0a1c")), false),
            (denial(Role::Agent, "web-1", Some(&long)), false),
            (denial(Role::Operator, "web-1", None), false),
            (denial(Role::Agent, "web-10", None), false),
            (denial(Role::Agent, "web-", None), false),
            (denial(Role::Agent, "web-2", Some("0a1b")), false),
        ] {
            let mut list = DenyList::default();
            assert_eq!(list.deny(entry.clone()), Ok(true));
            assert_eq!(list.denies(&web, &OWN).is_some(), denied, "{entry:?}");
            assert_eq!(list.deny(entry.clone()), Ok(false), "twice is once");
            assert!(list.allow(&entry.denied) && !list.allow(&entry.denied));
            assert_eq!(list.denies(&web, &OWN), None);
        }
    }

    #[test]
    fn a_certificate_that_was_denied_by_itself_stays_so_when_its_owner_is_restored() {
        let mut list: DenyList =
            [denial(Role::Agent, "web-1", None), denial(Role::Agent, "web-1", Some("0a1b"))]
                .into_iter()
                .collect();
        let web = who("spiffe://home/agent/web-1");
        assert!(list.denies(&web, &["99", "88"]).is_some());
        assert!(list.allow(&Denied::whole(Role::Agent, id("web-1"))));
        assert!(list.denies(&web, &OWN).is_some() && list.denies(&web, &["99", "88"]).is_none());
        assert_eq!((list.whole(Role::Agent, &id("web-1")), list.len()), (None, 1));
    }

    #[test]
    fn names_of_certificates_are_read_as_people_write_them() {
        for (text, read) in
            [("0A:1b", Some("0a1b")), ("a1b", Some("0a1b")), ("000a1b", Some("0a1b")), ("00", None)]
        {
            let name = CertificateName::parse(text).ok();
            assert_eq!(name.as_ref().map(CertificateName::as_str), read, "{text}");
        }
        assert_eq!(CertificateName::parse(&"0A".repeat(32)).unwrap().as_str(), "0a".repeat(32));
        for wrong in ["", "::", "xyz", "0x12", &"1".repeat(41), &"1".repeat(65), "ä"] {
            assert!(CertificateName::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_full_list_says_so_and_takes_what_it_has_already() {
        let all = (0..MAX_REVOKED).map(|n| denial(Role::Agent, &format!("a{n}"), None));
        let mut list: DenyList = all.collect();
        assert_eq!(list.deny(denial(Role::Agent, "more", None)), Err(ListFull));
        assert!(ListFull.to_string().contains("65536"));
        assert_eq!(list.deny(denial(Role::Agent, "a7", None)), Ok(false));
        assert!(list.allow(&denial(Role::Agent, "a7", None).denied));
        assert_eq!(list.deny(denial(Role::Agent, "more", None)), Ok(true));
        list.keep(denial(Role::Agent, "one-more", None));
        assert!(list.whole(Role::Agent, &id("one-more")).is_some(), "what was taken elsewhere is kept");
        assert!(list.contains(&denial(Role::Agent, "one-more", None).denied));
        assert!(!list.contains(&denial(Role::Agent, "one-more", Some("01")).denied));
    }

    #[test]
    fn pages_go_on_after_the_last_entry_and_have_one_role() {
        let list: DenyList = [
            denial(Role::Operator, "ada", None),
            denial(Role::Agent, "a", None),
            denial(Role::Agent, "b", Some("01")),
            denial(Role::Agent, "b", None),
        ]
        .into_iter()
        .collect();
        let first = list.page(Role::Agent, None, 2);
        let rest = list.page(Role::Agent, first.last().map(|denial| &denial.denied), 2);
        let names =
            |page: &[Denial]| page.iter().map(|denial| denial.denied.id.to_string()).collect::<Vec<_>>();
        assert_eq!((names(&first), names(&rest)), (vec!["a".into(), "b".into()], vec!["b".into()]));
        assert_eq!(list.page(Role::Operator, None, 9).len(), 1);
    }

    #[test]
    fn of_two_of_one_name_only_the_one_in_the_list_is_denied() {
        for (denied, other) in [(Role::Operator, Role::Agent), (Role::Agent, Role::Operator)] {
            let list = DenyList::from_iter([denial(denied, "web-1", None)]);
            let found =
                |role, name: &str| (list.whole(role, &id(name)).is_some(), list.of(role, &id(name)).count());
            assert_eq!((found(denied, "web-1"), found(other, "web-1")), ((true, 1), (false, 0)));
            assert_eq!((found(denied, "web-0"), found(denied, "web-2")), ((false, 0), (false, 0)));
            let whole = Denied::whole(denied, id("web-1"));
            for (role, name, covered) in
                [(denied, "web-1", true), (other, "web-1", false), (denied, "web-2", false)]
            {
                let peer = who(&format!("spiffe://home/{role}/{name}"));
                assert_eq!(whole.covers(&peer, &["01"]), covered, "{role} {name}");
            }
        }
    }
}
