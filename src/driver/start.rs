//! Starting is recovering: observe, decide, apply, resume.
//!
//! | apply, in this order | a crash after it leaves |
//! |---|---|
//! | the live directory is built | a directory that is built afresh each time |
//! | (fresh only) the log's first segment | a log with nothing in it, which the next start takes over |
//! | rejections, then the claim of the epoch | a chain that says the same with a larger epoch; the next start claims the next one |
//! | sinks are fenced | sinks that wait for this epoch or a larger one |
//! | the log goes on in a new segment | carried frames, durable; the next start finds them proven |
//! | initial state as a checkpoint | the same start again, or the checkpoint |
//!
//! Then the batches since the checkpoint are recomputed, and only after that receivers start.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use byteview::ByteView;

use crate::batch::event::{BatchEvent, PlannedTask};
use crate::batch::ticker::Ticker;
use crate::block::{BlockLog, BlockTracker, Intake};
use crate::checkpoint::{
    ChainError, Checkpointer, CheckpointerSettings, JobPoint, ManifestChain, ManifestDraft, ManifestKind, OperatorEntry,
};
use crate::clock::ClockWatch;
use crate::codec::decode;
use crate::dataflow::graph::{Deliver, Graph, NodeId};
use crate::dataflow::task::BlockReader;
use crate::disk::Step;
use crate::driver::checkpoints::{operator_entry, stored_operator};
use crate::driver::history::{History, PastBatch};
use crate::driver::inputs::{DirectInput, Inputs};
use crate::driver::lock::DirectoryLock;
use crate::driver::message::DriverMessage;
use crate::driver::settings::JobSettings;
use crate::driver::status::Shared;
use crate::driver::{CheckpointClock, Driver, Stopping, Tick};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BatchId, BatchTime, Epoch, Lineage, Position, Uid, WriterNonce};
use crate::recovery::decide::{Decision, Rejected, decide};
use crate::recovery::declared::{DROPPED, Declared};
use crate::recovery::facts::{BatchFacts, CHECKPOINTS, Facts, LIVE, WAL, observe};
use crate::recovery::refusal::Refusal;
use crate::recovery::report::RecoveryReport;
use crate::source::{PidRateEstimator, PidSettings, ReceiverSource, Supervisor};
use crate::state::{FrozenRun, OperatorNumber, StateStore};
use crate::wal::{FrameAt, FrameKind, NewFrame, Wal, WalError};

/// A declared job, ready to start.
pub(crate) struct Job {
    pub settings: JobSettings,
    pub graph: Arc<Graph>,
    pub receivers: Vec<ReceiverSource>,
    pub directs: Vec<DirectInput>,
    pub shared: Arc<Shared>,
    pub sender: Sender<DriverMessage>,
    pub inbox: Receiver<DriverMessage>,
    /// The outputs, where an earlier attempt at starting has taken them from the graph; empty at first.
    pub deliveries: Vec<(NodeId, Box<dyn Deliver>)>,
}

impl Job {
    /// Runs the job from recovery to its end, on the thread of the driver.
    pub fn run(self) -> Result<()> {
        let (location, disk) = (self.settings.location.clone(), self.settings.disk.clone());
        disk.create_dir_all(&location).map_err(|error| {
            Error::caused_by(
                ErrorKind::Environment,
                format!("the checkpoint location {} cannot be made", location.display()),
                error,
            )
        })?;
        let lock = DirectoryLock::take(&location)?;
        let (mut driver, receivers, report) = self.recover()?;
        if let Err(error) = driver.go_live(receivers) {
            driver.abandon();
            return Err(error);
        }
        driver.shared.recovered(report);
        let outcome = driver.run();
        drop(lock);
        outcome
    }

    /// Observes, decides, applies, and recomputes; goes back to an older checkpoint where the newest turns out to be damaged.
    fn recover(mut self) -> Result<(Driver, Vec<ReceiverSource>, RecoveryReport)> {
        let started_ms = self.settings.clock.monotonic_ms();
        let declared = self.declared();
        let mut unusable: Vec<Rejected> = Vec::new();
        let receivers = std::mem::take(&mut self.receivers);
        let mut job = self;
        loop {
            let facts = observe(&*job.settings.disk, &job.settings.location)?;
            let decision = decide(&facts, &declared, &unusable)?;
            let mut report = RecoveryReport::new(&decision);
            tracing::info!(epoch = %decision.epoch, "{report}");
            back_off(&decision);
            let chosen = decision.from.as_ref().map(|from| from.point.batch);
            let sequence = sequence_of(&facts, &decision);
            match job.apply(facts, decision) {
                Ok(mut driver) => {
                    if let Err(error) = driver.replay() {
                        driver.abandon();
                        return Err(error);
                    }
                    report.took(driver.settings.clock.monotonic_ms() - started_ms);
                    return Ok((driver, receivers, report));
                }
                // Damage that shows only when the files are opened and read: the next older checkpoint is tried.
                Err((Some(back), error)) if error.kind() == ErrorKind::Damaged && sequence.is_some() => {
                    let (sequence, directory) = sequence.expect("just asked");
                    tracing::error!(%error, "the checkpoint cannot be used");
                    let batch = chosen.unwrap_or_default();
                    unusable.push(Rejected { sequence, batch, directory, reason: error.to_string() });
                    job = *back;
                }
                Err((_, error)) => return Err(error),
            }
        }
    }

    fn declared(&self) -> Declared {
        Declared {
            name: self.settings.name.clone(),
            keys: self.settings.key_layout(),
            operators: self.graph.stateful().map(|(_, _, descriptor)| descriptor).collect(),
            sources: self.graph.sources().map(|(_, source)| source.uid().clone()).collect(),
            dropped: self.settings.dropped.clone(),
            goes_on_without_log: self.settings.goes_on_without_log,
        }
    }

    /// Applies a decision. When the chosen checkpoint cannot be opened, the job comes back with the error.
    fn apply(self, facts: Facts, decision: Decision) -> std::result::Result<Driver, (Option<Box<Job>>, Error)> {
        let store = match self.build_live(&decision) {
            Ok(store) => Arc::new(store),
            Err(error) => return Err((Some(Box::new(self)), error)),
        };
        let (mut driver, point) = self.resume(facts, &decision, store).map_err(|error| (None, error))?;
        match driver.begin(point, &decision) {
            Ok(()) => Ok(driver),
            Err(error) => Err((Some(Box::new(driver.abandon())), error)),
        }
    }

    /// Builds the live directory from the chosen checkpoint. It is never trusted after a crash.
    fn build_live(&self, decision: &Decision) -> Result<StateStore> {
        let live = self.settings.location.join(LIVE);
        self.settings.disk.pass(Step::LiveBuild).map_err(|error| environment("build the live directory", error))?;
        let checkpoint = decision.from.as_ref().and_then(|from| from.checkpoint.as_ref());
        match checkpoint {
            None => StateStore::create(&live).map_err(|error| environment("build the live directory", error)),
            Some(files) => {
                let directory = self.settings.location.join(CHECKPOINTS).join(&files.directory);
                StateStore::open_from(&directory, &live, &files.files).map_err(|error| {
                    let kind = if error.is_damage() { ErrorKind::Damaged } else { ErrorKind::Environment };
                    Error::caused_by(kind, format!("checkpoint {} cannot be opened", directory.display()), error)
                })
            }
        }
    }

    /// Takes the job over: claims the epoch, goes on with the log, puts every part where the decision says.
    fn resume(mut self, facts: Facts, decision: &Decision, store: Arc<StateStore>) -> Result<(Driver, JobPoint)> {
        let disk = self.settings.disk.clone();
        let (epoch, nonce) = (decision.epoch, WriterNonce::random());
        let scan = facts.log.as_ref().map(|log| &log.scan);
        let directory = self.settings.location.join(WAL);
        // On a first start the manifest names the log, so the log is there first; later the claim comes first (I-8).
        let fresh_log = scan.is_none();
        let create = |epoch| Wal::create(disk.clone(), &directory, epoch, self.settings.wal.clone());
        let mut wal = if fresh_log { Some(create(epoch).map_err(log_failed)?) } else { None };
        let log = wal.as_ref().map_or_else(|| scan.expect("there is a log").log_id, Wal::log_id);
        let stored = decision.from.as_ref().map(|from| from.point.operators.as_slice()).unwrap_or_default();
        let operators = self.number_operators(stored, decision);
        let mut point = match &decision.from {
            Some(from) => from.point.clone(),
            None => self.settings.first_point(Lineage::random(), log, &operators),
        };
        if decision.new_lineage {
            point.lineage = Lineage::random();
            point.log = self.settings.first_point(point.lineage, log, &[]).log;
        }
        let checkpoint = decision.from.as_ref().and_then(|from| from.checkpoint.clone());
        let mut chain = ManifestChain::new(&self.settings.location, facts.chain, self.settings.keep);
        for rejected in &decision.rejected {
            let kind = ManifestKind::Rejection {
                of: rejected.sequence,
                directory: rejected.directory.clone(),
                reason: rejected.reason.clone(),
            };
            let draft = ManifestDraft { epoch, nonce, kind, point: point.clone(), checkpoint: checkpoint.clone() };
            chain.publish(&*disk, draft).map_err(chain_failed)?;
        }
        let draft = ManifestDraft {
            epoch,
            nonce,
            kind: ManifestKind::Claim,
            point: point.clone(),
            checkpoint: checkpoint.clone(),
        };
        chain.publish(&*disk, draft).map_err(chain_failed)?;
        let next_batch = decision.replay.last().map_or(point.next_batch, |last| last.plan.batch.next());
        // Before the log goes on: a log that has lost its end is left as it is, to be restored.
        let deliveries = self.fence_outputs(epoch, point.lineage, BatchId(next_batch.0 - 1))?;
        if let Some(scan) = scan {
            let resumed = Wal::resume(disk.clone(), &directory, scan, epoch, self.settings.wal.clone());
            wal = Some(resumed.map_err(log_failed)?);
        }
        let wal = wal.expect("created or resumed");

        let inputs = self.restore_inputs(decision, &point.positions)?;
        let history = history_of(decision);
        let last_planned = decision.replay.last().map(|last| last.plan.time);
        let known_time = (point.batch > BatchId(0)).then_some(point.last_batch_time);
        let zero_time = match decision.replay.first() {
            Some(first) if point.batch == BatchId(0) => {
                BatchTime(first.plan.time.0.saturating_sub(self.settings.interval_ms))
            }
            _ => point.zero_time,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("receivers")
            .enable_all()
            .build()
            .map_err(|error| environment("start the receivers' runtime", error))?;
        let reader = wal.clone();
        // Last, since it holds the store in a thread of its own: what fails from here on must end it.
        let checkpointer = self.start_checkpointer(&store, chain, epoch, nonce, checkpoint.map(|files| files.files))?;
        let driver = Driver {
            estimator: PidRateEstimator::new(self.settings.interval_ms, PidSettings::default()),
            rate: None,
            watch: ClockWatch::new(&*self.settings.clock, self.settings.interval_ms.max(1_000)),
            settings: self.settings,
            graph: self.graph,
            shared: self.shared,
            inbox: self.inbox,
            sender: self.sender,
            wal,
            log,
            epoch,
            lineage: point.lineage,
            inputs,
            supervisor: None,
            runtime,
            store,
            stored: operators
                .iter()
                .filter(|entry| entry.kind != DROPPED)
                .map(|entry| (entry.uid.clone(), stored_operator(entry)))
                .collect(),
            retired: operators.iter().filter(|entry| entry.kind == DROPPED).cloned().collect(),
            checkpointer: Some(checkpointer),
            checkpoint: CheckpointClock { newest: point.batch, ..CheckpointClock::default() },
            blocks: BlockReader::new(move |at| reader.read(at).map(|(_, body)| body).map_err(log_failed)),
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
            zero_time,
            committed_through: point.batch,
            published_through: point.published_through,
            unlogged_publication: None,
            queries: VecDeque::new(),
            stopping: Stopping::No,
            stopped_hard: false,
        };
        Ok((driver, point))
    }

    /// The number of every operator, those of the program and those that were given up. A number is never used twice.
    fn number_operators(&self, stored: &[OperatorEntry], decision: &Decision) -> Vec<OperatorEntry> {
        let mut entries = stored.to_vec();
        for entry in &mut entries {
            if decision.changes.dropped.contains(&entry.uid) {
                entry.kind = DROPPED.to_string();
            }
        }
        let mut next = entries.iter().map(|entry| entry.number.0 + 1).max().unwrap_or(1);
        for (_, _, descriptor) in self.graph.stateful() {
            let known = entries.iter().any(|entry| entry.uid == descriptor.uid && entry.kind != DROPPED);
            if !known {
                entries.push(operator_entry(&descriptor, OperatorNumber(next), 0));
                next += 1;
            }
        }
        entries
    }

    fn start_checkpointer(
        &self,
        store: &Arc<StateStore>,
        chain: ManifestChain,
        epoch: Epoch,
        nonce: WriterNonce,
        parent_files: Option<Vec<crate::checkpoint::CheckpointFile>>,
    ) -> Result<Checkpointer> {
        let clock = self.settings.clock.clone();
        let settings = CheckpointerSettings {
            disk: self.settings.disk.clone(),
            store: store.clone(),
            chain,
            epoch,
            nonce,
            keep: self.settings.keep,
            parent_files: parent_files.unwrap_or_default(),
            monotonic: Box::new(move || Duration::from_millis(clock.monotonic_ms())),
        };
        let sender = self.sender.clone();
        let report = move |done| drop(sender.send(DriverMessage::Checkpoint(done)));
        Checkpointer::spawn(settings, report).map_err(|error| environment("start the checkpoint writer", error))
    }

    /// Puts the sources where the checkpoint and the log leave them.
    fn restore_inputs(&mut self, decision: &Decision, positions: &[(Uid, Vec<u8>)]) -> Result<Inputs> {
        let mut directs = std::mem::take(&mut self.directs);
        let mut of_receivers = Vec::new();
        for (uid, bytes) in positions {
            if directs.iter().all(|direct| direct.uid != *uid) {
                let position: Position = decode(bytes).map_err(|error| {
                    Error::new(
                        ErrorKind::Damaged,
                        format!("the stored position of source \"{uid}\" cannot be decoded: {error}"),
                    )
                })?;
                of_receivers.push((uid.clone(), position));
            }
        }
        for direct in &mut directs {
            let position = positions.iter().find(|(uid, _)| *uid == direct.uid).map(|(_, bytes)| bytes.as_slice());
            let refused = |error| {
                Error::caused_by(
                    ErrorKind::Incompatible,
                    format!("source \"{}\" cannot go on where it was", direct.uid),
                    error,
                )
            };
            direct.source.restore(position).map_err(refused)?;
            for input in decision.replay.iter().flat_map(|batch| &batch.plan.inputs) {
                if input.source == direct.uid {
                    for task in &input.tasks {
                        if let PlannedTask::Range(range) = task {
                            direct.source.advance(range).map_err(refused)?;
                        }
                    }
                }
            }
        }
        let tracker = BlockTracker::new(self.settings.receive, of_receivers);
        decision.planned_blocks.values().for_each(|block| tracker.accept_planned(block));
        decision.unplanned.iter().for_each(|block| tracker.accept(block.clone(), None));
        let nodes = self.graph.sources().map(|(node, source)| (source.uid().clone(), node)).collect();
        Ok(Inputs { nodes, directs, tracker: Arc::new(tracker) })
    }

    /// Tells every output who publishes from now on (I-8).
    /// None may hold a batch that the log does not know: `newest` is the last one planned.
    fn fence_outputs(
        &mut self,
        epoch: Epoch,
        lineage: Lineage,
        newest: BatchId,
    ) -> Result<Vec<(NodeId, Box<dyn Deliver>)>> {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        if deliveries.is_empty() {
            deliveries.extend(self.graph.outputs().map(|(node, output)| (node, output.delivery())));
        }
        for (node, delivery) in &mut deliveries {
            let name = &self.graph.node(*node).name;
            let held = delivery
                .fence(epoch, lineage)
                .map_err(|error| Error::caused_by(error.kind(), format!("\"{name}\" cannot be fenced"), error))?;
            if let Some(held) = held.filter(|held| *held > newest) {
                return Err(Refusal::BatchPublished { sink: name.to_string(), held, found: newest }.into());
            }
        }
        Ok(deliveries)
    }
}

impl Driver {
    /// The first steps of this life on the log, up to a dataflow with its state loaded.
    fn begin(&mut self, point: JobPoint, decision: &Decision) -> Result<()> {
        let (planned, planned_time) = (BatchId(self.next_batch.0 - 1), self.last_time.unwrap_or_default());
        self.shared.update(|status| {
            (status.planned, status.planned_time) = (planned, planned_time);
            (status.committed, status.published, status.checkpoint) =
                (point.batch, point.published_through, point.batch);
        });
        let mut events = vec![BatchEvent::Opened { epoch: self.epoch, lineage: point.lineage }];
        // Attempts are counted before they run: what was committed is recomputed, but not attempted.
        for past in self.history.uncommitted() {
            past.attempts += 1;
            events.push(BatchEvent::AttemptStarted { batch: past.plan.batch, attempt: past.attempts });
        }
        self.log_events(&events)?;
        self.take_initial_state(point, decision)?;
        self.start_engine()
    }

    /// Ends a life that did not come to receiving, and all its threads, so that the job can be started again at once, by this
    /// process or another.
    fn abandon(mut self) -> Job {
        if let Err(error) = self.end_threads() {
            tracing::error!(%error, "a start that failed ended in a second error");
        }
        // Nobody has a handle on the job yet, so nothing but words of the life that has ended can wait here.
        while self.inbox.try_recv().is_ok() {}
        self.wal.abandon();
        self.runtime.shutdown_background();
        Job {
            settings: self.settings,
            graph: self.graph,
            receivers: Vec::new(),
            directs: self.inputs.directs,
            shared: self.shared,
            sender: self.sender,
            inbox: self.inbox,
            deliveries: self.deliveries,
        }
    }

    /// The initial state of operators that have none stored becomes a checkpoint, before anything is computed on it.
    ///
    /// Unlike other checkpoints this one migrates nothing: what is stored in an older version still is.
    fn take_initial_state(&mut self, mut point: JobPoint, decision: &Decision) -> Result<()> {
        let base_is_empty = decision.from.as_ref().is_none_or(|from| from.checkpoint.is_none());
        let begins = |uid: &Uid| base_is_empty || decision.changes.started_empty.contains(uid);
        let stored = std::mem::replace(&mut point.operators, self.retired.clone());
        let mut kept = Vec::new();
        let mut runs: Vec<(OperatorNumber, FrozenRun)> = Vec::new();
        for (_, wide, descriptor) in self.graph.stateful() {
            let known = self.stored[&descriptor.uid];
            let entry = stored.iter().find(|entry| entry.number == known.number && !begins(&descriptor.uid));
            let entry = if let Some(entry) = entry {
                kept.push((descriptor.uid.clone(), known));
                entry.clone()
            } else {
                let run = wide.initial_state();
                let entries = run.as_ref().map_or(0, |run| run.len() as u64);
                runs.extend(run.map(|run| (known.number, run)));
                operator_entry(&descriptor, known.number, entries)
            };
            point.operators.push(entry);
        }
        if runs.is_empty() {
            return Ok(());
        }
        self.checkpoint.pending = Some(point.batch);
        let checkpointer = self.checkpointer.as_ref().expect("the checkpointer was started");
        checkpointer
            .request(crate::checkpoint::CheckpointRequest { runs, point })
            .map_err(|error| environment("take the initial state", error))?;
        self.settle_checkpoint()?;
        self.stored.extend(kept);
        Ok(())
    }

    /// Recomputes every batch since the checkpoint.
    fn replay(&mut self) -> Result<()> {
        self.tick.at_ms = self.settings.clock.monotonic_ms();
        loop {
            self.advance()?;
            if self.history.all_given() && self.in_flight.is_empty() {
                return Ok(());
            }
            let message = self.inbox.recv().expect("the driver holds a sender itself");
            self.handle(message)?;
        }
    }

    /// Receives and ticks from now on.
    fn go_live(&mut self, receivers: Vec<ReceiverSource>) -> Result<()> {
        let sender = self.sender.clone();
        let intake = Intake::new(Arc::new(WalBlocks(self.wal.clone())), self.inputs.tracker.clone(), move |error| {
            drop(sender.send(DriverMessage::ReceivingFailed(error)));
        });
        if !receivers.is_empty() {
            let runtime = self.runtime.handle();
            let supervisor = Arc::new(Supervisor::start(runtime, receivers, &intake, &self.settings.clock));
            self.shared.receiving(&supervisor);
            self.supervisor = Some(supervisor);
        }
        let sender = self.sender.clone();
        let tick = move || drop(sender.send(DriverMessage::Tick));
        self.ticker = Some(Ticker::start(self.settings.clock.clone(), self.settings.interval_ms, tick)?);
        if self.settings.signals {
            self.listen_to_signals()?;
        }
        Ok(())
    }

    /// SIGTERM, and the first SIGINT, stop gracefully; the second SIGINT stops hard.
    fn listen_to_signals(&self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let _runtime = self.runtime.enter();
        let listen = |kind| signal(kind).map_err(|error| environment("listen to signals", error));
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let sender = self.sender.clone();
        self.runtime.spawn(async move {
            let mut interrupted = false;
            loop {
                let graceful = tokio::select! {
                    _ = terminate.recv() => true,
                    _ = interrupt.recv() => !std::mem::replace(&mut interrupted, true),
                };
                tracing::info!(graceful, "stopping on a signal");
                if sender.send(DriverMessage::Stop { graceful }).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

/// The log as receivers need it.
struct WalBlocks(Wal);

impl BlockLog for WalBlocks {
    fn append_block(&self, head: Vec<u8>, body: ByteView, done: Box<dyn FnOnce(Result<FrameAt, Error>) + Send>) {
        let frame = NewFrame { kind: FrameKind::Block, head, body };
        self.0.append(vec![frame], Box::new(move |at| done(at.map(|at| at[0]).map_err(log_failed))));
    }
}

/// Deaths of the process in one batch before a start begins to wait.
const DEATHS_BEFORE_BACK_OFF: u32 = 3;

/// Waits, where the process has died again and again over one batch: a supervisor that restarts it at once gains nothing.
fn back_off(decision: &Decision) {
    let deaths = |batch: &BatchFacts| batch.attempts_started.saturating_sub(batch.attempts_failed);
    let uncommitted = decision.replay.iter().filter(|batch| batch.commit.is_none());
    let deaths = uncommitted.map(deaths).max().unwrap_or_default();
    if deaths > DEATHS_BEFORE_BACK_OFF {
        let wait = Duration::from_millis(50) * 2_u32.pow((deaths - DEATHS_BEFORE_BACK_OFF).min(6));
        tracing::warn!(deaths, ?wait, "the process has died over the same batch; waiting before it is tried again");
        std::thread::sleep(wait);
    }
}

/// The manifest and the directory of the checkpoint that was chosen, if one was.
fn sequence_of(facts: &Facts, decision: &Decision) -> Option<(crate::id::ManifestSequence, Option<String>)> {
    let directory = &decision.from.as_ref()?.checkpoint.as_ref()?.directory;
    let chosen = facts
        .candidates
        .iter()
        .find(|candidate| candidate.checkpoint.as_ref().is_some_and(|files| files.directory == *directory))?;
    Some((chosen.sequence, Some(directory.clone())))
}

fn history_of(decision: &Decision) -> History {
    let mut history = History::default();
    for batch in &decision.replay {
        let sequences = batch.plan.inputs.iter().flat_map(|input| &input.tasks).filter_map(|task| match task {
            PlannedTask::Block(sequence) => Some(*sequence),
            PlannedTask::Range(_) => None,
        });
        let blocks = sequences.map(|sequence| (sequence, decision.planned_blocks[&sequence].clone())).collect();
        history.push(PastBatch {
            plan: batch.plan.clone(),
            planned_at: batch.planned_at,
            blocks,
            letters: batch.letters.clone(),
            commit: batch.commit.clone(),
            published: batch.published,
            failed: 0,
            attempts: batch.attempts_started,
        });
    }
    history
}

fn environment(doing: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::caused_by(ErrorKind::Environment, format!("cannot {doing}"), error)
}

fn log_failed(error: WalError) -> Error {
    let kind = match &error {
        WalError::Damage(_) => ErrorKind::Damaged,
        WalError::Fenced { .. } => ErrorKind::Fenced,
        _ => ErrorKind::Environment,
    };
    Error::caused_by(kind, "the log failed; restart to recover", error)
}

fn chain_failed(error: ChainError) -> Error {
    let kind = match &error {
        ChainError::Fenced { .. } => ErrorKind::Fenced,
        _ => ErrorKind::Environment,
    };
    Error::caused_by(kind, "the epoch cannot be claimed", error)
}
