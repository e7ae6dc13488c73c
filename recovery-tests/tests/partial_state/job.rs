//! The job of these tests, its input, and what is seen of it.

use std::collections::BTreeMap;

use floodmark::{BatchId, KeyedState, MemorySink, Queue, StreamingContext};

use crate::common::place::Started;
use crate::common::scramble;

pub type Pair = (u64, u64);
pub type Life = Started<Queue<Pair>>;
/// The partitions of every batch that was put out.
pub type PutOut = Vec<(BatchId, Vec<Vec<Pair>>)>;

pub const KEYS: u64 = 2_000;
pub const SEEDS: [u64; 3] = [3, 0xf100d, 20_261_121];

/// Adds to a key's sum; a value that 7 divides removes the key, one that 5 divides only looks.
pub fn add(key: &u64, value: Option<u64>, sum: &mut KeyedState<u64>) -> Pair {
    let value = value.unwrap_or(0);
    let now = sum.get().unwrap_or(&0).wrapping_mul(31).wrapping_add(value);
    if value.is_multiple_of(7) {
        if sum.exists() {
            sum.remove();
        }
    } else if !value.is_multiple_of(5) {
        sum.update(now);
    }
    (*key, now)
}

/// An operator that touches some keys, and behind it one that needs all of its state at once.
pub fn declare(context: &StreamingContext, sink: &MemorySink<Pair>) -> Queue<Pair> {
    let (queue, pairs) = context.queue_stream::<Pair>("pairs");
    let sums = pairs.map_with_state("sums", add);
    sums.sink("out", sink.clone());
    sums.map(|(key, sum)| (key % 17, sum)).update_state_by_key("classes", |new: &[u64], old: Option<u64>| {
        Some(new.iter().fold(old.unwrap_or(1), |fold, sum| fold.wrapping_mul(131).wrapping_add(*sum)))
    });
    queue
}

pub fn records(seed: u64, batch: u64) -> Vec<Pair> {
    let count = if batch <= 2 { 1_500 } else { scramble(seed ^ batch) % 60 };
    (0..count)
        .map(|index| {
            let random = scramble(seed.wrapping_mul(batch * 100_000 + index));
            (random % KEYS, random >> 32)
        })
        .collect()
}

/// What is seen of a job after a batch: fingerprints of all state, the number of keys, the states of some.
pub type Seen = (Vec<(String, u64, u64)>, u64, Vec<Option<u64>>);

pub fn look(life: &Life, batch: u64) -> Seen {
    let sums = life.running.state::<u64, u64>("sums").unwrap();
    let keys: Vec<u64> = (0..20).map(|index| scramble(batch * 50 + index) % (KEYS + 10)).collect();
    let some = sums.get_many(&keys).unwrap();
    let fingerprints = life.running.fingerprints().unwrap();
    (fingerprints, life.running.status().keys, keys.iter().map(|key| some.get(key).copied()).collect())
}

/// Runs a batch, and waits until no checkpoint is being written.
pub fn run_one(life: &Life, records: Vec<Pair>) {
    life.handles.push(records).unwrap();
    life.run_batch().unwrap();
    life.running.wait_until(|status| !status.checkpointing).unwrap();
}

/// What a sink holds.
pub fn put_out(sink: &MemorySink<Pair>) -> PutOut {
    sink.batches().into_iter().map(|batch| (batch.batch, batch.partitions)).collect()
}

/// Fails at the first batch in which two runs differ.
pub fn same(one: &(BTreeMap<u64, Seen>, PutOut), other: &(BTreeMap<u64, Seen>, PutOut), what: &str) {
    for ((batch, one), (_, other)) in one.0.iter().zip(&other.0) {
        assert_eq!(one, other, "{what}: seen after batch {batch}");
    }
    for ((batch, one), (number, other)) in one.1.iter().zip(&other.1) {
        assert!(batch == number && one == other, "{what}: batch {batch} put out {one:?}, batch {number} {other:?}");
    }
    assert_eq!((one.0.len(), one.1.len()), (other.0.len(), other.1.len()), "{what}");
}
