//! Opening files of a directory in which anything may stand under any name.
#![allow(clippy::disallowed_methods)] // the door to files of the user

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Why something is not read that is there.
pub(crate) const NO_FILE: &str = "neither a file nor a link to one";

/// Opens a file for reading. Never waits, whatever has come under the name since it was looked at: a named pipe would be opened only
/// when somebody writes into it.
///
/// # Errors
/// When it cannot be opened; with [`NO_FILE`] when it is no file.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let opened = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        // The server of a network file system has a lease on the file, and gives it back now.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && fs::metadata(path)?.is_file() => File::open(path),
        opened => opened,
    };
    // What is no file may also refuse to be opened, as a socket does.
    let is_file = match &opened {
        Ok(file) => file.metadata()?.is_file(),
        Err(_) => fs::metadata(path).map_or(true, |found| found.is_file()),
    };
    if is_file { opened } else { Err(io::Error::new(io::ErrorKind::InvalidInput, NO_FILE)) }
}
