//! The settings of a job, and their defaults.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::engine::Width;
use crate::driver::settings::{
    DEFAULT_ATTEMPTS, DEFAULT_LAZY_ABOVE, DEFAULT_LISTENER_QUEUE, DEFAULT_STOP_GRACE, JobSettings, KEY_GROUPS,
};
use crate::driver::stopper::StopHandle;
use crate::dstream::GraphBuilder;
use crate::job::context::StreamingContext;
use crate::job::context::fingerprint::build_fingerprint;
use crate::listener::{Listeners, StreamingListener};
use crate::source::ReceiverSettings;
use floodmark_base::clock::{Clock, SystemClock};
#[cfg(feature = "testing")]
use floodmark_base::disk::Disk;
use floodmark_base::disk::LocalDisk;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::place::{absolute, directory_name, url_problem};
use floodmark_base::planted::Planted;
#[cfg(feature = "testing")]
use floodmark_base::planted::PlantedBug;
use floodmark_store::block::{BatchLimits, ReceiveLimits};
use floodmark_store::remote::{GROUP_INTERVAL, RemoteJob, RemoteLocation, RemotePlace, StopSignal};
use floodmark_store::wal::WalSettings;

/// The settings of a [`StreamingContext`]. They come from the program at every start, never from a checkpoint.
///
/// ```
/// use floodmark::StreamingContext;
/// use std::time::Duration;
///
/// let builder = StreamingContext::builder("job").batch_interval(Duration::from_millis(200)).workers(2);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct StreamingContextBuilder {
    settings: JobSettings,
    interval: Duration,
    recovery_target: Duration,
    keep_for: Option<Duration>,
    checkpoint_every: Option<u64>,
    remember: Duration,
    version: Option<String>,
    working_copy: Option<PathBuf>,
    remote: RemoteWish,
}

/// What was said of object storage.
#[derive(Clone, Debug, Default)]
struct RemoteWish {
    options: Vec<(String, String)>,
    log_blocks: bool,
    give_up_after: Option<Duration>,
    /// Instead of a location.
    store: Option<RemotePlace>,
    /// Instead of the system's.
    clock: Option<Arc<dyn Clock>>,
}

impl StreamingContextBuilder {
    pub(super) fn new(name: &str) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u32;
        let settings = JobSettings {
            name: name.to_string(),
            version: String::new(),
            location: PathBuf::new(),
            remote: None,
            remote_disk: None,
            interval_ms: 0,
            checkpoint_every: 0,
            recovery_target_ms: 0,
            lazy_above: DEFAULT_LAZY_ABOVE,
            state_memory: None,
            load_held: floodmark_store::state::Held::default(),
            keep: 2,
            keep_for_ms: None,
            width: Width { workers, partitions: 8 },
            limits: BatchLimits { records: u64::MAX, bytes: 128 << 20 },
            receive: ReceiveLimits::default(),
            receiver: ReceiverSettings::default(),
            backpressure: true,
            attempts: DEFAULT_ATTEMPTS,
            dead_letters: false,
            dropped: Vec::new(),
            goes_on_without_log: false,
            signals: false,
            stop_handle: StopHandle::default(),
            stop_grace: DEFAULT_STOP_GRACE,
            listeners: Listeners::default(),
            listener_queue: DEFAULT_LISTENER_QUEUE,
            wal: WalSettings::default(),
            clock: Arc::new(SystemClock::default()),
            disk: Arc::new(LocalDisk),
            planted: Planted::default(),
            replay: None,
        };
        Self {
            settings,
            interval: Duration::from_secs(1),
            recovery_target: Duration::from_secs(1),
            keep_for: None,
            checkpoint_every: None,
            remember: Duration::ZERO,
            version: None,
            working_copy: None,
            remote: RemoteWish::default(),
        }
    }

    fn set(mut self, set: impl FnOnce(&mut JobSettings)) -> Self {
        set(&mut self.settings);
        self
    }

    /// The directory that holds all that the job keeps: log, checkpoints, manifests. It is made where it is missing. A relative path is
    /// relative to the current directory of the moment at which the context is built; so are all other paths that a program names.
    ///
    /// Or a place in object storage, from which another machine can go on: `s3://bucket/prefix`, `gs://…`, `az://…` (each with its cargo
    /// feature: `aws`, `gcp`, `azure`), `file:///directory`. Credentials, endpoint and region come from the environment, as
    /// the crate `object_store` reads them. The job then works on a copy in its
    /// [working directory](Self::working_directory). See `docs/guarantees.md` for what a lost machine costs.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # let place = tempfile::tempdir().unwrap();
    /// # let (bucket, copy) = (place.path().join("bucket"), place.path().join("copy"));
    /// use floodmark::StreamingContext;
    ///
    /// let location = format!("file://{}", bucket.display()); // or s3://bucket/totals
    /// let context = StreamingContext::builder("totals")
    ///     .checkpoint(&location)
    ///     .working_directory(&copy)
    ///     .log_in_object_storage(true) // not only plans and commits
    ///     .build()?;
    /// let (sales, stream) = context.queue_stream::<u64>("sales");
    /// stream.count().print(10);
    /// let running = context.start()?;
    /// sales.push(vec![1, 2])?; // returns when the bucket has them
    /// running.stop(true)
    /// # }
    /// ```
    pub fn checkpoint(self, location: impl Into<PathBuf>) -> Self {
        self.set(|settings| settings.location = location.into())
    }

    /// Where a job in object storage keeps its working copy: the state that it works on, and what it fetches. It may be empty, or be lost; by
    /// default `.floodmark/<name of the job>` in the current directory of the moment at which the context is built; a `/` or `%` in the
    /// name, and a dot at its beginning, are written as in URLs (`%2F`, `%25`, `%2E`).
    pub fn working_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.working_copy = Some(directory.into());
        self
    }

    /// Whether what receivers take in is put into object storage before it is acknowledged: one object every 200 ms at most, and one for each plan
    /// and each commit. Then the loss of the machine costs nothing that was acknowledged.
    ///
    /// Off by default: plans and commits are put, so that no batch number is ever given to other contents, but what receivers take in is
    /// acknowledged by the log in the [working directory](Self::working_directory), which is faster, and survives the process. When the machine is lost,
    /// the job goes on elsewhere as if nothing had been, if the batches since the last checkpoint have read nothing of receivers;
    /// otherwise a start is refused and says what is lost, unless [`go_on_without_log`](Self::go_on_without_log) accepts that.
    pub fn log_in_object_storage(mut self, on: bool) -> Self {
        self.remote.log_blocks = on;
        self
    }

    /// An option of the object store, by the name by which `object_store` knows it, in place of the environment's: `aws_endpoint`,
    /// `aws_region`, `google_service_account`, …
    pub fn object_store_option(mut self, key: &str, value: &str) -> Self {
        self.remote.options.push((key.to_string(), value.to_string()));
        self
    }

    /// How long calls of the object store may fail before the job stops, in whole milliseconds; 5 minutes by default. Meanwhile it
    /// waits: nothing is lost.
    pub fn object_store_patience(mut self, duration: Duration) -> Self {
        self.remote.give_up_after = Some(duration);
        self
    }

    /// An object store that is there already, and the prefix of the job in it; instead of a location.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn object_store(mut self, store: Arc<dyn object_store::ObjectStore>, prefix: &str) -> Self {
        self.remote.store = Some(RemotePlace::Store(store, prefix.to_string()));
        self
    }

    /// What the object store's failures are measured by, and the waits between tries.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn object_store_clock(mut self, clock: impl Clock) -> Self {
        self.remote.clock = Some(Arc::new(clock));
        self
    }

    /// The time between two batches, in whole milliseconds; 1 s by default. Batches are aligned with the epoch.
    pub fn batch_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// A checkpoint after so many batches; by default the smallest number that spans 10 s, or what the
    /// streams [want](crate::DStream::checkpoint), if that is less. It is taken earlier when recomputing
    /// what came since the last one would take longer than the [recovery target](Self::recovery_target).
    pub fn checkpoint_every(mut self, batches: u64) -> Self {
        self.checkpoint_every = Some(batches);
        self
    }

    /// For how long the batches of [remembered](crate::DStream::remember) streams are kept at least. Spark:
    /// `StreamingContext.remember`.
    pub fn remember(mut self, duration: Duration) -> Self {
        self.remember = duration;
        self
    }

    /// How long recomputing after a crash may take; 1 s by default. Checkpoints are brought forward to keep it.
    /// In whole milliseconds.
    pub fn recovery_target(mut self, target: Duration) -> Self {
        self.recovery_target = target;
        self
    }

    /// A restart does not wait for state that takes so many bytes on disk, or more: its first batch begins at once, keys are looked
    /// up as they are touched, and the rest is read in the background; 4 MiB by default. `u64::MAX`: all state is read first.
    ///
    /// It is so for operators that touch only the keys that have records: [`map_with_state`](crate::DStream::map_with_state)
    /// without a timeout and without [`state_snapshots`](crate::MapWithStateDStream::state_snapshots). All others read their state
    /// before the first batch. Until all is read, no checkpoint is taken; where the newest one turns out to be damaged meanwhile,
    /// the job goes back to the one before and recomputes. So with [`keep_checkpoints(1)`](Self::keep_checkpoints) nothing is put off,
    /// nor in object storage.
    pub fn lazy_restart_above(self, bytes: u64) -> Self {
        self.set(|settings| settings.lazy_above = bytes)
    }

    /// Bytes of memory for the state of operators that touch only the keys that have records (those of
    /// [`lazy_restart_above`](Self::lazy_restart_above)), shared evenly by their partitions; no limit by default. Beyond it keys that
    /// were not touched for long leave memory, and are looked up when they come again; results are the same. Checkpoints are brought
    /// forward when what changed takes an eighth of the budget, since only what is written can leave. All other operators hold
    /// their state in memory. What keys and states keep on the heap is estimated.
    pub fn state_memory(self, bytes: u64) -> Self {
        self.set(|settings| settings.state_memory = Some(bytes))
    }

    /// How many checkpoints are kept; 2 by default, so that a damaged one can be done without.
    pub fn keep_checkpoints(self, count: usize) -> Self {
        self.set(|settings| settings.keep = count)
    }

    /// For how long checkpoints are kept, by the times of their batches and the job's [clock](Self::clock); besides the newest ones, of which
    /// [`keep_checkpoints`](Self::keep_checkpoints) says how many: what either protects stays, also in object storage. Not set by
    /// default; in whole milliseconds. What lies between two checkpoints that are kept stays in the log, so a long time needs room for it
    /// ([`log_quota`](Self::log_quota)); a single checkpoint is kept for good by `floodmark pin`.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # let place = tempfile::tempdir().unwrap();
    /// use floodmark::StreamingContext;
    /// use std::time::Duration;
    ///
    /// let context = StreamingContext::builder("job")
    ///     .checkpoint(place.path())
    ///     .keep_checkpoints(2)
    ///     .keep_checkpoints_for(Duration::from_secs(3600)) // `floodmark get … --as-of` asks any of the last hour
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_checkpoints_for(mut self, duration: Duration) -> Self {
        self.keep_for = Some(duration);
        self
    }

    /// The number of worker threads; by default the number of processors. Results do not depend on it.
    pub fn workers(self, workers: u32) -> Self {
        self.set(|settings| settings.width.workers = workers)
    }

    /// The number of partitions into which keys are spread; 8 by default, at most 128. Fixed for the life of the job.
    pub fn partitions(self, partitions: u32) -> Self {
        self.set(|settings| settings.width.partitions = partitions)
    }

    /// How long records wait in a receiver's block before it is logged; 200 ms by default.
    pub fn block_interval(self, interval: Duration) -> Self {
        self.set(|settings| settings.receiver.block_interval = interval)
    }

    /// The size in bytes at which a block is logged before its interval is over; 1 MiB by default.
    pub fn block_bytes(self, bytes: usize) -> Self {
        self.set(|settings| settings.receiver.block_bytes = bytes)
    }

    /// The most records that a batch takes from the receivers, and each direct source; no limit by default.
    pub fn max_batch_records(self, records: u64) -> Self {
        self.set(|settings| settings.limits.records = records)
    }

    /// The most bytes of payload that a batch takes from the receivers, and from each direct source; 128 MiB by default. From the
    /// receivers it takes at most 524,288 blocks.
    pub fn max_batch_bytes(self, bytes: u64) -> Self {
        self.set(|settings| settings.limits.bytes = bytes)
    }

    /// Bytes of received blocks that are kept in memory; the payloads of blocks beyond it are in the log only. 256 MiB by default. A block
    /// counts with its payload and 300 bytes for what is kept of it beside.
    pub fn receive_memory(self, bytes: u64) -> Self {
        self.set(|settings| settings.receive.memory = bytes)
    }

    /// Bytes of received blocks that may wait for a batch; beyond it sources are not read. 1 GiB by default. A block counts as in
    /// [`receive_memory`](Self::receive_memory).
    pub fn receive_backlog(self, bytes: u64) -> Self {
        self.set(|settings| settings.receive.backlog = bytes)
    }

    /// The most records per second that each receiver, and each direct source, takes in; no limit by default.
    pub fn max_rate(self, records_per_second: f64) -> Self {
        self.set(|settings| settings.receiver.max_rate = Some(records_per_second))
    }

    /// Whether the rate of the sources follows what the batches took (a PID controller, as in Spark); on by default.
    pub fn backpressure(self, on: bool) -> Self {
        self.set(|settings| settings.backpressure = on)
    }

    /// TCP keepalive of the connections of socket sources: after `idle` without traffic the system probes the peer every `interval`,
    /// and the connection is broken after so many unanswered `probes`; 60 s, 10 s and 6 by default, so that a peer that vanished
    /// without closing the connection is noticed after 2 minutes. The receiver then shows the error and connects again. In whole
    /// seconds; 0 probes switch it off. Receivers of your own set it by
    /// [`ReceiverContext::keep_alive`](crate::ReceiverContext::keep_alive).
    pub fn tcp_keepalive(self, idle: Duration, interval: Duration, probes: u32) -> Self {
        self.set(|settings| {
            let tcp = &mut settings.receiver.tcp;
            (tcp.keepalive_idle, tcp.keepalive_interval, tcp.keepalive_probes) = (idle, interval, probes);
        })
    }

    /// The time after which a socket source gives up a connection on which nothing comes in, shows that as an error, and connects
    /// again; not set by default, since a source may have nothing to send for long. The time in which the job itself
    /// reads nothing, since its backlog is full, does not count against a peer that has sent something.
    pub fn socket_idle_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.receiver.tcp.idle_timeout = Some(timeout))
    }

    /// How often a batch is tried before the job stops, when user code panics; 4 by default.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.set(|settings| settings.attempts = attempts)
    }

    /// After the last attempt, finds the records that make the batch fail, sets them aside (in `dead-letters/` and in the log),
    /// and goes on without them. Off by default: the job stops.
    ///
    /// A record whose [decoder](crate::Decoder) panics is set aside, too. The job stops all the same where the batch fails without its
    /// records, where more than 64 of them would have to go, and where what follows a record cannot be read without it: that of a typed
    /// record whose own serde code panics, or of a [reader](crate::RangeReader) that does.
    pub fn dead_letters(self) -> Self {
        self.set(|settings| settings.dead_letters = true)
    }

    /// The version of the job. With the same version a recomputed batch must give the same digests; with a new one a
    /// difference is reported and the new result stands. By default the fingerprint of the program's file.
    pub fn job_version(mut self, version: &str) -> Self {
        self.version = Some(version.to_string());
        self
    }

    /// Gives up what is stored under a uid and does not fit the program: the state of an operator that is no longer in it; of a
    /// source that is no longer in it, or is of another kind or type, its position and the blocks that no batch has taken. What
    /// fits the program is kept, so the call may stay. A batch that is planned is not given up: it is recomputed from what it
    /// was planned with.
    pub fn drop_state(self, uid: &str) -> Self {
        self.set(|settings| settings.dropped.push(uid.into()))
    }

    /// Goes on from the newest checkpoint although the log is gone, as a new lineage. What came after it is lost.
    ///
    /// Of a job in [object storage](Self::checkpoint): although what its batches have read of receivers was in the log of a lost machine. The
    /// report says what is given up ([`RecoveryReport::blocks_lost`](floodmark_store::recovery::report::RecoveryReport::blocks_lost)). Plans are not lost there, so the
    /// new lineage begins with a number, and at a time, behind all that were planned.
    pub fn go_on_without_log(self) -> Self {
        self.set(|settings| settings.goes_on_without_log = true)
    }

    /// Bytes that the log may take on disk; beyond it blocks are refused. 16 GiB by default.
    pub fn log_quota(self, bytes: u64) -> Self {
        self.set(|settings| settings.wal.quota_bytes = bytes)
    }

    /// SIGTERM, and the first SIGINT, stop the job gracefully; a second SIGINT stops it hard. While the job starts, each of them ends the start,
    /// which is then an error of the kind [`Stopped`](floodmark_base::error::ErrorKind::Stopped).
    pub fn install_signal_handlers(self) -> Self {
        self.set(|settings| settings.signals = true)
    }

    /// Stops the job by this handle, also while it starts.
    ///
    /// ```
    /// use floodmark::{StopHandle, StreamingContext};
    ///
    /// let stop = StopHandle::default();
    /// let builder = StreamingContext::builder("job").stop_handle(&stop);
    /// ```
    pub fn stop_handle(self, handle: &StopHandle) -> Self {
        self.set(|settings| settings.stop_handle = handle.clone())
    }

    /// How long a stop waits for user code that does not return; 10 s by default. It is real time, whatever the job's
    /// [clock](Self::clock).
    ///
    /// When it is over at a graceful stop, the future of a receiver that has not returned is dropped, and a receiver that blocks its
    /// thread is left behind: what it had stored counts, what it stores later is refused with
    /// [`StoreError::Stopped`](floodmark_store::block::StoreError::Stopped), and the stop goes on. A hard stop leaves receivers behind that block their
    /// thread, and like a new attempt at a batch, threads of workers that are in a function of the job. At the end of the job events are dropped that listeners have not
    /// heard by then. Threads that are left behind end when the code returns; [`Status::left_behind`](crate::Status::left_behind) names
    /// them. Code that runs on the driver's thread (sinks, direct sources, loaders) holds the whole job.
    /// When it has not returned for as long as this, [`Status::overdue`](crate::Status::overdue) names it; when a hard stop has waited for it as
    /// long, the job ends with an error that names it. Its thread then keeps the lock on the job's directory until the code returns or the
    /// process ends: while it may still write, nobody else may drive the job.
    ///
    /// ```
    /// use std::time::Duration;
    /// let builder = floodmark::StreamingContext::builder("job").stop_grace(Duration::from_secs(25));
    /// ```
    pub fn stop_grace(self, grace: Duration) -> Self {
        self.set(|settings| settings.stop_grace = grace)
    }

    /// Adds a listener, which hears what happens in the job; several may be added. Spark: `addStreamingListener`.
    ///
    /// They run on a thread of their own and cannot slow the job. A clone of the builder has the same listeners, not copies.
    ///
    /// ```
    /// use floodmark::{StatsReportListener, StreamingContext};
    ///
    /// let stats = StatsReportListener::new(100);
    /// let builder = StreamingContext::builder("job").listener(stats.clone());
    /// assert_eq!(stats.processing_ms(), None); // nothing has run yet
    /// ```
    pub fn listener(self, listener: impl StreamingListener) -> Self {
        self.set(|settings| settings.listeners.add(listener))
    }

    /// How many events may wait for the listeners; beyond it events are dropped, and listeners are told how many. 10 000 by
    /// default, at least 1. Spark: `spark.scheduler.listenerbus.eventqueue.capacity`.
    pub fn listener_queue(self, events: usize) -> Self {
        self.set(|settings| settings.listener_queue = events.max(1))
    }

    /// The clock; the system's by default. A [`ManualClock`](floodmark_base::clock::ManualClock) drives a job from a test.
    pub fn clock(self, clock: impl Clock) -> Self {
        self.set(|settings| settings.clock = Arc::new(clock))
    }

    /// The door to the disk, for fault injection.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn disk(self, disk: Arc<dyn Disk>) -> Self {
        self.set(|settings| settings.disk = disk)
    }

    /// Holds the background load of a lazy restart while this is true.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn hold_background_load(self, held: Arc<std::sync::atomic::AtomicBool>) -> Self {
        self.set(|settings| settings.load_held.work = held)
    }

    /// Lets the background load of a lazy restart wait twice at this barrier: when its work has ended, and before it reports how.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn hold_background_report(self, barrier: Arc<std::sync::Barrier>) -> Self {
        self.set(|settings| settings.load_held.report = Some(barrier))
    }

    /// Plants a bug in the job, which tests of its recovery must find.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn plant(self, bug: PlantedBug) -> Self {
        self.set(|settings| settings.planted = Planted::new(bug))
    }

    /// The sizes of the log, so that a small one rolls and is truncated.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn log_settings(self, log: WalSettings) -> Self {
        self.set(|settings| settings.wal = log)
    }

    /// Switches the log off, to measure what it costs. Nothing can be recovered then.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn log_switched_off(self) -> Self {
        self.set(|settings| {
            settings.wal = WalSettings::switched_off();
            // Payloads cannot be read back.
            settings.receive.memory = u64::MAX;
        })
    }

    /// Checks the settings and makes the context.
    ///
    /// # Errors
    /// `Configuration`, with the setting and its value, when one is unusable.
    pub fn build(self) -> Result<StreamingContext> {
        let Self { mut settings, interval, checkpoint_every, remember, version, working_copy, remote, .. } = self;
        let given = settings.location.clone();
        find_remote(&mut settings, working_copy, remote)?;
        settings.location = absolute(std::mem::take(&mut settings.location));
        settings.interval_ms = whole_ms("batch_interval", interval)?;
        settings.recovery_target_ms = whole_ms("recovery_target", self.recovery_target)?;
        settings.keep_for_ms = self.keep_for.map(|time| whole_ms("keep_checkpoints_for", time)).transpose()?;
        let wrong = |problem: String| Err(Error::new(ErrorKind::Configuration, problem));
        if settings.interval_ms == 0 {
            return wrong(format!("the batch interval is {interval:?}: expected at least 1 ms"));
        }
        if settings.location.as_os_str().is_empty() {
            return wrong("there is no checkpoint location: give one by checkpoint(directory)".to_string());
        }
        if settings.name.is_empty() {
            return wrong("the job has no name".to_string());
        }
        let Width { workers, partitions } = settings.width;
        if workers == 0 || partitions == 0 || partitions > KEY_GROUPS {
            return wrong(format!(
                "{workers} workers and {partitions} partitions: expected at least 1 of each, and at most {KEY_GROUPS} partitions"
            ));
        }
        if settings.attempts == 0 || settings.keep == 0 || checkpoint_every == Some(0) {
            return wrong(
                "attempts, kept checkpoints and batches between checkpoints must each be at least 1".to_string(),
            );
        }
        if settings.receiver.max_rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
            return wrong(format!(
                "max_rate is {}: expected more than 0",
                settings.receiver.max_rate.unwrap_or_default()
            ));
        }
        if let Some(problem) = settings.receiver.tcp.problem() {
            return wrong(problem);
        }
        settings.version = match version {
            Some(version) => version,
            None => build_fingerprint()?,
        };
        settings.wal.planted = settings.planted;
        let graph = GraphBuilder::new(settings.interval_ms, remember, settings.disk.clone());
        Ok(StreamingContext { settings, given, checkpoint_every, graph, sources: RefCell::default() })
    }
}

/// A duration in milliseconds. A fraction of one is refused: nothing here is finer, and it would be cut without a word.
fn whole_ms(setting: &str, duration: Duration) -> Result<u64> {
    let ms = u64::try_from(duration.as_millis()).ok().filter(|ms| Duration::from_millis(*ms) == duration);
    ms.ok_or_else(|| {
        let problem = format!("{setting} is {duration:?}: expected whole milliseconds");
        Error::new(ErrorKind::Configuration, problem)
    })
}

/// Takes a location that is a URL for one in object storage; the job's directory is then its working copy.
fn find_remote(settings: &mut JobSettings, working_copy: Option<PathBuf>, wish: RemoteWish) -> Result<()> {
    let location = settings.location.to_str().map(RemoteLocation::parse).transpose()?.flatten();
    let location = location.map(|location| location.with_options(&wish.options));
    let place = wish.store.or(location.map(RemotePlace::Location));
    let Some(place) = place else {
        if wish.log_blocks || working_copy.is_some() || !wish.options.is_empty() {
            let given = settings.location.display();
            let problem = format!(
                "the checkpoint location {given} is a directory: expected s3://… or another URL with settings of object storage"
            );
            return Err(Error::new(ErrorKind::Configuration, problem));
        }
        return Ok(());
    };
    settings.location = match working_copy {
        Some(directory) => directory,
        None => {
            let wrong = |problem| {
                let problem = format!("{problem}; give the job a working_directory()");
                Error::new(ErrorKind::Configuration, problem)
            };
            PathBuf::from(".floodmark").join(directory_name(&settings.name).map_err(wrong)?)
        }
    };
    if let Some(problem) = url_problem(&settings.location) {
        return Err(Error::new(ErrorKind::Configuration, format!("the working directory cannot be used: {problem}")));
    }
    let give_up_after = wish.give_up_after.unwrap_or(Duration::from_secs(5 * 60));
    whole_ms("object_store_patience", give_up_after)?;
    let clock = wish.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
    let stop = StopSignal::default();
    settings.remote = Some(RemoteJob { place, log_blocks: wish.log_blocks, give_up_after, clock, stop });
    if wish.log_blocks {
        settings.wal.group_interval = settings.wal.group_interval.or(Some(GROUP_INTERVAL));
    }
    Ok(())
}
