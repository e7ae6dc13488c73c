//! What came of a case.

use std::fmt;

use floodmark::ErrorKind;
use serde::Serialize;

/// What came of one damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody needed what is damaged: nothing was decided otherwise, and the outcome is the same.
    Unneeded,
    /// It was noticed and told, and the outcome is the same.
    Repaired,
    /// The job does not start, and says why; nothing was changed, and undoing the damage heals it.
    Refused(ErrorKind),
    /// The exception that is documented: the end of the log was cut as an interrupted append, and reported as one; the outcome is that
    /// of a run in which that end was never acknowledged.
    AmbiguousTail,
    /// The job does not survive this, with what was seen.
    Failed(Failure, String),
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The job went on, and the outcome is another one.
    SilentlyWrong,
    /// More was cut than the documentation says may be.
    CutTooWide,
    /// The end of the log was cut, and no word of it is in the report.
    CutUnreported,
    /// What cannot be told from an interrupted append was refused as damage.
    RefusedWithoutProof,
    /// The refusal is of a kind that gives wrong advice.
    WrongKind,
    /// The refusal does not name what is damaged.
    Unnamed,
    /// The refusal has changed or removed files.
    RefusalChangedFiles,
    /// After the damage was undone the job is not what it was.
    NotHealed,
    /// Inspection and start do not say the same.
    InspectionDiffers,
    /// Something panicked.
    Panicked,
    /// The harness itself could not do it.
    Harness,
}

impl Verdict {
    /// Whether the job does not survive this.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(..))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unneeded => f.write_str("unneeded"),
            Self::Repaired => f.write_str("repaired"),
            Self::Refused(kind) => write!(f, "refused ({kind:?})"),
            Self::AmbiguousTail => f.write_str("ambiguous tail"),
            Self::Failed(failure, detail) => write!(f, "{failure}: {detail}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SilentlyWrong => "silently wrong",
            Self::CutTooWide => "more was cut than is documented",
            Self::CutUnreported => "cut without a word",
            Self::RefusedWithoutProof => "refused without proof",
            Self::WrongKind => "refused with the wrong kind",
            Self::Unnamed => "refused without naming what is damaged",
            Self::RefusalChangedFiles => "the refusal changed files",
            Self::NotHealed => "not healed when the damage was undone",
            Self::InspectionDiffers => "inspection and start differ",
            Self::Panicked => "panicked",
            Self::Harness => "the harness failed",
        })
    }
}
