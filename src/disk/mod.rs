//! The door to the local file system: every durable step of the log and of the manifests passes through here.
//!
//! A step has a name ([`Step`]), so that a test can stop, tear or fail each of them. RocksDB has no door of its own; where
//! its files become ours (a checkpoint, the live directory), [`Disk::pass`] marks the step.
//!
//! What is assumed of the disk: bytes that were not synced may be lost in any subset; a directory entry is lost unless its
//! directory was synced; a completed sync is kept; a failed sync tells nothing (I-7).

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;

#[cfg(any(test, feature = "testing"))]
mod faulty;
mod local;
#[cfg(any(test, feature = "testing"))]
mod memory;

#[cfg(any(test, feature = "testing"))]
pub use faulty::{Fault, FaultyDisk, TracedStep};
pub use local::LocalDisk;
#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryDisk;

/// How the name of a temporary file ends. One that is found at a start is left over from a crash and means nothing.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// The durable steps, by the names under which reports and faults cite them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Frames are written at the end of the newest segment; not yet durable.
    WalAppend,
    /// The newest segment is synced; on success its frames are acknowledged.
    WalSync,
    /// A new segment is created.
    WalRoll,
    /// A segment that no retained checkpoint needs is removed.
    WalTruncate,
    /// A manifest is created: the commit point of a checkpoint, a claim or a rejection.
    ManifestCreate,
    /// A manifest that no longer counts is removed.
    ManifestRemove,
    /// The files of a checkpoint are made durable, before its manifest.
    CheckpointFiles,
    /// A checkpoint that no retained manifest names is removed.
    CheckpointRemove,
    /// The live directory is built from a checkpoint.
    LiveBuild,
    /// A sink publishes a batch.
    SinkPublish,
    /// Records that are set aside are written down.
    DeadLetters,
}

impl Step {
    /// Every step, in the order of a batch's life.
    #[cfg(any(test, feature = "testing"))]
    pub const ALL: [Step; 11] = [
        Step::WalAppend,
        Step::WalSync,
        Step::WalRoll,
        Step::WalTruncate,
        Step::ManifestCreate,
        Step::ManifestRemove,
        Step::CheckpointFiles,
        Step::CheckpointRemove,
        Step::LiveBuild,
        Step::SinkPublish,
        Step::DeadLetters,
    ];

    /// The name of the step, `area.verb`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Step::WalAppend => "wal.append",
            Step::WalSync => "wal.sync",
            Step::WalRoll => "wal.roll",
            Step::WalTruncate => "wal.truncate",
            Step::ManifestCreate => "manifest.create",
            Step::ManifestRemove => "manifest.remove",
            Step::CheckpointFiles => "checkpoint.files",
            Step::CheckpointRemove => "checkpoint.remove",
            Step::LiveBuild => "live.build",
            Step::SinkPublish => "sink.publish",
            Step::DeadLetters => "letters.create",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What Floodmark asks of a local file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a directory and its missing parents, each synced into its own parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Creates a file with these bytes, whole and durable or not at all: temporary file, sync, link, directory sync.
    /// `AlreadyExists` when the name is taken; the file that is there is left alone.
    fn create_whole(&self, step: Step, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Opens an existing file to append at its end.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Reads exactly `len` bytes from `offset`; `UnexpectedEof` when they are not there.
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// The length of a file in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// The names in a directory, sorted. A directory that does not exist is an error, never an empty list (I-6).
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Removes a file, or a directory with all that is in it, and syncs the parent.
    fn remove(&self, step: Step, path: &Path) -> io::Result<()>;

    /// Syncs every file in a directory, then the directory and its parent: for files that RocksDB made.
    fn sync_tree(&self, step: Step, path: &Path) -> io::Result<()>;

    /// Marks a durable step that is taken outside of this door.
    fn pass(&self, step: Step) -> io::Result<()>;
}

/// A file that is open for appending.
pub trait DiskFile: Send {
    /// Writes all slices at the end, in order.
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes what was appended durable (`fdatasync`).
    fn sync(&mut self, step: Step) -> io::Result<()>;
}
