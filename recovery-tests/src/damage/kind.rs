//! What the files of a job are.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// The kinds of files in a job's directory: the rows of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A link of the chain of manifests.
    Manifest,
    /// A segment of the log that is no longer written.
    Segment,
    /// The segment in which the log ends.
    NewestSegment,
    /// The space that the log keeps for a full disk.
    Reserve,
    /// A table file of a checkpoint.
    Table,
    /// RocksDB's pointer to its own manifest, in a checkpoint.
    Current,
    /// RocksDB's own manifest, in a checkpoint.
    StoreManifest,
    /// RocksDB's settings, in a checkpoint.
    Options,
    /// RocksDB's name for itself, in a checkpoint.
    Identity,
    /// RocksDB's own log, which is off: an empty file in a checkpoint.
    StoreLog,
    /// Anything in the live directory, which no start believes.
    Live,
    /// The lock of the driver.
    Lock,
    /// Anything else.
    Other,
    /// A directory.
    Directory,
}

impl FileKind {
    /// The kind of a file, by its path below the job's directory.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let parts: Vec<&str> = parts.iter().map(|part| &**part).collect();
        match parts[..] {
            ["LOCK"] => Self::Lock,
            ["manifests", name] if name.len() == 20 => Self::Manifest,
            ["wal", "reserve"] => Self::Reserve,
            ["wal", name] if name.ends_with(".log") => Self::Segment,
            ["live", ..] => Self::Live,
            ["checkpoints", _, "CURRENT"] => Self::Current,
            ["checkpoints", _, "IDENTITY"] => Self::Identity,
            ["checkpoints", _, name] if name.ends_with(".sst") => Self::Table,
            ["checkpoints", _, name] if name.ends_with(".log") => Self::StoreLog,
            ["checkpoints", _, name] if name.starts_with("MANIFEST-") => Self::StoreManifest,
            ["checkpoints", _, name] if name.starts_with("OPTIONS-") => Self::Options,
            _ => Self::Other,
        }
    }

    /// Bytes at the beginning that say what the rest is; one of the lengths to which a file is cut.
    pub(super) fn header_len(self) -> usize {
        match self {
            Self::Segment | Self::NewestSegment => 64,
            Self::Manifest => 20,
            _ => 7, // a record's header, or any small number
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Manifest => "manifest",
            Self::Segment => "segment",
            Self::NewestSegment => "newest segment",
            Self::Reserve => "log reserve",
            Self::Table => "table file",
            Self::Current => "CURRENT",
            Self::StoreManifest => "MANIFEST",
            Self::Options => "OPTIONS",
            Self::Identity => "IDENTITY",
            Self::StoreLog => "RocksDB's log",
            Self::Live => "live",
            Self::Lock => "LOCK",
            Self::Other => "other",
            Self::Directory => "directory",
        })
    }
}
