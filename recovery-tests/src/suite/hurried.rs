//! A clock that runs faster than the world: whoever waits between tries waits shortly.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use floodmark::{Clock, Interrupt, SystemClock, Waited};

/// How many of its seconds pass in one.
const SPEED: u32 = 50;

#[derive(Debug, Default)]
pub(super) struct HurriedClock(SystemClock);

impl Clock for HurriedClock {
    fn epoch_ms(&self) -> u64 {
        self.0.epoch_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.monotonic_ms() * u64::from(SPEED)
    }

    fn wait_while(&self, epoch_ms: Range<u64>, interrupt: &Interrupt) -> Waited {
        self.0.wait_while(epoch_ms, interrupt)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(duration / SPEED)
    }
}
