//! Going back to an older checkpoint while the job runs.
//!
//! A lazy start does not read all of its checkpoint before the first batch; so damage may show up later, in a look-up, in the
//! background load, or in the CRCs that are checked behind it. Until all of that is done no checkpoint is taken: the older ones
//! and their log are kept as they were found. What was computed meanwhile stands, since every block that was read was whole by its own
//! checksum; only what the damaged one would still have given is missing. So the dataflow is dropped as after a failed attempt,
//! and a new one begins on the older checkpoint and recomputes all batches since; commits are compared, nothing is published twice.
//! Receivers, sinks and the log go on as they are.
//!
//! | a crash | leaves |
//! |---|---|
//! | before the rejection | the newest checkpoint in force; the next start finds the damage again |
//! | in or after it | the older one in force, and named by the newest manifest; the next start goes on from there |

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataflow::graph::Graph;
use crate::driver::checkpoints::entries_of;
use crate::driver::history::PastBatch;
use crate::driver::message::DriverMessage;
use crate::driver::settings::JobSettings;
use crate::driver::start::{chain_failed, environment, open_store};
use crate::driver::takeover::{past_batches, start_checkpointer};
use crate::driver::{CheckpointClock, Driver};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, WriterNonce};
use floodmark_store::batch::timing::Timing;
use floodmark_store::checkpoint::{JobPoint, ManifestDraft, ManifestKind, OperatorEntry};
use floodmark_store::recovery::decide::{Decision, Rejected, Standpoint, decide};
use floodmark_store::recovery::declared::Declared;
use floodmark_store::recovery::facts::{CHECKPOINTS, Facts};
use floodmark_store::state::{BackgroundLoad, LoadTasks, Unverified};

/// The older checkpoint that a lazy start goes back to when the newest one turns out to be damaged.
pub(super) struct Fallback {
    /// The newest one.
    newest: Rejected,
    older: Standpoint,
    /// The batches between the two.
    batches: Vec<PastBatch>,
}

/// A start whose checkpoint is not yet read to its end.
pub(super) struct LazyStart {
    fallback: Fallback,
    unverified: Unverified,
    nonce: WriterNonce,
    load: Option<BackgroundLoad>,
}

impl Fallback {
    /// What a start could go back to that begins as decided; `None` where it must read everything before its first batch: where
    /// nothing would be gained, no older checkpoint holds the same operators in the same versions, or a source has decided something
    /// about the batches since the older one.
    pub fn find(
        settings: &JobSettings,
        graph: &Graph,
        facts: &Facts,
        decision: &Decision,
        declared: &Declared,
    ) -> Option<Self> {
        let newest = decision.from.as_ref()?;
        let bytes: u64 = newest.checkpoint.as_ref()?.files.iter().map(|file| file.size).sum();
        let gains = bytes >= settings.lazy_above && graph.stateful().any(|(_, wide, _)| wide.begins_partial());
        if !gains || settings.replay.is_some() || settings.remote.is_some() || !is_plain(decision) {
            return None;
        }
        let chosen = decision.chosen(facts)?;
        let rejected = Rejected::candidate(chosen, String::new());
        let unusable: Vec<Rejected> = decision.rejected.iter().chain([&rejected]).cloned().collect();
        let other = decide(facts, declared, &unusable).ok().filter(is_plain)?;
        let older = other.from.clone()?;
        let has_initial_state = || graph.stateful().any(|(_, wide, _)| wide.initial_state().is_some());
        let same = key_of(&older.point.operators) == key_of(&newest.point.operators)
            && older.point.log.log == newest.point.log.log
            && (older.checkpoint.is_some() || !has_initial_state());
        // Only a start tells a source what it has decided, before the replay. On the way back the source would read again what it has
        // given up.
        let is_between = |batch: BatchId| older.point.batch < batch && batch <= newest.point.batch;
        if other.decisions.iter().any(|decision| is_between(decision.batch)) {
            return None;
        }
        let between = other.replay.iter().take_while(|batch| batch.plan.batch <= newest.point.batch);
        let zero = newest.point.zero_time;
        let known = (older.point.batch.0 > 0).then_some(older.point.last_batch_time);
        let before = Timing { time: known.unwrap_or(zero), previous: zero, zero, interval_ms: settings.interval_ms };
        let mut batches = past_batches(between, &other.planned_blocks, before);
        // The newer checkpoint covers published batches only (I-5).
        batches.iter_mut().for_each(|batch| batch.published = true);
        let whole = older.point.batch.0 + batches.len() as u64 == newest.point.batch.0;
        (same && whole).then_some(Self { newest: rejected, older, batches })
    }
}

/// Whether a decision changes nothing but goes on.
fn is_plain(decision: &Decision) -> bool {
    !decision.new_lineage && decision.planned_again.is_empty() && decision.changes == Default::default()
}

/// What must be the same of every operator's state for one checkpoint to stand in for another.
fn key_of(operators: &[OperatorEntry]) -> BTreeMap<u32, (&str, &str, u32)> {
    let keys = operators.iter().map(|entry| (entry.number.0, entry));
    keys.map(|(number, entry)| (number, (entry.uid.as_str(), entry.kind.as_str(), entry.state_version))).collect()
}

impl LazyStart {
    /// A start on the checkpoint that was decided upon.
    pub fn new(settings: &JobSettings, decision: &Decision, fallback: Fallback, nonce: WriterNonce) -> Option<Self> {
        let files = decision.from.as_ref()?.checkpoint.clone()?;
        let directory = settings.location.join(CHECKPOINTS).join(&files.directory);
        Some(Self { fallback, unverified: Unverified { directory, files: files.files }, nonce, load: None })
    }

    /// Batches are under way, or not: the background stands back for them.
    pub fn set_busy(&self, busy: bool) {
        if let Some(load) = &self.load {
            load.pace().set_busy(busy);
        }
    }

    /// The job waits for the background.
    pub fn hurry(&self) {
        if let Some(load) = &self.load {
            load.pace().hurry();
        }
    }

    /// Stops the background; the store is its no more.
    pub fn rest(&mut self) {
        self.load = None;
    }
}

impl Driver {
    /// Starts reading what the new dataflow began without.
    pub(super) fn start_background(&mut self, tasks: &LoadTasks) -> Result<()> {
        let Some(lazy) = &mut self.lazy else { return Ok(()) };
        let (sender, generation) = (self.inbox.sender(), self.generation);
        let done = move |outcome| drop(sender.send(DriverMessage::Loaded { generation, outcome }));
        let load = BackgroundLoad::start(tasks, lazy.unverified.clone(), self.settings.load_held.clone(), done);
        lazy.load = Some(load.map_err(|error| environment("start the background load", error))?);
        self.shared.update(|status| status.loading = true);
        Ok(())
    }

    /// The background has read everything, or found that it cannot.
    pub(super) fn background_done(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = outcome {
            return self.state_failed(error);
        }
        self.lazy = None;
        self.shared.update(|status| status.loading = false);
        tracing::info!("the state is in memory, and its checkpoint was found to be whole");
        Ok(())
    }

    /// Stored state could not be read. Damage of a checkpoint that nobody had read to its end yet is survived.
    pub(super) fn state_failed(&mut self, error: Error) -> Result<()> {
        match self.lazy.take() {
            Some(lazy) if error.kind() == ErrorKind::Damaged => self.go_back(*lazy, &error),
            _ => Err(error),
        }
    }

    fn go_back(&mut self, mut lazy: LazyStart, error: &Error) -> Result<()> {
        let older = lazy.fallback.older.point.batch;
        tracing::error!(%error, to = %older, "the checkpoint is damaged: going back to an older one");
        lazy.rest();
        self.drop_engine();
        let LazyStart { fallback: Fallback { newest, older, batches }, nonce, .. } = lazy;
        let checkpointer = self.checkpointer.take().expect("a checkpointer runs while the driver serves");
        let mut chain = checkpointer.stop().map_err(|error| environment("stop the checkpoint writer", error))?;
        let point = JobPoint { lineage: self.lineage, generation: self.lineage_began, ..older.point.clone() };
        let reason = error.to_string();
        let kind = ManifestKind::Rejection { of: newest.sequence, directory: newest.directory, reason };
        let draft = ManifestDraft {
            epoch: self.epoch,
            nonce,
            kind,
            point: point.clone(),
            checkpoint: older.checkpoint.clone(),
        };
        chain.publish(&*self.settings.disk, draft).map_err(chain_failed)?;

        // The live directory can be built anew only when nobody has it open.
        self.store = None;
        let store = Arc::new(open_store(&self.settings, older.checkpoint.as_ref(), true)?);
        self.store = Some(store.clone());
        let parent = older.checkpoint.map(|files| files.files).unwrap_or_default();
        let writer =
            start_checkpointer(&self.settings, &self.inbox.sender(), &store, chain, (self.epoch, nonce), parent);
        self.checkpointer = Some(writer?);
        self.checkpoint = CheckpointClock { newest: point.batch, ..CheckpointClock::default() };
        for (uid, entries) in entries_of(&point) {
            self.stored.entry(uid).and_modify(|stored| stored.entries = entries);
        }
        self.thaw_all_sources()?;
        self.history.rewind_behind(batches);
        self.shared.update(|status| {
            (status.checkpoint, status.loading) = (point.batch, false);
            status.checkpoints_given_up += 1;
        });
        self.start_engine()
    }
}
