//! The first steps of a life: its mark in the log, initial state, the dataflow, and the batches since the checkpoint.

use crate::driver::Driver;
use crate::driver::checkpoints::{entries_of, operator_entry};
use crate::driver::guard::guarded;
use crate::driver::start::{Job, environment};
use floodmark_base::error::Result;
use floodmark_base::id::{BatchId, Uid};
use floodmark_base::planted::PlantedBug;
use floodmark_base::user_code;
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::checkpoint::{CheckpointRequest, JobPoint};
use floodmark_store::recovery::decide::Decision;
use floodmark_store::state::{FrozenRun, OperatorNumber};

impl Driver {
    /// The first steps of this life on the log, up to a dataflow with its state loaded.
    pub(super) fn begin(&mut self, point: JobPoint, decision: &Decision) -> Result<()> {
        let (planned, planned_time) = (BatchId(self.next_batch.0 - 1), self.last_time.unwrap_or_default());
        self.shared.update(|status| {
            (status.planned, status.planned_time) = (planned, planned_time);
            (status.committed, status.published, status.checkpoint) =
                (point.batch, point.published_through, point.batch);
            status.checkpoint_time = point.last_batch_time;
        });
        // Planned again first: a log that was opened in this lineage knows every batch of it, however this append ends.
        let again = |batch: &BatchId| BatchEvent::Planned(self.history.get(*batch).plan.clone());
        let mut events: Vec<BatchEvent> = decision.planned_again.iter().map(again).collect();
        if !decision.loss.given_up.is_empty() {
            events.push(BatchEvent::GivenUp { blocks: decision.loss.given_up.clone() });
        }
        events.extend(self.give_up_lost_input()?);
        let JobPoint { lineage, generation, .. } = point;
        events.push(BatchEvent::Opened { epoch: self.epoch, lineage, generation });
        // Attempts are counted before they run: what was committed is recomputed, but not attempted.
        for past in self.history.uncommitted() {
            past.attempts += 1;
            events.push(BatchEvent::AttemptStarted { batch: past.plan.batch, attempt: past.attempts });
        }
        let at = self.log_events(&events)?;
        for (batch, planned_at) in decision.planned_again.iter().zip(at) {
            self.history.get_mut(*batch).planned_at = planned_at;
        }
        self.tell_started(decision);
        self.recall_sources()?;
        self.take_initial_state(point, decision)?;
        self.start_engine()
    }

    /// Ends a life that did not come to receiving, and all its threads, so that the job can be started again at once, by this
    /// process or another.
    pub(super) fn abandon(mut self) -> Job {
        if let Err(error) = guarded(|| self.end_threads()) {
            tracing::error!(%error, "a start that failed ended in a second error");
        }
        // Nobody has a handle on the job yet, so nothing but words of the life that has ended can wait here.
        self.inbox.clear();
        self.wal.abandon();
        self.runtime.shutdown_background();
        Job {
            settings: self.settings,
            graph: self.graph,
            receivers: Vec::new(),
            directs: self.inputs.directs,
            shared: self.shared,
            events: self.events,
            inbox: self.inbox,
            watch: self.code_watch,
            deliveries: self.deliveries,
        }
    }

    /// The initial state of operators that have none stored becomes a checkpoint, before anything is computed on it.
    ///
    /// Unlike other checkpoints this one migrates nothing: what is stored in an older version still is.
    fn take_initial_state(&mut self, mut point: JobPoint, decision: &Decision) -> Result<()> {
        let base_is_empty = decision.from.as_ref().is_none_or(|from| from.checkpoint.is_none());
        let begins = |uid: &Uid| base_is_empty || decision.changes.started_empty.contains(uid);
        let stored = std::mem::replace(&mut point.operators, self.retired.clone());
        let mut kept = Vec::new();
        let mut runs: Vec<(OperatorNumber, FrozenRun)> = Vec::new();
        for (_, wide, descriptor) in self.graph.stateful() {
            let known = self.stored[&descriptor.uid];
            let entry = stored.iter().find(|entry| entry.number == known.number && !begins(&descriptor.uid));
            let entry = if let Some(entry) = entry {
                kept.push((descriptor.uid.clone(), known));
                entry.clone()
            } else {
                let whose = format!("the initial state of \"{}\"", descriptor.uid);
                let run = user_code::call(whose, || wide.initial_state())?;
                let entries = run.as_ref().map_or(0, |run| run.len() as u64);
                runs.extend(run.map(|run| (known.number, run)));
                operator_entry(&descriptor, known.number, entries)
            };
            point.operators.push(entry);
        }
        point.operators.extend(self.memories.iter().cloned());
        if runs.is_empty() {
            return Ok(());
        }
        self.checkpoint.pending = Some(point.batch);
        self.checkpoint.entries = entries_of(&point);
        let checkpointer = self.checkpointer.as_ref().expect("the checkpointer was started");
        checkpointer
            .request(CheckpointRequest { runs, point })
            .map_err(|error| environment("take the initial state", error))?;
        self.settle_checkpoint()?;
        self.stored.extend(kept);
        Ok(())
    }

    /// Recomputes every batch since the checkpoint.
    pub(super) fn replay(&mut self) -> Result<()> {
        self.tick.at_ms = self.settings.clock.monotonic_ms();
        if self.settings.has_bug(PlantedBug::SkipLastReplay) {
            self.take_last_for_done();
        }
        loop {
            self.unless_given_up()?;
            self.advance()?;
            if self.history.all_given() && self.in_flight.is_empty() {
                return Ok(());
            }
            let message = self.inbox.next();
            self.handle(message)?;
        }
    }
}
