//! What stands behind each code: what it means, where it usually comes from, what recovery does, what to do.

use serde::Serialize;

use super::Code;

/// The long text behind a code.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Explanation {
    /// What it means for the data.
    pub means: &'static str,
    /// Where it usually comes from.
    pub cause: &'static str,
    /// What the next start does by itself.
    pub recovery: &'static str,
    /// What is to be done by people.
    pub to_do: &'static str,
    /// The commands to type next; LOCATION stands for the directory of the job, or its URL.
    pub next: &'static [&'static str],
}

const PLAN: &str = "floodmark plan LOCATION";
const VERIFY: &str = "floodmark verify LOCATION --full";
const WAL: &str = "floodmark wal LOCATION";
const LOG: &str = "floodmark log LOCATION";
const REPAIR: &str = "floodmark repair LOCATION --backup DIR";
const TAIL: &str = "floodmark tail LOCATION";
const STATUS: &str = "floodmark status LOCATION";
const COMPAT: &str = "floodmark compat LOCATION --schema FILE";

impl Code {
    /// The long text behind it.
    pub fn explanation(self) -> Explanation {
        self.of_the_log()
            .or_else(|| self.of_manifests())
            .or_else(|| self.of_checkpoints())
            .unwrap_or(self.of_programs())
    }

    fn of_the_log(self) -> Option<Explanation> {
        Some(match self {
            Self::TornTail => Explanation {
                means: "The newest segment of the log ends in the middle of a frame, or in bytes that are no frame. Nothing after \
                        them proves that they were ever synced, so they belong to an append that was never acknowledged. No \
                        acknowledged record is among them.",
                cause: "The process or the machine died while a group of frames was written: a kill, a power cut, a full disk. Beside a \
                        running job it is merely the append that is under way.",
                recovery: "The next start cuts the bytes off, says so in its report, and goes on in a new segment. Whole frames \
                           before the bad one are kept. Receivers send again what was not acknowledged to them.",
                to_do: "Nothing. If the machine did not die and the job was stopped gracefully, look at the disk: after a graceful stop \
                        the log ends with a closing mark, and a torn tail there is rot in that mark.",
                next: &[TAIL, PLAN],
            },
            Self::UnprovenTail => Explanation {
                means: "The log ends with whole frames, and nothing written after them proves that they were synced. They may have been \
                        acknowledged, so recovery keeps every one of them.",
                cause: "The job ended without a graceful stop. Every crash leaves the last group of appends like this; beside a \
                        running job it is the newest group.",
                recovery: "The next start copies them into a new segment and syncs it before it believes them, so that a second crash \
                           cannot take them away again.",
                to_do: "Nothing.",
                next: &[PLAN],
            },
            Self::DamagedFrame => Explanation {
                means: "A frame of the log has another checksum, sequence or epoch than it had when it was synced. A later frame, the \
                        header of its segment, or a segment after it proves that it was durable, so this is damage and no \
                        interrupted append. What was in it, and in the frames that cannot be read behind it, is lost from the log: \
                        records that were acknowledged, plans or commits of batches.",
                cause: "Rot on the disk, a bad cable or controller, a file system that lost blocks after a crash, a program that wrote \
                        into the file, an incomplete copy.",
                recovery: "A start refuses, changes nothing, and names file and offset, unless every checkpoint that is retained is newer \
                           than the frame: then the frame is not needed and nobody misses it.",
                to_do: "Copy the directory before anything else. Put the segment back from a backup or a replica: the name of an \
                        immutable file is never used twice, so a file of this name is the right one. Where there is none, \
                        `floodmark repair` shows what can be saved and what is lost by it. Then look for the cause: check the \
                        disk's own error counters.",
                next: &[PLAN, WAL, REPAIR],
            },
            Self::DamagedSegment => Explanation {
                means: "The header of a segment is not what it was. A segment gets its name only after its header was synced, so \
                        this is damage. Without the header its frames are not believed.",
                cause: "Rot in the first 64 bytes, a file that was cut to nothing or replaced, a segment under the name of another \
                        one.",
                recovery: "A start refuses and changes nothing. The headers of all segments are read, also of those that hold only \
                           frames that nobody needs any more.",
                to_do: "Copy the directory, then put the segment back from a backup. `floodmark wal` shows the frames in it that can \
                        still be decoded.",
                next: &[WAL, PLAN, REPAIR],
            },
            Self::MissingSegment => Explanation {
                means: "A segment of the log is gone: its number is missing between two others, or the oldest one that is there begins \
                        after frames that a retained checkpoint needs. The frames in it are lost from the log.",
                cause: "A file that was deleted by hand or by a clean-up job, an incomplete copy or restore, a file system check that \
                        moved it to its own lost+found.",
                recovery: "A start refuses, and says which frames the segment held.",
                to_do: "Look for the file where copies and clean-up jobs put things, and put it back under its name. Do not rename \
                        another segment to fill the hole: every segment states its own number.",
                next: &[PLAN, WAL, REPAIR],
            },
            Self::MixedLogs => Explanation {
                means: "Segments with different log ids lie in one directory: they belong to two jobs, or to two lives of one directory \
                        that was emptied in between. No byte need be lost, but they are not one log.",
                cause: "A restore over a directory that was not empty, two backups that were merged, a segment copied from another \
                        store.",
                recovery: "A start refuses.",
                to_do: "Find out by `floodmark log` which log id the manifests name, and move the segments of the other one out of the \
                        directory. Keep them.",
                next: &[LOG, WAL],
            },
            Self::SegmentOrder => Explanation {
                means: "A segment states an epoch or a first sequence below that of the segment before it. Each is whole; together \
                        they are no log that a job has written.",
                cause: "Segments of two copies of the same store that had gone different ways were merged.",
                recovery: "A start refuses.",
                to_do: "Decide which copy is the right one, and restore the directory from that one alone.",
                next: &[WAL, LOG],
            },
            Self::UnreadableFrame => Explanation {
                means: "A frame has the right checksum, and still is no block and no event that this build knows.",
                cause: "A newer version of Floodmark wrote it, or a bug did.",
                recovery: "A start refuses.",
                to_do: "Start the job with the version that wrote the store. If it was this one, report it with the output of \
                        `floodmark wal --records` for this sequence.",
                next: &[WAL, STATUS],
            },
            Self::LogCut => Explanation {
                means: "A manifest knows a sequence that was durable, and the log ends before it. The end of the log is gone.",
                cause: "The newest segment was deleted or cut, or an older copy of the log was put beside newer manifests.",
                recovery: "A start refuses, since going on would use the same sequences and batch numbers again for other data.",
                to_do: "Put the newest segments back. If they are lost for good, the checkpoint that knows them is still there: the \
                        job can go on from it without the log, as a new lineage, which loses what came after it.",
                next: &[LOG, PLAN, REPAIR],
            },
            Self::LogGone => Explanation {
                means: "There are manifests, but no log at all. The state up to the newest checkpoint is there; what was \
                        received and computed after it is lost.",
                cause: "The directory `wal` was deleted, or was on another volume that is not mounted.",
                recovery: "A start refuses, unless the program says `go_on_without_log()`: then it goes on from the newest checkpoint, \
                           as a new lineage, and sinks are told so.",
                to_do: "See whether a volume is missing. Put the directory back if there is a copy.",
                next: &[STATUS, PLAN],
            },
            Self::AnotherLog => Explanation {
                means: "The log is whole, but the manifests name another one by its id: two jobs, or two lives of a directory, are \
                        mixed.",
                cause: "A restore of `wal` and `manifests` from two different stores.",
                recovery: "A start refuses.",
                to_do: "Put log and manifests of the same store together.",
                next: &[LOG, WAL],
            },
            Self::BatchMissing | Self::BlockMissing => Explanation {
                means: "The log is whole by its checksums, but a batch that must be computed again has no plan in it, or its plan \
                        names a block that is not there.",
                cause: "A segment that was replaced by one of another copy of the same store; otherwise a bug.",
                recovery: "A start refuses.",
                to_do: "Restore log and manifests from one and the same copy. If nothing was copied, report it with the outputs of \
                        the commands below.",
                next: &["floodmark batches LOCATION", WAL, PLAN],
            },
            Self::BlocksLost => Explanation {
                means: "This is a working copy of a job in object storage. The plans are here, but blocks that they read were only in the \
                        log of the machine that took them in.",
                cause: "The machine was lost, or the job was started elsewhere, and its log was not in object storage.",
                recovery: "A start refuses, and names the batches and what they read.",
                to_do: "Start the job on that machine, in its working copy. If that is gone, go on without these batches by \
                        go_on_without_log(), as a new lineage.",
                next: &[PLAN, WAL],
            },
            Self::BatchPublished => Explanation {
                means: "A sink has a batch of this job that the log ends before. The log has lost its end after that batch was \
                        published.",
                cause: "The newest segment was deleted or cut, or the store was put back to an older copy while the sink was not.",
                recovery: "A start refuses: going on would publish other results under the numbers of batches that are out already.",
                to_do: "Restore the newest segments; or put the sink back as well; or roll back on purpose, which begins a new lineage \
                        that sinks can tell from the old one.",
                next: &[TAIL, "floodmark rollback LOCATION --to BATCH"],
            },
            _ => return None,
        })
    }

    fn of_manifests(self) -> Option<Explanation> {
        Some(match self {
            Self::ManifestDamaged => Explanation {
                means: "A manifest is there, but its bytes are not those that were written. The checkpoint that it published is \
                        not used unless another manifest names it, too.",
                cause: "Rot on the disk, a cut or replaced file.",
                recovery: "A start goes back to the newest manifest that is whole, replays the log from there, and records the damage \
                           as a rejection. That is a longer replay and no loss, as long as an older checkpoint and its log are \
                           there. Until then nothing is deleted, since the damaged manifest might name anything.",
                to_do: "Nothing, if `floodmark plan` says that nothing is lost. A copy of the file from a backup heals it, too.",
                next: &[PLAN, LOG],
            },
            Self::ManifestHole => Explanation {
                means: "A manifest is missing within the chain. What it said (a checkpoint, a rejection, a rollback) is not known, so \
                        the chain is not believed.",
                cause: "A file that was deleted, an incomplete copy. A copy that was taken while the job ran and published is one.",
                recovery: "A start refuses.",
                to_do: "Put the file back, or take the copy again while the job is stopped.",
                next: &[LOG, REPAIR],
            },
            Self::ChainForked => Explanation {
                means: "A manifest names another parent than the one that is there. Each is whole; together they are two chains.",
                cause: "Manifests of two copies of the same store that had gone different ways were merged.",
                recovery: "A start refuses.",
                to_do: "Decide which copy is the right one, and restore `manifests`, `wal` and `checkpoints` from that one.",
                next: &[LOG],
            },
            Self::ManifestsGone => Explanation {
                means: "The directory holds a log or checkpoints of a job, and no manifest. Which checkpoint counts is not known.",
                cause: "The directory `manifests` was deleted or not copied.",
                recovery: "A start refuses: it begins anew only in an empty place.",
                to_do: "Put the directory back. To start anew on purpose, move the whole store away first.",
                next: &[WAL, REPAIR],
            },
            Self::Fenced => Explanation {
                means: "Another driver has taken the job over, with a larger epoch.",
                cause: "The job was started a second time, here or on another machine.",
                recovery: "The older driver stops by itself and publishes nothing more.",
                to_do: "Find out which of the two should run.",
                next: &[STATUS],
            },
            _ => return None,
        })
    }

    fn of_checkpoints(self) -> Option<Explanation> {
        Some(match self {
            Self::FileMissing | Self::FileSize | Self::FileChecksum | Self::FileFooter => Explanation {
                means: "A file of a checkpoint is not what its manifest lists: it is missing, has another size, another checksum, or \
                        does not end as a table file does. The checkpoint is not usable. Checkpoints share files by hard links, so \
                        damage in one file is damage in all that list it; the finding names them.",
                cause: "Rot on the disk, a cut, deleted or replaced file, an incomplete copy.",
                recovery: "A start rejects the checkpoint by a new manifest, names the reason, and goes back to the next older one that is \
                           whole, with a longer replay. Nothing is lost by that, as long as there is one and the log reaches back \
                           to it.",
                to_do: "Let `floodmark plan` say what a start would take instead. The file can be put back from a backup: its name, \
                        size and checksum stand in the manifest, and it never changes.",
                next: &[PLAN, LOG, VERIFY],
            },
            Self::EntryDamaged => Explanation {
                means: "A block of a table file fails its own checksum, or an entry stands under another hash than that of its key. The \
                        finding names the operator and the range of key hashes that cannot be read.",
                cause: "Rot on the disk. With a file whose checksum is right it was written wrongly: bad memory, or a bug.",
                recovery: "A start that meets it rejects the checkpoint and goes back to an older one.",
                to_do: "As for a file with a wrong checksum. If no file has one, test the machine's memory.",
                next: &[PLAN, VERIFY],
            },
            Self::EntryCount => Explanation {
                means: "All entries of an operator can be read, but there are more or fewer than the manifest says.",
                cause: "Files of two checkpoints were mixed in a way that their checksums do not show; otherwise a bug.",
                recovery: "A start does not count, and would take the checkpoint as it is.",
                to_do: "Do not start the job on it before you know why. Compare with an older checkpoint.",
                next: &["floodmark diff LOCATION A B --summary", LOG],
            },
            Self::PinDamaged => Explanation {
                means: "A checkpoint that was pinned is not what it was. The job itself does not need it.",
                cause: "Rot on the disk, a deleted or replaced file. Where the file is shared with a checkpoint of the chain, that one is \
                        found damaged, too.",
                recovery: "None is needed: a start does not read what is pinned.",
                to_do: "Put the file back if the pin matters, or take the pin away.",
                next: &[LOG, "floodmark unpin LOCATION BATCH"],
            },
            Self::ObjectMissing => Explanation {
                means: "The job is in object storage, and an object that a start reads is not in the bucket: a manifest of the chain, an \
                        object of the log, or a file of a checkpoint that is retained.",
                cause: "Somebody, or a lifecycle rule of the bucket, has deleted it. Floodmark deletes only what no manifest needs.",
                recovery: "Where it is a file of a checkpoint, the checkpoint is rejected by a new manifest, and the one before it is used, \
                           with a longer replay. Where it is a manifest of the chain, or an object of the log, a start refuses, and names it.",
                to_do: "Restore the object from the bucket's versions, or from a copy, under the same name; no other object changes. \
                        State of checkpoints that are whole can be read meanwhile, and exported.",
                next: &[VERIFY, LOG, "floodmark export LOCATION"],
            },
            Self::ObjectDamaged => Explanation {
                means: "The job is in object storage, and the bytes of an object are not those that were put: its checksum or its length \
                        says so.",
                cause: "The object was replaced, or cut by a copy of the bucket. Floodmark never changes an object.",
                recovery: "Where it is a manifest or a file of a checkpoint, that is rejected by a new manifest, and the checkpoint before it \
                           is used, with a longer replay. Where it is an object of the log, a start refuses, and names it.",
                to_do: "Restore the object from the bucket's versions, or from a copy, under the same name.",
                next: &[VERIFY, LOG, "floodmark export LOCATION"],
            },
            Self::NoCheckpoint => Explanation {
                means: "Every checkpoint that the chain names is damaged, and the log does not reach back to the beginning, so the \
                        state cannot be rebuilt.",
                cause: "Damage in a file that all retained checkpoints share, or the loss of the directory `checkpoints`.",
                recovery: "A start refuses, and names what it tried.",
                to_do: "One good copy of the shared file heals all of them. A pinned checkpoint, an export or a backup may have it.",
                next: &[VERIFY, LOG, REPAIR],
            },
            Self::VersionUnknown => Explanation {
                means: "A file is whole, and of a format version that this build does not read. Nothing is damaged.",
                cause: "A newer version of Floodmark wrote the store.",
                recovery: "A start refuses.",
                to_do: "Use the version that wrote it. The changelog says which versions read which formats.",
                next: &["floodmark --version"],
            },
            Self::Unreadable => Explanation {
                means: "The file system did not give the bytes, so nothing is known of them: they may be well.",
                cause: "A missing permission, a failing disk, a network file system that is away, a file that was deleted while it was \
                        looked at.",
                recovery: "A start that needs the bytes fails, and can be tried again.",
                to_do: "Look as the user that runs the job, and look into the kernel's messages for errors of the disk.",
                next: &[STATUS],
            },
            _ => return None,
        })
    }

    /// What only a program can disagree with.
    fn of_programs(self) -> Explanation {
        let (means, to_do) = match self {
            Self::AnotherJob => (
                "The store belongs to a job of another name. State is never mixed between jobs.",
                "Give each job a location of its own, or give the job its old name.",
            ),
            Self::KeyLayout => (
                "The number of partitions, of key groups, or the hash of keys is another one than the store was written with. It is fixed \
                 for the life of a job.",
                "Set the old numbers; to change them, export the state and import it into a new store.",
            ),
            Self::OperatorGone => (
                "The store holds state under a uid that the program does not have. It would be lost silently.",
                "Put the operator back, correct its uid, or give the state up by `drop_state(uid)`.",
            ),
            Self::SourceGone => (
                "Records that were received and acknowledged, or a batch that is planned, belong to a source that the program does not \
                 have.",
                "Put the source back until it is used up; or give unplanned records up by `drop_state(uid)`.",
            ),
            Self::SourceKind => (
                "The uid belongs to another kind of source in the program than in the store: what is stored of the source (where it was, \
                 what waits, what is planned) would be read as something that it is not.",
                "Give the new source a uid of its own. To give up where the old one was, and what waits of it, call `drop_state(uid)`.",
            ),
            Self::InputType => (
                "Records that wait or have to be computed again, ranges that are planned, or the position of a direct source are of another \
                 type in the program than when they were stored. Stored bytes do not describe themselves, so they would be misread.",
                "Stop the old program gracefully: then nothing is planned or waits, and another type of records and ranges is taken. \
                 Or change the type back, or give what is stored up by `drop_state(uid)`.",
            ),
            Self::OperatorParameter => (
                "A window of the program has another length or slide than the one that wrote the state, or it slides by the batch interval, \
                 which has changed. What the window keeps, and has let go, was decided by the old numbers.",
                "Change them back, or give the window a uid of its own, and give the old state up by `drop_state(uid)`.",
            ),
            Self::StateType => (
                "The type of keys or states of an operator is another one than the stored one, under the same state version.",
                "Change the type back, or give the state a new version with a migration from the old one.",
            ),
            Self::StateVersion => (
                "The stored state has a version from which the program has no migration, or a newer one than the program's.",
                "Give the program the migration, or run the newer program.",
            ),
            Self::OperatorKind => (
                "The uid belongs to another kind of operator in the program than in the store.",
                "Give the new operator a uid of its own, and give the old state up by `drop_state(uid)`.",
            ),
            // `explanation` has asked for all others before.
            _ => (
                "A type that the program keeps as a key or as state cannot be stored: its order is random (HashMap, HashSet), equal \
                 keys have different encodings, or its serde attributes (flatten, untagged, skip_serializing_if) lose what a reader needs.",
                "Change the type as the message says.",
            ),
        };
        Explanation {
            means,
            cause: "The program was changed, or is another one than the one that wrote the store.",
            recovery: "A start refuses and changes nothing; the old program still starts.",
            to_do,
            next: &[COMPAT, STATUS],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_text_of_its_own_and_a_command_to_go_on_with() {
        for code in Code::ALL {
            let text = code.explanation();
            assert!(!text.means.is_empty() && !text.to_do.is_empty() && !text.next.is_empty(), "{code}");
            assert!(text.next.iter().all(|command| command.starts_with("floodmark ")), "{code}");
            assert_eq!(Code::parse(&code.name().to_lowercase().replace('_', "-")), Some(*code));
            let is_default = text.means.starts_with("A type that the program keeps");
            assert_eq!(is_default, *code == Code::NoSchema, "{code} has no text");
        }
        assert_eq!(Code::parse("WHAT"), None);
    }
}
