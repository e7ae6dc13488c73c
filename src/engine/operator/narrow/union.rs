//! `union`: the records of two streams in one.

use std::marker::PhantomData;

use crate::dataflow::graph::{Narrow, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dstream::{DStream, GraphBuilder};
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// The records of this stream and of another one of the same context. Spark: `DStream.union`.
    ///
    /// Narrow; a move per record; keeps nothing in a checkpoint. The partitions of this stream come first, then those of the
    /// other, as in Spark. Both must slide alike.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (left, one) = context.queue_stream::<u64>("left");
    ///     let (right, other) = context.queue_stream::<u64>("right");
    ///     ((left, right), one.union(&other).collect("all"))
    /// })?;
    /// let ((left, right), all) = job.handles();
    /// right.push(vec![2])?;
    /// left.push(vec![1])?;
    /// job.run_batch()?;
    /// assert_eq!(all.last(), [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn union(&self, other: &DStream<'c, T>) -> DStream<'c, T> {
        union_of(self.graph, &[*self, *other])
    }
}

/// One stream of all these.
pub(crate) fn union_of<'c, T: Record>(graph: &'c GraphBuilder, streams: &[DStream<'c, T>]) -> DStream<'c, T> {
    DStream::narrow_over(graph, "union", streams, Union::<T>(PhantomData))
}

struct Union<T>(PhantomData<fn(T)>);

impl<T: Record> Narrow for Union<T> {
    fn lower(&self, side: u32, _context: &WorkerContext, downstream: Downstream) -> ErasedPush {
        ErasedPush::new(Side { side: u64::from(side), next: downstream.into_typed::<T>() })
    }
}

/// Hands everything on; the units of one side come before those of the next.
struct Side<T> {
    side: u64,
    next: Box<dyn Push<T>>,
}

impl<T> Push<T> for Side<T> {
    fn begin(&mut self, unit: &Unit) {
        self.next.begin(&Unit { origin: unit.origin.within(self.side), ..unit.clone() });
    }

    fn push(&mut self, run: &mut Vec<T>) {
        self.next.push(run);
    }

    fn end(&mut self) {
        self.next.end();
    }

    fn wants_more(&self) -> bool {
        self.next.wants_more()
    }
}
