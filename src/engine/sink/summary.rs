//! The small texts that sinks to files keep beside the records: who was let in last, and what a batch is made of.
//!
//! # Format
//! Lines of text, for people and `grep`; the last line is the CRC-32 of all bytes before it.
//!
//! ```text
//! floodmark fence 1                        floodmark batch 1
//! epoch 4                                  lineage 000102030405060708090a0b0c0d0e0f
//! lineage 000102030405060708090a0b0c0d0e0f batch 12
//! crc32 5f0c2a11                           time 1700000000500
//!                                          partitions 8
//!                                          part 3 records 2 bytes 14 crc32 9ae0daaf
//!                                          crc32 0b81ee07
//! ```
//!
//! There is one way to write each: numbers without leading zeros, lineages in 32 digits, parts in rising order.
//!
//! Partitions without records have no line and no file. The number after the first two words is the version of the
//! format; another one is refused.

use std::fmt::{self, Display, Write as _};
use std::str::Lines;

use super::Fence;
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage};

/// More partitions than any job has: what a damaged or forged summary claims is not made room for.
const MAX_PARTITIONS: usize = 1 << 20;

/// What a batch is made of, without its records: equal summaries mean equal batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchSummary {
    pub lineage: Lineage,
    pub batch: BatchId,
    pub time: BatchTime,
    pub partitions: usize,
    /// Partitions that have records, rising.
    pub parts: Vec<PartSummary>,
}

/// What one part file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartSummary {
    pub partition: usize,
    pub records: u64,
    pub bytes: u64,
    pub crc32: u32,
}

/// Why a text is not what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SummaryError {
    #[error("expected {expected:?}, found {found:?}")]
    Line { expected: String, found: String },
    #[error("expected {expected:?} by its last line, found {found:?} by its bytes")]
    Crc { expected: String, found: String },
}

impl Display for BatchSummary {
    /// One line for an error message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, bytes) = self.parts.iter().fold((0, 0), |sum, part| (sum.0 + part.records, sum.1 + part.bytes));
        let crc32 = crc32fast::hash(self.to_text().as_bytes());
        write!(
            f,
            "{records} records in {bytes} bytes (lineage {}, time {}, crc32 {crc32:08x})",
            self.lineage, self.time
        )
    }
}

impl BatchSummary {
    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "floodmark batch 1\nlineage {}\nbatch {}\ntime {}\npartitions {}\n",
            self.lineage, self.batch, self.time, self.partitions
        );
        for part in &self.parts {
            let PartSummary { partition, records, bytes, crc32 } = part;
            writeln!(text, "part {partition} records {records} bytes {bytes} crc32 {crc32:08x}")
                .expect("a string takes all writes");
        }
        sealed(text)
    }

    pub(super) fn parse(text: &str) -> Result<Self, SummaryError> {
        let mut lines = opened(text, "floodmark batch 1")?;
        let lineage = Lineage(hexadecimal(&mut lines, "lineage")?);
        let batch = BatchId(decimal(&mut lines, "batch")?);
        let time = BatchTime(decimal(&mut lines, "time")?);
        let partitions = decimal(&mut lines, "partitions")?;
        let parts: Vec<PartSummary> = lines.map(PartSummary::parse).collect::<Result<_, _>>()?;
        let is_rising = parts.windows(2).all(|pair| pair[0].partition < pair[1].partition);
        if partitions > MAX_PARTITIONS || !is_rising || parts.last().is_some_and(|last| last.partition >= partitions) {
            let expected = format!("at most {MAX_PARTITIONS} partitions, and rising parts of them");
            let found = format!("{partitions} partitions, part {:?} the last", parts.last().map(|part| part.partition));
            return Err(SummaryError::Line { expected, found });
        }
        let summary = Self { lineage, batch, time, partitions, parts };
        as_written(text, &summary.to_text())?;
        Ok(summary)
    }
}

impl PartSummary {
    fn parse(line: &str) -> Result<Self, SummaryError> {
        let words: Vec<&str> = line.split(' ').collect();
        let parsed = match words[..] {
            ["part", partition, "records", records, "bytes", bytes, "crc32", crc32] => {
                match (partition.parse(), records.parse(), bytes.parse(), u32::from_str_radix(crc32, 16)) {
                    (Ok(partition), Ok(records), Ok(bytes), Ok(crc32)) => {
                        Some(Self { partition, records, bytes, crc32 })
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        parsed.ok_or_else(|| SummaryError::Line {
            expected: "part N records N bytes N crc32 X".to_string(),
            found: line.to_string(),
        })
    }
}

impl Fence {
    pub(super) fn to_text(self) -> String {
        sealed(format!("floodmark fence 1\nepoch {}\nlineage {}\n", self.epoch, self.lineage))
    }

    pub(super) fn parse(text: &str) -> Result<Self, SummaryError> {
        let mut lines = opened(text, "floodmark fence 1")?;
        let epoch = Epoch(decimal(&mut lines, "epoch")?);
        let lineage = Lineage(hexadecimal(&mut lines, "lineage")?);
        let fence = Self { epoch, lineage };
        as_written(text, &fence.to_text())?;
        Ok(fence)
    }
}

/// Adds the last line.
fn sealed(text: String) -> String {
    let crc32 = crc32fast::hash(text.as_bytes());
    format!("{text}crc32 {crc32:08x}\n")
}

/// Checks the first and the last line; gives those between.
fn opened<'a>(text: &'a str, title: &str) -> Result<Lines<'a>, SummaryError> {
    let without_end = text.strip_suffix('\n').unwrap_or(text);
    let (body, last) = without_end.rsplit_once('\n').unwrap_or(("", without_end));
    // Compared as text: upper-case digits, too, are not what was written.
    let found = format!("crc32 {:08x}", crc32fast::hash(&text.as_bytes()[..without_end.len() - last.len()]));
    if last != found || !text.ends_with('\n') {
        return Err(SummaryError::Crc { expected: last.to_string(), found });
    }
    let mut lines = body.lines();
    match lines.next() {
        Some(first) if first == title => Ok(lines),
        first => Err(SummaryError::Line { expected: title.to_string(), found: first.unwrap_or_default().to_string() }),
    }
}

/// Refuses a text that says what could be read in another way than it is written, or more than that.
fn as_written(found: &str, expected: &str) -> Result<(), SummaryError> {
    let differ = |(found, expected): &(&str, &str)| found != expected;
    match found.lines().zip(expected.lines()).find(differ) {
        None if found == expected => Ok(()),
        None => Err(SummaryError::Line { expected: expected.to_string(), found: found.to_string() }),
        Some((found, expected)) => Err(SummaryError::Line { expected: expected.to_string(), found: found.to_string() }),
    }
}

fn decimal<N: std::str::FromStr>(lines: &mut Lines<'_>, name: &str) -> Result<N, SummaryError> {
    value(lines, name, |digits| digits.parse().ok())
}

fn hexadecimal(lines: &mut Lines<'_>, name: &str) -> Result<u128, SummaryError> {
    value(lines, name, |digits| u128::from_str_radix(digits, 16).ok())
}

fn value<N>(lines: &mut Lines<'_>, name: &str, parse: impl FnOnce(&str) -> Option<N>) -> Result<N, SummaryError> {
    let line = lines.next().unwrap_or_default();
    line.split_once(' ')
        .filter(|(found, _)| *found == name)
        .and_then(|(_, digits)| parse(digits))
        .ok_or_else(|| SummaryError::Line { expected: format!("{name} N"), found: line.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> BatchSummary {
        let parts = vec![
            PartSummary { partition: 0, records: 2, bytes: 14, crc32: 0x9ae0_daaf },
            PartSummary { partition: 3, records: 1, bytes: 5, crc32: 1 },
        ];
        BatchSummary { lineage: Lineage(0xabc), batch: BatchId(12), time: BatchTime(1_500), partitions: 8, parts }
    }

    #[test]
    fn a_summary_is_read_back_as_it_was_written() {
        assert_eq!(BatchSummary::parse(&summary().to_text()), Ok(summary()));
        let fence = Fence { epoch: Epoch(4), lineage: Lineage(9) };
        assert_eq!(Fence::parse(&fence.to_text()), Ok(fence));
    }

    #[test]
    fn the_format_is_pinned() {
        let fence = Fence { epoch: Epoch(4), lineage: Lineage(0x0102) };
        let body = "floodmark fence 1\nepoch 4\nlineage 00000000000000000000000000000102\n";
        assert_eq!(fence.to_text(), format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes())));
        assert!(summary().to_text().contains("\npart 3 records 1 bytes 5 crc32 00000001\n"));
    }

    #[test]
    fn every_changed_byte_and_every_missing_end_is_found() {
        let text = summary().to_text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(BatchSummary::parse(&changed).is_err(), "byte {at} changed: {changed}");
            assert!(BatchSummary::parse(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_written_in_another_way_is_refused_under_a_right_checksum() {
        let body = |text: &str| text[..text.len() - "crc32 01234567\n".len()].to_string();
        let whole = body(&summary().to_text());
        for (from, to) in [
            ("batch 12", "batch +12"),
            ("batch 12", "batch 012"),
            ("00000abc", "00000ABC"),
            ("lineage 0", "lineage "),
            ("partitions 8", "partitions 3"),
            ("partitions 8", "partitions 18446744073709551615"),
            ("part 0 ", "part 4 "),
            ("crc32 00000001", "crc32 1"),
            ("\ntime", "\r\ntime"),
        ] {
            assert!(whole.contains(from), "{from}");
            let other = sealed(whole.replacen(from, to, 1));
            assert!(BatchSummary::parse(&other).is_err(), "{other}");
        }
        let fence = body(&Fence { epoch: Epoch(4), lineage: Lineage(9) }.to_text());
        for other in [fence.replace("epoch 4", "epoch 04"), fence.clone() + "epoch 5\n"] {
            assert!(Fence::parse(&sealed(other.clone())).is_err(), "{other}");
        }
        assert!(Fence::parse(&sealed(fence)).is_ok());
    }

    #[test]
    fn another_version_is_refused() {
        let newer = sealed("floodmark fence 2\nepoch 4\nlineage 1\n".to_string());
        let refused = Fence::parse(&newer).unwrap_err();
        assert_eq!(refused.to_string(), "expected \"floodmark fence 1\", found \"floodmark fence 2\"");
    }
}
