//! The thread that writes checkpoints.
//!
//! # Order, and what a crash leaves
//! | step | a crash before or in it leaves |
//! |---|---|
//! | ingest the frozen runs | nothing: the live directory is disposable |
//! | RocksDB's checkpoint | an unnamed directory, perhaps `….tmp`; the next collection removes it |
//! | sync files, directory, parent (`checkpoint.files`) | the same |
//! | sizes and CRCs | the same |
//! | create the manifest (`manifest.create`) | the same, or the checkpoint published: the create is the commit point |
//! | remove old manifests, oldest first (`manifest.remove`) | superseded manifests that do not count; removed next time |
//! | remove old checkpoints (`checkpoint.remove`) | unnamed directories; removed next time |
//!
//! Nothing is removed before the manifest that says so is durable (I-5).
#![allow(clippy::disallowed_methods)] // measures files that RocksDB has written

use std::collections::HashMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::retention::{Keep, directory_name, garbage};
use super::{
    CheckpointError, CheckpointFiles, JobPoint, ManifestChain, ManifestDraft, ManifestKind, PublishedManifest,
};
use crate::state::files::{CheckpointFile, crc32_of, is_table};
use crate::state::{FrozenRun, OperatorNumber, StateStore};
use floodmark_base::background::give_way;
use floodmark_base::disk::{Disk, Step};
use floodmark_base::id::{BatchId, BatchTime, Epoch, WriterNonce};
use floodmark_base::planted::{Planted, PlantedBug};
use floodmark_base::user_code::panic_message;

/// The directory of checkpoints inside of a job's directory.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// Requests that may wait: one, while another is written. The driver does not freeze a third.
const WAITING: usize = 1;

/// One checkpoint to write: what changed up to a published batch, and where the job stood then.
#[derive(Debug)]
pub struct CheckpointRequest {
    pub runs: Vec<(OperatorNumber, FrozenRun)>,
    pub point: JobPoint,
}

/// A checkpoint that is durable and published.
#[derive(Debug)]
pub struct CheckpointDone {
    pub batch: BatchId,
    /// The time of the batch.
    pub time: BatchTime,
    /// The right to cut the log.
    pub published: PublishedManifest,
    /// Bytes of files that the checkpoint does not share with its parent.
    pub new_bytes: u64,
    pub duration: Duration,
}

/// What a [`Checkpointer`] works with.
pub struct CheckpointerSettings {
    pub disk: Arc<dyn Disk>,
    pub store: Arc<StateStore>,
    /// The chain, in which this driver has published its claim.
    pub chain: ManifestChain,
    pub epoch: Epoch,
    pub nonce: WriterNonce,
    /// Files of the checkpoint from which the live directory was built: those that stay keep their CRCs. Empty for a store that
    /// was created empty.
    pub parent_files: Vec<CheckpointFile>,
    /// The bug in the job, if a test has planted one.
    pub planted: Planted,
    /// Monotonic time since any fixed moment.
    pub monotonic: Box<dyn Fn() -> Duration + Send>,
}

/// The handle to the thread. Dropping it lets the thread finish what it was given.
#[derive(Debug)]
pub struct Checkpointer {
    requests: SyncSender<CheckpointRequest>,
    thread: JoinHandle<ManifestChain>,
}

impl Checkpointer {
    /// Starts the thread. It calls `report` once for each checkpoint, when what it makes unneeded is removed, too. After an error
    /// it takes no more requests: the driver must recover.
    ///
    /// # Errors
    /// When the thread or the directory of checkpoints cannot be created.
    pub fn spawn(
        settings: CheckpointerSettings,
        report: impl FnMut(Result<CheckpointDone, CheckpointError>) + Send + 'static,
    ) -> io::Result<Self> {
        let directory = settings.chain.job().join(CHECKPOINTS);
        settings.disk.create_dir_all(Step::DirectoryCreate, &directory)?;
        let inherited = settings.parent_files.iter().map(|file| (file.name.clone(), file.clone())).collect();
        let writer = Writer { directory, inherited, settings };
        let (requests, inbox) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("checkpoint".to_string()).spawn(move || {
            give_way();
            writer.run(&inbox, report)
        })?;
        Ok(Self { requests, thread })
    }

    /// Asks for a checkpoint; waits while one is written and another waits. Its batch must be published (I-5).
    ///
    /// # Errors
    /// When the batch is not published, or the thread has stopped after an error.
    pub fn request(&self, request: CheckpointRequest) -> Result<(), CheckpointError> {
        let (batch, published_through) = (request.point.batch, request.point.published_through);
        if published_through < batch {
            return Err(CheckpointError::NotPublished { batch, published_through });
        }
        self.requests.send(request).map_err(|_| CheckpointError::Stopped)
    }

    /// Finishes what was asked for, ends the thread and gives the chain back.
    ///
    /// # Errors
    /// When the thread panicked.
    pub fn stop(self) -> Result<ManifestChain, CheckpointError> {
        drop(self.requests);
        self.thread.join().map_err(|_| CheckpointError::Stopped)
    }
}

struct Writer {
    directory: PathBuf,
    /// Files of the parent checkpoint, whose CRCs stand.
    inherited: HashMap<String, CheckpointFile>,
    settings: CheckpointerSettings,
}

impl Writer {
    fn run(
        mut self,
        inbox: &Receiver<CheckpointRequest>,
        mut report: impl FnMut(Result<CheckpointDone, CheckpointError>),
    ) -> ManifestChain {
        while let Ok(request) = inbox.recv() {
            let batch = request.point.batch;
            // Collected only then: the manifest that makes these files unneeded is durable (I-5).
            let work = AssertUnwindSafe(|| self.write(request).and_then(|done| self.collect(batch).map(|()| done)));
            // A panic is reported, too: the driver would wait for its answer for ever.
            let done = catch_unwind(work)
                .unwrap_or_else(|panic| Err(CheckpointError::Panicked { batch, panic: panic_message(&*panic) }));
            let failed = done.is_err();
            report(done);
            if failed {
                break;
            }
        }
        self.settings.chain
    }

    fn write(&mut self, request: CheckpointRequest) -> Result<CheckpointDone, CheckpointError> {
        let started = (self.settings.monotonic)();
        let CheckpointRequest { runs, mut point } = request;
        let (batch, time) = (point.batch, point.last_batch_time);
        let (needed, planted) = (point.log.oldest_needed, self.settings.planted);
        if planted.has_bug(PlantedBug::DeleteBeforeManifest) {
            self.settings.chain.supersede_early();
            self.collect(batch)?;
        }
        misstate(&mut point, planted);
        let state = |source| CheckpointError::State { batch, source };

        // A crash up to here leaves nothing: what is ingested is in the live directory only.
        self.settings.store.ingest(runs).map_err(state)?;

        // From here on a crash leaves a directory that no manifest names.
        let name = directory_name(batch, self.settings.epoch, WriterNonce::random());
        let directory = self.directory.join(&name);
        self.settings.store.checkpoint(&directory).map_err(state)?;

        // RocksDB syncs neither all it links nor the parent of what it creates: everything is synced again, parents included.
        if !planted.has_bug(PlantedBug::ManifestBeforeFiles) {
            self.sync(batch, &directory)?;
        }
        let (files, new_bytes) = self.inspect(batch, &directory)?;

        // The commit point. A crash before it leaves the parent checkpoint in force; after it, this one.
        let draft = ManifestDraft {
            epoch: self.settings.epoch,
            nonce: self.settings.nonce,
            kind: ManifestKind::Checkpoint,
            point,
            checkpoint: Some(CheckpointFiles { directory: name, files: files.clone() }),
        };
        let mut published = self
            .settings
            .chain
            .publish(&*self.settings.disk, draft)
            .map_err(|source| CheckpointError::Chain { batch, source })?;
        if planted.has_bug(PlantedBug::ManifestBeforeFiles) {
            self.sync(batch, &directory)?;
        }
        if planted.has_bug(PlantedBug::TruncateTooMuch) {
            published.forget_older(needed);
        }

        let files_count = files.len();
        self.inherited = files.into_iter().map(|file| (file.name.clone(), file)).collect();
        let duration = (self.settings.monotonic)().saturating_sub(started);
        tracing::debug!(%batch, files = files_count, new_bytes, ?duration, "checkpoint published");
        Ok(CheckpointDone { batch, time, published, new_bytes, duration })
    }

    /// Makes the files of a checkpoint durable, and all names that lead to them.
    fn sync(&self, batch: BatchId, directory: &Path) -> Result<(), CheckpointError> {
        let synced = self.settings.disk.sync_tree(Step::CheckpointFiles, directory);
        synced.map_err(|source| CheckpointError::Io { batch, doing: "sync", path: directory.to_path_buf(), source })
    }

    /// Sizes and CRCs of a checkpoint's files, and the bytes that are new in it.
    fn inspect(&self, batch: BatchId, directory: &Path) -> Result<(Vec<CheckpointFile>, u64), CheckpointError> {
        let failed = |doing, path: &Path| {
            let path = path.to_path_buf();
            move |source| CheckpointError::Io { batch, doing, path, source }
        };
        let mut files = Vec::new();
        let mut new_bytes = 0;
        for name in self.settings.disk.list(directory).map_err(failed("list", directory))? {
            let path = directory.join(&name);
            let size = fs::metadata(&path).map_err(failed("look at", &path))?.len();
            // Along the chosen parent RocksDB uses no number twice, so the same name is the same file. Only table files: the
            // small ones are written anew each time.
            let inherited = self.inherited.get(&name).filter(|file| is_table(&name) && file.size == size);
            let crc32 = match inherited {
                Some(file) => file.crc32,
                None => {
                    new_bytes += size;
                    crc32_of(&path).map_err(failed("read", &path))?
                }
            };
            files.push(CheckpointFile { name, size, crc32 });
        }
        Ok((files, new_bytes))
    }

    /// Removes what no retained manifest needs.
    fn collect(&mut self, batch: BatchId) -> Result<(), CheckpointError> {
        let CheckpointerSettings { disk, chain, epoch, .. } = &mut self.settings;
        let on_disk = disk.list(&self.directory).map_err(|source| CheckpointError::Io {
            batch,
            doing: "list",
            path: self.directory.clone(),
            source,
        })?;
        // All that the durable boundary leaves stays, whatever the rule would say by now.
        let unneeded = garbage(chain.facts(), Keep::ALL, *epoch, &on_disk);
        let manifests = chain.remove_superseded(&**disk).map_err(|source| CheckpointError::Chain { batch, source })?;
        for name in &unneeded {
            let path = self.directory.join(name);
            disk.remove(Step::CheckpointRemove, &path).map_err(|source| CheckpointError::Io {
                batch,
                doing: "remove",
                path,
                source,
            })?;
        }
        if manifests > 0 || !unneeded.is_empty() {
            tracing::debug!(%batch, manifests, checkpoints = ?unneeded, "removed what no retained checkpoint needs");
        }
        Ok(())
    }
}

/// Says another batch than the one that is held, if a test has planted that; initial state comes before any batch.
fn misstate(point: &mut JobPoint, planted: Planted) {
    if point.batch == BatchId(0) {
        return;
    }
    if planted.has_bug(PlantedBug::CoversNextBatch) {
        (point.batch, point.next_batch) = (point.batch.next(), point.next_batch.next());
        point.published_through = point.batch;
    } else if planted.has_bug(PlantedBug::HoldsNextBatch) {
        (point.batch, point.next_batch) = (BatchId(point.batch.0 - 1), point.batch);
        point.published_through = point.batch;
    }
}
