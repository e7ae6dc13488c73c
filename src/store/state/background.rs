//! The background load: a thread that reads the partitions which a dataflow began without, and after them every byte of the
//! checkpoint's files.
//!
//! It works on the store as it was when the dataflow began; until it has ended no checkpoint is taken, so nothing is ingested
//! meanwhile. It hands a partition to its table as a whole table of its own; the table merges it at the end of a batch.
//! It writes nothing: a crash in it leaves what was there.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::state::files::{CheckpointFile, verify_file};
use crate::state::pace::{Held, Pace};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::user_code::panic_message;

/// Reads one partition and hands it to its table; gives up where the pace says so.
pub type LoadTask = Box<dyn FnOnce(&Pace) -> Result<()> + Send>;

/// What is to be read, gathered while the workers build their tables. Cheap to clone.
#[derive(Clone, Default)]
pub struct LoadTasks(Arc<Mutex<Vec<LoadTask>>>);

impl LoadTasks {
    pub fn add(&self, task: LoadTask) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn take(&self) -> Vec<LoadTask> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The files of a checkpoint that nobody has read yet.
#[derive(Clone, Debug)]
pub struct Unverified {
    pub directory: PathBuf,
    pub files: Vec<CheckpointFile>,
}

/// The thread. Dropping it stops it and waits for its end: the store is not held by it any more.
#[derive(Debug)]
pub struct BackgroundLoad {
    pace: Arc<Pace>,
    thread: Option<JoinHandle<()>>,
}

impl BackgroundLoad {
    /// Starts the thread; `done` hears once how it ended, unless it was stopped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        tasks: &LoadTasks,
        unverified: Unverified,
        held: Held,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> io::Result<Self> {
        let (pace, tasks) = (Arc::new(Pace::new(held)), tasks.take());
        let shared = pace.clone();
        let thread = thread::Builder::new().name("state-load".to_string()).spawn(move || {
            let work = AssertUnwindSafe(|| {
                for task in tasks {
                    if !shared.step() {
                        return Ok(());
                    }
                    task(&shared)?;
                }
                verify(&unverified, &shared)
            });
            // A panic is reported, too: the driver would wait for its answer for ever.
            let outcome = catch_unwind(work).unwrap_or_else(|panic| {
                let panic = panic_message(&*panic);
                Err(Error::new(ErrorKind::UserCode, format!("stored state was not decoded: {panic}")))
            });
            shared.before_report();
            // At once, also during a batch: whoever looks for a partition finds its sender gone already.
            if !shared.is_stopped() {
                done(outcome);
            }
        })?;
        Ok(Self { pace, thread: Some(thread) })
    }

    /// The pace of the thread.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }
}

impl Drop for BackgroundLoad {
    fn drop(&mut self) {
        self.pace.stop();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the background load panicked");
        }
    }
}

fn verify(unverified: &Unverified, pace: &Pace) -> Result<()> {
    for file in unverified.files.iter().filter(|file| file.is_table()) {
        let whole = verify_file(&unverified.directory, file, &mut || pace.step());
        whole.map_err(|error| {
            let kind = if error.is_damage() { ErrorKind::Damaged } else { ErrorKind::Environment };
            Error::caused_by(kind, format!("checkpoint {} is not whole", unverified.directory.display()), error)
        })?;
    }
    Ok(())
}
