//! `sink`: every committed batch to a target that publishes it exactly once.

use std::marker::PhantomData;
use std::sync::Mutex;

use crate::dataflow::chunk::Records;
use crate::dataflow::graph::{Deliver, Delivery, Output, WorkerContext};
use crate::dataflow::push::ErasedPush;
use crate::dataflow::report::OutputTray;
use crate::dstream::DStream;
use crate::operator::outputs::collect_output::{Keep, collect};
use crate::sink::{PublishedBatch, Sink, SinkError};
use floodmark_base::codec::Record;
use floodmark_base::id::{BatchId, Epoch, Lineage};
use floodmark_base::types::as_output;

impl<T: Record> DStream<'_, T> {
    /// Publishes every batch to a [`Sink`], in order, after the batch is committed.
    ///
    /// Exactly once if the sink meets its contract: it gets a batch again after a crash, and makes it visible once, by its
    /// id. A sink that fails stops the job: nothing is skipped. The fingerprint of what the sink got is in the log, and is
    /// compared when a batch is recomputed.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::{MemorySink, testing::TestJob};
    ///
    /// let sink = MemorySink::<u64>::new();
    /// let target = sink.clone();
    /// let mut job = TestJob::new(move |context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     stream.sink("out", target.clone());
    ///     (numbers, stream.collect("all"))
    /// })?;
    /// let (numbers, _) = job.handles();
    /// numbers.push(vec![1, 2, 3])?;
    /// job.run_batch()?;
    /// assert_eq!(sink.contents(), [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sink(&self, uid: &str, sink: impl Sink<T>) {
        self.named_output(&uid.into(), SinkOutput { sink: Mutex::new(Some(sink)), types: PhantomData::<fn(T)> });
    }
}

struct SinkOutput<T, S> {
    sink: Mutex<Option<S>>,
    types: PhantomData<fn(T)>,
}

impl<T: Record, S: Sink<T>> Output for SinkOutput<T, S> {
    fn collect(&self, _context: &WorkerContext, tray: OutputTray) -> ErasedPush {
        collect::<T>(Keep::All, tray)
    }

    fn type_problem(&self) -> Option<String> {
        as_output::<T>().problem
    }

    fn delivery(&self) -> Box<dyn Deliver> {
        let sink = self.sink.lock().expect("no panic while held").take();
        Box::new(SinkDelivery { sink: sink.expect("the delivery is taken once"), types: PhantomData::<fn(T)> })
    }
}

struct SinkDelivery<T, S> {
    sink: S,
    types: PhantomData<fn(T)>,
}

impl<T: Record, S: Sink<T>> Deliver for SinkDelivery<T, S> {
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        self.sink.fence(epoch, lineage)
    }

    fn publish(&mut self, delivery: Delivery, partitions: Vec<Records>) -> Result<(), SinkError> {
        self.sink.publish(&PublishedBatch {
            lineage: delivery.lineage,
            epoch: delivery.epoch,
            batch: delivery.batch,
            time: delivery.time,
            partitions: partitions.into_iter().map(Records::into_typed).collect(),
        })
    }
}
