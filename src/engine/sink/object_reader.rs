//! Reading a batch that `save_as_object_files` has written.
#![allow(clippy::disallowed_methods)] // reads files that are published, without a job

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{SUMMARY, part_name};
use super::object_files::ObjectFormat;
use super::summary::{BatchSummary, PartSummary};
use crate::rdd::Rdd;
use floodmark_base::codec::Record;
use floodmark_base::error::{Error, ErrorKind};

/// Reads a batch that [`save_as_object_files`](crate::DStream::save_as_object_files) has written, with its partitions. Spark:
/// `SparkContext.objectFile`.
///
/// `directory` is that of one batch, `<prefix>-<time>[.<suffix>]`. Holds the batch in memory, and one part file at a time.
/// Everything is checked before it is believed: sizes and checksums of the files by what the batch says of itself, the
/// checksums in the files, and the shape of `T` by the schema that stands in each.
///
/// ```
/// use floodmark::{read_object_files, testing::TestJob};
///
/// let directory = tempfile::tempdir()?;
/// let prefix = directory.path().join("numbers");
/// let mut job = TestJob::new(move |context| {
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     stream.save_as_object_files("saved", &prefix, "");
///     numbers
/// })?;
/// job.handles().push(vec![1, 2, 3])?;
/// let batch = job.run_batch()?;
///
/// let saved = directory.path().join(format!("numbers-{}", batch.time));
/// assert_eq!(read_object_files::<u64>(&saved)?.collect(), [1, 2, 3]);
///
/// let refused = read_object_files::<String>(&saved).unwrap_err();
/// assert!(refused.to_string().ends_with("holds records of the type u64, expected str"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When a file is missing or cannot be read; when one is damaged: the error names file, offset, expected and found; when it
/// is of another version or holds records of another type, with both named.
pub fn read_object_files<T: Record>(directory: impl AsRef<Path>) -> Result<Rdd<T>, ObjectFileError> {
    let directory = directory.as_ref();
    let format = ObjectFormat::<T>::new()
        .map_err(|reason| ObjectFileError::NoSchema { type_name: std::any::type_name::<T>(), reason })?;
    let summary = read_summary(&directory.join(SUMMARY))?;
    let mut partitions: Vec<Vec<T>> = std::iter::repeat_with(Vec::new).take(summary.partitions).collect();
    for part in &summary.parts {
        let path = directory.join(part_name(part.partition));
        let bytes = fs::read(&path).map_err(|source| ObjectFileError::Io { path: path.clone(), source })?;
        // What the file says of itself tells where it is damaged; whether it is this batch's file, the summary tells.
        let records = format.read(&path, &bytes)?;
        compare(&path, &bytes, records.len(), part)?;
        match partitions.get_mut(part.partition) {
            Some(partition) => *partition = records,
            None => {
                let reason = format!("expected parts below {}, found part {}", summary.partitions, part.partition);
                return Err(ObjectFileError::Summary { path: directory.join(SUMMARY), reason });
            }
        }
    }
    Ok(Rdd::new(partitions))
}

/// Why object files could not be read.
///
/// ```
/// use floodmark::{ErrorKind, read_object_files};
///
/// let error = read_object_files::<u64>("no/such/directory").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Environment);
/// assert!(error.to_string().starts_with("read no/such/directory/_batch: "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectFileError {
    /// A file is missing, or the file system refused to read it.
    #[error("read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A part file is not what it should be.
    #[error("{path} is damaged at byte {offset}: expected {expected}, found {found}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from its start.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// What a batch says of itself cannot be read.
    #[error("{path} is damaged: {reason}")]
    Summary {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A whole file of another version of the format.
    #[error("{path} is an object file of version {found}; this build reads version {expected}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that this build reads.
        expected: u32,
        /// The file's version.
        found: u32,
    },
    /// A whole file, of records of another type.
    #[error("{path} holds records of the type {found}, expected {expected}")]
    OtherType {
        /// The file.
        path: PathBuf,
        /// The shape of the type that was asked for.
        expected: String,
        /// The shape of the type that was written.
        found: String,
    },
    /// The type that was asked for cannot stand in object files.
    #[error("{type_name} has no schema that can be stored: {reason}")]
    NoSchema {
        /// The type's name in Rust.
        type_name: &'static str,
        /// Why: serde attributes such as `flatten` and `untagged` need a self-describing format.
        reason: String,
    },
}

impl ObjectFileError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Environment,
            Self::Damaged { .. } | Self::Summary { .. } => ErrorKind::Damaged,
            Self::Version { .. } | Self::OtherType { .. } => ErrorKind::Incompatible,
            Self::NoSchema { .. } => ErrorKind::Configuration,
        }
    }
}

impl From<ObjectFileError> for Error {
    fn from(error: ObjectFileError) -> Self {
        Error::caused_by(error.kind(), "object files were not read", error)
    }
}

fn read_summary(path: &Path) -> Result<BatchSummary, ObjectFileError> {
    let text = fs::read(path).map_err(|source| ObjectFileError::Io { path: path.to_path_buf(), source })?;
    // Bytes that are no text are replaced, which its checksum finds.
    BatchSummary::parse(&String::from_utf8_lossy(&text))
        .map_err(|error| ObjectFileError::Summary { path: path.to_path_buf(), reason: error.to_string() })
}

/// Whether a whole part file is the one that its batch names.
fn compare(path: &Path, bytes: &[u8], records: usize, expected: &PartSummary) -> Result<(), ObjectFileError> {
    let found = PartSummary {
        partition: expected.partition,
        records: records as u64,
        bytes: bytes.len() as u64,
        crc32: crc32fast::hash(bytes),
    };
    if found == *expected {
        return Ok(());
    }
    let text =
        |part: &PartSummary| format!("{} records in {} bytes with crc32 {:08x}", part.records, part.bytes, part.crc32);
    let (expected, found) = (format!("{}, by {SUMMARY} beside it", text(expected)), text(&found));
    Err(ObjectFileError::Damaged { path: path.to_path_buf(), offset: 0, expected, found })
}
