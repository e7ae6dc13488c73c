//! Tries, waits and the limit of both; and how the store is doing. A [`StopSignal`] ends every try and every wait.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::Error;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::error::{Answer, RemoteError, whole_text};
use super::settings::BucketSettings;
use super::stop::StopSignal;
use floodmark_base::clock::Clock;

/// The first wait; each that follows is twice as long, up to [`LONGEST_WAIT_MS`]. Of each a random half is left out.
const FIRST_WAIT_MS: u64 = 100;
const LONGEST_WAIT_MS: u64 = 10_000;

/// How an object store has been answering, over all calls of a job.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// fn describe(health: &floodmark::ObjectStoreHealth) -> String {
///     match &health.last_error {
///         Some(error) => format!("{} requests have failed in a row: {error}", health.failures),
///         None => "well".to_string(),
///     }
/// }
/// assert_eq!(describe(&floodmark::ObjectStoreHealth::default()), "well");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectStoreHealth {
    /// Requests that failed since the last one that was answered.
    pub failures: u64,
    /// When the first of them failed, in milliseconds since 1970.
    pub failing_since_ms: Option<u64>,
    /// What the newest of them said.
    pub last_error: Option<String>,
}

/// What all calls of a bucket share of their patience.
pub(super) struct Patience {
    clock: Arc<dyn Clock>,
    stop: StopSignal,
    answer_within: Duration,
    jitter: Mutex<StdRng>,
    health: Mutex<ObjectStoreHealth>,
    hears: Mutex<Option<Hears>>,
}

/// Whoever hears how the store is doing.
pub(super) type Hears = Box<dyn Fn(&ObjectStoreHealth) + Send + Sync>;

impl Patience {
    pub fn new(settings: &BucketSettings) -> Self {
        let jitter = settings.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        Self {
            clock: settings.clock.clone(),
            stop: settings.stop.clone(),
            answer_within: settings.answer_within,
            jitter: Mutex::new(jitter),
            health: Mutex::default(),
            hears: Mutex::default(),
        }
    }

    pub fn on_health(&self, hears: Hears) {
        *lock(&self.hears) = Some(hears);
    }

    pub fn health(&self) -> ObjectStoreHealth {
        lock(&self.health).clone()
    }

    /// The tries of one call; `doing` says what in an error.
    pub fn tries(self: &Arc<Self>, doing: impl Into<String>, place: &str, limit: Duration) -> Tries {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (doing, place) = (doing.into(), place.to_string());
        Tries { patience: self.clone(), doing, place, limit_ms, failing_since_ms: None, failures: 0, last: None }
    }

    /// Asks once. Without an answer in time it has failed, and what it did is unknown.
    pub async fn ask<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        let answer = tokio::select! {
            biased;
            answer = request => answer,
            () = self.stop.raised() => return Err(stopped()),
            () = self.clock.sleep(self.answer_within) => {
                let source = format!("no answer within {} ms", self.answer_within.as_millis()).into();
                Err(Error::Generic { store: "object storage", source })
            }
        };
        self.note(&answer);
        answer
    }

    pub fn end_health(&self) {
        *lock(&self.hears) = None;
    }

    fn note<T>(&self, answer: &object_store::Result<T>) {
        // Held while it is told, so that nothing older is heard after something newer.
        let hears = lock(&self.hears);
        let mut health = lock(&self.health);
        let was_well = health.failures == 0;
        match answer {
            Err(error) if !matches!(Answer::of(error), Answer::Gone | Answer::Taken) => {
                health.failures += 1;
                health.failing_since_ms.get_or_insert_with(|| self.clock.epoch_ms());
                health.last_error = Some(whole_text(error));
            }
            _ => *health = ObjectStoreHealth::default(),
        }
        let now = (!was_well || health.failures > 0).then(|| health.clone());
        drop(health);
        if let (Some(hears), Some(now)) = (&*hears, now) {
            hears(&now);
        }
    }
}

/// The tries of one call: how often it failed, and since when.
pub(super) struct Tries {
    patience: Arc<Patience>,
    doing: String,
    place: String,
    limit_ms: u64,
    /// On the monotonic clock.
    failing_since_ms: Option<u64>,
    failures: u32,
    last: Option<(Answer, String)>,
}

impl Tries {
    /// Repeats a request whose repetition does no harm, until it is answered.
    pub async fn repeat<T, F>(mut self, mut request: impl FnMut() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        loop {
            match self.ask(request()).await {
                Ok(answer) => return Ok(answer),
                Err(error) if self.may_repeat(&error).await => {}
                Err(_) => return Err(self.given_up()),
            }
        }
    }

    pub async fn ask<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        self.patience.ask(request).await
    }

    /// Notes a failure; waits, unless it is final or has lasted too long.
    pub async fn may_repeat(&mut self, error: &Error) -> bool {
        let answer = Answer::of(error);
        self.last = Some((answer, whole_text(error)));
        self.failures += 1;
        let now_ms = self.patience.clock.monotonic_ms();
        let since_ms = *self.failing_since_ms.get_or_insert(now_ms);
        let wait_ms = self.next_wait_ms();
        if self.patience.stop.is_raised() || answer.is_refusal() || now_ms - since_ms + wait_ms > self.limit_ms {
            return false;
        }
        tracing::debug!(doing = %self.doing, failures = self.failures, wait_ms, %error, "object storage: trying again");
        tokio::select! {
            () = self.patience.stop.raised() => false,
            () = self.patience.clock.sleep(Duration::from_millis(wait_ms)) => true,
        }
    }

    /// What to say when the call is given up.
    pub fn given_up(&self) -> RemoteError {
        let (doing, place) = (self.doing.clone(), self.place.clone());
        if self.patience.stop.is_raised() {
            self.patience.stop.cut_off();
            return RemoteError::Stopped { doing, place };
        }
        let (answer, last) = self.last.clone().unwrap_or((Answer::Unclear, "nothing was tried".into()));
        match answer {
            Answer::Denied | Answer::NotYetAllowed => RemoteError::Denied { doing, place, last },
            Answer::NoSuchBucket => RemoteError::NoSuchBucket { place, last },
            Answer::WrongRegion => RemoteError::WrongRegion { place, last },
            Answer::Unsupported => RemoteError::Unsupported { place, reason: format!("it cannot {doing}: {last}") },
            Answer::Invalid => RemoteError::Location { location: place, reason: last },
            Answer::Gone | Answer::Taken | Answer::Unclear => {
                RemoteError::Unavailable { doing, place, failing_ms: self.failing_ms(), tries: self.failures, last }
            }
        }
    }

    /// The same for a create that may have been done.
    pub fn unknown(&self, name: &str) -> RemoteError {
        let last = self.last.as_ref().map_or_else(String::new, |(_, last)| last.clone());
        if self.patience.stop.is_raised() {
            self.patience.stop.cut_off();
            return RemoteError::Stopped { doing: self.doing.clone(), place: self.place.clone() };
        }
        let (name, place) = (name.to_string(), self.place.clone());
        RemoteError::CommitUnknown { name, place, failing_ms: self.failing_ms(), tries: self.failures, last }
    }

    fn failing_ms(&self) -> u64 {
        self.failing_since_ms.map_or(0, |since_ms| self.patience.clock.monotonic_ms() - since_ms)
    }

    fn next_wait_ms(&self) -> u64 {
        let longest = FIRST_WAIT_MS.saturating_mul(1 << self.failures.saturating_sub(1).min(20)).min(LONGEST_WAIT_MS);
        lock(&self.patience.jitter).random_range(longest / 2..=longest)
    }
}

/// A request that a hard stop has cut off.
fn stopped() -> Error {
    Error::Generic { store: "object storage", source: "the job was stopped".into() }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("health", &self.health()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
