//! `union`: the records of two streams in one.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::codec::Record;
use crate::dataflow::graph::{Narrow, NodeId, Operator, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dstream::{DStream, GraphBuilder};

impl<'c, T: Record> DStream<'c, T> {
    /// The records of this stream and of another one of the same context. Spark: `DStream.union`.
    ///
    /// Narrow; a move per record; keeps nothing in a checkpoint. Where order shows, the records of the stream whose source
    /// was declared first come first.
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
        self.narrow_of("union", vec![self.node, self.same_graph(other)], Union::<T>(PhantomData))
    }
}

/// One stream of all these, which must be of this graph.
pub(crate) fn union_of<'c, T: Record>(graph: &'c GraphBuilder, streams: &[DStream<'c, T>]) -> DStream<'c, T> {
    for stream in streams {
        check_graph(graph, stream);
    }
    let parents = streams.iter().map(|stream| stream.node).collect();
    let union = Operator::Narrow(Arc::new(Union::<T>(PhantomData)));
    DStream::new(graph, graph.add(graph.unnamed("union"), parents, union))
}

impl<T> DStream<'_, T> {
    /// The other stream's node, if it belongs to the same context; a mixed graph is reported when the job starts.
    pub(crate) fn same_graph<U>(&self, other: &DStream<'_, U>) -> NodeId {
        if check_graph(self.graph, other) { other.node } else { self.node }
    }
}

fn check_graph<U>(graph: &GraphBuilder, stream: &DStream<'_, U>) -> bool {
    let is_same = std::ptr::eq(graph, stream.graph);
    if !is_same {
        graph.report_problem("streams of two contexts are mixed: both must come from the same one");
    }
    is_same
}

struct Union<T>(PhantomData<fn(T)>);

impl<T: Record> Narrow for Union<T> {
    fn lower(&self, _context: &WorkerContext, downstream: Downstream) -> ErasedPush {
        ErasedPush::new(Through(downstream.into_typed::<T>()))
    }
}

/// Hands everything on.
struct Through<T>(Box<dyn Push<T>>);

impl<T> Push<T> for Through<T> {
    fn begin(&mut self, unit: &Unit) {
        self.0.begin(unit);
    }

    fn push(&mut self, run: &mut Vec<T>) {
        self.0.push(run);
    }

    fn end(&mut self) {
        self.0.end();
    }

    fn wants_more(&self) -> bool {
        self.0.wants_more()
    }
}
