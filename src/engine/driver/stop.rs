//! Stopping. Gracefully: receive no more, compute what was received, take a checkpoint, leave nothing to replay. Hard: end at
//! once; recovery does the rest.
//!
//! A hard stop does not wait for an object store: it cuts off what is under way there, and leaves what a crash of the process in that
//! step leaves (the table at the head of `remote/disk.rs`). A graceful stop waits for the store; a hard one ends it.

use std::fmt;

use tokio::time::Instant;

use crate::driver::guard::guarded;
use crate::driver::message::DriverMessage;
use crate::driver::{Driver, Stopping};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::user_code;

impl Driver {
    pub(super) fn begin_stop(&mut self, graceful: bool) -> Result<()> {
        if !graceful {
            self.stopped_hard = true;
            self.stopping = Stopping::Done;
            return Ok(());
        }
        if self.stopping != Stopping::No {
            return Ok(());
        }
        self.ticker = None;
        let Some(supervisor) = self.supervisor.clone() else {
            self.stopping = Stopping::Draining;
            return Ok(());
        };
        self.stopping = Stopping::Receiving;
        let sender = self.inbox.sender();
        // No user code runs in this task: it waits for the receivers, and no longer than the grace period for theirs.
        self.runtime.spawn(async move {
            let stopped = supervisor.stop().await.map_err(Error::from);
            drop(sender.send(DriverMessage::ReceiversStopped(stopped)));
        });
        Ok(())
    }

    /// A hard stop ends every wait for an object store, by an error of what waited. Then the job was stopped, and has not failed.
    pub(super) fn unless_cut_off(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if error.kind() == ErrorKind::Environment && self.settings.stop_signal().has_cut_off() => {
                tracing::info!(%error, "stopped hard while the object store did not answer");
                self.stopped_hard = true;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// A hard stop that came while the driver waited for something else; the error ends that.
    pub(super) fn interrupted(&mut self) -> Error {
        (self.stopped_hard, self.stopping) = (true, Stopping::Done);
        Error::new(ErrorKind::Stopped, "the job was stopped")
    }

    /// Refuses to go on where the job has ended while user code ran on this thread, and where its start was stopped.
    pub(super) fn unless_given_up(&mut self) -> Result<()> {
        self.code_watch.unless_stopped_in_start()?;
        if self.code_watch.has_given_up() { Err(self.interrupted()) } else { Ok(()) }
    }

    pub(super) fn receivers_stopped(&mut self, stopped: Result<()>) -> Result<()> {
        if let Some(supervisor) = &self.supervisor {
            self.shared.leave_behind(supervisor.left_behind());
        }
        stopped?;
        self.stopping = Stopping::Draining;
        Ok(())
    }

    /// Whether draining needs one more batch: for blocks that wait, or for a last checkpoint after the last batch.
    pub(super) fn wants_another_batch(&self) -> bool {
        if self.inputs.tracker.pending().blocks > 0 {
            return true;
        }
        // While the background reads the state no checkpoint can be taken: it is waited for.
        !self.is_covered() && self.lazy.is_none() && self.checkpoint.pending.is_none() && self.in_flight.is_empty()
    }

    /// Whether a checkpoint of the newest batch is there, or on its way.
    fn is_covered(&self) -> bool {
        let newest = self.next_batch.0 - 1;
        self.checkpoint.newest.0 == newest || self.checkpoint.pending.is_some_and(|batch| batch.0 == newest)
    }

    /// Nothing can be given to the dataflow: when stopping, see whether all is done.
    pub(super) fn advance_stop(&mut self) -> Result<()> {
        if let Some(lazy) = self.lazy.as_ref().filter(|_| self.stopping == Stopping::Draining && !self.is_covered()) {
            lazy.hurry();
            return Ok(());
        }
        let idle = self.in_flight.is_empty() && self.checkpoint.pending.is_none();
        if self.stopping == Stopping::Draining && idle && !self.wants_another_batch() {
            if self.unlogged_publication.is_some() {
                self.log_events(&[])?;
            }
            self.stopping = Stopping::Done;
        }
        Ok(())
    }

    /// Ends everything that runs. After an error, and after a hard stop, the log is not marked as closed: what is in doubt stays
    /// in doubt.
    pub(super) fn close(mut self, orderly: bool) -> Result<()> {
        let checkpoints = guarded(|| self.end_threads());
        let closed = if orderly {
            self.wal
                .close()
                .map_err(|error| Error::caused_by(ErrorKind::Environment, "the log cannot be closed", error))
        } else {
            // Clones live in receivers that the user may still hold; none of them may append any more.
            self.wal.abandon();
            Ok(())
        };
        // A runtime must not be dropped inside of another one, and the driver may be.
        self.runtime.shutdown_background();
        for (node, output) in self.deliveries {
            drop_of_user(format_args!("output \"{}\"", self.graph.node(node).name), output);
        }
        for input in self.inputs.directs {
            drop_of_user(format_args!("source \"{}\"", input.uid), input.source);
        }
        drop_of_user("a function of the program", self.graph);
        checkpoints.and(closed)
    }

    /// Ends every thread that holds the state or the log, except the log's own.
    pub(super) fn end_threads(&mut self) -> Result<()> {
        self.ticker = None;
        let supervisor = self.supervisor.take();
        let aborted = Instant::now();
        supervisor.iter().for_each(|supervisor| supervisor.abort());
        self.drop_engine();
        // Receivers and workers have the same grace period.
        self.shared.leave_behind(supervisor.iter().flat_map(|supervisor| supervisor.wait_for_threads(aborted)));
        self.checkpointer.take().map_or(Ok(()), |checkpointer| {
            checkpointer
                .stop()
                .map(drop)
                .map_err(|error| Error::caused_by(ErrorKind::Environment, "checkpoints", error))
        })
    }
}

/// Drops what holds code of the user. A panic in it is reported, and changes nothing: the job has ended.
fn drop_of_user(whose: impl fmt::Display, held: impl Sized) {
    if let Err(error) = user_code::call(format_args!("{whose}, when it was dropped,"), || drop(held)) {
        tracing::error!(%error, "what the program gave to the job panics");
    }
}
