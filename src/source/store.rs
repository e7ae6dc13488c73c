//! What every receiver hands its blocks to, whatever is in them: order, limits, stopping, and what people want to know.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use byteview::ByteView;
use tokio::sync::{Notify, oneshot, watch};

use crate::block::{Intake, NewBlock, Offered, StoreError, Stored};
use crate::clock::Clock;
use crate::id::{Position, Uid};
use crate::listener::Events;
use crate::listener::events::ReceiverReportedError;
use crate::source::limiter::ReceiverRate;
use crate::source::settings::ReceiverSettings;

/// Bytes that one block may have; a plan and a frame can carry no more.
const MAX_BLOCK_BYTES: u64 = 1 << 30;

/// One source's way into the log.
#[derive(Debug)]
pub(crate) struct BlockStore {
    uid: Uid,
    intake: Intake,
    clock: Arc<dyn Clock>,
    rate: ReceiverRate,
    settings: ReceiverSettings,
    stopping: watch::Receiver<bool>,
    restart: Mutex<Option<Duration>>,
    restart_requested: Notify,
    /// Held from waiting for room until the block is handed in, so that blocks keep their order.
    order: tokio::sync::Mutex<()>,
    /// Blocks that were handed in and not answered.
    open: Arc<Open>,
    counters: Counters,
    events: Events,
    /// The job has stopped receiving: whoever still holds a context is refused.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    blocks: AtomicU64,
    changed: Notify,
}

/// Counts as open until dropped.
struct OpenBlock(Arc<Open>);

impl OpenBlock {
    fn new(open: &Arc<Open>) -> Self {
        open.blocks.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenBlock {
    fn drop(&mut self) {
        self.0.blocks.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

/// What one source has done since the job started.
#[derive(Debug, Default)]
struct Counters {
    blocks: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    /// Records that had come before, as their positions told, and were dropped.
    repeated: AtomicU64,
    errors: AtomicU64,
    restarts: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// The source has ended, and stored nothing since.
    at_end: AtomicBool,
}

impl Counters {
    fn count(&self, records: u64, bytes: u64, is_repeated: bool) {
        if is_repeated {
            self.repeated.fetch_add(records, Ordering::Relaxed);
        } else {
            self.blocks.fetch_add(1, Ordering::Relaxed);
            self.records.fetch_add(records, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// What a receiver has done since the job started.
///
/// ```
/// assert_eq!(floodmark::SourceCounts::default().errors, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Blocks that were logged.
    pub blocks: u64,
    /// Their records.
    pub records: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Records that had come before, as their positions told, and were dropped.
    pub repeated: u64,
    /// Errors that were reported.
    pub errors: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// The newest error.
    pub last_error: Option<String>,
}

/// A block that is under way to the log.
#[derive(Debug)]
pub(crate) struct Logging {
    answer: oneshot::Receiver<Result<Stored, StoreError>>,
}

impl Logging {
    /// Waits until the block is durable.
    pub async fn durable(self) -> Result<(), StoreError> {
        match self.answer.await {
            Ok(answer) => answer.map(|_: Stored| ()),
            // The log ended without an answer.
            Err(_) => Err(StoreError::Stopped),
        }
    }
}

impl BlockStore {
    pub fn new(
        uid: Uid,
        intake: Intake,
        clock: Arc<dyn Clock>,
        rate: ReceiverRate,
        settings: ReceiverSettings,
        stopping: watch::Receiver<bool>,
        events: Events,
    ) -> Self {
        Self {
            uid,
            intake,
            clock,
            rate,
            settings,
            stopping,
            restart: Mutex::default(),
            restart_requested: Notify::new(),
            order: tokio::sync::Mutex::default(),
            open: Arc::default(),
            counters: Counters::default(),
            events,
            closed: AtomicBool::new(false),
        }
    }

    pub fn uid(&self) -> &Uid {
        &self.uid
    }

    pub fn settings(&self) -> &ReceiverSettings {
        &self.settings
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub fn rate(&self) -> &ReceiverRate {
        &self.rate
    }

    /// How far this source's blocks are logged.
    pub fn position(&self) -> Option<Position> {
        self.intake.position(&self.uid)
    }

    /// Waits until `records` more may be received: the log works, the backlog has room, the rate allows it. While stopping,
    /// what was received already is not held up by the rate.
    ///
    /// # Errors
    /// Also when the job has stopped receiving.
    pub async fn admit(&self, records: u64) -> Result<(), StoreError> {
        self.check_open()?;
        // Mostly nothing holds it up, and then a single record costs no timer and no waiting list.
        if self.intake.gate().is_open() && self.rate.try_acquire(records) || self.is_stopping() {
            return Ok(());
        }
        let allowed = async {
            self.intake.gate().open().await;
            self.rate.acquire(records).await;
        };
        tokio::select! {
            biased;
            () = allowed => {}
            () = self.stopped() => {}
        }
        self.check_open()
    }

    /// Refuses all that is stored from now on, by whichever clone of a context. What is in a buffer can still be handed in.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Why nothing can be stored any more, if so.
    pub fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Stopped) } else { self.check() }
    }

    /// Waits until the backlog has room.
    pub async fn gate_open(&self) {
        self.intake.gate().open().await;
    }

    /// The log's failure, if it failed.
    pub fn check(&self) -> Result<(), StoreError> {
        self.intake.failure(&self.uid).map_or(Ok(()), Err)
    }

    /// Hands in the block that `take` gives, when there is room for `bytes`; `take` is called at the last moment, so nothing
    /// is taken if this future is dropped while it waits.
    pub async fn hand_in(
        &self,
        bytes: usize,
        take: impl FnOnce() -> Option<(Option<Position>, u64, ByteView)>,
    ) -> Result<Option<Logging>, StoreError> {
        self.check()?;
        if bytes as u64 > MAX_BLOCK_BYTES {
            let (source_uid, bytes) = (self.uid.to_string(), bytes as u64);
            return Err(StoreError::TooLarge { source_uid, bytes, limit: MAX_BLOCK_BYTES });
        }
        let _order = self.order.lock().await;
        let room = self.intake.gate().room(bytes as u64).await;
        let Some((position, records, payload)) = take() else { return Ok(None) };
        self.counters.at_end.store(false, Ordering::Release);
        let bytes = payload.len() as u64;
        let held = (room, OpenBlock::new(&self.open));
        let Offered { answer, is_repeated } =
            self.intake.offer(&self.uid, NewBlock { position, records, payload }, held);
        self.counters.count(records, bytes, is_repeated);
        Ok(Some(Logging { answer }))
    }

    /// Waits until every block that was handed in has its answer from the log.
    pub async fn all_answered(&self) -> Result<(), StoreError> {
        loop {
            let changed = self.open.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.open.blocks.load(Ordering::Acquire) == 0 {
                return self.check();
            }
            changed.await;
        }
    }

    /// Counts an error and shows it to whoever operates the job.
    pub fn report_error(&self, error: impl fmt::Display) {
        let message = error.to_string();
        tracing::warn!(source = %self.uid, error = %message, "a receiver reports an error");
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        self.events.tell(|| ReceiverReportedError { source: self.uid.clone(), error: message.clone() });
        *self.counters.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    /// Where to tell what happens to the receiver.
    pub fn events(&self) -> &Events {
        &self.events
    }

    pub fn count_restart(&self) {
        self.counters.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> SourceCounts {
        let counters = &self.counters;
        SourceCounts {
            blocks: counters.blocks.load(Ordering::Relaxed),
            records: counters.records.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            repeated: counters.repeated.load(Ordering::Relaxed),
            errors: counters.errors.load(Ordering::Relaxed),
            restarts: counters.restarts.load(Ordering::Relaxed),
            last_error: counters.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Notes that the source has ended and all it gave is logged.
    pub fn set_at_end(&self) {
        self.counters.at_end.store(true, Ordering::Release);
    }

    pub fn is_at_end(&self) -> bool {
        self.counters.at_end.load(Ordering::Acquire)
    }

    pub fn request_restart(&self, after: Duration) {
        *self.restart.lock().unwrap_or_else(PoisonError::into_inner) = Some(after);
        self.restart_requested.notify_one();
    }

    /// Waits until a restart is asked for; gives the delay.
    pub async fn restart_requested(&self) -> Duration {
        loop {
            if let Some(after) = self.restart.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return after;
            }
            self.restart_requested.notified().await;
        }
    }

    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    pub async fn stopped(&self) {
        // An error means that the supervisor is gone, which is a stop too.
        drop(self.stopping.clone().wait_for(|stopping| *stopping).await);
    }
}
