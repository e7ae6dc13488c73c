//! The state of one operator in one partition, in memory.
//!
//! # Layout
//! `entries[..body]` is sorted by (hash, encoded key); behind it lies a tail in the order of arrival. Hashes are even, so a
//! directory of where each small range of them begins finds a key of the body with one look at the directory and one at the
//! entries; the tail has an index by hash. At the end of a batch ([`StateTable::settle`]) a tail that has outgrown a quarter
//! of the body is folded into it, which also drops vacant entries, so an insertion costs O(1) amortised and a full pass is a
//! scan of one array.
//!
//! # What an entry can be
//! | value | changed | stored | it is |
//! |---|---|---|---|
//! | yes | no | yes | clean: the store has it |
//! | yes | yes | any | changed since the last freeze |
//! | no | yes | yes | a tombstone: the next freeze tells the store |
//! | no | otherwise | | vacant: nobody needs it; it goes with the next fold, or is taken up again by its key |
//!
//! `stored` says that a store may hold the key: it was loaded, or was in an earlier freeze. So a key that comes and goes
//! between two freezes leaves no trace.
//!
//! # Invariants
//! - Every changed entry is listed in `changed`, once; only a freeze or a fold takes it off.
//! - The order seen from outside never depends on the index or on arrival (I-3).
//! - A key in the table shares no bytes with the block it came in.
//!
//! A table whose stored keys are not all in memory is [partial](partial); one that must stay small [evicts](evict).

mod entry;
mod evict;
mod partial;

use std::cmp::Ordering;
use std::ops::ControlFlow;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as IndexEntry;
use smallvec::SmallVec;

use self::entry::{Entry, Marks};
pub use self::evict::Pressure;
use super::FrozenRun;
use super::directory::{Directory, NOWHERE};
use floodmark_base::codec::{Key, KeyHash, Record, decode, encode, encode_into};

/// The place of an entry in its table, valid until the next [`StateTable::settle`] or load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// The slot at a place in `0..slots()`.
    ///
    /// # Panics
    /// When the place is beyond what a table can hold.
    #[inline]
    pub fn at(place: usize) -> Self {
        Self(u32::try_from(place).expect("a table holds fewer than 2^32 entries"))
    }

    #[inline]
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// A typed map from keys to state that knows what changed and keeps the one order.
#[derive(Debug)]
pub struct StateTable<K, S> {
    entries: Vec<Entry<K, S>>,
    /// How many entries, from the front, are in order.
    body: usize,
    /// Finds a key of the body.
    directory: Directory,
    /// Finds a key of the tail.
    tail: HashTable<u32>,
    changed: Vec<u32>,
    live: usize,
    tombstones: usize,
    /// How many of the live ones were stored before this table was; of a whole table, 0. It may lag behind what is live here.
    from_store: i64,
    limit: Option<evict::Limit>,
    /// Where the keys of a run may be, while they are looked up.
    places: Vec<u32>,
    scratch: Vec<u8>,
}

/// A tail this short is never worth a fold.
const SMALL_TAIL: usize = 1024;

/// The hash by which the tail's index is addressed. The top bits of a key hash are the same all over a partition, and the index
/// takes its tags from the top: so turn them away.
#[inline]
fn index_hash(hash: KeyHash) -> u64 {
    hash.0.rotate_left(32)
}

impl<K: Key, S: Record> StateTable<K, S> {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            body: 0,
            directory: Directory::default(),
            tail: HashTable::new(),
            changed: Vec::new(),
            live: 0,
            tombstones: 0,
            from_store: 0,
            limit: None,
            places: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Where a key is, if the table knows it (it may be there without a value).
    #[inline]
    pub fn slot(&self, hash: KeyHash, key: &K) -> Option<Slot> {
        self.find_in_body(hash, key).or_else(|| self.slot_in_tail(hash, key))
    }

    #[inline]
    fn slot_in_tail(&self, hash: KeyHash, key: &K) -> Option<Slot> {
        let entries = &self.entries;
        let found = self.tail.find(index_hash(hash), |&slot| entries[slot as usize].is_of(hash, key));
        found.map(|&slot| Slot(slot))
    }

    #[inline]
    fn find_in_body(&self, hash: KeyHash, key: &K) -> Option<Slot> {
        let found = self.directory.places(hash).find(|&place| self.entries[place].is_of(hash, key))?;
        Some(Slot(found as u32)) // fits: every place of a table does
    }

    /// Where the keys with this hash are: one nearly always, in the order of their encodings where there are more.
    pub fn slots_of(&self, hash: KeyHash) -> SmallVec<[Slot; 1]> {
        let of_hash = |&place: &usize| self.entries[place].hash == hash;
        let tail = self.tail.iter_hash(index_hash(hash)).map(|&slot| slot as usize);
        let places = self.directory.places(hash).chain(tail).filter(of_hash);
        let mut slots: SmallVec<[Slot; 1]> = places.map(Slot::at).collect();
        slots.sort_by(|one, other| order(&self.entries[one.place()], &self.entries[other.place()]));
        slots
    }

    /// Where a key is; a key that is new gets an entry without a value. The table keeps a copy of the key that shares
    /// nothing with the block the key came from.
    ///
    /// # Panics
    /// When the key does not survive encoding and decoding; key types are round-tripped when a job starts.
    #[inline]
    pub fn slot_or_vacant(&mut self, hash: KeyHash, key: &K) -> Slot {
        match self.find_in_body(hash, key) {
            Some(slot) => slot,
            None => self.in_tail_or_vacant(hash, key),
        }
    }

    /// As [`slot_or_vacant`](Self::slot_or_vacant), for a key that is not in the body.
    #[inline]
    fn in_tail_or_vacant(&mut self, hash: KeyHash, key: &K) -> Slot {
        let Self { entries, tail, scratch, .. } = self;
        let found = tail.entry(
            index_hash(hash),
            |&slot| entries[slot as usize].is_of(hash, key),
            |&slot| index_hash(entries[slot as usize].hash),
        );
        match found {
            IndexEntry::Occupied(found) => Slot(*found.get()),
            IndexEntry::Vacant(vacant) => {
                let slot = Slot::at(entries.len());
                vacant.insert(slot.0);
                let key = own(key, scratch);
                entries.push(Entry::new(hash, key, None, false));
                slot
            }
        }
    }

    /// As [`slot_or_vacant`](Self::slot_or_vacant) for each of these keys, in their order. Where the table is larger than the cache this is
    /// several times as fast as one key after the other.
    pub fn slots_or_vacant<'k>(&mut self, keys: impl Iterator<Item = (KeyHash, &'k K)> + Clone, slots: &mut Vec<Slot>) {
        let places = self.find_in_body_at_once(keys.clone());
        slots.clear();
        for (&place, (hash, key)) in places.iter().zip(keys) {
            slots.push(match self.entries.get(place as usize) {
                Some(entry) if entry.key == *key => Slot(place),
                Some(_) => self.slot_or_vacant(hash, key), // another key with this hash
                None => self.in_tail_or_vacant(hash, key),
            });
        }
        self.places = places;
    }

    /// For each of these keys the place of an entry of the body with its hash, or [`NOWHERE`] where the body has none.
    fn find_in_body_at_once<'k>(&mut self, keys: impl Iterator<Item = (KeyHash, &'k K)> + Clone) -> Vec<u32> {
        let mut places = std::mem::take(&mut self.places);
        self.directory.first_places(keys.clone().map(|(hash, _)| hash), &mut places);
        for (place, (hash, key)) in places.iter_mut().zip(keys) {
            if self.entries.get(*place as usize).is_some_and(|entry| entry.hash != hash) {
                *place = self.find_in_body(hash, key).map_or(NOWHERE, |slot| slot.0);
            }
        }
        places
    }

    /// The value in a slot.
    #[inline]
    pub fn value(&self, slot: Slot) -> Option<&S> {
        self.entries[slot.place()].value()
    }

    /// Takes the value out, for a function that wants it by value; [`StateTable::put`] must follow.
    #[inline]
    pub fn take(&mut self, slot: Slot) -> Option<S> {
        let entry = &mut self.entries[slot.place()];
        let value = entry.replace(None);
        self.live -= usize::from(value.is_some());
        self.tombstones += usize::from(value.is_some() && entry.is_tombstone());
        value
    }

    /// Puts a value in a slot; `None` removes the key. `changed` marks it for the next freeze.
    #[inline]
    pub fn put(&mut self, slot: Slot, value: Option<S>, changed: bool) {
        let entry = &mut self.entries[slot.place()];
        self.live -= usize::from(entry.has_value());
        self.tombstones -= usize::from(entry.is_tombstone());
        entry.replace(value);
        if changed && !entry.marks().changed {
            entry.marks_mut().changed = true;
            self.changed.push(slot.0);
        }
        self.live += usize::from(entry.has_value());
        self.tombstones += usize::from(entry.is_tombstone());
    }

    /// What is in a slot.
    #[inline]
    pub fn entry(&self, slot: Slot) -> (&K, KeyHash, Option<&S>) {
        let entry = &self.entries[slot.place()];
        (&entry.key, entry.hash, entry.value())
    }

    /// How many slots there are, for a pass over all of `0..slots()`; some may be without a value.
    pub fn slots(&self) -> usize {
        self.entries.len()
    }

    /// How many keys have a value.
    pub fn len(&self) -> usize {
        self.live
    }

    /// The values that changed since the last freeze.
    pub fn changed_values(&self) -> impl Iterator<Item = &S> {
        self.changed.iter().filter_map(|slot| self.entries[*slot as usize].value())
    }

    /// How many entries the next freeze looks at.
    #[cfg(test)]
    pub fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Ends a batch. When the tail and the vacant entries have outgrown a quarter of the body they are folded in; slots are
    /// invalid afterwards. Says how many entries left a table with a [limit](Self::limit).
    pub fn settle(&mut self) -> u64 {
        if self.limit.is_some() {
            return self.settle_within();
        }
        let vacant = self.entries.len() - self.live - self.tombstones;
        if self.entries.len() - self.body + vacant > tail_limit(self.body) {
            self.fold();
        }
        0
    }

    /// Visits every key that has a value, in the order (hash, encoded key), until told to stop.
    pub fn for_each_in_order(&self, mut visit: impl FnMut(&K, KeyHash, &S) -> ControlFlow<()>) {
        self.for_each_known(|entry| match entry.value() {
            Some(value) => visit(&entry.key, entry.hash, value),
            None => ControlFlow::Continue(()),
        });
    }

    /// Visits every entry, those without a value too, in the order (hash, encoded key), until told to stop.
    fn for_each_known(&self, mut visit: impl FnMut(&Entry<K, S>) -> ControlFlow<()>) {
        let (body, tail) = self.entries.split_at(self.body);
        let mut tail: Vec<&Entry<K, S>> = tail.iter().collect();
        tail.sort_unstable_by(|a, b| order(a, b));

        let (mut body, mut tail) = (body.iter().peekable(), tail.into_iter().peekable());
        loop {
            let entry = match (body.peek(), tail.peek()) {
                (Some(first), Some(second)) if order(first, second).is_gt() => tail.next(),
                (Some(_), _) => body.next(),
                (None, _) => tail.next(),
            };
            let Some(entry) = entry else { return };
            if visit(entry).is_break() {
                return;
            }
        }
    }

    /// Takes out what changed since the last freeze, sorted and encoded, removed keys as tombstones, and clears the marks.
    /// Costs as much as changed, not as much as there is. Slots stay valid.
    ///
    /// # Panics
    /// When a key's or a value's serde code fails; both types are round-tripped when a job starts.
    pub fn freeze(&mut self) -> FrozenRun {
        let mut changed: Vec<(KeyHash, u32)> =
            self.changed.drain(..).map(|slot| (self.entries[slot as usize].hash, slot)).collect();
        let entries = &mut self.entries;
        changed
            .sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| order(&entries[a.1 as usize], &entries[b.1 as usize])));

        if let Some(limit) = &mut self.limit {
            limit.freeze();
        }
        let number = self.limit.as_ref().map_or(0, evict::Limit::number);
        let mut run = FrozenRun::with_capacity(changed.len());
        for (hash, slot) in changed {
            let entry = &mut entries[slot as usize];
            if entry.has_value() || entry.marks().stored {
                run.push(
                    hash,
                    |bytes| encode_into(&entry.key, bytes).expect("a key encodes"),
                    entry
                        .value()
                        .map(|value| move |bytes: &mut Vec<u8>| encode_into(value, bytes).expect("a state encodes")),
                );
            }
            let stored = entry.has_value();
            *entry.marks_mut() = Marks { changed: false, stored, frozen: number, ..entry.marks() };
        }
        self.tombstones = 0;
        run
    }

    /// As `load_sorted`, from a source that can fail.
    ///
    /// # Errors
    /// The first error of the source; the table then holds what came before it and should be thrown away.
    ///
    /// # Panics
    /// When the table is not empty, or the entries are not in order.
    pub fn try_load_sorted<E>(&mut self, entries: impl Iterator<Item = Result<(KeyHash, K, S), E>>) -> Result<(), E> {
        assert!(self.entries.is_empty(), "a table is loaded once, when it is empty");
        let mut last = KeyHash(0);
        for entry in entries {
            let (hash, key, value) = entry?;
            assert!(last <= hash, "entries are loaded in order");
            last = hash;
            self.entries.push(Entry::new(hash, key, Some(value), true));
        }
        self.settled();
        self.live = self.body;
        Ok(())
    }

    /// All entries are in order: no tail any more.
    fn settled(&mut self) {
        assert!(u32::try_from(self.entries.len()).is_ok(), "a table holds fewer than 2^32 entries");
        self.body = self.entries.len();
        self.tail.clear();
        // What was needed for more keys than there are is given back.
        self.tail.shrink_to(tail_limit(self.body), |_| 0);
        self.changed.shrink_to(self.body + tail_limit(self.body));
        self.directory = Directory::of(self.entries.iter().map(|entry| entry.hash));
    }

    /// Memory that the table's own arrays hold, in bytes; what keys and values hold elsewhere is not counted.
    #[cfg(any(test, feature = "testing"))]
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<K, S>>()
            + self.directory.memory_bytes()
            + self.tail.allocation_size()
            + self.changed.capacity() * size_of::<u32>()
    }

    /// Brings everything into order and drops vacant entries.
    fn fold(&mut self) {
        let kept = self.live + self.tombstones;
        self.rebuild(kept + tail_limit(kept), |entry| !entry.is_vacant());
        assert_eq!(self.body, kept, "a fold keeps what is counted");
    }

    /// Brings everything into order, with room for so many entries, and drops those that `keep` does not want.
    fn rebuild(&mut self, room: usize, mut keep: impl FnMut(&mut Entry<K, S>) -> bool) {
        let mut tail: Vec<Entry<K, S>> = self.entries.drain(self.body..).collect();
        tail.sort_unstable_by(order);
        let body = std::mem::replace(&mut self.entries, Vec::with_capacity(room));
        self.changed.clear();
        let mut take = |mut entry: Entry<K, S>| {
            if keep(&mut entry) {
                if entry.marks().changed {
                    self.changed.push(self.entries.len() as u32); // fits: there are no more entries than before
                }
                self.entries.push(entry);
            }
        };
        let mut tail = tail.into_iter().peekable();
        for entry in body {
            while let Some(earlier) = tail.next_if(|other| order(other, &entry).is_lt()) {
                take(earlier);
            }
            take(entry);
        }
        tail.for_each(take);
        self.settled();
    }
}

#[cfg(test)]
impl<K: Key, S: Record> StateTable<K, S> {
    /// Folds however short the tail is.
    pub fn fold_now(&mut self) {
        self.fold();
    }

    /// Asserts what the module promises of the layout.
    pub fn check(&self) {
        assert!(self.entries[..self.body].is_sorted_by(|a, b| order(a, b).is_lt()));
        assert_eq!(self.tail.len(), self.entries.len() - self.body);
        for (place, entry) in self.entries.iter().enumerate() {
            assert_eq!(self.slot(entry.hash, &entry.key), Some(Slot::at(place)));
            assert!(self.slots_of(entry.hash).contains(&Slot::at(place)));
        }
        assert_eq!(self.live, self.entries.iter().filter(|entry| entry.has_value()).count());
        assert_eq!(self.tombstones, self.entries.iter().filter(|entry| entry.is_tombstone()).count());
        let mut listed = self.changed.clone();
        listed.sort_unstable();
        let marked = (0..).zip(&self.entries).filter(|(_, entry)| entry.marks().changed).map(|(slot, _)| slot);
        assert_eq!(listed, marked.collect::<Vec<u32>>());
    }
}

/// How long the tail may be behind a body of this length.
fn tail_limit(body: usize) -> usize {
    (body / 4).max(SMALL_TAIL)
}

/// The one order, of entries.
#[inline]
fn order<K: Key, S>(a: &Entry<K, S>, b: &Entry<K, S>) -> Ordering {
    order_of_keys((a.hash, &a.key), (b.hash, &b.key))
}

/// The one order: by hash, then by encoded key. Encoding is needed only where two keys share a hash.
#[inline]
pub(super) fn order_of_keys<K: Key>(a: (KeyHash, &K), b: (KeyHash, &K)) -> Ordering {
    let encodings = || {
        if a.1 == b.1 {
            return Ordering::Equal;
        }
        encode(a.1).expect("a key encodes").cmp(&encode(b.1).expect("a key encodes"))
    };
    a.0.cmp(&b.0).then_with(encodings)
}

/// A copy of `key` that shares no bytes with it.
fn own<K: Key>(key: &K, scratch: &mut Vec<u8>) -> K {
    if !std::mem::needs_drop::<K>() {
        return key.clone(); // whoever shares bytes lets go of them
    }
    scratch.clear();
    encode_into(key, scratch).expect("a key encodes");
    decode(scratch).expect("a key decodes from its own encoding")
}
