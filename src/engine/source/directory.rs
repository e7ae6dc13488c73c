//! The files of a directory, in the order in which a source takes them: what text and binary files have in common.
#![allow(clippy::disallowed_methods)] // lists files of the user

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::source::error::SourceError;
use crate::source::file_checks::{FileChecks, Finding, stamp_of};
use crate::source::file_name::FileName;
use crate::source::file_pieces::{Offer, Pieces};
use crate::source::file_range::{FileRange, FileStamp, changed, receipt_hash};
use crate::source::files_in_use::FilesInUse;
use crate::source::files_position::{FilesPosition, PartialFile};
use crate::source::files_status::{FilesStatus, PassedOver};
use crate::source::known_files::{Change, Comparison, FileMemory, KnownFiles, Sighting};
use crate::source::memory::{MemoryChange, SourceMemory};
use crate::source::open_file::{NO_FILE, open_file};
use floodmark_base::clock::{Clock, SystemClock};
use floodmark_base::codec;
use floodmark_base::id::BatchId;
use floodmark_base::place::absolute;
use floodmark_store::state::schema::Schema;

/// Files per batch, unless told otherwise: each is a task at least, and a plan names them all.
const MAX_FILES_PER_BATCH: usize = 1_000;
/// Files that are named at once when they are released, or as many as a batch may take where that is more: so naming keeps up.
const MIN_FILES_RELEASED: usize = 1_000;
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
///
/// What was taken is remembered with size, time and hashes ([`KnownFiles`]), so that a file that was restored is told from one
/// that was replaced ([`FileChecks`]).
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    max_files_per_batch: usize,
    reads_replaced: bool,
    goes_on_without: bool,
    /// For how many offers in turn the file that was taken in part was missing; what to give it up for.
    partial_missing: u32,
    known: KnownFiles,
    checks: FileChecks,
    /// Files that a recovery may read again; none where nobody asks.
    in_use: Option<FilesInUse>,
    /// The number of the newest listing.
    listing: u64,
    /// Files that were seen and not taken, in the order in which they will be; so that each is looked at once.
    waiting: BTreeMap<(i64, FileName), FileStamp>,
    waiting_names: HashSet<FileName>,
    /// What the last offer was made of: the only ones that a plan may have taken since.
    offered: Vec<(i64, FileName)>,
    /// In how many listings in turn a taken name was missing.
    missing: HashMap<FileName, u32>,
    passed_over: PassedOver,
    /// Links to nothing in the newest listing: what they lead to may come without a change of this directory.
    dangling: BTreeSet<FileName>,
    /// Why nothing can be taken at present.
    unavailable: Option<String>,
    status: FilesStatus,
    clock: Arc<dyn Clock>,
    listed: Option<Listed>,
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

impl Directory {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: absolute(path.into()),
            max_files_per_batch: MAX_FILES_PER_BATCH,
            reads_replaced: false,
            goes_on_without: false,
            partial_missing: 0,
            known: KnownFiles::default(),
            checks: FileChecks::default(),
            in_use: None,
            listing: 0,
            waiting: BTreeMap::new(),
            waiting_names: HashSet::new(),
            offered: Vec::new(),
            missing: HashMap::new(),
            passed_over: PassedOver::default(),
            dangling: BTreeSet::new(),
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

    pub fn set_reads_replaced(&mut self, reads_replaced: bool) {
        self.reads_replaced = reads_replaced;
    }

    pub fn set_goes_on_without(&mut self, goes_on: bool) {
        self.goes_on_without = goes_on;
    }

    pub fn goes_on_without(&self) -> bool {
        self.goes_on_without
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
            Ok(()) => {
                self.check_known(position);
                self.offer_from(position, pieces, check)
            }
            Err(error) => {
                // It may have changed in any way when it is back.
                self.listed = None;
                self.wait(format!("{}: the directory cannot be listed: {error}", self.path.display()));
                Ok(Vec::new())
            }
        };
        self.passed_over.tell(&mut self.status);
        self.status.unavailable.clone_from(&self.unavailable);
        self.status.known = (self.known.len() + position.taken.len()) as u64;
        self.status.tell_replaced(self.known.replaced());
        offered
    }

    fn offer_from(
        &mut self,
        position: &FilesPosition,
        pieces: Pieces,
        check: impl Fn(&Path, FileStamp) -> Result<(), SourceError>,
    ) -> Result<Vec<FileRange>, SourceError> {
        let mut offer = Offer::new(pieces);
        let mut files = 0;
        if let Some(PartialFile { name, stamp, next }) = &position.partial {
            let path = name.in_directory(&self.path);
            match stamp_of(&path) {
                Ok(Some(found)) => match self.not_restored(name, *stamp, *next, found) {
                    Ok(None) => {
                        self.partial_missing = 0;
                        offer.add(name, found, *next);
                    }
                    Ok(Some(why)) => {
                        let path = path.display();
                        self.wait(format!("{path}: the file was taken up to byte {next} and has another time: {why}"));
                        return Ok(Vec::new());
                    }
                    Err(error) if self.goes_on_without => {
                        self.wait(error.to_string());
                        self.partial_missing = LISTINGS_UNTIL_FORGOTTEN;
                        return Ok(Vec::new());
                    }
                    Err(error) => return Err(error),
                },
                absent => {
                    self.partial_missing += 1;
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
        let (mut offered, mut later) = (Vec::new(), Vec::new());
        while files < self.max_files_per_batch && offer.has_room() {
            let Some((name, stamp)) = self.next_waiting(&mut later) else { break };
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
        self.waiting.extend(later);
        Ok(offer.ranges)
    }

    /// Looks whether a file that was taken up to `next`, and may have another time now, has the bytes that were read. Returns why that
    /// is not known yet.
    ///
    /// # Errors
    /// When it has others.
    fn not_restored(
        &mut self,
        name: &FileName,
        taken: FileStamp,
        next: u64,
        found: FileStamp,
    ) -> Result<Option<String>, SourceError> {
        if found == taken {
            return Ok(None);
        }
        let Some(memory) = self.known.get(name) else { return Err(self.changed(name, taken, found)) };
        if found.size != taken.size {
            return Err(self.changed(name, taken, found));
        }
        if memory.end() < next {
            return Ok(Some("a batch that reads of it is not committed yet".to_string()));
        }
        if memory.stamp == Some(found) {
            return Ok(None);
        }
        match self.checks.read_now(&self.path, &self.known, name) {
            Finding::Same(found) => {
                tracing::info!(
                    "{}: restored with another time: it is read on",
                    name.in_directory(&self.path).display()
                );
                self.known.accept(name, found);
                Ok(None)
            }
            Finding::Other(found) => Err(self.changed(name, taken, found)),
            Finding::Pending => Ok(Some("its bytes are being compared with what was read".to_string())),
            Finding::Unreadable(why) => Ok(Some(format!("its bytes cannot be compared with what was read: {why}"))),
        }
    }

    fn changed(&self, name: &FileName, expected: FileStamp, found: FileStamp) -> SourceError {
        changed(&name.in_directory(&self.path), expected, found)
    }

    /// Looks at some of the files that were taken.
    fn check_known(&mut self, position: &FilesPosition) {
        let in_part = position.partial.as_ref().map(|partial| &partial.name);
        for (name, found) in self.checks.run(&self.path, &mut self.known, in_part, self.reads_replaced) {
            let path = name.in_directory(&self.path);
            if self.reads_replaced {
                tracing::info!("{}: other contents than were read ({found}): a new file", path.display());
                self.forget(&name);
                self.waiting_names.insert(name.clone());
                self.waiting.insert((found.modified_ns, name), found);
            } else {
                tracing::warn!(
                    "{}: other contents than were read under this name ({found}): they are not read; \
                     read_replaced_files reads them as a new file",
                    path.display()
                );
            }
        }
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
        if self.goes_on_without && self.partial_missing >= LISTINGS_UNTIL_FORGOTTEN {
            // A batch that reads of it may not be committed yet: what it read is remembered first.
            let known = &self.known;
            let is_committed =
                |partial: &mut PartialFile| known.get(&partial.name).is_some_and(|memory| memory.end() >= partial.next);
            if let Some(PartialFile { name, stamp, next }) = position.partial.take_if(is_committed) {
                let path = name.in_directory(&self.path);
                tracing::warn!("{}: going on without its bytes {next} to {}", path.display(), stamp.size);
                // Known as a whole from now on, so that other contents under its name are noticed.
                let end = stamp.size;
                self.known.committed(&FileRange { name, stamp, start: next, end }, None);
                self.partial_missing = 0;
            }
        }
        let is_gone = |_: &FileName, listings: &mut u32| *listings >= LISTINGS_UNTIL_FORGOTTEN;
        let gone: Vec<_> = self.missing.extract_if(is_gone).map(|(name, _)| name).collect();
        for name in gone {
            position.taken.remove(&name);
            self.forget(&name);
        }
        for key in std::mem::take(&mut self.offered) {
            let name = &key.1;
            if position.is_partial(name) || self.is_taken(position, name) {
                self.waiting_names.remove(name);
                self.waiting.remove(&key);
            }
        }
    }

    fn forget(&mut self, name: &FileName) {
        self.known.forget(name);
        self.not_in_use(name);
    }

    fn not_in_use(&mut self, name: &FileName) {
        if let Some(in_use) = &mut self.in_use {
            in_use.remove(name);
        }
    }

    /// Brings `waiting` up to date with the directory.
    fn look(&mut self, position: &FilesPosition) -> io::Result<()> {
        // Before the listing, so that a change during it shows as a later one.
        let modified = FileStamp::of(&fs::metadata(&self.path)?)?;
        if !self.must_list(modified.modified_ns, position) {
            self.look_at_dangling();
            return Ok(());
        }
        self.listing += 1;
        self.dangling.clear();
        let (mut present, mut met) = (HashSet::new(), 0);
        // A listing that fails on the way tells nothing of what is gone.
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            match self.known.see(name.as_bytes(), self.listing, entry.ino()) {
                Sighting::New => {}
                sighting => {
                    met += 1;
                    if sighting == Sighting::Exchanged {
                        self.checks.suspect(name.into());
                    }
                    continue;
                }
            }
            let name = FileName::from(name);
            if name.is_hidden_or_temporary() {
                continue;
            }
            if self.waiting_names.contains(&name) || position.taken.contains(&name) {
                met += 1;
            } else if !position.is_partial(&name)
                && let Some(stamp) = self.stamp_of_entry(&entry, &name)
            {
                met += 1;
                self.found(name.clone(), stamp);
            }
            present.insert(name);
        }
        // In most batches every name that we know was met, and nothing is to be done.
        if met < self.waiting_names.len() + position.taken.len() + self.known.len()
            || !self.missing.is_empty()
            || !self.passed_over.is_empty()
        {
            self.waiting.retain(|(_, name), _| present.contains(name));
            self.waiting_names.retain(|name| present.contains(name));
            self.passed_over.retain(|name| present.contains(name));
            self.note_missing(position, &present);
        }
        Ok(())
    }

    /// Whether a file was taken whole, or the part of one.
    fn is_taken(&self, position: &FilesPosition, name: &FileName) -> bool {
        self.known.contains(name) || position.taken.contains(name)
    }

    /// The stamp of a new entry, if it is a file. What it is otherwise is reported.
    fn stamp_of_entry(&mut self, entry: &DirEntry, name: &FileName) -> Option<FileStamp> {
        let why = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            "a directory: sub-directories are not read".to_string()
        } else {
            match stamp_of(&name.in_directory(&self.path)) {
                Ok(Some(stamp)) => return Some(stamp),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.is_gone(name.clone());
                    return None;
                }
                Ok(None) => NO_FILE.to_string(),
                Err(error) => error.to_string(),
            }
        };
        self.passed_over.add(&self.path, name, why);
        None
    }

    /// Whether links that led to nothing lead to files now.
    fn look_at_dangling(&mut self) {
        for name in std::mem::take(&mut self.dangling) {
            if let Ok(Some(stamp)) = stamp_of(&name.in_directory(&self.path)) {
                self.found(name, stamp);
            } else {
                self.dangling.insert(name);
            }
        }
    }

    /// Nothing is there under a name that was listed: the name has gone, or is that of a link to nothing.
    fn is_gone(&mut self, name: FileName) {
        if name.in_directory(&self.path).is_symlink() {
            self.passed_over.add(&self.path, &name, "a link to nothing".to_string());
            self.dangling.insert(name);
        }
    }

    /// A new file, which waits until it is taken.
    fn found(&mut self, name: FileName, stamp: FileStamp) {
        self.passed_over.remove(&name);
        self.waiting_names.insert(name.clone());
        self.waiting.insert((stamp.modified_ns, name), stamp);
    }

    /// Whether the directory may hold other names than at the last listing; notes that it is listed now.
    fn must_list(&mut self, modified_ns: i64, position: &FilesPosition) -> bool {
        let (now_ms, taken) = (self.clock.monotonic_ms(), position.taken.len() + self.known.len());
        let unchanged = self.listed.as_ref().filter(|listed| listed.modified_ns == modified_ns);
        if unchanged.is_some_and(|listed| listed.is_settled && listed.taken <= taken) && self.missing.is_empty() {
            return false;
        }
        let since_ms = unchanged.map_or(now_ms, |listed| listed.since_ms);
        let is_settled = now_ms - since_ms >= SETTLED_AFTER_MS;
        self.listed = Some(Listed { modified_ns, since_ms, is_settled, taken });
        true
    }

    fn note_missing(&mut self, position: &FilesPosition, present: &HashSet<FileName>) {
        let mut missing = std::mem::take(&mut self.missing);
        missing.retain(|name, _| {
            self.is_taken(position, name) && !present.contains(name) && !self.known.is_seen(name, self.listing)
        });
        let of_position = position.taken.iter().filter(|name| !present.contains(*name));
        for name in of_position.chain(self.known.unseen(self.listing)).filter(|name| !position.is_partial(name)) {
            *missing.entry(name.clone()).or_insert(0) += 1;
        }
        self.missing = missing;
    }

    /// The next file that is still as it was when it was first seen, and can be opened. One that is not as it was may be growing:
    /// it waits for a `later` batch, as does one that cannot be opened.
    fn next_waiting(&mut self, later: &mut Vec<((i64, FileName), FileStamp)>) -> Option<(FileName, FileStamp)> {
        while let Some(((_, name), seen)) = self.waiting.pop_first() {
            let path = name.in_directory(&self.path);
            match open_file(&path).and_then(|file| FileStamp::of(&file.metadata()?)) {
                Ok(stamp) if stamp == seen => {
                    self.passed_over.remove(&name);
                    return Some((name, stamp));
                }
                Ok(stamp) => later.push(((stamp.modified_ns, name), stamp)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.passed_over.add(&self.path, &name, error.to_string());
                    later.push(((seen.modified_ns, name), seen));
                }
                Err(_) => {
                    self.waiting_names.remove(&name);
                    self.is_gone(name);
                }
            }
        }
        None
    }
}

/// Names that were planned are remembered without a hash until their batch is committed.
impl SourceMemory<FileRange, FilesPosition> for Directory {
    fn types(&self) -> (String, String) {
        let text = |schema: Schema| schema.text().unwrap_or_default().to_string();
        (text(Schema::of::<FileName>()), text(Schema::of::<FileMemory>()))
    }

    fn entries(&self) -> u64 {
        self.known.remembered()
    }

    fn take_over(&mut self, position: &mut FilesPosition) {
        // A start that went back to an older checkpoint has another one behind it.
        (self.known, self.checks) = (KnownFiles::default(), FileChecks::default());
        self.in_use.iter_mut().for_each(FilesInUse::clear);
        for name in position.taken.drain() {
            self.known.take_over(name, None);
        }
        if let Some(partial) = &position.partial {
            self.known.take_over(partial.name.clone(), Some((partial.stamp, partial.next)));
        }
    }

    fn recall(&mut self, key: &[u8], value: &[u8], batch: BatchId) -> Result<(), SourceError> {
        let decoded = codec::decode::<FileName>(key).and_then(|name| Ok((name, codec::decode::<FileMemory>(value)?)));
        let (name, memory) = decoded.map_err(|error| SourceError::Decode {
            what: "what is remembered of a file".to_string(),
            cause: error.to_string(),
        })?;
        // The batch that read its end is not stored: the checkpoint's is not earlier. What is known already was planned anew since.
        if let Some(in_use) = &mut self.in_use
            && memory.is_whole()
            && !self.known.contains(&name)
        {
            in_use.add(name.clone(), batch);
        }
        self.known.recall(name, memory);
        Ok(())
    }

    fn planned(&mut self, position: &mut FilesPosition) {
        for name in position.taken.drain() {
            self.not_in_use(&name);
            self.known.take(name);
        }
    }

    fn committed(&mut self, range: &FileRange, receipt: &[u8], batch: BatchId) {
        self.known.committed(range, receipt_hash(receipt));
        match &mut self.in_use {
            Some(in_use) if range.end >= range.stamp.size => in_use.add(range.name.clone(), batch),
            Some(in_use) => in_use.remove(&range.name),
            None => {}
        }
    }

    fn track_use(&mut self) {
        self.in_use.get_or_insert_default();
    }

    /// Only files that are there, as they were read. Others are looked at again after the next checkpoint, until their names are
    /// forgotten.
    fn release(&mut self, through: BatchId) -> Vec<PathBuf> {
        let Some(in_use) = &mut self.in_use else { return Vec::new() };
        let mut released = Vec::new();
        for name in in_use.take_through(through, self.max_files_per_batch.max(MIN_FILES_RELEASED)) {
            let path = name.in_directory(&self.path);
            match stamp_of(&path) {
                Ok(Some(found)) if self.known.compare(&name, found) == Comparison::Same => released.push(path),
                _ => in_use.add(name, through.next()),
            }
        }
        released
    }

    fn freeze(&mut self) -> Vec<MemoryChange> {
        let encode = |(name, memory): Change| {
            let value = memory.map(|memory| codec::encode(&memory).expect("numbers encode"));
            (codec::encode(&name).expect("bytes encode"), value)
        };
        self.known.freeze().into_iter().map(encode).collect()
    }

    fn thaw(&mut self, keys: Option<Vec<Vec<u8>>>) {
        match keys {
            Some(keys) => self.known.thaw(keys.iter().map(|key| codec::decode(key).expect("it was encoded here"))),
            None => self.known.thaw_all(),
        }
    }
}
