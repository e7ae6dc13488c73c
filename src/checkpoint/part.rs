//! The files of a checkpoint, by ranges of key hashes.
//!
//! A manifest lists the files of a checkpoint in parts: each is a directory that holds the state of all keys whose hashes are in a
//! range. So a checkpoint can be written, and loaded, by several machines. So far a checkpoint has one part with all hashes, which
//! is what [`CheckpointFiles`] is; a manifest with others is refused.

use serde::{Deserialize, Serialize};

use super::CheckpointFile;

/// A checkpoint's directory under `checkpoints/`, and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<CheckpointPart>", into = "Vec<CheckpointPart>")]
pub(crate) struct CheckpointFiles {
    pub directory: String,
    pub files: Vec<CheckpointFile>,
}

/// A part of a checkpoint, as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CheckpointPart {
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
    type Error = String;

    fn try_from(parts: Vec<CheckpointPart>) -> Result<Self, String> {
        let count = parts.len();
        match <[CheckpointPart; 1]>::try_from(parts) {
            Ok([CheckpointPart { first_hash: 0, last_hash: u64::MAX, directory, files }]) => {
                Ok(Self { directory, files })
            }
            Ok([part]) => Err(format!(
                "a checkpoint of the key hashes from {:016x} to {:016x}; this build reads checkpoints of all hashes",
                part.first_hash, part.last_hash
            )),
            Err(_) => Err(format!("a checkpoint in {count} parts; this build reads checkpoints in one part")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    fn part(first_hash: u64, last_hash: u64) -> CheckpointPart {
        CheckpointPart { first_hash, last_hash, directory: "d".to_string(), files: Vec::new() }
    }

    #[test]
    fn a_checkpoint_is_one_part_with_all_hashes() {
        let files = CheckpointFiles { directory: "d".to_string(), files: Vec::new() };
        assert_eq!(encode(&files).unwrap(), encode(&vec![part(0, u64::MAX)]).unwrap());
        assert_eq!(decode::<CheckpointFiles>(&encode(&files).unwrap()).unwrap(), files);
    }

    #[test]
    fn parts_that_a_later_build_wrote_are_refused_and_not_guessed() {
        let refused =
            |parts: Vec<CheckpointPart>| decode::<CheckpointFiles>(&encode(&parts).unwrap()).unwrap_err().to_string();
        assert!(refused(vec![]).contains("a checkpoint in 0 parts"));
        assert!(refused(vec![part(0, 7), part(8, u64::MAX)]).contains("a checkpoint in 2 parts"));
        assert!(refused(vec![part(0, 7)]).contains("from 0000000000000000 to 0000000000000007"));
    }
}
