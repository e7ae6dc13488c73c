//! What can go wrong at a durable step.

use std::fmt;
use std::str::FromStr;

use floodmark::testing::disk::{Fault as DiskFault, Loss, Step, TracedStep};

/// A fault, which strikes at one durable step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies before the step.
    CrashBefore,
    /// The process dies after the step, before it hears of it.
    CrashAfter,
    /// The process dies while it writes: the write ends at the next multiple of 512 bytes of the file.
    Torn512,
    /// As above, of 4,096 bytes.
    Torn4096,
    /// The machine dies before the step: bytes that were not synced are lost, names are kept.
    LostBytes,
    /// The machine dies before the step: names whose directory was not synced are lost, removed ones are back.
    LostNames,
    /// The machine dies before the step: whatever was not synced is lost.
    PowerCut,
    /// The machine dies after the step: of what was not synced some sectors and some names are there, in no order.
    Reordered,
    /// The step fails with EIO; what it should have made durable is lost when the process ends.
    IoError,
    /// The disk is full from here on, until the job has ended or blocks are refused.
    DiskFull,
    /// The step is done, but its answer is lost: it fails with EIO.
    LostAck,
    /// The step takes long; what needs not wait for it goes on.
    SlowIo,
    /// The driver is paused in the step; another one takes over on another machine; the first one wakes up.
    Zombie,
    /// The clock that shows the date goes back by an hour.
    ClockBack,
    /// The clock that shows the date goes forward by an hour.
    ClockForward,
    /// The list of an object store lacks its newest objects.
    ListLag,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::Torn512,
        Self::Torn4096,
        Self::LostBytes,
        Self::LostNames,
        Self::PowerCut,
        Self::Reordered,
        Self::IoError,
        Self::DiskFull,
        Self::LostAck,
        Self::SlowIo,
        Self::Zombie,
        Self::ClockBack,
        Self::ClockForward,
        Self::ListLag,
    ];

    /// Those that end a process or a machine, and nothing else.
    pub const CRASHES: [Self; 8] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::Torn512,
        Self::Torn4096,
        Self::LostBytes,
        Self::LostNames,
        Self::PowerCut,
        Self::Reordered,
    ];

    /// The name under which reports and replay files know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CrashBefore => "crash-before",
            Self::CrashAfter => "crash-after",
            Self::Torn512 => "torn-512",
            Self::Torn4096 => "torn-4096",
            Self::LostBytes => "lost-bytes",
            Self::LostNames => "lost-names",
            Self::PowerCut => "power-cut",
            Self::Reordered => "reordered",
            Self::IoError => "io-error",
            Self::DiskFull => "disk-full",
            Self::LostAck => "lost-ack",
            Self::SlowIo => "slow-io",
            Self::Zombie => "zombie",
            Self::ClockBack => "clock-back",
            Self::ClockForward => "clock-forward",
            Self::ListLag => "list-lag",
        }
    }

    /// Whether it makes a difference at this step: only what writes can be torn or find no room, and
    /// only what lists can be behind.
    #[must_use]
    pub fn fits(self, step: &TracedStep) -> bool {
        match self {
            Self::Torn512 | Self::Torn4096 | Self::DiskFull => step.writes,
            Self::ListLag => step.step == Step::StoreList,
            _ => true,
        }
    }

    /// Whether it ends the process or the machine by itself.
    #[must_use]
    pub fn is_crash(self) -> bool {
        Self::CRASHES.contains(&self)
    }

    /// Whether the batches after it have other times than in a run without it, so that results may differ.
    pub(super) fn changes_time(self) -> bool {
        matches!(self, Self::ClockBack | Self::ClockForward)
    }

    /// What the door to the disk is told.
    pub(super) fn at_the_disk(self) -> DiskFault {
        match self {
            Self::CrashBefore | Self::LostBytes | Self::LostNames | Self::PowerCut => DiskFault::DieBefore,
            Self::CrashAfter | Self::Reordered => DiskFault::DieAfter,
            Self::Torn512 => DiskFault::TearAt { boundary: 512 },
            Self::Torn4096 => DiskFault::TearAt { boundary: 4_096 },
            Self::IoError => DiskFault::FailOnce,
            Self::DiskFull => DiskFault::DiskFull,
            Self::LostAck => DiskFault::FailAfter,
            Self::ListLag => DiskFault::Stale,
            Self::SlowIo | Self::Zombie | Self::ClockBack | Self::ClockForward => DiskFault::Hold,
        }
    }

    /// What is lost with the process that it ends.
    pub(super) fn loss(self, seed: u64) -> Loss {
        match self {
            Self::LostBytes => Loss::Bytes,
            Self::LostNames => Loss::Names,
            Self::PowerCut | Self::IoError => Loss::Everything,
            Self::Reordered => Loss::Some { seed },
            _ => Loss::Nothing,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|fault| fault.name() == name);
        known.ok_or_else(|| format!("expected a fault, found {name:?}"))
    }
}
