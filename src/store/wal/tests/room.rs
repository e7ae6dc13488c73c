//! A full disk, and the quota: blocks are refused, events pass, nothing that was acknowledged is lost.

use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;

use super::*;
use floodmark_base::disk::{Fault, FaultyDisk, Point, Step, TracedStep, Watcher};

fn is_full(result: Result<Vec<FrameAt>, WalError>) -> bool {
    matches!(result, Err(WalError::Full { .. }))
}

#[test]
fn beyond_the_quota_blocks_are_refused_and_events_pass_until_a_checkpoint_has_made_room() {
    let disk = MemoryDisk::default();
    let wal = create(&disk, WalSettings { quota_bytes: 300, segment_bytes: 100, ..small() });
    wal.append_and_wait(vec![block("b")]).unwrap();
    wal.append_and_wait(vec![block("b")]).unwrap();
    assert!(is_full(wal.append_and_wait(vec![event("e"), block("b")])));
    let planned = wal.append_and_wait(vec![event("planned")]).unwrap();
    assert_eq!(planned[0].sequence, Sequence(3), "the refused frames took no sequence");
    wal.truncate_before(TruncationRight::for_tests(3)).unwrap();
    wal.append_and_wait(vec![block("b")]).unwrap();
    assert_eq!(sequences(&scan(&disk).1), [3, 4]);
}

/// A log with a reserve, whose disk is full from the given append of frames on.
fn full_at(nth: u64, reserve_bytes: u64) -> (MemoryDisk, FaultyDisk, Wal) {
    let memory = MemoryDisk::default();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let settings = WalSettings { reserve_bytes, ..WalSettings::default() };
    let wal = Wal::create(Arc::new(disk.clone()), directory(), Epoch(1), settings).unwrap();
    disk.arm_at(Point { step: Step::WalAppend, nth }, Fault::DiskFull);
    (memory, disk, wal)
}

#[test]
fn on_a_full_disk_the_reserve_is_given_up_for_events_and_blocks_are_refused() {
    let (memory, disk, wal) = full_at(2, 400);
    wal.append_and_wait(vec![block("acknowledged")]).unwrap();
    assert!(is_full(wal.append_and_wait(vec![block("refused")])));
    assert!(disk.fired() && memory.len(&directory().join("reserve")).is_err());
    assert!(is_full(wal.append_and_wait(vec![block("refused too")])));
    let published = wal.append_and_wait(vec![event("published")]).unwrap();
    assert_eq!((published[0].sequence, published[0].segment), (Sequence(2), SegmentNumber(2)));

    // A checkpoint makes room, but not enough for the reserve; then enough.
    let right = TruncationRight::for_tests(2);
    wal.truncate_before(right).unwrap();
    assert!(is_full(wal.append_and_wait(vec![block("still refused")])));
    disk.heal();
    wal.truncate_before(right).unwrap();
    wal.append_and_wait(vec![block("taken again")]).unwrap();
    wal.close().unwrap();
    let (_, seen) = scan(&memory);
    let texts: Vec<&str> = seen.iter().map(|frame| &*frame.text).collect();
    assert_eq!(texts, ["published", "htaken again", ""]);
    assert_eq!(memory.len(&directory().join("reserve")).unwrap(), 400);
}

#[test]
fn an_event_that_meets_the_full_disk_is_written_in_the_reserves_room() {
    let (memory, _disk, wal) = full_at(2, 400);
    wal.append_and_wait(vec![block("acknowledged")]).unwrap();
    let committed = wal.append_and_wait(vec![event("committed")]).unwrap();
    assert_eq!((committed[0].sequence, committed[0].segment), (Sequence(2), SegmentNumber(2)));
    assert_eq!(sequences(&scan(&memory).1), [1, 2]);
}

#[test]
fn part_of_a_refused_group_on_the_disk_is_superseded() {
    let (memory, disk, wal) = full_at(1, 400);
    // The reserve's 400 bytes: 64 of the new segment, then two events of 48 + 100 bytes; the third does not fit.
    let long = "x".repeat(100);
    assert!(is_full(wal.append_and_wait(vec![block("refused")])));
    wal.append_and_wait(vec![event(&long)]).unwrap();
    wal.append_and_wait(vec![event(&long)]).unwrap();
    let error = wal.append_and_wait(vec![event(&long)]).unwrap_err();
    assert!(matches!(error, WalError::Poisoned { .. }), "no room is left at all: {error}");
    disk.heal();
    drop(wal);
    let (scan, seen) = scan(&memory);
    assert_eq!(sequences(&seen), [1, 2]);
    assert!(matches!(scan.tail, Tail::Interrupted { bytes: 40, .. }), "{:?}", scan.tail);
}

#[test]
fn without_room_for_the_reserve_a_log_opens_and_refuses_blocks() {
    let memory = MemoryDisk::default();
    drop(create(&memory, small()));
    let scanned = scan(&memory).0;
    let settings = WalSettings { reserve_bytes: 100, ..WalSettings::default() };
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    disk.arm_at(Point { step: Step::WalRoll, nth: 7 }, Fault::DiskFull); // behind the six steps that create a segment
    let wal = Wal::resume(Arc::new(disk.clone()), directory(), &scanned, Epoch(2), settings).unwrap();
    assert!(is_full(wal.append_and_wait(vec![block("b")])));
    disk.heal();
    wal.truncate_before(TruncationRight::for_tests(1)).unwrap();
    wal.append_and_wait(vec![block("b")]).unwrap();
}

#[test]
fn a_log_whose_last_life_ended_on_a_full_disk_resumes_in_the_reserves_room() {
    let (memory, _disk, wal) = full_at(100, 200);
    wal.append_and_wait(vec![block("acknowledged")]).unwrap();
    drop(wal);
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    disk.arm(1, Fault::DiskFull);
    let settings = WalSettings { reserve_bytes: 200, ..WalSettings::default() };
    let wal = Wal::resume(Arc::new(disk.clone()), directory(), &scan(&memory).0, Epoch(2), settings).unwrap();
    assert!(disk.fired() && is_full(wal.append_and_wait(vec![block("b")])));
    let (after, seen) = scan(&memory);
    assert_eq!((after.proven_synced_through, &*seen[0].text), (Sequence(1), "hacknowledged"));
}

#[test]
fn a_reserve_that_an_earlier_life_has_left_is_not_written_again() {
    let (memory, disk, wal) = full_at(u64::MAX, 400);
    wal.close().unwrap();
    assert!(disk.trace().iter().any(|step| step.what.contains("reserve")));
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let settings = WalSettings { reserve_bytes: 400, ..WalSettings::default() };
    let scanned = scan(&memory).0;
    let wal = Wal::resume(Arc::new(disk.clone()), directory(), &scanned, Epoch(2), settings).unwrap();
    assert!(disk.trace().iter().all(|step| !step.what.contains("reserve")));
    wal.close().unwrap();
}

/// The log's answer to an append.
type Appended = mpsc::Receiver<Result<Vec<FrameAt>, WalError>>;

/// While the first block of the log meets the full disk, another one is queued; while the reserve is given up, a truncation begins.
#[derive(Default)]
struct Meanwhile {
    wal: Mutex<Option<Wal>>,
    queued: Mutex<Option<Appended>>,
    truncation: Mutex<Option<JoinHandle<Result<u64, WalError>>>>,
}

impl Watcher for Meanwhile {
    fn begins(&self, step: &TracedStep) {
        let Some(wal) = self.wal.lock().unwrap().clone() else { return };
        let (mut queued, mut truncation) = (self.queued.lock().unwrap(), self.truncation.lock().unwrap());
        if step.step == Step::WalAppend && queued.is_none() {
            let (sender, answer) = mpsc::channel();
            wal.append(vec![block("behind it")], Box::new(move |result| sender.send(result).unwrap()));
            *queued = Some(answer);
        } else if step.step == Step::WalTruncate && step.what.contains("reserve") && truncation.is_none() {
            let thread = std::thread::spawn({
                let wal = wal.clone();
                move || wal.truncate_before(TruncationRight::for_tests(1))
            });
            // It is through, or it has asked the thread that is waiting here.
            while !thread.is_finished() && wal.shared.queue.waiting() < 2 {
                std::thread::yield_now();
            }
            *truncation = Some(thread);
        }
    }
}

#[test]
fn a_truncation_while_the_disk_is_found_full_lets_no_block_pass_that_was_queued_behind_the_refused_one() {
    let (memory, watcher) = (MemoryDisk::default(), Arc::new(Meanwhile::default()));
    let disk = FaultyDisk::watched(Arc::new(memory.clone()), watcher.clone());
    // Groups of one block each.
    let settings = WalSettings { reserve_bytes: 400, group_bytes: 1, ..WalSettings::default() };
    let wal = Wal::create(Arc::new(disk.clone()), directory(), Epoch(1), settings).unwrap();
    *watcher.wal.lock().unwrap() = Some(wal.clone());
    disk.arm_at(Point { step: Step::WalAppend, nth: 1 }, Fault::DiskFull);
    assert!(is_full(wal.append_and_wait(vec![block("refused")])));
    *watcher.wal.lock().unwrap() = None;
    let queued = watcher.queued.lock().unwrap().take().unwrap();
    assert!(is_full(queued.recv().unwrap()), "it would be durable, and the one before it is not");
    let truncation = watcher.truncation.lock().unwrap().take().unwrap();
    truncation.join().unwrap().unwrap();
    assert!(is_full(wal.append_and_wait(vec![block("still refused")])), "there is no room for the reserve");
    disk.heal();
    wal.truncate_before(TruncationRight::for_tests(1)).unwrap();
    wal.append_and_wait(vec![block("taken again")]).unwrap();
    wal.close().unwrap();
    assert_eq!(scan(&memory).1[0].text, "htaken again");
}

#[test]
fn blocks_that_are_refused_for_good_are_refused_in_the_queue_too_and_events_pass() {
    let memory = MemoryDisk::default();
    let wal = create(&memory, small());
    wal.append_and_wait(vec![block("taken")]).unwrap();
    let (sender, answers) = mpsc::channel();
    let answer = |sender: &mpsc::Sender<_>| -> Done {
        let sender = sender.clone();
        Box::new(move |result| sender.send(result).unwrap())
    };
    // Within the answer to an event the log's thread writes nothing: the block behind it waits.
    let (inside, next) = (wal.clone(), answer(&sender));
    wal.append(
        vec![event("e")],
        Box::new(move |_| {
            inside.append(vec![block("waits")], next);
            inside.refuse_blocks();
        }),
    );
    assert!(is_full(answers.recv().unwrap()));
    wal.append(vec![block("comes later")], answer(&sender));
    assert!(is_full(answers.recv().unwrap()));
    wal.append_and_wait(vec![event("e")]).unwrap();
    wal.truncate_before(TruncationRight::for_tests(2)).unwrap();
    assert!(is_full(wal.append_and_wait(vec![block("a truncation does not change that")])));
}
