//! The suites for sinks, direct sources and receivers: Floodmark's own pass them, and each rule finds one that breaks it.

mod direct;
mod receivers;
mod sender;
mod sinks;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The rule that a suite finds broken must be this one.
fn assert_broken(flaw: &str, rule: &str, suite: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(suite)).expect_err(flaw);
    let text = panic.downcast_ref::<String>().expect("a suite says what it found");
    let found = text.split('"').nth(1).unwrap_or_default();
    assert_eq!(found, rule, "{flaw}: {text}");
}
