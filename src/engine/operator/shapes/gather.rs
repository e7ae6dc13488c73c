//! Gathering: a whole batch in one place, with its partitions as they are.

use crate::dataflow::chunk::{Origin, Records};
use crate::dataflow::push::{Push, Unit};
use crate::dataflow::report::Port;
use floodmark_base::codec::Record;

/// The partition that everything is gathered in.
pub(crate) const GATHERED_IN: u32 = 0;

/// Sends every unit as one chunk, empty ones too, so that the chunks are the partitions of the batch.
pub(crate) struct GatherPush<T> {
    port: Port,
    origin: Origin,
    records: Vec<T>,
}

impl<T> GatherPush<T> {
    pub fn new(port: Port) -> Self {
        Self { port, origin: Origin::default(), records: Vec::new() }
    }
}

impl<T: Record> Push<T> for GatherPush<T> {
    fn begin(&mut self, unit: &Unit) {
        self.origin = unit.origin.clone();
    }

    fn push(&mut self, run: &mut Vec<T>) {
        self.records.append(run);
    }

    fn end(&mut self) {
        self.port.send(&self.origin, 0, GATHERED_IN, Records::new(std::mem::take(&mut self.records)));
    }
}
