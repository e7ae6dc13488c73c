//! Combining: records of one key are merged as they are met.

use std::cmp::Ordering;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::dataflow::emit::Emit;
use crate::dataflow::push::Unit;
use crate::dataflow::shuffle::Keyed;
use floodmark_base::codec::{Key, encode};

/// Merges the values of equal keys; remembers the order in which keys were first met.
pub(crate) struct Combiner<K, V> {
    index: HashTable<u32>,
    entries: Vec<Keyed<K, Option<V>>>,
    /// Where the entries of the records that come next are; [`NOWHERE`] for a key that was not there.
    places: Vec<u32>,
}

/// No entry is there: a partition of a batch has fewer keys.
const NOWHERE: u32 = u32::MAX;

impl<K: Key, V> Combiner<K, V> {
    pub fn new() -> Self {
        Self { index: HashTable::new(), entries: Vec::new(), places: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Merges a run of records in, one after the other: `create` makes a key's first value of a record's, `merge` adds a record's
    /// to the one that is there.
    pub fn fold_run<R>(&mut self, run: &mut Vec<Keyed<K, R>>, create: impl Fn(R) -> V, merge: impl Fn(V, R) -> V) {
        // First where all of them are, in a loop so short that the processor waits for many entries at a time.
        let mut places = std::mem::take(&mut self.places);
        places.extend(run.iter().map(|record| self.find(record)));
        for (record, place) in run.drain(..).zip(places.drain(..)) {
            match self.entries.get_mut(place as usize) {
                Some(entry) => merge_into(entry, record.value, &merge),
                None => self.fold(record, &create, &merge),
            }
        }
        self.places = places;
    }

    #[inline]
    fn find<R>(&self, record: &Keyed<K, R>) -> u32 {
        let same = |&at: &u32| is_of(&self.entries[at as usize], record);
        self.index.find(index_hash(record.hash), same).copied().unwrap_or(NOWHERE)
    }

    /// Merges in one record.
    fn fold<R>(&mut self, record: Keyed<K, R>, create: &impl Fn(R) -> V, merge: &impl Fn(V, R) -> V) {
        let entries = &mut self.entries;
        let same = |&at: &u32| is_of(&entries[at as usize], &record);
        match self.index.entry(index_hash(record.hash), same, |&at| index_hash(entries[at as usize].hash)) {
            Entry::Occupied(at) => merge_into(&mut entries[*at.get() as usize], record.value, merge),
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

#[inline]
fn is_of<K: Eq, V, R>(entry: &Keyed<K, V>, record: &Keyed<K, R>) -> bool {
    entry.hash == record.hash && entry.key == record.key
}

#[inline]
fn merge_into<K, V, R>(entry: &mut Keyed<K, Option<V>>, value: R, merge: &impl Fn(V, R) -> V) {
    let Some(old) = entry.value.take() else { unreachable!("an entry has a value") };
    entry.value = Some(merge(old, value));
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
        for run in
            [vec![(2, "b", "1"), (1, "a", "2"), (2, "b", "3")], vec![(2, "b", "4"), (3, "c", "5"), (3, "c", "6")]]
        {
            let keyed =
                |(hash, key, value): (u64, &str, &str)| Keyed { hash, key: key.to_string(), value: value.to_string() };
            combiner.fold_run(&mut run.into_iter().map(keyed).collect(), |value| value, |a: String, b: String| a + &b);
        }
        combiner.sort();
        let merged: Vec<_> = combiner.drain().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(
            merged,
            [("a", "2"), ("b", "134"), ("c", "56")].map(|(key, value)| (key.to_string(), value.to_string()))
        );
    }

    #[test]
    fn keys_of_equal_hashes_stay_apart() {
        let mut combiner = Combiner::new();
        for _ in 0..2 {
            let mut run = ["b", "a", "b"].map(|key| Keyed { hash: 1, key: key.to_string(), value: 1_u64 }).to_vec();
            combiner.fold_run(&mut run, |one| one, |a, b| a + b);
        }
        combiner.sort();
        let merged: Vec<_> = combiner.drain().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(merged, [("a".to_string(), 2), ("b".to_string(), 4)]);
    }
}
