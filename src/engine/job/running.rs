//! The handle on a running job.

use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use crate::dataflow::engine::Width;
use crate::dataflow::graph::Graph;
use crate::driver::guard::guarded;
use crate::driver::message::DriverMessage;
use crate::driver::signals::Signals;
use crate::driver::start::Job;
use crate::driver::status::{Shared, Status};
use crate::driver::stopper::Stopper;
use crate::driver::watch::Watch;
use crate::job::query::StateHandle;
use crate::listener::ListenerThread;
use crate::listener::events::{Ending, StreamingStopped};
use crate::source::ReceiverStatus;
use floodmark_base::clock::Clock;
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_store::recovery::report::RecoveryReport;
use floodmark_store::state::schema::Schema;

/// A running job. Dropping the handle stops the job hard; recovery does the rest at the next start.
///
/// ```no_run
/// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
/// # context.socket_text_stream("lines", "127.0.0.1:9999").print(10);
/// let running = context.start()?;
/// println!("{}", running.recovery());
/// running.await_termination()?;
/// # Ok::<(), floodmark::Error>(())
/// ```
pub struct Running {
    shared: Arc<Shared>,
    sender: Sender<DriverMessage>,
    stopper: Stopper,
    watch: Watch,
    graph: Arc<Graph>,
    width: Width,
    recovery: RecoveryReport,
    driver: ThreadId,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where a job is in its life; see [`Running::phase`].
///
/// ```
/// assert_ne!(floodmark::Phase::Active, floodmark::Phase::Stopped);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It has recovered, and runs; also while it stops gracefully.
    Active,
    /// It was stopped, by [`Running::stop`] or a signal.
    Stopped,
    /// An error has ended it; [`Running::await_termination`] tells which. Spark: `STOPPED`, too.
    Failed,
}

impl Running {
    pub(crate) fn start(mut job: Job, graph: Arc<Graph>, sender: Sender<DriverMessage>) -> Result<Self> {
        let stopper = Stopper::new(sender.clone(), job.settings.stop_signal(), job.watch.clone());
        let (shared, width, watch) = (job.shared.clone(), job.settings.width, job.watch.clone());
        let signals = job.settings.signals.then(|| Signals::listen(stopper.clone())).transpose()?;
        job.settings.stop_handle.add(&stopper);
        let listeners = job.settings.listeners.clone();
        let listeners = ListenerThread::start(listeners, job.settings.listener_queue, shared.clone())?;
        let events = listeners.events();
        job.events = events.clone();
        let end = Arc::new(End {
            listeners: Mutex::new(Some(listeners)),
            clock: job.settings.clock.clone(),
            grace: job.settings.stop_grace,
            shared: shared.clone(),
        });
        let cannot_start = |error| Error::caused_by(ErrorKind::Environment, "the driver cannot be started", error);
        let (watching, end_without_driver) = (watch.clone(), end.clone());
        let watching = std::thread::Builder::new().name("watch".into()).spawn(move || {
            if let Some(error) = watching.serve(|overdue| events.tell(|| overdue.clone())) {
                end_without_driver.shared.abort_receivers();
                end_without_driver.tell(Err(error));
            }
        });
        let watching = watching.map_err(cannot_start)?;
        let watched = watch.clone();
        let driver = move || {
            watched.watch_this_thread();
            let ended = guarded(|| job.run());
            drop(signals);
            if watched.end() {
                end.tell(ended);
            } else {
                tracing::info!("the driver that was left behind has ended: the job can be started again");
            }
            join("watch", watching);
        };
        let thread = std::thread::Builder::new().name("driver".into()).spawn(driver);
        let thread = thread.map_err(|error| {
            watch.end();
            cannot_start(error)
        })?;
        let recovery = match shared.wait_for_recovery() {
            Ok(recovery) => recovery,
            Err(error) => {
                if !watch.has_given_up() {
                    join("driver", thread);
                }
                return Err(error);
            }
        };
        let (driver, thread) = (thread.thread().id(), Mutex::new(Some(thread)));
        Ok(Self { shared, sender, stopper, watch, graph, width, recovery, driver, thread })
    }

    /// What recovery found and did.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Where the job stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Whether the job runs, has stopped, or has failed. Spark: `StreamingContext.getState`; what is `INITIALIZED` there is a
    /// [`StreamingContext`](crate::StreamingContext) that was not started.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::Phase;
    /// # let place = tempfile::tempdir().unwrap();
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint(place.path().join("state")).build()?;
    /// # context.queue_stream::<u64>("numbers").1.print(10);
    /// let running = context.start()?;
    /// assert_eq!(running.phase(), Phase::Active);
    /// running.stop(true)?;
    /// assert_eq!(running.phase(), Phase::Stopped);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.shared.wait_for_end(Some(Duration::ZERO)) {
            None => Phase::Active,
            Some(Ok(())) => Phase::Stopped,
            Some(Err(_)) => Phase::Failed,
        }
    }

    /// What each receiver does, in the order of their declaration: connections that are tried again, and errors, show here.
    #[must_use]
    pub fn receivers(&self) -> Vec<ReceiverStatus> {
        self.shared.receivers()
    }

    /// Waits until the status is as asked for; returns it.
    ///
    /// # Errors
    /// The job's error, when it fails before; `Stopped` when it ends before.
    pub fn wait_until(&self, reached: impl Fn(&Status) -> bool) -> Result<Status> {
        Ok(self.shared.wait_until(reached, None)?.expect("without a timeout it waits until then"))
    }

    /// As [`wait_until`](Self::wait_until), for so long at the most; `None` when the status is not as asked for by then.
    ///
    /// # Errors
    /// As [`wait_until`](Self::wait_until).
    pub fn wait_until_timeout(&self, reached: impl Fn(&Status) -> bool, timeout: Duration) -> Result<Option<Status>> {
        self.shared.wait_until(reached, Some(timeout))
    }

    /// Stops the job and waits for its end. Gracefully: receives no more, computes what was received, takes a checkpoint, and
    /// leaves nothing to replay. Not gracefully: at once; the next start recovers.
    ///
    /// While the store of a job in object storage does not answer, a graceful stop waits for it, as long as
    /// [`object_store_patience`](crate::StreamingContextBuilder::object_store_patience) says. Stopping the job hard ends that wait, too:
    /// by `stop(false)` from another thread, a second SIGINT, or dropping the handle.
    ///
    /// Receivers, functions of the job and listeners that do not return are waited for no longer than the
    /// [grace period](crate::StreamingContextBuilder::stop_grace). A graceful stop computes and publishes what was received, however long that
    /// takes; a hard stop, from another thread or by a second SIGINT, ends it.
    ///
    /// # Errors
    /// The job's error, when it has failed or fails while it stops. `UserCode`, with the name of the code, when a hard stop has waited for
    /// an output, a direct source or a loader as long as the grace period: its thread keeps the lock on the job's directory until the code
    /// returns or the process ends, and until then the job cannot be started again.
    pub fn stop(&self, graceful: bool) -> Result<()> {
        self.stopper.stop(graceful);
        self.await_termination()
    }

    /// Waits for the end of the job: by [`stop`](Self::stop), by a signal, or by an error.
    ///
    /// # Errors
    /// The error that ended the job.
    pub fn await_termination(&self) -> Result<()> {
        let outcome = self.shared.wait_for_end(None).expect("without a timeout it waits for the end");
        self.join();
        outcome
    }

    /// As [`await_termination`](Self::await_termination), for so long at the most; says whether the job has ended.
    ///
    /// # Errors
    /// The error that ended the job.
    pub fn await_termination_timeout(&self, timeout: Duration) -> Result<bool> {
        match self.shared.wait_for_end(Some(timeout)) {
            None => Ok(false),
            Some(outcome) => {
                self.join();
                outcome.map(|()| true)
            }
        }
    }

    /// The committed state of an operator, by its uid, readable from any thread while the job runs; as of the newest batch, or as
    /// of one [by its number](StateHandle::as_of).
    ///
    /// # Errors
    /// `Configuration` when there is no such operator, or its types are others.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # let place = tempfile::tempdir().unwrap();
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint(place.path().join("state")).build()?;
    /// # let (words, stream) = context.queue_stream::<(String, u64)>("words");
    /// # stream.update_state_by_key("counts", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64));
    /// # let running = context.start()?;
    /// words.push(vec![("apple".to_string(), 1)])?;
    /// running.wait_until(|status| status.records == 1)?;
    /// let counts = running.state::<String, u64>("counts")?;
    /// assert_eq!(counts.get(&"apple".to_string())?, Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn state<K: Key, S: Record>(&self, uid: &str) -> Result<StateHandle<'_, K, S>> {
        let wrong = |problem: String| Error::new(ErrorKind::Configuration, problem);
        let found = self.graph.stateful().find(|(_, _, descriptor)| descriptor.uid.as_str() == uid);
        let (node, _, descriptor) = found.ok_or_else(|| wrong(format!("no operator \"{uid}\" keeps state")))?;
        let (key, state) = (Schema::of::<K>(), Schema::of::<S>());
        if key != descriptor.key_schema || state != descriptor.seen_schema {
            let text = |schema: &Schema| schema.text().unwrap_or("?").to_string();
            let expected = format!("{} and {}", text(&descriptor.key_schema), text(&descriptor.seen_schema));
            return Err(wrong(format!(
                "the keys and states of \"{uid}\" are {expected}, not {} and {}",
                text(&key),
                text(&state)
            )));
        }
        Ok(StateHandle::new(self, node))
    }

    /// A fingerprint of the state of every operator: uid, number of entries, order-free digest of keys and states. Equal states
    /// have equal fingerprints in every run, with any number of workers.
    ///
    /// # Errors
    /// As [`StateHandle::get`].
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn fingerprints(&self) -> Result<Vec<(String, u64, u64)>> {
        let of = |(node, _, descriptor): (_, _, floodmark_store::state::descriptor::StateDescriptor)| {
            let (entries, digest) = StateHandle::<u64, u64>::new(self, node).fingerprint()?;
            Ok((descriptor.uid.to_string(), entries, digest))
        };
        self.graph.stateful().map(of).collect()
    }

    pub(crate) fn width(&self) -> Width {
        self.width
    }

    pub(crate) fn tell_driver(&self, message: DriverMessage) -> Result<()> {
        self.sender.send(message).map_err(|_| Error::new(ErrorKind::Stopped, "the job has ended"))
    }

    /// Refuses what would make the driver wait for itself.
    pub(crate) fn check_not_inside(&self) -> Result<()> {
        if std::thread::current().id() != self.driver {
            return Ok(());
        }
        let problem = "an output's function asks for the state of its own job: it runs on the thread that would answer";
        Err(Error::new(ErrorKind::Configuration, problem))
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|_| !self.watch.has_given_up()) {
            join("driver", thread);
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(name, "a thread of the library panicked");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop(false);
        self.shared.wait_for_end(None);
        self.join();
    }
}

/// How the end of a job is told: by its driver, or where that does not return, by the watch.
struct End {
    listeners: Mutex<Option<ListenerThread>>,
    clock: Arc<dyn Clock>,
    grace: Duration,
    shared: Arc<Shared>,
}

impl End {
    fn tell(&self, ended: Result<Ending>) {
        if let Err(error) = &ended {
            tracing::error!(%error, "the job has failed");
        }
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Listeners hear everything before anybody hears of the end.
        if let Some(listeners) = listeners {
            listeners.end(StreamingStopped::new(ended.as_ref(), self.clock.epoch_ms()), self.grace);
        }
        self.shared.end(&ended.map(drop));
    }
}
