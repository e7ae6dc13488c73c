//! What the victim reads, and the functions that its job applies: everything follows from numbers.

use std::fmt::Write as _;
use std::time::Duration;

/// The batch interval.
pub const INTERVAL: Duration = Duration::from_millis(20);
/// How far the windows reach back.
pub const WINDOW: Duration = Duration::from_millis(100);
/// How often the windows yield.
pub const SLIDE: Duration = Duration::from_millis(40);
/// A session is over when it was idle for longer than this.
pub const TIMEOUT: Duration = Duration::from_millis(60);

const KEYS: u64 = 19;
/// More records than a block or a file has.
const MOST_RECORDS: u64 = 64;

/// A key and a value. No two records have the same value.
pub type Pair = (u64, u64);
/// How many values a key had, and a fold of them that depends on their order (I-3).
pub type Total = (u64, u64);

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Blocks = 0,
    Files = 1,
}

/// What becomes of a session's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Keep,
    To(Total),
    Remove,
}

/// A number that looks random and is always the same.
fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn record(source: Source, index: u64) -> Pair {
    let value = index * 2 + source as u64;
    (scramble(value) % (KEYS + 5 * source as u64), value)
}

/// The records of block `number`, counted from 1: one at least.
#[must_use]
pub fn block(number: u64) -> Vec<Pair> {
    (0..1 + scramble(number) % 12).map(|at| record(Source::Blocks, number * MOST_RECORDS + at)).collect()
}

/// The records of file `number`, counted from 1: perhaps none.
#[must_use]
pub fn file(number: u64) -> Vec<Pair> {
    (0..scramble(!number) % 11).map(|at| record(Source::Files, number * MOST_RECORDS + at)).collect()
}

/// What stands in file `number`.
#[must_use]
pub fn file_text(number: u64) -> String {
    file(number).into_iter().fold(String::new(), |mut text, (key, value)| {
        writeln!(text, "{key} {value}").expect("a string takes all writes");
        text
    })
}

/// The record in a line of a file.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn parse(line: &str) -> Pair {
    let parsed = line.split_once(' ').and_then(|(key, value)| Some((key.parse().ok()?, value.parse().ok()?)));
    parsed.unwrap_or_else(|| panic!("expected `key value` in a file of the victim, found {line:?}"))
}

/// Where a record comes from, by its value.
#[must_use]
pub fn source_of(value: u64) -> Source {
    if value % 2 == Source::Blocks as u64 { Source::Blocks } else { Source::Files }
}

/// The total of a key after a batch. Every 29th value it is forgotten.
#[must_use]
pub fn total(values: &[u64], old: Option<Total>) -> Option<Total> {
    let folded = values.iter().fold(old.unwrap_or_default(), |total, value| folded(total, *value));
    (values.is_empty() || folded.0 % 29 > 0).then_some(folded)
}

/// What stands in the sessions before the first batch.
#[must_use]
pub fn first_sessions() -> Vec<(u64, Total)> {
    (0..KEYS).step_by(2).map(|key| (key, (100, key))).collect()
}

/// A record, or the end, of a session: what is put out, and what becomes of the state.
#[must_use]
pub fn session(time_ms: u64, value: Option<u64>, state: Option<Total>) -> (Option<Total>, Change) {
    let (count, fold) = state.unwrap_or_default();
    match value {
        None => (Some((count, fold ^ time_ms)), Change::Keep),
        Some(value) if value % 5 == 0 && state.is_some() => (Some((count, fold)), Change::Remove),
        Some(value) if value % 7 == 0 => (None, Change::Keep),
        Some(value) => ((count % 3 == 0).then_some((count, fold)), Change::To(folded((count, fold), value))),
    }
}

fn folded((count, fold): Total, value: u64) -> Total {
    (count + 1, fold.wrapping_mul(31).wrapping_add(value))
}

/// A value as a link of a chain.
#[must_use]
pub fn link(value: u64) -> (u64, u64) {
    (value, 31)
}

/// Two chains, one behind the other: associative, but not commutative.
#[must_use]
pub fn chained((head, weight): (u64, u64), (tail, more): (u64, u64)) -> (u64, u64) {
    (head.wrapping_mul(more).wrapping_add(tail), weight.wrapping_mul(more))
}

/// The lines that the job puts out.
pub mod line {
    use super::{Pair, Total};

    /// An input record.
    #[must_use]
    pub fn input((key, value): Pair) -> String {
        format!("in {key} {value}")
    }

    /// The record in an [`input`] line, if it is one.
    #[must_use]
    pub fn parse_input(line: &str) -> Option<Pair> {
        let (key, value) = line.strip_prefix("in ")?.split_once(' ')?;
        Some((key.parse().ok()?, value.parse().ok()?))
    }

    /// The total of a key.
    #[must_use]
    pub fn total(key: u64, (count, fold): Total) -> String {
        format!("total {key} {count} {fold}")
    }

    /// What a session puts out, or its state.
    #[must_use]
    pub fn session(key: u64, (count, fold): Total) -> String {
        format!("session {key} {count} {fold}")
    }

    /// Two values of one key in one batch, of the two sources.
    #[must_use]
    pub fn joined(key: u64, (received, read): (u64, u64)) -> String {
        format!("joined {key} {received} {read}")
    }

    /// The windows of a key.
    #[must_use]
    pub fn windows(key: u64, sum: Option<u64>, chain: Option<(u64, u64)>) -> String {
        let sum = sum.map_or("-".to_string(), |sum| sum.to_string());
        let chain = chain.map_or("-".to_string(), |(head, weight)| format!("{head} {weight}"));
        format!("windows {key} {sum} {chain}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_as_its_records_and_every_value_tells_its_source() {
        for number in 1..50 {
            let read: Vec<Pair> = file_text(number).lines().map(parse).collect();
            assert_eq!(read, file(number));
            assert!(read.iter().all(|(_, value)| source_of(*value) == Source::Files));
            assert!(block(number).iter().all(|(_, value)| source_of(*value) == Source::Blocks));
        }
        assert!((1..50).any(|number| file(number).is_empty()), "an empty file is among them");
    }

    #[test]
    fn a_chain_depends_on_the_order_and_not_on_how_it_is_put_together() {
        let [a, b, c] = [3, 5, 8].map(link);
        assert_eq!(chained(chained(a, b), c), chained(a, chained(b, c)));
        assert_ne!(chained(a, b), chained(b, a));
    }
}
