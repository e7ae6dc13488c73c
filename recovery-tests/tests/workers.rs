//! Results do not depend on the number of workers (I-3): output and state are the same record for record, also when the
//! number changes at a restart in the middle.

mod common;

use std::collections::BTreeMap;

use common::place::{Place, Started};
use common::scramble;
use floodmark::{BatchId, MemorySink, Queue, StreamingContext};

const BATCHES: u64 = 8;
const BLOCKS: u64 = 5;
const SEEDS: [u64; 4] = [1, 7, 0xf100d, 987_654_321];

type Pair = (u64, u64);
/// The partitions of every batch, by output.
type Output = BTreeMap<(&'static str, BatchId), Vec<Vec<Pair>>>;

#[derive(Clone, Default)]
struct Sinks {
    narrow: MemorySink<Pair>,
    merged: MemorySink<Pair>,
    state: MemorySink<Pair>,
}

impl Sinks {
    fn output(&self) -> Output {
        let sinks = [("narrow", &self.narrow), ("merged", &self.merged), ("state", &self.state)];
        let batches =
            sinks.into_iter().flat_map(|(name, sink)| sink.batches().into_iter().map(move |batch| (name, batch)));
        batches.map(|(name, batch)| ((name, batch.batch), batch.partitions)).collect()
    }
}

/// Narrow operators, a merge that depends on the order of its values, state that depends on it, and a second shuffle.
fn declare(context: &StreamingContext, sinks: &Sinks) -> Queue<u64> {
    let (numbers, stream) = context.queue_stream::<u64>("numbers");
    let pairs = stream.filter(|number| number % 11 > 0).map(|number| (number % 97, number));
    pairs.sink("narrow", sinks.narrow.clone());
    let merged = pairs.reduce_by_key(|a, b| a.wrapping_mul(31).wrapping_add(b));
    merged.sink("merged", sinks.merged.clone());
    let state = merged.map(|(key, value)| (key % 13, value)).update_state_by_key(
        "state",
        |values: &[u64], old: Option<u64>| {
            Some(values.iter().fold(old.unwrap_or(17), |fold, value| fold.wrapping_mul(131).wrapping_add(*value)))
        },
    );
    state.sink("out", sinks.state.clone());
    numbers
}

fn run(seed: u64, workers_of_batch: impl Fn(u64) -> u32) -> (Output, Vec<Pair>) {
    let (place, sinks) = (Place::default(), Sinks::default());
    let start =
        |workers: u32| place.start(|builder| builder.workers(workers), |context| declare(context, &sinks)).unwrap();
    let mut life: (u32, Started<Queue<u64>>) = (workers_of_batch(1), start(workers_of_batch(1)));
    for batch in 1..=BATCHES {
        let workers = workers_of_batch(batch);
        if workers != life.0 {
            drop(life); // as a crash does, so that batches are recomputed by another number of workers
            life = (workers, start(workers));
        }
        for block in 0..BLOCKS {
            let size = scramble(seed ^ (batch << 20) ^ block) % 300;
            let records = (0..size).map(|index| scramble(seed.wrapping_mul(batch * 1_000 + block) ^ index)).collect();
            life.1.handles.push(records).unwrap();
        }
        life.1.run_batch().unwrap();
    }
    let mut state: Vec<Pair> = life.1.running.state::<u64, u64>("state").unwrap().iter().unwrap().collect();
    state.sort_unstable();
    (sinks.output(), state)
}

#[test]
fn one_two_and_four_workers_put_out_the_same_records_in_the_same_order() {
    for seed in SEEDS {
        let one = run(seed, |_| 1);
        assert_eq!(one.0.len(), 3 * BATCHES as usize);
        for workers in [2, 4] {
            assert_eq!(one, run(seed, |_| workers), "seed {seed}, {workers} workers");
        }
    }
}

#[test]
fn the_number_of_workers_may_change_at_any_restart() {
    for seed in SEEDS {
        let one = run(seed, |_| 1);
        let changing = run(seed, |batch| [1, 2, 4, 3][(scramble(seed + batch) % 4) as usize]);
        assert_eq!(one, changing, "seed {seed}");
        // A batch after the checkpoint is recomputed by four, and compared with the digest of two.
        assert_eq!(one, run(seed, |batch| if batch <= 5 { 2 } else { 4 }), "seed {seed}");
    }
}
