//! The sending end of a narrow operator: collects a run, then hands it on.

use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::push::{Push, RUN, Unit};

/// Collects what an operator puts out and hands it to the next one in runs.
pub(crate) struct Emit<U> {
    name: Arc<str>,
    run: Vec<U>,
    next: Box<dyn Push<U>>,
}

impl<U> Emit<U> {
    pub fn new(name: Arc<str>, next: Box<dyn Push<U>>) -> Self {
        Self { name, run: Vec::with_capacity(RUN), next }
    }

    pub fn begin(&mut self, unit: &Unit) {
        self.next.begin(unit);
    }

    #[inline]
    pub fn emit(&mut self, record: U) {
        self.run.push(record);
        if self.run.len() >= RUN {
            self.flush();
        }
    }

    /// As many [`emit`](Self::emit)s; faster, for no more than about a run of records.
    #[inline]
    pub fn extend(&mut self, records: impl Iterator<Item = U>) {
        self.run.extend(records);
        if self.run.len() >= RUN {
            self.flush();
        }
    }

    pub fn wants_more(&self) -> bool {
        self.next.wants_more()
    }

    pub fn end(&mut self) {
        self.flush();
        self.next.end();
    }

    fn flush(&mut self) {
        if !self.run.is_empty() {
            self.next.push(&mut self.run);
            // The next operators' code ran meanwhile; from here on it is this one's again.
            blame::enter(&self.name);
        }
    }
}
