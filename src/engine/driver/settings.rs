//! The settings of a job, as the builder made them. They come from the program at every start, never from a checkpoint.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::engine::Width;
use crate::driver::replay::ReplaySettings;
use crate::driver::stopper::StopHandle;
use crate::listener::Listeners;
use crate::source::ReceiverSettings;
use floodmark_base::clock::Clock;
use floodmark_base::disk::Disk;
use floodmark_base::id::Uid;
use floodmark_base::planted::Planted;
use floodmark_store::block::{BatchLimits, ReceiveLimits};
use floodmark_store::checkpoint::KeepRule;
use floodmark_store::remote::{RemoteDisk, RemoteJob, StopSignal};
use floodmark_store::state::Held;
use floodmark_store::wal::WalSettings;

/// The number of key groups: the finest grain in which keys can be spread, fixed for the life of a job.
pub(crate) const KEY_GROUPS: u32 = 128;
/// Attempts at a batch before the job stops.
pub(crate) const DEFAULT_ATTEMPTS: u32 = 4;
/// How long a stop waits for user code.
pub(crate) const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);
/// Events that may wait for the listeners.
pub(crate) const DEFAULT_LISTENER_QUEUE: usize = 10_000;
/// State of so many bytes on disk is read within about a tenth of a second, so less is not worth a look-up.
pub(crate) const DEFAULT_LAZY_ABOVE: u64 = 4 << 20;
/// Batches that may be computed at the same time; their state is applied in order.
pub(crate) const IN_FLIGHT: usize = 2;

/// Beside a batch of so many bytes no other one is computed: that gains nothing for large batches, and takes their memory twice.
pub(crate) const LARGE_BATCH_BYTES: u64 = 8 << 20;

#[derive(Clone, Debug)]
pub(crate) struct JobSettings {
    pub name: String,
    pub version: String,
    /// The job's directory; of a job in object storage its working copy.
    pub location: PathBuf,
    /// Where the job is in object storage.
    pub remote: Option<RemoteJob>,
    /// The same as the door to the disk, once the job runs.
    pub remote_disk: Option<Arc<RemoteDisk>>,
    pub interval_ms: u64,
    /// A checkpoint is taken after so many batches.
    pub checkpoint_every: u64,
    /// A checkpoint is brought forward when recomputing what came since the last one would take longer.
    pub recovery_target_ms: u64,
    /// A start does not wait for state of so many bytes on disk, where it need not.
    pub lazy_above: u64,
    /// Bytes that tables may take which look up what they do not hold.
    pub state_memory: Option<u64>,
    /// Whether a test holds the background load.
    pub load_held: Held,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// Besides, those of so long.
    pub keep_for_ms: Option<u64>,
    pub width: Width,
    pub limits: BatchLimits,
    pub receive: ReceiveLimits,
    pub receiver: ReceiverSettings,
    /// Whether the rate of the sources follows what the batches took.
    pub backpressure: bool,
    pub attempts: u32,
    pub dead_letters: bool,
    pub dropped: Vec<Uid>,
    pub goes_on_without_log: bool,
    pub signals: bool,
    /// Handles by which the program stops the job, also while it starts.
    pub stop_handle: StopHandle,
    /// How long a stop waits for user code that does not return.
    pub stop_grace: Duration,
    pub listeners: Listeners,
    /// Events that may wait for them.
    pub listener_queue: usize,
    pub wal: WalSettings,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    pub planted: Planted,
    /// The job is not run: its past is computed again.
    pub replay: Option<ReplaySettings>,
}

impl JobSettings {
    /// The signal by which a hard stop ends waits for the object store. A job at a directory has none.
    pub fn stop_signal(&self) -> StopSignal {
        self.remote.as_ref().map(|remote| remote.stop.clone()).unwrap_or_default()
    }

    /// Which checkpoints are kept.
    pub fn keep_rule(&self) -> KeepRule {
        KeepRule { count: self.keep, younger_than_ms: self.keep_for_ms.map(|age_ms| (age_ms, self.clock.clone())) }
    }
}
