//! A table that holds a part of its keys: what it does not know, the store may have.
//!
//! # Invariants
//! - A key that the table knows, with or without a value, is as the table says; only for a key that it does not know is the
//!   store asked. So whoever takes up a key asks first which ones are [missing](StateTable::missing).
//! - Before a table that is to be [completed](StateTable::complete) is whole, nothing of it is frozen: the store holds what it
//!   held, and every entry that was taken out of it can be told from one that is new. A table with a limit is never completed.

use std::ops::ControlFlow;

use super::{Entry, Slot, StateTable, index_hash};
use floodmark_base::codec::{Key, KeyHash, Record, encode_into};

impl<K: Key, S: Record> StateTable<K, S> {
    /// Of these keys, those that the table does not know, each as often as it is given; and how many it knows, which are
    /// [touched](Self::touch).
    pub fn missing<'k>(
        &mut self,
        keys: impl Iterator<Item = (KeyHash, &'k K)> + Clone,
    ) -> (Vec<(KeyHash, &'k K)>, usize) {
        let places = self.find_in_body_at_once(keys.clone());
        let mut missing = Vec::new();
        for (&place, (hash, key)) in places.iter().zip(keys) {
            let slot = match self.entries.get(place as usize) {
                Some(entry) if entry.key == *key => Some(Slot(place)),
                Some(_) => self.slot(hash, key), // another key with this hash
                None => self.slot_in_tail(hash, key),
            };
            match slot {
                Some(slot) => self.touch(slot),
                None => missing.push((hash, key)),
            }
        }
        let known = places.len() - missing.len();
        self.places = places;
        (missing, known)
    }

    /// Takes up a key with the state that the store has of it: clean, and counted as the store's.
    ///
    /// # Panics
    /// When the table knows the key: it then knows better than the store.
    pub fn take_up(&mut self, hash: KeyHash, key: &K, value: S) {
        let slot = self.in_tail_or_vacant(hash, key);
        let entry = &mut self.entries[slot.place()];
        assert!(entry.is_new(), "only an unknown key is taken up");
        entry.replace(Some(value));
        entry.marks_mut().stored = true;
        self.live += 1;
        self.from_store += 1;
    }

    /// Takes up a key that the store has, with what became of its state: changed.
    ///
    /// # Panics
    /// When the table knows the key.
    pub fn revise(&mut self, hash: KeyHash, key: &K, state: Option<S>) {
        let slot = self.slot_or_vacant(hash, key);
        let entry = &mut self.entries[slot.place()];
        assert!(entry.is_new(), "only an unknown key is taken up");
        entry.marks_mut().stored = true;
        self.from_store += 1;
        self.put(slot, state, true);
    }

    /// How many more keys have a value than were in the store; fewer where it is negative.
    pub fn grown_by(&self) -> i64 {
        self.len() as i64 - self.from_store // fits: a table holds fewer than 2^32 entries
    }

    /// Makes a partial table whole: `whole` is what the store held, all of it. What was changed here wins, removals too. Costs as
    /// much as was touched, whatever there is. Slots are invalid afterwards.
    pub fn complete(&mut self, whole: Self) {
        let partial = std::mem::replace(self, whole);
        self.from_store = self.len() as i64;
        for entry in partial.entries {
            // What is clean is in the whole; what is vacant was never there, and nobody needs it.
            if entry.marks().changed && !entry.is_vacant() {
                self.overrule(entry);
            }
        }
    }

    /// Puts a changed entry of another table in the place of the one that is here.
    fn overrule(&mut self, mut entry: Entry<K, S>) {
        let slot = self.find_in_body(entry.hash, &entry.key).unwrap_or_else(|| {
            let slot = Slot::at(self.entries.len());
            let Self { entries, tail, .. } = self;
            tail.insert_unique(index_hash(entry.hash), slot.0, |&slot| index_hash(entries[slot as usize].hash));
            entries.push(Entry::new(entry.hash, entry.key.clone(), None, false));
            slot
        });
        let known = &mut self.entries[slot.place()];
        self.live -= usize::from(known.has_value());
        known.replace(entry.replace(None));
        known.marks_mut().stored |= entry.marks().stored;
        known.marks_mut().changed = true;
        self.changed.push(slot.0);
        self.live += usize::from(known.has_value());
        self.tombstones += usize::from(known.is_tombstone());
    }

    /// Visits every key that the table knows with its encoding, in the order (hash, encoded key): the value is `None` where the
    /// key has none.
    pub fn for_each_known_encoded<E>(
        &self,
        mut visit: impl FnMut(KeyHash, &[u8], Option<&S>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut bytes, mut outcome) = (Vec::new(), Ok(()));
        self.for_each_known(|entry| {
            bytes.clear();
            encode_into(&entry.key, &mut bytes).expect("a key encodes");
            outcome = visit(entry.hash, &bytes, entry.value());
            if outcome.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        outcome
    }
}
