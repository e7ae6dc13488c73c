//! How fast to receive: a PID controller over what the last batches took (Spark's `PIDRateEstimator`).
//!
//! ```text
//! processing rate = n / processing time
//! error           = latest − processing rate
//! historical      = scheduling delay · processing rate / batch interval
//! change          = (error − latest error) / time between the two samples
//! rate            = max(min rate, latest − P·error − I·historical − D·change)
//! ```
//!
//! One addition: what a nearly idle batch shows is its fixed cost, not the engine's speed, and an empty one shows nothing. Left to the
//! formula, an idle stream would end at the minimum and stay there. So a batch that left the engine idle never lowers the
//! rate; it raises it again, doubling, up to the highest processing rate that was ever seen.
//!
//! Pure: no clock, no randomness; the same samples give the same rates.

/// The weights of the controller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PidSettings {
    /// Weight of the present error.
    pub proportional: f64,
    /// Weight of what has queued up.
    pub integral: f64,
    /// Weight of the error's change.
    pub derivative: f64,
    /// Records per second that are always allowed.
    pub min_rate: f64,
}

impl Default for PidSettings {
    fn default() -> Self {
        Self { proportional: 1.0, integral: 0.2, derivative: 0.0, min_rate: 100.0 }
    }
}

/// What one batch shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSample {
    /// When the batch was done, on a monotonic clock.
    pub finished_at_ms: u64,
    /// Its records.
    pub records: u64,
    /// How long it was computed.
    pub processing_ms: u64,
    /// How long it waited for the batch before it.
    pub scheduling_ms: u64,
}

/// The controller. Feed it every batch.
#[derive(Clone, Debug)]
pub(crate) struct PidRateEstimator {
    settings: PidSettings,
    interval_ms: u64,
    latest: Option<Latest>,
    /// The highest processing rate that was seen.
    proven_rate: f64,
}

#[derive(Clone, Copy, Debug)]
struct Latest {
    at_ms: u64,
    rate: f64,
    error: f64,
}

impl PidRateEstimator {
    pub fn new(interval_ms: u64, settings: PidSettings) -> Self {
        assert!(interval_ms > 0, "a batch interval is positive");
        Self { settings, interval_ms, latest: None, proven_rate: 0.0 }
    }

    /// Takes in a batch; gives the new rate in records per second, or `None` while there is nothing to say: for the first
    /// sample, which only seeds the controller, and for samples that come out of order.
    pub fn compute(&mut self, sample: BatchSample) -> Option<f64> {
        let Some(latest) = self.latest else {
            self.seed(sample);
            return None;
        };
        if sample.finished_at_ms <= latest.at_ms {
            return None;
        }
        let (mut rate, mut error) = (latest.rate, 0.0);
        if sample.records > 0 {
            let processing_rate = self.observe(sample);
            let seconds = (sample.finished_at_ms - latest.at_ms) as f64 / 1000.0;
            error = latest.rate - processing_rate;
            let historical = sample.scheduling_ms as f64 * processing_rate / self.interval_ms as f64;
            let change = (error - latest.error) / seconds;
            rate = latest.rate
                - self.settings.proportional * error
                - self.settings.integral * historical
                - self.settings.derivative * change;
        }
        if self.left_idle(sample, latest.rate) {
            rate = rate.max(latest.rate).max((latest.rate * 2.0).min(self.proven_rate));
            error = 0.0;
        }
        rate = rate.max(self.settings.min_rate);
        self.latest = Some(Latest { at_ms: sample.finished_at_ms, rate, error });
        Some(rate)
    }

    fn seed(&mut self, sample: BatchSample) {
        if sample.records > 0 {
            let rate = self.observe(sample);
            self.latest = Some(Latest { at_ms: sample.finished_at_ms, rate, error: 0.0 });
        }
    }

    /// The processing rate of a sample, which is now proven to be possible.
    fn observe(&mut self, sample: BatchSample) -> f64 {
        let rate = sample.records as f64 * 1000.0 / sample.processing_ms.max(1) as f64;
        self.proven_rate = self.proven_rate.max(rate);
        rate
    }

    /// Whether the engine had nearly nothing to do, although more was allowed.
    fn left_idle(&self, sample: BatchSample, allowed_rate: f64) -> bool {
        let allowance = allowed_rate * self.interval_ms as f64 / 1000.0;
        sample.scheduling_ms == 0
            && (sample.records as f64) < allowance / 2.0
            && sample.processing_ms * 10 <= self.interval_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, records: u64, processing_ms: u64, scheduling_ms: u64) -> BatchSample {
        BatchSample { finished_at_ms: second * 1000, records, processing_ms, scheduling_ms }
    }

    fn estimator() -> PidRateEstimator {
        PidRateEstimator::new(1000, PidSettings::default())
    }

    #[test]
    fn the_first_sample_only_seeds() {
        let mut estimator = estimator();
        assert_eq!(estimator.compute(sample(1, 0, 1, 0)), None);
        assert_eq!(estimator.compute(sample(2, 1000, 500, 0)), None);
        assert!(estimator.compute(sample(3, 1000, 500, 0)).is_some());
    }

    #[test]
    fn the_rate_follows_the_processing_rate() {
        let mut estimator = estimator();
        estimator.compute(sample(1, 2000, 500, 0));
        // error = 4000 − 1000, so that 4000 − 3000 remains.
        assert_eq!(estimator.compute(sample(2, 1000, 1000, 0)), Some(1000.0));
        assert_eq!(estimator.compute(sample(3, 1000, 800, 0)), Some(1250.0));
    }

    #[test]
    fn a_scheduling_delay_lowers_the_rate_further() {
        let mut estimator = estimator();
        estimator.compute(sample(1, 1000, 1000, 0));
        // historical = 500 · 1000 / 1000 = 500; 1000 − 0 − 0.2 · 500.
        assert_eq!(estimator.compute(sample(2, 1000, 1000, 500)), Some(900.0));
    }

    #[test]
    fn the_derivative_weighs_the_change_of_the_error() {
        let settings = PidSettings { derivative: 0.5, ..PidSettings::default() };
        let mut estimator = PidRateEstimator::new(1000, settings);
        estimator.compute(sample(1, 2000, 1000, 0));
        // error = 2000 − 1000; change = 1000 over 2 s = 500 a second; 2000 − 1000 − 0.5 · 500.
        assert_eq!(estimator.compute(sample(3, 1000, 1000, 0)), Some(750.0));
    }

    #[test]
    fn the_rate_never_falls_below_the_minimum() {
        let mut estimator = estimator();
        estimator.compute(sample(1, 1000, 1000, 0));
        assert_eq!(estimator.compute(sample(2, 10, 60_000, 59_000)), Some(100.0));
    }

    #[test]
    fn a_sample_out_of_order_is_ignored() {
        let mut estimator = estimator();
        estimator.compute(sample(5, 1000, 1000, 0));
        assert_eq!(estimator.compute(sample(5, 1000, 10, 0)), None);
        assert_eq!(estimator.compute(sample(4, 1000, 10, 0)), None);
    }

    #[test]
    fn an_idle_stream_raises_its_rate_again() {
        let mut estimator = estimator();
        estimator.compute(sample(1, 100_000, 100, 0));
        assert_eq!(estimator.compute(sample(2, 50, 60_000, 59_000)), Some(100.0));
        let mut rate = 100.0;
        for second in 3..20 {
            let raised = estimator.compute(sample(second, second % 2, 1, 0)).unwrap();
            assert!(raised >= rate, "{raised} after {rate}");
            rate = raised;
        }
        assert_eq!(rate, 1_000_000.0);
    }

    #[test]
    fn a_trickle_does_not_lower_the_rate() {
        let mut estimator = estimator();
        estimator.compute(sample(1, 100_000, 1000, 0));
        assert_eq!(estimator.compute(sample(2, 5, 50, 0)), Some(100_000.0));
    }
}
