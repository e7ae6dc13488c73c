//! Listeners: code of the user that hears what happens in a job, without being able to slow or to stop it.
//!
//! # Invariants
//! - Listeners run on a thread of their own (`listeners`), one after the other, in the order of the events.
//! - Telling an event never waits: when the queue is full the event is dropped and counted, and listeners are told how many
//!   they missed before they hear the next one.
//! - A listener that panics is removed; the job and the other listeners go on.
//! - What was told is heard before the job counts as ended, unless a listener does not return within the grace period of a stop:
//!   then what waits is dropped and counted, and the last event is heard when that listener returns.

pub(crate) mod events;
mod queue;
mod registered;
mod stats;
#[cfg(test)]
mod tests;

pub(crate) use queue::{Events, ListenerCounts, ListenerThread};
pub(crate) use registered::Listeners;
pub use stats::{Percentiles, StatsReportListener};

use events::{
    BatchCompleted, BatchFailed, BatchStarted, BatchSubmitted, CheckpointCompleted, ClockJumped, EventsMissed,
    FilesReleased, OutputOperationCompleted, OutputOperationStarted, ReceiverReportedError, ReceiverStarted,
    ReceiverStopped, StreamingStarted, StreamingStopped, UserCodeOverdue, WorkingCopyFetched,
};
use floodmark_store::remote::ObjectStoreHealth;

/// Hears what happens in a job. Spark: `StreamingListener`.
///
/// Every method does nothing unless it is given. They are called on one thread that is nobody else's, in the order of the
/// events, for each listener in the order in which they were
/// [added](crate::StreamingContextBuilder::listener). A listener that is slow holds up the other listeners, not the job: when
/// 10 000 events wait ([`listener_queue`](crate::StreamingContextBuilder::listener_queue)), further ones are dropped and
/// counted ([`on_events_missed`](Self::on_events_missed), [`Status::events_missed`](crate::Status::events_missed)). One that
/// panics is reported by the name of its type and removed.
///
/// The job has ended only when all its events are heard, so a listener must not wait for the end of the job. By then the log is closed
/// and the checkpoint location free, unless the job has ended without its driver, which [`Status::left_behind`](crate::Status::left_behind) says. Listeners that have not heard everything within the
/// [grace period](crate::StreamingContextBuilder::stop_grace) keep [`await_termination`](crate::Running::await_termination) no longer:
/// the events that wait are dropped and counted, and when the listener that is late returns, it hears how many, and the last event. Events are not durable: those that a crash of the process swallows are not told again. A checkpoint
/// keeps nothing of listeners.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// use floodmark::testing::TestJob;
/// use floodmark::{BatchCompleted, StreamingListener};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// /// How many records the job has taken in, each counted once.
/// #[derive(Clone, Default)]
/// struct Records(Arc<AtomicU64>);
///
/// impl StreamingListener for Records {
///     fn on_batch_completed(&mut self, completed: &BatchCompleted) {
///         if !completed.is_replay {
///             self.0.fetch_add(completed.records(), Ordering::Relaxed);
///         }
///     }
/// }
///
/// let records = Records::default();
/// let listener = records.clone();
/// let mut job = TestJob::configured(move |builder| builder.listener(listener.clone()), |context| {
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     stream.print(10);
///     numbers
/// })?;
/// job.handles().push(vec![1, 2, 3])?;
/// job.run_batch()?;
/// job.running().stop(true)?; // returns when listeners have heard everything
/// assert_eq!(records.0.load(Ordering::Relaxed), 3);
/// # Ok(())
/// # }
/// ```
#[allow(unused_variables)] // the names of the arguments are documentation
pub trait StreamingListener: Send + 'static {
    /// A start of a job in object storage has fetched so much of what its working copy lacks. Comes before all others.
    fn on_working_copy_fetched(&mut self, fetched: &WorkingCopyFetched) {}

    /// The job has recovered what it stands on, or starts fresh; batches since the checkpoint are recomputed next. Spark:
    /// `onStreamingStarted`. Comes first, but for what is fetched, and once more with a larger epoch where the state of the chosen checkpoint turned out
    /// to be damaged while it was loaded and an older one takes its place.
    fn on_streaming_started(&mut self, started: &StreamingStarted) {}

    /// A receiver was started, or started again. Spark: `onReceiverStarted`.
    fn on_receiver_started(&mut self, started: &ReceiverStarted) {}

    /// A receiver reports an error, or has failed with one. Spark: `onReceiverError`.
    fn on_receiver_error(&mut self, error: &ReceiverReportedError) {}

    /// A receiver's `on_start` has ended, and its blocks are logged; perhaps it starts again. Spark: `onReceiverStopped`. Told once
    /// more where the job stops while it waits for its next start; not told where the job ends hard.
    fn on_receiver_stopped(&mut self, stopped: &ReceiverStopped) {}

    /// A batch is planned, and its plan durable. Spark: `onBatchSubmitted`. Once in the life of a batch: not for batches that
    /// were planned before the job was started.
    fn on_batch_submitted(&mut self, submitted: &BatchSubmitted) {}

    /// A batch is given to the dataflow, for the first time, once more after a failed attempt, or as a replay. Spark:
    /// `onBatchStarted`.
    fn on_batch_started(&mut self, started: &BatchStarted) {}

    /// A batch is committed, and every output has it. Spark: `onBatchCompleted`.
    fn on_batch_completed(&mut self, completed: &BatchCompleted) {}

    /// An attempt at a batch ended in a panic of user code. In Spark it is `onBatchCompleted` with a failure reason.
    fn on_batch_failed(&mut self, failed: &BatchFailed) {}

    /// An output is about to be handed a batch. Spark: `onOutputOperationStarted`.
    fn on_output_operation_started(&mut self, started: &OutputOperationStarted) {}

    /// An output has taken a batch, or failed to; then the job stops. Spark: `onOutputOperationCompleted`.
    fn on_output_operation_completed(&mut self, completed: &OutputOperationCompleted) {}

    /// A checkpoint is published: what only older ones needed goes.
    fn on_checkpoint_completed(&mut self, completed: &CheckpointCompleted) {}

    /// No recovery reads these files of a source again: they may be archived. Never dropped, and told again after a start for
    /// files that are still there; see [`FilesReleased`].
    fn on_files_released(&mut self, released: &FilesReleased) {}

    /// The system clock jumped against the monotonic clock; batch times still rise.
    fn on_clock_jump(&mut self, jump: &ClockJumped) {}

    /// Requests to the object store fail, or one was answered again after such failures: told for each request that fails, and then once.
    fn on_object_store_health(&mut self, health: &ObjectStoreHealth) {}

    /// Code of an output, a direct source or a loader has not returned within the
    /// [grace period](crate::StreamingContextBuilder::stop_grace). It runs on the job's own thread, so nothing else happens until it returns.
    /// Told once for each such call.
    fn on_user_code_overdue(&mut self, overdue: &UserCodeOverdue) {}

    /// Events were dropped at this place, since listeners were too slow.
    fn on_events_missed(&mut self, missed: &EventsMissed) {}

    /// The job has ended; also where it could not start. The last event, and never dropped.
    fn on_streaming_stopped(&mut self, stopped: &StreamingStopped) {}
}
