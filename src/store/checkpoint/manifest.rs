//! The manifest: the small file that publishes a checkpoint, a claim, a rejection or a rollback.
//!
//! # Format
//! `docs/formats/manifest.md`. Little-endian: magic (8 bytes), format version u32, body length u32, CRC32 u32 over version,
//! length and body, then the body, the [`Manifest`] in the crate's encoding. The head is the same in all versions, so that
//! a newer file is told from a damaged one. Version 2 is written; bodies of version 1 are read by [`v1`](super::v1).
//!
//! # Invariants
//! - A manifest is created whole or not at all, and never changed (I-10); a later one rejects it.
//! - A claim, a rejection and a rollback repeat the checkpoint that is then the newest usable one, so the newest manifest
//!   alone says where the job stands.

use serde::{Deserialize, Serialize};

use super::head::{HEAD_LEN, checksum, number};
use super::part::{CheckpointFiles, CheckpointPart};
use super::sources::SourceEntry;
use super::v1;
use crate::state::OperatorNumber;
use floodmark_base::codec::{KEY_HASH_NAME, KeyHash, decode, encode_into};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, LogId, ManifestSequence, Sequence, Uid, WriterNonce};

/// The kind under which a manifest remembers an operator whose state was given up: its number is never used again.
pub const DROPPED: &str = "dropped";
/// The kind under which a manifest lists what a direct source remembers, by the uid of the source.
pub const SOURCE_MEMORY: &str = "source memory";

/// The first bytes of every manifest.
pub(super) const MAGIC: [u8; 8] = *b"FLDMMANI";
/// The format version that is written; version 1 is read, too.
pub const VERSION: u32 = 2;

/// What a manifest is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ManifestKind {
    /// Publishes a new checkpoint.
    Checkpoint,
    /// A new driver takes over, with a larger epoch; repeats its parent's checkpoint.
    Claim,
    /// The checkpoint of an earlier manifest is unusable; repeats the one that is used instead. `directory` is `None` where the
    /// rejected manifest itself could not be read.
    Rejection { of: ManifestSequence, directory: Option<String>, reason: String },
    /// The job goes back to an older checkpoint on purpose, as a new lineage; what was newer is abandoned.
    Rollback,
}

/// Where a checkpoint stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPoint {
    pub log: LogId,
    /// The sequence that followed when the checkpoint was taken.
    pub next: Sequence,
    /// The first sequence that a recovery from this checkpoint reads.
    pub oldest_needed: Sequence,
}

impl LogPoint {
    /// The beginning of a log that holds nothing.
    pub fn beginning_of(log: LogId) -> Self {
        Self { log, next: Sequence(1), oldest_needed: Sequence(1) }
    }
}

/// How keys are spread: fixed for the life of a job, and checked at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLayout {
    pub hash_name: String,
    /// The hash of [`KeyLayout::TEST_KEY`].
    pub test_vector: u64,
    pub key_groups: u32,
    pub partitions: u32,
    /// Into how many parts, by ranges of key hashes, the state is divided: a checkpoint has a directory for each. One, so far.
    #[serde(default = "one_cell")]
    pub cells: u32,
}

fn one_cell() -> u32 {
    1
}

impl KeyLayout {
    /// The encoded key whose hash is recorded.
    pub const TEST_KEY: &'static [u8] = b"floodmark";

    /// The layout that this build uses.
    pub fn of_this_build(key_groups: u32, partitions: u32) -> Self {
        Self {
            hash_name: KEY_HASH_NAME.to_string(),
            test_vector: KeyHash::of_encoded(Self::TEST_KEY).0,
            key_groups,
            partitions,
            cells: one_cell(),
        }
    }
}

/// A stateful operator, as it stands in a checkpoint (I-9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorEntry {
    pub uid: Uid,
    pub number: OperatorNumber,
    /// What sort of operator it is: `update_state_by_key`, `window`, …
    pub kind: String,
    pub key_type: String,
    pub state_type: String,
    pub state_version: u32,
    /// Keys that have a value.
    pub entries: u64,
    /// What else the meaning of the state depends on, by name, such as the length of a window in milliseconds. Version 1 had none.
    pub parameters: Vec<(String, u64)>,
}

/// Where the job stood after the batch that a checkpoint covers: all that the driver knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPoint {
    pub job_name: String,
    pub job_version: String,
    pub lineage: Lineage,
    /// The epoch in which the lineage began: of two lineages the later one has the larger generation. 0 for a lineage that began
    /// before version 2.
    pub generation: Epoch,
    /// The batch that the state is after; 0 before the first.
    pub batch: BatchId,
    pub next_batch: BatchId,
    pub last_batch_time: BatchTime,
    /// The time from which windows and slides count.
    pub zero_time: BatchTime,
    pub published_through: BatchId,
    /// Every source that the job has, or had and has not given up.
    pub sources: Vec<SourceEntry>,
    pub log: LogPoint,
    pub keys: KeyLayout,
    /// The batch interval in milliseconds; 0 where it is not known, in what version 1 wrote.
    pub interval_ms: u64,
    pub operators: Vec<OperatorEntry>,
}

impl JobPoint {
    /// How many keys the operators have; what sources remember is not keyed state.
    pub fn keyed_entries(&self) -> u64 {
        let operators = self.operators.iter().filter(|operator| operator.kind != SOURCE_MEMORY);
        operators.map(|operator| operator.entries).sum()
    }
}

/// A manifest that has no place in the chain yet; [`ManifestChain::publish`](super::ManifestChain::publish) gives it one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestDraft {
    pub epoch: Epoch,
    pub nonce: WriterNonce,
    pub kind: ManifestKind,
    pub point: JobPoint,
    /// `None` while the job has no checkpoint.
    pub checkpoint: Option<CheckpointFiles>,
}

/// One link of the chain. Its bytes hold the checkpoint as a list of parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest<C = CheckpointFiles> {
    pub sequence: ManifestSequence,
    /// The CRC32 of all bytes of the manifest before this one; 0 for the first.
    pub parent_crc: u32,
    /// Manifests below this one are no longer part of the chain, and may be gone.
    pub boundary: ManifestSequence,
    pub epoch: Epoch,
    pub nonce: WriterNonce,
    pub kind: ManifestKind,
    pub point: JobPoint,
    /// `None` while the job has no checkpoint.
    pub checkpoint: Option<C>,
}

impl ManifestDraft {
    /// The draft by which a new driver takes over from `parent`: all stays as it was but epoch, nonce and kind.
    #[cfg(any(test, feature = "testing"))]
    pub fn claim(parent: &Manifest, epoch: Epoch, nonce: WriterNonce) -> Self {
        Self::repeat(parent, epoch, nonce, ManifestKind::Claim)
    }

    /// The draft that rejects a checkpoint and goes on from `instead`.
    #[cfg(test)]
    pub fn rejection(
        instead: &Manifest,
        epoch: Epoch,
        nonce: WriterNonce,
        of: ManifestSequence,
        directory: Option<String>,
        reason: String,
    ) -> Self {
        Self::repeat(instead, epoch, nonce, ManifestKind::Rejection { of, directory, reason })
    }

    /// The draft that goes back to `target` on purpose, as a new lineage.
    pub fn rollback(target: &Manifest, epoch: Epoch, nonce: WriterNonce, lineage: Lineage) -> Self {
        let mut draft = Self::repeat(target, epoch, nonce, ManifestKind::Rollback);
        (draft.point.lineage, draft.point.generation) = (lineage, epoch);
        draft
    }

    fn repeat(of: &Manifest, epoch: Epoch, nonce: WriterNonce, kind: ManifestKind) -> Self {
        Self { epoch, nonce, kind, point: of.point.clone(), checkpoint: of.checkpoint.clone() }
    }

    /// The manifest that this draft is at a place in the chain.
    pub(super) fn at(self, sequence: ManifestSequence, parent_crc: u32, boundary: ManifestSequence) -> Manifest {
        let Self { epoch, nonce, kind, point, checkpoint } = self;
        Manifest { sequence, parent_crc, boundary, epoch, nonce, kind, point, checkpoint }
    }
}

/// Why bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestDamage {
    /// The bytes are not those that were written.
    #[error("at offset {offset}: expected {expected}, found {found}")]
    Damaged { offset: usize, expected: String, found: String },
    /// A whole manifest, but of another version.
    #[error("expected format version 1 or {VERSION}, found {found}")]
    Version { found: u32 },
    /// A whole manifest of a checkpoint in several parts, as a later build writes them.
    #[error("expected a checkpoint in one part with all key hashes, found {found}")]
    Parts { found: String },
}

impl Manifest<Vec<CheckpointPart>> {
    /// The same, of a checkpoint in one part.
    fn in_one_part(self) -> Result<Manifest, ManifestDamage> {
        let Self { sequence, parent_crc, boundary, epoch, nonce, kind, point, checkpoint } = self;
        let checkpoint = checkpoint.map(CheckpointFiles::try_from).transpose();
        let checkpoint = checkpoint.map_err(|found| ManifestDamage::Parts { found })?;
        Ok(Manifest { sequence, parent_crc, boundary, epoch, nonce, kind, point, checkpoint })
    }
}

impl<C: Serialize> Manifest<C> {
    /// The bytes of the file.
    ///
    /// # Errors
    /// When the body does not encode, or takes 4 GiB or more.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; HEAD_LEN];
        encode_into(self, &mut bytes).map_err(|error| error.to_string())?;
        let length = u32::try_from(bytes.len() - HEAD_LEN).map_err(|_| format!("a body of {} bytes", bytes.len()))?;
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[16..HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }
}

impl Manifest {
    /// Reads the bytes of a file; every byte is checked before any is believed.
    ///
    /// # Errors
    /// When the bytes are damaged, with offset, expected and found; or a whole manifest of another version, or of a later build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestDamage> {
        let damaged =
            |offset, expected: String, found: String| Err(ManifestDamage::Damaged { offset, expected, found });
        if bytes.len() < HEAD_LEN {
            return damaged(bytes.len(), format!("a head of {HEAD_LEN} bytes"), format!("{} bytes", bytes.len()));
        }
        if bytes[..8] != MAGIC {
            return damaged(0, format!("the magic {}", MAGIC.escape_ascii()), bytes[..8].escape_ascii().to_string());
        }
        let length = number(bytes, 12) as usize;
        if length != bytes.len() - HEAD_LEN {
            return damaged(12, format!("the body length {}", bytes.len() - HEAD_LEN), length.to_string());
        }
        let (stored, computed) = (number(bytes, 16), checksum(bytes));
        if stored != computed {
            return damaged(16, format!("crc32 {computed:08x} over the bytes that are there"), format!("{stored:08x}"));
        }
        let body = &bytes[HEAD_LEN..];
        let manifest = match number(bytes, 8) {
            1 => decode::<v1::Manifest>(body).map(|manifest| Ok(Self::from(manifest))),
            VERSION => decode(body).map(Manifest::in_one_part),
            found => return Err(ManifestDamage::Version { found }),
        };
        manifest.unwrap_or_else(|error| damaged(HEAD_LEN, "the body of a manifest".to_string(), error.to_string()))
    }
}
