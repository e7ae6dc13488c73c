//! `DStream`: a stream of batches, as a node of the graph that the user declares.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::graph::{Graph, Narrow, NodeId, Operator, Output, Wide};
use crate::id::Uid;

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
#[derive(Default)]
pub(crate) struct GraphBuilder {
    declared: RefCell<Declared>,
}

#[derive(Default)]
struct Declared {
    graph: Graph,
    uids: Vec<Uid>,
    problems: Vec<String>,
}

impl GraphBuilder {
    pub fn add(&self, name: impl Into<Arc<str>>, parents: Vec<NodeId>, operator: Operator) -> NodeId {
        self.declared.borrow_mut().graph.add(name, parents, operator)
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

    /// The graph, if nothing is wrong with it.
    pub fn finish(self) -> Result<Graph, String> {
        let declared = self.declared.into_inner();
        if declared.problems.is_empty() { Ok(declared.graph) } else { Err(declared.problems.join("; ")) }
    }

    pub fn unnamed(&self, name: &str) -> String {
        format!("{name}#{}", self.declared.borrow().graph.nodes.len())
    }
}

impl<'c, T> DStream<'c, T> {
    pub(crate) fn new(graph: &'c GraphBuilder, node: NodeId) -> Self {
        Self { graph, node, types: PhantomData }
    }

    pub(crate) fn narrow<U>(&self, name: &str, operator: impl Narrow + 'static) -> DStream<'c, U> {
        self.narrow_of(name, vec![self.node], operator)
    }

    pub(crate) fn narrow_of<U>(
        &self,
        name: &str,
        parents: Vec<NodeId>,
        operator: impl Narrow + 'static,
    ) -> DStream<'c, U> {
        let node = self.graph.add(self.graph.unnamed(name), parents, Operator::Narrow(Arc::new(operator)));
        DStream::new(self.graph, node)
    }

    pub(crate) fn wide<U>(&self, name: &str, operator: impl Wide + 'static) -> DStream<'c, U> {
        let node = self.graph.add(self.graph.unnamed(name), vec![self.node], Operator::Wide(Arc::new(operator)));
        DStream::new(self.graph, node)
    }

    pub(crate) fn stateful<U>(&self, uid: &Uid, operator: impl Wide + 'static) -> DStream<'c, U> {
        self.graph.claim(uid);
        let node = self.graph.add(uid.as_str(), vec![self.node], Operator::Wide(Arc::new(operator)));
        DStream::new(self.graph, node)
    }

    pub(crate) fn output(&self, name: &str, operator: impl Output + 'static) {
        self.graph.add(self.graph.unnamed(name), vec![self.node], Operator::Output(Arc::new(operator)));
    }

    pub(crate) fn named_output(&self, uid: &Uid, operator: impl Output + 'static) {
        self.graph.claim(uid);
        self.graph.add(uid.as_str(), vec![self.node], Operator::Output(Arc::new(operator)));
    }
}
