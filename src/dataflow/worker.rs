//! The loop of one worker thread: takes messages from the driver, steps the dataflow, reports what is done.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::Thread;

use timely::worker::Worker;

use crate::codec::KeyHash;
use crate::dataflow::blame;
use crate::dataflow::freezing::FrozenOperators;
use crate::dataflow::graph::{Graph, NodeId};
use crate::dataflow::lower::{Lowered, Lowering};
use crate::dataflow::push::BatchContext;
use crate::dataflow::report::WorkerReport;
use crate::dataflow::task::{BlockReader, Task};
use crate::state::StateFailure;
use crate::state::loader::StateLoader;

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
    /// Gets encoded keys and states.
    pub answer: Arc<dyn Fn(Vec<EncodedEntry>) + Send + Sync>,
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

/// What a worker tells the driver.
pub(crate) enum FromWorker {
    /// The dataflow stands, its state is loaded; from now on `thread` must be unparked after a message.
    Ready(Thread),
    /// The state could not be loaded.
    NotReady(crate::Error),
    /// All workers are through with this execution; this is what this one did.
    Done { execution: u64, report: WorkerReport },
    /// What this worker has for the checkpoint, once it was told to freeze.
    Frozen(FrozenOperators),
    /// User code panicked; the worker has dropped its dataflow.
    Panicked { execution: Option<u64>, operator: String, panic: String },
    /// The input of a task could not be had.
    SourceFailed(crate::Error),
    /// Stored state could not be read; the worker has dropped its dataflow.
    StateFailed(crate::Error),
    /// The thread is about to end without having been told to.
    Gone,
}

/// What a worker needs to build and run its dataflow.
pub(crate) struct WorkerSeat {
    pub graph: Arc<Graph>,
    pub partitions: u32,
    pub loader: StateLoader,
    pub blocks: BlockReader,
    pub inbox: Receiver<ToWorker>,
    pub tell: Arc<dyn Fn(FromWorker) + Send + Sync>,
}

/// Tells the driver that the thread ends, unless it was told to.
struct Farewell {
    tell: Arc<dyn Fn(FromWorker) + Send + Sync>,
    expected: bool,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if !self.expected {
            (self.tell)(FromWorker::Gone);
        }
    }
}

/// Runs a worker until it is told to stop, or fails. The dataflow is dropped before this returns.
pub(crate) fn run(worker: &mut Worker, seat: WorkerSeat) {
    let mut farewell = Farewell { tell: seat.tell.clone(), expected: false };
    let lowering = Lowering {
        graph: &seat.graph,
        worker: worker.index() as u32,
        workers: worker.peers() as u32,
        partitions: seat.partitions,
        loader: seat.loader.clone(),
        blocks: seat.blocks.clone(),
    };
    let dataflow = worker.next_dataflow_index();
    match worker.dataflow::<u64, _, _>(|scope| lowering.build(scope)) {
        Ok(mut lowered) => {
            (seat.tell)(FromWorker::Ready(std::thread::current()));
            if let Err(failure) = serve(worker, &seat, &mut lowered) {
                (seat.tell)(failure);
                wait_for_stop(&seat);
            }
        }
        Err(error) => {
            (seat.tell)(FromWorker::NotReady(error));
            // The dataflow is incomplete, so it is never stepped.
            wait_for_stop(&seat);
        }
    }
    worker.drop_dataflow(dataflow);
    farewell.expected = true;
}

/// Serves until it is told to stop, or until a failure after which the dataflow is never stepped again: it would go on as if the batch
/// were done.
fn serve(worker: &mut Worker, seat: &WorkerSeat, lowered: &mut Lowered) -> Result<(), FromWorker> {
    let mut next_done = 0_u64;
    loop {
        loop {
            match seat.inbox.try_recv() {
                Ok(ToWorker::Run { batch, tasks }) => begin_batch(lowered, batch, tasks),
                Ok(ToWorker::Freeze) => {
                    let frozen = catch_unwind(AssertUnwindSafe(|| lowered.freezing.finish())).map_err(failure_of)?;
                    (seat.tell)(FromWorker::Frozen(frozen));
                }
                Ok(ToWorker::Query(query)) => answer(lowered, &query).map_err(FromWorker::StateFailed)?,
                Ok(ToWorker::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => break,
            }
        }
        catch_unwind(AssertUnwindSafe(|| worker.step_or_park(None))).map_err(failure_of)?;
        if let Some(failure) = lowered.failure.borrow_mut().take() {
            return Err(FromWorker::SourceFailed(failure.0));
        }
        while lowered.batches.borrow().contains_key(&next_done) && !lowered.probe.less_equal(&next_done) {
            lowered.batches.borrow_mut().remove(&next_done);
            (seat.tell)(FromWorker::Done { execution: next_done, report: lowered.reports.take(next_done) });
            next_done += 1;
        }
    }
}

/// What a caught panic was: the user's, or a read of stored state that failed in the middle of a batch.
fn failure_of(panic: Box<dyn Any + Send>) -> FromWorker {
    match panic.downcast::<StateFailure>() {
        Ok(failure) => FromWorker::StateFailed(failure.0),
        Err(panic) => {
            let (execution, operator) = blame::running();
            FromWorker::Panicked { execution, operator, panic: blame::panic_message(&*panic) }
        }
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

fn answer(lowered: &Lowered, query: &StateQuery) -> crate::error::Result<()> {
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
    (query.answer)(entries);
    Ok(())
}

fn wait_for_stop(seat: &WorkerSeat) {
    while !matches!(seat.inbox.recv(), Ok(ToWorker::Stop) | Err(_)) {}
}
