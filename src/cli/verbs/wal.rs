//! `floodmark wal`: the frames of the log.

mod follow;
mod lines;
mod stats;

use serde::Serialize;

use crate::console::{Console, JsonList};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::finding::{Code, Finding, write_findings};
use crate::frames::{ShownFrame, Stop, read_segment, survey, torn};
use crate::location::Store;
use crate::page::Page;
use crate::range::NumberRange;
use floodmark_base::id::Sequence;
use floodmark_store::wal::{FrameHeader, LogSurvey, Lost, Seen, SurveyedSegment, Tail, WalDamage};
use lines::Lines;
use stats::Stats;

/// The frames of the log.
///
/// Sequence, segment, offset, kind, epoch, length, and what each is. A damaged log is shown as far as anything in it can be
/// decoded, each damage at its place. Exit code 3 or more says that there was damage within what was shown; whether it matters is
/// for `verify` and `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// Sequences to show, both ends included: 5, 5..9, 5.. or ..9.
    #[arg(value_name = "A..B")]
    range: Option<NumberRange>,
    /// Show the payloads of blocks: text as it is, other records by hex.
    #[arg(long)]
    records: bool,
    /// Only sums: by kind, by source, by segment.
    #[arg(long, conflicts_with_all = ["records", "follow"])]
    stats: bool,
    /// Go on with what is appended, until interrupted; with --json one object a line.
    #[arg(long, short)]
    follow: bool,
    /// Also frames that a later segment has superseded.
    #[arg(long, conflicts_with = "follow")]
    all: bool,
}

/// The last part of the JSON: what is wrong with what was read.
#[derive(Serialize)]
struct Epilogue {
    findings: Vec<Finding>,
    exit_code: Exit,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    if args.follow {
        return follow::run(args, &store, console);
    }
    let survey = survey(store.path())?;
    let range = args.range.unwrap_or(NumberRange::ALL);
    let mut reading =
        Reading { store: &store, range, out: Out::new(args), findings: Findings::default(), present: None };
    for damage in &survey.damage {
        reading.findings.add(&store, damage);
    }
    let unreadable =
        survey.unreadable.iter().map(|error| Finding::new(Code::of_wal(error)).concerning(error.to_string()));
    reading.findings.all.extend(unreadable);
    for segment in &survey.segments {
        reading.segment(&survey, segment, args.all, console)?;
    }
    reading.end(console)
}

/// A pass over the log.
struct Reading<'s> {
    store: &'s Store,
    range: NumberRange,
    out: Out,
    findings: Findings,
    /// The first and the last sequence that the log holds.
    present: Option<(u64, u64)>,
}

impl Reading<'_> {
    fn segment(
        &mut self,
        survey: &LogSurvey,
        segment: &SurveyedSegment,
        all: bool,
        console: &mut Console<'_>,
    ) -> Result<()> {
        let first = segment.header.first_sequence.0;
        let last = segment.until.map_or(u64::MAX, |until| until.0.saturating_sub(1));
        if !all && (last < self.range.first || first > self.range.last) && segment.until.is_some() {
            if first <= last {
                self.present = Some((self.present.map_or(first, |(first, _)| first), last));
            }
            return Ok(());
        }
        let ending = read_segment(survey, segment, None, |seen| match self.is_enough(&seen) {
            true => Err(Stop::Enough),
            false => Ok(self.seen(segment, seen, false, console)?),
        })?;
        let Some(ending) = ending else { return Ok(()) };
        if let Tail::Interrupted { .. } = ending.tail {
            self.findings.all.push(torn(self.store.path(), segment, &ending));
        }
        if all && segment.until.is_some() {
            let beyond = SurveyedSegment { until: None, is_newest: false, ..segment.clone() };
            let from = (ending.next, ending.offset);
            read_segment(survey, &beyond, Some(from), |seen| Ok::<(), Stop>(self.seen(segment, seen, true, console)?))?;
        }
        Ok(())
    }

    /// Whether all that was asked for was shown.
    fn is_enough(&self, seen: &Seen<'_>) -> bool {
        let is_beyond = matches!(seen, Seen::Frame(at, ..) if at.sequence.0 > self.range.last);
        is_beyond && self.out.has_begun()
    }

    fn seen(
        &mut self,
        segment: &SurveyedSegment,
        seen: Seen<'_>,
        superseded: bool,
        console: &mut Console<'_>,
    ) -> Result<()> {
        console.check()?;
        match seen {
            Seen::Frame(at, header, head, body) => {
                if !superseded {
                    self.present = Some((self.present.map_or(at.sequence.0, |(first, _)| first), at.sequence.0));
                }
                if !self.range.contains(at.sequence.0) {
                    return Ok(());
                }
                let frame = ShownFrame { superseded, ..ShownFrame::of(at, header, head) };
                self.out.frame(&frame, header, body, segment, console)
            }
            Seen::Damage(damage) => {
                if touches(&damage, self.range) {
                    self.out.damage(&damage, console)?;
                    self.findings.add(self.store, &damage);
                }
                Ok(())
            }
        }
    }

    fn end(mut self, console: &mut Console<'_>) -> Result {
        let exit = self.findings.exit();
        if !self.out.has_begun() && self.range != NumberRange::ALL && exit == Exit::Healthy {
            let there = match self.present {
                Some((first, last)) => format!("the log holds the frames {first} to {last}"),
                None => "the log holds no frame".to_string(),
            };
            return Err(Failure::usage(format!("no frame in {}: {there}", self.range)));
        }
        self.out.end(self.findings.all, exit, console)?;
        Ok(exit)
    }
}

/// Whether frames that a damage takes away are among those that are asked for.
fn touches(damage: &WalDamage, range: NumberRange) -> bool {
    match damage.lost {
        Lost::Frames { first, last } => first.0 <= range.last && last.0 >= range.first,
        Lost::Segment(_) | Lost::Nothing => true,
    }
}

/// What was found wrong.
#[derive(Default)]
struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, store: &Store, damage: &WalDamage) {
        self.all.push(Finding::of_damage(store.path(), damage));
    }

    /// The gravest; an interrupted tail alone is no damage.
    fn exit(&self) -> Exit {
        let damage = self.all.iter().filter(|finding| finding.code != Code::TornTail);
        damage.map(|finding| finding.code.exit()).fold(Exit::Healthy, Exit::or_worse)
    }
}

/// Where frames go.
enum Out {
    Text(Lines),
    Json { list: Option<JsonList>, records: bool },
    Stats(Stats),
}

impl Out {
    fn new(args: &Args) -> Self {
        match args.stats {
            true => Self::Stats(Stats::default()),
            false => Self::Text(Lines::new(args.records)),
        }
    }

    fn has_begun(&self) -> bool {
        match self {
            Self::Text(lines) => lines.has_begun(),
            Self::Json { list, .. } => list.is_some(),
            Self::Stats(stats) => !stats.is_empty(),
        }
    }

    fn frame(
        &mut self,
        frame: &ShownFrame,
        header: &FrameHeader,
        body: &[u8],
        segment: &SurveyedSegment,
        console: &mut Console<'_>,
    ) -> Result<()> {
        match self {
            Self::Stats(stats) => stats.add(frame, header, segment),
            Self::Text(lines) if console.is_json() => {
                let records = lines.shows_records();
                *self = Self::Json { list: Some(console.list("floodmark.wal/1", "frames")?), records };
                return self.frame(frame, header, body, segment, console);
            }
            Self::Text(lines) => lines.frame(frame, body, console)?,
            Self::Json { list, records } => {
                if let Some(list) = list {
                    list.push(console, &lines::WithPayload::of(frame, body, *records))?;
                }
            }
        }
        Ok(())
    }

    fn damage(&mut self, damage: &WalDamage, console: &mut Console<'_>) -> Result<()> {
        match self {
            Self::Text(lines) if !console.is_json() => lines.damage(damage, console),
            _ => Ok(()),
        }
    }

    fn end(&mut self, findings: Vec<Finding>, exit_code: Exit, console: &mut Console<'_>) -> Result<()> {
        match self {
            Self::Stats(stats) => console.show(&stats.report(findings, exit_code)),
            Self::Text(_) if console.is_json() => {
                let list = console.list("floodmark.wal/1", "frames")?;
                list.finish(console, &Epilogue { findings, exit_code })
            }
            Self::Json { list, .. } => match list.take() {
                Some(list) => list.finish(console, &Epilogue { findings, exit_code }),
                None => Ok(()),
            },
            Self::Text(lines) => {
                let terminal = console.terminal();
                let mut page = Page::new(terminal.width, terminal.colour);
                match (lines.has_begun(), findings.is_empty()) {
                    (false, true) => page.line("The log holds no frame."),
                    (true, false) => page.gap(),
                    _ => {}
                }
                write_findings(&mut page, &findings);
                console.text(&page.into_text())
            }
        }
    }
}

/// Where a pass over the log stands that goes on later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    segment: u64,
    next: Sequence,
    offset: u64,
}
