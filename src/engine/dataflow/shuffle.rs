//! The shuffle: keyed records cut into chunks by partition, with the hash of the key computed once and carried.

use serde::{Deserialize, Serialize};

use crate::dataflow::chunk::{Chunk, Origin, Records};
use crate::dataflow::graph::SharedReduce;
use crate::dataflow::push::{Push, Unit};
use crate::dataflow::report::Port;
use floodmark_base::codec::{Key, KeyHash, KeyHasher, Record};
use floodmark_base::types::Keys;

/// How many records a chunk of a shuffle holds at the most: large enough to make its header free, small enough to be worked
/// on in the cache.
const CHUNK: usize = 1_024;

/// A keyed record on its way, with the pinned hash of its key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Keyed<K, V> {
    pub hash: u64,
    pub key: K,
    pub value: V,
}

impl<K, V> Keyed<K, V> {
    #[inline]
    pub fn of((hash, key): (KeyHash, K), value: V) -> Self {
        Self { hash: hash.0, key, value }
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash(self.hash)
    }
}

/// Hashes the key of each pair and sends the pair to its partition.
pub(crate) struct ShufflePush<K, V> {
    keys: Keys<K>,
    shuffle: Shuffle<K, V>,
}

impl<K: Key, V: Record> ShufflePush<K, V> {
    pub fn new(port: Port, partitions: u32) -> Self {
        Self { keys: Keys::new(), shuffle: Shuffle::new(port, partitions) }
    }
}

impl<K: Key, V: Record> Push<(K, V)> for ShufflePush<K, V> {
    fn begin(&mut self, unit: &Unit) {
        self.shuffle.begin(&unit.origin);
    }

    fn push(&mut self, run: &mut Vec<(K, V)>) {
        for (key, value) in run.drain(..) {
            self.shuffle.send(Keyed::of(self.keys.take(key), value));
        }
    }

    fn end(&mut self) {
        self.shuffle.end();
    }
}

/// Hands pairs that are in their partition already, and whose keys were [taken in](Keys) before, to the operator that wants them by
/// key.
pub(crate) struct LocalPush<K, V> {
    reduce: SharedReduce,
    side: u32,
    hasher: KeyHasher,
    unit: Option<Unit>,
    /// Full ones, and one that is being filled: one large buffer would be moved again and again while it grows.
    chunks: Vec<Vec<Keyed<K, V>>>,
}

impl<K: Record, V: Record> LocalPush<K, V> {
    pub fn new(reduce: SharedReduce) -> Self {
        Self::on_side(reduce, 0)
    }

    /// For an operator that takes records without a shuffle by another side than those that were shuffled.
    pub fn on_side(reduce: SharedReduce, side: u32) -> Self {
        Self { reduce, side, hasher: KeyHasher::default(), unit: None, chunks: Vec::new() }
    }
}

impl<K: Key, V: Record> Push<(K, V)> for LocalPush<K, V> {
    fn begin(&mut self, unit: &Unit) {
        self.unit = Some(unit.clone());
    }

    fn push(&mut self, run: &mut Vec<(K, V)>) {
        for (key, value) in run.drain(..) {
            let record = Keyed { hash: self.hasher.hash(&key).0, key, value };
            match self.chunks.last_mut() {
                Some(chunk) if chunk.len() < CHUNK => chunk.push(record),
                _ => {
                    let mut chunk = Vec::with_capacity(CHUNK);
                    chunk.push(record);
                    self.chunks.push(chunk);
                }
            }
        }
    }

    fn end(&mut self) {
        let unit = self.unit.take().expect("a unit began");
        let (partition, side) = (unit.partition, self.side);
        let chunk = |(sequence, records)| Chunk {
            origin: unit.origin.clone(),
            sequence,
            side,
            partition,
            records: Records::new(records),
        };
        let chunks = (0..).zip(self.chunks.drain(..)).map(chunk).collect();
        self.reduce.borrow_mut().run(partition, &unit, chunks);
    }
}

/// The sending end of a shuffle in one stage of one worker.
pub(crate) struct Shuffle<K, V> {
    port: Port,
    origin: Origin,
    sequence: u32,
    buffers: Vec<Vec<Keyed<K, V>>>,
}

impl<K: Record, V: Record> Shuffle<K, V> {
    pub fn new(port: Port, partitions: u32) -> Self {
        let buffers = (0..partitions).map(|_| Vec::new()).collect();
        Self { port, origin: Origin::default(), sequence: 0, buffers }
    }

    pub fn begin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        self.sequence = 0;
    }

    #[inline]
    pub fn send(&mut self, record: Keyed<K, V>) {
        let partition = record.hash().bucket(self.buffers.len() as u32);
        let buffer = &mut self.buffers[partition as usize];
        if buffer.capacity() == 0 {
            buffer.reserve_exact(CHUNK);
        }
        buffer.push(record);
        if buffer.len() == CHUNK {
            self.flush(partition);
        }
    }

    pub fn end(&mut self) {
        for partition in 0..self.buffers.len() as u32 {
            if !self.buffers[partition as usize].is_empty() {
                self.flush(partition);
            }
        }
    }

    fn flush(&mut self, partition: u32) {
        let records = std::mem::take(&mut self.buffers[partition as usize]);
        self.port.send(&self.origin, self.sequence, partition, Records::new(records));
        self.sequence += 1;
    }
}
