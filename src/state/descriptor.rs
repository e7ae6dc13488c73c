//! What is known of an operator's state before anything of it is loaded.

use crate::codec::{Key, KeyHasher, Record, encode};
use crate::id::Uid;
use crate::state::schema::Schema;
use crate::state::spec::StateSpec;
use crate::state::{FrozenRun, StateTable};

/// A stateful operator as the program declares it; compared with what a checkpoint holds (I-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDescriptor {
    pub uid: Uid,
    /// What sort of operator it is, by its method's name.
    pub kind: &'static str,
    pub key_schema: Schema,
    pub state_schema: Schema,
    pub version: u32,
    /// Older versions that can be migrated, each with the schema that its state had.
    pub migrations: Vec<(u32, Schema)>,
}

impl StateDescriptor {
    pub fn of<K: Key, S: Record>(kind: &'static str, spec: &StateSpec<K, S>) -> Self {
        Self {
            uid: spec.uid.clone(),
            kind,
            key_schema: Schema::of::<K>(),
            state_schema: Schema::of::<S>(),
            version: spec.version,
            migrations: spec.migrations.iter().map(|migration| (migration.from, migration.schema.clone())).collect(),
        }
    }
}

/// The initial state of an operator as a run for checkpoint 0; `None` where there is none.
pub(crate) fn initial_run<K: Key, S: Record>(spec: &StateSpec<K, S>) -> Option<FrozenRun> {
    if spec.initial.is_empty() {
        return None;
    }
    let (mut table, mut hasher) = (StateTable::new(), KeyHasher::default());
    for (key, state) in &spec.initial {
        let slot = table.slot_or_vacant(hasher.hash(key), key);
        table.put(slot, Some(state.clone()), true);
    }
    table.settle();
    Some(table.freeze())
}

/// Whether a value survives its own encoding: attributes such as `skip_serializing_if` break it silently otherwise.
pub(crate) fn survives_encoding<T: crate::codec::Record + PartialEq>(value: &T) -> bool {
    encode(value).is_ok_and(|bytes| crate::codec::decode::<T>(&bytes).is_ok_and(|decoded| decoded == *value))
}
