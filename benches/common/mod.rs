//! What the measurements of whole programs share: inputs, runs of an example, tables.
//!
//! The programs that are measured are the examples, as users would run them: each in a process of its own, with all the
//! durability that there is, on files below `target/bench`. Every run's counts are compared with the truth.
#![allow(dead_code)] // each measurement uses its part

pub mod steady;
pub mod table;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How often a word is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// The n-th word n times as rarely as the first.
    Zipf,
    Uniform,
}

/// A generated text: words of eight characters, ten a line, in twenty files.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub name: &'static str,
    pub words: usize,
    pub distinct: usize,
    pub distribution: Distribution,
}

pub const ZIPF_10K: Input =
    Input { name: "zipf10k", words: 20_000_000, distinct: 10_000, distribution: Distribution::Zipf };
/// The same for longer, so that the start and the end of a run hardly count.
pub const ZIPF_10K_LONG: Input = Input { name: "zipf10k-long", words: 100_000_000, ..ZIPF_10K };
pub const UNIFORM_1M: Input =
    Input { name: "uni1m", words: 10_000_000, distinct: 1_000_000, distribution: Distribution::Uniform };

const FILES: usize = 20;
const WORDS_A_LINE: usize = 10;

impl Input {
    /// The directory with its files, which are made if they are not there.
    pub fn files(&self) -> Result<PathBuf> {
        let directory = bench_directory()?.join(self.name);
        if !self.truth()?.exists() {
            eprintln!("making {} words for {}", self.words, self.name);
            fs::create_dir_all(&directory)?;
            self.generate(&directory)?;
        }
        Ok(directory)
    }

    /// What a dump of the counts must be equal to. Written last: it is there only when the files are whole.
    pub fn truth(&self) -> Result<PathBuf> {
        Ok(bench_directory()?.join(format!("{}.truth", self.name)))
    }

    fn generate(&self, directory: &Path) -> Result<()> {
        let mut random = StdRng::seed_from_u64(7);
        let steps = self.cumulated();
        let mut counts = vec![0_u64; self.distinct];
        for file in 0..FILES {
            let mut out = BufWriter::new(File::create(directory.join(format!("part-{file:04}.txt")))?);
            for at in 0..self.words / FILES {
                let id = match self.distribution {
                    Distribution::Uniform => random.random_range(0..self.distinct),
                    Distribution::Zipf => {
                        let draw: f64 = random.random();
                        steps.partition_point(|&step| step <= draw).min(self.distinct - 1)
                    }
                };
                counts[id] += 1;
                let end = if (at + 1) % WORDS_A_LINE == 0 { '\n' } else { ' ' };
                write!(out, "w{id:07}{end}")?;
            }
            out.flush()?;
        }
        let mut truth = String::new();
        for (id, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            writeln!(truth, "w{id:07} {count}")?;
        }
        fs::write(self.truth()?, truth)?;
        Ok(())
    }

    fn cumulated(&self) -> Vec<f64> {
        let mut sum = 0.0;
        let mut steps: Vec<f64> = (1..=self.distinct)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        steps.iter_mut().for_each(|step| *step /= sum);
        steps
    }
}

/// Inputs and scratch space: on the disk that the build is on, not in memory.
pub fn bench_directory() -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// A directory that is removed when it is dropped.
pub fn scratch() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("run-").tempdir_in(bench_directory()?)?)
}

/// An example, started from the same build.
pub fn example(name: &str) -> Result<Command> {
    program(&format!("examples/{name}")).map(Command::new)
}

/// A program that was built with the release profile.
pub fn program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    // target/release/deps/word_count-0123
    let release = this.ancestors().find(|directory| directory.ends_with("release")).unwrap_or(&this);
    let path = release.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is not there: run `make bench`, or `cargo build --release --examples` first", path.display())
            .into())
    }
}

/// What an example says of itself in the end.
#[derive(Clone, Debug)]
pub struct Figures {
    pub words: u64,
    pub batches: u64,
    pub words_per_second: u64,
    pub log_bytes: u64,
    pub checkpoint_bytes: u64,
    pub peak_megabytes: u64,
    /// From the start of the process to its end.
    pub seconds: f64,
}

/// Runs an example to its end, and reads its last line.
pub fn run(command: &mut Command) -> Result<Figures> {
    let started = Instant::now();
    let output = command.stderr(Stdio::inherit()).output()?;
    let seconds = started.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{:?} ended with {}: {text}", command.get_program(), output.status).into());
    }
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<u64> = last.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let &[words, batches, words_per_second, log_bytes, checkpoint_bytes, peak_megabytes] = &numbers[..] else {
        return Err(format!("expected a line of figures, found {last:?}").into());
    };
    Ok(Figures { words, batches, words_per_second, log_bytes, checkpoint_bytes, peak_megabytes, seconds })
}

/// The middle one of the runs, by words per second.
pub fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by_key(|run| run.words_per_second);
    runs.swap_remove(runs.len() / 2)
}

/// Fails unless both files are equal.
pub fn must_be_equal(dump: &Path, truth: &Path) -> Result<()> {
    if fs::read(dump)? == fs::read(truth)? {
        return Ok(());
    }
    Err(format!("the counts in {} are not those of {}", dump.display(), truth.display()).into())
}

/// How many runs each median is taken of: the first number on the command line, else this.
pub fn rounds(otherwise: usize) -> usize {
    std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(otherwise).max(1)
}

pub fn millions(number: u64) -> String {
    format!("{:.2} M", number as f64 / 1e6)
}
