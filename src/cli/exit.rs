//! The exit codes of the command: the table of `docs/cli.md`.

use std::process::ExitCode;

use serde::{Serialize, Serializer};

/// How the command ends. A script may take anything that it does not know for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Healthy, or done.
    Healthy = 0,
    /// The command could not do its work: the disk, a permission.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Something is damaged or interrupted, and recovery makes up for it without loss.
    Degraded = 3,
    /// Acknowledged data is lost.
    DataLost = 4,
    /// The store is of another format version, or does not fit the build that was asked about.
    Incompatible = 5,
    /// A live driver owns the store.
    Owned = 6,
    /// `diff --exit-code` found differences.
    Differs = 7,
    /// A verification did not look at everything.
    Incomplete = 8,
    /// What the location holds is not a Floodmark store.
    NotAStore = 10,
    /// The user interrupted the command.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The graver of two findings about one store. Losing data outweighs all; not having looked outweighs only health.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        let gravity = |exit: Self| match exit {
            Self::Healthy => 0,
            Self::Differs => 1,
            Self::Incomplete => 2,
            Self::Degraded => 3,
            Self::Owned => 4,
            Self::Incompatible => 5,
            Self::NotAStore => 6,
            Self::Usage => 7,
            Self::Failed => 8,
            Self::Interrupted => 9,
            Self::DataLost => 10,
        };
        if gravity(other) > gravity(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
