//! A whole bucket that format version 1 wrote: it opens on an empty machine, goes on as if nothing had changed, and is of version 2 from
//! then on, however often the upgrade is interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk};

use crate::kit::{Machine, Sent, World};

/// Batches of the first and of the second life of the fixture's job.
const LIVES: [(&str, u64); 2] = [("first", 5), ("second", 2)];
/// Acknowledged when the second life died, and in no batch yet.
const WAITS: &str = "waits";

/// The objects of a job with its log in the bucket, which died with checkpoints of batches 4 and 6, a batch to recompute, and a block
/// that waits.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/remote_job/version-1")
}

fn bucket_of_version_1() -> (World, Sent) {
    let (world, mut sent) = (World::default(), Sent::default());
    let mut directories = vec![fixture()];
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(fixture()).unwrap().to_str().unwrap().to_string();
                world.put(&name, fs::read(path).unwrap());
            }
        }
    }
    let words = LIVES.iter().flat_map(|(name, batches)| (0..*batches).map(move |batch| format!("{name} {batch}")));
    sent.acknowledged = words.chain([WAITS.to_string()]).collect();
    (world, sent)
}

/// The format versions of the envelopes of manifests, oldest first.
fn versions(world: &World) -> Vec<u32> {
    let objects = world.store.objects();
    let manifests = objects.iter().filter(|(name, _)| name.contains("/manifests/"));
    manifests.map(|(_, bytes)| u32::from_le_bytes(bytes[8..12].try_into().unwrap())).collect()
}

/// Every word once; batches before those of this process are published elsewhere.
fn check(counts: impl IntoIterator<Item = (String, u64)>, sent: &Sent) {
    let counts: Vec<(String, u64)> = counts.into_iter().collect();
    assert!(counts.iter().all(|(word, count)| *count == 1 && !word.is_empty()), "{counts:?}");
    let words = counts.into_iter().map(|(word, _)| word).collect();
    let unknown: Vec<&String> = sent.acknowledged.symmetric_difference(&words).collect();
    assert!(unknown.iter().all(|word| sent.unclear.contains(*word)), "lost or never sent: {unknown:?}");
}

#[test]
fn a_bucket_of_version_1_goes_on_and_its_envelopes_are_of_version_2_from_then_on() {
    let (world, mut sent) = bucket_of_version_1();
    let old = world.store.objects();
    assert!(!versions(&world).is_empty() && versions(&world).iter().all(|version| *version == 1));
    // What version 1 has pinned is an envelope of version 1: the one that published the checkpoint.
    let file = old.keys().find(|name| name.contains("/files/")).unwrap();
    let directory = file.split('/').rev().nth(1).unwrap().to_string();
    let names_it = |bytes: &[u8]| bytes.windows(directory.len()).any(|part| part == directory.as_bytes());
    let (_, envelope) = old.iter().find(|(name, bytes)| name.contains("/manifests/") && names_it(bytes)).unwrap();
    world.put(&format!("jobs/counts/pins/{directory}"), envelope.to_vec());

    let job = world.start(&Machine::new()).unwrap();
    let report = job.running.recovery().to_string();
    assert!(report.contains("checkpoint of batch 6") && report.contains("1 batch replayed"), "{report}");
    let new = versions(&world);
    assert_eq!(new.iter().filter(|version| **version == 2).count(), 1, "the claim: {new:?}");
    let objects = world.store.objects();
    assert!(old.iter().all(|(name, bytes)| objects.get(name) == Some(bytes)), "nothing that was there is rewritten");
    job.tick().unwrap();
    check(job.counts(), &sent);
    job.run_batches("third", 6, &mut sent).unwrap();
    drop(job);

    assert!(world.store.objects().contains_key(file), "its checkpoint is pinned");
    // The first manifest of each epoch stays for ever, as what it is; all that a start still reads are of version 2.
    let machine = Machine::new();
    let job = world.start(&machine).unwrap();
    let read = fs::read_dir(machine.path().join("copy/manifests")).unwrap();
    let read: Vec<u8> = read.map(|entry| fs::read(entry.unwrap().path()).unwrap()[8]).collect();
    assert!(read.len() > 2 && read.iter().all(|version| *version == 2), "{read:?}");
    job.tick().unwrap();
    check(job.counts(), &sent);
}

#[test]
fn an_upgrade_of_a_bucket_that_is_interrupted_at_any_durable_step_is_finished_on_another_machine() {
    for fault in [Fault::DieBefore, Fault::DieAfter, Fault::FailOnce] {
        for step in 1.. {
            let (world, mut sent) = bucket_of_version_1();
            let door = FaultyDisk::new(Arc::new(LocalDisk));
            door.arm(step, fault);
            if let Ok(job) = world.start(&Machine::behind(door.clone())) {
                drop(job.run_batches("third", 4, &mut sent));
            }
            let tell = || format!("{fault:?} at {step}: {:?}", door.trace());
            let job = world.start(&Machine::new()).unwrap_or_else(|error| panic!("{error}\n{}", tell()));
            job.run_batches("fourth", 3, &mut sent).unwrap_or_else(|error| panic!("{error}\n{}", tell()));
            check(job.counts(), &sent);
            if !door.fired() {
                break;
            }
        }
    }
}

#[test]
#[ignore = "writes the fixture, with a build of version 1 only"]
fn write_the_fixture() {
    let (world, mut sent) = (World::default(), Sent::default());
    for (name, batches) in LIVES {
        let job = world.start(&Machine::new()).unwrap();
        job.run_batches(name, batches, &mut sent).unwrap();
        if name == "second" {
            job.send(WAITS, &mut sent).unwrap();
        }
    }
    for (name, bytes) in world.store.objects() {
        let path = fixture().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
