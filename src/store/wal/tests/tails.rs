//! Hand-made ends of a log, each with its exact diagnosis: an interrupted write, or damage.

use super::*;
use crate::wal::frame::Frame;

/// Frames 1 and 2 in one group, then frame 3, which proves them; 64 + 3 × (48 + 4) = 220 bytes.
fn three_frames() -> ByHand {
    ByHand::new(1, 5, 1, 0).frame(1, 0, "one1").frame(2, 0, "two2").frame(3, 2, "thr3")
}

fn frame(sequence: u64, synced_through: u64) -> Vec<u8> {
    ByHand::frame_of(LOG, Epoch(5), sequence, synced_through, "body")
}

/// The log with this tail; all three frames must have been read.
fn tail_of(tail: &[u8]) -> Tail {
    let disk = MemoryDisk::default();
    three_frames().raw(tail).put(&disk);
    let (scan, seen) = scan(&disk);
    assert_eq!(sequences(&seen), [1, 2, 3]);
    assert_eq!((scan.next_sequence, scan.proven_synced_through), (Sequence(4), Sequence(2)));
    assert_eq!(scan.whole_frames_beyond_proven, 1);
    scan.tail
}

fn interrupted(bytes: usize, reason: FrameFault, whole_frames_cut: u64) -> Tail {
    Tail::Interrupted {
        segment: SegmentNumber(1),
        offset: 220,
        bytes: bytes as u64,
        sequence: Sequence(4),
        reason,
        whole_frames_beyond_proven: 1,
        whole_frames_cut,
    }
}

#[test]
fn a_log_that_ends_with_a_whole_frame_is_clean() {
    assert_eq!(tail_of(&[]), Tail::Clean);
}

#[test]
fn a_short_header_is_an_interrupted_write() {
    assert_eq!(tail_of(&frame(4, 3)[..20]), interrupted(20, FrameFault::ShortHeader { present: 20 }, 0));
}

#[test]
fn a_length_beyond_the_end_is_an_interrupted_write() {
    assert_eq!(tail_of(&frame(4, 3)[..50]), interrupted(50, FrameFault::BeyondEnd { claimed: 4, present: 2 }, 0));
}

#[test]
fn a_length_of_zero_fails_the_header_checksum() {
    let mut tail = frame(4, 3);
    tail[..4].fill(0);
    let reason = FrameHeader::decode(&tail, LOG).unwrap_err();
    assert!(matches!(reason, FrameFault::HeaderChecksum { .. }));
    assert_eq!(tail_of(&tail), interrupted(52, reason, 0));
}

#[test]
fn zeros_after_the_end_are_an_interrupted_write() {
    assert_eq!(tail_of(&[0; 4096]), interrupted(4096, FrameFault::Zeros { bytes: 4096 }, 0));
    assert_eq!(tail_of(&[0; 7]), interrupted(7, FrameFault::ShortHeader { present: 7 }, 0));
}

#[test]
fn a_payload_with_a_wrong_checksum_is_an_interrupted_write() {
    let mut tail = frame(4, 3);
    tail[51] = 0;
    let (expected, found) = (payload_checksum(&[], b"body"), payload_checksum(&[], b"bod\0"));
    assert_eq!(tail_of(&tail), interrupted(52, FrameFault::PayloadChecksum { expected, found }, 0));
}

#[test]
fn stale_frames_of_another_log_epoch_or_place_are_not_taken() {
    let stale = ByHand::frame_of(LogId(78), Epoch(5), 4, 3, "body");
    assert_eq!(tail_of(&stale), interrupted(52, Frame::decode(&stale, LOG).unwrap_err(), 0));
    let stale = ByHand::frame_of(LOG, Epoch(4), 4, 3, "body");
    let reason = FrameFault::Epoch { expected: Epoch(5), found: Epoch(4) };
    assert_eq!(tail_of(&stale), interrupted(52, reason, 0));
    let reason = FrameFault::Sequence { expected: Sequence(4), found: Sequence(2) };
    assert_eq!(tail_of(&frame(2, 0)), interrupted(52, reason, 0));
    let reason = FrameFault::Sequence { expected: Sequence(4), found: Sequence(6) };
    assert_eq!(tail_of(&frame(6, 2)), interrupted(52, reason, 1));
}

#[test]
fn a_valid_frame_after_a_bad_one_that_does_not_prove_it_is_cut_with_it() {
    let mut tail = frame(4, 3);
    tail[0] ^= 1;
    let reason = FrameHeader::decode(&tail, LOG).unwrap_err();
    tail.extend(frame(5, 2));
    tail.extend(frame(6, 2));
    assert_eq!(tail_of(&tail), interrupted(156, reason, 2));
}

#[test]
fn a_frame_that_is_cut_still_proves_what_stands_before_the_bad_one() {
    let disk = MemoryDisk::default();
    three_frames().raw(b"bad").raw(&frame(5, 3)).put(&disk);
    let (scan, _) = scan(&disk);
    assert_eq!((scan.proven_synced_through, scan.whole_frames_beyond_proven), (Sequence(3), 0));
}

#[test]
fn a_valid_frame_after_a_bad_one_that_proves_it_makes_it_damage() {
    let mut tail = frame(4, 3);
    tail[48] ^= 1;
    tail.extend(frame(5, 3));
    tail.extend(frame(6, 4));
    let disk = MemoryDisk::default();
    three_frames().raw(&tail).put(&disk);
    let (expected, found) = (payload_checksum(&[], b"body"), payload_checksum(&[], b"cody"));
    assert_eq!(
        damage_of(&disk).to_string(),
        format!(
            "job/wal/00000000000000000001.log: at byte 220: expected payload checksum {expected:08x}, found {found:08x} \
             (frame 6 at byte 324 was written after frame 4 was synced); frame 4 is lost"
        )
    );
}

#[test]
fn the_header_of_a_torn_frame_proves_damage_too() {
    let mut tail = frame(4, 3);
    tail[0] ^= 1;
    tail.extend(&frame(5, 4)[..50]);
    let disk = MemoryDisk::default();
    three_frames().raw(&tail).put(&disk);
    assert_eq!(damage_of(&disk).lost, Lost::Frames { first: Sequence(4), last: Sequence(4) });
}

#[test]
fn bytes_missing_from_the_middle_are_damage_that_names_the_lost_frames() {
    let disk = MemoryDisk::default();
    ByHand::new(1, 5, 1, 0).frame(1, 0, "a").frame(9, 8, "b").put(&disk);
    let damage = damage_of(&disk);
    assert_eq!(damage.lost, Lost::Frames { first: Sequence(2), last: Sequence(8) });
    assert_eq!((damage.offset, &*damage.expected), (113, "frame 2"));
}

#[test]
fn frames_that_were_carried_are_proven_by_the_segments_header() {
    let disk = MemoryDisk::default();
    let mut segment = ByHand::new(1, 5, 1, 2).frame(1, 0, "a").frame(2, 0, "b");
    *segment.bytes.last_mut().unwrap() = b'c';
    segment.put(&disk);
    assert_eq!(damage_of(&disk).lost, Lost::Frames { first: Sequence(2), last: Sequence(2) });
}

#[test]
fn a_proof_that_is_the_users_own_bytes_of_an_earlier_time_proves_nothing() {
    // A block whose payload is a copy of this very log, torn in its header's first byte.
    let copy = [frame(1, 0), frame(2, 1), frame(3, 2)].concat();
    let disk = MemoryDisk::default();
    let mut segment = three_frames();
    let header = FrameHeader {
        kind: FrameKind::Block,
        version: WalVersion::V2,
        head_len: 0,
        body_len: copy.len() as u32,
        payload_checksum: payload_checksum(&[], &copy),
        sequence: Sequence(4),
        synced_through: Sequence(3),
        epoch: Epoch(5),
    };
    let at = segment.bytes.len();
    segment = segment.raw(&header.encode(LOG)).raw(&copy);
    segment.bytes[at] ^= 1;
    segment.put(&disk);
    assert!(matches!(scan(&disk).0.tail, Tail::Interrupted { whole_frames_cut: 0, .. }));
}

#[test]
fn what_is_superseded_by_the_next_segment_is_ignored() {
    let disk = MemoryDisk::default();
    three_frames().raw(&frame(4, 3)).raw(b"torn").put(&disk);
    ByHand::new(2, 6, 3, 3).frame(3, 2, "new3").frame(4, 3, "new4").put(&disk);
    let (scan, seen) = scan(&disk);
    let texts: Vec<&str> = seen.iter().map(|frame| &*frame.text).collect();
    assert_eq!(texts, ["one1", "two2", "new3", "new4"]);
    assert_eq!((scan.tail, scan.proven_synced_through), (Tail::Clean, Sequence(3)));
}

#[test]
fn a_bad_frame_before_the_next_segment_is_damage() {
    let disk = MemoryDisk::default();
    let mut older = three_frames();
    older.bytes[64 + 52 + 5] ^= 1; // in the header of frame 2
    older.put(&disk);
    ByHand::new(2, 6, 4, 3).put(&disk);
    let damage = damage_of(&disk);
    assert_eq!((damage.offset, damage.lost), (116, Lost::Frames { first: Sequence(2), last: Sequence(2) }));
}

#[test]
fn an_older_segment_that_ends_too_early_is_damage() {
    let disk = MemoryDisk::default();
    three_frames().put(&disk);
    ByHand::new(2, 5, 7, 6).put(&disk);
    assert_eq!(
        damage_of(&disk).to_string(),
        "job/wal/00000000000000000001.log: at byte 220: expected a frame header of 48 bytes, found 0 bytes; \
         frames 4 to 6 are lost"
    );
}

#[test]
fn a_missing_segment_is_damage_that_says_which_frames_it_held() {
    let disk = MemoryDisk::default();
    three_frames().put(&disk);
    ByHand::new(3, 5, 10, 9).put(&disk);
    assert_eq!(
        damage_of(&disk).to_string(),
        "job/wal/00000000000000000002.log: at byte 0: expected a segment between 1 and 3, found no such file; \
         frames 4 to 9 are lost"
    );
}

#[test]
fn a_log_that_begins_after_the_oldest_needed_frame_is_refused() {
    let disk = MemoryDisk::default();
    ByHand::new(4, 5, 10, 9).frame(10, 9, "ten").put(&disk);
    let error = scan_from(&disk, Some(Sequence(8))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "job/wal/00000000000000000003.log: at byte 0: expected a segment with frame 8, which is still needed, \
         found no such file; the oldest segment begins with frame 10; frames 8 to 9 are lost"
    );
    assert_eq!(sequences(&scan_from(&disk, Some(Sequence(10))).unwrap().1), [10]);
}

#[test]
fn two_logs_in_one_place_are_refused_and_nothing_is_called_lost() {
    let disk = MemoryDisk::default();
    three_frames().put(&disk);
    let mut other = ByHand::new(2, 5, 4, 3);
    other.header.log = LogId(78);
    other.bytes = other.header.encode().to_vec();
    other.put(&disk);
    let damage = damage_of(&disk);
    assert_eq!((damage.offset, damage.lost), (16, Lost::Nothing));
    assert_eq!(damage.found, format!("{}: two logs are mixed", LogId(78)));
}

#[test]
fn epochs_and_first_sequences_that_fall_are_refused() {
    for (epoch, first, offset) in [(4, 4, 40), (5, 0, 48)] {
        let disk = MemoryDisk::default();
        three_frames().put(&disk);
        ByHand::new(2, epoch, first, 3).put(&disk);
        assert_eq!(damage_of(&disk).offset, offset);
    }
}

#[test]
fn a_segment_under_another_number_is_damage() {
    let disk = MemoryDisk::default();
    disk.put(&segment_path(directory(), SegmentNumber(2)), three_frames().bytes);
    assert_eq!((damage_of(&disk).offset, &*damage_of(&disk).expected), (32, "segment number 2"));
}

#[test]
fn an_empty_segment_is_damage_and_an_empty_directory_is_no_log() {
    let disk = MemoryDisk::default();
    assert_eq!(observe(&disk, directory(), None, &mut |_, _, _, _| {}).unwrap(), None);
    disk.put(&directory().join("reserve"), vec![0]);
    assert_eq!(observe(&disk, directory(), None, &mut |_, _, _, _| {}).unwrap(), None);
    disk.put(&segment_path(directory(), SegmentNumber(1)), Vec::new());
    assert_eq!(damage_of(&disk).lost, Lost::Segment(SegmentNumber(1)));
}

#[test]
fn every_flipped_byte_is_damage_where_it_is_proven_and_an_interrupted_write_where_it_is_not() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, small());
    for group in 0..4 {
        wal.append_and_wait(vec![block(&format!("payload {group}")), event("what happened")]).unwrap();
    }
    drop(wal);
    let (_, seen) = scan(&disk);
    let file = segment_path(directory(), SegmentNumber(1));
    let bytes = disk.read(&file).unwrap();
    for at in 0..bytes.len() {
        let rotten = disk.image();
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        rotten.put(&file, changed);
        let hit = seen.iter().rposition(|frame| frame.at.offset <= at as u64);
        match (hit, scan_from(&rotten, None)) {
            // The segment's header, and the three groups that a later one proves.
            (None, Err(WalError::Damage(damage))) => assert_eq!(damage.lost, Lost::Segment(SegmentNumber(1))),
            (Some(hit @ 0..6), Err(WalError::Damage(damage))) => {
                let lost = seen[hit].at.sequence;
                assert_eq!(
                    (damage.offset, damage.lost),
                    (seen[hit].at.offset, Lost::Frames { first: lost, last: lost })
                );
            }
            // The last group: nothing after it knows that it was synced.
            (Some(hit @ 6..), Ok((scan, kept))) => {
                assert_eq!(kept, seen[..hit]);
                assert!(matches!(scan.tail, Tail::Interrupted { offset, .. } if offset == seen[hit].at.offset));
            }
            (_, other) => panic!("byte {at}: {other:?}"),
        }
    }
}
