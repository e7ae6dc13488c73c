//! What an example says when it has ended, and the dump of its counts.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use floodmark::{Running, Status, Text};

use super::words::WordCounter;

/// One line of figures. Words per second are counted from the first batch with records to the last commit.
pub fn print_end(status: &Status, words: &WordCounter) {
    let total = words.total();
    let took_ms = match (status.first_record_ms, status.last_commit_ms) {
        (Some(first), Some(last)) => last.saturating_sub(first).max(1),
        _ => 1,
    };
    println!(
        "{total} words in {} batches, {} words/s, {} log bytes, {} checkpoint bytes, {} peak memory",
        status.batches,
        total * 1_000 / took_ms,
        status.log_bytes,
        status.checkpoint_bytes,
        peak_memory().map_or("unknown".to_string(), |bytes| format!("{} MB", bytes / 1_000_000)),
    );
}

/// Writes `word count` lines, sorted by word in byte order.
pub fn dump(running: &Running, uid: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut counts: Vec<(Text, u64)> = running.state::<Text, u64>(uid)?.iter()?.collect();
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
