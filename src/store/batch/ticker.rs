//! The ticker: a thread that waits for the next multiple of the batch interval.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use floodmark_base::clock::{Clock, Interrupt, Waited};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::BatchTime;

/// Ticks on the grid of the batch interval, aligned with the epoch. Ticks that the receiver has not taken yet merge.
pub struct Ticker {
    interrupt: Interrupt,
    pending: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts ticking: `tick` is called when a tick has passed and the last one was [taken](Self::take).
    pub fn start(clock: Arc<dyn Clock>, interval_ms: u64, tick: impl Fn() + Send + 'static) -> Result<Self> {
        let (interrupt, pending, stopping) =
            (Interrupt::default(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (wake, waiting, end) = (interrupt.clone(), pending.clone(), stopping.clone());
        // Before the thread runs: a clock that advances meanwhile has ticked.
        let mut last = grid(clock.epoch_ms(), interval_ms).0;
        let run = move || {
            while !end.load(Ordering::Acquire) {
                // Set back a little, a clock soon passes the grid again; set back by more, it ticks anew, since what was the next
                // tick may be hours away. Batch times rise all the same.
                let range = last.saturating_sub(interval_ms)..last + interval_ms;
                if clock.wait_while(range, &wake) == Waited::Interrupted {
                    continue;
                }
                last = grid(clock.epoch_ms(), interval_ms).0;
                if !waiting.swap(true, Ordering::AcqRel) {
                    tick();
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("ticker".into())
            .spawn(run)
            .map_err(|error| Error::caused_by(ErrorKind::Environment, "the ticker cannot be started", error))?;
        Ok(Self { interrupt, pending, stopping, thread: Some(thread) })
    }

    /// The tick was taken; the next one may come.
    pub fn take(&self) {
        self.pending.store(false, Ordering::Release);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.interrupt.raise();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ticker panicked");
        }
    }
}

/// The newest tick at or before a time.
pub fn grid(epoch_ms: u64, interval_ms: u64) -> BatchTime {
    BatchTime(epoch_ms - epoch_ms % interval_ms)
}

/// The time of the next batch, and how many ticks passed without one: batch times always rise, whatever the clock does.
pub fn next_batch_time(last: Option<BatchTime>, now_ms: u64, interval_ms: u64) -> (BatchTime, u64) {
    let tick = grid(now_ms, interval_ms);
    match last {
        None => (tick, 0),
        Some(last) => {
            // The next multiple: also where the last batch was on another grid, since the interval was another.
            let next = grid(last.0 + interval_ms, interval_ms).0;
            let time = tick.0.max(next);
            (BatchTime(time), (time - next) / interval_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_times_are_on_the_grid_and_always_rise() {
        assert_eq!(next_batch_time(None, 1_234, 100), (BatchTime(1_200), 0));
        assert_eq!(next_batch_time(Some(BatchTime(1_200)), 1_310, 100), (BatchTime(1_300), 0));
        assert_eq!(next_batch_time(Some(BatchTime(1_200)), 1_250, 100), (BatchTime(1_300), 0), "the clock is early");
        assert_eq!(next_batch_time(Some(BatchTime(1_200)), 0, 100), (BatchTime(1_300), 0), "the clock was set back");
    }

    #[test]
    fn a_clock_that_is_set_back_by_an_hour_goes_on_ticking_at_once() {
        let clock = floodmark_base::clock::ManualClock::at(3_600_000_000);
        let (ticked, ticks) = std::sync::mpsc::channel();
        let ticker = Ticker::start(Arc::new(clock.clone()), 100, move || ticked.send(()).unwrap()).unwrap();
        let tick = || {
            ticks.recv_timeout(std::time::Duration::from_secs(10)).expect("it ticks");
            ticker.take();
        };
        clock.advance(std::time::Duration::from_millis(100));
        tick();
        clock.jump(-3_600_000);
        tick();
        clock.advance(std::time::Duration::from_millis(100));
        tick();
    }

    #[test]
    fn a_new_interval_has_its_own_grid() {
        assert_eq!(next_batch_time(Some(BatchTime(1_200)), 1_210, 500), (BatchTime(1_500), 0));
    }

    #[test]
    fn ticks_that_passed_without_a_batch_merge_into_the_newest() {
        assert_eq!(next_batch_time(Some(BatchTime(1_200)), 1_650, 100), (BatchTime(1_600), 3));
    }
}
