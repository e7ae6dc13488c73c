//! What a parent knows for good: what it was told is stored and published, and how every batch looked when it was first seen.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use super::output::{read_batch, visible};
use super::sight::Sight;
use crate::process::ProcessError;
use crate::process::victim::Place;

/// The promises of all lives so far.
#[derive(Debug)]
pub(super) struct Ledger {
    outputs: [PathBuf; 2],
    /// The last block that was acknowledged.
    pub stored: u64,
    /// The last batch that was told to be published.
    pub published: u64,
    /// A digest of every batch that was ever visible.
    seen: BTreeMap<(usize, u64), u64>,
}

impl Ledger {
    pub fn new(place: &Place) -> Self {
        Self { outputs: [place.results(), place.windows()], stored: 0, published: 0, seen: BTreeMap::new() }
    }

    /// A life has ended: it must have kept what earlier ones promised. What it promised itself is taken down.
    pub fn after(&mut self, sight: &Sight) -> Result<(), ProcessError> {
        let diverged = |story: String| Err(ProcessError::Diverged(story));
        if let Some(resumes) = sight.resumes
            && resumes < self.stored
        {
            return diverged(format!("block {} was acknowledged, but only {resumes} are stored", self.stored));
        }
        self.stored = self.stored.max(sight.stored);
        self.published = self.published.max(sight.published);
        for (output, directory) in self.outputs.iter().enumerate() {
            let batches = visible(directory)?;
            let gone = self.seen.keys().find(|(of, batch)| *of == output && batches.binary_search(batch).is_err());
            if let Some((_, batch)) = gone {
                return diverged(format!("batch {batch} was published in {}, and is gone", directory.display()));
            }
            if output == 0 && batches.last().copied().unwrap_or_default() < self.published {
                return diverged(format!("batch {} was told to be published, and is not visible", self.published));
            }
            for batch in batches {
                if let Entry::Vacant(unseen) = self.seen.entry((output, batch)) {
                    unseen.insert(digest(&read_batch(directory, batch)?));
                }
            }
        }
        Ok(())
    }

    /// Every batch that was ever seen must still have the same bytes.
    pub fn compare(&self) -> Result<(), ProcessError> {
        for ((output, batch), expected) in &self.seen {
            let directory = &self.outputs[*output];
            if digest(&read_batch(directory, *batch)?) != *expected {
                let story =
                    format!("batch {batch} in {} has other bytes than when it was published", directory.display());
                return Err(ProcessError::Diverged(story));
            }
        }
        Ok(())
    }
}

fn digest(batch: &super::PublishedBatch) -> u64 {
    let mut hasher = DefaultHasher::new();
    (batch.number, batch.time_ms, &batch.parts).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn published(place: &Place, number: u64, line: &str) {
        let batch = place.results().join(format!("batch-{number:020}"));
        fs::create_dir_all(&batch).unwrap();
        fs::write(batch.join("_batch"), "floodmark batch 1\ntime 20\n").unwrap();
        fs::write(batch.join("part-00000"), line).unwrap();
    }

    #[test]
    fn a_promise_that_is_broken_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        published(&place, 1, "one\n");
        let mut ledger = Ledger::new(&place);
        ledger.after(&Sight { stored: 5, published: 1, ..Sight::default() }).unwrap();
        ledger.after(&Sight { resumes: Some(5), ..Sight::default() }).unwrap();
        ledger.compare().unwrap();
        assert_eq!(ledger.seen.len(), 1);

        let lost = ledger.after(&Sight { resumes: Some(4), ..Sight::default() }).unwrap_err().to_string();
        assert!(lost.contains("block 5 was acknowledged, but only 4"), "{lost}");
        published(&place, 1, "two\n");
        assert!(ledger.compare().unwrap_err().to_string().contains("other bytes"));
        let early = ledger.after(&Sight { published: 2, ..Sight::default() }).unwrap_err().to_string();
        assert!(early.contains("batch 2 was told to be published"), "{early}");
        fs::remove_dir_all(place.results()).unwrap();
        assert!(ledger.after(&Sight::default()).unwrap_err().to_string().contains("and is gone"));
    }
}
