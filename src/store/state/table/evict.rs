//! A table within a budget: a write-back cache over the store.
//!
//! # What may leave
//! Clean entries whose last freeze the store has taken in. What changed, and what was frozen and is still on its way into the store,
//! stays: a key that the table does not know is in the store as it was last put, or was never there. So what is read never
//! depends on what left (I-3).
//!
//! # Which of them leave
//! Those that no record has touched since the last eviction; where these are too many, or too few, a part of them or of the
//! others, by bits of the hash that differ each time. An eviction frees a quarter of the room and costs one pass over the
//! table, so each key that comes in pays for about four entries.

use super::{Entry, Slot, StateTable, tail_limit};
use floodmark_base::codec::{Key, Record};

/// Of a table that is full, this part stays.
const STAYS: (usize, usize) = (3, 4);

/// What a table within a budget wants of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    #[default]
    None,
    /// A checkpoint, beside the batches.
    Pressed,
    /// A checkpoint before the next batch.
    Full,
}

/// What keeps a table within its budget.
#[derive(Debug)]
pub(super) struct Limit {
    /// The most entries.
    most: usize,
    /// The number of the newest freeze, as far as entries remember it.
    freezes: u8,
    /// Whether that freeze is still on its way into the store.
    is_open: bool,
    evictions: u64,
}

impl Limit {
    /// Marks an entry as frozen.
    #[inline]
    pub fn number(&self) -> u8 {
        self.freezes
    }

    /// A freeze begins.
    pub fn freeze(&mut self) {
        self.freezes = self.freezes.wrapping_add(1);
        self.is_open = true;
    }

    /// Whether the store may lack what the table knows of a key that did not change. A number that came round says yes too often, which
    /// only keeps an entry longer.
    fn holds<K, S>(&self, entry: &Entry<K, S>) -> bool {
        self.is_open && entry.marks().frozen == self.freezes
    }
}

impl<K: Key, S: Record> StateTable<K, S> {
    /// Keeps the table at `most` entries from now on, but for what changed and what a batch touches.
    pub fn limit(&mut self, most: usize) {
        self.limit = Some(Limit { most: most.max(1), freezes: 0, is_open: false, evictions: 0 });
    }

    /// As [`limit`](Self::limit), by the bytes that the table may take: its arrays, which are made anew in an eviction while the old ones
    /// are there, and what keys and states hold elsewhere, as far as their encoding tells.
    pub fn limit_bytes(&mut self, bytes: u64) {
        /// The directory's part of an entry, and the room that the entries have ahead.
        const BESIDE: usize = 10 + size_of::<usize>();
        /// What an allocation takes beyond what is asked for, and a guess at what is.
        const ELSEWHERE: usize = 48;
        let owns = if std::mem::needs_drop::<(K, S)>() { ELSEWHERE } else { 0 };
        let entry = size_of::<Entry<K, S>>() * 9 / 8 + BESIDE + owns;
        self.limit((bytes / 4 * 3) as usize / entry);
    }

    /// How much of the room is taken by what changed, and so cannot leave; its frozen copy takes memory, too.
    pub fn pressure(&self) -> Pressure {
        let Some(limit) = &self.limit else { return Pressure::None };
        match self.changed.len() {
            changed if changed > limit.most / 4 => Pressure::Full,
            changed if changed > limit.most / 8 => Pressure::Pressed,
            _ => Pressure::None,
        }
    }

    /// The store has taken in what was frozen last.
    pub fn confirm(&mut self) {
        if let Some(limit) = &mut self.limit {
            limit.is_open = false;
        }
    }

    /// Notes that a record touches this key.
    #[inline]
    pub(super) fn touch(&mut self, slot: Slot) {
        self.entries[slot.place()].marks_mut().recent = true;
    }

    /// Makes room for so many keys, and no more: a vector that doubles would take twice the budget.
    pub fn make_room(&mut self, keys: usize) {
        if self.limit.is_some() {
            self.entries.reserve_exact(keys);
        }
    }

    /// As [`settle`](Self::settle) for a table with a limit: says how many entries left.
    pub(super) fn settle_within(&mut self) -> u64 {
        let Some(limit) = self.limit.take() else { return 0 };
        let (length, full) = (self.entries.len(), self.entries.len() > limit.most);
        if !full && length - self.body <= tail_limit(self.body) {
            self.limit = Some(limit);
            return 0;
        }
        let excess = if full { length - limit.most / STAYS.1 * STAYS.0 } else { 0 };
        let choice = Choice::of(&self.entries, &limit, excess);
        let mut left = 0;
        let room = (length - excess).max(limit.most + limit.most / 8);
        self.rebuild(room, |entry| {
            let leaves = !entry.marks().changed && !limit.holds(entry) && (!entry.has_value() || choice.takes(entry));
            left += usize::from(leaves && entry.has_value());
            entry.marks_mut().recent &= excess == 0;
            !leaves
        });
        self.live -= left;
        self.from_store -= left as i64; // fits: a table holds fewer than 2^32 entries
        self.limit = Some(Limit { evictions: limit.evictions + u64::from(full), ..limit });
        left as u64
    }
}

/// Which clean entries leave in one eviction: a part of those that were not touched, a part of the others.
struct Choice {
    idle: u64,
    recent: u64,
    salt: u64,
}

impl Choice {
    fn of<K, S>(entries: &[Entry<K, S>], limit: &Limit, excess: usize) -> Self {
        let (mut idle, mut recent) = (0_usize, 0_usize);
        if excess > 0 {
            let clean = |entry: &&Entry<K, S>| entry.has_value() && !entry.marks().changed && !limit.holds(entry);
            for entry in entries.iter().filter(clean) {
                *(if entry.marks().recent { &mut recent } else { &mut idle }) += 1;
            }
        }
        let part = |wanted: usize, of: usize| -> u64 {
            if wanted >= of { u64::MAX } else { (wanted as u128 * u128::from(u64::MAX) / of as u128) as u64 }
        };
        // With nobody of a kind there is nobody to take; with nobody wanted neither.
        let of_idle = if excess == 0 { 0 } else { part(excess, idle) };
        let of_recent = if excess <= idle { 0 } else { part(excess - idle, recent) };
        Self { idle: of_idle, recent: of_recent, salt: limit.evictions.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    fn takes<K, S>(&self, entry: &Entry<K, S>) -> bool {
        let part = if entry.marks().recent { self.recent } else { self.idle };
        let drawn = (entry.hash.0 ^ self.salt).wrapping_mul(0xd6e8_feb8_6659_fd93);
        part > 0 && drawn.rotate_left(32).wrapping_mul(0xd6e8_feb8_6659_fd93) <= part
    }
}
