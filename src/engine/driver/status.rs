//! What the driver lets others see while it runs.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::listener::ListenerCounts;
use crate::listener::events::UserCodeOverdue;
use crate::source::{FilesStatus, ReceiverStatus, Supervisor};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, BatchTime, Uid};
use floodmark_store::recovery::report::RecoveryReport;
use floodmark_store::remote::ObjectStoreHealth;

/// Where a running job stands.
///
/// ```
/// let status = floodmark::Status::default();
/// assert_eq!(status.published, floodmark::BatchId(0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The newest batch whose plan is durable.
    pub planned: BatchId,
    /// Its time.
    pub planned_time: BatchTime,
    /// The newest batch whose commit is durable.
    pub committed: BatchId,
    /// The newest batch that every sink has.
    pub published: BatchId,
    /// The newest batch that a published checkpoint covers.
    pub checkpoint: BatchId,
    /// The time of that batch: what the job would come back to without its log is as old.
    pub checkpoint_time: BatchTime,
    /// Whether a checkpoint is being written.
    pub checkpointing: bool,
    /// Whether a part of the state is still read in the background, behind a restart that did not wait for it.
    pub loading: bool,
    /// Checkpoints that turned out to be damaged behind such a restart; the job went back to an older one and goes on.
    pub checkpoints_given_up: u64,
    /// Checkpoints published in this life of the driver.
    pub checkpoints: u64,
    /// Batches committed in this life of the driver, without those that were recomputed.
    pub batches: u64,
    /// Records that those batches took in, over all sources; those of reference data are no input.
    pub records: u64,
    /// Records that could not be decoded; each was reported.
    pub failed_records: u64,
    /// Ticks of the batch interval that passed without a batch of their own, because batches took longer.
    pub merged_ticks: u64,
    /// Attempts at a batch that ended in a panic of user code.
    pub failed_attempts: u64,
    /// Bytes that were appended to the log in this life of the driver.
    pub log_bytes: u64,
    /// Bytes of checkpoint files that were written in this life of the driver.
    pub checkpoint_bytes: u64,
    /// How long the newest checkpoint took, in milliseconds.
    pub checkpoint_ms: u64,
    /// Keys that have state, over all operators.
    pub keys: u64,
    /// Keys of records that were in memory, those that were looked up in the store, and those that left memory, in this life of the
    /// driver: of operators that do not hold all of their keys, behind a lazy restart or within a budget.
    pub state_hits: u64,
    /// As above.
    pub state_misses: u64,
    /// As above.
    pub state_evictions: u64,
    /// From the tick of the newest committed batch until its commit, in milliseconds.
    pub latency_ms: u64,
    /// How long the newest committed batch was computed, in milliseconds.
    pub processing_ms: u64,
    /// The monotonic time of the first batch with records, and of the newest commit of one, in milliseconds.
    pub first_record_ms: Option<u64>,
    /// As above.
    pub last_commit_ms: Option<u64>,
    /// Events that were dropped, since listeners were too slow.
    pub events_missed: u64,
    /// Listeners that panicked, and hear nothing any more.
    pub listeners_removed: u64,
    /// Threads that were left behind in user code, since it did not return within the
    /// [grace period](crate::StreamingContextBuilder::stop_grace): receivers, workers, listeners, and the driver. They end when it
    /// returns, and do nothing more for the job. While the driver is among them, it holds the lock on the job's directory.
    pub left_behind: Vec<String>,
    /// Code of an output, a direct source or a loader that runs on the driver's thread and has not returned within the
    /// [grace period](crate::StreamingContextBuilder::stop_grace): the job does nothing else until it does.
    pub overdue: Option<UserCodeOverdue>,
    /// How the object store has been answering; of a job in a directory always well. While it fails, receivers are held back, batches and
    /// checkpoints wait; after [the patience](crate::StreamingContextBuilder::object_store_patience) the job ends.
    pub object_store: ObjectStoreHealth,
    /// What each source of files has met beside the files that it takes, by its uid: a directory that is not there, entries that are
    /// passed over.
    pub files: Vec<(Uid, FilesStatus)>,
    /// All receivers have ended, or there are none; direct sources offer nothing more; everything is published.
    pub input_used_up: bool,
}

/// Shared by the driver and the handles of the job.
#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    status: Status,
    /// How often the status or the outcome was changed.
    changes: u64,
    recovery: Option<RecoveryReport>,
    outcome: Option<Result<(), (ErrorKind, String)>>,
    supervisor: Option<Arc<Supervisor>>,
}

impl ListenerCounts for Shared {
    fn events_missed(&self, count: u64) {
        self.update(|status| status.events_missed += count);
    }

    fn listeners_removed(&self, count: u64) {
        self.update(|status| status.listeners_removed += count);
    }

    fn left_behind(&self) {
        self.leave_behind(["listeners".to_string()]);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut state = self.lock();
        change(&mut state.status);
        state.changes += 1;
        drop(state);
        self.changed.notify_all();
    }

    pub fn status(&self) -> Status {
        self.lock().status.clone()
    }

    /// Reports threads that are left behind in user code.
    pub fn leave_behind(&self, threads: impl IntoIterator<Item = String>) {
        for thread in threads {
            tracing::error!(thread, "user code has not returned within the grace period: its thread is left behind");
            self.update(|status| status.left_behind.push(thread));
        }
    }

    /// The receivers run from now on.
    pub fn receiving(&self, supervisor: &Arc<Supervisor>) {
        self.lock().supervisor = Some(supervisor.clone());
    }

    pub fn receivers(&self) -> Vec<ReceiverStatus> {
        let supervisor = self.lock().supervisor.clone();
        supervisor.map(|supervisor| supervisor.status()).unwrap_or_default()
    }

    /// Stops the receivers at once, if they run.
    pub fn abort_receivers(&self) {
        let supervisor = self.lock().supervisor.clone();
        supervisor.iter().for_each(|supervisor| supervisor.abort());
    }

    pub fn recovered(&self, report: RecoveryReport) {
        self.lock().recovery = Some(report);
        self.changed.notify_all();
    }

    pub fn end(&self, outcome: &Result<()>) {
        let outcome = outcome.as_ref().copied().map_err(|error| (error.kind(), error.to_string()));
        let mut state = self.lock();
        state.outcome.get_or_insert(outcome);
        state.changes += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until recovery is done, or failed.
    pub fn wait_for_recovery(&self) -> Result<RecoveryReport> {
        let state = self.changed.wait_while(self.lock(), |state| state.recovery.is_none() && state.outcome.is_none());
        let state = state.unwrap_or_else(PoisonError::into_inner);
        match (&state.outcome, &state.recovery) {
            (Some(Err((kind, message))), _) => Err(Error::new(*kind, message.clone())),
            (_, Some(report)) => Ok(report.clone()),
            (_, None) => Err(Error::new(ErrorKind::Stopped, "the job ended before it had recovered")),
        }
    }

    /// Waits until the job has ended, or `timeout` has passed: `None` then.
    pub fn wait_for_end(&self, timeout: Option<std::time::Duration>) -> Option<Result<()>> {
        let state = self.lock();
        let running = |state: &mut State| state.outcome.is_none();
        let state = match timeout {
            None => self.changed.wait_while(state, running).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.changed.wait_timeout_while(state, timeout, running).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        let outcome = state.outcome.clone()?;
        Some(outcome.map_err(|(kind, message)| Error::new(kind, message)))
    }

    /// Waits until `reached` says so of the status, or `timeout` has passed: `None` then.
    pub fn wait_until(
        &self,
        reached: impl Fn(&Status) -> bool,
        timeout: Option<std::time::Duration>,
    ) -> Result<Option<Status>> {
        let began = Instant::now();
        loop {
            let state = self.lock();
            let (seen, status, outcome) = (state.changes, state.status.clone(), state.outcome.clone());
            drop(state);
            // Without the lock, which the driver takes, too: the question is the user's.
            match outcome {
                Some(Err((kind, message))) => return Err(Error::new(kind, message)),
                _ if reached(&status) => return Ok(Some(status)),
                Some(Ok(())) => return Err(Error::new(ErrorKind::Stopped, "the job has ended")),
                None => {}
            }
            let is_same = |state: &mut State| state.changes == seen;
            match timeout.map(|timeout| timeout.saturating_sub(began.elapsed())) {
                None => drop(self.changed.wait_while(self.lock(), is_same).unwrap_or_else(PoisonError::into_inner)),
                Some(left) => {
                    let waited = self.changed.wait_timeout_while(self.lock(), left, is_same);
                    if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_waits_for_a_status_holds_up_nobody_while_it_looks_at_one() {
        let shared = Arc::new(Shared::default());
        let (asked, asks) = channel();
        let ((tell, told), driver) = (channel(), shared.clone());
        thread::spawn(move || {
            asks.recv().unwrap();
            driver.update(|status| status.records = 1);
            tell.send(()).unwrap();
        });
        // The driver changes the status while the question is answered.
        let seen = shared.wait_until(
            |status| {
                if status.records == 0 {
                    asked.send(()).unwrap();
                    told.recv_timeout(Duration::from_secs(10)).expect("the driver is not held up");
                }
                status.records == 1
            },
            None,
        );
        assert_eq!(seen.unwrap().unwrap().records, 1);
        assert_eq!(shared.wait_until(|status| status.records == 2, Some(Duration::ZERO)).unwrap(), None);
    }
}
