//! Loading: from the store of the chosen checkpoint into an operator's tables, migrated where the program says so.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::channel;

use crate::state::pace::Pace;
use crate::state::spec::StateSpec;
use crate::state::{LoadTasks, OperatorNumber, Rest, Slot, StateError, StateReader, StateTable, decode_entries};
use floodmark_base::codec::{Key, KeyHash, Record, decode, encode};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::Uid;
use floodmark_base::types::Keys;
use floodmark_base::user_code;

/// What a checkpoint holds of one operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredOperator {
    pub number: OperatorNumber,
    pub version: u32,
    /// How many keys it has in the checkpoint from which this life began.
    pub entries: u64,
}

/// Entries that a background load reads between two looks at its pace.
const PIECE: usize = 4096;

/// Gives every operator the state that the checkpoint holds of it. Cheap to clone.
#[derive(Clone)]
pub struct StateLoader {
    reader: StateReader,
    stored: Arc<HashMap<Uid, StoredOperator>>,
    /// Where tables may begin partial: what is to be read in the background.
    background: Option<LoadTasks>,
    /// The bytes that each table may take.
    table_bytes: Option<u64>,
}

impl StateLoader {
    /// `stored` are the operators that the checkpoint holds; others start empty.
    pub fn new(reader: StateReader, stored: HashMap<Uid, StoredOperator>) -> Self {
        Self { reader, stored: Arc::new(stored), background: None, table_bytes: None }
    }

    /// Lets operators that can do so begin without their state; `tasks` gathers what they begin without.
    #[must_use]
    pub fn with_background(mut self, tasks: LoadTasks) -> Self {
        self.background = Some(tasks);
        self
    }

    /// Keeps each table of operators that can do so within so many bytes; these are never loaded whole.
    #[must_use]
    pub fn with_limit(mut self, table_bytes: Option<u64>) -> Self {
        self.table_bytes = table_bytes;
        self
    }

    /// Whether tables are kept within a limit.
    pub fn has_limit(&self) -> bool {
        self.table_bytes.is_some()
    }

    /// An empty table, within the limit.
    pub fn empty_table<K: Key, S: Record>(&self) -> StateTable<K, S> {
        let mut table = StateTable::new();
        if let Some(bytes) = self.table_bytes {
            table.limit_bytes(bytes);
        }
        table
    }

    /// How many keys the checkpoint has of an operator whose tables may begin partial; `None` where they may not: what is to be
    /// migrated is read at once, since every entry of it changes.
    pub fn begins_partial<K, S>(&self, spec: &StateSpec<K, S>) -> Option<u64> {
        if self.background.is_none() && self.table_bytes.is_none() {
            return None;
        }
        self.stored.get(&spec.uid).filter(|stored| stored.version == spec.version).map(|stored| stored.entries)
    }

    /// What a table lacks that begins empty. Without a limit the background reads it.
    ///
    /// # Panics
    /// When the operator's tables may not [begin partial](Self::begins_partial).
    pub fn rest<K: Key, S: Record>(&self, spec: &StateSpec<K, S>, partition: u32, partitions: u32) -> Rest<K, S> {
        let (uid, number, hashes) = (&spec.uid, self.stored[&spec.uid].number, hashes_of(partition, partitions));
        let of = |loaded| Rest::new(uid.clone(), self.reader.clone(), number, hashes.clone(), loaded);
        if self.table_bytes.is_some() {
            return of(None);
        }
        let tasks = self.background.as_ref().expect("asked before");
        let (hand_over, loaded) = channel();
        let rest = of(Some(loaded));
        let (reader, uid, hashes) = (self.reader.clone(), uid.clone(), hashes.clone());
        tasks.add(Box::new(move |pace: &Pace| {
            let mut stopped = false;
            let mut at = 0;
            let entries = decode_entries::<K, S>(reader.scan(number, hashes)).take_while(|_| {
                at += 1;
                stopped = at % PIECE == 0 && !pace.step();
                !stopped
            });
            let mut table = StateTable::new();
            let whose = format_args!("operator \"{uid}\", while its stored state was decoded,");
            user_code::call(whose, || table.try_load_sorted(entries))?.map_err(|error| unread(&uid, &error))?;
            if !stopped {
                // Whoever waited for it may be gone.
                drop(hand_over.send(table));
            }
            Ok(())
        }));
        rest
    }

    /// Checks that the stored keys of a partition are in the form in which [`Keys`] takes keys in. A key in another form, of an older
    /// build, would never be found again, and stand beside the one that equals it. Reads nothing where a type of keys has one form only.
    ///
    /// # Errors
    /// `Incompatible`, with the key; or when the store is damaged or cannot be read.
    pub fn check_keys<K: Key, S>(&self, spec: &StateSpec<K, S>, partition: u32, partitions: u32) -> Result<()> {
        let (keys, Some(stored)) = (Keys::<K>::new(), self.stored.get(&spec.uid)) else { return Ok(()) };
        if keys.have_one_form() {
            return Ok(());
        }
        let mut scan = self.reader.scan(stored.number, hashes_of(partition, partitions));
        while let Some((_, _, encoded, _)) = scan.next_entry().map_err(|error| unread(&spec.uid, &error))? {
            let key = decode::<K>(encoded).map_err(|error| cannot_be_loaded(&spec.uid, ErrorKind::Damaged, &error))?;
            if !keys.is_in_form(&key, encoded) {
                return Err(cannot_be_loaded(&spec.uid, ErrorKind::Incompatible, &OtherForm(&spec.uid, &key)));
            }
        }
        Ok(())
    }

    /// Loads one partition of an operator. Time in the keys of the partition.
    ///
    /// # Errors
    /// When the store is damaged, or an entry is not of the operator's types.
    pub fn load<K: Key, S: Record>(
        &self,
        spec: &StateSpec<K, S>,
        partition: u32,
        partitions: u32,
        table: &mut StateTable<K, S>,
    ) -> Result<()> {
        let Some(stored) = self.stored.get(&spec.uid) else { return Ok(()) };
        self.check_keys(spec, partition, partitions)?;
        let scan = self.reader.scan(stored.number, hashes_of(partition, partitions));
        let failed = |error: &dyn fmt::Display| cannot_be_loaded(&spec.uid, ErrorKind::Damaged, error);
        let unread = |error: StateError| unread(&spec.uid, &error);
        if stored.version == spec.version {
            return table.try_load_sorted(decode_entries::<K, S>(scan)).map_err(unread);
        }
        let migration = spec.migrations.iter().find(|migration| migration.from == stored.version);
        let migrate =
            &migration.ok_or_else(|| failed(&format!("no migration from version {}", stored.version)))?.migrate;
        table.try_load_sorted(scan.map(|entry| {
            let (hash, key, state) = entry.map_err(unread)?;
            if KeyHash::of_encoded(&key) != hash {
                return Err(failed(&"a key stands under another hash than its own"));
            }
            let decoded = decode(&key).map_err(|error| failed(&error))?;
            let (uid, version, shown) = (&spec.uid, stored.version, Shown(&decoded));
            let whose = format_args!("the migration of \"{uid}\" from version {version}, with the key {shown},");
            let state = user_code::call(whose, || migrate(&state))?.map_err(|error| failed(&error))?;
            Ok::<_, Error>((hash, decoded, state))
        }))?;
        // Migrated entries are changed entries: the next checkpoint writes all of them in the new version.
        for place in 0..table.slots() {
            let slot = Slot::at(place);
            let state = table.take(slot);
            table.put(slot, state, true);
        }
        Ok(())
    }
}

/// A key as it is shown to people: as JSON, or its encoding where it has none.
struct Shown<'k, K>(&'k K);

impl<K: Key> fmt::Display for Shown<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(self.0) {
            Ok(json) => f.write_str(&json),
            Err(_) => write!(f, "{:02x?}", encode(self.0).unwrap_or_default()),
        }
    }
}

/// A stored key of an operator that is in another form than keys are kept in now.
struct OtherForm<'k, K>(&'k Uid, &'k K);

impl<K: Key> fmt::Display for OtherForm<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, key) = (self.0, Shown(self.1));
        write!(
            f,
            "the stored key {key} has a zero or a NaN in it that equals another one, and the build that stored it kept the two apart. Now \
             they are one key, and which state it has is not known. Export the operator, bring such keys together and import it, or \
             begin it anew with drop_state(\"{uid}\")"
        )
    }
}

/// The store did not give an operator's state.
pub(super) fn unread(uid: &Uid, error: &StateError) -> Error {
    cannot_be_loaded(uid, if error.is_damage() { ErrorKind::Damaged } else { ErrorKind::Environment }, error)
}

fn cannot_be_loaded(uid: &Uid, kind: ErrorKind, error: &dyn fmt::Display) -> Error {
    Error::new(kind, format!("state of operator \"{uid}\" cannot be loaded: {error}"))
}

/// The hashes of a partition: a contiguous range.
fn hashes_of(partition: u32, partitions: u32) -> RangeInclusive<KeyHash> {
    let start = |partition: u32| ((u128::from(partition) << 64).div_ceil(u128::from(partitions))) as u64;
    let last = if partition + 1 == partitions { u64::MAX } else { start(partition + 1) - 1 };
    KeyHash(start(partition))..=KeyHash(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_of_a_partition_are_those_that_route_to_it() {
        for partitions in [1, 2, 3, 7, 8, 128] {
            let mut next = 0_u64;
            for partition in 0..partitions {
                let range = hashes_of(partition, partitions);
                assert_eq!(range.start().0, next);
                assert_eq!((range.start().bucket(partitions), range.end().bucket(partitions)), (partition, partition));
                next = range.end().0.wrapping_add(1);
            }
            assert_eq!(next, 0, "the last partition ends with the last hash");
        }
    }
}
