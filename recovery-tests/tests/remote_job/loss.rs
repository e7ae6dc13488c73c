//! The machine, or the process, or an answer is lost at every durable step, of the disk and of the bucket.

use std::sync::Arc;

use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Step, TracedStep};

use crate::kit::{Life, Machine, Sent, World};

const BATCHES: u64 = 6;

/// A life up to its end or its death.
fn live(world: &World, machine: &Machine, name: &str, sent: &mut Sent) -> Option<Life> {
    let life = world.start(machine).ok()?;
    life.run_batches(name, BATCHES, sent).ok()?;
    Some(life)
}

/// A life behind another one, on the same machine where its log is.
fn second(world: &World, first: Machine, door: FaultyDisk) -> Machine {
    if world.is_local { first.restarted_behind(door) } else { Machine::behind(door) }
}

/// The steps of a life behind another one: recovery, uploads, collection and the log are among them.
fn steps(world: &World) -> Vec<TracedStep> {
    let (world, mut sent) = (World { is_local: world.is_local, ..World::default() }, Sent::default());
    let machine = Machine::new();
    drop(live(&world, &machine, "first", &mut sent).expect("nothing is wrong"));
    let machine = second(&world, machine, FaultyDisk::new(Arc::new(LocalDisk)));
    drop(live(&world, &machine, "second", &mut sent).expect("nothing is wrong"));
    machine.door.trace()
}

/// Lets the fault strike in the second life, and looks what the third one finds.
fn strike(is_local: bool, number: u64, fault: Fault, keeps_directory: bool) -> Result<bool, String> {
    let (world, mut sent) = (World { is_local, ..World::default() }, Sent::default());
    let machine = Machine::new();
    drop(live(&world, &machine, "first", &mut sent).expect("nothing is wrong yet"));
    let door = FaultyDisk::new(Arc::new(LocalDisk));
    door.arm(number, fault);
    let machine = second(&world, machine, door.clone());
    drop(live(&world, &machine, "second", &mut sent));
    let machine = if keeps_directory { machine.restarted() } else { Machine::new() };
    let life = world.start(&machine).map_err(|error| format!("the third life does not start: {error}"))?;
    // What was acknowledged, and in no plan yet, goes into the next one.
    life.tick().map_err(|error| format!("the third life fails: {error}"))?;
    world.check(&life, &sent)?;
    life.run_batches("third", 3, &mut sent).map_err(|error| format!("the third life fails: {error}"))?;
    world.check(&life, &sent)?;
    Ok(door.fired())
}

fn sweep(world: &World, fault: Fault, keeps_directory: bool, which: impl Fn(&TracedStep) -> bool) {
    let steps: Vec<TracedStep> = steps(world).into_iter().filter(which).collect();
    let mut fired = 0;
    for step in &steps {
        match strike(world.is_local, step.number, fault, keeps_directory) {
            Ok(struck) => fired += usize::from(struck),
            Err(wrong) => panic!("{fault:?} at step {step}: {wrong}"),
        }
    }
    println!("{fault:?}, directory kept: {keeps_directory}: {fired} of {} steps", steps.len());
    assert!(steps.len() > 20 && fired * 10 >= steps.len() * 9, "{fired} of {} steps", steps.len());
}

/// What reaches the bucket, or is about to.
fn is_remote(step: &TracedStep) -> bool {
    matches!(step.step, Step::StorePut | Step::StoreDelete | Step::StoreList)
}

#[test]
fn a_machine_that_is_lost_behind_any_step_of_the_bucket_is_survived_on_another_one() {
    sweep(&World::default(), Fault::DieAfter, false, is_remote);
}

#[test]
fn a_process_that_dies_before_any_step_of_the_bucket_goes_on_in_its_working_copy() {
    sweep(&World::default(), Fault::DieBefore, true, is_remote);
}

#[test]
fn a_process_that_dies_behind_any_step_of_the_bucket_goes_on_in_its_working_copy() {
    sweep(&World::default(), Fault::DieAfter, true, is_remote);
}

#[test]
fn a_process_that_dies_in_any_step_of_its_disk_goes_on_in_its_working_copy() {
    sweep(&World::default(), Fault::Tear { bytes: 30 }, true, |step| !is_remote(step) && step.number % 3 == 0);
}

#[test]
fn a_process_with_its_blocks_in_the_local_log_dies_at_any_step_of_the_bucket_and_goes_on_in_its_working_copy() {
    sweep(&World::local(), Fault::DieBefore, true, is_remote);
    sweep(&World::local(), Fault::DieAfter, true, is_remote);
}

#[test]
fn a_process_with_its_blocks_in_the_local_log_dies_at_any_step_of_its_disk_and_goes_on_in_its_working_copy() {
    sweep(&World::local(), Fault::Tear { bytes: 30 }, true, |step| !is_remote(step) && step.number % 2 == 0);
    sweep(&World::local(), Fault::DieAfter, true, |step| !is_remote(step) && step.number % 2 == 1);
}

#[test]
fn what_a_death_before_a_put_has_left_in_the_local_log_never_makes_a_hole_in_the_bucket() {
    for is_local in [false, true] {
        let puts = steps(&World { is_local, ..World::default() });
        for put in puts.into_iter().filter(|step| step.step == Step::StorePut).step_by(3) {
            let (world, mut sent) = (World { is_local, ..World::default() }, Sent::default());
            let machine = Machine::new();
            drop(live(&world, &machine, "first", &mut sent).expect("nothing is wrong yet"));
            let door = FaultyDisk::new(Arc::new(LocalDisk));
            door.arm(put.number, Fault::DieBefore);
            let machine = second(&world, machine, door);
            drop(live(&world, &machine, "second", &mut sent));
            // It goes on with what stands there, and puts what follows; no checkpoint makes that unneeded.
            let machine = machine.restarted();
            let life = world.start_with(&machine, |builder| builder.checkpoint_every(100));
            let life = life.unwrap_or_else(|error| panic!("local {is_local}, {put}: {error}"));
            life.run_batches("third", 2, &mut sent).unwrap();
            drop(life);
            let elsewhere = Machine::new();
            match world.start(&elsewhere) {
                Ok(life) => {
                    world.check(&life, &sent).unwrap_or_else(|wrong| panic!("local {is_local}, {put}: {wrong}"))
                }
                Err(refused) if is_local && refused.to_string().contains("cannot be computed again") => {}
                Err(error) => panic!("local {is_local}, {put}: {error}"),
            }
        }
    }
}

#[test]
fn an_answer_of_the_bucket_that_is_lost_stops_the_job_at_worst() {
    sweep(&World::default(), Fault::FailAfter, true, |step| step.step == Step::StorePut);
}

#[test]
fn a_list_that_is_behind_changes_nothing() {
    let (world, mut sent) = (World::default(), Sent::default());
    drop(live(&world, &Machine::new(), "first", &mut sent).expect("nothing is wrong"));
    let lists = steps(&world).into_iter().filter(|step| step.step == Step::StoreList).count() as u64;
    assert!(lists >= 3, "{lists}");
    for nth in 1..=lists {
        let door = FaultyDisk::new(Arc::new(LocalDisk));
        door.arm_at(floodmark::testing::disk::Point { step: Step::StoreList, nth }, Fault::Stale);
        let machine = Machine::behind(door);
        let life = live(&world, &machine, &format!("behind {nth}"), &mut sent).expect("a list is a hint");
        world.check(&life, &sent).unwrap_or_else(|wrong| panic!("list {nth}: {wrong}"));
    }
}
