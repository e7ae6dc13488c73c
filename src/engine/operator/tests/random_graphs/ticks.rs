//! When batches are, and when streams that slide yield.

use super::case::INTERVAL_MS;

/// The times of all batches of a run.
#[derive(Clone, Debug, Default)]
pub struct Ticks {
    pub times: Vec<u64>,
}

impl Ticks {
    /// The time of the next batch, when the clock shows `now_ms`.
    pub fn next(&self, now_ms: u64) -> u64 {
        let tick = now_ms / INTERVAL_MS * INTERVAL_MS;
        self.times.last().map_or(tick, |last| tick.max(last + INTERVAL_MS))
    }

    /// The first tick minus one interval.
    pub fn zero(&self) -> u64 {
        self.times[0] - INTERVAL_MS
    }

    /// The newest multiple of a slide since the zero time that was passed between the batch before and this one.
    pub fn boundary(&self, batch: usize, slide_ms: u64) -> Option<u64> {
        let previous = if batch == 0 { self.zero() } else { self.times[batch - 1] };
        let multiples = (1..).map(|count| self.zero() + count * slide_ms);
        multiples.take_while(|multiple| *multiple <= self.times[batch]).filter(|multiple| *multiple > previous).last()
    }
}
