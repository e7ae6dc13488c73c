//! The chaos and recovery harness: for Floodmark itself, and for jobs that are built on it.
//!
//! - [`sweep`]: a job on a simulated disk, interrupted at every durable step by every fault.
//! - [`store`]: an object store in memory that a sweep strikes at.
//! - [`s3`]: a server that speaks the S3 protocol, on the loopback.
//! - [`suite`]: the jobs by which Floodmark proves itself.
//! - [`damage`]: a stored job's files flipped, cut, removed and swapped, one after the other.
//! - [`planted`]: doors to the disk with a known bug each, to see that the tests find it.
//! - [`scratch`]: where directories for tests are made.
//! - [`process`]: real processes, killed with SIGKILL at random moments, whose results are compared with a plain count.
#![forbid(unsafe_code)]

pub mod damage;
pub mod planted;
pub mod process;
pub mod s3;
pub mod scratch;
pub mod store;
pub mod suite;
pub mod sweep;
