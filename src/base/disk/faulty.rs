//! A disk that dies, tears, fails or fills up at a chosen durable step.
//!
//! It counts durable steps from 1 and keeps a trace of them. A test runs once without a fault to learn the steps, then once
//! per step and fault, and each time opens the same directory with a fresh [`LocalDisk`](super::LocalDisk): it sees what a
//! crash of the process would have left. What a crash of the machine leaves is the business of
//! [`SimulatedDisk`](super::SimulatedDisk), which a [`Watcher`] asks at the moment of death.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Kind, Step};

/// What happens at the armed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies just before the step: nothing of it is done.
    DieBefore,
    /// The process dies just after the step: all of it is done, but nobody hears of it.
    DieAfter,
    /// The first so many bytes of an append reach the file, then the process dies. Other steps: as `DieBefore`.
    Tear { bytes: usize },
    /// An append reaches the file up to the first multiple of so many bytes of the file's length, or, where it does not come so
    /// far, in its first half; then the process dies. Other steps: as `DieBefore`.
    TearAt { boundary: u64 },
    /// The step fails once with EIO, and what a sync should have saved may be lost.
    FailOnce,
    /// The step is done, but its answer is lost: it fails with EIO.
    FailAfter,
    /// No byte is free any more, until [`FaultyDisk::heal`]; removing a file frees as many bytes as it held.
    DiskFull,
    /// What a step of [`FaultyDisk::look`] sees is behind. Other steps: nothing.
    Stale,
    /// Nothing: the [`Watcher`] is told, and may hold the step, or do what it likes meanwhile.
    Hold,
}

/// A durable step of a life, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    pub step: Step,
    /// Which of the steps of this kind, counted from 1.
    pub nth: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.step, self.nth)
    }
}

/// One durable step that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedStep {
    /// Counted from 1.
    pub number: u64,
    pub step: Step,
    /// Which of the steps of this kind, counted from 1.
    pub nth: u64,
    /// What was done to which file.
    pub what: String,
    /// Whether it writes bytes into a file, and so can tear.
    pub writes: bool,
    /// The fault that struck here.
    pub fault: Option<Fault>,
}

impl TracedStep {
    /// The point at which the step stands.
    #[must_use]
    pub fn point(&self) -> Point {
        Point { step: self.step, nth: self.nth }
    }
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

/// Is told of the armed fault, by the thread that takes the step.
pub trait Watcher: Send + Sync {
    /// A durable step begins.
    fn begins(&self, _step: &TracedStep) {}

    /// The fault strikes now; nothing of the step is done yet.
    fn struck(&self, _step: &TracedStep) {}

    /// The process has just died: what is on the disk now is what a death of the process leaves.
    fn died(&self) {}
}

/// Nobody watches.
struct Nobody;

impl Watcher for Nobody {}

/// At which step the fault strikes.
#[derive(Clone, Copy, Debug)]
enum Aim {
    Number(u64),
    Point(Point),
}

#[derive(Default)]
struct State {
    trace: Vec<TracedStep>,
    armed: Option<(Aim, Fault)>,
    fired: bool,
    dead: bool,
    /// Bytes that are still free, once the disk is full.
    free_bytes: Option<u64>,
    /// Names of files that have another one: removing them frees nothing.
    linked: HashSet<PathBuf>,
}

/// What the step under way has to do.
enum Course {
    Go,
    GoThenDie,
    GoThenFail,
    Tear(Fault),
    Fail,
    Stale,
}

/// A disk that misbehaves on command; clones share one state.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    state: Arc<Mutex<State>>,
    watcher: Arc<dyn Watcher>,
    loses_unsynced: bool,
}

impl FaultyDisk {
    /// A disk that behaves until it is armed. What was appended but not synced survives a death, as in the page cache of a
    /// machine whose process was killed.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, state: Arc::default(), watcher: Arc::new(Nobody), loses_unsynced: false }
    }

    /// As [`new`](Self::new), but what was appended reaches the files only when it is synced, so that a death loses the rest:
    /// a power cut, as far as bytes in files go.
    pub fn losing_unsynced(inner: Arc<dyn Disk>) -> Self {
        Self { loses_unsynced: true, ..Self::new(inner) }
    }

    /// As [`new`](Self::new), with somebody who is told when the fault strikes.
    pub fn watched(inner: Arc<dyn Disk>, watcher: Arc<dyn Watcher>) -> Self {
        Self { watcher, ..Self::new(inner) }
    }

    /// At the `number`-th durable step from the beginning (counted from 1), `fault` strikes.
    pub fn arm(&self, number: u64, fault: Fault) {
        self.lock().armed = Some((Aim::Number(number), fault));
    }

    /// At this point of the life, `fault` strikes.
    pub fn arm_at(&self, point: Point, fault: Fault) {
        self.lock().armed = Some((Aim::Point(point), fault));
    }

    /// Whether the armed fault has struck. A sweep whose faults never strike proves nothing.
    pub fn fired(&self) -> bool {
        self.lock().fired
    }

    /// Whether the process is dead as far as the disk knows.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The process is dead from now on.
    pub fn kill(&self) {
        self.lock().dead = true;
    }

    /// Ends a full disk.
    pub fn heal(&self) {
        self.lock().free_bytes = None;
    }

    /// The durable steps so far.
    pub fn trace(&self) -> Vec<TracedStep> {
        self.lock().trace.clone()
    }

    /// Takes a step that is not one of a disk, but of something else outside of the process, such as an object store: it happens
    /// whole or not at all, and every fault strikes it as it does a step of the disk.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use floodmark_base::disk::{Fault, FaultyDisk, LocalDisk, Point, Step};
    ///
    /// let door = FaultyDisk::new(Arc::new(LocalDisk));
    /// door.arm_at(Point { step: Step::StorePut, nth: 1 }, Fault::FailAfter);
    /// let mut put = false;
    /// assert!(door.perform(Step::StorePut, "put a".to_string(), || Ok(put = true)).is_err());
    /// assert!(put, "it is done, and its answer is lost");
    /// ```
    ///
    /// # Errors
    /// What `act` fails with, what the fault that strikes makes of it, or that the process is dead.
    pub fn perform<T>(&self, step: Step, what: String, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.whole(step, what, act)
    }

    /// As [`perform`](Self::perform), for a step that looks at what is there: `act` is told whether it sees all of it, or, at
    /// [`Fault::Stale`], what is behind (`true`).
    ///
    /// # Errors
    /// As [`perform`](Self::perform).
    pub fn look<T>(&self, step: Step, what: String, act: impl FnOnce(bool) -> io::Result<T>) -> io::Result<T> {
        let course = self.begin(step, what, false)?;
        self.finish(&course, || act(matches!(course, Course::Stale)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a step and says how it goes.
    fn begin(&self, step: Step, what: String, writes: bool) -> io::Result<Course> {
        let Some(struck) = self.count(step, what, writes)? else { return Ok(Course::Go) };
        self.watcher.struck(&struck);
        match struck.fault.expect("it has struck") {
            _ if self.is_dead() => Err(dead()), // meanwhile
            Fault::DieAfter => Ok(Course::GoThenDie),
            fault @ (Fault::Tear { .. } | Fault::TearAt { .. }) if writes => Ok(Course::Tear(fault)),
            Fault::DieBefore | Fault::Tear { .. } | Fault::TearAt { .. } => Err(self.die()),
            Fault::FailOnce => Ok(Course::Fail),
            Fault::FailAfter => Ok(Course::GoThenFail),
            Fault::DiskFull => {
                self.lock().free_bytes = Some(0);
                Ok(Course::Go)
            }
            Fault::Stale => Ok(Course::Stale),
            Fault::Hold => Ok(Course::Go),
        }
    }

    /// Puts a step into the trace; returns it when the fault strikes here.
    fn count(&self, step: Step, what: String, writes: bool) -> io::Result<Option<TracedStep>> {
        let mut state = self.lock();
        if state.dead {
            return Err(dead());
        }
        let number = state.trace.len() as u64 + 1;
        let nth = state.trace.iter().filter(|traced| traced.step == step).count() as u64 + 1;
        let here = |aim: &Aim| match aim {
            Aim::Number(armed) => *armed == number,
            Aim::Point(armed) => *armed == Point { step, nth },
        };
        let fault = state.armed.filter(|(aim, _)| here(aim)).map(|(_, fault)| fault);
        let traced = TracedStep { number, step, nth, what, writes, fault };
        state.trace.push(traced.clone());
        state.fired |= fault.is_some();
        drop(state);
        self.watcher.begins(&traced);
        Ok(fault.is_some().then_some(traced))
    }

    /// Runs a step that happens whole or not at all.
    fn whole<T>(&self, step: Step, what: String, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let course = self.begin(step, what, false)?;
        self.finish(&course, act)
    }

    fn finish<T>(&self, course: &Course, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match course {
            Course::Go | Course::Stale => act(),
            Course::GoThenDie => {
                act()?;
                Err(self.die())
            }
            Course::GoThenFail => {
                act()?;
                Err(eio())
            }
            Course::Tear(_) => Err(self.die()),
            Course::Fail => Err(eio()),
        }
    }

    fn die(&self) -> io::Error {
        self.lock().dead = true;
        self.watcher.died();
        dead()
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

    fn file(&self, path: &Path, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { disk: self.clone(), path: path.to_path_buf(), inner, unsynced: Vec::new() })
    }
}

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyDisk").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Disk for FaultyDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        self.alive()?;
        self.inner.kind(path)
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

    fn create(&self, step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.whole(step, format!("create {}", name_of(path)), || self.inner.create(step, path))?;
        Ok(self.file(path, inner))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.alive()?;
        Ok(self.file(path, self.inner.open_append(path)?))
    }

    fn create_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.whole(step, format!("create directory {}", name_of(path)), || self.inner.create_dir(step, path))
    }

    fn link(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(step, format!("link {}", name_of(to)), || {
            self.inner.link(step, from, to)?;
            self.lock().linked.insert(from.to_path_buf());
            Ok(())
        })
    }

    fn rename(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(step, format!("rename to {}", name_of(to)), || self.inner.rename(step, from, to))
    }

    fn remove_file(&self, step: Step, path: &Path) -> io::Result<()> {
        self.whole(step, format!("remove {}", name_of(path)), || {
            let bytes = self.inner.len(path)?;
            self.inner.remove_file(step, path)?;
            let mut state = self.lock();
            let freed = if state.linked.remove(path) { 0 } else { bytes };
            state.free_bytes = state.free_bytes.map(|free| free + freed);
            Ok(())
        })
    }

    fn remove_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.whole(step, format!("remove directory {}", name_of(path)), || self.inner.remove_dir(step, path))
    }

    fn sync_file(&self, step: Step, path: &Path) -> io::Result<()> {
        self.whole(step, format!("sync {}", name_of(path)), || self.inner.sync_file(step, path))
    }

    fn sync_directory(&self, step: Step, path: &Path) -> io::Result<()> {
        self.whole(step, format!("sync directory {}", name_of(path)), || self.inner.sync_directory(step, path))
    }

    fn pass(&self, step: Step) -> io::Result<()> {
        self.whole(step, "pass".to_string(), || {
            // The live directory is written outside of this door, and takes room, too.
            match self.lock().free_bytes {
                Some(0) if step == Step::LiveBuild => Err(enospc()),
                _ => self.inner.pass(step),
            }
        })
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

    /// How many bytes of an append of this length reach the file when it tears.
    fn torn(&self, fault: Fault, len: usize) -> io::Result<usize> {
        Ok(match fault {
            Fault::Tear { bytes } => bytes.min(len),
            Fault::TearAt { boundary } => {
                let begin = self.disk.inner.len(&self.path)?;
                let to_boundary = (boundary - begin % boundary) as usize;
                if to_boundary < len { to_boundary } else { len / 2 }
            }
            _ => len,
        })
    }
}

impl DiskFile for FaultyFile {
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let what = format!("append {} bytes to {}", bytes.len(), name_of(&self.path));
        let course = self.disk.begin(step, what, true)?;
        if let Course::Tear(fault) = course {
            // What reached the platter before the power went: written past the buffer that a death loses.
            let kept = self.torn(fault, bytes.len())?;
            self.inner.append(step, &mut [IoSlice::new(&bytes[..kept])])?;
        }
        let disk = self.disk.clone();
        disk.finish(&course, || {
            let room = disk.take_room(bytes.len() as u64) as usize;
            self.put(step, &bytes[..room])?; // as write(2) does: what fits is written, then there is no space
            if room < bytes.len() { Err(enospc()) } else { Ok(()) }
        })
    }

    fn sync(&mut self, step: Step) -> io::Result<()> {
        let course = self.disk.begin(step, format!("sync {}", name_of(&self.path)), false)?;
        // Also where the sync fails, as Linux does: the pages count as clean afterwards, and are gone with the next power cut.
        let unsynced = std::mem::take(&mut self.unsynced);
        self.disk.clone().finish(&course, || {
            if !unsynced.is_empty() {
                self.inner.append(step, &mut [IoSlice::new(&unsynced)])?;
            }
            self.inner.sync(step)
        })
    }
}

/// The name by which a trace calls a file: without random parts, so that two runs have the same trace.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_random = |part: &str| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.split(['.', '-']).find(|part| is_random(part)) {
        Some(random) => name.replace(random, "…"),
        None => name.into_owned(),
    }
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
        disk.arm_at(Point { step: Step::WalAppend, nth: 2 }, Fault::Tear { bytes: 2 });
        let (directory, path, mut file) = disk_with_file(&disk);
        append(&mut *file, b"abc").unwrap();
        assert!(append(&mut *file, b"def").is_err());
        assert!(file.sync(Step::WalSync).is_err());
        assert!(disk.read(&path).is_err() && disk.list(directory.path()).is_err());
        assert_eq!(LocalDisk.read(&path).unwrap(), b"abcde");
        assert!(disk.fired());
        let story: Vec<String> = disk.trace().iter().map(ToString::to_string).collect();
        assert_eq!(story[7], "   8 wal.append         append 3 bytes to file  <- Tear { bytes: 2 }");
    }

    #[test]
    fn a_whole_file_is_there_whole_or_not_at_all_wherever_death_comes() {
        for (number, fault) in (1..=6).flat_map(|number| [(number, Fault::DieBefore), (number, Fault::DieAfter)]) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let disk = FaultyDisk::new(Arc::new(LocalDisk));
            disk.arm(number, fault);
            assert!(disk.create_whole(Step::ManifestCreate, &path, b"x").is_err());
            let linked = number > 4 || (number == 4 && fault == Fault::DieAfter);
            assert_eq!(LocalDisk.read(&path).ok(), linked.then(|| b"x".to_vec()), "{fault:?} at {number}");
        }
    }

    #[test]
    fn a_power_cut_loses_what_was_not_synced() {
        let disk = FaultyDisk::losing_unsynced(Arc::new(LocalDisk));
        disk.arm_at(Point { step: Step::WalSync, nth: 2 }, Fault::DieBefore);
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
        disk.arm_at(Point { step: Step::WalAppend, nth: 1 }, Fault::DiskFull);
        let (directory, path, mut file) = disk_with_file(&disk);
        let reserve = directory.path().join("reserve");
        LocalDisk.create_whole(Step::WalRoll, &reserve, b"1234").unwrap();
        assert_eq!(append(&mut *file, b"abc").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.remove(Step::WalTruncate, &reserve).unwrap();
        append(&mut *file, b"ab").unwrap();
        assert_eq!(append(&mut *file, b"cde").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.heal();
        append(&mut *file, b"!").unwrap();
        assert_eq!(LocalDisk.read(&path).unwrap(), b"abcd!");
    }
}
