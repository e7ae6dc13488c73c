//! Counts the words of all files that are moved into a directory.
//!
//! ```text
//! cargo run --release --example file_word_count -- --input ./in --checkpoint ./state --until-idle --dump ./counts
//! ```
//!
//! Files are read again after a crash, so they are not logged: only which part of which file made up which batch.

mod common;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use floodmark::{FileSink, StreamingContext, Text, TextFiles};

use common::arguments::Arguments;
use common::report;
use common::words::WORDS;

const USAGE: &str = "file_word_count --input DIR --checkpoint DIR [--workers N] [--batch-interval 100ms] \
    [--max-files-per-batch N] [--checkpoint-every N] [--until-idle] [--output DIR] [--dump FILE]";

struct Settings {
    input: PathBuf,
    checkpoint: PathBuf,
    workers: u32,
    batch_interval: Duration,
    max_files_per_batch: Option<usize>,
    checkpoint_every: Option<u64>,
    until_idle: bool,
    /// Gets the word counts of each batch.
    output: Option<PathBuf>,
    dump: Option<PathBuf>,
}

fn main() -> ExitCode {
    common::exit(settings().and_then(run))
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let mut arguments = Arguments::new(USAGE);
    let settings = Settings {
        input: arguments.required("--input")?,
        checkpoint: arguments.required("--checkpoint")?,
        workers: arguments.optional("--workers")?.unwrap_or(2),
        batch_interval: arguments.duration("--batch-interval")?.unwrap_or(Duration::from_millis(100)),
        max_files_per_batch: arguments.optional("--max-files-per-batch")?,
        checkpoint_every: arguments.optional("--checkpoint-every")?,
        until_idle: arguments.switch("--until-idle"),
        output: arguments.optional("--output")?,
        dump: arguments.optional("--dump")?,
    };
    arguments.finish()?;
    Ok(settings)
}

fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    common::show_warnings();
    let mut builder = StreamingContext::builder("file-word-count")
        .checkpoint(&settings.checkpoint)
        .workers(settings.workers)
        .batch_interval(settings.batch_interval)
        .max_batch_bytes(64 << 20)
        .install_signal_handlers();
    if let Some(batches) = settings.checkpoint_every {
        builder = builder.checkpoint_every(batches);
    }
    let context = builder.build()?;

    let mut files = TextFiles::new(&settings.input);
    if let Some(count) = settings.max_files_per_batch {
        files = files.max_files_per_batch(count);
    }
    let batch_counts = context
        .direct_stream("files", files)
        .flat_map(Text::split_words)
        .map(|word| (word, 1_u64))
        .reduce_by_key(|a, b| a + b);
    if let Some(directory) = &settings.output {
        batch_counts.map(|(word, count)| format!("{word} {count}")).sink("output", FileSink::new(directory));
    }
    batch_counts.update_state_by_key("counts", |new: &[u64], total: Option<u64>| {
        let words = new.iter().sum();
        WORDS.add(words);
        Some(total.unwrap_or(0) + words)
    });

    let running = context.start()?;
    println!("{}", running.recovery());
    if !settings.until_idle {
        running.await_termination()?;
        return Ok(());
    }
    report::finish(&running, settings.dump.as_deref())
}
