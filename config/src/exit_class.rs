//! With which code a daemon ends that does not start.

/// The exit codes of a daemon that does not start, or ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// The configuration is wrong: 64.
    Configuration,
    /// The permissions of a file are wrong: 77.
    Permissions,
    /// An address cannot be bound or reached: 69.
    Unreachable,
    /// Something that should not happen: 70.
    Internal,
}

impl ExitClass {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Configuration => 64,
            Self::Permissions => 77,
            Self::Unreachable => 69,
            Self::Internal => 70,
        }
    }
}
