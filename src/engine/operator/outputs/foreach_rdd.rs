//! `foreach_rdd`: a function of the user over every committed batch.

use std::marker::PhantomData;
use std::sync::Mutex;

use crate::dataflow::chunk::Records;
use crate::dataflow::graph::{Deliver, Delivery, Output, WorkerContext};
use crate::dataflow::push::ErasedPush;
use crate::dataflow::report::OutputTray;
use crate::dstream::DStream;
use crate::operator::outputs::collect_output::{Keep, collect};
use crate::rdd::Rdd;
use crate::sink::SinkError;
use floodmark_base::codec::Record;
use floodmark_base::id::{Batch, BatchId, Epoch, Lineage};
use floodmark_base::types::as_output;

impl<T: Record> DStream<'_, T> {
    /// Calls a function with every batch, in order, after the batch is committed. Spark: `DStream.foreachRDD`.
    ///
    /// At least once: after a crash a batch that was not yet recorded as published is handed over again, with the same
    /// [`Batch::id`] and the same contents; use the id to drop it. For exactly once use [`sink`](Self::sink). The function
    /// runs on the driver; while it runs, no later batch is published. A panic in it stops the job. Keeps nothing in a
    /// checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     stream.foreach_rdd(|batch, rdd| println!("{}: {:?}", batch.id, rdd.collect()));
    ///     (numbers, stream.collect("all"))
    /// })?;
    /// let (numbers, _) = job.handles();
    /// numbers.push(vec![1, 2, 3])?;
    /// job.run_batch()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn foreach_rdd(&self, function: impl FnMut(Batch, Rdd<T>) + Send + 'static) {
        self.output("foreach_rdd", ForeachRdd { function: Mutex::new(Some(function)), types: PhantomData::<fn(T)> });
    }

    /// As [`foreach_rdd`](Self::foreach_rdd), with a uid.
    pub(crate) fn named_foreach(&self, uid: &str, function: impl FnMut(Batch, Rdd<T>) + Send + 'static) {
        let output = ForeachRdd { function: Mutex::new(Some(function)), types: PhantomData::<fn(T)> };
        self.named_output(&uid.into(), output);
    }
}

struct ForeachRdd<T, F> {
    function: Mutex<Option<F>>,
    types: PhantomData<fn(T)>,
}

impl<T: Record, F: FnMut(Batch, Rdd<T>) + Send + 'static> Output for ForeachRdd<T, F> {
    fn collect(&self, _context: &WorkerContext, tray: OutputTray) -> ErasedPush {
        collect::<T>(Keep::All, tray)
    }

    fn type_problem(&self) -> Option<String> {
        as_output::<T>().problem
    }

    fn delivery(&self) -> Box<dyn Deliver> {
        let function = self.function.lock().expect("no panic while held").take();
        Box::new(ForeachDelivery {
            function: function.expect("the delivery is taken once"),
            types: PhantomData::<fn(T)>,
        })
    }
}

struct ForeachDelivery<T, F> {
    function: F,
    types: PhantomData<fn(T)>,
}

impl<T: Record, F: FnMut(Batch, Rdd<T>) + Send> Deliver for ForeachDelivery<T, F> {
    fn fence(&mut self, _epoch: Epoch, _lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        Ok(None)
    }

    fn publish(&mut self, delivery: Delivery, partitions: Vec<Records>) -> Result<(), SinkError> {
        let partitions = partitions.into_iter().map(Records::into_typed).collect();
        (self.function)(Batch { id: delivery.batch, time: delivery.time }, Rdd::new(partitions));
        Ok(())
    }
}
