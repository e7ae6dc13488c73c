//! Framings: the same records whatever pieces the bytes come in, on the receiving side and on the workers; and whole jobs over
//! sockets.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use byteview::ByteView;
use proptest::prelude::*;

use super::frame_buffer::FrameBuffer;
use super::framing::FramingError;
use super::*;
use crate::testing::{Collected, TestJob};
use floodmark_base::bytes::Bytes;
use floodmark_base::codec::{Record, encode};

/// What became of a stream.
#[derive(Debug, PartialEq)]
struct Cut<T> {
    records: Vec<T>,
    /// Too long or undecodable, on either side.
    failed: u64,
    /// Bytes of the frame that the end cut off.
    torn: usize,
    error: Option<FramingError>,
}

/// Feeds `bytes` in pieces, cuts blocks, and decodes them as workers do.
fn cut<D: Decoder>(decoder: D, bytes: &[u8], pieces: &[usize], block_bytes: usize) -> Cut<D::Item> {
    let mut buffer = FrameBuffer::new(block_bytes, decoder.framing());
    let (mut blocks, mut failed, mut error) = (Vec::new(), 0, None);
    let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() && error.is_none() {
        let space = buffer.space();
        let count = rest.len().min(space.len()).min(*pieces.next().unwrap());
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        match buffer.advance(count) {
            Ok(too_long) => failed += u64::from(too_long),
            Err(found) => error = Some(found),
        }
        if buffer.is_full() {
            blocks.extend(buffer.cut(1 + buffer.frames() / 2));
            blocks.extend(buffer.cut(u64::MAX));
        }
    }
    buffer.end();
    blocks.extend(buffer.cut(u64::MAX));
    let (reader, mut records) = (FramesReader::new("s", decoder), Vec::new());
    for (block, counted) in blocks {
        let summary = reader.read(TaskBytes::Block(block), &mut |record| records.push(record)).unwrap();
        assert_eq!(summary.records + summary.failed, counted);
        failed += summary.failed;
    }
    let torn = if error.is_some() { 0 } else { buffer.begun_bytes() };
    Cut { records, failed, torn, error }
}

fn prefixed(frames: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let frame = |frame: &[u8]| [&(frame.len() as u32).to_be_bytes(), frame].concat();
    frames.iter().flat_map(|content| frame(content.as_ref())).collect()
}

/// A byte of length, which counts itself.
fn by_first_byte() -> Framing {
    Framing::measured(|bytes| bytes.first().map(|length| u64::from(*length)))
}

proptest! {
    #[test]
    fn lines_as_bytes_are_the_same_whatever_pieces_they_come_in(
        bytes in prop::collection::vec(prop::sample::select(b"ab\xff\r\n\n".to_vec()), 0..200),
        pieces in prop::collection::vec(1_usize..30, 1..10),
        block_bytes in 1_usize..40,
        limit in 0_usize..12,
    ) {
        let found = cut(Framing::lines().max_frame_bytes(limit), &bytes, &pieces, block_bytes);
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        let last = lines.pop().unwrap();
        let mut lines: Vec<&[u8]> = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        lines.extend((!last.is_empty()).then_some(last));
        let records: Vec<Bytes> = lines.iter().filter(|line| line.len() <= limit).map(|&line| line.into()).collect();
        let failed = (lines.len() - records.len()) as u64;
        prop_assert_eq!(found, Cut { records, failed, torn: 0, error: None });
    }

    #[test]
    fn frames_that_end_at_a_byte_are_the_same_whatever_pieces_they_come_in(
        frames in prop::collection::vec(prop::collection::vec(1_u8..=255, 0..20), 0..20),
        pieces in prop::collection::vec(1_usize..30, 1..10),
        block_bytes in 1_usize..40,
        limit in 0_usize..20,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.iter().copied().chain([0])).collect();
        let found = cut(Framing::delimited(0).max_frame_bytes(limit), &bytes, &pieces, block_bytes);
        let records: Vec<Bytes> = frames.iter().filter(|frame| frame.len() <= limit).map(|frame| frame.as_slice().into()).collect();
        let failed = (frames.len() - records.len()) as u64;
        prop_assert_eq!(found, Cut { records, failed, torn: 0, error: None });
    }

    #[test]
    fn fixed_frames_are_the_same_whatever_pieces_they_come_in(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        frame_bytes in 1_usize..12,
        pieces in prop::collection::vec(1_usize..30, 1..10),
        block_bytes in 1_usize..40,
    ) {
        let found = cut(Framing::fixed(frame_bytes), &bytes, &pieces, block_bytes);
        let frames = bytes.chunks_exact(frame_bytes);
        let torn = frames.remainder().len();
        prop_assert_eq!(found, Cut { records: frames.map(Bytes::from).collect(), failed: 0, torn, error: None });
    }

    #[test]
    fn frames_behind_their_lengths_are_the_same_whatever_pieces_they_come_in(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
        torn in 0_usize..7,
        pieces in prop::collection::vec(1_usize..30, 1..10),
        block_bytes in 1_usize..40,
        limit in 3_usize..20,
    ) {
        let bytes = [prefixed(&frames), [0, 0, 0, 3, 1, 2, 3][..torn].to_vec()].concat();
        let found = cut(Framing::length_prefixed().max_frame_bytes(limit), &bytes, &pieces, block_bytes);
        let records: Vec<Bytes> = frames.iter().filter(|frame| frame.len() <= limit).map(|frame| frame.as_slice().into()).collect();
        let failed = (frames.len() - records.len()) as u64;
        prop_assert_eq!(found, Cut { records, failed, torn, error: None });
    }

    #[test]
    fn measured_frames_are_the_same_whatever_pieces_they_come_in(
        lengths in prop::collection::vec(1_u8..20, 0..20),
        pieces in prop::collection::vec(1_usize..30, 1..10),
        block_bytes in 1_usize..40,
        limit in 1_usize..20,
    ) {
        let frames: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![length; usize::from(length)]).collect();
        let found = cut(by_first_byte().max_frame_bytes(limit), &frames.concat(), &pieces, block_bytes);
        let records: Vec<Bytes> = frames.iter().filter(|frame| frame.len() <= limit).map(|frame| frame.as_slice().into()).collect();
        let failed = (frames.len() - records.len()) as u64;
        prop_assert_eq!(found, Cut { records, failed, torn: 0, error: None });
    }

    #[test]
    fn raw_records_are_what_was_appended_and_others_fail_alone(
        records in prop::collection::vec(("[a-z]{0,30}", any::<u64>()), 0..20),
        pieces in prop::collection::vec(1_usize..30, 1..10),
    ) {
        let mut bytes = prefixed(&["not a pair"]);
        records.iter().for_each(|record| RawRecords::append(record, &mut bytes).unwrap());
        let found = cut(RawRecords::<(String, u64)>::default(), &bytes, &pieces, 100);
        prop_assert_eq!(found, Cut { records, failed: 1, torn: 0, error: None });
    }
}

#[test]
fn a_raw_record_is_pinned_by_its_bytes() {
    let mut bytes = vec![9];
    RawRecords::append(&("a".to_string(), 300_u64), &mut bytes).unwrap();
    assert_eq!(bytes, b"\x09\0\0\0\x05\x01a\xfb\x2c\x01");
}

#[test]
fn a_record_that_cannot_be_encoded_is_not_appended() {
    #[derive(Clone, serde::Deserialize)]
    struct Odd;
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("odd"))
        }
    }
    let mut bytes = vec![9];
    let error = RawRecords::append(&Odd, &mut bytes).unwrap_err().to_string();
    assert!(error.starts_with("a record of type ") && error.contains("cannot be framed"), "{error}");
    assert_eq!(bytes, [9]);
}

#[test]
fn a_length_beyond_all_bounds_makes_no_room_and_what_follows_is_dropped_up_to_there() {
    let mut bytes = prefixed(&["first"]);
    bytes.extend((3_u32 << 20).to_be_bytes());
    bytes.extend(vec![b'x'; 3 << 20]);
    bytes.extend(prefixed(&["last"]));
    let found = cut(Framing::length_prefixed(), &bytes, &[100_000], 1000);
    assert_eq!((found.records, found.failed), (vec![b"first".as_slice().into(), b"last".as_slice().into()], 1));
}

#[test]
fn a_framing_that_tells_no_length_ends_the_stream_with_an_error() {
    let found = cut(by_first_byte(), b"\x02a\x00", &[1], 100);
    assert_eq!((found.records.len(), found.error), (1, Some(FramingError::Empty)));
    let found = cut(Framing::measured(|_| None).max_frame_bytes(10), &[0; 100], &[4], 100);
    assert_eq!(found.error, Some(FramingError::Endless { bytes: 12, limit: 10 }));
}

#[test]
fn a_block_that_another_framing_cut_is_an_error_with_its_place() {
    let reader = FramesReader::new("s", Framing::fixed(4));
    let error = reader.read(TaskBytes::Block(ByteView::from("123456")), &mut |_| {}).unwrap_err().to_string();
    let expected = "a block of source \"s\" cannot be decoded: the last 2 bytes, from byte 4 on, are no whole frame";
    assert!(error.starts_with(expected), "{error}");
    assert!(reader.read(TaskBytes::Range(&[]), &mut |_| {}).is_err());
}

/// Serves `bytes` to whoever connects: the first time these, then nothing.
fn serve(bytes: Vec<u8>) -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (open, opened) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(&bytes).unwrap();
        open.send(peer).unwrap();
        // Further lives of the job find someone who says nothing.
        while let Ok((peer, _)) = listener.accept() {
            if open.send(peer).is_err() {
                return;
            }
        }
    });
    (address, opened)
}

/// Runs batches until so many records were taken in this life; gives what each batch had.
fn run_until<T: Record>(job: &mut TestJob<Collected<T>>, records: u64) -> Vec<T> {
    let mut found = Vec::new();
    while job.running().status().records < records {
        job.run_batch().unwrap();
        found.extend(job.handles().last());
    }
    found
}

#[test]
fn a_socket_of_raw_records_gives_the_same_with_any_number_of_workers_and_after_a_crash() {
    let sent: Vec<(String, u64)> = (0..2_000).map(|number| (format!("key {}", number % 17), number)).collect();
    let mut bytes = Vec::new();
    sent.iter().for_each(|record| RawRecords::append(record, &mut bytes).unwrap());
    for workers in [1, 2, 4] {
        let (address, _open) = serve(bytes.clone());
        // Small blocks, so that there are many; and no checkpoint, so that all is read from the log again.
        let configure = move |builder: crate::StreamingContextBuilder| {
            builder.workers(workers).block_bytes(1 << 10).checkpoint_every(1_000)
        };
        let mut job = TestJob::configured(configure, move |context| {
            let records = context.raw_socket_stream::<(String, u64)>("s", &address.to_string());
            records.update_state_by_key("sums", |new: &[u64], old: Option<u64>| {
                Some(new.iter().fold(old.unwrap_or(7), |sum, number| sum.wrapping_mul(31).wrapping_add(*number)))
            });
            records.collect("all")
        })
        .unwrap();
        assert_eq!(run_until(&mut job, 2_000), sent, "{workers} workers");
        let sums = |job: &TestJob<_>| -> Vec<(String, u64)> {
            job.running().state::<String, u64>("sums").unwrap().iter().unwrap().collect()
        };
        let before = sums(&job);
        job.crash_and_restart().unwrap();
        assert_eq!(sums(&job), before, "{workers} workers, from the log");
        assert_eq!(before.len(), 17);
        let expected = sent.iter().filter(|(key, _)| *key == before[0].0);
        let expected = expected.fold(7, |sum: u64, (_, number)| sum.wrapping_mul(31).wrapping_add(*number));
        assert_eq!(before[0].1, expected);
    }
}

#[test]
fn frames_that_are_no_records_are_counted_and_the_others_taken() {
    let mut bytes = prefixed(&[encode(&1_u64).unwrap(), b"\xff\xff\xff".to_vec(), encode(&2_u64).unwrap(), vec![]]);
    RawRecords::append(&3_u64, &mut bytes).unwrap();
    let (address, _open) = serve(bytes);
    let mut job =
        TestJob::new(move |context| context.raw_socket_stream::<u64>("numbers", &address.to_string()).collect("all"))
            .unwrap();
    assert_eq!(run_until(&mut job, 3), [1, 2, 3]);
    assert_eq!(job.running().status().failed_records, 2);
}

#[test]
fn lines_of_any_bytes_come_through_a_socket_with_a_decoder() {
    let (address, _open) = serve(b"7\r\n\xff\xfe\nmany\n12\n".to_vec());
    let mut job = TestJob::new(move |context| {
        let numbers = Framing::lines().decode_with(|line: Bytes| Ok((line.to_text()?.parse::<u64>()?, line)));
        context.socket_stream("numbers", &address.to_string(), numbers).collect("all")
    })
    .unwrap();
    let expected = [(7, b"7".as_slice().into()), (12, b"12".as_slice().into())];
    assert_eq!(run_until(&mut job, 2), expected);
    assert_eq!(job.running().status().failed_records, 2);
}

/// Waits until the only receiver has reported so many errors; gives the newest.
fn reported<H: Clone>(job: &TestJob<H>, errors: u64) -> String {
    loop {
        let counts = job.running().receivers().remove(0).counts;
        if counts.errors >= errors {
            return counts.last_error.unwrap();
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_frame_that_the_end_of_the_stream_cuts_off_is_reported_and_those_before_it_count() {
    let bytes = [prefixed(&["one", "two"]), b"\0\0\0\x05thr".to_vec()].concat();
    let (address, open) = serve(bytes);
    let mut job = TestJob::new(move |context| {
        context.socket_stream("frames", &address.to_string(), Framing::length_prefixed()).collect("all")
    })
    .unwrap();
    drop(open.recv().unwrap());
    assert_eq!(reported(&job, 1), "7 bytes of an unfinished frame are dropped: the stream has ended");
    assert_eq!(run_until(&mut job, 2), [Bytes::from(b"one".as_slice()), b"two".as_slice().into()]);
}

#[test]
fn a_frame_that_is_too_long_is_reported_and_the_next_one_taken() {
    let (address, open) = serve([prefixed(&["one"]), prefixed(&[[b'x'; 300_000]]), prefixed(&["two"])].concat());
    let mut job = TestJob::new(move |context| {
        let framing = Framing::length_prefixed().max_frame_bytes(1_000);
        context.socket_stream("frames", &address.to_string(), framing).collect("all")
    })
    .unwrap();
    let error = reported(&job, 1);
    assert!(error.contains(": a frame before byte "), "{error}");
    assert!(error.ends_with(" has more than 1000 bytes: it is dropped"), "{error}");
    assert_eq!(run_until(&mut job, 2), [Bytes::from(b"one".as_slice()), b"two".as_slice().into()]);
    drop(open);
}

#[test]
fn a_stream_that_cannot_be_cut_is_given_up_with_an_error_and_what_came_before_counts() {
    let (address, _open) = serve(b"\x03ab\x02c\0 and more".to_vec());
    let mut job = TestJob::new(move |context| {
        context.socket_stream("frames", &address.to_string(), by_first_byte()).collect("all")
    })
    .unwrap();
    let error = reported(&job, 2);
    let expected = "the framing says that a frame has 0 bytes; starts again in 2000 ms";
    assert!(error.contains(": no frame can be found before byte ") && error.ends_with(expected), "{error}");
    assert_eq!(run_until(&mut job, 2), [Bytes::from(b"\x03ab".as_slice()), b"\x02c".as_slice().into()]);
}
