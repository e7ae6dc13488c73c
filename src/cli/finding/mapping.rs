//! Which code each refusal of the engine has, and the finding that it makes.

use std::path::Path;

use super::{Code, Finding};
use floodmark_store::checkpoint::ChainError;
use floodmark_store::recovery::refusal::Refusal;
use floodmark_store::remote::{ObjectDamage, RemoteError};
use floodmark_store::state::StateError;
use floodmark_store::wal::{Lost, WalDamage, WalError};

/// Where the format version stands in a segment's header.
const VERSION_OFFSET: u64 = 8;
/// Where the log id stands in a segment's header.
const LOG_ID_OFFSET: u64 = 16;

impl Code {
    /// The code of a refused start.
    pub fn of_refusal(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Chain(error) => Self::of_chain(error),
            Refusal::Log(error) => Self::of_wal(error),
            Refusal::Io { .. } => Self::Unreadable,
            Refusal::UnreadableFrame { .. } => Self::UnreadableFrame,
            Refusal::ManifestsGone { .. } => Self::ManifestsGone,
            Refusal::LogGone { .. } => Self::LogGone,
            Refusal::AnotherLog { .. } => Self::AnotherLog,
            Refusal::LogCut { .. } => Self::LogCut,
            Refusal::BatchPublished { .. } => Self::BatchPublished,
            Refusal::NoCheckpoint { .. } => Self::NoCheckpoint,
            Refusal::BatchMissing { .. } => Self::BatchMissing,
            Refusal::BlockMissing { .. } => Self::BlockMissing,
            Refusal::BlocksLost { .. } => Self::BlocksLost,
            Refusal::AnotherJob { .. } => Self::AnotherJob,
            Refusal::KeyLayout { .. } => Self::KeyLayout,
            Refusal::OperatorGone { .. } => Self::OperatorGone,
            Refusal::SourceGone { .. } | Refusal::PlannedSourceGone { .. } => Self::SourceGone,
            Refusal::SourceKind { .. } | Refusal::PlannedSourceKind { .. } => Self::SourceKind,
            Refusal::RecordType { .. } | Refusal::PlannedType { .. } | Refusal::PositionType { .. } => Self::InputType,
            Refusal::Parameter { .. } => Self::OperatorParameter,
            Refusal::StateType { .. } => Self::StateType,
            Refusal::StateVersion { .. } => Self::StateVersion,
            Refusal::OperatorKind { .. } => Self::OperatorKind,
            Refusal::NoSchema { .. } => Self::NoSchema,
        }
    }

    /// The code of a chain of manifests that is not believed.
    pub fn of_chain(error: &ChainError) -> Self {
        match error {
            ChainError::ManifestsMissing { .. } => Self::ManifestsGone,
            ChainError::Hole { .. } => Self::ManifestHole,
            ChainError::Forked { .. } => Self::ChainForked,
            ChainError::Version { .. } | ChainError::Parts { .. } => Self::VersionUnknown,
            ChainError::Fenced { .. } => Self::Fenced,
            ChainError::Damaged { .. } => Self::ManifestDamaged,
            ChainError::Io { .. } | ChainError::CommitUnknown { .. } | ChainError::Encode { .. } => Self::Unreadable,
        }
    }

    /// The code of a log that cannot be read.
    pub fn of_wal(error: &WalError) -> Self {
        match error {
            WalError::Damage(damage) => Self::of_damage(damage),
            WalError::Fenced { .. } => Self::Fenced,
            _ => Self::Unreadable,
        }
    }

    /// The code of damage in the log: told by what is lost, and by where it stands in the file.
    pub fn of_damage(damage: &WalDamage) -> Self {
        match (damage.lost, damage.offset) {
            (Lost::Nothing, VERSION_OFFSET) => Self::VersionUnknown,
            (Lost::Nothing, LOG_ID_OFFSET) => Self::MixedLogs,
            (Lost::Nothing | Lost::Frames { .. }, 0) => Self::MissingSegment,
            (Lost::Nothing, _) => Self::SegmentOrder,
            (Lost::Segment(_), _) => Self::DamagedSegment,
            (Lost::Frames { .. }, _) => Self::DamagedFrame,
        }
    }

    /// The code of an object in object storage.
    pub fn of_object(error: &RemoteError) -> Self {
        if error.is_missing_object() { Self::ObjectMissing } else { Self::ObjectDamaged }
    }

    /// The code of a checkpoint's file, or of an entry in it.
    pub fn of_state(error: &StateError) -> Self {
        match error {
            StateError::FileMissing { .. } => Self::FileMissing,
            StateError::FileSize { .. } => Self::FileSize,
            StateError::FileChecksum { .. } => Self::FileChecksum,
            StateError::FileFooter { .. } => Self::FileFooter,
            StateError::Entry { .. } | StateError::RunsOverlap { .. } => Self::EntryDamaged,
            StateError::Store { .. } if error.is_damage() => Self::EntryDamaged,
            StateError::Store { .. } | StateError::Io { .. } => Self::Unreadable,
        }
    }
}

impl Finding {
    /// What is wrong with an object in object storage.
    pub fn of_object(damage: &ObjectDamage) -> Self {
        let code = if damage.of_pin { Code::PinDamaged } else { Code::of_object(&damage.error) };
        let mut finding = Self::new(code);
        if let RemoteError::Damaged { name, expected, found } = &damage.error {
            finding.file = Some(name.clone());
            finding = finding.differs(expected, found);
        }
        finding.concerns.clone_from(&damage.concerns);
        if !damage.refuses && !damage.of_pin {
            finding = finding.concerning("no start reads it");
        }
        finding
    }

    /// What a refusal says, as far as it can be laid out in fields.
    pub fn of_refusal(store: &Path, refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Log(WalError::Damage(damage)) => Self::of_damage(store, damage),
            Refusal::Chain(error) => Self::of_chain(store, error),
            other => Self::new(Code::of_refusal(other)).concerning(other.to_string()),
        }
    }

    /// What is wrong with the chain of manifests.
    pub fn of_chain(store: &Path, error: &ChainError) -> Self {
        let finding = Self::new(Code::of_chain(error));
        match error {
            ChainError::Hole { file, first, newest, is_at_front } => {
                let finding = finding.file(store, file);
                let finding = finding.differs(format!("all manifests from {first} to {newest}"), "no such file");
                match is_at_front {
                    true => {
                        finding.concerning("or else a newer manifest is missing, which had made the first superfluous")
                    }
                    false => finding,
                }
            }
            ChainError::Forked { file, expected, found } => {
                let expected = format!("a parent with crc32 {expected:08x}");
                finding.file(store, file).differs(expected, format!("one with {found:08x}"))
            }
            ChainError::Version { file, expected, found } => {
                finding.file(store, file).differs(format!("format version {expected}"), format!("version {found}"))
            }
            ChainError::Parts { file, found } => {
                finding.file(store, file).differs("a checkpoint in one part with all key hashes", &**found)
            }
            ChainError::Damaged { file, reason } => finding.file(store, file).concerning(reason.clone()),
            ChainError::ManifestsMissing { directory, found } => {
                finding.file(store, directory).differs("at least one manifest", format!("none, but {found}"))
            }
            other => finding.concerning(other.to_string()),
        }
    }

    /// What is wrong with the log.
    pub fn of_damage(store: &Path, damage: &WalDamage) -> Self {
        let finding = Self::new(Code::of_damage(damage)).file(store, &damage.file).offset(damage.offset);
        finding.differs(&*damage.expected, &*damage.found).concerning(damage.lost.to_string())
    }

    /// What is wrong with a file of a checkpoint.
    pub fn of_state(store: &Path, error: &StateError) -> Self {
        let finding = Self::new(Code::of_state(error));
        match error {
            StateError::FileMissing { path, expected } => {
                finding.file(store, path).differs(format!("{expected} bytes"), "no such file")
            }
            StateError::FileSize { path, expected, found } => {
                finding.file(store, path).differs(format!("{expected} bytes"), format!("{found} bytes"))
            }
            StateError::FileChecksum { path, expected, found } => {
                finding.file(store, path).differs(format!("crc32 {expected:08x}"), format!("{found:08x}"))
            }
            StateError::FileFooter { path, offset, expected, found } => {
                let finding = finding.file(store, path).offset(*offset);
                finding.differs(format!("the footer mark {expected:016x}"), format!("{found:016x}"))
            }
            other => finding.concerning(other.to_string()),
        }
    }
}
