//! When a stream yields: pure arithmetic over the times of a batch and the slide of a stream.
//!
//! A stream yields at the multiples of its slide, counted from the zero time (the first tick minus one interval, kept for good).
//! Where ticks merged and no batch has exactly such a time, the first batch beyond it yields in its stead, once, for the newest
//! multiple that was passed, and with that as its time. It all follows from durable facts (plans, zero time), so a replay yields
//! at the same times (I-3).

use floodmark_base::id::BatchTime;

/// The time between two results of a stream, in milliseconds; that of a source is the batch interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slide(pub u64);

/// A window over a stream: how far it reaches back, and how often it yields. The window at time t covers the batches with a time
/// in (t − length, t].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub length_ms: u64,
    pub slide: Slide,
}

impl Window {
    /// The newest time that lies before the window at `boundary`.
    pub fn before(&self, boundary: BatchTime) -> BatchTime {
        BatchTime(boundary.0.saturating_sub(self.length_ms))
    }

    /// The newest time that no window after that at `boundary` covers.
    pub fn never_again(&self, boundary: BatchTime) -> BatchTime {
        self.before(BatchTime(boundary.0.saturating_add(self.slide.0)))
    }
}

/// What is to be known of a batch to tell what it yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub time: BatchTime,
    /// The time of the batch before; the zero time for the first batch.
    pub previous: BatchTime,
    pub zero: BatchTime,
    pub interval_ms: u64,
}

impl Timing {
    /// The time of the result that a stream of this slide yields in this batch, if it yields one.
    pub fn due(&self, slide: Slide) -> Option<BatchTime> {
        let boundary = self.newest_boundary(slide);
        (boundary > self.last_boundary(slide)).then_some(boundary)
    }

    /// The newest multiple of a slide that has passed, whether this batch yields for it or an earlier one did.
    pub fn newest_boundary(&self, slide: Slide) -> BatchTime {
        self.boundary_at(self.time, slide)
    }

    /// The multiple of a slide for which the last result was yielded before this batch; the zero time if there was none.
    pub fn last_boundary(&self, slide: Slide) -> BatchTime {
        self.boundary_at(self.previous, slide)
    }

    fn boundary_at(&self, time: BatchTime, slide: Slide) -> BatchTime {
        if slide.0 == self.interval_ms {
            return time; // also on a grid that an earlier interval of the job has left behind
        }
        let passed = time.0.saturating_sub(self.zero.0);
        BatchTime(self.zero.0 + passed - passed % slide.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(previous: u64, time: u64) -> Timing {
        Timing { time: BatchTime(time), previous: BatchTime(previous), zero: BatchTime(1_000), interval_ms: 100 }
    }

    #[test]
    fn a_stream_yields_at_multiples_of_its_slide_since_the_zero_time() {
        let yields: Vec<Option<BatchTime>> =
            (0..6).map(|batch| timing(1_000 + batch * 100, 1_100 + batch * 100).due(Slide(300))).collect();
        assert_eq!(yields, [None, None, Some(BatchTime(1_300)), None, None, Some(BatchTime(1_600))]);
    }

    #[test]
    fn a_stream_that_slides_by_the_interval_yields_in_every_batch() {
        assert_eq!(timing(1_000, 1_100).due(Slide(100)), Some(BatchTime(1_100)));
        assert_eq!(timing(1_000, 1_150).due(Slide(100)), Some(BatchTime(1_150)), "the interval was another once");
    }

    #[test]
    fn the_first_batch_beyond_merged_ticks_yields_once_for_the_newest_boundary() {
        assert_eq!(timing(1_200, 1_400).due(Slide(300)), Some(BatchTime(1_300)));
        assert_eq!(timing(1_200, 2_300).due(Slide(300)), Some(BatchTime(2_200)));
        assert_eq!(timing(2_300, 2_400).due(Slide(300)), None);
        assert_eq!(timing(2_300, 2_400).newest_boundary(Slide(300)), BatchTime(2_200));
    }
}
