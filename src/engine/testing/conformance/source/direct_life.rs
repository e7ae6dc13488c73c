//! One life of a driver, as far as a direct source sees it.
#![allow(clippy::disallowed_methods)] // waits for code of the user, in real time

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::dataflow::task::Before;
use crate::source::{
    Direct, DirectSource, ErasedDirect, OfferLimits, RangeReader, ReadSummary, SourceError, TaskReader,
};
use floodmark_base::codec;
use floodmark_base::id::BatchId;

/// A range as it stands in a plan.
pub(super) type Range = Vec<u8>;

/// What reads the ranges of a source.
pub(super) type Reader<S> = Arc<dyn RangeReader<Item = <S as DirectSource>::Item, Range = <S as DirectSource>::Range>>;

/// A source with its position and its memory, used as the driver and the workers use them.
pub(super) struct Life<S: DirectSource> {
    direct: Direct<S>,
    reader: Reader<S>,
    /// Planned ranges that no position has covered yet.
    uncommitted: Vec<Range>,
    /// What the store holds of what the source remembers.
    stored: Memory,
}

/// Keys and values, as the state beside a checkpoint holds them.
type Memory = BTreeMap<Vec<u8>, Vec<u8>>;

impl<S: DirectSource> Life<S> {
    /// The first life.
    pub fn begin(source: S) -> Self {
        let reader = source.reader();
        Self { direct: Direct::new(source), reader, uncommitted: Vec::new(), stored: Memory::new() }
    }

    /// A life that goes on from a stored position, and what was remembered then.
    pub fn restored(source: S, stored: &[u8]) -> Self {
        let mut life = Self::begin(source);
        let position: Vec<u8>;
        (position, life.stored) = codec::decode(stored).expect("it was encoded here");
        let restored = life.direct.restore(Some(&position));
        restored.unwrap_or_else(|error| panic!("a stored position was not taken: {error}"));
        for (key, value) in &life.stored {
            let recalled = life.direct.recall(key, value, BatchId(0));
            recalled.unwrap_or_else(|error| panic!("what the source remembered was not taken: {error}"));
        }
        life
    }

    pub fn offer(&mut self, limits: &OfferLimits) -> Vec<Range> {
        self.direct.offer(limits).unwrap_or_else(|error| panic!("the source could not offer: {error}"))
    }

    /// Plans all that is offered.
    pub fn take(&mut self, limits: &OfferLimits) -> Vec<Range> {
        let ranges = self.offer(limits);
        self.advance(&ranges);
        ranges
    }

    /// Takes planned ranges.
    pub fn advance(&mut self, ranges: &[Range]) {
        for range in ranges {
            self.direct.advance(range).unwrap_or_else(|error| panic!("a planned range was not taken: {error}"));
        }
        if self.direct.memory_types().is_some() {
            self.uncommitted.extend_from_slice(ranges);
        }
    }

    /// What a checkpoint keeps, once all that was planned is committed.
    pub fn position(&mut self) -> Vec<u8> {
        for range in std::mem::take(&mut self.uncommitted) {
            let read = self.direct.task_reader().read_range(&range, &Before::Restored, &mut |_| {});
            let (_, receipt) = read.unwrap_or_else(|error| panic!("a planned range cannot be read: {error}"));
            let noted = self.direct.committed(&range, &receipt, BatchId(0));
            noted.unwrap_or_else(|error| panic!("a receipt was not taken: {error}"));
        }
        for (key, value) in self.direct.freeze() {
            match value {
                Some(value) => drop(self.stored.insert(key, value)),
                None => drop(self.stored.remove(&key)),
            }
        }
        let position =
            self.direct.position().unwrap_or_else(|error| panic!("the position could not be stored: {error}"));
        codec::encode(&(position, &self.stored)).expect("bytes encode")
    }

    pub fn release(&mut self, stored: &[u8]) {
        let (position, _): (Vec<u8>, Memory) = codec::decode(stored).expect("it was encoded here");
        self.direct.release(&position).unwrap_or_else(|error| panic!("input could not be released: {error}"));
    }

    pub fn reader(&self) -> Reader<S> {
        Arc::clone(&self.reader)
    }

    pub fn read(&self, range: &Range) -> Result<(Vec<S::Item>, ReadSummary), SourceError> {
        read(&*self.reader, range)
    }

    /// The records of ranges that must be readable.
    pub fn read_all(&self, ranges: &[Range]) -> Vec<S::Item> {
        read_all(&*self.reader, ranges)
    }
}

type AnyReader<T, R> = dyn RangeReader<Item = T, Range = R>;

fn read<T, R: serde::de::DeserializeOwned>(
    reader: &AnyReader<T, R>,
    range: &Range,
) -> Result<(Vec<T>, ReadSummary), SourceError> {
    let range: R = codec::decode(range).unwrap_or_else(|error| panic!("a planned range cannot be decoded: {error}"));
    let mut records = Vec::new();
    let summary = reader.read(&range, &mut |record| records.push(record))?;
    Ok((records, summary))
}

/// The records of ranges, by a reader that waits with its first record until `readers` have one, or until it is clear that they
/// read one after the other.
pub(super) fn read_all_together<T, R: serde::de::DeserializeOwned>(
    reader: &AnyReader<T, R>,
    ranges: &[Range],
    begun: &AtomicUsize,
    readers: usize,
) -> Vec<T> {
    let mut records = Vec::new();
    for range in ranges {
        let range: R = codec::decode(range).unwrap_or_else(|error| panic!("a planned range: {error}"));
        let read = reader.read(&range, &mut |record| {
            if records.is_empty() {
                begun.fetch_add(1, Ordering::SeqCst);
                for _ in 0..200 {
                    if begun.load(Ordering::SeqCst) >= readers {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            records.push(record);
        });
        read.unwrap_or_else(|error| panic!("a planned range cannot be read: {error}"));
    }
    records
}

pub(super) fn read_all<T, R: serde::de::DeserializeOwned>(reader: &AnyReader<T, R>, ranges: &[Range]) -> Vec<T> {
    let read = |range| read(reader, range).unwrap_or_else(|error| panic!("a planned range cannot be read: {error}")).0;
    ranges.iter().flat_map(read).collect()
}
