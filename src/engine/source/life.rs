//! The life of one receiver: starts, failures, restarts and its end. Here the user's code is called; no panic of it gets out.
//!
//! | panics | what follows |
//! |---|---|
//! | `on_start`, called, polled or dropped | it is a failure: reported, and started again after the restart delay |
//! | `on_stop` | it is reported; the life goes on as if it had returned |
//! | `restarts_at_end` | it is reported; the receiver is started again |

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::listener::events::{ReceiverStarted, ReceiverStopped};
use crate::source::receiver::{Receiver, ReceiverContext, ReceiverError};
use crate::source::store::BlockStore;
use crate::source::supervisor::ReceiverState;
use floodmark_base::user_code::{self, Guarded};

/// What a receiver lives with.
pub(super) struct Surroundings {
    pub store: Arc<BlockStore>,
    pub state: watch::Sender<ReceiverState>,
    /// Turns true when the grace period of a graceful stop is over.
    pub grace_over: watch::Receiver<bool>,
}

/// One receiver from its first start to its end.
pub(super) struct Life<R: Receiver> {
    receiver: R,
    around: Surroundings,
}

/// How one run of `on_start` ended.
enum Outcome {
    /// The source has ended.
    End,
    /// It failed; the next start is after the restart delay.
    Failure(ReceiverError),
    /// It asked for a restart.
    Restart(Duration),
    /// The job stops.
    Stop,
}

impl<R: Receiver> Life<R> {
    pub fn new(receiver: R, around: Surroundings) -> Self {
        Self { receiver, around }
    }

    pub async fn live(mut self) {
        let store = Arc::clone(&self.around.store);
        let last = loop {
            self.around.state.send_replace(ReceiverState::Running);
            self.tell_started();
            let outcome = self.run_once().await;
            self.of_user("on_stop", |receiver| receiver.on_stop());
            let delay = store.settings().restart_delay;
            // Before anything is waited for. A log that failed is what is reported then, and not what follows from it.
            if let Outcome::Failure(error) = &outcome
                && store.check().is_ok()
            {
                match store.is_stopping() {
                    true => store.report_error(format_args!("{error} (while stopping)")),
                    false => store.report_error(format_args!("{error}; starts again in {} ms", delay.as_millis())),
                }
            }
            if let Err(error) = store.settle().await {
                store.report_error(error);
                break ReceiverState::Failed;
            }
            if store.is_stopping() {
                break ReceiverState::Ended;
            }
            let delay = match outcome {
                Outcome::End => {
                    store.set_at_end();
                    if !self.of_user("restarts_at_end", |receiver| receiver.restarts_at_end()).unwrap_or(true) {
                        tracing::info!(source = %store.uid(), "the source has ended");
                        break ReceiverState::Ended;
                    }
                    tracing::info!(source = %store.uid(), ?delay, "the source has ended: it is asked again");
                    delay
                }
                Outcome::Failure(_) => delay,
                Outcome::Restart(after) => after,
                Outcome::Stop => break ReceiverState::Ended,
            };
            self.tell_stopped(Some(delay));
            self.around.state.send_replace(ReceiverState::Waiting);
            tokio::select! {
                () = store.clock().sleep(delay) => {}
                () = store.stopped() => break ReceiverState::Ended,
            }
            store.count_restart();
        };
        self.tell_stopped(None);
        let Self { receiver, around, .. } = self;
        if let Err(error) = user_code::call("the receiver, when it was dropped,", || drop(receiver)) {
            store.report_error(error);
        }
        around.state.send_replace(last);
    }

    /// Calls a method of the receiver; a panic is reported.
    fn of_user<T>(&mut self, method: &str, call: impl FnOnce(&mut R) -> T) -> Option<T> {
        user_code::call(method, || call(&mut self.receiver)).map_err(|error| self.around.store.report_error(error)).ok()
    }

    fn tell_started(&self) {
        let store = &self.around.store;
        let restarts = store.counts().restarts;
        store.events().tell(|| ReceiverStarted { source: store.uid().clone(), restarts });
    }

    fn tell_stopped(&self, restart_after: Option<Duration>) {
        let store = &self.around.store;
        let restart_after_ms = restart_after.map(|after| after.as_millis() as u64);
        store.events().tell(|| ReceiverStopped { source: store.uid().clone(), restart_after_ms });
    }

    /// Runs `on_start` until it ends, or must.
    async fn run_once(&mut self) -> Outcome {
        // A new context: whatever was lost before, this run begins at the stored position, or where its sender does.
        let (store, context) = (&self.around.store, ReceiverContext::new(Arc::clone(&self.around.store)));
        let receiver = &mut self.receiver;
        // It is called in the first poll, so a panic of the call is caught, too.
        let mut start = Guarded::new("the receiver", async move { receiver.on_start(context).await });
        let mut grace_over = self.around.grace_over.clone();
        // An error means that the supervisor is gone, which is a stop, too.
        let grace_over = async { drop(grace_over.wait_for(|over| *over).await) };
        tokio::select! {
            biased;
            ended = &mut start => match ended {
                Ok(Ok(())) => Outcome::End,
                Ok(Err(error)) => Outcome::Failure(error),
                Err(panic) => Outcome::Failure(panic.into()),
            },
            after = store.restart_requested() => Outcome::Restart(after),
            () = grace_over => Outcome::Stop,
        }
    }
}
