//! `floodmark wal --follow`: goes on with what is appended, as `tail -f` does.
//!
//! The log is looked at again and again. A frame that is still being written looks torn and is waited for; a new segment is gone on with
//! where the old one ends; frames that were truncated before they were seen are told as missed. Nothing of the driver is touched.

use serde::Serialize;

use super::lines::{Lines, WithPayload};
use super::{Args, Place};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::frames::{ShownFrame, read_segment};
use crate::location::Store;
use crate::range::NumberRange;
use floodmark_base::disk::LocalDisk;
use floodmark_base::id::Sequence;
use floodmark_store::recovery::facts::WAL;
use floodmark_store::wal::{LogSurvey, Seen, SurveyedSegment};

/// How often the log is looked at, in milliseconds.
const EVERY_MS: u64 = 100;
/// The same in object storage, where a look reads the objects of the log anew.
const EVERY_MS_IN_BUCKET: u64 = 2_000;

/// A frame of the JSON, one a line.
#[derive(Serialize)]
struct Line<'f> {
    schema: &'static str,
    #[serde(flatten)]
    frame: WithPayload<'f>,
}

pub(super) fn run(args: &Args, store: &Store, console: &mut Console<'_>) -> Result {
    let range = args.range.unwrap_or(NumberRange::ALL);
    let mut following =
        Following { range, records: args.records, lines: Lines::new(args.records), place: None, shown: Sequence(0) };
    loop {
        if !following.look(store, console)? {
            return Ok(Exit::Healthy);
        }
        console.flush()?;
        console.pause(if store.remote().is_some() { EVERY_MS_IN_BUCKET } else { EVERY_MS })?;
        store.refresh()?;
    }
}

struct Following {
    range: NumberRange,
    records: bool,
    lines: Lines,
    /// Where the last look ended.
    place: Option<Place>,
    /// The sequence that is shown next.
    shown: Sequence,
}

impl Following {
    /// Shows what has come since the last look; whether more can come.
    fn look(&mut self, store: &Store, console: &mut Console<'_>) -> Result<bool> {
        let survey = LogSurvey::of(&LocalDisk, &store.path().join(WAL), None)?;
        if let Some(damage) = survey.damage.first() {
            return Err(Failure::from(floodmark_store::wal::WalError::from(damage.clone())));
        }
        self.tell_missed(&survey, console);
        let begin = self.place.map_or(0, |place| place.segment);
        for segment in survey.segments.iter().filter(|segment| segment.header.number.0 >= begin) {
            self.segment(&survey, segment, console)?;
        }
        Ok(self.shown.0 <= self.range.last)
    }

    /// Frames that were truncated before they were seen.
    fn tell_missed(&mut self, survey: &LogSurvey, console: &mut Console<'_>) {
        let (Some(_), Some(first)) = (self.place, survey.segments.first()) else { return };
        let oldest = first.header.first_sequence;
        if oldest > self.shown {
            console.hint(&format!("frames {} to {} were truncated before they were seen", self.shown, oldest.0 - 1));
        }
    }

    fn segment(&mut self, survey: &LogSurvey, segment: &SurveyedSegment, console: &mut Console<'_>) -> Result<()> {
        let number = segment.header.number.0;
        let from = self.place.filter(|place| place.segment == number).map(|place| (place.next, place.offset));
        // Carried frames stand in two segments, and were shown when they stood in the first.
        let shown = self.shown;
        let ending = match read_segment(survey, segment, from, |seen| Ok(self.seen(seen, shown, console)?)) {
            Ok(ending) => ending,
            // Truncated since it was listed.
            Err(_) if !segment.file.exists() => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if let Some(ending) = ending {
            self.place = Some(Place { segment: number, next: ending.next, offset: ending.offset });
            self.shown = self.shown.max(ending.next);
        }
        Ok(())
    }

    fn seen(&mut self, seen: Seen<'_>, shown: Sequence, console: &mut Console<'_>) -> Result<()> {
        console.check()?;
        match seen {
            Seen::Frame(at, header, head, body) if at.sequence >= shown && self.range.contains(at.sequence.0) => {
                let frame = ShownFrame::of(at, header, head);
                match console.is_json() {
                    true => console.object(&Line {
                        schema: "floodmark.wal.frame/1",
                        frame: WithPayload::of(&frame, body, self.records),
                    }),
                    false => self.lines.frame(&frame, body, console),
                }
            }
            Seen::Frame(..) => Ok(()),
            Seen::Damage(damage) => Err(Failure::from(floodmark_store::wal::WalError::from(damage))),
        }
    }
}
