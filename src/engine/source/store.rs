//! One source's way into the log: every receiver stores through it, whatever its records are.
//!
//! A call takes its place among the calls of the source when it is called ([`calls`](super::calls)); one task, the
//! [`appender`](super::appender), hands them in one after the other, when the backlog, the rate and the log allow it. So the order in the
//! log is the order of the calls, however their futures are polled, and nobody waits for a future that is not.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use byteview::ByteView;
use tokio::sync::{Notify, oneshot, watch};

use crate::listener::Events;
use crate::listener::events::ReceiverReportedError;
use crate::source::calls::{Call, Caller, Calls, MAX_BLOCK_BYTES, What};
use crate::source::counters::{Counters, SourceCounts};
use crate::source::limiter::ReceiverRate;
use crate::source::records::RecordBlock;
use crate::source::settings::ReceiverSettings;
use floodmark_base::clock::Clock;
use floodmark_base::codec::Record;
use floodmark_base::id::{Position, Uid};
use floodmark_base::types::check_record;
use floodmark_store::block::{Answer, Intake, Line, NewBlock, Offered, Room, SourceIntake, StoreError};

/// One source's way into the log.
#[derive(Debug)]
pub(crate) struct BlockStore {
    pub(super) intake: SourceIntake,
    clock: Arc<dyn Clock>,
    rate: ReceiverRate,
    settings: ReceiverSettings,
    stopping: watch::Receiver<bool>,
    restart: Mutex<Option<Duration>>,
    restart_requested: Notify,
    /// Nothing of the user's runs while it is held: see [`calls`](super::calls).
    calls: Mutex<Calls>,
    /// Wakes the appender, which alone waits for it.
    changed: Notify,
    /// Calls and blocks that are not answered.
    open: Arc<Open>,
    counters: Counters,
    events: Events,
}

#[derive(Debug, Default)]
struct Open {
    /// Calls and blocks, in their order.
    blocks: Mutex<Line>,
    changed: Notify,
}

impl Open {
    fn blocks(&self) -> MutexGuard<'_, Line> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as open until dropped.
#[derive(Debug)]
pub(super) struct OpenBlock {
    open: Arc<Open>,
    number: u64,
}

impl OpenBlock {
    fn new(open: &Arc<Open>) -> Self {
        Self { open: Arc::clone(open), number: open.blocks().join() }
    }
}

impl Drop for OpenBlock {
    fn drop(&mut self) {
        self.open.blocks().leave(self.number);
        self.open.changed.notify_waiters();
    }
}

/// A call that has its place. When it is dropped before its turn has come, it gives the place up.
#[derive(Debug)]
pub(crate) struct Ticket {
    store: Arc<BlockStore>,
    place: u64,
    answer: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(task));
        self.answered = true;
        Poll::Ready(told(answer))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.store.give_up(self.place);
        }
    }
}

fn told(answer: Result<Answer, oneshot::error::RecvError>) -> Result<(), StoreError> {
    // Without an answer the log has ended.
    answer.unwrap_or(Err(StoreError::Stopped)).map(|_stored| ())
}

impl BlockStore {
    pub fn new(
        uid: Uid,
        intake: &Intake,
        clock: Arc<dyn Clock>,
        rate: ReceiverRate,
        settings: ReceiverSettings,
        stopping: watch::Receiver<bool>,
        events: Events,
    ) -> Self {
        Self {
            intake: intake.source(uid),
            clock,
            rate,
            settings,
            stopping,
            restart: Mutex::default(),
            restart_requested: Notify::new(),
            calls: Mutex::default(),
            changed: Notify::new(),
            open: Arc::default(),
            counters: Counters::default(),
            events,
        }
    }

    pub fn uid(&self) -> &Uid {
        self.intake.uid()
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
        self.intake.position()
    }

    /// How many blocks with a position were called for and not stored.
    pub fn losses(&self) -> u64 {
        self.intake.losses()
    }

    /// Waits until the backlog has room.
    pub async fn gate_open(&self) {
        self.intake.gate().open().await;
    }

    /// The log's failure, if it failed.
    pub fn check(&self) -> Result<(), StoreError> {
        self.intake.failure().map_or(Ok(()), Err)
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record to the block in the making, at once if nothing holds it up: then it costs no timer, no allocation and no
    /// waiting list. Otherwise it waits for its turn.
    pub fn store_record<T: Record>(
        self: &Arc<Self>,
        record: &T,
        checks_each: bool,
    ) -> Result<Option<Ticket>, StoreError> {
        self.check()?;
        self.check_record(record, checks_each)?;
        // Before the lock is taken: the record's own code may take its time, and the driver and the appenders take the lock, too.
        let encoded = RecordBlock::of_one(record).map_err(|cause| self.encode_error::<T>(cause))?;
        self.check_size(encoded.bytes())?;
        let mut calls = self.calls();
        if calls.is_closed() {
            return Err(StoreError::Stopped);
        }
        if calls.is_free() && calls.fits(&encoded) && self.lets_pass() {
            calls.take_record(&encoded, self.settings.block_bytes, || OpenBlock::new(&self.open));
            if !calls.is_free() {
                self.changed.notify_one();
            }
            drop(calls);
            encoded.recycle();
            return Ok(None);
        }
        drop(calls);
        let ticket = self.take_place(What::Record(encoded), Some(1), Caller::Stored)?;
        Ok(Some(ticket))
    }

    /// Whether a record may pass at once.
    fn lets_pass(&self) -> bool {
        self.intake.gate().is_open() && self.rate.try_acquire(1) || self.is_stopping()
    }

    /// Takes a place for a block of these records.
    pub fn store_block<T: Record>(
        self: &Arc<Self>,
        position: Option<(Position, u64)>,
        records: &[T],
        checks_each: bool,
    ) -> Result<Ticket, StoreError> {
        // From here on the position is claimed: whatever goes wrong with the block, nothing above it is stored without it.
        let claim = position.map(|(position, known_losses)| self.intake.claim(position, known_losses));
        self.check()?;
        let mut block = RecordBlock::default();
        for record in records {
            self.check_record(record, checks_each)?;
            block.push(record).map_err(|cause| self.encode_error::<T>(cause))?;
        }
        self.check_size(block.bytes())?;
        let (records, payload) = (block.records(), block.finish());
        self.take_place(What::Block(NewBlock { claim, records, payload }), Some(records), Caller::Stored)
    }

    /// Hands in a block of records that the rate has let pass, and waits until it is on its way to the log.
    pub async fn hand_in(self: &Arc<Self>, records: u64, payload: ByteView) -> Result<(), StoreError> {
        self.check()?;
        self.check_size(payload.len())?;
        let block = NewBlock { claim: None, records, payload };
        let mut ticket = self.take_place(What::Block(block), None, Caller::HandedIn)?;
        // The bytes have left their source, so they are stored, too, when nobody waits for it.
        ticket.answered = true;
        ticket.await
    }

    fn take_place(
        self: &Arc<Self>,
        what: What,
        to_admit: Option<u64>,
        caller: impl FnOnce(oneshot::Sender<Answer>) -> Caller,
    ) -> Result<Ticket, StoreError> {
        let (to, answer) = oneshot::channel();
        let mut calls = self.calls();
        if calls.is_closed() {
            // A claim is lost before the lock is given back, so that no call behind this one is judged before.
            drop(what);
            return Err(StoreError::Stopped);
        }
        let place = calls.add(Call::new(what, caller(to), OpenBlock::new(&self.open), to_admit));
        if calls.waiting() == 1 {
            self.changed.notify_one();
        }
        drop(calls);
        Ok(Ticket { store: Arc::clone(self), place, answer, answered: false })
    }

    /// A call is dropped: if its turn has not come, it is as if it had failed.
    fn give_up(&self, place: u64) {
        let mut calls = self.calls();
        if let Some(call) = calls.remove(place) {
            self.rate.give_back(call.admitted());
            // Under the lock: a claim is lost before the turn of the next call comes.
            drop(call);
            self.changed.notify_one();
        }
    }

    /// The block in the making is handed in, if there are records in it.
    pub fn cut(&self) {
        if self.calls().cut() {
            self.changed.notify_one();
        }
    }

    /// Waits until there may be something to do. For the appender.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The records of the block in the making.
    pub(super) fn finish_block(&self) -> Option<(u64, ByteView, OpenBlock)> {
        self.calls().finish_block()
    }

    /// Hands in a block whose turn it is.
    pub(super) fn offer(
        &self,
        block: NewBlock,
        to: Option<oneshot::Sender<Answer>>,
        held: (Room, OpenBlock),
    ) -> Offered {
        let (records, bytes) = (block.records, block.payload.len() as u64);
        self.intake.offer(block, to, held, |offered| self.counters.count(records, bytes, offered))
    }

    /// From now on contexts that go on storing are told that the job has stopped. What was called for before is still handed in.
    pub fn close(&self) {
        self.calls().close();
        self.changed.notify_one();
    }

    /// Waits until everything that was called for before has its answer from the log, and the block in the making is logged. Calls that
    /// come later are not waited for.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.cut();
        let next = self.open.blocks().next();
        self.answered_before(next).await
    }

    /// Waits until nothing is open.
    pub async fn all_answered(&self) -> Result<(), StoreError> {
        self.answered_before(u64::MAX).await
    }

    async fn answered_before(&self, number: u64) -> Result<(), StoreError> {
        loop {
            let changed = self.open.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.open.blocks().first().is_none_or(|oldest| oldest >= number) {
                return self.check();
            }
            changed.await;
        }
    }

    /// Counts an error and shows it to whoever operates the job.
    pub fn report_error(&self, error: impl fmt::Display) {
        let message = error.to_string();
        tracing::warn!(source = %self.uid(), error = %message, "a receiver reports an error");
        self.events.tell(|| ReceiverReportedError { source: self.uid().clone(), error: message.clone() });
        self.counters.count_error(message);
    }

    /// Where to tell what happens to the receiver.
    pub fn events(&self) -> &Events {
        &self.events
    }

    pub fn count_restart(&self) {
        self.counters.count_restart();
    }

    pub fn counts(&self) -> SourceCounts {
        self.counters.counts()
    }

    /// Notes that the source has ended and all it gave is logged.
    pub fn set_at_end(&self) {
        self.counters.set_at_end();
    }

    pub fn is_at_end(&self) -> bool {
        self.counters.is_at_end()
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

    fn check_size(&self, bytes: usize) -> Result<(), StoreError> {
        if bytes <= MAX_BLOCK_BYTES {
            return Ok(());
        }
        let source_uid = self.uid().to_string();
        Err(StoreError::TooLarge { source_uid, bytes: bytes as u64, limit: MAX_BLOCK_BYTES as u64 })
    }

    /// Checks that a record of an uncertain type can be read again.
    fn check_record<T: Record>(&self, record: &T, checks_each: bool) -> Result<(), StoreError> {
        let checked = if checks_each { check_record(record) } else { Ok(()) };
        checked.map_err(|cause| StoreError::Encode { source_uid: self.uid().to_string(), cause })
    }

    fn encode_error<T>(&self, cause: String) -> StoreError {
        let cause = format!("{}: {cause}", std::any::type_name::<T>());
        StoreError::Encode { source_uid: self.uid().to_string(), cause }
    }
}
