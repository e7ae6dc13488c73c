//! The format versions of the log.
//!
//! A segment states its version in its header. A frame states the version in which its head is encoded, since recovery copies
//! frames of an older segment into a new one as they are: a segment of version 2 may begin with frames of version 1.

use serde::{Deserialize, Serialize};

/// A format version of the log. Both are read; segments and frames are written in [`CURRENT`](Self::CURRENT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WalVersion {
    /// Positions are numbers; nothing says of which type records are.
    V1,
    /// Positions are keys and bytes; blocks and ranges name their type.
    V2,
}

impl WalVersion {
    /// The version that is written.
    pub const CURRENT: Self = Self::V2;

    /// The number in a segment's header.
    pub fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The version with this number, if this build reads it.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.number() == number)
    }

    /// The byte in a frame's header. Version 1 had a zero there.
    pub(super) fn frame_byte(self) -> u8 {
        match self {
            Self::V1 => 0,
            Self::V2 => 2,
        }
    }

    /// The version that the byte in a frame's header stands for.
    pub(super) fn from_frame_byte(byte: u8) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.frame_byte() == byte)
    }
}
