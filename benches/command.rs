//! How fast the command looks: at a store with 1,000,000 keys and 1,000 log segments, half of them after the newest checkpoint.
//!
//! `cargo bench --features floodmark/aws,floodmark-cli/aws --bench command [rounds]`, after `make command`. `status` and `get` are whole processes,
//! from their start to their end; the medians are printed beside those of `floodmark --version`, which does nothing.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Result;
use common::table::{self, Figure};
use floodmark::testing::TestJob;
use floodmark::testing::wal::WalSettings;
use floodmark::{BatchId, Queue};

/// A checkpoint comes after so many.
const BATCHES: u64 = 100;
const KEYS: u64 = 1_000_000;
const SEGMENTS: u64 = 1_000;
/// Blocks of a round; each fills a segment, and there are two rounds.
const BLOCKS: u64 = SEGMENTS / 2;
const KEYS_A_BLOCK: u64 = KEYS / BLOCKS;

fn main() -> Result<()> {
    let rounds = common::rounds(21);
    let scratch = common::scratch()?;
    let store = make_store(&scratch.path().join("state"))?;
    let location = store.to_str().ok_or("the path of the store is no text")?;
    let segments = fs::read_dir(store.join("wal"))?.count();
    println!("{}", table::machine());
    println!("{KEYS} keys, {segments} files in wal/, {rounds} rounds, medians of whole processes:");
    let verbs: [(&str, &[&str]); 5] = [
        ("--version", &["--version"]),
        ("status", &["status", location]),
        ("plan", &["plan", location]),
        ("get", &["get", location, "counts", "500000"]),
        ("operators", &["operators", location]),
    ];
    for (name, arguments) in verbs {
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(run(arguments)?);
        }
        times.sort_unstable();
        println!("  {name:<12} {:>9.1?}   from {:.1?} to {:.1?}", times[rounds / 2], times[0], times[rounds - 1]);
        let figure = Figure::of(times.iter().map(Duration::as_secs_f64));
        let figure = figure.show(|seconds| format!("{:.0} ms", seconds * 1e3));
        table::enter(&format!("floodmark {name}, {KEYS} keys, {SEGMENTS} segments"), &figure, "")?;
    }
    let (took, lines) = scan(location)?;
    println!("  scan         {took:>9.1?}   {:.0} entries a second", lines as f64 / took.as_secs_f64());
    Ok(())
}

/// The store of a job that died: all keys came once before the newest checkpoint and once after it, and each block is a segment.
fn make_store(place: &Path) -> Result<std::path::PathBuf> {
    let log = || WalSettings { segment_bytes: 4 << 10, ..WalSettings::without_sync() };
    let mut job = TestJob::configured(
        move |builder| builder.log_settings(log()).checkpoint_every(BATCHES).partitions(2),
        |context| {
            let (numbers, stream): (Queue<u64>, _) = context.queue_stream("numbers");
            stream.map(|number| (number, 1_u64)).update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
                Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
            });
            numbers
        },
    )?;
    for round in 0..2 {
        for block in 0..BLOCKS {
            let first = block * KEYS_A_BLOCK;
            job.handles().push((first..first + KEYS_A_BLOCK).collect())?;
        }
        job.run_batch()?;
        if round == 0 {
            // Checkpoints come after so many batches; empty ones cost little.
            for _ in 1..BATCHES {
                job.run_batch()?;
            }
            job.running().wait_until(|status| status.checkpoint >= BatchId(BATCHES))?;
        }
    }
    job.crash();
    copy(job.directory(), place)?;
    Ok(place.to_path_buf())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn run(arguments: &[&str]) -> Result<Duration> {
    let started = Instant::now();
    let status = command(arguments)?.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let took = started.elapsed();
    if status.success() { Ok(took) } else { Err(format!("floodmark {}: {status}", arguments.join(" ")).into()) }
}

fn scan(location: &str) -> Result<(Duration, usize)> {
    let started = Instant::now();
    let output = command(&["scan", location, "counts"])?.output()?;
    let took = started.elapsed();
    Ok((took, output.stdout.iter().filter(|byte| **byte == b'\n').count()))
}

fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(common::program("floodmark")?);
    command.args(arguments);
    Ok(command)
}
