//! A job in object storage, as verbs see it: a scratch directory that is laid out like a job's, and what is fetched into it.
//!
//! Manifests and log are always fetched. Table files are only there by name and size, until a verb reads state
//! ([`RemoteStore::bring`]). Nothing is written into the bucket but by [`RemoteStore::begin`], which verbs call that were
//! permitted to write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::console::Console;
use super::exit::Exit;
use super::failure::{Failure, Result};
use super::finding::Code;
use super::location::quoted;
use super::progress::Progress;
use floodmark_base::clock::{Clock, SystemClock};
use floodmark_base::disk::LocalDisk;
use floodmark_store::lock::Owner;
use floodmark_store::recovery::facts::CHECKPOINTS;
use floodmark_store::remote::{Bucket, BucketSettings, FetchError, Look, RemoteDisk, RemoteError, RemoteLocation};

/// For so long a store may fail before a verb gives up.
const PATIENCE: Duration = Duration::from_secs(15);

/// A job in object storage.
pub(crate) struct RemoteStore {
    bucket: Bucket,
    disk: RemoteDisk,
    scratch: TempDir,
    look: Mutex<Look>,
    /// Directories whose files were brought.
    brought: Mutex<BTreeSet<PathBuf>>,
    cache: Option<PathBuf>,
    shows_progress: bool,
    clock: SystemClock,
}

/// A table object that is not what it was.
pub(crate) struct DamagedObject {
    pub object: String,
    pub code: Code,
    pub expected: String,
    pub found: String,
}

impl std::fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteStore").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl RemoteStore {
    /// Connects and looks; nothing where the location is a path.
    ///
    /// # Errors
    /// Exit code 2 for a URL that means nothing, 10 where there is no such bucket, 1 where it cannot be read.
    pub fn open(location: &str, console: &Console<'_>) -> Result<Option<Self>> {
        let Some(place) = RemoteLocation::parse(location)? else { return Ok(None) };
        let access = console.store_access();
        let place = place.with_options(&access.options);
        if place.directory().is_some_and(|directory| directory.join("wal").is_dir()) {
            let path = place.directory().unwrap_or(Path::new("")).display().to_string();
            let message = format!("{location}: a job's own directory, not object storage: give it without file://");
            return Err(Failure::usage(message).try_next(format!("floodmark status {}", quoted(&path))));
        }
        // A store that a test has made fails on purpose.
        let patience = if access.store.is_some() { Duration::from_millis(1) } else { PATIENCE };
        let settings = BucketSettings { give_up_after: patience, open_within: patience, ..BucketSettings::default() };
        let bucket = match &access.store {
            Some(store) => Bucket::on(store.clone(), place.prefix(), settings),
            None => Bucket::open_to_read(&place, settings)?,
        };
        let scratch = tempfile::Builder::new().prefix("floodmark-").tempdir();
        let scratch = scratch.map_err(|error| Failure::io("make a directory in", &std::env::temp_dir(), &error))?;
        console.leave_out(scratch.path());
        let disk = RemoteDisk::new(Arc::new(LocalDisk), bucket.clone(), scratch.path(), true);
        let clock = SystemClock::default();
        let look = Mutex::new(disk.look(&clock)?);
        Ok(Some(Self {
            bucket,
            disk,
            scratch,
            look,
            brought: Mutex::default(),
            cache: access.cache.as_ref().map(|cache| cache.join(cache_name(location))),
            shows_progress: console.shows_progress(),
            clock,
        }))
    }

    /// Refuses a prefix without a trace of a job.
    ///
    /// # Errors
    /// Exit code 10.
    pub fn refuse_where_no_job_is(&self, location: &str) -> Result<()> {
        if self.look().is_empty() {
            let message = format!("{location}: no Floodmark job: no manifests and no log below this location");
            return Err(Failure::new(Exit::NotAStore, message));
        }
        Ok(())
    }

    /// What was seen.
    pub fn look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What reads the bucket.
    pub fn disk(&self) -> &RemoteDisk {
        &self.disk
    }

    /// The scratch directory.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Who wrote the newest manifest.
    pub fn owner(&self) -> Owner {
        let look = self.look();
        let Some(newest) = look.manifests.newest_sound() else { return Owner::Unknown { last: None } };
        Owner::Elsewhere {
            epoch: newest.epoch.0,
            who: look.manifests.newest_writer().unwrap_or_default().to_string(),
            newest_object_age_ms: self.clock.epoch_ms().saturating_sub(look.newest_write_ms()),
        }
    }

    /// Why a start is refused by what is in the bucket, in its words.
    pub fn refusal(&self) -> Option<Failure> {
        let look = self.look();
        let failure = Failure::from(&look.refusal()?.error);
        Some(Failure { message: format!("a start is refused: object storage: {}", failure.message), ..failure })
    }

    /// Brings the files of a directory of the store.
    ///
    /// # Errors
    /// When the bucket cannot be read, or an object is not what it was.
    pub fn bring(&self, directory: &Path) -> Result<()> {
        let below = directory.strip_prefix(self.path()).unwrap_or(directory).to_path_buf();
        if self.brought.lock().unwrap_or_else(PoisonError::into_inner).contains(&below) {
            return Ok(());
        }
        self.fetch(&below, &BTreeSet::new())?;
        self.brought.lock().unwrap_or_else(PoisonError::into_inner).insert(below);
        Ok(())
    }

    /// Brings the files of a directory but for these objects, and says what could not be had.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub fn bring_what_can_be(&self, below: &Path, mut without: BTreeSet<String>) -> Result<Vec<DamagedObject>> {
        let mut damaged = Vec::new();
        loop {
            match self.fetch(below, &without) {
                Ok(()) => return Ok(damaged),
                Err(FetchError::Remote(error @ RemoteError::Damaged { .. })) => {
                    let (code, words) = (Code::of_object(&error), error.to_string());
                    let RemoteError::Damaged { name: object, expected, found } = error else { continue };
                    if !without.insert(object.clone()) {
                        return Err(Failure::new(Exit::Failed, words));
                    }
                    self.disk.leave_out(&self.look(), &object)?;
                    damaged.push(DamagedObject { object, code, expected, found });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fetch(&self, below: &Path, without: &BTreeSet<String>) -> Result<(), FetchError> {
        let look = self.look();
        let progress = Progress::new("fetching", look.table_bytes(below), self.shows_progress);
        self.disk.bring(&look, below, without, self.cache.as_deref(), &|bytes| progress.add(bytes))
    }

    /// Brings what a start fetches. What is not what it was is left out, as a start does it.
    ///
    /// # Errors
    /// As [`bring`](Self::bring), and where a start is refused.
    pub fn bring_all(&self, shown: &str) -> Result<()> {
        let verify = |failure: Failure| failure.try_next(format!("floodmark verify {shown}"));
        if let Some(refusal) = self.refusal() {
            return Err(verify(refusal));
        }
        let directories: Vec<PathBuf> = self.look().directories().cloned().collect();
        for directory in directories.iter().filter(|directory| directory.starts_with(CHECKPOINTS)) {
            let known = self.look().damage.iter().map(|damage| damage.object().to_string()).collect();
            self.bring_what_can_be(directory, known)?;
        }
        Ok(())
    }

    /// Looks again if a manifest was published since.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub fn catch_up(&self) -> Result<bool> {
        let newest = self.look().manifests.newest().unwrap_or_default();
        let moved = self.disk.is_behind(newest)?;
        if moved {
            self.refresh()?;
        }
        Ok(moved)
    }

    /// Looks again.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub fn refresh(&self) -> Result<()> {
        let mut look = self.look();
        self.brought.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *look = self.disk.look(&self.clock)?;
        Ok(())
    }

    /// The door through which a verb writes that is permitted to: the scratch directory becomes a working copy, as at a start.
    ///
    /// # Errors
    /// When the store lacks what exactness stands on, cannot be written, or holds what a start refuses.
    pub fn begin(&self, console: &Console<'_>) -> Result<Arc<RemoteDisk>> {
        self.bucket.probe()?;
        let disk = RemoteDisk::new(console.disk(), self.bucket.clone(), self.path(), true);
        disk.fetch(&self.clock, &|_| ())?;
        Ok(Arc::new(disk))
    }
}

/// The directory of a location in a cache.
fn cache_name(location: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(location.trim_end_matches('/').as_bytes()))
}
