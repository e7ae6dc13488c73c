//! What a user's check sees of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use floodmark::{Key, MemorySink, Record, Running};

use super::env::{Output, World};

/// The end of a run: its input is used up, and the job still lives.
pub struct Run<'r> {
    pub(super) running: &'r Running,
    pub(super) world: &'r World,
    pub(super) files: &'r BTreeMap<String, Vec<u8>>,
}

impl Run<'_> {
    /// The state of an operator, by key.
    ///
    /// # Panics
    /// When the job has no such operator, or its types are others.
    #[must_use]
    pub fn state<K: Key + Ord, S: Record>(&self, uid: &str) -> BTreeMap<K, S> {
        let state = self.running.state::<K, S>(uid).and_then(|state| state.iter());
        state.unwrap_or_else(|error| panic!("the state of \"{uid}\" cannot be read: {error}")).collect()
    }

    /// The job itself.
    #[must_use]
    pub fn running(&self) -> &Running {
        self.running
    }

    /// What was published to a sink of [`Env::sink`](super::Env::sink).
    ///
    /// # Panics
    /// When there is none of this name and type.
    #[must_use]
    pub fn sink<T: Clone + Send + 'static>(&self, name: &str) -> MemorySink<T> {
        (*self.outside::<MemorySink<T>>(name)).clone()
    }

    /// What was written to an [`Env::output`](super::Env::output).
    ///
    /// # Panics
    /// As [`sink`](Self::sink).
    #[must_use]
    pub fn output<T: Clone + Send + 'static>(&self, name: &str) -> Vec<T> {
        self.outside::<Output<T>>(name).contents()
    }

    /// What was made by [`Env::outside`](super::Env::outside).
    ///
    /// # Panics
    /// As [`sink`](Self::sink).
    #[must_use]
    pub fn outside<T: Send + Sync + 'static>(&self, name: &str) -> Arc<T> {
        self.world.find(name).unwrap_or_else(|| panic!("the run has nothing of this type under \"{name}\""))
    }

    /// The files in [`Env::directory`](super::Env::directory), by path.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        self.files
    }
}
