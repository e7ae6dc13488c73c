//! Damage: rot, cuts and losses in the files of a stored job, one after the other, and what the job makes of each.
//!
//! A [`Damage`] is made from a directory with a stored job in it, as a crash or a graceful stop has left it. It copies the
//! directory, damages the copy, starts the job on it, and compares. Each damage must come to one of these:
//!
//! | verdict | means |
//! |---|---|
//! | unneeded | nobody needed what is damaged; the outcome is the same |
//! | repaired | the damage was told, and the outcome is the same |
//! | refused | the job does not start, of kind `Damaged`, and names what is damaged; no file was changed; undoing the damage heals |
//! | ambiguous tail | the exception of `docs/guarantees.md`, exactly as wide as there, reported as such; the outcome is that of a run in which this tail was never acknowledged |
//!
//! Anything else is a failure: above all another outcome without a word.
//!
//! # What is damaged
//! Of every file of up to 64 KiB all bytes, or a sample of them, are flipped: all bits, and one bit. It is cut at 0, at 1, after its
//! header, in the middle, before its end; sectors of 512 bytes are zeroed; it is removed, swapped with the next of its kind, put
//! under the next number, and replaced by a file of another store of the same job. Directories are removed.
//!
//! # How the time is kept short
//! The engine is first asked what it would decide ([`floodmark::testing::inspect`]). Damages of a file that are decided alike,
//! but for offsets and checksums, read the same bytes from then on: a few of them are started, and all, when these few do not
//! come to the same. A damage that the decision does not notice at all is always started.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use floodmark::{BatchId, ManualClock, Queue, StreamingContext};
//! use floodmark_chaos::damage::{Damage, Recovered};
//! use std::path::Path;
//! use std::time::Duration;
//!
//! /// Starts the job in a directory, on a clock that stands still.
//! fn start(directory: &Path) -> floodmark::Result<(floodmark::Running, Queue<u64>, ManualClock)> {
//!     let clock = ManualClock::at(1_700_000_000_000);
//!     let context = StreamingContext::builder("sums")
//!         .checkpoint(directory)
//!         .batch_interval(Duration::from_millis(100))
//!         .checkpoint_every(2)
//!         .clock(clock.clone())
//!         .build()?;
//!     let (numbers, stream) = context.queue_stream::<u64>("numbers");
//!     let sums = stream.map(|number| (number % 3, number));
//!     sums.update_state_by_key("sums", |new: &[u64], sum: Option<u64>| Some(sum.unwrap_or(0) + new.iter().sum::<u64>()));
//!     Ok((context.start()?, numbers, clock))
//! }
//!
//! // A store to damage: four batches, and a stop.
//! let place = tempfile::tempdir()?;
//! let (running, numbers, clock) = start(place.path())?;
//! for batch in 1..=4 {
//!     numbers.push(vec![batch, batch + 1])?;
//!     clock.advance(Duration::from_millis(100));
//!     running.wait_until(|status| status.published == BatchId(batch))?;
//! }
//! running.stop(true)?;
//! drop(running);
//!
//! // What becomes of it: the whole state.
//! let report = Damage::of(place.path()).flips_per_file(2).most_starts(20).run(|directory| {
//!     let (running, ..) = start(directory)?;
//!     let mut sums: Vec<(u64, u64)> = running.state("sums")?.iter()?.collect();
//!     sums.sort_unstable();
//!     Ok(Recovered { outcome: sums, report: running.recovery().to_string() })
//! })?;
//! report.assert_survived();
//! # Ok(())
//! # }
//! ```

mod case;
mod enumerate;
mod judge;
mod kind;
mod look;
mod report;
mod run;
mod store;
mod tail;
mod verdict;

use std::fmt::{self, Debug};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floodmark::Error;

pub use case::{Case, Change, ChangeKind, parse};
pub use kind::FileKind;
pub use report::{Counts, DamageReport, Finding, Row};
pub use store::{Store, StoredFile};
pub use verdict::{Failure, Verdict};

use enumerate::Selection;
use run::Plan;

/// What came of a job that was started on a store, and finished its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered<O> {
    /// The state, the published output, or whatever must be the same.
    pub outcome: O,
    /// `Running::recovery()`, in words.
    pub report: String,
}

/// Damages of one stored job. See the [module](self).
#[derive(Clone)]
pub struct Damage {
    root: PathBuf,
    job: PathBuf,
    other: Option<PathBuf>,
    selection: Selection,
    samples: usize,
    most_starts: Option<usize>,
    threads: usize,
    only: Option<String>,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done: looking, or starting.
    pub doing: &'static str,
    pub done: usize,
    pub of: usize,
}

/// Why nothing could be damaged.
#[derive(Debug, thiserror::Error)]
pub enum DamageError {
    /// The file system refused.
    #[error("the store cannot be read or copied: {0}")]
    Io(#[from] io::Error),
    /// The undamaged store does not start.
    #[error("the undamaged store does not recover: {0}")]
    Unsound(String),
    /// The job does not come to the same twice, so nothing can be told from comparing.
    #[error("the job is not deterministic: the undamaged store came to one outcome, then to another: {0}")]
    NotDeterministic(String),
    /// No such case.
    #[error("{0}")]
    Case(String),
}

impl Damage {
    /// Damages of the job that is stored in `root`. It is copied as a whole for every start, and stays as it is.
    pub fn of(root: impl Into<PathBuf>) -> Self {
        let selection = Selection {
            small_bytes: 64 << 10,
            flips_of_small: Some(32),
            flips_of_large: 64,
            single_bits: true,
            seed: 1,
            kinds: None,
        };
        Self {
            root: root.into(),
            job: PathBuf::new(),
            other: None,
            selection,
            samples: 1,
            most_starts: Some(400),
            threads: std::thread::available_parallelism().map_or(2, Into::into),
            only: None,
            progress: Arc::new(|_| {}),
        }
    }

    /// The job's directory is this one below the root. What stands beside it, such as the directory of a sink, is copied with it, and is
    /// not damaged.
    #[must_use]
    pub fn job_at(mut self, below: impl Into<PathBuf>) -> Self {
        self.job = below.into();
        self
    }

    /// Another store of the same job, with another log, whose files are put in the place of this one's.
    #[must_use]
    pub fn other_store(mut self, root: impl Into<PathBuf>) -> Self {
        self.other = Some(root.into());
        self
    }

    /// From this seed places are drawn.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.selection.seed = seed;
        self
    }

    /// So many bytes of each file are flipped, at places that are drawn.
    #[must_use]
    pub fn flips_per_file(mut self, bytes: usize) -> Self {
        (self.selection.flips_of_small, self.selection.flips_of_large) = (Some(bytes), bytes);
        self
    }

    /// Only files of these kinds are damaged.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = FileKind>) -> Self {
        self.selection.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// At most so many damages that the decision does not notice are started; which, is drawn. The others are left out.
    #[must_use]
    pub fn most_starts(mut self, cases: usize) -> Self {
        self.most_starts = Some(cases);
        self
    }

    /// Every byte of every file of up to 64 KiB, 4,096 bytes of each larger one, and nothing left out.
    #[must_use]
    pub fn exhaustive(mut self) -> Self {
        (self.selection.flips_of_small, self.selection.flips_of_large) = (None, 4_096);
        (self.samples, self.most_starts) = (16, None);
        self
    }

    /// So many threads work side by side, each with a copy of its own.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Only the case of this name, as a report tells it; it is started in any case.
    #[must_use]
    pub fn only(mut self, case: impl Into<String>) -> Self {
        self.only = Some(case.into());
        self
    }

    /// Is told how far the run has come, from several threads.
    #[must_use]
    pub fn progress(mut self, tell: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(tell);
        self
    }

    /// Runs all cases. `recover` starts the job on a copy of the root, lets it finish its input, and says what came of it. It is
    /// called from several threads.
    ///
    /// Copies are made in [`scratch`](crate::scratch).
    ///
    /// # Errors
    /// When the store cannot be read or does not recover undamaged, always to the same outcome. What comes of the damages stands in
    /// the report.
    pub fn run<O: PartialEq + Debug + Send + Sync>(
        &self,
        recover: impl Fn(&Path) -> Result<Recovered<O>, Error> + Sync,
    ) -> Result<DamageReport, DamageError> {
        let store = Store::read(&self.root, &self.job)?;
        let other = self.other.as_ref().map(|root| Store::read(root, &self.job)).transpose()?;
        let cases = match &self.only {
            Some(name) => vec![parse(name, &store).map_err(DamageError::Case)?],
            None => enumerate::enumerate(&store, other.as_ref(), &self.selection),
        };
        let plan = Plan {
            seed: self.selection.seed,
            samples: self.samples,
            most_starts: self.most_starts,
            start_all: self.only.is_some(),
            threads: self.threads,
            progress: &*self.progress,
        };
        run::run(&store, other.as_ref(), &cases, &recover, &plan)
    }

    /// The names of all cases, in the order in which they are run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn cases(&self) -> Result<Vec<Case>, DamageError> {
        let store = Store::read(&self.root, &self.job)?;
        let other = self.other.as_ref().map(|root| Store::read(root, &self.job)).transpose()?;
        Ok(enumerate::enumerate(&store, other.as_ref(), &self.selection))
    }

    /// The bytes at the end of the newest segment where damage cannot be told from an interrupted append; none after a graceful stop
    /// but the closing mark itself.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ambiguous_bytes(&self) -> Result<Range<usize>, DamageError> {
        let store = Store::read(&self.root, &self.job)?;
        let known = run::known_next(&self.root.join(&self.job));
        Ok(tail::NewestSegment::of(&store, known).map_or(0..0, |newest| newest.ambiguous_bytes()))
    }
}

impl Debug for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Damage").field("root", &self.root).field("selection", &self.selection).finish_non_exhaustive()
    }
}
