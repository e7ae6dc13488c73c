//! The events of a batch's life, as they stand in the log.

use serde::{Deserialize, Serialize};

use super::v1;
use crate::batch::runs::Runs;
use crate::wal::WalVersion;
use floodmark_base::codec::{self, DecodeError};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, Sequence, TypeHash, Uid};

/// One event. The state of every batch is a fold over these, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchEvent {
    /// A driver began a life on this log. `generation` is the epoch in which the lineage began; 0 if that was before version 2 of
    /// the log.
    Opened { epoch: Epoch, lineage: Lineage, generation: Epoch },
    /// What a batch is made of; never changes (I-2).
    Planned(Plan),
    /// A try at computing a planned batch begins.
    AttemptStarted { batch: BatchId, attempt: u32 },
    /// A try ended in a panic of user code.
    AttemptFailed { batch: BatchId, attempt: u32, operator: String, panic: String },
    /// Records that no attempt survived were set aside; the batch goes on without them.
    DeadLettered { batch: BatchId, letters: Vec<DeadLetter> },
    /// The batch was computed; what it produced is fingerprinted.
    Committed(Commit),
    /// Every sink has the batch.
    Published { batch: BatchId },
    /// Blocks that no batch had taken are given up: what was taken in with them was lost with a machine.
    GivenUp { blocks: Vec<Sequence> },
    /// A source decided something about this batch that a replay must decide alike. The source encodes it.
    SourceDecided { source: Uid, batch: BatchId, decision: Vec<u8> },
}

impl BatchEvent {
    /// The event's bytes, in the current version of the log.
    ///
    /// # Panics
    /// Never: strings, bytes and numbers encode.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self).expect("strings, bytes and numbers encode")
    }

    /// Reads an event that is encoded in this version.
    ///
    /// # Errors
    /// When the bytes are not an event.
    pub fn decode(version: WalVersion, bytes: &[u8]) -> Result<Self, DecodeError> {
        match version {
            WalVersion::V1 => v1::decode(bytes),
            WalVersion::V2 => codec::decode(bytes),
        }
    }
}

/// The plan of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub batch: BatchId,
    pub time: BatchTime,
    /// Ticks that passed without a batch of their own since the last one.
    pub merged_ticks: u64,
    pub inputs: Vec<PlannedInput>,
}

impl Plan {
    /// The blocks that the batch reads.
    pub fn blocks(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.inputs.iter().flat_map(|input| &input.tasks).flat_map(PlannedTask::blocks)
    }
}

/// What one source gives to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedInput {
    pub source: Uid,
    /// The type of the ranges, where the source is a direct one and the type is known.
    pub range_type: Option<TypeHash>,
    pub tasks: Vec<PlannedTask>,
}

/// The smallest piece of work that a plan names; its place in the plan orders its records (I-3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlannedTask {
    /// A block that stands in the log at this sequence.
    Block(Sequence),
    /// A range that a direct source reads again, as that source encodes it.
    Range(Vec<u8>),
    /// Small blocks of one source that are read one after the other, as if they were one.
    Blocks(Runs),
}

impl PlannedTask {
    /// The blocks that the task reads, in their order.
    pub fn blocks(&self) -> impl Iterator<Item = Sequence> + '_ {
        let (one, many) = match self {
            Self::Block(sequence) => (Some(*sequence), None),
            Self::Blocks(runs) => (None, Some(runs)),
            Self::Range(_) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flat_map(Runs::iter))
    }
}

/// A record that was set aside: the task it came in, and its place in that task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub source: Uid,
    pub task: u32,
    pub record: u64,
    /// The operator whose code panicked, and what it said.
    pub operator: String,
    pub panic: String,
    /// The record's encoding.
    pub bytes: Vec<u8>,
}

/// What a batch produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub batch: BatchId,
    pub job_version: String,
    /// Records per source, in the order of the plan.
    pub records: Vec<(Uid, u64)>,
    /// What direct sources noted of the ranges that were read, by source; those that note nothing are left out.
    pub receipts: Vec<(Uid, Vec<Receipt>)>,
    /// Fingerprints of what stateful operators and outputs produced, by uid.
    pub digests: Vec<(Uid, Digest)>,
    pub processing_ms: u64,
}

/// What a direct source notes of one range when it was read, such as the size and the hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The place of the range in the plan.
    pub task: u32,
    /// As the source encodes it.
    pub bytes: Vec<u8>,
}

/// An order-free fingerprint of entries, with their exact count: equal contents give equal digests on any number of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    pub count: u64,
    pub sum: u64,
}

impl Digest {
    /// Takes in one entry by the hash of its encoding.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Takes in what another digest took in.
    pub fn merge(&mut self, other: Digest) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x} over {}", self.sum, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        text.to_string()
    }

    /// Every event, each field another value.
    fn events() -> [BatchEvent; 9] {
        let range_type = Some(TypeHash(11));
        let tasks = vec![
            PlannedTask::Block(Sequence(7)),
            PlannedTask::Range(vec![8, 9]),
            PlannedTask::Blocks([9, 10, 12].map(Sequence).into_iter().collect()),
        ];
        let plan = Plan {
            batch: BatchId(3),
            time: BatchTime(100),
            merged_ticks: 1,
            inputs: vec![PlannedInput { source: "s".into(), range_type, tasks }],
        };
        let letter = DeadLetter {
            source: "s".into(),
            task: 1,
            record: 2,
            operator: text("m"),
            panic: text("p"),
            bytes: vec![5],
        };
        let commit = Commit {
            batch: BatchId(3),
            job_version: text("v"),
            records: vec![("s".into(), 4)],
            receipts: vec![("f".into(), vec![Receipt { task: 1, bytes: vec![6, 7] }])],
            digests: vec![("d".into(), Digest { count: 1, sum: 2 })],
            processing_ms: 6,
        };
        let (operator, panic) = (text("m"), text("p"));
        [
            BatchEvent::Opened { epoch: Epoch(2), lineage: Lineage(9), generation: Epoch(1) },
            BatchEvent::Planned(plan),
            BatchEvent::AttemptStarted { batch: BatchId(3), attempt: 2 },
            BatchEvent::AttemptFailed { batch: BatchId(3), attempt: 2, operator, panic },
            BatchEvent::DeadLettered { batch: BatchId(3), letters: vec![letter] },
            BatchEvent::Committed(commit),
            BatchEvent::Published { batch: BatchId(3) },
            BatchEvent::GivenUp { blocks: vec![Sequence(4), Sequence(5)] },
            BatchEvent::SourceDecided { source: "s".into(), batch: BatchId(3), decision: vec![1, 2] },
        ]
    }

    #[test]
    fn the_encoding_of_every_event_is_pinned() {
        let pinned: [&[u8]; 9] = [
            &[0, 2, 9, 1],
            &[1, 3, 100, 1, 1, 1, b's', 1, 11, 3, 0, 7, 1, 2, 8, 9, 2, 2, 9, 2, 1, 1],
            &[2, 3, 2],
            &[3, 3, 2, 1, b'm', 1, b'p'],
            &[4, 3, 1, 1, b's', 1, 2, 1, b'm', 1, b'p', 1, 5],
            &[5, 3, 1, b'v', 1, 1, b's', 4, 1, 1, b'f', 1, 1, 2, 6, 7, 1, 1, b'd', 1, 2, 6],
            &[6, 3],
            &[7, 2, 4, 5],
            &[8, 1, b's', 3, 2, 1, 2],
        ];
        for (event, bytes) in events().into_iter().zip(pinned) {
            assert_eq!(event.encode(), bytes, "{event:?}");
            assert_eq!(BatchEvent::decode(WalVersion::V2, bytes).unwrap(), event);
        }
    }

    #[test]
    fn events_of_version_1_are_read() {
        let written: [&[u8]; 8] = [
            &[0, 2, 9],
            &[1, 3, 100, 1, 1, 1, b's', 2, 0, 7, 1, 2, 8, 9],
            &[2, 3, 2],
            &[3, 3, 2, 1, b'm', 1, b'p'],
            &[4, 3, 1, 1, b's', 1, 2, 1, b'm', 1, b'p', 1, 5],
            &[5, 3, 1, b'v', 1, 1, b's', 4, 1, 1, b'd', 1, 2, 6],
            &[6, 3],
            &[7, 2, 4, 5],
        ];
        for (mut event, bytes) in events().into_iter().zip(written) {
            match &mut event {
                BatchEvent::Opened { generation, .. } => *generation = Epoch(0),
                BatchEvent::Planned(plan) => {
                    plan.inputs[0].range_type = None;
                    plan.inputs[0].tasks.truncate(2);
                }
                BatchEvent::Committed(commit) => commit.receipts.clear(),
                _ => {}
            }
            assert_eq!(BatchEvent::decode(WalVersion::V1, bytes).unwrap(), event);
        }
    }

    #[test]
    fn what_only_version_2_has_is_refused_in_a_log_of_version_1() {
        let joined_blocks = [1, 3, 100, 1, 1, 1, b's', 1, 2, 1, 9, 2];
        let decided = [8, 1, b's', 3, 2, 1, 2];
        for bytes in [&joined_blocks[..], &decided] {
            assert!(BatchEvent::decode(WalVersion::V1, bytes).is_err(), "{bytes:?}");
        }
        let with_a_byte_more = [6, 3, 0];
        assert!(BatchEvent::decode(WalVersion::V1, &with_a_byte_more).is_err());
    }

    #[test]
    fn digests_add_up_in_any_order() {
        let digest = |hashes: &[u64]| {
            let mut digest = Digest::default();
            hashes.iter().for_each(|hash| digest.add(*hash));
            digest
        };
        let mut one = digest(&[u64::MAX]);
        one.merge(digest(&[1, 2]));
        assert_eq!(one, digest(&[2, 1, u64::MAX]));
        assert_ne!(one, digest(&[2]), "the count tells them apart");
    }
}
