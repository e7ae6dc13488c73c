//! What receivers take in stays in the local log: what the loss of a machine costs then, and that nothing is ever mixed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Step, TracedStep};
use floodmark::{BatchId, Error, ErrorKind};

use crate::kit::{Life, Machine, Sent, World};

/// The first life ends behind its fourth batch, so the second one has batches of the first to compute again.
fn first(world: &World, machine: &Machine, sent: &mut Sent) {
    world.start(machine).unwrap().run_batches("first", 5, sent).unwrap();
}

/// The second one dies somewhere in this; says which batch it has planned last, as far as it came to know.
fn second(world: &World, machine: &Machine, sent: &mut Sent) -> u64 {
    let Ok(life) = world.start(machine) else { return 0 };
    let lived = life.run_batches("second", 4, sent).and_then(|()| life.send("second at last", sent));
    drop(lived);
    life.running.status().planned.0
}

fn is_remote(step: &TracedStep) -> bool {
    matches!(step.step, Step::StorePut | Step::StoreDelete | Step::StoreList)
}

/// Starts on an empty machine, and accepts the loss where there is one; says whether the start was refused first.
fn start_elsewhere(world: &World) -> Result<(Life, Option<Error>), Error> {
    match world.start(&Machine::new()) {
        Ok(life) => Ok((life, None)),
        Err(refused) if refused.kind() == ErrorKind::Damaged => {
            let life = world.start_with(&Machine::new(), |builder| builder.go_on_without_log())?;
            Ok((life, Some(refused)))
        }
        Err(error) => Err(error),
    }
}

/// What the sink was given with this batch: all words that count then.
fn state_of(world: &World, batch: BatchId) -> BTreeMap<String, u64> {
    let batches = world.sink.batches();
    let published = batches.iter().filter(|published| published.batch == batch);
    published.flat_map(|published| published.records().cloned()).collect()
}

/// No number was given twice, and times rise with the numbers.
fn check_numbers(world: &World) {
    let batches = world.sink.batches();
    let numbers: BTreeSet<u64> = batches.iter().map(|published| published.batch.0).collect();
    assert_eq!(numbers.len(), batches.len(), "a number was published twice");
    assert!(batches.is_sorted_by_key(|published| published.batch), "in order");
    assert!(batches.is_sorted_by(|one, next| one.time < next.time), "times rise");
}

/// The machine is lost; what the job is elsewhere is what the bucket says, or the checkpoint.
fn lose(number: u64, fault: Fault) -> (bool, bool) {
    let (world, mut sent) = (World::local(), Sent::default());
    let machine = Machine::new();
    first(&world, &machine, &mut sent);
    let door = FaultyDisk::new(Arc::new(LocalDisk));
    door.arm(number, fault);
    let planned = second(&world, &machine.restarted_behind(door.clone()), &mut sent);
    let published = world.sink.batches();
    let (life, refused) = start_elsewhere(&world).unwrap_or_else(|error| panic!("step {number}: {error}"));
    let report = life.running.recovery();
    let lost: BTreeSet<u64> = report.batches_lost().iter().map(|batch| batch.0).collect();
    if let Some(refused) = &refused {
        let words = refused.to_string();
        let named = ["cannot be computed again", " of \"words\" (", " record", " bytes)", "go_on_without_log()"];
        assert!(named.iter().all(|part| words.contains(part)), "step {number}: {words}");
        assert!(!lost.is_empty(), "step {number}: {report}");
        assert!(report.to_string().contains("a new lineage begins without batch"), "step {number}: {report}");
        // The state is the checkpoint's, and nothing that was published is published again.
        assert_eq!(life.counts(), state_of(&world, report.checkpoint().unwrap()), "step {number}: {report}");
        assert_eq!(world.sink.batches().len(), published.len(), "step {number}");
    } else {
        // Every planned batch is there: all words, but those that no plan had taken.
        assert!(lost.is_empty(), "step {number}: {report}");
        let newest = published.iter().map(|published| published.batch).max().unwrap_or_default();
        let counts = life.counts();
        for (word, count) in state_of(&world, newest) {
            assert_eq!(counts.get(&word), Some(&count), "step {number}: {word}: {report}");
        }
    }
    let before = life.counts();
    for (word, count) in &before {
        assert!(*count == 1 && (sent.acknowledged.contains(word) || sent.unclear.contains(word)), "{word}: {count}");
    }
    // It goes on, behind all that was planned.
    let mut later = Sent::default();
    let next = {
        life.run_batches("third", 3, &mut later).unwrap_or_else(|error| panic!("step {number}: {error}"));
        life.running.status().planned.0 - 2
    };
    assert!(next > planned, "step {number}: batch {next} behind {planned}");
    let after = life.counts();
    let expected: BTreeSet<&String> = before.keys().chain(&later.acknowledged).collect();
    assert_eq!(after.keys().collect::<BTreeSet<_>>(), expected, "step {number}");
    check_numbers(&world);
    drop(life);
    // And again elsewhere: the lineage is one as any other.
    let (life, _) = start_elsewhere(&world).unwrap_or_else(|error| panic!("step {number}: {error}"));
    life.run_batches("fourth", 1, &mut later).unwrap();
    check_numbers(&world);
    (door.fired(), refused.is_some())
}

#[test]
fn a_machine_that_is_lost_with_its_log_behind_any_step_of_the_bucket_costs_what_is_named_and_no_number_is_given_twice()
{
    let steps = {
        let (world, mut sent) = (World::local(), Sent::default());
        let machine = Machine::new();
        first(&world, &machine, &mut sent);
        let machine = machine.restarted();
        second(&world, &machine, &mut sent);
        machine.door.trace()
    };
    let steps: Vec<u64> = steps.iter().filter(|step| is_remote(step)).map(|step| step.number).collect();
    let (mut fired, mut refused, mut exact) = (0, 0, 0);
    for number in &steps {
        for fault in [Fault::DieBefore, Fault::DieAfter] {
            let (struck, was_refused) = lose(*number, fault);
            fired += usize::from(struck);
            (refused, exact) = (refused + usize::from(was_refused), exact + usize::from(!was_refused));
        }
    }
    println!("{} steps: {fired} struck, {refused} starts refused at first, {exact} exact", steps.len());
    assert!(steps.len() > 20 && fired * 10 >= steps.len() * 18, "{fired} of {} steps", 2 * steps.len());
    assert!(refused > 10 && exact > 5, "{refused} refused, {exact} exact");
}

#[test]
fn a_death_at_any_step_of_the_start_that_accepts_the_loss_is_survived() {
    let lost = || {
        let (world, mut sent) = (World::local(), Sent::default());
        let machine = Machine::new();
        first(&world, &machine, &mut sent);
        second(&world, &machine.restarted(), &mut sent);
        world
    };
    let accept = |world: &World, machine: &Machine| {
        let mut sent = Sent::default();
        let life = world.start_with(machine, |builder| builder.go_on_without_log())?;
        life.run_batches("third", 1, &mut sent).map(|()| life)
    };
    let (world, machine) = (lost(), Machine::new());
    let life = accept(&world, &machine).unwrap();
    let (checkpoint, next) = (life.running.recovery().checkpoint().unwrap(), life.running.status().planned);
    assert!(!life.running.recovery().batches_lost().is_empty());
    let steps = machine.door.trace();
    for step in steps.iter().filter(|step| is_remote(step) || step.number % 3 == 0) {
        let (world, door) = (lost(), FaultyDisk::new(Arc::new(LocalDisk)));
        door.arm(step.number, Fault::DieAfter);
        let machine = Machine::behind(door);
        drop(accept(&world, &machine));
        let machine = machine.restarted();
        let life = accept(&world, &machine).unwrap_or_else(|error| panic!("{step}: {error}"));
        let report = life.running.recovery();
        // Either nothing had been decided, or the lineage had begun, and its first batch may have been planned.
        assert!(report.checkpoint() == Some(checkpoint), "{step}: {report}");
        let first = world.sink.batches().iter().map(|published| published.batch).filter(|batch| *batch >= next).min();
        assert_eq!(first, Some(next), "{step}: {report}");
        check_numbers(&world);
    }
}

#[test]
fn what_no_batch_had_taken_is_told_as_far_as_the_bucket_knows_of_it() {
    let (world, mut sent) = (World::local(), Sent::default());
    let machine = Machine::new();
    let life = world.start(&machine).unwrap();
    life.run_batches("counted", 6, &mut sent).unwrap();
    // So many that segments end; with the beginning of one the bucket hears of the blocks in the one before.
    for word in 0..30 {
        life.send(&format!("waiting {word}"), &mut sent).unwrap();
    }
    drop(life);
    let life = world.start(&Machine::new()).unwrap();
    let report = life.running.recovery();
    assert_eq!((report.checkpoint(), report.batches_lost().len()), (Some(BatchId(6)), 0), "{report}");
    let told: Vec<_> = report.blocks_lost().collect();
    assert_eq!((told.len(), told[0].source.to_string()), (1, "words".to_string()));
    assert!((20..=30).contains(&told[0].blocks) && told[0].records == told[0].blocks, "{report}");
    assert!(report.to_string().contains("lost with another machine before any batch had taken it"), "{report}");
    life.run_batches("behind", 1, &mut sent).unwrap();
    assert_eq!(life.counts().len(), 7);
    drop(life);
    let life = world.start(&Machine::new()).err().map_or_else(|| None, |refused| Some(refused.to_string()));
    assert!(life.is_some_and(|refused| refused.contains("batch 7 cannot be computed again")), "it has a block");
}

#[test]
fn when_the_machine_comes_back_before_anybody_goes_on_nothing_is_lost() {
    let (world, mut sent) = (World::local(), Sent::default());
    let machine = Machine::new();
    first(&world, &machine, &mut sent);
    for elsewhere in 0..2 {
        let refused = world.start(&Machine::new()).err().unwrap_or_else(|| panic!("{elsewhere}: batch 5 is lost"));
        assert!(refused.to_string().contains("batch 5 cannot be computed again"), "{refused}");
    }
    let life = world.start(&machine.restarted()).unwrap();
    world.check(&life, &sent).unwrap();
}

#[test]
fn a_log_that_was_left_behind_is_never_mixed_with_what_came_since() {
    let (world, mut sent) = (World::local(), Sent::default());
    let (one, other) = (Machine::new(), Machine::new());
    let life = world.start(&one).unwrap();
    life.run_batches("one", 4, &mut sent).unwrap();
    // Acknowledged by the log of the first machine only.
    for word in 0..3 {
        life.send(&format!("only one {word}"), &mut Sent::default()).unwrap();
    }
    drop(life);
    let life = world.start(&other).unwrap();
    life.run_batches("other", 4, &mut sent).unwrap();
    drop(life);
    // Its log has what the first life of it had, and lacks what came since; all of that is in a checkpoint.
    let one = one.restarted();
    let life = world.start(&one).unwrap();
    world.check(&life, &sent).unwrap();
    life.run_batches("one again", 3, &mut sent).unwrap();
    world.check(&life, &sent).unwrap();
    let aside = |machine: &Machine| {
        let names = std::fs::read_dir(machine.path().join("copy")).unwrap();
        names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().starts_with("stale-")).count()
    };
    assert_eq!(aside(&one), 0, "nothing of it is strange");
    drop(life);
    let refused = world.start(&other.restarted()).err().expect("batch 11 is only in the log of the first machine");
    assert!(refused.to_string().contains("batch 11 cannot be computed again"), "{refused}");
    let life = world.start(&one.restarted()).unwrap();
    world.check(&life, &sent).unwrap();
}

#[test]
fn the_choice_of_the_log_may_change_with_every_life() {
    let (mut world, mut sent) = (World::default(), Sent::default());
    let mut machine = Machine::new();
    for life in 0..6 {
        world.is_local = life % 2 == 0;
        let job = world.start(&machine).unwrap_or_else(|error| panic!("life {life}: {error}"));
        job.run_batches(&format!("life {life}"), 3, &mut sent).unwrap();
        job.send(&format!("life {life} at last"), &mut sent).unwrap();
        drop(job);
        machine = machine.restarted();
    }
    // The last life had its blocks in the bucket, also those that the lives before had left to no plan.
    let job = world.start(&Machine::new()).unwrap();
    job.tick().unwrap();
    world.check(&job, &sent).unwrap();
}

#[test]
fn a_job_that_was_stopped_gracefully_goes_on_elsewhere_with_everything() {
    let (world, mut sent) = (World::local(), Sent::default());
    for life in 0..3 {
        let job = world.start(&Machine::new()).unwrap_or_else(|error| panic!("life {life}: {error}"));
        world.check(&job, &sent).unwrap();
        job.run_batches(&format!("life {life}"), 3, &mut sent).unwrap();
        job.send(&format!("life {life} at last"), &mut sent).unwrap();
        job.running.stop(true).unwrap();
    }
}

#[test]
fn blocks_alone_are_not_put_and_a_batch_is_two_puts() {
    let (world, mut sent) = (World::local(), Sent::default());
    let machine = Machine::new();
    let life = world.start_with(&machine, |builder| builder.log_settings(Default::default())).unwrap();
    let puts = || machine.door.trace().iter().filter(|step| step.step == Step::StorePut).count();
    life.run_batches("warm", 1, &mut sent).unwrap();
    let before = puts();
    for word in 0..20 {
        life.send(&format!("word {word}"), &mut sent).unwrap();
    }
    assert_eq!(puts(), before, "the local log has them");
    life.tick().unwrap();
    let log = machine.door.trace()[..].iter().filter(|step| step.what.contains("/log/")).count();
    assert!(puts() >= before + 2 && log > 2);
    let objects = world.store.objects();
    let held: usize = objects.iter().filter(|(name, _)| name.contains("/log/")).map(|(_, bytes)| bytes.len()).sum();
    assert!(objects.values().all(|bytes| !bytes.windows(7).any(|part| part == b"word 13")), "no body is put");
    assert!(held < 6_000, "{held} bytes");
}
