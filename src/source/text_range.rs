//! A part of a text file: what one task reads.
//!
//! A range holds the lines that begin in it: so however a file is divided, every line is in exactly one range.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use byteview::ByteView;
use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::source::buffers::Buffers;
use crate::source::direct::RangeReader;
use crate::source::error::SourceError;
use crate::source::lines::{line_start_at_or_after, split_lines};
use crate::source::task::ReadSummary;
use crate::source::text_files::Density;
use crate::text::Text;

/// Bytes read beyond a range for the end of its last line, at first; more only if that line is longer.
const BEYOND_BYTES: u64 = 4 << 10;

/// What tells that a file is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileStamp {
    /// Bytes.
    pub(crate) size: u64,
    /// Time of modification, in nanoseconds since the epoch.
    pub(crate) modified_ns: i64,
}

impl FileStamp {
    pub(crate) fn of(metadata: &Metadata) -> io::Result<Self> {
        let modified = metadata.modified()?;
        let modified_ns = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        };
        Ok(Self { size: metadata.len(), modified_ns })
    }
}

impl std::fmt::Display for FileStamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes modified at {} ns", self.size, self.modified_ns)
    }
}

/// The lines of a file that begin in `start..end`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TextRange {
    /// The file's name in its directory.
    pub(crate) name: String,
    /// The file as it was planned.
    pub(crate) stamp: FileStamp,
    /// Byte offset.
    pub(crate) start: u64,
    /// Byte offset, not included.
    pub(crate) end: u64,
}

/// Reads ranges of the text files of one directory.
#[derive(Debug)]
pub(crate) struct TextRangeReader {
    pub directory: PathBuf,
    pub max_line_bytes: usize,
    pub density: Arc<Density>,
    pub buffers: Buffers,
}

impl RangeReader for TextRangeReader {
    type Item = Text;
    type Range = TextRange;

    fn read(&self, range: &TextRange, emit: &mut dyn FnMut(Text)) -> Result<ReadSummary, SourceError> {
        let path = self.directory.join(&range.name);
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SourceError::Vanished { path: path.clone(), size: range.stamp.size },
            _ => SourceError::File { path: path.clone(), offset: range.start, error },
        })?;
        check_unchanged(&path, range, &file)?;
        let mut buffer = ByteView::default();
        let lines = self.read_lines(&path, &mut file, range, &mut buffer)?;
        // Once more: what was read in between is then what was planned.
        check_unchanged(&path, range, &file)?;
        let whence = format!("{} from byte {}", path.display(), range.start);
        let Some(lines) = lines else { return Ok(ReadSummary::default()) };
        let summary = split_lines(&lines, self.max_line_bytes, &whence, emit);
        self.density.add(lines.len() as u64, summary.records + summary.failed);
        drop(lines);
        self.buffers.give(buffer);
        Ok(summary)
    }
}

impl TextRangeReader {
    /// The bytes of the lines that begin in the range, as a part of what is read into `buffer`.
    fn read_lines(
        &self,
        path: &Path,
        file: &mut File,
        range: &TextRange,
        buffer: &mut ByteView,
    ) -> Result<Option<ByteView>, SourceError> {
        // The byte before the range tells whether a line begins with the range.
        let from = range.start.saturating_sub(1);
        let mut beyond = BEYOND_BYTES;
        loop {
            let until = range.stamp.size.min(range.end + beyond);
            let failed = |error| SourceError::File { path: path.to_path_buf(), offset: from, error };
            file.seek(SeekFrom::Start(from)).map_err(failed)?;
            let bytes = self.buffers.read(file, (until - from) as usize, buffer).map_err(failed)?;
            let end = (range.end - from) as usize;
            let Some(first) =
                line_start_at_or_after(&bytes, (range.start - from) as usize).filter(|&first| first < end)
            else {
                return Ok(None);
            };
            // The last line that begins before the end of the range ends at the first line end from there on.
            if let Some(newline) = memchr(b'\n', &bytes[end - 1..]) {
                return Ok(Some(bytes.slice(first..end + newline)));
            }
            // A line that goes on further than this is too long wherever it ends; cut here it is told as too long, too.
            if until == range.stamp.size || beyond > self.max_line_bytes as u64 + 2 {
                return Ok(Some(bytes.slice(first..)));
            }
            beyond = (beyond * 16).min(self.max_line_bytes as u64 + 3).max(beyond + 1);
        }
    }
}

fn check_unchanged(path: &Path, range: &TextRange, file: &File) -> Result<(), SourceError> {
    let found = file.metadata().and_then(|metadata| FileStamp::of(&metadata)).map_err(|error| SourceError::File {
        path: path.to_path_buf(),
        offset: range.start,
        error,
    })?;
    if found == range.stamp {
        return Ok(());
    }
    Err(changed(path, range.stamp, found))
}

pub(crate) fn changed(path: &Path, expected: FileStamp, found: FileStamp) -> SourceError {
    SourceError::Changed { path: path.to_path_buf(), expected: expected.to_string(), found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_in_tasks(bytes: &[u8], task_bytes: u64, max_line_bytes: usize) -> (Vec<String>, u64) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        let stamp = FileStamp::of(&path.metadata().unwrap()).unwrap();
        let reader = TextRangeReader {
            directory: directory.path().into(),
            max_line_bytes,
            density: Arc::default(),
            buffers: Buffers::default(),
        };
        let (mut lines, mut failed) = (Vec::new(), 0);
        for start in (0..bytes.len() as u64).step_by(task_bytes as usize) {
            let end = stamp.size.min(start + task_bytes);
            let range = TextRange { name: "f".into(), stamp, start, end };
            failed += reader.read(&range, &mut |line| lines.push(line.to_string())).unwrap().failed;
        }
        (lines, failed)
    }

    #[test]
    fn a_line_belongs_to_the_range_in_which_it_begins() {
        for task_bytes in 1..20 {
            let (lines, _) = read_in_tasks(b"to be\r\nor\n\nnot to be", task_bytes, 100);
            assert_eq!(lines, ["to be", "or", "", "not to be"], "tasks of {task_bytes} bytes");
        }
    }

    #[test]
    fn a_line_longer_than_what_is_read_beyond_a_range_is_read_whole() {
        let long = "x".repeat(100_000);
        let bytes = format!("a\n{long}\nb\n");
        let expected = (vec!["a".to_string(), long.clone(), "b".to_string()], 0);
        assert!(read_in_tasks(bytes.as_bytes(), 10_000, 100_000) == expected);
        let (lines, failed) = read_in_tasks(bytes.as_bytes(), 10_000, 99_999);
        assert_eq!((lines.as_slice(), failed), (["a", "b"].map(String::from).as_slice(), 1));
    }

    proptest! {
        #[test]
        fn any_task_size_gives_every_line_once(
            bytes in prop::collection::vec(prop::sample::select(b"abc\r\n\n".to_vec()), 0..120),
            task_bytes in 1_u64..50,
            max_line_bytes in 0_usize..8,
        ) {
            let whole = read_in_tasks(&bytes, 1 << 20, max_line_bytes);
            prop_assert_eq!(&read_in_tasks(&bytes, task_bytes, max_line_bytes), &whole);
            let records = bytes.iter().filter(|&&byte| byte == b'\n').count()
                + usize::from(bytes.last().is_some_and(|&byte| byte != b'\n'));
            prop_assert_eq!(whole.0.len() + whole.1 as usize, records);
        }
    }
}
