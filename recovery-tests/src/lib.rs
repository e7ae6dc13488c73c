//! Recovery tests of Floodmark.
//!
//! - [`planted`]: doors to the disk with a known bug each, to see that the tests find it.
//! - [`process`]: real processes, killed with SIGKILL at random moments, whose results are compared with a plain count.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // real processes run on the real clock

pub mod planted;
pub mod process;
