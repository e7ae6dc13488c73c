//! Verbs that write into a bucket: what they do to a job, and a death at every step that counts.

use std::sync::Arc;

use floodmark::ErrorKind;
use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Step, TracedStep};
use floodmark_chaos::store::SimulatedStore;

use crate::files::{PREFIX, json, ok, on, start, store_of, stored, through, words};
use crate::kit::{Sent, World};

/// A job with outputs that are empty: what a rollback publishes again comes to them for the first time.
fn world_on(store: SimulatedStore) -> World {
    World { store, ..World::default() }
}

/// Every word that was sent is counted once, by a life on an empty machine.
fn has_all(world: &World, sent: &Sent, what: &str) {
    let life = start(world).unwrap_or_else(|error| panic!("{what}: {error}"));
    life.tick().unwrap_or_else(|error| panic!("{what}: {error}"));
    let counts = life.counts();
    let wrong = sent.acknowledged.iter().find(|word| counts.get(*word) != Some(&1));
    assert_eq!(wrong, None, "{what}");
    assert_eq!(counts.len(), sent.acknowledged.len(), "{what}");
}

fn applied(verb: &str, backup: &std::path::Path) -> Vec<String> {
    let backed_up = if verb.starts_with("pin") || verb.starts_with("import") {
        String::new()
    } else {
        format!(" --backup {}", backup.display())
    };
    words(&format!("{verb} --apply --confirm counts{backed_up}"))
}

#[test]
fn a_rollback_of_a_job_in_a_bucket_fences_the_driver_and_pins_what_it_leaves() {
    let (world, mut sent) = (World::default(), Sent::default());
    let life = start(&world).unwrap();
    life.run_batches("first", 5, &mut sent).unwrap();
    let before = world.store.objects();
    let dry = on(&world.store, "rollback URL --to 2");
    assert!(ok(&dry).contains("would go back to batch 2"), "{dry:?}");
    assert!(dry.stderr.contains("epoch 1 is held by process"), "{dry:?}");
    assert_eq!(world.store.objects(), before);
    let backup = floodmark_chaos::scratch::directory().unwrap();
    let outcome =
        through(&world.store, FaultyDisk::new(Arc::new(LocalDisk)), &applied("rollback URL --to 2", backup.path()));
    assert!(ok(&outcome).contains("is back at batch 2"), "{outcome:?}");
    // The driver that was at work ends at its next put, and nothing that it then takes in is acknowledged.
    life.send("too late", &mut sent).expect_err("it is fenced");
    let error = life.running.await_termination().expect_err("it ends");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(error.to_string().contains("epoch 2"), "{error}");
    assert!(world.store.objects().keys().any(|name| name.starts_with(&format!("{PREFIX}pins/4-1-"))));
    let (log, _) = json(&world.store, "log URL");
    let stages: Vec<&str> =
        log["operations"].as_array().unwrap().iter().filter_map(|entry| entry["stage"].as_str()).collect();
    assert_eq!(stages, ["begins", "done"], "{log}");
    sent.unclear.clear();
    has_all(&world_on(world.store.clone()), &sent, "after the rollback");
}

#[test]
fn a_rollback_goes_to_a_pin_too() {
    let (world, mut sent) = (World::default(), Sent::default());
    let life = start(&world).unwrap();
    life.run_batches("first", 5, &mut sent).unwrap();
    drop(life);
    let backup = floodmark_chaos::scratch::directory().unwrap();
    let door = || FaultyDisk::new(Arc::new(LocalDisk));
    ok(&through(&world.store, door(), &applied("rollback URL --to 2", backup.path()))); // pins 4
    has_all(&world_on(world.store.clone()), &sent, "back at 2");
    ok(&through(&world.store, door(), &applied("rollback URL --to 4", backup.path())));
    has_all(&world_on(world.store.clone()), &sent, "back at 4");
}

#[test]
fn repair_is_refused_with_the_reason_and_the_way_that_works() {
    let (world, _) = stored(2);
    let outcome = on(&world.store, "repair URL");
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("objects never change") && outcome.stderr.contains("next: floodmark verify"));
}

#[test]
fn an_export_becomes_a_job_in_another_bucket() {
    let (world, mut sent) = stored(3);
    let life = start(&world).unwrap();
    life.running.stop(true).unwrap();
    let export = on(&world.store, "export URL");
    let place = floodmark_chaos::scratch::directory().unwrap();
    let file = place.path().join("state.jsonl");
    std::fs::write(&file, ok(&export)).unwrap();
    let other = world_on(SimulatedStore::new());
    let line = format!("import URL {}", file.display());
    ok(&on(&other.store, &line));
    assert!(other.store.objects().is_empty(), "a dry run has written");
    ok(&through(&other.store, FaultyDisk::new(Arc::new(LocalDisk)), &applied(&line, place.path())));
    let (report, code) = json(&other.store, "verify URL --full");
    assert_eq!(code, 0, "{report}");
    assert!(ok(&on(&other.store, &line)).contains("all but done"), "once more");
    let life = start(&other).unwrap();
    life.run_batches("elsewhere", 3, &mut sent).unwrap();
    let counts = life.counts();
    assert!(sent.acknowledged.iter().all(|word| counts.get(word) == Some(&1)), "{counts:?}");
    drop(life);
    assert_eq!(on(&other.store, &line).code, 2, "now it is another job's place");
}

/// What reaches the bucket, and the backup folder.
fn counts(step: &TracedStep) -> bool {
    matches!(step.step, Step::StorePut | Step::StoreDelete | Step::StoreList | Step::Operation | Step::ManifestCreate)
}

/// Behind a step of the bucket is before the next step, but where it has changed something.
fn deaths(step: &TracedStep) -> impl Iterator<Item = Fault> {
    let changes = matches!(step.step, Step::StorePut | Step::StoreDelete);
    [Fault::DieBefore].into_iter().chain(changes.then_some(Fault::DieAfter))
}

#[test]
fn a_verb_that_dies_at_any_step_of_the_bucket_can_be_run_again() {
    let (world, sent) = stored(5);
    let litter = format!("{PREFIX}files/9-1-00000000000000aa/000001.sst");
    let mut objects = world.store.objects();
    objects.insert(litter, "left".into());
    let place = floodmark_chaos::scratch::directory().unwrap();
    let pinned = store_of(&objects);
    ok(&on(&pinned, "pin URL 6 --apply --confirm counts"));
    let cases = [
        ("rollback URL --to 6", objects.clone()),
        ("pin URL 6", objects.clone()),
        ("gc URL", objects.clone()),
        ("unpin URL 6", pinned.objects()),
    ];
    for (verb, objects) in cases {
        let line = applied(verb, place.path());
        let door = FaultyDisk::new(Arc::new(LocalDisk));
        ok(&through(&store_of(&objects), door.clone(), &line));
        let steps: Vec<TracedStep> = door.trace().into_iter().filter(counts).collect();
        println!("{verb}: {} steps", steps.len());
        assert!(steps.len() >= 8, "{verb}: {}", steps.len());
        for step in &steps {
            for fault in deaths(step) {
                let what = format!("{verb}: {fault:?} at {step}");
                let world = world_on(store_of(&objects));
                let door = FaultyDisk::new(Arc::new(LocalDisk));
                door.arm(step.number, fault);
                let died = through(&world.store, door.clone(), &line);
                assert!(door.fired(), "{what}: {died:?}");
                let again = through(&world.store, FaultyDisk::new(Arc::new(LocalDisk)), &line);
                let was_done = verb.starts_with("unpin") && again.code == 2; // the pin is gone
                assert!(again.code == 0 || was_done, "{what}: {again:?}");
                let (report, code) = json(&world.store, "verify URL --full");
                assert_eq!(code, 0, "{what}: {report}");
                has_all(&world, &sent, &what);
            }
        }
    }
}

#[test]
fn an_import_that_dies_at_any_step_of_the_bucket_can_be_run_again() {
    let (world, sent) = stored(3);
    start(&world).unwrap().running.stop(true).unwrap();
    let place = floodmark_chaos::scratch::directory().unwrap();
    let file = place.path().join("state.jsonl");
    std::fs::write(&file, ok(&on(&world.store, "export URL"))).unwrap();
    let line = applied(&format!("import URL {}", file.display()), place.path());
    let door = FaultyDisk::new(Arc::new(LocalDisk));
    ok(&through(&SimulatedStore::new(), door.clone(), &line));
    let steps: Vec<TracedStep> = door.trace().into_iter().filter(counts).collect();
    assert!(steps.len() >= 8, "{}", steps.len());
    for step in &steps {
        for fault in deaths(step) {
            let what = format!("import: {fault:?} at {step}");
            let world = world_on(SimulatedStore::new());
            let door = FaultyDisk::new(Arc::new(LocalDisk));
            door.arm(step.number, fault);
            let died = through(&world.store, door.clone(), &line);
            assert!(door.fired(), "{what}: {died:?}");
            let again = through(&world.store, FaultyDisk::new(Arc::new(LocalDisk)), &line);
            assert_eq!(again.code, 0, "{what}: {again:?}");
            has_all(&world, &sent, &what);
        }
    }
}
