//! Where directories for tests are made.

use std::io;
use std::path::{Path, PathBuf};

/// The folder for directories of tests whose subject is not the disk itself: in memory where the system has a file system there, since
/// what a killed process or a simulated fault leaves is the same there, and a sync costs nothing; else the folder for temporary files.
///
/// ```
/// assert!(floodmark_chaos::scratch::folder().is_dir());
/// ```
pub fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}

/// A new directory in [`folder`], removed when it is dropped.
///
/// ```
/// let directory = floodmark_chaos::scratch::directory().unwrap();
/// assert!(directory.path().is_dir());
/// ```
///
/// # Errors
/// When it cannot be made.
pub fn directory() -> io::Result<tempfile::TempDir> {
    // Many processes of many tests make some at once.
    tempfile::Builder::new().prefix("floodmark-").rand_bytes(12).tempdir_in(folder())
}
