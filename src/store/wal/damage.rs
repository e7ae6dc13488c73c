//! Damage: stored bytes that were durable once and are not what they were.

use std::fmt;
use std::path::PathBuf;

use floodmark_base::id::{SegmentNumber, Sequence};

/// What is damaged, where, and what is lost by it. Nothing is repaired, skipped or deleted because of it (I-6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: at byte {offset}: expected {expected}, found {found}; {lost}", file.display())]
pub struct WalDamage {
    /// The file, also when it is the one that is missing.
    pub file: PathBuf,
    /// Byte offset in the file.
    pub offset: u64,
    pub expected: String,
    pub found: String,
    pub lost: Lost,
}

/// What of the log can no longer be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The frames from `first` to `last`, both included.
    Frames { first: Sequence, last: Sequence },
    /// The frames of one segment; how many cannot be told.
    Segment(SegmentNumber),
    /// Every byte is there; they do not belong together, or this build cannot read them.
    Nothing,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames { first, last } if first == last => write!(f, "frame {first} is lost"),
            Self::Frames { first, last } => write!(f, "frames {first} to {last} are lost"),
            Self::Segment(number) => write!(f, "the frames of segment {number} are lost"),
            Self::Nothing => f.write_str("nothing is lost"),
        }
    }
}
