//! `floodmark verify`: every frame, manifest and file, all findings, and what a start would do with them.
//!
//! # Order
//! Names and headers are read first, in one thread; from them comes a list of work (segments, files, ranges of entries), which a few
//! threads take from. What a start would do is decided at the end, by the engine, with what was found.
//!
//! # Beside a running job
//! A driver removes what it does not need any more. What is missing is looked for again at the end, and is no finding where the chain has
//! gone on and does not name it.

mod bucket;
mod entries;
mod files;
mod moved;
mod report;
mod segments;
mod work;

use std::str::FromStr;

use crate::console::Console;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::finding::{Code, Finding};
use crate::location::Store;
use crate::start::Start;
use crate::view;
use bucket::InBucket;
use files::{Checkpoint, Checkpoints};
use floodmark_base::clock::{Clock, SystemClock};
use floodmark_store::checkpoint::{ChainError, ChainFacts};
use floodmark_store::lock::Owner;
use floodmark_store::recovery::decide::{Decision, decide_without_program};
use floodmark_store::recovery::refusal::Refusal;
use report::{Looked, VerifyReport};
use segments::Log;
use work::{Task, Workers};

/// Reads what is stored, and tells all that is wrong with it.
///
/// Every frame of the log, every manifest, and the files of every checkpoint; and what a start would do with them. Reads the log
/// and the manifests whole, and of checkpoints sizes, ends and small files. Exit code 0: all is well; 3: a start makes up for it
/// without loss; 4: acknowledged data is lost; 5: of another version, or mixed; 8: something could not be looked at, or was left
/// out by --read-data.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// Names, sizes and the chain only; of the log heads of frames.
    #[arg(long, conflicts_with_all = ["full", "read_data"])]
    quick: bool,
    /// Every byte of every file. Where a table file is damaged, the entries of its checkpoints are read, to tell which keys it is about.
    #[arg(long)]
    full: bool,
    /// As --full, and every entry of every table: blocks by their own checksums, keys by their hashes, and the counts of the manifests.
    /// Takes about as long as loading the state.
    #[arg(long, conflicts_with_all = ["quick", "read_data"])]
    entries: bool,
    /// Besides, every byte of this share of the table files: 10%. Exit code 8 where that leaves any out.
    #[arg(long, value_name = "SHARE", conflicts_with = "full")]
    read_data: Option<Share>,
    /// Draws the share of --read-data from this seed, which is printed.
    #[arg(long, value_name = "NUMBER", requires = "read_data")]
    seed: Option<u64>,
    /// Threads that read.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Depth {
    Quick,
    Usual,
    /// Of the table files this share, by a seed.
    Share(f64, u64),
    Full,
    /// Every entry, besides.
    Entries,
}

/// A share of the whole, as a percentage.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share(f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        match number.parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent / 100.0)),
            _ => Err(format!("expected a share of the data such as 10%, found {text:?}")),
        }
    }
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let depth = match (args.quick, args.full, args.read_data) {
        (true, ..) => Depth::Quick,
        _ if args.entries => Depth::Entries,
        (_, true, _) => Depth::Full,
        (_, _, Some(share)) => Depth::Share(share.0, args.seed.unwrap_or(SystemClock::default().epoch_ms())),
        _ => Depth::Usual,
    };
    let report = verify(&store, depth, usize::from(args.threads), console)?;
    console.show(&report)?;
    Ok(report.exit_code)
}

fn verify(store: &Store, depth: Depth, threads: usize, console: &mut Console<'_>) -> Result<VerifyReport> {
    let clock = SystemClock::default();
    let begun_ms = clock.monotonic_ms();
    let bucket = InBucket::of(store, depth, console)?;
    let newest_before = view::newest_manifest(store.path());
    let chain = view::surveyed_chain(store.path());
    let log = Log::of(store)?;
    let mut findings = log.findings(store);
    let (chain, errors) = match chain {
        Ok(found) => found,
        Err(error @ ChainError::Io { .. }) => (ChainFacts::default(), vec![error]),
        Err(other) => return Err(other.into()),
    };
    findings.extend(of_manifests(store, &chain, &errors));
    let mut checkpoints = Checkpoints::of(store, &chain, depth)?;

    let mut tasks: Vec<Task> = checkpoints.reads().map(Task::File).collect();
    if depth != Depth::Quick {
        tasks.extend(log.tasks());
    }
    if depth == Depth::Entries {
        tasks.extend(checkpoints.open_entries(|_| true).into_iter().map(Task::Entries));
    }
    let progress = console.progress("verifying", tasks.iter().map(Task::bytes).sum());
    let workers = Workers { threads, interruption: console.interruption(), progress };
    let mut done = workers.run(&log, tasks)?;
    console.check()?;
    checkpoints.take_files(&done);
    if depth == Depth::Full {
        let damaged = checkpoints.open_entries(Checkpoint::has_damaged_tables);
        done.entries = workers.run(&log, damaged.into_iter().map(Task::Entries).collect())?.entries;
        console.check()?;
    }
    findings.extend(done.findings(store));
    findings.extend(checkpoints.take_entries(&done));
    let mut findings = moved::without_what_has_gone(findings, store, newest_before, &chain);
    if let Some(bucket) = &bucket {
        findings = bucket.merge(store, findings);
    }

    let (log_findings, is_alive) = (findings.iter().any(is_of_the_log), matches!(store.owner(), Owner::Alive { .. }));
    let decision = decide(store, log_findings, &checkpoints);
    if let Some(bucket) = bucket.as_ref().filter(|_| decision.as_ref().is_err_and(lacks_log)) {
        findings.splice(0..0, bucket.holes(store));
    }
    let refused = bucket.as_ref().and_then(InBucket::refused);
    let refusal = if refused.is_some() { None } else { decision.as_ref().err() };
    let start = refused.unwrap_or_else(|| Start::of(&decision));
    let exit_code = exit_code(&start, refusal, &findings, depth, &checkpoints);
    let objects = bucket.as_ref().map(|bucket| bucket.objects);
    let looked = Looked::of(&chain, &log, &checkpoints, &done, clock.monotonic_ms() - begun_ms).in_bucket(objects);
    Ok(VerifyReport::new(store, depth, exit_code, is_alive, findings, start, looked))
}

/// What is wrong with the manifests.
fn of_manifests(store: &Store, chain: &ChainFacts, errors: &[ChainError]) -> Vec<Finding> {
    let errors = errors.iter().map(|error| Finding::of_chain(store.path(), error));
    let damaged = chain.damaged().map(|(_, file, reason)| {
        Finding::new(Code::ManifestDamaged).file(store.path(), file).concerning(reason.to_string())
    });
    errors.chain(damaged).collect()
}

fn is_of_the_log(finding: &Finding) -> bool {
    matches!(
        finding.code,
        Code::DamagedFrame
            | Code::DamagedSegment
            | Code::MissingSegment
            | Code::MixedLogs
            | Code::SegmentOrder
            | Code::UnreadableFrame
            | Code::VersionUnknown
            | Code::Unreadable
    )
}

/// Whether a start is refused because something of the log is not there.
fn lacks_log(refusal: &Refusal) -> bool {
    matches!(
        Code::of_refusal(refusal),
        Code::DamagedFrame
            | Code::DamagedSegment
            | Code::MissingSegment
            | Code::LogCut
            | Code::LogGone
            | Code::AnotherLog
            | Code::BatchMissing
            | Code::BlockMissing
            | Code::ManifestsGone
    )
}

/// What a start would decide. The log was read already: only where something is wrong with it the engine reads it once more, so that
/// its own words are told.
fn decide(store: &Store, log_findings: bool, checkpoints: &Checkpoints) -> Result<Decision, Refusal> {
    let facts = if log_findings { view::facts(store.path())? } else { view::skim(store.path())? };
    decide_without_program(&facts, &checkpoints.unusable(&facts))
}

fn exit_code(
    start: &Start,
    refusal: Option<&Refusal>,
    findings: &[Finding],
    depth: Depth,
    checkpoints: &Checkpoints,
) -> Exit {
    let unread = findings.iter().any(|finding| finding.code == Code::Unreadable);
    // A refusal because something cannot be read says nothing about the data.
    let start = match refusal.map(Code::of_refusal) {
        Some(Code::Unreadable) => Exit::Incomplete,
        _ => start.exit_code,
    };
    // An interrupted append is what every crash leaves, and what is under way beside a running job.
    let is_damage =
        |finding: &&Finding| !matches!(finding.code, Code::Unreadable | Code::UnprovenTail | Code::TornTail);
    let damage = if findings.iter().any(|finding| is_damage(&finding)) { Exit::Degraded } else { Exit::Healthy };
    let left_out = matches!(depth, Depth::Share(..)) && checkpoints.left_out() > 0;
    let incomplete = if unread || left_out { Exit::Incomplete } else { Exit::Healthy };
    start.or_worse(damage).or_worse(incomplete)
}

/// The failure of work that has panicked, which is a bug.
fn panicked() -> Failure {
    Failure::new(Exit::Failed, "a thread that verifies has ended by itself, which is a bug")
}
