//! Reading the store: by range of key hashes, which is what a partition is, or by key.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use rocksdb::{DB, DBPinnableSlice, DBRawIterator, DEFAULT_COLUMN_FAMILY_NAME, ReadOptions};

use super::key::{StoreKeys, end_of_range, split_store_key, store_key};
use super::{OperatorNumber, StateError};
use floodmark_base::codec::{Key, KeyHash, Record, decode};

/// A view of the store for reading; cheap to clone, and for any thread.
#[derive(Clone)]
pub struct StateReader {
    db: Arc<DB>,
    live: PathBuf,
}

impl StateReader {
    pub(super) fn new(db: Arc<DB>, live: PathBuf) -> Self {
        Self { db, live }
    }

    /// The encoded state of one key.
    ///
    /// # Errors
    /// When a block that the answer needs is damaged or cannot be read.
    pub fn get(&self, operator: OperatorNumber, hash: KeyHash, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.db.get(store_key(operator, hash, key)).map_err(|source| self.failed("read a key", source))
    }

    /// The encoded states of many keys, which must be in the order of the store, in that order.
    ///
    /// # Errors
    /// When a block that an answer needs is damaged or cannot be read.
    pub(super) fn get_many(&self, keys: &StoreKeys) -> Result<Vec<Option<DBPinnableSlice<'_>>>, StateError> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        options.fill_cache(false); // keys of one block are asked for together, and then they are in the table
        let family = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).expect("a store is opened with its one family");
        let found = self.db.batched_multi_get_cf_opt(family, keys.iter(), true, &options);
        found.into_iter().map(|found| found.map_err(|source| self.failed("read keys", source))).collect()
    }

    /// The entries of `operator` whose hash lies in `hashes`, in the order (hash, encoded key), as of now: an ingest that
    /// comes later is not seen.
    pub fn scan(&self, operator: OperatorNumber, hashes: RangeInclusive<KeyHash>) -> StateScan<'_> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        options.fill_cache(false); // a scan passes once
        options.set_readahead_size(1 << 20);
        if let Some(end) = end_of_range(operator, *hashes.end()) {
            options.set_iterate_upper_bound(end);
        }
        let mut entries = self.db.raw_iterator_opt(options);
        entries.seek(store_key(operator, *hashes.start(), b""));
        StateScan { reader: self, entries, begun: false, ended: false }
    }

    /// About how many bytes the entries of each operator take in the store's files.
    pub fn approximate_bytes(&self, operators: &[OperatorNumber]) -> Vec<u64> {
        let range = |operator: &OperatorNumber| {
            let end = end_of_range(*operator, KeyHash(u64::MAX)).unwrap_or_else(|| vec![0xff; 13]);
            (store_key(*operator, KeyHash(0), b""), end)
        };
        let ranges: Vec<(Vec<u8>, Vec<u8>)> = operators.iter().map(range).collect();
        let ranges: Vec<_> = ranges.iter().map(|(first, end)| rocksdb::Range::new(first, end)).collect();
        self.db.get_approximate_sizes(&ranges)
    }

    fn failed(&self, doing: &'static str, source: rocksdb::Error) -> StateError {
        StateError::Store { doing, directory: self.live.clone(), source }
    }
}

impl fmt::Debug for StateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateReader").field("live", &self.live).finish_non_exhaustive()
    }
}

/// A scan under way: [`StateScan::next_entry`] lends each entry without a copy; as an iterator it copies them.
pub struct StateScan<'a> {
    reader: &'a StateReader,
    entries: DBRawIterator<'a>,
    begun: bool,
    ended: bool,
}

/// A key's operator and hash, its encoded key and its encoded state.
pub(super) type StoredEntry<'a> = (OperatorNumber, KeyHash, &'a [u8], &'a [u8]);

impl StateScan<'_> {
    /// The next entry, lent until the next call; `None` at the end.
    ///
    /// # Errors
    /// When a block is damaged or cannot be read. The scan then ends: what it gave is not the whole.
    pub fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>, StateError> {
        if self.ended {
            return Ok(None);
        }
        if self.begun {
            self.entries.next();
        }
        self.begun = true;
        if !self.entries.valid() {
            self.ended = true;
            self.entries.status().map_err(|source| self.reader.failed("scan", source))?;
            return Ok(None);
        }
        let Some((key, value)) = self.entries.item() else { return Ok(None) };
        let Some((operator, hash, encoded)) = split_store_key(key) else {
            self.ended = true;
            let reason = format!("expected a store key of at least 12 bytes, found {}", key.len());
            return Err(StateError::Entry { operator: OperatorNumber(u32::MAX), hash: KeyHash(0), reason });
        };
        Ok(Some((operator, hash, encoded, value)))
    }
}

impl Iterator for StateScan<'_> {
    type Item = Result<(KeyHash, Box<[u8]>, Box<[u8]>), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_entry() {
            Ok(entry) => entry.map(|(_, hash, key, value)| Ok((hash, key.into(), value.into()))),
            Err(error) => Some(Err(error)),
        }
    }
}

/// The entries of a scan as the operator's types, ready for [`StateTable::try_load_sorted`](super::StateTable::try_load_sorted).
/// Each key is hashed again: an entry that stands under another hash than its own is damage.
///
/// # Errors
/// Each item: when the scan fails, or bytes are not an encoding of the types. Nothing comes after an error.
pub fn decode_entries<K: Key, S: Record>(
    scan: StateScan<'_>,
) -> impl Iterator<Item = Result<(KeyHash, K, S), StateError>> {
    let mut scan = scan;
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let entry = match scan.next_entry() {
            Ok(None) => return None,
            Ok(Some(entry)) => decode_entry(entry),
            Err(error) => Err(error),
        };
        failed = entry.is_err();
        Some(entry)
    })
}

pub(super) fn decode_entry<K: Key, S: Record>(
    (operator, hash, key, value): StoredEntry<'_>,
) -> Result<(KeyHash, K, S), StateError> {
    let damaged = |reason: String| StateError::Entry { operator, hash, reason };
    let found = KeyHash::of_encoded(key);
    if found != hash {
        return Err(damaged(format!("expected a key with that hash, found one with {:016x}", found.0)));
    }
    let key = decode(key).map_err(|error| damaged(format!("its key is not of the operator's key type: {error}")))?;
    Ok((hash, key, decode_state(operator, hash, value)?))
}

/// The state of an entry that was asked for by its key.
pub(super) fn decode_state<S: Record>(operator: OperatorNumber, hash: KeyHash, state: &[u8]) -> Result<S, StateError> {
    let damaged = |reason: String| StateError::Entry { operator, hash, reason };
    decode(state).map_err(|error| damaged(format!("its state is not of the operator's state type: {error}")))
}
