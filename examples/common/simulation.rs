//! A job whose time runs as fast as the machine can: an hour of windows in a second, and the same output each time.

use floodmark::{Clock, ManualClock, Result, Running, StreamingContext, StreamingContextBuilder};
use std::path::Path;
use std::time::Duration;

/// Monday, 2 November 2026, noon.
const NOON_MS: u64 = 1_793_620_800_000;

/// The clock of a job that is driven batch by batch.
pub struct Simulation {
    clock: ManualClock,
    interval: Duration,
}

impl Simulation {
    pub fn new(interval: Duration) -> Self {
        Self { clock: ManualClock::at(NOON_MS), interval }
    }

    /// The settings of a job that is driven by it.
    pub fn builder(&self, name: &str, checkpoint: &Path) -> StreamingContextBuilder {
        StreamingContext::builder(name)
            .checkpoint(checkpoint)
            .batch_interval(self.interval)
            .workers(2)
            .clock(self.clock.clone())
    }

    /// Lets the time of one batch pass, and waits until its output is there.
    pub fn run_batch(&self, running: &Running) -> Result<()> {
        let before = running.status().planned;
        let interval_ms = self.interval.as_millis() as u64;
        self.clock.advance_to(self.clock.epoch_ms() / interval_ms * interval_ms + interval_ms);
        running.wait_until(|status| status.planned > before && status.published == status.planned)?;
        Ok(())
    }
}

/// A time as people read it: minutes and seconds since noon.
pub fn clock_time(time_ms: u64) -> String {
    let seconds = time_ms.saturating_sub(NOON_MS) / 1_000;
    format!("12:{:02}:{:02}", seconds / 60, seconds % 60)
}
