//! Replaying the past: the job's own code computes its state as of an older batch again, on a fork of what is stored.
//!
//! # Invariants
//! - There is one way from a plan to a result: a replay is a recovery of the fork that stops at a batch and does not go live.
//! - Nothing leaves it: outputs are neither fenced nor given anything, receivers and ticks never start, sources are not told what
//!   may go, and the store itself is only read.

mod fork;

use std::fmt;

use crate::driver::replay::{DigestDifference, ReplaySettings};
use crate::job::query::StateHandle;
use crate::job::running::Running;
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::Result;
use floodmark_base::id::{BatchId, BatchTime};

pub(crate) use fork::Fork;

/// The state of a job as of a batch that is over, computed again by the job's own code; see
/// [`StreamingContext::replay`](crate::StreamingContext::replay). Dropping it removes all that it needed.
pub struct Replay {
    /// Before its directory, so that it has ended when that is removed.
    running: Running,
    _fork: Fork,
    batch: BatchId,
    time: BatchTime,
    checkpoint: BatchId,
    differences: Vec<DigestDifference>,
}

impl Replay {
    pub(crate) fn new(running: Running, fork: Fork, settings: &ReplaySettings) -> Self {
        let status = running.status();
        let checkpoint = running.recovery().checkpoint().unwrap_or_default();
        let differences = settings.differences();
        Self { running, _fork: fork, batch: settings.to, time: status.planned_time, checkpoint, differences }
    }

    /// The batch that the state is after.
    #[must_use]
    pub fn batch(&self) -> BatchId {
        self.batch
    }

    /// Its time; 0 where no batch came before.
    #[must_use]
    pub fn time(&self) -> BatchTime {
        self.time
    }

    /// The batch whose checkpoint the replay began with; 0 for the state before the first batch.
    #[must_use]
    pub fn checkpoint(&self) -> BatchId {
        self.checkpoint
    }

    /// How many batches were recomputed.
    #[must_use]
    pub fn batches_recomputed(&self) -> u64 {
        self.running.recovery().batches_replayed()
    }

    /// What differs from the commits on record, in the order of the batches.
    #[must_use]
    pub fn differences(&self) -> &[DigestDifference] {
        &self.differences
    }

    /// The state of an operator, by its uid.
    ///
    /// # Errors
    /// As [`Running::state`].
    pub fn state<K: Key, S: Record>(&self, uid: &str) -> Result<StateHandle<'_, K, S>> {
        self.running.state(uid)
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, time, checkpoint, differences, .. } = self;
        let mut shown = f.debug_struct("Replay");
        shown.field("batch", batch).field("time", time).field("checkpoint", checkpoint);
        shown.field("differences", differences).finish_non_exhaustive()
    }
}
