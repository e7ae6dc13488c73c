//! `floodmark rollback`: makes an older checkpoint the newest, as a new lineage.
//!
//! # What a crash leaves
//! | step | a crash before or in it leaves |
//! |---|---|
//! | copies of the manifests, the line `begins` | the store as it was |
//! | the checkpoint that is left is pinned | the same, and the pin or a leftover of it |
//! | a pinned target is brought back | the same, and a checkpoint that no manifest names |
//! | the rollback manifest (`manifest.create`) | the same, or the rollback: `src/store/recovery/rollback.rs` goes on from there |
//! | (object storage) the log is taken over | the rollback; a driver of before ends at its next manifest, at the latest |
//! | the line `done` | the rollback |

use std::collections::BTreeSet;

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::{Store, quoted};
use crate::operation::pins::{Pin, bring_back, pins};
use crate::operation::{BackupArgs, Operation, WriteArgs, refuse_the_owned, warn_of_fencing};
use crate::page::{Mood, Page, count, counted, time};
use crate::view;
use floodmark_base::disk::LocalDisk;
use floodmark_base::id::BatchId;
use floodmark_store::checkpoint::{MANIFESTS, Manifest, Standing};
use floodmark_store::recovery::decide::{Decision, decide_without_program};
use floodmark_store::recovery::facts::{Facts, LogFacts, observe_behind};
use floodmark_store::recovery::rollback;

/// (writes) Makes an older checkpoint the newest.
///
/// The batches after it are computed and published again. Writes only with --apply. The next start restores the state after the
/// batch and computes the batches since again, from the plans in the log, with whatever code it has: no result is compared with
/// earlier ones, and outputs get the batches as those of a new lineage. Nothing that was received is lost. The checkpoint that is
/// left is pinned.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// The batch to go back to; there must be a checkpoint or a pin of it.
    #[arg(long, value_name = "BATCH")]
    to: u64,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    backup: BackupArgs,
}

#[derive(Serialize)]
struct RollbackReport {
    store: String,
    applied: bool,
    job: String,
    to: u64,
    to_time_ms: u64,
    directory: Option<String>,
    from_pin: bool,
    /// The checkpoint that is left, and pinned.
    leaves: Option<u64>,
    /// Batches that are computed and published again.
    again: Vec<u64>,
    /// Of those, the ones that outputs have got already.
    published_before: Vec<u64>,
    /// The outputs that get them, by their uids, as far as commits name them.
    outputs: BTreeSet<String>,
    /// Logged blocks that wait for the batch after those.
    waiting_blocks: usize,
    next: String,
}

/// What a rollback would do, and with what.
struct Plan {
    target: Manifest,
    pin: Option<Pin>,
    left: Option<Manifest>,
    facts: Facts,
    report: RollbackReport,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    refuse_the_owned(&store)?;
    let mut plan = plan(console, &store, BatchId(args.to))?;
    let job = plan.report.job.clone();
    warn_of_fencing(&store, console);
    if args.write.apply {
        let question = format!(
            "Take the job \"{job}\" back to batch {}, and publish {} again?",
            args.to,
            counted(plan.report.again.len() as u64, "batch")
        );
        let backup = Some(&args.backup);
        let operation = Operation::begin(console, &store, &job, "rollback", &args.write, backup, &question)?;
        // Now that no driver can start: one may have run since.
        plan = self::plan(console, &store, BatchId(args.to))?;
        apply(operation, &store, &mut plan)?;
    }
    console.show(&plan.report)?;
    Ok(Exit::Healthy)
}

fn apply(mut operation: Operation<'_>, store: &Store, plan: &mut Plan) -> Result<()> {
    operation.back_up(MANIFESTS)?;
    let what = format!("the job goes back to batch {}", plan.report.to);
    operation.begins(&what)?;
    if let Some(left) = &plan.left {
        operation.pin(left)?;
    }
    match (operation.remote(), &plan.pin) {
        (Some(remote), Some(pin)) => remote.bring_back(&pin.directory)?,
        (None, Some(pin)) => bring_back(operation.disk(), store.path(), pin)?,
        (_, None) => {}
    }
    let opened = plan.facts.log.as_ref().and_then(|log| log.opened);
    rollback::roll_back(operation.disk(), store.path(), plan.facts.chain.clone(), &plan.target, opened)?;
    // What a driver of before has put until then the next start computes again, as all else of the lineage that was left.
    if operation.remote().is_some()
        && let Some(newest) = view::chain(store.path())?.newest()
    {
        operation.take_log(newest.epoch, newest.nonce)?;
    }
    operation.done(&what)?;
    plan.report.applied = true;
    plan.report.next = format!("floodmark plan {}", store.shown());
    Ok(())
}

fn plan(console: &Console<'_>, store: &Store, to: BatchId) -> Result<Plan> {
    let verify = format!("floodmark verify {}", store.shown());
    let facts = view::facts(store.path()).map_err(|refusal| Failure::from(refusal).try_next(verify.clone()))?;
    let (pins, _) = pins(&*console.disk(), store.path())?;
    let (target, pin) = match rollback::target(&facts.chain, to) {
        Some(target) => (target.clone(), None),
        None => match pins.into_iter().rev().find(|pin| pin.batch() == to) {
            Some(pin) => (pin.manifest.clone(), Some(pin)),
            None => return Err(no_such_checkpoint(console, store, &facts, to)?),
        },
    };
    refuse_what_the_log_does_not_reach(store, &facts, &target)?;
    if let Some(damage) = damage_of(store, &target, pin.as_ref()) {
        let message = format!("the checkpoint of batch {to} is damaged: {damage}");
        return Err(Failure::new(Exit::Degraded, message).try_next(verify));
    }
    let opened = facts.log.as_ref().and_then(|log| log.opened);
    let chain = facts.chain.with(rollback::draft(&facts.chain, &target, opened));
    let mut then = observe_behind(&LocalDisk, store.path(), chain)?;
    // It was read as a whole, wherever it lies now.
    then.candidates.iter_mut().filter(|it| it.checkpoint == target.checkpoint).for_each(|it| it.damage = None);
    let decision = decide_without_program(&then, &[]).map_err(|refusal| Failure::from(refusal).try_next(verify))?;
    let left = facts.chain.checkpoints().into_iter().find(|known| known.standing == Standing::Usable);
    let left = left.filter(|left| Some(left.files) != target.checkpoint.as_ref()).map(|left| left.manifest.clone());
    let report = report(store, &facts, &target, pin.is_some(), left.as_ref(), &decision);
    Ok(Plan { target, pin, left, facts, report })
}

fn report(
    store: &Store,
    facts: &Facts,
    target: &Manifest,
    from_pin: bool,
    left: Option<&Manifest>,
    decision: &Decision,
) -> RollbackReport {
    let again: Vec<u64> = decision.replay.iter().map(|batch| batch.plan.batch.0).collect();
    let before = facts.log.iter().flat_map(|log| &log.batches).filter(|(id, _)| again.contains(&id.0));
    let stateful = |name: &str| target.point.operators.iter().any(|operator| operator.uid.as_str() == name);
    let (mut published_before, mut outputs) = (Vec::new(), BTreeSet::new());
    for (id, batch) in before {
        if batch.published {
            published_before.push(id.0);
        }
        let names = batch.commit.iter().flat_map(|commit| &commit.digests).map(|(uid, _)| uid.to_string());
        outputs.extend(names.filter(|name| !stateful(name)));
    }
    let job = target.point.job_name.clone();
    RollbackReport {
        store: store.name(),
        applied: false,
        to: target.point.batch.0,
        to_time_ms: target.point.last_batch_time.0,
        directory: target.checkpoint.as_ref().map(|files| files.directory.clone()),
        from_pin,
        leaves: left.map(|left| left.point.batch.0),
        again,
        published_before,
        outputs,
        waiting_blocks: decision.unplanned.len(),
        next: format!(
            "floodmark rollback {} --to {} --apply --backup DIR --confirm {}",
            store.shown(),
            target.point.batch,
            quoted(&job)
        ),
        job,
    }
}

/// What the batches after a target need of the log must be there.
fn refuse_what_the_log_does_not_reach(store: &Store, facts: &Facts, target: &Manifest) -> Result<()> {
    let why = match &facts.log {
        None => "the log is gone".to_string(),
        Some(LogFacts { scan, .. }) if scan.log_id != target.point.log.log => "its log was lost since".to_string(),
        Some(LogFacts { scan, .. }) if scan.segments[0].first_sequence > target.point.log.oldest_needed => {
            let (first, needed) = (scan.segments[0].first_sequence, target.point.log.oldest_needed);
            format!("the log begins with frame {first}, and it needs frame {needed}")
        }
        Some(LogFacts { scan, .. }) if scan.next_sequence < target.point.log.next => {
            format!("the log ends before frame {}, which it knows", target.point.log.next)
        }
        Some(_) => return Ok(()),
    };
    let message = format!(
        "batch {} cannot be gone back to: {why}. {}",
        target.point.batch,
        can_be_had(rollback::targets(&facts.chain).into_iter().map(|it| it.point.batch))
    );
    Err(Failure::new(Exit::DataLost, message).try_next(format!("floodmark log {}", store.shown())))
}

fn no_such_checkpoint(console: &Console<'_>, store: &Store, facts: &Facts, to: BatchId) -> Result<Failure> {
    let (pins, _) = pins(&*console.disk(), store.path())?;
    let known = rollback::targets(&facts.chain).into_iter().map(|manifest| manifest.point.batch);
    let message =
        format!("there is no checkpoint of batch {to}. {}", can_be_had(known.chain(pins.iter().map(Pin::batch))));
    Ok(Failure::usage(message).try_next(format!("floodmark log {}", store.shown())))
}

fn can_be_had(batches: impl Iterator<Item = BatchId>) -> String {
    let batches: BTreeSet<BatchId> = batches.collect();
    let batches: Vec<String> = batches.iter().map(BatchId::to_string).collect();
    format!("The job can go back to the state after batch {}", batches.join(", "))
}

fn damage_of(store: &Store, target: &Manifest, pin: Option<&Pin>) -> Option<String> {
    if let Some(pin) = pin {
        let brought = store.bring(&store.path().join(pin.below()));
        return brought.err().map(|failure| failure.to_string()).or_else(|| pin.damage(store.path()));
    }
    let files = target.checkpoint.as_ref()?;
    let directory = store.path().join(floodmark_store::recovery::facts::CHECKPOINTS).join(&files.directory);
    if let Err(failure) = store.bring(&directory) {
        return Some(failure.to_string());
    }
    floodmark_store::state::files::verify_files(&directory, &files.files, true).err().map(|error| error.to_string())
}

impl Report for RollbackReport {
    const SCHEMA: &'static str = "floodmark.rollback/1";

    fn write(&self, page: &mut Page) {
        let to = format!("batch {} of {}", count(self.to), time(self.to_time_ms));
        if self.applied {
            page.headline(Mood::Good, &format!("The job \"{}\" is back at {to}.", self.job));
        } else {
            page.headline(
                Mood::Attention,
                &format!("The job \"{}\" would go back to {to}; nothing was written.", self.job),
            );
        }
        let mut fields = Vec::new();
        fields.push((
            "state",
            match (&self.directory, self.from_pin) {
                (Some(directory), false) => format!("checkpoints/{directory}"),
                (Some(directory), true) => format!("pinned/{directory}"),
                (None, _) => "empty: before the first batch".to_string(),
            },
        ));
        if let Some(leaves) = self.leaves {
            let pinned = if self.applied { "is pinned" } else { "would be pinned" };
            fields.push(("leaves", format!("the checkpoint of batch {}, which {pinned}", count(leaves))));
        }
        fields.push(("again", range(&self.again)));
        fields.push((
            "published",
            match self.published_before.len() {
                0 => "none of them was published before".to_string(),
                _ => format!(
                    "outputs have {} already, and get them again as a new lineage",
                    range(&self.published_before)
                ),
            },
        ));
        if !self.outputs.is_empty() {
            fields.push(("outputs", self.outputs.iter().cloned().collect::<Vec<_>>().join(", ")));
        }
        if self.waiting_blocks > 0 {
            fields.push(("waiting", format!("{} logged blocks go into the next batch", self.waiting_blocks)));
        }
        fields.push(("lost", "nothing".to_string()));
        page.fields(fields);
        if !self.published_before.is_empty() {
            page.line(
                "Sinks to files refuse a batch whose name is taken by another lineage: move what they hold of these batches away \
                 before the job starts.",
            );
        }
        page.next(&self.next);
    }
}

/// `batches 4 to 7`.
fn range(batches: &[u64]) -> String {
    match batches {
        [] => "no batch".to_string(),
        [only] => format!("batch {}", count(*only)),
        [first, .., last] => format!("batches {} to {}", count(*first), count(*last)),
    }
}
