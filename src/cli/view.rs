//! What a store holds, read as a start reads it, and as much of it as can be read where it is damaged.
//!
//! Nothing is locked and nothing is written. A driver at work may publish, truncate and collect meanwhile; then what was read does
//! not fit together, and it is read again: a view is taken only where the newest manifest is the same before and after.

use std::path::Path;

use floodmark_base::disk::LocalDisk;
use floodmark_base::id::ManifestSequence;
use floodmark_base::pursuit::Pursuit;
use floodmark_store::checkpoint::{ChainError, ChainFacts, ManifestChain, survey};
use floodmark_store::recovery::facts::{self, Facts, observe};
use floodmark_store::recovery::refusal::Refusal;

/// Everything that a decision needs, as a start would find it.
///
/// # Errors
/// The refusal, where a start would refuse.
pub(crate) fn facts(store: &Path) -> Result<Facts, Refusal> {
    settled(store, || observe(&LocalDisk, store), is_sound)
}

/// As [`facts`], for a quick look: see [`glance`](floodmark_store::recovery::facts::glance).
///
/// # Errors
/// As [`facts`].
pub(crate) fn glance(store: &Path) -> Result<Facts, Refusal> {
    settled(store, || facts::glance(&LocalDisk, store), Result::is_ok)
}

/// As [`facts`], for who reads the bodies of blocks elsewhere: see [`skim`](floodmark_store::recovery::facts::skim).
///
/// # Errors
/// As [`facts`].
pub(crate) fn skim(store: &Path) -> Result<Facts, Refusal> {
    settled(store, || facts::skim(&LocalDisk, store), is_sound)
}

/// The number of the newest manifest, by its name only.
pub(crate) fn newest_manifest(store: &Path) -> Option<ManifestSequence> {
    ManifestChain::newest_name(&LocalDisk, store).ok().flatten()
}

/// The chain of manifests as far as it can be read, and everything that makes it unbelievable.
///
/// # Errors
/// When the directory cannot be listed.
pub(crate) fn surveyed_chain(store: &Path) -> Result<(ChainFacts, Vec<ChainError>), ChainError> {
    settled(store, || survey(&LocalDisk, store), |found| found.as_ref().is_ok_and(|(_, errors)| errors.is_empty()))
}

/// The chain of manifests.
///
/// # Errors
/// What makes the chain as such unbelievable.
pub(crate) fn chain(store: &Path) -> Result<ChainFacts, ChainError> {
    settled(store, || ManifestChain::observe(&LocalDisk, store), Result::is_ok)
}

/// Reads until nothing has moved meanwhile, or what was read is whole anyway.
pub(crate) fn settled<T>(store: &Path, mut read: impl FnMut() -> T, is_whole: impl Fn(&T) -> bool) -> T {
    let mut pursuit = Pursuit::default();
    loop {
        let before = newest_manifest(store);
        let found = read();
        if is_whole(&found) || !pursuit.goes_on(newest_manifest(store) != before) {
            return found;
        }
    }
}

fn is_sound(facts: &Result<Facts, Refusal>) -> bool {
    facts.as_ref().is_ok_and(|facts| facts.candidates.iter().all(|candidate| candidate.damage.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_store::checkpoint::{MANIFESTS, manifest_file_name};

    #[test]
    fn a_store_is_read_again_as_long_as_its_driver_moves_on_and_one_that_stands_still_is_read_once() {
        let store = tempfile::tempdir().unwrap();
        let manifests = store.path().join(MANIFESTS);
        std::fs::create_dir(&manifests).unwrap();
        let mut reads = 0;
        let read = || {
            reads += 1;
            std::fs::write(manifests.join(manifest_file_name(ManifestSequence(reads))), b"").unwrap();
            reads
        };
        assert_eq!(settled(store.path(), read, |found| *found == 200), 200);
        let mut reads = 0;
        settled(store.path(), || reads += 1, |()| false);
        assert_eq!(reads, 1, "nothing has moved");
    }
}
