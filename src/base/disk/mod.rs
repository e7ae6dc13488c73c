//! The door to the local file system: every durable step of the log, the manifests and the sinks to files passes through here.
//!
//! A step has a name ([`Step`]), so that a test can stop, tear or fail each of them. An implementation has the operations
//! that the system has, one by one; what must hold across several of them (a file that is whole or not there, a directory
//! whose name lasts) is composed of them here, once, for the real disk and for every simulated one. RocksDB has no door of its
//! own: its files become ours by [`Disk::sync_tree`].
//!
//! What is assumed of the disk: bytes that were not synced may be lost in any subset; a directory entry is lost unless its
//! directory was synced; a completed sync is kept; a failed sync tells nothing (I-7).

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

#[cfg(any(test, feature = "testing"))]
mod faulty;
mod local;
mod second_name;
#[cfg(any(test, feature = "testing"))]
mod memory;
#[cfg(any(test, feature = "testing"))]
mod simulated;
#[cfg(test)]
mod simulated_tests;
mod step;

#[cfg(any(test, feature = "testing"))]
pub use faulty::{Fault, FaultyDisk, Point, TracedStep, Watcher};
pub use local::LocalDisk;
#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryDisk;
pub use second_name::give_second_name;
#[cfg(any(test, feature = "testing"))]
pub use simulated::{Image, Loss, SimulatedDisk};
pub use step::Step;

/// How the name of a temporary file ends. One that is found at a start is left over from a crash and means nothing.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// A symbolic link, or something stranger; it is never followed.
    Other,
}

/// What Floodmark asks of a local file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// What stands under this name; `NotFound` when nothing does.
    fn kind(&self, path: &Path) -> io::Result<Kind>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Reads exactly `len` bytes from `offset`; `UnexpectedEof` when they are not there.
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// The length of a file in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// The names in a directory, sorted. A directory that does not exist is an error, never an empty list (I-6). A name that is
    /// not UTF-8 is none of ours, and is left out.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Creates an empty file to append to; `AlreadyExists` when the name is taken.
    fn create(&self, step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file to append at its end.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Creates one directory; `AlreadyExists` when the name is taken.
    fn create_dir(&self, step: Step, path: &Path) -> io::Result<()>;

    /// Gives a file a second name; `AlreadyExists` when that is taken: unlike a rename it never replaces what is there.
    fn link(&self, step: Step, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file or a directory another name, in one instant; a file replaces the file that has the name.
    fn rename(&self, step: Step, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file.
    fn remove_file(&self, step: Step, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, step: Step, path: &Path) -> io::Result<()>;

    /// Makes the bytes of a file durable, whoever wrote them.
    fn sync_file(&self, step: Step, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, step: Step, path: &Path) -> io::Result<()>;

    /// Marks a durable step that is taken outside of this door.
    fn pass(&self, step: Step) -> io::Result<()>;

    /// Creates a directory and its missing parents, each synced into its own parent.
    fn create_dir_all(&self, step: Step, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut there = path;
        while !is_directory(self, there)? {
            missing.push(there);
            if there == parent_of(there) {
                return Err(io::ErrorKind::NotFound.into()); // a system without a root
            }
            there = parent_of(there);
        }
        // A life that died between the creation and the sync may have left this name only in memory.
        match self.sync_directory(step, parent_of(there)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {} // not ours, so we did not make it
            other => other?,
        }
        for directory in missing.into_iter().rev() {
            match self.create_dir(step, directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_directory(self, directory)? => {}
                other => other?,
            }
            self.sync_directory(step, parent_of(directory))?;
        }
        Ok(())
    }

    /// Creates a file with these bytes, whole and durable or not at all: temporary file, sync, link, directory sync.
    /// `AlreadyExists` when the name is taken; the file that is there is left alone.
    fn create_whole(&self, step: Step, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = temporary_beside(path)?;
        let made = write_synced(self, step, &temporary, bytes).and_then(|()| self.link(step, &temporary, path));
        let cleared = self.remove_file(step, &temporary);
        if let Err(error) = made {
            // The error that led here is the one to report; a temporary file that stays behind has no meaning.
            if let Err(left) = cleared.map_err(|left| left.kind())
                && left != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %temporary.display(), error = %left, "a temporary file stays behind");
            }
            return Err(error);
        }
        cleared?;
        self.sync_directory(step, parent_of(path))
    }

    /// Replaces a file, or creates it, by way of `temporary` beside it: whoever reads it finds the old bytes or the new ones,
    /// whole. What an earlier try has left under the temporary name goes.
    fn replace_whole(&self, step: Step, path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        match self.kind(temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.and_then(|_| self.remove(step, temporary))?,
        }
        write_synced(self, step, temporary, bytes)?;
        self.rename(step, temporary, path)?;
        self.sync_directory(step, parent_of(path))
    }

    /// Removes a file, or a directory with all that is in it, and syncs the parent.
    fn remove(&self, step: Step, path: &Path) -> io::Result<()> {
        remove_below(self, step, path)?;
        self.sync_directory(step, parent_of(path))
    }

    /// Syncs every file in a directory, then the directory and its parent: for files that RocksDB made.
    fn sync_tree(&self, step: Step, path: &Path) -> io::Result<()> {
        sync_below(self, step, path)?;
        self.sync_directory(step, parent_of(path))
    }
}

/// A file that is open for appending.
pub trait DiskFile: Send {
    /// Writes all slices at the end, in order.
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes what was appended durable (`fdatasync`).
    fn sync(&mut self, step: Step) -> io::Result<()>;
}

fn is_directory<D: Disk + ?Sized>(disk: &D, path: &Path) -> io::Result<bool> {
    match disk.kind(path) {
        Ok(Kind::Directory) => Ok(true),
        Ok(Kind::Other) => Ok(disk.list(path).is_ok()), // a link to one
        Ok(Kind::File) => Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is a file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_synced<D: Disk + ?Sized>(disk: &D, step: Step, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(step, path)?;
    file.append(step, &mut [IoSlice::new(bytes)])?;
    file.sync(step)
}

fn remove_below<D: Disk + ?Sized>(disk: &D, step: Step, path: &Path) -> io::Result<()> {
    if disk.kind(path)? != Kind::Directory {
        return disk.remove_file(step, path);
    }
    for name in disk.list(path)? {
        remove_below(disk, step, &path.join(name))?;
    }
    disk.remove_dir(step, path)
}

fn sync_below<D: Disk + ?Sized>(disk: &D, step: Step, directory: &Path) -> io::Result<()> {
    for name in disk.list(directory)? {
        let path = directory.join(name);
        match disk.kind(&path)? {
            Kind::Directory => sync_below(disk, step, &path)?,
            Kind::File => disk.sync_file(step, &path)?,
            Kind::Other => {}
        }
    }
    disk.sync_directory(step, directory)
}

/// A name in the same directory that nobody else has, so that two creators of one name never write into the same file.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let invalid =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("expected a file name in UTF-8, found {path:?}"));
    let name = path.file_name().and_then(OsStr::to_str).ok_or_else(invalid)?;
    #[allow(clippy::disallowed_methods)] // a name that nobody else has
    let temporary = format!(".{name}.{:016x}{TEMPORARY_SUFFIX}", rand::random::<u64>());
    Ok(parent_of(path).join(temporary))
}

/// The directory in which a path's last name stands.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent == Path::new("") => Path::new("."),
        Some(parent) => parent,
        None => path, // the root is its own parent
    }
}
