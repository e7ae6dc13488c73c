//! What a batch costs that uses 1,000 keys of many: the operators whose cost follows the keys used, beside the one that
//! visits every key, and windows that follow what enters and leaves.
//!
//! `cargo bench --bench state [keys]`: a million keys unless told. Each operator runs in a job of its own, over the same records;
//! time from the tick to the published batch, median of 60 batches, with the log (two syncs a batch) and with the log off (what is
//! left is computing, and the way between the threads).
#![allow(clippy::disallowed_methods)] // a measurement reads the real clock

use std::time::{Duration, Instant};

use floodmark::{Clock, DStream, KeyedState, ManualClock, Queue, Running, StateSpec, StreamingContext};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const USED: usize = 1_000;
const BATCHES: usize = 60;
const INTERVAL: Duration = Duration::from_millis(100);
/// A window of as many batches as are measured, so that it holds all keys of the load for a while.
const LENGTH: Duration = Duration::from_millis(100 * (BATCHES as u64 + 20));

type Declare = fn(DStream<'_, (u64, u64)>);

/// Every operator with its name; nothing reads what they put out, as in a job whose state is only asked.
const OPERATORS: [(&str, Declare); 5] = [
    ("update_state_by_key", |pairs| {
        pairs.update_state_by_key("state", |new: &[u64], sum: Option<u64>| {
            Some(sum.unwrap_or(0) + new.iter().sum::<u64>())
        });
    }),
    ("map_with_state", |pairs| {
        pairs.map_with_state("state", add);
    }),
    ("map_with_state, timeout", |pairs| {
        pairs.map_with_state(StateSpec::new("state").timeout(LENGTH), add);
    }),
    ("window, inverse", |pairs| {
        pairs.reduce_by_key_and_window_inverse("state", |a, b| a + b, |a, b| a - b, LENGTH, INTERVAL);
    }),
    ("window, reduced anew", |pairs| {
        pairs.reduce_by_key_and_window("state", |a, b| a + b, LENGTH, INTERVAL).count().print(0);
    }),
];

fn add(_key: &u64, value: Option<u64>, sum: &mut KeyedState<u64>) {
    if let Some(value) = value {
        sum.update(sum.get().unwrap_or(&0) + value);
    }
}

fn main() {
    let keys = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    println!("{USED} of {keys} keys used per batch, 2 workers, median of {BATCHES} batches");
    println!("{:<26}{:>14}{:>14}{:>14}", "", "with the log", "log off", "times cheaper");
    let mut every_key = None;
    for (name, declare) in OPERATORS {
        let (logged, computed) = (measure(keys, declare, true), measure(keys, declare, false));
        let reference = *every_key.get_or_insert(computed);
        let times = reference.as_secs_f64() / computed.as_secs_f64();
        println!("{name:<26}{:>14}{:>14}{times:>14.1}", format!("{logged:.2?}"), format!("{computed:.2?}"));
    }
}

/// The median time of a batch.
fn measure(keys: u64, declare: Declare, log: bool) -> Duration {
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
    declare(pairs);
    let running = context.start().expect("the job starts");
    for first in (0..keys).step_by(100_000) {
        input.push((first..keys.min(first + 100_000)).map(|key| (key, 1)).collect()).expect("the job takes blocks");
    }
    while running.status().records < keys {
        run_batch(&clock, &running);
    }
    let mut random = StdRng::seed_from_u64(1);
    let mut times: Vec<Duration> = (0..BATCHES).map(|_| batch(&clock, &running, &input, keys, &mut random)).collect();
    assert_eq!(running.status().keys, keys);
    times.sort_unstable();
    times[BATCHES / 2]
}

fn batch(
    clock: &ManualClock,
    running: &Running,
    input: &Queue<(u64, u64)>,
    keys: u64,
    random: &mut StdRng,
) -> Duration {
    input.push((0..USED).map(|_| (random.random_range(0..keys), 1)).collect()).expect("the job takes blocks");
    run_batch(clock, running)
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
