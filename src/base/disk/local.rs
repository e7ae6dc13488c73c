//! The local file system.
#![allow(clippy::disallowed_methods)] // the door itself

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Disk, DiskFile, Kind, Step};

/// The real disk: files are synced by `fsync` and `fdatasync`, and every name by a sync of its directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let kind = fs::symlink_metadata(path)?.file_type();
        Ok(match (kind.is_file(), kind.is_dir()) {
            (true, _) => Kind::File,
            (_, true) => Kind::Directory,
            _ => Kind::Other,
        })
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
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, _step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LocalFile { file: OpenOptions::new().append(true).create_new(true).open(path)? }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LocalFile { file: OpenOptions::new().append(true).open(path)? }))
    }

    fn create_dir(&self, _step: Step, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn link(&self, _step: Step, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, _step: Step, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, _step: Step, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, _step: Step, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_file(&self, _step: Step, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_directory(&self, _step: Step, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
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
    fn a_file_is_replaced_as_a_whole_and_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, temporary) = (directory.path().join("one"), directory.path().join("two"));
        for bytes in [&b"first"[..], b"second"] {
            fs::write(&temporary, "left by a life that died").unwrap();
            LocalDisk.replace_whole(Step::SinkFence, &path, &temporary, bytes).unwrap();
            assert_eq!(LocalDisk.read(&path).unwrap(), bytes);
            assert_eq!(LocalDisk.list(directory.path()).unwrap(), ["one"]);
        }
    }

    #[test]
    fn a_file_where_a_directory_should_be_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one");
        LocalDisk.create_whole(Step::ManifestCreate, &path, b"").unwrap();
        let error = LocalDisk.create_dir_all(Step::DirectoryCreate, &path.join("two")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
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
        LocalDisk.create_dir_all(Step::DirectoryCreate, &deep).unwrap();
        LocalDisk.create_dir_all(Step::DirectoryCreate, &deep).unwrap();
        assert!(LocalDisk.list(&deep).unwrap().is_empty());
    }

    #[test]
    fn names_that_are_not_utf_8_are_left_out() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        fs::write(directory.path().join("one"), "").unwrap();
        assert_eq!(LocalDisk.list(directory.path()).unwrap(), ["one"]);
    }

    #[test]
    fn a_directory_is_removed_with_all_that_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        LocalDisk.create_dir_all(Step::DirectoryCreate, &deep).unwrap();
        LocalDisk.create_whole(Step::CheckpointFiles, &deep.join("file"), b"").unwrap();
        LocalDisk.sync_tree(Step::CheckpointFiles, &directory.path().join("a")).unwrap();
        LocalDisk.remove(Step::CheckpointRemove, &directory.path().join("a")).unwrap();
        assert!(LocalDisk.list(directory.path()).unwrap().is_empty());
    }
}
