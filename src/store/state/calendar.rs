//! Which keys have something to do at a time: entering or leaving a window, timing out.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use floodmark_base::codec::KeyHash;
use floodmark_base::id::BatchTime;

/// A calendar with no more hashes than this is never rebuilt.
const SMALL: usize = 1024;

/// Hashes of keys by time. It is built from what a table holds, so it is not stored. A hash may stand in it more often than
/// needed, or after its key is gone: whoever takes it out asks the table. [`rebuild`](Self::rebuild) keeps these left-overs
/// bounded.
#[derive(Debug, Default)]
pub struct Calendar {
    days: BTreeMap<BatchTime, Vec<KeyHash>>,
    /// How many hashes stand in it.
    len: usize,
    /// How many of them were needed when it was built, or fewer where it has shrunk since.
    needed: usize,
}

impl Calendar {
    /// A calendar of these entries.
    pub fn of(entries: impl Iterator<Item = (BatchTime, KeyHash)>) -> Self {
        let mut calendar = Self::default();
        entries.for_each(|(time, hash)| calendar.enter(time, hash));
        calendar.needed = calendar.len;
        calendar
    }

    pub fn enter(&mut self, time: BatchTime, hash: KeyHash) {
        self.days.entry(time).or_default().push(hash);
        self.len += 1;
    }

    /// The hashes of these times, sorted, each once.
    pub fn on(&self, times: impl RangeBounds<BatchTime>) -> Vec<KeyHash> {
        sorted(self.days.range(times).flat_map(|(_, hashes)| hashes).copied().collect())
    }

    /// Takes out the hashes of all times before this one, sorted, each once.
    pub fn take_before(&mut self, time: BatchTime) -> Vec<KeyHash> {
        let later = self.days.split_off(&time);
        let earlier = std::mem::replace(&mut self.days, later);
        let hashes: Vec<KeyHash> = earlier.into_values().flatten().collect();
        self.len -= hashes.len();
        self.needed = self.needed.min(self.len);
        sorted(hashes)
    }

    /// Builds the calendar anew from the entries of its table, which has so many slots, if that is worth it: if at least half of
    /// what stands in it may be left over from keys that are gone. So the calendar stays within twice the size of what is needed,
    /// and each entry pays for a constant share of the work.
    pub fn rebuild<I: Iterator<Item = (BatchTime, KeyHash)>>(&mut self, slots: usize, entries: impl FnOnce() -> I) {
        if self.len > SMALL + 2 * self.needed.max(slots) {
            *self = Self::of(entries());
        }
    }

    /// How many hashes stand in it.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
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

    #[test]
    fn entries_of_keys_that_are_gone_do_not_pile_up() {
        let mut calendar = Calendar::default();
        for time in 0..100_000 {
            calendar.enter(BatchTime(time), KeyHash(time));
            // Only the last ten keys are still there.
            let kept = time.saturating_sub(9)..=time;
            calendar.rebuild(10, || kept.map(|time| (BatchTime(time), KeyHash(time))));
            assert!(calendar.len() <= SMALL + 20 + 1, "{} entries for 10 keys", calendar.len());
        }
        assert_eq!(calendar.on(BatchTime(99_990)..).len(), 10);
    }

    #[test]
    fn a_calendar_that_is_needed_is_rebuilt_only_when_it_has_doubled() {
        let (mut calendar, mut rebuilt) = (Calendar::default(), 0);
        for time in 0..100_000 {
            calendar.enter(BatchTime(time), KeyHash(time));
            calendar.rebuild(1, || {
                rebuilt += 1;
                (0..=time).map(|time| (BatchTime(time), KeyHash(time)))
            });
        }
        assert_eq!(calendar.len(), 100_000);
        assert!(rebuilt < 8, "rebuilt {rebuilt} times");
    }
}
