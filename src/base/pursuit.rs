//! Looking at a store beside the driver that is at work on it.
//!
//! The driver may publish, truncate and collect while a store is read. Then what was read does not fit together, and looks like
//! damage; it is read again. How many tries that takes depends on how fast the driver is and how long reading takes, so it is not the
//! tries that are limited: as long as the driver makes progress, reading goes on, for half a minute at least. A store that stands still
//! is judged at once.

use crate::clock::{Clock, SystemClock};

/// Least number of tries, however long they take.
const LEAST_TRIES: u32 = 20;

/// Least time that reading goes on, however short the tries are.
const PATIENCE_MS: u64 = 30_000;

/// The tries of one look.
#[derive(Debug, Default)]
pub struct Pursuit {
    clock: SystemClock,
    tries: u32,
}

impl Pursuit {
    /// Returns whether to read again after a try that came to nothing: where the driver has `moved` on since the try began.
    pub fn goes_on(&mut self, moved: bool) -> bool {
        self.tries += 1;
        moved && (self.tries < LEAST_TRIES || self.clock.monotonic_ms() < PATIENCE_MS)
    }
}
