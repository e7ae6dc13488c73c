//! The kill loop, short; `make kill-loop` is the long one.

use recovery_tests::process::kill_loop::{self, Plan};

const PLAN: Plan = Plan { kills: 4, seed: 0xf100d };

#[test]
fn files_are_counted_exactly_once_across_kills() {
    let directory = tempfile::tempdir().unwrap();
    let survived = kill_loop::files(PLAN, directory.path(), |line| println!("{line}"));
    assert_eq!(survived.unwrap_or_else(|error| panic!("{error}")).kills, PLAN.kills);
}

#[test]
fn acknowledged_text_is_counted_exactly_once_across_kills() {
    let directory = tempfile::tempdir().unwrap();
    let survived = kill_loop::acknowledged(PLAN, directory.path(), |line| println!("{line}"));
    assert_eq!(survived.unwrap_or_else(|error| panic!("{error}")).kills, PLAN.kills);
}
