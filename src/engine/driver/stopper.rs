//! How a job is asked to stop: every way leads through here. A job that starts can be asked, too.

use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::message::DriverMessage;
use crate::driver::watch::Watch;
use floodmark_store::remote::StopSignal;

/// Asks a job to stop; clones ask the same one.
#[derive(Clone)]
pub(crate) struct Stopper {
    sender: Sender<DriverMessage>,
    /// Ends the waits of a job in object storage.
    store: StopSignal,
    watch: Watch,
}

impl Stopper {
    pub fn new(sender: Sender<DriverMessage>, store: StopSignal, watch: Watch) -> Self {
        Self { sender, store, watch }
    }

    /// Asks, and does not wait. A hard stop ends what the driver waits for, too. While the job starts, every stop is one.
    pub fn stop(&self, graceful: bool) {
        let graceful = !self.watch.stop(graceful);
        if !graceful {
            self.store.raise();
        }
        // A driver that has ended takes no message; its outcome is there.
        drop(self.sender.send(DriverMessage::Stop { graceful }));
    }
}

/// Stops jobs from anywhere, also while they start: [`StreamingContext::start`](crate::StreamingContext::start) blocks until the job has
/// recovered, and gives the handle on the running job only then. Clones are the same handle.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// # let place = tempfile::tempdir().unwrap();
/// use floodmark::{ErrorKind, StopHandle, StreamingContext};
///
/// let stop = StopHandle::default();
/// let context = StreamingContext::builder("job").checkpoint(place.path().join("state")).stop_handle(&stop).build()?;
/// context.queue_stream::<u64>("numbers").1.print(10);
/// stop.stop(true); // from another thread, while `start` waits for an object store, for example
/// assert_eq!(context.start().unwrap_err().kind(), ErrorKind::Stopped);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct StopHandle(Arc<Mutex<Handle>>);

#[derive(Default)]
struct Handle {
    /// What was asked for last.
    asked: Option<bool>,
    jobs: Vec<Stopper>,
}

impl StopHandle {
    /// Asks every job that was built with this handle to stop, gracefully or hard, as [`Running::stop`](crate::Running::stop) does, and does
    /// not wait. A job that has not come to receiving ends at once either way: nothing was received in this life that could be lost.
    /// A job that is started later ends at once, so take a new handle for it.
    pub fn stop(&self, graceful: bool) {
        let mut handle = self.lock();
        handle.asked = Some(graceful);
        handle.jobs.iter().for_each(|job| job.stop(graceful));
    }

    /// Stops this job, too.
    pub(crate) fn add(&self, job: &Stopper) {
        let mut handle = self.lock();
        handle.jobs.retain(|job| !job.watch.has_ended());
        handle.jobs.push(job.clone());
        if let Some(graceful) = handle.asked {
            job.stop(graceful);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Handle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopHandle").field("asked", &self.lock().asked).finish_non_exhaustive()
    }
}
