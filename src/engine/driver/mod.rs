//! The driver: the one place where decisions are taken. A single thread that plans batches, gives them to the dataflow,
//! commits, publishes, and asks for checkpoints, in one order.
//!
//! Its work is split by what happens to a job and to a batch: `start`, `takeover`, `begin` and `live` (from recovery to live
//! input), `plan`, `done` (commit and publish), `checkpoints`,
//! `failure` (attempts), `stop`. Live batches, batches recomputed in recovery and batches recomputed after a failed attempt take
//! the same way: they stand in the [`History`] and are given to the dataflow in order; what was committed before is compared
//! instead of committed, what was published is not published again.

mod begin;
mod checkpoints;
mod done;
mod engine;
mod failure;
mod fallback;
#[cfg(test)]
mod full_disk_tests;
mod given_up;
pub(crate) mod guard;
mod history;
pub(crate) mod inbox;
pub(crate) mod inputs;
mod joining;
mod letters;
mod live;
mod memory;
pub(crate) mod message;
mod plan;
mod planted;
pub(crate) mod questions;
pub(crate) mod replay;
mod room;
pub(crate) mod settings;
pub(crate) mod signals;
pub(crate) mod start;
pub(crate) mod status;
mod stop;
pub(crate) mod stopper;
mod takeover;
mod tell;
pub(crate) mod watch;
#[cfg(all(test, target_os = "linux"))]
mod open_files;
#[cfg(test)]
mod panic_tests;
#[cfg(test)]
mod stuck_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod user_code_tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::dataflow::engine::Engine;
use crate::dataflow::freezing::FrozenOperators;
use crate::dataflow::graph::{Deliver, Graph, NodeId};
use crate::dataflow::push::BatchContext;
use crate::dataflow::report::WorkerReport;
use crate::dataflow::task::BlockReader;
use crate::dataflow::worker::WorkerEvent;
use crate::driver::fallback::LazyStart;
use crate::driver::guard::guarded;
use crate::driver::history::History;
use crate::driver::inbox::Inbox;
use crate::driver::inputs::{Inputs, Trial};
use crate::driver::memory::FrozenMemory;
use crate::driver::message::DriverMessage;
use crate::driver::questions::Question;
use crate::driver::settings::{IN_FLIGHT, JobSettings, LARGE_BATCH_BYTES};
use crate::driver::status::Shared;
use crate::driver::watch::Watch;
use crate::listener::Events;
use crate::listener::events::Ending;
use crate::source::{PidRateEstimator, Supervisor};
use floodmark_base::clock::ClockWatch;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, LogId, Sequence, Uid};
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::batch::ticker::Ticker;
use floodmark_store::checkpoint::{Checkpointer, JobPoint, OperatorEntry};
use floodmark_store::state::loader::StoredOperator;
use floodmark_store::state::{Pressure, StateStore};
use floodmark_store::wal::{FrameKind, NewFrame, Wal};

/// The running job, as its driver holds it.
pub(crate) struct Driver {
    settings: JobSettings,
    graph: Arc<Graph>,
    shared: Arc<Shared>,
    events: Events,
    inbox: Inbox,
    code_watch: Watch,

    wal: Wal,
    log: LogId,
    epoch: Epoch,
    lineage: Lineage,
    /// The epoch in which the lineage began: its generation.
    lineage_began: Epoch,

    inputs: Inputs,
    supervisor: Option<Arc<Supervisor>>,
    /// Where the library's own tasks for receivers run. Receivers have threads of their own.
    runtime: tokio::runtime::Runtime,
    estimator: PidRateEstimator,
    rate: Option<f64>,
    /// The last batch was kept from the estimator.
    sample_skipped: bool,

    /// There is none only while it is built anew.
    store: Option<Arc<StateStore>>,
    /// While the checkpoint of this start is not read to its end.
    lazy: Option<Box<LazyStart>>,
    stored: HashMap<Uid, StoredOperator>,
    /// Operators whose state was given up.
    retired: Vec<OperatorEntry>,
    /// What direct sources remember, as manifests list it.
    memories: Vec<OperatorEntry>,
    checkpointer: Option<Checkpointer>,
    checkpoint: CheckpointClock,
    /// No recovery reads the input of batches up to this one again.
    released_through: BatchId,

    blocks: BlockReader,
    engine: Option<Engine>,
    generation: u64,
    in_flight: VecDeque<InFlight>,
    history: History,
    deliveries: Vec<(NodeId, Box<dyn Deliver>)>,

    ticker: Option<Ticker>,
    watch: ClockWatch,
    tick: Tick,
    /// The monotonic time of the newest plan of this life.
    planned_at_ms: Option<u64>,
    next_batch: BatchId,
    last_time: Option<BatchTime>,
    /// Times up to this one are taken, by batches that were left out.
    planned_until: Option<BatchTime>,
    zero_time: BatchTime,
    published_through: BatchId,
    /// The publication that the log does not know yet; it is written with the next plan, to spare a sync.
    unlogged_publication: Option<BatchId>,
    questions: VecDeque<Question>,
    stopping: Stopping,
    stopped_hard: bool,
}

/// When the next checkpoint is due.
#[derive(Default)]
struct CheckpointClock {
    /// The batch that the newest published checkpoint covers.
    newest: BatchId,
    /// The batch whose checkpoint is frozen, or being written.
    pending: Option<BatchId>,
    /// Batches given since the last freeze, and the milliseconds that those took which are done.
    batches: u64,
    replay_ms: u64,
    /// What changed takes much of the room that state in memory has.
    pressure: Pressure,
    /// How many keys the pending checkpoint has of each operator.
    entries: Vec<(Uid, u64)>,
    /// Where the job stood when the pending checkpoint's batch was planned; none once the checkpoint is asked for.
    point: Option<JobPoint>,
    /// What the workers have frozen of it, and how many have.
    frozen: FrozenOperators,
    workers_frozen: u32,
    /// What the sources have frozen of it.
    sources: FrozenMemory,
}

/// What is known of the time.
#[derive(Default)]
struct Tick {
    pending: bool,
    /// The monotonic time at which it was noticed.
    at_ms: u64,
}

/// Whether, and how far, the job is stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stopping {
    #[default]
    No,
    /// Receivers are being stopped; what they took in is on its way to the log.
    Receiving,
    /// What was received is being computed; then a last checkpoint.
    Draining,
    /// Nothing is left to do.
    Done,
}

/// A batch that the dataflow has.
struct InFlight {
    batch: BatchId,
    execution: u64,
    freeze: bool,
    /// Bytes of its tasks, about.
    bytes: u64,
    reports: Vec<WorkerReport>,
    /// Monotonic times: of its tick, and when it could begin.
    ticked_ms: u64,
    given_ms: u64,
}

impl Driver {
    /// Runs until the job has stopped, or fails; says how it was stopped.
    pub fn run(mut self) -> Result<Ending> {
        let served = guarded(|| self.serve());
        let served = self.unless_cut_off(served);
        // A hard stop may have ended something that waited, with an error.
        let outcome = if self.stopped_hard { Ok(()) } else { served };
        let orderly = outcome.is_ok() && !self.stopped_hard;
        let closed = self.close(orderly);
        outcome.and(closed).map(|()| if orderly { Ending::Graceful } else { Ending::Hard })
    }

    fn serve(&mut self) -> Result<()> {
        while self.stopping != Stopping::Done {
            self.unless_given_up()?;
            self.advance()?;
            if self.stopping == Stopping::Done {
                break;
            }
            let message = self.inbox.next();
            self.handle(message)?;
        }
        Ok(())
    }

    fn handle(&mut self, message: DriverMessage) -> Result<()> {
        match message {
            DriverMessage::Tick => {
                self.take_tick();
                Ok(())
            }
            DriverMessage::Engine { generation, event } if generation == self.generation => self.engine_event(event),
            DriverMessage::Loaded { generation, outcome } if generation == self.generation => {
                self.background_done(outcome)
            }
            DriverMessage::Engine { .. } | DriverMessage::Loaded { .. } => Ok(()),
            DriverMessage::Checkpoint(done) => self.checkpoint_done(done),
            DriverMessage::ReceivingFailed(error) => Err(error),
            DriverMessage::ReceiversStopped(stopped) => self.receivers_stopped(stopped),
            DriverMessage::Question(question) => {
                self.take_question(question);
                Ok(())
            }
            DriverMessage::Stop { graceful } => self.begin_stop(graceful),
        }
    }

    fn engine_event(&mut self, event: WorkerEvent) -> Result<()> {
        match event {
            WorkerEvent::Done { execution, report } => self.worker_done(execution, report),
            WorkerEvent::Frozen(frozen) => self.worker_frozen(frozen),
            WorkerEvent::Panicked { execution, operator, panic } => self.attempt_failed(execution, operator, panic),
            WorkerEvent::SourceFailed(error) => Err(error),
            WorkerEvent::StateFailed(error) => self.state_failed(error),
        }
    }

    /// Gives the dataflow what it may have: batches to recompute first, then new ones.
    fn advance(&mut self) -> Result<()> {
        loop {
            if self.questions_wait() {
                return Ok(());
            }
            let bytes: u64 = self.in_flight.iter().map(|batch| batch.bytes).sum();
            if self.in_flight.len() >= IN_FLIGHT || bytes >= LARGE_BATCH_BYTES {
                return Ok(());
            }
            if let Some(batch) = self.history.give() {
                self.give(batch, &Trial::default())?;
            } else if self.may_plan() && !self.waits_for_checkpoint() {
                self.plan_batch()?;
            } else {
                return self.advance_stop();
            }
        }
    }

    /// Hands a planned batch to the dataflow.
    fn give(&mut self, batch: BatchId, trial: &Trial) -> Result<()> {
        let stored = self.checkpoint.pending.is_none();
        let freeze = !trial.is_trial && self.checkpoint_is_due(batch)?;
        let past = self.history.get(batch);
        let tasks = self.inputs.tasks(past, trial);
        let timing = past.timing;
        let bytes = tasks.iter().map(|(bytes, _)| bytes).sum();
        if let Some(lazy) = &self.lazy {
            lazy.set_busy(true);
        }
        let given_ms = self.settings.clock.monotonic_ms(); // before: a worker may be through with it at once
        let engine = self.engine.as_mut().expect("an engine runs while the driver serves");
        let execution = engine.run(|execution| BatchContext { execution, timing, freeze, stored }, tasks);
        let ticked_ms = past.ticked_ms.unwrap_or(self.tick.at_ms);
        self.in_flight.push_back(InFlight {
            batch,
            execution,
            freeze,
            bytes,
            reports: Vec::new(),
            ticked_ms,
            given_ms,
        });
        if !trial.is_trial {
            self.tell_given(batch);
        }
        Ok(())
    }

    /// Appends events to the log and waits until they are durable. A publication that the log does not know yet goes first.
    fn log_events(&mut self, events: &[BatchEvent]) -> Result<Vec<Sequence>> {
        self.unless_given_up()?;
        let publication = self.unlogged_publication.take().map(|batch| BatchEvent::Published { batch });
        let frames: Vec<NewFrame> = publication.iter().chain(events).map(event_frame).collect();
        let at = self.wal.append_and_wait(frames).map_err(|error| {
            Error::caused_by(ErrorKind::Environment, "the log cannot be written; restart to recover", error)
        })?;
        self.shared.update(|status| status.log_bytes = self.wal.statistics().bytes_written);
        Ok(at.into_iter().skip(publication.iter().count()).map(|at| at.sequence).collect())
    }
}

/// An event as a frame of the log.
fn event_frame(event: &BatchEvent) -> NewFrame {
    NewFrame { kind: FrameKind::Event, head: event.encode(), body: byteview::ByteView::default() }
}
