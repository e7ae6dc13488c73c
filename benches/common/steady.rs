//! A steady load on `map_with_state`: 200,000 words a second in blocks of 2,000, on a state of so many keys; and what is seen of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use floodmark::{Batch, BatchId, CheckpointCompleted, KeyedState, Queue, Running, StreamingContext, StreamingListener};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Result;

const BLOCK: usize = 2_000;
const EVERY: Duration = Duration::from_millis(10);
/// How long the load runs before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);

type Pair = (u64, u64);

/// What was seen while the load ran, behind the warm-up.
#[derive(Default)]
pub struct Seen {
    /// Of each block from the log's acknowledgement to its published result.
    pub blocks: Vec<Duration>,
    /// Of each batch, by its number: from its tick to its published result.
    pub batches: BTreeMap<BatchId, Span>,
    /// The writing of each checkpoint, by the batch at whose end the state was frozen.
    pub checkpoints: BTreeMap<BatchId, Span>,
}

impl Seen {
    /// How long the batches took at whose end state was frozen or beside which a checkpoint was written, and the others.
    pub fn beside_checkpoints(&self) -> (Vec<Duration>, Vec<Duration>) {
        let is_beside = |(batch, span): &(&BatchId, &Span)| {
            self.checkpoints.contains_key(batch) || self.checkpoints.values().any(|writing| writing.meets(span))
        };
        let (beside, others): (Vec<_>, Vec<_>) = self.batches.iter().partition(is_beside);
        let times = |batches: Vec<(&BatchId, &Span)>| batches.into_iter().map(|(_, span)| span.took).collect();
        (times(beside), times(others))
    }
}

/// Something that took its time.
#[derive(Clone, Copy)]
pub struct Span {
    end: Instant,
    took: Duration,
}

impl Span {
    fn meets(&self, other: &Span) -> bool {
        self.end >= other.end - other.took && other.end >= self.end - self.took
    }
}

/// Runs the load for so long, in batches of `interval`, with a checkpoint every five of them.
pub fn run(keys: u64, interval: Duration, lasting: Duration) -> Result<Seen> {
    let place = super::scratch()?;
    let clocks = Arc::new(Mutex::new(Clocks::default()));
    let context = StreamingContext::builder("steady")
        .checkpoint(place.path().join("state"))
        .batch_interval(interval)
        .checkpoint_every(5)
        .workers(2)
        .listener(Checkpoints(clocks.clone()))
        .build()?;
    let (input, pairs) = context.queue_stream::<Pair>("words");
    // The state counts; what comes out is the number of the block, for the one who waits for it.
    let counted = pairs.map_with_state("counts", |_key, block, count: &mut KeyedState<u64>| {
        count.update(count.get().unwrap_or(&0) + 1);
        block.unwrap_or_default()
    });
    let results = clocks.clone();
    counted.reduce(u64::max).foreach_rdd(move |batch, newest| {
        results.lock().unwrap().published(batch, newest.iter().copied().max().unwrap_or_default());
    });
    let running = context.start()?;
    load(&running, &input, keys)?;
    clocks.lock().unwrap().begin();
    let pushed = push(&input, keys, &clocks, WARM_UP + lasting)?;
    running.wait_until(|status| status.records == keys + pushed * BLOCK as u64)?;
    running.stop(true)?;
    let seen = std::mem::take(&mut clocks.lock().unwrap().seen);
    Ok(seen)
}

/// What the pusher, the output and the listener note.
#[derive(Default)]
struct Clocks {
    measured_from: Option<Instant>,
    /// When each block was acknowledged, that is not yet published.
    acknowledged: Vec<Instant>,
    /// The newest block that is published.
    newest: u64,
    seen: Seen,
}

impl Clocks {
    fn begin(&mut self) {
        self.measured_from = Some(Instant::now() + WARM_UP);
    }

    fn is_measured(&self, now: Instant) -> bool {
        self.measured_from.is_some_and(|from| now >= from)
    }

    fn published(&mut self, batch: Batch, newest: u64) {
        let (now, epoch) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let blocks = newest.saturating_sub(self.newest) as usize;
        self.newest = self.newest.max(newest);
        let waited: Vec<Duration> = self.acknowledged.drain(..blocks).map(|since| now - since).collect();
        if self.is_measured(now) {
            self.seen.blocks.extend(waited);
            let took = epoch.saturating_sub(Duration::from_millis(batch.time.0));
            self.seen.batches.insert(batch.id, Span { end: now, took });
        }
    }
}

struct Checkpoints(Arc<Mutex<Clocks>>);

impl StreamingListener for Checkpoints {
    fn on_checkpoint_completed(&mut self, completed: &CheckpointCompleted) {
        let (now, mut clocks) = (Instant::now(), self.0.lock().unwrap());
        if clocks.is_measured(now) {
            let took = Duration::from_millis(completed.duration_ms);
            clocks.seen.checkpoints.insert(completed.batch, Span { end: now, took });
        }
    }
}

/// Gives every key its state.
fn load(running: &Running, input: &Queue<Pair>, keys: u64) -> Result<()> {
    for first in (0..keys).step_by(100_000) {
        input.push((first..keys.min(first + 100_000)).map(|key| (key, 0)).collect())?;
    }
    running.wait_until(|status| status.records == keys && !status.checkpointing)?;
    Ok(())
}

/// Pushes a block every ten milliseconds, however late the one before was; says how many.
fn push(input: &Queue<Pair>, keys: u64, clocks: &Mutex<Clocks>, lasting: Duration) -> Result<u64> {
    let (begin, mut random) = (Instant::now(), StdRng::seed_from_u64(1));
    let blocks = (lasting.as_millis() / EVERY.as_millis()) as u64;
    for number in 1..=blocks {
        let block = (0..BLOCK).map(|_| (random.random_range(0..keys), number)).collect();
        thread::sleep((begin + EVERY * number as u32).saturating_duration_since(Instant::now()));
        // Entered before the push, and set anew after it: a result may be there before the pusher runs again.
        let at = {
            let mut clocks = clocks.lock().unwrap();
            clocks.acknowledged.push(Instant::now());
            clocks.newest as usize + clocks.acknowledged.len()
        };
        input.push(block)?;
        let (now, mut clocks) = (Instant::now(), clocks.lock().unwrap());
        let newest = clocks.newest as usize;
        if at > newest {
            clocks.acknowledged[at - newest - 1] = now;
        }
    }
    Ok(blocks)
}
