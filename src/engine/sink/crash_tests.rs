//! Sinks to files on a disk that dies, tears, fails, loses answers, fills up and loses power, at every durable step.
//!
//! The story has two lives: the first fences and publishes two batches, the second fences and publishes a third. Each fault is
//! followed by each loss, and by a last life that publishes all batches again. What was acknowledged must be there, what is
//! visible must be whole, and in the end nothing differs from a story without faults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::BatchDirectories;
use super::layout::Layout;
use super::object_files::ObjectFormat;
use super::part::{Lines, PartFormat};
use super::*;
use floodmark_base::disk::{Disk, Fault, FaultyDisk, Image, Loss, SimulatedDisk, Step, TracedStep};

const LINEAGE: Lineage = Lineage(7);
const BATCHES: u64 = 3;

const FAULTS: [Fault; 7] = [
    Fault::DieBefore,
    Fault::DieAfter,
    Fault::Tear { bytes: 1 },
    Fault::TearAt { boundary: 512 },
    Fault::FailOnce,
    Fault::FailAfter,
    Fault::DiskFull,
];

const LOSSES: [Loss; 8] = [
    Loss::Nothing,
    Loss::Bytes,
    Loss::Names,
    Loss::Everything,
    Loss::Some { seed: 1 },
    Loss::Some { seed: 2 },
    Loss::Some { seed: 3 },
    Loss::Some { seed: 4 },
];

/// Files by their paths below the root.
type Files = BTreeMap<PathBuf, Vec<u8>>;

struct Case<F> {
    layout: Layout,
    format: F,
}

/// What was promised before the end of a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Promised {
    /// The newest driver that was let in.
    epoch: u64,
    /// Batches up to this one are published.
    batches: u64,
}

impl<F: PartFormat<String> + Clone> Case<F> {
    fn open(&self, root: &Path, disk: &Arc<dyn Disk>) -> BatchDirectories<F> {
        BatchDirectories::new(root.join("deep/out"), self.layout.clone(), self.format.clone()).on_disk(disk.clone())
    }

    /// Both lives, up to the first error; or, if the driver `tries_again`, up to the call that failed and then did not.
    fn live(&self, root: &Path, faulty: &FaultyDisk, tries_again: bool) -> (Promised, Result<(), SinkError>) {
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let attempt = |call: &mut dyn FnMut() -> Result<(), SinkError>| match call() {
            Err(_) if tries_again => {
                faulty.heal();
                call()
            }
            other => other,
        };
        let mut promised = Promised::default();
        let mut lives = || {
            for (epoch, batches) in [(1, 1..=2), (2, 3..=BATCHES)] {
                let mut sink = self.open(root, &disk);
                if tries_again && faulty.fired() {
                    break;
                }
                attempt(&mut || sink.fence(Epoch(epoch), LINEAGE).map(drop))?;
                promised.epoch = epoch;
                for number in batches {
                    if tries_again && faulty.fired() {
                        break;
                    }
                    attempt(&mut || sink.publish(&batch(number, epoch)))?;
                    promised.batches = number;
                }
            }
            Ok(())
        };
        let outcome = lives();
        (promised, outcome)
    }

    /// The durable steps of a story without faults, and what it makes visible.
    fn plain(&self) -> (Vec<TracedStep>, Files) {
        let place = tempfile::tempdir().unwrap();
        let simulated = SimulatedDisk::new(place.path()).unwrap();
        let disk = FaultyDisk::new(Arc::new(simulated.clone()));
        let (promised, outcome) = self.live(place.path(), &disk, false);
        outcome.unwrap();
        assert_eq!((promised.epoch, promised.batches), (2, BATCHES));
        (disk.trace(), visible(&simulated.image(Loss::Everything).unwrap()))
    }

    /// The last life, on what the crash has left.
    fn finish(&self, image: &Image, promised: Promised, plain: &Files) {
        let whole = |batch: u64| {
            let name = Path::new("deep/out").join(self.layout.visible(BatchId(batch), time(batch)));
            plain.iter().filter(move |(path, _)| path.starts_with(&name))
        };
        let left = visible(image);
        for batch in 1..=BATCHES {
            let found = whole(batch).filter(|(path, bytes)| left.get(*path) == Some(bytes)).count();
            let all = whole(batch).count();
            assert!(found == all || (found == 0 && batch > promised.batches), "batch {batch}: {found} of {all} files");
        }
        assert!(left.keys().all(|path| plain.contains_key(path)), "{:?}", left.keys());

        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        image.write_to(&root).unwrap();
        let simulated = SimulatedDisk::new(&root).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        if promised.epoch > 0 {
            let older = self.open(&root, &disk).fence(Epoch(promised.epoch - 1), LINEAGE);
            assert!(matches!(older, Err(SinkError::Fenced { .. })), "an older driver was let in: {older:?}");
        }
        let mut sink = self.open(&root, &disk);
        let held = sink.fence(Epoch(3), LINEAGE).unwrap().unwrap_or_default();
        assert!(held.0 >= promised.batches && held.0 <= BATCHES, "it holds batch {held}");
        let unfinished = disk.list(&root.join("deep/out")).unwrap();
        let unfinished: Vec<_> =
            unfinished.iter().filter(|name| self.layout.is_unfinished(name) || name.ends_with("unfinished")).collect();
        assert_eq!(unfinished, [""; 0], "the fence has left something behind");
        (1..=BATCHES).for_each(|number| sink.publish(&batch(number, 3)).unwrap());
        assert!(visible(&simulated.image(Loss::Everything).unwrap()) == *plain, "the end differs");
    }

    /// Every fault at every step, and every loss after it.
    fn survives(&self, tries_again: bool) {
        let (steps, plain) = self.plain();
        // Many faults leave the same: it is tried once.
        let mut tried: Vec<(Promised, Image)> = Vec::new();
        let mut struck = 0;
        for step in &steps {
            for fault in FAULTS.into_iter().filter(|fault| fits(*fault, step) && (!tries_again || !kills(*fault))) {
                let place = tempfile::tempdir().unwrap();
                let simulated = SimulatedDisk::new(place.path()).unwrap();
                let disk = FaultyDisk::new(Arc::new(simulated.clone()));
                disk.arm(step.number, fault);
                let (promised, outcome) = self.live(place.path(), &disk, tries_again);
                assert_eq!(outcome.is_ok(), tries_again, "{fault:?} at {step}: {outcome:?}");
                assert!(disk.fired(), "{fault:?} at {step} did not strike: {outcome:?}");
                struck += 1;
                for loss in LOSSES {
                    let left = (promised, simulated.image(loss).unwrap());
                    if tried.contains(&left) {
                        continue;
                    }
                    let finish = std::panic::AssertUnwindSafe(|| self.finish(&left.1, promised, &plain));
                    if let Err(panic) = std::panic::catch_unwind(finish) {
                        eprintln!("{fault:?} at {step}, then {loss:?}; promised: {promised:?}");
                        std::panic::resume_unwind(panic);
                    }
                    tried.push(left);
                }
            }
        }
        for kind in [Step::SinkFence, Step::SinkPublish] {
            assert!(steps.iter().filter(|step| step.step == kind).count() > 10, "{kind} has few steps");
        }
        println!("{struck} faults at {} steps leave {} images", steps.len(), tried.len());
        // After a second try all is durable: one image for each call.
        let expected = if tries_again { 5..=5 } else { 60..=500 };
        assert!(struck > 100 && expected.contains(&tried.len()), "{struck} faults leave {} images", tried.len());
    }
}

/// Only what writes bytes can tear, or find the disk full.
fn fits(fault: Fault, step: &TracedStep) -> bool {
    step.writes || !matches!(fault, Fault::Tear { .. } | Fault::TearAt { .. } | Fault::DiskFull)
}

fn kills(fault: Fault) -> bool {
    !matches!(fault, Fault::FailOnce | Fault::FailAfter | Fault::DiskFull)
}

fn time(batch: u64) -> BatchTime {
    BatchTime(batch * 500)
}

/// A batch with a part file of several sectors, an empty partition, and a small one.
fn batch(number: u64, epoch: u64) -> PublishedBatch<String> {
    let long = (0..4).map(|index| format!("{number} {index} {}", "x".repeat(400))).collect();
    PublishedBatch {
        lineage: LINEAGE,
        batch: BatchId(number),
        time: time(number),
        epoch: Epoch(epoch),
        partitions: vec![long, vec![], vec![format!("{number} last")]],
    }
}

/// The files of batches that other programs read: none under a hidden name.
fn visible(image: &Image) -> Files {
    let files = image.files().into_iter().map(|(path, bytes)| (path, bytes.to_vec()));
    files.filter(|(path, _)| !path.components().any(|name| name.as_os_str().as_encoded_bytes()[0] == b'.')).collect()
}

fn text_by_batch() -> Case<Lines> {
    Case { layout: Layout::by_batch(), format: Lines }
}

fn objects_by_time() -> Case<ObjectFormat<String>> {
    let (_, layout) = Layout::by_time(Path::new("words"), "saved").unwrap();
    Case { layout, format: ObjectFormat::new().unwrap() }
}

#[test]
fn whatever_happens_at_whichever_durable_step_a_text_file_sink_holds_what_it_promised_and_ends_alike() {
    text_by_batch().survives(false);
}

#[test]
fn whatever_happens_at_whichever_durable_step_saved_object_files_hold_what_was_promised_and_end_alike() {
    objects_by_time().survives(false);
}

#[test]
fn a_step_that_failed_and_is_tried_again_is_as_durable_as_one_that_did_not_fail() {
    text_by_batch().survives(true);
    objects_by_time().survives(true);
}
