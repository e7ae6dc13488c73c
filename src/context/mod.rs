//! The context: settings, the graph that is declared, and the start.

mod builder;
mod sources;

use std::cell::RefCell;
use std::fmt;
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
    /// Begins a job of this name. Spark: `new StreamingContext(conf, interval)`, or `getOrCreate`: starting is recovering.
    ///
    /// ```
    /// let builder = floodmark::StreamingContext::builder("word-count");
    /// ```
    pub fn builder(app_name: &str) -> StreamingContextBuilder {
        StreamingContextBuilder::new(app_name)
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
        let graph = self.graph.finish().map_err(|problem| Error::new(ErrorKind::Configuration, problem))?;
        if graph.sources().next().is_none() {
            return Err(Error::new(ErrorKind::Configuration, "the job has no source"));
        }
        let Sources { receivers, directs } = self.sources.into_inner();
        let (sender, inbox) = channel();
        let graph = Arc::new(graph);
        let job = Job {
            settings: self.settings,
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
