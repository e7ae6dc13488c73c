//! What happens at the moment of a fault: a death leaves its image, a held step waits, a clock jumps.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use floodmark::ManualClock;
use floodmark::testing::disk::{Image, Loss, SimulatedDisk, TracedStep, Watcher};

use super::fault::Fault;

const HOUR_MS: i64 = 3_600_000;

/// Watches the door to the disk in one life.
pub(super) struct Gate {
    fault: Option<Fault>,
    loss: Loss,
    disk: SimulatedDisk,
    clock: ManualClock,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    struck: Option<TracedStep>,
    held: bool,
    released: bool,
    image: Option<io::Result<Image>>,
}

impl Gate {
    pub fn new(fault: Option<Fault>, loss: Loss, disk: SimulatedDisk, clock: ManualClock) -> Arc<Self> {
        Arc::new(Self { fault, loss, disk, clock, state: Mutex::default(), changed: Condvar::new() })
    }

    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The step at which the fault struck.
    pub fn struck(&self) -> Option<TracedStep> {
        self.lock().struck.clone()
    }

    /// Whether a thread of the job waits in its step.
    pub fn is_held(&self) -> bool {
        self.lock().held
    }

    /// Lets the held step go on.
    pub fn release(&self) {
        let mut state = self.lock();
        state.released = true;
        state.held = false;
        self.changed.notify_all();
    }

    /// What the death has left, if more than the process died.
    pub fn take_image(&self) -> Option<io::Result<Image>> {
        self.lock().image.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Gate {
    fn struck(&self, step: &TracedStep) {
        self.lock().struck = Some(step.clone());
        match self.fault {
            Some(Fault::ClockBack) => self.clock.jump(-HOUR_MS),
            Some(Fault::ClockForward) => self.clock.jump(HOUR_MS),
            Some(Fault::SlowIo | Fault::Zombie) => {
                let mut state = self.lock();
                state.held = !state.released;
                drop(self.changed.wait_while(state, |state| !state.released).unwrap_or_else(PoisonError::into_inner));
            }
            _ => {}
        }
    }

    fn died(&self) {
        if self.loss != Loss::Nothing {
            let image = self.disk.image(self.loss);
            self.lock().image = Some(image);
        }
    }
}
