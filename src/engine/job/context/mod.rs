//! The context: settings, the graph that is declared, and the start.

mod builder;
mod fingerprint;
mod sources;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::dataflow::graph::Graph;
use crate::driver::inbox::Inbox;
use crate::driver::inputs::DirectInput;
use crate::driver::message::DriverMessage;
use crate::driver::replay::ReplaySettings;
use crate::driver::settings::JobSettings;
use crate::driver::start::{Job, declared};
use crate::driver::watch::Watch;
use crate::dstream::GraphBuilder;
use crate::job::replay::{Fork, Replay};
use crate::job::running::Running;
use crate::listener::{Events, Listeners};
use crate::source::ReceiverSource;
use floodmark_base::codec::Record;
use floodmark_base::disk::LocalDisk;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::BatchId;
use floodmark_base::place::absolute;
use floodmark_base::types::offer_sample;
use floodmark_store::recovery::schema::JobSchema;
use floodmark_store::wal::WalSettings;

pub use builder::StreamingContextBuilder;

/// A job while it is declared: its settings, its sources, and the graph of operators behind them.
///
/// [`start`](Self::start) takes it, recovers what is in the checkpoint location (or starts fresh in an empty one), and runs.
/// Several contexts may live in one process, each with a location of its own. It can be used from synchronous code and inside
/// of a tokio runtime; `start` blocks until recovery is done.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// # let place = tempfile::tempdir().unwrap();
/// # let state = place.path().join("state");
/// use floodmark::StreamingContext;
///
/// let context = StreamingContext::builder("totals").checkpoint(&state).build()?;
/// let (sales, stream) = context.queue_stream::<(String, u64)>("sales");
/// stream.update_state_by_key("totals", |sales: &[u64], total: Option<u64>| {
///     Some(total.unwrap_or(0) + sales.iter().sum::<u64>())
/// });
/// let running = context.start()?;
/// sales.push(vec![("apples".to_string(), 3)])?;
/// running.stop(true)?;
/// # Ok(())
/// # }
/// ```
pub struct StreamingContext {
    settings: JobSettings,
    /// The location as it was given: a directory, or a place in object storage.
    given: PathBuf,
    checkpoint_every: Option<u64>,
    graph: GraphBuilder,
    sources: RefCell<Sources>,
}

#[derive(Default)]
struct Sources {
    receivers: Vec<ReceiverSource>,
    directs: Vec<DirectInput>,
}

impl fmt::Debug for StreamingContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingContext").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl StreamingContext {
    /// Begins a job of this name. Spark: `new StreamingContext(conf, interval)`. Starting is recovering: see
    /// [`get_or_create`](Self::get_or_create) where Spark's `getOrCreate` is missed.
    ///
    /// ```
    /// let builder = floodmark::StreamingContext::builder("word-count");
    /// ```
    pub fn builder(app_name: &str) -> StreamingContextBuilder {
        StreamingContextBuilder::new(app_name)
    }

    /// Declares a job by `create` and starts it: recovers what is in `location`, or starts fresh in an empty one. Spark:
    /// `StreamingContext.getOrCreate(checkpointPath, creatingFunc)`, then `start()`.
    ///
    /// For those who come from Spark: there `creatingFunc` runs only where no checkpoint is, since a checkpoint holds the graph
    /// with its code. Here code is never stored, so `create` runs at every start, and a changed program, or changed settings,
    /// take effect at once. It gets a builder with the name and the location, and what it returns is started: this is
    /// `builder(name).checkpoint(location)`, `build()`, the graph, and [`start`](Self::start).
    ///
    /// # Errors
    /// What `create` returns; `Configuration` when its context has another location; and as [`start`](Self::start).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::{Result, StreamingContext, StreamingContextBuilder};
    ///
    /// fn create(builder: StreamingContextBuilder) -> Result<StreamingContext> {
    ///     let context = builder.workers(2).build()?;
    ///     context.text_file_stream("files", "./incoming").print(10);
    ///     Ok(context)
    /// }
    ///
    /// # let place = tempfile::tempdir().unwrap();
    /// # let state = place.path().join("state");
    /// # let create = |builder: StreamingContextBuilder| -> Result<StreamingContext> {
    /// #     let context = builder.build()?;
    /// #     context.queue_stream::<u64>("numbers").1.print(10);
    /// #     Ok(context)
    /// # };
    /// let running = StreamingContext::get_or_create("job", &state, create)?;
    /// running.stop(true)
    /// # }
    /// ```
    pub fn get_or_create(
        app_name: &str,
        location: impl Into<PathBuf>,
        create: impl FnOnce(StreamingContextBuilder) -> Result<StreamingContext>,
    ) -> Result<Running> {
        let location = location.into();
        let context = create(Self::builder(app_name).checkpoint(&location))?;
        let found = &context.given;
        if absolute(found.clone()) != absolute(location.clone()) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "the context that was created has the checkpoint location {}: expected {}",
                    found.display(),
                    location.display()
                ),
            ));
        }
        context.start()
    }

    /// Recovers what is in the checkpoint location, or starts fresh in an empty one; then receives and computes.
    ///
    /// Blocks until the batches since the checkpoint are recomputed. Spark: `StreamingContext.getOrCreate(…).start()`.
    ///
    /// # Errors
    /// `Configuration` when the graph is wrong (a uid used twice, streams of two contexts, nothing to do); `Owned` when another
    /// driver is alive; `Incompatible` when what is stored does not fit this program; `Damaged` when it is not what it was;
    /// `Environment` when the disk or the system refuses; `Stopped` when it is ended by a
    /// [signal](StreamingContextBuilder::install_signal_handlers) or a [handle](StreamingContextBuilder::stop_handle).
    ///
    /// ```no_run
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// # context.socket_text_stream("lines", "127.0.0.1:9999").print(10);
    /// let running = context.start()?;
    /// println!("{}", running.recovery());
    /// running.await_termination()?;
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn start(self) -> Result<Running> {
        let (job, graph, sender) = self.declared()?;
        Running::start(job, graph, sender)
    }

    /// Gives an example of a type that checks its input, where it accepts none of the values that Floodmark offers.
    ///
    /// Before a job starts, samples of the types of its records, keys and states are made: that shows their shapes, and whether
    /// they can be stored. `uuid`, `chrono`, `NonZeroU32` and the like need no help. A type that accepts nothing is taken all the
    /// same, but part of its shape is unknown, and each of its values is checked when it comes. The plain values of a sample
    /// (texts, numbers, bytes) are offered to all types, in this process from now on; so give it before the streams that use it.
    ///
    /// A sample that cannot be stored itself is reported when the job starts.
    ///
    /// ```
    /// # let place = tempfile::tempdir().unwrap();
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    /// #[serde(try_from = "String")]
    /// struct OrderNumber(String);
    ///
    /// impl TryFrom<String> for OrderNumber {
    ///     type Error = &'static str;
    ///
    ///     fn try_from(text: String) -> Result<Self, Self::Error> {
    ///         if text.starts_with("ORD/") { Ok(Self(text)) } else { Err("not an order number") }
    ///     }
    /// }
    ///
    /// let context = floodmark::StreamingContext::builder("orders").checkpoint(place.path()).build()?;
    /// context.sample(&OrderNumber("ORD/1".to_string()));
    /// let (orders, stream) = context.queue_stream::<OrderNumber>("orders");
    /// stream.count_by_value().print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn sample<T: Record>(&self, value: &T) {
        if let Err(problem) = offer_sample(value) {
            let type_name = std::any::type_name::<T>();
            self.graph.report_problem(format!("the sample of {type_name} cannot be stored: {problem}"));
        }
    }

    /// What this program declares, as far as a start compares it with what is stored: to be exported by a new build before it is
    /// deployed, for `floodmark compat --schema FILE`.
    ///
    /// # Errors
    /// `Configuration` when the graph is wrong, or a type cannot be stored.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # let place = tempfile::tempdir().unwrap();
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint(place.path().join("state")).build()?;
    /// # let file = place.path().join("job.json");
    /// context.queue_stream::<u64>("numbers").1.print(10);
    /// std::fs::write(&file, context.schema()?.to_json()).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn schema(&self) -> Result<JobSchema> {
        let declared = self.graph.look(|graph| declared(&self.settings, graph));
        let declared = declared.map_err(|problem| Error::new(ErrorKind::Configuration, problem))?;
        Ok(JobSchema::of(&declared)?)
    }

    /// Computes the job's state as of a batch that is over again, by this code, and keeps it for queries.
    ///
    /// It begins with the newest checkpoint at or before the batch and recomputes the batches since from their plans in the log, on a
    /// fork of what is stored, in a temporary directory. The store is only read: it may be a copy, be read-only, or belong to a
    /// job that is running. Nothing leaves a replay: no output is given anything, no receiver starts, nothing ticks, no listener
    /// hears of it, no checkpoint is taken. Ranges of direct sources are read again.
    ///
    /// The batches since the oldest checkpoint that is kept can be had. What the log says of their results is compared with what comes
    /// out here, and told by [`Replay::differences`]: the code may be a newer one. To run one batch under a debugger, replay
    /// up to it with one worker and break in the operator in question.
    ///
    /// # Errors
    /// `Past` when no checkpoint at or before the batch is left; `Configuration` when the batch is not planned, or nothing is stored
    /// here; both say which batches can be had. All others as [`start`](Self::start).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # let place = tempfile::tempdir().unwrap();
    /// # let state = place.path().join("state");
    /// use floodmark::{BatchId, Queue, StreamingContext};
    ///
    /// let declare = || -> floodmark::Result<(StreamingContext, Queue<(String, u64)>)> {
    ///     let context = StreamingContext::builder("totals").checkpoint(&state).workers(1).build()?;
    ///     let (sales, stream) = context.queue_stream::<(String, u64)>("sales");
    ///     stream.update_state_by_key("totals", |sales: &[u64], total: Option<u64>| {
    ///         Some(total.unwrap_or(0) + sales.iter().sum::<u64>())
    ///     });
    ///     Ok((context, sales))
    /// };
    /// let (context, sales) = declare()?;
    /// let running = context.start()?;
    /// sales.push(vec![("apples".to_string(), 3)])?;
    /// let first = running.wait_until(|status| status.records == 1)?.committed;
    /// sales.push(vec![("apples".to_string(), 4)])?;
    /// running.wait_until(|status| status.records == 2)?;
    ///
    /// let replay = declare()?.0.replay(first)?; // beside the running job
    /// assert_eq!(replay.state::<String, u64>("totals")?.get(&"apples".to_string())?, Some(3));
    /// assert!(replay.differences().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn replay(mut self, to: BatchId) -> Result<Replay> {
        let (fork, facts) = Fork::of(&*self.settings.disk, &self.settings.location, to)?;
        let replay = ReplaySettings::new(to);
        // Before anything is started, so that what cannot be had is told at once.
        replay.limit(facts)?;
        let settings = &mut self.settings;
        settings.location = fork.path().to_path_buf();
        settings.disk = Arc::new(LocalDisk);
        settings.wal = WalSettings { reserve_bytes: 0, quota_bytes: u64::MAX, ..settings.wal.clone() };
        (settings.signals, settings.listeners) = (false, Listeners::default());
        settings.remote = None;
        settings.replay = Some(replay.clone());
        let (job, graph, sender) = self.declared()?;
        Ok(Replay::new(Running::start(job, graph, sender)?, fork, &replay))
    }

    /// The job as declared.
    fn declared(self) -> Result<(Job, Arc<Graph>, Sender<DriverMessage>)> {
        let finished = self.graph.finish();
        let (graph, wish) = finished.map_err(|problem| Error::new(ErrorKind::Configuration, problem))?;
        if graph.sources().next().is_none() {
            return Err(Error::new(ErrorKind::Configuration, "the job has no source"));
        }
        let Sources { receivers, directs } = self.sources.into_inner();
        let mut settings = self.settings;
        let batches = |interval_ms: u64| interval_ms.div_ceil(settings.interval_ms);
        settings.checkpoint_every = match (self.checkpoint_every, wish.given_ms) {
            (None, _) => batches(wish.smallest_ms),
            (Some(every), given_ms) => given_ms.map_or(every, |given_ms| every.min(batches(given_ms))),
        };
        let inbox = Inbox::new();
        let sender = inbox.sender();
        let (graph, shared) = (Arc::new(graph), Arc::default());
        let watch = Watch::new(Arc::clone(&shared), settings.clock.clone(), settings.stop_grace);
        let job = Job {
            settings,
            graph: graph.clone(),
            receivers,
            directs,
            shared,
            events: Events::default(),
            inbox,
            watch,
            deliveries: Vec::new(),
        };
        Ok((job, graph, sender))
    }
}
