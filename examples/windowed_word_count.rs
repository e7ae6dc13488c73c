//! The words of the last half minute, every ten seconds.
//!
//! ```text
//! cargo run --release --example windowed_word_count
//! ```
//!
//! Ninety seconds of generated lines, on a clock that runs as fast as the machine can. The window is kept by adding what enters it and
//! subtracting what leaves it, and words whose count has become zero are forgotten.

mod common;

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark::Text;

use common::simulation::{Simulation, clock_time};

const LENGTH: Duration = Duration::from_secs(30);
const SLIDE: Duration = Duration::from_secs(10);
const SECONDS: usize = 90;

/// What was said in a second: the subject changes every twenty seconds.
fn line(second: usize) -> String {
    let subjects = ["the river rises", "the bridge is closed", "boats are on the road", "the rain has stopped"];
    let subject = subjects[second / 20 % subjects.len()];
    if second.is_multiple_of(3) { format!("{subject} and {subject}") } else { subject.to_string() }
}

/// The counts of a window, by its end in milliseconds.
type Windows = Vec<(u64, Vec<(Text, u64)>)>;

fn main() -> ExitCode {
    common::exit(run().map(|windows| windows.iter().for_each(print)))
}

fn run() -> Result<Windows, Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let simulation = Simulation::new(Duration::from_secs(1));
    let context = simulation.builder("windowed-word-count", &place.path().join("state")).build()?;

    let (lines, stream) = context.queue_stream::<Text>("lines");
    let windows = Arc::new(Mutex::new(Windows::new()));
    let results = windows.clone();
    stream
        .flat_map(Text::split_words)
        .map(|word| (word, 1_u64))
        .reduce_by_key_and_window_filtered(
            "last half minute",
            |a, b| a + b,
            |a, b| a - b,
            LENGTH,
            SLIDE,
            |_, count| *count > 0,
        )
        .foreach_rdd(move |batch, rdd| {
            let mut counts = rdd.collect();
            counts.sort_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
            results.lock().expect("no panic while held").push((batch.time.0, counts));
        });

    let running = context.start()?;
    for second in 0..SECONDS {
        lines.push(vec![Text::from(line(second))])?;
        simulation.run_batch(&running)?;
    }
    running.stop(true)?;
    let windows = windows.lock().expect("no panic while held").clone();
    Ok(windows)
}

fn print((end_ms, counts): &(u64, Vec<(Text, u64)>)) {
    let top: Vec<String> = counts.iter().take(6).map(|(word, count)| format!("{word} {count}")).collect();
    println!("{}  {:2} words: {}", clock_time(*end_ms), counts.len(), top.join(", "));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_window_holds_the_counts_of_its_thirty_seconds() {
        let windows = run().unwrap();
        assert_eq!(windows.len(), SECONDS / 10);
        for (at, (_, counts)) in windows.into_iter().enumerate() {
            let end = (at + 1) * 10;
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            for second in end.saturating_sub(30)..end {
                line(second).split(' ').for_each(|word| *expected.entry(word.to_string()).or_default() += 1);
            }
            let found: BTreeMap<String, u64> =
                counts.into_iter().map(|(word, count)| (word.to_string(), count)).collect();
            assert_eq!(found, expected, "the window up to second {end}");
        }
    }
}
