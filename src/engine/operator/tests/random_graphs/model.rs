//! What every operator means, said naively: over whole runs, from plain vectors, with nothing kept from batch to batch.
//!
//! A stream is, for every batch, what it yields: a time, and partitions in order. A partition has a place in its stream
//! (repartitioning begins to deal at a place that depends on it); partitions are in the order of their places.

use std::collections::BTreeMap;

use serde::Serialize;

use super::case::{Node, Op};
use super::graph::outer;
use super::history::{counts_by_value, counts_by_window, inverse_window, recent, states, updates, windows};
use super::ticks::Ticks;
use super::values::{
    Pair, TestKey, Value, changed, fold, fused, mapped, paired, partition_of, passes, reference, several,
    several_values, then, transformed, turned, value,
};
use floodmark_base::codec::{KeyHasher, encode};

/// The partitions of a job by default.
pub const PARTITIONS: u64 = 8;

#[derive(Clone, Debug, PartialEq)]
pub struct Part<T> {
    pub place: Vec<u64>,
    pub records: Vec<T>,
}

/// What a stream yields in a batch, and for which time; `None` where it yields nothing.
pub type Yield<T> = Option<(u64, Vec<Part<T>>)>;

/// What a stream yields, batch by batch.
pub type Stream<T> = Vec<Yield<T>>;

/// All streams of a graph, given its sources.
pub fn streams<K: TestKey>(graph: &[Node], ticks: &Ticks, sources: Vec<Stream<Pair<K>>>) -> Vec<Stream<Pair<K>>> {
    let mut streams = sources;
    for node in &graph[streams.len()..] {
        let stream = operator(node, ticks, &streams[node.one], &streams[node.other]);
        streams.push(stream);
    }
    streams
}

fn operator<K: TestKey>(node: &Node, ticks: &Ticks, one: &Stream<Pair<K>>, other: &Stream<Pair<K>>) -> Stream<Pair<K>> {
    match node.op {
        Op::Source | Op::Inspect | Op::Cache => one.clone(),
        Op::Map => narrow(one, |records| records.iter().map(mapped).collect()),
        Op::FlatMap => narrow(one, |records| records.iter().flat_map(several).collect()),
        Op::Filter => narrow(one, |records| records.iter().filter(|pair| passes(pair)).cloned().collect()),
        Op::MapValues => narrow(one, |records| records.iter().map(|(key, it)| (key.clone(), changed(*it))).collect()),
        Op::FlatMapValues => narrow(one, |records| {
            records.iter().flat_map(|(key, it)| several_values(*it).into_iter().map(|it| (key.clone(), it))).collect()
        }),
        Op::MapPartitions => narrow(one, turned),
        Op::Glom => narrow(one, |records| vec![paired(fold(&all_fused(records)))]),
        Op::Union => both(one, other, |_, ones, others| {
            let side = |side: u64, parts: &[Part<_>]| {
                let moved = |part: &Part<_>| Part { place: [vec![side], part.place.clone()].concat(), ..part.clone() };
                parts.iter().map(moved).collect::<Vec<_>>()
            };
            [side(0, ones), side(1, others)].concat()
        }),
        Op::Count => wide(one, |records| alone(vec![paired(value(records.len() as u64))])),
        Op::Reduce => each(one, |_, parts| {
            let merged = all_fused(&joined(parts)).into_iter().reduce(then);
            vec![Part { place: vec![0], records: merged.into_iter().map(paired).collect() }]
        }),
        Op::ReduceByKey => by_key(one, |values| values.iter().copied().reduce(then).expect("a key has a value")),
        Op::CountByValue => wide(one, |records| counts_by_value(&records)),
        Op::GroupByKey => by_key(one, fold),
        Op::CombineByKey => by_key(one, |values| {
            then(value(values.len() as u64), values.iter().copied().reduce(then).expect("a key has a value"))
        }),
        Op::PartitionBy => wide(one, |records| {
            spread(groups(records).into_iter().flat_map(|(key, values)| repeated(key, values)).collect())
        }),
        Op::PartitionByFunction => {
            let count = node.number + 1;
            each(one, |_, parts| {
                dealt(count, joined(parts).into_iter().map(|pair| (partition_of(&pair.0, count), pair)))
            })
        }
        Op::Repartition => repartitioned(one, node.number + 1),
        Op::Cogroup => cogroup(one, other, |ones, others| vec![then(fold(ones), fold(others))]),
        Op::Join => cogroup(one, other, |ones, others| product(ones, others, then)),
        Op::LeftOuterJoin => cogroup(one, other, |ones, others| product(ones, &or_none(others), outer_left)),
        Op::RightOuterJoin => cogroup(one, other, |ones, others| product(&or_none(ones), others, outer_right)),
        Op::FullOuterJoin => cogroup(one, other, |ones, others| product(&or_none(ones), &or_none(others), outer)),
        Op::Transform => each(one, |time, parts| numbered(transformed(time, &partitions(parts)))),
        Op::TransformWith => both(one, other, |time, ones, others| {
            numbered(transformed(time, &[partitions(ones), partitions(others)].concat()))
        }),
        Op::JoinReference => looked_up(one, |it, others| product(&[it], others, then)),
        Op::LeftOuterJoinReference => looked_up(one, |it, others| product(&[it], &or_none(others), outer_left)),
        Op::SubtractReference => looked_up(one, |it, others| if others.is_empty() { vec![it] } else { Vec::new() }),
        Op::UpdateStateByKey => updates(node, one),
        Op::MapWithState => states(node, ticks, one),
        Op::Window => recent(node, ticks, one),
        Op::ReduceByKeyAndWindow => windows(node, ticks, one, |records| {
            grouped(records, |values| values.iter().copied().reduce(then).expect("a key has a value"))
        }),
        Op::GroupByKeyAndWindow => windows(node, ticks, one, |records| grouped(records, fold)),
        Op::CountByValueAndWindow => windows(node, ticks, one, |records| counts_by_value(&records)),
        Op::ReduceByWindow => windows(node, ticks, one, |records| {
            let merged = all_fused(&records).into_iter().reduce(then);
            alone_by_unit(merged.into_iter().map(paired).collect())
        }),
        Op::CountByWindow => counts_by_window(node, ticks, one),
        Op::ReduceByKeyAndWindowInverse | Op::ReduceByKeyAndWindowFiltered | Op::ReduceByWindowInverse => {
            inverse_window(node, ticks, one)
        }
    }
}

/// The partitions of a stream, each by itself.
fn narrow<T, U>(input: &Stream<T>, function: impl Fn(&[T]) -> Vec<U>) -> Stream<U> {
    let part = |part: &Part<T>| Part { place: part.place.clone(), records: function(&part.records) };
    each(input, |_, parts| parts.iter().map(part).collect())
}

/// All records of a batch, in order.
fn wide<T: Clone, U>(input: &Stream<T>, function: impl Fn(Vec<T>) -> Vec<Part<U>>) -> Stream<U> {
    each(input, |_, parts| function(joined(parts)))
}

/// What a stream yields, wherever it does.
pub fn each<T, U>(input: &Stream<T>, mut function: impl FnMut(u64, &[Part<T>]) -> Vec<Part<U>>) -> Stream<U> {
    input.iter().map(|it| it.as_ref().map(|(time, parts)| (*time, function(*time, parts)))).collect()
}

/// What two streams yield that slide alike.
fn both<T, U>(
    one: &Stream<T>,
    other: &Stream<T>,
    function: impl Fn(u64, &[Part<T>], &[Part<T>]) -> Vec<Part<U>>,
) -> Stream<U> {
    let batch = |(one, other): (&Yield<T>, &Yield<T>)| match (one, other) {
        (Some((time, ones)), Some((same, others))) if time == same => Some((*time, function(*time, ones, others))),
        (None, None) => None,
        _ => panic!("streams that slide alike yield together"),
    };
    one.iter().zip(other).map(batch).collect()
}

/// The records of all partitions, in order.
pub fn joined<T: Clone>(parts: &[Part<T>]) -> Vec<T> {
    parts.iter().flat_map(|part| part.records.clone()).collect()
}

fn partitions<T: Clone>(parts: &[Part<T>]) -> Vec<Vec<T>> {
    parts.iter().map(|part| part.records.clone()).collect()
}

/// Partitions whose places are their numbers.
pub fn numbered<T>(partitions: Vec<Vec<T>>) -> Vec<Part<T>> {
    (0..).zip(partitions).map(|(number, records)| Part { place: vec![number], records }).collect()
}

fn all_fused<K: TestKey>(records: &[Pair<K>]) -> Vec<Value> {
    records.iter().map(fused).collect()
}

/// Where a key stands among all keys: by hash, then by encoding.
pub fn rank<Q: Serialize + 'static>(key: &Q) -> (u64, Vec<u8>) {
    (KeyHasher::default().hash(key).0, encode(key).unwrap())
}

/// The partition of a key.
pub fn home<Q: Serialize + 'static>(key: &Q) -> u64 {
    (u128::from(rank(key).0) * u128::from(PARTITIONS) / (1 << 64)) as u64
}

/// The values of each key in their order, the keys in theirs.
pub fn groups<Q: Serialize + Clone + 'static, V>(records: impl IntoIterator<Item = (Q, V)>) -> Vec<(Q, Vec<V>)> {
    let mut groups: BTreeMap<(u64, Vec<u8>), (Q, Vec<V>)> = BTreeMap::new();
    for (key, it) in records {
        groups.entry(rank(&key)).or_insert_with(|| (key, Vec::new())).1.push(it);
    }
    groups.into_values().collect()
}

/// Keyed records in the partitions of their keys, each in the order given.
pub fn spread<Q: Serialize + 'static, V>(records: Vec<(Q, V)>) -> Vec<Part<(Q, V)>> {
    let mut parts = numbered((0..PARTITIONS).map(|_| Vec::new()).collect());
    for record in records {
        parts[home(&record.0) as usize].records.push(record);
    }
    parts
}

/// A result that is one record, in the first partition of the job.
fn alone<T>(records: Vec<T>) -> Vec<Part<T>> {
    let mut parts = numbered((0..PARTITIONS).map(|_| Vec::new()).collect());
    parts[0].records = records;
    parts
}

/// A result that is one record, in the partition of the one key that a window without keys has.
pub fn alone_by_unit<T>(records: Vec<T>) -> Vec<Part<T>> {
    let spread = spread(records.into_iter().map(|record| ((), record)).collect());
    let plain = |part: Part<((), T)>| part.records.into_iter().map(|((), record)| record).collect();
    numbered(spread.into_iter().map(plain).collect())
}

fn repeated<Q: Clone, V>(key: Q, values: Vec<V>) -> impl Iterator<Item = (Q, V)> {
    values.into_iter().map(move |it| (key.clone(), it))
}

/// One record per key.
fn grouped<K: TestKey>(records: Vec<Pair<K>>, function: impl Fn(&[Value]) -> Value) -> Vec<Part<Pair<K>>> {
    spread(groups(records).into_iter().map(|(key, values)| (key, function(&values))).collect())
}

fn by_key<K: TestKey>(input: &Stream<Pair<K>>, function: impl Fn(&[Value]) -> Value) -> Stream<Pair<K>> {
    wide(input, |records| grouped(records, &function))
}

fn cogroup<K: TestKey>(
    one: &Stream<Pair<K>>,
    other: &Stream<Pair<K>>,
    function: impl Fn(&[Value], &[Value]) -> Vec<Value>,
) -> Stream<Pair<K>> {
    both(one, other, |_, ones, others| {
        let left = joined(ones).into_iter().map(|(key, it)| (key, (true, it)));
        let right = joined(others).into_iter().map(|(key, it)| (key, (false, it)));
        let paired = groups(left.chain(right)).into_iter().flat_map(|(key, values)| {
            let side =
                |wanted| values.iter().filter(|(side, _)| *side == wanted).map(|(_, it)| *it).collect::<Vec<_>>();
            repeated(key, function(&side(true), &side(false)))
        });
        spread(paired.collect())
    })
}

/// Every record with the reference's values of its key, in the partition of its key.
fn looked_up<K: TestKey>(input: &Stream<Pair<K>>, function: impl Fn(Value, &[Value]) -> Vec<Value>) -> Stream<Pair<K>> {
    wide(input, |records| {
        let results = records.into_iter().flat_map(|(key, it)| {
            let values: Vec<Value> =
                reference::<K>().into_iter().filter(|(other, _)| *other == key).map(|(_, value)| value).collect();
            repeated(key, function(it, &values))
        });
        spread(results.collect())
    })
}

fn product<A: Copy, B: Copy>(ones: &[A], others: &[B], function: impl Fn(A, B) -> Value) -> Vec<Value> {
    ones.iter().flat_map(|one| others.iter().map(|other| function(*one, *other)).collect::<Vec<_>>()).collect()
}

fn or_none(values: &[Value]) -> Vec<Option<Value>> {
    if values.is_empty() { vec![None] } else { values.iter().copied().map(Some).collect() }
}

fn outer_left(one: Value, other: Option<Value>) -> Value {
    outer(Some(one), other)
}

fn outer_right(one: Option<Value>, other: Value) -> Value {
    outer(one, Some(other))
}

/// Records in so many partitions, by the number of each.
fn dealt<T>(count: usize, records: impl Iterator<Item = (usize, T)>) -> Vec<Part<T>> {
    let mut parts = numbered((0..count).map(|_| Vec::new()).collect());
    records.for_each(|(target, record)| parts[target].records.push(record));
    parts
}

/// Round robin from each partition, beginning at a number that the time and its place give.
fn repartitioned<T: Clone>(input: &Stream<T>, count: usize) -> Stream<T> {
    each(input, |time, parts| {
        let turns = parts.iter().flat_map(|part| {
            let place = [vec![time], part.place.clone()].concat();
            let first = (u128::from(rank(&place).0) * count as u128 / (1 << 64)) as usize;
            part.records.iter().enumerate().map(move |(turn, record)| ((first + turn) % count, record.clone()))
        });
        dealt(count, turns)
    })
}
