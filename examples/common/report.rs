//! What an example says when it has ended, and the dump of its counts.

use std::cell::Cell;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use floodmark::{Running, Status, Text};

use super::words::{WORDS, WordCounter};

/// Measures from the end of the start until the last word is counted and committed: a wait for the first tick is part of it. The look
/// by which the job finds, a tick later, that nothing more comes is not; nor is a dump.
pub struct Stopwatch {
    started: Instant,
    counted: Cell<(u64, Duration)>,
    peak_memory: Option<u64>,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { started: Instant::now(), counted: Cell::default(), peak_memory: None }
    }

    /// So many records are counted by now.
    pub fn note(&self, records: u64) {
        if records > self.counted.get().0 {
            self.counted.set((records, self.started.elapsed()));
        }
    }

    pub fn stop(&mut self) {
        self.peak_memory = peak_memory();
    }

    /// One line of figures.
    pub fn print(&self, words: &WordCounter, status: &Status) {
        let (total, (_, took)) = (words.total(), self.counted.get());
        println!(
            "{total} words in {} batches, {:.0} words/s, {} log bytes, {} checkpoint bytes, {} peak memory",
            status.batches,
            total as f64 / took.max(Duration::from_millis(1)).as_secs_f64(),
            status.log_bytes,
            status.checkpoint_bytes,
            self.peak_memory.map_or("unknown".to_string(), |bytes| format!("{} MB", bytes / 1_000_000)),
        );
    }
}

/// Waits until the input is used up and counted, then stops gracefully: for a job whose counts are the state "counts".
pub fn finish(running: &Running, dump_to: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let mut stopwatch = Stopwatch::start();
    running.wait_until(|status| {
        stopwatch.note(status.records);
        status.input_used_up
    })?;
    stopwatch.stop();
    if let Some(path) = dump_to {
        dump(running, "counts", path)?;
    }
    running.stop(true)?;
    stopwatch.print(&WORDS, &running.status());
    Ok(())
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
