//! Records that cannot be decoded: counted, and told.

use std::fmt::Display;

/// Counts what is no record; reports the first of each lot and, at the end, how many there were.
pub(crate) struct Failures<'a> {
    whence: &'a str,
    noun: &'a str,
    failed: u64,
}

impl<'a> Failures<'a> {
    /// `whence` names the lot, and `noun` what is counted.
    pub fn new(whence: &'a str, noun: &'a str) -> Self {
        Self { whence, noun, failed: 0 }
    }

    pub fn too_long(&mut self, offset: usize, found: usize, expected: usize) {
        self.add(offset, &format_args!("has {found} bytes, the limit is {expected}"));
    }

    pub fn not_utf8(&mut self, offset: usize, error: &std::str::Utf8Error) {
        self.add(offset, &format_args!("is not utf-8: {error}"));
    }

    pub fn undecodable(&mut self, offset: usize, error: &dyn Display) {
        self.add(offset, &format_args!("cannot be decoded: {error}"));
    }

    fn add(&mut self, offset: usize, problem: &dyn Display) {
        self.failed += 1;
        if self.failed == 1 {
            tracing::warn!("{}: the {} at byte {offset} {problem}: it is skipped", self.whence, self.noun);
        }
    }

    pub fn count(&self) -> u64 {
        self.failed
    }

    /// Tells how many there were, where the first report does not.
    pub fn report(&self) {
        if self.failed > 1 {
            tracing::warn!("{}: {} {}s were skipped", self.whence, self.failed, self.noun);
        }
    }
}
