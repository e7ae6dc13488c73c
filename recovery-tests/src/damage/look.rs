//! What the engine itself says to a damaged store, before it is started: the decision of recovery, not applied.

use std::path::Path;

use floodmark::testing::wal::Tail;
use floodmark::testing::{Inspection, inspect};
use floodmark::{BatchId, Epoch, ErrorKind};

/// The decision of recovery, as far as one case is told from another by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    GoesOn(GoesOn),
    Refuses { kind: ErrorKind, message: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GoesOn {
    pub epoch: Epoch,
    pub checkpoint: Option<BatchId>,
    pub replay: Vec<BatchId>,
    pub committed: Vec<BatchId>,
    pub unplanned: usize,
    /// Where the tail begins that is cut, and its bytes.
    pub tail: Option<(u64, u64)>,
    /// The report of the start, before the replay.
    pub words: String,
}

/// Asks the engine.
pub(super) fn look(job: &Path) -> Look {
    match inspect(job) {
        Ok(inspection) => Look::GoesOn(GoesOn::of(&inspection)),
        Err(error) => Look::Refuses { kind: error.kind(), message: error.to_string() },
    }
}

impl GoesOn {
    fn of(inspection: &Inspection) -> Self {
        let tail = match inspection.interrupted_tail() {
            Some(Tail::Interrupted { offset, bytes, .. }) => Some((*offset, *bytes)),
            _ => None,
        };
        Self {
            epoch: inspection.epoch(),
            checkpoint: inspection.checkpoint(),
            replay: inspection.replay(),
            committed: inspection.committed(),
            unplanned: inspection.unplanned_blocks(),
            tail,
            words: inspection.to_string(),
        }
    }
}

impl Look {
    /// The same text for damages that are decided alike: only offsets, checksums and the like are left out of its words.
    pub fn decision(&self) -> String {
        match self {
            Self::Refuses { kind, message } => format!("refuses {kind:?} {}", without_numbers(message)),
            Self::GoesOn(goes_on) => {
                let GoesOn { epoch, checkpoint, replay, committed, unplanned, tail, words } = goes_on;
                let tail = tail.map(|(offset, _)| offset);
                let words = without_numbers(words);
                format!("{epoch} {checkpoint:?} {replay:?} {committed:?} {unplanned} {tail:?} {words}")
            }
        }
    }

    /// The words of it.
    pub fn words(&self) -> &str {
        match self {
            Self::Refuses { message, .. } => message,
            Self::GoesOn(goes_on) => &goes_on.words,
        }
    }
}

/// A text with `#` for every run of digits, and for every word of hexadecimal digits.
fn without_numbers(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        out.push_str(&rest[..start]);
        let word_len = rest[start..].find(|c| !is_part(c)).unwrap_or(rest.len() - start);
        let word = &rest[start..start + word_len];
        let is_number = word.bytes().any(|byte| byte.is_ascii_digit()) && word.bytes().all(|b| b.is_ascii_hexdigit());
        let is_hex = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        out.push_str(if is_number || is_hex { "#" } else { word });
        rest = &rest[start + word_len..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_numbers_only_are_alike() {
        let text =
            "wal/00000000000000000002.log: at byte 220: expected crc32 deadbeef, found 0012aab3; frame 4 is lost";
        assert_eq!(without_numbers(text), "wal/#.log: at byte #: expected crc32 #, found #; frame # is lost");
    }
}
