//! Before a start looks: the working copy gets what the bucket has and it lacks.
//!
//! In this order: the files of the retained checkpoints, the log, the manifests. A crash anywhere leaves a working copy that the next
//! fetch completes; nothing is written into the bucket. A file that is there counts only with the right size and CRC.
//!
//! A working copy whose manifests are of another history (a bucket that was restored, a directory of another job) is moved aside, into
//! `stale-<time>` within it, never deleted. One beside a bucket without manifests is a refusal: the bucket may be the wrong one (I-6).
//!
//! Lists are hints: which manifest is the newest is found by asking for the next one until there is none.
//!
//! What is damaged in the bucket becomes damage of the working copy, by which a start does as ever: it rejects what it cannot use, by a
//! new manifest, and goes back to an older checkpoint. A manifest that cannot be read is written into the working copy as it is; a table file
//! that is missing, or is not what it was, is left out. [`RemoteDisk::tell_damage`] names the objects. Where the newest manifest
//! cannot be read, the one before it says where the log begins; no older one that is retained needs less of it.
#![allow(clippy::disallowed_methods)] // looks at the working copy

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::collect::object_of;
use super::disk::{FILES, Kept, RemoteDisk, manifest_name};
use super::envelope::{Place, StoredFile};
use super::known::KNOWN;
use super::log::{listed_numbers, number_in};
use super::manifests::Manifests;
use super::{Bucket, Download, RemoteError};
use crate::checkpoint::{MANIFESTS, Manifest};
use crate::recovery::facts::{CHECKPOINTS, LIVE, WAL};
use crate::state::files::crc32_of;
use floodmark_base::clock::Clock;
use floodmark_base::disk::{Disk, Kind, Step};
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::ManifestSequence;

/// Objects that are read at once.
const AT_ONCE: usize = 8;
/// How often a fetch begins, while another driver goes on.
const TRIES: u32 = 10;

/// Why a working copy cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0}")]
    Remote(#[from] RemoteError),
    #[error("cannot {doing} {}: {source}", path.display())]
    Local { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "there is no manifest in object storage, but the working copy {} holds {manifests}: is it another location? \
         Correct it, give another working_directory(), or remove the working copy",
        path.display()
    )]
    BucketIsEmpty { path: PathBuf, manifests: usize },
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Remote(error) => error.into(),
            error @ FetchError::Local { .. } => {
                Error::caused_by(ErrorKind::Environment, "the job is not started", error)
            }
            error @ FetchError::BucketIsEmpty { .. } => {
                Error::caused_by(ErrorKind::Configuration, "the job is not started", error)
            }
        }
    }
}

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    /// `files` of checkpoints, or the `log`.
    pub what: &'static str,
    pub bytes: u64,
    pub of: u64,
}

impl RemoteDisk {
    /// Brings the working copy to what the bucket holds; tells how far it has come.
    ///
    /// # Errors
    /// When the store or the local disk fails, or what is stored is not what it was.
    pub fn fetch(&self, clock: &dyn Clock, tell: &dyn Fn(FetchProgress)) -> Result<(), FetchError> {
        let mut tries = 1;
        loop {
            let mut newest = None;
            let fetched = self.try_to_fetch(clock, tell, &mut newest);
            // What was fetched is of one moment only if nothing was published since: a driver at work deletes what it has made unneeded.
            let is_over = fetched.is_err() && newest.is_none() || tries == TRIES;
            if is_over || !self.is_behind(newest.unwrap_or_default())? {
                return fetched;
            }
            tracing::info!(tries, "somebody else has gone on meanwhile: fetching again");
            tries += 1;
        }
    }

    /// Returns whether a manifest was published after this one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_behind(&self, newest: ManifestSequence) -> Result<bool, RemoteError> {
        if self.bucket.read(&manifest_name(newest.next()))?.is_some() {
            return Ok(true);
        }
        // A driver that has published several since may have deleted the next one again.
        Ok(listed_numbers(&self.bucket, MANIFESTS)?.into_iter().any(|number| number > newest.0))
    }

    /// Fetches, and says which manifest was the newest; a driver that is at work may delete what is about to be fetched.
    fn try_to_fetch(
        &self,
        clock: &dyn Clock,
        tell: &dyn Fn(FetchProgress),
        newest: &mut Option<ManifestSequence>,
    ) -> Result<(), FetchError> {
        let manifests = Manifests::read(&self.bucket)?;
        *newest = manifests.newest();
        self.refuse_or_move_aside(&manifests, clock)?;
        let mut kept = Kept::default();
        for (envelope, manifest) in manifests.sound.values() {
            kept.published(manifest, &envelope.files);
        }
        kept.left.clone_from(&manifests.left);
        kept.damaged_manifests = manifests.damaged.iter().map(|(at, damaged)| (*at, damaged.why.clone())).collect();
        kept.damaged_checkpoints = self.fetch_checkpoints(&kept.checkpoints, tell)?;
        self.rebuild_log(manifests.log_range(), manifests.oldest_needed(), clock, tell)?;
        self.write_manifests(&manifests, clock)?;
        *self.kept() = kept;
        Ok(())
    }

    /// Compares the manifests of the working copy with those of the bucket.
    fn refuse_or_move_aside(&self, manifests: &Manifests, clock: &dyn Clock) -> Result<(), FetchError> {
        let directory = self.job.join(MANIFESTS);
        let names = self.names(&directory)?;
        let present: Vec<(ManifestSequence, &String)> =
            names.iter().filter_map(|name| Some((ManifestSequence(number_in(name)?), name))).collect();
        let Some(newest) = manifests.newest() else {
            return match present.len() {
                0 => Ok(()),
                manifests => Err(FetchError::BucketIsEmpty { path: self.job.clone(), manifests }),
            };
        };
        for (sequence, name) in present {
            let path = directory.join(name);
            let is_other = match manifests.sound.get(&sequence) {
                _ if sequence > newest => true,
                Some((envelope, _)) => {
                    let bytes = self.local.read(&path).map_err(local("read", &path))?;
                    // One that was damaged in the bucket when it was fetched, and was put back since.
                    bytes != envelope.manifest && Manifest::from_bytes(&bytes).is_ok()
                }
                None => false, // below the boundary, or damaged: nothing that counts
            };
            if is_other {
                tracing::warn!(manifest = %path.display(), "the working copy is of another history, and is moved aside");
                for part in [KNOWN, MANIFESTS, CHECKPOINTS, WAL, LIVE] {
                    self.move_aside(Path::new(part), clock)?;
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Moves a part of the working copy into `stale-<time>`, if it is there.
    pub(super) fn move_aside(&self, part: &Path, clock: &dyn Clock) -> Result<(), FetchError> {
        let from = self.job.join(part);
        if self.absent(&from)? {
            return Ok(());
        }
        let mut time = clock.epoch_ms();
        let to = loop {
            let to = self.job.join(format!("stale-{time}")).join(part);
            if self.absent(&to)? {
                break to;
            }
            time += 1;
        };
        let parent = to.parent().unwrap_or(&self.job);
        self.local.create_dir_all(Step::DirectoryCreate, parent).map_err(local("create", parent))?;
        self.local.rename(Step::LiveBuild, &from, &to).map_err(local("move", &from))?;
        tracing::warn!(from = %from.display(), to = %to.display(), "moved aside");
        Ok(())
    }

    /// The files of every checkpoint that a retained manifest names; says which checkpoints lack one, and which.
    fn fetch_checkpoints(
        &self,
        checkpoints: &BTreeMap<String, Vec<StoredFile>>,
        tell: &dyn Fn(FetchProgress),
    ) -> Result<BTreeMap<String, String>, FetchError> {
        let mut places: BTreeMap<String, Vec<(PathBuf, &StoredFile)>> = BTreeMap::new();
        let mut small: Vec<(PathBuf, &Bytes)> = Vec::new();
        for (directory, files) in checkpoints {
            let directory = self.job.join(CHECKPOINTS).join(directory);
            self.local.create_dir_all(Step::DirectoryCreate, &directory).map_err(local("create", &directory))?;
            for stored in files {
                let path = directory.join(&stored.file.name);
                match &stored.place {
                    Place::Object(object) => places.entry(object.clone()).or_default().push((path, stored)),
                    Place::Inline(bytes) => small.push((path, bytes)),
                }
            }
        }
        let mut downloads = Vec::new();
        for (object, places) in &mut places {
            // One whole copy is enough; it goes to the front, and the others are linked to it.
            let whole = places.iter().position(|(path, stored)| self.is_whole(path, stored));
            match whole {
                Some(whole) => places.swap(0, whole),
                None => {
                    let (path, stored) = &places[0];
                    self.remove_file(path)?;
                    let (size, crc32) = (stored.file.size, stored.file.crc32);
                    downloads.push(Download { name: object.clone(), to: path.clone(), size, crc32 });
                }
            }
        }
        let lacking = self.download(downloads, tell)?;
        for places in places.iter().filter(|(object, _)| !lacking.contains_key(*object)).map(|(_, places)| places) {
            let first = &places[0].0;
            for (path, stored) in &places[1..] {
                // The same file by its length: a link to the copy that was checked, or to one that a start checks when it opens it.
                if self.local.len(path).ok() != Some(stored.file.size) || !is_same_file(first, path) {
                    self.remove_file(path)?;
                    self.local.link(Step::LiveBuild, first, path).map_err(local("link", path))?;
                }
            }
        }
        for (path, bytes) in small {
            if self.local.read(&path).ok().as_deref() != Some(&bytes[..]) {
                self.remove_file(&path)?;
                self.local.create_whole(Step::LiveBuild, &path, bytes).map_err(local("create", &path))?;
            }
        }
        for directory in checkpoints.keys() {
            let directory = self.job.join(CHECKPOINTS).join(directory);
            self.local.sync_tree(Step::LiveBuild, &directory).map_err(local("sync", &directory))?;
        }
        let why = |stored: &StoredFile| lacking.get(object_of(stored)?).cloned();
        let damaged = checkpoints.iter().filter_map(|(name, files)| Some((name.clone(), files.iter().find_map(why)?)));
        Ok(damaged.collect())
    }

    /// Downloads what is there and is what it was; says of each other object why it is not had.
    fn download(
        &self,
        mut downloads: Vec<Download>,
        tell: &dyn Fn(FetchProgress),
    ) -> Result<BTreeMap<String, String>, FetchError> {
        let mut lacking = BTreeMap::new();
        while !downloads.is_empty() {
            let of: u64 = downloads.iter().map(|download| download.size).sum();
            tracing::info!(files = downloads.len(), bytes = of, "fetching checkpoints from object storage");
            let done = Cell::new(0);
            tell(FetchProgress { what: FILES, bytes: 0, of });
            let told = self.bucket.download_all(&downloads, &|bytes| {
                done.set(done.get() + bytes);
                tell(FetchProgress { what: FILES, bytes: done.get().min(of), of });
            });
            let object = match told {
                Err(RemoteError::Damaged { name, expected, found }) if downloads.iter().any(|it| it.name == name) => {
                    let why = RemoteError::Damaged { name: name.clone(), expected, found }.to_string();
                    tracing::error!(%why, "a file of a checkpoint cannot be had");
                    lacking.insert(name.clone(), why);
                    name
                }
                other => {
                    other?;
                    break;
                }
            };
            // Those that had come by then are whole under their names.
            downloads.retain(|it| it.name != object && !is_whole(&*self.local, &it.to, it.size, it.crc32));
        }
        Ok(lacking)
    }

    pub(super) fn is_whole(&self, path: &Path, stored: &StoredFile) -> bool {
        is_whole(&*self.local, path, stored.file.size, stored.file.crc32)
    }

    fn write_manifests(&self, manifests: &Manifests, clock: &dyn Clock) -> Result<(), FetchError> {
        let directory = self.job.join(MANIFESTS);
        if manifests.newest().is_some() {
            self.local.create_dir_all(Step::DirectoryCreate, &directory).map_err(local("create", &directory))?;
        }
        for (sequence, bytes) in manifests.bytes() {
            let name = manifest_name(sequence);
            let path = self.job.join(&name);
            match self.local.read(&path) {
                Ok(found) if found == *bytes => continue,
                Ok(_) => self.move_aside(Path::new(&name), clock)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(local("read", &path)(error)),
            }
            self.local.create_whole(Step::LiveBuild, &path, bytes).map_err(local("create", &path))?;
        }
        Ok(())
    }

    pub(super) fn remove_file(&self, path: &Path) -> Result<(), FetchError> {
        match self.local.remove_file(Step::LiveBuild, path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(local("remove", path)(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn absent(&self, path: &Path) -> Result<bool, FetchError> {
        match self.local.kind(path) {
            Ok(Kind::File | Kind::Directory | Kind::Other) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(local("look at", path)(error)),
        }
    }

    /// The names in a directory; none where it is not there.
    pub(super) fn names(&self, directory: &Path) -> Result<Vec<String>, FetchError> {
        if self.absent(directory)? {
            return Ok(Vec::new());
        }
        self.local.list(directory).map_err(local("list", directory))
    }
}

/// Whether a file is there with this length and checksum.
fn is_whole(disk: &dyn Disk, path: &Path, size: u64, crc32: u32) -> bool {
    disk.len(path).is_ok_and(|len| len == size) && crc32_of(path).is_ok_and(|found| found == crc32)
}

/// Whether two names are of one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    place(one).is_some_and(|found| Some(found) == place(other))
}

/// Reads objects, several at once, and gives them in order.
pub(super) fn read_many(bucket: &Bucket, names: &[String]) -> Result<Vec<Option<Bytes>>, RemoteError> {
    if names.len() <= 1 {
        return names.iter().map(|name| bucket.read(name)).collect();
    }
    let mut found: Vec<Result<Option<Bytes>, RemoteError>> = Vec::new();
    found.resize_with(names.len(), || Ok(None));
    let share = names.len().div_ceil(AT_ONCE);
    std::thread::scope(|scope| {
        for (names, found) in names.chunks(share).zip(found.chunks_mut(share)) {
            let read = move || {
                for (name, found) in names.iter().zip(found) {
                    *found = bucket.read(name);
                }
            };
            let thread = std::thread::Builder::new().name("fetch".to_string()).spawn_scoped(scope, read);
            if let Err(source) = thread {
                return Err(RemoteError::Io {
                    doing: "start a thread to read",
                    path: PathBuf::from(&names[0]),
                    source,
                });
            }
        }
        Ok(())
    })?;
    found.into_iter().collect()
}

pub(super) fn local(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_path_buf();
    move |source| FetchError::Local { doing, path, source }
}
