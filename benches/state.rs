//! What a batch costs that uses 1,000 keys of many: the operators whose cost follows the keys used, beside the one that
//! visits every key, and windows that follow what enters and leaves.
//!
//! `cargo bench --bench state [keys] [used]`: 1,000 of a million keys unless told. Each operator runs in a job of its own, over
//! the same records; time from the tick to the published batch, median of 200 batches: with the log (two syncs a batch); with the log off (what is left
//! is computing, and the way between the threads); and so that something downstream reads what the operator puts out, which for
//! some is every key. The first row is a job without state: what a batch costs anyhow. In brackets: how many times cheaper than
//! `update_state_by_key` an operator is, beyond that. In the end: `map_with_state` with 10,000 keys, and with up to 10 million.

mod common;

use std::time::{Duration, Instant};

use common::{Result, table};
use floodmark::{Clock, DStream, KeyedState, ManualClock, Record, Running, StateSpec, StreamingContext};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const BATCHES: usize = 200;
const INTERVAL: Duration = Duration::from_millis(100);
/// A window of as many batches as are measured, so that it holds all keys of the load for a while.
const LENGTH: Duration = Duration::from_millis(100 * (BATCHES as u64 + 20));

type Declare = fn(DStream<'_, (u64, u64)>, Read);

/// Whether anything downstream reads what an operator puts out; if not, only its state is kept.
type Read = bool;

/// Every operator with its name.
const OPERATORS: [(&str, Declare); 6] = [
    ("nothing", |pairs, read| consume(&pairs, read)),
    ("update_state_by_key", |pairs, read| {
        let add = |new: &[u64], sum: Option<u64>| Some(sum.unwrap_or(0) + new.iter().sum::<u64>());
        consume(&pairs.update_state_by_key("state", add), read);
    }),
    ("map_with_state", |pairs, read| consume(&pairs.map_with_state("state", add), read)),
    ("map_with_state, timeout", |pairs, read| {
        consume(&pairs.map_with_state(StateSpec::new("state").timeout(LENGTH), add), read);
    }),
    ("window, inverse", |pairs, read| {
        let sums = pairs.reduce_by_key_and_window_inverse("state", |a, b| a + b, |a, b| a - b, LENGTH, INTERVAL);
        consume(&sums, read);
    }),
    ("window, reduced anew", |pairs, read| {
        consume(&pairs.reduce_by_key_and_window("state", |a, b| a + b, LENGTH, INTERVAL), read);
    }),
];

/// Counts what comes, which is about the least that one can do with it.
fn consume<T: Record>(stream: &DStream<'_, T>, read: Read) {
    if read {
        stream.count().foreach_rdd(|_, _| {});
    }
}

fn add(key: &u64, value: Option<u64>, sum: &mut KeyedState<u64>) -> (u64, u64) {
    let now = sum.get().unwrap_or(&0) + value.unwrap_or(0);
    if value.is_some() {
        sum.update(now);
    }
    (*key, now)
}

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let keys = numbers.next().unwrap_or(1_000_000);
    let used = numbers.next().unwrap_or(1_000) as usize;
    println!("{}", table::machine());
    println!("{used} of {keys} keys used per batch, 2 workers, median of {BATCHES} batches");
    println!("{:<26}{:>24}{:>24}{:>24}", "", "with the log, not read", "log off, not read", "log off, read");
    let mut measured: Vec<[Duration; 3]> = Vec::new();
    for (name, declare) in OPERATORS {
        let times =
            [(true, false), (false, false), (false, true)].map(|(log, read)| measure(keys, used, declare, log, read));
        measured.push(times);
        let cell = |column: usize| match measured.as_slice() {
            [nothing, every_key, ..] => {
                let beyond =
                    |times: &[Duration; 3]| times[column].saturating_sub(nothing[column]).as_secs_f64().max(1e-6);
                format!("{:.2?} ({:.1})", times[column], beyond(every_key) / beyond(&times))
            }
            _ => format!("{:.2?}", times[column]),
        };
        println!("{name:<26}{:>24}{:>24}{:>24}", cell(0), cell(1), cell(2));
    }
    among_many(used)
}

/// What it costs that there are many keys which a batch does not use.
fn among_many(used: usize) -> Result<()> {
    const FEW: u64 = 10_000;
    let (_, map_with_state) = OPERATORS[2];
    let few = measure(FEW, used, map_with_state, false, false);
    println!("map_with_state, log off, not read: {used} of {FEW} keys {few:.2?}");
    for keys in [1_000_000, 10_000_000] {
        let many = measure(keys, used, map_with_state, false, false);
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("  of {keys} keys {many:.2?}: {ratio:.2} times that");
        let what = format!("a batch of map_with_state that uses {used} of {keys} keys / of {FEW}");
        table::enter(&what, &format!("{ratio:.2} ({many:.2?} and {few:.2?})"), "1.5")?;
    }
    Ok(())
}

/// The median time of a batch.
fn measure(keys: u64, used: usize, declare: Declare, log: bool, read: Read) -> Duration {
    let place = tempfile::Builder::new().prefix("state-bench").tempdir_in("target").expect("a directory under target");
    let clock = ManualClock::at(1_700_000_000_000);
    let builder = StreamingContext::builder("state-bench")
        .checkpoint(place.path().join("state"))
        .batch_interval(INTERVAL)
        .recovery_target(Duration::from_secs(3_600))
        .checkpoint_every(1_000_000)
        .workers(2)
        .clock(clock.clone());
    let context = if log { builder } else { builder.log_switched_off() }.build().expect("the settings are right");
    let (input, pairs) = context.queue_stream::<(u64, u64)>("pairs");
    declare(pairs, read);
    let running = context.start().expect("the job starts");
    for first in (0..keys).step_by(100_000) {
        input.push((first..keys.min(first + 100_000)).map(|key| (key, 1)).collect()).expect("the job takes blocks");
    }
    while running.status().records < keys {
        run_batch(&clock, &running);
    }
    let mut random = StdRng::seed_from_u64(1);
    let mut times: Vec<Duration> = (0..BATCHES)
        .map(|_| {
            let records = (0..used).map(|_| (random.random_range(0..keys), 1)).collect();
            input.push(records).expect("the job takes blocks");
            run_batch(&clock, &running)
        })
        .collect();
    assert!([0, keys].contains(&running.status().keys), "every key has state, if the operator keeps any");
    times.sort_unstable();
    times[BATCHES / 2]
}

fn run_batch(clock: &ManualClock, running: &Running) -> Duration {
    let before = running.status().planned;
    let started = Instant::now();
    clock.advance_to(clock.epoch_ms() + INTERVAL.as_millis() as u64);
    running
        .wait_until(|status| status.planned > before && status.published == status.planned)
        .expect("the job goes on");
    started.elapsed()
}
