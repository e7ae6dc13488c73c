//! `print`: the first records of each batch, for people to look at.

use std::fmt::Debug;
use std::marker::PhantomData;

use crate::dataflow::chunk::Records;
use crate::dataflow::graph::{Deliver, Delivery, Output, WorkerContext};
use crate::dataflow::push::ErasedPush;
use crate::dataflow::report::OutputTray;
use crate::dstream::DStream;
use crate::operator::outputs::collect_output::{Keep, collect};
use crate::sink::SinkError;
use floodmark_base::codec::Record;
use floodmark_base::id::{BatchId, Epoch, Lineage};

impl<T: Record + Debug> DStream<'_, T> {
    /// Prints the first `count` records of every batch to standard output, after the batch is committed. Spark:
    /// `DStream.print`.
    ///
    /// At least once: a batch that was committed but not yet recorded as published is printed again after a crash. Costs
    /// `count` records a partition, whatever the size of the batch; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     stream.print(2);
    ///     (numbers, stream.collect("all"))
    /// })?;
    /// let (numbers, _) = job.handles();
    /// numbers.push(vec![1, 2, 3])?;
    /// job.run_batch()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn print(&self, count: usize) {
        self.output("print", Print::<T> { count, types: PhantomData });
    }
}

struct Print<T> {
    count: usize,
    types: PhantomData<fn(T)>,
}

impl<T: Record + Debug> Output for Print<T> {
    fn collect(&self, _context: &WorkerContext, tray: OutputTray) -> ErasedPush {
        // One more than is shown tells whether there are more.
        collect::<T>(Keep::First(self.count + 1), tray)
    }

    fn delivery(&self) -> Box<dyn Deliver> {
        Box::new(PrintDelivery::<T> { count: self.count, types: PhantomData })
    }
}

struct PrintDelivery<T> {
    count: usize,
    types: PhantomData<fn(T)>,
}

impl<T: Record + Debug> Deliver for PrintDelivery<T> {
    fn fence(&mut self, _epoch: Epoch, _lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        Ok(None)
    }

    fn publish(&mut self, delivery: Delivery, partitions: Vec<Records>) -> Result<(), SinkError> {
        use std::io::Write;
        let records: Vec<T> = partitions.into_iter().flat_map(Records::into_typed::<T>).take(self.count + 1).collect();
        let mut text = format!("{0}\nTime: {1} ms\n{0}\n", "-".repeat(43), delivery.time);
        for record in records.iter().take(self.count) {
            text.push_str(&format!("{record:?}\n"));
        }
        if records.len() > self.count {
            text.push_str("...\n");
        }
        text.push('\n');
        // A reader that went away (a closed pipe) is no reason to stop the job: what is printed is for people.
        if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
            tracing::warn!(%error, "a batch could not be printed");
        }
        Ok(())
    }
}
