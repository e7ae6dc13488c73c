//! The sweep: what a job with everything survives, and that a report is the same each time.

use std::sync::atomic::{AtomicUsize, Ordering};

use recovery_tests::suite;
use recovery_tests::sweep::{Fault, Oracle, Run};

/// Every kind of step and every fault, but not every step: `make chaos` has all of them.
#[test]
fn a_job_with_everything_survives_a_sample_of_all_faults() {
    suite::everything().seed(20_261_121).sample(500).nested(100).run().assert_survived();
}

/// The store's requests are steps beside the disk's.
#[test]
fn a_job_in_object_storage_survives_a_sample_of_all_faults() {
    for log_blocks in [true, false] {
        suite::everything_in_object_storage(log_blocks).seed(20_261_121).sample(60).nested(15).run().assert_survived();
    }
}

#[test]
fn the_same_seed_gives_the_same_report_byte_for_byte() {
    let sweep = || suite::everything().seed(7).faults(Fault::CRASHES).sample(40).nested(20);
    let (first, second) = (sweep().run(), sweep().threads(1).run());
    first.assert_survived();
    for (first, second) in first.outcomes.iter().zip(&second.outcomes) {
        assert_eq!(first, second);
    }
    assert_eq!(first.to_json(), second.to_json());
}

#[test]
fn a_fault_that_fits_nowhere_in_a_job_does_not_change_its_report() {
    let sweep = || suite::everything().seed(7).sample(15).nested(15);
    let without = Fault::ALL.into_iter().filter(|fault| *fault != Fault::ListLag);
    assert_eq!(sweep().run().to_json(), sweep().faults(without).run().to_json());
}

#[test]
fn a_divergence_that_does_not_come_again_is_told_all_the_same() {
    let calls = AtomicUsize::new(0);
    // The first two are the runs without faults.
    let check = move |_: &Run<'_>| calls.fetch_add(1, Ordering::Relaxed) != 3;
    let sweep = suite::everything().faults([Fault::CrashBefore]).sample(3).threads(1);
    let report = sweep.check("holds but once", check).run();
    assert!(!report.survived(), "{report}");
    assert_eq!(report.oracles(), [Oracle::Check], "{report}");
    assert_eq!(report.failures[0].story.last().unwrap(), "played again, it did not diverge");
}
