//! State that is not all in memory: behind a restart that did not wait for it, and within a budget.
#![allow(clippy::disallowed_methods)] // files are damaged behind the job's back

#[path = "../common/mod.rs"]
mod common;

mod budget;
mod job;
mod lazy_restart;
