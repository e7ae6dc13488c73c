//! Where the entries of a sorted array begin, by ranges of their hashes.
//!
//! Key hashes are even, so ranges of equal width hold one or two entries each, and eight bits of each hash tell those apart:
//! a lookup is one look here, in a few bytes per entry that stay in the cache, and one at the right entry. That the entry
//! is nearly always the right one matters more than it seems: the processor then guesses well, and fetches the entries of
//! the next keys while it waits for this one. Hashes that are not even make a lookup slower, never wrong.

use std::ops::Range;

use floodmark_base::codec::KeyHash;

/// The directory of one sorted array.
#[derive(Debug, Default)]
pub(super) struct Directory {
    first: u64,
    /// A range of hashes is `1 << shift` wide.
    shift: u32,
    /// Where each range begins, and at the end the length of the array; empty for an empty array.
    starts: Vec<u32>,
    /// The lowest bits of each hash.
    tags: Vec<u8>,
}

/// No place: a table holds fewer entries.
pub(super) const NOWHERE: u32 = u32::MAX;

#[inline]
fn tag(hash: KeyHash) -> u8 {
    hash.0 as u8 // the lowest bits: those by which nothing else is addressed
}

impl Directory {
    /// The directory of an array whose entries have these hashes, in order.
    pub fn of(hashes: impl DoubleEndedIterator<Item = KeyHash> + ExactSizeIterator + Clone) -> Self {
        let count = hashes.len();
        let (Some(first), Some(last)) = (hashes.clone().next(), hashes.clone().next_back()) else {
            return Self::default();
        };
        let span = last.0 - first.0;
        let shift = (0..u64::BITS).find(|shift| span >> shift < count as u64).unwrap_or(u64::BITS - 1);
        let ranges = (span >> shift) as usize + 1;
        let tags = hashes.clone().map(tag).collect();
        let mut starts = Vec::with_capacity(ranges + 1);
        for (place, hash) in hashes.enumerate() {
            let range = ((hash.0 - first.0) >> shift) as usize;
            if starts.len() <= range {
                starts.resize(range + 1, place as u32); // the table asserts that every place fits
            }
        }
        starts.push(count as u32);
        Self { first: first.0, shift, starts, tags }
    }

    /// The places where an entry with this hash may be.
    #[inline]
    pub fn places(&self, hash: KeyHash) -> impl Iterator<Item = usize> + '_ {
        let range = self.range(hash);
        let (start, tag) = (range.start, tag(hash));
        self.tags[range]
            .iter()
            .enumerate()
            .filter(move |(_, found)| **found == tag)
            .map(move |(place, _)| start + place)
    }

    /// The first place where an entry with each hash may be, [`NOWHERE`] where there is none. All are looked up at once: first in the
    /// ranges, then in the tags, in loops so short that the processor waits for many of them at a time.
    pub fn first_places(&self, hashes: impl Iterator<Item = KeyHash> + Clone, places: &mut Vec<u32>) {
        places.clear();
        places.extend(hashes.clone().map(|hash| self.range(hash).start as u32)); // fits: every place of a table does
        for (place, hash) in places.iter_mut().zip(hashes) {
            let (range, tag) = (self.range(hash), tag(hash));
            let found = self.tags[range.clone()].iter().position(|found| *found == tag);
            *place = found.map_or(NOWHERE, |at| (range.start + at) as u32);
        }
    }

    #[inline]
    fn range(&self, hash: KeyHash) -> Range<usize> {
        let Some(distance) = hash.0.checked_sub(self.first) else { return 0..0 };
        let range = (distance >> self.shift) as usize;
        match self.starts.get(range..) {
            Some([start, end, ..]) => *start as usize..*end as usize,
            _ => 0..0,
        }
    }

    /// Memory in bytes.
    #[cfg(any(test, feature = "testing"))]
    pub fn memory_bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u32>() + self.tags.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_of_the_array_lies_in_its_range() {
        let arrays: [&[u64]; 6] =
            [&[], &[7], &[7, 7, 7], &[0, u64::MAX], &[5, 6, 6, 900, 901, u64::MAX], &[1, 2, 3, 4, 5]];
        for hashes in arrays {
            let directory = Directory::of(hashes.iter().map(|hash| KeyHash(*hash)));
            for (place, hash) in hashes.iter().enumerate() {
                assert!(directory.places(KeyHash(*hash)).any(|found| found == place), "{hash} of {hashes:?}");
            }
            for hash in [0, 8, 899, u64::MAX - 1, u64::MAX] {
                assert!(directory.places(KeyHash(hash)).all(|place| hashes[place] as u8 == hash as u8));
            }
        }
    }
}
