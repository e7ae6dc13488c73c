//! What the user says about the state of an operator: its uid, its version, how older versions become it, and what is there
//! before the first batch.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::state::schema::Schema;
use floodmark_base::codec::{Key, Record, decode, decode_prefix};
use floodmark_base::id::{BatchTime, Uid};

type Migrate<S> = Arc<dyn Fn(&[u8]) -> Result<S, String> + Send + Sync>;

/// A stateful operator's uid with what else is known of its state. A plain `"uid"` converts into one.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// use floodmark::StateSpec;
///
/// // Version 1 kept a u32; the totals of version 2 are u64 and begin with one known key.
/// let spec: StateSpec<String, u64> =
///     StateSpec::new("totals").initial_state([("apple".to_string(), 3)]).version(2).migrate_from(1, |old: u32| u64::from(old));
/// ```
pub struct StateSpec<K, S> {
    #[doc(hidden)] // for Floodmark's own crates
    pub uid: Uid,
    #[doc(hidden)] // for Floodmark's own crates
    pub version: u32,
    #[doc(hidden)] // for Floodmark's own crates
    pub initial: Vec<(K, S)>,
    #[doc(hidden)] // for Floodmark's own crates
    pub migrations: Vec<Migration<S>>,
    #[doc(hidden)] // for Floodmark's own crates
    pub timeout: Option<Duration>,
}

/// How the state of an older version becomes today's.
pub struct Migration<S> {
    pub from: u32,
    pub schema: Schema,
    /// The schema of the older state where it is kept with the time of its last use.
    pub timed_schema: Schema,
    pub migrate: Migrate<S>,
}

impl<S> Clone for Migration<S> {
    fn clone(&self) -> Self {
        Self {
            from: self.from,
            schema: self.schema.clone(),
            timed_schema: self.timed_schema.clone(),
            migrate: self.migrate.clone(),
        }
    }
}

impl<S: Record> Migration<S> {
    fn timed(self) -> Migration<Timed<S>> {
        let migrate = self.migrate;
        let timed: Migrate<Timed<S>> = Arc::new(move |bytes: &[u8]| {
            let (used, length) = decode_prefix::<BatchTime>(bytes).map_err(|error| error.to_string())?;
            Ok(Timed { used, state: migrate(&bytes[length..])? })
        });
        Migration {
            from: self.from,
            schema: self.timed_schema.clone(),
            timed_schema: self.timed_schema,
            migrate: timed,
        }
    }
}

/// A state with the time of the batch that used it last. The time comes first, so that a migration can tell the two apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed<S> {
    pub used: BatchTime,
    pub state: S,
}

impl<K: Key, S: Record> StateSpec<K, S> {
    /// State of version 1 with nothing in it, under this uid.
    ///
    /// ```
    /// # extern crate floodmark_store as floodmark;
    /// let spec = floodmark::StateSpec::<String, u64>::new("counts");
    /// ```
    #[must_use]
    pub fn new(uid: &str) -> Self {
        Self { uid: uid.into(), version: 1, initial: Vec::new(), migrations: Vec::new(), timeout: None }
    }

    /// Keys that have state before the first batch. They are checkpoint 0: read once, when the job starts in an empty place.
    /// Where a key stands twice, the last one holds.
    ///
    /// ```
    /// # extern crate floodmark_store as floodmark;
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
    /// # extern crate floodmark_store as floodmark;
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
    /// # extern crate floodmark_store as floodmark;
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
        let (schema, timed_schema) = (Schema::of::<Old>(), Schema::of::<Timed<Old>>());
        self.migrations.push(Migration { from: version, schema, timed_schema, migrate });
        self
    }

    /// After how long without a record of its own a key of `map_with_state` is handed to the
    /// function once more and forgotten, in whole milliseconds. Spark: `StateSpec.timeout`. Other operators know no timeout.
    ///
    /// ```
    /// # extern crate floodmark_store as floodmark;
    /// use std::time::Duration;
    /// let spec = floodmark::StateSpec::<String, u64>::new("sessions").timeout(Duration::from_secs(30 * 60));
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same for states that are kept with the time of their last use. What is there from the start was never used.
    #[doc(hidden)] // for Floodmark's own crates
    pub fn timed(self) -> StateSpec<K, Timed<S>> {
        let never = BatchTime(0);
        let initial = self.initial.into_iter().map(|(key, state)| (key, Timed { used: never, state })).collect();
        let migrations = self.migrations.into_iter().map(Migration::timed).collect();
        StateSpec { uid: self.uid, version: self.version, initial, migrations, timeout: self.timeout }
    }
}

impl<K: Key, S: Record> From<&str> for StateSpec<K, S> {
    fn from(uid: &str) -> Self {
        Self::new(uid)
    }
}
