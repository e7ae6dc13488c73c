//! A job in object storage, and machines that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use floodmark::testing::disk::{FaultyDisk, LocalDisk};
use floodmark::testing::wal::WalSettings;
use floodmark::{
    BatchId, Clock, Error, ManualClock, MemorySink, Queue, Running, StreamingContext, StreamingContextBuilder,
};
use floodmark_chaos::store::SimulatedStore;

const START_MS: u64 = 1_700_000_000_000;
const INTERVAL: Duration = Duration::from_millis(100);
pub const BATCHES: u64 = 7;

/// What outlives every machine: the bucket, the sink, and who sends.
#[derive(Clone)]
pub struct World {
    pub store: SimulatedStore,
    pub sink: MemorySink<(String, u64)>,
    pub clock: ManualClock,
    /// What receivers take in stays in the local log.
    pub is_local: bool,
}

/// A machine: a directory, and a door before both its disk and its way to the bucket.
pub struct Machine {
    directory: Arc<tempfile::TempDir>,
    pub door: FaultyDisk,
}

/// A driver at work.
pub struct Life {
    pub running: Running,
    pub words: Queue<String>,
    clock: ManualClock,
    /// Stays as long as the driver is at work; nothing where its machine does.
    _directory: Option<Arc<tempfile::TempDir>>,
}

/// What was sent: every word once, so that all that counts is seen.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub acknowledged: BTreeSet<String>,
    /// Not known to be stored.
    pub unclear: BTreeSet<String>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            store: SimulatedStore::new(),
            sink: MemorySink::new(),
            clock: ManualClock::at(START_MS),
            is_local: false,
        }
    }
}

impl Machine {
    pub fn new() -> Self {
        Self::behind(FaultyDisk::new(Arc::new(LocalDisk)))
    }

    pub fn behind(door: FaultyDisk) -> Self {
        Self { directory: Arc::new(floodmark_chaos::scratch::directory().unwrap()), door }
    }

    /// The same directory, in another process.
    pub fn restarted(self) -> Self {
        self.restarted_behind(FaultyDisk::new(Arc::new(LocalDisk)))
    }

    /// The same, behind this door.
    pub fn restarted_behind(self, door: FaultyDisk) -> Self {
        Self { directory: self.directory, door }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl World {
    /// One in which what receivers take in stays in the local log.
    pub fn local() -> Self {
        Self { is_local: true, ..Self::default() }
    }

    pub fn start(&self, machine: &Machine) -> Result<Life, Error> {
        self.start_with(machine, |builder| builder)
    }

    pub fn start_with(
        &self,
        machine: &Machine,
        configure: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
    ) -> Result<Life, Error> {
        let store = self.store.through(machine.door.clone());
        let builder = self.builder(machine).object_store(Arc::new(store), "jobs/counts");
        let life = self.run(configure(builder))?;
        Ok(Life { _directory: Some(machine.directory.clone()), ..life })
    }

    /// The settings of all lives, but where the bucket is.
    pub fn builder(&self, machine: &Machine) -> StreamingContextBuilder {
        // Small segments, so that the log is cut; nothing waits for others to be put with.
        let log = WalSettings {
            segment_bytes: 600,
            reserve_bytes: 0,
            group_interval: Some(Duration::ZERO),
            ..WalSettings::default()
        };
        StreamingContext::builder("counts")
            .working_directory(machine.path().join("copy"))
            .log_in_object_storage(!self.is_local)
            .object_store_patience(Duration::from_millis(1))
            .disk(Arc::new(machine.door.clone()))
            .log_settings(log)
            .batch_interval(INTERVAL)
            .checkpoint_every(2)
            .workers(1)
            .backpressure(false)
            .job_version("1")
            .clock(self.clock.clone())
    }

    pub fn run(&self, builder: StreamingContextBuilder) -> Result<Life, Error> {
        let context = builder.build()?;
        let (words, stream) = context.queue_stream::<String>("words");
        let counts =
            stream.map(|word| (word, 1_u64)).update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
                Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
            });
        counts.sink("counted", self.sink.clone());
        let running = context.start()?;
        Ok(Life { running, words, clock: self.clock.clone(), _directory: None })
    }

    /// Puts an object, whatever is there.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        use object_store::ObjectStoreExt;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let path = object_store::path::Path::from(name);
        runtime.block_on(self.store.put(&path, bytes.into())).unwrap();
    }

    /// Deletes an object.
    pub fn delete(&self, name: &str) {
        use object_store::ObjectStoreExt;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.store.delete(&object_store::path::Path::from(name))).unwrap();
    }

    /// Whether the state holds exactly what was sent.
    pub fn check(&self, life: &Life, sent: &Sent) -> Result<(), String> {
        let counts = life.counts();
        for word in &sent.acknowledged {
            match counts.get(word) {
                Some(1) => {}
                other => return Err(format!("{word:?} was acknowledged, and counts {other:?}")),
            }
        }
        for (word, count) in &counts {
            if *count != 1 || !(sent.acknowledged.contains(word) || sent.unclear.contains(word)) {
                return Err(format!("{word:?} counts {count}"));
            }
        }
        // Each published batch has all state as of it, so it holds at least what the one before it held.
        let batches: Vec<_> = self.sink.batches();
        let numbers: Vec<u64> = batches.iter().map(|batch| batch.batch.0).collect();
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        if numbers != expected {
            return Err(format!("published are the batches {numbers:?}"));
        }
        Ok(())
    }
}

impl Life {
    /// Ticks, and waits until the batch is published.
    pub fn tick(&self) -> Result<BatchId, Error> {
        let before = self.running.status().planned;
        let interval = INTERVAL.as_millis() as u64;
        self.clock.advance_to(self.clock.epoch_ms() / interval * interval + interval);
        let done = |status: &floodmark::Status| status.planned > before && status.published == status.planned;
        self.running.wait_until(done).map(|status| status.published)
    }

    /// Sends this word, and remembers what is known of it.
    pub fn send(&self, word: &str, sent: &mut Sent) -> Result<(), Error> {
        match self.words.push(vec![word.to_string()]) {
            Ok(()) => {
                sent.acknowledged.insert(word.to_string());
                Ok(())
            }
            Err(error) => {
                sent.unclear.insert(word.to_string());
                Err(error.into())
            }
        }
    }

    /// Runs so many batches with one word each, waiting for the checkpoints that are due.
    pub fn run_batches(&self, name: &str, batches: u64, sent: &mut Sent) -> Result<(), Error> {
        for batch in 0..batches {
            self.send(&format!("{name} {batch}"), sent)?;
            self.tick()?;
            self.running.wait_until(|status| !status.checkpointing)?;
        }
        Ok(())
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.running.state::<String, u64>("counts").unwrap().iter().unwrap().collect()
    }
}
