//! The common shape of narrow operators: a function from a run of records to what it emits.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Narrow, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Adds a narrow operator that handles a run of records at a time; it must empty the run.
    pub(crate) fn per_run<U: Record>(
        &self,
        name: &str,
        function: impl Fn(&mut Vec<T>, &mut Emit<U>) + Send + Sync + 'static,
    ) -> DStream<'c, U> {
        self.narrow(name, PerRun { function: Arc::new(function), keeps_keys: false, types: PhantomData::<fn(T) -> U> })
    }

    /// As [`per_run`](Self::per_run), for an operator that leaves the keys of pairs as they are.
    pub(crate) fn per_run_keeping_keys<U: Record>(
        &self,
        name: &str,
        function: impl Fn(&mut Vec<T>, &mut Emit<U>) + Send + Sync + 'static,
    ) -> DStream<'c, U> {
        self.narrow(name, PerRun { function: Arc::new(function), keeps_keys: true, types: PhantomData::<fn(T) -> U> })
    }
}

struct PerRun<T, U, F> {
    function: Arc<F>,
    keeps_keys: bool,
    types: PhantomData<fn(T) -> U>,
}

impl<T, U, F> Narrow for PerRun<T, U, F>
where
    T: Record,
    U: Record,
    F: Fn(&mut Vec<T>, &mut Emit<U>) + Send + Sync + 'static,
{
    fn lower(&self, _side: u32, context: &WorkerContext, downstream: Downstream) -> ErasedPush {
        let name = context.name.clone();
        let emit = Emit::new(name.clone(), downstream.into_typed::<U>());
        ErasedPush::new(PerRunPush { name, function: self.function.clone(), emit })
    }

    fn keeps_keys(&self) -> bool {
        self.keeps_keys
    }
}

struct PerRunPush<U, F> {
    name: Arc<str>,
    function: Arc<F>,
    emit: Emit<U>,
}

impl<T, U, F: Fn(&mut Vec<T>, &mut Emit<U>)> Push<T> for PerRunPush<U, F> {
    fn begin(&mut self, unit: &Unit) {
        self.emit.begin(unit);
    }

    fn push(&mut self, run: &mut Vec<T>) {
        blame::enter(&self.name);
        (self.function)(run, &mut self.emit);
    }

    fn end(&mut self) {
        self.emit.end();
    }

    fn wants_more(&self) -> bool {
        self.emit.wants_more()
    }
}
