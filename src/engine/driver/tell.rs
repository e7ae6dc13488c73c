//! What the driver tells listeners, put together from what it knows.

use crate::dataflow::graph::Delivery;
use crate::driver::done::BatchResult;
use crate::driver::{Driver, InFlight};
use crate::listener::Events;
use crate::listener::events::{
    BatchCompleted, BatchFailed, BatchStarted, BatchSubmitted, FilesReleased, InputInfo, OutputOperationCompleted,
    OutputOperationStarted, ResultDigest, SourceRecords, StreamingStarted,
};
use floodmark_base::clock::Clock;
use floodmark_base::error::Result;
use floodmark_base::id::{Batch, BatchId, Uid};
use floodmark_store::batch::event::{Digest, Plan, PlannedInput, PlannedTask};
use floodmark_store::block::BlockMap;
use floodmark_store::recovery::decide::Decision;
use floodmark_store::recovery::report::RecoveryReport;

impl Driver {
    pub(super) fn tell_started(&self, decision: &Decision) {
        self.events.tell(|| StreamingStarted {
            epoch: self.epoch,
            recovery: RecoveryReport::new(decision),
            epoch_ms: self.settings.clock.epoch_ms(),
        });
    }

    pub(super) fn tell_submitted(&self, plan: &Plan, blocks: &BlockMap) {
        self.events.tell(|| BatchSubmitted {
            batch: Batch { id: plan.batch, time: plan.time },
            inputs: plan.inputs.iter().map(|input| input_info(input, blocks)).collect(),
            merged_ticks: plan.merged_ticks,
            epoch_ms: self.settings.clock.epoch_ms(),
        });
    }

    /// The dataflow has the batch.
    pub(super) fn tell_given(&self, batch: BatchId) {
        let past = self.history.get(batch);
        self.events.tell(|| BatchStarted {
            batch: past.batch(),
            attempt: past.attempts,
            is_replay: past.commit.is_some(),
        });
    }

    pub(super) fn tell_failed(&self, batch: BatchId, operator: &str, panic: &str) {
        let past = self.history.get(batch);
        self.events.tell(|| BatchFailed {
            batch: past.batch(),
            attempt: past.attempts,
            operator: operator.to_string(),
            panic: panic.to_string(),
            attempts_left: self.settings.attempts.saturating_sub(past.failed),
        });
    }

    /// Names files that no recovery reads again, one event a source; what is left of them is told after the next batch. Files wait
    /// with their source while listeners have no room for more events.
    pub(super) fn tell_released(&mut self) {
        if !self.events.have_room() {
            return;
        }
        for input in &mut self.inputs.directs {
            let files = input.source.release_files(self.released_through);
            if !files.is_empty() {
                self.events.tell_surely(FilesReleased { source: input.uid.clone(), files });
            }
        }
    }

    /// The batch is published; `computed_ms` is the monotonic time at which the workers were through with it.
    pub(super) fn tell_completed(
        &self,
        done: &InFlight,
        result: &BatchResult,
        digests: Vec<(Uid, Digest)>,
        live: bool,
        computed_ms: u64,
    ) {
        self.events.tell(|| {
            let past = self.history.get(done.batch);
            // A replay waits for no tick.
            let scheduling_delay_ms = if live { done.given_ms.saturating_sub(done.ticked_ms) } else { 0 };
            let processing_ms = computed_ms - done.given_ms;
            let publishing_ms = self.settings.clock.monotonic_ms() - computed_ms;
            let digest =
                |(uid, digest): (Uid, Digest)| ResultDigest { uid, entries: digest.count, fingerprint: digest.sum };
            let source = |(uid, node): &(Uid, _)| SourceRecords {
                source: uid.clone(),
                records: result.records.get(node).copied().unwrap_or_default(),
                failed: result.failed.get(node).copied().unwrap_or_default(),
            };
            BatchCompleted {
                batch: past.batch(),
                attempt: past.attempts,
                is_replay: !live,
                sources: self.inputs.nodes.iter().map(source).collect(),
                scheduling_delay_ms,
                processing_ms,
                publishing_ms,
                total_delay_ms: scheduling_delay_ms + processing_ms + publishing_ms,
                keys: result.keys(),
                state_hits: result.cache.hits,
                state_misses: result.cache.misses,
                state_evictions: result.cache.evictions,
                digests: digests.into_iter().map(digest).collect(),
            }
        });
    }
}

fn input_info(input: &PlannedInput, blocks: &BlockMap) -> InputInfo {
    let (mut count, mut records, mut bytes) = (0, 0, 0);
    for sequence in input.tasks.iter().flat_map(PlannedTask::blocks) {
        let block = &blocks[sequence];
        count += 1;
        records += block.records;
        bytes += block.bytes;
    }
    let ranges = input.tasks.iter().filter(|task| matches!(task, PlannedTask::Range(_))).count() as u64;
    let known = |number| (ranges == 0).then_some(number);
    InputInfo { source: input.source.clone(), blocks: count, ranges, records: known(records), bytes: known(bytes) }
}

/// What is told of one output's part in a batch: that it begins, and how it ends.
pub(super) struct OutputWord<'a> {
    events: &'a Events,
    clock: &'a dyn Clock,
    batch: Batch,
    output: &'a str,
    started_ms: u64,
}

impl<'a> OutputWord<'a> {
    pub fn started(events: &'a Events, clock: &'a dyn Clock, delivery: Delivery, output: &'a str) -> Self {
        let batch = Batch { id: delivery.batch, time: delivery.time };
        events.tell(|| OutputOperationStarted { batch, output: output.to_string() });
        Self { events, clock, batch, output, started_ms: clock.monotonic_ms() }
    }

    pub fn completed(self, outcome: &Result<()>) {
        self.events.tell(|| OutputOperationCompleted {
            batch: self.batch,
            output: self.output.to_string(),
            duration_ms: self.clock.monotonic_ms() - self.started_ms,
            error: outcome.as_ref().err().map(ToString::to_string),
        });
    }
}
