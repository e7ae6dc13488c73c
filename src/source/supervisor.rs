//! Runs a job's receivers: starts them, starts them again after a failure, cuts their blocks in time, and stops them
//! without losing what they took in.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::block::{Intake, StoreError};
use crate::clock::Clock;
use crate::codec::Record;
use crate::id::Uid;
use crate::listener::Events;
use crate::listener::events::{ReceiverStarted, ReceiverStopped};
use crate::source::limiter::{RateLimiter, ReceiverRate};
use crate::source::receiver::{Receiver, ReceiverContext, ReceiverError};
use crate::source::settings::ReceiverSettings;
use crate::source::store::{BlockStore, SourceCounts};

/// How long a receiver may go on after it was told to stop, before its future is dropped. This guards the process, not the
/// job, so it is real time, also in tests with a manual clock.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A receiver that is declared and not yet running.
pub(crate) struct ReceiverSource {
    uid: Uid,
    settings: ReceiverSettings,
    run: Run,
}

type Run =
    Box<dyn FnOnce(Arc<BlockStore>, watch::Sender<ReceiverState>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl ReceiverSource {
    pub fn new<R: Receiver>(uid: Uid, settings: ReceiverSettings, receiver: R) -> Self {
        Self { uid, settings, run: Box::new(|store, state| Box::pin(Life::new(receiver, store, state).live())) }
    }
}

/// Where a receiver stands.
///
/// ```
/// assert_ne!(floodmark::ReceiverState::Running, floodmark::ReceiverState::Waiting);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiverState {
    /// `on_start` runs.
    Running,
    /// It waits for its next start.
    Waiting,
    /// It will not start again, and all it gave is logged.
    Ended,
    /// The log takes no more blocks.
    Failed,
}

/// What people want to know of a receiver; see [`Running::receivers`](crate::Running::receivers).
///
/// ```no_run
/// # fn example(running: &floodmark::Running) {
/// for receiver in running.receivers() {
///     println!("{}: {:?}, {} errors", receiver.source, receiver.state, receiver.counts.errors);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverStatus {
    /// The source's uid.
    pub source: Uid,
    /// Where it stands.
    pub state: ReceiverState,
    /// The source has ended and all it gave is logged, though it may come back.
    pub at_end: bool,
    /// What it has done.
    pub counts: SourceCounts,
}

/// The receivers of one job.
pub(crate) struct Supervisor {
    receivers: Vec<Running>,
    rate: Arc<RateLimiter>,
    stopping: watch::Sender<bool>,
}

struct Running {
    store: Arc<BlockStore>,
    state: watch::Receiver<ReceiverState>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Running {
    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervisor {
    /// Starts all receivers on tokio's `runtime`.
    pub fn start(
        runtime: &Handle,
        sources: Vec<ReceiverSource>,
        intake: &Intake,
        clock: &Arc<dyn Clock>,
        events: &Events,
    ) -> Self {
        let (stopping, _) = watch::channel(false);
        let rate = Arc::new(RateLimiter::new(Arc::clone(clock), None));
        let start = |ReceiverSource { uid, settings, run }: ReceiverSource| {
            let own = settings.max_rate.map(|rate| Arc::new(RateLimiter::new(Arc::clone(clock), Some(rate))));
            let limits = ReceiverRate { own, shared: Arc::clone(&rate) };
            let (intake, clock, stopping) = (intake.clone(), Arc::clone(clock), stopping.subscribe());
            let store = Arc::new(BlockStore::new(uid, intake, clock, limits, settings, stopping, events.clone()));
            let (set_state, state) = watch::channel(ReceiverState::Running);
            let task = Mutex::new(Some(runtime.spawn(run(Arc::clone(&store), set_state))));
            Running { store, state, task }
        };
        Self { receivers: sources.into_iter().map(start).collect(), rate, stopping }
    }

    /// Sets the rate that all receivers share, in records per second; `None` is no limit. Each one's `max_rate` stays.
    pub fn set_rate(&self, rate: Option<f64>) {
        self.rate.set_rate(rate);
    }

    /// Whether every source has ended and all it gave is logged. True without receivers.
    pub fn all_ended(&self) -> bool {
        self.receivers
            .iter()
            .all(|receiver| *receiver.state.borrow() == ReceiverState::Ended || receiver.store.is_at_end())
    }

    /// What each receiver does, in the order of their declaration.
    pub fn status(&self) -> Vec<ReceiverStatus> {
        let status = |receiver: &Running| ReceiverStatus {
            source: receiver.store.uid().clone(),
            state: *receiver.state.borrow(),
            at_end: receiver.store.is_at_end(),
            counts: receiver.store.counts(),
        };
        self.receivers.iter().map(status).collect()
    }

    /// Stops gracefully: nothing more is received, what was received becomes blocks, and they are logged.
    ///
    /// # Errors
    /// When the log did not take a block.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.stopping.send_replace(true);
        for receiver in &self.receivers {
            let task = receiver.task().take();
            if let Some(task) = task
                && let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.receivers.iter().try_for_each(|receiver| receiver.store.check())
    }

    /// Stops at once; what is not yet handed in to the log is given up. Nothing of it was acknowledged.
    pub fn abort(&self) {
        self.stopping.send_replace(true);
        for receiver in &self.receivers {
            if let Some(task) = receiver.task().take() {
                task.abort();
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.abort();
    }
}

/// One receiver from its first start to its end.
struct Life<R: Receiver> {
    receiver: R,
    context: ReceiverContext<R::Item>,
    store: Arc<BlockStore>,
    state: watch::Sender<ReceiverState>,
}

/// How one run of `on_start` ended.
enum Outcome {
    /// The source has ended.
    End,
    /// It failed; the next start is after the restart delay.
    Failure(ReceiverError),
    /// It asked for a restart.
    Restart(Duration),
    /// The job stops.
    Stop,
}

impl<R: Receiver> Life<R> {
    fn new(receiver: R, store: Arc<BlockStore>, state: watch::Sender<ReceiverState>) -> Self {
        let context = ReceiverContext::new(Arc::clone(&store));
        Self { receiver, context, store, state }
    }

    async fn live(mut self) {
        let cutter = AbortOnDrop(tokio::spawn(cut_in_time(self.context.clone())));
        let last = loop {
            self.state.send_replace(ReceiverState::Running);
            self.tell_started();
            let outcome = self.run_once().await;
            self.receiver.on_stop();
            if let Err(error) = settle(&self.context, &self.store).await {
                self.store.report_error(error);
                break ReceiverState::Failed;
            }
            if self.store.is_stopping() {
                if let Outcome::Failure(error) = outcome {
                    self.store.report_error(format_args!("{error} (while stopping)"));
                }
                break ReceiverState::Ended;
            }
            let delay = self.store.settings().restart_delay;
            let delay = match outcome {
                Outcome::End => {
                    self.store.set_at_end();
                    if !self.receiver.restarts_at_end() {
                        tracing::info!(source = %self.store.uid(), "the source has ended");
                        break ReceiverState::Ended;
                    }
                    tracing::info!(source = %self.store.uid(), ?delay, "the source has ended: it is asked again");
                    delay
                }
                Outcome::Failure(error) => {
                    self.store.report_error(format_args!("{error}; starts again in {} ms", delay.as_millis()));
                    delay
                }
                Outcome::Restart(after) => after,
                Outcome::Stop => break ReceiverState::Ended,
            };
            self.tell_stopped(Some(delay));
            self.state.send_replace(ReceiverState::Waiting);
            tokio::select! {
                () = self.store.clock().sleep(delay) => {}
                () = self.store.stopped() => break ReceiverState::Ended,
            }
            self.store.count_restart();
        };
        drop(cutter);
        self.tell_stopped(None);
        self.state.send_replace(last);
    }

    fn tell_started(&self) {
        let restarts = self.store.counts().restarts;
        self.store.events().tell(|| ReceiverStarted { source: self.store.uid().clone(), restarts });
    }

    fn tell_stopped(&self, restart_after: Option<Duration>) {
        let restart_after_ms = restart_after.map(|after| after.as_millis() as u64);
        self.store.events().tell(|| ReceiverStopped { source: self.store.uid().clone(), restart_after_ms });
    }

    /// Runs `on_start` until it ends, or must.
    async fn run_once(&mut self) -> Outcome {
        let mut start = pin!(unpanicked(self.receiver.on_start(self.context.clone())));
        let grace = async {
            self.store.stopped().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            biased;
            ended = &mut start => match ended {
                Ok(()) => Outcome::End,
                Err(error) => Outcome::Failure(error),
            },
            after = self.store.restart_requested() => Outcome::Restart(after),
            () = grace => Outcome::Stop,
        }
    }
}

/// Hands in what is buffered and waits until all of the source's blocks are logged.
async fn settle<T: Record>(context: &ReceiverContext<T>, store: &BlockStore) -> Result<(), StoreError> {
    context.cut().await?;
    store.all_answered().await
}

/// Cuts the block in the making once in every block interval. A task of its own: it must not be held up by the receiver.
async fn cut_in_time<T: Record>(context: ReceiverContext<T>) {
    let store = Arc::clone(context.block_store());
    loop {
        store.clock().sleep(store.settings().block_interval).await;
        if context.cut().await.is_err() {
            // The log has failed; the receiver meets the same error and reports it.
            return;
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Turns a panic of the user's receiver into an error.
async fn unpanicked<F: Future<Output = Result<(), ReceiverError>>>(future: F) -> Result<(), ReceiverError> {
    let mut future = pin!(future);
    poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
        Ok(poll) => poll,
        Err(panic) => std::task::Poll::Ready(Err(format!("the receiver panicked: {}", words(&*panic)).into())),
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
