//! Checkpoints: consistent, immutable copies of all state after one batch, and the chain of manifests that publishes them.
//!
//! A checkpoint is a directory of files; it counts only once a manifest names it. Manifests form one numbered chain
//! ([`ManifestChain`]): each is created if absent, carries its parent's CRC, and is never changed or moved. [`Checkpointer`]
//! is the thread that writes both, in the order that a crash anywhere leaves recoverable.

mod chain;
mod error;
mod facts;
pub mod head;
mod manifest;
#[cfg(feature = "testing")]
mod measure;
mod part;
mod retention;
mod sources;
mod survey;
mod v1;
mod writer;

#[cfg(test)]
mod tests;

pub use chain::{MANIFESTS, ManifestChain, PublishedManifest, file_name as manifest_file_name};
pub use error::{ChainError, CheckpointError};
pub use facts::{ChainFacts, Link, Standing, oldest_needed};
pub use manifest::{
    DROPPED, JobPoint, KeyLayout, LogPoint, Manifest, ManifestDamage, ManifestDraft, ManifestKind, OperatorEntry,
    SOURCE_MEMORY, VERSION as MANIFEST_VERSION,
};
#[cfg(feature = "testing")]
pub use measure::CheckpointTrial;
pub use part::CheckpointFiles;
pub use retention::{KeepRule, directory_epoch};
pub use retention::{directory_name, unneeded};
pub use sources::{SourceEntry, SourcePosition};
pub use survey::survey;
pub use writer::{CheckpointDone, CheckpointRequest, Checkpointer, CheckpointerSettings};
