//! A failed attempt: a recovery without a new process.
//!
//! User code panicked, so the dataflow is dropped; a new one starts from the newest checkpoint, the batches since are
//! recomputed, and the batch is tried again. Attempts are counted in the log before they run, so that they can be told from
//! deaths of the process; each start of the job has a new budget.

use crate::dataflow::engine::Engine;
use crate::driver::Driver;
use crate::driver::message::DriverMessage;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::BatchId;
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::state::LoadTasks;
use floodmark_store::state::loader::StateLoader;

impl Driver {
    /// Starts a dataflow on the state of the newest published checkpoint.
    pub(super) fn start_engine(&mut self) -> Result<()> {
        self.generation += 1;
        let (sender, generation) = (self.sender.clone(), self.generation);
        let tell = move |event| drop(sender.send(DriverMessage::Engine { generation, event }));
        let store = self.store.as_ref().expect("a store is there while the driver serves");
        let mut loader = StateLoader::new(store.reader(), self.stored.clone());
        loader = loader.with_limit(self.table_bytes());
        let tasks = LoadTasks::default();
        if self.lazy.is_some() {
            loader = loader.with_background(tasks.clone());
        }
        let (graph, blocks, patience) = (self.graph.clone(), self.blocks.clone(), self.settings.stop_grace);
        self.engine = Some(Engine::start(graph, self.settings.width, loader, blocks, patience, tell)?);
        self.start_background(&tasks)
    }

    /// The part of the budget that each table has which can do with one.
    fn table_bytes(&self) -> Option<u64> {
        let operators = self.graph.stateful().filter(|(_, wide, _)| wide.keeps_within_budget()).count() as u64;
        let tables = operators * u64::from(self.settings.width.partitions);
        self.settings.state_memory.map(|budget| budget / tables.max(1))
    }

    /// Drops the dataflow, and starts another one from the newest published checkpoint.
    pub(super) fn restart_engine(&mut self) -> Result<()> {
        self.drop_engine();
        self.settle_checkpoint()?;
        self.checkpoint.batches = 0;
        self.checkpoint.replay_ms = 0;
        self.history.rewind();
        match self.start_engine() {
            // Operators that need all of their state read it here.
            Err(error) => self.state_failed(error),
            Ok(()) => Ok(()),
        }
    }

    /// Ends the dataflow; whatever it still says is void.
    pub(super) fn drop_engine(&mut self) {
        self.generation += 1;
        self.in_flight.clear();
        if let Some(lazy) = &mut self.lazy {
            lazy.rest();
        }
        if let Some(engine) = self.engine.take() {
            self.shared.leave_behind(engine.stop());
        }
    }

    /// User code panicked in a batch.
    pub(super) fn attempt_failed(&mut self, execution: Option<u64>, operator: String, panic: String) -> Result<()> {
        let given = self.in_flight.iter().find(|batch| Some(batch.execution) == execution).or(self.in_flight.front());
        let batch = given.map(|batch| batch.batch).ok_or_else(|| {
            Error::new(ErrorKind::UserCode, format!("\"{operator}\" panicked between batches: {panic}"))
        })?;
        let attempt = self.record_failure(batch, &operator, &panic)?;
        if attempt < self.settings.attempts {
            self.restart_engine()?;
            return self.begin_attempt(batch);
        }
        if self.settings.dead_letters && !self.history.get(batch).is_unexplained {
            return self.set_letters_aside(batch);
        }
        let message = format!("batch {batch} failed {attempt} times; \"{operator}\" panicked: {panic}");
        Err(Error::new(ErrorKind::UserCode, message))
    }

    /// Counts an attempt that begins, in the log too.
    pub(super) fn begin_attempt(&mut self, batch: BatchId) -> Result<()> {
        let past = self.history.get_mut(batch);
        past.attempts += 1;
        let attempt = past.attempts;
        self.log_events(&[BatchEvent::AttemptStarted { batch, attempt }]).map(drop)
    }

    /// Counts a failed attempt, in the log too; says how many there were since the job started.
    pub(super) fn record_failure(&mut self, batch: BatchId, operator: &str, panic: &str) -> Result<u32> {
        let past = self.history.get_mut(batch);
        past.failed += 1;
        let (failed, attempt) = (past.failed, past.attempts);
        tracing::warn!(%batch, attempt, operator, panic, "an attempt failed");
        self.shared.update(|status| status.failed_attempts += 1);
        let (operator, panic) = (operator.to_string(), panic.to_string());
        self.tell_failed(batch, &operator, &panic);
        self.log_events(&[BatchEvent::AttemptFailed { batch, attempt, operator, panic }])?;
        Ok(failed)
    }
}
