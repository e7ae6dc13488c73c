//! Operators that say where records are.

use super::kit::{PARTITIONS, by_partition, error_of, grouped, on_one, random_pairs};

#[test]
fn records_are_dealt_out_evenly_to_exactly_so_many_partitions_in_every_batch() {
    let batches = [vec![(0..100_u64).collect(), (100..130).collect(), vec![130]], Vec::new(), vec![Vec::new()]];
    let together = on_one(&batches, |stream| {
        let one = stream.repartition(1).union(&stream.repartition(3));
        one.union(&stream.repartition(8)).union(&stream.repartition(50))
    });
    assert!(together.iter().all(|output| output.len() == 1 + 3 + 8 + 50));
    for (before, partitions) in [(0, 1), (1, 3), (4, 8), (12, 50)] {
        let outputs: Vec<_> = together.iter().map(|output| &output[before..before + partitions]).collect();
        assert!(outputs[0].iter().all(|records| records.is_sorted()), "the order of the source holds");
        let mut all = outputs[0].concat();
        all.sort_unstable();
        assert_eq!(all, (0..=130).collect::<Vec<u64>>());
        let sizes: Vec<usize> = outputs[0].iter().map(Vec::len).collect();
        let uneven = sizes.iter().max().unwrap() - sizes.iter().min().unwrap();
        assert!(uneven <= 3, "each of three blocks may leave one record more somewhere: {sizes:?}");
        assert!(outputs[1..].iter().all(|output| output.iter().all(Vec::is_empty)));
    }
}

#[test]
fn blocks_of_one_record_do_not_all_go_to_one_partition() {
    let blocks: Vec<Vec<u64>> = (0..64).map(|n| vec![n]).collect();
    let outputs = on_one(&[blocks], |stream| stream.repartition(4));
    assert!(outputs[0].iter().all(|records| !records.is_empty()), "{:?}", outputs[0]);
}

#[test]
fn a_hundred_thousand_records_are_dealt_out_after_a_shuffle_too() {
    let blocks: Vec<Vec<u64>> = (0..4).map(|block| (block * 25_000..(block + 1) * 25_000).collect()).collect();
    let outputs = on_one(&[blocks], |stream| stream.map(|n| (n, n)).partition_by().repartition(5));
    let sizes: Vec<usize> = outputs[0].iter().map(Vec::len).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (5, 100_000));
    assert!(sizes.iter().all(|size| size.abs_diff(20_000) <= PARTITIONS), "{sizes:?}");
}

#[test]
fn zero_partitions_are_refused_before_the_job_starts() {
    let message = error_of(vec![1_u64], |stream| stream.repartition(0)).to_string();
    assert!(message.contains("repartition: 0 partitions; expected 1 to"), "{message}");
}

#[test]
fn pairs_are_brought_to_the_partitions_of_their_keys_and_keep_their_order() {
    let batches = [random_pairs(1, 3, 300, 40), Vec::new()];
    let outputs = on_one(&batches, |stream| stream.partition_by());
    let flat = |groups: Vec<(u64, Vec<u64>)>| -> Vec<(u64, u64)> {
        groups.into_iter().flat_map(|(key, values)| values.into_iter().map(move |value| (key, value))).collect()
    };
    let expected: Vec<Vec<_>> = by_partition(grouped(&batches[0])).into_iter().map(flat).collect();
    assert_eq!(outputs, [expected, vec![Vec::new(); PARTITIONS]]);
}

#[test]
fn partitioning_twice_changes_nothing() {
    let batches = [random_pairs(1, 3, 300, 40)];
    let twice = on_one(&batches, |stream| stream.partition_by().map_values(|n| n + 1).partition_by());
    assert_eq!(twice, on_one(&batches, |stream| stream.map_values(|n| n + 1).partition_by()));
}

#[test]
fn a_function_says_which_partition_a_key_belongs_to() {
    let batches = [random_pairs(1, 3, 100, 40), Vec::new()];
    let outputs = on_one(&batches, |stream| stream.partition_by_function(11, |key| (*key % 11) as usize));
    let of_partition = |partition| {
        let records = batches[0].iter().flatten().copied();
        records.filter(|(key, _)| key % 11 == partition).collect::<Vec<_>>()
    };
    assert_eq!(outputs, [(0..11).map(of_partition).collect(), vec![Vec::new(); 11]]);
}

#[test]
fn a_partition_that_does_not_exist_fails_the_batch_by_name() {
    let message = error_of(vec![(9_u64, 1_u64)], |stream| stream.partition_by_function(4, |_| 4)).to_string();
    assert!(message.contains("partition_by_function#"), "{message}");
    assert!(message.contains("sent to partition 4: expected 0 to 3"), "{message}");
}
