//! Cuts a stream of bytes at line ends, so that blocks hold whole lines, whatever pieces the bytes come in.
//!
//! A line longer than the limit does not fit into memory by any setting, so it is dropped here while it comes in: up to its
//! end nothing is kept of it. Lines that come in whole are not looked at; whoever decodes the block applies the same limit.

use byteview::ByteView;
use memchr::{memchr, memchr_iter, memrchr};

/// Bytes that are read at once.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// Bytes that came in, in whole lines and the beginning of one more.
///
/// ```text
/// 0        start                complete        end            len
/// | (cut)  | `lines` whole lines | a line's begin | free space  |
/// ```
#[derive(Debug)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    start: usize,
    complete: usize,
    end: usize,
    lines: u64,
    block_bytes: usize,
    max_line_bytes: usize,
    /// The rest of a line that is too long is coming in.
    dropping: bool,
}

impl LineBuffer {
    /// Blocks are full at `block_bytes`; lines have at most `max_line_bytes` without their end.
    pub fn new(block_bytes: usize, max_line_bytes: usize) -> Self {
        // Room for a full block, the longest beginning of a line, and one read.
        let bytes = vec![0; block_bytes + max_line_bytes + 2 + READ_BYTES];
        Self { bytes, start: 0, complete: 0, end: 0, lines: 0, block_bytes, max_line_bytes, dropping: false }
    }

    /// Where the next bytes go: never empty while the block is not full.
    pub fn space(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < READ_BYTES {
            self.bytes.copy_within(self.start..self.end, 0);
            self.complete -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        let until = self.bytes.len().min(self.end + READ_BYTES);
        &mut self.bytes[self.end..until]
    }

    /// Takes in the first `count` bytes of the space. `true` says that one more line turned out to be too long: it is dropped.
    #[must_use]
    pub fn advance(&mut self, count: usize) -> bool {
        let mut new = self.end..self.end + count;
        if self.dropping {
            // Nothing of the long line was kept, so what follows it moves to where it would have been.
            let Some(newline) = memchr(b'\n', &self.bytes[new.clone()]) else { return false };
            self.dropping = false;
            let rest = new.start + newline + 1..new.end;
            new.end = new.start + rest.len();
            self.bytes.copy_within(rest, new.start);
        }
        if let Some(newline) = memrchr(b'\n', &self.bytes[new.clone()]) {
            let complete = new.start + newline + 1;
            self.lines += memchr_iter(b'\n', &self.bytes[new.start..complete]).count() as u64;
            self.complete = complete;
        }
        self.end = new.end;
        let too_long = self.begun_line_is_too_long();
        if too_long {
            self.end = self.complete;
            self.dropping = true;
        }
        too_long
    }

    fn begun_line_is_too_long(&self) -> bool {
        let begun = self.end - self.complete;
        // One more byte may be the `\r` of the line's end.
        begun > self.max_line_bytes + 1 || begun > self.max_line_bytes && self.bytes[self.end - 1] != b'\r'
    }

    /// Whole lines that wait to be cut off.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes of the whole lines.
    pub fn line_bytes(&self) -> usize {
        self.complete - self.start
    }

    /// Bytes of the line that has begun.
    pub fn begun_bytes(&self) -> usize {
        self.end - self.complete
    }

    /// Whether the whole lines fill a block: cut before reading on.
    pub fn is_full(&self) -> bool {
        self.line_bytes() >= self.block_bytes
    }

    /// Cuts off the first `lines` whole lines.
    pub fn cut(&mut self, lines: u64) -> Option<(ByteView, u64)> {
        let (end, lines) = match lines {
            0 => return None,
            _ if lines >= self.lines => (self.complete, self.lines),
            _ => {
                let whole = &self.bytes[self.start..self.complete];
                let last = memchr_iter(b'\n', whole).nth(lines as usize - 1).expect("the lines were counted");
                (self.start + last + 1, lines)
            }
        };
        let block = ByteView::new(&self.bytes[self.start..end]);
        self.start = end;
        self.lines -= lines;
        (lines > 0).then_some((block, lines))
    }

    /// At the end of the stream: all that is left, with the line that has no end.
    pub fn finish(&mut self) -> Option<(ByteView, u64)> {
        if self.begun_bytes() > 0 {
            self.complete = self.end;
            self.lines += 1;
        }
        self.cut(self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::lines::LinesReader;
    use crate::source::task::{TaskBytes, TaskReader};
    use crate::text::Text;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces and gives the lines, and how many failed.
    fn lines_of(bytes: &[u8], pieces: &[usize], block_bytes: usize, max_line_bytes: usize) -> (Vec<String>, u64) {
        let mut buffer = LineBuffer::new(block_bytes, max_line_bytes);
        let (mut blocks, mut failed) = (Vec::new(), 0);
        let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let space = buffer.space();
            let count = rest.len().min(space.len()).min(*pieces.next().unwrap());
            space[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            failed += u64::from(buffer.advance(count));
            if buffer.is_full() {
                blocks.extend(buffer.cut(1 + buffer.lines() / 2));
                blocks.extend(buffer.cut(u64::MAX));
            }
        }
        blocks.extend(buffer.finish());
        let mut lines = Vec::new();
        for (block, counted) in blocks {
            let reader = LinesReader { max_line_bytes };
            let mut emit = |line: Text| lines.push(line.to_string());
            let summary = reader.read(TaskBytes::Block(block), &mut emit).unwrap();
            assert_eq!(summary.records + summary.failed, counted);
            failed += summary.failed;
        }
        (lines, failed)
    }

    #[test]
    fn lines_are_whole_whatever_pieces_they_come_in() {
        let (lines, failed) = lines_of(b"one\r\ntwo\n\nthree", &[1], 4, 10);
        assert_eq!((lines.as_slice(), failed), (["one", "two", "", "three"].map(String::from).as_slice(), 0));
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_up_to_its_end() {
        for piece in 1..20 {
            let (lines, failed) = lines_of(b"ab\n0123456789abcdef\ncd\n12345\r\n", &[piece], 4, 5);
            assert_eq!((lines.as_slice(), failed), (["ab", "cd", "12345"].map(String::from).as_slice(), 1), "{piece}");
        }
    }

    #[test]
    fn nothing_is_left_of_a_long_line_without_an_end() {
        assert_eq!(lines_of(&[b'x'; 100], &[7], 4, 5), (vec![], 1));
    }

    #[test]
    fn a_cut_takes_the_lines_asked_for() {
        let mut buffer = LineBuffer::new(100, 100);
        buffer.space()[..8].copy_from_slice(b"a\nb\nc\nd\n");
        assert!(!buffer.advance(8));
        assert_eq!(buffer.cut(3), Some((ByteView::from("a\nb\nc\n"), 3)));
        assert_eq!((buffer.lines(), buffer.line_bytes()), (1, 2));
        assert_eq!(buffer.cut(3), Some((ByteView::from("d\n"), 1)));
        assert_eq!(buffer.cut(3), None);
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_gives_the_same_lines(
            bytes in prop::collection::vec(prop::sample::select(b"ab\xc3\xa4\r\n\n".to_vec()), 0..200),
            pieces in prop::collection::vec(1_usize..30, 1..10),
            block_bytes in 1_usize..40,
            max_line_bytes in 0_usize..12,
        ) {
            let whole = lines_of(&bytes, &[usize::MAX], 1 << 20, max_line_bytes);
            prop_assert_eq!(&lines_of(&bytes, &pieces, block_bytes, max_line_bytes), &whole);
            // And what the rules say, by the simplest means.
            let mut parts: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
            let last = parts.pop().unwrap();
            let mut plain: Vec<&[u8]> = parts.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
            plain.extend((!last.is_empty()).then_some(last));
            let good = plain.iter().filter(|line| line.len() <= max_line_bytes).filter_map(|line| std::str::from_utf8(line).ok());
            let good: Vec<_> = good.map(String::from).collect();
            prop_assert_eq!(whole, (good.clone(), (plain.len() - good.len()) as u64));
        }
    }
}
