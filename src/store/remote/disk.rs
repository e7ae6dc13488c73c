//! The door to the disk, with object storage behind it: what counts is in the bucket, what is read is in the working copy.
//!
//! | step | what is done, in this order | a crash in between leaves |
//! |---|---|---|
//! | `checkpoint.files` | the working copy is synced; table files that the parent does not have are uploaded | objects that no manifest names; a later life deletes them |
//! | `manifest.create` | the envelope is created in the bucket, then the manifest in the working copy | a manifest that the next start fetches: the create in the bucket is the commit point |
//! | `wal.roll` | the segment is put as an object of the log, then created in the working copy | a segment that the next start fetches |
//! | `wal.sync` | the working copy is synced, then the group is put as an object of the log | a group that was never acknowledged: the next start cuts its events off the working copy |
//! | `wal.sync`, with bodies in the local log | the working copy is synced; a group of blocks alone is done then; one with events is put, with all since the object before, without bodies | the same |
//! | `wal.truncate` | the working copy's segment goes, then the objects that held nothing else | objects that nobody needs; a later truncation deletes them |
//! | `manifest.remove`, `checkpoint.remove` | the objects go, then the files | files that nobody needs; a later collection removes them |
//!
//! Nothing is deleted before the manifest that makes it unneeded is in the bucket: the steps come in this order anyway (I-5). The
//! first manifest of each epoch stays for ever, so that a driver that was stalled before creating it never finds the name free (I-8),
//! and so does every 64th, by which the newest is found without believing a list.
//! All other paths, such as those of sinks, are those of the local disk.
#![allow(clippy::disallowed_methods)] // reads a note of the working copy

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::envelope::{Envelope, Place, StoredFile, Writer};
use super::log::{Opened, Overtaken, RemoteLog};
use super::outline::Outline;
use super::pins::StoredPins;
use super::{Bucket, Created, ObjectStoreHealth, RemoteError, Upload};
use crate::checkpoint::{Link, MANIFESTS, Manifest, manifest_file_name};
use crate::recovery::facts::{CHECKPOINTS, Facts, WAL};
use crate::state::files::{CheckpointFile, crc32_of, is_table};
use crate::wal::{SEGMENT_HEADER_LEN, SegmentHeader, segment_number};
use floodmark_base::disk::{Disk, DiskFile, Kind, Step};
use floodmark_base::id::{Epoch, LogId, ManifestSequence, SegmentNumber, WriterNonce};

/// Where the files of checkpoints are in the bucket.
pub(super) const FILES: &str = "files";
/// Where notes on uploads in parts are, while they are under way, by the checkpoint's name.
pub(super) const UPLOADS: &str = "uploads";
/// Small files of a checkpoint travel in the envelope; larger ones, which are rare, are objects.
const INLINE_BYTES: u64 = 256 << 10;

/// A local disk whose durable steps count only once object storage has them.
#[derive(Debug)]
pub struct RemoteDisk {
    pub(super) local: Arc<dyn Disk>,
    pub(super) bucket: Bucket,
    /// The working copy.
    pub(super) job: PathBuf,
    pub(super) log: Arc<RemoteLog>,
    /// Bodies of blocks are put, too.
    pub(super) log_blocks: bool,
    /// The last fetch has believed the working copy's note on the log.
    pub(super) trusts: AtomicBool,
    kept: Mutex<Kept>,
    swept: AtomicBool,
}

/// What the bucket holds, as far as this life has to know.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The files of every checkpoint that a retained manifest names, by directory; of one that is being written, those that are objects.
    pub checkpoints: BTreeMap<String, Vec<StoredFile>>,
    /// The table files of the newest manifest's checkpoint: along the chosen parent RocksDB uses no number twice.
    pub parent: HashMap<String, StoredFile>,
    /// The epochs of manifests.
    pub epochs: BTreeMap<ManifestSequence, Epoch>,
    /// The epoch of the newest manifest that this life has published.
    pub epoch: Epoch,
    /// Manifests below the boundary whose deletion a crash has prevented.
    pub left: Vec<ManifestSequence>,
    /// Below this number, objects of the log may go.
    pub log_limit: u64,
    /// The pins that were read so far.
    pub pins: StoredPins,
    /// Manifests whose objects cannot be read, and why.
    pub damaged_manifests: BTreeMap<ManifestSequence, String>,
    /// Checkpoints that lack a file, and which.
    pub damaged_checkpoints: BTreeMap<String, String>,
}

/// What a path in the working copy is.
enum Part {
    Manifest(ManifestSequence),
    Checkpoint(String),
    Segment(SegmentNumber),
    Other,
}

impl RemoteDisk {
    pub fn new(local: Arc<dyn Disk>, bucket: Bucket, job: &Path, log_blocks: bool) -> Self {
        let log = Arc::new(RemoteLog::new(bucket.clone()));
        let (job, trusts, swept) = (job.to_path_buf(), AtomicBool::new(false), AtomicBool::new(false));
        Self { local, bucket, job, log, log_blocks, trusts, kept: Mutex::default(), swept }
    }

    /// Takes the log over, by an object that says so; see [`Opened`] for what to do then.
    ///
    /// # Errors
    /// As [`RemoteLog::open`].
    pub fn open_log(&self, epoch: Epoch, nonce: WriterNonce) -> Result<Result<Opened, Overtaken>, RemoteError> {
        self.log.open(&writer(epoch, nonce))
    }

    /// Hears from now on how the store is doing.
    pub fn on_health(&self, hear: impl Fn(&ObjectStoreHealth) + Send + Sync + 'static) {
        self.bucket.on_health(hear);
    }

    /// Nobody hears any more.
    pub fn end_health(&self) {
        self.bucket.end_health();
    }

    /// Who has taken over, if this life has met them.
    pub fn overtaken(&self) -> Option<Overtaken> {
        self.log.overtaken()
    }

    /// Whether a claim that was lost is to be tried again: the log is ours, so whoever has won the claim cannot go on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn may_claim_again(&self) -> Result<bool, RemoteError> {
        let is_held = self.log.is_held()?;
        if is_held {
            self.log.forget_overtaken();
        }
        Ok(is_held)
    }

    /// Names the objects that are damaged where the working copy shows only that something is missing.
    pub fn tell_damage(&self, facts: &mut Facts) {
        let kept = self.kept();
        for (sequence, why) in &kept.damaged_manifests {
            if let Some(Link::Damaged { reason, .. }) = facts.chain.links.get_mut(sequence) {
                reason.clone_from(why);
            }
        }
        for candidate in &mut facts.candidates {
            let why = candidate.checkpoint.as_ref().and_then(|files| kept.damaged_checkpoints.get(&files.directory));
            candidate.damage = why.cloned().or(candidate.damage.take());
        }
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, path: &Path) -> Part {
        let Ok(below) = path.strip_prefix(&self.job) else { return Part::Other };
        let mut names = below.iter().filter_map(|name| name.to_str());
        match (names.next(), names.next(), names.next()) {
            (Some(MANIFESTS), Some(name), None) => {
                super::log::number_in(name).map_or(Part::Other, |number| Part::Manifest(ManifestSequence(number)))
            }
            (Some(CHECKPOINTS), Some(name), None) => Part::Checkpoint(name.to_string()),
            (Some(WAL), Some(name), None) => segment_number(name).map_or(Part::Other, Part::Segment),
            _ => Part::Other,
        }
    }

    /// Creates a manifest: in the bucket, where it counts, then in the working copy.
    fn create_manifest(&self, step: Step, path: &Path, sequence: ManifestSequence, bytes: &[u8]) -> io::Result<()> {
        let manifest = Manifest::from_bytes(bytes).map_err(invalid)?;
        let files = self.places_of(&manifest)?;
        let (writer, log) = (writer(manifest.epoch, manifest.nonce), self.log.range());
        let envelope = Envelope { writer, log, manifest: Bytes::copy_from_slice(bytes), files };
        match self.bucket.create(&manifest_name(sequence), envelope.to_bytes()?)? {
            Created::Ours => {
                let mut kept = self.kept();
                kept.published(&manifest, &envelope.files);
                (kept.epoch, kept.log_limit) = (manifest.epoch, log.next);
                drop(kept);
                self.local.create_whole(step, path, bytes)?;
                self.write_known()
            }
            Created::Theirs(theirs) => {
                let theirs = Envelope::from_bytes(&manifest_name(sequence), &theirs)?;
                // An older driver that was first has not taken over: it only published before our claim.
                if theirs.writer.epoch >= manifest.epoch {
                    self.log.note_overtaken(Overtaken {
                        object: manifest_name(sequence),
                        who: theirs.writer.who,
                        ours: manifest.epoch,
                        theirs: theirs.writer.epoch,
                    });
                }
                // The chain reads the working copy to see who was there first.
                match self.local.create_whole(step, path, &theirs.manifest) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => Err(io::Error::new(io::ErrorKind::AlreadyExists, "another driver has created it")),
                }
            }
        }
    }

    /// Where the files of a manifest's checkpoint are; small ones are read, to travel with it.
    fn places_of(&self, manifest: &Manifest) -> io::Result<Vec<StoredFile>> {
        let Some(checkpoint) = &manifest.checkpoint else { return Ok(Vec::new()) };
        let known = self.kept().checkpoints.get(&checkpoint.directory).cloned().unwrap_or_default();
        let directory = self.job.join(CHECKPOINTS).join(&checkpoint.directory);
        let place = |file: &CheckpointFile| {
            if let Some(stored) = known.iter().find(|stored| stored.file == *file) {
                return Ok(stored.clone());
            }
            let path = directory.join(&file.name);
            let bytes = self.local.read(&path)?;
            let (size, crc32) = (bytes.len() as u64, crc32fast::hash(&bytes));
            if file.is_table() || size > INLINE_BYTES || (size, crc32) != (file.size, file.crc32) {
                return Err(invalid(format!(
                    "{}: expected {} bytes with crc32 {:08x} that were uploaded, found {size} with {crc32:08x} that were not",
                    path.display(),
                    file.size,
                    file.crc32
                )));
            }
            Ok(StoredFile { file: file.clone(), place: Place::Inline(bytes.into()) })
        };
        checkpoint.files.iter().map(place).collect()
    }

    /// Uploads the files of a checkpoint that are new in it.
    fn upload_checkpoint(&self, name: &str) -> io::Result<()> {
        let directory = self.job.join(CHECKPOINTS).join(name);
        let parent = self.kept().parent.clone();
        let (mut stored, mut uploads) = (Vec::new(), Vec::new());
        for file_name in self.local.list(&directory)? {
            let path = directory.join(&file_name);
            let size = self.local.len(&path)?;
            if let Some(known) = parent.get(&file_name).filter(|known| known.file.size == size) {
                stored.push(known.clone());
            } else if is_table(&file_name) || size > INLINE_BYTES {
                let crc32 = crc32_of(&path)?;
                let object = format!("{FILES}/{name}/{file_name}");
                uploads.push(Upload { name: object.clone(), file: path, size, crc32 });
                let file = CheckpointFile { name: file_name, size, crc32 };
                stored.push(StoredFile { file, place: Place::Object(object) });
            }
        }
        let bytes = self.bucket.upload_noted(&uploads, &format!("{UPLOADS}/{name}"))?;
        tracing::debug!(checkpoint = name, files = uploads.len(), bytes, "uploaded");
        self.kept().checkpoints.insert(name.to_string(), stored);
        Ok(())
    }
}

impl Kept {
    /// A manifest is in the bucket.
    pub fn published(&mut self, manifest: &Manifest, files: &[StoredFile]) {
        self.epochs.insert(manifest.sequence, manifest.epoch);
        let Some(checkpoint) = &manifest.checkpoint else { return };
        let tables = files.iter().filter(|stored| stored.file.is_table());
        self.parent = tables.map(|stored| (stored.file.name.clone(), stored.clone())).collect();
        self.checkpoints.insert(checkpoint.directory.clone(), files.to_vec());
    }
}

impl Disk for RemoteDisk {
    fn create_whole(&self, step: Step, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match (step, self.part(path)) {
            (Step::ManifestCreate, Part::Manifest(sequence)) => self.create_manifest(step, path, sequence, bytes),
            (Step::WalRoll, Part::Segment(segment)) => {
                // Whole, with what recovery has carried into it: where it stood before it counts no more.
                self.log.stage(Outline::whole(segment, 0, std::iter::once(bytes)).pieces);
                self.log.put()?;
                self.local.create_whole(step, path, bytes)
            }
            _ => self.local.create_whole(step, path, bytes),
        }
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.local.open_append(path)?;
        let Part::Segment(segment) = self.part(path) else { return Ok(file) };
        let end = self.local.len(path)?;
        let header = self.local.read_at(path, 0, SEGMENT_HEADER_LEN)?;
        let id = SegmentHeader::decode(&header, path, segment).map_err(invalid)?.log;
        let (log, log_blocks) = (self.log.clone(), self.log_blocks);
        Ok(Box::new(RemoteFile { file, log, log_blocks, segment, id, end, unsynced: Outline::default() }))
    }

    fn sync_tree(&self, step: Step, path: &Path) -> io::Result<()> {
        self.local.sync_tree(step, path)?;
        match (step, self.part(path)) {
            (Step::CheckpointFiles, Part::Checkpoint(name)) => self.upload_checkpoint(&name),
            _ => Ok(()),
        }
    }

    fn remove(&self, step: Step, path: &Path) -> io::Result<()> {
        let part = self.part(path);
        if matches!(step, Step::ManifestRemove | Step::CheckpointRemove) && !self.swept.swap(true, Ordering::Relaxed) {
            self.sweep()?;
        }
        match (step, part) {
            (Step::ManifestRemove, Part::Manifest(sequence)) => {
                self.delete_manifest(sequence)?;
                self.local.remove(step, path)
            }
            (Step::CheckpointRemove, Part::Checkpoint(name)) => {
                self.delete_checkpoint(&name)?;
                self.local.remove(step, path)
            }
            (Step::WalTruncate, Part::Segment(segment)) => {
                let removed = self.local.remove(step, path);
                match &removed {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                    _ => self.delete_log(segment)?,
                }
                removed
            }
            _ => self.local.remove(step, path),
        }
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        self.local.kind(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.local.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.local.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.local.len(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.local.list(path)
    }

    fn create(&self, step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.local.create(step, path)
    }

    fn create_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.local.create_dir(step, path)
    }

    fn link(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        self.local.link(step, from, to)
    }

    fn rename(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        self.local.rename(step, from, to)
    }

    fn remove_file(&self, step: Step, path: &Path) -> io::Result<()> {
        self.local.remove_file(step, path)
    }

    fn remove_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.local.remove_dir(step, path)
    }

    fn sync_file(&self, step: Step, path: &Path) -> io::Result<()> {
        self.local.sync_file(step, path)
    }

    fn sync_directory(&self, step: Step, path: &Path) -> io::Result<()> {
        self.local.sync_directory(step, path)
    }

    fn pass(&self, step: Step) -> io::Result<()> {
        self.local.pass(step)
    }

    fn create_dir_all(&self, step: Step, path: &Path) -> io::Result<()> {
        self.local.create_dir_all(step, path)
    }

    fn replace_whole(&self, step: Step, path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        self.local.replace_whole(step, path, temporary, bytes)
    }
}

/// A segment of the log that is being written.
struct RemoteFile {
    file: Box<dyn DiskFile>,
    log: Arc<RemoteLog>,
    log_blocks: bool,
    segment: SegmentNumber,
    id: LogId,
    end: u64,
    /// What was appended since the last sync.
    unsynced: Outline,
}

impl DiskFile for RemoteFile {
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes = slices.iter().map(|slice| &**slice);
        let outline = if self.log_blocks {
            Outline::whole(self.segment, self.end, bytes)
        } else {
            Outline::without_bodies(self.segment, self.id, self.end, bytes).map_err(invalid)?
        };
        // On an error the log goes on in another segment, if at all; what reached this one is superseded.
        self.file.append(step, slices)?;
        self.end += outline.len;
        self.unsynced.extend(outline);
        Ok(())
    }

    fn sync(&mut self, step: Step) -> io::Result<()> {
        self.file.sync(step)?;
        let Outline { pieces, has_events, .. } = std::mem::take(&mut self.unsynced);
        self.log.stage(pieces);
        if has_events { self.log.put() } else { Ok(()) }
    }
}

/// The name of a manifest's object.
pub(super) fn manifest_name(sequence: ManifestSequence) -> String {
    format!("{MANIFESTS}/{}", manifest_file_name(sequence))
}

fn writer(epoch: Epoch, nonce: WriterNonce) -> Writer {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = machine.trim();
    let machine = if machine.is_empty() { "an unnamed machine" } else { machine };
    Writer { epoch, nonce, who: format!("process {} on {machine}", std::process::id()) }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
