//! The batches since the newest published checkpoint: what would have to be recomputed from it, and what the log must keep.

use std::collections::VecDeque;

use crate::dataflow::task::Before;
use floodmark_base::id::{Batch, BatchId, Sequence, Uid};
use floodmark_store::batch::event::{Commit, DeadLetter, Plan};
use floodmark_store::batch::timing::Timing;
use floodmark_store::block::BlockMap;

/// One planned batch.
#[derive(Clone, Debug)]
pub(crate) struct PastBatch {
    pub plan: Plan,
    pub timing: Timing,
    pub planned_at: Sequence,
    /// The blocks that it reads.
    pub blocks: BlockMap,
    pub letters: Vec<DeadLetter>,
    pub commit: Option<Commit>,
    pub published: bool,
    /// The monotonic time of its tick, where it was planned in this life of the driver.
    pub ticked_ms: Option<u64>,
    /// Attempts that failed in this life of the driver.
    pub failed: u32,
    /// Attempts whose beginning is in the log.
    pub attempts: u32,
    /// It has failed as often as allowed, but on trial it did not: no record was found to set aside.
    pub is_unexplained: bool,
}

impl PastBatch {
    /// What is known of a range before it is read.
    pub fn before(&self, source: &Uid, task: u32) -> Before {
        let receipts = self.commit.iter().flat_map(|commit| &commit.receipts);
        let mut of_source = receipts.filter(|(uid, _)| uid == source).flat_map(|(_, receipts)| receipts);
        match of_source.find(|receipt| receipt.task == task) {
            Some(receipt) => Before::Read(receipt.bytes.clone()),
            None if self.ticked_ms.is_none() => Before::Restored,
            None => Before::Planned,
        }
    }

    /// Its number and time.
    pub fn batch(&self) -> Batch {
        Batch { id: self.plan.batch, time: self.plan.time }
    }
}

/// Planned batches in order, and how far the running dataflow has come in them.
#[derive(Debug, Default)]
pub(crate) struct History {
    batches: VecDeque<PastBatch>,
    /// How many of them, from the front, the running dataflow was given.
    given: usize,
}

impl History {
    pub fn push(&mut self, batch: PastBatch) {
        self.batches.push_back(batch);
    }

    /// Gives the next batch that the running dataflow has not been given.
    pub fn give(&mut self) -> Option<BatchId> {
        let batch = self.batches.get(self.given)?;
        self.given += 1;
        Some(batch.plan.batch)
    }

    pub fn all_given(&self) -> bool {
        self.given == self.batches.len()
    }

    /// A new dataflow starts from the checkpoint: everything since is to be given again.
    pub fn rewind(&mut self) {
        self.given = 0;
    }

    /// As [`rewind`](Self::rewind), from an older checkpoint: these batches come before those that are here.
    pub fn rewind_behind(&mut self, earlier: Vec<PastBatch>) {
        for batch in earlier.into_iter().rev() {
            self.batches.push_front(batch);
        }
        self.rewind();
    }

    /// # Panics
    /// When the batch is not there: it is asked for by the driver only, which put it there.
    pub fn get(&self, batch: BatchId) -> &PastBatch {
        self.batches.iter().find(|past| past.plan.batch == batch).expect("the batch is younger than the checkpoint")
    }

    /// # Panics
    /// As [`get`](Self::get).
    pub fn get_mut(&mut self, batch: BatchId) -> &mut PastBatch {
        self.batches.iter_mut().find(|past| past.plan.batch == batch).expect("the batch is younger than the checkpoint")
    }

    pub fn iter(&self) -> impl Iterator<Item = &PastBatch> {
        self.batches.iter()
    }

    /// What was committed stood on input that the job goes on without.
    pub fn forget_commits_from(&mut self, first: BatchId) {
        self.batches.iter_mut().filter(|past| past.plan.batch >= first).for_each(|past| past.commit = None);
    }

    /// The batches that no attempt has brought to a commit.
    pub fn uncommitted(&mut self) -> impl Iterator<Item = &mut PastBatch> {
        self.batches.iter_mut().filter(|past| past.commit.is_none())
    }

    pub fn is_last(&self, batch: BatchId) -> bool {
        self.batches.back().is_some_and(|last| last.plan.batch == batch)
    }

    /// Forgets the newest batch if it is committed: for [`SkipLastReplay`](floodmark_base::planted::PlantedBug::SkipLastReplay).
    pub fn forget_last_committed(&mut self) -> Option<BatchId> {
        let last = self.batches.pop_back_if(|last| last.commit.is_some())?;
        Some(last.plan.batch)
    }

    /// A checkpoint of `batch` is published: it and what came before need not be recomputed any more.
    pub fn checkpointed(&mut self, batch: BatchId) {
        while self.batches.front().is_some_and(|past| past.plan.batch <= batch) {
            self.batches.pop_front();
            self.given = self.given.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_base::id::BatchTime;

    fn batch(id: u64) -> PastBatch {
        let timing = Timing { time: BatchTime(id), previous: BatchTime(id - 1), zero: BatchTime(0), interval_ms: 1 };
        PastBatch {
            timing,
            plan: Plan { batch: BatchId(id), time: BatchTime(id * 100), merged_ticks: 0, inputs: Vec::new() },
            planned_at: Sequence(id * 10),
            blocks: BlockMap::default(),
            letters: Vec::new(),
            commit: None,
            published: false,
            ticked_ms: None,
            failed: 0,
            attempts: 1,
            is_unexplained: false,
        }
    }

    #[test]
    fn a_rewind_gives_everything_since_the_checkpoint_again() {
        let mut history = History::default();
        (1..=3).for_each(|id| history.push(batch(id)));
        assert_eq!((history.give(), history.give()), (Some(BatchId(1)), Some(BatchId(2))));
        history.checkpointed(BatchId(1));
        assert_eq!(history.give(), Some(BatchId(3)));
        assert!(history.all_given());
        history.rewind();
        assert_eq!(history.give(), Some(BatchId(2)));
    }
}
