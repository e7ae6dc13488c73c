//! Taking a job over, as recovery has decided: the claim, the log, the sources, the sinks, and the driver on top of them.
//!
//! `start` tells in which order, and what a crash leaves after each step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::dataflow::graph::{Deliver, NodeId, Source};
use crate::dataflow::task::BlockReader;
use crate::driver::checkpoints::{operator_entry, stored_operator};
use crate::driver::fallback::{Fallback, LazyStart};
use crate::driver::history::{History, PastBatch};
use crate::driver::inputs::Inputs;
use crate::driver::memory::number_memories;
use crate::driver::message::DriverMessage;
use crate::driver::room::with_room;
use crate::driver::settings::JobSettings;
use crate::driver::start::{Job, chain_failed, environment};
use crate::driver::{CheckpointClock, Driver, Stopping, Tick};
use crate::source::{ErasedDirect, PidRateEstimator, PidSettings, SourceError};
use floodmark_base::clock::ClockWatch;
use floodmark_base::disk::Step;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, LogId, Uid, WriterNonce};
use floodmark_base::planted::PlantedBug;
use floodmark_base::user_code;
use floodmark_store::batch::event::PlannedTask;
use floodmark_store::batch::timing::Timing;
use floodmark_store::block::{BlockMap, BlockTracker};
use floodmark_store::checkpoint::{
    ChainError, ChainFacts, CheckpointFiles, Checkpointer, CheckpointerSettings, DROPPED, JobPoint, LogPoint,
    ManifestChain, ManifestDraft, ManifestKind, OperatorEntry, PublishedManifest, SOURCE_MEMORY, SourceEntry,
    SourcePosition,
};
use floodmark_store::recovery::decide::Decision;
use floodmark_store::recovery::descriptor::SourceDescriptor;
use floodmark_store::recovery::facts::{BatchFacts, Facts, WAL};
use floodmark_store::recovery::refusal::Refusal;
use floodmark_store::remote::Opened;
use floodmark_store::state::files::CheckpointFile;
use floodmark_store::state::{OperatorNumber, StateStore};
use floodmark_store::wal::Wal;

/// What taking over came to.
pub(super) enum Taken {
    Over(Box<Driver>, Box<JobPoint>),
    /// The life before has put more into the log than was observed, or was first at the claim; now it cannot go on any more.
    Behind(Box<Job>),
}

impl Job {
    /// Claims the epoch, goes on with the log, and puts every part where the decision says.
    pub(super) fn take_over(
        mut self,
        facts: Facts,
        decision: &Decision,
        store: Arc<StateStore>,
        fallback: Option<Fallback>,
    ) -> Result<Taken> {
        let disk = self.settings.disk.clone();
        let (epoch, nonce) = (decision.epoch, WriterNonce::random());
        // What the decision needs of the log it has: millions of blocks are not held twice.
        let Facts { chain, log, .. } = facts;
        let scan = log.map(|log| log.scan);
        let directory = self.settings.location.join(WAL);
        // On a first start the manifest names the log, so the log is there first; later the claim comes first (I-8).
        let fresh_log = scan.is_none();
        if fresh_log && self.open_remote_log(epoch, nonce)? == Opened::Behind {
            return Ok(Taken::Behind(Box::new(self)));
        }
        let create = |epoch| Wal::create(disk.clone(), &directory, epoch, self.settings.wal.clone());
        let mut wal = if fresh_log { Some(create(epoch).map_err(Error::from)?) } else { None };
        if !fresh_log && decision.from.is_none() {
            // The life that began this log may have ended before its name was durable, and the first manifest will name it.
            let synced = disk.sync_directory(Step::WalRoll, &directory);
            synced.map_err(|error| environment(&format!("sync {}", directory.display()), error))?;
        }
        let log = wal.as_ref().map_or_else(|| scan.as_ref().expect("there is a log").log_id, Wal::log_id);
        let stored = decision.from.as_ref().map(|from| from.point.operators.as_slice()).unwrap_or_default();
        let operators = self.number_operators(stored, decision);
        let point = self.standpoint(decision, log, &operators);
        let checkpoint = decision.from.as_ref().and_then(|from| from.checkpoint.clone());
        let (chain, claim) = match self.claim(chain, decision, &point, checkpoint.clone(), nonce) {
            Err(error) if self.may_claim_again(&error)? => {
                wal.into_iter().for_each(Wal::abandon);
                return Ok(Taken::Behind(Box::new(self)));
            }
            claimed => claimed.map_err(chain_failed)?,
        };
        let next_batch = decision.next_batch;
        if !fresh_log && self.open_remote_log(epoch, nonce)? == Opened::Behind {
            return Ok(Taken::Behind(Box::new(self)));
        }
        // Before the log goes on: a log that has lost its end is left as it is, to be restored.
        let deliveries = self.fence_outputs(epoch, point.lineage, BatchId(next_batch.0 - 1))?;
        if let Some(scan) = &scan {
            let resumed = Wal::resume(disk.clone(), &directory, scan, epoch, self.settings.wal.clone());
            wal = Some(resumed.map_err(Error::from)?);
        }
        let wal = wal.expect("created or resumed");
        self.truncate(&wal, &claim)?;

        let mut inputs = self.restore_inputs(decision, &point)?;
        let memories = number_memories(&operators, &mut inputs.directs);
        let last_planned = decision.replay.last().map(|last| last.plan.time);
        let known_time = (point.batch > BatchId(0)).then_some(point.last_batch_time);
        let zero_time = match decision.replay.first() {
            Some(first) if point.batch == BatchId(0) => {
                BatchTime(first.plan.time.0.saturating_sub(self.settings.interval_ms))
            }
            _ => point.zero_time,
        };
        let timing = Timing {
            time: known_time.unwrap_or(zero_time),
            previous: zero_time,
            zero: zero_time,
            interval_ms: self.settings.interval_ms,
        };
        let mut history = History::default();
        let replay = past_batches(decision.replay.iter(), &decision.planned_blocks, timing);
        replay.into_iter().for_each(|batch| history.push(batch));
        let runtime = receivers_runtime()?;
        // Calls the job's clock, which may be the user's, so it comes before there is a thread to end.
        let watch = ClockWatch::new(&*self.settings.clock, self.settings.interval_ms.max(1_000));
        let reader = wal.clone();
        // Last, since it holds the store in a thread of its own: what fails from here on must end it.
        let lazy = fallback.and_then(|fallback| LazyStart::new(&self.settings, decision, fallback, nonce));
        let parent = checkpoint.map(|files| files.files).unwrap_or_default();
        let checkpointer =
            start_checkpointer(&self.settings, &self.inbox.sender(), &store, chain, (epoch, nonce), parent)?;
        let driver = Driver {
            estimator: PidRateEstimator::new(self.settings.interval_ms, PidSettings::default()),
            rate: None,
            sample_skipped: false,
            watch,
            settings: self.settings,
            graph: self.graph,
            shared: self.shared,
            events: self.events,
            inbox: self.inbox,
            code_watch: self.watch,
            wal,
            log,
            epoch,
            lineage: point.lineage,
            lineage_began: point.generation,
            inputs,
            supervisor: None,
            runtime,
            store: Some(store),
            lazy: lazy.map(Box::new),
            stored: operators
                .iter()
                .filter(|entry| entry.kind != DROPPED && entry.kind != SOURCE_MEMORY)
                .map(|entry| (entry.uid.clone(), stored_operator(entry)))
                .collect(),
            retired: operators.iter().filter(|entry| entry.kind == DROPPED).cloned().collect(),
            memories,
            checkpointer: Some(checkpointer),
            checkpoint: CheckpointClock { newest: point.batch, ..CheckpointClock::default() },
            released_through: claim.oldest_batch(),
            blocks: BlockReader::new(move |places, visit| reader.read_bodies(places, visit)),
            engine: None,
            generation: 0,
            in_flight: VecDeque::new(),
            history,
            deliveries,
            ticker: None,
            tick: Tick::default(),
            planned_at_ms: None,
            next_batch,
            last_time: last_planned.or(known_time),
            planned_until: decision.planned_until,
            zero_time,
            published_through: point.published_through,
            unlogged_publication: None,
            questions: VecDeque::new(),
            stopping: Stopping::No,
            stopped_hard: false,
        };
        Ok(Taken::Over(Box::new(driver), Box::new(point)))
    }

    /// Takes the log over in object storage, where the job has it there.
    fn open_remote_log(&self, epoch: Epoch, nonce: WriterNonce) -> Result<Opened> {
        let Some(remote) = &self.settings.remote_disk else { return Ok(Opened::AsFetched) };
        remote
            .open_log(epoch, nonce)?
            .map_err(|overtaken| Error::caused_by(ErrorKind::Fenced, "the log cannot be taken over", overtaken))
    }

    /// Returns whether a failed claim is to be tried again, on what is stored by then. It is when an older driver was first, which
    /// has published something since this start looked and is fenced by the next claim; and when the log is ours, so that
    /// the driver that won the claim cannot continue.
    fn may_claim_again(&self, error: &ChainError) -> Result<bool> {
        match error {
            ChainError::Fenced { ours, theirs, .. } if theirs < ours => Ok(true),
            ChainError::Fenced { .. } => {
                self.settings.remote_disk.as_ref().map_or(Ok(false), |remote| Ok(remote.may_claim_again()?))
            }
            _ => Ok(false),
        }
    }

    /// Where the job stands before the replay.
    fn standpoint(&self, decision: &Decision, log: LogId, operators: &[OperatorEntry]) -> JobPoint {
        let mut point = match &decision.from {
            Some(from) => from.point.clone(),
            None => self.settings.first_point((Lineage::random(), decision.epoch), log, operators),
        };
        point.sources = self.source_entries(point.sources, decision);
        if decision.new_lineage {
            (point.lineage, point.generation) = (Lineage::random(), decision.epoch);
            point.log = LogPoint::beginning_of(log);
        }
        if decision.loss.begins_lineage() {
            (point.lineage, point.generation) = (Lineage::random(), decision.epoch);
            point.next_batch = decision.next_batch;
        }
        point
    }

    /// The sources of the program with their stored positions, then those that are not in it: what is given up is left out.
    fn source_entries(&self, stored: Vec<SourceEntry>, decision: &Decision) -> Vec<SourceEntry> {
        let mut stored: Vec<SourceEntry> = stored;
        stored.retain(|entry| !decision.sources.given_up.contains(&entry.uid));
        let entry = |(_, source): (NodeId, &Arc<dyn Source>)| {
            let place = stored.iter().position(|entry| entry.uid == *source.uid());
            let position = place.map_or(SourcePosition::None, |place| stored.remove(place).position);
            source.descriptor().entry(position)
        };
        let mut entries: Vec<SourceEntry> = self.graph.sources().map(entry).collect();
        stored.retain(|entry| decision.sources.absent.contains(&entry.uid));
        entries.extend(stored);
        entries
    }

    /// Rejects what is unusable, then claims the epoch: from here on every older driver is fenced (I-8). Returns the chain, and the
    /// claim as the newest manifest in it.
    fn claim(
        &self,
        facts: ChainFacts,
        decision: &Decision,
        point: &JobPoint,
        checkpoint: Option<CheckpointFiles>,
        nonce: WriterNonce,
    ) -> std::result::Result<(ManifestChain, PublishedManifest), ChainError> {
        let mut chain = ManifestChain::new(&self.settings.location, facts, self.settings.keep_rule());
        let rejections = decision.rejected.iter().map(|rejected| ManifestKind::Rejection {
            of: rejected.sequence,
            directory: rejected.directory.clone(),
            reason: rejected.reason.clone(),
        });
        let mut publish = |kind: ManifestKind| {
            let (point, checkpoint) = (point.clone(), checkpoint.clone());
            let draft = ManifestDraft { epoch: decision.epoch, nonce, kind, point, checkpoint };
            with_room(&self.settings, || chain.publish(&*self.settings.disk, draft.clone()))
        };
        for rejection in rejections {
            publish(rejection)?;
        }
        let claim = publish(ManifestKind::Claim)?;
        Ok((chain, claim))
    }

    /// Removes the segments of the log that no retained manifest needs, so that a job that ended on a full disk or log has room
    /// before its receivers start. The claim is durable, so this is the same step as after a checkpoint (I-5).
    fn truncate(&self, wal: &Wal, claim: &PublishedManifest) -> Result<()> {
        // A replay works on a fork, which goes as a whole.
        if self.settings.replay.is_some() {
            return Ok(());
        }
        let right = claim.truncation_right();
        let freed = wal.truncate_before(right).map_err(|error| environment("truncate the log", error))?;
        if freed > 0 {
            tracing::info!(freed, "removed segments of the log that no checkpoint needs");
        }
        Ok(())
    }

    /// The number of every operator, those of the program and those that were given up. A number is never used twice.
    fn number_operators(&self, stored: &[OperatorEntry], decision: &Decision) -> Vec<OperatorEntry> {
        let mut entries = stored.to_vec();
        for entry in &mut entries {
            let has_no_source = self.directs.iter().all(|input| input.uid != entry.uid);
            let is_dropped = self.settings.dropped.contains(&entry.uid) && has_no_source;
            // What a source remembers goes with its position.
            let is_given_up =
                entry.kind == SOURCE_MEMORY && (is_dropped || decision.sources.given_up.contains(&entry.uid));
            if decision.changes.dropped.contains(&entry.uid) || is_given_up {
                entry.kind = DROPPED.to_string();
            }
        }
        let mut next = entries.iter().map(|entry| entry.number.0 + 1).max().unwrap_or(1);
        for (_, _, descriptor) in self.graph.stateful() {
            let known = entries
                .iter()
                .any(|entry| entry.uid == descriptor.uid && entry.kind != DROPPED && entry.kind != SOURCE_MEMORY);
            if !known {
                entries.push(operator_entry(&descriptor, OperatorNumber(next), 0));
                next += 1;
            }
        }
        entries
    }

    /// Puts the sources where the checkpoint and the log leave them.
    fn restore_inputs(&mut self, decision: &Decision, point: &JobPoint) -> Result<Inputs> {
        let mut directs = std::mem::take(&mut self.directs);
        let nodes: Vec<(Uid, NodeId)> =
            self.graph.sources().map(|(node, source)| (source.uid().clone(), node)).collect();
        let descriptors: Vec<SourceDescriptor> =
            self.graph.sources().map(|(_, source)| source.descriptor().clone()).collect();
        let (known, absent): (Vec<_>, Vec<_>) =
            point.sources.iter().cloned().partition(|entry| nodes.iter().any(|(uid, _)| *uid == entry.uid));
        let mut of_receivers = Vec::new();
        for entry in &known {
            if directs.iter().all(|direct| direct.uid != entry.uid) {
                let position = entry.position.of_receiver().map_err(|error| cannot_go_on(&entry.uid, error))?;
                of_receivers.extend(position.map(|position| (entry.uid.clone(), position)));
            }
        }
        for direct in &mut directs {
            let _watched = user_code::enter(format_args!("source \"{}\"", direct.uid));
            let entry = known.iter().find(|entry| entry.uid == direct.uid);
            let position = entry.map_or(Ok(None), |entry| entry.position.of_direct());
            let position = position.map_err(|error| cannot_go_on(&direct.uid, error))?;
            let refused = |error: SourceError| match error.is_panic() {
                true => Error::caused_by(ErrorKind::UserCode, where_it_was(&direct.uid), error),
                false => cannot_go_on(&direct.uid, error),
            };
            direct.source.restore(position).map_err(refused)?;
            replay_direct(&direct.uid, &mut *direct.source, decision, point.batch).map_err(refused)?;
        }
        let types = descriptors.iter().filter_map(|source| Some((source.uid.clone(), source.records.hash()?)));
        let tracker = BlockTracker::new(self.settings.receive, of_receivers).with_record_types(types);
        decision.planned_blocks.iter().for_each(|block| tracker.accept_planned(block));
        if !self.settings.has_bug(PlantedBug::ForgetUnplanned) {
            decision.unplanned.iter().for_each(|block| tracker.accept(block.clone(), None));
        }
        Ok(Inputs { nodes, descriptors, directs, tracker: Arc::new(tracker), absent })
    }

    /// Tells every output who publishes from now on (I-8).
    /// None may hold a batch that the log does not know: `newest` is the last one planned.
    fn fence_outputs(
        &mut self,
        epoch: Epoch,
        lineage: Lineage,
        newest: BatchId,
    ) -> Result<Vec<(NodeId, Box<dyn Deliver>)>> {
        if self.settings.replay.is_some() {
            return Ok(Vec::new());
        }
        let epoch = self.settings.epoch_for_outputs(epoch);
        let mut deliveries = std::mem::take(&mut self.deliveries);
        if deliveries.is_empty() {
            deliveries.extend(self.graph.outputs().map(|(node, output)| (node, output.delivery())));
        }
        for (node, delivery) in &mut deliveries {
            let name = &self.graph.node(*node).name;
            let _watched = user_code::enter(format_args!("output \"{name}\""));
            let held = user_code::call(format_args!("\"{name}\", which was to be fenced,"), || {
                delivery.fence(epoch, lineage)
            })?
            .map_err(|error| Error::caused_by(error.kind(), format!("\"{name}\" cannot be fenced"), error))?;
            if let Some(held) = held.filter(|held| *held > newest) {
                return Err(Refusal::BatchPublished { sink: name.to_string(), held, found: newest }.into());
            }
        }
        Ok(deliveries)
    }
}

/// Takes a direct source from its stored position, after `batch`, to where the log leaves it: what it has decided, and the ranges
/// that were planned.
fn replay_direct(
    uid: &Uid,
    source: &mut dyn ErasedDirect,
    decision: &Decision,
    batch: BatchId,
) -> std::result::Result<(), SourceError> {
    let is_ours = |other: &Uid| other == uid;
    let decided = decision.decisions.iter().filter(|it| is_ours(&it.source) && it.batch > batch);
    let mut decided = decided.peekable();
    for past in &decision.replay {
        while let Some(next) = decided.next_if(|it| it.batch <= past.plan.batch) {
            source.decided(next.batch, &next.decision)?;
        }
        for input in past.plan.inputs.iter().filter(|input| is_ours(&input.source)) {
            for task in &input.tasks {
                if let PlannedTask::Range(range) = task {
                    source.advance(range)?;
                }
            }
        }
    }
    decided.try_for_each(|rest| source.decided(rest.batch, &rest.decision))
}

fn cannot_go_on(uid: &Uid, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::caused_by(ErrorKind::Incompatible, where_it_was(uid), error)
}

fn where_it_was(uid: &Uid) -> String {
    format!("source \"{uid}\" cannot go on where it was")
}

/// Where the library's own tasks for receivers run: they cut blocks in time and wait for a stop. No user code is called here, so one
/// thread is enough.
fn receivers_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("receivers")
        .enable_all()
        .build()
        .map_err(|error| environment("start the receivers' runtime", error))
}

/// Starts the thread that writes checkpoints, behind the one whose files these are.
pub(super) fn start_checkpointer(
    settings: &JobSettings,
    sender: &Sender<DriverMessage>,
    store: &Arc<StateStore>,
    chain: ManifestChain,
    (epoch, nonce): (Epoch, WriterNonce),
    parent_files: Vec<CheckpointFile>,
) -> Result<Checkpointer> {
    let clock = settings.clock.clone();
    let writer = CheckpointerSettings {
        disk: settings.disk.clone(),
        store: store.clone(),
        chain,
        epoch,
        nonce,
        parent_files,
        planted: settings.planted,
        monotonic: Box::new(move || Duration::from_millis(clock.monotonic_ms())),
    };
    let sender = sender.clone();
    let report = move |done| drop(sender.send(DriverMessage::Checkpoint(done)));
    Checkpointer::spawn(writer, report).map_err(|error| environment("start the checkpoint writer", error))
}

/// Batches to recompute, as the driver keeps them, behind one with this timing.
pub(super) fn past_batches<'b>(
    batches: impl Iterator<Item = &'b BatchFacts>,
    planned_blocks: &BlockMap,
    before: Timing,
) -> Vec<PastBatch> {
    let mut timing = before;
    let past = |batch: &BatchFacts| {
        timing = Timing { time: batch.plan.time, previous: timing.time, ..timing };
        let block = |sequence| planned_blocks[sequence].clone();
        PastBatch {
            plan: batch.plan.clone(),
            timing,
            planned_at: batch.planned_at,
            blocks: batch.plan.blocks().map(block).collect(),
            letters: batch.letters.clone(),
            commit: batch.commit.clone(),
            published: batch.published,
            ticked_ms: None,
            failed: 0,
            attempts: batch.attempts_started,
            is_unexplained: false,
        }
    };
    batches.map(past).collect()
}
