//! The bytes that format version 1 has written once are read for ever.

use super::*;
use crate::disk::LocalDisk;

const WRITTEN_LOG: LogId = LogId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);

/// Two lives: three frames in two groups, and a crash in the middle of a third; then one more event, and a graceful end.
fn version_1() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wal/tests/version-1")
}

#[test]
fn a_log_of_version_1_is_read() {
    let mut seen = Vec::new();
    let scan = observe(&LocalDisk, &version_1(), Some(Sequence(1)), &mut |at, kind, head, body| {
        seen.push((at.sequence.0, at.segment.0, at.offset, kind, head.to_vec(), body.to_vec()));
    });
    let scan = scan.unwrap().unwrap();
    let expected = [
        (1, 1, 64, FrameKind::Block, "h", "apple pear"),
        (2, 1, 123, FrameKind::Event, "planned", ""),
        (3, 2, 64, FrameKind::Block, "h", "plum"),
        (4, 2, 117, FrameKind::Event, "committed", ""),
        (5, 2, 174, FrameKind::Mark, "", ""),
    ];
    let bytes = |text: &str| text.as_bytes().to_vec();
    assert_eq!(
        seen,
        expected.map(|(sequence, segment, at, kind, head, body)| (
            sequence,
            segment,
            at,
            kind,
            bytes(head),
            bytes(body)
        ))
    );
    assert_eq!(scan.log_id, WRITTEN_LOG);
    assert_eq!((scan.next_sequence, scan.proven_synced_through), (Sequence(6), Sequence(4)));
    assert_eq!((scan.newest().epoch, scan.tail), (Epoch(2), Tail::Clean));
}

#[test]
#[ignore = "writes the fixture; only for a new version of the format"]
fn write_the_fixture() {
    let memory = MemoryDisk::default();
    let header = SegmentHeader {
        log: WRITTEN_LOG,
        number: SegmentNumber(1),
        epoch: Epoch(1),
        first_sequence: Sequence(1),
        durable_through: Sequence(0),
    };
    // The first life is written by hand, for its fixed log id, with a torn third group.
    let first = ByHand { bytes: header.encode().to_vec(), header };
    let frame = |kind, head: &str, body: &str, sequence, synced_through| {
        let header = FrameHeader {
            kind,
            head_len: head.len() as u32,
            body_len: body.len() as u32,
            payload_checksum: payload_checksum(head.as_bytes(), body.as_bytes()),
            sequence: Sequence(sequence),
            synced_through: Sequence(synced_through),
            epoch: Epoch(1),
        };
        [&header.encode(WRITTEN_LOG)[..], head.as_bytes(), body.as_bytes()].concat()
    };
    let apple = frame(FrameKind::Block, "h", "apple pear", 1, 0);
    let planned = frame(FrameKind::Event, "planned", "", 2, 0);
    let plum = frame(FrameKind::Block, "h", "plum", 3, 2);
    let torn = frame(FrameKind::Block, "h", "never acknowledged", 4, 3);
    first.raw(&apple).raw(&planned).raw(&plum).raw(&torn[..60]).put(&memory);
    let wal = Wal::resume(Arc::new(memory.clone()), directory(), &scan(&memory).0, Epoch(2), small()).unwrap();
    wal.append_and_wait(vec![event("committed")]).unwrap();
    wal.close().unwrap();
    std::fs::create_dir_all(version_1()).unwrap();
    for name in memory.list(directory()).unwrap() {
        std::fs::write(version_1().join(&name), memory.read(&directory().join(&name)).unwrap()).unwrap();
    }
}
