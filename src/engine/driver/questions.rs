//! Questions about the state, as of a batch.
//!
//! # Invariants
//! - An answer is of one batch: it is given while no batch is under way, by every worker before it gets another one.
//! - A question that can be answered as soon as the dataflow is idle is answered before the next batch is planned; one that
//!   waits for a later batch holds nothing up.
//! - The driver hands a question to the workers and goes on: whoever asks may be slow, or gone. What nobody has answered when
//!   the job ends is dropped, which tells whoever asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::dataflow::graph::NodeId;
use crate::dataflow::worker::{EncodedEntry, Select, StateQuery};
use crate::driver::Driver;
use floodmark_base::error::{Error, Result};
use floodmark_base::id::{Batch, BatchId};

/// What somebody wants to know.
pub(crate) struct Question {
    pub node: NodeId,
    pub select: Select,
    /// After which batch; after the newest one, whichever that is, where there is none.
    pub as_of: Option<BatchId>,
    pub reply: Sender<Reply>,
}

/// What comes back: a refusal, or the batch and then the entries of each worker.
pub(crate) enum Reply {
    AsOf(Batch),
    Entries(Vec<EncodedEntry>),
    /// The code of the types that were asked for has failed.
    Failed(Error),
    /// The batch asked for is over: the state is at this one, or on its way there.
    Past(BatchId),
}

impl Driver {
    /// Takes a question in, or refuses one whose batch is over.
    pub(super) fn take_question(&mut self, question: Question) {
        let newest = self.newest_planned();
        if question.as_of.is_some_and(|batch| batch < newest) {
            // Whoever asked may have gone.
            drop(question.reply.send(Reply::Past(newest)));
            return;
        }
        self.questions.push_back(question);
    }

    /// Answers what can be answered; whether the dataflow must first become idle for more, with no new batch in between.
    pub(super) fn questions_wait(&mut self) -> bool {
        if !self.history.all_given() {
            return false;
        }
        let newest = self.newest_planned();
        let due = |question: &Question| question.as_of.is_none_or(|batch| batch <= newest);
        if !self.in_flight.is_empty() {
            return self.questions.iter().any(due);
        }
        let (now, later) = std::mem::take(&mut self.questions).into_iter().partition(due);
        self.questions = later;
        self.answer(now, newest);
        false
    }

    fn answer(&self, questions: VecDeque<Question>, newest: BatchId) {
        let engine = self.engine.as_ref().expect("an engine runs while the driver serves");
        let batch = Batch { id: newest, time: self.last_time.unwrap_or_default() };
        for Question { node, select, reply, .. } in questions {
            drop(reply.send(Reply::AsOf(batch)));
            let name = self.graph.node(node).name.clone();
            let answer = move |found: Result<Vec<EncodedEntry>>| {
                let cannot = |error: Error| {
                    Error::caused_by(error.kind(), format!("the state of \"{name}\" cannot be told"), error)
                };
                drop(reply.send(found.map_or_else(|error| Reply::Failed(cannot(error)), Reply::Entries)));
            };
            engine.query(&StateQuery { node, select, answer: Arc::new(answer) });
        }
    }

    fn newest_planned(&self) -> BatchId {
        BatchId(self.next_batch.0 - 1)
    }
}
