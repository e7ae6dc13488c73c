//! What reaches the driver: one channel, so that everything it does has one order.

use crate::dataflow::worker::WorkerEvent;
use crate::driver::questions::Question;
use floodmark_base::error::Error;
use floodmark_store::checkpoint::{CheckpointDone, CheckpointError};

pub(crate) enum DriverMessage {
    /// The batch interval has passed at least once since the last of these.
    Tick,
    /// From the engine of this generation; from an older one it is void.
    Engine {
        generation: u64,
        event: WorkerEvent,
    },
    /// The background load of the engine of this generation is through, or has found damage.
    Loaded {
        generation: u64,
        outcome: Result<(), Error>,
    },
    /// A checkpoint is published, or could not be.
    Checkpoint(Result<CheckpointDone, CheckpointError>),
    /// Receiving failed for good: the log does not take blocks any more.
    ReceivingFailed(Error),
    /// The receivers have stopped, and what they had received is logged.
    ReceiversStopped(Result<(), Error>),
    /// A question about the state, to be answered between batches.
    Question(Question),
    Stop {
        graceful: bool,
    },
}
