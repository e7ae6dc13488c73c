//! The common shape of operators that deal records out to a number of partitions of their own, apart from the job's.
//!
//! Each new partition lives in one of the job's partitions, in order, so workers own contiguous ranges of them too.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::{Chunk, Origin, Records};
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dataflow::report::Port;
use crate::dstream::DStream;
use floodmark_base::codec::{KeyHasher, Record};
use floodmark_base::error::Result;

impl<'c, T: Record> DStream<'c, T> {
    /// Adds a wide operator that deals records out to so many partitions. The function says to which one a record goes; it gets
    /// the record's turn, too: a number that rises from record to record within a unit, from a place that the unit's time and
    /// place in its stream give, below the number of partitions (I-3).
    pub(crate) fn deal(
        &self,
        name: &str,
        partitions: usize,
        target: impl Fn(usize, &T) -> usize + Send + Sync + 'static,
    ) -> DStream<'c, T> {
        let count = u32::try_from(partitions).ok().filter(|count| *count > 0).unwrap_or_else(|| {
            self.graph.report_problem(format!("{name}: {partitions} partitions; expected 1 to {}", u32::MAX));
            1
        });
        self.wide(name, Deal { count, target: Arc::new(target), types: PhantomData::<fn(T)> })
    }
}

struct Deal<T, F> {
    count: u32,
    target: Arc<F>,
    types: PhantomData<fn(T)>,
}

impl<T: Record, F: Fn(usize, &T) -> usize + Send + Sync + 'static> Wide for Deal<T, F> {
    fn map_side(&self, _side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<T>(DealPush {
            name: context.name.clone(),
            target: self.target.clone(),
            home: Home { count: self.count, partitions: context.partitions },
            hasher: KeyHasher::default(),
            port,
            origin: Origin::default(),
            turn: 0,
            hands: (0..self.count).map(|_| Vec::new()).collect(),
        })
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        let home = Home { count: self.count, partitions: context.partitions };
        Ok(Box::new(DealReduce { home, emit: Emit::<T>::new(context.name.clone(), downstream.into_typed()) }))
    }
}

/// Which of the job's partitions the new ones live in.
#[derive(Clone, Copy)]
struct Home {
    count: u32,
    partitions: u32,
}

impl Home {
    fn of(self, target: u32) -> u32 {
        (u64::from(target) * u64::from(self.partitions) / u64::from(self.count)) as u32
    }

    /// The new partitions that live in one of the job's.
    fn targets(self, partition: u32) -> Range<u32> {
        let first =
            |partition: u32| (u64::from(partition) * u64::from(self.count)).div_ceil(u64::from(self.partitions)) as u32;
        first(partition)..first(partition + 1)
    }
}

struct DealPush<T, F> {
    name: Arc<str>,
    target: Arc<F>,
    home: Home,
    hasher: KeyHasher,
    port: Port,
    origin: Origin,
    turn: usize,
    /// The records of this unit for each new partition.
    hands: Vec<Vec<T>>,
}

impl<T: Record, F: Fn(usize, &T) -> usize> Push<T> for DealPush<T, F> {
    fn begin(&mut self, unit: &Unit) {
        self.origin = unit.origin.clone();
        // The time, too: the only block of each batch would always begin at the same place.
        self.turn = self.hasher.hash(&unit.origin.within(unit.time.0)).bucket(self.home.count) as usize;
    }

    fn push(&mut self, run: &mut Vec<T>) {
        blame::enter(&self.name);
        for record in run.drain(..) {
            let (target, count) = ((self.target)(self.turn, &record), self.hands.len());
            assert!(target < count, "a record was sent to partition {target}: expected 0 to {}", count - 1);
            self.hands[target].push(record);
            self.turn += 1;
        }
    }

    fn end(&mut self) {
        for (target, hand) in (0_u32..).zip(&mut self.hands).filter(|(_, hand)| !hand.is_empty()) {
            // One chunk per new partition and unit, so its number says which of them it is for.
            let records = Records::new(std::mem::take(hand));
            self.port.send(&self.origin, target, self.home.of(target), records);
        }
    }
}

struct DealReduce<T> {
    home: Home,
    emit: Emit<T>,
}

impl<T: Record> Reduce for DealReduce<T> {
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        let targets = self.home.targets(partition);
        let mut hands: Vec<Vec<Chunk>> = targets.clone().map(|_| Vec::new()).collect();
        for chunk in chunks {
            hands[(chunk.sequence - targets.start) as usize].push(chunk);
        }
        for (target, hand) in targets.zip(hands) {
            self.emit.begin(&Unit::of_partition(target, unit.time, unit.batch.clone()));
            let records = hand.into_iter().flat_map(|chunk| chunk.records.into_typed::<T>());
            records.for_each(|record| self.emit.emit(record));
            self.emit.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_new_partition_has_one_home_and_homes_are_in_order() {
        for (count, partitions) in [(1, 8), (3, 8), (8, 8), (9, 8), (100, 7), (5, 1)] {
            let home = Home { count, partitions };
            let listed: Vec<(u32, u32)> =
                (0..partitions).flat_map(|at| home.targets(at).map(move |target| (target, at))).collect();
            let expected: Vec<(u32, u32)> = (0..count).map(|target| (target, home.of(target))).collect();
            assert_eq!(listed, expected, "{count} in {partitions}");
        }
    }
}
