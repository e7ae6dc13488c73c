//! Doors to the disk with a known bug each, to see that the tests find it.
//!
//! A [`BuggyDisk`] stands in front of a job's disk and skips, swallows or replaces what the engine asks for, as an engine would
//! that had forgotten it. Bugs of the engine's own order are planted in the job
//! ([`PlantedBug`](floodmark::testing::PlantedBug)). Without faults nothing shows: the bytes are there, only not for sure.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floodmark::testing::disk::{Disk, DiskFile, Kind, Step};

/// What is wrong with the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DoorBug {
    /// The log is never synced: what it acknowledges may be lost in a power cut (I-1, I-2).
    LogNotSynced,
    /// The log is synced only before it is written again, after it has acknowledged (I-1, I-2).
    LogSyncedLate,
    /// The name of a new segment of the log is not synced, and with it the frames in it (I-1, I-7).
    SegmentNameNotSynced,
    /// No directory is ever synced (I-1, I-5).
    NamesNotSynced,
    /// A sync that fails is taken for one that did not (I-7).
    SyncErrorsIgnored,
    /// A sync of the log that fails is tried again, and the second answer is believed (I-7).
    SyncRetried,
    /// The files of a checkpoint are not synced (I-5).
    CheckpointNotSynced,
    /// A manifest gets its name before its bytes are durable (I-5).
    ManifestNotSynced,
    /// A manifest is written in place, without a temporary file (I-5, I-6).
    ManifestInPlace,
    /// A manifest replaces one of its name that is there (I-8, I-10).
    ManifestReplaces,
    /// The files that a sink publishes are not synced (I-4).
    SinkNotSynced,
    /// The names that a sink publishes are not synced (I-4).
    SinkNamesNotSynced,
}

impl DoorBug {
    /// Every bug, in the order of the way of a record.
    pub const ALL: [Self; 12] = [
        Self::LogNotSynced,
        Self::LogSyncedLate,
        Self::SegmentNameNotSynced,
        Self::NamesNotSynced,
        Self::SyncErrorsIgnored,
        Self::SyncRetried,
        Self::CheckpointNotSynced,
        Self::ManifestNotSynced,
        Self::ManifestInPlace,
        Self::ManifestReplaces,
        Self::SinkNotSynced,
        Self::SinkNamesNotSynced,
    ];

    /// Whether this sync of a file's bytes is left out.
    fn skips_bytes(self, step: Step) -> bool {
        match self {
            Self::LogNotSynced => step == Step::WalSync,
            Self::CheckpointNotSynced => step == Step::CheckpointFiles,
            Self::ManifestNotSynced => step == Step::ManifestCreate,
            Self::SinkNotSynced => step == Step::SinkPublish,
            _ => false,
        }
    }

    /// Whether this sync of a directory's names is left out.
    fn skips_names(self, step: Step) -> bool {
        match self {
            Self::NamesNotSynced => true,
            Self::SegmentNameNotSynced => step == Step::WalRoll,
            Self::CheckpointNotSynced => step == Step::CheckpointFiles,
            Self::SinkNamesNotSynced => step == Step::SinkPublish,
            _ => false,
        }
    }

    fn answer(self, synced: io::Result<()>) -> io::Result<()> {
        if self == Self::SyncErrorsIgnored { Ok(()) } else { synced }
    }
}

/// A disk whose door has a bug.
///
/// ```
/// use floodmark::testing::disk::{Disk, Image, LocalDisk, Loss, SimulatedDisk, Step};
/// use floodmark_chaos::planted::{BuggyDisk, DoorBug};
/// use std::sync::Arc;
///
/// let place = tempfile::tempdir()?;
/// let disk = SimulatedDisk::new(place.path())?;
/// let manifest = place.path().join("1");
/// BuggyDisk::new(Arc::new(disk.clone()), DoorBug::ManifestNotSynced).create_whole(Step::ManifestCreate, &manifest, b"abc")?;
///
/// assert_eq!(LocalDisk.read(&manifest)?, b"abc");
/// assert_eq!(disk.image(Loss::Everything)?.files(), [("1".into(), &b""[..])]); // after a power cut
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BuggyDisk {
    inner: Arc<dyn Disk>,
    bug: DoorBug,
}

impl BuggyDisk {
    /// A door with this bug in front of a disk. Faults belong behind it, where the bug meets them.
    pub fn new(inner: Arc<dyn Disk>, bug: DoorBug) -> Self {
        Self { inner, bug }
    }

    fn file(&self, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(BuggyFile { inner, bug: self.bug, owed: None })
    }

    /// Whether a step works on the file itself instead of a temporary one.
    fn is_in_place(&self, step: Step) -> bool {
        self.bug == DoorBug::ManifestInPlace && step == Step::ManifestCreate
    }
}

impl Disk for BuggyDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        self.inner.kind(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.inner.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.inner.len(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn create(&self, step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let path = if self.is_in_place(step) { final_of(path) } else { path.to_path_buf() };
        Ok(self.file(self.inner.create(step, &path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(self.inner.open_append(path)?))
    }

    fn create_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.inner.create_dir(step, path)
    }

    fn link(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        match self.bug {
            DoorBug::ManifestReplaces if step == Step::ManifestCreate => self.inner.rename(step, from, to),
            _ if self.is_in_place(step) => Ok(()), // it has its name already
            _ => self.inner.link(step, from, to),
        }
    }

    fn rename(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(step, from, to)
    }

    fn remove_file(&self, step: Step, path: &Path) -> io::Result<()> {
        let is_gone = self.bug == DoorBug::ManifestReplaces && step == Step::ManifestCreate;
        if is_gone || self.is_in_place(step) { Ok(()) } else { self.inner.remove_file(step, path) }
    }

    fn remove_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(step, path)
    }

    fn sync_file(&self, step: Step, path: &Path) -> io::Result<()> {
        if self.bug.skips_bytes(step) { Ok(()) } else { self.bug.answer(self.inner.sync_file(step, path)) }
    }

    fn sync_directory(&self, step: Step, path: &Path) -> io::Result<()> {
        if self.bug.skips_names(step) { Ok(()) } else { self.bug.answer(self.inner.sync_directory(step, path)) }
    }

    fn pass(&self, step: Step) -> io::Result<()> {
        self.inner.pass(step)
    }
}

struct BuggyFile {
    inner: Box<dyn DiskFile>,
    bug: DoorBug,
    /// A sync that was acknowledged and not done yet.
    owed: Option<Step>,
}

impl DiskFile for BuggyFile {
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        if let Some(owed) = self.owed.take() {
            self.inner.sync(owed)?;
        }
        self.inner.append(step, slices)
    }

    fn sync(&mut self, step: Step) -> io::Result<()> {
        if self.bug == DoorBug::LogSyncedLate && step == Step::WalSync {
            self.owed = Some(step);
            return Ok(());
        }
        if self.bug.skips_bytes(step) {
            return Ok(());
        }
        let synced = match self.inner.sync(step) {
            Err(_) if self.bug == DoorBug::SyncRetried && step == Step::WalSync => self.inner.sync(step),
            other => other,
        };
        self.bug.answer(synced)
    }
}

/// The file for which a temporary one, `.<name>.<random>.tmp`, stands.
fn final_of(temporary: &Path) -> PathBuf {
    let name = temporary.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")).and_then(|name| name.rsplit_once('.'));
    name.map_or_else(|| temporary.to_path_buf(), |(name, _)| temporary.with_file_name(name))
}
