//! What the user says about the state of an operator: its uid, its version, how older versions become it, and what is there
//! before the first batch.

use std::sync::Arc;

use crate::codec::{Key, Record, decode};
use crate::id::Uid;
use crate::state::schema::Schema;

type Migrate<S> = Arc<dyn Fn(&[u8]) -> Result<S, String> + Send + Sync>;

/// A stateful operator's uid with what else is known of its state. A plain `"uid"` converts into one.
///
/// ```
/// use floodmark::StateSpec;
///
/// // Version 1 kept a u32; the totals of version 2 are u64 and begin with one known key.
/// let spec: StateSpec<String, u64> =
///     StateSpec::new("totals").initial_state([("apple".to_string(), 3)]).version(2).migrate_from(1, |old: u32| u64::from(old));
/// ```
pub struct StateSpec<K, S> {
    pub(crate) uid: Uid,
    pub(crate) version: u32,
    pub(crate) initial: Vec<(K, S)>,
    pub(crate) migrations: Vec<Migration<S>>,
}

/// How the state of an older version becomes today's.
pub(crate) struct Migration<S> {
    pub from: u32,
    pub schema: Schema,
    pub migrate: Migrate<S>,
}

impl<S> Clone for Migration<S> {
    fn clone(&self) -> Self {
        Self { from: self.from, schema: self.schema.clone(), migrate: self.migrate.clone() }
    }
}

impl<K: Key, S: Record> StateSpec<K, S> {
    /// State of version 1 with nothing in it, under this uid.
    ///
    /// ```
    /// let spec = floodmark::StateSpec::<String, u64>::new("counts");
    /// ```
    #[must_use]
    pub fn new(uid: &str) -> Self {
        Self { uid: uid.into(), version: 1, initial: Vec::new(), migrations: Vec::new() }
    }

    /// Keys that have state before the first batch. They are checkpoint 0: read once, when the job starts in an empty place.
    /// Where a key stands twice, the last one holds.
    ///
    /// ```
    /// let spec = floodmark::StateSpec::new("counts").initial_state([("apple".to_string(), 3_u64)]);
    /// ```
    #[must_use]
    pub fn initial_state(mut self, entries: impl IntoIterator<Item = (K, S)>) -> Self {
        self.initial.extend(entries);
        self
    }

    /// The version of the state's meaning; raise it when the type or its meaning changes.
    ///
    /// ```
    /// let spec = floodmark::StateSpec::<String, u64>::new("counts").version(2).migrate_from(1, |old: u32| u64::from(old));
    /// ```
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// How the state of an older version becomes today's. It is applied once, when the job first starts on the older state.
    ///
    /// ```
    /// let spec = floodmark::StateSpec::<String, u64>::new("counts").version(2).migrate_from(1, |old: u32| u64::from(old));
    /// ```
    #[must_use]
    pub fn migrate_from<Old: Record>(
        mut self,
        version: u32,
        migrate: impl Fn(Old) -> S + Send + Sync + 'static,
    ) -> Self {
        let migrate: Migrate<S> =
            Arc::new(move |bytes: &[u8]| decode::<Old>(bytes).map(&migrate).map_err(|error| error.to_string()));
        self.migrations.push(Migration { from: version, schema: Schema::of::<Old>(), migrate });
        self
    }
}

impl<K: Key, S: Record> From<&str> for StateSpec<K, S> {
    fn from(uid: &str) -> Self {
        Self::new(uid)
    }
}
