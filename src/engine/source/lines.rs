//! Text lines out of a block's bytes.
//!
//! A line ends at `\n`; a `\r` before it is dropped; bytes after the last `\n` are a line of their own (blocks are cut at
//! line ends, so only the end of a stream or file has any). A line that is not UTF-8, or longer than the limit, is not a
//! record: it is counted and reported, and the lines around it are read.

use byteview::ByteView;
use memchr::memchr;

use crate::source::error::SourceError;
use crate::source::failures::Failures;
use crate::source::framing::for_each_delimited;
use crate::source::task::{ReadSummary, TaskBytes, TaskReader, unexpected};
use floodmark_base::text::Text;

/// Reads the blocks of a text source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinesReader {
    pub max_line_bytes: usize,
}

impl TaskReader<Text> for LinesReader {
    fn read(&self, bytes: TaskBytes<'_>, emit: &mut dyn FnMut(Text)) -> Result<ReadSummary, SourceError> {
        match bytes {
            TaskBytes::Block(block) => Ok(split_lines(&block, self.max_line_bytes, "a block", emit)),
            TaskBytes::Range(_) => Err(unexpected("a block of text")),
        }
    }
}

/// Hands every line of `bytes` to `emit`, sharing the bytes. `whence` names them in reports.
pub(crate) fn split_lines(
    bytes: &ByteView,
    max_line_bytes: usize,
    whence: &str,
    emit: &mut dyn FnMut(Text),
) -> ReadSummary {
    let mut failures = Failures::new(whence, "line");
    let mut records = 0;
    // One check for all lines, and line by line only where that fails: a `\n` never is a part of another character.
    match Text::from_view(bytes.clone()) {
        Ok(text) => for_each_delimited(bytes, b'\n', true, |start, end| {
            if end - start > max_line_bytes {
                failures.too_long(start, end - start, max_line_bytes);
            } else {
                records += 1;
                emit(text.slice(start..end));
            }
        }),
        Err(_) => for_each_delimited(bytes, b'\n', true, |start, end| {
            if end - start > max_line_bytes {
                failures.too_long(start, end - start, max_line_bytes);
                return;
            }
            match Text::from_view(bytes.slice(start..end)) {
                Ok(line) => {
                    records += 1;
                    emit(line);
                }
                Err(error) => failures.not_utf8(start, &error),
            }
        }),
    }
    failures.report();
    ReadSummary { records, failed: failures.count() }
}

/// Where the first line begins at or after `at`, in bytes of which the one before the first is a line end or nothing.
pub(crate) fn line_start_at_or_after(bytes: &[u8], at: usize) -> Option<usize> {
    match at {
        0 => Some(0),
        _ => memchr(b'\n', &bytes[at - 1..]).map(|newline| at + newline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], max: usize) -> (Vec<String>, ReadSummary) {
        let mut lines = Vec::new();
        let reader = LinesReader { max_line_bytes: max };
        let block = TaskBytes::Block(ByteView::from(bytes));
        let summary = reader.read(block, &mut |line: Text| lines.push(line.to_string())).unwrap();
        (lines, summary)
    }

    #[test]
    fn a_line_ends_at_its_newline_and_a_return_before_it_is_dropped() {
        let (lines, summary) = lines(b"one\r\ntwo\n\n\r\nre\rturn\nlast", 100);
        assert_eq!(lines, ["one", "two", "", "", "re\rturn", "last"]);
        assert_eq!(summary, ReadSummary { records: 6, failed: 0 });
    }

    #[test]
    fn a_line_that_is_not_utf8_fails_alone() {
        let (lines, summary) = lines(b"a long line before the bad one\nbad \xff\xfe\nafter\xc3\n\xc3\xa4\n", 100);
        assert_eq!(lines, ["a long line before the bad one", "ä"]);
        assert_eq!(summary, ReadSummary { records: 2, failed: 2 });
    }

    #[test]
    fn a_line_beyond_the_limit_fails_alone() {
        let (lines, summary) = lines(b"12345\n123456\n12345\r\n", 5);
        assert_eq!(lines, ["12345", "12345"]);
        assert_eq!(summary, ReadSummary { records: 2, failed: 1 });
    }

    #[test]
    fn an_empty_block_has_no_lines() {
        assert_eq!(lines(b"", 5).0.len(), 0);
    }

    #[test]
    fn the_next_line_start_is_found() {
        assert_eq!(line_start_at_or_after(b"ab\ncd\n", 0), Some(0));
        assert_eq!(line_start_at_or_after(b"ab\ncd\n", 1), Some(3));
        assert_eq!(line_start_at_or_after(b"ab\ncd\n", 3), Some(3));
        assert_eq!(line_start_at_or_after(b"ab\ncd", 4), None);
    }

    #[test]
    fn a_range_is_refused() {
        let error = LinesReader { max_line_bytes: 1 }.read(TaskBytes::Range(&[]), &mut |_| {}).unwrap_err();
        assert!(error.to_string().starts_with("a block of text cannot be decoded"), "{error}");
    }
}
