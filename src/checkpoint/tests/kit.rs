//! What the tests stand on: a small real disk that can die at a step, and a job that counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::*;
use crate::codec::{KeyHash, KeyHasher};
use crate::disk::{Disk, DiskFile, Step};
use crate::id::{BatchId, BatchTime, Epoch, Lineage, LogId, Sequence};
use crate::state::{OperatorNumber, StateStore, StateTable, decode_entries};

/// When a [`TestDisk`] dies: before or after its n-th durable step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Never,
    Before(usize),
    After(usize),
}

/// A real directory; after its death nothing succeeds any more.
#[derive(Debug)]
pub struct TestDisk {
    death: Death,
    passed: AtomicUsize,
    pub steps: Mutex<Vec<Step>>,
}

impl TestDisk {
    pub fn new(death: Death) -> Arc<Self> {
        Arc::new(Self { death, passed: AtomicUsize::new(0), steps: Mutex::new(Vec::new()) })
    }

    fn alive(&self) -> io::Result<()> {
        let passed = self.passed.load(Ordering::SeqCst);
        let dead = match self.death {
            Death::Never => false,
            Death::Before(step) | Death::After(step) => passed > step,
        };
        if dead { Err(io::Error::other("the disk is dead")) } else { Ok(()) }
    }

    fn step<T>(&self, step: Step, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.alive()?;
        let number = self.passed.fetch_add(1, Ordering::SeqCst);
        self.steps.lock().unwrap().push(step);
        if self.death == Death::Before(number) {
            return Err(io::Error::other("the disk dies before the step"));
        }
        let done = act()?;
        if self.death == Death::After(number) {
            return Err(io::Error::other("the disk dies after the step"));
        }
        Ok(done)
    }
}

impl Disk for TestDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        fs::create_dir_all(path)
    }

    fn create_whole(&self, step: Step, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(step, || OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes))
    }

    fn open_append(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        struct Nothing;
        impl DiskFile for Nothing {
            fn append(&mut self, _: Step, _: &mut [IoSlice<'_>]) -> io::Result<()> {
                Err(io::Error::other("checkpoints append to nothing"))
            }
            fn sync(&mut self, _: Step) -> io::Result<()> {
                Err(io::Error::other("checkpoints append to nothing"))
            }
        }
        Ok(Box::new(Nothing))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.alive()?;
        fs::read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.read(path)?;
        let end = bytes.get(offset as usize..offset as usize + len);
        end.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().into_string().unwrap());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, step: Step, path: &Path) -> io::Result<()> {
        self.step(step, || if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) })
    }

    fn sync_tree(&self, step: Step, path: &Path) -> io::Result<()> {
        self.step(step, || File::open(path)?.sync_all())
    }

    fn pass(&self, step: Step) -> io::Result<()> {
        self.step(step, || Ok(()))
    }
}

pub const OPERATOR: OperatorNumber = OperatorNumber(1);

/// Where the test job stands after a batch: the log advances by ten per batch.
pub fn point(batch: u64) -> JobPoint {
    JobPoint {
        job_name: "counts".to_string(),
        job_version: "1".to_string(),
        lineage: Lineage(7),
        batch: BatchId(batch),
        next_batch: BatchId(batch + 1),
        last_batch_time: BatchTime(batch * 1_000),
        zero_time: BatchTime(0),
        published_through: BatchId(batch),
        positions: vec![("lines".into(), batch.to_le_bytes().to_vec())],
        log: LogPoint { log: LogId(9), next: Sequence(batch * 10 + 1), oldest_needed: Sequence(batch * 10 + 1) },
        keys: KeyLayout::of_this_build(128, 8),
        operators: vec![OperatorEntry {
            uid: "counts".into(),
            number: OPERATOR,
            kind: "update_state_by_key".to_string(),
            key_type: "u64".to_string(),
            state_type: "u64".to_string(),
            state_version: 1,
            entries: batch,
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
    pub job: PathBuf,
    pub epoch: Epoch,
    pub table: StateTable<u64, u64>,
    pub checkpointer: Checkpointer,
    pub reports: Receiver<Result<CheckpointDone, CheckpointError>>,
    pub started_from: BatchId,
}

impl Life {
    /// Starts as a driver does: observe, claim, build the live directory from the newest usable checkpoint, load.
    pub fn start(job: &Path, disk: Arc<TestDisk>) -> Result<Self, ChainError> {
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
            keep: 2,
            parent_files,
            monotonic: Box::new(|| Duration::ZERO),
        };
        let spawned = Checkpointer::spawn(settings, move |report| sender.send(report).unwrap());
        let checkpointer =
            spawned.map_err(|source| ChainError::Io { doing: "start in", path: job.to_path_buf(), source })?;
        Ok(Self { job: job.to_path_buf(), epoch, table, checkpointer, reports, started_from })
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
    TestDisk::new(Death::Never).list(directory).unwrap()
}
