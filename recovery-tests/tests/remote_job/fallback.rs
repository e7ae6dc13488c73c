//! What is damaged in the bucket costs a longer replay, not the job.

use floodmark::ErrorKind;

use crate::kit::{Machine, Sent, World};

/// A job that has ended: checkpoints of batches 4 and 6, and batch 7.
fn ended() -> (World, Sent) {
    let (world, mut sent) = (World::default(), Sent::default());
    world.start(&Machine::new()).unwrap().run_batches("word", 7, &mut sent).unwrap();
    (world, sent)
}

fn names(world: &World, below: &str) -> Vec<String> {
    world.store.objects().into_keys().filter(|name| name.contains(below)).collect()
}

fn flip(world: &World, name: &str) {
    let mut bytes = world.store.objects()[name].to_vec();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    world.put(name, bytes);
}

/// The start names the object and goes back; it, and the starts after it on other machines, have everything.
fn goes_back(world: &World, mut sent: Sent, object: &str, machine: &Machine) {
    let job = world.start(machine).unwrap_or_else(|error| panic!("{object}: {error}"));
    let report = job.running.recovery().to_string();
    assert!(report.contains("checkpoint of batch 4, 3 batches") && report.contains("rejected"), "{object}: {report}");
    assert!(report.contains(object.strip_prefix("jobs/counts/").unwrap()), "{object}: {report}");
    world.check(&job, &sent).unwrap_or_else(|wrong| panic!("{object}: {wrong}"));
    job.run_batches("behind", 1, &mut sent).unwrap();
    drop(job);
    // What was rejected stays rejected, and nothing stands in the way of new checkpoints.
    let job = world.start(&Machine::new()).unwrap_or_else(|error| panic!("{object}: {error}"));
    world.check(&job, &sent).unwrap_or_else(|wrong| panic!("{object}: {wrong}"));
    job.run_batches("later", 8, &mut sent).unwrap();
    assert!(job.running.status().checkpoint.0 >= 14, "{object}");
    drop(job);
    let job = world.start(&Machine::new()).unwrap_or_else(|error| panic!("{object}: {error}"));
    world.check(&job, &sent).unwrap_or_else(|wrong| panic!("{object}: {wrong}"));
}

#[test]
fn behind_a_damaged_manifest_a_start_goes_back_to_the_checkpoint_before_it() {
    let (world, sent) = ended();
    let newest = names(&world, "/manifests/").pop().unwrap();
    flip(&world, &newest);
    goes_back(&world, sent, &newest, &Machine::new());
}

#[test]
fn behind_a_table_file_that_is_missing_or_damaged_a_start_goes_back_to_the_checkpoint_before_it() {
    for is_missing in [false, true] {
        let (world, sent) = ended();
        let files = names(&world, "/files/");
        let newest = files.iter().find(|name| name.contains("/files/6-")).unwrap_or_else(|| panic!("{files:?}"));
        if is_missing {
            world.delete(newest)
        } else {
            flip(&world, newest)
        }
        goes_back(&world, sent, newest, &Machine::new());
    }
}

#[test]
fn a_start_in_its_own_working_copy_does_as_one_elsewhere_behind_a_damaged_manifest() {
    let (world, mut sent) = (World::default(), Sent::default());
    let machine = Machine::new();
    world.start(&machine).unwrap().run_batches("word", 7, &mut sent).unwrap();
    let newest = names(&world, "/manifests/").pop().unwrap();
    flip(&world, &newest);
    goes_back(&world, sent, &newest, &machine.restarted());
}

#[test]
fn when_nothing_usable_is_left_every_reason_is_named() {
    let (world, _) = ended();
    for manifest in names(&world, "/manifests/") {
        flip(&world, &manifest);
    }
    let refused = world.start(&Machine::new()).err().expect("refused");
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    assert!(refused.to_string().contains("manifests/") && refused.to_string().contains("crc32"), "{refused}");

    let (world, _) = ended();
    for file in names(&world, "/files/") {
        world.delete(&file);
    }
    let refused = world.start(&Machine::new()).err().expect("refused");
    let words = refused.to_string();
    assert!(words.contains("no usable checkpoint is left") && words.contains("files/2-"), "{words}");
}

#[test]
fn an_object_of_another_format_version_is_refused_and_nothing_is_rejected() {
    let (world, _) = ended();
    let newest = names(&world, "/manifests/").pop().unwrap();
    let mut bytes = world.store.objects()[&newest].to_vec();
    bytes[8] = 3;
    let crc = crc32fast::hash(&[&bytes[8..16], &bytes[20..]].concat());
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    world.put(&newest, bytes);
    let before = world.store.objects();
    let refused = world.start(&Machine::new()).err().expect("refused");
    assert_eq!(refused.kind(), ErrorKind::Incompatible, "{refused}");
    assert!(refused.to_string().contains("found version 3"), "{refused}");
    assert_eq!(world.store.objects(), before);
}
