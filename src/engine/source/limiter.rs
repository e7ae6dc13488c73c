//! A token bucket in records per second, shared by whoever it limits.
//!
//! A job has one for the rate that the controller sets, which all its receivers share, and each receiver that has a
//! `max_rate` has one of its own. Over any time T a bucket lets at most `rate · T + rate · 50 ms` records pass (at least one).

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use floodmark_base::clock::Clock;

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
    changed: Notify,
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
            changed: Notify::new(),
        };
        limiter.set_rate(rate);
        limiter
    }

    /// Changes the rate, also for those who wait. `None` is no limit.
    pub fn set_rate(&self, rate: Option<f64>) {
        let rate = rate.unwrap_or(f64::INFINITY).max(f64::MIN_POSITIVE);
        self.rate.store(rate.to_bits(), Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Records per second; infinity for no limit.
    pub fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Acquire))
    }

    /// What may pass now, at least one and at most `wanted` (0 only for 0), or how long to wait.
    pub fn try_take(&self, wanted: u64) -> Result<u64, Duration> {
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

    /// Gives back what was taken and not used.
    fn give_back(&self, records: u64) {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).tokens += records as f64;
    }
}

/// What limits one receiver: its own `max_rate`, and the rate that it shares with the job's other receivers.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverRate {
    pub own: Option<Arc<RateLimiter>>,
    pub shared: Arc<RateLimiter>,
}

impl ReceiverRate {
    /// Waits until records may pass by both limits and takes at least one and at most `wanted` of them (0 only for 0). If the
    /// future is dropped while it waits, nothing is taken.
    pub async fn acquire_up_to(&self, wanted: u64) -> u64 {
        loop {
            let (own, shared) = (self.own.as_ref().unwrap_or(&self.shared), &self.shared);
            let (own_changed, shared_changed) = (own.changed.notified(), shared.changed.notified());
            let (mut own_changed, mut shared_changed) = (pin!(own_changed), pin!(shared_changed));
            // From here on no change is missed, even before the first await.
            own_changed.as_mut().enable();
            shared_changed.as_mut().enable();
            let wait = match self.try_take(wanted) {
                Ok(granted) => return granted,
                Err(wait) => wait,
            };
            tokio::select! {
                () = shared.clock.sleep(wait) => {}
                () = own_changed => {}
                () = shared_changed => {}
            }
        }
    }

    /// Takes all of `records` if they may pass now, or nothing.
    pub fn try_acquire(&self, records: u64) -> bool {
        match self.try_take(records) {
            Ok(granted) if granted == records => true,
            Ok(granted) => {
                self.give_back(granted);
                false
            }
            Err(_) => false,
        }
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&self, records: u64) {
        self.shared.give_back(records);
        if let Some(own) = &self.own {
            own.give_back(records);
        }
    }

    fn try_take(&self, wanted: u64) -> Result<u64, Duration> {
        let Some(own) = &self.own else { return self.shared.try_take(wanted) };
        let allowed = own.try_take(wanted)?;
        let granted = self.shared.try_take(allowed);
        own.give_back(allowed - granted.as_ref().unwrap_or(&0));
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_base::clock::ManualClock;

    fn limiter(rate: Option<f64>) -> (ManualClock, Arc<RateLimiter>) {
        let clock = ManualClock::at(0);
        (clock.clone(), Arc::new(RateLimiter::new(Arc::new(clock), rate)))
    }

    #[tokio::test]
    async fn without_a_limit_everything_passes_at_once() {
        let (_clock, shared) = limiter(None);
        assert_eq!(ReceiverRate { own: None, shared }.acquire_up_to(u64::MAX).await, u64::MAX);
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
            let rate = ReceiverRate { own: None, shared: Arc::clone(&limiter) };
            async move { rate.acquire_up_to(5).await }
        });
        tokio::task::yield_now().await;
        limiter.set_rate(None);
        assert_eq!(waiter.await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_receiver_is_held_to_the_smaller_of_its_two_rates() {
        let (clock, own) = limiter(Some(100.0));
        let shared = Arc::new(RateLimiter::new(Arc::new(clock.clone()), None));
        let rate = ReceiverRate { own: Some(own), shared };
        clock.advance(Duration::from_secs(10));
        assert_eq!(rate.acquire_up_to(1000).await, 5);
    }

    #[test]
    fn what_the_shared_rate_refuses_is_given_back_to_the_own_one() {
        let (clock, own) = limiter(Some(1000.0));
        let shared = Arc::new(RateLimiter::new(Arc::new(clock.clone()), Some(100.0)));
        let rate = ReceiverRate { own: Some(Arc::clone(&own)), shared };
        clock.advance(Duration::from_millis(50));
        assert_eq!(rate.try_take(50), Ok(5));
        assert!(rate.try_take(50).is_err());
        assert_eq!(own.try_take(50), Ok(45));
    }
}
