//! Runs a graph over given batches, and what is expected of streams by key.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::dataflow::chunk::Chunk;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Unit};
use crate::dataflow::report::Port;
use crate::dstream::DStream;
use crate::operator::shapes::gather::{GATHERED_IN, GatherPush};
use crate::testing::TestJob;
use floodmark_base::codec::{Key, KeyHasher, Record, encode};
use floodmark_base::error::Error;
use floodmark_store::batch::timing::Slide;

/// The partitions of a job by default.
pub const PARTITIONS: usize = 8;

/// The input of one batch from one source.
pub type Blocks<T> = Vec<Vec<T>>;

/// What a stream put out, batch by batch and partition by partition.
pub type Outputs<U> = Vec<Vec<Vec<U>>>;

/// What a graph over one stream makes of these batches.
pub fn on_one<T, U>(
    batches: &[Blocks<T>],
    build: impl for<'c> Fn(DStream<'c, T>) -> DStream<'c, U> + Copy + 'static,
) -> Outputs<U>
where
    T: Record,
    U: Record + PartialEq + Debug,
{
    let batches: Vec<(Blocks<T>, Blocks<()>)> = batches.iter().map(|blocks| (blocks.clone(), Vec::new())).collect();
    on_two(&batches, move |stream, _| build(stream))
}

/// What a graph over two streams makes of these batches: the same with any number of workers, and when they are recomputed.
pub fn on_two<L, R, U>(
    batches: &[(Blocks<L>, Blocks<R>)],
    build: impl for<'c> Fn(DStream<'c, L>, DStream<'c, R>) -> DStream<'c, U> + Copy + 'static,
) -> Outputs<U>
where
    L: Record,
    R: Record,
    U: Record + PartialEq + Debug,
{
    let outputs = run(1, batches, build);
    for workers in [2, 4] {
        assert!(run(workers, batches, build) == outputs, "{workers} workers give another result than one");
    }
    outputs
}

fn run<L: Record, R: Record, U: Record>(
    workers: u32,
    batches: &[(Blocks<L>, Blocks<R>)],
    build: impl for<'c> Fn(DStream<'c, L>, DStream<'c, R>) -> DStream<'c, U> + Copy + 'static,
) -> Outputs<U> {
    let configure = move |builder: crate::StreamingContextBuilder| builder.workers(workers).checkpoint_every(1_000);
    let mut job = TestJob::configured(configure, move |context| {
        let (left, one) = context.queue_stream::<L>("left");
        let (right, other) = context.queue_stream::<R>("right");
        (left, right, build(one, other).collect("output"))
    })
    .unwrap();
    let (left, right, output) = job.handles();
    for (of_left, of_right) in batches {
        of_left.iter().for_each(|block| left.push(block.clone()).unwrap());
        of_right.iter().for_each(|block| right.push(block.clone()).unwrap());
        job.run_batch().unwrap();
    }
    // Recomputed batches are compared with their commits by the fingerprints of their outputs: a difference fails the start.
    job.crash_and_restart().unwrap();
    assert_eq!(job.recovery().batches_replayed(), batches.len() as u64);
    output.all().into_iter().map(|(_, rdd)| rdd.partitions().to_vec()).collect()
}

/// The error of a job whose graph over one stream cannot start, or of its first batch.
pub fn error_of<T: Record, U: Record>(
    records: Vec<T>,
    build: impl for<'c> Fn(DStream<'c, T>) -> DStream<'c, U> + 'static,
) -> Error {
    let job = TestJob::new(move |context| {
        let (records, stream) = context.queue_stream::<T>("records");
        build(stream).collect("output");
        records
    });
    match job {
        Err(error) => error,
        Ok(mut job) => {
            job.handles().push(records).unwrap();
            job.run_batch().unwrap_err()
        }
    }
}

/// Entries by key as a keyed stream puts them out: each in the partition of its key, in the order (hash, encoded key).
pub fn by_partition<K: Key, V>(entries: impl IntoIterator<Item = (K, V)>) -> Vec<Vec<(K, V)>> {
    let mut ordered = BTreeMap::new();
    let mut hasher = KeyHasher::default();
    for (key, value) in entries {
        let place = (hasher.hash(&key), encode(&key).unwrap());
        let before = ordered.insert(place, (key, value));
        assert!(before.is_none(), "every key has one entry");
    }
    let mut partitions: Vec<Vec<(K, V)>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for ((hash, _), entry) in ordered {
        partitions[hash.bucket(PARTITIONS as u32) as usize].push(entry);
    }
    partitions
}

/// The values of each key, in the order in which they come.
pub fn grouped<V: Clone>(blocks: &Blocks<(u64, V)>) -> BTreeMap<u64, Vec<V>> {
    let mut groups: BTreeMap<u64, Vec<V>> = BTreeMap::new();
    for (key, value) in blocks.iter().flatten() {
        groups.entry(*key).or_default().push(value.clone());
    }
    groups
}

/// Blocks of random pairs with so many keys at the most.
pub fn random_pairs(seed: u64, blocks: usize, records: usize, keys: u64) -> Blocks<(u64, u64)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pair = || (random.random_range(0..keys), random.random_range(0..1_000));
    (0..blocks).map(|_| (0..records).map(|_| pair()).collect()).collect()
}

/// A stream that yields in every third batch only: the records of that batch, as one partition.
pub fn every_third<T: Record>(stream: DStream<'_, T>) -> DStream<'_, T> {
    stream.sliding(&"every third".into(), SLIDE, EveryThird(PhantomData::<fn(T)>))
}

const SLIDE: Slide = Slide(300);

struct EveryThird<T>(PhantomData<fn(T)>);

impl<T: Record> Wide for EveryThird<T> {
    fn map_side(&self, _side: u32, _context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<T>(GatherPush::new(port))
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>, Error> {
        Ok(Box::new(ThirdReduce::<T>(Emit::new(context.name.clone(), downstream.into_typed()))))
    }
}

struct ThirdReduce<T>(Emit<T>);

impl<T: Record> Reduce for ThirdReduce<T> {
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        let Some(time) = unit.batch.timing.due(SLIDE).filter(|_| partition == GATHERED_IN) else { return };
        self.0.begin(&Unit::of_partition(partition, time, unit.batch.clone()));
        let records = chunks.into_iter().flat_map(|chunk| chunk.records.into_typed::<T>());
        records.for_each(|record| self.0.emit(record));
        self.0.end();
    }
}
