//! State that is not all in memory: behind a restart that did not wait for it, and within a budget.

#[path = "../common/mod.rs"]
mod common;

mod budget;
mod job;
mod lazy_restart;
