//! Tests of the log as a whole, on a disk in memory. Formats are tested by their bytes in `frame.rs` and `segment.rs`.

use std::path::Path;
use std::sync::Arc;

use byteview::ByteView;

use super::frame::{FrameHeader, payload_checksum};
use super::segment::{SegmentHeader, segment_path};
use super::*;
use floodmark_base::disk::MemoryDisk;

mod crash;
mod fixture;
mod handle;
mod room;
mod tails;

const LOG: LogId = LogId(77);

fn directory() -> &'static Path {
    Path::new("job/wal")
}

fn small() -> WalSettings {
    WalSettings { reserve_bytes: 0, ..WalSettings::default() }
}

fn block(body: &str) -> NewFrame {
    NewFrame { kind: FrameKind::Block, head: b"h".to_vec(), body: ByteView::new(body.as_bytes()) }
}

fn event(head: &str) -> NewFrame {
    NewFrame { kind: FrameKind::Event, head: head.as_bytes().to_vec(), body: ByteView::new(&[]) }
}

fn create(disk: &MemoryDisk, settings: WalSettings) -> Wal {
    Wal::create(Arc::new(disk.clone()), directory(), Epoch(1), settings).unwrap()
}

/// A frame as a visitor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    at: FrameAt,
    kind: FrameKind,
    text: String,
}

fn scan_from(disk: &dyn Disk, oldest: Option<Sequence>) -> Result<(WalScan, Vec<Seen>), WalError> {
    let mut seen = Vec::new();
    let scan = observe(disk, directory(), oldest, &mut |at, kind, head, body| {
        let text = String::from_utf8([head, body].concat()).unwrap();
        seen.push(Seen { at, kind, text });
    })?;
    Ok((scan.expect("a log is there"), seen))
}

fn scan(disk: &dyn Disk) -> (WalScan, Vec<Seen>) {
    scan_from(disk, None).unwrap()
}

/// The body of one frame, read from its place.
fn body_at(wal: &Wal, at: FrameAt) -> Result<ByteView, WalError> {
    let mut read = None;
    wal.read_bodies::<WalError>(&[at], &mut |body| {
        assert!(read.replace(body).is_none(), "one body for one place");
        Ok(())
    })?;
    Ok(read.expect("a body for each place"))
}

fn sequences(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|frame| frame.at.sequence.0).collect()
}

fn damage_of(disk: &dyn Disk) -> WalDamage {
    match scan_from(disk, None) {
        Err(WalError::Damage(damage)) => damage,
        other => panic!("expected damage, found {other:?}"),
    }
}

/// A segment written by hand.
#[derive(Clone)]
struct ByHand {
    header: SegmentHeader,
    bytes: Vec<u8>,
}

impl ByHand {
    fn new(number: u64, epoch: u64, first_sequence: u64, durable_through: u64) -> Self {
        let header = SegmentHeader {
            version: WalVersion::V2,
            log: LOG,
            number: SegmentNumber(number),
            epoch: Epoch(epoch),
            first_sequence: Sequence(first_sequence),
            durable_through: Sequence(durable_through),
        };
        Self { header, bytes: header.encode().to_vec() }
    }

    fn frame_of(log: LogId, epoch: Epoch, sequence: u64, synced_through: u64, body: &str) -> Vec<u8> {
        let header = FrameHeader {
            kind: FrameKind::Block,
            version: WalVersion::V2,
            head_len: 0,
            body_len: body.len() as u32,
            payload_checksum: payload_checksum(&[], body.as_bytes()),
            sequence: Sequence(sequence),
            synced_through: Sequence(synced_through),
            epoch,
        };
        [&header.encode(log)[..], body.as_bytes()].concat()
    }

    fn frame(mut self, sequence: u64, synced_through: u64, body: &str) -> Self {
        self.bytes.extend(Self::frame_of(self.header.log, self.header.epoch, sequence, synced_through, body));
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn put(self, disk: &MemoryDisk) {
        disk.put(&segment_path(directory(), self.header.number), self.bytes);
    }
}
