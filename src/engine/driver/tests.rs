//! What the driver does when the program changes between two lives, and with many small blocks.

use std::cell::Cell;
use std::rc::Rc;

use crate::Queue;
use crate::testing::{Collected, TestJob};
use floodmark_store::state::spec::StateSpec;

#[test]
fn state_is_migrated_also_when_a_new_operator_brings_initial_state() {
    let version = Rc::new(Cell::new(1));
    let declared = version.clone();
    let mut job = TestJob::new(move |context| {
        let (words, stream) = context.queue_stream::<(String, u64)>("words");
        if declared.get() == 1 {
            stream.update_state_by_key("totals", |new: &[u64], old: Option<u32>| {
                Some(old.unwrap_or(0) + new.len() as u32)
            });
        } else {
            let totals = StateSpec::new("totals").version(2).migrate_from(1, |old: u32| u64::from(old) * 100);
            stream
                .update_state_by_key(totals, |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64));
            let known = StateSpec::new("known").initial_state([("pear".to_string(), 7_u64)]);
            stream.update_state_by_key(known, |_: &[u64], old: Option<u64>| old);
        }
        words
    })
    .unwrap();
    job.handles().push(vec![("apple".to_string(), 1), ("apple".to_string(), 1)]).unwrap();
    job.run_batch().unwrap();

    version.set(2);
    for life in 1..=3 {
        if life == 2 {
            job.crash_and_restart().unwrap()
        } else {
            job.stop_and_restart().unwrap()
        }
        let of = |uid, key: &str| job.running().state::<String, u64>(uid).unwrap().get(&key.to_string()).unwrap();
        assert_eq!((of("totals", "apple"), of("known", "pear")), (Some(200), Some(7)), "life {life} of version 2");
    }
}

type Numbers = (Queue<u64>, Collected<u64>);

/// A job that puts its numbers out as they come, and keeps a fold of them that depends on their order.
fn in_order(memory: u64, poison: u64) -> TestJob<Numbers> {
    let configure = move |builder: crate::StreamingContextBuilder| {
        builder.receive_memory(memory).checkpoint_every(1_000).dead_letters().max_attempts(1)
    };
    let build = move |context: &crate::StreamingContext| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let whole = stream.inspect(move |number| assert!(*number != poison, "poison"));
        whole.map(|number| ((), number)).update_state_by_key("fold", |new: &[u64], fold: Option<u64>| {
            Some(new.iter().fold(fold.unwrap_or(1), |fold, number| fold.wrapping_mul(31).wrapping_add(*number)))
        });
        (numbers, whole.collect("out"))
    };
    TestJob::configured(configure, build).unwrap()
}

fn run(job: &mut TestJob<Numbers>, numbers: std::ops::Range<u64>) -> Vec<Vec<u64>> {
    numbers.for_each(|number| job.handles().0.push(vec![number]).unwrap());
    job.run_batch().unwrap();
    job.handles().1.all().last().unwrap().1.partitions().to_vec()
}

#[test]
fn many_small_blocks_are_a_few_tasks_whose_records_come_in_the_order_of_the_log_also_in_a_replay() {
    for memory in [u64::MAX, 0, 60 * floodmark_store::block::BLOCK_COST] {
        let mut job = in_order(memory, u64::MAX);
        let few = run(&mut job, 0..10);
        assert_eq!((few.len(), few.concat()), (10, (0..10).collect()), "a task each");
        let many = run(&mut job, 10..310);
        assert_eq!((many.len(), many.concat()), (60, (10..310).collect()), "five blocks a task");
        // The fingerprints of a replay are compared with those of the commits: another order would be refused.
        job.crash_and_restart().unwrap();
        assert_eq!(job.recovery().batches_replayed(), 2, "with {memory} bytes of memory");
        assert_eq!(run(&mut job, 310..320).concat(), (310..320).collect::<Vec<_>>());
    }
}

#[test]
fn a_record_of_joined_blocks_is_set_aside_by_its_place_in_the_task_and_stays_aside_in_a_replay() {
    let mut job = in_order(u64::MAX, 137);
    let rest: Vec<u64> = (0..300).filter(|number| *number != 137).collect();
    assert_eq!(run(&mut job, 0..300).concat(), rest);
    let letters = std::fs::read_dir(job.directory().join("dead-letters")).unwrap();
    let letters: Vec<String> = letters.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    // Five blocks of one record a task: 137 = 27 * 5 + 2.
    assert!(letters.len() == 1 && letters[0].contains("source \"numbers\", task 27, record 2:"), "{letters:?}");
    job.crash_and_restart().unwrap();
    assert_eq!(job.recovery().batches_replayed(), 1);
    assert_eq!(run(&mut job, 300..310).concat(), (300..310).collect::<Vec<_>>());
}
