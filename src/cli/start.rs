//! What a start would do with a store, in a few words: the end of every verb that looks for damage.

use crate::page::counted;
use serde::Serialize;

use super::exit::Exit;
use super::failure::exit_of;
use super::finding::Code;
use super::page::{Mood, Page};
use floodmark_store::recovery::decide::{Decision, Rejected};
use floodmark_store::recovery::refusal::Refusal;

/// What a start would do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Start {
    pub starts: bool,
    /// 0 or 3 where it starts; otherwise what the refusal means.
    pub exit_code: Exit,
    /// The code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    pub words: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    pub replay_batches: usize,
    /// Checkpoints and manifests that it would reject.
    pub rejected: Vec<String>,
    /// Damage that it would report and do without.
    pub unneeded_damage: Vec<String>,
}

impl Start {
    /// From the engine's own decision.
    pub fn of(decision: &Result<Decision, Refusal>) -> Self {
        match decision {
            Ok(decision) => Self::decided(decision),
            Err(refusal) => Self {
                starts: false,
                exit_code: exit_of(Code::of_refusal(refusal)),
                code: Some(Code::of_refusal(refusal)),
                words: format!("A start is refused: {refusal}"),
                checkpoint: None,
                replay_batches: 0,
                rejected: Vec::new(),
                unneeded_damage: Vec::new(),
            },
        }
    }

    fn decided(decision: &Decision) -> Self {
        let rejected: Vec<String> = decision.rejected.iter().map(Rejected::to_string).collect();
        let checkpoint = decision.from.as_ref().map(|from| from.point.batch.0);
        let replay_batches = decision.replay.len();
        let words = match checkpoint {
            None => "A start begins afresh: no batch was planned yet.".to_string(),
            Some(batch) => {
                let from = match batch {
                    0 => "the state before the first batch".to_string(),
                    batch => format!("the checkpoint of batch {batch}"),
                };
                let replay = match replay_batches {
                    0 => "recomputes nothing".to_string(),
                    batches => format!("recomputes {}", counted(batches as u64, "batch")),
                };
                let instead = if rejected.is_empty() { "" } else { " (an older one: the newest is damaged)" };
                format!("A start takes {from}{instead} and {replay}; nothing is lost.")
            }
        };
        let healthy = rejected.is_empty() && decision.unneeded_damage.is_empty();
        Self {
            starts: true,
            exit_code: if healthy { Exit::Healthy } else { Exit::Degraded },
            code: None,
            words,
            checkpoint,
            replay_batches,
            rejected,
            unneeded_damage: decision.unneeded_damage.clone(),
        }
    }

    /// Its words, with their meaning.
    pub fn write(&self, page: &mut Page) {
        page.headline(Mood::of(self.exit_code), &self.words);
    }
}
