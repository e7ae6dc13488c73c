//! The log in object storage: one chain of objects, numbered without holes over all lives.
//!
//! # Who writes
//! A life takes the log over by an object of its own without contents, at the number that comes next ([`RemoteLog::open`]); after
//! that every object is created if absent. A driver that was paused finds its next number taken by whoever came after it,
//! whenever it wakes: these first objects are never deleted, everything else is when no manifest needs it.
//!
//! # What a crash leaves
//! | step | a crash before it leaves | in or after it |
//! |---|---|---|
//! | the object that opens | the log of the life before, which may go on | a log that is ours; the life before is fenced |
//! | an object with a new segment | nothing | the segment, which the working copy gets at the next start |
//! | an object with a group | a group that the working copy may hold, and that was never acknowledged: its events are cut at the next start | the group, kept, which is allowed though not promised before its acknowledgement |
//! | (bodies in the local log) blocks between two objects | blocks that the working copy holds and has acknowledged; without it they are gone, and what the bucket knows of them is told | the same |
//! | deletion of objects | objects that nobody needs; the next truncation deletes them | the same, fewer |

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::envelope::{Known, LogObject, LogRange, Piece, Writer};
use super::outline::joined;
use super::{Bucket, Created, RemoteError};
use floodmark_base::id::{Epoch, SegmentNumber};

/// Where the objects of the log are.
pub const LOG: &str = "log";

/// Somebody with a newer epoch, or who came after us, has written what was ours to write (I-8).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{object} was written in epoch {theirs} by {who}, ours is {ours}")]
pub struct Overtaken {
    pub object: String,
    pub who: String,
    pub ours: Epoch,
    pub theirs: Epoch,
}

/// What taking the log over came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// All of it is what was fetched.
    AsFetched,
    /// The life before has put more since: everything is to be observed anew. The log is ours all the same.
    Behind,
}

/// The writer's end of the log.
#[derive(Debug)]
pub(super) struct RemoteLog {
    bucket: Bucket,
    tail: Mutex<Tail>,
    /// Held while an object is put, so that numbers are taken one after another.
    putting: Mutex<()>,
    overtaken: Mutex<Option<Overtaken>>,
}

#[derive(Debug, Default)]
struct Tail {
    /// The number of the next object.
    next: u64,
    /// Who writes; nobody before the log is opened.
    writer: Option<Writer>,
    /// The objects that hold pieces, with the newest segment in each.
    objects: BTreeMap<u64, SegmentNumber>,
    /// What goes into the next object.
    staged: Vec<Piece>,
    /// Up to where the objects tell of each segment; nothing where the working copy has it in another layout.
    ends: BTreeMap<SegmentNumber, Option<u64>>,
    /// The newest object, and its checksum.
    last: Option<(u64, u32)>,
}

/// What a fetch has found.
#[derive(Debug)]
pub(super) struct Fetched {
    pub next: u64,
    pub objects: BTreeMap<u64, SegmentNumber>,
    /// What the working copy has beyond it, to be put.
    pub staged: Vec<Piece>,
    pub ends: BTreeMap<SegmentNumber, Option<u64>>,
    pub last: Option<(u64, u32)>,
}

impl RemoteLog {
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket, tail: Mutex::default(), putting: Mutex::default(), overtaken: Mutex::default() }
    }

    /// What a fetch has found.
    pub fn fetched(&self, fetched: Fetched) {
        let mut tail = self.lock();
        let Fetched { next, objects, staged, ends, last } = fetched;
        *tail = Tail { next, objects, staged, ends, last, writer: tail.writer.take() };
    }

    /// Takes the log over: from here on nobody who came before puts anything.
    ///
    /// # Errors
    /// [`RemoteError`] when the store fails; the outer one when a newer driver has been here.
    pub fn open(&self, writer: &Writer) -> Result<Result<Opened, Overtaken>, RemoteError> {
        let _alone = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        let fetched = self.lock().next;
        for number in fetched.. {
            let object = LogObject { number, writer: writer.clone(), pieces: Vec::new() };
            let bytes = object.to_bytes()?;
            let crc32 = crc32fast::hash(&bytes);
            match self.bucket.create(&object_name(number), bytes)? {
                Created::Ours => {
                    let mut tail = self.lock();
                    (tail.next, tail.writer) = (number + 1, Some(writer.clone()));
                    tail.last = Some((number, crc32));
                    return Ok(Ok(if number == fetched { Opened::AsFetched } else { Opened::Behind }));
                }
                Created::Theirs(bytes) => {
                    let theirs = LogObject::from_bytes(&object_name(number), number, &bytes)?.writer;
                    if theirs.epoch > writer.epoch {
                        return Ok(Err(self.overtaken_by(number, writer, &theirs)));
                    }
                }
            }
        }
        unreachable!("numbers do not end")
    }

    /// Adds pieces to what the next object holds.
    pub fn stage(&self, pieces: Vec<Piece>) {
        self.lock().staged.extend(pieces);
    }

    /// Puts what is staged as the next object.
    pub fn put(&self) -> io::Result<()> {
        let _alone = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, writer, staged) = {
            let tail = self.lock();
            let not_open = || io::Error::other("the log in object storage was not taken over");
            (tail.next, tail.writer.clone().ok_or_else(not_open)?, tail.staged.clone())
        };
        let object = LogObject { number, writer, pieces: joined(&staged) };
        let name = object_name(number);
        let bytes = object.to_bytes()?;
        let crc32 = crc32fast::hash(&bytes);
        match self.bucket.create(&name, bytes)? {
            Created::Ours => {
                let mut tail = self.lock();
                (tail.next, tail.last) = (number + 1, Some((number, crc32)));
                tail.staged.drain(..staged.len());
                for Piece { segment, offset, bytes } in object.pieces {
                    tail.objects.insert(number, segment);
                    let end = tail.ends.entry(segment).or_insert(Some(0));
                    *end = end.map(|_| offset + bytes.len() as u64);
                }
                Ok(())
            }
            Created::Theirs(bytes) => {
                let theirs = LogObject::from_bytes(&name, number, &bytes)?.writer;
                Err(io::Error::other(self.overtaken_by(number, &object.writer, &theirs)))
            }
        }
    }

    /// Whether this life has opened the log, and nobody has put anything since.
    pub fn is_held(&self) -> Result<bool, RemoteError> {
        let (is_open, next) = {
            let tail = self.lock();
            (tail.writer.is_some(), tail.next)
        };
        Ok(is_open && self.bucket.read(&object_name(next))?.is_none())
    }

    /// What the working copy has, as a note; nothing where it has a segment in another layout.
    pub fn known(&self) -> Option<Known> {
        let tail = self.lock();
        let (last, crc32) = tail.last?;
        let segments = tail.ends.iter().map(|(segment, end)| Some((segment.0, (*end)?)));
        let segments = segments.collect::<Option<Vec<_>>>()?;
        let objects = tail.objects.iter().map(|(number, segment)| (*number, segment.0)).collect();
        (last + 1 == tail.next).then_some(Known { next: tail.next, crc32, segments, objects })
    }

    /// The objects that hold nothing of segments after this one, among those below `limit`.
    pub fn unneeded(&self, through: SegmentNumber, limit: u64) -> Vec<u64> {
        let tail = self.lock();
        tail.objects.range(..limit).filter(|(_, segment)| **segment <= through).map(|(number, _)| *number).collect()
    }

    /// These objects are deleted, and the segments up to this one are gone.
    pub fn forget(&self, numbers: &[u64], through: SegmentNumber) {
        let mut tail = self.lock();
        tail.ends.retain(|segment, _| *segment > through);
        tail.objects.retain(|number, _| numbers.binary_search(number).is_err());
    }

    /// Which objects a start that finds a manifest of now has to read.
    pub fn range(&self) -> LogRange {
        let tail = self.lock();
        LogRange { first: tail.objects.keys().next().copied().unwrap_or(tail.next), next: tail.next }
    }

    /// Who has taken over, if this life has met them.
    pub fn overtaken(&self) -> Option<Overtaken> {
        self.overtaken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// They have not, after all: everything is observed anew.
    pub fn forget_overtaken(&self) {
        *self.overtaken.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Remembers who has taken over, the first one that was met.
    pub fn note_overtaken(&self, by: Overtaken) -> Overtaken {
        self.overtaken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(by).clone()
    }

    fn overtaken_by(&self, number: u64, ours: &Writer, theirs: &Writer) -> Overtaken {
        self.note_overtaken(Overtaken {
            object: object_name(number),
            who: theirs.who.clone(),
            ours: ours.epoch,
            theirs: theirs.epoch,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of an object of the log.
pub(super) fn object_name(number: u64) -> String {
    format!("{LOG}/{number:020}")
}

/// The numbers of the objects of a place, as a list shows them.
pub(super) fn listed_numbers(bucket: &Bucket, place: &str) -> Result<Vec<u64>, RemoteError> {
    Ok(bucket.list(place)?.iter().filter_map(|file| number_in(&file.name)).collect())
}

/// The number in the last part of an object's name: twenty digits.
pub fn number_in(name: &str) -> Option<u64> {
    let digits = name.rsplit('/').next()?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}
