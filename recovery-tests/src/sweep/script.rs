//! What happens to the job in every run, faults or not: its input, batch by batch, and its restarts.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use floodmark::Record;

/// A planned end of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The job is stopped gracefully after this batch, if a checkpoint covers it; otherwise as below.
    Graceful(u64),
    /// The process is killed after this batch.
    Kill(u64),
}

impl Restart {
    pub(super) fn after(self) -> u64 {
        match self {
            Self::Graceful(batch) | Self::Kill(batch) => batch,
        }
    }
}

/// Records by batch, of any type.
trait Batches: Any + Send + Sync {
    fn len(&self) -> usize;
    fn records(&self, batch: usize) -> usize;
    /// Only some of the records of each batch.
    fn thinned(&self, keeps: &dyn Fn(usize, usize) -> bool) -> Arc<dyn Batches>;
    fn as_any(&self) -> &dyn Any;
}

impl<T: Record> Batches for Vec<Vec<T>> {
    fn len(&self) -> usize {
        self.len()
    }

    fn records(&self, batch: usize) -> usize {
        self[batch].len()
    }

    fn thinned(&self, keeps: &dyn Fn(usize, usize) -> bool) -> Arc<dyn Batches> {
        let kept = |(batch, records): (usize, &Vec<T>)| {
            let records = records.iter().enumerate().filter(|(index, _)| keeps(batch, *index));
            records.map(|(_, record)| record.clone()).collect()
        };
        Arc::new(self.iter().enumerate().map(kept).collect::<Vec<Vec<T>>>())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The input and the restarts.
#[derive(Clone, Default)]
pub struct Script {
    inputs: BTreeMap<String, Arc<dyn Batches>>,
    pub(super) restarts: Vec<Restart>,
    /// Only so many batches, when the input was shrunk.
    batches: Option<u64>,
}

impl Script {
    pub(super) fn add<T: Record>(&mut self, uid: &str, batches: Vec<Vec<T>>) {
        self.inputs.insert(uid.to_string(), Arc::new(batches));
    }

    /// How many batches there are: as many as the longest input has.
    pub(super) fn batches(&self) -> u64 {
        let longest = self.inputs.values().map(|batches| batches.len() as u64).max().unwrap_or_default();
        self.batches.map_or(longest, |batches| batches.min(longest))
    }

    /// How many records there are, in the batches that count.
    pub(super) fn records(&self) -> usize {
        let batches = self.batches() as usize;
        let of =
            |input: &Arc<dyn Batches>| (0..input.len().min(batches)).map(|batch| input.records(batch)).sum::<usize>();
        self.inputs.values().map(of).sum()
    }

    /// Batch `number`, counted from 1, of an input; nothing where it has ended.
    pub(super) fn batch<T: Record>(&self, uid: &str, number: u64) -> Vec<T> {
        self.input::<T>(uid).get(number as usize - 1).cloned().unwrap_or_default()
    }

    /// All batches of an input.
    ///
    /// # Panics
    /// When the sweep has no such input, or its records are of another type.
    pub(super) fn input<T: Record>(&self, uid: &str) -> &Vec<Vec<T>> {
        let input = self.inputs.get(uid);
        let input =
            input.unwrap_or_else(|| panic!("the job asks for the input \"{uid}\", which the sweep does not have"));
        (**input).as_any().downcast_ref().unwrap_or_else(|| {
            panic!("the records of the input \"{uid}\" are not of type {}", std::any::type_name::<T>())
        })
    }

    /// The first so many batches.
    pub(super) fn first(&self, batches: u64) -> Self {
        let restarts = self.restarts.iter().copied().filter(|restart| restart.after() < batches).collect();
        Self { batches: Some(batches), restarts, ..self.clone() }
    }

    /// Without its restarts.
    pub(super) fn without_restarts(&self) -> Self {
        Self { restarts: Vec::new(), ..self.clone() }
    }

    /// Only the records of which `keeps` says so, by input, batch and index.
    pub(super) fn thinned(&self, keeps: &dyn Fn(&str, usize, usize) -> bool) -> Self {
        let thin = |(uid, input): (&String, &Arc<dyn Batches>)| {
            (uid.clone(), input.thinned(&|batch, index| keeps(uid, batch, index)))
        };
        Self { inputs: self.inputs.iter().map(thin).collect(), ..self.clone() }
    }
}
