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
//! | an object with a group | a group that the working copy may hold, and that was never acknowledged: cut at the next start | the group, kept, which is allowed though not promised before its acknowledgement |
//! | deletion of objects | objects that nobody needs; the next truncation deletes them | the same, fewer |

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::envelope::{LogObject, LogRange, Piece, Writer};
use super::{Bucket, Created, RemoteError};
use crate::id::{Epoch, SegmentNumber};

/// Where the objects of the log are.
pub(super) const LOG: &str = "log";

/// Somebody with a newer epoch, or who came after us, has written what was ours to write (I-8).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{object} was written in epoch {theirs} by {who}, ours is {ours}")]
pub(crate) struct Overtaken {
    pub object: String,
    pub who: String,
    pub ours: Epoch,
    pub theirs: Epoch,
}

/// What taking the log over came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
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
    overtaken: OnceLock<Overtaken>,
}

#[derive(Debug, Default)]
struct Tail {
    /// The number of the next object.
    next: u64,
    /// Who writes; nobody before the log is opened.
    writer: Option<Writer>,
    /// The objects that hold pieces, with the newest segment in each.
    objects: BTreeMap<u64, SegmentNumber>,
}

impl RemoteLog {
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket, tail: Mutex::default(), putting: Mutex::default(), overtaken: OnceLock::new() }
    }

    /// What a fetch has found.
    pub fn fetched(&self, next: u64, objects: BTreeMap<u64, SegmentNumber>) {
        let mut tail = self.lock();
        (tail.next, tail.objects) = (next, objects);
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
            match self.bucket.create(&object_name(number), object.to_bytes()?)? {
                Created::Ours => {
                    let mut tail = self.lock();
                    (tail.next, tail.writer) = (number + 1, Some(writer.clone()));
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

    /// Puts bytes of a segment as the next object.
    pub fn put(&self, segment: SegmentNumber, offset: u64, bytes: Bytes) -> io::Result<()> {
        let _alone = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, writer) = {
            let tail = self.lock();
            let not_open = || io::Error::other("the log in object storage was not taken over");
            (tail.next, tail.writer.clone().ok_or_else(not_open)?)
        };
        let object = LogObject { number, writer, pieces: vec![Piece { segment, offset, bytes }] };
        let name = object_name(number);
        match self.bucket.create(&name, object.to_bytes()?)? {
            Created::Ours => {
                let mut tail = self.lock();
                tail.next = number + 1;
                tail.objects.insert(number, segment);
                Ok(())
            }
            Created::Theirs(bytes) => {
                let theirs = LogObject::from_bytes(&name, number, &bytes)?.writer;
                Err(io::Error::other(self.overtaken_by(number, &object.writer, &theirs)))
            }
        }
    }

    /// The objects that hold nothing of segments after this one, among those below `limit`.
    pub fn unneeded(&self, through: SegmentNumber, limit: u64) -> Vec<u64> {
        let tail = self.lock();
        tail.objects.range(..limit).filter(|(_, segment)| **segment <= through).map(|(number, _)| *number).collect()
    }

    pub fn forget(&self, numbers: &[u64]) {
        let mut tail = self.lock();
        tail.objects.retain(|number, _| numbers.binary_search(number).is_err());
    }

    /// Which objects a start that finds a manifest of now has to read.
    pub fn range(&self) -> LogRange {
        let tail = self.lock();
        LogRange { first: tail.objects.keys().next().copied().unwrap_or(tail.next), next: tail.next }
    }

    /// Who has taken over, if this life has met them.
    pub fn overtaken(&self) -> Option<&Overtaken> {
        self.overtaken.get()
    }

    /// Remembers who has taken over, the first one that was met.
    pub fn note_overtaken(&self, by: Overtaken) -> Overtaken {
        self.overtaken.get_or_init(|| by).clone()
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

/// The number in the last part of an object's name: twenty digits.
pub(super) fn number_in(name: &str) -> Option<u64> {
    let digits = name.rsplit('/').next()?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}
