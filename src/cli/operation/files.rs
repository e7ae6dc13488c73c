//! Copying, linking and moving whole files and directories, each durable before the next step rests on it.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::failure::{Failure, Result};
use floodmark_base::disk::{Disk, Kind, Step};

/// How a file gets a second name.
#[derive(Clone, Copy)]
enum How {
    Copy,
    Link,
}

/// Copies a file or a directory with all that is in it, synced. `to` must not be there; its parents are made.
///
/// # Errors
/// When it cannot be read or written; what was copied up to then stays.
pub(crate) fn copy_tree(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    repeat_tree(disk, from, to, How::Copy)
}

/// As [`copy_tree`], but files become second names of the same bytes, which never change.
///
/// # Errors
/// As [`copy_tree`]; also when the two are on different file systems.
pub(crate) fn link_tree(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    repeat_tree(disk, from, to, How::Link)
}

/// Moves a file or a directory, also to another file system. `to` must not be there; its parents are made. A crash leaves it under the
/// old name or the new one; across file systems perhaps both, or an unfinished copy beside the new one.
///
/// # Errors
/// When it cannot be moved; it is then still where it was.
pub(crate) fn move_to(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    make_parent(disk, to)?;
    if super::is_there(disk, to)? {
        let taken = io::Error::new(io::ErrorKind::AlreadyExists, "the name is taken");
        return Err(Failure::io("move to", to, &taken));
    }
    match disk.rename(Step::Operation, from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let unfinished = to.with_extension("unfinished");
            if super::is_there(disk, &unfinished)? {
                disk.remove(Step::Operation, &unfinished)
                    .map_err(|error| Failure::io("remove", &unfinished, &error))?;
            }
            copy_tree(disk, from, &unfinished)?;
            disk.rename(Step::Operation, &unfinished, to).map_err(|error| Failure::io("rename to", to, &error))?;
            sync_parent(disk, to)?;
            return disk.remove(Step::Operation, from).map_err(|error| Failure::io("remove", from, &error));
        }
        Err(error) => return Err(Failure::io("move", from, &error)),
    }
    // The new name first: of the two, one is there after a power cut.
    sync_parent(disk, to)?;
    sync_parent(disk, from)
}

fn repeat_tree(disk: &dyn Disk, from: &Path, to: &Path, how: How) -> Result<()> {
    make_parent(disk, to)?;
    repeat_below(disk, from, to, how)?;
    sync_parent(disk, to)
}

fn repeat_below(disk: &dyn Disk, from: &Path, to: &Path, how: How) -> Result<()> {
    match (disk.kind(from).map_err(|error| Failure::io("look at", from, &error))?, how) {
        (Kind::Directory, _) => {
            disk.create_dir(Step::Operation, to).map_err(|error| Failure::io("make", to, &error))?;
            for name in disk.list(from).map_err(|error| Failure::io("list", from, &error))? {
                repeat_below(disk, &from.join(&name), &to.join(&name), how)?;
            }
            disk.sync_directory(Step::Operation, to).map_err(|error| Failure::io("sync", to, &error))
        }
        (_, How::Link) => disk.link(Step::Operation, from, to).map_err(|error| Failure::io("link", from, &error)),
        (_, How::Copy) => {
            let bytes = disk.read(from).map_err(|error| Failure::io("read", from, &error))?;
            write_new(disk, to, &bytes)
        }
    }
}

/// Creates a file with these bytes, synced, and its parents.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_whole(disk: &dyn Disk, to: &Path, bytes: &[u8]) -> Result<()> {
    make_parent(disk, to)?;
    write_new(disk, to, bytes)?;
    sync_parent(disk, to)
}

/// Creates a file with these bytes, synced.
fn write_new(disk: &dyn Disk, to: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = disk.create(Step::Operation, to)?;
        file.append(Step::Operation, &mut [IoSlice::new(bytes)])?;
        file.sync(Step::Operation)
    };
    write().map_err(|error| Failure::io("write", to, &error))
}

fn make_parent(disk: &dyn Disk, path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    disk.create_dir_all(Step::Operation, parent).map_err(|error| Failure::io("make", parent, &error))
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    disk.sync_directory(Step::Operation, parent).map_err(|error| Failure::io("sync", parent, &error))
}
