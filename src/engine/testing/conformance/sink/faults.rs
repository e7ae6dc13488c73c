//! The rules about what goes wrong: acknowledgements that are lost, drivers that come back after another has taken over,
//! lives that died in the middle of a batch.

use super::{LINEAGE, SinkPlace, batch, fence, publish, published};
use crate::sink::{PublishedBatch, Sink, SinkError};
use crate::testing::conformance::rules::Rule;
use floodmark_base::id::{BatchId, Epoch};

/// What every sink must bear.
pub(super) fn rules<P: SinkPlace>() -> Vec<Rule<P>> {
    vec![
        ("an acknowledgement that was lost changes nothing", a_lost_acknowledgement_changes_nothing),
        ("an older batch that comes again changes nothing", an_older_batch_changes_nothing),
        ("a batch that is held is never replaced", a_held_batch_is_never_replaced),
        ("a life that died while it published leaves the batch whole or absent", a_death_leaves_all_or_nothing),
    ]
}

/// What a sink must bear that can shut older drivers out.
pub(super) fn fencing_rules<P: SinkPlace>() -> Vec<Rule<P>> {
    vec![
        ("a fence outlives the driver that set it", a_fence_outlives_its_driver),
        ("a driver that was fenced cannot come in again", a_fenced_driver_cannot_come_in_again),
        ("a driver that was fenced changes nothing, whatever it publishes", a_fenced_driver_changes_nothing),
        ("a driver that was fenced does not hinder the newer one", a_fenced_driver_does_not_hinder),
    ]
}

/// Every batch is applied and reported as failed: the same life hands it over again, and then the next one does.
fn a_lost_acknowledgement_changes_nothing<P: SinkPlace>(place: &mut P) {
    let (mut sink, mut expected) = (place.open(), Vec::new());
    fence::<P>(&mut sink, 1, LINEAGE);
    for number in 1..=4 {
        let epoch = number;
        let new = batch(place, number, Epoch(epoch), LINEAGE);
        publish::<P>(&mut sink, &new);
        expected.extend(new.records().cloned());
        publish::<P>(&mut sink, &new);
        assert_eq!(place.visible(), expected, "visible after the same life handed batch {number} over again");
        drop(sink);
        sink = place.open();
        if let Some(last) = fence::<P>(&mut sink, epoch + 1, LINEAGE) {
            assert_eq!(last, BatchId(number), "last batch at the next life's fence");
        }
        for _ in 0..2 {
            publish::<P>(&mut sink, &PublishedBatch { epoch: Epoch(epoch + 1), ..new.clone() });
            assert_eq!(place.visible(), expected, "visible after the next life handed batch {number} over again");
        }
    }
}

fn an_older_batch_changes_nothing<P: SinkPlace>(place: &mut P) {
    let (mut sink, expected) = published(place, 4);
    for number in [3, 1, 2, 4] {
        publish::<P>(&mut sink, &batch(place, number, Epoch(1), LINEAGE));
        assert_eq!(place.visible(), expected, "visible after batch {number} of 4 came again");
    }
    drop(sink);
    let mut sink = place.open();
    fence::<P>(&mut sink, 2, LINEAGE);
    for number in 1..=4 {
        publish::<P>(&mut sink, &batch(place, number, Epoch(2), LINEAGE));
        assert_eq!(place.visible(), expected, "visible after batch {number} of 4 came again from a new life");
    }
}

/// A refusal is welcome, since equal names mean equal batches (I-3), but not asked for.
fn a_held_batch_is_never_replaced<P: SinkPlace>(place: &mut P) {
    let (mut sink, expected) = published(place, 2);
    let other = PublishedBatch { partitions: vec![vec![place.record(77)]], ..batch(place, 2, Epoch(1), LINEAGE) };
    let answer = sink.publish(&other);
    assert_eq!(place.visible(), expected, "visible after other records came as batch 2 and were answered {answer:?}");
}

fn a_death_leaves_all_or_nothing<P: SinkPlace>(place: &mut P) {
    let (mut sink, mut expected) = published(place, 1);
    for step in 0.. {
        // Each step in a life of its own, and each life is the next batch's.
        let (number, epoch) = (2 + step as u64, 2 + 2 * step as u64);
        fence::<P>(&mut sink, epoch, LINEAGE);
        drop(sink);
        let next = batch(place, number, Epoch(epoch), LINEAGE);
        if !place.die_publishing(&next, step) {
            return;
        }
        let with_it: Vec<_> = expected.iter().chain(next.records()).cloned().collect();
        let visible = place.visible();
        assert!(visible == expected || visible == with_it, "a death at step {step} left a part visible: {visible:?}");
        sink = place.open();
        if let Some(last) = fence::<P>(&mut sink, epoch + 1, LINEAGE) {
            let held = if visible == with_it { number } else { number - 1 };
            assert_eq!(last, BatchId(held), "last batch after a death at step {step}");
        }
        assert_eq!(place.visible(), visible, "visible after the fence that followed a death at step {step}");
        publish::<P>(&mut sink, &PublishedBatch { epoch: Epoch(epoch + 1), ..next });
        assert_eq!(place.visible(), with_it, "visible after the batch came again that a life died with at step {step}");
        expected = with_it;
    }
}

/// The driver that takes over dies before it publishes anything, and only the place remembers it.
fn a_fence_outlives_its_driver<P: SinkPlace>(place: &mut P) {
    let (mut zombie, expected) = published(place, 1);
    let mut newer = place.open();
    fence::<P>(&mut newer, 2, LINEAGE);
    drop(newer);
    is_fenced(zombie.publish(&batch(place, 2, Epoch(1), LINEAGE)), "a batch of epoch 1 after epoch 2 has died");
    is_fenced(place.open().fence(Epoch(1), LINEAGE), "epoch 1 in a new process after epoch 2 has died");
    assert_eq!(place.visible(), expected);
}

fn a_fenced_driver_cannot_come_in_again<P: SinkPlace>(place: &mut P) {
    let (mut zombie, mut expected) = published(place, 1);
    let mut newer = place.open();
    fence::<P>(&mut newer, 2, LINEAGE);
    is_fenced(zombie.fence(Epoch(1), LINEAGE), "epoch 1, by the sink that it had, after epoch 2");
    is_fenced(zombie.publish(&batch(place, 2, Epoch(1), LINEAGE)), "a batch of epoch 1 after its second fence");
    let second = batch(place, 2, Epoch(2), LINEAGE);
    publish::<P>(&mut newer, &second);
    expected.extend(second.records().cloned());
    assert_eq!(place.visible(), expected);
}

/// A driver that was paused wakes up: it publishes what it had published, something older and something newer, before and
/// after the new one has published.
fn a_fenced_driver_changes_nothing<P: SinkPlace>(place: &mut P) {
    let (mut zombie, mut expected) = published(place, 2);
    let mut newer = place.open();
    fence::<P>(&mut newer, 2, LINEAGE);
    for after in [2, 3] {
        for number in [2, 1, 3, 4] {
            let answer = zombie.publish(&batch(place, number, Epoch(1), LINEAGE));
            if number > after {
                is_fenced(answer, "a new batch of epoch 1 after epoch 2");
            } else {
                // It is held: "done" would be true, "fenced" too.
                assert!(matches!(answer, Ok(()) | Err(SinkError::Fenced { .. })), "batch {number} again: {answer:?}");
            }
            assert_eq!(place.visible(), expected, "visible after a fenced driver published batch {number}");
        }
        let next = batch(place, after + 1, Epoch(2), LINEAGE);
        publish::<P>(&mut newer, &next);
        expected.extend(next.records().cloned());
        assert_eq!(place.visible(), expected, "visible after the newer driver published batch {}", after + 1);
    }
}

/// What a fenced driver tries in between leaves nothing that the newer one would take for its own, or stumble over.
fn a_fenced_driver_does_not_hinder<P: SinkPlace>(place: &mut P) {
    let (mut zombie, mut expected) = published(place, 1);
    let mut newer = place.open();
    fence::<P>(&mut newer, 2, LINEAGE);
    for number in 2..=4 {
        is_fenced(zombie.publish(&batch(place, number, Epoch(1), LINEAGE)), "a new batch of epoch 1 after epoch 2");
        let next = batch(place, number, Epoch(2), LINEAGE);
        publish::<P>(&mut newer, &next);
        expected.extend(next.records().cloned());
    }
    is_fenced(zombie.publish(&batch(place, 5, Epoch(1), LINEAGE)), "a batch of epoch 1 that is newer than all");
    assert_eq!(place.visible(), expected);
    drop(newer);
    let mut third = place.open();
    if let Some(last) = fence::<P>(&mut third, 3, LINEAGE) {
        assert_eq!(last, BatchId(4), "last batch at the third driver's fence");
    }
    assert_eq!(place.visible(), expected, "visible after a third driver came in");
}

fn is_fenced<T: std::fmt::Debug>(answer: Result<T, SinkError>, what: &str) {
    assert!(matches!(answer, Err(SinkError::Fenced { .. })), "{what}: expected to be fenced, found {answer:?}");
}
