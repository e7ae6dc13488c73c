//! How far the files of a directory were taken.

use std::collections::HashSet;

use serde::{Deserialize, Serialize, Serializer};

use crate::source::file_name::FileName;
use crate::source::file_range::{FileRange, FileStamp};

/// How far a directory was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesPosition {
    /// Names of files that were taken whole and are not yet in the memory of the source: none in a checkpoint, but of a version that
    /// kept them here.
    #[serde(serialize_with = "in_order")]
    pub(super) taken: HashSet<FileName>,
    /// The one file that was taken in part.
    pub(super) partial: Option<PartialFile>,
}

impl FilesPosition {
    /// Takes a range that was planned.
    pub(crate) fn advance(&mut self, range: &FileRange) {
        let FileRange { name, stamp, end, .. } = range;
        if *end >= stamp.size {
            self.partial = None;
            self.taken.insert(name.clone());
        } else {
            self.partial = Some(PartialFile { name: name.clone(), stamp: *stamp, next: *end });
        }
    }

    pub(super) fn is_partial(&self, name: &FileName) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.name == *name)
    }
}

/// Equal positions have equal bytes, whatever the order of a hash set.
fn in_order<S: Serializer>(names: &HashSet<FileName>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut names: Vec<_> = names.iter().collect();
    names.sort_unstable();
    serializer.collect_seq(names)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartialFile {
    pub name: FileName,
    pub stamp: FileStamp,
    /// Where it is read on.
    pub next: u64,
}
