//! Starting is recovering: observe, decide, apply, resume.
//!
//! A job in object storage first fetches what its working copy lacks ([`RemoteDisk::fetch`]), and takes the log over there behind its claim;
//! if the life before has put more meanwhile, it observes anew. So it does where it has lost the claim to one whose log it has taken: of two that
//! begin a job in the same moment one goes on. So it does, too, where an older driver has published something between the fetch and the claim.
//!
//! | apply, in this order | a crash after it leaves |
//! |---|---|
//! | the live directory is built | a directory that is built afresh each time |
//! | (fresh only) the log's first segment | a log with nothing in it, which the next start takes over: it syncs the log's directory first, since the segment's name may not be durable yet |
//! | rejections, then the claim of the epoch | a chain that says the same with a larger epoch; the next start claims the next one |
//! | (object storage) the log is taken over | a claim; the life before may still put groups, which the next start finds |
//! | sinks are fenced | sinks that wait for this epoch or a larger one |
//! | the log goes on in a new segment | carried frames, durable; the next start finds them proven |
//! | segments that no retained manifest needs are removed | fewer of them; the next start or checkpoint goes on |
//! | initial state as a checkpoint | the same start again, or the checkpoint |
//!
//! Then the batches since the checkpoint are recomputed, and only after that receivers start.

use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::graph::{Deliver, Graph, NodeId};
use crate::driver::Driver;
use crate::driver::fallback::Fallback;
use crate::driver::guard::guarded;
use crate::driver::inbox::Inbox;
use crate::driver::inputs::DirectInput;
use crate::driver::room::with_room;
use crate::driver::settings::JobSettings;
use crate::driver::status::Shared;
use crate::driver::takeover::Taken;
use crate::driver::watch::Watch;
use crate::listener::Events;
use crate::listener::events::{Ending, WorkingCopyFetched};
use crate::source::ReceiverSource;
use floodmark_base::disk::Step;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::Epoch;
use floodmark_base::planted::PlantedBug;
use floodmark_store::checkpoint::{ChainError, CheckpointFiles};
use floodmark_store::lock::DirectoryLock;
use floodmark_store::recovery::decide::{Decision, Rejected, decide};
use floodmark_store::recovery::declared::Declared;
use floodmark_store::recovery::facts::{BatchFacts, CHECKPOINTS, Facts, LIVE, observe};
use floodmark_store::recovery::refusal::Refusal;
use floodmark_store::recovery::report::RecoveryReport;
use floodmark_store::remote::{FetchProgress, RemoteDisk};
use floodmark_store::state::StateStore;
use floodmark_store::state::files::verify_files;
use floodmark_store::wal::WalError;

/// A declared job, ready to start.
pub(crate) struct Job {
    pub settings: JobSettings,
    pub graph: Arc<Graph>,
    pub receivers: Vec<ReceiverSource>,
    pub directs: Vec<DirectInput>,
    pub shared: Arc<Shared>,
    pub events: Events,
    pub inbox: Inbox,
    pub watch: Watch,
    /// The outputs, where an earlier attempt at starting has taken them from the graph; empty at first.
    pub deliveries: Vec<(NodeId, Box<dyn Deliver>)>,
}

impl Job {
    /// Runs the job from recovery to its end, on the thread of the driver; says how it was stopped.
    pub fn run(self) -> Result<Ending> {
        let (watch, store) = (self.watch.clone(), self.settings.stop_signal());
        self.run_here().map_err(|error| {
            // A stop ends whatever the start waits for, with an error of that.
            let by_stop = match error.kind() {
                ErrorKind::Stopped => true,
                ErrorKind::Environment => store.has_cut_off(),
                _ => false,
            };
            match watch.unless_stopped_in_start() {
                Err(stopped) if by_stop => {
                    tracing::info!(%error, "stopped while the job started");
                    stopped
                }
                _ => error,
            }
        })
    }

    fn run_here(mut self) -> Result<Ending> {
        let (location, disk) = (self.settings.location.clone(), self.settings.disk.clone());
        disk.create_dir_all(Step::DirectoryCreate, &location).map_err(|error| {
            Error::caused_by(
                ErrorKind::Environment,
                format!("the checkpoint location {} cannot be made", location.display()),
                error,
            )
        })?;
        let lock = DirectoryLock::take(&location)?;
        if let Some(remote) = &self.settings.remote {
            let remote = Arc::new(remote.open(disk, &location)?);
            let (shared, events) = (Arc::downgrade(&self.shared), self.events.clone());
            remote.on_health(move |health| {
                if let Some(shared) = shared.upgrade() {
                    shared.update(|status| status.object_store = health.clone());
                }
                events.tell(|| health.clone());
            });
            self.settings.disk = remote.clone();
            self.settings.remote_disk = Some(remote);
        }
        let remote = self.settings.remote_disk.clone();
        let outcome = self.run_locked();
        if let Some(remote) = &remote {
            // The status holds on to the receivers, those to the log, and that to the store: nobody would ever be dropped.
            remote.end_health();
        }
        drop(lock);
        outcome.map_err(|error| fenced(remote.as_deref(), error))
    }

    fn run_locked(self) -> Result<Ending> {
        let (mut driver, receivers, report) = self.recover()?;
        let is_replay = driver.settings.replay.is_some();
        let live = driver.code_watch.go_live();
        if let Err(error) = live.and_then(|()| if is_replay { Ok(()) } else { guarded(|| driver.go_live(receivers)) }) {
            driver.abandon();
            return Err(error);
        }
        driver.shared.recovered(report);
        driver.run()
    }

    /// Observes, decides, applies, and recomputes; goes back to an older checkpoint where the newest turns out to be damaged.
    fn recover(mut self) -> Result<(Driver, Vec<ReceiverSource>, RecoveryReport)> {
        let started_ms = self.settings.clock.monotonic_ms();
        let declared = declared(&self.settings, &self.graph);
        let mut behind = 0;
        let mut unusable: Vec<Rejected> = Vec::new();
        let receivers = std::mem::take(&mut self.receivers);
        let mut job = self;
        loop {
            job.watch.unless_stopped_in_start()?;
            if let Some(remote) = &job.settings.remote_disk {
                let events = &job.events;
                let tell = |progress: FetchProgress| {
                    let FetchProgress { what, bytes, of } = progress;
                    tracing::info!(what, bytes, of, "fetching the working copy");
                    events.tell(|| WorkingCopyFetched { what, bytes, of_bytes: of });
                };
                remote.fetch(&*job.settings.clock, &tell)?;
            }
            let mut facts = match observe(&*job.settings.disk, &job.settings.location) {
                Err(refusal) if job.may_fetch_again(&refusal)? => continue,
                observed => observed?,
            };
            if let Some(remote) = &job.settings.remote_disk {
                remote.tell_damage(&mut facts);
            }
            if let Some(replay) = &job.settings.replay {
                facts = replay.limit(facts)?;
            }
            let mut decision = decide(&facts, &declared, &unusable)?;
            if job.settings.has_bug(PlantedBug::SameEpoch) {
                decision.epoch = Epoch(decision.epoch.0.max(2) - 1);
            }
            let mut report = RecoveryReport::new(&decision);
            tracing::info!(epoch = %decision.epoch, "{report}");
            if job.settings.replay.is_none() {
                back_off(&decision, &job.watch);
            }
            let chosen = decision.chosen(&facts).cloned();
            let fallback = Fallback::find(&job.settings, &job.graph, &facts, &decision, &declared);
            match job.apply(facts, decision, fallback) {
                Ok(Applied::Behind(back)) if behind < TIMES_BEHIND => {
                    tracing::info!("others have gone on until the log was taken over: observing anew");
                    behind += 1;
                    job = *back;
                }
                Ok(Applied::Behind(_)) => {
                    let message =
                        format!("others have taken the job over {behind} times while this start looked at it");
                    return Err(Error::new(ErrorKind::Fenced, message));
                }
                Ok(Applied::Begun(mut driver)) => {
                    if let Err(error) = guarded(|| driver.replay()) {
                        driver.abandon();
                        return Err(error);
                    }
                    report.took(driver.settings.clock.monotonic_ms() - started_ms);
                    return Ok((*driver, receivers, report));
                }
                // Damage that shows only when the files are opened and read: the next older checkpoint is tried.
                Err((Some(back), error)) if error.kind() == ErrorKind::Damaged && chosen.is_some() => {
                    tracing::error!(%error, "the checkpoint cannot be used");
                    unusable.extend(chosen.map(|chosen| Rejected::candidate(&chosen, error.to_string())));
                    job = *back;
                }
                Err((_, error)) => return Err(error),
            }
        }
    }

    /// Whether the log is to be fetched as a whole, since the working copy's is not what its note says.
    fn may_fetch_again(&self, refusal: &Refusal) -> Result<bool> {
        let Some(remote) = &self.settings.remote_disk else { return Ok(false) };
        let may = matches!(refusal, Refusal::Log(WalError::Damage(_))) && remote.distrust()?;
        if may {
            tracing::warn!(error = %refusal, "the working copy's log is damaged: fetching it again");
        }
        Ok(may)
    }

    /// Applies a decision. When the chosen checkpoint cannot be opened, the job comes back with the error.
    fn apply(
        self,
        facts: Facts,
        decision: Decision,
        fallback: Option<Fallback>,
    ) -> std::result::Result<Applied, (Option<Box<Job>>, Error)> {
        // Where there is something to go back to, every byte is checked in the background.
        let checkpoint = decision.from.as_ref().and_then(|from| from.checkpoint.as_ref());
        let store = match with_room(&self.settings, || open_store(&self.settings, checkpoint, fallback.is_none())) {
            Ok(store) => Arc::new(store),
            Err(error) => return Err((Some(Box::new(self)), error)),
        };
        let (mut driver, point) =
            match self.take_over(facts, &decision, store, fallback).map_err(|error| (None, error))? {
                Taken::Over(driver, point) => (*driver, *point),
                Taken::Behind(job) => return Ok(Applied::Behind(job)),
            };
        match guarded(|| driver.begin(point, &decision)) {
            Ok(()) => Ok(Applied::Begun(Box::new(driver))),
            Err(error) => Err((Some(Box::new(driver.abandon())), error)),
        }
    }
}

/// Builds the live directory from a checkpoint. It is never trusted after a crash. With `full` every byte is checked first: RocksDB's
/// own checks are not relied on where all of it is read anyway.
pub(super) fn open_store(
    settings: &JobSettings,
    checkpoint: Option<&CheckpointFiles>,
    full: bool,
) -> Result<StateStore> {
    let live = settings.location.join(LIVE);
    settings.disk.pass(Step::LiveBuild).map_err(|error| environment("build the live directory", error))?;
    let Some(files) = checkpoint else {
        return StateStore::create(&live).map_err(|error| environment("build the live directory", error));
    };
    let directory = settings.location.join(CHECKPOINTS).join(&files.directory);
    let whole = verify_files(&directory, &files.files, full);
    whole.and_then(|()| StateStore::open_from(&directory, &live, &files.files)).map_err(|error| {
        let kind = if error.is_damage() { ErrorKind::Damaged } else { ErrorKind::Environment };
        Error::caused_by(kind, format!("checkpoint {} cannot be opened", directory.display()), error)
    })
}

/// What applying a decision came to.
enum Applied {
    Begun(Box<Driver>),
    /// What was decided upon is no longer all there is.
    Behind(Box<Job>),
}

/// An error of a driver that was overtaken in object storage says so, whatever it met first.
fn fenced(remote: Option<&RemoteDisk>, error: Error) -> Error {
    match remote.and_then(RemoteDisk::overtaken) {
        Some(overtaken) => {
            tracing::error!(%error, "fenced");
            let message = format!("a newer driver has taken over: {overtaken}");
            Error::caused_by(ErrorKind::Fenced, message, error)
        }
        None => error,
    }
}

/// What the program declares, as far as recovery asks.
pub(crate) fn declared(settings: &JobSettings, graph: &Graph) -> Declared {
    Declared {
        name: settings.name.clone(),
        keys: settings.key_layout(),
        operators: graph.stateful().map(|(_, _, descriptor)| descriptor).collect(),
        sources: graph.sources().map(|(_, source)| source.descriptor().clone()).collect(),
        interval_ms: settings.interval_ms,
        dropped: settings.dropped.clone(),
        goes_on_without_log: settings.goes_on_without_log,
    }
}

/// How often a start observes anew, since others have gone on meanwhile.
const TIMES_BEHIND: u32 = 10;

/// Deaths of the process in one batch before a start begins to wait.
const DEATHS_BEFORE_BACK_OFF: u32 = 3;

/// Waits, where the process has died again and again over one batch: a supervisor that restarts it at once gains nothing.
fn back_off(decision: &Decision, watch: &Watch) {
    let deaths = |batch: &BatchFacts| batch.attempts_started.saturating_sub(batch.attempts_failed);
    let uncommitted = decision.replay.iter().filter(|batch| batch.commit.is_none());
    let deaths = uncommitted.map(deaths).max().unwrap_or_default();
    if deaths > DEATHS_BEFORE_BACK_OFF {
        let wait = Duration::from_millis(50) * 2_u32.pow((deaths - DEATHS_BEFORE_BACK_OFF).min(6));
        tracing::warn!(deaths, ?wait, "the process has died over the same batch; waiting before it is tried again");
        watch.pause(wait);
    }
}

pub(super) fn environment(doing: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::caused_by(ErrorKind::Environment, format!("cannot {doing}"), error)
}

pub(super) fn chain_failed(error: ChainError) -> Error {
    let kind = match &error {
        ChainError::Fenced { .. } => ErrorKind::Fenced,
        _ => ErrorKind::Environment,
    };
    Error::caused_by(kind, "the epoch cannot be claimed", error)
}
