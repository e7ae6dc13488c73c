//! The handle: appends, marks, reads, resume, truncation.

use std::sync::mpsc;
use std::thread;

use super::*;
use floodmark_base::disk::{Fault, FaultyDisk, LocalDisk, Point, Step};

fn resume(disk: &MemoryDisk, epoch: u64) -> Wal {
    Wal::resume(Arc::new(disk.clone()), directory(), &scan(disk).0, Epoch(epoch), small()).unwrap()
}

#[test]
fn what_is_appended_is_read_back_in_one_order() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, small());
    let large = "x".repeat(5000);
    let first = wal.append_and_wait(vec![block("one"), event("planned")]).unwrap();
    let second = wal.append_and_wait(vec![block(&large), block("")]).unwrap();
    assert_eq!(body_at(&wal, second[0]).unwrap(), ByteView::new(large.as_bytes()));
    assert_eq!(wal.append_and_wait(Vec::new()).unwrap(), []);
    wal.close().unwrap();
    let (scan, seen) = scan(&disk);
    let places: Vec<FrameAt> = seen.iter().map(|frame| frame.at).collect();
    assert_eq!(places[..4], [first, second].concat());
    assert_eq!((&*seen[1].text, &seen[2].text), ("planned", &format!("h{large}")));
    assert_eq!(seen[4].kind, FrameKind::Mark);
    assert_eq!((scan.next_sequence, scan.proven_synced_through, scan.tail), (Sequence(6), Sequence(4), Tail::Clean));
}

#[test]
fn a_second_mark_costs_nothing_until_something_is_appended() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, small());
    for expected in [1, 2] {
        wal.append_and_wait(vec![event("e")]).unwrap();
        wal.mark().unwrap();
        wal.mark().unwrap();
        assert_eq!(wal.statistics().syncs, 2 * expected);
    }
    assert_eq!(scan(&disk).0.proven_synced_through, Sequence(3));
}

#[test]
fn a_mark_that_waits_behind_appends_proves_them() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, small());
    let (arrived, arrivals) = mpsc::channel();
    let (go_on, held) = mpsc::channel::<()>();
    let hold = move |result: Result<Vec<FrameAt>, WalError>| {
        result.unwrap();
        arrived.send(()).unwrap();
        held.recv().unwrap();
    };
    wal.append(vec![event("first")], Box::new(hold));
    arrivals.recv().unwrap();
    for frame in [event("second"), block("third"), closing_mark_frame(), event("fifth")] {
        wal.append(vec![frame], Box::new(|result| assert!(result.is_ok())));
    }
    go_on.send(()).unwrap();
    wal.append_and_wait(vec![event("sixth")]).unwrap();
    drop(wal);
    let file = segment_path(directory(), SegmentNumber(1));
    let up_to_the_mark = scan(&disk).1[4].at.offset as usize;
    disk.put(&file, disk.read(&file).unwrap()[..up_to_the_mark].to_vec());
    assert_eq!(scan(&disk).0.proven_synced_through, Sequence(3));
}

#[test]
fn a_log_lives_on_the_real_disk_as_in_memory() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("job/wal");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let observed = |oldest: Option<Sequence>| {
        let mut texts = Vec::new();
        let scan = observe(&LocalDisk, &directory, oldest, &mut |at, _, head, body| {
            texts.push((at.sequence.0, String::from_utf8([head, body].concat()).unwrap()));
        });
        (scan.unwrap(), texts)
    };
    assert_eq!(observed(None), (None, vec![]));
    let settings = WalSettings { segment_bytes: 150, reserve_bytes: 4096, ..WalSettings::default() };
    let wal = Wal::create(Arc::clone(&disk), &directory, Epoch(1), settings.clone()).unwrap();
    let large = "y".repeat(3000);
    for body in ["one", &large, "three"] {
        wal.append_and_wait(vec![block(body), event("e")]).unwrap();
    }
    wal.close().unwrap();
    let (found, before) = observed(None);
    let wal = Wal::resume(disk, &directory, &found.unwrap(), Epoch(2), settings).unwrap();
    let at = wal.append_and_wait(vec![block("after")]).unwrap()[0];
    assert_eq!(body_at(&wal, at).unwrap(), ByteView::new(b"after"));
    assert!(wal.truncate_before(TruncationRight::for_tests(5)).unwrap() > 3000);
    drop(wal);
    let (found, after) = observed(Some(Sequence(5)));
    assert_eq!(after[..3], before[4..]);
    assert_eq!((after[3].clone(), found.unwrap().tail), ((8, "hafter".to_string()), Tail::Clean));
}

#[test]
fn a_log_is_never_created_over_another_one() {
    let disk = MemoryDisk::default();
    ByHand::new(7, 1, 9, 8).put(&disk);
    let error = Wal::create(Arc::new(disk.clone()), directory(), Epoch(1), small()).unwrap_err();
    assert!(matches!(error, WalError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
}

#[test]
fn a_closed_log_answers_closed_to_every_clone() {
    let wal = create(&MemoryDisk::default(), small());
    let clone = wal.clone();
    wal.close().unwrap();
    assert!(matches!(clone.append_and_wait(vec![event("late")]), Err(WalError::Closed)));
    assert!(matches!(clone.close(), Err(WalError::Closed)));
}

#[test]
fn appenders_share_groups_and_no_append_is_torn_apart() {
    let disk = MemoryDisk::default();
    let settings = WalSettings { queue_bytes: 400, group_bytes: 300, segment_bytes: 1000, ..small() };
    let wal = create(&disk, settings);
    let appenders: Vec<_> = (0..8)
        .map(|appender| {
            let wal = wal.clone();
            thread::spawn(move || {
                for round in 0..20 {
                    let frames = (0..3).map(|part| block(&format!("{appender} {round} {part}"))).collect();
                    let places = wal.append_and_wait(frames).unwrap();
                    assert!(places.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.next()));
                }
            })
        })
        .collect();
    appenders.into_iter().for_each(|appender| appender.join().unwrap());
    let statistics = wal.statistics();
    assert!(statistics.segments > 10 && statistics.groups == statistics.syncs, "{statistics:?}");
    wal.close().unwrap();
    let (scan, seen) = scan(&disk);
    assert_eq!(sequences(&seen), (1..=481).collect::<Vec<u64>>());
    assert_eq!(scan.segments.iter().map(|segment| segment.bytes).sum::<u64>(), 48 + statistics.bytes_on_disk);
    for three in seen[..480].chunks(3) {
        let name = three[0].text.strip_suffix('0').unwrap();
        assert!(three.iter().all(|frame| frame.text.starts_with(name)), "{three:?}");
    }
}

#[test]
fn after_a_failed_sync_every_append_is_poisoned_for_good() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::default()));
    let wal = Wal::create(Arc::new(disk.clone()), directory(), Epoch(1), small()).unwrap();
    disk.arm_at(Point { step: Step::WalSync, nth: 2 }, Fault::FailOnce);
    wal.append_and_wait(vec![event("synced")]).unwrap();
    let failed = wal.append_and_wait(vec![event("lost")]).unwrap_err();
    assert_eq!(
        failed.to_string(),
        "the log is poisoned until recovery: job/wal/00000000000000000001.log: at byte 118: Input/output error (os error 5)"
    );
    assert!(disk.fired());
    let right = TruncationRight::for_tests(2);
    for error in [
        wal.append_and_wait(vec![block("b")]).unwrap_err(),
        wal.mark().unwrap_err(),
        wal.truncate_before(right).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), failed.to_string());
    }
    assert!(disk.trace().last().is_some_and(|step| step.fault.is_some()), "nothing was tried again");
    assert!(matches!(wal.close(), Err(WalError::Poisoned { .. })));
}

#[test]
fn everything_that_waits_behind_a_failed_write_is_poisoned() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::default()));
    let wal = Wal::create(Arc::new(disk.clone()), directory(), Epoch(1), small()).unwrap();
    disk.arm_at(Point { step: Step::WalAppend, nth: 2 }, Fault::FailOnce);
    let (answer, answers) = mpsc::channel();
    let (go_on, held) = mpsc::channel::<()>();
    let (arrived, arrivals) = mpsc::channel();
    // The first group's callback holds the log's thread until the others wait behind it.
    wal.append(
        vec![event("first")],
        Box::new(move |result| {
            arrived.send(()).unwrap();
            held.recv().unwrap();
            assert!(result.is_ok());
        }),
    );
    arrivals.recv().unwrap();
    for n in 0..5 {
        let answer = answer.clone();
        let frames = if n == 2 { vec![closing_mark_frame()] } else { vec![event("later")] };
        wal.append(frames, Box::new(move |result| answer.send((n, result)).unwrap()));
    }
    go_on.send(()).unwrap();
    let mut poisoned: Vec<i32> = (0..5)
        .map(|_| answers.recv().unwrap())
        .map(|(n, result)| {
            assert!(matches!(result, Err(WalError::Poisoned { .. })), "{result:?}");
            n
        })
        .collect();
    poisoned.sort_unstable();
    assert_eq!(poisoned, [0, 1, 2, 3, 4]);
}

fn closing_mark_frame() -> NewFrame {
    NewFrame { kind: FrameKind::Mark, head: Vec::new(), body: ByteView::new(&[]) }
}

#[test]
fn resume_carries_what_nothing_proves_to_be_synced_and_never_writes_an_old_segment() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, small());
    wal.append_and_wait(vec![block("a"), block("b")]).unwrap();
    let unproven = wal.append_and_wait(vec![block("c"), event("d")]).unwrap();
    drop(wal);
    let file = segment_path(directory(), SegmentNumber(1));
    let torn = [&disk.read(&file).unwrap()[..], b"torn"].concat();
    disk.put(&file, torn.clone());
    disk.put(&directory().join(".00000000000000000002.log.0123456789abcdef.tmp"), b"left over".to_vec());

    let (before, seen) = scan(&disk);
    assert_eq!((before.whole_frames_beyond_proven, before.proven_synced_through), (2, Sequence(2)));
    let wal = resume(&disk, 2);
    assert_eq!(disk.read(&file).unwrap(), torn);
    assert_eq!(disk.list(directory()).unwrap(), ["00000000000000000001.log", "00000000000000000002.log"]);
    let places = wal.append_and_wait(vec![block("e")]).unwrap();
    assert_eq!((places[0].sequence, places[0].segment), (Sequence(5), SegmentNumber(2)));

    let (after, seen_after) = scan(&disk);
    assert_eq!(
        (after.tail, after.proven_synced_through, after.whole_frames_beyond_proven),
        (Tail::Clean, Sequence(4), 1)
    );
    let texts = |seen: &[Seen]| seen.iter().map(|frame| frame.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&seen_after)[..4], texts(&seen));
    // Whoever has seen a frame in the old segment still reads it, also when that segment is gone.
    let right = TruncationRight::for_tests(3);
    assert_eq!(wal.truncate_before(right).unwrap(), torn.len() as u64);
    assert_eq!(body_at(&wal, unproven[0]).unwrap(), ByteView::new(b"c"));
    assert_eq!(read_frame(&disk, directory(), after.log_id, seen_after[3].at).unwrap().0, b"d");
}

#[test]
fn a_driver_with_a_smaller_epoch_does_not_resume() {
    let disk = MemoryDisk::default();
    drop(create(&disk, small()));
    drop(resume(&disk, 7));
    let refused = Wal::resume(Arc::new(disk.clone()), directory(), &scan(&disk).0, Epoch(6), small()).unwrap_err();
    assert_eq!(refused.to_string(), "job/wal/00000000000000000002.log: expected an epoch of at most 6, found 7");
}

#[test]
fn two_drivers_that_resume_from_one_scan_do_not_share_a_segment() {
    let disk = MemoryDisk::default();
    drop(create(&disk, small()));
    let seen_by_both = scan(&disk).0;
    let again = |epoch| Wal::resume(Arc::new(disk.clone()), directory(), &seen_by_both, Epoch(epoch), small());
    again(2).unwrap();
    assert!(matches!(again(3), Err(WalError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists));
}

#[test]
fn truncation_removes_whole_segments_below_the_oldest_needed_frame_and_keeps_the_newest() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, WalSettings { segment_bytes: 100, ..small() });
    for n in 0..5 {
        wal.append_and_wait(vec![block(&format!("payload {n}"))]).unwrap();
    }
    assert_eq!(wal.statistics().segments, 5);
    let truncate = |oldest| wal.truncate_before(TruncationRight::for_tests(oldest)).unwrap();
    assert_eq!(truncate(1), 0);
    assert_eq!(truncate(3), 2 * (64 + 48 + 10));
    let (scan, seen) = scan_from(&disk, Some(Sequence(4))).unwrap();
    assert_eq!((scan.segments[0].number, sequences(&seen)), (SegmentNumber(3), vec![4, 5]));
    assert!(scan_from(&disk, Some(Sequence(2))).is_err());
    assert_eq!(truncate(1000), 2 * (64 + 48 + 10));
    assert_eq!((wal.statistics().segments, wal.statistics().bytes_on_disk), (1, 64 + 48 + 10));
}

#[test]
fn a_frame_that_rotted_is_damage_when_it_is_read_again() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, small());
    let at = wal.append_and_wait(vec![block("payload")]).unwrap()[0];
    let file = segment_path(directory(), SegmentNumber(1));
    let mut bytes = disk.read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    disk.put(&file, bytes);
    let Err(WalError::Damage(damage)) = body_at(&wal, at) else { panic!("rot went unseen") };
    assert_eq!((damage.offset, damage.lost), (64, Lost::Frames { first: Sequence(1), last: Sequence(1) }));
}

#[test]
fn bodies_are_read_back_in_the_order_asked_for_wherever_they_stand() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, WalSettings { segment_bytes: 4 << 10, ..small() });
    let text = |number: usize| format!("{number} {}", "x".repeat(number % 7 * 300));
    let places: Vec<FrameAt> =
        (0..200).map(|number| wal.append_and_wait(vec![block(&text(number))]).unwrap()[0]).collect();
    assert!(wal.statistics().segments > 5);
    let read = |wanted: &[usize]| {
        let (mut texts, places) = (Vec::new(), wanted.iter().map(|number| places[*number]).collect::<Vec<_>>());
        let read = wal.read_bodies::<WalError>(&places, &mut |body| {
            texts.push(String::from_utf8(body.to_vec()).unwrap());
            Ok(())
        });
        read.unwrap();
        texts
    };
    let all: Vec<usize> = (0..200).collect();
    let some: Vec<usize> = (0..200).filter(|number| number % 3 == 1).collect();
    for wanted in [&all[..], &some, &[7, 3, 3, 199, 0], &[]] {
        assert_eq!(read(wanted), wanted.iter().map(|number| text(*number)).collect::<Vec<_>>());
    }
}

#[test]
fn the_one_body_that_rotted_is_named_among_its_neighbours() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, small());
    let places: Vec<FrameAt> = (0..3).map(|_| wal.append_and_wait(vec![block("payload")]).unwrap()[0]).collect();
    let file = segment_path(directory(), SegmentNumber(1));
    let mut bytes = disk.read(&file).unwrap();
    bytes[places[2].offset as usize - 1] ^= 1;
    disk.put(&file, bytes);
    let mut seen = 0;
    let read = wal.read_bodies::<WalError>(&places, &mut |_| {
        seen += 1;
        Ok(())
    });
    let Err(WalError::Damage(damage)) = read else { panic!("rot went unseen") };
    assert_eq!(
        (damage.offset, damage.lost),
        (places[1].offset, Lost::Frames { first: Sequence(2), last: Sequence(2) })
    );
    assert_eq!(seen, 1, "what came before it was whole");
}

#[test]
fn a_log_that_is_switched_off_acknowledges_and_writes_nothing() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, WalSettings::switched_off());
    for expected in 1..=3 {
        assert_eq!(wal.append_and_wait(vec![block("b")]).unwrap()[0].sequence, Sequence(expected));
    }
    wal.close().unwrap();
    assert_eq!(disk.len(&segment_path(directory(), SegmentNumber(1))).unwrap(), 64);
}

#[test]
fn the_last_handle_may_go_within_a_callback() {
    let wal = create(&MemoryDisk::default(), small());
    let (sender, receiver) = mpsc::channel();
    let last = wal.clone();
    wal.append(
        vec![event("e")],
        Box::new(move |result| {
            sender.send(result.is_ok()).unwrap();
            drop(last);
        }),
    );
    drop(wal);
    assert!(receiver.recv().unwrap());
}

#[test]
fn a_log_that_is_being_written_can_be_scanned() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, WalSettings { segment_bytes: 300, ..small() });
    for n in 1..50 {
        wal.append_and_wait(vec![block("b")]).unwrap();
        let (scan, seen) = scan(&disk);
        assert_eq!((scan.tail, seen.len()), (Tail::Clean, n));
    }
}
