//! Identifiers of jobs.

use std::fmt;

use crate::ids::PeerId;

/// The latest time that an id has room for.
const MAX_MS: u64 = (1 << 48) - 1;

/// The id of a job: 16 bytes that sort by the time of submission (UUID version 7, RFC 9562), made by the manager.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId([u8; 16]);

/// A text is not the id of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a job: 32 hexadecimal digits, as a submit returned them")]
pub struct JobIdError {
    /// The text, shortened.
    pub text: String,
}

impl JobId {
    /// The id of a job submitted at `unix_ms`, or at the latest time that there is room for, with 74 random bits out of `random`.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        let mut bytes = random.to_be_bytes();
        let time = unix_ms.min(MAX_MS).to_be_bytes();
        if let (Some(to), Some(from)) = (bytes.get_mut(..6), time.get(2..)) {
            to.copy_from_slice(from);
        }
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = (*version & 0x0f) | 0x70;
        *variant = (*variant & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Takes stored or received bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for storing and sending.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// When the job was submitted, in UTC milliseconds.
    pub fn submitted_ms(self) -> u64 {
        u64::try_from(u128::from_be_bytes(self.0) >> 80).unwrap_or(u64::MAX)
    }

    /// Parses the text form; hyphens of the UUID form are accepted.
    ///
    /// # Errors
    /// [`JobIdError`] when it is not 32 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, JobIdError> {
        let wrong = || JobIdError { text: text.chars().take(64).collect() };
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_overflow| wrong())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which try of a run it is, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u16);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A dispatch number: strictly increasing per agent, committed by the manager before the offer leaves, and by the agent
/// before it accepts. Replay protection, fencing and deduplication in one number. Gaps are allowed; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dno(pub u64);

impl fmt::Display for Dno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The work of a job on one agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// The job.
    pub job: JobId,
    /// The agent.
    pub agent: PeerId,
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let older = JobId::new(1_700_000_000_000, u128::MAX);
        let newer = JobId::new(1_700_000_000_001, 0);
        assert!(older < newer);
        assert_eq!(older.submitted_ms(), 1_700_000_000_000);
        assert_eq!(JobId::parse(&older.to_string()).unwrap(), older);
        assert_eq!(JobId::parse("018bcfe5-6800-7fff-bfff-ffffffffffff").unwrap(), older);
        for wrong in ["", "12", "zz", &"g".repeat(32), "+1234567890123456789012345678901"] {
            assert!(JobId::parse(wrong).is_err(), "{wrong}");
        }
    }
}
