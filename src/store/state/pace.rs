//! How fast the background may go: as fast as it can while no batch is under way, a quarter of the time beside one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the background stands back for a batch before it does its next piece of work: beside batches without a pause it gets
/// on, too.
const STAND_BACK: Duration = Duration::from_millis(8);

/// How a test holds the background load.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// While it is true, the background does nothing that nobody waits for.
    pub work: Arc<AtomicBool>,
    /// The background waits here twice: when its work has ended, and before it reports how.
    pub report: Option<Arc<Barrier>>,
}

/// Shared by the driver, which says what is going on, and one background thread, which asks at every piece of work.
#[derive(Debug, Default)]
pub struct Pace {
    held: Held,
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    busy: bool,
    hurried: bool,
    stopped: bool,
}

impl Pace {
    pub fn new(held: Held) -> Self {
        Self { held, ..Self::default() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now());
        self.changed.notify_all();
    }

    /// Whether batches are under way.
    pub fn set_busy(&self, busy: bool) {
        self.say(|now| now.busy = busy);
    }

    /// Somebody waits for the background: it stands back no more.
    pub fn hurry(&self) {
        self.say(|now| now.hurried = true);
    }

    /// Nobody wants what the background does any more.
    pub fn stop(&self) {
        self.say(|now| now.stopped = true);
    }

    /// Returns whether the background was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.now().stopped
    }

    /// Holds the report back where a test asks for that.
    pub fn before_report(&self) {
        if let Some(barrier) = &self.held.report {
            barrier.wait();
            barrier.wait();
        }
    }

    /// Stands back, if need be, before the next piece of work. Says whether to go on.
    pub fn step(&self) -> bool {
        let held = |now: &mut Now| self.held.work.load(Ordering::Relaxed) && !now.hurried && !now.stopped;
        while held(&mut self.now()) {
            drop(self.changed.wait_timeout_while(self.now(), STAND_BACK, held).unwrap_or_else(PoisonError::into_inner));
        }
        let waits = |now: &mut Now| now.busy && !now.hurried && !now.stopped;
        let (now, _) =
            self.changed.wait_timeout_while(self.now(), STAND_BACK, waits).unwrap_or_else(PoisonError::into_inner);
        !now.stopped
    }
}
