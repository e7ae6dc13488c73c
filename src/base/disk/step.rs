//! The names of durable steps.

use std::fmt;

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
    /// A sink lets the driver of a new epoch in, and shuts older ones out.
    SinkFence,
    /// A sink publishes a batch, or removes what was left of one that was never published.
    SinkPublish,
    /// Records that are set aside are written down.
    DeadLetters,
    /// A directory in which other steps work is created.
    DirectoryCreate,
    /// An object is put into an object store.
    StorePut,
    /// An object is deleted from an object store.
    StoreDelete,
    /// A verb of the command that writes makes a copy, moves a file or writes down what it did.
    Operation,
    /// The objects of an object store are listed. It changes nothing, but a list may be behind.
    StoreList,
}

impl Step {
    /// Every step, in the order of a batch's life.
    #[cfg(any(test, feature = "testing"))]
    pub const ALL: [Step; 17] = [
        Step::WalAppend,
        Step::WalSync,
        Step::WalRoll,
        Step::WalTruncate,
        Step::ManifestCreate,
        Step::ManifestRemove,
        Step::CheckpointFiles,
        Step::CheckpointRemove,
        Step::LiveBuild,
        Step::SinkFence,
        Step::SinkPublish,
        Step::DeadLetters,
        Step::DirectoryCreate,
        Step::StorePut,
        Step::StoreDelete,
        Step::StoreList,
        Step::Operation,
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
            Step::SinkFence => "sink.fence",
            Step::SinkPublish => "sink.publish",
            Step::DeadLetters => "letters.create",
            Step::DirectoryCreate => "directory.create",
            Step::StorePut => "store.put",
            Step::StoreDelete => "store.delete",
            Step::StoreList => "store.list",
            Step::Operation => "operation.write",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
