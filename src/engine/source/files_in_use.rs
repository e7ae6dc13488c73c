//! Files that were read to their end and that a recovery may read again, because a checkpoint that is kept does not cover them.

use std::collections::{BTreeSet, HashMap};

use crate::source::file_name::FileName;
use floodmark_base::id::BatchId;

/// Each file with the batch that read its end. Names are shared, so a file takes about 100 bytes here while it is in use.
#[derive(Debug, Default)]
pub(crate) struct FilesInUse {
    batches: HashMap<FileName, BatchId>,
    /// The same, oldest batch first.
    in_order: BTreeSet<(BatchId, FileName)>,
}

impl FilesInUse {
    /// Adds a file whose end was read in `batch`. One that is there already is in use until that batch instead.
    pub fn add(&mut self, name: FileName, batch: BatchId) {
        self.remove(&name);
        self.in_order.insert((batch, name.clone()));
        self.batches.insert(name, batch);
    }

    /// Removes a file: it is gone, or another one with its name is read.
    pub fn remove(&mut self, name: &FileName) {
        if let Some((name, batch)) = self.batches.remove_entry(name) {
            self.in_order.remove(&(batch, name));
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes and returns files that were read to their end in batches up to `through`: the oldest first, at most `limit`.
    pub fn take_through(&mut self, through: BatchId, limit: usize) -> Vec<FileName> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some((batch, name)) = self.in_order.pop_first()
        {
            if batch > through {
                self.in_order.insert((batch, name));
                break;
            }
            self.batches.remove(&name);
            taken.push(name);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_up_to_a_batch_and_a_name_that_is_read_again_waits_for_its_later_batch() {
        let mut in_use = FilesInUse::default();
        for (name, batch) in [("c", 1), ("a", 2), ("b", 2), ("d", 3), ("gone", 1)] {
            in_use.add(name.into(), BatchId(batch));
        }
        in_use.add("c".into(), BatchId(4));
        in_use.remove(&"gone".into());
        in_use.remove(&"unknown".into());
        assert_eq!(in_use.take_through(BatchId(2), 1), ["a".into()]);
        assert_eq!(in_use.take_through(BatchId(2), 9), ["b".into()]);
        assert_eq!(in_use.take_through(BatchId(2), 9), []);
        assert_eq!(in_use.take_through(BatchId(4), 9), ["d".into(), "c".into()]);
        assert!(in_use.batches.is_empty() && in_use.in_order.is_empty());
    }
}
