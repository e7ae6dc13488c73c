//! The files of a directory, in the order in which a source takes them: what text and binary files have in common.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::clock::{Clock, SystemClock};
use crate::place::absolute;
use crate::source::compression::Compression;
use crate::source::error::SourceError;
use crate::source::file_name::FileName;
use crate::source::file_range::{FileRange, FileStamp, changed};
use crate::source::files_status::{FilesStatus, PassedOver};

/// The smallest piece of a file that is planned when the limits allow next to nothing.
const SMALLEST_PIECE_BYTES: u64 = 4 << 10;
/// Files per batch, unless told otherwise: each is a task at least, and a plan names them all.
const MAX_FILES_PER_BATCH: usize = 1_000;
/// Two changes of a directory this far apart never leave the same time of modification (the coarsest file systems count in
/// steps of two seconds).
const SETTLED_AFTER_MS: u64 = 3_000;
/// A name is forgotten after it was missing from so many listings in turn: one empty listing (a file system that was not
/// mounted for a moment) must not have every file taken again.
const LISTINGS_UNTIL_FORGOTTEN: u32 = 16;

/// A directory that files are moved into.
///
/// They are taken in the order of their modification times, then names; each name once, as long as it is there, however old its
/// time. Names that begin with `.` or `_` or end with `.tmp` are not taken. A link is what it leads to.
///
/// What the system refuses is no error: a directory that is not there is looked for again at the next offer, and what cannot be
/// read is passed over. Both are reported once, and stand in the [`FilesStatus`].
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    max_files_per_batch: usize,
    /// Files that were seen and not taken, in the order in which they will be; so that each is looked at once.
    waiting: BTreeMap<(i64, FileName), FileStamp>,
    waiting_names: HashSet<FileName>,
    /// What the last offer was made of: the only ones that a plan may have taken since.
    offered: Vec<(i64, FileName)>,
    /// In how many listings in turn a taken name was missing.
    missing: HashMap<FileName, u32>,
    passed_over: PassedOver,
    /// Why nothing can be taken at present.
    unavailable: Option<String>,
    status: FilesStatus,
    clock: Arc<dyn Clock>,
    listed: Option<Listed>,
}

/// Into what pieces files are divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    /// Bytes that the batch may take.
    pub budget_bytes: u64,
    /// Bytes of a piece.
    pub task_bytes: u64,
    /// Pieces end at multiples of this, or with their file.
    pub grain_bytes: u64,
}

/// The directory as it was last listed: while it stays so, it need not be listed again.
#[derive(Debug)]
struct Listed {
    /// The directory's own time of modification.
    modified_ns: i64,
    /// When that was first seen, on the monotonic clock.
    since_ms: u64,
    /// It was listed so long after `since_ms` that every later change shows in another time of modification.
    is_settled: bool,
    /// How many names the position had; fewer tell that it went back.
    taken: usize,
}

/// How far a directory was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesPosition {
    /// Names of files that were taken whole.
    #[serde(serialize_with = "in_order")]
    taken: HashSet<FileName>,
    /// The one file that was taken in part.
    partial: Option<PartialFile>,
}

impl FilesPosition {
    /// Takes a range that was planned.
    pub(crate) fn advance(&mut self, range: &FileRange) {
        let FileRange { name, stamp, end, .. } = range;
        if *end >= stamp.size {
            self.partial = None;
            self.taken.insert(name.clone());
        } else {
            self.partial = Some(PartialFile { name: name.clone(), stamp: *stamp, next: *end });
        }
    }

    fn is_partial(&self, name: &FileName) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.name == *name)
    }
}

/// Equal positions have equal bytes, whatever the order of a hash set.
fn in_order<S: Serializer>(names: &HashSet<FileName>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut names: Vec<_> = names.iter().collect();
    names.sort_unstable();
    serializer.collect_seq(names)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartialFile {
    name: FileName,
    stamp: FileStamp,
    next: u64,
}

impl Directory {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: absolute(path.into()),
            max_files_per_batch: MAX_FILES_PER_BATCH,
            waiting: BTreeMap::new(),
            waiting_names: HashSet::new(),
            offered: Vec::new(),
            missing: HashMap::new(),
            passed_over: PassedOver::default(),
            unavailable: None,
            status: FilesStatus::default(),
            clock: Arc::new(SystemClock::default()),
            listed: None,
        }
    }

    #[cfg(test)]
    pub fn set_clock(&mut self, clock: Arc<dyn Clock>) {
        self.clock = clock;
    }

    pub fn set_max_files_per_batch(&mut self, files: usize) {
        self.max_files_per_batch = files.max(1);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was met beside the files that are taken.
    pub fn status(&self) -> &FilesStatus {
        &self.status
    }

    /// Pieces of new files, in order. `check` may refuse a file before any piece of it is offered. Nothing, while the directory or
    /// a file that was taken in part is not there.
    ///
    /// # Errors
    /// When a file that was taken in part is no longer what it was, or `check` refuses one.
    pub fn offer(
        &mut self,
        position: &FilesPosition,
        pieces: Pieces,
        check: impl Fn(&Path, FileStamp) -> Result<(), SourceError>,
    ) -> Result<Vec<FileRange>, SourceError> {
        let offered = match self.look(position) {
            Ok(()) => self.offer_from(position, pieces, check),
            Err(error) => {
                // It may have changed in any way when it is back.
                self.listed = None;
                self.wait(format!("{}: the directory cannot be listed: {error}", self.path.display()));
                Ok(Vec::new())
            }
        };
        self.passed_over.tell(&mut self.status);
        self.status.unavailable.clone_from(&self.unavailable);
        offered
    }

    fn offer_from(
        &mut self,
        position: &FilesPosition,
        pieces: Pieces,
        check: impl Fn(&Path, FileStamp) -> Result<(), SourceError>,
    ) -> Result<Vec<FileRange>, SourceError> {
        let mut offer = Offer { ranges: Vec::new(), left: pieces.budget_bytes, pieces };
        let mut files = 0;
        if let Some(PartialFile { name, stamp, next }) = &position.partial {
            let path = name.in_directory(&self.path);
            match self.stamp_of(name) {
                Ok(Some(found)) if found == *stamp => {
                    offer.add(name, *stamp, *next);
                }
                Ok(Some(found)) => return Err(changed(&path, *stamp, found)),
                absent => {
                    let why = absent.map_or_else(|error| error.to_string(), |_| "it is not there".to_string());
                    let path = path.display();
                    self.wait(format!(
                        "{path}: the file was taken up to byte {next} of {} and cannot be read on: {why}: put it back",
                        stamp.size
                    ));
                    return Ok(Vec::new());
                }
            }
            files += 1;
        }
        if self.unavailable.take().is_some() {
            tracing::info!("{}: the files are there", self.path.display());
        }
        // What is offered is not yet taken, so it goes on waiting; `prune` ends that when it was planned.
        let mut offered = Vec::new();
        while files < self.max_files_per_batch && offer.has_room() {
            let Some((name, stamp)) = self.next_waiting() else { break };
            check(&name.in_directory(&self.path), stamp)?;
            let fits = offer.add(&name, stamp, 0);
            offered.push(((stamp.modified_ns, name), stamp));
            if !fits {
                break;
            }
            files += 1;
        }
        self.offered = offered.iter().map(|(key, _)| key.clone()).collect();
        self.waiting.extend(offered);
        Ok(offer.ranges)
    }

    /// Nothing can be taken for now; tells why, once.
    fn wait(&mut self, why: String) {
        if self.unavailable.as_ref() != Some(&why) {
            tracing::warn!("{why}: nothing is taken meanwhile");
            self.unavailable = Some(why);
        }
    }

    /// Forgets names whose files are gone for good, and what was planned of the last offer.
    pub fn prune(&mut self, position: &mut FilesPosition) {
        for (name, _) in self.missing.extract_if(|_, listings| *listings >= LISTINGS_UNTIL_FORGOTTEN) {
            position.taken.remove(&name);
        }
        for key in std::mem::take(&mut self.offered) {
            let name = &key.1;
            if position.is_partial(name) || position.taken.contains(name) {
                self.waiting_names.remove(name);
                self.waiting.remove(&key);
            }
        }
    }

    /// Brings `waiting` up to date with the directory.
    fn look(&mut self, position: &FilesPosition) -> io::Result<()> {
        // Before the listing, so that a change during it shows as a later one.
        let modified = FileStamp::of(&fs::metadata(&self.path)?)?;
        if !self.must_list(modified.modified_ns, position) {
            return Ok(());
        }
        let (mut present, mut known) = (Vec::new(), 0);
        // A listing that fails on the way tells nothing of what is gone.
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = FileName::from(entry.file_name());
            if name.is_hidden_or_temporary() {
                continue;
            }
            if self.waiting_names.contains(&name) || position.taken.contains(&name) {
                known += 1;
            } else if !position.is_partial(&name)
                && let Some(stamp) = self.stamp_of_entry(&entry, &name)
            {
                known += 1;
                self.passed_over.remove(&name);
                self.waiting_names.insert(name.clone());
                self.waiting.insert((stamp.modified_ns, name.clone()), stamp);
            }
            present.push(name);
        }
        // In most batches every name that we know was met, and nothing is to be done.
        if known < self.waiting_names.len() + position.taken.len()
            || !self.missing.is_empty()
            || !self.passed_over.is_empty()
        {
            let present: HashSet<_> = present.iter().collect();
            self.waiting.retain(|(_, name), _| present.contains(name));
            self.waiting_names.retain(|name| present.contains(name));
            self.passed_over.retain(|name| present.contains(name));
            self.note_missing(position, &present);
        }
        Ok(())
    }

    /// The stamp of a new entry, if it is a file. What it is otherwise is reported.
    fn stamp_of_entry(&mut self, entry: &DirEntry, name: &FileName) -> Option<FileStamp> {
        let why = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            "a directory: sub-directories are not read".to_string()
        } else {
            match self.stamp_of(name) {
                Ok(Some(stamp)) => return Some(stamp),
                // A link to nothing; what it leads to may come without a change of this directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.listed = None;
                    return None;
                }
                Ok(None) => "neither a file nor a link to one".to_string(),
                Err(error) => error.to_string(),
            }
        };
        self.passed_over.add(&self.path, name, why);
        None
    }

    /// Whether the directory may hold other names than at the last listing; notes that it is listed now.
    fn must_list(&mut self, modified_ns: i64, position: &FilesPosition) -> bool {
        let (now_ms, taken) = (self.clock.monotonic_ms(), position.taken.len());
        let unchanged = self.listed.as_ref().filter(|listed| listed.modified_ns == modified_ns);
        if unchanged.is_some_and(|listed| listed.is_settled && listed.taken <= taken) && self.missing.is_empty() {
            return false;
        }
        let since_ms = unchanged.map_or(now_ms, |listed| listed.since_ms);
        let is_settled = now_ms - since_ms >= SETTLED_AFTER_MS;
        self.listed = Some(Listed { modified_ns, since_ms, is_settled, taken });
        true
    }

    fn note_missing(&mut self, position: &FilesPosition, present: &HashSet<&FileName>) {
        self.missing.retain(|name, _| !present.contains(name) && position.taken.contains(name));
        for name in position.taken.iter().filter(|name| !present.contains(name)) {
            *self.missing.entry(name.clone()).or_insert(0) += 1;
        }
    }

    /// The stamp of a file; `None` of what is no file.
    fn stamp_of(&self, name: &FileName) -> io::Result<Option<FileStamp>> {
        let metadata = fs::metadata(name.in_directory(&self.path))?;
        if metadata.is_file() { FileStamp::of(&metadata).map(Some) } else { Ok(None) }
    }

    /// The next file that is still as it was when it was first seen, and can be opened. One that is not as it was may be growing:
    /// it waits for a later batch, as does one that cannot be opened.
    fn next_waiting(&mut self) -> Option<(FileName, FileStamp)> {
        let mut later = Vec::new();
        let next = loop {
            let Some(((_, name), seen)) = self.waiting.pop_first() else { break None };
            let found = self.stamp_of(&name).and_then(|found| {
                let Some(stamp) = found else { return Ok(None) };
                File::open(name.in_directory(&self.path)).map(|_| Some(stamp))
            });
            match found {
                Ok(Some(stamp)) if stamp == seen => {
                    self.passed_over.remove(&name);
                    break Some((name, stamp));
                }
                Ok(Some(stamp)) => later.push(((stamp.modified_ns, name), stamp)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.passed_over.add(&self.path, &name, error.to_string());
                    later.push(((seen.modified_ns, name), seen));
                }
                Ok(None) | Err(_) => drop(self.waiting_names.remove(&name)),
            }
        };
        self.waiting.extend(later);
        next
    }
}

/// Ranges in the making.
struct Offer {
    ranges: Vec<FileRange>,
    /// Bytes that the batch may still take.
    left: u64,
    pieces: Pieces,
}

impl Offer {
    fn has_room(&self) -> bool {
        self.left > 0 || self.ranges.is_empty()
    }

    /// Adds as much of a file as there is room for: of a compressed one all of it, or, behind others, nothing where it does not
    /// fit. Says whether it is in as a whole.
    fn add(&mut self, name: &FileName, stamp: FileStamp, from: u64) -> bool {
        if from == 0 && Compression::of_name(name.as_bytes()).is_some() {
            let fits = self.ranges.is_empty() || stamp.size <= self.left;
            if fits {
                self.push(name, stamp, 0, stamp.size);
            }
            return fits;
        }
        let mut start = from;
        while self.has_room() {
            let room = if self.ranges.is_empty() { self.left.max(SMALLEST_PIECE_BYTES) } else { self.left };
            let Pieces { task_bytes, grain_bytes, .. } = self.pieces;
            // Rounded down, but to one grain at least.
            let most = (task_bytes.min(room) / grain_bytes).max(1) * grain_bytes;
            let end = start + (stamp.size - start).min(most);
            self.push(name, stamp, start, end);
            start = end;
            if end == stamp.size {
                return true;
            }
        }
        false
    }

    fn push(&mut self, name: &FileName, stamp: FileStamp, start: u64, end: u64) {
        self.ranges.push(FileRange { name: name.clone(), stamp, start, end });
        // An empty file costs something, too.
        self.left = self.left.saturating_sub((end - start).max(1));
    }
}
