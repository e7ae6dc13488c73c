//! A receiver that stores one record per block: a million blocks that wait take little memory and little time, when they come in,
//! when a batch takes them, and when a start finds them in the log.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use floodmark_chaos::process::{Job, Line, Watched};
use floodmark_chaos::scratch;

const MOST_BYTES: u64 = 1 << 30;
/// What a waiting block may take, with the ten bytes of its record.
const MOST_BYTES_WAITING: u64 = 310;
/// What a process with a job takes without any block, about.
const BYTES_WITHOUT: u64 = 100 << 20;
/// From the start to the end, where the build is optimized and the disk not slower than usual.
const MOST_TIME: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(600);

/// A million, unless `BLOCKS` says less, for a quick turn.
fn blocks() -> u64 {
    std::env::var("BLOCKS").map_or(1_000_000, |blocks| blocks.parse().expect("BLOCKS is a number"))
}

fn start(directory: &Path, blocks: u64, mode: &str) -> Job {
    let mut command = Command::new(env!("CARGO_BIN_EXE_small_blocks"));
    command.arg(directory).arg(blocks.to_string()).arg(mode);
    Job::start(command).unwrap()
}

/// The number behind this word, in what the job says.
fn number(lines: &[Line], word: &str) -> u64 {
    let said = lines.iter().find_map(|line| match line {
        Line::Out(text) => text.strip_prefix(word)?.trim().parse().ok(),
        Line::Error(_) => None,
    });
    said.unwrap_or_else(|| panic!("it did not say {word}: {lines:?}"))
}

/// Runs a job to its graceful end; how many records were counted.
fn stop(directory: &Path, blocks: u64) -> u64 {
    let (mut lines, begun) = (Vec::new(), Instant::now());
    start(directory, blocks, "stop").finish(|line| lines.push(line.clone())).unwrap();
    let (counted, memory) = (number(&lines, "counted"), number(&lines, "memory"));
    println!("{counted} records, {} MB, {:?}", memory >> 20, begun.elapsed());
    assert!(memory < MOST_BYTES, "{} MB", memory >> 20);
    assert!(cfg!(debug_assertions) || begun.elapsed() < MOST_TIME, "{:?}", begun.elapsed());
    counted
}

#[test]
fn a_million_blocks_of_one_record_are_counted_by_a_graceful_stop_in_little_memory() {
    let directory = scratch::directory().unwrap();
    assert_eq!(stop(directory.path(), blocks()), blocks());
}

#[test]
fn a_million_blocks_of_one_record_are_found_and_counted_behind_a_kill_in_little_memory() {
    let (directory, blocks) = (scratch::directory().unwrap(), blocks());
    let (mut lines, mut job) = (Vec::new(), start(directory.path(), blocks, "store"));
    let stored = job.watch_for(Instant::now() + PATIENCE, |line| {
        lines.push(line.clone());
        matches!(line, Line::Out(text) if text.starts_with("memory"))
    });
    assert_eq!(stored, Watched::Seen);
    let waiting = number(&lines, "memory");
    println!("{} MB when all wait", waiting >> 20);
    assert!(waiting < BYTES_WITHOUT + blocks * MOST_BYTES_WAITING, "{} MB when all wait", waiting >> 20);
    assert!(job.kill(|_| ()).unwrap(), "it ran until then");
    assert_eq!(stop(directory.path(), 0), blocks);
}
