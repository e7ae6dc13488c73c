//! The command on URLs, pins and retention in a bucket, and what a job tells of a store that fails.

mod damage;
mod files;
#[allow(dead_code)] // the jobs of another binary
#[path = "../remote_job/kit.rs"]
mod kit;
mod outage;
mod pins;
mod reading;
mod retention;
mod s3;
mod writing;
