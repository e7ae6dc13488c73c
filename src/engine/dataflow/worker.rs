//! The loop of one worker thread: takes messages from the driver, steps the dataflow, reports what is done.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread::Thread;

use timely::worker::Worker;

use crate::dataflow::blame::{self, Sight};
use crate::dataflow::freezing::FrozenOperators;
use crate::dataflow::graph::{Graph, NodeId};
use crate::dataflow::lower::{Lowered, Lowering};
use crate::dataflow::push::BatchContext;
use crate::dataflow::report::WorkerReport;
use crate::dataflow::task::{BlockReader, Task};
use floodmark_base::codec::KeyHash;
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::user_code::panic_message;
use floodmark_store::state::StateFailure;
use floodmark_store::state::loader::StateLoader;

/// What the driver tells a worker.
pub(crate) enum ToWorker {
    /// Compute a batch: these are the tasks of this worker.
    Run { batch: BatchContext, tasks: Vec<Task> },
    /// The batch at whose end state was to be frozen is published: freeze what no later one has touched.
    Freeze,
    /// Answer from the state as it is; sent only between batches.
    Query(StateQuery),
    /// End: drop the dataflow and return.
    Stop,
}

/// A key's hash, the encoded key, and its encoded state.
pub(crate) type EncodedEntry = (KeyHash, Vec<u8>, Vec<u8>);

/// A question about the state of one operator. Every worker answers for the partitions that it owns.
#[derive(Clone)]
pub(crate) struct StateQuery {
    pub node: NodeId,
    pub select: Select,
    /// Gets encoded keys and states, or why there are none.
    pub answer: Arc<dyn Fn(Result<Vec<EncodedEntry>, Error>) + Send + Sync>,
}

#[derive(Clone)]
pub(crate) enum Select {
    Keys(Vec<SelectedKey>),
    All,
}

/// An encoded key with its hash, and the partition that has it.
#[derive(Clone)]
pub(crate) struct SelectedKey {
    pub partition: u32,
    pub hash: KeyHash,
    pub key: Vec<u8>,
}

/// What a worker reports to the driver once its state is loaded.
pub(crate) enum WorkerEvent {
    /// All workers have finished this execution; `report` is this worker's part in it.
    Done { execution: u64, report: WorkerReport },
    /// This worker's part of the checkpoint, once it was told to freeze.
    Frozen(FrozenOperators),
    /// User code panicked, during this execution if it is known. The worker never steps its dataflow again.
    Panicked { execution: Option<u64>, operator: String, panic: String },
    /// The input of a task could not be read.
    SourceFailed(Error),
    /// Stored state could not be read. The worker never steps its dataflow again.
    StateFailed(Error),
}

/// What a worker needs to build and run its dataflow.
pub(crate) struct WorkerSeat {
    pub graph: Arc<Graph>,
    pub partitions: u32,
    pub loader: StateLoader,
    pub blocks: BlockReader,
    pub inbox: Receiver<ToWorker>,
    /// Gets the worker's thread once its state is loaded, or the reason why it cannot be loaded. The thread must be unparked after
    /// each message to the worker.
    pub ready: Sender<Result<Thread, Error>>,
    pub tell: Arc<dyn Fn(WorkerEvent) + Send + Sync>,
    pub sight: Sight,
    /// Dropped when the worker has ended.
    pub presence: Arc<Presence>,
}

/// Says that a worker has not ended. All of an engine's workers have ended when nothing can be sent on the channel any more.
pub(crate) struct Presence(#[allow(dead_code)] pub Sender<()>);

/// Reports the end of the thread, unless the worker was told to stop.
struct Farewell {
    ready: Sender<Result<Thread, Error>>,
    tell: Arc<dyn Fn(WorkerEvent) + Send + Sync>,
    expected: bool,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if !self.expected {
            let error = Error::new(ErrorKind::Environment, "a worker ended before it was ready");
            // Nobody listens once the engine has started.
            drop(self.ready.send(Err(error)));
            (self.tell)(WorkerEvent::Panicked {
                execution: None,
                operator: "the dataflow".into(),
                panic: "a worker thread ended".into(),
            });
        }
    }
}

/// Runs a worker until it is told to stop, or fails. The dataflow is dropped before this returns.
pub(crate) fn run(worker: &mut Worker, seat: WorkerSeat) {
    let WorkerSeat { graph, partitions, loader, blocks, inbox, ready, tell, sight, presence } = seat;
    let mut farewell = Farewell { ready: ready.clone(), tell: tell.clone(), expected: false };
    sight.watch_this_thread();
    let (index, workers) = (worker.index() as u32, worker.peers() as u32);
    let dataflow = worker.next_dataflow_index();
    // The loader goes with the lowering: the store can be closed although a worker does not return from the user's code.
    let lowering = Lowering { graph: &graph, worker: index, workers, partitions, loader, blocks };
    let built = catch_unwind(AssertUnwindSafe(|| worker.dataflow::<u64, _, _>(|scope| lowering.build(scope))));
    drop(lowering);
    match built.unwrap_or_else(|panic| Err(not_loaded(panic))) {
        Ok(mut lowered) => {
            drop(ready.send(Ok(std::thread::current())));
            if let Err(failure) = serve(worker, &graph, &inbox, &*tell, &mut lowered) {
                tell(failure);
                wait_for_stop(&inbox);
            }
        }
        Err(error) => {
            drop(ready.send(Err(error)));
            // The dataflow is incomplete, so it is never stepped.
            wait_for_stop(&inbox);
        }
    }
    worker.drop_dataflow(dataflow);
    farewell.expected = true;
    drop(presence);
}

/// Serves until it is told to stop, or until a failure after which the dataflow is never stepped again: it would go on as if the batch
/// were done.
#[allow(clippy::result_large_err)] // made once in the life of a worker
fn serve(
    worker: &mut Worker,
    graph: &Graph,
    inbox: &Receiver<ToWorker>,
    tell: &dyn Fn(WorkerEvent),
    lowered: &mut Lowered,
) -> Result<(), WorkerEvent> {
    let mut next_done = 0_u64;
    loop {
        loop {
            match inbox.try_recv() {
                Ok(ToWorker::Run { batch, tasks }) => begin_batch(lowered, batch, tasks),
                Ok(ToWorker::Freeze) => {
                    let frozen = catch_unwind(AssertUnwindSafe(|| lowered.freezing.finish())).map_err(failure_of)?;
                    tell(WorkerEvent::Frozen(frozen));
                }
                Ok(ToWorker::Query(query)) => {
                    blame::enter(&graph.node(query.node).name);
                    (query.answer)(answer(lowered, &query)?);
                }
                Ok(ToWorker::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => break,
            }
        }
        catch_unwind(AssertUnwindSafe(|| worker.step_or_park(None))).map_err(failure_of)?;
        if let Some(failure) = lowered.failure.borrow_mut().take() {
            return Err(WorkerEvent::SourceFailed(failure.0));
        }
        while lowered.batches.borrow().contains_key(&next_done) && !lowered.probe.less_equal(&next_done) {
            lowered.batches.borrow_mut().remove(&next_done);
            tell(WorkerEvent::Done { execution: next_done, report: lowered.reports.take(next_done) });
            next_done += 1;
        }
    }
}

/// What a caught panic was: the user's, or a read of stored state that failed in the middle of a batch.
fn failure_of(panic: Box<dyn Any + Send>) -> WorkerEvent {
    match panic.downcast::<StateFailure>() {
        Ok(failure) => WorkerEvent::StateFailed(failure.0),
        Err(panic) => {
            let (execution, operator) = blame::running();
            WorkerEvent::Panicked { execution, operator, panic: panic_message(&*panic) }
        }
    }
}

/// What a caught panic was while the dataflow was built.
fn not_loaded(panic: Box<dyn Any + Send>) -> Error {
    match failure_of(panic) {
        WorkerEvent::StateFailed(error) => error,
        WorkerEvent::Panicked { operator, panic, .. } => {
            Error::new(ErrorKind::UserCode, format!("\"{operator}\" panicked while its state was loaded: {panic}"))
        }
        _ => unreachable!("a panic is the user's or a read that failed"),
    }
}

fn begin_batch(lowered: &mut Lowered, batch: BatchContext, tasks: Vec<Task>) {
    let execution = batch.execution;
    lowered.batches.borrow_mut().insert(execution, Rc::new(batch));
    for task in tasks {
        let input = lowered.inputs.get_mut(&task.source).expect("every source has an input");
        input.send(task);
    }
    for input in lowered.inputs.values_mut() {
        input.advance_to(execution + 1);
    }
}

/// The answer to a query. What the user's code does while it is put together concerns only whoever asks: nothing of the state changes.
///
/// # Errors
/// When stored state could not be read.
#[allow(clippy::result_large_err)] // made once in the life of a worker
fn answer(lowered: &Lowered, query: &StateQuery) -> Result<Result<Vec<EncodedEntry>, Error>, WorkerEvent> {
    match catch_unwind(AssertUnwindSafe(|| look_up(lowered, query))) {
        Ok(Err(error)) if error.kind() != ErrorKind::UserCode => Err(WorkerEvent::StateFailed(error)),
        Ok(found) => Ok(found),
        Err(panic) => match failure_of(panic) {
            WorkerEvent::Panicked { panic, .. } => {
                Ok(Err(Error::new(ErrorKind::UserCode, format!("the code of a key or a state panicked: {panic}"))))
            }
            failure => Err(failure),
        },
    }
}

fn look_up(lowered: &Lowered, query: &StateQuery) -> Result<Vec<EncodedEntry>, Error> {
    let mut entries = Vec::new();
    if let Some((_, reduce)) = lowered.reduces.iter().find(|(node, _)| *node == query.node) {
        let reduce = reduce.borrow();
        let state = reduce.state().expect("only operators with state are asked");
        match &query.select {
            Select::Keys(keys) => {
                for SelectedKey { partition, hash, key } in keys {
                    entries.extend(state.get(*partition, *hash, key)?.map(|state| (*hash, key.clone(), state)));
                }
            }
            Select::All => state.scan(&mut |hash, key, state| entries.push((hash, key, state)))?,
        }
    }
    Ok(entries)
}

fn wait_for_stop(inbox: &Receiver<ToWorker>) {
    while !matches!(inbox.recv(), Ok(ToWorker::Stop) | Err(_)) {}
}
