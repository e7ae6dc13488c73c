//! What the victim's job means, said naively: over whole histories, from plain maps, with no idea of kills.

use std::collections::{BTreeMap, BTreeSet};

use crate::process::victim::data::{
    self, Change, INTERVAL, Pair, SLIDE, Source, TIMEOUT, Total, WINDOW, chained, line, link,
};

/// The input of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub time_ms: u64,
    /// In the order in which they came.
    pub received: Vec<Pair>,
    /// In the order in which they are read.
    pub read: Vec<Pair>,
}

/// What must come of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The lines of the results, sorted.
    pub results: Vec<String>,
    /// The time of the windows, and their lines, sorted; none where they do not yield.
    pub windows: Option<(u64, Vec<String>)>,
    /// The state afterwards, as lines, by key.
    pub totals: Vec<String>,
    pub sessions: Vec<String>,
}

/// What must come of every batch, from the first on.
#[must_use]
pub fn expected(batches: &[Batch]) -> Vec<Expected> {
    let zero_ms = batches.first().map_or(0, |first| first.time_ms - INTERVAL.as_millis() as u64);
    let mut totals = Totals::default();
    let mut sessions = Sessions::new(zero_ms);
    let mut windows = Windows { zero_ms, covered: BTreeSet::new() };
    let batch = |(index, batch): (usize, &Batch)| {
        let mut results: Vec<String> = batch.received.iter().chain(&batch.read).copied().map(line::input).collect();
        results.extend(totals.batch(batch));
        results.extend(sessions.batch(batch));
        results.extend(joined(batch));
        results.sort_unstable();
        Expected {
            results,
            windows: windows.batch(batches, index),
            totals: totals.0.iter().map(|(key, total)| line::total(*key, *total)).collect(),
            sessions: sessions.0.iter().map(|(key, (state, _))| line::session(*key, *state)).collect(),
        }
    };
    batches.iter().enumerate().map(batch).collect()
}

fn joined(batch: &Batch) -> impl Iterator<Item = String> + '_ {
    batch.received.iter().flat_map(|(key, received)| {
        let same = batch.read.iter().filter(move |(other, _)| other == key);
        same.map(move |(_, read)| line::joined(*key, (*received, *read)))
    })
}

/// `update_state_by_key`: every key, in every batch.
#[derive(Default)]
struct Totals(BTreeMap<u64, Total>);

impl Totals {
    fn batch(&mut self, batch: &Batch) -> Vec<String> {
        let mut values: BTreeMap<u64, Vec<u64>> = self.0.keys().map(|key| (*key, Vec::new())).collect();
        for (key, value) in batch.received.iter().chain(&batch.read) {
            values.entry(*key).or_default().push(*value);
        }
        for (key, values) in values {
            match data::total(&values, self.0.get(&key).copied()) {
                Some(total) => self.0.insert(key, total),
                None => self.0.remove(&key),
            };
        }
        self.0.iter().map(|(key, total)| line::total(*key, *total)).collect()
    }
}

/// `map_with_state`: a state, and when it was used.
struct Sessions(BTreeMap<u64, (Total, u64)>);

impl Sessions {
    fn new(zero_ms: u64) -> Self {
        Self(data::first_sessions().into_iter().map(|(key, state)| (key, (state, zero_ms))).collect())
    }

    fn batch(&mut self, batch: &Batch) -> Vec<String> {
        let now_ms = batch.time_ms;
        let mut lines = Vec::new();
        for (key, value) in &batch.read {
            let old = self.0.get(key).map(|(state, _)| *state);
            let (out, change) = data::session(now_ms, Some(*value), old);
            let new = match change {
                Change::Keep => old,
                Change::To(new) => Some(new),
                Change::Remove => None,
            };
            match new {
                Some(state) => self.0.insert(*key, (state, now_ms)),
                None => self.0.remove(key),
            };
            lines.extend(out.map(|out| line::session(*key, out)));
        }
        let over = |used_ms: u64| now_ms > used_ms + TIMEOUT.as_millis() as u64;
        for (key, (state, _)) in self.0.iter().filter(|(_, (_, used_ms))| over(*used_ms)) {
            let (out, _) = data::session(now_ms, None, Some(*state));
            lines.extend(out.map(|out| line::session(*key, out)));
        }
        self.0.retain(|_, (_, used_ms)| !over(*used_ms));
        lines
    }
}

/// Windows over both sources, joined.
struct Windows {
    zero_ms: u64,
    /// Keys that a window with an inverse has covered: they stay, with what is left of their sums.
    covered: BTreeSet<u64>,
}

impl Windows {
    fn batch(&mut self, batches: &[Batch], index: usize) -> Option<(u64, Vec<String>)> {
        let previous_ms = index.checked_sub(1).map_or(self.zero_ms, |before| batches[before].time_ms);
        let boundary_ms = self.boundary_at(batches[index].time_ms);
        if boundary_ms <= self.boundary_at(previous_ms) {
            return None;
        }
        let after_ms = boundary_ms - WINDOW.as_millis() as u64;
        let covered = || batches[..=index].iter().filter(|it| it.time_ms > after_ms && it.time_ms <= boundary_ms);
        let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
        for (key, value) in covered().flat_map(|batch| &batch.received) {
            self.covered.insert(*key);
            let sum = sums.entry(*key).or_default();
            *sum = sum.wrapping_add(*value);
        }
        let mut chains: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (key, value) in covered().flat_map(|batch| &batch.read) {
            let chain = chains.get(key).map_or(link(*value), |chain| chained(*chain, link(*value)));
            chains.insert(*key, chain);
        }
        let keys: BTreeSet<u64> = self.covered.iter().chain(chains.keys()).copied().collect();
        let sum = |key: &u64| self.covered.contains(key).then(|| sums.get(key).copied().unwrap_or_default());
        let mut lines: Vec<String> =
            keys.iter().map(|key| line::windows(*key, sum(key), chains.get(key).copied())).collect();
        lines.sort_unstable();
        Some((boundary_ms, lines))
    }

    /// The newest multiple of the slide since the zero time.
    fn boundary_at(&self, time_ms: u64) -> u64 {
        let passed = time_ms - self.zero_ms;
        self.zero_ms + passed - passed % SLIDE.as_millis() as u64
    }
}

/// The input of a batch, from the lines that it put out.
#[must_use]
pub fn input_of<'l>(time_ms: u64, lines: impl Iterator<Item = &'l str>) -> Batch {
    let (received, read) =
        lines.filter_map(line::parse_input).partition(|(_, value)| data::source_of(*value) == Source::Blocks);
    Batch { time_ms, received, read }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_a_batch_after_its_timeout_and_a_window_forgets() {
        let interval_ms = INTERVAL.as_millis() as u64;
        let mut batches: Vec<Batch> =
            (1..=12).map(|number| Batch { time_ms: 1_000 + number * interval_ms, ..Batch::default() }).collect();
        // 8 is no multiple of 5 or 7, and even: a block's.
        batches[0].received = vec![(3, 8)];
        batches[0].read = vec![(4, 9), (1, 9)];
        let expected = expected(&batches);
        // Key 4 is among the first sessions, key 1 is not.
        assert_eq!(expected[0].sessions.len(), data::first_sessions().len() + 1);
        let ends = |index: usize| expected[index].results.iter().filter(|line| line.starts_with("session")).count();
        // The first sessions count as used at the zero time, and end after three intervals; key 4 and key 1 one later.
        assert_eq!(ends(2), 0);
        assert_eq!(ends(3), data::first_sessions().len() - 1);
        assert_eq!(ends(4), 2);
        assert!(expected[4].sessions.is_empty());
        // Every second batch has windows; key 3 stays with a sum of nothing, key 4 goes.
        let yields: Vec<bool> = expected.iter().map(|batch| batch.windows.is_some()).collect();
        assert_eq!(yields[..4], [false, true, false, true]);
        let last = expected[11].windows.as_ref().unwrap();
        assert_eq!(last.1, ["windows 3 0 -"]);
    }
}
