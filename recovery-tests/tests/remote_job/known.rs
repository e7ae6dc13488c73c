//! What a start reads: all on an empty machine, and what lacks in a working copy; and what it tells of that.

use std::sync::{Arc, Mutex};

use floodmark::{StreamingListener, WorkingCopyFetched};
use floodmark_chaos::store::{Request, StrikingStore};

use crate::kit::{Life, Machine, Sent, World};

#[derive(Clone, Default)]
struct Fetches(Arc<Mutex<Vec<WorkingCopyFetched>>>);

impl StreamingListener for Fetches {
    fn on_working_copy_fetched(&mut self, fetched: &WorkingCopyFetched) {
        self.0.lock().unwrap().push(*fetched);
    }
}

impl Fetches {
    /// The last word on this; nothing where none was said.
    fn last(&self, what: &str) -> Option<WorkingCopyFetched> {
        self.0.lock().unwrap().iter().rev().find(|fetched| fetched.what == what).copied()
    }
}

/// Starts a life, and counts what it reads until it goes on.
fn start(world: &World, machine: &Machine) -> (Life, u64, Fetches) {
    let (store, fetches) =
        (StrikingStore::around(Arc::new(world.store.through(machine.door.clone()))), Fetches::default());
    let builder = world.builder(machine).object_store(Arc::new(store.clone()), "jobs/counts").listener(fetches.clone());
    let life = world.run(builder).unwrap();
    (life, store.asked(Request::Get), fetches)
}

/// A job whose log has many objects, since it takes its checkpoints seldom.
fn with_a_long_log(world: &World) -> (Machine, Sent) {
    let (machine, mut sent) = (Machine::new(), Sent::default());
    let job = world.start_with(&machine, |builder| builder.checkpoint_every(40)).unwrap();
    job.run_batches("word", 41, &mut sent).unwrap();
    for word in 0..30 {
        job.send(&format!("waiting {word}"), &mut sent).unwrap();
    }
    drop(job);
    (machine.restarted(), sent)
}

#[test]
fn a_restart_whose_working_copy_is_whole_reads_only_what_came_since_its_note() {
    for world in [World::default(), World::local()] {
        let (machine, mut sent) = with_a_long_log(&world);
        let log = world.store.objects().keys().filter(|name| name.contains("/log/")).count() as u64;
        let (job, reads, _) = start(&world, &machine);
        job.tick().unwrap();
        world.check(&job, &sent).unwrap();
        assert!(log > 100 && reads * 4 < log * 3, "{reads} reads, {log} objects");
        job.send("one more", &mut sent).unwrap();
        drop(job);
        let (job, again, fetches) = start(&world, &machine);
        job.tick().unwrap();
        world.check(&job, &sent).unwrap();
        // Most of them ask for names of manifests that are not there yet.
        assert!(again < 90, "{again} reads");
        assert_eq!(fetches.last("files"), None, "they are there");
        if !world.is_local {
            drop(job);
            let machine = Machine::new();
            let (job, all, _) = start(&world, &machine);
            world.check(&job, &sent).unwrap();
            println!("{log} objects of the log; reads of a restart {reads} and {again}, on an empty machine {all}");
            assert!(all > log, "{all} reads");
        }
    }
}

#[test]
fn a_note_is_not_believed_beyond_what_the_segments_say() {
    type Spoil = fn(&std::path::Path);
    let cut: Spoil = |segment| {
        let bytes = std::fs::read(segment).unwrap();
        std::fs::write(segment, &bytes[..bytes.len() / 2]).unwrap();
    };
    let flip: Spoil = |segment| {
        let mut bytes = std::fs::read(segment).unwrap();
        let at = bytes.len() * 2 / 3;
        bytes[at] ^= 1;
        std::fs::write(segment, bytes).unwrap();
    };
    let remove: Spoil = |segment| std::fs::remove_file(segment).unwrap();
    for spoil in [cut, flip, remove] {
        for part in 0..4 {
            let world = World::default();
            let (machine, sent) = with_a_long_log(&world);
            let wal = machine.path().join("copy/wal");
            let mut segments: Vec<_> = std::fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).collect();
            segments.sort();
            segments.retain(|path| path.to_string_lossy().ends_with(".log"));
            spoil(&segments[(segments.len() - 1) * part / 3]);
            let job = world.start(&machine).unwrap_or_else(|error| panic!("part {part}: {error}"));
            job.tick().unwrap();
            world.check(&job, &sent).unwrap_or_else(|wrong| panic!("part {part}: {wrong}"));
        }
    }
}

#[test]
fn a_note_of_another_bucket_or_of_an_older_state_of_it_is_not_believed() {
    let (world, another) = (World::default(), World::default());
    let (machine, mut sent) = with_a_long_log(&world);
    let (other, _) = with_a_long_log(&another);
    let note = |machine: &Machine| machine.path().join("copy/log.known");
    std::fs::copy(note(&other), note(&machine)).unwrap();
    let job = world.start(&machine).unwrap();
    job.tick().unwrap();
    world.check(&job, &sent).unwrap();
    let old = std::fs::read(note(&machine)).unwrap();
    job.run_batches("since", 80, &mut sent).unwrap();
    drop(job);
    std::fs::write(note(&machine), old).unwrap();
    let job = world.start(&machine.restarted()).unwrap();
    world.check(&job, &sent).unwrap();
}

#[test]
fn a_start_on_an_empty_machine_tells_how_far_it_has_come() {
    let world = World::default();
    let (_, sent) = with_a_long_log(&world);
    let machine = Machine::new();
    let (job, _, fetches) = start(&world, &machine);
    job.tick().unwrap();
    world.check(&job, &sent).unwrap();
    for what in ["files", "log"] {
        let last = fetches.last(what).unwrap_or_else(|| panic!("nothing is told of {what}"));
        assert!(last.of_bytes > 0 && last.bytes == last.of_bytes, "{last:?}");
    }
    let told = fetches.0.lock().unwrap();
    assert!(told.iter().filter(|fetched| fetched.what == "log").count() > 2, "{told:?}");
}
