//! Compressed files, told by their names, as Hadoop and Spark tell them.

use std::fmt;
use std::io::{self, BufRead, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Bzip2,
    Zstd,
}

const BY_ENDING: [(&[u8], Compression); 3] =
    [(b".gz", Compression::Gzip), (b".bz2", Compression::Bzip2), (b".zst", Compression::Zstd)];

impl Compression {
    /// What the end of a file's name says, in upper or lower case: `.gz`, `.bz2` or `.zst`.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let ends_with = |ending: &[u8]| {
            let tail = name.len().checked_sub(ending.len()).map(|at| &name[at..]);
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(ending))
        };
        BY_ENDING.iter().find(|(ending, _)| ends_with(ending)).map(|(_, compression)| *compression)
    }

    /// The bytes that `compressed` stands for. Whatever may be put together is read as a whole: members of gzip, streams of
    /// bzip2, frames of zstd. Input without a byte stands for none. What is cut off or damaged is an error.
    pub fn decode<'r>(self, mut compressed: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
        if compressed.fill_buf()?.is_empty() {
            return Ok(Box::new(io::empty()));
        }
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(compressed)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(compressed)),
            Self::Zstd => Box::new(ZstdFrames { compressed, frame: FrameDecoder::new(), in_frame: false }),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
        })
    }
}

/// The contents of zstd frames, one behind the other, each compared with its checksum where it has one.
struct ZstdFrames<R> {
    compressed: R,
    frame: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    /// Begins the next frame; `false` if there is none. Frames that carry nothing for us are skipped.
    fn begin_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.compressed.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.frame.reset(&mut self.compressed) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.compressed).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let (stored, computed) = (self.frame.get_checksum_from_data(), self.frame.get_calculated_checksum());
        match stored {
            Some(stored) if Some(stored) != computed => {
                let computed = computed.unwrap_or_default();
                Err(io::Error::other(format!("a frame has the checksum {computed:08x}, expected {stored:08x}")))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            if self.frame.can_collect() > 0 {
                return self.frame.read(buffer);
            }
            if self.frame.is_finished() {
                self.end_frame()?;
                continue;
            }
            self.frame
                .decode_blocks(&mut self.compressed, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(io::Error::other)?;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// Compresses as the usual tools do, with checksums.
    pub fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
        }
    }

    const ALL: [Compression; 3] = [Compression::Gzip, Compression::Bzip2, Compression::Zstd];

    fn decoded(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut decoded = Vec::new();
        compression.decode(bytes)?.read_to_end(&mut decoded)?;
        Ok(decoded)
    }

    /// Bytes that do not compress to nothing.
    fn words() -> Vec<u8> {
        (0..60_000_u64).flat_map(|number| format!("{:x} ", number.wrapping_mul(0x9e37_79b9)).into_bytes()).collect()
    }

    #[test]
    fn the_end_of_a_name_tells_the_compression() {
        assert_eq!(Compression::of_name(b"day.csv.gz"), Some(Compression::Gzip));
        assert_eq!(Compression::of_name(b"DAY.GZ"), Some(Compression::Gzip));
        assert_eq!(Compression::of_name(b"day.bz2"), Some(Compression::Bzip2));
        assert_eq!(Compression::of_name(b"day.zst"), Some(Compression::Zstd));
        assert_eq!(Compression::of_name(b"gz"), None);
        assert_eq!(Compression::of_name(b"day.gz.csv"), None);
    }

    #[test]
    fn what_was_compressed_in_one_part_or_in_many_is_read_whole() {
        let words = words();
        for compression in ALL {
            let one = compressed(compression, &words);
            assert!(decoded(compression, &one).unwrap() == words, "{compression}");
            let (front, back) = words.split_at(1_000);
            let two = [compressed(compression, front), compressed(compression, back)].concat();
            assert!(decoded(compression, &two).unwrap() == words, "{compression} in two parts");
            assert_eq!(decoded(compression, b"").unwrap(), b"", "{compression} of no bytes");
            let nothing = compressed(compression, b"");
            assert_eq!(decoded(compression, &nothing).unwrap(), b"", "{compression} that holds nothing");
        }
    }

    #[test]
    fn frames_of_zstd_that_carry_something_else_are_skipped() {
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let bytes = [&skipped[..], &compressed(Compression::Zstd, b"tea"), &skipped].concat();
        assert_eq!(decoded(Compression::Zstd, &bytes).unwrap(), b"tea");
        assert!(decoded(Compression::Zstd, &skipped[..9]).is_err());
    }

    #[test]
    fn what_is_cut_off_anywhere_or_damaged_is_an_error() {
        let words = words();
        for compression in ALL {
            let whole = compressed(compression, &words);
            for cut in [1, 5, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
                assert!(decoded(compression, &whole[..cut]).is_err(), "{compression} cut at {cut}");
            }
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 1;
            assert!(decoded(compression, &damaged).is_err(), "{compression} with a bit flipped");
            // The contents are whole; what they are compared with is not.
            let mut damaged = whole.clone();
            damaged[whole.len() - 2] ^= 1;
            assert!(decoded(compression, &damaged).is_err(), "{compression} with another checksum");
            assert!(decoded(compression, b"plain text").is_err(), "{compression} of a plain text");
        }
    }
}
