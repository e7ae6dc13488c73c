//! What can go wrong between a table and the disk.

use std::io;
use std::path::PathBuf;

use super::OperatorNumber;
use floodmark_base::codec::KeyHash;

/// A failure of the state store. Each names the file or the entry that it is about.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// RocksDB refused; its own words say why.
    #[error("cannot {doing} in {directory}: {source}", directory = .directory.display())]
    Store { doing: &'static str, directory: PathBuf, source: rocksdb::Error },
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// A file that the manifest lists is not there.
    #[error("checkpoint file {path} is missing: expected {expected} bytes", path = .path.display())]
    FileMissing { path: PathBuf, expected: u64 },
    /// A file has not the size that the manifest lists.
    #[error("checkpoint file {path} is damaged: expected {expected} bytes, found {found}", path = .path.display())]
    FileSize { path: PathBuf, expected: u64, found: u64 },
    /// A file has not the checksum that the manifest lists.
    #[error("checkpoint file {path} is damaged: expected crc32 {expected:08x}, found {found:08x}", path = .path.display())]
    FileChecksum { path: PathBuf, expected: u32, found: u32 },
    /// A table file does not end in RocksDB's footer.
    #[error(
        "checkpoint file {path} is damaged at offset {offset}: expected the footer mark {expected:016x}, found {found:016x}",
        path = .path.display()
    )]
    FileFooter { path: PathBuf, offset: u64, expected: u64, found: u64 },
    /// A stored entry is not what the operator's types say.
    #[error("stored entry of operator {operator}, key hash {hash:016x}, is damaged: {reason}", hash = .hash.0)]
    Entry { operator: OperatorNumber, hash: KeyHash, reason: String },
    /// Two frozen runs claim the same range of keys: the partitions were not disjoint.
    #[error("frozen runs of operator {operator} overlap at key hash {hash:016x}", hash = .hash.0)]
    RunsOverlap { operator: OperatorNumber, hash: KeyHash },
}

impl StateError {
    /// Whether stored bytes are not what they were. The rest is the environment's: a full disk or a busy file says nothing
    /// against a checkpoint (I-6).
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Store { source, .. } => {
                matches!(source.kind(), rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument)
            }
            Self::Io { .. } | Self::RunsOverlap { .. } => false,
            _ => true,
        }
    }
}
