//! One entry per key, in the order in which keys were first met: what every operation by key is made of.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::Rdd;
use floodmark_base::codec::Key;
use floodmark_base::types::{Keys, as_key};

/// Entries by key, in the order in which keys were first met, and where the partitions of the left input ended among them.
pub(super) struct ByKey<K, E> {
    index: HashTable<usize>,
    keys: Keys<K>,
    hashes: Vec<u64>,
    entries: Vec<(K, E)>,
    ends: Vec<usize>,
}

impl<K: Key, E> ByKey<K, E> {
    /// No entries.
    ///
    /// # Panics
    /// When the type cannot be a key: a function of the user has made keys of it, and is blamed.
    pub fn new() -> Self {
        if let Some(problem) = as_key::<K>().problem {
            panic!("{problem}");
        }
        Self { index: HashTable::new(), keys: Keys::new(), hashes: Vec::new(), entries: Vec::new(), ends: Vec::new() }
    }

    /// The entry of a key, or the key and the place of a new one.
    pub fn entry(&mut self, key: K) -> Place<'_, K, E> {
        let Self { index, keys, hashes, entries, .. } = self;
        let (hash, key) = keys.take(key);
        let hash = index_hash(hash.0);
        let same = |&at: &usize| hashes[at] == hash && entries[at].0 == key;
        match index.entry(hash, same, |&at| hashes[at]) {
            Entry::Occupied(at) => Place::Met(&mut entries[*at.get()].1),
            Entry::Vacant(vacant) => {
                vacant.insert(entries.len());
                hashes.push(hash);
                Place::New(New { key, entries })
            }
        }
    }

    /// The entry of a key; a new key gets `new`.
    pub fn entry_or(&mut self, key: K, new: impl FnOnce() -> E) -> &mut E {
        match self.entry(key) {
            Place::Met(entry) => entry,
            Place::New(place) => place.put(new()),
        }
    }

    /// Whether the key was met.
    pub fn has(&mut self, key: &K) -> bool {
        let hash = index_hash(self.keys.hash(key).0);
        self.index.find(hash, |&at| self.hashes[at] == hash && self.entries[at].0 == *key).is_some()
    }

    /// A partition of the left input is over: keys that are new from now on stand in the next one.
    pub fn end_partition(&mut self) {
        self.ends.push(self.entries.len());
    }

    /// The entries, in the partitions of the left input; what was met after its last partition stands in that one.
    pub fn into_rdd<U>(self, finish: impl FnMut((K, E)) -> U) -> Rdd<U> {
        let Self { entries, mut ends, .. } = self;
        match ends.last_mut() {
            Some(end) => *end = entries.len(),
            // No partitions on the left, but keys on the right.
            None if !entries.is_empty() => ends.push(entries.len()),
            None => {}
        }
        let mut entries = entries.into_iter().map(finish);
        let mut start = 0;
        let partitions = ends.into_iter().map(|end| {
            let partition = entries.by_ref().take(end - start).collect();
            start = end;
            partition
        });
        Rdd::new(partitions.collect())
    }

    /// The entries, in the order in which their keys were first met.
    pub fn into_entries(self) -> impl Iterator<Item = (K, E)> {
        self.entries.into_iter()
    }
}

/// Where a key stands.
pub(super) enum Place<'a, K, E> {
    /// It was met before.
    Met(&'a mut E),
    /// It is new.
    New(New<'a, K, E>),
}

/// The place of a new key, which must be taken with [`put`](New::put).
#[must_use]
pub(super) struct New<'a, K, E> {
    key: K,
    entries: &'a mut Vec<(K, E)>,
}

impl<'a, K, E> New<'a, K, E> {
    pub fn put(self, entry: E) -> &'a mut E {
        self.entries.push((self.key, entry));
        &mut self.entries.last_mut().expect("an entry was just added").1
    }
}

/// Within a partition of keyed records the top bits of all hashes are the same, and the index takes its tags from the top.
fn index_hash(hash: u64) -> u64 {
    hash.rotate_left(32)
}
