//! Runs a job's receivers, each on a thread of its own, and stops them without losing what they took in.
//!
//! A receiver that blocks its thread, or does not return at a stop, holds up neither the others nor anything else of the job: blocks
//! are cut in time, and stops are carried out, by the library's own tasks, in which no code of the user runs.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::listener::Events;
use crate::listener::events::ReceiverStopped;
use crate::source::appender::hand_in_calls;
use crate::source::counters::SourceCounts;
use crate::source::life::{Life, Surroundings};
use crate::source::limiter::{RateLimiter, ReceiverRate};
use crate::source::receiver::Receiver;
use crate::source::settings::ReceiverSettings;
use crate::source::store::BlockStore;
use floodmark_base::clock::Clock;
use floodmark_base::id::Uid;
use floodmark_store::block::{Intake, StoreError};

/// What a receiver has, once the grace period is over and its future was dropped, for `on_stop` and for what else is to be done.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The grace period where all receivers share a thread.
#[cfg(any(test, feature = "testing"))]
const SHARED_GRACE: Duration = Duration::from_secs(1);

/// A receiver that is declared and not yet running.
pub(crate) struct ReceiverSource {
    uid: Uid,
    settings: ReceiverSettings,
    run: Run,
}

type Run = Box<dyn FnOnce(Surroundings) -> Task + Send>;
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl ReceiverSource {
    pub fn new<R: Receiver>(uid: Uid, settings: ReceiverSettings, receiver: R) -> Self {
        Self { uid, settings, run: Box::new(|around| Box::pin(Life::new(receiver, around).live())) }
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
    /// It did not return when the job stopped; its thread is left alone, and what it stores is refused.
    LeftBehind,
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
    grace: Duration,
    grace_over: watch::Sender<bool>,
}

struct Running {
    store: Arc<BlockStore>,
    state: watch::Receiver<ReceiverState>,
    /// Hands in what is stored: also what tasks of the receiver store between two of its runs, or behind its end.
    _appender: AbortOnDrop,
    task: Mutex<RunningTask>,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The task of a receiver's life, and the thread that it runs on, where that is its own.
#[derive(Default)]
struct RunningTask {
    life: Option<JoinHandle<()>>,
    thread: Option<Runtime>,
    /// Disconnected when the thread has ended and the life is dropped.
    present: Option<mpsc::Receiver<()>>,
    left_behind: bool,
}

impl Running {
    fn name(&self) -> String {
        format!("receiver \"{}\"", self.store.uid())
    }

    fn task(&self) -> MutexGuard<'_, RunningTask> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the life has ended by then. Asked again until it says so.
    async fn has_ended(&self, deadline: Instant) -> bool {
        let Some(mut life) = self.task().life.take() else { return true };
        let Ok(ended) = timeout_at(deadline, &mut life).await else {
            self.task().life = Some(life);
            return false;
        };
        if let Err(error) = ended.map_err(|error| error.to_string()) {
            self.store.report_error(format_args!("the receiver's task has ended: {error}"));
        }
        true
    }

    /// Goes on without a receiver that does not return.
    fn leave_behind(&self, grace: Duration) {
        let mut task = self.task();
        task.left_behind = true;
        task.life.take().iter().for_each(JoinHandle::abort);
        drop(task);
        let grace = grace.as_millis();
        self.store.report_error(format_args!(
            "the receiver has not returned {grace} ms after the job began to stop; it is left behind"
        ));
        self.store.events().tell(|| ReceiverStopped { source: self.store.uid().clone(), restart_after_ms: None });
    }

    /// Refuses what may still be stored, and waits until what was stored is logged.
    async fn close(&self) -> Result<(), StoreError> {
        self.store.close();
        self.store.all_answered().await
    }
}

impl Supervisor {
    /// Starts all receivers on one runtime: for tests, which then know what runs when.
    #[cfg(any(test, feature = "testing"))]
    pub fn start(
        runtime: &Handle,
        sources: Vec<ReceiverSource>,
        intake: &Intake,
        clock: &Arc<dyn Clock>,
        events: &Events,
    ) -> Self {
        let spawn = |_: &Uid, life| Ok(RunningTask { life: Some(runtime.spawn(life)), ..RunningTask::default() });
        Self::begin(runtime, sources, intake, (clock, events), SHARED_GRACE, spawn).expect("no thread is started")
    }

    /// Starts every receiver on a thread of its own. The library's tasks run on `runtime`. At a graceful stop receivers have the
    /// grace period to return.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start_on_threads(
        runtime: &Handle,
        sources: Vec<ReceiverSource>,
        intake: &Intake,
        clock: &Arc<dyn Clock>,
        events: &Events,
        grace: Duration,
    ) -> io::Result<Self> {
        let spawn = |uid: &Uid, life| {
            // A name of a thread has no zero bytes.
            let name = format!("receiver-{uid}").replace('\0', "");
            let mut thread = Builder::new_multi_thread();
            let thread = thread.worker_threads(1).thread_name(name).enable_all().build()?;
            let (here, present) = mpsc::channel::<()>();
            let of_thread = here.clone();
            // This task ends with the thread, also where the life is over and another task of the receiver blocks.
            drop(thread.spawn(async move {
                let _here = of_thread;
                std::future::pending::<()>().await;
            }));
            let life = thread.spawn(async move {
                let _here = here;
                life.await;
            });
            Ok(RunningTask { life: Some(life), thread: Some(thread), present: Some(present), left_behind: false })
        };
        Self::begin(runtime, sources, intake, (clock, events), grace, spawn)
    }

    fn begin(
        library: &Handle,
        sources: Vec<ReceiverSource>,
        intake: &Intake,
        (clock, events): (&Arc<dyn Clock>, &Events),
        grace: Duration,
        spawn: impl Fn(&Uid, Task) -> io::Result<RunningTask>,
    ) -> io::Result<Self> {
        let (stopping, _) = watch::channel(false);
        let (grace_over, _) = watch::channel(false);
        let rate = Arc::new(RateLimiter::new(Arc::clone(clock), None));
        let mut supervisor = Self { receivers: Vec::new(), rate, stopping, grace, grace_over };
        for ReceiverSource { uid, settings, run } in sources {
            let own = settings.max_rate.map(|rate| Arc::new(RateLimiter::new(Arc::clone(clock), Some(rate))));
            let limits = ReceiverRate { own, shared: Arc::clone(&supervisor.rate) };
            let (clock, stopping) = (Arc::clone(clock), supervisor.stopping.subscribe());
            let store = BlockStore::new(uid.clone(), intake, clock, limits, settings, stopping, events.clone());
            let store = Arc::new(store);
            let appender = AbortOnDrop(library.spawn(hand_in_calls(Arc::clone(&store))));
            let (set_state, state) = watch::channel(ReceiverState::Running);
            let life = run(Surroundings {
                store: Arc::clone(&store),
                state: set_state,
                grace_over: supervisor.grace_over.subscribe(),
            });
            let task = Mutex::new(spawn(&uid, life)?);
            supervisor.receivers.push(Running { store, state, _appender: appender, task });
        }
        Ok(supervisor)
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
        let state = |receiver: &Running| {
            if receiver.task().left_behind { ReceiverState::LeftBehind } else { *receiver.state.borrow() }
        };
        let status = |receiver: &Running| ReceiverStatus {
            source: receiver.store.uid().clone(),
            state: state(receiver),
            at_end: receiver.store.is_at_end(),
            counts: receiver.store.counts(),
        };
        self.receivers.iter().map(status).collect()
    }

    /// The receivers that did not return at a graceful stop.
    pub fn left_behind(&self) -> Vec<String> {
        let left = self.receivers.iter().filter(|receiver| receiver.task().left_behind);
        left.map(Running::name).collect()
    }

    /// Stops gracefully: nothing more is received, what was received becomes blocks, and they are logged.
    ///
    /// Receivers have the grace period to return. Then the future of one that waits is dropped, and one that blocks its thread is left
    /// behind. Afterwards nothing can be stored any more, by no clone of a context.
    ///
    /// # Errors
    /// When the log did not take a block.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.stopping.send_replace(true);
        let mut late = Vec::new();
        let deadline = Instant::now() + self.grace;
        for receiver in &self.receivers {
            if !receiver.has_ended(deadline).await {
                late.push(receiver);
            }
        }
        self.grace_over.send_replace(true);
        let deadline = Instant::now() + LAST_MOMENT;
        for receiver in late {
            if !receiver.has_ended(deadline).await {
                receiver.leave_behind(self.grace);
            }
        }
        for receiver in &self.receivers {
            receiver.close().await?;
        }
        Ok(())
    }

    /// Stops at once; what is not yet handed in to the log is given up. Nothing of it was acknowledged.
    pub fn abort(&self) {
        self.stopping.send_replace(true);
        for receiver in &self.receivers {
            receiver.store.close();
            let mut task = receiver.task();
            task.life.take().iter().for_each(JoinHandle::abort);
            if let Some(thread) = task.thread.take() {
                // Tasks end where they wait. A thread that is blocked in code of the user ends when that returns.
                thread.shutdown_background();
            }
        }
    }

    /// After [`abort`](Self::abort), at `aborted`: waits until the receivers' threads have ended, no longer than the grace period. Says
    /// which receivers are left behind since they have not returned; not those of which the graceful stop has said so.
    pub fn wait_for_threads(&self, aborted: Instant) -> Vec<String> {
        let deadline = aborted + self.grace;
        let mut left = Vec::new();
        for receiver in &self.receivers {
            let (present, was_left) = {
                let mut task = receiver.task();
                (task.present.take(), task.left_behind)
            };
            let Some(present) = present.filter(|_| !was_left) else { continue };
            let patience = deadline.saturating_duration_since(Instant::now());
            if present.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                receiver.leave_behind(self.grace);
                left.push(receiver.name());
            }
        }
        left
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.abort();
    }
}
