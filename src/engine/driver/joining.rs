//! Which blocks of a source a batch reads as one task.
//!
//! A task has a price of its own: a place in the plan, a message to a worker, a chunk for each partition. Blocks of a busy source
//! are large enough for that. A receiver that stores a record per block makes thousands of blocks a second, and one task for each
//! of them would take many times the memory of its record.

use floodmark_base::id::Sequence;
use floodmark_store::batch::event::PlannedTask;

/// A block of this size is worth a task of its own.
const LARGE_BLOCK: u64 = 64 << 10;

/// Payload that joined blocks have together, at most.
const TASK_BYTES: u64 = 1 << 20;

/// Up to so many blocks of a source stay tasks of their own. More blocks become at least half as many tasks, enough for all workers.
const TASKS: usize = 64;

/// The tasks of one source: its blocks, with the bytes of each, in the order of the log. Neighbours that are small are joined.
///
/// What it gives stands in the plan, so a recomputed batch has the same tasks, whatever becomes of these bounds (I-2).
pub(super) fn join(blocks: &[(Sequence, u64)]) -> Vec<PlannedTask> {
    let most = blocks.len().div_ceil(TASKS);
    let (mut tasks, mut rest) = (Vec::new(), blocks);
    while let [(first, _), ..] = rest {
        let mut together = 0;
        let small = rest.iter().take(most).take_while(|(_, bytes)| {
            together += bytes;
            *bytes < LARGE_BLOCK && together <= TASK_BYTES
        });
        let joined = small.count().max(1);
        tasks.push(match joined {
            1 => PlannedTask::Block(*first),
            _ => PlannedTask::Blocks(rest[..joined].iter().map(|(sequence, _)| *sequence).collect()),
        });
        rest = &rest[joined..];
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(sizes: &[u64]) -> Vec<usize> {
        let blocks: Vec<(Sequence, u64)> = sizes.iter().zip(1..).map(|(bytes, at)| (Sequence(at), *bytes)).collect();
        join(&blocks).iter().map(|task| task.blocks().count()).collect()
    }

    #[test]
    fn a_few_blocks_are_tasks_of_their_own() {
        assert_eq!(joined(&[]), [] as [usize; 0]);
        assert_eq!(joined(&[10; TASKS]), [1; TASKS]);
    }

    #[test]
    fn blocks_of_a_busy_source_are_tasks_of_their_own_however_many() {
        assert_eq!(joined(&[LARGE_BLOCK; 1_000]), [1; 1_000]);
    }

    #[test]
    fn many_small_blocks_become_a_few_tasks_of_bounded_size() {
        assert_eq!(joined(&[100; 6_400]), [100; 64]);
        assert_eq!(joined(&[50; 1_000_000]).len(), 64);
        let tasks = joined(&[60_000; 6_400]);
        assert!(tasks.iter().all(|blocks| *blocks <= 17), "17 of them have about 1 MiB");
        assert_eq!(tasks.iter().sum::<usize>(), 6_400);
    }

    #[test]
    fn a_large_block_between_small_ones_stands_alone() {
        let mut sizes = vec![10; 640];
        sizes[15] = LARGE_BLOCK;
        assert_eq!(joined(&sizes)[..4], [10, 5, 1, 10]);
    }

    proptest! {
        #[test]
        fn every_block_is_in_one_task_and_the_order_is_that_of_the_log(
            sizes in prop::collection::vec(0_u64..200_000, 0..500),
            gaps in prop::collection::vec(1_u64..4, 500),
        ) {
            let sequences = gaps.iter().scan(0, |at, gap| { *at += gap; Some(Sequence(*at)) });
            let blocks: Vec<(Sequence, u64)> = sequences.zip(sizes).collect();
            let tasks = join(&blocks);
            let taken: Vec<Sequence> = tasks.iter().flat_map(PlannedTask::blocks).collect();
            prop_assert_eq!(taken, blocks.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>());
            prop_assert!(2 * tasks.len() >= blocks.len().min(TASKS));
        }
    }
}
