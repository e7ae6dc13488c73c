//! How records follow one another in a stream of bytes.
//!
//! The receiving side only looks for the ends of frames, so that blocks hold whole ones; the workers cut the blocks at the same
//! ends. Both ask the same [`Framing`], which depends on nothing but the bytes (I-3).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memchr::memchr_iter;

use crate::source::decoder::{DecodeFailure, DecodeWith, Decoder};
use floodmark_base::bytes::Bytes;
use floodmark_base::codec::Record;

/// The longest frame, in bytes of its content, unless a source says otherwise.
pub(crate) const MAX_FRAME_BYTES: usize = 1 << 20;
/// The largest limit that can be set: blocks and ranges can carry no more.
const LARGEST_LIMIT: usize = 512 << 20;
/// Bytes of the length before a frame.
const PREFIX_BYTES: usize = 4;

/// How records follow one another in a stream of bytes: where each one, a *frame*, ends.
///
/// It is a [`Decoder`] by itself, whose records are the frames as [`Bytes`]; [`decode_with`](Self::decode_with) makes something
/// else of them. A frame longer than the limit (1 MiB unless [`max_frame_bytes`](Self::max_frame_bytes) says otherwise) is
/// dropped while it comes in, counted and reported, and the frames behind it are taken.
///
/// ```
/// use floodmark::{Decoder, Framing};
///
/// let decoder = Framing::lines().decode_with(|line| Ok(line.to_text()?.parse::<u64>()?));
/// assert_eq!(decoder.decode(b"42".as_slice().into()).unwrap(), 42);
/// assert!(decoder.decode(b"many".as_slice().into()).is_err());
/// ```
#[derive(Clone)]
pub struct Framing {
    kind: Kind,
    max_frame_bytes: usize,
}

#[derive(Clone)]
enum Kind {
    Delimited { end: u8, drops_return: bool },
    Fixed(usize),
    LengthPrefixed,
    Measured(Arc<Measure>),
}

/// Tells a frame's length from its first bytes.
type Measure = dyn Fn(&[u8]) -> Option<u64> + Send + Sync;

/// Why a stream of bytes cannot be cut any further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("the framing says that a frame has 0 bytes")]
    Empty,
    #[error("the framing tells no length from the first {bytes} bytes of a frame, the limit is {limit}")]
    Endless { bytes: usize, limit: usize },
}

impl Framing {
    fn of(kind: Kind) -> Self {
        Self { kind, max_frame_bytes: MAX_FRAME_BYTES }
    }

    /// Lines: a frame ends at `\n`, a `\r` before it is dropped, a last line without an end counts at the end of the stream.
    ///
    /// ```
    /// let lines = floodmark::Framing::lines();
    /// ```
    #[must_use]
    pub fn lines() -> Self {
        Self::of(Kind::Delimited { end: b'\n', drops_return: true })
    }

    /// Frames that end at a byte, which is not a part of them; what has no end counts at the end of the stream.
    ///
    /// ```
    /// let zero_terminated = floodmark::Framing::delimited(0);
    /// ```
    #[must_use]
    pub fn delimited(end: u8) -> Self {
        Self::of(Kind::Delimited { end, drops_return: false })
    }

    /// Frames of so many bytes each.
    ///
    /// ```
    /// let readings = floodmark::Framing::fixed(16);
    /// ```
    #[must_use]
    pub fn fixed(frame_bytes: usize) -> Self {
        Self::of(Kind::Fixed(frame_bytes))
    }

    /// Frames behind their lengths: 4 bytes, big-endian, which do not count themselves and are not a part of the frame.
    ///
    /// ```
    /// let frames = floodmark::Framing::length_prefixed().max_frame_bytes(64 << 10);
    /// ```
    #[must_use]
    pub fn length_prefixed() -> Self {
        Self::of(Kind::LengthPrefixed)
    }

    /// Frames that tell their lengths in some other way. The function gets bytes that begin with a frame, and more or fewer than
    /// that; it gives the length of the whole frame in bytes, at least 1, or `None` while there are too few bytes to tell. It
    /// must depend on nothing but the bytes, and on no more of them than it needs. The whole frame goes to the decoder.
    ///
    /// A length of 0, or none told from as many bytes as a frame may have, ends the connection with an error.
    ///
    /// ```
    /// // A byte of type, a byte of length, so many bytes.
    /// let frames = floodmark::Framing::measured(|bytes| bytes.get(1).map(|length| 2 + u64::from(*length)));
    /// ```
    #[must_use]
    pub fn measured(length: impl Fn(&[u8]) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self::of(Kind::Measured(Arc::new(length)))
    }

    /// Drops frames with more bytes than this, without an end or a length that stands outside of the frame (default 1 MiB, at
    /// most 512 MiB).
    ///
    /// ```
    /// let short_lines = floodmark::Framing::lines().max_frame_bytes(1_000);
    /// ```
    #[must_use]
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.max_frame_bytes = bytes.min(LARGEST_LIMIT);
        self
    }

    /// A decoder that makes a record of each frame by a function, which must depend on nothing but the frame. A frame for which
    /// it gives an error is counted (`Status::failed_records`) and reported, and the others go on.
    ///
    /// ```
    /// let decoder = floodmark::Framing::fixed(8).decode_with(|frame| {
    ///     Ok(u64::from_be_bytes(frame.as_ref().try_into()?))
    /// });
    /// ```
    pub fn decode_with<T: Record>(
        self,
        decode: impl Fn(Bytes) -> Result<T, DecodeFailure> + Send + Sync + 'static,
    ) -> impl Decoder<Item = T> {
        DecodeWith::new(self, decode)
    }

    /// What blocks of such frames hold, as text; `frame_type` is what the decoder says of a frame.
    pub(crate) fn block_type(&self, frame_type: &str) -> String {
        let frames = match &self.kind {
            Kind::Delimited { drops_return: true, .. } => "lines".to_string(),
            Kind::Delimited { end, .. } => format!("frames that end at byte {end}"),
            Kind::Fixed(bytes) => format!("frames of {bytes} bytes"),
            Kind::LengthPrefixed => "frames behind their lengths".to_string(),
            Kind::Measured(_) => "measured frames".to_string(),
        };
        if frame_type.is_empty() { frames } else { format!("{frames}: {frame_type}") }
    }

    /// What is wrong with it, if something is.
    pub(crate) fn problem(&self) -> Option<String> {
        match self.kind {
            Kind::Fixed(bytes) if bytes == 0 || bytes > self.max_frame_bytes => {
                Some(format!("frames of {bytes} bytes: expected 1 to {}", self.max_frame_bytes))
            }
            _ => None,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.max_frame_bytes
    }

    /// What people call a frame of this kind.
    pub(crate) fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Delimited { drops_return: true, .. } => "line",
            _ => "frame",
        }
    }

    /// The byte that ends a frame, and whether a `\r` before it is dropped.
    pub(crate) fn delimiter(&self) -> Option<(u8, bool)> {
        match self.kind {
            Kind::Delimited { end, drops_return } => Some((end, drops_return)),
            _ => None,
        }
    }

    /// Bytes before a frame's content.
    fn head_bytes(&self) -> usize {
        match self.kind {
            Kind::LengthPrefixed => PREFIX_BYTES,
            _ => 0,
        }
    }

    /// The most bytes that a frame within the limit takes in the stream.
    pub(crate) fn largest(&self) -> usize {
        let around = match self.kind {
            Kind::Delimited { drops_return, .. } => 1 + usize::from(drops_return),
            _ => self.head_bytes(),
        };
        self.max_frame_bytes + around
    }

    /// The bytes that the frame takes with which `bytes` begin, where they tell; for frames without a delimiter.
    pub(crate) fn measure(&self, bytes: &[u8]) -> Result<Option<u64>, FramingError> {
        let length = match &self.kind {
            Kind::Delimited { .. } => unreachable!("frames with a delimiter are searched for it"),
            Kind::Fixed(length) => Some(*length as u64),
            Kind::LengthPrefixed => bytes
                .first_chunk::<PREFIX_BYTES>()
                .map(|prefix| PREFIX_BYTES as u64 + u64::from(u32::from_be_bytes(*prefix))),
            Kind::Measured(length) => length(bytes),
        };
        match length {
            Some(0) => Err(FramingError::Empty),
            None if bytes.len() > self.largest() => {
                Err(FramingError::Endless { bytes: bytes.len(), limit: self.max_frame_bytes })
            }
            length => Ok(length),
        }
    }

    /// The bytes that the first `frames` frames take in `bytes`, which hold so many whole ones.
    pub(crate) fn bytes_of(&self, frames: u64, bytes: &[u8]) -> usize {
        match self.delimiter() {
            _ if frames == 0 => 0,
            Some((end, _)) => 1 + memchr_iter(end, bytes).nth(frames as usize - 1).expect("the frames were counted"),
            None => (0..frames).fold(0, |at, _| {
                let length = self.measure(&bytes[at..]).ok().flatten();
                at + length.expect("the frames were measured") as usize
            }),
        }
    }

    /// Calls `frame` with where the content of each frame lies in a block of whole ones.
    ///
    /// # Errors
    /// What is wrong, with the place, when the block does not consist of whole frames.
    pub(crate) fn for_each(&self, block: &[u8], mut frame: impl FnMut(Range<usize>)) -> Result<(), String> {
        if let Some((end, drops_return)) = self.delimiter() {
            for_each_delimited(block, end, drops_return, |start, end| frame(start..end));
            return Ok(());
        }
        let mut at = 0;
        while at < block.len() {
            let rest = &block[at..];
            match self.measure(rest).map_err(|error| format!("at byte {at}: {error}"))? {
                Some(length) if length <= rest.len() as u64 => {
                    let next = at + length as usize;
                    frame(at + self.head_bytes()..next);
                    at = next;
                }
                _ => return Err(format!("the last {} bytes, from byte {at} on, are no whole frame", rest.len())),
            }
        }
        Ok(())
    }
}

/// Calls `frame` with where each frame starts and ends, its end not included; what has no end is a frame, too.
#[inline]
pub(crate) fn for_each_delimited(bytes: &[u8], end: u8, drops_return: bool, mut frame: impl FnMut(usize, usize)) {
    let mut start = 0;
    for found in memchr_iter(end, bytes) {
        let has_return = drops_return && found > start && bytes[found - 1] == b'\r';
        frame(start, found - usize::from(has_return));
        start = found + 1;
    }
    if start < bytes.len() {
        frame(start, bytes.len());
    }
}

impl Decoder for Framing {
    type Item = Bytes;

    fn framing(&self) -> Framing {
        self.clone()
    }

    fn decode(&self, frame: Bytes) -> Result<Bytes, DecodeFailure> {
        Ok(frame)
    }
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Delimited { drops_return: true, .. } => "lines".to_string(),
            Kind::Delimited { end, .. } => format!("delimited by {end}"),
            Kind::Fixed(bytes) => format!("fixed, {bytes} bytes"),
            Kind::LengthPrefixed => "length-prefixed".to_string(),
            Kind::Measured(_) => "measured".to_string(),
        };
        f.debug_struct("Framing").field("kind", &kind).field("max_frame_bytes", &self.max_frame_bytes).finish()
    }
}
