//! Recovery tests of Floodmark.
//!
//! - [`damage`]: a stored job's files flipped, cut, removed and swapped, one after the other.
//! - [`process`]: real processes, killed with SIGKILL at random moments, whose results are compared with a plain count.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // real processes run on the real clock

pub mod damage;
pub mod process;
