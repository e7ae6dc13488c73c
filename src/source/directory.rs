//! The files of a directory, in the order in which a source takes them: what text and binary files have in common.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::clock::{Clock, SystemClock};
use crate::source::error::SourceError;
use crate::source::file_range::{FileRange, FileStamp, changed};

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
/// time. Names that begin with `.` or `_` or end with `.tmp` are not taken.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    max_files_per_batch: usize,
    /// Files that were seen and not taken, in the order in which they will be; so that each is looked at once.
    waiting: BTreeMap<(i64, String), FileStamp>,
    waiting_names: HashSet<String>,
    /// What the last offer was made of: the only ones that a plan may have taken since.
    offered: Vec<(i64, String)>,
    /// In how many listings in turn a taken name was missing.
    missing: HashMap<String, u32>,
    /// Names that can never be taken, and were reported.
    refused: HashSet<OsString>,
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
    taken: HashSet<String>,
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

    fn is_partial(&self, name: &str) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.name == name)
    }
}

/// Equal positions have equal bytes, whatever the order of a hash set.
fn in_order<S: Serializer>(names: &HashSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut names: Vec<_> = names.iter().collect();
    names.sort_unstable();
    serializer.collect_seq(names)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartialFile {
    name: String,
    stamp: FileStamp,
    next: u64,
}

impl Directory {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_files_per_batch: MAX_FILES_PER_BATCH,
            waiting: BTreeMap::new(),
            waiting_names: HashSet::new(),
            offered: Vec::new(),
            missing: HashMap::new(),
            refused: HashSet::new(),
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

    /// Pieces of new files, in order. `check` may refuse a file before any piece of it is offered.
    ///
    /// # Errors
    /// When the directory cannot be listed, a file that was taken in part is no longer what it was, or `check` refuses one.
    pub fn offer(
        &mut self,
        position: &FilesPosition,
        pieces: Pieces,
        check: impl Fn(&Path, FileStamp) -> Result<(), SourceError>,
    ) -> Result<Vec<FileRange>, SourceError> {
        self.look(position)?;
        let mut offer = Offer { ranges: Vec::new(), left: pieces.budget_bytes, pieces };
        let mut files = 0;
        if let Some(PartialFile { name, stamp, next }) = &position.partial {
            let path = self.path.join(name);
            match self.stamp_of(name)? {
                Some(found) if found == *stamp => offer.add(name, *stamp, *next),
                Some(found) => return Err(changed(&path, *stamp, found)),
                None => return Err(SourceError::Vanished { path, size: stamp.size }),
            };
            files += 1;
        }
        // What is offered is not yet taken, so it goes on waiting; `prune` ends that when it was planned.
        let mut offered = Vec::new();
        while files < self.max_files_per_batch && offer.has_room() {
            let Some((name, stamp)) = self.next_waiting()? else { break };
            check(&self.path.join(&name), stamp)?;
            offer.add(&name, stamp, 0);
            offered.push(((stamp.modified_ns, name), stamp));
            files += 1;
        }
        self.offered = offered.iter().map(|(key, _)| key.clone()).collect();
        self.waiting.extend(offered);
        Ok(offer.ranges)
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
    fn look(&mut self, position: &FilesPosition) -> Result<(), SourceError> {
        let directory = self.path.clone();
        let failed = |error| SourceError::Directory { path: directory.clone(), error };
        // Before the listing, so that a change during it shows as a later one.
        let modified = fs::metadata(&directory).and_then(|metadata| FileStamp::of(&metadata)).map_err(failed)?;
        if !self.must_list(modified.modified_ns, position) {
            return Ok(());
        }
        let (mut present, mut known) = (Vec::new(), 0);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = match entry.file_name().into_string() {
                Ok(name) if is_hidden_or_temporary(&name) || entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                    continue;
                }
                Ok(name) => name,
                Err(name) => {
                    if self.refused.insert(name) {
                        tracing::warn!("{}: the name is not utf-8: the file is not taken", entry.path().display());
                    }
                    continue;
                }
            };
            if self.waiting_names.contains(&name) || position.taken.contains(&name) {
                known += 1;
            } else if !position.is_partial(&name)
                && let Some(stamp) = self.stamp_of(&name)?
            {
                known += 1;
                self.waiting_names.insert(name.clone());
                self.waiting.insert((stamp.modified_ns, name.clone()), stamp);
            }
            present.push(name);
        }
        // In most batches every name that we know was met, and nothing is to be done.
        if known < self.waiting_names.len() + position.taken.len() || !self.missing.is_empty() {
            let present: HashSet<_> = present.iter().map(String::as_str).collect();
            self.waiting.retain(|(_, name), _| present.contains(name.as_str()));
            self.waiting_names.retain(|name| present.contains(name.as_str()));
            self.note_missing(position, &present);
        }
        Ok(())
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

    fn note_missing(&mut self, position: &FilesPosition, present: &HashSet<&str>) {
        self.missing.retain(|name, _| !present.contains(name.as_str()) && position.taken.contains(name));
        for name in position.taken.iter().filter(|name| !present.contains(name.as_str())) {
            *self.missing.entry(name.clone()).or_insert(0) += 1;
        }
    }

    /// The stamp of a file; `None` if there is no such file (any more).
    fn stamp_of(&self, name: &str) -> Result<Option<FileStamp>, SourceError> {
        let path = self.path.join(name);
        match fs::metadata(&path).and_then(|metadata| Ok((metadata.is_file(), FileStamp::of(&metadata)?))) {
            Ok((true, stamp)) => Ok(Some(stamp)),
            Ok((false, _)) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SourceError::File { path, offset: 0, error }),
        }
    }

    /// The next file that is still as it was when it was first seen. One that is not may be growing: it waits for a later batch.
    fn next_waiting(&mut self) -> Result<Option<(String, FileStamp)>, SourceError> {
        let mut changed = Vec::new();
        let next = loop {
            let Some(((_, name), seen)) = self.waiting.pop_first() else { break None };
            match self.stamp_of(&name)? {
                Some(stamp) if stamp == seen => break Some((name, stamp)),
                Some(stamp) => changed.push(((stamp.modified_ns, name), stamp)),
                None => drop(self.waiting_names.remove(&name)),
            }
        };
        self.waiting.extend(changed);
        Ok(next)
    }
}

fn is_hidden_or_temporary(name: &str) -> bool {
    name.starts_with(['.', '_']) || name.ends_with(".tmp")
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

    /// Adds as much of a file as there is room for.
    fn add(&mut self, name: &str, stamp: FileStamp, from: u64) {
        let mut start = from;
        while self.has_room() {
            let room = if self.ranges.is_empty() { self.left.max(SMALLEST_PIECE_BYTES) } else { self.left };
            let Pieces { task_bytes, grain_bytes, .. } = self.pieces;
            // Rounded down, but to one grain at least.
            let most = (task_bytes.min(room) / grain_bytes).max(1) * grain_bytes;
            let len = (stamp.size - start).min(most);
            let end = start + len;
            self.ranges.push(FileRange { name: name.to_string(), stamp, start, end });
            // An empty file costs something, too.
            self.left = self.left.saturating_sub(len.max(1));
            start = end;
            if end == stamp.size {
                return;
            }
        }
    }
}
