//! `floodmark plan`: what recovery would do, decided by the engine's own `observe` and `decide`; nothing is written.

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::page::{Mood, Page, bytes, count, counted, duration_ms};
use crate::verbs::status::owner_text;
use crate::view;
use floodmark_store::lock::Owner;
use floodmark_store::recovery::decide::{Decision, Rejected, decide_without_program};
use floodmark_store::recovery::facts::{BatchFacts, Facts};
use floodmark_store::recovery::look::decide_as_a_start;
use floodmark_store::wal::Tail;

/// How long a start takes to load a key, where nothing is known of the job: about 2 million keys a second.
const NANOSECONDS_A_KEY: u64 = 500;

/// What recovery would do, and whether anything is lost.
///
/// Checkpoint, batches to recompute, what is published again, what is cut, the fallback; writes nothing. It decides as a start of
/// the program that wrote the store would, and reads every byte that such a start would read; from a URL it fetches them, too. Types, versions and uids of another
/// build are compared by `compat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
}

#[derive(Serialize)]
struct PlanReport {
    store: String,
    exit_code: Exit,
    owner: Owner,
    /// The number of the life that would begin.
    epoch: u64,
    fresh: bool,
    checkpoint: Option<Source>,
    rejected: Vec<RejectedCheckpoint>,
    unneeded_damage: Vec<String>,
    replay: Vec<ReplayedBatch>,
    replay_records: u64,
    replay_bytes: u64,
    waiting_blocks: usize,
    waiting_records: u64,
    /// Batches that would be handed to the outputs again, or for the first time.
    publish: Vec<u64>,
    /// Of those, the ones that a rollback has taken back: outputs get them as a new lineage.
    taken_back: Vec<u64>,
    tail: Option<TailCut>,
    new_lineage: bool,
    /// Records that were acknowledged and cannot be read again.
    lost_records: u64,
    estimated_ms: u64,
    fallback: Option<Fallback>,
}

/// Where the state comes from; batch 0 is the empty or initial state.
#[derive(Serialize)]
struct Source {
    batch: u64,
    directory: Option<String>,
    keys: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct RejectedCheckpoint {
    manifest: u64,
    batch: u64,
    reason: String,
}

#[derive(Serialize)]
struct ReplayedBatch {
    batch: u64,
    time_ms: u64,
    committed: bool,
    published: bool,
    attempts: u32,
    failed_attempts: u32,
    dead_letters: usize,
    /// Of an earlier life; `None` where the batch was never committed.
    processing_ms: Option<u64>,
}

/// What of the log would be cut: it was never acknowledged.
#[derive(Serialize)]
struct TailCut {
    segment: u64,
    offset: u64,
    bytes: u64,
    reason: String,
}

/// What a start would do if the checkpoint turned out to be damaged after all.
#[derive(Serialize)]
struct Fallback {
    batch: u64,
    replay_batches: usize,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let shown = store.shown();
    let refused = |refusal| Failure::from(refusal).try_next(format!("floodmark verify {shown}"));
    store.bring_all()?;
    let facts = view::facts(store.path()).map_err(refused)?;
    let decision = decide_as_a_start(store.path(), &facts).map_err(refused)?;
    let report = PlanReport::of(&store, &facts, &decision);
    console.show(&report)?;
    Ok(report.exit_code)
}

impl PlanReport {
    fn of(store: &Store, facts: &Facts, decision: &Decision) -> Self {
        let degraded = !decision.rejected.is_empty() || !decision.unneeded_damage.is_empty();
        let from = decision.from.as_ref();
        let checkpoint = from.map(|from| Source {
            batch: from.point.batch.0,
            directory: from.checkpoint.as_ref().map(|files| files.directory.clone()),
            keys: from.point.keyed_entries(),
            bytes: from.checkpoint.iter().flat_map(|files| &files.files).map(|file| file.size).sum(),
        });
        let blocks = || decision.planned_blocks.iter();
        let unpublished = decision.replay.iter().filter(|batch| !batch.published);
        Self {
            store: store.name(),
            exit_code: if degraded { Exit::Degraded } else { Exit::Healthy },
            owner: store.owner(),
            epoch: decision.epoch.0,
            fresh: from.is_none(),
            estimated_ms: estimate(checkpoint.as_ref().map_or(0, |source| source.keys), &decision.replay),
            checkpoint,
            rejected: decision.rejected.iter().map(RejectedCheckpoint::of).collect(),
            unneeded_damage: decision.unneeded_damage.clone(),
            replay: decision.replay.iter().map(ReplayedBatch::of).collect(),
            replay_records: blocks().map(|block| block.records).sum(),
            replay_bytes: blocks().map(|block| block.bytes).sum(),
            waiting_blocks: decision.unplanned.len(),
            waiting_records: decision.unplanned.iter().map(|block| block.records).sum(),
            publish: unpublished.map(|batch| batch.plan.batch.0).collect(),
            taken_back: decision.planned_again.iter().map(|batch| batch.0).collect(),
            tail: decision.tail.as_ref().and_then(TailCut::of),
            new_lineage: decision.new_lineage,
            // A start that would lose anything of a batch is refused, and does not come to here.
            lost_records: decision.loss.unplanned.iter().map(|lost| lost.records).sum(),
            fallback: fallback(facts, decision),
        }
    }
}

/// Reading the state, and the times on record; a batch that was never committed takes as long as the others.
fn estimate(keys: u64, replay: &[BatchFacts]) -> u64 {
    let known: Vec<u64> = replay.iter().filter_map(|batch| Some(batch.commit.as_ref()?.processing_ms)).collect();
    let mean = known.iter().sum::<u64>().checked_div(known.len() as u64).unwrap_or_default();
    let unknown = (replay.len() - known.len()) as u64;
    keys * NANOSECONDS_A_KEY / 1_000_000 + known.iter().sum::<u64>() + unknown * mean
}

/// Decides again as if the chosen checkpoint were damaged.
fn fallback(facts: &Facts, decision: &Decision) -> Option<Fallback> {
    let mut unusable = decision.rejected.clone();
    unusable.push(Rejected::candidate(decision.chosen(facts)?, String::new()));
    let other = decide_without_program(facts, &unusable).ok()?;
    Some(Fallback { batch: other.from?.point.batch.0, replay_batches: other.replay.len() })
}

impl RejectedCheckpoint {
    fn of(rejected: &Rejected) -> Self {
        Self { manifest: rejected.sequence.0, batch: rejected.batch.0, reason: rejected.reason.clone() }
    }
}

impl ReplayedBatch {
    fn of(batch: &BatchFacts) -> Self {
        Self {
            batch: batch.plan.batch.0,
            time_ms: batch.plan.time.0,
            committed: batch.commit.is_some(),
            published: batch.published,
            attempts: batch.attempts_started,
            failed_attempts: batch.attempts_failed,
            dead_letters: batch.letters.len(),
            processing_ms: batch.commit.as_ref().map(|commit| commit.processing_ms),
        }
    }
}

impl TailCut {
    fn of(tail: &Tail) -> Option<Self> {
        match tail {
            Tail::Clean => None,
            Tail::Interrupted { segment, offset, bytes, reason, .. } => {
                Some(Self { segment: segment.0, offset: *offset, bytes: *bytes, reason: reason.to_string() })
            }
        }
    }
}

impl Report for PlanReport {
    const SCHEMA: &'static str = "floodmark.plan/1";

    fn write(&self, page: &mut Page) {
        match self.exit_code {
            Exit::Healthy => page.headline(Mood::Good, "a start recovers everything; nothing is lost"),
            _ => page.headline(
                Mood::Attention,
                "a start recovers everything, although something is damaged; nothing is lost",
            ),
        }
        if let Owner::Alive { .. } = self.owner {
            let owner = owner_text(&self.owner);
            page.line(&format!("the job is {owner}: this is what would happen if it were killed now"));
        }
        if let Owner::Elsewhere { epoch, who, .. } = &self.owner {
            page.line(&format!("epoch {epoch} is held by {who}: a start anywhere takes the job over from it"));
        }
        let mut fields = vec![("epoch", count(self.epoch)), ("state", self.state())];
        for rejected in &self.rejected {
            let RejectedCheckpoint { manifest, batch, reason } = rejected;
            fields.push(("rejected", format!("the checkpoint of batch {batch} (manifest {manifest}): {reason}")));
        }
        fields.extend(self.unneeded_damage.iter().map(|damage| ("damaged, not needed", damage.clone())));
        fields.push(("recompute", self.recompute()));
        fields.push(("publish", self.published()));
        if let Some(TailCut { segment, offset, bytes: cut, reason }) = &self.tail {
            let place = format!("segment {segment} at byte {}", count(*offset));
            fields.push((
                "cut",
                format!(
                    "{} of an interrupted append, never acknowledged as far as anything proves ({place}: {reason})",
                    bytes(*cut)
                ),
            ));
        }
        fields.push((
            "waiting",
            format!("{} ({})", counted(self.waiting_blocks as u64, "block"), counted(self.waiting_records, "record")),
        ));
        fields.push(("lost", "nothing".to_string()));
        fields.push(("takes", format!("about {}", duration_ms(self.estimated_ms))));
        fields.push(("fallback", self.fallback_text()));
        page.fields(fields);
    }
}

impl PlanReport {
    fn state(&self) -> String {
        match &self.checkpoint {
            None => "nothing is stored: a first start".to_string(),
            Some(Source { directory: None, .. }) => "empty, before the first checkpoint".to_string(),
            Some(Source { batch, keys, bytes: size, .. }) => {
                format!("the checkpoint of batch {}: {}, {}", count(*batch), counted(*keys, "key"), bytes(*size))
            }
        }
    }

    fn recompute(&self) -> String {
        let (Some(first), Some(last)) = (self.replay.first(), self.replay.last()) else { return "nothing".to_string() };
        let deaths = self.replay.iter().map(|batch| batch.attempts.saturating_sub(batch.failed_attempts));
        let deaths = deaths.max().unwrap_or_default();
        let batches = if first.batch == last.batch {
            format!("batch {}", first.batch)
        } else {
            format!("batches {} to {}", first.batch, last.batch)
        };
        let records = counted(self.replay_records, "logged record");
        let mut text = format!("{batches} ({records}, {})", bytes(self.replay_bytes));
        let failed: u32 = self.replay.iter().map(|batch| batch.failed_attempts).sum();
        if failed > 0 {
            text += &format!("; {failed} attempts at them have failed");
        }
        if deaths > 1 {
            text += &format!("; the process has died {deaths} times over one of them");
        }
        text
    }

    fn published(&self) -> String {
        let why = if self.taken_back.is_empty() {
            "whose publication is not on record"
        } else {
            "after a rollback, as a new lineage"
        };
        match (self.publish.first(), self.publish.last()) {
            (Some(first), Some(last)) if first == last => format!("batch {first}, {why}"),
            (Some(first), Some(last)) => format!("batches {first} to {last}, {why}"),
            _ => "nothing again".to_string(),
        }
    }

    fn fallback_text(&self) -> String {
        match &self.fallback {
            None => "none: no older checkpoint with its log".to_string(),
            Some(Fallback { batch: 0, replay_batches }) => {
                format!("the empty state and {}", counted(*replay_batches as u64, "batch"))
            }
            Some(Fallback { batch, replay_batches }) => {
                format!("the checkpoint of batch {batch} and {}", counted(*replay_batches as u64, "batch"))
            }
        }
    }
}
