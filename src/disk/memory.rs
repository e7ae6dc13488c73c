//! A disk in memory, for tests that run thousands of lives: names and bytes, no syncs.
//!
//! What a sync means is the business of [`FaultyDisk`](super::FaultyDisk), which wraps this one as it wraps any other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Step};

#[derive(Clone, Debug, Default)]
struct Tree {
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
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

impl Disk for MemoryDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.lock().directories.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn create_whole(&self, _step: Step, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut tree = self.lock();
        if !path.parent().is_some_and(|parent| tree.directories.contains(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if tree.files.contains_key(path) || tree.directories.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        tree.files.insert(path.to_path_buf(), bytes.to_vec());
        Ok(())
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.len(path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.lock().files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let tree = self.lock();
        let bytes = tree.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = bytes.get(from..from.saturating_add(len));
        part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let tree = self.lock();
        tree.files.get(path).map(|bytes| bytes.len() as u64).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let tree = self.lock();
        if !tree.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut names: Vec<String> = (tree.files.keys().chain(&tree.directories))
            .filter(|entry| entry.parent() == Some(path))
            .filter_map(|entry| entry.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, _step: Step, path: &Path) -> io::Result<()> {
        let mut tree = self.lock();
        if !tree.files.contains_key(path) && !tree.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        tree.files.retain(|file, _| !file.starts_with(path));
        tree.directories.retain(|directory| !directory.starts_with(path));
        Ok(())
    }

    fn sync_tree(&self, _step: Step, path: &Path) -> io::Result<()> {
        self.list(path).map(drop)
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
