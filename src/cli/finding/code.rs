//! The codes of findings.

use std::fmt;

use serde::{Serialize, Serializer};

use super::super::exit::Exit;

macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $exit:ident;)+) => {
        /// The code of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Code {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl Code {
            /// All codes, in the order in which they are explained.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name, as it is printed: `TORN_TAIL`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it means, in one line.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($meaning,)+).trim_ascii(),)+
                }
            }

            /// The exit code that it usually comes with. What a store as a whole comes to is decided by what a start would do with it:
            /// a damaged file that is not needed costs nothing.
            pub fn exit(self) -> Exit {
                match self {
                    $(Self::$variant => Exit::$exit,)+
                }
            }
        }
    };
}

codes! {
    /// the log ends with an append that was interrupted and never acknowledged
    TornTail = "TORN_TAIL", Healthy;
    /// whole frames at the end of the log that nothing proves to be synced; recovery keeps them
    UnprovenTail = "UNPROVEN_TAIL", Healthy;
    /// a frame of the log that was durable is not what it was
    DamagedFrame = "DAMAGED_FRAME", DataLost;
    /// the header of a log segment is not what it was
    DamagedSegment = "DAMAGED_SEGMENT", DataLost;
    /// a segment of the log is not there
    MissingSegment = "MISSING_SEGMENT", DataLost;
    /// segments of two logs lie beside each other
    MixedLogs = "MIXED_LOGS", Incompatible;
    /// a segment begins earlier than the one before it
    SegmentOrder = "SEGMENT_ORDER", Incompatible;
    /// a frame of the log is whole, but says nothing that this build understands
    UnreadableFrame = "UNREADABLE_FRAME", DataLost;
    /// the log ends before what a manifest knows to have been durable
    LogCut = "LOG_CUT", DataLost;
    /// there is no log
    LogGone = "LOG_GONE", DataLost;
    /// the log is not the one that the manifests name
    AnotherLog = "ANOTHER_LOG", DataLost;
    /// a batch between the checkpoint and the end of the log has no plan
    BatchMissing = "BATCH_MISSING", DataLost;
    /// a block that a plan names is not in the log
    BlockMissing = "BLOCK_MISSING", DataLost;
    /// blocks that are needed are only in the log of another machine
    BlocksLost = "BLOCKS_LOST", DataLost;
    /// a sink holds a batch that the log does not know
    BatchPublished = "BATCH_PUBLISHED", DataLost;
    /// a manifest is not what it was
    ManifestDamaged = "MANIFEST_DAMAGED", Degraded;
    /// a manifest in the middle of the chain is not there
    ManifestHole = "MANIFEST_HOLE", DataLost;
    /// a manifest does not continue the one before it
    ChainForked = "CHAIN_FORKED", DataLost;
    /// there are no manifests, but other files of a job
    ManifestsGone = "MANIFESTS_GONE", DataLost;
    /// no checkpoint that the chain names can be used
    NoCheckpoint = "NO_CHECKPOINT", DataLost;
    /// a file of a checkpoint is not there
    FileMissing = "FILE_MISSING", Degraded;
    /// a file of a checkpoint has not the size that its manifest lists
    FileSize = "FILE_SIZE", Degraded;
    /// a file of a checkpoint has not the checksum that its manifest lists
    FileChecksum = "FILE_CHECKSUM", Degraded;
    /// a table file does not end as one does
    FileFooter = "FILE_FOOTER", Degraded;
    /// a block of table entries, or an entry, cannot be read
    EntryDamaged = "ENTRY_DAMAGED", Degraded;
    /// an operator has not as many entries as the manifest says
    EntryCount = "ENTRY_COUNT", Degraded;
    /// a file of a pinned checkpoint is not what it was
    PinDamaged = "PIN_DAMAGED", Degraded;
    /// an object in object storage, which a start reads, is not there
    ObjectMissing = "OBJECT_MISSING", DataLost;
    /// an object in object storage is not what it was
    ObjectDamaged = "OBJECT_DAMAGED", DataLost;
    /// a format version that this build does not read
    VersionUnknown = "VERSION_UNKNOWN", Incompatible;
    /// a driver with a larger epoch has been here
    Fenced = "FENCED", Owned;
    /// the store belongs to a job of another name
    AnotherJob = "ANOTHER_JOB", Incompatible;
    /// the program spreads keys otherwise than the store
    KeyLayout = "KEY_LAYOUT", Incompatible;
    /// stored state of an operator that the program does not have
    OperatorGone = "OPERATOR_GONE", Incompatible;
    /// received records, or a planned batch, of a source that the program does not have
    SourceGone = "SOURCE_GONE", Incompatible;
    /// a source is of another kind in the program
    SourceKind = "SOURCE_KIND", Incompatible;
    /// received records, a planned range or a position are of another type in the program
    InputType = "INPUT_TYPE", Incompatible;
    /// a window of the program has another length or slide than the stored one, or another batch interval
    OperatorParameter = "OPERATOR_PARAMETER", Incompatible;
    /// a type of an operator's state is another one in the program
    StateType = "STATE_TYPE", Incompatible;
    /// the state of an operator has a version that the program cannot take over
    StateVersion = "STATE_VERSION", Incompatible;
    /// an operator is of another kind in the program
    OperatorKind = "OPERATOR_KIND", Incompatible;
    /// a type of the program cannot be stored
    NoSchema = "NO_SCHEMA", Incompatible;
    /// something could not be read, so nothing is known of it
    Unreadable = "UNREADABLE", Incomplete;
}

impl Code {
    /// The code of this name; case and `-` for `_` do not matter.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.replace('-', "_").to_ascii_uppercase();
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
