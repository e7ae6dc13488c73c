//! `floodmark status`: one screen.

use std::path::Path;

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Result, exit_of};
use crate::finding::Code;
use crate::location::Store;
use crate::page::{Mood, Page, bytes, count, counted, duration_ms, time};
use crate::remote::RemoteStore;
use crate::sizes::Sizes;
use crate::view;
use floodmark_base::clock::{Clock, SystemClock};
use floodmark_store::lock::Owner;
use floodmark_store::recovery::decide::{Decision, Rejected, decide_without_program};
use floodmark_store::recovery::facts::Facts;
use floodmark_store::recovery::refusal::Refusal;

/// One screen: job, owner, batches, checkpoint, sizes.
///
/// It is quick, so it looks at names, sizes and heads only; `verify` reads everything.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
}

/// What `status` tells.
#[derive(Serialize)]
pub(super) struct StatusReport {
    store: String,
    exit_code: Exit,
    /// Why a start is refused, where it is.
    finding: Option<Code>,
    /// What the exit code means here.
    health: String,
    job: Option<JobStatus>,
    owner: Owner,
    batches: Option<Batches>,
    checkpoint: Option<CheckpointStatus>,
    recovery: Option<RecoveryStatus>,
    sizes: Sizes,
    /// The job is in object storage: segments are then objects of the log.
    in_bucket: bool,
    next: Option<String>,
}

#[derive(Serialize)]
struct JobStatus {
    name: String,
    version: String,
    /// The number of the newest life of the driver.
    epoch: u64,
    lineage: String,
    partitions: u32,
    operators: usize,
}

/// The newest batch of each kind; 0 where there is none.
#[derive(Serialize)]
struct Batches {
    planned: u64,
    committed: u64,
    published: u64,
    newest_time_ms: u64,
}

#[derive(Serialize)]
struct CheckpointStatus {
    batch: u64,
    directory: Option<String>,
    keys: u64,
    batch_time_ms: u64,
    age_ms: u64,
    /// How many checkpoints are retained.
    retained: usize,
}

/// What a start would have to do.
#[derive(Serialize)]
struct RecoveryStatus {
    batches: usize,
    records: u64,
    bytes: u64,
    waiting_blocks: usize,
    waiting_records: u64,
    rejected: Vec<String>,
    unneeded_damage: Vec<String>,
}

impl Report for StatusReport {
    const SCHEMA: &'static str = "floodmark.status/1";

    fn write(&self, page: &mut Page) {
        page.headline(Mood::of(self.exit_code), &self.health);
        let mut fields: Vec<(&str, String)> = vec![("store", self.store.clone())];
        if let Some(job) = &self.job {
            fields.push(("job", format!("{} (version {})", job.name, job.version)));
            fields.push(("driver", format!("{}, epoch {}", owner_text(&self.owner), job.epoch)));
            fields.push(("lineage", job.lineage.clone()));
        } else {
            fields.push(("driver", owner_text(&self.owner)));
        }
        if let Some(batches) = &self.batches {
            let Batches { planned, committed, published, newest_time_ms } = batches;
            let text = format!(
                "planned {}, committed {}, published {}",
                count(*planned),
                count(*committed),
                count(*published)
            );
            fields.push(("batches", text));
            if *newest_time_ms > 0 {
                fields.push(("newest", time(*newest_time_ms)));
            }
        }
        fields.push(("checkpoint", self.checkpoint.as_ref().map_or("none yet".to_string(), CheckpointStatus::text)));
        if let Some(recovery) = &self.recovery {
            fields.push(("a start would", recovery.text()));
            fields.extend(
                recovery.rejected.iter().chain(&recovery.unneeded_damage).map(|damage| ("damaged", damage.clone())),
            );
        }
        let (part, place) = if self.in_bucket { ("object", "in the bucket") } else { ("segment", "on disk") };
        fields.push(("log", format!("{} in {}", bytes(self.sizes.log), counted(self.sizes.segments, part))));
        fields.push(("checkpoints", bytes(self.sizes.checkpoints)));
        fields.push((place, bytes(self.sizes.total)));
        page.fields(fields);
        if let Some(next) = &self.next {
            page.next(next);
        }
        if let Some(code) = self.finding {
            page.verbatim(&format!("      floodmark explain {code}"));
        }
    }
}

impl CheckpointStatus {
    fn text(&self) -> String {
        format!(
            "of batch {}, {}, {} old ({} retained)",
            count(self.batch),
            counted(self.keys, "key"),
            duration_ms(self.age_ms),
            self.retained
        )
    }
}

impl RecoveryStatus {
    fn text(&self) -> String {
        let replay = match self.batches {
            0 => "recompute nothing".to_string(),
            batches => format!(
                "recompute {} ({}, {})",
                counted(batches as u64, "batch"),
                counted(self.records, "record"),
                bytes(self.bytes)
            ),
        };
        match self.waiting_blocks {
            0 => replay,
            blocks => format!(
                "{replay}; {} ({}) {} for a batch",
                counted(blocks as u64, "block"),
                counted(self.waiting_records, "record"),
                if blocks == 1 { "waits" } else { "wait" }
            ),
        }
    }
}

pub(super) fn owner_text(owner: &Owner) -> String {
    match owner {
        Owner::Alive { process } => format!("running as process {process}"),
        Owner::Nobody => "not running".to_string(),
        Owner::Unknown { last: Some(process) } => format!("process {process}, perhaps running"),
        Owner::Unknown { last: None } => "perhaps running".to_string(),
        Owner::Elsewhere { who, newest_object_age_ms, .. } => {
            format!("last {who}, whose newest object is {} old", duration_ms(*newest_object_age_ms))
        }
    }
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let report = look(&Store::open(&args.location, console)?)?;
    console.show(&report)?;
    Ok(report.exit_code)
}

/// Takes the status of a store.
pub(super) fn look(store: &Store) -> Result<StatusReport> {
    let owner = store.owner();
    let facts = view::glance(store.path());
    let sizes = match store.remote() {
        Some(remote) => Sizes::in_bucket(&remote.look()),
        None => Sizes::of(store.path())?,
    };
    let decision = match store.remote().and_then(RemoteStore::refusal) {
        Some(refusal) => Err(Told { code: refusal.code.unwrap_or(Code::Unreadable), words: refusal.message }),
        None => facts
            .as_ref()
            .map_err(Told::of)
            .and_then(|facts| decide_without_program(facts, &[]).map_err(|refusal| Told::of(&refusal))),
    };
    let (exit_code, finding, health) = judge(&decision, &owner);
    let shown = store.shown();
    let next = match exit_code {
        Exit::Healthy => None,
        Exit::Degraded => Some(format!("floodmark plan {shown}")),
        _ => Some(format!("floodmark verify {shown}")),
    };
    let mut report = StatusReport {
        store: store.name(),
        exit_code,
        finding,
        health,
        job: None,
        owner,
        batches: None,
        checkpoint: None,
        recovery: None,
        sizes,
        in_bucket: store.remote().is_some(),
        next,
    };
    match &facts {
        Ok(facts) => report.take(facts, decision.as_ref().ok()),
        Err(_) => report.take_chain(store.path()),
    }
    Ok(report)
}

/// A refusal in words, with what it means.
struct Told {
    code: Code,
    words: String,
}

impl Told {
    fn of(refusal: &Refusal) -> Self {
        Self { code: Code::of_refusal(refusal), words: refusal.to_string() }
    }
}

fn judge(decision: &Result<Decision, Told>, owner: &Owner) -> (Exit, Option<Code>, String) {
    match decision {
        Ok(decision) if decision.rejected.is_empty() && decision.unneeded_damage.is_empty() => {
            let health = if matches!(owner, Owner::Alive { .. }) { "healthy, running" } else { "healthy" };
            (Exit::Healthy, None, health.to_string())
        }
        Ok(_) => (Exit::Degraded, None, "degraded: something is damaged; a start recovers without loss".to_string()),
        Err(told) => {
            let exit = exit_of(told.code);
            let meaning = match exit {
                Exit::Incompatible => "incompatible",
                Exit::Failed => "cannot be read",
                _ => "damaged: a start is refused",
            };
            (exit, Some(told.code), format!("{meaning}: {}", told.words))
        }
    }
}

impl StatusReport {
    fn take(&mut self, facts: &Facts, decision: Option<&Decision>) {
        let Some(newest) = facts.chain.newest() else { return };
        let point = &newest.point;
        self.job = Some(JobStatus {
            name: point.job_name.clone(),
            version: point.job_version.clone(),
            epoch: newest.epoch.0,
            lineage: point.lineage.to_string(),
            partitions: point.keys.partitions,
            operators: point.operators.len(),
        });
        let from = decision.and_then(|decision| decision.from.as_ref()).map_or(point, |from| &from.point);
        let replay = decision.map(|decision| decision.replay.as_slice()).unwrap_or_default();
        let newest_that = |is: &dyn Fn(&floodmark_store::recovery::facts::BatchFacts) -> bool, floor: u64| {
            replay.iter().rev().find(|batch| is(batch)).map_or(floor, |batch| batch.plan.batch.0)
        };
        self.batches = Some(Batches {
            planned: newest_that(&|_| true, from.batch.0),
            committed: newest_that(&|batch| batch.commit.is_some(), from.batch.0),
            published: newest_that(&|batch| batch.published, from.published_through.0),
            newest_time_ms: replay.last().map_or(from.last_batch_time, |batch| batch.plan.time).0,
        });
        // Where a start is refused, what the newest manifest names.
        let checkpoint = match decision {
            Some(decision) => decision.from.as_ref().and_then(|from| from.checkpoint.as_ref()),
            None => newest.checkpoint.as_ref(),
        };
        if let Some(checkpoint) = checkpoint {
            self.checkpoint = Some(CheckpointStatus {
                batch: from.batch.0,
                directory: Some(checkpoint.directory.clone()),
                keys: from.keyed_entries(),
                batch_time_ms: from.last_batch_time.0,
                age_ms: SystemClock::default().epoch_ms().saturating_sub(from.last_batch_time.0),
                retained: facts.chain.checkpoints().len(),
            });
        }
        self.recovery = decision.map(|decision| RecoveryStatus {
            batches: decision.replay.len(),
            records: decision.planned_blocks.iter().map(|block| block.records).sum(),
            bytes: decision.planned_blocks.iter().map(|block| block.bytes).sum(),
            waiting_blocks: decision.unplanned.len(),
            waiting_records: decision.unplanned.iter().map(|block| block.records).sum(),
            rejected: decision.rejected.iter().map(Rejected::to_string).collect(),
            unneeded_damage: decision.unneeded_damage.clone(),
        });
    }

    /// What the manifests alone tell, where the log cannot be believed.
    fn take_chain(&mut self, store: &Path) {
        if let Ok(chain) = view::chain(store) {
            self.take(&Facts { chain, candidates: Vec::new(), log: None }, None);
            self.batches = None;
        }
    }
}
