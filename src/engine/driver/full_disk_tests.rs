//! Starts of a job whose log or disk is full.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use crate::Queue;
use crate::testing::TestJob;
use floodmark_base::disk::{Disk, Fault, FaultyDisk, LocalDisk, Point, Step};
use floodmark_store::wal::WalSettings;

const QUOTA_BYTES: u64 = 6_000;

/// A job that counts numbers, with a small log; the disk is chosen before each start.
struct Counted {
    job: TestJob<Queue<u64>>,
    disk: Rc<RefCell<Arc<dyn Disk>>>,
}

impl Counted {
    fn start(disk: &FaultyDisk, reserve_bytes: u64) -> Self {
        let disk: Rc<RefCell<Arc<dyn Disk>>> = Rc::new(RefCell::new(Arc::new(disk.clone())));
        let of_start = disk.clone();
        let log = WalSettings { segment_bytes: 500, quota_bytes: QUOTA_BYTES, reserve_bytes, ..WalSettings::default() };
        let job = TestJob::configured(
            move |builder| {
                let disk = of_start.borrow().clone();
                builder.disk(disk).log_settings(log.clone()).checkpoint_every(2).workers(1).keep_checkpoints(1)
            },
            |context| {
                let (numbers, stream) = context.queue_stream::<u64>("numbers");
                stream.map(|number| (1_u64, number)).update_state_by_key("counts", add);
                numbers
            },
        );
        Self { job: job.unwrap(), disk }
    }

    fn push(&self, count: usize) -> floodmark_base::error::Result<()> {
        Ok(self.job.handles().push(vec![1; count])?)
    }

    fn restart(&mut self, disk: &FaultyDisk) -> floodmark_base::error::Result<()> {
        *self.disk.borrow_mut() = Arc::new(disk.clone());
        self.job.crash_and_restart()
    }

    fn counted(&self) -> Option<u64> {
        self.job.running().state::<u64, u64>("counts").unwrap().get(&1).unwrap()
    }

    fn log_bytes(&self) -> u64 {
        let entries = fs::read_dir(self.job.directory().join("wal")).unwrap().map(|entry| entry.unwrap());
        let segments = entries.filter(|entry| entry.file_name() != "reserve");
        segments.map(|entry| entry.metadata().unwrap().len()).sum()
    }
}

fn add(new: &[u64], old: Option<u64>) -> Option<u64> {
    Some(old.unwrap_or(0) + new.iter().sum::<u64>())
}

fn healthy() -> FaultyDisk {
    FaultyDisk::new(Arc::new(LocalDisk))
}

/// Batches of a kilobyte and a checkpoint, which the life does not survive long enough to truncate the log.
fn died_before_the_truncation(reserve_bytes: u64) -> Counted {
    let disk = healthy();
    disk.arm_at(Point { step: Step::WalTruncate, nth: 1 }, Fault::DieBefore);
    let mut job = Counted::start(&disk, reserve_bytes);
    for _ in 0..2 {
        job.push(1_200).unwrap();
        job.push(1_200).unwrap();
        drop(job.job.run_batch()); // the second one may be the last that anybody hears of
    }
    assert!(job.job.running().await_termination().is_err() && disk.fired());
    job
}

#[test]
fn a_start_truncates_the_log_that_the_newest_manifest_no_longer_needs() {
    let mut job = died_before_the_truncation(0);
    let before = job.log_bytes();
    assert!(before > 4_000, "{before}");
    job.restart(&healthy()).unwrap();
    let after = job.log_bytes();
    assert!(after < before / 2, "of {before} bytes {after} are left");
    // The quota would not have taken this before the next checkpoint.
    job.push(3_000).unwrap();
    job.job.run_batch().unwrap();
    assert!(job.counted().unwrap() > 3_000);
}

#[test]
fn a_start_on_a_full_disk_goes_on_in_the_room_of_the_reserve() {
    for (step, nth) in [(Step::LiveBuild, 1), (Step::ManifestCreate, 1), (Step::WalRoll, 1)] {
        let mut job = Counted::start(&healthy(), 60_000);
        job.push(10).unwrap();
        job.job.run_batch().unwrap();
        let disk = healthy();
        disk.arm_at(Point { step, nth }, Fault::DiskFull);
        job.restart(&disk).unwrap_or_else(|error| panic!("full at {step}: {error}"));
        assert!(disk.fired(), "{step}");
        assert_eq!(job.counted(), Some(10), "{step}");
    }
}
