//! Manifests as version 1 had them.

use serde::Deserialize;

use super::CheckpointFiles;
use super::manifest::{self, LogPoint, ManifestKind};
use super::sources::{SourceEntry, SourcePosition};
use crate::state::OperatorNumber;
use crate::state::files::CheckpointFile;
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, ManifestSequence, Uid, WriterNonce};

/// The body of a manifest.
#[derive(Deserialize)]
pub(super) struct Manifest {
    sequence: ManifestSequence,
    parent_crc: u32,
    boundary: ManifestSequence,
    epoch: Epoch,
    nonce: WriterNonce,
    kind: ManifestKind,
    point: JobPoint,
    checkpoint: Option<(String, Vec<CheckpointFile>)>,
}

/// Where the job stood; nothing says what its sources are, or when its lineage began.
#[derive(Deserialize)]
struct JobPoint {
    job_name: String,
    job_version: String,
    lineage: Lineage,
    batch: BatchId,
    next_batch: BatchId,
    last_batch_time: BatchTime,
    zero_time: BatchTime,
    published_through: BatchId,
    positions: Vec<(Uid, Vec<u8>)>,
    log: LogPoint,
    keys: KeyLayout,
    operators: Vec<OperatorEntry>,
}

#[derive(Deserialize)]
struct KeyLayout {
    hash_name: String,
    test_vector: u64,
    key_groups: u32,
    partitions: u32,
}

#[derive(Deserialize)]
struct OperatorEntry {
    uid: Uid,
    number: OperatorNumber,
    kind: String,
    key_type: String,
    state_type: String,
    state_version: u32,
    entries: u64,
}

impl From<Manifest> for manifest::Manifest {
    fn from(old: Manifest) -> Self {
        let Manifest { sequence, parent_crc, boundary, epoch, nonce, kind, point, checkpoint } = old;
        let checkpoint = checkpoint.map(|(directory, files)| CheckpointFiles { directory, files });
        Self { sequence, parent_crc, boundary, epoch, nonce, kind, point: point.into(), checkpoint }
    }
}

impl From<JobPoint> for manifest::JobPoint {
    fn from(old: JobPoint) -> Self {
        Self {
            job_name: old.job_name,
            job_version: old.job_version,
            lineage: old.lineage,
            generation: Epoch(0),
            batch: old.batch,
            next_batch: old.next_batch,
            last_batch_time: old.last_batch_time,
            zero_time: old.zero_time,
            published_through: old.published_through,
            sources: old.positions.into_iter().map(source).collect(),
            log: old.log,
            keys: old.keys.into(),
            interval_ms: 0,
            operators: old.operators.into_iter().map(manifest::OperatorEntry::from).collect(),
        }
    }
}

fn source((uid, position): (Uid, Vec<u8>)) -> SourceEntry {
    SourceEntry::of_unknown_type(uid, SourcePosition::Version1(position))
}

impl From<KeyLayout> for manifest::KeyLayout {
    fn from(old: KeyLayout) -> Self {
        let KeyLayout { hash_name, test_vector, key_groups, partitions } = old;
        Self { hash_name, test_vector, key_groups, partitions, cells: 1 }
    }
}

impl From<OperatorEntry> for manifest::OperatorEntry {
    fn from(old: OperatorEntry) -> Self {
        let OperatorEntry { uid, number, kind, key_type, state_type, state_version, entries } = old;
        Self { uid, number, kind, key_type, state_type, state_version, entries, parameters: Vec::new() }
    }
}
