//! The engine: a running dataflow with its workers, seen from the driver.
//!
//! The driver stands outside of the workers and talks to each through a channel. An engine lives until it is stopped or a
//! batch fails; after a failure everything it says is void, and a new one is started from the newest checkpoint.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::Thread;
use std::time::Duration;

use timely::WorkerConfig;
use timely::communication::Config as Communication;

use crate::dataflow::blame::Sight;
use crate::dataflow::graph::Graph;
use crate::dataflow::push::BatchContext;
use crate::dataflow::task::{BlockReader, Task};
use crate::dataflow::worker::{self, Presence, StateQuery, ToWorker, WorkerEvent, WorkerSeat};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_store::state::loader::StateLoader;

/// Sizes of a dataflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Width {
    pub workers: u32,
    pub partitions: u32,
}

/// A running dataflow.
pub(crate) struct Engine {
    width: Width,
    inboxes: Vec<Sender<ToWorker>>,
    threads: Vec<Thread>,
    guards: Option<timely::communication::WorkerGuards<()>>,
    workers: Vec<Watched>,
    /// Disconnected when all workers have ended.
    present: Receiver<()>,
    /// How long the end waits for user code that runs.
    patience: Duration,
    next_execution: u64,
}

/// A worker as others see it.
struct Watched {
    sight: Sight,
    presence: Weak<Presence>,
}

impl Engine {
    /// Starts the workers and waits until all of them have loaded their state.
    ///
    /// `tell` gets what happens from then on. When the engine ends, user code has `patience` to return.
    ///
    /// # Errors
    /// When threads cannot be started, or state cannot be loaded.
    pub fn start(
        graph: Arc<Graph>,
        width: Width,
        loader: StateLoader,
        blocks: BlockReader,
        patience: Duration,
        tell: impl Fn(WorkerEvent) + Send + Sync + 'static,
    ) -> Result<Self> {
        let (ready, readiness) = channel();
        let (here, present) = channel();
        let tell: Arc<dyn Fn(WorkerEvent) + Send + Sync> = Arc::new(tell);
        let (mut inboxes, mut seats, mut workers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..width.workers {
            let (inbox, outbox) = channel();
            let seat = WorkerSeat {
                graph: graph.clone(),
                partitions: width.partitions,
                loader: loader.clone(),
                blocks: blocks.clone(),
                inbox: outbox,
                ready: ready.clone(),
                tell: tell.clone(),
                sight: Sight::default(),
                presence: Arc::new(Presence(here.clone())),
            };
            inboxes.push(inbox);
            workers.push(Watched { sight: seat.sight.clone(), presence: Arc::downgrade(&seat.presence) });
            seats.push(Some(seat));
        }
        drop((here, ready, loader));
        let communication =
            if width.workers == 1 { Communication::Thread } else { Communication::Process(width.workers as usize) };
        let config = timely::Config { communication, worker: WorkerConfig::default() };
        // A thread that does not return keeps this closure, so each takes its seat out of it.
        let seats = Mutex::new(seats);
        let seat = move |worker: usize| {
            seats.lock().expect("no panic while seated")[worker].take().expect("each seat is taken once")
        };
        let guards = timely::execute(config, move |worker| worker::run(worker, seat(worker.index())))
            .map_err(|message| Error::new(ErrorKind::Environment, format!("workers cannot be started: {message}")))?;
        let (threads, guards) = (Vec::new(), Some(guards));
        let mut engine = Self { width, inboxes, threads, guards, workers, present, patience, next_execution: 0 };
        match engine.wait_until_ready(&readiness) {
            Ok(()) => Ok(engine),
            Err(error) => {
                engine.end();
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

    /// Ends all workers and waits for them; not longer than the engine's patience for those that are in user code. Says which
    /// threads were left behind: whatever they still say is void, and they end when the code returns.
    pub fn stop(mut self) -> Vec<String> {
        self.end()
    }

    fn end(&mut self) -> Vec<String> {
        let Some(guards) = self.guards.take() else { return Vec::new() };
        for inbox in &self.inboxes {
            drop(inbox.send(ToWorker::Stop));
        }
        self.unpark();
        if self.present.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
            let present = self.workers.iter().enumerate().filter(|(_, worker)| worker.presence.strong_count() > 0);
            let left: Vec<String> =
                present.map(|(index, worker)| format!("worker {index}, in \"{}\"", worker.sight.operator())).collect();
            if !left.is_empty() {
                // Dropping the guards would wait for the threads.
                std::mem::forget(guards);
                return left;
            }
        }
        for result in guards.join() {
            if let Err(error) = result {
                tracing::error!(%error, "a worker thread ended in a panic");
            }
        }
        Vec::new()
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
