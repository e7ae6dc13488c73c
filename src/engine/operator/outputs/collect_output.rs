//! The common shape of outputs: what the workers collect of a stream until its batch is committed.

use bincode::error::EncodeError;

use crate::dataflow::chunk::Records;
use crate::dataflow::push::{ErasedPush, Push, Unit};
use crate::dataflow::report::OutputTray;
use floodmark_base::codec::{KeyHash, Record, encode_loosely_into};
use floodmark_base::types::not_put_out;
use floodmark_store::batch::event::Digest;

/// What an output keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Everything, and its fingerprint.
    All,
    /// The first so many of each partition, without a fingerprint: for people to look at.
    First(usize),
}

/// Collects each unit of a stream as one partition of an output.
pub(crate) fn collect<T: Record>(keep: Keep, tray: OutputTray) -> ErasedPush {
    ErasedPush::new::<T>(Collect { keep, tray, unit: None, records: Vec::new(), scratch: Vec::new() })
}

struct Collect<T> {
    keep: Keep,
    tray: OutputTray,
    unit: Option<Unit>,
    records: Vec<T>,
    scratch: Vec<u8>,
}

impl<T: Record> Push<T> for Collect<T> {
    fn begin(&mut self, unit: &Unit) {
        self.unit = Some(unit.clone());
    }

    fn push(&mut self, run: &mut Vec<T>) {
        if let Keep::First(count) = self.keep {
            run.truncate(count - self.records.len());
        }
        self.records.append(run);
    }

    fn end(&mut self) {
        let unit = self.unit.take().expect("a unit began");
        let records = std::mem::take(&mut self.records);
        let digest = (self.keep == Keep::All).then(|| digest(&records, &mut self.scratch));
        self.tray.put(unit.batch.execution, unit.origin, Records::new(records), digest);
    }

    fn wants_more(&self) -> bool {
        match self.keep {
            Keep::All => true,
            Keep::First(count) => self.records.len() < count,
        }
    }
}

/// Ends the attempt at the batch; it is blamed on the output.
#[cold]
fn cannot_be_put_out<T: Record>(error: &EncodeError) -> ! {
    panic!("{}", not_put_out::<T>(error));
}

fn digest<T: Record>(records: &[T], scratch: &mut Vec<u8>) -> Digest {
    let mut digest = Digest::default();
    for record in records {
        scratch.clear();
        if let Err(error) = encode_loosely_into(record, scratch) {
            cannot_be_put_out::<T>(&error);
        }
        digest.add(KeyHash::of_encoded(scratch).0);
    }
    digest
}
