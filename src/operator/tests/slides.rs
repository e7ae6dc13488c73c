//! Wide operators behind a stream that yields in every third batch only.

use std::fmt::Debug;

use super::kit::{Blocks, every_third, on_one, on_two, random_pairs};
use crate::codec::Record;
use crate::dstream::DStream;
use crate::rdd::Rdd;

type Pairs<'c> = DStream<'c, (u64, u64)>;

/// Seven batches; the third and the sixth yield, the sixth is empty.
fn batches() -> Vec<Blocks<(u64, u64)>> {
    (1..=7).map(|batch| if batch == 6 { Vec::new() } else { random_pairs(batch, 2, 50, 9) }).collect()
}

/// What is behind a stream that slides is in the batches in which it yields what it would be anyhow, and not there in others.
fn slides<U: Record + PartialEq + Debug>(operator: impl for<'c> Fn(Pairs<'c>) -> DStream<'c, U> + Copy + 'static) {
    let batches = batches();
    let thin = on_one(&batches, move |stream| operator(every_third(stream)));
    let full = on_one(&batches, move |stream| operator(stream.transform(|_, rdd| Rdd::new(vec![rdd.collect()]))));
    assert_eq!((thin.len(), full.len()), (7, 7));
    for batch in 1..=7 {
        let (thin, full) = (&thin[batch - 1], &full[batch - 1]);
        if batch % 3 == 0 {
            assert_eq!(thin, full, "batch {batch}");
        } else {
            assert!(thin.is_empty(), "batch {batch} yields nothing, and gave {thin:?}");
        }
    }
}

#[test]
fn numbers_of_a_batch_are_put_out_where_its_stream_yields() {
    slides(|stream| stream.count());
    slides(|stream| stream.reduce(|one, other| (one.0 * 3 % 1_009 + other.0, one.1.max(other.1))));
}

#[test]
fn keys_are_put_out_where_their_stream_yields() {
    slides(|stream| stream.count_by_value());
    slides(|stream| stream.group_by_key());
    slides(|stream| stream.combine_by_key(|one| one, u64::max, u64::max));
    slides(|stream| stream.partition_by().reduce_by_key(u64::max));
}

#[test]
fn partitions_are_there_where_their_stream_yields() {
    slides(|stream| stream.repartition(3));
    slides(|stream| stream.partition_by_function(2, |key| (*key % 2) as usize));
    slides(|stream| stream.glom());
}

#[test]
fn batches_are_transformed_where_their_stream_yields() {
    slides(|stream| stream.transform(|time, rdd| Rdd::new(vec![vec![(time.0, rdd.count())]])));
    slides(|stream| {
        stream.transform_with(&stream.count(), |_, one, count| {
            Rdd::new(vec![one.collect(), vec![(0, count.collect()[0])]])
        })
    });
}

#[test]
fn streams_that_slide_alike_join_where_they_yield() {
    slides(|stream| stream.cogroup(&stream.map_values(|n| n % 2 == 0)));
    let both: Vec<_> = batches().into_iter().map(|blocks| (blocks.clone(), blocks)).collect();
    let joined = on_two(&both, |one, other| {
        let pairs =
            one.map(|(key, value)| (key, (true, value))).union(&other.map(|(key, value)| (key, (false, value))));
        let thin = every_third(pairs);
        let side = |wanted: bool| thin.filter(move |(_, (side, _))| *side == wanted).map_values(|(_, value)| value);
        side(true).full_outer_join(&side(false))
    });
    let sizes: Vec<usize> = joined.iter().map(Vec::len).collect();
    assert_eq!(sizes, [0, 0, 8, 0, 0, 8, 0]);
    assert!(joined[2].iter().any(|partition| !partition.is_empty()));
    assert!(joined[5].iter().all(Vec::is_empty));
}
