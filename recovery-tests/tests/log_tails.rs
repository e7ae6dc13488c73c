//! Hand-made ends of a job's log, each with the exact words of what the job says to it: an interrupted append, which is cut, or
//! damage, which is refused.

mod common;

use std::fs;
use std::path::PathBuf;

use common::stored::Stored;
use floodmark::testing::wal::{
    FRAME_HEADER_LEN, FrameHeader, FrameKind, LogId, SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber, Sequence,
    WalVersion, payload_checksum,
};
use floodmark::{Epoch, ErrorKind};

/// The log of a job that died after batch 7, in its second life.
struct Log {
    stored: Stored,
    file: PathBuf,
    header: SegmentHeader,
    bytes: Vec<u8>,
    frames: Vec<(usize, FrameHeader)>,
}

impl Log {
    fn new() -> Self {
        let stored = Stored::crashed();
        let segments = segments(&stored);
        let (file, header, bytes) = segments.into_iter().next_back().unwrap();
        let frames = frames(&header, &bytes);
        Self { stored, file, header, bytes, frames }
    }

    fn last(&self) -> FrameHeader {
        self.frames.last().unwrap().1
    }

    /// The sequence of the frame that would come next.
    fn next(&self) -> u64 {
        self.last().sequence.0 + 1
    }

    /// How many frames at the end nothing proves to be synced, when a frame after them says this.
    fn unproven(&self, said_beyond: u64) -> usize {
        let said = self.frames.iter().map(|(_, frame)| frame.synced_through.0);
        let proven = said.max().unwrap_or(0).max(self.header.durable_through.0).max(said_beyond);
        self.frames.iter().filter(|(_, frame)| frame.sequence.0 > proven).count()
    }

    /// A whole frame of this log, with four bytes of nonsense in it.
    fn frame(&self, sequence: u64, synced_through: u64) -> Vec<u8> {
        frame_of(self.header.log, self.header.epoch, sequence, synced_through)
    }

    fn put_tail(&self, tail: &[u8]) {
        fs::write(&self.file, [&self.bytes[..], tail].concat()).unwrap();
    }

    /// The job with this tail goes on, says so, and counts right; and says nothing of it at the next start.
    fn is_cut(&self, what: &str, tail: &[u8], reason: &str, whole_frames_cut: u64, said_beyond: u64) {
        self.put_tail(tail);
        let (bytes, segment, offset) = (tail.len(), self.header.number, self.bytes.len());
        let kept = self.unproven(said_beyond);
        let expected = format!(
            "; {bytes} bytes of an interrupted append cut, never acknowledged as far as anything proves: segment {segment}, byte {offset}: {reason} \
             ({kept} whole frames before it kept, {whole_frames_cut} after it cut)"
        );
        let place = self.stored.place.path();
        let recovered = self.stored.finish(place).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(recovered.report.contains(&expected), "{what}\n expected {expected}\n found {}", recovered.report);
        assert_eq!(recovered.outcome, Ok(()), "{what}");
        assert_eq!(fs::read(&self.file).unwrap().len(), offset + bytes, "{what}: an old segment is never written");
    }

    /// The job with this tail is refused in these words, changes nothing, and is well again without it.
    fn is_refused(&self, what: &str, tail: &[u8], expected: &str) {
        self.put_tail(tail);
        let place = self.stored.place.path();
        let before = files(&self.stored);
        let refusal = self.stored.finish(place).expect_err(what);
        assert_eq!(refusal.kind(), ErrorKind::Damaged, "{what}: {refusal}");
        assert_eq!(refusal.to_string(), format!("the job is not started: {expected}"), "{what}");
        assert_eq!(files(&self.stored), before, "{what}: a refusal changes nothing");
        self.put_tail(&[]);
        assert_eq!(self.stored.finish(place).unwrap().outcome, Ok(()), "{what}: without it");
    }
}

/// The files of log and manifests.
fn files(stored: &Stored) -> Vec<(PathBuf, Vec<u8>)> {
    let found = ["wal", "manifests"].map(|part| common::place::files(&stored.place.path().join(part)));
    found.concat().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn segments(stored: &Stored) -> Vec<(PathBuf, SegmentHeader, Vec<u8>)> {
    let files = common::place::files(&stored.place.path().join("wal"));
    let segments = files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    let read = segments.map(|file| {
        let bytes = fs::read(&file).unwrap();
        let number = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        (file.clone(), SegmentHeader::decode(&bytes, &file, SegmentNumber(number)).unwrap(), bytes)
    });
    read.collect()
}

/// The frames of a segment, with the places where they stand.
fn frames(segment: &SegmentHeader, bytes: &[u8]) -> Vec<(usize, FrameHeader)> {
    let (mut frames, mut at) = (Vec::new(), SEGMENT_HEADER_LEN);
    while at < bytes.len() {
        let frame = FrameHeader::decode(&bytes[at..], segment.log).unwrap();
        frames.push((at, frame));
        at += frame.frame_len() as usize;
    }
    frames
}

fn frame_of(log: LogId, epoch: Epoch, sequence: u64, synced_through: u64) -> Vec<u8> {
    let body = b"body";
    let header = FrameHeader {
        kind: FrameKind::Block,
        version: WalVersion::CURRENT,
        head_len: 0,
        body_len: body.len() as u32,
        payload_checksum: payload_checksum(&[], body),
        sequence: Sequence(sequence),
        synced_through: Sequence(synced_through),
        epoch,
    };
    [&header.encode(log)[..], body].concat()
}

/// Why bytes are no header of this log.
fn fault(bytes: &[u8], log: LogId) -> String {
    let fault = FrameHeader::decode(bytes, log).unwrap_err().to_string();
    assert!(fault.starts_with("expected header checksum "), "{fault}");
    fault
}

#[test]
fn a_log_that_ends_with_a_whole_frame_is_not_spoken_of() {
    let log = Log::new();
    let recovered = log.stored.finish(log.stored.place.path()).unwrap();
    assert!(!recovered.report.contains("interrupted"), "{}", recovered.report);
    assert_eq!(recovered.outcome, Ok(()));
}

#[test]
fn a_closing_mark_is_a_whole_frame() {
    let log = Log::new();
    let mark = FrameHeader {
        kind: FrameKind::Mark,
        version: WalVersion::CURRENT,
        head_len: 0,
        body_len: 0,
        payload_checksum: payload_checksum(&[], &[]),
        sequence: Sequence(log.next()),
        synced_through: log.last().sequence,
        epoch: log.header.epoch,
    };
    log.put_tail(&mark.encode(log.header.log));
    let recovered = log.stored.finish(log.stored.place.path()).unwrap();
    assert!(!recovered.report.contains("interrupted"), "{}", recovered.report);
    assert_eq!(recovered.outcome, Ok(()));
}

#[test]
fn a_short_header_is_cut() {
    let log = Log::new();
    let tail = &log.frame(log.next(), 1)[..20];
    log.is_cut("short header", tail, "expected a frame header of 48 bytes, found 20 bytes", 0, 0);
}

#[test]
fn a_single_byte_is_cut() {
    Log::new().is_cut("one byte", b"\x5a", "expected a frame header of 48 bytes, found 1 bytes", 0, 0);
}

#[test]
fn a_length_beyond_the_end_is_cut() {
    let log = Log::new();
    let tail = &log.frame(log.next(), 1)[..FRAME_HEADER_LEN + 2];
    log.is_cut("beyond the end", tail, "expected 4 bytes after the frame header, found 2", 0, 0);
}

#[test]
fn a_length_of_zero_is_cut() {
    let log = Log::new();
    let mut tail = log.frame(log.next(), 1);
    tail[..4].fill(0);
    log.is_cut("zero length", &tail, &fault(&tail, log.header.log), 0, 0);
}

#[test]
fn a_payload_with_a_wrong_checksum_is_cut() {
    let log = Log::new();
    let mut tail = log.frame(log.next(), 1);
    *tail.last_mut().unwrap() = 0;
    let (expected, found) = (payload_checksum(&[], b"body"), payload_checksum(&[], b"bod\0"));
    let reason = format!("expected payload checksum {expected:08x}, found {found:08x}");
    log.is_cut("payload checksum", &tail, &reason, 0, 0);
}

#[test]
fn zeros_after_the_end_are_cut() {
    Log::new().is_cut("a page", &[0; 4_096], "expected a frame header, found 4096 zero bytes", 0, 0);
    Log::new().is_cut("a few", &[0; 7], "expected a frame header of 48 bytes, found 7 bytes", 0, 0);
}

#[test]
fn a_frame_of_another_log_is_cut() {
    let log = Log::new();
    let tail = frame_of(LogId(log.header.log.0 ^ 1), log.header.epoch, log.next(), 1);
    log.is_cut("another log", &tail, &fault(&tail, log.header.log), 0, 0);
}

#[test]
fn a_frame_of_another_epoch_is_cut() {
    let log = Log::new();
    let (ours, older) = (log.header.epoch, Epoch(log.header.epoch.0 - 1));
    let tail = frame_of(log.header.log, older, log.next(), 1);
    log.is_cut("another epoch", &tail, &format!("expected a frame of epoch {ours}, found epoch {older}"), 0, 0);
}

#[test]
fn a_frame_of_an_older_segment_is_cut() {
    let log = Log::new();
    let (_, header, bytes) = segments(&log.stored).into_iter().rev().nth(1).unwrap();
    let (at, stale) = frames(&header, &bytes)[0];
    assert!(
        header.epoch < log.header.epoch,
        "the newest segment is of the second life, the one before it of the first"
    );
    let tail = &bytes[at..at + stale.frame_len() as usize];
    let reason = format!("expected a frame of epoch {}, found epoch {}", log.header.epoch, header.epoch);
    log.is_cut("a stale frame", tail, &reason, 0, 0);
    // The same place in the order, had this life written it.
    let log = Log::new();
    let reason = format!("expected frame {}, found frame {}", log.next(), stale.sequence);
    log.is_cut("a stale frame of this life", &log.frame(stale.sequence.0, 0), &reason, 0, 0);
}

#[test]
fn a_repeated_frame_is_cut() {
    let log = Log::new();
    let (at, last) = *log.frames.last().unwrap();
    let reason = format!("expected frame {}, found frame {}", log.next(), last.sequence);
    log.is_cut("repeated frame", &log.bytes[at..], &reason, 0, 0);
}

#[test]
fn a_whole_frame_with_a_later_sequence_is_cut_unless_it_proves_that_one_is_missing() {
    let log = Log::new();
    let next = log.next();
    let reason = format!("expected frame {next}, found frame {}", next + 1);
    log.is_cut("one is missing", &log.frame(next + 1, next - 1), &reason, 1, next - 1);
    let log = Log::new();
    let (file, offset) = (log.file.display(), log.bytes.len());
    let expected = format!(
        "{file}: at byte {offset}: expected frame {next}, found frame {} (frame {} at byte {offset} was written after frame \
         {next} was synced); frame {next} is lost",
        next + 1,
        next + 1
    );
    log.is_refused("one is missing, and was synced", &log.frame(next + 1, next), &expected);
}

#[test]
fn whole_frames_after_a_bad_one_are_cut_with_it_while_they_do_not_prove_it() {
    let log = Log::new();
    let next = log.next();
    let mut bad = log.frame(next, next - 1);
    bad[0] ^= 1;
    let tail = [&bad[..], &log.frame(next + 1, next - 1), &log.frame(next + 2, next - 1)].concat();
    log.is_cut("a group", &tail, &fault(&bad, log.header.log), 2, next - 1);
}

#[test]
fn a_whole_frame_after_a_bad_one_that_proves_it_is_refused_and_names_what_is_lost() {
    let log = Log::new();
    let next = log.next();
    let mut bad = log.frame(next, next - 1);
    bad[FRAME_HEADER_LEN] ^= 1;
    let tail = [&bad[..], &log.frame(next + 1, next - 1), &log.frame(next + 2, next)].concat();
    let (expected, found) = (payload_checksum(&[], b"body"), payload_checksum(&[], b"cody"));
    let (file, offset) = (log.file.display(), log.bytes.len());
    let proof = offset + 2 * (FRAME_HEADER_LEN + 4);
    let words = format!(
        "{file}: at byte {offset}: expected payload checksum {expected:08x}, found {found:08x} (frame {} at byte {proof} was \
         written after frame {next} was synced); frame {next} is lost",
        next + 2
    );
    log.is_refused("proven", &tail, &words);
}

#[test]
fn the_header_of_a_torn_frame_proves_damage_too() {
    let log = Log::new();
    let next = log.next();
    let mut bad = log.frame(next, next - 1);
    bad[0] ^= 1;
    let tail = [&bad[..], &log.frame(next + 1, next)[..FRAME_HEADER_LEN]].concat();
    let reason = fault(&bad, log.header.log);
    let (file, offset) = (log.file.display(), log.bytes.len());
    let words = format!(
        "{file}: at byte {offset}: {reason} (frame {} at byte {} was written after frame {next} was synced); frame {next} is lost",
        next + 1,
        offset + bad.len()
    );
    log.is_refused("a header proves", &tail, &words);
}

#[test]
fn a_whole_frame_that_holds_nonsense_is_refused() {
    let log = Log::new();
    let (next, segment, offset) = (log.next(), log.header.number, log.bytes.len());
    log.put_tail(&log.frame(next, next - 1));
    let refusal = log.stored.finish(log.stored.place.path()).unwrap_err();
    let words = format!("frame {next} in segment {segment} at offset {offset} is whole but cannot be decoded: ");
    assert!(refusal.to_string().contains(&words), "{refusal}");
    assert_eq!(refusal.kind(), ErrorKind::Damaged);
}
