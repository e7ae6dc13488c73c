//! The entries of an operator in a checkpoint, one after the other, around what is damaged.

use serde::Serialize;

use super::checkpoints::Opened;
use super::failure::Failure;
use super::location::Store;
use super::page::count;
use floodmark_base::codec::KeyHash;
use floodmark_store::state::view::CheckpointView;
use floodmark_store::state::{OperatorNumber, StateError, StateScan};

/// Places in one operator after which nothing more is tried.
const MOST_HOLES: usize = 1_000;

/// A scan under way; holds one entry in memory.
pub(crate) struct Entries<'v> {
    view: &'v CheckpointView,
    operator: OperatorNumber,
    scan: StateScan<'v>,
    /// The present entry.
    pub hash: KeyHash,
    pub key: Vec<u8>,
    pub state: Vec<u8>,
    /// What could not be read.
    pub holes: Vec<Hole>,
    error: Option<StateError>,
    read: u64,
}

/// Key hashes between which entries could not be read, as 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Hole {
    /// The hash of the last entry before it.
    pub after_hash: String,
    /// From where on it went on; `None` where nothing more could be read.
    pub before_hash: Option<String>,
}

impl<'v> Entries<'v> {
    pub fn of(view: &'v CheckpointView, operator: OperatorNumber) -> Self {
        let scan = view.reader().scan(operator, KeyHash(0)..=KeyHash(u64::MAX));
        let (key, state, holes) = (Vec::new(), Vec::new(), Vec::new());
        Self { view, operator, scan, hash: KeyHash(0), key, state, holes, error: None, read: 0 }
    }

    /// Goes to the next entry that can be read; `false` at the end.
    pub fn advance(&mut self) -> bool {
        loop {
            let error = match self.scan.next_entry() {
                Ok(None) => return false,
                Ok(Some((operator, hash, key, state))) if KeyHash::of_encoded(key) == hash => {
                    debug_assert_eq!(operator, self.operator);
                    self.key.clear();
                    self.key.extend_from_slice(key);
                    self.state.clear();
                    self.state.extend_from_slice(state);
                    self.hash = hash;
                    self.read += 1;
                    return true;
                }
                Ok(Some((operator, hash, key, _))) => {
                    let found = KeyHash::of_encoded(key).0;
                    let reason = format!("expected a key with that hash, found one with {found:016x}");
                    let error = StateError::Entry { operator, hash, reason };
                    self.note(hash, Some(hash));
                    self.error.get_or_insert(error);
                    continue;
                }
                Err(error) => error,
            };
            self.error.get_or_insert(error);
            let again = self.view.readable_after(self.operator, self.hash);
            self.note(self.hash, again);
            match again.filter(|_| self.holes.len() < MOST_HOLES) {
                None => return false,
                Some(again) => {
                    self.hash = again;
                    self.scan = self.view.reader().scan(self.operator, again..=KeyHash(u64::MAX));
                }
            }
        }
    }

    fn note(&mut self, after: KeyHash, before: Option<KeyHash>) {
        let hex = |hash: KeyHash| format!("{:016x}", hash.0);
        self.holes.push(Hole { after_hash: hex(after), before_hash: before.map(hex) });
    }

    /// The failure that the damage on the way is, where there was any; `expected` entries there should have been.
    pub fn damage(&self, store: &Store, opened: &Opened, uid: &str, expected: u64) -> Option<Failure> {
        let error = self.error.as_ref();
        if error.is_none() && opened.view.damage().is_none() {
            return None;
        }
        let told = match expected.saturating_sub(self.read) {
            0 => format!("all {} keys of \"{uid}\" could be read", count(self.read)),
            missing => format!("{} of {} keys of \"{uid}\" could not be read", count(missing), count(expected)),
        };
        Some(opened.damaged(store, told, error))
    }
}
