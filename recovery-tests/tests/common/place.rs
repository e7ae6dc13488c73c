//! A place on disk in which one program after another is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floodmark::{Clock, Error, ManualClock, Queue, Running, StreamingContext, StreamingContextBuilder};

const START_MS: u64 = 1_700_000_000_000;
const INTERVAL: Duration = Duration::from_millis(100);

/// The directory of a job, and the time in it. The directory goes when it is dropped.
pub struct Place {
    directory: tempfile::TempDir,
    pub clock: ManualClock,
}

/// A life of a program, and what its declaration returned.
pub struct Started<H> {
    pub running: Running,
    pub handles: H,
    clock: ManualClock,
}

impl Default for Place {
    fn default() -> Self {
        Self { directory: floodmark_chaos::scratch::directory().unwrap(), clock: ManualClock::at(START_MS) }
    }
}

impl Place {
    /// One among the temporary files, where forks of a store are made: they share its bytes by links.
    pub fn among_temporary_files() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), ..Self::default() }
    }

    /// The job's directory.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("job")
    }

    /// The settings that every program of these tests has, unless it says otherwise.
    pub fn builder(&self) -> StreamingContextBuilder {
        StreamingContext::builder("job")
            .checkpoint(self.path())
            .batch_interval(INTERVAL)
            .checkpoint_every(3)
            .workers(2)
            .backpressure(false)
            .job_version("1")
            .clock(self.clock.clone())
    }

    /// Starts a program.
    pub fn start<H>(
        &self,
        configure: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
        declare: impl FnOnce(&StreamingContext) -> H,
    ) -> Result<Started<H>, Error> {
        let context = configure(self.builder()).build()?;
        let handles = declare(&context);
        Ok(Started { running: context.start()?, handles, clock: self.clock.clone() })
    }
}

impl<H> Started<H> {
    /// Ticks, and waits until the batch is published.
    pub fn run_batch(&self) -> Result<(), Error> {
        let before = self.running.status().planned;
        self.tick();
        self.running.wait_until(|status| status.planned > before && status.published == status.planned).map(drop)
    }

    /// Moves the clock to the next tick.
    pub fn tick(&self) {
        let interval = INTERVAL.as_millis() as u64;
        self.clock.advance_to(self.clock.epoch_ms() / interval * interval + interval);
    }
}

impl Started<Queue<String>> {
    /// Pushes words and runs their batch, so often.
    pub fn count(&self, words: &str, batches: u64) -> Result<(), Error> {
        for _ in 0..batches {
            self.handles.push(words.split_whitespace().map(str::to_string).collect())?;
            self.run_batch()?;
        }
        Ok(())
    }

    /// The state of an operator that counts words, sorted.
    pub fn counts(&self, uid: &str) -> Vec<(String, u64)> {
        let mut counts: Vec<(String, u64)> = self.running.state::<String, u64>(uid).unwrap().iter().unwrap().collect();
        counts.sort_unstable();
        counts
    }
}

/// The usual program: counts words under the uid `counts`.
pub fn word_count(context: &StreamingContext) -> Queue<String> {
    let (words, stream) = context.queue_stream::<String>("words");
    stream.map(|word| (word, 1_u64)).update_state_by_key("counts", add);
    words
}

/// Adds up.
pub fn add(ones: &[u64], total: Option<u64>) -> Option<u64> {
    Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
}

/// Counts as they are expected.
pub fn expected(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(word, count)| ((*word).to_string(), *count)).collect()
}

/// The files below a directory, sorted, those of subdirectories too.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The files below a directory, each with its bytes.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(directory).into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
}

/// Turns all bits of a byte, under every name that the file has.
pub fn flip_in_place(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[offset] ^= 0xff;
    std::fs::write(file, bytes).unwrap();
}

/// Changes one byte of a file, and nothing of what is linked to it.
pub fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[offset] ^= 0x41;
    replace(file, &bytes);
}

/// Puts other bytes under the name of a file.
pub fn replace(file: &Path, bytes: &[u8]) {
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, bytes).unwrap();
}
