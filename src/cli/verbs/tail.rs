//! `floodmark tail`: why the log ends where it ends.

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::Result;
use crate::finding::{Code, Finding, below, write_findings};
use crate::frames::{ShownFrame, Stop, read_segment, survey, torn};
use crate::location::Store;
use crate::page::{Mood, Page, count};
use crate::start::Start;
use crate::view;
use floodmark_base::id::Sequence;
use floodmark_store::checkpoint::ChainFacts;
use floodmark_store::lock::Owner;
use floodmark_store::recovery::decide::decide_without_program;
use floodmark_store::recovery::refusal::Refusal;
use floodmark_store::wal::{Ending, LogSurvey, Seen, SurveyedSegment, Tail, WalError};

/// Why the log ends where it ends.
///
/// Cleanly, with an interrupted append, or damaged; with the evidence. Exit code 3 where an append was interrupted: it was never
/// acknowledged, and the next start cuts it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
}

/// How the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// With a whole frame.
    Clean,
    /// A driver is at work, and an append is under way.
    Appending,
    /// With bytes that were never acknowledged.
    Interrupted,
    /// Something that was durable is not what it was, or is not there.
    Damaged,
}

#[derive(Serialize)]
struct TailReport {
    store: String,
    exit_code: Exit,
    verdict: Verdict,
    /// The newest segment; nothing where there is no log.
    file: Option<String>,
    ends_at: u64,
    file_bytes: u64,
    last_good: Option<ShownFrame>,
    /// Frames up to this one are proven to have been synced.
    proven_synced_through: u64,
    /// Whole frames behind it, which recovery keeps.
    unproven_frames: u64,
    closed: bool,
    owner: Owner,
    findings: Vec<Finding>,
    /// What a start would do, where the log is damaged.
    start: Option<Start>,
    next: Option<String>,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let owner = store.owner();
    // Before the log: what a manifest knows is in the log by then, however far a driver goes on meanwhile.
    let chain = view::chain(store.path()).ok();
    let survey = survey(store.path())?;
    let mut findings: Vec<Finding> =
        survey.damage.iter().map(|damage| Finding::of_damage(store.path(), damage)).collect();
    let unreadable = survey.unreadable.iter();
    findings.extend(unreadable.map(|error| Finding::new(Code::of_wal(error)).concerning(error.to_string())));
    let end = look(&survey, &mut findings, &store, console)?;
    findings.extend(lost_end(&store, chain.as_ref(), end.as_ref()));
    if findings.is_empty()
        && let Err(Refusal::Log(WalError::Damage(damage))) = view::skim(store.path())
    {
        // The end is whole, and a start is refused because of something before it.
        findings.push(Finding::of_damage(store.path(), &damage));
    }
    let report = TailReport::of(&store, owner, end, findings);
    console.show(&report)?;
    Ok(report.exit_code)
}

/// The end of the log.
struct End {
    segment: SurveyedSegment,
    ending: Ending,
    last: Option<ShownFrame>,
}

/// Reads the newest segment, and for the last frame older ones as long as none was found.
fn look(
    survey: &LogSurvey,
    findings: &mut Vec<Finding>,
    store: &Store,
    console: &mut Console<'_>,
) -> Result<Option<End>> {
    let mut end: Option<End> = None;
    for segment in survey.segments.iter().rev() {
        let mut last = None;
        let ending = read_segment(survey, segment, None, |seen| {
            console.check()?;
            match seen {
                Seen::Frame(at, header, head, _) => last = Some(ShownFrame::of(at, header, head)),
                Seen::Damage(damage) => findings.push(Finding::of_damage(store.path(), &damage)),
            }
            Ok::<(), Stop>(())
        })?;
        let Some(ending) = ending else { break };
        match &mut end {
            None => end = Some(End { segment: segment.clone(), ending, last }),
            Some(end) => end.last = last,
        }
        if end.as_ref().is_some_and(|end| end.last.is_some()) {
            break;
        }
    }
    Ok(end)
}

/// What the manifests know of the log and the log does not.
fn lost_end(store: &Store, chain: Option<&ChainFacts>, end: Option<&End>) -> Option<Finding> {
    let chain = chain?;
    let known = chain.newest()?.point.log;
    let Some(end) = end else { return Some(Finding::new(Code::LogGone).concerning("a manifest names a log")) };
    let log = end.segment.header.log;
    if log != known.log {
        return Some(Finding::new(Code::AnotherLog).differs(format!("log {}", known.log), format!("log {log}")));
    }
    let finding = Finding::new(Code::LogCut).file(store.path(), &end.segment.file).offset(end.ending.offset);
    let found = format!("the log ends before frame {}", end.ending.next);
    let expected = format!("every frame before {}, as manifest {} knows", known.next, chain.newest()?.sequence);
    (known.next > end.ending.next).then(|| finding.differs(expected, found))
}

impl TailReport {
    fn of(store: &Store, owner: Owner, end: Option<End>, mut findings: Vec<Finding>) -> Self {
        let damaged = !findings.is_empty();
        let is_alive = matches!(owner, Owner::Alive { .. });
        let interrupted = end.as_ref().filter(|end| end.ending.tail != Tail::Clean);
        let verdict = match interrupted {
            _ if damaged => Verdict::Damaged,
            None => Verdict::Clean,
            Some(_) if is_alive => Verdict::Appending,
            Some(_) => Verdict::Interrupted,
        };
        findings.extend(interrupted.map(|end| torn(store.path(), &end.segment, &end.ending)));
        let start = damaged.then(|| {
            let decision = view::facts(store.path()).and_then(|facts| decide_without_program(&facts, &[]));
            Start::of(&decision)
        });
        let exit_code = match (verdict, &start) {
            (_, Some(start)) => start.exit_code.or_worse(Exit::Degraded),
            (Verdict::Interrupted, _) => Exit::Degraded,
            _ => Exit::Healthy,
        };
        let next_sequence = end.as_ref().map_or(Sequence(1), |end| end.ending.next);
        let proven = end.as_ref().map_or(Sequence(0), |end| end.ending.proven);
        let shown = store.shown();
        let next = match verdict {
            Verdict::Clean | Verdict::Appending => None,
            Verdict::Interrupted => Some(format!("floodmark plan {shown}")),
            Verdict::Damaged => Some(format!("floodmark verify {shown}")),
        };
        let last = end.as_ref().and_then(|end| end.last.as_ref());
        let closed = verdict == Verdict::Clean && last.is_some_and(|frame| frame.kind == "mark");
        Self {
            store: store.name(),
            exit_code,
            verdict,
            file: end.as_ref().map(|end| below(store.path(), &end.segment.file)),
            ends_at: end.as_ref().map_or(0, |end| end.ending.offset),
            file_bytes: end.as_ref().map_or(0, |end| end.segment.bytes),
            proven_synced_through: proven.0,
            unproven_frames: (next_sequence.0 - 1).saturating_sub(proven.0),
            closed,
            last_good: end.and_then(|end| end.last),
            owner,
            findings,
            start,
            next,
        }
    }

    fn words(&self) -> String {
        let kept = match self.unproven_frames {
            0 => String::new(),
            1 if self.closed => String::new(),
            1 => " Nothing proves that the last frame was synced; recovery keeps it.".to_string(),
            frames => format!(" Nothing proves that the last {frames} frames were synced; recovery keeps them."),
        };
        match self.verdict {
            Verdict::Clean if self.closed => {
                "Clean: the log was closed. Everything in it is proven to be synced.".to_string()
            }
            Verdict::Clean => format!("Clean: the log ends with a whole frame.{kept}"),
            Verdict::Appending => format!("An append is under way; the driver is at work.{kept}"),
            Verdict::Interrupted => {
                let cut = count(self.file_bytes - self.ends_at);
                format!(
                    "Interrupted append: this was never acknowledged. Recovery cuts {cut} B; nothing is lost.{kept} Not damage: no \
                     frame behind it proves that it was ever synced (searched to the end)."
                )
            }
            Verdict::Damaged => "Damage: the log is not what it was.".to_string(),
        }
    }
}

impl Report for TailReport {
    const SCHEMA: &'static str = "floodmark.tail/1";

    fn write(&self, page: &mut Page) {
        match &self.file {
            None => page.line("There is no log."),
            Some(file) if self.ends_at == self.file_bytes => {
                page.line(&format!("{file} ends at {} B, its end", count(self.ends_at)));
            }
            Some(file) => {
                page.line(&format!("{file} ends at {} of {} B", count(self.ends_at), count(self.file_bytes)));
            }
        }
        if let Some(frame) = &self.last_good {
            let ShownFrame { sequence, what, offset, length, .. } = frame;
            let text = format!("seq {sequence}  {what}  @{}  {} B", count(*offset), count(*length));
            page.fields([("  last good", text)]);
        }
        for finding in &self.findings {
            if finding.code == Code::TornTail {
                let expected = finding.expected.clone().unwrap_or_default();
                let found = finding.found.clone().unwrap_or_default();
                let text = format!("expected {expected}, found {found}  {}", finding.code);
                page.fields([("  then     ", text)]);
            } else {
                write_findings(page, [finding]);
            }
        }
        let mood = match self.verdict {
            Verdict::Clean | Verdict::Appending => Mood::Good,
            Verdict::Interrupted => Mood::Attention,
            Verdict::Damaged => Mood::Bad,
        };
        page.headline(mood, &self.words());
        if let Some(start) = &self.start {
            start.write(page);
        }
        if let Some(next) = &self.next {
            page.next(next);
        }
    }
}
