//! One suite for every sink: does it keep the contract of [`Sink`]?
//!
//! Describe where the sink writes and how to look at it ([`SinkPlace`]), then let [`check_sink`] try it. Each rule gets a
//! new, empty place. A rule that is broken panics with its name and what was seen.
//!
//! The rules about what goes wrong (lost acknowledgements, drivers that come back, lives that died) are in [`faults`].

mod faults;

use std::fmt::Debug;

use crate::sink::{PublishedBatch, Sink, SinkError};
use crate::testing::conformance::rules::{Rule, try_each};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage};

/// A place that sinks can be opened on, again and again, as lives of a driver would.
pub trait SinkPlace {
    /// What the sink takes.
    type Item: Clone + PartialEq + Debug;
    /// The sink.
    type Sink: Sink<Self::Item>;

    /// A new sink on this place, with no memory of its own.
    fn open(&mut self) -> Self::Sink;

    /// The record of this number; other numbers give other records.
    fn record(&self, number: u64) -> Self::Item;

    /// All that is visible: batch by batch, partition by partition, as a reader of the output would see it.
    fn visible(&mut self) -> Vec<Self::Item>;

    /// Whether the sink can shut older drivers out. One that cannot is at least once, and must say so to its users; the
    /// rules about fencing are then left out.
    fn can_fence(&self) -> bool {
        true
    }

    /// Leaves the place as a life would that died at this step (0, 1, …) of publishing `batch`, which a driver of the batch's
    /// epoch was let in for: half a file, say, or whole files that nobody gave their names. `false` says that there are no
    /// more steps, and nothing was done; that is all a place has to say that cannot show such a death.
    fn die_publishing(&mut self, _batch: &PublishedBatch<Self::Item>, _step: usize) -> bool {
        false
    }
}

/// Tries every rule of the contract, each on a place of its own.
///
/// ```
/// use floodmark::testing::{SinkPlace, check_sink};
/// use floodmark::MemorySink;
///
/// struct Memory(MemorySink<u64>);
///
/// impl SinkPlace for Memory {
///     type Item = u64;
///     type Sink = MemorySink<u64>;
///
///     fn open(&mut self) -> MemorySink<u64> {
///         self.0.clone()
///     }
///
///     fn record(&self, number: u64) -> u64 {
///         number
///     }
///
///     fn visible(&mut self) -> Vec<u64> {
///         self.0.contents()
///     }
/// }
///
/// check_sink(|| Memory(MemorySink::new()));
/// ```
///
/// # Panics
/// When a rule is broken: the message names it.
pub fn check_sink<P: SinkPlace>(mut new_place: impl FnMut() -> P) {
    let mut rules: Vec<Rule<P>> = vec![
        ("an empty place holds no batch", an_empty_place_holds_no_batch),
        ("batches become visible in order, with their partitions in order", batches_are_visible_in_order),
        ("an empty batch is taken", an_empty_batch_is_taken),
        ("a batch that comes again changes nothing", a_batch_that_comes_again_changes_nothing),
        ("a restarted sink knows or recognises what it holds", a_restart_changes_nothing),
        ("the same fence may come again", the_same_fence_may_come_again),
        ("a batch of another lineage is no repetition", another_lineage_is_no_repetition),
        ("records keep their order, their number and their partitions' order", records_keep_their_order),
        ("batches are in order wherever they begin", batches_are_in_order_wherever_they_begin),
    ];
    rules.extend(faults::rules());
    if new_place().can_fence() {
        rules.push(("a smaller epoch is not let in", a_smaller_epoch_is_not_let_in));
        rules.push(("a driver that was fenced publishes nothing", a_fenced_driver_publishes_nothing));
        rules.extend(faults::fencing_rules());
    }
    try_each("the sink", &rules, &mut new_place);
}

const LINEAGE: Lineage = Lineage(0xf100_d000);
const OTHER_LINEAGE: Lineage = Lineage(0xbad0_0000);

/// Batch `number`, of six records in three partitions, the middle one empty.
fn batch<P: SinkPlace>(place: &P, number: u64, epoch: Epoch, lineage: Lineage) -> PublishedBatch<P::Item> {
    let record = |n| place.record(number * 10 + n);
    PublishedBatch {
        lineage,
        batch: BatchId(number),
        time: BatchTime(number * 500),
        epoch,
        partitions: vec![vec![record(0), record(1), record(2)], vec![], vec![record(3), record(4), record(5)]],
    }
}

fn fence<P: SinkPlace>(sink: &mut P::Sink, epoch: u64, lineage: Lineage) -> Option<BatchId> {
    match sink.fence(Epoch(epoch), lineage) {
        Ok(last) => last,
        Err(error) => panic!("fence for epoch {epoch} failed: {error}"),
    }
}

fn publish<P: SinkPlace>(sink: &mut P::Sink, batch: &PublishedBatch<P::Item>) {
    if let Err(error) = sink.publish(batch) {
        panic!("publish of batch {} failed: {error}", batch.batch);
    }
}

/// Opens, fences and publishes batches 1 to `count` in epoch 1; gives the sink and all that must be visible.
fn published<P: SinkPlace>(place: &mut P, count: u64) -> (P::Sink, Vec<P::Item>) {
    let mut sink = place.open();
    fence::<P>(&mut sink, 1, LINEAGE);
    let mut expected = Vec::new();
    for number in 1..=count {
        let batch = batch(place, number, Epoch(1), LINEAGE);
        publish::<P>(&mut sink, &batch);
        expected.extend(batch.records().cloned());
    }
    (sink, expected)
}

fn an_empty_place_holds_no_batch<P: SinkPlace>(place: &mut P) {
    let mut sink = place.open();
    assert_eq!(fence::<P>(&mut sink, 1, LINEAGE), None, "last batch of an empty place");
    assert_eq!(place.visible(), [], "visible in an empty place");
}

fn batches_are_visible_in_order<P: SinkPlace>(place: &mut P) {
    // Eleven: an order by the digits of a name would put 10 before 2.
    let (_, expected) = published(place, 11);
    assert_eq!(place.visible(), expected);
}

fn records_keep_their_order<P: SinkPlace>(place: &mut P) {
    // Falling, with equal ones, in more partitions than one digit counts, some empty, also the first and the last.
    let numbers = |partition: u64| if partition.is_multiple_of(3) { 0..0 } else { 0..partition };
    let partition = |partition| numbers(partition).rev().map(|number| place.record(number / 2)).collect();
    let partitions: Vec<Vec<_>> = (0..13).map(partition).collect();
    let mut sink = place.open();
    fence::<P>(&mut sink, 1, LINEAGE);
    let first = PublishedBatch { partitions, ..batch(place, 1, Epoch(1), LINEAGE) };
    publish::<P>(&mut sink, &first);
    assert_eq!(place.visible(), first.partitions.concat());
}

fn batches_are_in_order_wherever_they_begin<P: SinkPlace>(place: &mut P) {
    // A sink may be new to a job that has run for long; and the order is not that of digits.
    let (mut sink, mut expected) = (place.open(), Vec::new());
    fence::<P>(&mut sink, 7, LINEAGE);
    for number in 98..=101 {
        let batch = batch(place, number, Epoch(7), LINEAGE);
        publish::<P>(&mut sink, &batch);
        expected.extend(batch.partitions.into_iter().flatten());
        assert_eq!(place.visible(), expected, "visible after batch {number}");
    }
}

fn an_empty_batch_is_taken<P: SinkPlace>(place: &mut P) {
    let (mut sink, mut expected) = published(place, 1);
    let empty = PublishedBatch { partitions: vec![vec![], vec![]], ..batch(place, 2, Epoch(1), LINEAGE) };
    publish::<P>(&mut sink, &empty);
    let third = batch(place, 3, Epoch(1), LINEAGE);
    publish::<P>(&mut sink, &third);
    expected.extend(third.partitions.into_iter().flatten());
    assert_eq!(place.visible(), expected);
}

fn a_batch_that_comes_again_changes_nothing<P: SinkPlace>(place: &mut P) {
    let (mut sink, expected) = published(place, 2);
    publish::<P>(&mut sink, &batch(place, 2, Epoch(1), LINEAGE));
    assert_eq!(place.visible(), expected);
}

fn a_restart_changes_nothing<P: SinkPlace>(place: &mut P) {
    let (sink, mut expected) = published(place, 2);
    drop(sink);
    let mut sink = place.open();
    if let Some(last) = fence::<P>(&mut sink, 2, LINEAGE) {
        assert_eq!(last, BatchId(2), "last batch after a restart");
    }
    publish::<P>(&mut sink, &batch(place, 2, Epoch(2), LINEAGE));
    assert_eq!(place.visible(), expected, "visible after batch 2 came again");
    let third = batch(place, 3, Epoch(2), LINEAGE);
    publish::<P>(&mut sink, &third);
    expected.extend(third.records().cloned());
    assert_eq!(place.visible(), expected, "visible after batch 3");
}

fn the_same_fence_may_come_again<P: SinkPlace>(place: &mut P) {
    let (mut sink, mut expected) = published(place, 1);
    fence::<P>(&mut sink, 1, LINEAGE);
    let second = batch(place, 2, Epoch(1), LINEAGE);
    publish::<P>(&mut sink, &second);
    expected.extend(second.records().cloned());
    assert_eq!(place.visible(), expected);
}

fn another_lineage_is_no_repetition<P: SinkPlace>(place: &mut P) {
    let (sink, expected) = published(place, 1);
    drop(sink);
    let mut sink = place.open();
    assert_eq!(fence::<P>(&mut sink, 2, OTHER_LINEAGE), None, "last batch of a lineage that has none");
    let number = 1;
    let other =
        PublishedBatch { partitions: vec![vec![place.record(77)]], ..batch(place, number, Epoch(2), OTHER_LINEAGE) };
    let taken = sink.publish(&other).is_ok();
    let visible = place.visible();
    if taken {
        // Kept apart: both are there. Taken as a repetition, or written over the other one, is what must not be.
        assert!(visible.contains(&place.record(77)), "taken, but not visible: {visible:?}");
        assert!(
            expected.iter().all(|record| visible.contains(record)),
            "the other lineage's batch is gone: {visible:?}"
        );
    } else {
        assert_eq!(visible, expected, "refused, but something changed");
    }
}

fn a_smaller_epoch_is_not_let_in<P: SinkPlace>(place: &mut P) {
    let mut newer = place.open();
    fence::<P>(&mut newer, 5, LINEAGE);
    let refused = place.open().fence(Epoch(4), LINEAGE);
    assert!(matches!(refused, Err(SinkError::Fenced { newer: Epoch(5), .. })), "epoch 4 after epoch 5: {refused:?}");
    let first = batch(place, 1, Epoch(5), LINEAGE);
    publish::<P>(&mut newer, &first);
    assert_eq!(place.visible(), first.partitions.concat());
}

fn a_fenced_driver_publishes_nothing<P: SinkPlace>(place: &mut P) {
    let (mut zombie, expected) = published(place, 1);
    let mut newer = place.open();
    fence::<P>(&mut newer, 2, LINEAGE);
    let refused = zombie.publish(&batch(place, 2, Epoch(1), LINEAGE));
    assert!(matches!(refused, Err(SinkError::Fenced { .. })), "a batch of epoch 1 after epoch 2: {refused:?}");
    assert_eq!(place.visible(), expected);
}
