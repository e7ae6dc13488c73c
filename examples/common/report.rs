//! What an example says when it has started and when it has ended, and the dump of its counts.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use floodmark::{RecoveryReport, Running, Status, Text};

use super::words::WordCounter;

/// `recovered: …` or `started fresh`.
pub fn print_start(recovery: &RecoveryReport) {
    match recovery.checkpoint() {
        None if recovery.batches_replayed() == 0 => println!("started fresh"),
        None => println!(
            "recovered: no checkpoint yet, {} batches replayed, {} ms",
            recovery.batches_replayed(),
            recovery.milliseconds()
        ),
        Some(checkpoint) => println!(
            "recovered: checkpoint of batch {checkpoint}, {} batches replayed, {} ms",
            recovery.batches_replayed(),
            recovery.milliseconds()
        ),
    }
}

/// One line of figures. Words per second are counted from the first line that came to the last commit.
pub fn print_end(status: &Status, words: &WordCounter, last_commit: Instant) {
    let total = words.total();
    let seconds = words.first().map_or(0.0, |first| last_commit.saturating_duration_since(first).as_secs_f64());
    let rate = if seconds > 0.0 { total as f64 / seconds } else { 0.0 };
    println!(
        "{total} words in {} batches, {rate:.0} words/s, {} log bytes, {} checkpoint bytes, {} peak memory",
        status.batches_committed(),
        status.log_bytes_written(),
        status.checkpoint_bytes_written(),
        peak_memory().map_or("unknown".to_string(), |bytes| format!("{} MB", bytes / 1_000_000)),
    );
}

/// Writes `word count` lines, sorted by word in byte order.
pub fn dump(running: &Running, uid: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut counts: Vec<(Text, u64)> = running.state::<Text, u64>(uid).iter()?;
    counts.sort_unstable();
    let mut file = BufWriter::new(File::create(path).map_err(|error| format!("create {}: {error}", path.display()))?);
    for (word, count) in &counts {
        writeln!(file, "{word} {count}")?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// The most memory that this process has had resident, in bytes; none where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
