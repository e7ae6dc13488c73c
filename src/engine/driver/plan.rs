//! Planning: at a tick, what is there becomes the next batch.
//!
//! | a crash | leaves | caught by the row |
//! |---|---|---|
//! | before the plan is synced | blocks, no plan | go into the next plan |
//! | after | a plan | recomputed from the same plan |

use crate::driver::history::PastBatch;
use crate::driver::planted::NOT_LOGGED;
use crate::driver::{Driver, Stopping};
use crate::listener::events::ClockJumped;
use crate::source::OfferLimits;
use floodmark_base::error::Result;
use floodmark_base::id::Sequence;
use floodmark_base::planted::PlantedBug;
use floodmark_store::batch::event::{BatchEvent, Plan};
use floodmark_store::batch::ticker::next_batch_time;
use floodmark_store::batch::timing::Timing;
use floodmark_store::block::BatchLimits;

/// How fast direct sources are read, in bytes per millisecond of the interval, while it is not known how fast the job is.
const FIRST_BYTES_PER_MS: u64 = 160 << 10;

/// For how many intervals at the most a batch may take in direct input at once.
const MOST_INTERVALS: u64 = 10;

impl Driver {
    pub(super) fn take_tick(&mut self) {
        if let Some(ticker) = &self.ticker {
            ticker.take();
        }
        if let Some(jump) = self.watch.check(&*self.settings.clock) {
            tracing::warn!(%jump, "the clock jumped; batch times still rise");
            self.events.tell(|| ClockJumped { by_ms: jump.by_ms });
        }
        if !self.tick.pending {
            self.tick.pending = true;
            self.tick.at_ms = self.settings.clock.monotonic_ms();
        }
    }

    /// Whether a batch may be planned now: a tick has passed, or the job is draining what it had received.
    pub(super) fn may_plan(&self) -> bool {
        match self.stopping {
            Stopping::No => self.tick.pending,
            Stopping::Draining => self.wants_another_batch(),
            Stopping::Receiving | Stopping::Done => false,
        }
    }

    /// Plans a batch, makes the plan durable (I-2), and puts it where the dataflow is given its batches from.
    pub(super) fn plan_batch(&mut self) -> Result<()> {
        let ticked = std::mem::take(&mut self.tick.pending);
        let draining = self.stopping == Stopping::Draining;
        let taken = self.inputs.take(self.batch_limits(), self.offer_limits(), !draining)?;
        let empty = self.inputs.are_empty(&taken.inputs);
        let (time, merged_ticks) = next_batch_time(
            self.last_time.max(self.planned_until),
            self.settings.clock.epoch_ms(),
            self.settings.interval_ms,
        );
        let plan = Plan { batch: self.next_batch, time, merged_ticks, inputs: taken.inputs };
        let planned_at = self.log_plan(&plan)?;
        if self.last_time.is_none() {
            self.zero_time.0 = time.0.saturating_sub(self.settings.interval_ms);
        }
        let interval_ms = self.settings.interval_ms;
        let previous = self.last_time.unwrap_or(self.zero_time);
        let timing = Timing { time, previous, zero: self.zero_time, interval_ms };
        self.last_time = Some(time);
        self.next_batch = plan.batch.next();
        let monotonic_ms = self.settings.clock.monotonic_ms();
        self.planned_at_ms = Some(monotonic_ms);
        self.tell_submitted(&plan, &taken.blocks);
        self.note_input_end(empty);
        let files = self.inputs.files_status();
        self.shared.update(|status| {
            status.files = files;
            status.planned = plan.batch;
            status.planned_time = time;
            status.merged_ticks += merged_ticks;
            if !empty {
                status.first_record_ms.get_or_insert(monotonic_ms);
            }
        });
        self.history.push(PastBatch {
            plan,
            timing,
            planned_at,
            blocks: taken.blocks,
            letters: Vec::new(),
            commit: None,
            published: false,
            // While draining nothing ticks.
            ticked_ms: Some(if ticked { self.tick.at_ms } else { monotonic_ms }),
            failed: 0,
            attempts: 1,
            is_unexplained: false,
        });
        Ok(())
    }

    /// Makes a plan durable; says where it stands in the log.
    fn log_plan(&mut self, plan: &Plan) -> Result<Sequence> {
        if self.settings.has_bug(PlantedBug::ComputeBeforePlan) {
            return Ok(NOT_LOGGED);
        }
        let attempt = BatchEvent::AttemptStarted { batch: plan.batch, attempt: 1 };
        Ok(self.log_events(&[BatchEvent::Planned(plan.clone()), attempt])?[0])
    }

    fn batch_limits(&self) -> BatchLimits {
        self.settings.limits
    }

    /// What direct sources may offer: the rate that the last batches showed, for one interval.
    fn offer_limits(&self) -> OfferLimits {
        let BatchLimits { records, bytes } = self.settings.limits;
        // Where batches take longer than the interval, ticks merge and a batch is for all the time since the last one.
        let now_ms = self.settings.clock.monotonic_ms();
        let since_ms =
            self.planned_at_ms.map_or(0, |last| now_ms - last).min(MOST_INTERVALS * self.settings.interval_ms);
        let interval_s = since_ms.max(self.settings.interval_ms) as f64 / 1_000.0;
        let by_rate = self.rate.map_or(u64::MAX, |rate| ((rate * interval_s) as u64).max(1));
        let by_maximum = self.settings.receiver.max_rate.map_or(u64::MAX, |rate| ((rate * interval_s) as u64).max(1));
        // Before the first batches have shown how fast the job is, they are small.
        let bytes = if self.rate.is_none() && self.settings.backpressure {
            bytes.min(FIRST_BYTES_PER_MS * self.settings.interval_ms)
        } else {
            bytes
        };
        OfferLimits { records: records.min(by_rate).min(by_maximum), bytes }
    }

    /// Whether all input is used up, as far as this plan tells.
    fn note_input_end(&mut self, empty: bool) {
        let ended = self.supervisor.as_ref().is_none_or(|supervisor| supervisor.all_ended());
        // Receivers end before the driver looks at what they left, so nothing can come in between.
        let used_up = empty && ended && self.in_flight.is_empty() && self.inputs.tracker.pending().blocks == 0;
        self.shared.update(|status| status.input_used_up = used_up);
    }
}
