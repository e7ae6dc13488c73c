//! A source that the program itself fills.

use std::fmt;
use std::sync::mpsc as std_mpsc;

use tokio::sync::mpsc;

use crate::source::receiver::{Receiver, ReceiverContext, ReceiverError};
use floodmark_base::codec::Record;
use floodmark_store::block::StoreError;

/// The handle that fills a queue stream; clones fill the same stream, which ends when the last one is dropped.
///
/// Each push becomes a block, which is logged, so the stream survives a crash: what a push has confirmed counts exactly once.
///
/// ```no_run
/// # fn example(context: floodmark::StreamingContext) -> Result<(), Box<dyn std::error::Error>> {
/// let (queue, numbers) = context.queue_stream::<u64>("numbers");
/// numbers.print(10);
/// let running = context.start()?;
/// queue.push(vec![1, 2, 3])?;
/// # Ok(())
/// # }
/// ```
pub struct Queue<T> {
    pushes: mpsc::UnboundedSender<Push<T>>,
}

struct Push<T> {
    records: Vec<T>,
    reply: std_mpsc::Sender<Result<(), StoreError>>,
}

/// A push that is under way.
///
/// ```no_run
/// # fn example(queue: floodmark::Queue<u64>) -> Result<(), floodmark::StoreError> {
/// let (first, second) = (queue.enqueue(vec![1]), queue.enqueue(vec![2]));
/// first.wait()?;
/// second.wait()
/// # }
/// ```
#[derive(Debug)]
pub struct Pushed(std_mpsc::Receiver<Result<(), StoreError>>);

impl Pushed {
    /// Blocks the thread until the records are durable.
    ///
    /// # Errors
    /// When the log has failed or the job has stopped: the records are not known to be stored.
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.recv().unwrap_or(Err(StoreError::Stopped))
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { pushes: self.pushes.clone() }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("closed", &self.pushes.is_closed()).finish()
    }
}

impl<T: Record> Queue<T> {
    /// A queue and the receiver that empties it.
    pub(crate) fn new() -> (Self, QueueReceiver<T>) {
        let (pushes, taken) = mpsc::unbounded_channel();
        (Self { pushes }, QueueReceiver { pushes: taken })
    }

    /// Adds records as one block and blocks the thread until they are durable; so the job must be running.
    ///
    /// # Errors
    /// When a record cannot be encoded so that it can be read again, or the records are too many for a block: nothing of them is
    /// stored. When the log has failed or the job has stopped: the records are not known to be stored.
    ///
    /// ```no_run
    /// # fn example(queue: floodmark::Queue<u64>) -> Result<(), floodmark::StoreError> {
    /// queue.push(vec![1, 2, 3])
    /// # }
    /// ```
    pub fn push(&self, records: Vec<T>) -> Result<(), StoreError> {
        self.enqueue(records).wait()
    }

    /// Adds records as one block and returns at once, also before the job has started; what is returned tells when they are
    /// durable. The queue has no bound: whoever enqueues without waiting holds the records in memory.
    ///
    /// ```no_run
    /// # fn example(queue: floodmark::Queue<u64>) -> Result<(), floodmark::StoreError> {
    /// queue.enqueue(vec![1, 2, 3]).wait()
    /// # }
    /// ```
    pub fn enqueue(&self, records: Vec<T>) -> Pushed {
        let (reply, pushed) = std_mpsc::channel();
        // When the job has stopped, the reply is dropped with the push, and `wait` says so.
        drop(self.pushes.send(Push { records, reply }));
        Pushed(pushed)
    }
}

/// Empties a queue.
pub(crate) struct QueueReceiver<T> {
    pushes: mpsc::UnboundedReceiver<Push<T>>,
}

impl<T: Record> Receiver for QueueReceiver<T> {
    type Item = T;

    fn kind(&self) -> String {
        "queue_stream".to_string()
    }

    async fn on_start(&mut self, context: ReceiverContext<T>) -> Result<(), ReceiverError> {
        loop {
            let push = tokio::select! {
                biased;
                push = self.pushes.recv() => push,
                // What was pushed before the stop is still stored.
                () = context.stopped() => return Ok(()),
            };
            let Some(Push { records, reply }) = push else { return Ok(()) };
            let stored = context.store_block(records).await;
            let failure = stored.clone().err();
            // Whoever pushed may not wait.
            drop(reply.send(stored));
            match failure {
                // That is for whoever pushed: the next push may be fit.
                None | Some(StoreError::Encode { .. } | StoreError::TooLarge { .. }) => {}
                Some(failure) => return Err(failure.into()),
            }
        }
    }
}
