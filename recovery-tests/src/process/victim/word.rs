//! What a victim tells: a line each on its standard output. A pipe keeps what was written before a kill, so a word that was told
//! is known to its parent for good: an acknowledgement among them is a promise.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use floodmark::testing::disk::Step;

use super::point::step_named;

/// A word of a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The job is about to start.
    Recovering,
    /// It has recovered: from the checkpoint of this batch (none: it started fresh), recomputing so many batches.
    Recovered { epoch: u64, checkpoint: Option<u64>, replayed: u64, milliseconds: u64 },
    /// The receiver begins; blocks up to this one are stored.
    Resumes(u64),
    /// This block is acknowledged.
    Stored(u64),
    /// An operation of a durable step begins.
    Begin { step: Step, operation: String },
    /// It has ended.
    End { step: Step, operation: String },
    /// A batch is given to the dataflow.
    Batch(u64),
    /// It is published.
    Published(u64),
    /// A checkpoint of this batch is published.
    Checkpoint(u64),
    /// A graceful stop begins.
    Stopping,
    /// The life has come to the point that it was given, and stays there.
    Holding,
}

impl Word {
    /// Writes the word as a line, at once.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub fn tell(&self) -> io::Result<()> {
        // One call to the system, so that a kill cannot tear a line that others have written behind it.
        io::stdout().lock().write_all(format!("{self}\n").as_bytes())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovering => f.write_str("recovering"),
            Self::Recovered { epoch, checkpoint, replayed, milliseconds } => {
                let checkpoint = checkpoint.map_or("-".to_string(), |batch| batch.to_string());
                write!(f, "recovered {epoch} {checkpoint} {replayed} {milliseconds}")
            }
            Self::Resumes(block) => write!(f, "resumes {block}"),
            Self::Stored(block) => write!(f, "stored {block}"),
            Self::Begin { step, operation } => write!(f, "> {step} {operation}"),
            Self::End { step, operation } => write!(f, "< {step} {operation}"),
            Self::Batch(batch) => write!(f, "batch {batch}"),
            Self::Published(batch) => write!(f, "published {batch}"),
            Self::Checkpoint(batch) => write!(f, "checkpoint {batch}"),
            Self::Stopping => f.write_str("stopping"),
            Self::Holding => f.write_str("holding"),
        }
    }
}

/// A line that is no word of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAWord;

impl FromStr for Word {
    type Err = NotAWord;

    fn from_str(line: &str) -> Result<Self, NotAWord> {
        parse(line).ok_or(NotAWord)
    }
}

fn parse(line: &str) -> Option<Word> {
    let parts: Vec<&str> = line.split(' ').collect();
    let number = |text: &str| text.parse::<u64>().ok();
    Some(match parts[..] {
        ["recovering"] => Word::Recovering,
        ["recovered", epoch, checkpoint, replayed, milliseconds] => Word::Recovered {
            epoch: number(epoch)?,
            checkpoint: if checkpoint == "-" { None } else { Some(number(checkpoint)?) },
            replayed: number(replayed)?,
            milliseconds: number(milliseconds)?,
        },
        ["resumes", block] => Word::Resumes(number(block)?),
        ["stored", block] => Word::Stored(number(block)?),
        [">", step, operation] => Word::Begin { step: step_named(step)?, operation: operation.to_string() },
        ["<", step, operation] => Word::End { step: step_named(step)?, operation: operation.to_string() },
        ["batch", batch] => Word::Batch(number(batch)?),
        ["published", batch] => Word::Published(number(batch)?),
        ["checkpoint", batch] => Word::Checkpoint(number(batch)?),
        ["stopping"] => Word::Stopping,
        ["holding"] => Word::Holding,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_heard_as_it_was_told_and_half_a_line_is_no_word() {
        let words = [
            Word::Recovering,
            Word::Recovered { epoch: 3, checkpoint: None, replayed: 0, milliseconds: 12 },
            Word::Recovered { epoch: 3, checkpoint: Some(7), replayed: 2, milliseconds: 12 },
            Word::Resumes(0),
            Word::Stored(8),
            Word::Begin { step: Step::WalSync, operation: "sync".to_string() },
            Word::End { step: Step::CheckpointFiles, operation: "sync_file".to_string() },
            Word::Batch(1),
            Word::Published(2),
            Word::Checkpoint(3),
            Word::Stopping,
            Word::Holding,
        ];
        for word in words {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        for line in ["", "stored", "stored x", "recovered 1 - 2", "> wal.sink sync", "> wal.sync"] {
            assert_eq!(line.parse::<Word>(), Err(NotAWord), "{line}");
        }
    }
}
