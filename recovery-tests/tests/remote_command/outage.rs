//! A store that does not answer for minutes: the job slows down, tells, and stops at last; nothing is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark::{
    Clock, Error, ErrorKind, ManualClock, ObjectStoreHealth, Receiver, ReceiverContext, ReceiverError, Running, Status,
    StopHandle, StreamingContext, StreamingListener,
};
use floodmark_chaos::store::{Refusal, Request, Strike, StrikingStore};

use crate::files::start as start_elsewhere;
use crate::kit::{Life, Machine, Sent, World};

const PATIENCE: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_millis(200);

/// Remembers what is told of the store.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<ObjectStoreHealth>>>);

impl StreamingListener for Heard {
    fn on_object_store_health(&mut self, health: &ObjectStoreHealth) {
        self.0.lock().unwrap().push(health.clone());
    }
}

/// Drives the store's clock until the status is as asked for, or the job has ended.
fn drive(running: &Running, clock: &ManualClock, reached: impl Fn(&Status) -> bool) -> Result<Status, Error> {
    for _ in 0..1_000 {
        if let Some(status) = running.wait_until_timeout(&reached, SOON)? {
            return Ok(status);
        }
        clock.advance_to(clock.epoch_ms() + 10_000);
    }
    panic!("the store's clock went {} s: {:?}", 10_000, running.status());
}

fn start(world: &World, machine: &Machine, store: &StrikingStore, clock: &ManualClock, heard: &Heard) -> Life {
    let builder = world.builder(machine).object_store(Arc::new(store.clone()), "jobs/counts");
    let builder = builder.object_store_patience(PATIENCE).object_store_clock(clock.clone()).listener(heard.clone());
    world.run(builder).unwrap()
}

#[test]
fn a_short_outage_holds_the_job_up_and_shows_in_its_status_and_nothing_is_lost() {
    let (world, mut sent, heard) = (World::default(), Sent::default(), Heard::default());
    let (store, clock) = (StrikingStore::around(Arc::new(world.store.clone())), ManualClock::at(1_700_000_000_000));
    let machine = Machine::new();
    let life = start(&world, &machine, &store, &clock, &heard);
    life.run_batches("before", 3, &mut sent).unwrap();
    let before = life.running.status();
    assert_eq!(before.object_store, ObjectStoreHealth::default());
    assert_eq!(before.checkpoint.0, 2);
    assert!(before.checkpoint_time > floodmark::BatchTime(0) && before.checkpoint_time < before.planned_time);

    store.always(Some(Strike::Refuse(Refusal::Broken)));
    let began_ms = clock.epoch_ms();
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| life.words.push(vec!["in the outage".to_string()]));
        let status = drive(&life.running, &clock, |status| status.object_store.failures >= 4).unwrap();
        let health = &status.object_store;
        assert!(
            health.failing_since_ms.is_some_and(|since| (began_ms..=clock.epoch_ms()).contains(&since)),
            "{health:?}"
        );
        assert!(health.last_error.as_ref().unwrap().contains("struck"), "{health:?}");
        assert!(!pushing.is_finished(), "it was acknowledged without being stored");
        world.clock.advance_to(world.clock.epoch_ms() + 100);
        assert_eq!(life.running.status().planned, before.planned, "a batch without its plan in the bucket");
        store.always(None);
        let status = drive(&life.running, &clock, |status| {
            status.object_store.failures == 0 && status.published > before.published
        });
        assert_eq!(status.unwrap().object_store, ObjectStoreHealth::default());
        pushing.join().unwrap().unwrap();
    });
    sent.acknowledged.insert("in the outage".to_string());
    life.run_batches("after", 3, &mut sent).unwrap();
    world.check(&life, &sent).unwrap();
    life.running.stop(true).unwrap();
    let heard = heard.0.lock().unwrap();
    assert!(heard.iter().any(|health| health.failures >= 2), "{heard:?}");
    assert_eq!(heard.last(), Some(&ObjectStoreHealth::default()), "{heard:?}");
}

#[test]
fn an_outage_beyond_the_patience_ends_the_job_with_the_name_of_the_store_and_a_restart_is_exact() {
    let (world, mut sent, heard) = (World::default(), Sent::default(), Heard::default());
    let (store, clock) = (StrikingStore::around(Arc::new(world.store.clone())), ManualClock::at(1_700_000_000_000));
    let machine = Machine::new();
    let life = start(&world, &machine, &store, &clock, &heard);
    life.run_batches("before", 5, &mut sent).unwrap();
    store.always(Some(Strike::Refuse(Refusal::Broken)));
    let began_ms = clock.epoch_ms();
    let error = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| life.words.push(vec!["too much".to_string()]));
        let error = drive(&life.running, &clock, |_| false).expect_err("it ends");
        pushing.join().unwrap().expect_err("it was not stored");
        error
    });
    sent.unclear.insert("too much".to_string());
    let lasted_ms = clock.epoch_ms() - began_ms;
    assert!(lasted_ms >= 290_000, "it gave up after {lasted_ms} ms");
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
    let words = error.to_string();
    assert!(words.contains("StrikingStore(SimulatedStore)/jobs/counts") && words.contains("struck"), "{words}");
    drop(life);

    let life = start_elsewhere(&world).unwrap();
    life.tick().unwrap();
    world.check(&life, &sent).unwrap();
    life.run_batches("after", 3, &mut sent).unwrap();
    world.check(&life, &sent).unwrap();
}

/// Hands in kibibytes as fast as they are taken.
struct Flood(Arc<AtomicU64>);

impl Receiver for Flood {
    type Item = Vec<u8>;

    async fn on_start(&mut self, context: ReceiverContext<Vec<u8>>) -> Result<(), ReceiverError> {
        loop {
            tokio::select! {
                stored = context.store(vec![7; 1024]) => stored?,
                () = context.stopped() => return Ok(()),
            }
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn in_an_outage_receivers_are_held_back_and_memory_is_bounded() {
    let (world, taken) = (World::default(), Arc::new(AtomicU64::new(0)));
    let (store, clock) = (StrikingStore::around(Arc::new(world.store.clone())), ManualClock::at(1_700_000_000_000));
    let place = floodmark_chaos::scratch::directory().unwrap();
    let context = StreamingContext::builder("flood")
        .object_store(Arc::new(store.clone()), "jobs/flood")
        .working_directory(place.path())
        .log_in_object_storage(true)
        .object_store_patience(PATIENCE)
        .object_store_clock(clock.clone())
        .block_interval(Duration::from_millis(10))
        .workers(1)
        .build()
        .unwrap();
    context.receiver_stream("flood", Flood(taken.clone())).count().print(0);
    let running = context.start().unwrap();
    running.wait_until(|status| status.records > 0).unwrap();
    store.always(Some(Strike::Refuse(Refusal::Broken)));
    running.wait_until(|status| status.object_store.failures > 0).unwrap();
    let before = taken.load(Ordering::Relaxed);
    drive(&running, &clock, |_| false).expect_err("it ends");
    let more = taken.load(Ordering::Relaxed) - before;
    println!("{more} KiB were taken in during an outage of {PATIENCE:?}");
    // 32 MiB under way to the log, as many in its queue, a group, and the block in the making.
    assert!(more < 80 << 10, "{more} KiB");
}

/// How a job is stopped hard while its store does not answer.
#[derive(Clone, Copy, Debug)]
enum HardStop {
    Alone,
    ByDropping,
    /// While a graceful stop waits.
    AfterAGracefulOne,
}

/// Runs `act` on a thread of its own; fails if it has not ended after a minute, which is far below the store's patience.
fn ends_promptly<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    outcome.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what}: it waits for the store"))
}

#[test]
fn a_hard_stop_during_an_outage_ends_promptly_without_an_error_and_a_restart_is_exact() {
    let strikes = [Strike::Refuse(Refusal::Broken), Strike::Swallow, Strike::Silence];
    let stops = [HardStop::Alone, HardStop::ByDropping, HardStop::AfterAGracefulOne];
    for (strike, stop) in strikes.into_iter().flat_map(|strike| stops.map(|stop| (strike, stop))) {
        let what = format!("{strike:?}, {stop:?}");
        let (world, mut sent, heard) = (World::default(), Sent::default(), Heard::default());
        let (store, clock) = (StrikingStore::around(Arc::new(world.store.clone())), ManualClock::at(1_700_000_000_000));
        let machine = Machine::new();
        let life = Arc::new(start(&world, &machine, &store, &clock, &heard));
        life.run_batches("before", 3, &mut sent).unwrap();
        // The plan of the next batch waits for the store; its clock stands still, so the patience never ends.
        store.always(Some(strike));
        let asked = store.asked(Request::Put);
        world.clock.advance_to(world.clock.epoch_ms() + 100);
        while store.asked(Request::Put) == asked {
            std::thread::yield_now();
        }
        let graceful = matches!(stop, HardStop::AfterAGracefulOne).then(|| {
            let life = life.clone();
            std::thread::spawn(move || life.running.stop(true))
        });
        if matches!(stop, HardStop::ByDropping) {
            ends_promptly(&what, move || drop(life));
        } else {
            let stopped = ends_promptly(&what, move || {
                let stopped = life.running.stop(false);
                (stopped, life.running.phase())
            });
            stopped.0.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(stopped.1, floodmark::Phase::Stopped, "{what}");
        }
        if let Some(graceful) = graceful {
            ends_promptly(&what, move || graceful.join().unwrap()).unwrap();
        }

        store.always(None);
        let machine = machine.restarted(); // its directory stays as long as it does
        let life = start(&world, &machine, &store, &clock, &heard);
        life.run_batches("after", 2, &mut sent).unwrap_or_else(|error| panic!("{what}: {error}"));
        world.check(&life, &sent).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    }
}

/// How a start is stopped while its store does not answer.
#[derive(Clone, Copy, Debug)]
enum StartStop {
    Gracefully,
    Hard,
}

#[test]
fn a_stop_while_a_start_waits_for_any_put_ends_it_promptly_and_the_next_start_is_exact() {
    let strikes = [Strike::Refuse(Refusal::Broken), Strike::Swallow, Strike::Silence];
    let stops = [StartStop::Gracefully, StartStop::Hard];
    let mut waited = 0;
    for (strike, puts) in strikes.into_iter().flat_map(|strike| (0..12).map(move |puts| (strike, puts))) {
        let stop = stops[puts % stops.len()];
        let what = format!("{strike:?} after {puts} puts, {stop:?}");
        let (world, mut sent, heard) = (World::default(), Sent::default(), Heard::default());
        let (store, clock) = (StrikingStore::around(Arc::new(world.store.clone())), ManualClock::at(1_700_000_000_000));
        let machine = Machine::new();
        start(&world, &machine, &store, &clock, &heard).run_batches("before", 3, &mut sent).unwrap();
        drop(machine);

        // On an empty machine, so that the start fetches what there is.
        let machine = Machine::new();
        let before = store.asked(Request::Put);
        for request in [Request::Get, Request::List, Request::Delete] {
            store.next(request, &[Strike::Spare; 1_000]);
        }
        store.next(Request::Put, &vec![Strike::Spare; puts]);
        store.always(Some(strike));
        let handle = StopHandle::default();
        let builder = world.builder(&machine).object_store(Arc::new(store.clone()), "jobs/counts");
        let builder = builder.object_store_patience(PATIENCE).object_store_clock(clock.clone()).stop_handle(&handle);
        let world_of_start = world.clone();
        let (done, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(world_of_start.run(builder).map(drop)));
        // The store's clock stands still, so its patience never ends.
        while store.asked(Request::Put) <= before + puts as u64 && outcome.try_recv().is_err() {
            std::thread::yield_now();
        }
        if store.asked(Request::Put) > before + puts as u64 {
            waited += 1;
            match stop {
                StartStop::Gracefully => handle.stop(true),
                StartStop::Hard => handle.stop(false),
            }
            let stopped = outcome.recv_timeout(Duration::from_secs(60));
            let stopped = stopped.unwrap_or_else(|_| panic!("{what}: the start waits for the store"));
            let error = stopped.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Stopped, "{what}: {error}");
            assert!(error.to_string().contains("while it started"), "{what}: {error}");
        }

        store.always(None);
        let machine = machine.restarted();
        let life = start(&world, &machine, &StrikingStore::around(Arc::new(world.store.clone())), &clock, &heard);
        life.run_batches("after", 2, &mut sent).unwrap_or_else(|error| panic!("{what}: {error}"));
        world.check(&life, &sent).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    }
    assert!(waited >= 3 * 4, "only {waited} starts have waited for the store");
}
