//! The bytes that a format version has written once are read for ever.

use super::*;
use floodmark_base::disk::LocalDisk;

const WRITTEN_LOG: LogId = LogId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);

/// Two lives: three frames in two groups, and a crash in the middle of a third; then one more event, and a graceful end.
fn fixture(version: WalVersion) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("wal/tests/version-{}", version.number()))
}

/// A frame as it is read: sequence, segment, offset, kind, version, head and body.
type Read = (u64, u64, u64, FrameKind, WalVersion, String, String);

fn read(disk: &dyn Disk, directory: &Path) -> (Vec<Read>, WalScan) {
    let mut seen = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let scan = observe(disk, directory, Some(Sequence(1)), &mut |at, kind, head, body| {
        seen.push((at.sequence.0, at.segment.0, at.offset, kind, at.version, text(head), text(body)));
    });
    (seen, scan.unwrap().unwrap())
}

fn expected(version: WalVersion) -> Vec<Read> {
    let frame = |sequence, segment, at, kind, head: &str, body: &str| {
        (sequence, segment, at, kind, version, head.to_string(), body.to_string())
    };
    vec![
        frame(1, 1, 64, FrameKind::Block, "h", "apple pear"),
        frame(2, 1, 123, FrameKind::Event, "planned", ""),
        frame(3, 2, 64, FrameKind::Block, "h", "plum"),
        frame(4, 2, 117, FrameKind::Event, "committed", ""),
        frame(5, 2, 174, FrameKind::Mark, "", ""),
    ]
}

fn is_read(version: WalVersion) {
    let (seen, scan) = read(&LocalDisk, &fixture(version));
    assert_eq!(seen, expected(version));
    assert_eq!(scan.log_id, WRITTEN_LOG);
    assert_eq!((scan.next_sequence, scan.proven_synced_through), (Sequence(6), Sequence(4)));
    assert_eq!((scan.newest().epoch, scan.tail), (Epoch(2), Tail::Clean));
}

#[test]
fn a_log_of_version_1_is_read() {
    is_read(WalVersion::V1);
}

#[test]
fn a_log_of_version_2_is_read() {
    is_read(WalVersion::V2);
}

/// What recovery copies from a segment of version 1 keeps its bytes, and says so, in the segment of version 2 that goes on.
#[test]
fn a_log_of_version_1_goes_on_in_version_2_with_its_frames_as_they_were() {
    let memory = MemoryDisk::default();
    for name in ["00000000000000000001.log", "00000000000000000002.log"] {
        let mut bytes = std::fs::read(fixture(WalVersion::V1).join(name)).unwrap();
        if name.ends_with("2.log") {
            // A life that was killed: no closing mark, so that nothing proves the last event to be synced.
            bytes.truncate(174);
        }
        memory.put(&directory().join(name), bytes);
    }
    let (_, found) = read(&memory, directory());
    assert_eq!(found.whole_frames_beyond_proven, 1, "frame 4 is carried over");
    let wal = Wal::resume(Arc::new(memory.clone()), directory(), &found, Epoch(3), small()).unwrap();
    wal.append_and_wait(vec![event("published")]).unwrap();
    wal.abandon();

    let (seen, scan) = read(&memory, directory());
    let mut frames = expected(WalVersion::V1);
    frames.truncate(3);
    let newer = |sequence, at, version, head: &str| {
        (sequence, 3, at, FrameKind::Event, version, head.to_string(), String::new())
    };
    frames.extend([newer(4, 64, WalVersion::V1, "committed"), newer(5, 121, WalVersion::V2, "published")]);
    assert_eq!(seen, frames);
    let bytes = memory.read(&segment_path(directory(), scan.newest().number)).unwrap();
    let header = SegmentHeader::decode(&bytes, Path::new("x"), scan.newest().number).unwrap();
    assert_eq!((header.version, header.epoch), (WalVersion::V2, Epoch(3)));
}

#[test]
#[ignore = "writes the fixture; only for a new version of the format"]
fn write_the_fixture() {
    let version = WalVersion::CURRENT;
    let memory = MemoryDisk::default();
    let header = SegmentHeader {
        version,
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
            version,
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
    let place = fixture(version);
    std::fs::create_dir_all(&place).unwrap();
    for name in memory.list(directory()).unwrap() {
        std::fs::write(place.join(&name), memory.read(&directory().join(&name)).unwrap()).unwrap();
    }
}
