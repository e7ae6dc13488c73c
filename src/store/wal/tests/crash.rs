//! Crashes at every durable step, and again during recovery: what was acknowledged is there, in order, and nothing else is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use floodmark_base::disk::{Fault, FaultyDisk, Point};

/// What a life was told, and what it tried.
#[derive(Clone, Default)]
struct Told {
    acknowledged: BTreeMap<u64, String>,
    attempted: Vec<String>,
    oldest_needed: u64,
}

const FAULTS: [Fault; 7] = [
    Fault::DieBefore,
    Fault::DieAfter,
    Fault::FailOnce,
    Fault::Tear { bytes: 1 },
    Fault::Tear { bytes: 47 },
    Fault::Tear { bytes: 60 },
    Fault::Tear { bytes: 120 },
];

/// A frame whose text is its body, as no event has it: the log does not look into frames.
fn frame(body: &str) -> NewFrame {
    NewFrame { kind: FrameKind::Event, head: Vec::new(), body: ByteView::new(body.as_bytes()) }
}

impl Told {
    fn append(&mut self, wal: &Wal, count: usize) -> Result<(), WalError> {
        let first = self.attempted.len();
        let texts: Vec<String> =
            (first..first + count).map(|n| format!("payload {n} {}", "x".repeat(n % 5 * 7))).collect();
        self.attempted.extend(texts.iter().cloned());
        let frames = texts.iter().map(|text| frame(text)).collect();
        for (at, text) in wal.append_and_wait(frames)?.iter().zip(texts) {
            self.acknowledged.insert(at.sequence.0, text);
        }
        Ok(())
    }

    /// Checks a disk after a crash.
    fn check(&self, disk: &MemoryDisk, story: &dyn Fn() -> String) {
        if observe(disk, directory(), None, &mut |_, _, _, _| {}).expect("no crash is damage").is_none() {
            assert!(self.acknowledged.is_empty(), "the log is gone\n{}", story());
            return;
        }
        let oldest = self.oldest_needed.max(1);
        let (_, seen) = scan_from(disk, Some(Sequence(oldest))).unwrap_or_else(|error| panic!("{error}\n{}", story()));
        let found: BTreeMap<u64, &str> = seen.iter().map(|frame| (frame.at.sequence.0, &*frame.text)).collect();
        for (sequence, text) in self.acknowledged.range(oldest..) {
            assert_eq!(found.get(sequence), Some(&&**text), "frame {sequence} was acknowledged\n{}", story());
        }
        assert!(found.keys().copied().eq(oldest..oldest + found.len() as u64), "no holes\n{}", story());
        // Never garbage, and in the order in which it was tried.
        let mut tried = self.attempted.iter();
        for frame in seen.iter().filter(|frame| frame.kind != FrameKind::Mark) {
            assert!(tried.any(|text| *text == frame.text), "{:?} was never tried here\n{}", frame.text, story());
        }
    }
}

fn settings() -> WalSettings {
    WalSettings { segment_bytes: 300, reserve_bytes: 300, ..WalSettings::default() }
}

/// A first life: appends, rolls, marks, truncates, closes.
fn first_life(disk: &FaultyDisk, told: &mut Told) -> Result<(), WalError> {
    let wal = Wal::create(Arc::new(disk.clone()), directory(), Epoch(1), settings())?;
    for count in [1, 3, 2, 2] {
        told.append(&wal, count)?;
    }
    wal.mark()?;
    told.append(&wal, 3)?;
    // The manifest that gives this right is durable before anything is deleted.
    told.oldest_needed = 6;
    wal.truncate_before(TruncationRight::for_tests(6))?;
    told.append(&wal, 2)?;
    told.append(&wal, 4)?;
    wal.close()
}

/// A later life: observes, resumes or creates, appends.
fn later_life(disk: &FaultyDisk, told: &mut Told) -> Result<(), WalError> {
    let epoch = Epoch(disk.list(directory()).map_or(2, |names| names.len() as u64 + 10));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let wal = match observe(disk, directory(), None, &mut |_, _, _, _| {})? {
        Some(scan) => Wal::resume(shared, directory(), &scan, epoch, settings())?,
        None => Wal::create(shared, directory(), epoch, settings())?,
    };
    told.append(&wal, 2)?;
    told.append(&wal, 1)?;
    wal.close()
}

fn wrap(memory: &MemoryDisk, power_cut: bool) -> FaultyDisk {
    let inner: Arc<dyn Disk> = Arc::new(memory.clone());
    if power_cut { FaultyDisk::losing_unsynced(inner) } else { FaultyDisk::new(inner) }
}

fn story(lives: &[&FaultyDisk]) -> String {
    let lines = |disk: &&FaultyDisk| disk.trace().iter().map(|step| format!("{step}\n")).collect::<String>();
    lives.iter().map(lines).collect::<Vec<_>>().join("-- the next life\n")
}

#[test]
fn a_crash_at_any_step_and_another_during_recovery_lose_nothing_that_was_acknowledged() {
    for power_cut in [false, true] {
        let probe = wrap(&MemoryDisk::default(), power_cut);
        first_life(&probe, &mut Told::default()).unwrap();
        let steps = probe.trace().len() as u64;
        assert!(steps >= 25, "the first life rolls and truncates: {steps} steps");
        let mut later_crashes = 0;
        for (step, fault) in (1..=steps).flat_map(|step| FAULTS.map(|fault| (step, fault))) {
            let (memory, mut told) = (MemoryDisk::default(), Told::default());
            let disk = wrap(&memory, power_cut);
            disk.arm(step, fault);
            let ended = first_life(&disk, &mut told);
            assert!(disk.fired() && ended.is_err(), "the fault must be felt\n{}", story(&[&disk]));
            told.check(&memory, &|| story(&[&disk]));
            for later_step in 1.. {
                let (memory, mut told) = (memory.image(), told.clone());
                let later = wrap(&memory, power_cut);
                // What died first dies again, in all ways over the whole sweep.
                later.arm(later_step, FAULTS[(step + later_step) as usize % FAULTS.len()]);
                let ended = later_life(&later, &mut told);
                told.check(&memory, &|| story(&[&disk, &later]));
                let last = wrap(&memory, power_cut);
                later_life(&last, &mut told).unwrap_or_else(|error| panic!("{error}\n{}", story(&[&disk, &later])));
                told.check(&memory, &|| story(&[&disk, &later, &last]));
                if ended.is_ok() {
                    break;
                }
                later_crashes += 1;
            }
        }
        assert!(later_crashes > 1000, "{later_crashes}");
    }
}

#[test]
fn a_disk_that_fills_up_at_any_step_loses_nothing_that_was_acknowledged() {
    for power_cut in [false, true] {
        let probe = wrap(&MemoryDisk::default(), power_cut);
        first_life(&probe, &mut Told::default()).unwrap();
        for step in 1..=probe.trace().len() as u64 {
            let (memory, mut told) = (MemoryDisk::default(), Told::default());
            let disk = wrap(&memory, power_cut);
            disk.arm(step, Fault::DiskFull);
            // It may end well, where little is written after that step and the reserve has room for it.
            let ended = first_life(&disk, &mut told);
            assert!(disk.fired());
            told.check(&memory, &|| format!("{ended:?}\n{}", story(&[&disk])));
            let later = wrap(&memory, power_cut);
            later_life(&later, &mut told).unwrap_or_else(|error| panic!("{error}\n{}", story(&[&disk, &later])));
            told.check(&memory, &|| story(&[&disk, &later]));
        }
    }
}

#[test]
fn recovering_twice_finds_what_recovering_once_found() {
    let memory = MemoryDisk::default();
    let disk = wrap(&memory, false);
    disk.arm_at(Point { step: Step::WalAppend, nth: 4 }, Fault::Tear { bytes: 60 });
    first_life(&disk, &mut Told::default()).unwrap_err();
    let (_, once) = scan(&memory);
    for epoch in 2..5 {
        drop(Wal::resume(Arc::new(memory.clone()), directory(), &scan(&memory).0, Epoch(epoch), settings()).unwrap());
        let (_, again) = scan(&memory);
        let texts =
            |seen: &[Seen]| seen.iter().map(|frame| (frame.at.sequence, frame.text.clone())).collect::<Vec<_>>();
        assert_eq!(texts(&again), texts(&once));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_cut_and_scrambled_in_its_last_group_recovers_a_prefix_with_every_acknowledged_frame(
        groups in proptest::collection::vec(1_usize..5, 1..8),
        last in 1_usize..6,
        cut in any::<prop::sample::Index>(),
        rot in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let memory = MemoryDisk::default();
        let wal = create(&memory, WalSettings { segment_bytes: 500, ..small() });
        let mut told = Told::default();
        for count in groups {
            told.append(&wal, count).unwrap();
        }
        let acknowledged = told.acknowledged.len();
        let newest = scan(&memory).0.newest();
        let durable = newest.bytes as usize;
        let file = segment_path(directory(), newest.number);
        let before = memory.image();
        told.append(&wal, last).unwrap();
        drop(wal);
        // The last group's sync never came back, and any part of it may be on the disk. Where it opened a new segment, that
        // file was empty until then.
        let (scan_all, all) = scan(&memory);
        let (file, durable) = if scan_all.newest().number == newest.number {
            (file, durable)
        } else {
            (segment_path(directory(), scan_all.newest().number), SEGMENT_HEADER_LEN)
        };
        let mut bytes = memory.read(&file).unwrap();
        bytes.truncate(durable + cut.index(bytes.len() - durable + 1));
        for (at, value) in rot {
            if bytes.len() > durable {
                let at = durable + at.index(bytes.len() - durable);
                bytes[at] = value;
            }
        }
        memory.put(&file, bytes);
        let (scan_cut, kept) = scan(&memory);
        prop_assert!(kept.len() >= acknowledged);
        prop_assert_eq!(&kept[..], &all[..kept.len()]);
        prop_assert!(scan_cut.proven_synced_through.0 <= acknowledged as u64);
        let wal = Wal::resume(Arc::new(memory.clone()), directory(), &scan_cut, Epoch(2), small()).unwrap();
        for frame in &kept {
            prop_assert_eq!(body_at(&wal, frame.at).unwrap(), ByteView::new(frame.text.as_bytes()));
        }
        prop_assert_eq!(scan(&before).1.len(), acknowledged);
    }
}
