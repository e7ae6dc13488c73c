//! The lines of a text that comes piece by piece, in bounded memory: of a compressed file.

use std::io::{self, Read};

use byteview::ByteView;
use memchr::{memchr, memrchr};

use crate::source::byte_order::{ByteOrderMark, WIDE_TEXT};
use crate::source::failures::Failures;
use crate::source::lines::split_lines;
use crate::source::task::ReadSummary;
use floodmark_base::text::Text;

/// Bytes of the text that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Hands every line of `text` to `emit`; as [`split_lines`] does with a text that is there as a whole. A byte order mark of UTF-8
/// is left out; a text with one of UTF-16 is one failed record.
///
/// At most a piece and the longest line that is allowed are in memory, whatever the length of the text.
pub(crate) fn stream_lines(
    text: &mut dyn Read,
    max_line_bytes: usize,
    whence: &str,
    emit: &mut dyn FnMut(Text),
) -> io::Result<ReadSummary> {
    let mut summary = ReadSummary::default();
    let mut at = 0; // of the piece, in the text
    let mut carried = ByteView::default();
    let mut in_long_line = false;
    loop {
        let mut piece = ByteView::builder(carried.len() + PIECE_BYTES);
        piece[..carried.len()].copy_from_slice(&carried);
        let read = fill(text, &mut piece[carried.len()..])?;
        let is_last = read < PIECE_BYTES;
        let mut piece = piece.freeze().slice(..carried.len() + read);
        let next_at = at + piece.len();
        if at == 0 && carried.is_empty() {
            let mark = ByteOrderMark::of(&piece);
            if mark == ByteOrderMark::Wide {
                tracing::warn!("{whence}: {WIDE_TEXT}");
                return Ok(ReadSummary { records: 0, failed: 1 });
            }
            piece = piece.slice(mark.skipped_bytes()..);
        }
        if in_long_line {
            let line_end = memchr(b'\n', &piece);
            in_long_line = line_end.is_none() && !is_last;
            piece = line_end.map_or_else(ByteView::default, |newline| piece.slice(newline + 1..));
        }
        let end = if is_last { piece.len() } else { memrchr(b'\n', &piece).map_or(0, |newline| newline + 1) };
        let start = next_at - piece.len();
        summary +=
            split_lines(&piece.slice(..end), max_line_bytes, &format!("{whence}, from byte {start} of it"), emit);
        carried = piece.slice(end..);
        at = next_at - carried.len();
        // With its line end it would have two bytes more.
        if carried.len() > max_line_bytes.saturating_add(2) {
            let mut failures = Failures::new(whence, "line");
            failures.too_long(at, carried.len(), max_line_bytes);
            summary.failed += failures.count();
            (in_long_line, carried) = (true, ByteView::default());
            at = next_at;
        }
        if is_last {
            return Ok(summary);
        }
    }
}

/// Reads until `buffer` is full or nothing more comes; says how many bytes came.
pub(crate) fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], max_line_bytes: usize) -> (Vec<String>, ReadSummary) {
        let mut lines = Vec::new();
        let summary = stream_lines(&mut &*text, max_line_bytes, "a text", &mut |line| lines.push(line.to_string()));
        (lines, summary.unwrap())
    }

    #[test]
    fn a_text_of_many_pieces_gives_the_lines_that_it_gives_as_a_whole() {
        let text: String = (0..400_000).map(|number| format!("line {number}\r\n")).collect();
        assert!(text.len() > 4 * PIECE_BYTES);
        let (found, summary) = lines(text.as_bytes(), 100);
        assert!(found.iter().eq((0..400_000).map(|number| format!("line {number}")).collect::<Vec<_>>().iter()));
        assert_eq!(summary, ReadSummary { records: 400_000, failed: 0 });
    }

    #[test]
    fn a_line_that_is_too_long_fails_alone_however_many_pieces_it_has() {
        let long = "x".repeat(5 * PIECE_BYTES / 2);
        for max in [10, PIECE_BYTES, 2 * PIECE_BYTES] {
            let (found, summary) = lines(format!("a\n{long}\nb\n{long}").as_bytes(), max);
            assert_eq!(found, ["a", "b"], "at most {max} bytes");
            assert_eq!(summary, ReadSummary { records: 2, failed: 2 });
        }
        let (found, summary) = lines(format!("{long}\nb").as_bytes(), long.len());
        assert!(found == [long, "b".to_string()]);
        assert_eq!(summary, ReadSummary { records: 2, failed: 0 });
    }

    #[test]
    fn a_mark_of_utf8_is_left_out_and_one_of_utf16_fails_the_text() {
        assert_eq!(lines(b"\xef\xbb\xbftea\nrum", 10).0, ["tea", "rum"]);
        assert_eq!(lines(b"\xef\xbb\xbf", 10).1, ReadSummary::default());
        assert_eq!(lines(b"\xff\xfet\0\n\0", 10), (vec![], ReadSummary { records: 0, failed: 1 }));
    }
}
