//! What the frames of a log hold, in words and as JSON.
#![allow(clippy::disallowed_methods)] // reads a stored file, which the verb never changes

use std::fs::File;
use std::path::Path;

use serde::Serialize;

use super::failure::Failure;
use super::finding::{Code, Finding};
use super::page::count;
use super::view;
use floodmark_base::disk::LocalDisk;
use floodmark_base::id::Sequence;
use floodmark_base::plural::counted;
use floodmark_store::batch::event::{BatchEvent, PlannedTask};
use floodmark_store::block::{AbsentHead, BlockHead};
use floodmark_store::recovery::facts::WAL;
use floodmark_store::state::shape::to_hex;
use floodmark_store::wal::{Ending, FrameAt, FrameHeader, FrameKind, LogSurvey, Seen, SurveyedSegment, Tail, WalError};

/// A frame, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct ShownFrame {
    pub sequence: u64,
    pub segment: u64,
    pub offset: u64,
    pub kind: &'static str,
    pub epoch: u64,
    pub synced_through: u64,
    /// Of the whole frame, in bytes.
    pub length: u64,
    /// What it is, in words.
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// A later segment says something else in its place; it counts no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
}

impl ShownFrame {
    /// What a frame is.
    pub fn of(at: FrameAt, header: &FrameHeader, head: &[u8]) -> Self {
        let mut shown = Self {
            sequence: at.sequence.0,
            segment: at.segment.0,
            offset: at.offset,
            kind: kind_name(header.kind),
            epoch: header.epoch.0,
            synced_through: header.synced_through.0,
            length: header.frame_len(),
            what: String::new(),
            source: None,
            records: None,
            batch: None,
            superseded: false,
        };
        shown.what = match header.kind {
            FrameKind::Mark => "Closing mark: everything before it is synced".to_string(),
            FrameKind::Block => match BlockHead::decode(at.version, head) {
                Ok(head) => shown.take_block(&head),
                Err(error) => format!("Block that cannot be decoded: {error}"),
            },
            FrameKind::Absent => match AbsentHead::decode(at.version, head) {
                Ok(absent) => {
                    let block = shown.take_block(&absent.head);
                    format!("{block}, whose {} bytes are not in this log", absent.bytes)
                }
                Err(error) => format!("Absent block that cannot be decoded: {error}"),
            },
            FrameKind::Event => match BatchEvent::decode(at.version, head) {
                Ok(event) => shown.take_event(&event),
                Err(error) => format!("Event that cannot be decoded: {error}"),
            },
        };
        shown
    }

    fn take_block(&mut self, head: &BlockHead) -> String {
        (self.source, self.records) = (Some(head.source.to_string()), Some(head.records));
        let position = head.position.map(|position| format!("#{position}")).unwrap_or_default();
        format!("Block {}{position} {}", head.source, counted(head.records, "record"))
    }

    fn take_event(&mut self, event: &BatchEvent) -> String {
        let (batch, what) = event_text(event);
        self.batch = batch;
        what
    }
}

/// The batch that an event is of, and the event in words.
fn event_text(event: &BatchEvent) -> (Option<u64>, String) {
    match event {
        BatchEvent::Opened { epoch, lineage, .. } => (None, format!("Opened epoch {epoch}, lineage {lineage}")),
        BatchEvent::Planned(plan) => {
            let tasks = || plan.inputs.iter().flat_map(|input| &input.tasks);
            let blocks = plan.blocks().count();
            let ranges = tasks().filter(|task| matches!(task, PlannedTask::Range(_))).count();
            (
                Some(plan.batch.0),
                format!(
                    "Planned batch {}: {}, {}",
                    plan.batch,
                    counted(blocks as u64, "block"),
                    counted(ranges as u64, "range")
                ),
            )
        }
        BatchEvent::AttemptStarted { batch, attempt } => {
            (Some(batch.0), format!("AttemptStarted batch {batch}, attempt {attempt}"))
        }
        BatchEvent::AttemptFailed { batch, attempt, operator, panic } => {
            (Some(batch.0), format!("AttemptFailed batch {batch}, attempt {attempt}: {operator}: {panic}"))
        }
        BatchEvent::DeadLettered { batch, letters } => {
            (Some(batch.0), format!("DeadLettered batch {batch}: {}", counted(letters.len() as u64, "record")))
        }
        BatchEvent::Committed(commit) => {
            let records: u64 = commit.records.iter().map(|(_, records)| records).sum();
            let text = format!(
                "Committed batch {}: {}, {} ms",
                commit.batch,
                counted(records, "record"),
                commit.processing_ms
            );
            (Some(commit.batch.0), text)
        }
        BatchEvent::Published { batch } => (Some(batch.0), format!("Published batch {batch}")),
        BatchEvent::GivenUp { blocks } => {
            (None, format!("GivenUp {} that no batch had taken", counted(blocks.len() as u64, "block")))
        }
        BatchEvent::SourceDecided { source, batch, decision } => {
            let text = format!("SourceDecided by {source} about batch {batch}: {} bytes", decision.len());
            (Some(batch.0), text)
        }
    }
}

/// The name of a kind of frames.
pub(crate) fn kind_name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Block => "block",
        FrameKind::Event => "event",
        FrameKind::Mark => "mark",
        FrameKind::Absent => "absent",
    }
}

/// What the payload of a block is.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Payload {
    /// As many lines of text as the block has records.
    Lines(Vec<String>),
    /// Encoded records, or bytes of another framing: their types stand in the program only.
    Hex(String),
}

impl Payload {
    /// Looks at a payload. Text is what reads as text, with as many lines as there are records.
    pub fn of(body: &[u8], records: Option<u64>) -> Self {
        let is_shown = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
        let text = std::str::from_utf8(body).ok().filter(|text| text.chars().all(is_shown));
        let lines: Option<Vec<String>> = text.map(|text| text.lines().map(str::to_string).collect());
        match lines.filter(|lines| Some(lines.len() as u64) == records) {
            Some(lines) => Self::Lines(lines),
            None => Self::Hex(to_hex(body)),
        }
    }
}

/// The oldest frame that a manifest of the chain needs; nothing where the chain does not say.
pub(crate) fn oldest_needed(store: &Path) -> Option<Sequence> {
    view::chain(store).ok()?.oldest_needed()
}

/// The segments of a store's log.
pub(crate) fn survey(store: &Path) -> Result<LogSurvey, Failure> {
    let is_whole = |found: &Result<LogSurvey, _>| {
        found.as_ref().is_ok_and(|survey| survey.damage.is_empty() && survey.unreadable.is_empty())
    };
    // A driver at work may truncate the log between the look at the chain and the look at the segments.
    let survey = || LogSurvey::of(&LocalDisk, &store.join(WAL), oldest_needed(store));
    Ok(view::settled(store, survey, is_whole)?)
}

/// Why reading a segment ends before its end.
pub(crate) enum Stop {
    /// Enough was seen.
    Enough,
    Failed(Failure),
}

impl From<WalError> for Stop {
    fn from(error: WalError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads a segment; `None` where enough was seen.
pub(crate) fn read_segment(
    survey: &LogSurvey,
    segment: &SurveyedSegment,
    from: Option<(Sequence, u64)>,
    visit: impl FnMut(Seen<'_>) -> Result<(), Stop>,
) -> Result<Option<Ending>, Failure> {
    let file = File::open(&segment.file).map_err(|error| Failure::io("read", &segment.file, &error))?;
    let ended = match from {
        None => survey.read(&LocalDisk, segment, file, visit),
        Some(from) => survey.read_from(&LocalDisk, segment, file, from, visit),
    };
    match ended {
        Ok(ending) => Ok(Some(ending)),
        Err(Stop::Enough) => Ok(None),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// The finding that an interrupted tail is.
pub(crate) fn torn(store: &Path, segment: &SurveyedSegment, ending: &Ending) -> Finding {
    let finding = Finding::new(Code::TornTail).file(store, &segment.file);
    let Tail::Interrupted { offset, bytes, reason, whole_frames_cut, .. } = &ending.tail else { return finding };
    let (expected, found) = reason.expected_and_found();
    let finding = finding.offset(*offset).differs(expected, found);
    let finding = finding.concerning(format!(
        "{} B that were never acknowledged as far as anything proves; recovery cuts them",
        count(*bytes)
    ));
    match whole_frames_cut {
        0 => finding,
        frames => finding.concerning(format!("{frames} whole frames behind it are cut with it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_where_its_lines_are_its_records() {
        let lines = |lines: &[&str]| Payload::Lines(lines.iter().map(ToString::to_string).collect());
        assert_eq!(Payload::of(b"a b\nc\n", Some(2)), lines(&["a b", "c"]));
        assert_eq!(Payload::of(b"a b\nc", Some(2)), lines(&["a b", "c"]));
        assert_eq!(Payload::of(b"a b\nc", Some(3)), Payload::Hex("6120620a63".to_string()));
        assert_eq!(Payload::of(b"\x01\xff", Some(1)), Payload::Hex("01ff".to_string()));
    }
}
