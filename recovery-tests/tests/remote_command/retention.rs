//! Checkpoints are kept by count and by age; leftovers of probes go.

use std::time::Duration;

use floodmark::{Clock, StreamingContext, SystemClock};

use crate::files::{json, start, start_with};
use crate::kit::{Life, Machine, Sent, World};

/// A checkpoint every 200 ms.
const KEPT: Duration = Duration::from_millis(1_000);

fn jump(life: &Life, world: &World, ms: u64, sent: &mut Sent) {
    world.clock.advance_to(world.clock.epoch_ms() + ms);
    life.run_batches("after the jump", 2, sent).unwrap();
}

#[test]
fn checkpoints_of_the_last_second_stay_and_beyond_it_as_many_as_the_count_says_in_a_directory() {
    let (world, mut sent, place) = (World::default(), Sent::default(), floodmark_chaos::scratch::directory().unwrap());
    let builder = StreamingContext::builder("counts")
        .checkpoint(place.path().join("job"))
        .batch_interval(Duration::from_millis(100))
        .checkpoint_every(2)
        .keep_checkpoints_for(KEPT)
        .workers(1)
        .job_version("1")
        .clock(world.clock.clone());
    let life = world.run(builder).unwrap();
    let kept = || std::fs::read_dir(place.path().join("job/checkpoints")).unwrap().count();
    life.run_batches("word", 30, &mut sent).unwrap();
    assert_eq!(kept(), 6, "of the last second, both ends included");
    jump(&life, &world, 60_000, &mut sent);
    assert_eq!(kept(), 2, "the count is all that is left to say");
    world.check(&life, &sent).unwrap();
}

#[test]
fn checkpoints_of_the_last_second_stay_in_a_bucket() {
    let (world, mut sent) = (World::default(), Sent::default());
    let life = start_with(&world, |builder| builder.keep_checkpoints_for(KEPT)).unwrap();
    life.run_batches("word", 30, &mut sent).unwrap();
    let retained = || json(&world.store, "status URL").0["checkpoint"]["retained"].clone();
    assert_eq!(retained(), 6);
    let (report, code) = json(&world.store, "verify URL --full");
    assert_eq!(code, 0, "{report}");
    jump(&life, &world, 60_000, &mut sent);
    assert_eq!(retained(), 2);
    drop(life);
    let life = start(&world).unwrap();
    life.tick().unwrap();
    world.check(&life, &sent).unwrap();
}

#[test]
fn what_a_probe_has_left_an_hour_ago_is_deleted_by_the_next_one_and_a_younger_object_stays() {
    let bucket = floodmark_chaos::scratch::directory().unwrap();
    let probes = bucket.path().join("probe");
    std::fs::create_dir(&probes).unwrap();
    let (old, young) = (probes.join("00000000000000aa"), probes.join("00000000000000bb"));
    for file in [&old, &young] {
        std::fs::write(file, "the first").unwrap();
    }
    let time = std::time::UNIX_EPOCH + Duration::from_millis(SystemClock::default().epoch_ms() - 2 * 3_600_000);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(time).unwrap();
    let world = World::default();
    let machine = Machine::new();
    let location = format!("file://{}", bucket.path().display());
    drop(world.run(world.builder(&machine).checkpoint(location)).unwrap());
    assert!(!old.exists() && young.exists());
    assert_eq!(std::fs::read_dir(&probes).unwrap().count(), 1, "its own is gone");
}
