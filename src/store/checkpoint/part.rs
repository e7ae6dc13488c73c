//! The files of a checkpoint, by ranges of key hashes.
//!
//! A manifest lists the files of a checkpoint in parts: each is a directory that holds the state of all keys whose hashes are in a
//! range. So a checkpoint can be written, and loaded, by several machines. So far a checkpoint has one part with all hashes, which
//! is what [`CheckpointFiles`] is. Others were written by a later build; they are refused, and never taken for damage.

use serde::{Deserialize, Serialize};

use crate::state::files::CheckpointFile;

/// A checkpoint's directory under `checkpoints/`, and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "Vec<CheckpointPart>")]
pub struct CheckpointFiles {
    pub directory: String,
    pub files: Vec<CheckpointFile>,
}

/// A part of a checkpoint, as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckpointPart {
    /// The smallest and the largest key hash in it.
    first_hash: u64,
    last_hash: u64,
    directory: String,
    files: Vec<CheckpointFile>,
}

impl From<CheckpointFiles> for Vec<CheckpointPart> {
    fn from(files: CheckpointFiles) -> Self {
        let CheckpointFiles { directory, files } = files;
        vec![CheckpointPart { first_hash: 0, last_hash: u64::MAX, directory, files }]
    }
}

impl TryFrom<Vec<CheckpointPart>> for CheckpointFiles {
    /// What was found instead, in words.
    type Error = String;

    fn try_from(parts: Vec<CheckpointPart>) -> Result<Self, String> {
        let count = parts.len();
        match <[CheckpointPart; 1]>::try_from(parts) {
            Ok([CheckpointPart { first_hash: 0, last_hash: u64::MAX, directory, files }]) => {
                Ok(Self { directory, files })
            }
            Ok([part]) => Err(format!("a part with the hashes {:016x} to {:016x}", part.first_hash, part.last_hash)),
            Err(_) => Err(format!("{count} parts")),
        }
    }
}

#[cfg(test)]
pub(super) fn part(first_hash: u64, last_hash: u64) -> CheckpointPart {
    CheckpointPart { first_hash, last_hash, directory: "d".to_string(), files: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_base::codec::encode;

    #[test]
    fn a_checkpoint_is_one_part_with_all_hashes() {
        let files = CheckpointFiles { directory: "d".to_string(), files: Vec::new() };
        let parts = vec![part(0, u64::MAX)];
        assert_eq!(encode(&files).unwrap(), encode(&parts).unwrap());
        assert_eq!(CheckpointFiles::try_from(parts).unwrap(), files);
    }
}
