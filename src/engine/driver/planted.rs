//! What planted bugs do in the driver, where it takes more than a line. See [`planted`](floodmark_base::planted): without the feature
//! `testing` none of this is ever called.

use std::collections::BTreeMap;

use crate::dataflow::chunk::{Origin, Records};
use crate::dataflow::graph::NodeId;
use crate::driver::Driver;
use crate::driver::settings::JobSettings;
use floodmark_base::error::Result;
use floodmark_base::id::{BatchId, Epoch, Sequence, Uid};
use floodmark_base::planted::PlantedBug;
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::checkpoint::{SourceEntry, SourcePosition};

/// Where a plan stands that is not in the log yet.
pub(super) const NOT_LOGGED: Sequence = Sequence(u64::MAX - 1);

impl JobSettings {
    /// Whether a test has planted this bug in the job.
    pub(super) fn has_bug(&self, bug: PlantedBug) -> bool {
        self.planted.has_bug(bug)
    }

    /// Whether a batch is published before its commit is logged.
    pub(super) fn publishes_too_early(&self) -> bool {
        self.has_bug(PlantedBug::PublishBeforeCommit) || self.has_bug(PlantedBug::ComputeBeforePlan)
    }

    /// The epoch that outputs are told: the driver's.
    pub(super) fn epoch_for_outputs(&self, epoch: Epoch) -> Epoch {
        if self.has_bug(PlantedBug::NoSinkFence) { Epoch(1) } else { epoch }
    }
}

impl Driver {
    /// Publishes a batch that is not committed, and then logs its plan, if that was put off.
    pub(super) fn publish_too_early(
        &mut self,
        batch: BatchId,
        outputs: BTreeMap<NodeId, Vec<(Origin, Records)>>,
    ) -> Result<()> {
        self.publish(batch, outputs)?;
        let past = self.history.get(batch);
        if past.planned_at != NOT_LOGGED {
            return Ok(());
        }
        let events =
            [BatchEvent::Planned(past.plan.clone()), BatchEvent::AttemptStarted { batch, attempt: past.attempts }];
        // Behind the plan: of a batch that it does not know the log takes no note.
        let publication = self.unlogged_publication.take();
        let at = self.log_events(&events)?[0];
        self.unlogged_publication = publication;
        self.history.get_mut(batch).planned_at = at;
        if let Some(point) = self.checkpoint.point.as_mut().filter(|point| point.batch == batch) {
            (point.log.next, point.log.oldest_needed) = (at.next(), point.log.oldest_needed.min(at));
        }
        Ok(())
    }

    /// Takes the last batch of the replay for done, if it is committed.
    pub(super) fn take_last_for_done(&mut self) {
        let Some(batch) = self.history.forget_last_committed() else { return };
        self.published_through = batch;
        self.shared.update(|status| (status.committed, status.published) = (batch, batch));
    }

    /// Leaves out the positions of receivers.
    pub(super) fn without_receivers(&self, mut sources: Vec<SourceEntry>) -> Vec<SourceEntry> {
        let is_direct = |uid: &Uid| self.inputs.directs.iter().any(|direct| direct.uid == *uid);
        sources.iter_mut().filter(|source| !is_direct(&source.uid)).for_each(|it| it.position = SourcePosition::None);
        sources
    }
}
