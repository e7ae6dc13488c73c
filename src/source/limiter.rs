//! A token bucket in records per second, shared by whoever it limits.
//!
//! A job has one for the rate that the controller sets, which all its receivers share, and each receiver that has a
//! `max_rate` has one of its own. Over any time T a bucket lets at most `rate · T + rate · 50 ms` records pass (at least one).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;

/// What may pass at once after a pause, in seconds of the rate.
const BURST_SECONDS: f64 = 0.05;
/// The smallest wait that is worth a timer, in seconds of the rate; smaller grants are put together.
const QUANTUM_SECONDS: f64 = 0.01;

#[derive(Debug)]
pub(crate) struct RateLimiter {
    clock: Arc<dyn Clock>,
    /// Records per second as bits of an `f64`; infinity for no limit, which costs one load.
    rate: AtomicU64,
    bucket: Mutex<Bucket>,
    raised: Notify,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at_ms: u64,
}

impl RateLimiter {
    /// `None` is no limit.
    pub fn new(clock: Arc<dyn Clock>, rate: Option<f64>) -> Self {
        let filled_at_ms = clock.monotonic_ms();
        let limiter = Self {
            clock,
            rate: AtomicU64::new(f64::INFINITY.to_bits()),
            bucket: Mutex::new(Bucket { tokens: 0.0, filled_at_ms }),
            raised: Notify::new(),
        };
        limiter.set_rate(rate);
        limiter
    }

    /// Changes the rate, also for those who wait. `None` is no limit.
    pub fn set_rate(&self, rate: Option<f64>) {
        let rate = rate.unwrap_or(f64::INFINITY).max(f64::MIN_POSITIVE);
        self.rate.store(rate.to_bits(), Ordering::Release);
        self.raised.notify_waiters();
    }

    /// Records per second; infinity for no limit.
    pub fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Acquire))
    }

    /// Waits until records may pass and takes at least one and at most `wanted` of them (0 only for 0).
    pub async fn acquire_up_to(&self, wanted: u64) -> u64 {
        loop {
            let raised = self.raised.notified();
            let mut raised = std::pin::pin!(raised);
            raised.as_mut().enable();
            let wait = match self.try_take(wanted) {
                Ok(granted) => return granted,
                Err(wait) => wait,
            };
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = raised => {}
            }
        }
    }

    /// Waits until `records` have passed.
    pub async fn acquire(&self, records: u64) {
        let mut open = records;
        while open > 0 {
            open -= self.acquire_up_to(open).await;
        }
    }

    /// What may pass now, or how long to wait.
    fn try_take(&self, wanted: u64) -> Result<u64, Duration> {
        let rate = self.rate();
        if rate.is_infinite() || wanted == 0 {
            return Ok(wanted);
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.monotonic_ms();
        let seconds = now_ms.saturating_sub(bucket.filled_at_ms) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + seconds * rate).min((rate * BURST_SECONDS).max(1.0));
        bucket.filled_at_ms = now_ms;
        let needed = (rate * QUANTUM_SECONDS).min(wanted as f64).max(1.0);
        if bucket.tokens >= needed {
            let granted = bucket.tokens.min(wanted as f64).floor();
            bucket.tokens -= granted;
            return Ok(granted as u64);
        }
        let wait_ms = ((needed - bucket.tokens) / rate * 1000.0).ceil().clamp(1.0, 60_000.0);
        Err(Duration::from_millis(wait_ms as u64))
    }
}

/// What limits one receiver: its own `max_rate`, and the rate that it shares with the job's other receivers.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverRate {
    pub own: Option<Arc<RateLimiter>>,
    pub shared: Arc<RateLimiter>,
}

impl ReceiverRate {
    /// As [`RateLimiter::acquire_up_to`], of both.
    pub async fn acquire_up_to(&self, wanted: u64) -> u64 {
        let granted = match &self.own {
            Some(own) => own.acquire_up_to(wanted).await,
            None => return self.shared.acquire_up_to(wanted).await,
        };
        self.shared.acquire(granted).await;
        granted
    }

    /// As [`RateLimiter::acquire`], of both.
    pub async fn acquire(&self, records: u64) {
        if let Some(own) = &self.own {
            own.acquire(records).await;
        }
        self.shared.acquire(records).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn limiter(rate: Option<f64>) -> (ManualClock, Arc<RateLimiter>) {
        let clock = ManualClock::at(0);
        (clock.clone(), Arc::new(RateLimiter::new(Arc::new(clock), rate)))
    }

    #[tokio::test]
    async fn without_a_limit_everything_passes_at_once() {
        let (_clock, limiter) = limiter(None);
        assert_eq!(limiter.acquire_up_to(u64::MAX).await, u64::MAX);
    }

    #[test]
    fn no_more_passes_than_the_rate_and_one_burst() {
        let (clock, limiter) = limiter(Some(1000.0));
        let mut passed = 0;
        for _ in 0..10_000 {
            clock.advance(Duration::from_millis(1));
            passed += limiter.try_take(1_000_000).unwrap_or(0);
        }
        assert!((9_900..=10_050).contains(&passed), "{passed} in 10 s");
    }

    #[test]
    fn a_pause_is_not_saved_up() {
        let (clock, limiter) = limiter(Some(1000.0));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(limiter.try_take(1_000_000), Ok(50));
    }

    #[test]
    fn a_rate_below_one_record_a_second_still_lets_one_pass() {
        let (clock, limiter) = limiter(Some(0.5));
        assert_eq!(limiter.try_take(10), Err(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(limiter.try_take(10), Ok(1));
    }

    #[tokio::test]
    async fn raising_the_rate_wakes_those_who_wait() {
        let (_clock, limiter) = limiter(Some(0.001));
        let waiter = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire(5).await }
        });
        tokio::task::yield_now().await;
        limiter.set_rate(None);
        waiter.await.unwrap();
    }

    #[tokio::test]
    async fn a_receiver_is_held_to_the_smaller_of_its_two_rates() {
        let (clock, own) = limiter(Some(100.0));
        let shared = Arc::new(RateLimiter::new(Arc::new(clock.clone()), None));
        let rate = ReceiverRate { own: Some(own), shared };
        clock.advance(Duration::from_secs(10));
        assert_eq!(rate.acquire_up_to(1000).await, 5);
    }
}
