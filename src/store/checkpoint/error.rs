//! What can go wrong with checkpoints and their manifests.

use std::io;
use std::path::PathBuf;

use crate::state::StateError;
use floodmark_base::id::{BatchId, Epoch, ManifestSequence};

/// Why the chain of manifests cannot be read or prolonged.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// The job left other files, but no manifest: something took the manifests away (I-6).
    #[error(
        "no manifest in {directory}, but the job has left {found}: expected at least one manifest; \
         restore the directory, or remove the job's files to start anew",
        directory = .directory.display()
    )]
    ManifestsMissing { directory: PathBuf, found: String },
    /// A manifest of the chain is not there. Where it is the first one, a newer manifest may be what is missing in truth: one that
    /// made the first ones superfluous.
    #[error(
        "manifest {file} is missing: expected all of {first} to {newest}{hint}; restore it",
        file = .file.display(),
        hint = if *is_at_front { ", or else one after them, the newest, which had made it superfluous" } else { "" }
    )]
    Hole { file: PathBuf, first: ManifestSequence, newest: ManifestSequence, is_at_front: bool },
    /// A whole manifest does not continue the one before it: two chains were mixed.
    #[error(
        "manifest {file} does not continue the chain: expected a parent with crc32 {expected:08x}, found one with {found:08x}; \
         two chains are mixed",
        file = .file.display()
    )]
    Forked { file: PathBuf, expected: u32, found: u32 },
    /// A whole manifest of another format version.
    #[error("manifest {file} has format version {found}, expected {expected}: run the version that wrote it", file = .file.display())]
    Version { file: PathBuf, expected: u32, found: u32 },
    /// A whole manifest of a checkpoint in several parts, as a later build writes them.
    #[error(
        "manifest {file} names a checkpoint in parts: expected one part with all key hashes, found {found}; run the build that wrote it",
        file = .file.display()
    )]
    Parts { file: PathBuf, found: String },
    /// Another driver has published; this one must end (I-8).
    #[error("fenced: manifest {file} was published in epoch {theirs}, ours is {ours}", file = .file.display())]
    Fenced { file: PathBuf, ours: Epoch, theirs: Epoch },
    /// The name is taken by bytes that nobody can read.
    #[error("manifest {file} is damaged: {reason}", file = .file.display())]
    Damaged { file: PathBuf, reason: String },
    /// A create failed, and whether the manifest is durable is not known: stop, delete nothing, recover (I-7).
    #[error("cannot tell whether manifest {file} was published: {source}", file = .file.display())]
    CommitUnknown { file: PathBuf, source: io::Error },
    /// A manifest does not encode.
    #[error("manifest {sequence} does not encode: {reason}")]
    Encode { sequence: ManifestSequence, reason: String },
}

/// Why a checkpoint was not written. The newest published one still stands.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The state could not be written or copied.
    #[error("checkpoint of batch {batch}: {source}")]
    State { batch: BatchId, source: StateError },
    /// The manifest could not be published.
    #[error("checkpoint of batch {batch}: {source}")]
    Chain { batch: BatchId, source: ChainError },
    /// The file system refused.
    #[error("checkpoint of batch {batch}: cannot {doing} {path}: {source}", path = .path.display())]
    Io { batch: BatchId, doing: &'static str, path: PathBuf, source: io::Error },
    /// A checkpoint was asked for before its batch was published (I-5).
    #[error("checkpoint of batch {batch} was asked for while batches are published through {published_through} only")]
    NotPublished { batch: BatchId, published_through: BatchId },
    /// The thread that writes checkpoints has panicked, which is a bug.
    #[error("checkpoint of batch {batch}: the writer panicked, which is a bug: {panic}")]
    Panicked { batch: BatchId, panic: String },
    /// The thread that writes checkpoints has ended, after an error that it reported.
    #[error("the checkpoint writer has stopped")]
    Stopped,
}
