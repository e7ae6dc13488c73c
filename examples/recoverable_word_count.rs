//! Kill and go on: a word count that dies three times and ends with the right counts.
//!
//! ```text
//! cargo run --release --example recoverable_word_count
//! ```
//!
//! Started like this, the program makes itself some input, starts itself as a job (`--job`), lets the job be killed in the middle of its
//! work, starts it again, and compares the counts at the end with those of a plain loop.

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use floodmark::{StreamingContext, Text, TextFiles};

use common::arguments::Arguments;

const USAGE: &str = "recoverable_word_count [--job DIR [--die-after BATCHES]]";
const FILES: usize = 40;
/// After how many batches each life of the job ends; the last one ends by itself.
const LIVES: [Option<u64>; 4] = [Some(5), Some(1), Some(12), None];

fn main() -> ExitCode {
    common::exit(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::new(USAGE);
    let (job, die_after) = (arguments.optional::<PathBuf>("--job")?, arguments.optional("--die-after")?);
    arguments.finish()?;
    common::show_warnings();
    match job {
        Some(place) => count_words(&place, die_after),
        None => kill_and_go_on(&std::env::current_exe()?),
    }
}

/// The job: counts the words of the files in `in`, and leaves the counts in `counts`.
fn count_words(place: &Path, die_after: Option<u64>) -> Result<(), Box<dyn Error>> {
    let context = StreamingContext::builder("recoverable-word-count")
        .checkpoint(place.join("state"))
        .batch_interval(Duration::from_millis(20))
        .checkpoint_every(4)
        .workers(2)
        .build()?;
    let counts = context
        .direct_stream("files", TextFiles::new(place.join("in")).max_files_per_batch(1))
        .flat_map(Text::split_words)
        .map(|word| (word, 1_u64))
        .update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
            Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
        });
    let mut batches = 0;
    counts.count().foreach_rdd(move |_batch, _rdd| {
        batches += 1;
        if Some(batches) == die_after {
            std::process::abort(); // as by a power switch: nothing is closed, nothing is flushed
        }
    });

    let running = context.start()?;
    println!("{}", running.recovery());
    running.wait_until(|status| status.input_used_up)?;
    let mut counts: Vec<(Text, u64)> = running.state::<Text, u64>("counts")?.iter()?.collect();
    counts.sort();
    let lines: Vec<String> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    fs::write(place.join("counts"), lines.join("\n"))?;
    running.stop(true)?;
    Ok(())
}

/// Runs the job until it ends by itself, and compares.
fn kill_and_go_on(program: &Path) -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let expected = make_input(place.path())?;
    for die_after in LIVES {
        let mut command = Command::new(program);
        command.arg("--job").arg(place.path());
        if let Some(batches) = die_after {
            command.arg("--die-after").arg(batches.to_string());
        }
        let ended = command.status()?;
        println!("the job has ended: {ended}");
        if ended.success() != die_after.is_none() {
            return Err(format!("the job has ended: {ended}, which was not expected").into());
        }
    }
    let mut found = BTreeMap::new();
    for line in fs::read_to_string(place.path().join("counts"))?.lines() {
        let (word, count) = line.split_once(' ').ok_or_else(|| format!("no count in {line:?}"))?;
        found.insert(word.to_string(), count.parse()?);
    }
    if found != expected {
        return Err(format!("expected {expected:?}, found {found:?}").into());
    }
    println!("equal: {} words, {} distinct", expected.values().sum::<u64>(), expected.len());
    Ok(())
}

/// Files of words, and their counts.
fn make_input(place: &Path) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let mut counts = BTreeMap::new();
    fs::create_dir(place.join("in"))?;
    for file in 0..FILES {
        let words: Vec<String> = (0..500).map(|n| format!("word{}", (n * n + file * 7) % 97)).collect();
        words.iter().for_each(|word| *counts.entry(word.clone()).or_default() += 1);
        let (unfinished, finished) = (place.join("in/.unfinished"), place.join(format!("in/{file:03}.txt")));
        fs::write(&unfinished, words.join("\n"))?;
        fs::rename(unfinished, finished)?; // a file appears as a whole, by an atomic move
    }
    Ok(counts)
}
