//! Checkpoints: when one is due, what its manifest says, and what a published one lets go.

use crate::dataflow::freezing::FrozenOperators;
use crate::driver::Driver;
use crate::driver::done::BatchResult;
use crate::driver::message::DriverMessage;
use crate::driver::settings::{JobSettings, KEY_GROUPS};
use crate::driver::{CheckpointClock, Stopping};
use crate::listener::events::CheckpointCompleted;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, LogId, Uid};
use floodmark_base::planted::PlantedBug;
use floodmark_store::checkpoint::{
    CheckpointDone, CheckpointError, CheckpointRequest, JobPoint, KeyLayout, LogPoint, OperatorEntry,
};
use floodmark_store::state::descriptor::StateDescriptor;
use floodmark_store::state::loader::StoredOperator;
use floodmark_store::state::{FrozenRun, OperatorNumber, Pressure};

impl Driver {
    /// Whether state is to be frozen after this batch, which is about to be computed.
    ///
    /// Only after the newest plan: the positions of the sources are those after it.
    pub(super) fn checkpoint_is_due(&mut self, batch: BatchId) -> Result<bool> {
        let is_replay = self.settings.replay.is_some();
        // Behind a checkpoint that is not read to its end no other is taken: it would stand on what may be damaged.
        if is_replay || self.lazy.is_some() || self.checkpoint.pending.is_some() || !self.history.is_last(batch) {
            return Ok(false);
        }
        let batches = self.checkpoint.batches + self.in_flight.len() as u64 + 1;
        let by_count = batches >= self.settings.checkpoint_every;
        let by_time = self.checkpoint.replay_ms >= self.settings.recovery_target_ms;
        // A log that fills up can be cut only behind a checkpoint.
        let by_log = self.wal.statistics().bytes_on_disk >= self.settings.wal.quota_bytes / 2;
        let last = self.stopping == Stopping::Draining && self.inputs.tracker.pending().blocks == 0;
        let by_memory = self.checkpoint.pressure > Pressure::None;
        if !(by_count || by_time || by_log || last || by_memory) {
            return Ok(false);
        }
        self.checkpoint.point = Some(self.job_point(batch)?);
        self.checkpoint.pending = Some(batch);
        Ok(true)
    }

    /// Whether no batch may be planned before a checkpoint is written: the state takes all of its room.
    pub(super) fn waits_for_checkpoint(&self) -> bool {
        self.checkpoint.pressure == Pressure::Full && (self.checkpoint.pending.is_some() || self.lazy.is_some())
    }

    /// Where the job stands after `batch`, the newest planned one.
    fn job_point(&self, batch: BatchId) -> Result<JobPoint> {
        let needed_here = self.history.get(batch).planned_at;
        let oldest_needed = self.inputs.tracker.oldest_unplanned().unwrap_or(needed_here).min(needed_here);
        let sources = self.inputs.entries()?;
        let forgets = self.settings.has_bug(PlantedBug::ForgetPositions);
        Ok(JobPoint {
            batch,
            next_batch: batch.next(),
            last_batch_time: self.last_time.unwrap_or_default(),
            zero_time: self.zero_time,
            published_through: batch,
            sources: if forgets { self.without_receivers(sources) } else { sources },
            log: LogPoint { log: self.log, next: needed_here.next(), oldest_needed },
            ..self.settings.first_point((self.lineage, self.lineage_began), self.log, &self.retired)
        })
    }

    /// The batch whose state is to be frozen is published, so now it is (I-5); the next checkpoint is counted from here on.
    pub(super) fn freeze(&mut self, result: &BatchResult) {
        self.freeze_sources();
        let point = self.checkpoint.point.as_mut().expect("the batch was given to be frozen");
        point.operators.extend(self.memories.iter().cloned());
        for (node, _, descriptor) in self.graph.stateful() {
            let number = self.stored[&descriptor.uid].number;
            let entries = result.entries.get(&node).copied().unwrap_or_default();
            point.operators.push(operator_entry(&descriptor, number, entries.cast_unsigned()));
        }
        self.checkpoint.entries = entries_of(point);
        (self.checkpoint.batches, self.checkpoint.replay_ms, self.checkpoint.pressure) = (0, 0, Pressure::None);
        self.engine.as_ref().expect("an engine runs while the driver serves").freeze();
    }

    /// A worker has frozen its state. What all of them have becomes a checkpoint, in the background.
    pub(super) fn worker_frozen(&mut self, frozen: FrozenOperators) -> Result<()> {
        self.checkpoint.frozen.extend(frozen);
        self.checkpoint.workers_frozen += 1;
        if self.checkpoint.workers_frozen < self.settings.width.workers {
            return Ok(());
        }
        let point = self.checkpoint.point.take().expect("a checkpoint is asked for once");
        let mut runs: Vec<(OperatorNumber, FrozenRun)> = Vec::new();
        for (node, frozen) in std::mem::take(&mut self.checkpoint.frozen) {
            if let Some((_, _, descriptor)) = self.graph.stateful().find(|(stateful, ..)| *stateful == node) {
                let number = self.stored[&descriptor.uid].number;
                runs.extend(frozen.into_iter().map(|run| (number, run)));
            }
        }
        self.checkpoint.workers_frozen = 0;
        runs.extend(std::mem::take(&mut self.checkpoint.sources).runs);
        let checkpointer = self.checkpointer.as_ref().expect("a checkpointer runs while the driver serves");
        checkpointer.request(CheckpointRequest { runs, point }).map_err(checkpoint_failed)
    }

    /// A checkpoint is published: what only older ones needed goes. On an error the job stops: the newest published checkpoint
    /// and the log still stand.
    pub(super) fn checkpoint_done(&mut self, done: Result<CheckpointDone, CheckpointError>) -> Result<()> {
        let done = done.map_err(checkpoint_failed)?;
        self.checkpoint.pending = None;
        self.checkpoint.newest = done.batch;
        self.history.checkpointed(done.batch);
        for (_, _, descriptor) in self.graph.stateful() {
            // What a migration changed is in this checkpoint in its new version.
            let stored = self.stored.get_mut(&descriptor.uid).expect("every operator has a number");
            stored.version = descriptor.version;
            let counted = self.checkpoint.entries.iter().find(|(uid, _)| *uid == descriptor.uid);
            stored.entries = counted.map_or(stored.entries, |(_, entries)| *entries);
        }
        self.wal
            .truncate_before(done.published.truncation_right())
            .map_err(|error| Error::caused_by(ErrorKind::Environment, "the log cannot be truncated", error))?;
        // A replay works on a fork: its sources have to keep what the job itself may ask for.
        if self.settings.replay.is_none() {
            self.inputs.release(done.published.oldest_sources())?;
            self.released_through = self.released_through.max(done.published.oldest_batch());
        }
        let (batch, bytes, duration_ms) = (done.batch, done.new_bytes, done.duration.as_millis() as u64);
        self.events.tell(|| CheckpointCompleted { batch, bytes, duration_ms });
        self.shared.update(|status| {
            (status.checkpoint, status.checkpoint_time) = (done.batch, done.time);
            status.checkpointing = false;
            status.checkpoints += 1;
            status.checkpoint_bytes += bytes;
            status.checkpoint_ms = duration_ms;
        });
        self.tell_released();
        Ok(())
    }

    /// Waits until no checkpoint is being written: the store then holds what the newest published one holds.
    pub(super) fn settle_checkpoint(&mut self) -> Result<()> {
        if self.checkpoint.point.is_some() {
            // Not asked for yet: what was, or was to be, frozen is gone with the dataflow.
            self.thaw_sources();
            self.checkpoint = CheckpointClock { newest: self.checkpoint.newest, ..CheckpointClock::default() };
        }
        let wanted = |message: &DriverMessage| {
            matches!(message, DriverMessage::Checkpoint(_) | DriverMessage::Stop { graceful: false })
        };
        while self.checkpoint.pending.is_some() {
            match self.inbox.next_of(wanted) {
                DriverMessage::Checkpoint(done) => self.checkpoint_done(done)?,
                _ => return Err(self.interrupted()),
            }
        }
        Ok(())
    }
}

impl JobSettings {
    /// Where a job stands before its first batch.
    pub(super) fn first_point(
        &self,
        (lineage, generation): (Lineage, Epoch),
        log: LogId,
        operators: &[OperatorEntry],
    ) -> JobPoint {
        JobPoint {
            job_name: self.name.clone(),
            job_version: self.version.clone(),
            lineage,
            generation,
            batch: BatchId(0),
            next_batch: BatchId(1),
            last_batch_time: BatchTime(0),
            zero_time: BatchTime(0),
            published_through: BatchId(0),
            sources: Vec::new(),
            log: LogPoint::beginning_of(log),
            keys: self.key_layout(),
            interval_ms: self.interval_ms,
            operators: operators.to_vec(),
        }
    }

    pub(super) fn key_layout(&self) -> KeyLayout {
        KeyLayout::of_this_build(KEY_GROUPS, self.width.partitions)
    }
}

/// How many keys a checkpoint has of each operator.
pub(super) fn entries_of(point: &JobPoint) -> Vec<(Uid, u64)> {
    point.operators.iter().map(|entry| (entry.uid.clone(), entry.entries)).collect()
}

/// An operator as the manifest lists it.
pub(super) fn operator_entry(descriptor: &StateDescriptor, number: OperatorNumber, entries: u64) -> OperatorEntry {
    let text = |schema: &floodmark_store::state::schema::Schema| schema.text().unwrap_or_default().to_string();
    OperatorEntry {
        uid: descriptor.uid.clone(),
        number,
        kind: descriptor.kind.to_string(),
        key_type: text(&descriptor.key_schema),
        state_type: text(&descriptor.state_schema),
        state_version: descriptor.version,
        entries,
        parameters: descriptor.parameters.clone(),
    }
}

/// What a manifest says of an operator, as the loader needs it.
pub(super) fn stored_operator(entry: &OperatorEntry) -> StoredOperator {
    StoredOperator { number: entry.number, version: entry.state_version, entries: entry.entries }
}

fn checkpoint_failed(error: CheckpointError) -> Error {
    let kind = match &error {
        CheckpointError::Chain { source: floodmark_store::checkpoint::ChainError::Fenced { .. }, .. } => {
            ErrorKind::Fenced
        }
        _ => ErrorKind::Environment,
    };
    Error::caused_by(kind, "the checkpoint was not taken; the one before it and the log still stand", error)
}
