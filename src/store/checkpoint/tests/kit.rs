//! What the tests stand on: a job that counts, and is started and stopped as a driver does it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::super::*;
use crate::state::files::{CheckpointFile, verify_files};
use crate::state::{OperatorNumber, StateStore, StateTable, decode_entries};
use floodmark_base::codec::{KeyHash, KeyHasher};
use floodmark_base::disk::{Disk, LocalDisk};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, LogId, Sequence, WriterNonce};
use floodmark_base::planted::Planted;

/// A disk without faults.
pub fn disk() -> Arc<dyn Disk> {
    Arc::new(LocalDisk)
}

pub const OPERATOR: OperatorNumber = OperatorNumber(1);

/// Where the test job stands after a batch: the log advances by ten per batch.
pub fn point(batch: u64) -> JobPoint {
    JobPoint {
        job_name: "counts".to_string(),
        job_version: "1".to_string(),
        lineage: Lineage(7),
        generation: Epoch(1),
        batch: BatchId(batch),
        next_batch: BatchId(batch + 1),
        last_batch_time: BatchTime(batch * 1_000),
        zero_time: BatchTime(0),
        published_through: BatchId(batch),
        sources: vec![SourceEntry {
            uid: "lines".into(),
            kind: "text_file_stream".to_string(),
            record_type: "str".to_string(),
            position_type: "[u8; 8]".to_string(),
            range_type: "u64".to_string(),
            position: SourcePosition::Direct(batch.to_le_bytes().to_vec()),
        }],
        log: LogPoint { log: LogId(9), next: Sequence(batch * 10 + 1), oldest_needed: Sequence(batch * 10 + 1) },
        keys: KeyLayout::of_this_build(128, 8),
        interval_ms: 1_000,
        operators: vec![OperatorEntry {
            uid: "counts".into(),
            number: OPERATOR,
            kind: "update_state_by_key".to_string(),
            key_type: "u64".to_string(),
            state_type: "u64".to_string(),
            state_version: 1,
            entries: batch,
            parameters: vec![("length_ms".to_string(), 600)],
        }],
    }
}

/// A draft that publishes a checkpoint which exists by name only.
pub fn draft(epoch: u64, batch: u64, directory: &str) -> ManifestDraft {
    let file = CheckpointFile { name: "000001.sst".to_string(), size: 1, crc32: 2 };
    ManifestDraft {
        epoch: Epoch(epoch),
        nonce: WriterNonce(u128::from(epoch)),
        kind: ManifestKind::Checkpoint,
        point: point(batch),
        checkpoint: Some(CheckpointFiles { directory: directory.to_string(), files: vec![file] }),
    }
}

/// The first claim of a job, before it has a checkpoint.
pub fn first_claim(epoch: u64) -> ManifestDraft {
    let nonce = WriterNonce(u128::from(epoch));
    ManifestDraft { epoch: Epoch(epoch), nonce, kind: ManifestKind::Claim, point: point(0), checkpoint: None }
}

/// A life of a job that counts, over a directory.
pub struct Life {
    pub table: StateTable<u64, u64>,
    pub checkpointer: Checkpointer,
    pub reports: Receiver<Result<CheckpointDone, CheckpointError>>,
    pub started_from: BatchId,
}

impl Life {
    /// Starts as a driver does: observe, claim, build the live directory from the newest usable checkpoint, load.
    pub fn start(job: &Path, disk: Arc<dyn Disk>) -> Result<Self, ChainError> {
        let facts = ManifestChain::observe(&*disk, job)?;
        let epoch = facts.highest_epoch().unwrap_or_default().next();
        let nonce = WriterNonce::random();
        let claim = match facts.newest() {
            Some(newest) => ManifestDraft::claim(newest, epoch, nonce),
            None => ManifestDraft { nonce, ..first_claim(epoch.0) },
        };
        let mut chain = ManifestChain::new(job, facts, 2);
        chain.publish(&*disk, claim)?;

        let live = job.join("live");
        let newest = chain.facts().checkpoints().into_iter().find(|checkpoint| checkpoint.standing == Standing::Usable);
        let (store, parent_files, started_from) = match newest {
            Some(newest) => {
                let directory = job.join("checkpoints").join(&newest.files.directory);
                verify_files(&directory, &newest.files.files, true).unwrap();
                let store = StateStore::open_from(&directory, &live, &newest.files.files).unwrap();
                (store, newest.files.files.clone(), newest.batch())
            }
            None => (StateStore::create(&live).unwrap(), Vec::new(), BatchId(0)),
        };
        let mut table = StateTable::new();
        let reader = store.reader();
        table
            .try_load_sorted(decode_entries::<u64, u64>(reader.scan(OPERATOR, KeyHash(0)..=KeyHash(u64::MAX))))
            .unwrap();
        let (sender, reports) = channel();
        let settings = CheckpointerSettings {
            disk,
            store: Arc::new(store),
            chain,
            epoch,
            nonce,
            parent_files,
            planted: Planted::default(),
            monotonic: Box::new(|| Duration::ZERO),
        };
        let spawned = Checkpointer::spawn(settings, move |report| sender.send(report).unwrap());
        let checkpointer =
            spawned.map_err(|source| ChainError::Io { doing: "start in", path: job.to_path_buf(), source })?;
        Ok(Self { table, checkpointer, reports, started_from })
    }

    /// A batch that adds one to each of `keys`, then its checkpoint.
    pub fn batch(&mut self, batch: u64, keys: std::ops::Range<u64>) -> Result<CheckpointDone, CheckpointError> {
        self.count(keys);
        let request = CheckpointRequest { runs: vec![(OPERATOR, self.table.freeze())], point: point(batch) };
        self.checkpointer.request(request)?;
        self.reports.recv().unwrap()
    }

    pub fn count(&mut self, keys: std::ops::Range<u64>) {
        let mut hasher = KeyHasher::default();
        for key in keys {
            let slot = self.table.slot_or_vacant(hasher.hash(&key), &key);
            let count = self.table.take(slot).unwrap_or(0);
            self.table.put(slot, Some(count + 1), true);
        }
        self.table.settle();
    }

    /// The sum of all counts: how much input the state has seen.
    pub fn sum(&self) -> u64 {
        let mut sum = 0;
        self.table.for_each_in_order(|_, _, count| {
            sum += count;
            std::ops::ControlFlow::Continue(())
        });
        sum
    }

    /// Ends the life in order; gives the last report of a failed collection, if there is one.
    pub fn end(self) -> Option<CheckpointError> {
        self.checkpointer.stop().unwrap();
        self.reports.try_iter().find_map(Result::err)
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    LocalDisk.list(directory).unwrap()
}
