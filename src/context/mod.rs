//! The context: settings, the graph that is declared, and the start.

mod builder;
mod sources;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use crate::driver::inputs::DirectInput;
use crate::driver::settings::JobSettings;
use crate::driver::start::Job;
use crate::dstream::GraphBuilder;
use crate::error::{Error, ErrorKind, Result};
use crate::listener::Events;
use crate::running::Running;
use crate::source::ReceiverSource;

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
        let found = &context.settings.location;
        if *found != location {
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
    /// `Environment` when the disk or the system refuses.
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
        let (sender, inbox) = channel();
        let graph = Arc::new(graph);
        let job = Job {
            settings,
            graph: graph.clone(),
            receivers,
            directs,
            shared: Arc::default(),
            events: Events::default(),
            sender: sender.clone(),
            inbox,
            deliveries: Vec::new(),
        };
        Running::start(job, graph, sender)
    }
}
