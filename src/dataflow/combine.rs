//! Combining: records of one key are merged as they are met.

use std::cmp::Ordering;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::codec::{Key, encode};
use crate::dataflow::emit::Emit;
use crate::dataflow::push::Unit;
use crate::dataflow::shuffle::Keyed;

/// Merges the values of equal keys; remembers the order in which keys were first met.
pub(crate) struct Combiner<K, V> {
    index: HashTable<u32>,
    entries: Vec<Keyed<K, Option<V>>>,
}

impl<K: Key, V> Combiner<K, V> {
    pub fn new() -> Self {
        Self { index: HashTable::new(), entries: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Merges one record in.
    #[inline]
    pub fn add(&mut self, record: Keyed<K, V>, combine: &impl Fn(V, V) -> V) {
        self.fold(record, |value| value, combine);
    }

    /// Merges in one record whose value is of another type: `create` makes the key's first value of it, `merge` adds it to the
    /// one that is there.
    #[inline]
    pub fn fold<R>(&mut self, record: Keyed<K, R>, create: impl FnOnce(R) -> V, merge: impl FnOnce(V, R) -> V) {
        let entries = &mut self.entries;
        let same = |&at: &u32| {
            let entry = &entries[at as usize];
            entry.hash == record.hash && entry.key == record.key
        };
        match self.index.entry(index_hash(record.hash), same, |&at| index_hash(entries[at as usize].hash)) {
            Entry::Occupied(at) => {
                let value = &mut entries[*at.get() as usize].value;
                let merged =
                    value.take().map_or_else(|| unreachable!("an entry has a value"), |old| merge(old, record.value));
                *value = Some(merged);
            }
            Entry::Vacant(place) => {
                let at = u32::try_from(entries.len()).expect("a partition of a batch has fewer than four billion keys");
                place.insert(at);
                entries.push(Keyed { hash: record.hash, key: record.key, value: Some(create(record.value)) });
            }
        }
    }

    /// Takes everything out, in the order in which keys were first met.
    pub fn drain(&mut self) -> impl Iterator<Item = Keyed<K, V>> + '_ {
        self.index.clear();
        self.entries.drain(..).map(|entry| Keyed {
            hash: entry.hash,
            key: entry.key,
            value: entry.value.expect("an entry has a value"),
        })
    }

    /// Sorts by (hash, encoded key), the order in which keyed output leaves (I-3).
    pub fn sort(&mut self) {
        self.entries.sort_unstable_by(compare_keys);
    }

    /// Puts everything out as one unit, in the order in which keyed output leaves.
    pub fn put_out(&mut self, unit: &Unit, emit: &mut Emit<(K, V)>) {
        self.sort();
        emit.begin(unit);
        for record in self.drain() {
            emit.emit((record.key, record.value));
        }
        emit.end();
    }
}

/// The order by (hash, encoded key), in which keyed output leaves (I-3).
#[inline]
pub(crate) fn compare_keys<K: Key, V>(a: &Keyed<K, V>, b: &Keyed<K, V>) -> Ordering {
    a.hash.cmp(&b.hash).then_with(|| if a.key == b.key { Ordering::Equal } else { compare_encoded(&a.key, &b.key) })
}

/// The hash by which the index is addressed: within a partition the top bits of all key hashes are the same, and the index
/// takes its tags from the top.
#[inline]
fn index_hash(hash: u64) -> u64 {
    hash.rotate_left(32)
}

/// The order of two keys whose hashes are equal.
#[cold]
fn compare_encoded<K: Key>(a: &K, b: &K) -> Ordering {
    encode(a).expect("a key encodes").cmp(&encode(b).expect("a key encodes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_merged_in_the_order_in_which_they_came() {
        let mut combiner = Combiner::new();
        for (hash, key, value) in [(2, "b", "1"), (1, "a", "2"), (2, "b", "3")] {
            combiner
                .add(Keyed { hash, key: key.to_string(), value: value.to_string() }, &|a: String, b: String| a + &b);
        }
        combiner.sort();
        let merged: Vec<_> = combiner.drain().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(merged, [("a".to_string(), "2".to_string()), ("b".to_string(), "13".to_string())]);
    }

    #[test]
    fn keys_of_equal_hashes_stay_apart() {
        let mut combiner = Combiner::new();
        for key in ["b", "a", "b"] {
            combiner.add(Keyed { hash: 1, key: key.to_string(), value: 1_u64 }, &|a, b| a + b);
        }
        combiner.sort();
        let merged: Vec<_> = combiner.drain().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(merged, [("a".to_string(), 1), ("b".to_string(), 2)]);
    }
}
