//! How each operator is declared in a job.

use std::time::Duration;

use super::case::{Node, Op, SOURCES};
use super::values::{
    Change, Pair, TestKey, Value, changed, fold, fused, initial_state, is_kept, mapped, paired, partition_of, passes,
    reference, several, several_values, stepped, then, transformed, turned, updated, value, without,
};
use crate::dstream::DStream;
use crate::job::context::StreamingContext;
use crate::operator::state::keyed_state::KeyedState;
use crate::rdd::Rdd;
use crate::source::Queue;
use crate::testing::Collected;
use floodmark_store::state::spec::StateSpec;

/// What the test holds of a job: the sources, and what is collected of some nodes.
pub type Handles<K> = (Vec<Queue<Pair<K>>>, Vec<(usize, Collected<Pair<K>>)>);

type Pairs<'c, K> = DStream<'c, Pair<K>>;

pub fn declare<K: TestKey>(context: &StreamingContext, graph: &[Node]) -> Handles<K> {
    let (mut queues, mut streams, mut collected) = (Vec::new(), Vec::<Pairs<'_, K>>::new(), Vec::new());
    for (number, node) in graph.iter().enumerate() {
        let uid = format!("node {number}");
        let stream = if number < SOURCES {
            let (queue, stream) = context.queue_stream::<Pair<K>>(&uid);
            queues.push(queue);
            stream
        } else {
            operator(context, node, &uid, streams[node.one], streams[node.other])
        };
        if node.collected {
            collected.push((number, stream.collect(&format!("output {number}"))));
        }
        streams.push(stream);
    }
    (queues, collected)
}

fn operator<'c, K: TestKey>(
    context: &'c StreamingContext,
    node: &Node,
    uid: &str,
    one: Pairs<'c, K>,
    other: Pairs<'c, K>,
) -> Pairs<'c, K> {
    let partitions = node.number + 1;
    match node.op {
        Op::Source => one,
        Op::Map => one.map(|pair| mapped(&pair)),
        Op::FlatMap => one.flat_map(|pair| several(&pair)),
        Op::Filter => one.filter(passes),
        Op::MapValues => one.map_values(changed),
        Op::FlatMapValues => one.flat_map_values(several_values),
        Op::MapPartitions => one.map_partitions(|partition| turned(partition.as_slice())),
        Op::Glom => one.glom().map(|partition| paired(fold(&partition.iter().map(fused).collect::<Vec<Value>>()))),
        Op::Inspect => one.inspect(|_| ()),
        Op::Cache => one.cache(),
        Op::Union => one.union(&other),
        Op::Count => one.count().map(|count| paired(value(count))),
        Op::Reduce => one.map(|pair| fused(&pair)).reduce(then).map(paired),
        Op::ReduceByKey => one.reduce_by_key(then),
        Op::CountByValue => one.count_by_value().map(|((key, it), count)| (key, then(it, value(count)))),
        Op::GroupByKey => one.group_by_key().map_values(|values| fold(&values)),
        Op::CombineByKey => one
            .combine_by_key(
                |it| (1, it),
                |(count, all), it| (count + 1, then(all, it)),
                |a, b| (a.0 + b.0, then(a.1, b.1)),
            )
            .map_values(|(count, all): (u64, Value)| then(value(count), all)),
        Op::PartitionBy => one.partition_by(),
        Op::PartitionByFunction => one.partition_by_function(partitions, move |key| partition_of(key, partitions)),
        Op::Repartition => one.repartition(partitions),
        Op::Cogroup => one.cogroup(&other).map_values(|(ones, others)| then(fold(&ones), fold(&others))),
        Op::Join => one.join(&other).map_values(|(one, other)| then(one, other)),
        Op::LeftOuterJoin => one.left_outer_join(&other).map_values(|(one, other)| outer(Some(one), other)),
        Op::RightOuterJoin => one.right_outer_join(&other).map_values(|(one, other)| outer(one, Some(other))),
        Op::FullOuterJoin => one.full_outer_join(&other).map_values(|(one, other)| outer(one, other)),
        Op::Transform => one.transform(|time, rdd| Rdd::new(transformed(time.0, rdd.partitions()))),
        Op::TransformWith => one.transform_with(&other, |time, one, other| {
            Rdd::new(transformed(time.0, &[one.partitions(), other.partitions()].concat()))
        }),
        Op::UpdateStateByKey => {
            let spec = StateSpec::new(uid).initial_state(initial_state(node.flag));
            one.update_state_by_key_and_time(spec, |time, key, values: &[Value], state| {
                updated(time.0, key, values, state)
            })
        }
        Op::MapWithState => with_state(node, uid, one),
        Op::JoinReference | Op::LeftOuterJoinReference | Op::SubtractReference => {
            let mut version = Some(reference::<K>());
            let reference = context.reference_data(&format!("reference of {uid}"), move || Ok(version.take()));
            match node.op {
                Op::JoinReference => one.join_reference(uid, &reference).map_values(|(one, other)| then(one, other)),
                Op::SubtractReference => one.subtract_reference(uid, &reference),
                _ => one.left_outer_join_reference(uid, &reference).map_values(|(one, other)| outer(Some(one), other)),
            }
        }
        _ => windowed(node, uid, one),
    }
}

/// The two sides of an outer join as one value.
pub fn outer(one: Option<Value>, other: Option<Value>) -> Value {
    then(one.unwrap_or(value(777)), other.unwrap_or(value(888)))
}

/// The timeout of a `map_with_state`, if it has one, in milliseconds.
pub fn timeout_ms(node: &Node) -> Option<u64> {
    (node.number >= 4).then_some(node.length_ms / 2)
}

fn with_state<'c, K: TestKey>(node: &Node, uid: &str, stream: Pairs<'c, K>) -> Pairs<'c, K> {
    let mut spec = StateSpec::new(uid).initial_state(initial_state(node.flag));
    if let Some(timeout_ms) = timeout_ms(node) {
        spec = spec.timeout(Duration::from_millis(timeout_ms));
    }
    let mapped = stream.map_with_state_and_time(spec, |time, key: &K, it, state: &mut KeyedState<Value>| {
        assert_eq!(it.is_none(), state.is_timing_out());
        let (result, change) = stepped(time.0, it, state.get().copied());
        match change {
            Change::None => {}
            Change::To(new) => state.update(new),
            Change::Remove => state.remove(),
        }
        result.map(|it| (key.clone(), it))
    });
    match node.number % 3 {
        0 => *mapped,
        1 => mapped.state_snapshots(),
        _ => mapped.union(&mapped.state_snapshots()),
    }
}

fn windowed<'c, K: TestKey>(node: &Node, uid: &str, stream: Pairs<'c, K>) -> Pairs<'c, K> {
    let (length, slide) = (Duration::from_millis(node.length_ms), Duration::from_millis(node.slide_ms));
    match node.op {
        Op::Window => stream.window(uid, length, slide),
        Op::ReduceByKeyAndWindow => stream.reduce_by_key_and_window(uid, then, length, slide),
        Op::ReduceByKeyAndWindowInverse => stream.reduce_by_key_and_window_inverse(uid, then, without, length, slide),
        Op::ReduceByKeyAndWindowFiltered => {
            stream.reduce_by_key_and_window_filtered(uid, then, without, length, slide, is_kept)
        }
        Op::ReduceByWindow => stream.map(|pair| fused(&pair)).reduce_by_window(uid, then, length, slide).map(paired),
        Op::ReduceByWindowInverse => {
            stream.map(|pair| fused(&pair)).reduce_by_window_inverse(uid, then, without, length, slide).map(paired)
        }
        Op::CountByWindow => stream.count_by_window(uid, length, slide).map(|count| paired(value(count))),
        Op::CountByValueAndWindow => {
            stream.count_by_value_and_window(uid, length, slide).map(|((key, it), count)| (key, then(it, value(count))))
        }
        Op::GroupByKeyAndWindow => {
            stream.group_by_key_and_window(uid, length, slide).map_values(|values| fold(&values))
        }
        _ => unreachable!("every other operator is declared above"),
    }
}
