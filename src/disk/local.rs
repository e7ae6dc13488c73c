//! The local file system, with every sync that a promise needs.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile, Step, TEMPORARY_SUFFIX};

/// The real disk: files are synced by `fsync` and `fdatasync`, and every name by a sync of its directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut there = path;
        while !there.is_dir() {
            missing.push(there);
            there = parent_of(there);
        }
        // A life that died between `mkdir` and the sync may have left this name only in memory.
        match sync_directory(parent_of(there)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {} // not ours, so we did not make it
            other => other?,
        }
        for directory in missing.into_iter().rev() {
            match fs::create_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
                other => other?,
            }
            sync_directory(parent_of(directory))?;
        }
        Ok(())
    }

    fn create_whole(&self, _step: Step, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // A random part, so that two creators of one name never write into the same temporary file.
        let name = path.file_name().and_then(OsStr::to_str).ok_or_else(|| invalid("a file name in UTF-8", path))?;
        #[allow(clippy::disallowed_methods)] // a name that nobody else has
        let temporary = parent_of(path).join(format!(".{name}.{:016x}{TEMPORARY_SUFFIX}", rand::random::<u64>()));
        let made = write_and_link(&temporary, path, bytes);
        if made.is_err() {
            remove_left_over(&temporary);
        }
        made?;
        sync_directory(parent_of(path))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LocalFile { file: OpenOptions::new().append(true).open(path)? }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        File::open(path)?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            names.push(name.into_string().map_err(|name| invalid("a file name in UTF-8", Path::new(&name)))?);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, _step: Step, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_dir() {
            fs::remove_dir_all(path)?
        } else {
            fs::remove_file(path)?
        }
        sync_directory(parent_of(path))
    }

    fn sync_tree(&self, _step: Step, path: &Path) -> io::Result<()> {
        sync_below(path)?;
        sync_directory(parent_of(path))
    }

    fn pass(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}

struct LocalFile {
    file: File,
}

impl DiskFile for LocalFile {
    fn append(&mut self, _step: Step, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0); // drops leading empty slices, so that a write of 0 bytes means trouble
        while !slices.is_empty() {
            match self.file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self, _step: Step) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Writes and syncs the temporary file, gives it its name, and takes the temporary name away.
fn write_and_link(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Unlike a rename, a link never replaces what is there.
    fs::hard_link(temporary, path)?;
    fs::remove_file(temporary)
}

/// A temporary file that stays behind is garbage without a meaning; the error that led here is the one to report.
fn remove_left_over(temporary: &Path) {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %temporary.display(), %error, "a temporary file stays behind");
        }
        _ => {}
    }
}

fn sync_below(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_below(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(directory)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory in which a path's last name stands.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent == Path::new("") => Path::new("."),
        Some(parent) => parent,
        None => path, // the root is its own parent
    }
}

fn invalid(expected: &str, path: &Path) -> io::Error {
    let found = PathBuf::from(path);
    io::Error::new(io::ErrorKind::InvalidInput, format!("expected {expected}, found {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_never_replaced_and_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one");
        LocalDisk.create_whole(Step::ManifestCreate, &path, b"first").unwrap();
        let error = LocalDisk.create_whole(Step::ManifestCreate, &path, b"second").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(LocalDisk.read(&path).unwrap(), b"first");
        assert_eq!(LocalDisk.list(directory.path()).unwrap(), ["one"]);
    }

    #[test]
    fn slices_are_appended_in_order_even_when_some_are_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one");
        LocalDisk.create_whole(Step::WalRoll, &path, b"a").unwrap();
        let mut file = LocalDisk.open_append(&path).unwrap();
        let parts: Vec<Vec<u8>> = (0..3000_u32).map(|n| vec![n as u8; (n % 3) as usize]).collect();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.append(Step::WalAppend, &mut slices).unwrap();
        file.sync(Step::WalSync).unwrap();
        assert_eq!(LocalDisk.read(&path).unwrap(), [&b"a"[..], &parts.concat()].concat());
        assert_eq!(LocalDisk.len(&path).unwrap(), 1 + parts.concat().len() as u64);
    }

    #[test]
    fn bytes_that_are_not_there_are_an_unexpected_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one");
        LocalDisk.create_whole(Step::WalRoll, &path, b"abc").unwrap();
        assert_eq!(LocalDisk.read_at(&path, 1, 2).unwrap(), b"bc");
        assert_eq!(LocalDisk.read_at(&path, 1, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_absent_directory_is_an_error_and_not_an_empty_list() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        assert_eq!(LocalDisk.list(&deep).unwrap_err().kind(), io::ErrorKind::NotFound);
        LocalDisk.create_dir_all(&deep).unwrap();
        LocalDisk.create_dir_all(&deep).unwrap();
        assert!(LocalDisk.list(&deep).unwrap().is_empty());
    }

    #[test]
    fn a_directory_is_removed_with_all_that_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        LocalDisk.create_dir_all(&deep).unwrap();
        LocalDisk.create_whole(Step::CheckpointFiles, &deep.join("file"), b"").unwrap();
        LocalDisk.sync_tree(Step::CheckpointFiles, &directory.path().join("a")).unwrap();
        LocalDisk.remove(Step::CheckpointRemove, &directory.path().join("a")).unwrap();
        assert!(LocalDisk.list(directory.path()).unwrap().is_empty());
    }
}
