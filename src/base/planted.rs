//! Bugs that a test plants in a job, to see that the recovery tests find them.
//!
//! A place in the engine where one can be planted asks `has_bug(PlantedBug::…)` in one line and does the wrong thing where the
//! answer is yes; what takes more than a line is in `driver/planted.rs`. Without the feature `testing` the answer is a constant,
//! [`Planted`] takes no room, and nobody can plant anything: see `docs/decisions/0013-planted-bugs.md`. Bugs that only skip or
//! swallow an operation of the disk need no place here: a door in front of the disk has them (`recovery-tests/src/planted.rs`).
//!
//! Without faults a job with any of them computes what it should. What each breaks:
//!
//! | bug | breaks | shows after |
//! |---|---|---|
//! | `AckBeforeSync` | I-1 | a power cut between a block's acknowledgement and the sync, if the source does not send it again |
//! | `ForgetUnplanned` | I-1 | a crash between a block's acknowledgement and its plan, likewise |
//! | `ComputeBeforePlan` | I-2 | a crash between publication and plan: the sink holds a batch that the log does not know |
//! | `SkipLastReplay` | I-3 | a crash after a commit |
//! | `PublishBeforeCommit` | I-4 | a crash in between: a batch is visible that the log does not call committed |
//! | `RecordBeforePublish` | I-4 | a crash in between: the batch never becomes visible |
//! | `SkipRepublish` | I-4 | a crash between commit and publication: likewise |
//! | `CoversNextBatch` | I-5 | any start from a checkpoint: a batch is missing |
//! | `HoldsNextBatch` | I-5 | any start from a checkpoint: a batch counts twice |
//! | `ForgetPositions` | I-5 | a start from a checkpoint, if a source sends again what it has sent long before |
//! | `ManifestBeforeFiles` | I-5 | a power cut between the manifest and the sync of the files |
//! | `DeleteBeforeManifest` | I-5 | a crash between the removal and the manifest |
//! | `TruncateTooMuch` | I-5 | any start on a log that was cut |
//! | `TrustTheTail` | I-7 | a crash that leaves an unsynced tail, then a power cut that takes it |
//! | `SameEpoch` | I-8 | an older driver that wakes up |
//! | `NoSinkFence` | I-8 | the same |

/// A bug that a test can plant in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlantedBug {
    /// A block is acknowledged when it is written to the log, before that is synced.
    AckBeforeSync,
    /// Blocks that were acknowledged before a crash and that no plan has taken are left lying in the log.
    ForgetUnplanned,
    /// A batch is given to the dataflow, and published, before its plan is in the log.
    ComputeBeforePlan,
    /// The last batch of the replay is taken for computed, where it is committed: its state is missing.
    SkipLastReplay,
    /// A batch is published before its commit is in the log.
    PublishBeforeCommit,
    /// The log says that a batch is published together with its commit, before the outputs have it.
    RecordBeforePublish,
    /// A recovered batch that is committed, and not on record as published, is not published.
    SkipRepublish,
    /// The manifest of a checkpoint says one batch more than the checkpoint holds.
    CoversNextBatch,
    /// The manifest of a checkpoint says one batch less than the checkpoint holds.
    HoldsNextBatch,
    /// The manifest of a checkpoint does not know how far the receivers' sources were taken.
    ForgetPositions,
    /// The manifest of a checkpoint is created before the checkpoint's files are synced.
    ManifestBeforeFiles,
    /// What the manifest of a checkpoint makes unneeded is removed before it is created; only where more than one is kept.
    DeleteBeforeManifest,
    /// The log is cut at what the newest checkpoint needs, not the oldest that is kept.
    TruncateTooMuch,
    /// Recovery leaves frames where they are that nothing proves to be synced, and says that they are durable.
    TrustTheTail,
    /// A start claims the epoch of the driver before it.
    SameEpoch,
    /// Outputs are told the same epoch in every life, so that they shut nobody out.
    NoSinkFence,
}

#[cfg(feature = "testing")]
impl PlantedBug {
    /// Every bug, in the order of the invariants that they break.
    pub const ALL: [Self; 16] = [
        Self::AckBeforeSync,
        Self::ForgetUnplanned,
        Self::ComputeBeforePlan,
        Self::SkipLastReplay,
        Self::PublishBeforeCommit,
        Self::RecordBeforePublish,
        Self::SkipRepublish,
        Self::CoversNextBatch,
        Self::HoldsNextBatch,
        Self::ForgetPositions,
        Self::ManifestBeforeFiles,
        Self::DeleteBeforeManifest,
        Self::TruncateTooMuch,
        Self::TrustTheTail,
        Self::SameEpoch,
        Self::NoSinkFence,
    ];

    /// The invariant that it breaks, as `docs/guarantees.md` numbers them.
    #[must_use]
    pub fn breaks(self) -> &'static str {
        match self {
            Self::AckBeforeSync | Self::ForgetUnplanned => "I-1",
            Self::ComputeBeforePlan => "I-2",
            Self::SkipLastReplay => "I-3",
            Self::PublishBeforeCommit | Self::RecordBeforePublish | Self::SkipRepublish => "I-4",
            Self::CoversNextBatch
            | Self::HoldsNextBatch
            | Self::ForgetPositions
            | Self::ManifestBeforeFiles
            | Self::DeleteBeforeManifest
            | Self::TruncateTooMuch => "I-5",
            Self::TrustTheTail => "I-7",
            Self::SameEpoch | Self::NoSinkFence => "I-8",
        }
    }
}

/// The bug in a job, if a test has planted one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "testing")]
    bug: Option<PlantedBug>,
}

impl Planted {
    /// This one.
    #[cfg(feature = "testing")]
    pub fn new(bug: PlantedBug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether it is this one.
    #[cfg(feature = "testing")]
    pub fn has_bug(self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }

    /// Never: nobody can plant one.
    #[cfg(not(feature = "testing"))]
    pub const fn has_bug(self, _bug: PlantedBug) -> bool {
        false
    }
}

#[cfg(not(feature = "testing"))]
const _: () = assert!(size_of::<Planted>() == 0, "without the feature there is nothing of it");
