//! What happens at the moment of a fault: a death leaves its image, a held step waits, a clock jumps.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use floodmark::testing::disk::{Image, Loss, SimulatedDisk, Step, TracedStep, Watcher};
use floodmark::{BatchId, ManualClock};

use super::fault::Fault;
use super::oracle::{Divergence, Oracle};
use super::stored;

const HOUR_MS: i64 = 3_600_000;

/// Watches the door to the disk in one life.
pub(super) struct Gate {
    fault: Option<Fault>,
    loss: Loss,
    disk: SimulatedDisk,
    clock: ManualClock,
    state: Mutex<State>,
    changed: Condvar,
    publications: Option<Publications>,
}

/// What is looked at whenever a batch is about to be published.
struct Publications {
    /// The name of the job's directory.
    state: String,
    /// The batch.
    begun: Arc<AtomicU64>,
    disorder: Mutex<Option<Divergence>>,
}

#[derive(Default)]
struct State {
    struck: Option<TracedStep>,
    held: bool,
    released: bool,
    image: Option<io::Result<Image>>,
}

impl Gate {
    pub fn new(fault: Option<Fault>, loss: Loss, disk: SimulatedDisk, clock: ManualClock) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { fault, loss, disk, clock, state, changed, publications: None }
    }

    /// From now on, whenever a batch is about to be published, what a power cut would leave must know its commit.
    pub fn look_at_publications(&mut self, state: String, begun: Arc<AtomicU64>) {
        self.publications = Some(Publications { state, begun, disorder: Mutex::default() });
    }

    /// The first publication before its time.
    pub fn disorder(&self) -> Option<Divergence> {
        let publications = self.publications.as_ref()?;
        publications.disorder.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

impl Publications {
    fn look(&self, disk: &SimulatedDisk) -> Result<(), Divergence> {
        let unusable = |error: io::Error| Divergence::new(Oracle::Order, format!("the image cannot be made: {error}"));
        let base = crate::scratch::directory().map_err(unusable)?;
        let place = base.path().join("image");
        disk.image(Loss::Everything).and_then(|image| image.write_to(&place)).map_err(unusable)?;
        stored::knows_commit(&place.join(&self.state), BatchId(self.begun.load(Ordering::SeqCst)))
    }
}

impl Watcher for Gate {
    fn begins(&self, step: &TracedStep) {
        let Some(publications) = self.publications.as_ref().filter(|_| step.what == "pass") else { return };
        if step.step == Step::SinkPublish
            && let Err(disorder) = publications.look(&self.disk)
        {
            publications.disorder.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(disorder);
        }
    }

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
