//! What is known of an operator's state before anything of it is loaded.

use std::any::type_name;
use std::borrow::Cow;

use crate::batch::timing::Window;
use crate::state::schema::Schema;
use crate::state::spec::StateSpec;
use crate::state::{FrozenRun, StateTable};
use floodmark_base::codec::{Key, Record, encode_into};
use floodmark_base::id::Uid;
use floodmark_base::types::{Keys, as_state, check_state};

/// The name under which the length of a window is kept, in milliseconds.
pub const LENGTH_MS: &str = "length_ms";
/// The name under which the slide of a window is kept, in milliseconds.
pub const SLIDE_MS: &str = "slide_ms";

/// A stateful operator as the program declares it; compared with what a checkpoint holds (I-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDescriptor {
    pub uid: Uid,
    /// What sort of operator it is, by its method's name.
    pub kind: Cow<'static, str>,
    pub key_schema: Schema,
    pub state_schema: Schema,
    /// What queries see of a state.
    pub seen_schema: Schema,
    pub version: u32,
    /// Older versions that can be migrated, each with the schema that its state had.
    pub migrations: Vec<(u32, Schema)>,
    /// What else the meaning of the state depends on, by name.
    pub parameters: Vec<(String, u64)>,
}

impl StateDescriptor {
    pub fn of<K: Key, S: Record>(kind: &'static str, spec: &StateSpec<K, S>) -> Self {
        Self {
            uid: spec.uid.clone(),
            kind: kind.into(),
            key_schema: Schema::of_key::<K>(),
            state_schema: Schema::of_state::<S>(),
            seen_schema: Schema::of::<S>(),
            version: spec.version,
            migrations: spec.migrations.iter().map(|migration| (migration.from, migration.schema.clone())).collect(),
            parameters: Vec::new(),
        }
    }

    /// The state is that of a window, whose length and slide say what has left it.
    pub fn of_window(self, window: Window) -> Self {
        let parameters = [(LENGTH_MS, window.length_ms), (SLIDE_MS, window.slide.0)];
        Self { parameters: parameters.map(|(name, value)| (name.to_string(), value)).to_vec(), ..self }
    }

    /// Queries see a `W` of each state instead.
    pub fn seen_as<W: Record>(self) -> Self {
        Self { seen_schema: Schema::of::<W>(), ..self }
    }
}

/// Why the initial state of an operator cannot be stored.
pub fn initial_problem<K: Key, S: Record>(spec: &StateSpec<K, S>) -> Option<String> {
    let (mut bytes, checks_each) = (Vec::new(), as_state::<S>().is_uncertain);
    let mut problem = |entry: &(K, S)| {
        bytes.clear();
        let encoded = encode_into(entry, &mut bytes).map_err(|error| format!("{}: {error}", type_name::<(K, S)>()));
        let checked = encoded.and_then(|()| if checks_each { check_state(&entry.1) } else { Ok(()) });
        checked.err().map(|why| format!("the initial state cannot be stored: {why}"))
    };
    spec.initial.iter().find_map(&mut problem)
}

/// The initial state of an operator as a run for checkpoint 0; `None` where there is none.
pub fn initial_run<K: Key, S: Record>(spec: &StateSpec<K, S>) -> Option<FrozenRun> {
    if spec.initial.is_empty() {
        return None;
    }
    let (mut table, mut keys) = (StateTable::new(), Keys::new());
    for (key, state) in &spec.initial {
        let (hash, key) = keys.take(key.clone());
        let slot = table.slot_or_vacant(hash, &key);
        table.put(slot, Some(state.clone()), true);
    }
    table.settle();
    Some(table.freeze())
}
