//! The victim's disk: the real one, and at every operation of a durable step it tells, and perhaps stops for ever.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use floodmark::testing::disk::{Disk, DiskFile, Kind, LocalDisk, Step};

use super::point::{Moment, Point, Stage};
use super::word::Word;

/// How often a victim that is held says so.
const TOLD_AGAIN: Duration = Duration::from_secs(1);

/// What every operation passes: it tells of it, and holds the one that it was told to hold.
#[derive(Debug)]
pub(super) struct Gate {
    stage: AtomicU8,
    point: Option<Point>,
    /// How many operations have counted so far. Telling and counting are one, so that what is told has the order that counts.
    counted: Mutex<u64>,
}

/// The moments of an operation at which it stops for ever.
#[derive(Clone, Copy)]
struct Held(Option<Moment>);

impl Gate {
    pub fn new(point: Option<Point>) -> Self {
        Self { stage: AtomicU8::new(Stage::Recovering as u8), point, counted: Mutex::default() }
    }

    /// The life goes over to this stage.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Recovering,
            1 => Stage::Running,
            _ => Stage::Stopping,
        }
    }

    fn around<T>(&self, step: Step, operation: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let held = self.begin(step, operation)?;
        let done = act();
        self.end(step, operation, held)?;
        done
    }

    fn begin(&self, step: Step, operation: &str) -> io::Result<Held> {
        let held = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            Word::Begin { step, operation: operation.to_string() }.tell()?;
            match &self.point {
                Some(point) if point.counts(self.stage(), step, operation) => {
                    *counted += 1;
                    Held((*counted == point.nth).then_some(point.moment))
                }
                _ => Held(None),
            }
        };
        held.at(Moment::Before)?;
        Ok(held)
    }

    fn end(&self, step: Step, operation: &str, held: Held) -> io::Result<()> {
        held.at(Moment::After)?;
        Word::End { step, operation: operation.to_string() }.tell()
    }
}

impl Held {
    /// Stops this thread for ever, if it is held at this moment. The others go on.
    fn at(self, moment: Moment) -> io::Result<()> {
        while self.0 == Some(moment) {
            // Again and again: when the parent has gone without a kill, this fails, and the victim ends too.
            if Word::Holding.tell().is_err() {
                std::process::exit(1);
            }
            std::thread::park_timeout(TOLD_AGAIN);
        }
        Ok(())
    }
}

/// The real disk behind a [`Gate`].
pub(super) struct WatchedDisk {
    disk: LocalDisk,
    gate: Arc<Gate>,
}

impl WatchedDisk {
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { disk: LocalDisk, gate }
    }
}

impl fmt::Debug for WatchedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedDisk").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Disk for WatchedDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        self.disk.kind(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.disk.len(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }

    fn create(&self, step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.gate.around(step, "create", || self.disk.create(step, path))?;
        Ok(Box::new(WatchedFile { file, gate: self.gate.clone() }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(WatchedFile { file: self.disk.open_append(path)?, gate: self.gate.clone() }))
    }

    fn create_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.gate.around(step, "create_dir", || self.disk.create_dir(step, path))
    }

    fn link(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        self.gate.around(step, "link", || self.disk.link(step, from, to))
    }

    fn rename(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        self.gate.around(step, "rename", || self.disk.rename(step, from, to))
    }

    fn remove_file(&self, step: Step, path: &Path) -> io::Result<()> {
        self.gate.around(step, "remove_file", || self.disk.remove_file(step, path))
    }

    fn remove_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        self.gate.around(step, "remove_dir", || self.disk.remove_dir(step, path))
    }

    fn sync_file(&self, step: Step, path: &Path) -> io::Result<()> {
        self.gate.around(step, "sync_file", || self.disk.sync_file(step, path))
    }

    fn sync_directory(&self, step: Step, path: &Path) -> io::Result<()> {
        self.gate.around(step, "sync_directory", || self.disk.sync_directory(step, path))
    }

    fn pass(&self, step: Step) -> io::Result<()> {
        self.gate.around(step, "pass", || self.disk.pass(step))
    }
}

struct WatchedFile {
    file: Box<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for WatchedFile {
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let held = self.gate.begin(step, "append")?;
        let done = if held.0 == Some(Moment::Within) {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let done = self.file.append(step, &mut [IoSlice::new(&bytes[..bytes.len() / 2])]);
            held.at(Moment::Within)?;
            done
        } else {
            self.file.append(step, slices)
        };
        self.gate.end(step, "append", held)?;
        done
    }

    fn sync(&mut self, step: Step) -> io::Result<()> {
        self.gate.around(step, "sync", || self.file.sync(step))
    }
}
