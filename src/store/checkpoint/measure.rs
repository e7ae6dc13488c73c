//! What `benches/checkpoint.rs` needs to see of checkpoints: a job that counts, without a clock and without a driver.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{
    CheckpointDone, CheckpointError, CheckpointRequest, Checkpointer, CheckpointerSettings, JobPoint, KeyLayout,
    LogPoint, ManifestChain, ManifestDraft, ManifestKind, Standing,
};
use crate::state::files::verify_files;
use crate::state::{OperatorNumber, StateStore, StateTable, decode_entries};
use floodmark_base::codec::{KeyHash, KeyHasher};
use floodmark_base::disk::LocalDisk;
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, LogId, Sequence, WriterNonce};
use floodmark_base::planted::Planted;

const OPERATOR: OperatorNumber = OperatorNumber(1);
const ALL: std::ops::RangeInclusive<KeyHash> = KeyHash(0)..=KeyHash(u64::MAX);

/// A job that counts `u64` keys in one table, and writes checkpoints to a real disk.
pub struct CheckpointTrial {
    table: StateTable<u64, u64>,
    hasher: KeyHasher,
    batch: BatchId,
    checkpointer: Checkpointer,
    reports: Receiver<Result<CheckpointDone, CheckpointError>>,
}

impl CheckpointTrial {
    /// Starts in a directory, from its newest checkpoint if it has one; says how many keys it found.
    ///
    /// # Panics
    /// When anything fails: this is for measurements.
    pub fn start(job: &Path) -> Self {
        let facts = ManifestChain::observe(&LocalDisk, job).expect("the chain is read");
        let epoch = facts.highest_epoch().unwrap_or_default().next();
        let nonce = WriterNonce::random();
        let claim = match facts.newest() {
            Some(newest) => ManifestDraft::claim(newest, epoch, nonce),
            None => {
                ManifestDraft { epoch, nonce, kind: ManifestKind::Claim, point: point(BatchId(0)), checkpoint: None }
            }
        };
        let mut chain = ManifestChain::new(job, facts, 2);
        chain.publish(&LocalDisk, claim).expect("the claim is published");
        let newest = chain.facts().checkpoints().into_iter().find(|checkpoint| checkpoint.standing == Standing::Usable);
        let live = job.join("live");
        let (store, parent_files, batch) = match &newest {
            Some(newest) => {
                let directory = job.join("checkpoints").join(&newest.files.directory);
                verify_files(&directory, &newest.files.files, false).expect("the files are whole");
                let store = StateStore::open_from(&directory, &live, &newest.files.files).expect("the store opens");
                (store, newest.files.files.clone(), newest.batch())
            }
            None => (StateStore::create(&live).expect("the store is created"), Vec::new(), BatchId(0)),
        };
        let mut table = StateTable::new();
        table.try_load_sorted(decode_entries(store.reader().scan(OPERATOR, ALL))).expect("the entries load");
        let (sender, reports) = channel();
        let settings = CheckpointerSettings {
            disk: Arc::new(LocalDisk),
            store: Arc::new(store),
            chain,
            epoch,
            nonce,
            parent_files,
            planted: Planted::default(),
            monotonic: Box::new(|| Duration::ZERO),
        };
        let report = move |report| sender.send(report).expect("the trial listens");
        let checkpointer = Checkpointer::spawn(settings, report).expect("the writer starts");
        Self { table, hasher: KeyHasher::default(), batch, checkpointer, reports }
    }

    /// Adds one to each key.
    pub fn count(&mut self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            let slot = self.table.slot_or_vacant(self.hasher.hash(&key), &key);
            let count = self.table.take(slot).unwrap_or(0);
            self.table.put(slot, Some(count + 1), true);
        }
        self.table.settle();
    }

    /// Freezes, writes and publishes a checkpoint; gives the bytes that are new in it.
    ///
    /// # Panics
    /// When the checkpoint fails.
    pub fn checkpoint(&mut self) -> u64 {
        self.batch = self.batch.next();
        let request = CheckpointRequest { runs: vec![(OPERATOR, self.table.freeze())], point: point(self.batch) };
        self.checkpointer.request(request).expect("the writer listens");
        self.reports.recv().expect("the writer reports").expect("the checkpoint is written").new_bytes
    }

    /// How many keys there are, and the sum of their counts, by a pass over all in order.
    pub fn pass(&self) -> (usize, u64) {
        let mut sum = 0;
        self.table.for_each_in_order(|_, _, count| {
            sum += count;
            ControlFlow::Continue(())
        });
        (self.table.len(), sum)
    }

    /// Memory of the table, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// Ends the writer.
    ///
    /// # Panics
    /// When it failed.
    pub fn end(self) {
        self.checkpointer.stop().expect("the writer ends");
    }
}

fn point(batch: BatchId) -> JobPoint {
    JobPoint {
        job_name: "trial".to_string(),
        job_version: String::new(),
        lineage: Lineage(0),
        batch,
        next_batch: batch.next(),
        last_batch_time: BatchTime(batch.0),
        zero_time: BatchTime(0),
        published_through: batch,
        generation: Epoch(1),
        sources: Vec::new(),
        log: LogPoint { log: LogId(0), next: Sequence(1), oldest_needed: Sequence(1) },
        keys: KeyLayout::of_this_build(128, 8),
        interval_ms: 1_000,
        operators: Vec::new(),
    }
}
