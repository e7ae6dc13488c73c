//! Batch events as version 1 of the log had them: only what has changed since.

use serde::Deserialize;

use super::event::{self, BatchEvent, Digest, PlannedInput, PlannedTask};
use floodmark_base::codec::{self, DecodeError};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, Sequence, Uid};

/// Numbers of the variants that are encoded otherwise now.
const OPENED: u32 = 0;
const PLANNED: u32 = 1;
const COMMITTED: u32 = 5;
/// The last variant that version 1 has.
const GIVEN_UP: u32 = 7;

/// Reads an event; what it does not say is unknown, and left empty.
///
/// # Errors
/// When the bytes are not an event of version 1.
pub(super) fn decode(bytes: &[u8]) -> Result<BatchEvent, DecodeError> {
    let (variant, read) = codec::decode_prefix::<u32>(bytes)?;
    let fields = &bytes[read..];
    match variant {
        OPENED => codec::decode::<Opened>(fields).map(BatchEvent::from),
        PLANNED => codec::decode::<Plan>(fields).map(|plan| BatchEvent::Planned(plan.into())),
        COMMITTED => codec::decode::<Commit>(fields).map(|commit| BatchEvent::Committed(commit.into())),
        _ if variant <= GIVEN_UP => codec::decode(bytes),
        _ => Err(DecodeError::new(format!("event {variant}, which version 1 does not have"))),
    }
}

/// The beginning of a life, without a generation.
#[derive(Deserialize)]
struct Opened {
    epoch: Epoch,
    lineage: Lineage,
}

/// A plan whose inputs do not name the type of their ranges.
#[derive(Deserialize)]
struct Plan {
    batch: BatchId,
    time: BatchTime,
    merged_ticks: u64,
    inputs: Vec<(Uid, Vec<Task>)>,
}

/// A task: small blocks were not joined.
#[derive(Deserialize)]
enum Task {
    Block(Sequence),
    Range(Vec<u8>),
}

/// A commit without receipts.
#[derive(Deserialize)]
struct Commit {
    batch: BatchId,
    job_version: String,
    records: Vec<(Uid, u64)>,
    digests: Vec<(Uid, Digest)>,
    processing_ms: u64,
}

impl From<Opened> for BatchEvent {
    fn from(old: Opened) -> Self {
        Self::Opened { epoch: old.epoch, lineage: old.lineage, generation: Epoch(0) }
    }
}

impl From<Plan> for event::Plan {
    fn from(old: Plan) -> Self {
        let Plan { batch, time, merged_ticks, inputs } = old;
        let input = |(source, tasks): (Uid, Vec<Task>)| {
            let tasks = tasks.into_iter().map(PlannedTask::from).collect();
            PlannedInput { source, range_type: None, tasks }
        };
        Self { batch, time, merged_ticks, inputs: inputs.into_iter().map(input).collect() }
    }
}

impl From<Task> for PlannedTask {
    fn from(old: Task) -> Self {
        match old {
            Task::Block(sequence) => Self::Block(sequence),
            Task::Range(bytes) => Self::Range(bytes),
        }
    }
}

impl From<Commit> for event::Commit {
    fn from(old: Commit) -> Self {
        let Commit { batch, job_version, records, digests, processing_ms } = old;
        Self { batch, job_version, records, receipts: Vec::new(), digests, processing_ms }
    }
}
