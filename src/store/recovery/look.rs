//! Looking at a stored job without its program: what a start would decide, down to the bytes of the checkpoint that it takes.

use std::path::Path;

use crate::recovery::decide::decide;
use crate::recovery::decide::{Decision, Rejected, decide_without_program};
use crate::recovery::declared::Declared;
use crate::recovery::facts::{CHECKPOINTS, Facts};
use crate::recovery::refusal::Refusal;
use crate::state::files::verify_files;

/// What a start would decide, for the program that wrote the store. As a start does, it reads the files of the chosen checkpoint
/// as a whole before it is believed, and goes back to an older one where they are damaged.
///
/// # Errors
/// The refusal, where a start would refuse.
pub fn decide_as_a_start(job: &Path, facts: &Facts) -> Result<Decision, Refusal> {
    decide_and_read(job, facts, |unusable| decide_without_program(facts, unusable))
}

/// As [`decide_as_a_start`], for the program that was exported.
///
/// # Errors
/// The refusal, where its start would be refused.
pub fn decide_as_a_start_of(job: &Path, facts: &Facts, declared: &Declared) -> Result<Decision, Refusal> {
    decide_and_read(job, facts, |unusable| decide(facts, declared, unusable))
}

fn decide_and_read(
    job: &Path,
    facts: &Facts,
    decide: impl Fn(&[Rejected]) -> Result<Decision, Refusal>,
) -> Result<Decision, Refusal> {
    let mut unusable = Vec::new();
    loop {
        let decision = decide(&unusable)?;
        match unusable_after_all(job, facts, &decision) {
            None => return Ok(decision),
            Some(rejected) => unusable.push(rejected),
        }
    }
}

/// The chosen checkpoint, when its files are not what its manifest says.
fn unusable_after_all(job: &Path, facts: &Facts, decision: &Decision) -> Option<Rejected> {
    let chosen = decision.chosen(facts)?;
    let files = chosen.checkpoint.as_ref()?;
    let error = verify_files(&job.join(CHECKPOINTS).join(&files.directory), &files.files, true).err()?;
    Some(Rejected::candidate(chosen, error.to_string()))
}
