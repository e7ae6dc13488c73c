//! What the operators mean that look back: windows and states, from all that came since the first batch.

use std::collections::BTreeMap;

use super::case::{Node, Op};
use super::graph::timeout_ms;
use super::model::{Part, Stream, Yield, alone_by_unit, each, groups, home, joined, numbered, rank, spread};
use super::ticks::Ticks;
use super::values::{
    Change, NOTHING, Pair, TestKey, Value, fused, initial_state, is_kept, paired, stepped, then, updated, value,
    without,
};

/// How often each record occurs.
pub fn counts_by_value<K: TestKey>(records: &[Pair<K>]) -> Vec<Part<Pair<K>>> {
    let counted = groups(records.iter().map(|record| (record.clone(), ()))).into_iter();
    let parts = spread(counted.map(|(record, times)| (record, times.len() as u64)).collect());
    let plain = |part: Part<(Pair<K>, u64)>| {
        part.records.into_iter().map(|((key, it), count)| (key, then(it, value(count)))).collect()
    };
    numbered(parts.into_iter().map(plain).collect())
}

/// What a stream yielded for times in (after, through] up to and with a batch, the oldest first.
fn covered<T>(input: &Stream<T>, batch: usize, after: u64, through: u64) -> impl Iterator<Item = (u64, &Vec<Part<T>>)> {
    let yields = input[..=batch].iter().flatten().map(|(time, parts)| (*time, parts));
    yields.filter(move |(time, _)| *time > after && *time <= through)
}

/// What a window makes of the results that it covers, wherever it yields.
fn of_window<T, U>(
    node: &Node,
    ticks: &Ticks,
    input: &Stream<T>,
    function: impl Fn(Vec<(u64, &Vec<Part<T>>)>) -> Vec<Part<U>>,
) -> Stream<U> {
    let batch = |batch: usize| {
        let boundary = ticks.boundary(batch, node.slide_ms)?;
        let results = covered(input, batch, boundary.saturating_sub(node.length_ms), boundary).collect();
        Some((boundary, function(results)))
    };
    (0..input.len()).map(batch).collect()
}

/// The partitions of all results of a window.
pub fn recent<T: Clone>(node: &Node, ticks: &Ticks, input: &Stream<T>) -> Stream<T> {
    of_window(node, ticks, input, |results| {
        let older = |time: u64, part: &Part<T>| Part {
            place: [vec![time], part.place.clone()].concat(),
            records: part.records.clone(),
        };
        results.into_iter().flat_map(|(time, parts)| parts.iter().map(move |part| older(time, part))).collect()
    })
}

/// What all records of a window give.
pub fn windows<T: Clone, U>(
    node: &Node,
    ticks: &Ticks,
    input: &Stream<T>,
    function: impl Fn(Vec<T>) -> Vec<Part<U>>,
) -> Stream<U> {
    of_window(node, ticks, input, |results| {
        function(results.into_iter().flat_map(|(_, parts)| joined(parts)).collect())
    })
}

/// How many records a window has: always a number.
pub fn counts_by_window<K: TestKey>(node: &Node, ticks: &Ticks, input: &Stream<Pair<K>>) -> Stream<Pair<K>> {
    windows(node, ticks, input, |records| numbered(vec![vec![paired(value(records.len() as u64))]]))
}

/// What a key has in an inverse window.
#[derive(Clone, Default)]
struct Sliding {
    value: Option<Value>,
    panes: Vec<(u64, Value)>,
}

impl Sliding {
    /// The window after that at `last`: what left is taken off, what entered is added.
    fn slide(&mut self, last: u64, boundary: u64, length_ms: u64) {
        let before = boundary.saturating_sub(length_ms);
        let merged = |after: u64, through: u64| {
            let panes = self.panes.iter().filter(|(time, _)| *time > after && *time <= through);
            panes.map(|(_, it)| *it).reduce(then)
        };
        let (left, entered) = (merged(0, before.min(last)), merged(before.max(last), boundary));
        let remaining = self.value.map(|it| left.map_or(it, |left| without(it, left)));
        self.value = match (remaining, entered) {
            (Some(remaining), Some(entered)) => Some(then(remaining, entered)),
            (remaining, entered) => remaining.or(entered),
        };
        // The functions are true inverses, so this is the same as merging what the window covers.
        let again = merged(before, boundary);
        assert_eq!(self.value.unwrap_or(NOTHING), again.unwrap_or(NOTHING));
        self.panes.retain(|(time, _)| *time > before);
    }
}

/// The windows that subtract, from the one before.
pub fn inverse_window<K: TestKey>(node: &Node, ticks: &Ticks, input: &Stream<Pair<K>>) -> Stream<Pair<K>> {
    if node.op == Op::ReduceByWindowInverse {
        let values: Stream<((), Value)> =
            each(input, |_, parts| numbered(vec![joined(parts).iter().map(|pair| ((), fused(pair))).collect()]));
        let merged = sliding(node, ticks, &values, |(), _| true);
        return each(&merged, |_, parts| alone_by_unit(joined(parts).into_iter().map(|((), it)| paired(it)).collect()));
    }
    let filtered = node.op == Op::ReduceByKeyAndWindowFiltered;
    sliding(node, ticks, input, |key, it| !filtered || is_kept(key, it))
}

fn sliding<Q: floodmark_base::codec::Key>(
    node: &Node,
    ticks: &Ticks,
    input: &Stream<(Q, Value)>,
    keep: impl Fn(&Q, &Value) -> bool,
) -> Stream<(Q, Value)> {
    let mut states: BTreeMap<(u64, Vec<u8>), (Q, Sliding)> = BTreeMap::new();
    let mut last = ticks.zero();
    let batch = |(batch, results): (usize, &Yield<(Q, Value)>)| {
        if let Some((time, parts)) = results {
            for (key, values) in groups(joined(parts)) {
                let merged = values.into_iter().reduce(then).expect("a key has a value");
                let state = states.entry(rank(&key)).or_insert_with(|| (key, Sliding::default()));
                state.1.panes.push((*time, merged));
            }
        }
        let boundary = ticks.boundary(batch, node.slide_ms)?;
        for (key, state) in states.values_mut() {
            state.slide(last, boundary, node.length_ms);
            if state.value.is_some_and(|it| !keep(key, &it)) {
                state.value = None;
                state.panes.retain(|(time, _)| *time > boundary);
            }
        }
        last = boundary;
        let kept = states.values().filter_map(|(key, state)| state.value.map(|it| (key.clone(), it)));
        Some((boundary, spread(kept.collect())))
    };
    input.iter().enumerate().map(batch).collect()
}

/// The state of `update_state_by_key`, after every result of its input.
pub fn updates<K: TestKey>(node: &Node, input: &Stream<Pair<K>>) -> Stream<Pair<K>> {
    let initial = initial_state::<K>(node.flag);
    let mut states: BTreeMap<_, Pair<K>> = initial.into_iter().map(|pair| (rank(&pair.0), pair)).collect();
    each(input, |time, parts| {
        let with_values = groups(joined(parts));
        let without = states.values().filter(|(key, _)| with_values.iter().all(|(other, _)| other != key));
        let all = without.map(|(key, _)| (key.clone(), Vec::new())).chain(with_values.clone());
        for (key, values) in all.collect::<Vec<_>>() {
            let old = states.remove(&rank(&key)).map(|(_, state)| state);
            if let Some(new) = updated(time, &key, &values, old) {
                states.insert(rank(&key), (key, new));
            }
        }
        spread(states.values().cloned().collect())
    })
}

/// What `map_with_state` puts out, or its state, or the one and then the other.
pub fn states<K: TestKey>(node: &Node, ticks: &Ticks, input: &Stream<Pair<K>>) -> Stream<Pair<K>> {
    // The state of each key, and when it was used.
    let mut states: BTreeMap<_, (K, Value, u64)> = BTreeMap::new();
    for (key, state) in initial_state::<K>(node.flag) {
        states.insert(rank(&key), (key, state, ticks.zero()));
    }
    each(input, |time, parts| {
        let mut results: Vec<Vec<Pair<K>>> = vec![Vec::new(); super::model::PARTITIONS as usize];
        for (key, it) in joined(parts) {
            let old = states.remove(&rank(&key));
            let (result, change) = stepped(time, Some(it), old.as_ref().map(|(_, state, _)| *state));
            let new = match change {
                Change::None => old.map(|(_, state, _)| state),
                Change::To(new) => Some(new),
                Change::Remove => None,
            };
            new.map(|state| states.insert(rank(&key), (key.clone(), state, time)));
            results[home(&key) as usize].extend(result.map(|it| (key, it)));
        }
        if let Some(timeout_ms) = timeout_ms(node) {
            let idle = |(_, _, used): &(K, Value, u64)| time > used + timeout_ms;
            for (key, state, _) in states.values().filter(|state| idle(state)) {
                let (result, _) = stepped(time, None, Some(*state));
                results[home(key) as usize].extend(result.map(|it| (key.clone(), it)));
            }
            states.retain(|_, state| !idle(state));
        }
        let snapshots = spread(states.values().map(|(key, state, _)| (key.clone(), *state)).collect());
        let placed = |side: u64, parts: Vec<Part<Pair<K>>>| -> Vec<Part<Pair<K>>> {
            parts.into_iter().map(|part| Part { place: [vec![side], part.place].concat(), ..part }).collect()
        };
        match node.number % 3 {
            0 => numbered(results),
            1 => snapshots,
            _ => [placed(0, numbered(results)), placed(1, snapshots)].concat(),
        }
    })
}
