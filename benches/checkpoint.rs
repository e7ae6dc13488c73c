//! What a checkpoint costs when little of the state changed: time and bytes must follow the change, not the state.
//!
//! `cargo bench --bench checkpoint [rounds]`: for two sizes of state, 1,000 changed keys per checkpoint; median, mean and
//! largest of time and new bytes, the restart, and the speed of the table by itself.

mod common;

use std::time::{Duration, Instant};

use common::Result;
use common::table::{self, Figure};
use floodmark::testing::CheckpointTrial;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const CHANGED: usize = 1_000;

fn main() -> Result<()> {
    println!("{}", table::machine());
    [10_000, 1_000_000].into_iter().try_for_each(|keys| measure(keys, common::rounds(40)))
}

fn measure(keys: u64, rounds: usize) -> Result<()> {
    let place =
        tempfile::Builder::new().prefix("checkpoint-bench").tempdir_in("target").expect("a directory under target");
    let mut random = StdRng::seed_from_u64(keys);
    let mut trial = CheckpointTrial::start(place.path());
    println!("\n{keys} keys, {CHANGED} changed per checkpoint, {rounds} checkpoints");

    let (_, took) = timed(|| trial.count(0..keys));
    println!("  first insertion        {took:>10.2?}   {}", per_second(keys, took));
    let (bytes, took) = timed(|| trial.checkpoint());
    println!("  first checkpoint       {took:>10.2?}   {bytes} bytes");
    let ((found, sum), took) = timed(|| trial.pass());
    assert_eq!((found as u64, sum), (keys, keys));
    println!("  pass in order          {took:>10.2?}   {}", per_second(keys, took));
    println!("  table                  {:>8} KiB", trial.memory_bytes() >> 10);

    let mut times = Vec::new();
    let mut sizes = Vec::new();
    for _ in 0..rounds {
        trial.count((0..CHANGED).map(|_| random.random_range(0..keys)));
        let (bytes, took) = timed(|| trial.checkpoint());
        times.push(took);
        sizes.push(bytes);
    }
    report(keys, times, sizes)?;
    let (_, took) = timed(|| trial.count(0..keys));
    println!("  update of every key    {took:>10.2?}   {}", per_second(keys, took));
    trial.checkpoint();
    let expected = keys * 2 + (rounds * CHANGED) as u64;

    trial.end();
    let (trial, took) = timed(|| CheckpointTrial::start(place.path()));
    println!("  restart and load       {took:>10.2?}");
    assert_eq!(trial.pass(), (keys as usize, expected), "what was counted is what was restored");
    trial.end();
    Ok(())
}

fn report(keys: u64, mut times: Vec<Duration>, mut sizes: Vec<u64>) -> Result<()> {
    times.sort_unstable();
    sizes.sort_unstable();
    let (Some(longest), Some(largest)) = (times.last(), sizes.last()) else { return Ok(()) };
    let middle = times.len() / 2;
    let mean_time = times.iter().sum::<Duration>() / times.len() as u32;
    let mean_size = sizes.iter().sum::<u64>() / sizes.len() as u64;
    println!("  time                   median {:.2?}, mean {mean_time:.2?}, longest {longest:.2?}", times[middle]);
    println!("  new bytes              median {}, mean {mean_size}, largest {largest}", sizes[middle]);
    let time = Figure::of(times.iter().map(Duration::as_secs_f64)).show(|seconds| format!("{:.1} ms", seconds * 1e3));
    let figure = format!("{time}, {} KB", sizes[middle] / 1000);
    table::enter(&format!("a checkpoint of {CHANGED} changed of {keys} keys"), &figure, "")
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = act();
    (result, started.elapsed())
}

fn per_second(count: u64, took: Duration) -> String {
    format!("{:.1} million a second", count as f64 / took.as_secs_f64() / 1e6)
}
