//! Loading: from the store of the chosen checkpoint into an operator's tables, migrated where the program says so.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::codec::{Key, KeyHash, Record, decode};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Uid;
use crate::state::spec::StateSpec;
use crate::state::{OperatorNumber, Slot, StateError, StateReader, StateTable, decode_entries};

/// What a checkpoint holds of one operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredOperator {
    pub number: OperatorNumber,
    pub version: u32,
}

/// Gives every operator the state that the checkpoint holds of it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StateLoader {
    reader: StateReader,
    stored: Arc<HashMap<Uid, StoredOperator>>,
}

impl StateLoader {
    /// `stored` are the operators that the checkpoint holds; others start empty.
    pub fn new(reader: StateReader, stored: HashMap<Uid, StoredOperator>) -> Self {
        Self { reader, stored: Arc::new(stored) }
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
        let scan = self.reader.scan(stored.number, hashes_of(partition, partitions));
        let cannot_be = |kind, error: &dyn std::fmt::Display| {
            Error::new(kind, format!("state of operator \"{}\" cannot be loaded: {error}", spec.uid))
        };
        let failed = |error: &dyn std::fmt::Display| cannot_be(ErrorKind::Damaged, error);
        let unread = |error: StateError| {
            cannot_be(if error.is_damage() { ErrorKind::Damaged } else { ErrorKind::Environment }, &error)
        };
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
            let key = decode(&key).map_err(|error| failed(&error))?;
            Ok::<_, Error>((hash, key, migrate(&state).map_err(|error| failed(&error))?))
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
