//! What a job is given in each of its lives, and the world that outlives them.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use floodmark::testing::disk::{Disk, FaultyDisk};
use floodmark::testing::wal::WalSettings;
use floodmark::{DStream, ManualClock, MemorySink, Record, StreamingContext, StreamingContextBuilder};

use object_store::ObjectStore;

use super::input::{Feed, OverlappingReceiver, ScriptReceiver, ScriptSource};
use super::script::Script;
use crate::store::SimulatedStore;

/// Where every life's clock begins. It is then behind the newest batch, whose time plus one interval is that of the next, so that a
/// batch has the same time in every run.
pub(super) const START_MS: u64 = 1_700_000_000_000;
const SEGMENT_BYTES: u64 = 4 << 10;
const RESERVE_BYTES: u64 = 16 << 10;

/// What a job is given to be built in a sweep: settings, input, and places for output. It is made anew for every life of the
/// driver; what is published lives on.
///
/// See [`Sweep`](super::Sweep) for an example.
pub struct Env {
    pub(super) world: World,
    pub(super) script: Arc<Script>,
    /// Holds the job's directory and its output.
    pub(super) place: PathBuf,
    /// The name of the job's directory.
    pub(super) state: String,
    pub(super) disk: FaultyDisk,
    /// The same, or what was planted in front of it.
    shown: Arc<dyn Disk>,
    pub(super) clock: ManualClock,
    feeds: Mutex<Vec<Feed>>,
}

impl Env {
    /// The batch interval of [`builder`](Self::builder): one tick of the script.
    pub const INTERVAL: Duration = Duration::from_millis(100);

    pub(super) fn new(
        world: World,
        script: Arc<Script>,
        place: PathBuf,
        state: &str,
        disk: FaultyDisk,
        shown: Arc<dyn Disk>,
        clock: ManualClock,
    ) -> Self {
        Self { shown, world, script, place, state: state.to_string(), disk, clock, feeds: Mutex::default() }
    }

    /// The settings of the job: its directory, disk and clock are the harness's; batches of 100 ms, a checkpoint every 4, two
    /// workers, small segments. What the job needs otherwise can be set on top.
    pub fn builder(&self, job: &str) -> StreamingContextBuilder {
        StreamingContext::builder(job)
            .checkpoint(self.place.join(&self.state))
            .batch_interval(Self::INTERVAL)
            .checkpoint_every(4)
            .workers(2)
            .partitions(4)
            .backpressure(false)
            .job_version("1")
            .log_settings(WalSettings {
                segment_bytes: SEGMENT_BYTES,
                reserve_bytes: RESERVE_BYTES,
                group_interval: Some(Duration::ZERO),
                ..WalSettings::default()
            })
            .disk(self.disk())
            .clock(self.clock.clone())
    }

    /// An input of the sweep as a reliable receiver with positions: what was not acknowledged is sent again, and the newest
    /// blocks are sent once more after every restart.
    ///
    /// # Panics
    /// When the sweep has no such input, or its records are of another type.
    pub fn input<'c, T: Record>(&self, context: &'c StreamingContext, uid: &str) -> DStream<'c, T> {
        self.script.input::<T>(uid);
        let (feed, receiver) = ScriptReceiver::<T>::new(uid, self.script.clone());
        self.add(feed);
        context.receiver_stream(uid, receiver)
    }

    /// An input of the sweep as a reliable receiver with positions whose calls overlap: every batch comes as a large block and a small
    /// one at once, the large one twice, from several tasks, and a call is dropped. To be used with a `max_rate` that holds the large
    /// one up and lets all of a batch pass within an interval: then the sweep drives the clock between the calls.
    ///
    /// # Panics
    /// As [`input`](Self::input).
    pub fn overlapping_input<'c, T: Record>(&self, context: &'c StreamingContext, uid: &str) -> DStream<'c, T> {
        self.script.input::<T>(uid);
        let (feed, receiver) = OverlappingReceiver::<T>::new(uid, self.script.clone());
        self.add(feed);
        context.receiver_stream(uid, receiver)
    }

    /// An input of the sweep as a direct source: ranges are planned and read again.
    ///
    /// # Panics
    /// As [`input`](Self::input).
    pub fn direct_input<'c, T: Record>(&self, context: &'c StreamingContext, uid: &str) -> DStream<'c, T> {
        self.script.input::<T>(uid);
        let (feed, source) = ScriptSource::<T>::new(uid, self.script.clone());
        self.add(feed);
        context.direct_stream(uid, source)
    }

    /// A sink that keeps the contract, and whose contents the sweep compares with those of a plain run, batch by batch. It
    /// outlives the lives of the driver.
    #[must_use]
    pub fn sink<T: Clone + PartialEq + Debug + Send + 'static>(&self, name: &str) -> MemorySink<T> {
        let sink = self.world.object(name, MemorySink::<T>::new);
        let seen = (*sink).clone();
        self.world.observe(name, move || {
            let line = |batch: floodmark::PublishedBatch<T>| format!("{} {:?}", batch.batch, batch.partitions);
            seen.batches().into_iter().map(line).collect()
        });
        (*sink).clone()
    }

    /// A place outside of the job, to which a sink of your own writes, and whose contents the sweep compares with those of a
    /// plain run: a table, a topic. It outlives the lives of the driver.
    #[must_use]
    pub fn output<T: Clone + Debug + Send + 'static>(&self, name: &str) -> Output<T> {
        let output = self.world.object(name, || Output(Arc::new(Mutex::new(Vec::<T>::new()))));
        let seen = (*output).clone();
        self.world.observe(name, move || seen.contents().iter().map(|record| format!("{record:?}")).collect());
        (*output).clone()
    }

    /// An object store, which outlives the lives of the driver. Every put, delete and list of this life is a durable step at which
    /// the sweep strikes. Its objects, names and bytes, are compared with those of a plain run, except those of which a part of
    /// the name begins with a dot.
    ///
    /// Unlike an error of the disk, one of the store may be passed over: a job that tries again is in its right.
    ///
    /// # Panics
    /// When something else of the run has this name.
    #[must_use]
    pub fn object_store(&self, name: &str) -> Arc<dyn ObjectStore> {
        let store = self.world.object(name, SimulatedStore::new);
        let seen = (*store).clone();
        self.world.observe(name, move || seen.visible());
        Arc::new(store.through(self.disk.clone()))
    }

    /// Anything else that outlives the lives of the driver within a run, and is new in the next run.
    pub fn outside<T: Send + Sync + 'static>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        self.world.object(name, make)
    }

    /// A directory for files that the job reads or writes, on the same simulated disk as its state. Files in it are compared with
    /// those of a plain run, except hidden ones.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.place.join(OUT)
    }

    /// The door to the simulated disk.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.shown.clone()
    }

    /// The clock of this life.
    #[must_use]
    pub fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    /// The directory of the job's state, or its working copy.
    pub(crate) fn state_directory(&self) -> PathBuf {
        self.place.join(&self.state)
    }

    pub(super) fn take_feeds(&self) -> Vec<Feed> {
        std::mem::take(&mut *lock(&self.feeds))
    }

    fn add(&self, feed: Feed) {
        lock(&self.feeds).push(feed);
    }
}

/// The directory for files outside of the job's own.
pub(super) const OUT: &str = "out";

/// What a sink has written to the outside; clones are handles to the same.
#[derive(Clone)]
pub struct Output<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Output<T> {
    /// Adds a record at the end.
    pub fn push(&self, record: T) {
        lock(&self.0).push(record);
    }

    /// Changes the contents in any way: for a sink that is idempotent by what is there.
    pub fn change<R>(&self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        change(&mut lock(&self.0))
    }

    /// All records.
    #[must_use]
    pub fn contents(&self) -> Vec<T> {
        lock(&self.0).clone()
    }
}

type Look = Box<dyn Fn() -> Vec<String> + Send>;

/// What outlives the lives of a driver within a run; clones share it.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<Things>>);

#[derive(Default)]
struct Things {
    objects: HashMap<String, Arc<dyn Any + Send + Sync>>,
    outputs: BTreeMap<String, Look>,
}

impl World {
    fn object<T: Send + Sync + 'static>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut things = lock(&self.0);
        let object = things.objects.entry(name.to_string()).or_insert_with(|| Arc::new(make())).clone();
        object.downcast().unwrap_or_else(|_| panic!("\"{name}\" is used for two types"))
    }

    fn observe(&self, name: &str, look: impl Fn() -> Vec<String> + Send + 'static) {
        lock(&self.0).outputs.entry(name.to_string()).or_insert_with(|| Box::new(look));
    }

    /// What is visible outside, by name.
    pub fn outputs(&self) -> BTreeMap<String, Vec<String>> {
        lock(&self.0).outputs.iter().map(|(name, look)| (name.clone(), look())).collect()
    }

    /// What the run has put under this name, if it is of this type.
    pub fn find<T: Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.0).objects.get(name).cloned()?.downcast().ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files below a directory that readers of it would see, with their contents.
pub(super) fn visible_files(directory: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let image = floodmark::testing::disk::Image::of(directory)?;
    let is_hidden =
        |path: &Path| path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(['.', '_']));
    let files = image.files().into_iter().filter(|(path, _)| !is_hidden(path));
    Ok(files.map(|(path, bytes)| (path.display().to_string(), bytes.to_vec())).collect())
}
