//! A scripted job around one receiver: its lives, what is in its log, and what its sender was told.
#![allow(clippy::disallowed_methods)] // waits for code of the user, in real time

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::receiver::{Promise, ReceiverPlace};
use super::scripted_log::{Answer, ScriptedLog};
use crate::listener::Events;
use crate::source::{Receiver, ReceiverContext, ReceiverError, ReceiverSettings, ReceiverSource, Supervisor};
use floodmark_base::clock::{Clock, ManualClock};
use floodmark_base::id::{Position, Uid};
use floodmark_store::block::{BatchLimits, BlockTracker, Intake, ReceiveLimits};

/// How often the suite looks before it gives up, a millisecond apart. Real time: a sender may be a socket.
const LOOKS: u32 = 4_000;
/// How often it looks to see that something does not happen.
const LOOKS_IN_VAIN: u32 = 15;
/// What passes on the receiver's clock from one look to the next.
const STEP: Duration = Duration::from_millis(50);

/// A job with one receiver.
pub(super) struct Job<'p, P: ReceiverPlace> {
    place: &'p mut P,
    pub log: Arc<ScriptedLog>,
    limits: ReceiveLimits,
    settings: ReceiverSettings,
    sent: u64,
    /// Batches are planned, so that the backlog never stays full.
    pub plans: bool,
    /// What is acknowledged is compared with what is durable, at every look.
    pub checks_acknowledgements: bool,
    life: Option<Life<P::Item>>,
}

/// One life of it.
struct Life<T> {
    supervisor: Supervisor,
    tracker: Arc<BlockTracker>,
    clock: ManualClock,
    runs: Arc<Runs<T>>,
    /// The last to go: it waits for its threads.
    runtime: Runtime,
}

/// What became of the calls of `on_start`.
struct Runs<T> {
    started: AtomicU64,
    returned: AtomicU64,
    context: Mutex<Option<ReceiverContext<T>>>,
}

/// The user's receiver, watched.
struct Watched<R: Receiver> {
    receiver: R,
    runs: Arc<Runs<R::Item>>,
}

impl<R: Receiver> Receiver for Watched<R> {
    type Item = R::Item;

    async fn on_start(&mut self, context: ReceiverContext<R::Item>) -> Result<(), ReceiverError> {
        *self.runs.context.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.clone());
        self.runs.started.fetch_add(1, Ordering::SeqCst);
        let ended = self.receiver.on_start(context).await;
        self.runs.returned.fetch_add(1, Ordering::SeqCst);
        ended
    }

    fn on_stop(&mut self) {
        self.receiver.on_stop();
    }

    fn restarts_at_end(&self) -> bool {
        self.receiver.restarts_at_end()
    }
}

impl<'p, P: ReceiverPlace> Job<'p, P> {
    /// Begins its first life.
    pub fn begin(place: &'p mut P) -> Self {
        Self::begin_with(place, ReceiveLimits::default())
    }

    /// As [`begin`](Self::begin), and compares what is acknowledged with what is durable.
    pub fn begin_reliable(place: &'p mut P) -> Self {
        let mut job = Self::begin(place);
        job.checks_acknowledgements = true;
        job
    }

    pub fn begin_with(place: &'p mut P, limits: ReceiveLimits) -> Self {
        Self::begin_as(place, limits, ReceiverSettings::default())
    }

    /// As [`begin`](Self::begin), with a rate of one record from one look to the next; compares what is acknowledged, if anything is.
    pub fn begin_limited(place: &'p mut P) -> Self {
        let rate = 1.0 / STEP.as_secs_f64();
        let settings = ReceiverSettings { max_rate: Some(rate), ..ReceiverSettings::default() };
        let mut job = Self::begin_as(place, ReceiveLimits::default(), settings);
        job.checks_acknowledgements = job.promise() != Promise::Unreliable;
        job
    }

    fn begin_as(place: &'p mut P, limits: ReceiveLimits, settings: ReceiverSettings) -> Self {
        let (log, checks_acknowledgements) = (Arc::default(), false);
        let mut job = Self { place, log, limits, settings, sent: 0, plans: true, checks_acknowledgements, life: None };
        job.next_life();
        job
    }

    /// Begins the next life, after [`kill`](Self::kill) or [`stop`](Self::stop).
    pub fn next_life(&mut self) {
        self.log.next_life();
        let uid = Uid::from("receiver");
        let stored = self.log.durable().iter().filter_map(|(head, _)| head.position).max();
        let positions: Vec<(Uid, Position)> = stored.map(|position| (uid.clone(), position)).into_iter().collect();
        let tracker = Arc::new(BlockTracker::new(self.limits, positions));
        let intake = Intake::new(Arc::clone(&self.log) as _, Arc::clone(&tracker), |_| {});
        let runs =
            Arc::new(Runs { started: AtomicU64::new(0), returned: AtomicU64::new(0), context: Mutex::default() });
        let receiver = Watched { receiver: self.place.open(), runs: Arc::clone(&runs) };
        let source = ReceiverSource::new(uid, self.settings, receiver);
        let clock = ManualClock::at(1_000_000);
        // A thread of its own, so that a sender may block the suite's.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime for a receiver: {error}"));
        let driven: Arc<dyn Clock> = Arc::new(clock.clone());
        let supervisor = Supervisor::start(runtime.handle(), vec![source], &intake, &driven, &Events::default());
        self.life = Some(Life { supervisor, tracker, clock, runs, runtime });
        self.until("the receiver was started", |job| job.life().runs.started.load(Ordering::SeqCst) > 0);
    }

    fn life(&self) -> &Life<P::Item> {
        self.life.as_ref().expect("a rule begins a life before it looks at one")
    }

    pub fn promise(&self) -> Promise {
        self.place.promise()
    }

    pub fn send(&mut self, records: u64) {
        self.sent += records;
        self.place.send(records);
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn interrupt(&mut self) -> bool {
        self.place.interrupt()
    }

    /// Has the receiver's future dropped and `on_start` called again.
    pub fn restart_receiver(&mut self) {
        let context = self.life().runs.context.lock().unwrap_or_else(PoisonError::into_inner).clone();
        context.expect("the receiver was started").restart(Duration::ZERO);
    }

    /// Ends the life as a crash does.
    pub fn kill(&mut self) {
        self.look("before the life was killed");
        self.life = None;
        self.look("after the life was killed");
    }

    /// Ends the life gracefully; the receiver must return by itself.
    pub fn stop(&mut self) {
        self.stop_while(|_| {});
    }

    /// The same while the sender goes on sending, and the log takes one block at a time: the receiver never runs out of records.
    pub fn stop_while_more_comes(&mut self) {
        self.log.answer(Answer::Wait);
        self.send(30);
        self.until("a block was given to the log", |job| job.log.waiting() > 0);
        self.stop_while(|job| {
            job.send(10);
            job.log.acknowledge_one();
        });
        self.log.answer(Answer::Acknowledge);
    }

    fn stop_while(&mut self, mut meanwhile: impl FnMut(&mut Self)) {
        let Life { supervisor, tracker, clock, runs, runtime } = self.life.take().expect("a rule stops what it began");
        let stopping = runtime.spawn(async move {
            let stopped = supervisor.stop().await;
            (supervisor, stopped)
        });
        while !stopping.is_finished() {
            meanwhile(self);
            clock.advance(STEP);
            std::thread::sleep(Duration::from_millis(1));
        }
        let (supervisor, stopped) = match runtime.block_on(stopping) {
            Ok(ended) => ended,
            Err(error) => panic!("a graceful stop panicked: {error}"),
        };
        stopped.unwrap_or_else(|error| panic!("a graceful stop failed: {error}"));
        let (started, returned) = (runs.started.load(Ordering::SeqCst), runs.returned.load(Ordering::SeqCst));
        assert!(returned == started, "a second after the stop the receiver had not returned, and was dropped");
        drop((supervisor, tracker, runs, runtime));
        self.look("after the stop");
    }

    /// Whether what is stored and not planned is as much as may be.
    pub fn is_backlog_full(&self) -> bool {
        !self.life().tracker.gate().is_open()
    }

    /// The durable records, block after block.
    pub fn records(&self) -> Vec<P::Item> {
        self.log.durable().iter().flat_map(|(_, block)| self.place.records_of(block)).collect()
    }

    /// How many of the sender's records are durable, from the first on without a hole.
    pub fn stored(&self) -> u64 {
        let mut next = 0;
        for record in self.records() {
            if record == self.place.record(next) {
                next += 1;
            }
        }
        next
    }

    pub fn is_all_stored(&self) -> bool {
        self.stored() == self.sent
    }

    pub fn until_all_is_stored(&mut self, what: &str) {
        let sent = self.sent;
        self.until(&format!("all {sent} records were stored ({what})"), |job| job.is_all_stored());
    }

    pub fn until_all_is_acknowledged(&mut self) {
        let sent = self.sent;
        let what = format!("all {sent} records were acknowledged");
        self.until(&what, |job| job.place.acknowledged() == job.sent);
    }

    /// Sends until something of it is stored: records that are under way may be lost.
    pub fn send_until_something_is_stored(&mut self, records: u64) {
        let before = self.records().len();
        self.send(records);
        let mut looks = 0;
        self.until("something that was sent was stored", |job| {
            looks += 1;
            if job.promise() == Promise::Unreliable && looks % 20 == 0 {
                job.send(1);
            }
            job.records().len() > before
        });
    }

    /// The stored records are those that were sent, in their order: without repetitions, where they are recognised, and
    /// without holes, where the sender keeps what is not acknowledged.
    fn check_order(&self) {
        let (records, promise) = (self.records(), self.place.promise());
        let is = |record: &P::Item, number: u64| *record == self.place.record(number);
        let mut next = 0;
        for (at, record) in records.iter().enumerate() {
            let number = match promise {
                Promise::ExactlyOnce => Some(next).filter(|next| is(record, *next)),
                Promise::AtLeastOnce => (0..=next).rev().find(|number| is(record, *number)),
                Promise::Unreliable => (next..self.sent).find(|number| is(record, *number)),
            };
            let Some(number) = number else {
                panic!("stored record {at} is {record:?}, and the next was to be {:?}", self.place.record(next));
            };
            next = next.max(number + 1);
        }
    }

    /// Looks until it is so.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..LOOKS {
            self.look(what);
            if is_so(self) {
                return;
            }
            self.pause();
        }
        let (sent, stored, acknowledged) = (self.sent, self.stored(), self.place.acknowledged());
        let error = self.life.as_ref().and_then(|life| life.supervisor.status()[0].counts.last_error.clone());
        panic!(
            "it never came to pass that {what}: {sent} records were sent, {stored} stored, {acknowledged} acknowledged; \
             the receiver's last error: {error:?}"
        );
    }

    /// Looks a few times, for what must not happen.
    pub fn for_a_while(&mut self) {
        for _ in 0..LOOKS_IN_VAIN {
            self.look("for a while");
            self.pause();
        }
    }

    fn pause(&self) {
        if let Some(life) = &self.life {
            life.clock.advance(STEP);
            if self.plans {
                life.tracker.take(BatchLimits { records: u64::MAX, bytes: u64::MAX });
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Whatever happens, records are in order, and nothing is acknowledged that is not durable (I-1).
    fn look(&mut self, when: &str) {
        self.check_order();
        if self.checks_acknowledgements {
            // First the one, then the other: what is durable only grows.
            let acknowledged = self.place.acknowledged();
            let stored = self.stored();
            assert!(acknowledged <= stored, "{acknowledged} records are acknowledged, {stored} are durable ({when})");
        }
    }
}
