//! The most popular hashtags of the last minute, every ten seconds.
//!
//! ```text
//! cargo run --release --example top_k
//! ```
//!
//! Three minutes of generated posts, on a clock that runs as fast as the machine can. Counting follows what enters and leaves the
//! window; the ranking is made of the best of each partition.

mod common;

use std::cmp::Reverse;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark::{Rdd, Text};

use common::simulation::{Simulation, clock_time};

const WINDOW: Duration = Duration::from_secs(60);
const SLIDE: Duration = Duration::from_secs(10);
const SECONDS: u64 = 180;
const K: usize = 3;

/// The posts of a second. What people talk about drifts from one tag to the next.
fn posts(second: u64) -> Vec<Text> {
    let tag = |n: u64| ["flood", "rain", "bridge", "boats", "helpers", "sun"][(n % 6) as usize];
    let trending = second / 30;
    (0..second % 7 + 3)
        .map(|n| Text::from(format!("post {n} about #{} and #{}", tag(trending + n / 4), tag(second * 7 + n * n))))
        .collect()
}

/// Ranks by count, then by name.
fn rank((tag, count): &(Text, u64)) -> (Reverse<u64>, Text) {
    (Reverse(*count), tag.clone())
}

/// The first tags of each window, by its end in milliseconds.
type Rankings = Vec<(u64, Vec<(Text, u64)>)>;

fn main() -> ExitCode {
    common::exit(run().map(|rankings| {
        for (end_ms, tags) in rankings {
            let tags: Vec<String> = tags.iter().map(|(tag, count)| format!("{tag} {count}")).collect();
            println!("{}  {}", clock_time(end_ms), tags.join(", "));
        }
    }))
}

fn run() -> Result<Rankings, Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let simulation = Simulation::new(Duration::from_secs(1));
    let context = simulation.builder("top-k", &place.path().join("state")).build()?;

    let (input, stream) = context.queue_stream::<Text>("posts");
    let rankings = Arc::new(Mutex::new(Rankings::new()));
    let results = rankings.clone();
    stream
        .flat_map(Text::split_words)
        .filter(|word| word.starts_with('#'))
        .count_by_value_and_window("tags of a minute", WINDOW, SLIDE)
        // The best of each partition, on all workers; then one ranking of few records.
        .map_partitions(|tags| Rdd::from_records(tags.collect()).sort_by(rank).take(K))
        .transform(|_time, tags| Rdd::from_records(tags.sort_by(rank).take(K)))
        .foreach_rdd(move |batch, tags| {
            results.lock().expect("no panic while held").push((batch.time.0, tags.collect()))
        });

    let running = context.start()?;
    for second in 0..SECONDS {
        input.push(posts(second))?;
        simulation.run_batch(&running)?;
    }
    running.stop(true)?;
    let rankings = rankings.lock().expect("no panic while held").clone();
    Ok(rankings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_ten_seconds_the_ranking_is_that_of_the_last_minute() {
        let rankings = run().unwrap();
        assert_eq!(rankings.len() as u64, SECONDS / 10);
        for (at, (_, found)) in rankings.into_iter().enumerate() {
            let end = (at as u64 + 1) * 10;
            let mut counts: BTreeMap<Text, u64> = BTreeMap::new();
            for post in (end.saturating_sub(60)..end).flat_map(posts) {
                post.split_words()
                    .filter(|word| word.starts_with('#'))
                    .for_each(|tag| *counts.entry(tag).or_default() += 1);
            }
            let mut expected: Vec<(Text, u64)> = counts.into_iter().collect();
            expected.sort_by_key(rank);
            expected.truncate(K);
            assert_eq!(found, expected, "the window up to second {end}");
        }
    }
}
