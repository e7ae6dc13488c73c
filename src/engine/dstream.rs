//! `DStream`: a stream of batches, as a node of the graph that the user declares.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::graph::{Graph, Narrow, Node, NodeId, Operator, Output, Source, Wide};
use floodmark_base::disk::Disk;
use floodmark_base::id::Uid;
use floodmark_store::batch::timing::{Slide, Window};

/// A discretized stream: one batch of `T` after another. Its methods add operators to the job's graph; nothing runs before
/// [`StreamingContext::start`](crate::StreamingContext::start), and since starting takes the context, no operator can be added
/// afterwards: the borrow checker says so.
///
/// ```compile_fail
/// # use floodmark::StreamingContext;
/// let context = StreamingContext::builder("job").checkpoint("./state").build()?;
/// let lines = context.socket_text_stream("lines", "127.0.0.1:9999");
/// let running = context.start()?;
/// lines.print(10); // error: `context` was moved
/// # Ok::<(), floodmark::Error>(())
/// ```
pub struct DStream<'c, T> {
    pub(crate) graph: &'c GraphBuilder,
    pub(crate) node: NodeId,
    types: PhantomData<fn() -> T>,
}

impl<T> Clone for DStream<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for DStream<'_, T> {}

/// A graph while it is declared. Mistakes are gathered, and reported when the job starts.
pub(crate) struct GraphBuilder {
    interval_ms: u64,
    /// For how long streams that are remembered are kept at least.
    remember: Duration,
    /// The door to the disk, for outputs that write files.
    disk: Arc<dyn Disk>,
    declared: RefCell<Declared>,
}

#[derive(Default)]
struct Declared {
    graph: Graph,
    uids: Vec<Uid>,
    /// The checkpoint intervals of streams, as given.
    checkpoints: Vec<(NodeId, u64)>,
    problems: Vec<String>,
}

/// The shortest time between checkpoints by default, in milliseconds.
const DEFAULT_CHECKPOINT_MS: u64 = 10_000;

/// How often the streams of a job want a checkpoint, in milliseconds; the smallest interval counts, since there is one checkpoint
/// for the whole job.
pub(crate) struct CheckpointWish {
    /// The smallest that was given.
    pub given_ms: Option<u64>,
    /// The smallest, with the defaults of those streams for which none was given.
    pub smallest_ms: u64,
}

impl GraphBuilder {
    pub fn new(interval_ms: u64, remember: Duration, disk: Arc<dyn Disk>) -> Self {
        Self { interval_ms, remember, disk, declared: RefCell::default() }
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    pub fn add_source(&self, uid: &Uid, source: Arc<dyn Source>) -> NodeId {
        self.claim(uid);
        self.add(uid.as_str(), Vec::new(), Slide(self.interval_ms), Operator::Source(source))
    }

    fn add(&self, name: impl Into<Arc<str>>, parents: Vec<NodeId>, slide: Slide, operator: Operator) -> NodeId {
        let name = name.into();
        let problem = match &operator {
            Operator::Wide(wide) => wide.type_problem(),
            Operator::Output(output) => output.type_problem(),
            Operator::Source(_) | Operator::Narrow(_) | Operator::Snapshots(_) => None,
        };
        if let Some(problem) = problem {
            self.report_problem(format!("\"{name}\": {problem}"));
        }
        self.declared.borrow_mut().graph.add(Node { name, parents, slide, operator })
    }

    /// Takes note of a uid, which must be the only one of its name.
    pub fn claim(&self, uid: &Uid) {
        let mut declared = self.declared.borrow_mut();
        if uid.as_str().is_empty() {
            declared.problems.push("a uid is empty: name every source, sink and stateful operator".to_string());
        } else if declared.uids.contains(uid) {
            declared.problems.push(format!(
                "the uid \"{uid}\" is used twice: every source, sink and stateful operator needs its own"
            ));
        } else {
            declared.uids.push(uid.clone());
        }
    }

    pub fn report_problem(&self, problem: impl Into<String>) {
        self.declared.borrow_mut().problems.push(problem.into());
    }

    /// Looks at the graph, if nothing is wrong with it so far.
    pub fn look<L>(&self, look: impl FnOnce(&Graph) -> L) -> Result<L, String> {
        let declared = self.declared.borrow();
        if declared.problems.is_empty() { Ok(look(&declared.graph)) } else { Err(declared.problems.join("; ")) }
    }

    /// The graph, if nothing is wrong with it, and how often its streams want a checkpoint.
    pub fn finish(self) -> Result<(Graph, CheckpointWish), String> {
        let Declared { graph, checkpoints, problems, .. } = self.declared.into_inner();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let by_default = |slide: Slide| slide.0 * DEFAULT_CHECKPOINT_MS.div_ceil(slide.0);
        let of_others =
            graph.stateful().map(|(id, ..)| id).filter(|id| checkpoints.iter().all(|(given, _)| given != id));
        let given_ms = checkpoints.iter().map(|(_, interval_ms)| *interval_ms).min();
        let smallest_ms = of_others.map(|id| by_default(graph.node(id).slide)).chain(given_ms).min();
        let wish = CheckpointWish { given_ms, smallest_ms: smallest_ms.unwrap_or(by_default(Slide(self.interval_ms))) };
        Ok((graph, wish))
    }

    /// Streams as the inputs of one operator: they must be of this context and slide alike. A mistake is reported when the job
    /// starts.
    fn together(&self, operator: &str, streams: &[(&GraphBuilder, NodeId)]) -> Vec<NodeId> {
        let parents = self.own(operator, streams);
        let slides: Vec<u64> = parents.iter().map(|parent| self.slide(*parent).0).collect();
        if slides.iter().any(|slide| *slide != slides[0]) {
            let slides = slides.iter().map(|slide| format!("{slide} ms")).collect::<Vec<_>>().join(" and ");
            let names = names(streams);
            self.report_problem(format!("{operator} of {names}: they slide by {slides}, and must slide alike"));
        }
        parents
    }

    /// The nodes of those streams that are of this context, as all must be.
    fn own(&self, operator: &str, streams: &[(&GraphBuilder, NodeId)]) -> Vec<NodeId> {
        let own = streams.iter().filter(|(graph, _)| std::ptr::eq(*graph, self)).map(|(_, node)| *node);
        let nodes: Vec<NodeId> = own.collect();
        if nodes.len() < streams.len() {
            let names = names(streams);
            self.report_problem(format!(
                "streams of two contexts are mixed: {operator} of {names}; all must come from the same one"
            ));
        }
        nodes
    }

    fn unnamed(&self, name: &str) -> String {
        format!("{name}#{}", self.declared.borrow().graph.nodes.len())
    }

    fn slide(&self, id: NodeId) -> Slide {
        self.declared.borrow().graph.node(id).slide
    }

    fn name(&self, id: NodeId) -> Arc<str> {
        self.declared.borrow().graph.node(id).name.clone()
    }
}

impl<'c, T> DStream<'c, T> {
    /// How often the job is to take a checkpoint on behalf of this stream's state; returns the stream. Spark:
    /// `DStream.checkpoint`.
    ///
    /// There is one consistent checkpoint for the whole job, so the smallest interval of its streams counts, and that of
    /// [`checkpoint_every`](crate::StreamingContextBuilder::checkpoint_every). Without one, a stream with state wants a checkpoint
    /// at the smallest multiple of its slide that is at least 10 s. The interval must be a multiple of the stream's slide;
    /// otherwise the job does not start, with an error that names both.
    ///
    /// ```
    /// # use floodmark::StreamingContext;
    /// # use std::time::Duration;
    /// let context = StreamingContext::builder("job").checkpoint("./state").batch_interval(Duration::from_secs(1)).build()?;
    /// let (_, words) = context.queue_stream::<(String, u64)>("words");
    /// words
    ///     .update_state_by_key("counts", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64))
    ///     .checkpoint(Duration::from_secs(30))
    ///     .print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn checkpoint(&self, interval: Duration) -> Self {
        let (slide, name) = (self.graph.slide(self.node), self.graph.name(self.node));
        match multiple_of(interval, slide) {
            Some(interval_ms) => self.graph.declared.borrow_mut().checkpoints.push((self.node, interval_ms)),
            None => self.graph.report_problem(format!(
                "the checkpoint interval of \"{name}\" is {interval:?}: expected a multiple of its slide, {} ms",
                slide.0
            )),
        }
        *self
    }

    pub(crate) fn new(graph: &'c GraphBuilder, node: NodeId) -> Self {
        Self { graph, node, types: PhantomData }
    }

    fn child<U>(&self, name: impl Into<Arc<str>>, parents: Vec<NodeId>, operator: Operator) -> DStream<'c, U> {
        let node = self.graph.add(name, parents, self.graph.slide(self.node), operator);
        DStream::new(self.graph, node)
    }

    pub(crate) fn narrow<U>(&self, name: &str, operator: impl Narrow + 'static) -> DStream<'c, U> {
        self.child(self.graph.unnamed(name), vec![self.node], Operator::Narrow(Arc::new(operator)))
    }

    /// A narrow operator over many streams; see [`GraphBuilder::together`].
    pub(crate) fn narrow_over<W>(
        graph: &'c GraphBuilder,
        name: &str,
        streams: &[DStream<'_, W>],
        operator: impl Narrow + 'static,
    ) -> DStream<'c, T> {
        let inputs: Vec<_> = streams.iter().map(|stream| (stream.graph, stream.node)).collect();
        let parents = graph.together(name, &inputs);
        let slide = parents.first().map_or(Slide(graph.interval_ms), |parent| graph.slide(*parent));
        let node = graph.add(graph.unnamed(name), parents, slide, Operator::Narrow(Arc::new(operator)));
        DStream::new(graph, node)
    }

    pub(crate) fn wide<U>(&self, name: &str, operator: impl Wide + 'static) -> DStream<'c, U> {
        self.child(self.graph.unnamed(name), vec![self.node], Operator::Wide(Arc::new(operator)))
    }

    /// A wide operator over this stream and another one; see [`GraphBuilder::together`].
    pub(crate) fn wide_with<U, W>(
        &self,
        name: &str,
        other: &DStream<'_, W>,
        operator: impl Wide + 'static,
    ) -> DStream<'c, U> {
        let parents = self.together(name, other);
        self.child(self.graph.unnamed(name), parents, Operator::Wide(Arc::new(operator)))
    }

    pub(crate) fn stateful<U>(&self, uid: &Uid, operator: impl Wide + 'static) -> DStream<'c, U> {
        self.graph.claim(uid);
        self.child(uid.as_str(), vec![self.node], Operator::Wide(Arc::new(operator)))
    }

    /// A wide operator with state over this stream and one that yields in every batch. That one is its side 0 and says when it
    /// runs; it yields as often as this stream, its side 1, whose slide it is told.
    pub(crate) fn stateful_behind<U, W, O: Wide + 'static>(
        &self,
        uid: &Uid,
        first: &DStream<'_, W>,
        operator: impl FnOnce(Slide) -> O,
    ) -> DStream<'c, U> {
        self.graph.claim(uid);
        let parents = self.graph.own(uid.as_str(), &[(first.graph, first.node), (self.graph, self.node)]);
        let operator = operator(self.graph.slide(self.node));
        self.child(uid.as_str(), parents, Operator::Wide(Arc::new(operator)))
    }

    /// A wide operator with state that yields less often than this stream.
    pub(crate) fn sliding<U>(&self, uid: &Uid, slide: Slide, operator: impl Wide + 'static) -> DStream<'c, U> {
        self.graph.claim(uid);
        let node = self.graph.add(uid.as_str(), vec![self.node], slide, Operator::Wide(Arc::new(operator)));
        DStream::new(self.graph, node)
    }

    /// The state of this stream's operator as a stream of its own.
    pub(crate) fn snapshots<U>(&self, operator: impl Narrow + 'static) -> DStream<'c, U> {
        self.child(self.graph.unnamed("state_snapshots"), vec![self.node], Operator::Snapshots(Arc::new(operator)))
    }

    pub(crate) fn output(&self, name: &str, operator: impl Output + 'static) {
        self.child::<()>(self.graph.unnamed(name), vec![self.node], Operator::Output(Arc::new(operator)));
    }

    pub(crate) fn named_output(&self, uid: &Uid, operator: impl Output + 'static) {
        self.graph.claim(uid);
        self.child::<()>(uid.as_str(), vec![self.node], Operator::Output(Arc::new(operator)));
    }

    /// This stream and another one as the inputs of one operator; see [`GraphBuilder::together`].
    fn together<W>(&self, operator: &str, other: &DStream<'_, W>) -> Vec<NodeId> {
        self.graph.together(operator, &[(self.graph, self.node), (other.graph, other.node)])
    }

    /// The window of an operator with this uid over this stream; a mistake is reported when the job starts.
    pub(crate) fn window_of(&self, uid: &Uid, length: Duration, slide: Duration) -> Window {
        let parent = self.graph.slide(self.node);
        let problem = |what: &str, given: Duration| {
            let name = self.graph.name(self.node);
            self.graph.report_problem(format!(
                "the {what} of the window \"{uid}\" is {given:?}: expected a multiple of {} ms, by which \"{name}\" slides",
                parent.0
            ));
            parent.0
        };
        let length_ms = multiple_of(length, parent).unwrap_or_else(|| problem("length", length));
        let slide_ms = multiple_of(slide, parent).unwrap_or_else(|| problem("slide", slide));
        Window { length_ms, slide: Slide(slide_ms) }
    }

    /// The window of a stream that is remembered for at least so long.
    pub(crate) fn remembered_window(&self, duration: Duration) -> Window {
        let slide = self.graph.slide(self.node);
        let at_least = duration.max(self.graph.remember).as_nanos().div_ceil(1_000_000);
        let at_least = u64::try_from(at_least).unwrap_or(u64::MAX);
        Window { length_ms: at_least.div_ceil(slide.0).max(1).saturating_mul(slide.0), slide }
    }
}

/// A duration in milliseconds, if it is a multiple of a slide, and not zero.
fn multiple_of(duration: Duration, slide: Slide) -> Option<u64> {
    let milliseconds = u64::try_from(duration.as_millis()).ok()?;
    let whole = Duration::from_millis(milliseconds) == duration;
    (whole && milliseconds > 0 && milliseconds.is_multiple_of(slide.0)).then_some(milliseconds)
}

fn names(streams: &[(&GraphBuilder, NodeId)]) -> String {
    streams.iter().map(|(graph, node)| format!("\"{}\"", graph.name(*node))).collect::<Vec<_>>().join(" and ")
}
