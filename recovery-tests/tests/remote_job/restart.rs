//! Another machine, another directory, another number of workers.

use floodmark::testing::disk::Step;
use floodmark::{ErrorKind, StreamingContext};

use crate::kit::{BATCHES, Machine, Sent, World};

#[test]
fn a_job_goes_on_on_an_empty_machine_with_all_that_was_acknowledged() {
    let (world, mut sent) = (World::default(), Sent::default());
    for life in 0..4_u32 {
        let machine = Machine::new();
        let job = world.start_with(&machine, |builder| builder.workers(1 + life % 3)).unwrap();
        job.tick().unwrap();
        world.check(&job, &sent).unwrap_or_else(|wrong| panic!("life {life}: {wrong}"));
        job.run_batches(&format!("life {life}"), BATCHES, &mut sent).unwrap();
        // Acknowledged, and in no plan yet.
        job.send(&format!("life {life} at last"), &mut sent).unwrap();
        if life == 2 {
            job.running.stop(true).unwrap();
        }
        drop(job);
    }
    let machine = Machine::new();
    let job = world.start(&machine).unwrap();
    job.tick().unwrap();
    assert_eq!(sent.acknowledged.len() as u64, 4 * (BATCHES + 1));
    world.check(&job, &sent).unwrap();
}

#[test]
fn a_job_goes_on_in_its_working_copy_and_in_one_that_another_machine_has_left_behind() {
    let (world, mut sent) = (World::default(), Sent::default());
    let (mut one, mut other) = (Machine::new(), Machine::new());
    for life in 0..6 {
        let machine = if life % 3 == 2 { &other } else { &one };
        let job = world.start(machine).unwrap();
        world.check(&job, &sent).unwrap_or_else(|wrong| panic!("life {life}: {wrong}"));
        job.run_batches(&format!("life {life}"), 3, &mut sent).unwrap();
        drop(job);
        (one, other) = (one.restarted(), other.restarted());
    }
    let stale = |machine: &Machine| {
        let names = std::fs::read_dir(machine.path().join("copy")).unwrap();
        names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().starts_with("stale-")).count()
    };
    assert_eq!(stale(&one), 0, "a working copy that was left behind is of the same history");
}

#[test]
fn a_file_of_the_working_copy_that_is_not_what_it_was_is_fetched_again() {
    let (world, mut sent) = (World::default(), Sent::default());
    let machine = Machine::new();
    world.start(&machine).unwrap().run_batches("before", 4, &mut sent).unwrap();
    let machine = machine.restarted();
    let checkpoints = machine.path().join("copy/checkpoints");
    let mut flipped = 0;
    for directory in std::fs::read_dir(checkpoints).unwrap() {
        for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(byte) = bytes.get_mut(10) {
                *byte ^= 1;
                std::fs::write(&path, bytes).unwrap();
                flipped += 1;
            }
        }
    }
    assert!(flipped >= 3, "{flipped} files");
    let job = world.start(&machine).unwrap();
    world.check(&job, &sent).unwrap();
    assert!(!job.running.recovery().to_string().contains("damage"), "{}", job.running.recovery());
}

#[test]
fn a_working_copy_of_another_history_is_moved_aside_and_one_beside_an_empty_bucket_is_refused() {
    let (world, mut sent) = (World::default(), Sent::default());
    let (another, mut not_sent) = (World::default(), Sent::default());
    let machine = Machine::new();
    another.start(&machine).unwrap().run_batches("another", 4, &mut not_sent).unwrap();
    let machine = machine.restarted();
    let refused = world.start(&machine).err().expect("an empty bucket beside a copy with a history");
    assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");
    assert!(refused.to_string().contains("is it another location?"), "{refused}");

    world.start(&Machine::new()).unwrap().run_batches("ours", 3, &mut sent).unwrap();
    let machine = machine.restarted();
    let job = world.start(&machine).unwrap();
    world.check(&job, &sent).unwrap();
    let copy = std::fs::read_dir(machine.path().join("copy")).unwrap();
    let aside = copy.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains("/stale-"));
    assert!(aside.expect("it is kept").join("wal").is_dir());
}

#[test]
fn settings_of_object_storage_beside_a_directory_are_refused() {
    let place = floodmark_chaos::scratch::directory().unwrap();
    let builder = StreamingContext::builder("job").checkpoint(place.path().join("state")).log_in_object_storage(true);
    let refused = builder.build().expect_err("refused");
    assert!(refused.to_string().contains("is a directory"), "{refused}");
}

#[test]
fn an_object_of_the_log_that_is_missing_or_damaged_is_named_and_nothing_starts() {
    let (world, mut sent) = (World::default(), Sent::default());
    let machine = Machine::new();
    world.start(&machine).unwrap().run_batches("word", 5, &mut sent).unwrap();
    let objects = world.store.objects();
    let newest = objects.keys().rev().find(|name| name.contains("/log/")).unwrap().clone();
    let damaged = World::default();
    for (copied, bytes) in &objects {
        let mut bytes = bytes.to_vec();
        if *copied == newest {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        }
        damaged.put(copied, bytes);
    }
    let refused = damaged.start(&Machine::new()).err().expect("it is damaged");
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    let short = newest.strip_prefix("jobs/counts/").unwrap();
    assert!(refused.to_string().contains(short) && refused.to_string().contains("crc32"), "{refused}");
    // In the middle of what a start reads of the log.
    let log: Vec<&String> = objects.keys().filter(|name| name.contains("/log/")).collect();
    let missing = log[log.len() - 2].clone();
    let lacking = World::default();
    for (copied, bytes) in objects.iter().filter(|(name, _)| **name != missing) {
        lacking.put(copied, bytes.to_vec());
    }
    let refused = lacking.start(&Machine::new()).err().expect("an object of the log is missing");
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
}

#[test]
fn what_no_retained_checkpoint_needs_is_deleted_from_the_bucket() {
    let (world, mut sent) = (World::default(), Sent::default());
    let machine = Machine::new();
    let job = world.start(&machine).unwrap();
    let count = |below: &str| world.store.objects().keys().filter(|name| name.contains(below)).count();
    job.run_batches("first", 8, &mut sent).unwrap();
    let (manifests, files, log) = (count("/manifests/"), count("/files/"), count("/log/"));
    job.run_batches("second", 24, &mut sent).unwrap();
    assert!(count("/manifests/") <= manifests + 2, "{} manifests, once {manifests}", count("/manifests/"));
    assert!(count("/files/") <= files + 8, "{} files, once {files}", count("/files/"));
    assert!(count("/log/") <= log + 8, "{} objects of the log, once {log}", count("/log/"));
    let deleted = machine.door.trace().iter().filter(|step| step.step == Step::StoreDelete).count();
    assert!(deleted > 20, "{deleted}");
    drop(job);
    let job = world.start(&Machine::new()).unwrap();
    world.check(&job, &sent).unwrap();
}
