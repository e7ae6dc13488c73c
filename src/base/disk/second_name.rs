//! A second name for a file that never changes, for readers elsewhere.
#![allow(clippy::disallowed_methods)] // part of the door: scratch links that need not survive

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Gives `from` the second name `to`: a hard link, which stays when the first name goes, or, across file systems and where hard links
/// are not permitted, a symbolic one. Says whether it stays.
///
/// # Errors
/// `NotFound` where `from` is not there; and what the file system refuses.
pub fn give_second_name(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => symlink(fs::canonicalize(from)?, to).map(|()| false),
        linked => linked.map(|()| true),
    }
}
