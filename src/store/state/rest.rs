//! What a partial table lacks: the partition as the store holds it.

use std::iter::Peekable;
use std::ops::{ControlFlow, RangeInclusive};
use std::panic::resume_unwind;
use std::sync::mpsc::Receiver;

use super::key::StoreKeys;
use super::loader::unread;
use super::reader::{StateScan, decode_entries, decode_entry, decode_state};
use super::table::order_of_keys;
use super::{OperatorNumber, StateError, StateReader, StateTable};
use floodmark_base::codec::{Key, KeyHash, Record, decode, encode_into};
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::Uid;

/// Keys that are looked up in the store at once.
const LOOK_UP: usize = 1024;

/// Stored state could not be read in the middle of a batch. It unwinds to the worker's loop as the payload of a panic, so that
/// no function of the user runs on a state that is not known; the dataflow is then never stepped again.
pub struct StateFailure(pub Error);

impl StateFailure {
    fn raise(uid: &Uid, error: &StateError) -> ! {
        resume_unwind(Box::new(Self(unread(uid, error))))
    }
}

/// How a table over the store did, in keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Keys of records that were in memory.
    pub hits: u64,
    /// Keys that were looked up in the store.
    pub misses: u64,
    /// Keys that left memory.
    pub evictions: u64,
}

impl CacheCounts {
    pub fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.evictions += other.evictions;
    }
}

/// What became of a state that was only in the store: `None` where it stays as it is.
pub type Revised<S> = Option<Option<S>>;

/// Visits a key, as hash and encoded, with its state.
type Visit<'v, S> = dyn FnMut(KeyHash, &[u8], &S) -> Result<(), Error> + 'v;

/// The store's entries of one operator in one partition, and where they come from in the background.
pub struct Rest<K, S> {
    uid: Uid,
    reader: StateReader,
    operator: OperatorNumber,
    hashes: RangeInclusive<KeyHash>,
    /// There is none where the table stays partial.
    loaded: Option<Receiver<StateTable<K, S>>>,
}

impl<K: Key, S: Record> Rest<K, S> {
    pub fn new(
        uid: Uid,
        reader: StateReader,
        operator: OperatorNumber,
        hashes: RangeInclusive<KeyHash>,
        loaded: Option<Receiver<StateTable<K, S>>>,
    ) -> Self {
        Self { uid, reader, operator, hashes, loaded }
    }

    /// Brings the states of these keys into the table, as far as it does not know them and the store has them. Unwinds with a
    /// [`StateFailure`] when the store cannot be read.
    pub fn look_up<'k>(
        &self,
        table: &mut StateTable<K, S>,
        keys: impl Iterator<Item = (KeyHash, &'k K)> + Clone,
        counts: &mut CacheCounts,
    ) {
        let (mut missing, known) = table.missing(keys);
        counts.hits += known as u64;
        missing.sort_unstable_by(|one, other| order_of_keys(*one, *other));
        missing.dedup_by(|later, earlier| later == earlier);
        counts.misses += missing.len() as u64;
        table.make_room(missing.len());
        let mut wanted = StoreKeys::default();
        for keys in missing.chunks(LOOK_UP) {
            wanted.clear();
            for (hash, key) in keys {
                wanted.push(self.operator, *hash, |bytes| encode_into(key, bytes).expect("a key encodes"));
            }
            let found = self.reader.get_many(&wanted);
            let found = found.unwrap_or_else(|error| StateFailure::raise(&self.uid, &error));
            for ((hash, key), state) in keys.iter().zip(found) {
                if let Some(state) = state {
                    let state = decode_state(self.operator, *hash, &state)
                        .unwrap_or_else(|error| StateFailure::raise(&self.uid, &error));
                    table.take_up(*hash, key, state);
                }
            }
        }
    }

    /// Whether the table is to become whole.
    pub fn is_loading(&self) -> bool {
        self.loaded.is_some()
    }

    /// Returns the whole partition if the background has loaded it; with `wait`, blocks until it has.
    ///
    /// A background load that ended early leaves the table partial: the keys that it lacks are still looked up. The load itself
    /// reports why it ended.
    ///
    /// # Errors
    /// With `wait`, when the background load ended without this partition.
    pub fn loaded(&self, wait: bool) -> Result<Option<StateTable<K, S>>, Error> {
        let Some(loaded) = &self.loaded else { return Ok(None) };
        if wait {
            return loaded.recv().map(Some).map_err(|_| self.abandoned());
        }
        Ok(loaded.try_recv().ok())
    }

    /// Visits what the store has and the table does not know; what becomes something else is put into the table.
    pub fn revise(&self, table: &mut StateTable<K, S>, mut visit: impl FnMut(KeyHash, &K, S) -> Revised<S>) {
        let mut revised: Vec<(KeyHash, K, Option<S>)> = Vec::new();
        for entry in decode_entries::<K, S>(self.reader.scan(self.operator, self.hashes.clone())) {
            let (hash, key, state) = entry.unwrap_or_else(|error| StateFailure::raise(&self.uid, &error));
            if table.slot(hash, &key).is_none()
                && let Some(new) = visit(hash, &key, state)
            {
                revised.push((hash, key, new));
            }
        }
        table.make_room(revised.len());
        for (hash, key, state) in revised {
            table.revise(hash, &key, state);
        }
    }

    /// Visits every key of the partition that has a state, in the order (hash, encoded key), until told to stop.
    pub fn visit_in_order(&self, table: &StateTable<K, S>, mut visit: impl FnMut(&K, &S) -> ControlFlow<()>) {
        let mut goes_on = true;
        let scanned = self.scan_with(table, &mut |_, key, state| {
            if goes_on {
                let key = decode(key).expect("a key decodes from its own encoding");
                goes_on = visit(&key, state).is_continue();
            }
            Ok(())
        });
        if let Err(error) = scanned {
            resume_unwind(Box::new(StateFailure(error)));
        }
    }

    fn abandoned(&self) -> Error {
        Error::new(ErrorKind::Environment, format!("the background load of operator \"{}\" has ended early", self.uid))
    }

    /// The state of a key that the table does not know.
    ///
    /// # Errors
    /// When the store is damaged or cannot be read.
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Result<Option<S>, Error> {
        let mut keys = StoreKeys::default();
        keys.push(self.operator, hash, |bytes| bytes.extend_from_slice(key));
        let found = self.reader.get_many(&keys).map_err(|error| unread(&self.uid, &error))?.remove(0);
        found.map(|state| self.decoded(hash, key, &state)).transpose()
    }

    /// Visits every key of the partition with its encoding, in the order (hash, encoded key): the table's word where it knows the
    /// key, the store's where it does not.
    ///
    /// # Errors
    /// When the store is damaged or cannot be read, and those of `visit`, which end the visit.
    pub fn scan_with(&self, table: &StateTable<K, S>, visit: &mut Visit<'_, S>) -> Result<(), Error> {
        let mut stored = self.reader.scan(self.operator, self.hashes.clone()).peekable();
        table.for_each_known_encoded(|hash, key, state| {
            self.visit_before(&mut stored, Some((hash, key)), visit)?;
            state.map_or(Ok(()), |state| visit(hash, key, state))
        })?;
        self.visit_before(&mut stored, None, visit)
    }

    /// Visits what the store has before a key that the table knows, and passes over that key; or all that is left.
    fn visit_before(
        &self,
        stored: &mut Peekable<StateScan<'_>>,
        known: Option<(KeyHash, &[u8])>,
        visit: &mut Visit<'_, S>,
    ) -> Result<(), Error> {
        while let Some(entry) = stored.next_if(|entry| match (entry, known) {
            (Ok((hash, key, _)), Some(known)) => (*hash, &**key) <= known,
            _ => true,
        }) {
            let (hash, key, state) = entry.map_err(|error| unread(&self.uid, &error))?;
            if known != Some((hash, &*key)) {
                visit(hash, &key, &self.decoded(hash, &key, &state)?)?;
            }
        }
        Ok(())
    }

    fn decoded(&self, hash: KeyHash, key: &[u8], state: &[u8]) -> Result<S, Error> {
        let entry = decode_entry::<K, S>((self.operator, hash, key, state));
        entry.map(|(_, _, state)| state).map_err(|error| unread(&self.uid, &error))
    }
}
