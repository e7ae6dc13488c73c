//! A disk that dies, tears, fails or fills up at a chosen durable step.
//!
//! It counts durable steps from 1 and keeps a trace of them. A test runs once without a fault to learn the steps, then once
//! per step and fault, and each time opens the same directory with a fresh [`LocalDisk`](super::LocalDisk): it sees what a
//! crash would have left.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Step};

/// What happens at the armed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies just before the step: nothing of it is done.
    DieBefore,
    /// The process dies just after the step: all of it is done, but nobody hears of it.
    DieAfter,
    /// The first so many bytes of an append reach the file, then the process dies. Other steps: as `DieBefore`.
    Tear { bytes: usize },
    /// The step fails once with EIO, and what a sync should have saved may be lost.
    FailOnce,
    /// No byte is free any more, until [`FaultyDisk::heal`]; removing a file frees as many bytes as it held.
    DiskFull,
}

/// One durable step that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedStep {
    /// Counted from 1.
    pub number: u64,
    pub step: Step,
    /// What was done to which file.
    pub what: String,
    /// The fault that struck here.
    pub fault: Option<Fault>,
}

impl fmt::Display for TracedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} {:<18} {}", self.number, self.step.name(), self.what)?;
        match self.fault {
            Some(fault) => write!(f, "  <- {fault:?}"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    trace: Vec<TracedStep>,
    armed: Option<(u64, Fault)>,
    fired: bool,
    dead: bool,
    /// Bytes that are still free, once the disk is full.
    free_bytes: Option<u64>,
}

/// What the step under way has to do.
enum Course {
    Go,
    GoThenDie,
    Tear(usize),
    Fail,
}

/// A disk that misbehaves on command; clones share one state.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    state: Arc<Mutex<State>>,
    loses_unsynced: bool,
}

impl FaultyDisk {
    /// A disk that behaves until it is armed. What was appended but not synced survives a death, as in the page cache of a
    /// machine whose process was killed.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, state: Arc::default(), loses_unsynced: false }
    }

    /// As [`new`](Self::new), but what was appended reaches the files only when it is synced, so that a death loses the rest:
    /// a power cut.
    pub fn losing_unsynced(inner: Arc<dyn Disk>) -> Self {
        Self { loses_unsynced: true, ..Self::new(inner) }
    }

    /// At the `number`-th durable step from the beginning (counted from 1), `fault` strikes.
    pub fn arm(&self, number: u64, fault: Fault) {
        self.lock().armed = Some((number, fault));
    }

    /// Whether the armed fault has struck. A sweep whose faults never strike proves nothing.
    pub fn fired(&self) -> bool {
        self.lock().fired
    }

    /// Whether the process is dead as far as the disk knows.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Ends a full disk.
    pub fn heal(&self) {
        self.lock().free_bytes = None;
    }

    /// The durable steps so far.
    pub fn trace(&self) -> Vec<TracedStep> {
        self.lock().trace.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a step and says how it goes.
    fn begin(&self, step: Step, what: String) -> io::Result<Course> {
        let mut state = self.lock();
        if state.dead {
            return Err(dead());
        }
        let number = state.trace.len() as u64 + 1;
        let fault = state.armed.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        state.trace.push(TracedStep { number, step, what, fault });
        let Some(fault) = fault else { return Ok(Course::Go) };
        state.fired = true;
        match fault {
            Fault::DieAfter => Ok(Course::GoThenDie),
            Fault::Tear { bytes } if step == Step::WalAppend => Ok(Course::Tear(bytes)),
            Fault::DieBefore | Fault::Tear { .. } => {
                state.dead = true;
                Err(dead())
            }
            Fault::FailOnce => Ok(Course::Fail),
            Fault::DiskFull => {
                state.free_bytes = Some(0);
                Ok(Course::Go)
            }
        }
    }

    /// Runs a step that happens whole or not at all.
    fn whole(&self, step: Step, what: String, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.begin(step, what)? {
            Course::Go => act(),
            Course::GoThenDie => {
                act()?;
                self.die()
            }
            Course::Tear(_) => self.die(),
            Course::Fail => Err(eio()),
        }
    }

    fn die(&self) -> io::Result<()> {
        self.lock().dead = true;
        Err(dead())
    }

    fn alive(&self) -> io::Result<()> {
        if self.lock().dead { Err(dead()) } else { Ok(()) }
    }

    /// Takes up to `bytes` of the room that is left and says how much there was.
    fn take_room(&self, bytes: u64) -> u64 {
        match &mut self.lock().free_bytes {
            None => bytes,
            Some(free) => {
                let taken = bytes.min(*free);
                *free -= taken;
                taken
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        self.inner.create_dir_all(path)
    }

    fn create_whole(&self, step: Step, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.whole(step, format!("create {} ({} bytes)", name_of(path), bytes.len()), || {
            let free = self.lock().free_bytes;
            if free.is_some_and(|free| free < bytes.len() as u64) {
                return Err(enospc());
            }
            self.take_room(bytes.len() as u64);
            self.inner.create_whole(step, path, bytes)
        })
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.alive()?;
        let inner = self.inner.open_append(path)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), path: path.to_path_buf(), inner, unsynced: Vec::new() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.alive()?;
        self.inner.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.alive()?;
        self.inner.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.alive()?;
        self.inner.len(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        self.inner.list(path)
    }

    fn remove(&self, step: Step, path: &Path) -> io::Result<()> {
        self.whole(step, format!("remove {}", name_of(path)), || {
            let freed = self.inner.len(path)?;
            self.inner.remove(step, path)?;
            if let Some(free) = &mut self.lock().free_bytes {
                *free += freed;
            }
            Ok(())
        })
    }

    fn sync_tree(&self, step: Step, path: &Path) -> io::Result<()> {
        self.whole(step, format!("sync {}", name_of(path)), || self.inner.sync_tree(step, path))
    }

    fn pass(&self, step: Step) -> io::Result<()> {
        self.whole(step, "pass".to_string(), || self.inner.pass(step))
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    inner: Box<dyn DiskFile>,
    /// Appended bytes that no sync has saved yet; used only where a death loses them.
    unsynced: Vec<u8>,
}

impl FaultyFile {
    fn put(&mut self, step: Step, bytes: &[u8]) -> io::Result<()> {
        if self.disk.loses_unsynced {
            self.unsynced.extend_from_slice(bytes);
            return Ok(());
        }
        self.inner.append(step, &mut [IoSlice::new(bytes)])
    }
}

impl DiskFile for FaultyFile {
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        match self.disk.begin(step, format!("append {} bytes to {}", bytes.len(), name_of(&self.path)))? {
            Course::Fail => Err(eio()),
            Course::Tear(kept) => {
                // What reached the platter before the power went: written past the buffer that a death loses.
                self.inner.append(step, &mut [IoSlice::new(&bytes[..kept.min(bytes.len())])])?;
                self.disk.die()
            }
            Course::GoThenDie => {
                self.put(step, &bytes)?;
                self.disk.die()
            }
            Course::Go => {
                let room = self.disk.take_room(bytes.len() as u64) as usize;
                self.put(step, &bytes[..room])?; // as write(2) does: what fits is written, then there is no space
                if room < bytes.len() { Err(enospc()) } else { Ok(()) }
            }
        }
    }

    fn sync(&mut self, step: Step) -> io::Result<()> {
        let course = self.disk.begin(step, format!("sync {}", name_of(&self.path)))?;
        let unsynced = std::mem::take(&mut self.unsynced);
        if matches!(course, Course::Fail) {
            return Err(eio()); // as Linux does: the pages count as clean afterwards, and are gone with the next power cut
        }
        if !unsynced.is_empty() {
            self.inner.append(step, &mut [IoSlice::new(&unsynced)])?;
        }
        self.inner.sync(step)?;
        if matches!(course, Course::Go) { Ok(()) } else { self.disk.die() }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn dead() -> io::Error {
    io::Error::other("the process is dead (injected)")
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn enospc() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

#[cfg(test)]
mod tests {
    use super::super::LocalDisk;
    use super::*;

    fn append(file: &mut dyn DiskFile, bytes: &[u8]) -> io::Result<()> {
        file.append(Step::WalAppend, &mut [IoSlice::new(bytes)])
    }

    fn disk_with_file(disk: &FaultyDisk) -> (tempfile::TempDir, PathBuf, Box<dyn DiskFile>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        disk.create_whole(Step::WalRoll, &path, b"").unwrap();
        let file = disk.open_append(&path).unwrap();
        (directory, path, file)
    }

    #[test]
    fn after_death_nothing_works_and_the_torn_bytes_are_there() {
        let disk = FaultyDisk::new(Arc::new(LocalDisk));
        disk.arm(3, Fault::Tear { bytes: 2 });
        let (directory, path, mut file) = disk_with_file(&disk);
        append(&mut *file, b"abc").unwrap();
        assert!(append(&mut *file, b"def").is_err());
        assert!(file.sync(Step::WalSync).is_err());
        assert!(disk.read(&path).is_err() && disk.list(directory.path()).is_err());
        assert_eq!(LocalDisk.read(&path).unwrap(), b"abcde");
        assert!(disk.fired());
        let story: Vec<String> = disk.trace().iter().map(ToString::to_string).collect();
        assert_eq!(story[2], "   3 wal.append         append 3 bytes to file  <- Tear { bytes: 2 }");
    }

    #[test]
    fn a_whole_file_is_there_only_if_death_came_after_it() {
        for (fault, there) in [(Fault::DieBefore, false), (Fault::DieAfter, true)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let disk = FaultyDisk::new(Arc::new(LocalDisk));
            disk.arm(1, fault);
            assert!(disk.create_whole(Step::ManifestCreate, &path, b"x").is_err());
            assert_eq!(LocalDisk.read(&path).is_ok(), there);
        }
    }

    #[test]
    fn a_power_cut_loses_what_was_not_synced() {
        let disk = FaultyDisk::losing_unsynced(Arc::new(LocalDisk));
        disk.arm(5, Fault::DieBefore);
        let (_directory, path, mut file) = disk_with_file(&disk);
        append(&mut *file, b"abc").unwrap();
        file.sync(Step::WalSync).unwrap();
        append(&mut *file, b"def").unwrap();
        assert!(file.sync(Step::WalSync).is_err());
        assert_eq!(LocalDisk.read(&path).unwrap(), b"abc");
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_has_room_again_after_a_removal() {
        let disk = FaultyDisk::new(Arc::new(LocalDisk));
        disk.arm(3, Fault::DiskFull);
        let (directory, path, mut file) = disk_with_file(&disk);
        let reserve = directory.path().join("reserve");
        disk.create_whole(Step::WalRoll, &reserve, b"1234").unwrap();
        assert_eq!(append(&mut *file, b"abc").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.remove(Step::WalTruncate, &reserve).unwrap();
        append(&mut *file, b"ab").unwrap();
        assert_eq!(append(&mut *file, b"cde").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.heal();
        append(&mut *file, b"!").unwrap();
        assert_eq!(LocalDisk.read(&path).unwrap(), b"abcd!");
    }
}
