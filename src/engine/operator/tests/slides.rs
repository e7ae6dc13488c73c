//! Wide operators behind a stream that yields in every third batch only.

use std::fmt::Debug;

use super::kit::{Blocks, every_third, on_one, on_two, random_pairs};
use crate::dstream::DStream;
use crate::rdd::Rdd;
use floodmark_base::codec::Record;

type Pairs<'c> = DStream<'c, (u64, u64)>;

/// Seven batches; the third and the sixth yield, the sixth is empty.
fn batches() -> Vec<Blocks<(u64, u64)>> {
    (1..=7).map(|batch| if batch == 6 { Vec::new() } else { random_pairs(batch, 2, 50, 9) }).collect()
}

/// What is behind a stream that slides is in the batches in which it yields what it would be anyhow, and nothing is put out in
/// the others.
fn slides(operators: impl for<'c> Fn(Pairs<'c>) -> DStream<'c, String> + Copy + 'static) {
    let batches = batches();
    let thin = on_one(&batches, move |stream| operators(every_third(stream)));
    let full = on_one(&batches, move |stream| operators(stream.transform(|_, rdd| Rdd::new(vec![rdd.collect()]))));
    assert_eq!((thin.len(), full.len()), (2, 7));
    assert_eq!(thin[0], full[2]);
    assert_eq!(thin[1], full[5]);
    assert!(!thin[1].is_empty());
}

/// The records as texts, so that streams of several types can be put together.
fn texts<'c, T: Record + Debug>(stream: DStream<'c, T>) -> DStream<'c, String> {
    stream.map(|record| format!("{record:?}"))
}

#[test]
fn whole_batches_are_put_out_where_their_stream_yields() {
    slides(|stream| {
        let with_count =
            |_, one: Rdd<(u64, u64)>, count: Rdd<u64>| Rdd::new(vec![one.collect(), vec![(0, count.iter().sum())]]);
        texts(stream.count())
            .union(&texts(stream.reduce(|one, other| (one.0 * 3 % 1_009 + other.0, one.1.max(other.1)))))
            .union(&texts(stream.transform(|time, rdd| Rdd::new(vec![vec![(time.0, rdd.count())]]))))
            .union(&texts(stream.transform_with(&stream.count(), with_count)))
    });
}

#[test]
fn keys_are_put_out_where_their_stream_yields() {
    slides(|stream| {
        texts(stream.count_by_value())
            .union(&texts(stream.group_by_key()))
            .union(&texts(stream.combine_by_key(|one| one, u64::max, u64::max)))
            .union(&texts(stream.partition_by().reduce_by_key(u64::max)))
            .union(&texts(stream.cogroup(&stream.map_values(|n| n % 2 == 0))))
    });
}

#[test]
fn partitions_are_there_where_their_stream_yields() {
    slides(|stream| {
        texts(stream.repartition(3))
            .union(&texts(stream.partition_by_function(2, |key| (*key % 2) as usize)))
            .union(&texts(stream.glom()))
    });
}

#[test]
fn streams_that_slide_alike_join_where_they_yield() {
    let both: Vec<_> = batches().into_iter().map(|blocks| (blocks.clone(), blocks)).collect();
    let joined = on_two(&both, |one, other| {
        let pairs =
            one.map(|(key, value)| (key, (true, value))).union(&other.map(|(key, value)| (key, (false, value))));
        let thin = every_third(pairs);
        let side = |wanted: bool| thin.filter(move |(_, (side, _))| *side == wanted).map_values(|(_, value)| value);
        side(true).full_outer_join(&side(false))
    });
    let sizes: Vec<usize> = joined.iter().map(Vec::len).collect();
    assert_eq!(sizes, [8, 8]);
    assert!(joined[0].iter().any(|partition| !partition.is_empty()));
    assert!(joined[1].iter().all(Vec::is_empty));
}
