//! `floodmark repair`: what can be done about a store that does not start, and doing it.

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::{Store, quoted};
use crate::operation::{BackupArgs, Moved, Operation, WriteArgs, refuse_in_bucket, refuse_the_owned};
use crate::page::{Mood, Page, count};
use crate::repair::{Diagnosis, Repair, apply, diagnose};
use floodmark_store::wal::Tail;

/// (writes) Mends a store that does not start.
///
/// Says what can be done, and does it with --apply. What a start mends by itself is left to it. Damaged bytes move to
/// `lost+found/` in the store, and a copy goes to the backup folder first. Exit code 3: it can be repaired without loss; 4: only
/// with loss, which --accept-loss permits, or not at all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// Go on without the frames that cannot be read.
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    backup: BackupArgs,
}

#[derive(Serialize)]
struct RepairReport {
    store: String,
    exit_code: Exit,
    applied: bool,
    /// `starts`, `mends itself`, `repairable`, `repairable with loss` or `hopeless`.
    verdict: &'static str,
    /// What is the matter, in the words of the start that is refused.
    why: Vec<String>,
    /// What is done about it, or what a start does.
    what: Vec<String>,
    /// The batch whose checkpoint the job goes on from.
    checkpoint: Option<u64>,
    /// The batches after it that are recomputed.
    recomputed: Vec<u64>,
    new_lineage: bool,
    lost: Lost,
    looked_at: Vec<String>,
    moved: Vec<Moved>,
    next: Option<String>,
}

#[derive(Default, Serialize)]
struct Lost {
    /// Frames that cannot be read: first and last of each run.
    frames: Vec<(u64, u64)>,
    /// Where the end of the log cannot be read: its first frame. How many frames it had nobody knows.
    unknown_from: Option<u64>,
    /// The segments that this end was in, as far as they have names.
    segments: Vec<u64>,
    /// Blocks that plans name and that are among them.
    blocks: Vec<u64>,
    /// Batches whose plans are given up; what is left of their blocks goes into new batches.
    batches: Vec<u64>,
}

impl Lost {
    /// The end of the log that cannot be read, in words.
    fn end_text(&self) -> String {
        let numbers: Vec<_> = self.segments.iter().map(|number| count(*number)).collect();
        let held = match numbers.as_slice() {
            [] => "what the log held".to_string(),
            [only] => format!("what segment {only} of the log held"),
            [..] => format!("what segments {} of the log held", numbers.join(", ")),
        };
        match self.unknown_from {
            Some(from) if from > 0 => format!("{held} from frame {} on; nobody knows how much", count(from)),
            _ => format!("{held}; nobody knows how much"),
        }
    }
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let reason = "repair moves and rewrites files, and objects never change: restore the object that verify names from the bucket's versions, or \
                  take the state of a whole checkpoint along by export, and import it to a new location";
    refuse_in_bucket(&store, reason, format!("floodmark verify {}", store.shown()))?;
    refuse_the_owned(&store)?;
    let diagnosis = diagnose(&*console.disk(), &store)?;
    let mut report = RepairReport::of(&store, &diagnosis, args);
    if let Diagnosis::Repairable(repair) = &diagnosis
        && args.write.apply
    {
        if repair.loses() && !args.accept_loss {
            console.show(&report)?;
            return Err(Failure::new(Exit::DataLost, "nothing was written: this repair loses data, see --accept-loss"));
        }
        let job = repair.from.point.job_name.clone();
        let question = format!("Repair the store of the job \"{job}\"?");
        let backup = Some(&args.backup);
        let operation = Operation::begin(console, &store, &job, "repair", &args.write, backup, &question)?;
        // Now that no driver can start: one may have run since.
        let diagnosis = diagnose(&*console.disk(), &store)?;
        report = RepairReport::of(&store, &diagnosis, args);
        match diagnosis {
            Diagnosis::Repairable(repair) if args.accept_loss || !repair.loses() => {
                report.moved = apply(console, operation, &store, *repair)?;
            }
            _ => return Err(Failure::new(Exit::Failed, "the store has changed since it was looked at: try again")),
        }
        (report.applied, report.exit_code) = (true, Exit::Healthy);
        report.next = Some(format!("floodmark plan {}", store.shown()));
    }
    console.show(&report)?;
    Ok(report.exit_code)
}

impl RepairReport {
    fn of(store: &Store, diagnosis: &Diagnosis, args: &Args) -> Self {
        let mut report = Self {
            store: store.name(),
            exit_code: Exit::Healthy,
            applied: false,
            verdict: "starts",
            why: Vec::new(),
            what: Vec::new(),
            checkpoint: None,
            recomputed: Vec::new(),
            new_lineage: false,
            lost: Lost::default(),
            looked_at: Vec::new(),
            moved: Vec::new(),
            next: None,
        };
        match diagnosis {
            Diagnosis::Starts(decision) => {
                report.checkpoint = decision.from.as_ref().map(|from| from.point.batch.0);
                report.recomputed = decision.replay.iter().map(|batch| batch.plan.batch.0).collect();
                let rejected = decision.rejected.iter().map(|rejected| rejected.reason.clone());
                report.why = rejected.chain(decision.unneeded_damage.iter().cloned()).collect();
                if !report.why.is_empty() {
                    (report.verdict, report.exit_code) = ("mends itself", Exit::Degraded);
                }
                // What every crash leaves is no damage.
                if let Some(Tail::Interrupted { segment, offset, bytes, reason, .. }) = &decision.tail {
                    report.why.push(format!(
                        "{bytes} bytes of an interrupted append are cut, never acknowledged as far as anything proves: segment \
                         {segment}, byte {offset}: {reason}"
                    ));
                }
                report.next = Some(format!("floodmark plan {}", store.shown()));
            }
            Diagnosis::Repairable(repair) => report.repairable(store, repair, args),
            Diagnosis::Hopeless { why, looked_at, pin } => {
                (report.verdict, report.exit_code) = ("hopeless", Exit::DataLost);
                (report.why, report.looked_at) = (why.clone(), looked_at.clone());
                report.next = Some(match pin {
                    Some(batch) => format!("floodmark rollback {} --to {batch}", store.shown()),
                    None => format!("floodmark verify {}", store.shown()),
                });
            }
        }
        report
    }

    fn repairable(&mut self, store: &Store, repair: &Repair, args: &Args) {
        let loses = repair.loses();
        (self.verdict, self.exit_code) = match loses {
            true => ("repairable with loss", Exit::DataLost),
            false => ("repairable", Exit::Degraded),
        };
        self.why.clone_from(&repair.why);
        self.checkpoint = Some(repair.from.point.batch.0);
        self.new_lineage = repair.begins_lineage();
        if let Some(log) = &repair.log {
            self.recomputed = log.kept.iter().map(|batch| batch.0).collect();
            self.lost = Lost {
                frames: log.lost.iter().map(|(first, last)| (first.0, last.0)).collect(),
                unknown_from: log.lost_end.as_ref().map(|end| end.from.0),
                segments: log.lost_end.iter().flat_map(|end| &end.segments).map(|number| number.0).collect(),
                blocks: log.lost_blocks.iter().map(|block| block.0).collect(),
                batches: log.given_up.iter().map(|batch| batch.0).collect(),
            };
            self.what.push(format!(
                "the log is written anew from {} frames that are whole and needed, with {} records; the old one moves to lost+found/",
                count(log.frames.len() as u64),
                count(log.records)
            ));
        }
        if repair.log.is_none() {
            self.what.push("a new manifest makes those before the hole superfluous".to_string());
        }
        if self.new_lineage {
            self.what.push(format!(
                "the job goes on from batch {} as a new lineage: outputs get the batches after it again",
                count(repair.from.point.batch.0)
            ));
        }
        let accept = if loses { " --accept-loss" } else { "" };
        let job = quoted(&repair.from.point.job_name);
        if !args.write.apply || (loses && !args.accept_loss) {
            self.next =
                Some(format!("floodmark repair {}{accept} --apply --backup DIR --confirm {job}", store.shown()));
        }
    }
}

impl Report for RepairReport {
    const SCHEMA: &'static str = "floodmark.repair/1";

    fn write(&self, page: &mut Page) {
        let (mood, headline) = match (self.verdict, self.applied) {
            (_, true) => (Mood::Good, "Repaired."),
            ("starts", _) => (Mood::Good, "Nothing is to be repaired: a start takes the store as it is."),
            ("mends itself", _) => {
                (Mood::Attention, "Nothing is to be repaired: a start makes up for the damage, without loss.")
            }
            ("repairable", _) => {
                (Mood::Attention, "A start is refused. It can be repaired without loss; nothing was written.")
            }
            ("repairable with loss", _) => {
                (Mood::Bad, "A start is refused. It can be repaired with loss; nothing was written.")
            }
            _ => {
                (Mood::Bad, "A start is refused, and nothing that is here repairs it: restore the store from a backup.")
            }
        };
        page.headline(mood, headline);
        self.why.iter().for_each(|why| page.line(&format!("- {why}")));
        let mut fields = Vec::new();
        if let Some(batch) = self.checkpoint {
            let after = match self.recomputed.as_slice() {
                [] => "no batch is recomputed".to_string(),
                [only] => format!("batch {} is recomputed", count(*only)),
                [first, .., last] => format!("batches {} to {} are recomputed", count(*first), count(*last)),
            };
            fields.push(("state", format!("after batch {}; {after}", count(batch))));
        }
        let runs = |runs: &[(u64, u64)]| -> Vec<String> {
            runs.iter()
                .map(
                    |(first, last)| {
                        if first == last { count(*first) } else { format!("{} to {}", count(*first), count(*last)) }
                    },
                )
                .collect()
        };
        if !self.lost.frames.is_empty() {
            fields.push(("lost frames", runs(&self.lost.frames).join(", ")));
            if !self.lost.blocks.is_empty() {
                let blocks: Vec<_> = self.lost.blocks.iter().map(|block| count(*block)).collect();
                fields
                    .push(("among them", format!("received blocks that planned batches read: {}", blocks.join(", "))));
            }
        }
        if self.lost.unknown_from.is_some() {
            fields.push(("lost", self.lost.end_text()));
        } else if self.lost.frames.is_empty() && self.checkpoint.is_some() {
            fields.push(("lost", "nothing".to_string()));
        }
        if !self.lost.batches.is_empty() {
            let batches: Vec<_> = self.lost.batches.iter().map(|batch| count(*batch)).collect();
            fields.push((
                "given up",
                format!("the plans of batches {}: what is left of their blocks goes into new ones", batches.join(", ")),
            ));
        }
        page.fields(fields);
        self.what.iter().for_each(|what| page.line(&format!("- {what}")));
        self.looked_at.iter().for_each(|what| page.line(&format!("- looked at {what}")));
        self.moved.iter().for_each(|moved| {
            page.verbatim(&format!("{}{} -> {}", if moved.copied { "copied " } else { "" }, moved.from, moved.to));
        });
        if let Some(next) = &self.next {
            page.next(next);
        }
    }
}
