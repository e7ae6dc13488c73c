//! The events that listeners hear. Times and durations are those of the job's clock.

use std::path::PathBuf;

use crate::listener::StreamingListener;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{Batch, BatchId, Epoch, Uid};
use floodmark_store::recovery::report::RecoveryReport;
use floodmark_store::remote::ObjectStoreHealth;

/// Makes the sum of all events, and the way from each to its method.
macro_rules! events {
    ($($event:ident => $method:ident,)*) => {
        /// Any event, on its way to the listeners.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // the queue is bounded, and telling an event should not allocate
        pub(crate) enum Event {
            $($event($event),)*
        }

        $(impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$event(event)
            }
        })*

        impl Event {
            /// Calls the method of a listener that is for this event.
            pub fn deliver(&self, listener: &mut dyn StreamingListener) {
                match self {
                    $(Self::$event(event) => listener.$method(event),)*
                }
            }
        }
    };
}

events! {
    WorkingCopyFetched => on_working_copy_fetched,
    StreamingStarted => on_streaming_started,
    ReceiverStarted => on_receiver_started,
    ReceiverReportedError => on_receiver_error,
    ReceiverStopped => on_receiver_stopped,
    BatchSubmitted => on_batch_submitted,
    BatchStarted => on_batch_started,
    BatchCompleted => on_batch_completed,
    BatchFailed => on_batch_failed,
    OutputOperationStarted => on_output_operation_started,
    OutputOperationCompleted => on_output_operation_completed,
    CheckpointCompleted => on_checkpoint_completed,
    FilesReleased => on_files_released,
    ClockJumped => on_clock_jump,
    ObjectStoreHealth => on_object_store_health,
    UserCodeOverdue => on_user_code_overdue,
    EventsMissed => on_events_missed,
    StreamingStopped => on_streaming_stopped,
}

/// A start of a job in object storage fetches what its working copy lacks.
///
/// ```
/// fn describe(fetched: &floodmark::WorkingCopyFetched) -> String {
///     format!("{}: {} of {} bytes", fetched.what, fetched.bytes, fetched.of_bytes)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkingCopyFetched {
    /// What is fetched: `files` of checkpoints, then the `log`. Either is left out where nothing of it lacks.
    pub what: &'static str,
    /// Bytes that are there by now.
    pub bytes: u64,
    /// Bytes that are to be fetched.
    pub of_bytes: u64,
}

/// A job has found what it stands on. Spark: `StreamingListenerStreamingStarted`.
///
/// ```
/// use floodmark::StreamingStarted;
///
/// fn describe(started: &StreamingStarted) -> String {
///     format!("epoch {}: {} batches to recompute", started.epoch, started.recovery.batches_replayed())
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamingStarted {
    /// The number of this life of the driver.
    pub epoch: Epoch,
    /// What recovery found and decided. How long it takes is not known yet: [`Running::recovery`](crate::Running::recovery)
    /// tells.
    pub recovery: RecoveryReport,
    /// When, in milliseconds since the Unix epoch.
    pub epoch_ms: u64,
}

/// A receiver was started. Spark: `StreamingListenerReceiverStarted`.
///
/// ```
/// use floodmark::ReceiverStarted;
///
/// fn describe(started: &ReceiverStarted) -> String {
///     format!("{} started, {} times again", started.source, started.restarts)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStarted {
    /// The source's uid.
    pub source: Uid,
    /// How often it was started again before in this life of the job: 0 for its first start.
    pub restarts: u64,
}

/// A receiver reports an error. Spark: `StreamingListenerReceiverError`.
///
/// ```
/// fn describe(reported: &floodmark::ReceiverReportedError) -> String {
///     format!("{}: {}", reported.source, reported.error)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverReportedError {
    /// The source's uid.
    pub source: Uid,
    /// What it says, and whether it starts again.
    pub error: String,
}

/// A receiver's `on_start` has ended. Spark: `StreamingListenerReceiverStopped`.
///
/// ```
/// fn describe(stopped: &floodmark::ReceiverStopped) -> String {
///     match stopped.restart_after_ms {
///         Some(ms) => format!("{} starts again in {ms} ms", stopped.source),
///         None => format!("{} has ended", stopped.source),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStopped {
    /// The source's uid.
    pub source: Uid,
    /// After how many milliseconds it starts again; `None` where it does not.
    pub restart_after_ms: Option<u64>,
}

/// What one source gives to a batch, as far as its plan tells. Spark: `StreamInputInfo`.
///
/// ```
/// fn describe(input: &floodmark::InputInfo) -> String {
///     format!("{}: {} blocks, {} ranges", input.source, input.blocks, input.ranges)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputInfo {
    /// The source's uid.
    pub source: Uid,
    /// Blocks of its receiver, each logged.
    pub blocks: u64,
    /// Ranges of a direct source (a range of a file, of a partition), to be read while the batch is computed.
    pub ranges: u64,
    /// The records of the blocks, as they were received; `None` where there are ranges, whose records are counted as they are
    /// read ([`BatchCompleted::sources`]).
    pub records: Option<u64>,
    /// Bytes of payload of the blocks; `None` where there are ranges.
    pub bytes: Option<u64>,
}

/// A batch is planned. Spark: `StreamingListenerBatchSubmitted`.
///
/// ```
/// fn describe(submitted: &floodmark::BatchSubmitted) -> String {
///     let blocks: u64 = submitted.inputs.iter().map(|input| input.blocks).sum();
///     format!("batch {}: {blocks} blocks, {} ticks merged", submitted.batch.id, submitted.merged_ticks)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchSubmitted {
    /// Its number and time.
    pub batch: Batch,
    /// What each source gives to it, in the order of the program; sources that give nothing are not listed.
    pub inputs: Vec<InputInfo>,
    /// Ticks of the batch interval that passed without a batch of their own since the one before.
    pub merged_ticks: u64,
    /// When its plan was durable, in milliseconds since the Unix epoch.
    pub epoch_ms: u64,
}

/// A batch is given to the dataflow. Spark: `StreamingListenerBatchStarted`.
///
/// ```
/// fn describe(started: &floodmark::BatchStarted) -> String {
///     format!("batch {}, attempt {}{}", started.batch.id, started.attempt, if started.is_replay { ", again" } else { "" })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchStarted {
    /// Its number and time.
    pub batch: Batch,
    /// The number of the attempt, counted from 1 over all lives of the job; for a replay that of the last attempt.
    pub attempt: u32,
    /// The batch was committed before, and is recomputed to restore the state: after a restart, or since a later batch failed.
    pub is_replay: bool,
}

/// What one source gave to a batch.
///
/// ```
/// fn describe(source: &floodmark::SourceRecords) -> String {
///     format!("{}: {} records, {} more could not be decoded", source.source, source.records, source.failed)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceRecords {
    /// The source's uid.
    pub source: Uid,
    /// Records that went into the stream, counted as they were read: true for receivers and direct sources alike.
    pub records: u64,
    /// Records that could not be decoded; they are not in the stream.
    pub failed: u64,
}

/// The fingerprint of what an operator with state changed, or of what an output was handed.
///
/// ```
/// fn describe(result: &floodmark::ResultDigest) -> String {
///     format!("{}: {} entries, {:016x}", result.uid, result.entries, result.fingerprint)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResultDigest {
    /// The uid of the operator or output.
    pub uid: Uid,
    /// How many entries changed, or were handed out.
    pub entries: u64,
    /// A sum over the entries' hashes; the same for a replay, on any number of workers.
    pub fingerprint: u64,
}

/// A batch is committed, and every output has it. Spark: `StreamingListenerBatchCompleted`.
///
/// `total_delay_ms` is the sum of the three parts.
///
/// ```
/// fn describe(completed: &floodmark::BatchCompleted) -> String {
///     format!("batch {}: {} records in {} ms", completed.batch.id, completed.records(), completed.total_delay_ms)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchCompleted {
    /// Its number and time.
    pub batch: Batch,
    /// The number of the attempt that succeeded, as in [`BatchStarted::attempt`].
    pub attempt: u32,
    /// The batch was committed before, and was recomputed to restore the state. Every batch completes once with `false`, so a sum
    /// over those counts every record once.
    pub is_replay: bool,
    /// Every source of the job with what it gave to the batch, in the order of the program.
    pub sources: Vec<SourceRecords>,
    /// From the tick until the attempt that succeeded could begin, in milliseconds: waiting for the batch before, and failed
    /// attempts. For a batch of an earlier life of the job, from the beginning of its recovery.
    pub scheduling_delay_ms: u64,
    /// From there until all workers were through with it, in milliseconds. Spark's processing time holds the outputs too.
    pub processing_ms: u64,
    /// From there until the commit was durable and every output had the batch, in milliseconds.
    pub publishing_ms: u64,
    /// From the tick until every output had the batch, in milliseconds.
    pub total_delay_ms: u64,
    /// Keys that have state after the batch, over all operators.
    pub keys: u64,
    /// Keys of records that were in memory, of operators whose state may be larger than it
    /// ([`state_memory`](crate::StreamingContextBuilder::state_memory)) or is still being read after a start.
    pub state_hits: u64,
    /// Of the same operators, keys that were looked up in the store.
    pub state_misses: u64,
    /// Keys that left memory in this batch.
    pub state_evictions: u64,
    /// What the batch made, operator by operator.
    pub digests: Vec<ResultDigest>,
}

impl BatchCompleted {
    /// The records of all sources. Spark: `BatchInfo.numRecords`.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.sources.iter().map(|source| source.records).sum()
    }

    /// The records of all sources that could not be decoded.
    #[must_use]
    pub fn failed_records(&self) -> u64 {
        self.sources.iter().map(|source| source.failed).sum()
    }
}

/// An attempt at a batch ended in a panic of user code.
///
/// ```
/// fn describe(failed: &floodmark::BatchFailed) -> String {
///     format!("batch {}: \"{}\" panicked: {}", failed.batch.id, failed.operator, failed.panic)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchFailed {
    /// Its number and time.
    pub batch: Batch,
    /// The number of the attempt, as in [`BatchStarted::attempt`].
    pub attempt: u32,
    /// The operator whose code panicked: its uid, or its name.
    pub operator: String,
    /// What the panic said.
    pub panic: String,
    /// How many attempts are left. After the last one the job stops, or looks for the records to be set aside.
    pub attempts_left: u32,
}

/// An output is about to be handed a batch. Spark: `StreamingListenerOutputOperationStarted`.
///
/// ```
/// fn describe(started: &floodmark::OutputOperationStarted) -> String {
///     format!("batch {} goes to {}", started.batch.id, started.output)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputOperationStarted {
    /// The batch.
    pub batch: Batch,
    /// The output: its uid, or its name.
    pub output: String,
}

/// An output has taken a batch, or failed to. Spark: `StreamingListenerOutputOperationCompleted`.
///
/// ```
/// fn describe(completed: &floodmark::OutputOperationCompleted) -> String {
///     match &completed.error {
///         None => format!("{} took {} ms", completed.output, completed.duration_ms),
///         Some(error) => format!("{} failed: {error}", completed.output),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputOperationCompleted {
    /// The batch.
    pub batch: Batch,
    /// The output: its uid, or its name.
    pub output: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why it failed; the job stops with this error.
    pub error: Option<String>,
}

/// A checkpoint is published.
///
/// ```
/// fn describe(completed: &floodmark::CheckpointCompleted) -> String {
///     format!("batch {}: {} bytes in {} ms", completed.batch, completed.bytes, completed.duration_ms)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointCompleted {
    /// The batch after which the state is kept; 0 for initial state.
    pub batch: BatchId,
    /// Bytes of files that it does not share with the checkpoint before.
    pub bytes: u64,
    /// How long it took in the background, in milliseconds.
    pub duration_ms: u64,
}

/// Files of a source that no recovery reads again: they may be archived, compressed or deleted.
///
/// A file is named when all checkpoints that are kept ([`keep_checkpoints`](crate::StreamingContextBuilder::keep_checkpoints),
/// two by default) were published after the batch that read its end. Only files that are still there as they were read are named.
/// One event names at most 1,000 files, or as many as a batch may take where that is more; there is at most one event of a source
/// after each batch and each checkpoint.
///
/// No file is left out. This event is never dropped for listeners that are slow: the names wait. What a crash, or a stop, cuts off is named
/// again: after a start all files are named that are still there, from its first checkpoint on. So a file may be
/// named again, and a listener must accept that it has moved it already.
///
/// Not named are files that were given up ([`go_on_without_files`](crate::TextFiles::go_on_without_files)) and files
/// with other contents than were read ([`FilesStatus::replaced`](crate::FilesStatus::replaced)). A checkpoint that was pinned, and a copy
/// of the store that was made elsewhere, are not counted: to go back to one, keep the files that were read since.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use floodmark::testing::TestJob;
/// use floodmark::{FilesReleased, StreamingListener};
/// use std::fs;
/// use std::path::PathBuf;
///
/// /// Moves files out of the way.
/// struct Archivist(PathBuf);
///
/// impl StreamingListener for Archivist {
///     fn on_files_released(&mut self, released: &FilesReleased) {
///         for file in &released.files {
///             let archived = self.0.join(file.file_name().expect("a file has a name"));
///             // A file that cannot be moved now is named again after the next start.
///             let _ = fs::rename(file, archived);
///         }
///     }
/// }
///
/// let (incoming, archive) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// fs::write(incoming.path().join("monday.txt"), "tea\n")?;
/// let (from, to) = (incoming.path().to_path_buf(), archive.path().to_path_buf());
/// let mut job = TestJob::configured(
///     move |builder| builder.keep_checkpoints(1).listener(Archivist(to.clone())),
///     move |context| context.text_file_stream("lines", &from).print(10),
/// )?;
/// job.run_batch()?;
/// job.running().stop(true)?; // takes a last checkpoint, and returns when listeners have heard everything
/// assert!(archive.path().join("monday.txt").exists());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilesReleased {
    /// The source's uid.
    pub source: Uid,
    /// Absolute paths in the source's directory, in the order of the batches that read them. A link is named itself, not the file it leads to.
    pub files: Vec<PathBuf>,
}

/// The system clock jumped.
///
/// ```
/// fn describe(jump: &floodmark::ClockJumped) -> String {
///     format!("the clock went {} ms {}", jump.by_ms.abs(), if jump.by_ms < 0 { "back" } else { "ahead" })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockJumped {
    /// Milliseconds that the system clock went further than the monotonic one; negative where it went back.
    pub by_ms: i64,
}

/// User code on the driver's thread has not returned within the grace period.
///
/// ```
/// fn describe(overdue: &floodmark::UserCodeOverdue) -> String {
///     format!("the job has waited for {} since {} ms after 1970", overdue.code, overdue.since_ms)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserCodeOverdue {
    /// Whose code it is: `output "totals"`, `source "orders"`. Outputs and sources have their uid, or their name.
    pub code: String,
    /// When it was called, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Events were dropped, since listeners were too slow.
///
/// ```
/// fn describe(missed: &floodmark::EventsMissed) -> String {
///     format!("{} events are missing here", missed.count)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventsMissed {
    /// How many, since the event before this one.
    pub count: u64,
}

/// A job has ended.
///
/// ```
/// fn describe(stopped: &floodmark::StreamingStopped) -> String {
///     match &stopped.error {
///         Some((kind, error)) => format!("failed: {error} ({kind})"),
///         None if stopped.is_graceful => "stopped with nothing left to do".to_string(),
///         None => "stopped at once".to_string(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamingStopped {
    /// Everything that was received is computed and in a checkpoint: nothing is left to replay.
    pub is_graceful: bool,
    /// The error that ended the job, or that kept it from starting.
    pub error: Option<(ErrorKind, String)>,
    /// When, in milliseconds since the Unix epoch.
    pub epoch_ms: u64,
}

impl StreamingStopped {
    /// The last word on a job: how it ended, if not by an error.
    pub(crate) fn new(outcome: Result<&Ending, &Error>, epoch_ms: u64) -> Self {
        Self {
            is_graceful: matches!(outcome, Ok(Ending::Graceful)),
            error: outcome.err().map(|error| (error.kind(), error.to_string())),
            epoch_ms,
        }
    }
}

/// How a job ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything that was received is computed, and in a checkpoint.
    Graceful,
    /// At once.
    Hard,
}
