//! Batch events as version 1 of the log had them.

use serde::Deserialize;

use super::event::{self, DeadLetter, Digest, PlannedTask};
use crate::id::{BatchId, BatchTime, Epoch, Lineage, Sequence, Uid};

/// An event; what it does not say is unknown, and left empty.
#[derive(Deserialize)]
pub(super) enum BatchEvent {
    Opened { epoch: Epoch, lineage: Lineage },
    Planned(Plan),
    AttemptStarted { batch: BatchId, attempt: u32 },
    AttemptFailed { batch: BatchId, attempt: u32, operator: String, panic: String },
    DeadLettered { batch: BatchId, letters: Vec<DeadLetter> },
    Committed(Commit),
    Published { batch: BatchId },
    GivenUp { blocks: Vec<Sequence> },
}

/// A plan whose inputs do not name the type of their ranges.
#[derive(Deserialize)]
pub(super) struct Plan {
    batch: BatchId,
    time: BatchTime,
    merged_ticks: u64,
    inputs: Vec<(Uid, Vec<PlannedTask>)>,
}

/// A commit without receipts.
#[derive(Deserialize)]
pub(super) struct Commit {
    batch: BatchId,
    job_version: String,
    records: Vec<(Uid, u64)>,
    digests: Vec<(Uid, Digest)>,
    processing_ms: u64,
}

impl From<BatchEvent> for event::BatchEvent {
    fn from(old: BatchEvent) -> Self {
        match old {
            BatchEvent::Opened { epoch, lineage } => Self::Opened { epoch, lineage, generation: Epoch(0) },
            BatchEvent::Planned(plan) => Self::Planned(plan.into()),
            BatchEvent::AttemptStarted { batch, attempt } => Self::AttemptStarted { batch, attempt },
            BatchEvent::AttemptFailed { batch, attempt, operator, panic } => {
                Self::AttemptFailed { batch, attempt, operator, panic }
            }
            BatchEvent::DeadLettered { batch, letters } => Self::DeadLettered { batch, letters },
            BatchEvent::Committed(commit) => Self::Committed(commit.into()),
            BatchEvent::Published { batch } => Self::Published { batch },
            BatchEvent::GivenUp { blocks } => Self::GivenUp { blocks },
        }
    }
}

impl From<Plan> for event::Plan {
    fn from(old: Plan) -> Self {
        let Plan { batch, time, merged_ticks, inputs } = old;
        let input = |(source, tasks)| event::PlannedInput { source, range_type: None, tasks };
        Self { batch, time, merged_ticks, inputs: inputs.into_iter().map(input).collect() }
    }
}

impl From<Commit> for event::Commit {
    fn from(old: Commit) -> Self {
        let Commit { batch, job_version, records, digests, processing_ms } = old;
        Self { batch, job_version, records, receipts: Vec::new(), digests, processing_ms }
    }
}
