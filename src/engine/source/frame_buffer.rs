//! Cuts a stream of bytes at the ends of frames, so that blocks hold whole ones, whatever pieces the bytes come in.
//!
//! A frame longer than the limit does not fit into memory by any setting, so it is dropped here while it comes in: up to its
//! end nothing is kept of it. Frames that come in whole are not looked at; whoever decodes the block applies the same limit.

use byteview::ByteView;
use memchr::{memchr, memchr_iter, memrchr};

use crate::source::framing::{Framing, FramingError};

/// Bytes that are read at once.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// Bytes that came in, in whole frames and the beginning of one more.
///
/// ```text
/// 0        start                  complete         end            len
/// | (cut)  | `frames` whole frames | a frame's begin | free space  |
/// ```
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    complete: usize,
    end: usize,
    frames: u64,
    block_bytes: usize,
    framing: Framing,
    /// The rest of a frame that is too long is coming in.
    dropping: Option<Rest>,
}

/// What is still to come of a frame.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// All up to the delimiter.
    UpTo(u8),
    Bytes(u64),
}

impl FrameBuffer {
    /// Blocks are full at `block_bytes`.
    pub fn new(block_bytes: usize, framing: Framing) -> Self {
        // Room for a full block, the longest beginning of a frame, and one read.
        let bytes = vec![0; block_bytes + framing.largest() + READ_BYTES];
        Self { bytes, start: 0, complete: 0, end: 0, frames: 0, block_bytes, framing, dropping: None }
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

    /// Takes in the first `count` bytes of the space. `true` says that one more frame turned out to be too long: it is dropped.
    ///
    /// # Errors
    /// When the stream cannot be cut any further; the whole frames before that place are still there.
    pub fn advance(&mut self, count: usize) -> Result<bool, FramingError> {
        let new = self.end;
        self.end += self.drop_rest(count);
        match self.framing.delimiter() {
            Some((delimiter, drops_return)) => Ok(self.find_ends(new, delimiter, drops_return)),
            None => self.measure_frames(),
        }
    }

    /// Removes what belongs to a frame that is dropped from the first `count` bytes of the space; gives how many are left.
    fn drop_rest(&mut self, count: usize) -> usize {
        let new = &self.bytes[self.end..self.end + count];
        let (dropped, rest) = match self.dropping {
            None => return count,
            Some(Rest::UpTo(delimiter)) => match memchr(delimiter, new) {
                Some(end) => (end + 1, None),
                None => (count, self.dropping),
            },
            Some(Rest::Bytes(bytes)) => {
                let dropped = count.min(usize::try_from(bytes).unwrap_or(count));
                let rest = bytes - dropped as u64;
                (dropped, (rest > 0).then_some(Rest::Bytes(rest)))
            }
        };
        self.dropping = rest;
        // Nothing of the long frame was kept, so what follows it moves to where it would have been.
        self.bytes.copy_within(self.end + dropped..self.end + count, self.end);
        count - dropped
    }

    fn find_ends(&mut self, new: usize, delimiter: u8, drops_return: bool) -> bool {
        if let Some(last) = memrchr(delimiter, &self.bytes[new..self.end]) {
            let complete = new + last + 1;
            self.frames += memchr_iter(delimiter, &self.bytes[new..complete]).count() as u64;
            self.complete = complete;
        }
        let (begun, limit) = (self.begun_bytes(), self.framing.limit());
        // One more byte may be the `\r` of a line's end.
        let may_end = drops_return && begun == limit + 1 && self.bytes[self.end - 1] == b'\r';
        let too_long = begun > limit && !may_end;
        if too_long {
            self.end = self.complete;
            self.dropping = Some(Rest::UpTo(delimiter));
        }
        too_long
    }

    fn measure_frames(&mut self) -> Result<bool, FramingError> {
        while self.complete < self.end {
            let begun = self.end - self.complete;
            match self.framing.measure(&self.bytes[self.complete..self.end])? {
                Some(length) if length <= begun as u64 => {
                    self.complete += length as usize;
                    self.frames += 1;
                }
                Some(length) if length > self.framing.largest() as u64 => {
                    self.end = self.complete;
                    self.dropping = Some(Rest::Bytes(length - begun as u64));
                    return Ok(true);
                }
                _ => break,
            }
        }
        Ok(false)
    }

    /// Whole frames that wait to be cut off.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes of the whole frames.
    pub fn frame_bytes(&self) -> usize {
        self.complete - self.start
    }

    /// Bytes of the frame that has begun.
    pub fn begun_bytes(&self) -> usize {
        self.end - self.complete
    }

    /// Whether the whole frames fill a block: cut before reading on.
    pub fn is_full(&self) -> bool {
        self.frame_bytes() >= self.block_bytes
    }

    /// Cuts off the first `frames` whole frames.
    pub fn cut(&mut self, frames: u64) -> Option<(ByteView, u64)> {
        let (end, frames) = match frames {
            0 => return None,
            _ if frames >= self.frames => (self.complete, self.frames),
            _ => (self.start + self.framing.bytes_of(frames, &self.bytes[self.start..self.complete]), frames),
        };
        let block = ByteView::new(&self.bytes[self.start..end]);
        self.start = end;
        self.frames -= frames;
        (frames > 0).then_some((block, frames))
    }

    /// At the end of the stream: takes what has begun as a frame, if only its delimiter is missing.
    pub fn end(&mut self) {
        if self.begun_bytes() > 0 && self.framing.delimiter().is_some() {
            self.complete = self.end;
            self.frames += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::lines::LinesReader;
    use crate::source::task::{TaskBytes, TaskReader};
    use floodmark_base::text::Text;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces and gives the lines, and how many failed.
    fn lines_of(bytes: &[u8], pieces: &[usize], block_bytes: usize, max_line_bytes: usize) -> (Vec<String>, u64) {
        let mut buffer = FrameBuffer::new(block_bytes, Framing::lines().max_frame_bytes(max_line_bytes));
        let (mut blocks, mut failed) = (Vec::new(), 0);
        let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let space = buffer.space();
            let count = rest.len().min(space.len()).min(*pieces.next().unwrap());
            space[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            failed += u64::from(buffer.advance(count).unwrap());
            if buffer.is_full() {
                blocks.extend(buffer.cut(1 + buffer.frames() / 2));
                blocks.extend(buffer.cut(u64::MAX));
            }
        }
        buffer.end();
        blocks.extend(buffer.cut(u64::MAX));
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
        let mut buffer = FrameBuffer::new(100, Framing::lines());
        buffer.space()[..8].copy_from_slice(b"a\nb\nc\nd\n");
        assert_eq!(buffer.advance(8), Ok(false));
        assert_eq!(buffer.cut(3), Some((ByteView::from("a\nb\nc\n"), 3)));
        assert_eq!((buffer.frames(), buffer.frame_bytes()), (1, 2));
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
