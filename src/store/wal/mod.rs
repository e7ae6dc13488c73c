//! The write-ahead log: one log for blocks and batch events, hence one order of everything.
//!
//! ```text
//! wal/00000000000000000001.log    a segment: header, then frames
//! wal/00000000000000000002.log    the next one; only the newest is written
//! wal/reserve                     given up when the disk is full
//! ```
//!
//! - I-1: an append is acknowledged only after its bytes are synced, by a sync that it shares with all that waited.
//! - I-6: an interrupted write is told from damage by proof ([`tail`]); damage is reported and never stepped over.
//! - I-7: after a failed write or sync the handle is poisoned; only [`Wal::resume`], after a new scan, goes on.
//! - I-5: segments are deleted only by who holds a [`TruncationRight`].
//!
//! A start observes ([`scan::observe_with`]), decides elsewhere, then resumes: what nothing proves to be synced is first made durable
//! in a new segment ([`carry`]). An old segment is never appended to. The bytes are described in [`frame`] and [`segment`], the
//! whole format in `docs/formats/wal.md`.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use byteview::ByteView;
use serde::{Deserialize, Serialize};

use floodmark_base::disk::{Disk, Step};
use floodmark_base::id::{Epoch, LogId, SegmentNumber, Sequence};
use floodmark_base::planted::PlantedBug;

mod absent;
mod carry;
mod damage;
#[cfg(feature = "testing")]
pub mod decoding;
mod error;
mod frame;
mod heads;
mod poison;
mod queue;
mod reader;
mod scan;
mod segment;
mod settings;
mod shared;
mod survey;
mod tail;
#[cfg(test)]
mod tests;
mod truncation;
mod version;
mod writer;

pub use absent::absent_frame;
pub use damage::Lost;
pub use damage::WalDamage;
pub use error::WalError;
pub use frame::Frame;
#[cfg(any(test, feature = "testing"))]
pub use frame::payload_checksum;
pub use frame::{FRAME_HEADER_LEN, FrameFault, FrameHeader};
pub use queue::Done;
pub use reader::read_frame;
#[cfg(any(test, feature = "testing"))]
pub use scan::Visit;
#[cfg(any(test, feature = "testing"))]
pub use scan::observe;
pub use scan::{Reading, SegmentSummary, WalScan, observe_with};
pub use segment::segment_number;
pub use segment::segment_path;
pub use segment::{SEGMENT_HEADER_LEN, SegmentHeader};
#[cfg(any(test, feature = "testing"))]
pub use settings::Effort;
pub use settings::WalSettings;
pub use shared::WalStatistics;
pub use survey::{Ending, LogSurvey, Seen, SurveyedSegment};
pub use tail::Tail;
pub use truncation::TruncationRight;
pub use version::WalVersion;

use queue::{Request, SummedFrame};
use shared::{Segment, Shared};
pub use shared::{give_up_reserve, is_full};
use writer::{Writer, closing_mark};

/// The handle of an open log; clones share it. The last one to go closes the log without a mark.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    /// Frames that recovery carried over: old place to new.
    carried: Arc<HashMap<Sequence, FrameAt>>,
    thread: Arc<WriterThread>,
}

impl Wal {
    /// Begins a new log, with a random id, in a directory that has none; makes the directory where it is missing.
    ///
    /// # Errors
    /// [`WalError::Io`] with `AlreadyExists` when a log is there: an empty start happens only in an empty place (I-6).
    pub fn create(
        disk: Arc<dyn Disk>,
        directory: &Path,
        epoch: Epoch,
        settings: WalSettings,
    ) -> Result<Self, WalError> {
        let failed = |error: io::Error| WalError::io(directory, 0, error);
        disk.create_dir_all(Step::DirectoryCreate, directory).map_err(failed)?;
        let names = disk.list(directory).map_err(failed)?;
        if names.iter().any(|name| segment_number(name).is_some()) {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "expected no log, found segments of one")));
        }
        let header = SegmentHeader {
            version: WalVersion::CURRENT,
            log: LogId::random(),
            number: SegmentNumber(1),
            epoch,
            first_sequence: Sequence(1),
            durable_through: Sequence(0),
        };
        let file = segment_path(directory, header.number);
        let created = disk.create_whole(Step::WalRoll, &file, &header.encode());
        created.map_err(|error| WalError::io(&file, 0, error))?;
        let segment =
            Segment { number: header.number, first_sequence: header.first_sequence, bytes: SEGMENT_HEADER_LEN as u64 };
        let shared = Shared::new(disk, directory, header.log, settings, vec![segment])?;
        Self::open(shared, &header, Sequence(1), SEGMENT_HEADER_LEN as u64, HashMap::new(), false)
    }

    /// Goes on with the log that was scanned, in a new segment. Whole frames that nothing proves to be synced are carried into
    /// it and are durable when this returns; an interrupted tail is cut. No old segment is written.
    ///
    /// # Errors
    /// [`WalError::Fenced`] when the log has seen a larger epoch; [`WalError::Io`], with `AlreadyExists` when the log has gone on
    /// since the scan; [`WalError::Damage`] when it has changed since.
    pub fn resume(
        disk: Arc<dyn Disk>,
        directory: &Path,
        scan: &WalScan,
        epoch: Epoch,
        settings: WalSettings,
    ) -> Result<Self, WalError> {
        let trusted = settings.planted.has_bug(PlantedBug::TrustTheTail).then(|| scan.trusted());
        let scan = trusted.as_ref().unwrap_or(scan);
        let carried = match carry::carry(&*disk, directory, scan, epoch) {
            // The life before may have ended on a full disk: its reserve is for this, too.
            Err(WalError::Io { source, .. }) if is_full(&source) && give_up_reserve(&*disk, directory)? => {
                carry::carry(&*disk, directory, scan, epoch)?
            }
            other => other?,
        };
        let (header, bytes) = (carried.segment, carried.bytes);
        let of_scan = |segment: &SegmentSummary| Segment {
            number: segment.number,
            first_sequence: segment.first_sequence,
            bytes: segment.bytes,
        };
        let mut segments: Vec<Segment> = scan.segments.iter().map(of_scan).collect();
        segments.push(Segment { number: header.number, first_sequence: header.first_sequence, bytes });
        let shared = Shared::new(disk, directory, header.log, settings, segments)?;
        Self::open(shared, &header, scan.next_sequence, bytes, carried.places, carried.ends_with_mark)
    }

    fn open(
        shared: Shared,
        header: &SegmentHeader,
        next: Sequence,
        offset: u64,
        carried: HashMap<Sequence, FrameAt>,
        ends_with_mark: bool,
    ) -> Result<Self, WalError> {
        let shared = Arc::new(shared);
        let path = segment_path(&shared.directory, header.number);
        let writer = Writer {
            file: shared.disk.open_append(&path).map_err(|error| WalError::io(&path, 0, error))?,
            shared: Arc::clone(&shared),
            epoch: header.epoch,
            segment: header.number,
            offset,
            next,
            synced_through: header.durable_through,
            ends_with_mark,
            scratch: Vec::new(),
        };
        let spawned = thread::Builder::new().name("floodmark-wal".into()).spawn(move || writer.run());
        let handle = spawned.map_err(|error| WalError::io(&shared.directory, 0, error))?;
        let thread = WriterThread { shared: Arc::clone(&shared), handle: Mutex::new(Some(handle)) };
        Ok(Self { shared, carried: Arc::new(carried), thread: Arc::new(thread) })
    }

    /// The id of this log.
    pub fn log_id(&self) -> LogId {
        self.shared.log
    }

    /// Appends frames, next to each other and in this order. `done` is called once, with their places when they are synced (I-1),
    /// or with the reason why they are not; by the log's thread, so it must be short and must not wait for the log.
    ///
    /// The calling thread computes the checksums, and waits while the queue is full.
    ///
    /// `done` gets [`WalError::Full`] when there are blocks among the frames and the disk or the quota is full;
    /// [`WalError::Poisoned`] after a failed write, of this or of earlier frames: they may or may not be found by recovery.
    pub fn append(&self, frames: Vec<NewFrame>, done: Done) {
        let too_large = |bytes: u64| bytes > u64::from(u32::MAX);
        let sizes = frames.iter().map(|frame| frame.head.len() as u64 + frame.body.len() as u64);
        if let Some(bytes) = sizes.max().filter(|bytes| too_large(*bytes)) {
            return done(Err(WalError::TooLarge { bytes }));
        }
        let summed = |frame: NewFrame| SummedFrame {
            payload_checksum: frame::payload_checksum(&frame.head, &frame.body),
            kind: frame.kind,
            head: frame.head,
            body: frame.body,
        };
        self.push(Request::write(frames.into_iter().map(summed).collect(), done));
    }

    /// As [`append`](Self::append), and waits until the frames are durable.
    ///
    /// # Errors
    /// What `done` would get.
    pub fn append_and_wait(&self, frames: Vec<NewFrame>) -> Result<Vec<FrameAt>, WalError> {
        self.wait_for(|done| self.append(frames, done))
    }

    /// Writes a closing mark, durably: it proves to a later scan that everything before it was synced. Costs nothing when the log
    /// ends with one already, so it can be asked for whenever the log is idle.
    ///
    /// # Errors
    /// As [`append_and_wait`](Self::append_and_wait).
    pub fn mark(&self) -> Result<(), WalError> {
        self.wait_for(|done| self.push(Request::write(vec![closing_mark()], done))).map(drop)
    }

    /// Hands the bodies of durable frames, also of earlier lives, to `visit`, in the order given. Each is read from its segment and
    /// checked; those that stand close to each other are read together.
    ///
    /// # Errors
    /// [`WalError::Damage`] when the bytes are not those frames any more; [`WalError::Io`], with `NotFound` when a segment was
    /// truncated; and those of `visit`.
    pub fn read_bodies<E: From<WalError>>(
        &self,
        places: &[FrameAt],
        visit: &mut dyn FnMut(ByteView) -> Result<(), E>,
    ) -> Result<(), E> {
        let places: Vec<FrameAt> =
            places.iter().map(|at| self.carried.get(&at.sequence).copied().unwrap_or(*at)).collect();
        reader::read_bodies(&*self.shared.disk, &self.shared.directory, self.shared.log, &places, visit)
    }

    /// Deletes the segments that hold no frame from the oldest needed one on; returns the bytes freed. The newest one stays. Where a
    /// full disk had blocks refused, they are taken again, if there is room, when this returns.
    ///
    /// # Errors
    /// [`WalError::Io`]; what is gone by then was not needed, and the next truncation goes on. As an append on a log that is poisoned
    /// or closed.
    pub fn truncate_before(&self, right: TruncationRight) -> Result<u64, WalError> {
        let freed = self.shared.truncate(right)?;
        if self.shared.disk_is_full() {
            self.wait_for(|done| self.push(Request::free_blocks(done)))?;
        }
        Ok(freed)
    }

    /// Refuses blocks from now on, also those that wait; events pass. For whoever may take no block behind one that was refused; to be
    /// called when that one's `done` is.
    pub fn refuse_blocks(&self) {
        self.shared.end_blocks();
    }

    /// What this life has written, and what the log takes on disk.
    pub fn statistics(&self) -> WalStatistics {
        self.shared.statistics()
    }

    /// Writes what waits and a closing mark, then ends the log's thread. Every clone answers `Closed` from then on.
    ///
    /// # Errors
    /// When the mark cannot be written; the log is closed all the same.
    pub fn close(self) -> Result<(), WalError> {
        let marked = self.mark();
        self.thread.end();
        marked
    }

    /// Ends the log's thread without a closing mark. What was acknowledged is durable by then, and every clone answers `Closed`
    /// from then on: nothing is appended behind the back of the next life.
    pub fn abandon(self) {
        self.thread.end();
    }

    fn push(&self, request: Request) {
        let (bytes, has_blocks) = (request.bytes(), request.has_blocks());
        let admit = |waiting| if has_blocks { self.shared.admit_blocks(waiting, bytes) } else { Ok(()) };
        if let Some((request, error)) = self.shared.queue.push(request, admit) {
            (request.done)(Err(error));
        }
    }

    fn wait_for(&self, ask: impl FnOnce(Done)) -> Result<Vec<FrameAt>, WalError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        ask(Box::new(move |result| {
            // The receiver is alive: the frame that holds it waits for this very message.
            sender.send(result).expect("the waiting thread is there");
        }));
        // A request that is dropped unanswered was in a group when the log's thread panicked.
        receiver.recv().unwrap_or_else(|_| Err(self.shared.queue.poison.set("the log's thread panicked")))
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("log", &self.shared.log)
            .field("directory", &self.shared.directory)
            .finish_non_exhaustive()
    }
}

/// Ends the log's thread when the last handle goes.
struct WriterThread {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl WriterThread {
    fn end(&self) {
        self.shared.queue.close();
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may have gone within a callback, on the thread itself, which cannot wait for its own end.
        if let Some(handle) = handle.filter(|handle| handle.thread().id() != thread::current().id())
            && handle.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A received block: its header, then its payload as it came in.
    Block = 1,
    /// A batch event: a plan, a commit, a publication, an attempt.
    Event = 2,
    /// A closing mark: proves that everything before it is synced.
    Mark = 3,
    /// A block whose body is only in the log of a lost machine: stands where the block stood, when object storage had no bodies.
    Absent = 4,
}

/// A frame to be appended: a small head, and a body that is written from where it lies.
#[derive(Clone, Debug)]
pub struct NewFrame {
    pub kind: FrameKind,
    /// At most 4 GiB together with the body.
    pub head: Vec<u8>,
    pub body: ByteView,
}

/// Where a durable frame stands; enough to read its body again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameAt {
    pub sequence: Sequence,
    pub segment: SegmentNumber,
    /// Byte offset of the frame's own header in the segment.
    pub offset: u64,
    pub head_len: u32,
    pub body_len: u32,
    /// The version in which the head is encoded.
    pub version: WalVersion,
}

impl FrameAt {
    /// The place of the frame with this header.
    pub fn of(header: &FrameHeader, segment: SegmentNumber, offset: u64) -> Self {
        let FrameHeader { sequence, head_len, body_len, version, .. } = *header;
        Self { sequence, segment, offset, head_len, body_len, version }
    }

    /// The place of a frame in a test's log, which is in memory and has one segment.
    #[cfg(any(test, feature = "testing"))]
    pub fn in_memory(sequence: Sequence, body_len: u32) -> Self {
        let (segment, version) = (SegmentNumber(1), WalVersion::CURRENT);
        Self { sequence, segment, offset: 0, head_len: 0, body_len, version }
    }
}
