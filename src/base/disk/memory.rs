//! A disk in memory, for tests that run thousands of lives: names and bytes, no syncs.
//!
//! What a sync means is the business of [`FaultyDisk`](super::FaultyDisk), which wraps this one as it wraps any other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Kind, Step};

#[derive(Clone, Debug)]
struct Tree {
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Default for Tree {
    /// The root and the working directory are there.
    fn default() -> Self {
        Self { directories: ["/", ".", ""].map(PathBuf::from).into(), files: BTreeMap::new() }
    }
}

/// Files in memory; clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Tree>>);

impl MemoryDisk {
    /// An independent copy of all that is there now: the image that a crash leaves.
    pub fn image(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// Puts a file there as it is, replacing what was there: for tails and rot made by hand.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut tree = self.lock();
        tree.directories.extend(path.ancestors().skip(1).map(Path::to_path_buf));
        tree.files.insert(path.to_path_buf(), bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    /// Whether `path` may be created: its directory is there, and nothing has its name.
    fn is_free(&self, path: &Path) -> io::Result<()> {
        if !path.parent().is_some_and(|parent| self.directories.contains(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.files.contains_key(path) || self.directories.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<&Vec<u8>> {
        self.files.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<String>> {
        if !self.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut names: Vec<String> = (self.files.keys().chain(&self.directories))
            .filter(|entry| entry.parent() == Some(path))
            .filter_map(|entry| entry.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

impl Disk for MemoryDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let tree = self.lock();
        match (tree.files.contains_key(path), tree.directories.contains(path)) {
            (true, _) => Ok(Kind::File),
            (_, true) => Ok(Kind::Directory),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.lock().file(path).cloned()
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let tree = self.lock();
        let bytes = tree.file(path)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = bytes.get(from..from.saturating_add(len));
        part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.lock().file(path)?.len() as u64)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.lock().entries(path)
    }

    fn create(&self, _step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut tree = self.lock();
        tree.is_free(path)?;
        tree.files.insert(path.to_path_buf(), Vec::new());
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.len(path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn create_dir(&self, _step: Step, path: &Path) -> io::Result<()> {
        let mut tree = self.lock();
        tree.is_free(path)?;
        tree.directories.insert(path.to_path_buf());
        Ok(())
    }

    fn link(&self, _step: Step, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.lock();
        tree.is_free(to)?;
        let bytes = tree.file(from)?.clone();
        tree.files.insert(to.to_path_buf(), bytes);
        Ok(())
    }

    fn rename(&self, _step: Step, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.lock();
        let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest).components().collect());
        let is_file = tree.files.contains_key(from);
        if !is_file && !tree.directories.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !is_file {
            tree.is_free(to)?;
        }
        let files: Vec<(PathBuf, PathBuf)> =
            tree.files.keys().filter_map(|path| Some((path.clone(), moved(path)?))).collect();
        for (old, new) in files {
            let bytes = tree.files.remove(&old).expect("it was just found");
            tree.files.insert(new, bytes);
        }
        tree.directories = tree.directories.iter().map(|path| moved(path).unwrap_or_else(|| path.clone())).collect();
        Ok(())
    }

    fn remove_file(&self, _step: Step, path: &Path) -> io::Result<()> {
        self.lock().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, _step: Step, path: &Path) -> io::Result<()> {
        let mut tree = self.lock();
        if !tree.entries(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        tree.directories.remove(path);
        Ok(())
    }

    fn sync_file(&self, _step: Step, path: &Path) -> io::Result<()> {
        self.len(path).map(drop)
    }

    fn sync_directory(&self, _step: Step, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn pass(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
}

impl DiskFile for MemoryFile {
    fn append(&mut self, _step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut tree = self.disk.lock();
        let bytes = tree.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        Ok(())
    }

    fn sync(&mut self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}
