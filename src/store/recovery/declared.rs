//! What the program declares, as far as recovery asks.

use crate::checkpoint::KeyLayout;
use crate::recovery::descriptor::SourceDescriptor;
use crate::state::descriptor::StateDescriptor;
use floodmark_base::id::Uid;

/// The declared job.
#[derive(Clone, Debug)]
pub struct Declared {
    pub name: String,
    pub keys: KeyLayout,
    pub operators: Vec<StateDescriptor>,
    pub sources: Vec<SourceDescriptor>,
    /// The batch interval in milliseconds; 0 where it is not known.
    pub interval_ms: u64,
    /// Uids whose stored state, or unplanned blocks, the program gives up.
    pub dropped: Vec<Uid>,
    pub goes_on_without_log: bool,
}

impl Declared {
    pub fn source(&self, uid: &Uid) -> Option<&SourceDescriptor> {
        self.sources.iter().find(|source| source.uid == *uid)
    }

    pub fn drops(&self, uid: &Uid) -> bool {
        self.dropped.contains(uid)
    }
}
