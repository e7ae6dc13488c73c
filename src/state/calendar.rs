//! Which keys have something to do at a time: entering or leaving a window, timing out.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use crate::codec::KeyHash;
use crate::id::BatchTime;

/// Hashes of keys by time. It is made of what the tables hold, so it is not stored; a hash may stand in it more often than
/// needed, and whoever takes it out asks the table.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    days: BTreeMap<BatchTime, Vec<KeyHash>>,
}

impl Calendar {
    pub fn enter(&mut self, time: BatchTime, hash: KeyHash) {
        self.days.entry(time).or_default().push(hash);
    }

    /// The hashes of these times, sorted, each once.
    pub fn on(&self, times: impl RangeBounds<BatchTime>) -> Vec<KeyHash> {
        sorted(self.days.range(times).flat_map(|(_, hashes)| hashes).copied().collect())
    }

    /// Takes out the hashes of all times before this one, sorted, each once.
    pub fn take_before(&mut self, time: BatchTime) -> Vec<KeyHash> {
        let later = self.days.split_off(&time);
        let earlier = std::mem::replace(&mut self.days, later);
        sorted(earlier.into_values().flatten().collect())
    }
}

fn sorted(mut hashes: Vec<KeyHash>) -> Vec<KeyHash> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_is_sorted_and_stands_once() {
        let mut calendar = Calendar::default();
        for (time, hash) in [(3, 9), (1, 7), (2, 7), (2, 1), (4, 2)] {
            calendar.enter(BatchTime(time), KeyHash(hash));
        }
        assert_eq!(calendar.on(BatchTime(2)..=BatchTime(3)), [KeyHash(1), KeyHash(7), KeyHash(9)]);
        assert_eq!(calendar.take_before(BatchTime(3)), [KeyHash(1), KeyHash(7)]);
        assert_eq!(calendar.take_before(BatchTime(3)), []);
        assert_eq!(calendar.on(..), [KeyHash(2), KeyHash(9)]);
    }
}
