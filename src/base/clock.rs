//! The door to time: everything that reads a clock or waits for one does it here, so that tests can drive it.
//!
//! Two clocks are kept apart. The *epoch* clock (milliseconds since 1970) gives batches their times; it may jump, when an
//! operator or a time server sets it. The *monotonic* clock (milliseconds since some start) measures durations; it never
//! jumps. [`ClockWatch`] compares the two and tells a jump.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Longest wait of the system clock before it looks again: a jump of the epoch clock is noticed within this time.
const LONGEST_NAP_MS: u64 = 500;

/// What tells the time and waits for it.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::{Clock, SystemClock};
///
/// let clock = SystemClock::default();
/// let before = clock.monotonic_ms();
/// assert!(clock.monotonic_ms() >= before);
/// assert!(clock.epoch_ms() > 1_600_000_000_000);
/// ```
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Milliseconds since the Unix epoch; may jump.
    fn epoch_ms(&self) -> u64;

    /// Milliseconds since some start; never goes back.
    fn monotonic_ms(&self) -> u64;

    /// Blocks the thread while the epoch clock shows a time in this range, in milliseconds, and `interrupt` is not raised.
    fn wait_while(&self, epoch_ms: Range<u64>, interrupt: &Interrupt) -> Waited;

    /// Waits `duration` on the monotonic clock, without blocking a thread.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// How a wait ended.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::{Clock, Interrupt, SystemClock, Waited};
/// assert_eq!(SystemClock::default().wait_while(0..0, &Interrupt::default()), Waited::Reached);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The end of the range has come.
    Reached,
    /// The clock shows a time before the range: it was set back.
    SetBack,
    /// The interrupt was raised; the wait has lowered it again.
    Interrupted,
}

/// Ends a wait early, from any thread. A raised interrupt is kept until a wait meets it, so none is missed.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::{Clock, Interrupt, SystemClock, Waited};
///
/// let interrupt = Interrupt::default();
/// interrupt.raise();
/// assert_eq!(SystemClock::default().wait_while(0..u64::MAX, &interrupt), Waited::Interrupted);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    raised: Mutex<bool>,
    wake: Condvar,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt {
    /// Ends the wait that is under way, or else the next one.
    pub fn raise(&self) {
        *self.0.lock() = true;
        self.0.wake.notify_all();
    }

    /// Blocks until raised, or until `reached` says how long is still to wait with `None` for "no longer". `reached` is
    /// asked again after every wake, so whoever changes its answer must wake the waiters.
    fn wait(&self, mut remaining: impl FnMut() -> Remaining) -> Waited {
        let mut raised = self.0.lock();
        loop {
            if std::mem::take(&mut *raised) {
                return Waited::Interrupted;
            }
            raised = match remaining() {
                Remaining::Nothing => return Waited::Reached,
                Remaining::Unknown => return Waited::SetBack,
                Remaining::AtMost(nap) => {
                    self.0.wake.wait_timeout(raised, nap).unwrap_or_else(PoisonError::into_inner).0
                }
                Remaining::UntilWoken => self.0.wake.wait(raised).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

enum Remaining {
    Nothing,
    /// The clock was set back.
    Unknown,
    AtMost(Duration),
    UntilWoken,
}

/// The machine's clocks.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::{Clock, SystemClock};
/// assert!(SystemClock::default().epoch_ms() > 0);
/// ```
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        #[allow(clippy::disallowed_methods)] // the door itself
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn epoch_ms(&self) -> u64 {
        // A machine whose clock stands before 1970 reads as 1970.
        #[allow(clippy::disallowed_methods)] // the door itself
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wait_while(&self, epoch_ms: Range<u64>, interrupt: &Interrupt) -> Waited {
        interrupt.wait(|| match self.epoch_ms() {
            now_ms if now_ms >= epoch_ms.end => Remaining::Nothing,
            now_ms if now_ms < epoch_ms.start => Remaining::Unknown,
            now_ms => Remaining::AtMost(Duration::from_millis((epoch_ms.end - now_ms).min(LONGEST_NAP_MS))),
        })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is told to go on: for tests. Clones show the same time.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::at(1_000);
/// clock.advance(Duration::from_millis(500));
/// assert_eq!((clock.epoch_ms(), clock.monotonic_ms()), (1_500, 500));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug)]
struct Manual {
    time: watch::Sender<ManualTime>,
    /// Threads inside `wait_while`; each is woken when the time changes.
    waiters: Mutex<Vec<Weak<Signal>>>,
    /// How many sleeps end at a monotonic time, in milliseconds.
    sleeps: Mutex<BTreeMap<u64, usize>>,
}

/// Counts as a sleep until dropped.
struct Sleep {
    clock: Weak<Manual>,
    wake_at_ms: u64,
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(clock) = self.clock.upgrade() else { return };
        let mut sleeps = clock.sleeps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sleeps.get_mut(&self.wake_at_ms) {
            *count -= 1;
            if *count == 0 {
                sleeps.remove(&self.wake_at_ms);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct ManualTime {
    epoch_ms: u64,
    monotonic_ms: u64,
}

impl ManualClock {
    /// A clock that shows `epoch_ms`; its monotonic time begins at 0.
    #[must_use]
    pub fn at(epoch_ms: u64) -> Self {
        let (time, _) = watch::channel(ManualTime { epoch_ms, monotonic_ms: 0 });
        Self(Arc::new(Manual { time, waiters: Mutex::default(), sleeps: Mutex::default() }))
    }

    /// Moves both clocks forward and wakes whoever waited for a time that has come.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.change(|time| {
            time.epoch_ms = time.epoch_ms.saturating_add(by_ms);
            time.monotonic_ms = time.monotonic_ms.saturating_add(by_ms);
        });
    }

    /// Moves both clocks forward to `epoch_ms`, unless the epoch clock is there already.
    pub fn advance_to(&self, epoch_ms: u64) {
        self.change(|time| {
            time.monotonic_ms += epoch_ms.saturating_sub(time.epoch_ms);
            time.epoch_ms = time.epoch_ms.max(epoch_ms);
        });
    }

    /// Lets the epoch clock jump by so many milliseconds, as a time server may; the monotonic clock stays.
    pub fn jump(&self, by_ms: i64) {
        self.change(|time| time.epoch_ms = time.epoch_ms.saturating_add_signed(by_ms));
    }

    /// How many sleeps wait for a time that has not come. One whose time has come, and whose task has not gone on yet, is not counted:
    /// so a test can tell when everything waits for the clock.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// use floodmark::{Clock, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::at(0);
    /// let _sleep = clock.sleep(Duration::from_millis(10));
    /// assert_eq!(clock.sleeps(), 1);
    /// clock.advance(Duration::from_millis(10));
    /// assert_eq!(clock.sleeps(), 0);
    /// ```
    #[must_use]
    pub fn sleeps(&self) -> usize {
        let sleeps = self.0.sleeps.lock().unwrap_or_else(PoisonError::into_inner);
        sleeps.range(self.monotonic_ms().saturating_add(1)..).map(|(_, count)| count).sum()
    }

    fn change(&self, change: impl FnOnce(&mut ManualTime)) {
        self.0.time.send_modify(change);
        let mut waiters = self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.retain(|waiter| {
            let Some(signal) = waiter.upgrade() else { return false };
            // Taking the lock orders this wake after the waiter's look at the old time.
            drop(signal.lock());
            signal.wake.notify_all();
            true
        });
    }
}

impl Clock for ManualClock {
    fn epoch_ms(&self) -> u64 {
        self.0.time.borrow().epoch_ms
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.time.borrow().monotonic_ms
    }

    fn wait_while(&self, epoch_ms: Range<u64>, interrupt: &Interrupt) -> Waited {
        {
            let mut waiters = self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            let signal = Arc::downgrade(&interrupt.0);
            if !waiters.iter().any(|waiter| waiter.ptr_eq(&signal)) {
                waiters.push(signal);
            }
        }
        interrupt.wait(|| match self.epoch_ms() {
            now_ms if now_ms >= epoch_ms.end => Remaining::Nothing,
            now_ms if now_ms < epoch_ms.start => Remaining::Unknown,
            _ => Remaining::UntilWoken,
        })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let wake_at_ms = self.monotonic_ms().saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        *self.0.sleeps.lock().unwrap_or_else(PoisonError::into_inner).entry(wake_at_ms).or_default() += 1;
        let (mut time, sleep) = (self.0.time.subscribe(), Sleep { clock: Arc::downgrade(&self.0), wake_at_ms });
        Box::pin(async move {
            let _sleep = sleep;
            if time.wait_for(|time| time.monotonic_ms >= wake_at_ms).await.is_err() {
                // The clock is gone, its time will never come.
                std::future::pending::<()>().await;
            }
        })
    }
}

/// A jump of the epoch clock against the monotonic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockJump {
    /// Milliseconds that the epoch clock went further (or, if negative, less far) than the monotonic one.
    pub by_ms: i64,
}

impl fmt::Display for ClockJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.by_ms < 0 { "back" } else { "forward" };
        write!(f, "the system clock jumped {way} by {} ms", self.by_ms.unsigned_abs())
    }
}

/// Notices jumps: ask it from time to time.
#[derive(Debug)]
pub struct ClockWatch {
    epoch_ms: u64,
    monotonic_ms: u64,
    tolerance_ms: u64,
}

impl ClockWatch {
    /// Begins to watch. Differences up to `tolerance_ms` between two questions are drift, not jumps.
    pub fn new(clock: &dyn Clock, tolerance_ms: u64) -> Self {
        Self { epoch_ms: clock.epoch_ms(), monotonic_ms: clock.monotonic_ms(), tolerance_ms }
    }

    /// Whether the clock has jumped since the last question.
    pub fn check(&mut self, clock: &dyn Clock) -> Option<ClockJump> {
        let (epoch_ms, monotonic_ms) = (clock.epoch_ms(), clock.monotonic_ms());
        let went = i128::from(epoch_ms) - i128::from(self.epoch_ms);
        let passed = i128::from(monotonic_ms) - i128::from(self.monotonic_ms);
        (self.epoch_ms, self.monotonic_ms) = (epoch_ms, monotonic_ms);
        let by_ms = i64::try_from(went - passed).unwrap_or(i64::MAX);
        (by_ms.unsigned_abs() > self.tolerance_ms).then_some(ClockJump { by_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn advancing_a_manual_clock_wakes_its_waiters() {
        let clock = ManualClock::at(1_000);
        let waiter = thread::spawn({
            let clock = clock.clone();
            move || clock.wait_while(0..1_500, &Interrupt::default())
        });
        clock.advance(Duration::from_millis(499));
        clock.advance(Duration::from_millis(1));
        assert_eq!(waiter.join().unwrap(), Waited::Reached);
        assert_eq!(clock.monotonic_ms(), 500);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_a_wait_even_if_it_began_later() {
        let clock = ManualClock::at(1_000);
        let waiter = thread::spawn({
            let clock = clock.clone();
            move || clock.wait_while(900..1_100, &Interrupt::default())
        });
        clock.jump(-500);
        assert_eq!(waiter.join().unwrap(), Waited::SetBack);
        assert_eq!(SystemClock::default().wait_while(u64::MAX - 1..u64::MAX, &Interrupt::default()), Waited::SetBack);
    }

    #[test]
    fn an_interrupt_ends_a_wait_once() {
        let (clock, interrupt) = (ManualClock::at(0), Interrupt::default());
        let waiter = thread::spawn({
            let (clock, interrupt) = (clock.clone(), interrupt.clone());
            move || (clock.wait_while(0..10, &interrupt), clock.wait_while(0..10, &interrupt))
        });
        interrupt.raise();
        // The first wait takes the interrupt whenever it begins; only then may the time come.
        while *interrupt.0.lock() {
            thread::yield_now();
        }
        clock.advance_to(10);
        assert_eq!(waiter.join().unwrap(), (Waited::Interrupted, Waited::Reached));
    }

    #[tokio::test]
    async fn a_sleep_on_a_manual_clock_ends_when_its_time_has_come() {
        let clock = ManualClock::at(0);
        let mut sleep = clock.sleep(Duration::from_secs(2));
        clock.advance(Duration::from_millis(1_999));
        tokio::select! {
            biased;
            () = &mut sleep => panic!("woke a millisecond early"),
            () = tokio::task::yield_now() => {}
        }
        clock.advance(Duration::from_millis(1));
        sleep.await;
    }

    #[test]
    fn a_jump_of_the_epoch_clock_is_noticed_once() {
        let clock = ManualClock::at(1_000_000);
        let mut watch = ClockWatch::new(&clock, 100);
        clock.advance(Duration::from_secs(60));
        assert_eq!(watch.check(&clock), None);
        clock.jump(-5_000);
        assert_eq!(watch.check(&clock), Some(ClockJump { by_ms: -5_000 }));
        assert_eq!(watch.check(&clock), None);
        clock.jump(100);
        assert_eq!(watch.check(&clock), None);
        assert_eq!(ClockJump { by_ms: -5_000 }.to_string(), "the system clock jumped back by 5000 ms");
    }
}
