//! The kill loop, short; `make kill-loop` is the long one.

use floodmark_chaos::process::kill_loop::{self, Plan};

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

#[test]
fn the_example_that_is_killed_three_times_ends_with_the_right_counts() {
    let program = floodmark_chaos::process::example("recoverable_word_count").unwrap_or_else(|error| panic!("{error}"));
    let output = std::process::Command::new(program).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // Four lives: the first starts fresh, the second dies while it recovers.
    assert_eq!(said.lines().filter(|line| line.starts_with("recovered: ")).count(), 2, "{said}");
    assert!(said.ends_with("equal: 20000 words, 97 distinct\n"), "{said}");
}
