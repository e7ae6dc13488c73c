//! A failed attempt: a recovery without a new process.
//!
//! User code panicked, so the dataflow is dropped; a new one starts from the newest checkpoint, the batches since are
//! recomputed, and the batch is tried again. Attempts are counted in the log before they run, so that they can be told from
//! deaths of the process; each start of the job has a new budget.

use crate::driver::Driver;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::BatchId;
use floodmark_store::batch::event::BatchEvent;

impl Driver {
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
