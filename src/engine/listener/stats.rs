//! `StatsReportListener`: how long the last batches took.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::listener::StreamingListener;
use crate::listener::events::BatchCompleted;

/// Keeps the figures of the last batches, and writes a line about each batch to the trace (level `info`). Spark:
/// `StatsReportListener`.
///
/// A clone is a handle on the same figures, to be read from any thread while the job runs. Batches that are recomputed are
/// left out: how long they take says nothing of the live job. Memory: two numbers a batch.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// use floodmark::StatsReportListener;
/// use floodmark::testing::TestJob;
///
/// let stats = StatsReportListener::new(10);
/// let listener = stats.clone();
/// let mut job = TestJob::configured(move |builder| builder.listener(listener.clone()), |context| {
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     stream.print(10);
///     numbers
/// })?;
/// job.run_batch()?;
/// job.running().stop(true)?;
/// let delay_ms = stats.total_delay_ms().expect("there was a batch");
/// assert!(delay_ms.at(50) <= delay_ms.at(95));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StatsReportListener {
    most: usize,
    batches: Arc<Mutex<VecDeque<Figures>>>,
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    processing_ms: u64,
    total_delay_ms: u64,
}

impl StatsReportListener {
    /// Keeps the figures of the last `batches` batches, at least of one. Spark's default is 10.
    #[must_use]
    pub fn new(batches: usize) -> Self {
        Self { most: batches.max(1), batches: Arc::default() }
    }

    /// How long the last batches were computed, in milliseconds; `None` before the first one.
    #[must_use]
    pub fn processing_ms(&self) -> Option<Percentiles> {
        Percentiles::of(self.lock().iter().map(|figures| figures.processing_ms))
    }

    /// How long it took from the ticks of the last batches until every output had them, in milliseconds; `None` before the
    /// first one.
    #[must_use]
    pub fn total_delay_ms(&self) -> Option<Percentiles> {
        Percentiles::of(self.lock().iter().map(|figures| figures.total_delay_ms))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Figures>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamingListener for StatsReportListener {
    fn on_batch_completed(&mut self, completed: &BatchCompleted) {
        let (batch, records) = (completed.batch.id, completed.records());
        let BatchCompleted { processing_ms, total_delay_ms, is_replay, .. } = *completed;
        if is_replay {
            tracing::info!(%batch, records, processing_ms, "a batch was recomputed");
            return;
        }
        let mut batches = self.lock();
        batches.push_back(Figures { processing_ms, total_delay_ms });
        if batches.len() > self.most {
            batches.pop_front();
        }
        drop(batches);
        if let (Some(processing), Some(delay)) = (self.processing_ms(), self.total_delay_ms()) {
            tracing::info!(
                %batch, records, failed = completed.failed_records(), processing_ms, total_delay_ms,
                "a batch is complete; of the last {}: processing {processing}, total delay {delay}", processing.len()
            );
        }
    }
}

/// How values are spread. Spark prints the same as a `Distribution`.
///
/// ```
/// use floodmark::Percentiles;
///
/// let spread = Percentiles::of([40, 10, 30, 20]).expect("there are values");
/// assert_eq!((spread.at(0), spread.at(50), spread.at(100)), (10, 20, 40));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Percentiles(Vec<u64>);

impl Percentiles {
    /// Of these values; `None` where there are none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        (!values.is_empty()).then_some(Self(values))
    }

    /// The smallest value that so many percent of all do not exceed; 0 gives the smallest, 100 and more the largest.
    #[must_use]
    pub fn at(&self, percent: u32) -> u64 {
        let rank = (self.0.len() as u64 * u64::from(percent.min(100))).div_ceil(100).max(1);
        self.0[rank as usize - 1]
    }

    /// How many values there are; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Percentiles {
    /// The half, nine tenths and all, in milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "50 % {} ms, 90 % {} ms, 100 % {} ms", self.at(50), self.at(90), self.at(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let spread = Percentiles::of(1..=20).unwrap();
        let found: Vec<u64> = [0, 1, 5, 6, 50, 90, 99, 100, 101].iter().map(|percent| spread.at(*percent)).collect();
        assert_eq!(found, [1, 1, 1, 2, 10, 18, 20, 20, 20]);
        assert_eq!(Percentiles::of([7]).unwrap().to_string(), "50 % 7 ms, 90 % 7 ms, 100 % 7 ms");
        assert_eq!(Percentiles::of([]), None);
    }
}
