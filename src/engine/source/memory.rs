//! What a direct source remembers of what it took, beside its position.

use std::path::PathBuf;

use crate::source::error::SourceError;
use floodmark_base::id::BatchId;

/// A key and what is remembered of it, both encoded; no value where it is forgotten.
pub type MemoryChange = (Vec<u8>, Option<Vec<u8>>);

/// What a direct source remembers of the ranges that it gave, by keys of its own: kept in the state beside each checkpoint, of
/// which only what changed is written. A position stands in every manifest as a whole, so it must stay small.
///
/// What is remembered follows the commits, not the plans: a checkpoint covers committed batches, and plans since are read from
/// the log.
pub trait SourceMemory<R, P> {
    /// The types of keys and values, for the manifest.
    fn types(&self) -> (String, String);

    /// How many keys are remembered.
    fn entries(&self) -> u64;

    /// Takes out of a stored position what an earlier version kept there.
    fn take_over(&mut self, position: &mut P);

    /// What the checkpoint, which covers the batches up to `batch`, holds of a key.
    ///
    /// # Errors
    /// When the bytes are no encoding of the types.
    fn recall(&mut self, key: &[u8], value: &[u8], batch: BatchId) -> Result<(), SourceError>;

    /// A range was planned, and the position moved behind it: takes out of that what is remembered here.
    fn planned(&mut self, position: &mut P);

    /// A range's batch is committed; `receipt` is what its reader gave, and empty where the range was given up. May be told again after
    /// a failed attempt.
    fn committed(&mut self, range: &R, receipt: &[u8], batch: BatchId);

    /// From now on keeps what [`release`](Self::release) needs. Called before anything is recalled.
    fn track_use(&mut self);

    /// No recovery reads batches up to `through` again. Returns files that are not needed any more, each once; what is left of them is
    /// returned by further calls.
    fn release(&mut self, through: BatchId) -> Vec<PathBuf>;

    /// What changed since the last call.
    fn freeze(&mut self) -> Vec<MemoryChange>;

    /// What was frozen of these keys is in no checkpoint; without keys, anything may not be.
    fn thaw(&mut self, keys: Option<Vec<Vec<u8>>>);
}
