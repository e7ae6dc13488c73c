//! Why a job does not start, in words that say what to do.

use std::path::{Path, PathBuf};

use crate::checkpoint::ChainError;
use crate::recovery::loss::{Batches, Listed, LostBlocks};
use crate::wal::{FrameAt, WalError};
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::{BatchId, LogId, Sequence, Uid};
use floodmark_base::plural::counted;

/// A start that is refused.
///
/// Most refusals come before anything is written. Two come after this start has claimed its epoch: [`BatchPublished`](Self::BatchPublished),
/// and any refusal after a checkpoint turned out to be damaged when it was opened or read. They leave the manifests of the claim, and
/// sinks that let older drivers in no longer. Even then the checkpoints, what the log holds and what was published are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Chain(#[from] ChainError),
    #[error("{0}")]
    Log(#[from] WalError),
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("frame {} in segment {} at offset {} is whole but cannot be decoded: {reason}", .at.sequence, .at.segment, .at.offset)]
    UnreadableFrame { at: FrameAt, reason: String },
    #[error(
        "the manifests are gone, but the log holds {} and {}: restore the manifests directory",
        counted(*batches as u64, "batch"), counted(*blocks as u64, "block")
    )]
    ManifestsGone { batches: usize, blocks: usize },
    #[error(
        "the log is gone; the newest checkpoint is of batch {checkpoint}, and what came after it is lost. Restore the log, or \
         go on without it by StreamingContextBuilder::go_on_without_log(), as a new lineage"
    )]
    LogGone { checkpoint: BatchId },
    #[error("the log is {found}, but the manifests name {expected}: two jobs are mixed")]
    AnotherLog { expected: LogId, found: LogId },
    #[error(
        "the log ends before frame {found}, but a manifest knows frame {expected} to come next: its newest segment is \
         missing or cut; restore it"
    )]
    LogCut { expected: Sequence, found: Sequence },
    #[error(
        "\"{sink}\" holds batch {held} of this job, but the log ends with batch {found}: its newest segment is missing \
         or cut; restore it"
    )]
    BatchPublished { sink: String, held: BatchId, found: BatchId },
    #[error("no usable checkpoint is left: {}", .tried.join("; "))]
    NoCheckpoint { tried: Vec<String> },
    #[error("batch {batch} is missing from the log: expected every batch from {first} to {last}")]
    BatchMissing { batch: BatchId, first: BatchId, last: BatchId },
    #[error(
        "{} cannot be computed again: only the log of the machine that took them in had {}. Start the job there, in its working \
         copy; or go on from the checkpoint of batch {checkpoint} without them by \
         StreamingContextBuilder::go_on_without_log(), as a new lineage that begins with batch {next}",
        Batches(.batches), Listed(.lost)
    )]
    BlocksLost { batches: Vec<BatchId>, lost: Vec<LostBlocks>, checkpoint: BatchId, next: BatchId },
    #[error("batch {batch} was planned with block {block}, which is not in the log")]
    BlockMissing { batch: BatchId, block: Sequence },
    #[error(
        "the checkpoint location belongs to the job \"{found}\", this one is \"{expected}\": give each job its own"
    )]
    AnotherJob { expected: String, found: String },
    #[error(
        "the state is spread over {found} partitions by {found_hash}; this program wants {expected} by {expected_hash}: it is fixed for the life of a job"
    )]
    KeyLayout { expected: u32, expected_hash: String, found: u32, found_hash: String },
    #[error(
        "the checkpoint holds state of \"{uid}\", which is not in the program: put the operator back, or give it up by drop_state(\"{uid}\")"
    )]
    OperatorGone { uid: Uid },
    #[error(
        "source \"{uid}\" has {} that no batch has taken, and is not in the program: put it back, or give them up by drop_state(\"{uid}\")",
        counted(*blocks as u64, "block")
    )]
    SourceGone { uid: Uid, blocks: usize },
    #[error(
        "batch {batch} is to be recomputed and reads source \"{uid}\", which is not in the program: run the old program to a graceful stop first"
    )]
    PlannedSourceGone { uid: Uid, batch: BatchId },
    #[error(
        "source \"{uid}\" was {found}, and is {expected} now: give the new source a uid of its own, or give up where the old one was, and what waits of it, by drop_state(\"{uid}\")"
    )]
    SourceKind { uid: Uid, expected: String, found: String },
    #[error(
        "batch {batch} is to be recomputed and reads source \"{uid}\", which was {found}, and is {expected} now: run the old program to a graceful stop first"
    )]
    PlannedSourceKind { uid: Uid, batch: BatchId, expected: String, found: String },
    #[error(
        "source \"{uid}\" has {} of {found} that no batch has taken, and its blocks are of {expected} now: run the old program to a graceful stop first, change the type back, or give the blocks up by drop_state(\"{uid}\")",
        counted(*blocks as u64, "block")
    )]
    RecordType { uid: Uid, blocks: usize, expected: String, found: String },
    #[error(
        "batch {batch} is to be recomputed from {what} of source \"{uid}\" that were planned as {found}, and are {expected} now: run the old program to a graceful stop first, or change the type back"
    )]
    PlannedType { uid: Uid, batch: BatchId, what: &'static str, expected: String, found: String },
    #[error(
        "the position of source \"{uid}\" was {found}, and is {expected} now: change the type back (an enum may get more variants at its end), or give up where the source was by drop_state(\"{uid}\")"
    )]
    PositionType { uid: Uid, expected: String, found: String },
    #[error(
        "\"{uid}\" had a {what} of {found} ms, and has {expected} ms now: what it keeps was made for the old one. Change it back, or give the new operator a uid of its own, and the old state up by drop_state(\"{uid}\")"
    )]
    Parameter { uid: Uid, what: String, expected: u64, found: u64 },
    #[error(
        "{what} of \"{uid}\" was {found} in version {version} of its state, and is {expected} now: give the state a new version and a migration, or change the type back"
    )]
    StateType { uid: Uid, what: &'static str, version: u32, expected: String, found: String },
    #[error("the state of \"{uid}\" is of version {found}, the program's is {expected}: {advice}")]
    StateVersion { uid: Uid, expected: u32, found: u32, advice: &'static str },
    #[error(
        "\"{uid}\" was {found}, and is {expected} now: give the new operator a uid of its own, and the old state up by drop_state(\"{uid}\")"
    )]
    OperatorKind { uid: Uid, expected: String, found: String },
    #[error("{what} of \"{uid}\": {reason}")]
    NoSchema { uid: Uid, what: &'static str, reason: String },
}

impl Refusal {
    pub fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { doing, path: path.to_path_buf(), source }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Chain(ChainError::Io { .. }) | Self::Log(WalError::Io { .. }) => {
                ErrorKind::Environment
            }
            Self::Chain(ChainError::Fenced { .. }) => ErrorKind::Fenced,
            Self::Chain(ChainError::Version { .. } | ChainError::Parts { .. })
            | Self::AnotherJob { .. }
            | Self::KeyLayout { .. }
            | Self::OperatorGone { .. }
            | Self::SourceGone { .. }
            | Self::PlannedSourceGone { .. }
            | Self::SourceKind { .. }
            | Self::PlannedSourceKind { .. }
            | Self::RecordType { .. }
            | Self::PlannedType { .. }
            | Self::PositionType { .. }
            | Self::Parameter { .. }
            | Self::StateType { .. }
            | Self::StateVersion { .. }
            | Self::OperatorKind { .. } => ErrorKind::Incompatible,
            Self::NoSchema { .. } => ErrorKind::Configuration,
            _ => ErrorKind::Damaged,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::caused_by(refusal.kind(), "the job is not started", refusal)
    }
}
