//! A job with a bug planted in it, or in front of its disk, is right as long as nothing happens to it: so a test that finds the
//! bug has found it by the fault.

mod common;

use std::sync::Arc;

use common::{BATCHES, Life, Plain, World};
use floodmark::StreamingContextBuilder;
use floodmark::testing::PlantedBug;
use floodmark::testing::disk::LocalDisk;
use floodmark_chaos::planted::{BuggyDisk, DoorBug};

fn plain() -> Plain {
    let (world, place) = (World::default(), tempfile::tempdir().unwrap());
    let life = world.start(place.path(), Arc::new(LocalDisk)).unwrap();
    life.run_to(BATCHES).unwrap();
    Plain { totals: life.totals().unwrap(), published: world.published(), timed: world.timed() }
}

/// A life to the end and a graceful stop, and, unless the bug needs no more than that to show, another start.
fn runs_right(
    plain: &Plain,
    plant: impl Fn(StreamingContextBuilder) -> StreamingContextBuilder,
    starts_again: bool,
) -> Result<(), String> {
    let (world, place) = (World::default(), tempfile::tempdir().unwrap());
    let failed = |error: floodmark::Error| error.to_string();
    for life in 0..=u32::from(starts_again) {
        let during = |what: String| format!("life {}: {what}", life + 1);
        let life = world.start_with(place.path(), &plant).map_err(failed).map_err(during)?;
        life.run_to(BATCHES).map_err(failed).map_err(during)?;
        plain.check(&world, &life).map_err(during)?;
        life.running.stop(true).map_err(failed).map_err(during)?;
    }
    Ok(())
}

/// These claim something wrong of every checkpoint, or cut what every start reads: no crash is needed.
fn shows_at_any_start(bug: PlantedBug) -> bool {
    matches!(bug, PlantedBug::CoversNextBatch | PlantedBug::HoldsNextBatch | PlantedBug::TruncateTooMuch)
}

#[test]
fn a_job_with_a_planted_bug_is_right_as_long_as_nothing_happens() {
    let plain = plain();
    for bug in PlantedBug::ALL {
        println!("{bug:?}");
        let outcome = runs_right(&plain, |builder| builder.plant(bug), !shows_at_any_start(bug));
        assert_eq!(outcome, Ok(()), "{bug:?}, which breaks {}", bug.breaks());
    }
}

#[test]
fn a_bug_that_shows_at_any_start_shows_at_one() {
    let plain = plain();
    for bug in PlantedBug::ALL.into_iter().filter(|bug| shows_at_any_start(*bug)) {
        let (world, place) = (World::default(), tempfile::tempdir().unwrap());
        let start = || world.start_with(place.path(), |builder| builder.plant(bug));
        start().unwrap().run_to(7).unwrap(); // the checkpoint is of batch 6
        let goes_on = |life: Life| life.run_to(BATCHES).map(|()| plain.check(&world, &life));
        let outcome = start().and_then(goes_on);
        assert!(!matches!(outcome, Ok(Ok(()))), "{bug:?} does not show");
    }
}

#[test]
fn a_job_behind_a_door_with_a_bug_is_right_as_long_as_nothing_happens() {
    let plain = plain();
    for bug in DoorBug::ALL {
        let disk = || Arc::new(BuggyDisk::new(Arc::new(LocalDisk), bug));
        assert_eq!(runs_right(&plain, |builder| builder.disk(disk()), true), Ok(()), "{bug:?}");
    }
}
