//! The engine: a running dataflow with its workers, seen from the driver.
//!
//! The driver stands outside of the workers and talks to each through a channel. An engine lives until it is stopped or a
//! batch fails; after a failure everything it says is void, and a new one is started from the newest checkpoint.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Thread;

use timely::WorkerConfig;
use timely::communication::Config as Communication;

use crate::dataflow::freezing::FrozenOperators;
use crate::dataflow::graph::Graph;
use crate::dataflow::push::BatchContext;
use crate::dataflow::report::WorkerReport;
use crate::dataflow::task::{BlockReader, Task};
use crate::dataflow::worker::{self, FromWorker, StateQuery, ToWorker, WorkerSeat};
use crate::error::{Error, ErrorKind, Result};
use crate::state::loader::StateLoader;

/// Sizes of a dataflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Width {
    pub workers: u32,
    pub partitions: u32,
}

/// What comes out of a running engine.
pub(crate) enum EngineEvent {
    Done {
        execution: u64,
        report: WorkerReport,
    },
    /// What one worker has for the checkpoint, after [`Engine::freeze`].
    Frozen(FrozenOperators),
    /// User code panicked, while this execution was worked on if it is known.
    Panicked {
        execution: Option<u64>,
        operator: String,
        panic: String,
    },
    SourceFailed(Error),
    /// Stored state could not be read.
    StateFailed(Error),
}

/// A running dataflow.
pub(crate) struct Engine {
    width: Width,
    inboxes: Vec<Sender<ToWorker>>,
    threads: Vec<Thread>,
    guards: Option<timely::communication::WorkerGuards<()>>,
    next_execution: u64,
}

impl Engine {
    /// Starts the workers and waits until all of them have loaded their state.
    ///
    /// `tell` gets what happens from then on.
    ///
    /// # Errors
    /// When threads cannot be started, or state cannot be loaded.
    pub fn start(
        graph: Arc<Graph>,
        width: Width,
        loader: StateLoader,
        blocks: BlockReader,
        tell: impl Fn(EngineEvent) + Send + Sync + 'static,
    ) -> Result<Self> {
        let (inboxes, outboxes): (Vec<_>, Vec<_>) = (0..width.workers).map(|_| channel()).unzip();
        let (ready, readiness) = channel();
        let seats = Seats {
            graph,
            width,
            loader,
            blocks,
            outboxes: Mutex::new(outboxes.into_iter().map(Some).collect()),
            ready,
        };
        let tell: Arc<dyn Fn(EngineEvent) + Send + Sync> = Arc::new(tell);
        let communication =
            if width.workers == 1 { Communication::Thread } else { Communication::Process(width.workers as usize) };
        let config = timely::Config { communication, worker: WorkerConfig::default() };
        let guards = timely::execute(config, move |worker| worker::run(worker, seats.take(worker.index(), &tell)))
            .map_err(|message| Error::new(ErrorKind::Environment, format!("workers cannot be started: {message}")))?;
        let mut engine = Self { width, inboxes, threads: Vec::new(), guards: Some(guards), next_execution: 0 };
        match engine.wait_until_ready(&readiness) {
            Ok(()) => Ok(engine),
            Err(error) => {
                engine.stop();
                Err(error)
            }
        }
    }

    fn wait_until_ready(&mut self, readiness: &Receiver<Result<Thread>>) -> Result<()> {
        let mut first_error = None;
        for _ in 0..self.width.workers {
            match readiness.recv() {
                Ok(Ok(thread)) => self.threads.push(thread),
                Ok(Err(error)) => first_error = first_error.or(Some(error)),
                Err(_) => return Err(Error::new(ErrorKind::Environment, "a worker ended before it was ready")),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Begins a batch and says under which execution number it will be reported. Tasks are spread evenly by bytes.
    pub fn run(&mut self, batch: impl FnOnce(u64) -> BatchContext, tasks: Vec<(u64, Task)>) -> u64 {
        let execution = self.next_execution;
        self.next_execution += 1;
        let batch = batch(execution);
        for (inbox, tasks) in self.inboxes.iter().zip(spread(tasks, self.width.workers)) {
            // A worker that is gone has reported so already.
            drop(inbox.send(ToWorker::Run { batch: batch.clone(), tasks }));
        }
        self.unpark();
        execution
    }

    /// Lets all workers freeze their state as it was after the batch that was given to be frozen.
    pub fn freeze(&self) {
        for inbox in &self.inboxes {
            drop(inbox.send(ToWorker::Freeze));
        }
        self.unpark();
    }

    /// Asks all workers; call it only while no batch is under way.
    pub fn query(&self, query: &StateQuery) {
        for inbox in &self.inboxes {
            drop(inbox.send(ToWorker::Query(query.clone())));
        }
        self.unpark();
    }

    /// Ends all workers and waits for them.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for inbox in &self.inboxes {
            drop(inbox.send(ToWorker::Stop));
        }
        self.unpark();
        if let Some(guards) = self.guards.take() {
            for result in guards.join() {
                if let Err(error) = result {
                    tracing::error!(%error, "a worker thread ended in a panic");
                }
            }
        }
    }

    fn unpark(&self) {
        self.threads.iter().for_each(Thread::unpark);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives every worker its place.
struct Seats {
    graph: Arc<Graph>,
    width: Width,
    loader: StateLoader,
    blocks: BlockReader,
    outboxes: Mutex<Vec<Option<Receiver<ToWorker>>>>,
    ready: Sender<Result<Thread>>,
}

impl Seats {
    fn take(&self, worker: usize, tell: &Arc<dyn Fn(EngineEvent) + Send + Sync>) -> WorkerSeat {
        let inbox =
            self.outboxes.lock().expect("no panic while seated")[worker].take().expect("each seat is taken once");
        let (ready, tell) = (self.ready.clone(), tell.clone());
        let translate = move |message| match message {
            FromWorker::Ready(thread) => drop(ready.send(Ok(thread))),
            FromWorker::NotReady(error) => drop(ready.send(Err(error))),
            FromWorker::Done { execution, report } => tell(EngineEvent::Done { execution, report }),
            FromWorker::Frozen(frozen) => tell(EngineEvent::Frozen(frozen)),
            FromWorker::Panicked { execution, operator, panic } => {
                tell(EngineEvent::Panicked { execution, operator, panic })
            }
            FromWorker::SourceFailed(error) => tell(EngineEvent::SourceFailed(error)),
            FromWorker::StateFailed(error) => tell(EngineEvent::StateFailed(error)),
            FromWorker::Gone => {
                drop(ready.send(Err(Error::new(ErrorKind::UserCode, "a worker panicked while it loaded its state"))));
                tell(EngineEvent::Panicked {
                    execution: None,
                    operator: "the dataflow".into(),
                    panic: "a worker thread ended".into(),
                });
            }
        };
        WorkerSeat {
            graph: self.graph.clone(),
            partitions: self.width.partitions,
            loader: self.loader.clone(),
            blocks: self.blocks.clone(),
            inbox,
            tell: Arc::new(translate),
        }
    }
}

/// Spreads tasks over workers, each to the one with the fewest bytes so far. Results do not depend on it (I-3).
fn spread(tasks: Vec<(u64, Task)>, workers: u32) -> Vec<Vec<Task>> {
    let mut loads = vec![0_u64; workers as usize];
    let mut spread: Vec<Vec<Task>> = (0..workers).map(|_| Vec::new()).collect();
    for (bytes, task) in tasks {
        let least = (0..loads.len()).min_by_key(|&worker| loads[worker]).expect("there is a worker");
        loads[least] += bytes + 1;
        spread[least].push(task);
    }
    spread
}
