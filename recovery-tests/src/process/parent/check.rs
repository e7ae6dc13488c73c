//! What a victim that has finished must have left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::ledger::Ledger;
use super::model::{self, Batch, Expected};
use super::output::{PublishedBatch, read_batches};
use crate::process::ProcessError;
use crate::process::victim::data::{self, Pair};
use crate::process::victim::{Pace, Place};

/// The end of a victim's history, compared and found equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    /// Batches that were published.
    pub batches: u64,
    /// Input records in them.
    pub records: u64,
}

/// Holds everything that is known of the job against what is there; `dump` is the state at the end.
pub(super) fn check(place: &Place, pace: Pace, ledger: &Ledger, dump: &Path) -> Result<Ending, ProcessError> {
    ledger.compare()?;
    let results = read_batches(&place.results())?;
    check_numbers(&results)?;
    let batches: Vec<Batch> = results.iter().map(|batch| model::input_of(batch.time_ms, batch.lines())).collect();
    check_input(place, ledger, &batches)?;
    if pace == Pace::Lockstep {
        check_lockstep(&batches)?;
    }
    let expected = model::expected(&batches);
    for (found, expected) in results.iter().zip(&expected) {
        check_lines(found, &expected.results, "results")?;
    }
    check_windows(&read_batches(&place.windows())?, &expected)?;
    check_dump(dump, &expected)?;
    let records = batches.iter().map(|batch| (batch.received.len() + batch.read.len()) as u64).sum();
    Ok(Ending { batches: batches.len() as u64, records })
}

fn diverged(story: String) -> Result<(), ProcessError> {
    Err(ProcessError::Diverged(story))
}

fn check_numbers(results: &[PublishedBatch]) -> Result<(), ProcessError> {
    let mut previous_ms = 0;
    for (index, batch) in results.iter().enumerate() {
        if batch.number != index as u64 + 1 {
            return diverged(format!("batch {} is number {} of those published", batch.number, index + 1));
        }
        if batch.time_ms <= previous_ms {
            return diverged(format!(
                "batch {} has time {}, the one before {previous_ms}",
                batch.number, batch.time_ms
            ));
        }
        previous_ms = batch.time_ms;
    }
    Ok(())
}

/// Every block that was acknowledged, and every file, once, in order; and nothing else.
fn check_input(place: &Place, ledger: &Ledger, batches: &[Batch]) -> Result<(), ProcessError> {
    let mut blocks = 0;
    let mut received = batches.iter().flat_map(|batch| &batch.received).copied().peekable();
    while received.peek().is_some() {
        blocks += 1;
        check_records("block", blocks, &data::block(blocks), &mut received)?;
    }
    if blocks < ledger.stored {
        return diverged(format!("block {} was acknowledged, but only {blocks} are in batches", ledger.stored));
    }
    let mut read = batches.iter().flat_map(|batch| &batch.read).copied().peekable();
    for file in 1..=place.files()? {
        check_records("file", file, &data::file(file), &mut read)?;
    }
    match read.next() {
        None => Ok(()),
        Some(record) => diverged(format!("{record:?} is in a batch, but in no file")),
    }
}

fn check_records(
    what: &str,
    number: u64,
    expected: &[Pair],
    found: &mut impl Iterator<Item = Pair>,
) -> Result<(), ProcessError> {
    for (index, expected) in expected.iter().enumerate() {
        let found = found.next();
        if found != Some(*expected) {
            return diverged(format!("record {index} of {what} {number}: expected {expected:?} next, found {found:?}"));
        }
    }
    Ok(())
}

/// Batch *n* is block *n* and file *n*; what graceful stops add at the end is empty.
fn check_lockstep(batches: &[Batch]) -> Result<(), ProcessError> {
    // A block is never empty.
    let added = batches.iter().rev().take_while(|batch| batch.received.is_empty() && batch.read.is_empty()).count();
    for (number, batch) in (1..).zip(&batches[..batches.len() - added]) {
        if batch.received != data::block(number) || batch.read != data::file(number) {
            return diverged(format!("batch {number} is not block {number} and file {number}: it has {batch:?}"));
        }
    }
    Ok(())
}

fn check_lines(found: &PublishedBatch, expected: &[String], output: &str) -> Result<(), ProcessError> {
    let mut lines: Vec<&str> = found.lines().collect();
    lines.sort_unstable();
    if lines == *expected {
        return Ok(());
    }
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    lines.iter().for_each(|line| *balance.entry(line).or_default() += 1);
    expected.iter().for_each(|line| *balance.entry(line).or_default() -= 1);
    let first =
        |sign: i64| balance.iter().find(|(_, count)| count.signum() == sign).map_or("nothing", |(line, _)| line);
    diverged(format!("batch {} of the {output} lacks {:?} and has {:?} too much", found.number, first(-1), first(1)))
}

fn check_windows(found: &[PublishedBatch], expected: &[Expected]) -> Result<(), ProcessError> {
    let mut found = found.iter();
    for (number, expected) in (1..).zip(expected) {
        let Some((time_ms, lines)) = &expected.windows else { continue };
        let Some(batch) = found.next() else {
            return diverged(format!("the windows of batch {number} were not published"));
        };
        if (batch.number, batch.time_ms) != (number, *time_ms) {
            let there = format!("those of batch {} for time {}", batch.number, batch.time_ms);
            return diverged(format!(
                "windows: expected those of batch {number} for time {time_ms} next, found {there}"
            ));
        }
        check_lines(batch, lines, "windows")?;
    }
    match found.next() {
        None => Ok(()),
        Some(batch) => diverged(format!("windows of batch {} were published, which has none", batch.number)),
    }
}

/// The dump names a batch for each operator, and has its state after that batch.
fn check_dump(dump: &Path, expected: &[Expected]) -> Result<(), ProcessError> {
    let text = fs::read_to_string(dump).map_err(ProcessError::file("read", dump))?;
    let (totals, sessions) = text.split_once("sessions ").unwrap_or((&text, ""));
    for (uid, text) in [("totals", totals.strip_prefix("totals ").unwrap_or(totals)), ("sessions", sessions)] {
        let (batch, entries) = text.split_once('\n').unwrap_or((text, ""));
        let after = batch.parse::<usize>().ok().and_then(|number| expected.get(number.checked_sub(1)?));
        let Some(after) = after else {
            return diverged(format!("the dump has {uid} after batch {batch:?}, which was not published"));
        };
        let expected = if uid == "totals" { &after.totals } else { &after.sessions };
        let entries: Vec<&str> = entries.lines().collect();
        if entries != *expected {
            return diverged(format!("{uid} after batch {batch}: expected {expected:?}, found {entries:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
