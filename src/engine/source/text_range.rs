//! The lines of a part of a text file.
//!
//! A range holds the lines that begin in it: so however a file is divided, every line is in exactly one range.

use std::path::PathBuf;
use std::sync::Arc;

use byteview::ByteView;
use memchr::memchr;
use xxhash_rust::xxh3::xxh3_128;

use crate::dataflow::task::Before;
use crate::source::buffers::Buffers;
use crate::source::byte_order::{ByteOrderMark, WIDE_TEXT};
use crate::source::direct::RangeReader;
use crate::source::error::SourceError;
use crate::source::file_range::{FileRange, PlannedFile};
use crate::source::lines::{line_start_at_or_after, split_lines};
use crate::source::task::ReadSummary;
use crate::source::text_files::Density;
use crate::source::text_stream::stream_lines;
use floodmark_base::text::Text;

/// Bytes read beyond a range for the end of its last line, at first; more only if that line is longer.
const BEYOND_BYTES: u64 = 4 << 10;

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
    type Range = FileRange;

    fn read(&self, range: &FileRange, emit: &mut dyn FnMut(Text)) -> Result<ReadSummary, SourceError> {
        self.read_with_receipt(range, &Before::Planned, emit).map(|(summary, _)| summary)
    }

    fn read_with_receipt(
        &self,
        range: &FileRange,
        before: &Before,
        emit: &mut dyn FnMut(Text),
    ) -> Result<(ReadSummary, Vec<u8>), SourceError> {
        let mut file = PlannedFile::open(&self.directory, range, before)?;
        if let Some(compression) = range.compression() {
            let whence = file.path.display().to_string();
            return file.decompressed(compression, |text| {
                let failed = |error| SourceError::File { path: whence.clone().into(), offset: 0, error };
                stream_lines(text, self.max_line_bytes, &whence, emit).map_err(failed)
            });
        }
        let mark = file.byte_order_mark()?;
        let mut buffer = ByteView::default();
        let (lines, hash) = self.read_lines(&mut file, &mut buffer)?;
        file.check_unchanged()?;
        let receipt = file.receipt(hash)?;
        if mark == ByteOrderMark::Wide {
            // Once for the file, however it is divided.
            let failed = u64::from(range.start == 0);
            if failed > 0 {
                tracing::warn!("{}: {WIDE_TEXT}", file.path.display());
            }
            return Ok((ReadSummary { records: 0, failed }, receipt));
        }
        let Some(mut lines) = lines else { return Ok((ReadSummary::default(), receipt)) };
        if range.start == 0 {
            lines = lines.slice(mark.skipped_bytes()..);
        }
        let summary = split_lines(&lines, self.max_line_bytes, &file.whence(), emit);
        self.density.add(lines.len() as u64, summary.records + summary.failed);
        drop(lines);
        self.buffers.give(buffer);
        Ok((summary, receipt))
    }
}

impl TextRangeReader {
    /// The bytes of the lines that begin in the range, as a part of what is read into `buffer`, and the hash of the range's bytes.
    fn read_lines(
        &self,
        file: &mut PlannedFile<'_>,
        buffer: &mut ByteView,
    ) -> Result<(Option<ByteView>, u128), SourceError> {
        let range = file.range;
        // The byte before the range tells whether a line begins with the range.
        let from = range.start.saturating_sub(1);
        let mut beyond = BEYOND_BYTES;
        loop {
            let until = range.stamp.size.min(range.end + beyond);
            let bytes = file.read(from, until, &self.buffers, buffer)?;
            let (start, end) = ((range.start - from) as usize, (range.end - from) as usize);
            let hash = xxh3_128(&bytes[start..end]);
            let Some(first) = line_start_at_or_after(&bytes, start).filter(|&first| first < end) else {
                return Ok((None, hash));
            };
            // The last line that begins before the end of the range ends at the first line end from there on.
            if let Some(newline) = memchr(b'\n', &bytes[end - 1..]) {
                return Ok((Some(bytes.slice(first..end + newline)), hash));
            }
            // A line that goes on further than this is too long wherever it ends; cut here it is told as too long, too.
            if until == range.stamp.size || beyond > self.max_line_bytes as u64 + 2 {
                return Ok((Some(bytes.slice(first..)), hash));
            }
            beyond = (beyond * 16).min(self.max_line_bytes as u64 + 3).max(beyond + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file_range::FileStamp;
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
            let range = FileRange { name: "f".into(), stamp, start, end };
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

    #[test]
    fn a_byte_order_mark_of_utf8_is_no_part_of_the_first_line() {
        for task_bytes in 1..20 {
            let (lines, failed) = read_in_tasks(b"\xef\xbb\xbftea\r\nrum\r\n", task_bytes, 3);
            assert_eq!((lines, failed), (vec!["tea".to_string(), "rum".to_string()], 0), "tasks of {task_bytes} bytes");
        }
        assert_eq!(read_in_tasks(b"\xef\xbb\xbf", 2, 100), (vec![], 0), "a file without a line");
        assert_eq!(read_in_tasks(b"\xef\xbb\xbf\n", 9, 100), (vec![String::new()], 0), "a file with an empty line");
        assert_eq!(
            read_in_tasks(b"a\n\xef\xbb\xbfb\n", 9, 100).0,
            ["a", "\u{feff}b"],
            "only a file begins with a mark"
        );
    }

    #[test]
    fn a_file_in_utf16_fails_once_however_it_is_divided() {
        for task_bytes in 1..20 {
            let (lines, failed) = read_in_tasks(b"\xff\xfet\0e\0a\0\n\0r\0u\0m\0\n\0", task_bytes, 100);
            assert_eq!((lines, failed), (vec![], 1), "tasks of {task_bytes} bytes");
        }
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
