//! `TestJob`: a job on a manual clock, in a directory of its own.
#![allow(clippy::disallowed_methods)] // makes and removes the directory of a test

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::job::context::{StreamingContext, StreamingContextBuilder};
use crate::job::running::Running;
use floodmark_base::clock::{Clock, ManualClock};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::Batch;
use floodmark_store::recovery::report::RecoveryReport;

/// Where the manual clock begins: any moment does, but always the same one.
const START_MS: u64 = 1_700_000_000_000;
const INTERVAL: Duration = Duration::from_millis(100);

type Build<H> = Box<dyn Fn(&StreamingContext) -> H>;
type Configure = Box<dyn Fn(StreamingContextBuilder) -> StreamingContextBuilder>;

/// A job that a test drives batch by batch. The directory is removed when it is dropped.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// use floodmark::testing::TestJob;
///
/// let mut job = TestJob::new(|context| {
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     (numbers, stream.count().collect("how many"))
/// })?;
/// job.handles().0.push(vec![1, 2, 3])?;
/// job.run_batch()?;
/// assert_eq!(job.handles().1.last(), [3]);
/// # Ok(())
/// # }
/// ```
pub struct TestJob<H> {
    /// Before its directory, so that it has ended when that is removed.
    life: Option<(Running, H)>,
    directory: Scratch,
    clock: ManualClock,
    build: Build<H>,
    configure: Configure,
}

impl<H: Clone> TestJob<H> {
    /// Starts a job with 2 workers, a batch interval of 100 ms and a checkpoint every 4 batches. `build` declares its graph and
    /// returns what the test wants to hold: queues, collected outputs. It is called again for every restart.
    ///
    /// # Errors
    /// As [`StreamingContext::start`].
    pub fn new(build: impl Fn(&StreamingContext) -> H + 'static) -> Result<Self> {
        Self::configured(|builder| builder, build)
    }

    /// As [`new`](Self::new), with other settings.
    ///
    /// # Errors
    /// As [`StreamingContext::start`].
    pub fn configured(
        configure: impl Fn(StreamingContextBuilder) -> StreamingContextBuilder + 'static,
        build: impl Fn(&StreamingContext) -> H + 'static,
    ) -> Result<Self> {
        let directory = Scratch::new()?;
        let clock = ManualClock::at(START_MS);
        let mut job = Self { directory, clock, build: Box::new(build), configure: Box::new(configure), life: None };
        job.start()?;
        Ok(job)
    }

    /// What `build` returned for the present life.
    ///
    /// # Panics
    /// When the job was stopped and not started again.
    #[must_use]
    pub fn handles(&self) -> H {
        self.life().1.clone()
    }

    /// The handle on the running job.
    ///
    /// # Panics
    /// When the job was stopped and not started again.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.life().0
    }

    /// What the newest start found and did.
    ///
    /// # Panics
    /// When the job was stopped and not started again.
    #[must_use]
    pub fn recovery(&self) -> RecoveryReport {
        self.running().recovery().clone()
    }

    /// The clock of the job.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The directory of the job.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.0.as_path()
    }

    /// Advances the clock to the next tick and waits until its batch is published.
    ///
    /// # Errors
    /// The job's error, when it fails.
    ///
    /// # Panics
    /// When the job was stopped and not started again.
    pub fn run_batch(&mut self) -> Result<Batch> {
        self.run_batch_after(1)
    }

    /// As [`run_batch`](Self::run_batch), after so many ticks, which all pass at once and merge into one batch.
    ///
    /// # Errors
    /// The job's error, when it fails.
    ///
    /// # Panics
    /// When the job was stopped and not started again.
    pub fn run_batch_after(&mut self, ticks: u64) -> Result<Batch> {
        let before = self.running().status().planned;
        let interval = INTERVAL.as_millis() as u64;
        self.clock.advance_to(self.clock.epoch_ms() / interval * interval + ticks * interval);
        let status =
            self.running().wait_until(|status| status.planned > before && status.published == status.planned)?;
        Ok(Batch { id: status.published, time: status.planned_time })
    }

    /// Stops the job as a crash does (whatever is not durable is gone) and starts it again.
    ///
    /// # Errors
    /// As [`StreamingContext::start`].
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.life = None;
        self.start()
    }

    /// Stops the job gracefully and starts it again.
    ///
    /// # Errors
    /// As [`Running::stop`] and [`StreamingContext::start`].
    pub fn stop_and_restart(&mut self) -> Result<()> {
        self.running().stop(true)?;
        self.crash_and_restart()
    }

    /// Ends the job as a crash does; what is on disk can be looked at, or damaged, before [`start`](Self::start).
    pub fn crash(&mut self) {
        self.life = None;
    }

    /// Starts the job again after [`crash`](Self::crash).
    ///
    /// # Errors
    /// As [`StreamingContext::start`].
    pub fn start(&mut self) -> Result<()> {
        let builder = StreamingContext::builder("test")
            .checkpoint(&self.directory.0)
            .batch_interval(INTERVAL)
            .checkpoint_every(4)
            .workers(2)
            .clock(self.clock.clone());
        let context = (self.configure)(builder).build()?;
        let handles = (self.build)(&context);
        self.life = Some((context.start()?, handles));
        Ok(())
    }

    fn life(&self) -> &(Running, H) {
        self.life.as_ref().expect("the job runs")
    }
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        #[allow(clippy::disallowed_methods)] // a name that nobody else has
        let name = format!("floodmark-test-{:032x}", rand::random::<u128>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|error| {
            Error::caused_by(ErrorKind::Environment, format!("cannot make {}", path.display()), error)
        })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a test's directory is left behind");
        }
    }
}
