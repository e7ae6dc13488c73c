//! A run without faults: what every other run must come to.

use std::collections::BTreeMap;

use floodmark::testing::disk::TracedStep;

use super::oracle::{Divergence, Files, Fingerprints, Oracle, Outputs, same_files, same_outputs, same_state};

/// What a run without faults comes to.
#[derive(Default)]
pub(super) struct Probe {
    /// The durable steps of each life.
    pub steps: Vec<Vec<TracedStep>>,
    /// The state after each batch, from that with which the run begins.
    pub states: BTreeMap<u64, Fingerprints>,
    pub outputs: Outputs,
    pub files: Files,
}

impl Probe {
    /// Whether another run without faults was equal to this one.
    pub fn same_as(&self, other: &Self) -> Result<(), Divergence> {
        for ((batch, first), second) in self.states.iter().zip(other.states.values()) {
            same_state(
                Oracle::Deterministic,
                &format!("in a second run without faults, after batch {batch}"),
                first,
                second,
            )?;
        }
        let when = "in a second run without faults";
        same_outputs(Oracle::Deterministic, when, &self.outputs, &other.outputs, false)?;
        same_files(Oracle::Deterministic, when, &self.files, &other.files)?;
        for (life, (first, second)) in self.steps.iter().zip(&other.steps).enumerate() {
            let differs = first.iter().zip(second).find(|(first, second)| first != second);
            if let Some((first, second)) = differs {
                let what = format!("{when}, life {}: expected the step {first}, found {second}", life + 1);
                return Err(Divergence::new(Oracle::Deterministic, what));
            }
            if first.len() != second.len() {
                let what = format!(
                    "{when}, life {}: expected {} durable steps, found {}",
                    life + 1,
                    first.len(),
                    second.len()
                );
                return Err(Divergence::new(Oracle::Deterministic, what));
            }
        }
        Ok(())
    }
}
