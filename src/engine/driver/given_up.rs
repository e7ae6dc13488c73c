//! Planned input that cannot be read any more when a job starts: files that were archived too early, for example.
//!
//! A batch since the checkpoint is computed again from its plan (I-2), so what it has read must be there. Where it is not, the start
//! is refused and names it; or, where its source says so, the job goes on without it. That is an event in the log before anything
//! is computed: the commits of the batch and of those behind it stood on what is gone, so they count no more, here and at every
//! later start.
//!
//! | a crash | leaves |
//! |---|---|
//! | before the event is synced | nothing: the next start looks anew |
//! | after | the decision, which the next start finds with the plan |

use crate::driver::Driver;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_store::batch::event::{BatchEvent, PlannedTask};

impl Driver {
    /// Looks whether the ranges of all batches that are to be computed again are there. Gives the decisions that are to be logged.
    pub(super) fn give_up_lost_input(&mut self) -> Result<Vec<BatchEvent>> {
        let mut events = Vec::new();
        for past in self.history.iter() {
            let plan = &past.plan;
            for planned in &plan.inputs {
                let Some(input) = self.inputs.direct(&planned.source) else { continue };
                let goes_on = input.source.goes_on_without();
                let mut lost = Vec::new();
                for (index, task) in planned.tasks.iter().enumerate() {
                    let PlannedTask::Range(range) = task else { continue };
                    if input.source.has_given_up(plan.batch, range) {
                        continue;
                    }
                    match input.source.check(range, &past.before(&planned.source, index as u32), goes_on) {
                        Ok(()) => {}
                        Err(error) if goes_on => {
                            tracing::warn!(batch = %plan.batch, source = %input.uid, %error, "going on without a part of a batch");
                            lost.push(range.clone());
                        }
                        Err(error) => {
                            let batch = plan.batch;
                            let message = format!(
                                "batch {batch} is computed again, and input of source \"{}\" cannot be read as it was planned; \
                                 put it back, or accept its loss with go_on_without_files(true)",
                                input.uid
                            );
                            return Err(Error::caused_by(ErrorKind::Environment, message, error));
                        }
                    }
                }
                if !lost.is_empty() {
                    let (source, batch) = (input.uid.clone(), plan.batch);
                    events.push(BatchEvent::SourceDecided {
                        source,
                        batch,
                        decision: input.source.give_up(batch, lost),
                    });
                }
            }
        }
        let first = events.iter().find_map(|event| match event {
            BatchEvent::SourceDecided { batch, .. } => Some(*batch),
            _ => None,
        });
        if let Some(first) = first {
            self.history.forget_commits_from(first);
        }
        Ok(events)
    }
}
