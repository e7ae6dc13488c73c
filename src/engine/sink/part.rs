//! Part files: the records of one partition of a batch, as bytes.

use std::fmt::Display;
use std::io::{self, Write};

use super::summary::PartSummary;

/// How the records of a partition become the bytes of its part file: the same bytes on every attempt.
pub(crate) trait PartFormat<T>: Send + 'static {
    /// Writes all records; an error of theirs is one of kind [`InvalidData`](io::ErrorKind::InvalidData).
    fn write(&self, records: &[T], out: &mut impl Write) -> io::Result<()>;
}

/// Text, a line per record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines;

impl<T: Display> PartFormat<T> for Lines {
    fn write(&self, records: &[T], out: &mut impl Write) -> io::Result<()> {
        records.iter().try_for_each(|record| writeln!(out, "{record}"))
    }
}

/// Writes the records of a partition, and says what was written.
pub(super) fn write_part<T>(
    format: &impl PartFormat<T>,
    partition: usize,
    records: &[T],
    out: impl Write,
) -> io::Result<PartSummary> {
    let mut out = Summing { out, run: Vec::with_capacity(RUN_BYTES), bytes: 0, crc32: crc32fast::Hasher::new() };
    format.write(records, &mut out)?;
    out.flush()?;
    Ok(PartSummary { partition, records: records.len() as u64, bytes: out.bytes, crc32: out.crc32.finalize() })
}

/// What is gathered before it is written.
const RUN_BYTES: usize = 1 << 16;

/// Gathers, counts and checks what passes through. Unlike a `BufWriter` it does not write again, when it is dropped, what it
/// could not write before.
struct Summing<W> {
    out: W,
    run: Vec<u8>,
    bytes: u64,
    crc32: crc32fast::Hasher,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.run.len() + bytes.len() > RUN_BYTES {
            self.flush()?;
        }
        self.run.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.out.write_all(&run)?;
            self.bytes += run.len() as u64;
            self.crc32.update(&run);
            self.run = run;
            self.run.clear();
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_part_is_what_was_written() {
        let mut bytes = Vec::new();
        let records: Vec<String> = (0..50_000).map(|n| format!("record {n}")).collect();
        let part = write_part(&Lines, 3, &records, &mut bytes).unwrap();
        let crc32 = crc32fast::hash(&bytes);
        assert_eq!(part, PartSummary { partition: 3, records: 50_000, bytes: bytes.len() as u64, crc32 });
        assert!(bytes.starts_with(b"record 0\nrecord 1\n") && bytes.ends_with(b"record 49999\n"));
    }
}
