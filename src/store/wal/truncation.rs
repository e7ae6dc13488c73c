//! The right to delete segments: a value that only a published manifest gives.

use floodmark_base::id::Sequence;

/// Says that a durable manifest, and every other one that is retained, needs no frame before the oldest needed one (I-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncationRight {
    oldest_needed: Sequence,
}

impl TruncationRight {
    /// Only a published manifest calls this (`PublishedManifest::truncation_right`), with the oldest sequence that any retained
    /// manifest needs.
    pub fn of_published_manifest(oldest_needed: Sequence) -> Self {
        Self { oldest_needed }
    }

    /// The right without a manifest, for tests of the log alone.
    #[cfg(test)]
    pub(super) fn for_tests(oldest_needed: u64) -> Self {
        Self { oldest_needed: Sequence(oldest_needed) }
    }

    /// The oldest sequence that stays.
    #[must_use]
    pub fn oldest_needed(self) -> Sequence {
        self.oldest_needed
    }
}
