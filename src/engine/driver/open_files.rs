//! For tests: which files of a job are open.

use std::fs;
use std::path::{Path, PathBuf};

/// What the process holds open below a directory: its lock, its log, files of its state.
pub(super) fn open_files(directory: &Path) -> Vec<PathBuf> {
    let directory = directory.canonicalize().unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|open| fs::read_link(open.ok()?.path()).ok());
    open.filter(|path| path.starts_with(&directory)).collect()
}
