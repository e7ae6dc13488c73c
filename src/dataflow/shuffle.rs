//! The shuffle: keyed records cut into chunks by partition, with the hash of the key computed once and carried.

use serde::{Deserialize, Serialize};

use crate::codec::{KeyHash, Record};
use crate::dataflow::chunk::{Origin, Records};
use crate::dataflow::report::Port;

/// How many records a chunk of a shuffle holds at the most: large enough to make its header free, small enough to be worked
/// on in the cache.
const CHUNK: usize = 8_192;

/// A keyed record on its way, with the pinned hash of its key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Keyed<K, V> {
    pub hash: u64,
    pub key: K,
    pub value: V,
}

impl<K, V> Keyed<K, V> {
    pub fn hash(&self) -> KeyHash {
        KeyHash(self.hash)
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

    pub fn begin(&mut self, origin: Origin) {
        self.origin = origin;
        self.sequence = 0;
    }

    #[inline]
    pub fn send(&mut self, record: Keyed<K, V>) {
        let partition = record.hash().bucket(self.buffers.len() as u32);
        let buffer = &mut self.buffers[partition as usize];
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
        self.port.send(self.origin, self.sequence, partition, Records::new(records));
        self.sequence += 1;
    }
}
