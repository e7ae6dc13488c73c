//! `cogroup`: the values of each key in two streams, side by side.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::combine::Combiner;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Unit};
use crate::dataflow::report::Port;
use crate::dataflow::shuffle::{Keyed, ShufflePush};
use crate::dstream::DStream;
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::Result;
use floodmark_base::types::as_key;

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// For each key that occurs in a batch of this stream or of the other, the values of both, each in the order of its source.
    /// Spark: `PairDStreamFunctions.cogroup`.
    ///
    /// Wide: the records of both streams are shuffled; holds a partition's records in memory. Keyed output leaves in the order
    /// (hash, encoded key), so what follows by the same key needs no shuffle. Both streams must be of one context and slide
    /// alike; otherwise the job does not start. Keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (views, one) = context.queue_stream::<(String, u64)>("views");
    ///     let (clicks, other) = context.queue_stream::<(String, char)>("clicks");
    ///     ((views, clicks), one.cogroup(&other).collect("both"))
    /// })?;
    /// let ((views, clicks), both) = job.handles();
    /// views.push(vec![("ann".into(), 1), ("ann".into(), 2)])?;
    /// clicks.push(vec![("ann".into(), 'x'), ("bob".into(), 'y')])?;
    /// job.run_batch()?;
    /// let expected = [("ann".to_string(), (vec![1, 2], vec!['x'])), ("bob".to_string(), (vec![], vec!['y']))];
    /// assert_eq!(both.last_sorted(), expected);
    /// # Ok(())
    /// # }
    /// ```
    #[allow(clippy::type_complexity)] // what comes out is best said in full
    pub fn cogroup<W: Record>(&self, other: &DStream<'c, (K, W)>) -> DStream<'c, (K, (Vec<V>, Vec<W>))> {
        self.cogroup_as("cogroup", other)
    }

    /// As [`cogroup`](Self::cogroup), as the first half of an operator of another name.
    pub(crate) fn cogroup_as<W: Record>(
        &self,
        name: &str,
        other: &DStream<'c, (K, W)>,
    ) -> DStream<'c, (K, Both<V, W>)> {
        self.wide_with(name, other, Cogroup(PhantomData::<fn(K, V, W)>))
    }
}

/// The values of a key in the one stream and in the other.
pub(crate) type Both<V, W> = (Vec<V>, Vec<W>);

struct Cogroup<K, V, W>(PhantomData<fn(K, V, W)>);

impl<K: Key, V: Record, W: Record> Wide for Cogroup<K, V, W> {
    fn map_side(&self, side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        match side {
            0 => ErasedPush::new::<(K, V)>(ShufflePush::new(port, context.partitions)),
            _ => ErasedPush::new::<(K, W)>(ShufflePush::new(port, context.partitions)),
        }
    }

    fn is_partitioned_by_key(&self) -> bool {
        true
    }

    fn type_problem(&self) -> Option<String> {
        as_key::<K>().problem
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(CogroupReduce {
            name: context.name.clone(),
            groups: Combiner::<K, Both<V, W>>::new(),
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }
}

struct CogroupReduce<K, V, W> {
    name: Arc<str>,
    groups: Combiner<K, Both<V, W>>,
    emit: Emit<(K, Both<V, W>)>,
}

impl<K: Key, V: Record, W: Record> CogroupReduce<K, V, W> {
    fn add_left(&mut self, mut records: Vec<Keyed<K, V>>) {
        let create = |value| (vec![value], Vec::new());
        self.groups.fold_run(&mut records, create, |mut group: Both<V, W>, value| {
            group.0.push(value);
            group
        });
    }

    fn add_right(&mut self, mut records: Vec<Keyed<K, W>>) {
        let create = |value| (Vec::new(), vec![value]);
        self.groups.fold_run(&mut records, create, |mut group: Both<V, W>, value| {
            group.1.push(value);
            group
        });
    }
}

impl<K: Key, V: Record, W: Record> Reduce for CogroupReduce<K, V, W> {
    fn run(&mut self, _partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        blame::enter(&self.name);
        for chunk in chunks {
            match chunk.side {
                0 => self.add_left(chunk.records.into_typed()),
                _ => self.add_right(chunk.records.into_typed()),
            }
        }
        self.groups.put_out(unit, &mut self.emit);
    }
}
