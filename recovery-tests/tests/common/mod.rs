//! A job whose every batch is known beforehand, whichever lives it takes to compute them.
//!
//! Batch *n* reads block *n* of a reliable receiver and range *n* of a direct source; what was not acknowledged is sent
//! again, and dropped where its position shows that it is stored. So the batches of an interrupted run must equal those of
//! a plain one, number by number, partition by partition, record by record.
#![allow(dead_code)] // each test file takes what it needs

pub mod place;
pub mod stored;
pub mod verbs;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use floodmark::testing::disk::Disk;
use floodmark::testing::wal::WalSettings;
use floodmark::{
    BatchId, BatchTime, Clock, DStream, DirectSource, Error, KeyedState, ManualClock, MemorySink, OfferLimits,
    Position, RangeReader, ReadSummary, Receiver, ReceiverContext, ReceiverError, Running, Sink, SourceError,
    StateSpec, StreamingContext, StreamingContextBuilder,
};

/// Batches of a whole run.
pub const BATCHES: u64 = 10;
/// A checkpoint after so many of them.
pub const CHECKPOINT_EVERY: u64 = 3;
const START_MS: u64 = 1_700_000_000_000;
const INTERVAL: Duration = Duration::from_millis(100);
const BLOCK_RECORDS: u64 = 40;
const RANGE_RECORDS: u64 = 25;
const KEYS: u64 = 31;

/// How often a key came, and a fold of its values that depends on their order (I-3).
pub type Total = (u64, u64);
/// A batch with its time, and its partitions.
pub type TimedBatch = (BatchId, BatchTime, Vec<Vec<Entry>>);
/// What the job puts out.
pub type Entry = (u64, Total);

/// A number that looks random and is always the same.
pub fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

/// Block `batch` of the receiver.
pub fn block(batch: u64) -> Vec<(u64, u64)> {
    (0..BLOCK_RECORDS)
        .map(|index| scramble(batch * BLOCK_RECORDS + index))
        .map(|number| (number % KEYS, number))
        .collect()
}

/// A record of the direct source.
fn ranged(index: u64) -> (u64, u64) {
    let number = scramble(index << 32);
    (number % (KEYS + 7), number)
}

/// What all runs of the job share: where its output goes.
#[derive(Clone, Default)]
pub struct World {
    /// The whole state, in every batch.
    sink: MemorySink<Entry>,
    /// What operators put out whose results depend on the times of batches.
    timed: MemorySink<Entry>,
    windows: MemorySink<Entry>,
}

/// One life of the job's driver.
pub struct Life {
    pub running: Running,
    blocks: Blocks,
    /// Ranges that the direct source may offer.
    available: Arc<AtomicU64>,
    clock: ManualClock,
}

impl World {
    /// Begins a life on this disk.
    pub fn start(&self, directory: &Path, disk: Arc<dyn Disk>) -> Result<Life, Error> {
        self.start_with(directory, |builder| builder.disk(disk))
    }

    /// As [`start`](Self::start), with other settings.
    pub fn start_with(
        &self,
        directory: &Path,
        configure: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
    ) -> Result<Life, Error> {
        // Every life begins at the same time: its clock is then behind the newest batch, whose time plus one interval is that of
        // the next. So batch n has the same time in every run, and windows and timeouts can be compared.
        let clock = ManualClock::at(START_MS);
        let builder = StreamingContext::builder("known")
            .checkpoint(directory)
            .batch_interval(INTERVAL)
            .checkpoint_every(CHECKPOINT_EVERY)
            .workers(2)
            .partitions(4)
            .backpressure(false)
            .job_version("1")
            .log_settings(WalSettings { segment_bytes: 3_000, reserve_bytes: 16 << 10, ..WalSettings::default() })
            .clock(clock.clone());
        let context = configure(builder).build()?;
        let (blocks, receiver) = Blocks::new();
        let available = Arc::new(AtomicU64::new(0));
        let received = context.receiver_stream("blocks", receiver);
        let read = context.direct_stream("ranges", Ranges(available.clone()));
        received
            .union(&read)
            .update_state_by_key("totals", |values: &[u64], total: Option<Total>| {
                let (mut count, mut fold) = total.unwrap_or_default();
                for value in values {
                    count += 1;
                    fold = fold.wrapping_mul(31).wrapping_add(*value);
                }
                Some((count, fold))
            })
            .sink("out", self.sink.clone());
        self.declare_timed(&received, &read);
        Ok(Life { running: context.start()?, blocks, available, clock })
    }

    /// Every other kind of state: windows, with and without an inverse, a join, and state with timeouts and initial entries.
    fn declare_timed<'c>(&self, received: &DStream<'c, (u64, u64)>, read: &DStream<'c, (u64, u64)>) {
        let (slide, length) = (2 * INTERVAL, 3 * INTERVAL);
        let fold = |a: u64, b: u64| a.wrapping_mul(31).wrapping_add(b);
        let sums =
            received.reduce_by_key_and_window_inverse("sums", u64::wrapping_add, u64::wrapping_sub, length, slide);
        let folds = read.window("plain", length, slide).reduce_by_key(fold);
        let joined =
            sums.full_outer_join(&folds).map(|(key, (sum, fold))| (key, (sum.unwrap_or(1), fold.unwrap_or(2))));
        joined.sink("windows out", self.windows.clone());

        let initial = (0..KEYS).map(|key| (1_000 + key, (key, 1)));
        let sessions = StateSpec::new("sessions").initial_state(initial).timeout(2 * INTERVAL);
        let sessions = read.map(|(key, value)| (key * 7, value)).map_with_state_and_time(
            sessions,
            move |time, key, value, state: &mut KeyedState<Total>| {
                let (count, so_far) = state.get().copied().unwrap_or_default();
                match value {
                    None => return Some((*key, (count, so_far ^ time.0))),
                    Some(value) if value % 5 == 0 && state.exists() => state.remove(),
                    Some(value) => state.update((count + 1, fold(so_far, value))),
                }
                (count % 3 == 0).then_some((*key, (count, so_far)))
            },
        );
        let counts = received.count_by_window("count", length, INTERVAL).map(|count| (0, (count, 0)));
        let merged = received.reduce_by_key_and_window("merged", fold, length, INTERVAL).map_values(|value| (0, value));
        sessions.union(&counts).union(&merged).sink("timed out", self.timed.clone());
    }

    /// Sinks that hold what these hold, and go on by themselves.
    pub fn copy(&self) -> Self {
        let [sink, timed, windows] = [&self.sink, &self.timed, &self.windows].map(copy_of);
        Self { sink, timed, windows }
    }

    /// The partitions of every batch that was published, in the order of publication; each batch is there once.
    pub fn published(&self) -> Vec<(BatchId, Vec<Vec<Entry>>)> {
        self.sink.batches().into_iter().map(|batch| (batch.batch, batch.partitions)).collect()
    }

    /// As [`published`](Self::published), of each lineage that was let in, in their order; one that published nothing is left out.
    pub fn published_by_lineage(&self) -> Vec<Vec<(BatchId, Vec<Vec<Entry>>)>> {
        let mut lineages: Vec<_> = self.sink.fences().into_iter().map(|(_, lineage)| lineage).collect();
        lineages.dedup();
        let of = |lineage| {
            let batches = self.sink.batches().into_iter().filter(move |batch| batch.lineage == lineage);
            batches.map(|batch| (batch.batch, batch.partitions)).collect::<Vec<_>>()
        };
        lineages.into_iter().map(of).filter(|batches| !batches.is_empty()).collect()
    }

    /// What came of the batches of a whole run where results depend on time: batches with their times and partitions.
    pub fn timed(&self) -> Vec<TimedBatch> {
        let sinks = [&self.timed, &self.windows];
        let batches = sinks.into_iter().flat_map(MemorySink::batches).filter(|batch| batch.batch.0 <= BATCHES);
        batches.map(|batch| (batch.batch, batch.time, batch.partitions)).collect()
    }
}

fn copy_of(sink: &MemorySink<Entry>) -> MemorySink<Entry> {
    let mut copy = MemorySink::new();
    for (epoch, lineage) in sink.fences() {
        copy.fence(epoch, lineage).expect("fences rise");
        for batch in sink.batches().iter().filter(|batch| (batch.epoch, batch.lineage) == (epoch, lineage)) {
            copy.publish(batch).expect("an empty sink takes what another one has taken");
        }
    }
    copy
}

impl Life {
    /// Goes on to batch `last`, from wherever the job stands.
    pub fn run_to(&self, last: u64) -> Result<(), Error> {
        loop {
            let published = self.running.wait_until(|status| status.published == status.planned)?.published.0;
            if published >= last {
                return Ok(());
            }
            self.run_batch(published + 1)?;
        }
    }

    /// Stores block `number` ahead of its batch, and says whether it was acknowledged.
    pub fn store(&self, number: u64) -> bool {
        self.blocks.send(number)
    }

    /// Gives the job what batch `number` is made of, and ticks.
    fn run_batch(&self, number: u64) -> Result<(), Error> {
        if !self.blocks.send(number) {
            // The log has failed, or the job has ended: its own error says more than the receiver's.
            self.running.stop(false)?;
            panic!("block {number} was refused by a job that is well");
        }
        self.available.store(number, Ordering::SeqCst);
        let interval = INTERVAL.as_millis() as u64;
        self.clock.advance_to(self.clock.epoch_ms() / interval * interval + interval);
        self.running.wait_until(|status| status.planned.0 >= number && status.published == status.planned)?;
        if self.running.recovery().is_fresh() && number.is_multiple_of(CHECKPOINT_EVERY) {
            // Not needed by the job; it keeps the durable steps of all first lives in nearly the same order.
            self.running.wait_until(|status| status.checkpoint.0 == number)?;
        }
        Ok(())
    }

    /// The whole state, sorted.
    pub fn totals(&self) -> Result<Vec<Entry>, Error> {
        let mut totals: Vec<Entry> = self.running.state::<u64, Total>("totals")?.iter()?.collect();
        totals.sort_unstable();
        Ok(totals)
    }
}

/// The test's end of the receiver.
struct Blocks(tokio::sync::mpsc::UnboundedSender<Push>);

struct Push {
    number: u64,
    stored: mpsc::Sender<bool>,
}

impl Blocks {
    fn new() -> (Self, BlockReceiver) {
        let (pushes, taken) = tokio::sync::mpsc::unbounded_channel();
        (Self(pushes), BlockReceiver(taken))
    }

    /// Sends a block and says whether it was acknowledged.
    fn send(&self, number: u64) -> bool {
        let (stored, answer) = mpsc::channel();
        self.0.send(Push { number, stored }).is_ok() && answer.recv().unwrap_or(false)
    }
}

struct BlockReceiver(tokio::sync::mpsc::UnboundedReceiver<Push>);

impl Receiver for BlockReceiver {
    type Item = (u64, u64);

    async fn on_start(&mut self, context: ReceiverContext<(u64, u64)>) -> Result<(), ReceiverError> {
        loop {
            let push = tokio::select! {
                push = self.0.recv() => push,
                () = context.stopped() => return Ok(()),
            };
            let Some(Push { number, stored }) = push else { return Ok(()) };
            let outcome = context.store_block_at(Position(number), block(number)).await;
            if stored.send(outcome.is_ok()).is_err() {
                return Err("the test has gone".into());
            }
            if outcome.is_err() {
                // No restart: the answers to what the test sends meanwhile are dropped.
                self.0.close();
                while self.0.recv().await.is_some() {}
                return Ok(());
            }
        }
    }
}

/// A direct source that offers range *n* as soon as it may.
struct Ranges(Arc<AtomicU64>);

struct RangesReader;

impl DirectSource for Ranges {
    type Item = (u64, u64);
    type Range = u64;
    type Position = u64;

    fn offer(&mut self, position: &u64, _limits: &OfferLimits) -> Result<Vec<u64>, SourceError> {
        Ok((position + 1..=self.0.load(Ordering::SeqCst)).collect())
    }

    fn advance(position: &mut u64, range: &u64) {
        *position = *range;
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = (u64, u64), Range = u64>> {
        Arc::new(RangesReader)
    }
}

impl RangeReader for RangesReader {
    type Item = (u64, u64);
    type Range = u64;

    fn read(&self, range: &u64, emit: &mut dyn FnMut((u64, u64))) -> Result<ReadSummary, SourceError> {
        (range * RANGE_RECORDS..(range + 1) * RANGE_RECORDS).map(ranged).for_each(emit);
        Ok(ReadSummary { records: RANGE_RECORDS, failed: 0 })
    }
}

/// What a plain run comes to.
pub struct Plain {
    pub published: Vec<(BatchId, Vec<Vec<Entry>>)>,
    pub timed: Vec<TimedBatch>,
    pub totals: Vec<Entry>,
}

impl Plain {
    /// Compares a run that was interrupted, now in its last life, with the plain one.
    pub fn check(&self, world: &World, life: &Life) -> Result<(), String> {
        let totals = life.totals().map_err(|error| format!("the state cannot be read: {error}"))?;
        if totals != self.totals {
            return Err(format!("the state differs: expected {:?}, found {totals:?}", self.totals));
        }
        for (found, expected) in world.timed().iter().zip(&self.timed) {
            if found != expected {
                return Err(format!("a timed batch differs: expected {expected:?}, found {found:?}"));
            }
        }
        if world.timed().len() != self.timed.len() {
            return Err(format!("{} timed batches: expected {}", world.timed().len(), self.timed.len()));
        }
        let published = world.published();
        for (index, (batch, partitions)) in published.iter().enumerate() {
            if batch.0 != index as u64 + 1 {
                return Err(format!("batch {batch} was published as number {}", index + 1));
            }
            // Batches after the last one have no input, and put out the same state again.
            let expected = &self.published[index.min(self.published.len() - 1)].1;
            if partitions != expected {
                return Err(format!("batch {batch} differs: expected {expected:?}, found {partitions:?}"));
            }
        }
        match published.len() < self.published.len() {
            true => Err(format!("only {} of {} batches were published", published.len(), self.published.len())),
            false => Ok(()),
        }
    }
}
