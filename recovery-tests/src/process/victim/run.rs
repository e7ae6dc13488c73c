//! One life of a victim, from the inside.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use floodmark::testing::disk::Disk;
use floodmark::{
    BatchCompleted, BatchStarted, CheckpointCompleted, Clock, Error, ErrorKind, ManualClock, Phase, RecoveryReport,
    Running, StreamingListener,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::data::INTERVAL;
use super::disk::{Gate, WatchedDisk};
use super::job::{self, CHECKPOINT_EVERY};
use super::options::{Options, Pace, Until};
use super::place::Place;
use super::point::Stage;
use super::source::Blocks;
use super::word::Word;
use crate::process::ProcessError;

/// The exit code of a victim that found another driver in its directory.
pub const OWNED: u8 = 3;

/// Where the clock of every life in lockstep begins. It is then behind the newest batch, whose time plus one interval is that of
/// the next: so batch *n* has the same time in every run.
const START_MS: u64 = 1_700_000_000_000;

/// The longest pause between blocks and files.
const LONGEST_PAUSE: Duration = Duration::from_millis(14);
/// The longest pause between batches in lockstep.
const LONGEST_PAUSE_IN_LOCKSTEP: Duration = Duration::from_millis(4);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The victim's program.
#[must_use]
pub fn main() -> ExitCode {
    match Options::parse(std::env::args_os().skip(1)).map_err(Failure::from).and_then(|options| live(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let kind = error.downcast_ref::<Error>().map(Error::kind);
            eprintln!("victim: {kind:?}: {error}");
            if kind == Some(ErrorKind::Owned) { ExitCode::from(OWNED) } else { ExitCode::FAILURE }
        }
    }
}

fn live(options: &Options) -> Result<(), Failure> {
    let input = options.place.input();
    fs::create_dir_all(&input).map_err(ProcessError::file("create", &input))?;
    let gate = Arc::new(Gate::new(options.stop_at.clone()));
    let clock = (options.pace == Pace::Lockstep).then(|| ManualClock::at(START_MS));
    let disk: Arc<dyn Disk> = Arc::new(WatchedDisk::new(gate.clone()));
    let builder = job::builder(options, &disk, clock.clone()).listener(Teller);
    let (blocks, receiver) = Blocks::new(options.planted);
    Word::Recovering.tell()?;
    let started = Instant::now();
    let running = job::start(builder, options, &disk, receiver)?;
    gate.enter(Stage::Running);
    recovered(running.recovery(), started.elapsed()).tell()?;

    let feed = Feed { options: options.clone(), blocks };
    let (done, feeding) = mpsc::channel();
    let running = Arc::new(running);
    let fed = running.clone();
    let feeder = thread::Builder::new().name("feeder".into()).spawn(move || {
        let result = match clock {
            None => feed.in_real_time(&fed),
            Some(clock) => feed.in_lockstep(&fed, &clock),
        };
        // Nobody listens when a graceful stop came first.
        drop(done.send(result));
    })?;
    let stopped_early = match options.stop_after {
        None => feeding.recv()?.map(|()| false)?,
        Some(after) => match feeding.recv_timeout(after) {
            Ok(result) => result.map(|()| false)?,
            Err(RecvTimeoutError::Timeout) => true,
            Err(disconnected) => return Err(disconnected.into()),
        },
    };
    if let (false, Some(path)) = (stopped_early, &options.dump) {
        fs::write(path, job::dump(&running)?).map_err(ProcessError::file("write", path))?;
    }
    gate.enter(Stage::Stopping);
    Word::Stopping.tell()?;
    running.stop(true)?;
    if !stopped_early && feeder.join().is_err() {
        return Err("the feeder panicked".into());
    }
    Ok(())
}

/// In lockstep the job's own clock stands while it recovers, so it is measured here.
fn recovered(report: &RecoveryReport, took: Duration) -> Word {
    Word::Recovered {
        epoch: report.epoch().0,
        checkpoint: report.checkpoint().map(|batch| batch.0),
        replayed: report.batches_replayed(),
        milliseconds: took.as_millis() as u64,
    }
}

/// What brings the input, and in lockstep the ticks.
struct Feed {
    options: Options,
    blocks: Blocks,
}

impl Feed {
    fn random(&self) -> StdRng {
        StdRng::seed_from_u64(self.options.seed)
    }

    fn place(&self) -> &Place {
        &self.options.place
    }

    /// Blocks and files in any order, with pauses, until there are enough of both and all are in published batches.
    fn in_real_time(&self, running: &Running) -> Result<(), Failure> {
        let mut random = self.random();
        let (last_block, last_file) = match self.options.until {
            Some(Until::Input { blocks, files }) => (blocks, files),
            _ => (u64::MAX, u64::MAX),
        };
        let (mut block, mut file) = (self.options.known_stored, self.place().files()?);
        let mut stored = None;
        while block < last_block || file < last_file {
            // More blocks than files.
            if block < last_block && (file >= last_file || random.random_ratio(2, 3)) {
                block += 1;
                stored = Some(self.blocks.send(block));
            } else {
                file += 1;
                self.place().move_in(file)?;
            }
            if running.phase() != Phase::Active {
                // With its error, if it has one.
                return Ok(running.await_termination()?);
            }
            thread::sleep(random.random_range(Duration::ZERO..LONGEST_PAUSE));
        }
        if let Some(stored) = stored {
            wait_for(&stored, running)?;
        }
        // The plan under way may have looked before the last file came; the one after it has not.
        let planned = running.status().planned.0;
        running.wait_until(|status| status.published.0 >= planned + 2)?;
        Ok(())
    }

    /// Batch after batch, each with its block and its file.
    fn in_lockstep(&self, running: &Running, clock: &ManualClock) -> Result<(), Failure> {
        let mut random = self.random();
        let last = match self.options.until {
            Some(Until::Batches(last)) => last,
            _ => u64::MAX,
        };
        let mut batch = running.wait_until(|status| status.published == status.planned)?.published.0;
        while batch < last {
            batch += 1;
            wait_for(&self.blocks.send(batch), running)?;
            self.place().move_in(batch)?;
            let interval = INTERVAL.as_millis() as u64;
            clock.advance_to(clock.epoch_ms() / interval * interval + interval);
            running.wait_until(|status| status.planned.0 >= batch && status.published == status.planned)?;
            if running.recovery().is_fresh() && batch.is_multiple_of(CHECKPOINT_EVERY) {
                // Keeps the durable steps of all first lives in nearly the same order.
                running.wait_until(|status| status.checkpoint.0 >= batch)?;
            }
            if self.options.until.is_none() {
                thread::sleep(random.random_range(Duration::ZERO..LONGEST_PAUSE_IN_LOCKSTEP));
            }
        }
        Ok(())
    }
}

/// Waits for an acknowledgement; where it never comes, the job's own error says more.
fn wait_for(stored: &mpsc::Receiver<()>, running: &Running) -> Result<(), Failure> {
    if stored.recv().is_ok() {
        return Ok(());
    }
    running.await_termination()?;
    Err("a block was refused by a job that is well".into())
}

/// Tells of batches and checkpoints.
struct Teller;

impl Teller {
    fn tell(word: &Word) {
        // A parent that does not listen any more has gone; so does its victim, soon.
        drop(word.tell());
    }
}

impl StreamingListener for Teller {
    fn on_batch_started(&mut self, started: &BatchStarted) {
        Self::tell(&Word::Batch(started.batch.id.0));
    }

    fn on_batch_completed(&mut self, completed: &BatchCompleted) {
        Self::tell(&Word::Published(completed.batch.id.0));
    }

    fn on_checkpoint_completed(&mut self, completed: &CheckpointCompleted) {
        Self::tell(&Word::Checkpoint(completed.batch.0));
    }
}
