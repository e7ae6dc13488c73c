//! Pins in a bucket: honoured by whoever collects.

use crate::files::{json, ok, on, start, stored};
use crate::kit::{Sent, World};

/// The objects below `files/`.
fn files(world: &World) -> Vec<String> {
    let objects = world.store.objects();
    objects.into_keys().filter(|name| name.contains("/files/")).collect()
}

#[test]
fn a_pin_is_honoured_by_the_job_at_work_and_by_the_lives_after_it() {
    let (world, mut sent) = (World::default(), Sent::default());
    let life = start(&world).unwrap();
    life.run_batches("first", 4, &mut sent).unwrap();
    let dry = on(&world.store, "pin URL 2");
    assert!(ok(&dry).contains("would be pinned") && ok(&dry).contains("--apply --confirm counts"), "{dry:?}");
    assert!(!world.store.objects().keys().any(|name| name.contains("/pins/")));
    ok(&on(&world.store, "pin URL 2 --apply --confirm counts"));
    ok(&on(&world.store, "pin URL 2 --apply --confirm counts")); // again
    life.run_batches("beside", 20, &mut sent).unwrap();
    let asks = |when: &str| {
        let outcome = on(&world.store, "scan URL counts --as-of 2");
        assert_eq!(ok(&outcome).lines().count(), 2, "{when}: {outcome:?}");
        assert!(outcome.stderr.contains("as of batch 2 of"), "{when}: {outcome:?}");
        let (report, code) = json(&world.store, "verify URL --full");
        assert_eq!(code, 0, "{when}: {report}");
    };
    asks("the job at work");
    drop(life);
    for round in 0..2 {
        let life = start(&world).unwrap();
        life.run_batches(&format!("later {round}"), 6, &mut sent).unwrap();
        world.check(&life, &sent).unwrap();
    }
    asks("later lives");
    let (du, _) = json(&world.store, "du URL");
    assert!(du["kinds"].as_array().unwrap().iter().any(|row| row["kind"] == "pinned"), "{du}");

    let of_pin = || files(&world).into_iter().filter(|name| name.contains("/2-1-")).count();
    assert!(of_pin() > 0);
    let backup = floodmark_chaos::scratch::directory().unwrap();
    let line = format!("unpin URL 2 --apply --confirm counts --backup {}", backup.path().display());
    ok(&on(&world.store, &line));
    assert!(!world.store.objects().keys().any(|name| name.contains("/pins/")));
    let life = start(&world).unwrap();
    life.run_batches("at last", 4, &mut sent).unwrap();
    world.check(&life, &sent).unwrap();
    assert_eq!(of_pin(), 0, "{:?}", files(&world));
    assert_eq!(on(&world.store, "scan URL counts --as-of 2").code, 2);
}

#[test]
fn a_checkpoint_that_is_collected_while_it_is_pinned_is_not_said_to_be_pinned() {
    use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Step, TracedStep, Watcher};
    use std::sync::{Arc, Mutex};

    /// Lets the job go on at the moment in which the pin is about to be created.
    struct GoOn(Mutex<Option<Box<dyn FnOnce() + Send>>>);
    impl Watcher for GoOn {
        fn struck(&self, _: &TracedStep) {
            if let Some(go_on) = self.0.lock().unwrap().take() {
                go_on();
            }
        }
    }
    let (world, mut sent) = (World::default(), Sent::default());
    let life = start(&world).unwrap();
    life.run_batches("first", 4, &mut sent).unwrap();
    // The probe puts first; the line of the record comes next, then the pin.
    let puts = {
        let door = FaultyDisk::new(Arc::new(LocalDisk));
        let copy = crate::files::store_of(&world.store.objects());
        ok(&crate::files::through(&copy, door.clone(), &crate::files::words("pin URL 2 --apply --confirm counts")));
        let trace = door.trace();
        let puts = trace.iter().filter(|step| step.step == Step::StorePut);
        puts.enumerate().find(|(_, step)| step.what.contains("/pins/")).unwrap().0 as u64 + 1
    };
    let beside = move || {
        let mut sent = Sent::default();
        life.run_batches("beside", 8, &mut sent).unwrap();
        drop(life);
    };
    let door = FaultyDisk::watched(Arc::new(LocalDisk), Arc::new(GoOn(Mutex::new(Some(Box::new(beside))))));
    door.arm_at(floodmark::testing::disk::Point { step: Step::StorePut, nth: puts }, Fault::Hold);
    let outcome = crate::files::through(&world.store, door, &crate::files::words("pin URL 2 --apply --confirm counts"));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("collected meanwhile"), "{outcome:?}");
    assert!(!world.store.objects().keys().any(|name| name.contains("/pins/")));
    let (report, code) = json(&world.store, "verify URL --full");
    assert_eq!(code, 0, "{report}");
}

#[test]
fn gc_moves_what_older_lives_have_left_and_nothing_that_a_driver_may_need() {
    let (world, mut sent) = stored(4);
    let put = |name: &str| {
        use object_store::ObjectStoreExt;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let path = object_store::path::Path::from(format!("{}{name}", crate::files::PREFIX));
        runtime.block_on(world.store.put(&path, "left".into())).unwrap();
    };
    let (old, own) = ("files/9-1-00000000000000aa/000001.sst", "files/9-2-00000000000000bb/000001.sst");
    put(old);
    put(own);
    let before = world.store.objects();
    let (dry, _) = json(&world.store, "gc URL");
    assert_eq!(dry["garbage"][0]["path"], old, "{dry}");
    assert_eq!(world.store.objects(), before);
    let backup = floodmark_chaos::scratch::directory().unwrap();
    let line = format!("gc URL --apply --confirm counts --backup {}", backup.path().display());
    assert!(ok(&on(&world.store, &line)).contains("1 things"));
    let after = world.store.objects();
    let gone: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    assert!(gone.len() == 1 && gone[0].ends_with(old), "{gone:?}");
    let kept = std::fs::read_dir(backup.path()).unwrap().next().unwrap().unwrap().path().join(old);
    assert_eq!(std::fs::read(kept).unwrap(), b"left");
    let life = start(&world).unwrap();
    life.run_batches("after", 4, &mut sent).unwrap();
    world.check(&life, &sent).unwrap();
    assert!(!world.store.objects().keys().any(|name| name.ends_with(own)), "the next life deletes it");
}
