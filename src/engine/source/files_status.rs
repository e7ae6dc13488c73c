//! What a source of files has met beside the files that it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::file_name::FileName;

/// How many entries a status names.
const NAMED: usize = 16;

/// What a source of files ([`TextFiles`](crate::TextFiles), [`BinaryFiles`](crate::BinaryFiles)) has met in its directory beside
/// the files that it takes. None of it stops the job; all of it is also in the log of the program, once.
///
/// ```
/// let status = floodmark::FilesStatus::default();
/// assert!(status.unavailable.is_none() && status.passed_over == 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilesStatus {
    /// Why the directory, or a file that was taken in part, cannot be had at present: nothing is taken until it can.
    pub unavailable: Option<String>,
    /// Entries that are there and are not taken: sub-directories, links to nothing or to themselves, devices, pipes, sockets,
    /// files that may not be read. Hidden and temporary names do not count.
    pub passed_over: u64,
    /// The first of those by name, and why; at most 16.
    pub passed_over_names: Vec<(String, String)>,
    /// Files that were taken and are not forgotten.
    pub known: u64,
    /// Files with other contents than were read under their names. They are not read, unless
    /// [`read_replaced_files`](crate::TextFiles::read_replaced_files) says so.
    pub replaced: u64,
    /// The first of those by name; at most 16.
    pub replaced_names: Vec<String>,
}

impl FilesStatus {
    pub(crate) fn tell_replaced(&mut self, replaced: &BTreeSet<FileName>) {
        self.replaced = replaced.len() as u64;
        self.replaced_names = replaced.iter().take(NAMED).map(ToString::to_string).collect();
    }
}

/// The entries that are passed over, and why.
#[derive(Debug, Default)]
pub(crate) struct PassedOver(BTreeMap<FileName, String>);

impl PassedOver {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells of an entry, once as long as it is there.
    pub fn add(&mut self, directory: &Path, name: &FileName, why: String) {
        if self.0.get(name) != Some(&why) {
            tracing::warn!("{}: {why}: it is not taken", name.in_directory(directory).display());
            self.0.insert(name.clone(), why);
        }
    }

    pub fn remove(&mut self, name: &FileName) {
        self.0.remove(name);
    }

    pub fn retain(&mut self, is_there: impl Fn(&FileName) -> bool) {
        self.0.retain(|name, _| is_there(name));
    }

    pub fn tell(&self, status: &mut FilesStatus) {
        status.passed_over = self.0.len() as u64;
        status.passed_over_names =
            self.0.iter().take(NAMED).map(|(name, why)| (name.to_string(), why.clone())).collect();
    }
}
