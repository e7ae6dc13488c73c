//! `floodmark batches`: what the log knows of each batch, folded by the engine's own fold.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::finding::{Finding, write_findings};
use crate::frames::{Stop, read_segment, survey};
use crate::location::Store;
use crate::page::{Page, count, duration_ms, time};
use crate::range::NumberRange;
use floodmark_base::id::{BatchId, Uid};
use floodmark_store::batch::event::{Digest, PlannedTask};
use floodmark_store::block::BlockMap;
use floodmark_store::recovery::facts::{BatchFacts, Fold};
use floodmark_store::wal::Seen;

/// What the log knows of each batch.
///
/// When it was planned, with what, how often it was tried, what came of it. Batches whose log was truncated are not there any
/// more: their results are in the checkpoint and in the sinks.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// Batches to show, both ends included: 5, 5..9, 5.. or ..9.
    #[arg(value_name = "A..B")]
    range: Option<NumberRange>,
}

#[derive(Serialize)]
struct BatchesReport {
    store: String,
    exit_code: Exit,
    /// The batches that the log holds.
    first: Option<u64>,
    last: Option<u64>,
    batches: Vec<ShownBatch>,
    findings: Vec<Finding>,
    /// Whether each batch is told with all that is known of it.
    #[serde(skip)]
    in_full: bool,
}

#[derive(Serialize)]
struct ShownBatch {
    batch: u64,
    time_ms: u64,
    merged_ticks: u64,
    planned_at: u64,
    sources: Vec<ShownSource>,
    blocks: usize,
    ranges: usize,
    committed: bool,
    published: bool,
    attempts: u32,
    failed_attempts: Vec<FailedAttempt>,
    dead_letters: usize,
    digests: Vec<ShownDigest>,
    processing_ms: Option<u64>,
    job_version: Option<String>,
}

#[derive(Serialize)]
struct ShownSource {
    uid: String,
    blocks: usize,
    ranges: usize,
    /// As committed; of blocks only where the batch is not committed yet.
    records: Option<u64>,
}

#[derive(Clone, Serialize)]
struct FailedAttempt {
    attempt: u32,
    operator: String,
    panic: String,
}

#[derive(Serialize)]
struct ShownDigest {
    uid: String,
    count: u64,
    /// In hexadecimal digits.
    sum: String,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let survey = survey(store.path())?;
    let mut findings: Vec<Finding> =
        survey.damage.iter().map(|damage| Finding::of_damage(store.path(), damage)).collect();
    let mut fold = Fold::default();
    let mut failures: BTreeMap<BatchId, Vec<FailedAttempt>> = BTreeMap::new();
    for segment in &survey.segments {
        read_segment(&survey, segment, None, |seen| {
            console.check()?;
            match seen {
                Seen::Frame(at, header, head, _) => {
                    fold.take(at, header.kind, head);
                    if let Some((batch, failed)) = FailedAttempt::of(header, head) {
                        failures.entry(batch).or_default().push(failed);
                    }
                }
                Seen::Damage(damage) => findings.push(Finding::of_damage(store.path(), &damage)),
            }
            Ok::<(), Stop>(())
        })?;
    }
    findings.extend(fold.refusal.as_ref().map(|refusal| Finding::of_refusal(store.path(), refusal)));
    let (batches, blocks) = (&fold.batches, &fold.blocks);
    let range = args.range.unwrap_or(NumberRange::ALL);
    let (first, last) = (batches.keys().next().map(|id| id.0), batches.keys().next_back().map(|id| id.0));
    let chosen = batches.values().filter(|batch| range.contains(batch.plan.batch.0));
    let shown: Vec<ShownBatch> =
        chosen.map(|batch| ShownBatch::of(batch, blocks, failures.get(&batch.plan.batch))).collect();
    if shown.is_empty() && range != NumberRange::ALL {
        let there = match (first, last) {
            (Some(first), Some(last)) => format!("the log holds the batches {first} to {last}"),
            _ => "the log holds no batch".to_string(),
        };
        return Err(Failure::usage(format!("no batch in {range}: {there}")));
    }
    let exit_code = findings.iter().map(|finding| finding.code.exit()).fold(Exit::Healthy, Exit::or_worse);
    let in_full = shown.len() == 1;
    let store = store.name();
    console.show(&BatchesReport { store, exit_code, first, last, batches: shown, findings, in_full })?;
    Ok(exit_code)
}

impl FailedAttempt {
    fn of(header: &floodmark_store::wal::FrameHeader, head: &[u8]) -> Option<(BatchId, Self)> {
        use floodmark_store::batch::event::BatchEvent;
        if header.kind != floodmark_store::wal::FrameKind::Event {
            return None;
        }
        match BatchEvent::decode(header.version, head) {
            Ok(BatchEvent::AttemptFailed { batch, attempt, operator, panic }) => {
                Some((batch, Self { attempt, operator, panic }))
            }
            _ => None,
        }
    }
}

impl ShownBatch {
    fn of(batch: &BatchFacts, blocks: &BlockMap, failed: Option<&Vec<FailedAttempt>>) -> Self {
        let commit = batch.commit.as_ref();
        let committed = |uid: &Uid| commit.and_then(|commit| commit.records.iter().find(|(known, _)| known == uid));
        let sources: Vec<ShownSource> = batch
            .plan
            .inputs
            .iter()
            .map(|input| {
                let is_range = |task: &&PlannedTask| matches!(task, PlannedTask::Range(_));
                let ranges = input.tasks.iter().filter(is_range).count();
                let of_blocks = || input.tasks.iter().flat_map(PlannedTask::blocks);
                let records = || of_blocks().filter_map(|sequence| blocks.get(sequence)).map(|block| block.records);
                let received = (ranges == 0).then(|| records().sum());
                ShownSource {
                    uid: input.source.to_string(),
                    blocks: of_blocks().count(),
                    ranges,
                    records: committed(&input.source).map(|(_, records)| *records).or(received),
                }
            })
            .collect();
        let digest = |(uid, digest): &(Uid, Digest)| ShownDigest {
            uid: uid.to_string(),
            count: digest.count,
            sum: format!("{:016x}", digest.sum),
        };
        Self {
            batch: batch.plan.batch.0,
            time_ms: batch.plan.time.0,
            merged_ticks: batch.plan.merged_ticks,
            planned_at: batch.planned_at.0,
            blocks: sources.iter().map(|source| source.blocks).sum(),
            ranges: sources.iter().map(|source| source.ranges).sum(),
            sources,
            committed: commit.is_some(),
            published: batch.published,
            attempts: batch.attempts_started,
            failed_attempts: failed.cloned().unwrap_or_default(),
            dead_letters: batch.letters.len(),
            digests: commit.iter().flat_map(|commit| &commit.digests).map(digest).collect(),
            processing_ms: commit.map(|commit| commit.processing_ms),
            job_version: commit.map(|commit| commit.job_version.clone()),
        }
    }

    fn state(&self) -> &'static str {
        match (self.committed, self.published) {
            (_, true) => "published",
            (true, false) => "committed",
            (false, false) => "planned",
        }
    }

    fn records(&self) -> Option<u64> {
        self.sources.iter().map(|source| source.records).sum()
    }

    fn row(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
        vec![
            count(self.batch),
            time(self.time_ms),
            self.state().to_string(),
            or_dash(self.records().map(count)),
            count(self.blocks as u64),
            count(self.ranges as u64),
            self.attempts.to_string(),
            self.failed_attempts.len().to_string(),
            count(self.dead_letters as u64),
            or_dash(self.processing_ms.map(duration_ms)),
        ]
    }

    fn write_in_full(&self, page: &mut Page) {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
        page.fields([
            ("batch", count(self.batch)),
            ("time", time(self.time_ms)),
            ("state", self.state().to_string()),
            ("planned at", format!("frame {}", count(self.planned_at))),
            ("merged ticks", count(self.merged_ticks)),
            ("attempts", format!("{}, {} failed", self.attempts, self.failed_attempts.len())),
            ("dead letters", count(self.dead_letters as u64)),
            ("took", or_dash(self.processing_ms.map(duration_ms))),
            ("job version", or_dash(self.job_version.clone())),
        ]);
        for failed in &self.failed_attempts {
            let FailedAttempt { attempt, operator, panic } = failed;
            page.fields([("failed", format!("attempt {attempt} in \"{operator}\": {panic}"))]);
        }
        page.gap();
        let row = |source: &ShownSource| {
            let records = or_dash(source.records.map(count));
            vec![source.uid.clone(), count(source.blocks as u64), count(source.ranges as u64), records]
        };
        page.table(&["source", "blocks", "ranges", "records"], &self.sources.iter().map(row).collect::<Vec<_>>());
        if !self.digests.is_empty() {
            page.gap();
            let row = |digest: &ShownDigest| vec![digest.uid.clone(), count(digest.count), digest.sum.clone()];
            page.table(&["digest of", "entries", "sum"], &self.digests.iter().map(row).collect::<Vec<_>>());
        }
    }
}

impl Report for BatchesReport {
    const SCHEMA: &'static str = "floodmark.batches/1";

    fn write(&self, page: &mut Page) {
        match &self.batches[..] {
            [] => page.line("The log holds no batch."),
            [batch] if self.in_full => batch.write_in_full(page),
            batches => {
                let headers =
                    ["batch", "time", "state", "records", "blocks", "ranges", "tried", "failed", "dead", "took"];
                page.table(&headers, &batches.iter().map(ShownBatch::row).collect::<Vec<_>>());
                for batch in batches {
                    for FailedAttempt { attempt, operator, panic } in &batch.failed_attempts {
                        let text =
                            format!("batch {}, attempt {attempt} failed in \"{operator}\": {panic}", batch.batch);
                        page.line(&text);
                    }
                }
            }
        }
        if !self.findings.is_empty() {
            page.gap();
            write_findings(page, &self.findings);
        }
    }
}
