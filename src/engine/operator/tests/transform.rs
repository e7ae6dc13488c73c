//! Functions over whole batches.

use super::kit::{by_partition, on_one, on_two, random_pairs};
use crate::rdd::Rdd;
use crate::testing::TestJob;

#[test]
fn the_function_sees_the_partitions_of_the_stream_and_gives_those_of_the_result() {
    let batches = [vec![vec![3_u64, 1], vec![2]], Vec::new(), vec![vec![5]]];
    let outputs = on_one(&batches, |stream| {
        stream.transform(|_, rdd| {
            let sizes = rdd.partitions().iter().map(|partition| partition.len() as u64).collect();
            let mut sorted = rdd.collect();
            sorted.sort_unstable();
            Rdd::new(vec![sizes, Vec::new(), sorted])
        })
    });
    let expected = [[vec![2, 1], vec![], vec![1, 2, 3]], [vec![], vec![], vec![]], [vec![1], vec![], vec![5]]];
    assert_eq!(outputs, expected);
}

#[test]
fn behind_a_shuffle_the_partitions_are_those_of_the_job_also_in_an_empty_batch() {
    let batches = [random_pairs(1, 3, 100, 30), Vec::new()];
    let same = on_one(&batches, |stream| stream.reduce_by_key(u64::max).transform(|_, rdd| rdd));
    assert_eq!(same, on_one(&batches, |stream| stream.reduce_by_key(u64::max)));
    assert_eq!(same[1], by_partition::<u64, u64>([]));
}

#[test]
fn a_result_may_have_no_partition_or_many() {
    let batches = [vec![vec![0_u64]], vec![vec![300]]];
    let outputs = on_one(&batches, |stream| {
        stream.transform(|_, rdd| Rdd::new((0..rdd.iter().sum()).map(|n| vec![n]).collect())).map(|n| n + 1)
    });
    assert_eq!(outputs, [Vec::new(), (1..=300).map(|n| vec![n]).collect()]);
}

#[test]
fn the_function_is_told_the_time_of_the_batch_and_is_called_once_for_an_empty_one() {
    let mut job = TestJob::new(|context| {
        let (_, stream) = context.queue_stream::<u64>("numbers");
        stream.transform(|time, rdd| Rdd::new(vec![vec![(time.0, rdd.count())]])).collect("times")
    })
    .unwrap();
    for _ in 0..3 {
        let batch = job.run_batch().unwrap();
        assert_eq!(job.handles().last(), [(batch.time.0, 0)]);
    }
}

#[test]
fn two_batches_are_given_together_each_with_its_partitions() {
    let batches = [
        (vec![vec![1_u64], vec![2, 3]], vec![vec!['a', 'b']]),
        (Vec::new(), vec![vec!['c']]),
        (vec![vec![4]], Vec::new()),
        (Vec::new(), Vec::new()),
    ];
    let outputs = on_two(&batches, |one, other| {
        one.transform_with(&other, |_, one, other| {
            let partitions = (one.partitions().len(), other.partitions().len());
            let text: String = other.into_iter().collect();
            Rdd::new(vec![vec![(partitions, one.collect(), text)]])
        })
    });
    let expected = [((2, 1), vec![1, 2, 3], "ab"), ((0, 1), vec![], "c"), ((1, 0), vec![4], ""), ((0, 0), vec![], "")];
    let expected = expected.map(|(partitions, one, other)| vec![vec![(partitions, one, other.to_string())]]);
    assert_eq!(outputs, expected);
}

#[test]
fn the_result_goes_on_to_a_shuffle() {
    let batches = [random_pairs(1, 4, 30_000, 100_000)];
    let plain = on_one(&batches, |stream| stream.reduce_by_key(|a, b| a * 3 + b));
    let through = on_one(&batches, |stream| stream.transform(|_, rdd| rdd).reduce_by_key(|a, b| a * 3 + b));
    assert!(through == plain, "a function that changes nothing changes nothing");
}
