//! Slices of a stream whose last batches are kept.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::dataflow::chunk::Origin;
use crate::job::running::Running;
use crate::operator::windows::remember::Remembered;
use crate::operator::windows::window::KeptUnit;
use crate::rdd::Rdd;
use floodmark_base::codec::Record;
use floodmark_base::error::Result;
use floodmark_base::id::BatchTime;

impl<T: Record> Remembered<T> {
    /// The batches with a time in this range, in order, as of the newest committed batch; those without any partition are left
    /// out. Spark: `DStream.slice`. Answered between batches, from any thread; costs a copy of what is kept.
    ///
    /// # Errors
    /// `Stopped` when the job has ended; `Configuration` when it is another job than the stream's.
    pub fn slice(&self, running: &Running, times: RangeInclusive<BatchTime>) -> Result<Vec<(BatchTime, Rdd<T>)>> {
        let mut batches: BTreeMap<BatchTime, BTreeMap<Origin, Vec<T>>> = BTreeMap::new();
        for (unit, records) in running.state::<KeptUnit, Vec<T>>(self.uid.as_str())?.iter()? {
            if times.contains(&unit.time) {
                batches.entry(unit.time).or_default().insert(unit.origin, records);
            }
        }
        Ok(batches.into_iter().map(|(time, units)| (time, Rdd::new(units.into_values().collect()))).collect())
    }
}
