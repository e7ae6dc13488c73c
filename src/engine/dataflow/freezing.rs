//! Freezing: a checkpoint gets the state as it is after its batch.
//!
//! The result of the batch need not wait for that, nor for the processor: a worker freezes when the driver says that the batch is
//! published; or, where the next batch is under way already, before that touches the operator. One checkpoint at a time is taken, so
//! one batch at a time is frozen.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::graph::{Graph, NodeId, SharedReduce};
use floodmark_store::state::FrozenRun;

/// What one worker gives to a checkpoint.
pub(crate) type FrozenOperators = Vec<(NodeId, Vec<FrozenRun>)>;

/// The operators of one worker that are to be frozen, shared by its stages and its loop.
#[derive(Clone)]
pub(crate) struct Freezing(Rc<RefCell<Frost>>);

#[derive(Default)]
struct Frost {
    /// The name of every node, by its number.
    names: Vec<Arc<str>>,
    waiting: Vec<(NodeId, SharedReduce)>,
    frozen: FrozenOperators,
}

impl Freezing {
    /// For the operators of this graph.
    pub fn new(graph: &Graph) -> Self {
        let names = graph.iter().map(|(_, node)| node.name.clone()).collect();
        Self(Rc::new(RefCell::new(Frost { names, ..Frost::default() })))
    }

    /// The batch that is to be frozen is through with these operators.
    pub fn defer(&self, operators: &[(NodeId, SharedReduce)]) {
        self.0.borrow_mut().waiting.extend_from_slice(operators);
    }

    /// A batch is about to touch these operators.
    pub fn before_touching(&self, operators: &[(NodeId, SharedReduce)]) {
        self.0.borrow_mut().freeze(|id| operators.iter().any(|(touched, _)| *touched == id));
    }

    /// The batch is published: all that it left.
    pub fn finish(&self) -> FrozenOperators {
        let mut frost = self.0.borrow_mut();
        frost.freeze(|_| true);
        std::mem::take(&mut frost.frozen)
    }
}

impl Frost {
    fn freeze(&mut self, which: impl Fn(NodeId) -> bool) {
        for (id, reduce) in self.waiting.extract_if(.., |(id, _)| which(*id)) {
            // Keys and states are encoded by code of the user.
            blame::enter(&self.names[id.0 as usize]);
            if let Some(state) = reduce.borrow_mut().state_mut() {
                self.frozen.push((id, state.freeze()));
            }
        }
    }
}
