//! A batch is computed: commit, publish, and what follows from it.
//!
//! | a crash | leaves | caught by the row |
//! |---|---|---|
//! | before the commit is synced | a plan | recomputed from the same plan |
//! | after the commit, before all sinks have the batch | a commit | recomputed, digest compared, published |
//! | after publishing, before that is logged | the same | published again: sinks are idempotent |

use std::collections::BTreeMap;

use crate::dataflow::chunk::{Origin, Records};
use crate::dataflow::graph::{Delivery, NodeId};
use crate::dataflow::report::{OutputPart, WorkerReport};
use crate::driver::tell::OutputWord;
use crate::driver::{Driver, InFlight};
use crate::sink::SinkError;
use crate::source::BatchSample;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, Uid};
use floodmark_base::planted::PlantedBug;
use floodmark_base::user_code;
use floodmark_store::batch::event::{BatchEvent, Commit, Digest, Receipt};
use floodmark_store::state::{CacheCounts, Pressure};

/// What all workers together did in a batch.
#[derive(Default)]
pub(super) struct BatchResult {
    pub records: BTreeMap<NodeId, u64>,
    /// Records that could not be decoded.
    pub failed: BTreeMap<NodeId, u64>,
    /// Receipts of ranges, in the order of the plan.
    receipts: BTreeMap<NodeId, Vec<Receipt>>,
    digests: BTreeMap<NodeId, Digest>,
    outputs: BTreeMap<NodeId, Vec<(Origin, Records)>>,
    pub entries: BTreeMap<NodeId, i64>,
    pub cache: CacheCounts,
    pressure: Pressure,
}

impl BatchResult {
    fn of(reports: Vec<WorkerReport>) -> Self {
        let mut result = Self::default();
        for report in reports {
            for (node, records, failed) in report.records {
                *result.records.entry(node).or_default() += records;
                *result.failed.entry(node).or_default() += failed;
            }
            for (node, task, bytes) in report.receipts {
                result.receipts.entry(node).or_default().push(Receipt { task, bytes });
            }
            result.cache.add(report.cache);
            result.pressure = result.pressure.max(report.pressure);
            for (node, digest) in report.digests {
                result.digests.entry(node).or_default().merge(digest);
            }
            for OutputPart { node, origin, records } in report.outputs {
                result.outputs.entry(node).or_default().push((origin, records));
            }
            for (node, entries) in report.entries {
                *result.entries.entry(node).or_default() += entries;
            }
        }
        result.receipts.values_mut().for_each(|receipts| receipts.sort_by_key(|receipt| receipt.task));
        // Partitions in their order, whichever worker had them.
        result.outputs.values_mut().for_each(|parts| parts.sort_by(|(one, _), (other, _)| one.cmp(other)));
        result
    }

    /// Keys with state, over all operators: only those that keep state report entries.
    pub fn keys(&self) -> u64 {
        self.entries.values().sum::<i64>().cast_unsigned()
    }
}

impl Driver {
    /// One worker is through with a batch. When all are, it is committed; batches complete in order.
    pub(super) fn worker_done(&mut self, execution: u64, report: WorkerReport) -> Result<()> {
        let workers = self.settings.width.workers as usize;
        let batch = self.in_flight.iter_mut().find(|batch| batch.execution == execution);
        batch.expect("only batches that were given are reported").reports.push(report);
        while self.in_flight.front().is_some_and(|front| front.reports.len() == workers) {
            let done = self.in_flight.pop_front().expect("there is a front");
            self.batch_done(done)?;
        }
        Ok(())
    }

    fn batch_done(&mut self, mut done: InFlight) -> Result<()> {
        if let Some(lazy) = self.lazy.as_ref().filter(|_| self.in_flight.is_empty()) {
            lazy.set_busy(false);
        }
        let now_ms = self.settings.clock.monotonic_ms();
        let mut result = BatchResult::of(std::mem::take(&mut done.reports));
        let processing_ms = now_ms - done.given_ms;
        // The batch behind it could begin only now.
        if let Some(next) = self.in_flight.front_mut() {
            next.given_ms = now_ms;
        }
        let commit = self.commit_of(&done, &result, processing_ms);
        let digests = commit.digests.clone();
        if self.settings.publishes_too_early() {
            self.publish_too_early(done.batch, std::mem::take(&mut result.outputs))?;
        }
        self.inputs.committed(&self.history.get(done.batch).plan, &commit.receipts)?;
        let live = self.commit(commit)?;
        if !live && self.settings.has_bug(PlantedBug::SkipRepublish) {
            self.history.get_mut(done.batch).published = true;
        }
        self.publish(done.batch, std::mem::take(&mut result.outputs))?;
        self.forget_payloads(done.batch);
        self.checkpoint.batches += 1;
        self.checkpoint.replay_ms += processing_ms;
        self.checkpoint.pressure = result.pressure;
        if live {
            self.sample_rate(&result, processing_ms, now_ms);
        }
        self.note_done(&done, &result, live, now_ms);
        self.tell_completed(&done, &result, digests, live, now_ms);
        if done.freeze {
            self.freeze(&result);
        }
        self.tell_released();
        Ok(())
    }

    fn commit_of(&self, done: &InFlight, result: &BatchResult, processing_ms: u64) -> Commit {
        let name = |node: &NodeId| Uid::from(&*self.graph.node(*node).name);
        Commit {
            batch: done.batch,
            job_version: self.settings.version.clone(),
            records: result.records.iter().map(|(node, records)| (name(node), *records)).collect(),
            receipts: result.receipts.iter().map(|(node, receipts)| (name(node), receipts.clone())).collect(),
            digests: result.digests.iter().map(|(node, digest)| (name(node), *digest)).collect(),
            processing_ms,
        }
    }

    /// Commits a batch, or compares it with its commit if it has one. Says whether it was computed for the first time.
    fn commit(&mut self, commit: Commit) -> Result<bool> {
        let batch = commit.batch;
        let known = self.history.get(batch).commit.clone();
        let live = known.is_none();
        let stands = match &known {
            None => false,
            Some(known) if let Some(replay) = &self.settings.replay => {
                replay.compare(known, &commit);
                true
            }
            Some(known) => self.compare(known, &commit)?,
        };
        if !stands {
            let mut events = vec![BatchEvent::Committed(commit.clone())];
            if self.settings.has_bug(PlantedBug::RecordBeforePublish) {
                events.push(BatchEvent::Published { batch });
            }
            self.log_events(&events)?;
            self.history.get_mut(batch).commit = Some(commit);
        }
        Ok(live)
    }

    /// Whether a recomputed batch is what was committed. A difference under the same job version stops the job (I-3); under a
    /// new one it is reported, and the new result stands.
    fn compare(&self, known: &Commit, now: &Commit) -> Result<bool> {
        let differs = known.digests.iter().find_map(|(uid, before)| {
            let (_, after) = now.digests.iter().find(|(other, _)| other == uid)?;
            (before != after).then_some((uid, before, after))
        });
        let Some((uid, before, after)) = differs else { return Ok(true) };
        let batch = known.batch;
        if known.job_version != now.job_version {
            tracing::warn!(%batch, %uid, "the new job version computes another result; it stands from here on");
            return Ok(false);
        }
        let message = format!(
            "batch {batch} gives another result when it is recomputed: \"{uid}\" had the digest {before}, and has {after} now, \
             with the same job version {}. A function of the job depends on something besides its arguments: a clock, a random \
             number, the order of a hash map. If the result may differ, give the job a new version",
            known.job_version
        );
        Err(Error::new(ErrorKind::UserCode, message))
    }

    /// Hands a committed batch to every output, unless that is on record (I-4).
    pub(super) fn publish(
        &mut self,
        batch: BatchId,
        mut outputs: BTreeMap<NodeId, Vec<(Origin, Records)>>,
    ) -> Result<()> {
        let past = self.history.get(batch);
        if past.published {
            self.published_through = self.published_through.max(batch);
            return Ok(());
        }
        if self.settings.replay.is_some() {
            self.history.get_mut(batch).published = true;
            self.published_through = batch;
            return Ok(());
        }
        self.settings.disk.pass(floodmark_base::disk::Step::SinkPublish).map_err(|error| {
            Error::caused_by(ErrorKind::Environment, format!("batch {batch} cannot be published"), error)
        })?;
        let timing = past.timing;
        for (node, deliver) in &mut self.deliveries {
            if self.code_watch.has_given_up() {
                break;
            }
            // A stream that slides by more than the interval has nothing to say in the batches between.
            let Some(time) = timing.due(self.graph.node(*node).slide) else { continue };
            let epoch = self.settings.epoch_for_outputs(self.epoch);
            let delivery = Delivery { lineage: self.lineage, epoch, batch, time };
            let name = &self.graph.node(*node).name;
            let parts = outputs.remove(node).unwrap_or_default().into_iter().map(|(_, records)| records).collect();
            let told = OutputWord::started(&self.events, &*self.settings.clock, delivery, name);
            let watched = user_code::enter(format_args!("output \"{name}\""));
            let published = user_code::catch(|| deliver.publish(delivery, parts))
                .map_err(|panic| {
                    Error::new(ErrorKind::UserCode, format!("\"{name}\" panicked with batch {batch}: {panic}"))
                })
                .and_then(|published| published.map_err(|error| sink_failed(name, batch, error)));
            drop(watched);
            told.completed(&published);
            published?;
        }
        self.unless_given_up()?;
        self.history.get_mut(batch).published = true;
        self.published_through = batch;
        self.unlogged_publication = Some(batch);
        Ok(())
    }

    fn forget_payloads(&self, batch: BatchId) {
        self.inputs.tracker.forget(self.history.get(batch).blocks.iter().map(|block| block.at.sequence));
    }

    /// Lets the rate of the sources follow what the batch took.
    fn sample_rate(&mut self, result: &BatchResult, processing_ms: u64, now_ms: u64) {
        if !self.settings.backpressure {
            return;
        }
        // A batch that brought a new version of reference data shows what that costs, not how fast the stream is; but if all
        // batches do, that is how fast the stream is.
        let brings_reference = result.records.keys().any(|node| self.inputs.is_reference(*node));
        self.sample_skipped = brings_reference && !self.sample_skipped;
        if self.sample_skipped {
            return;
        }
        let sample = BatchSample {
            finished_at_ms: now_ms,
            records: self.streamed_records(result),
            processing_ms,
            // Ticks merge, so there is no queue of batches: a batch waits for the one before it, at most, and that wait shows
            // in the time since the last plan. What waits beyond it stands in the log, and is bounded there.
            scheduling_ms: 0,
        };
        if let Some(rate) = self.estimator.compute(sample) {
            self.rate = Some(rate);
            if let Some(supervisor) = &self.supervisor {
                supervisor.set_rate(Some(rate));
            }
        }
    }

    /// The records that came in a stream: those of reference data are no input.
    fn streamed_records(&self, result: &BatchResult) -> u64 {
        let streams = result.records.iter().filter(|(node, _)| !self.inputs.is_reference(**node));
        streams.map(|(_, records)| records).sum()
    }

    fn note_done(&self, done: &InFlight, result: &BatchResult, live: bool, now_ms: u64) {
        let records = self.streamed_records(result);
        let (keys, failed) = (result.keys(), result.failed.values().sum::<u64>());
        if failed > 0 {
            tracing::warn!(batch = %done.batch, failed, "records could not be decoded and are not in the stream");
        }
        self.shared.update(|status| {
            status.committed = done.batch;
            status.published = self.published_through;
            status.checkpointing = self.checkpoint.pending.is_some();
            status.keys = keys;
            status.state_hits += result.cache.hits;
            status.state_misses += result.cache.misses;
            status.state_evictions += result.cache.evictions;
            status.processing_ms = now_ms - done.given_ms;
            if live {
                status.batches += 1;
                status.records += records;
                status.failed_records += failed;
                status.latency_ms = now_ms - done.ticked_ms;
                if records > 0 {
                    status.last_commit_ms = Some(now_ms);
                }
            }
        });
    }
}

fn sink_failed(name: &str, batch: BatchId, error: SinkError) -> Error {
    Error::caused_by(error.kind(), format!("\"{name}\" did not take batch {batch}"), error)
}
