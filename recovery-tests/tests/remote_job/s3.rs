//! The same against a server that speaks the S3 protocol.

use std::time::Duration;

use floodmark::{
    Clock, ErrorKind, ManualClock, Queue, Receiver, ReceiverContext, ReceiverError, Running, StreamingContext,
    StreamingContextBuilder, SystemClock,
};
use floodmark_chaos::s3::Server;

use crate::kit::{Machine, Sent, World};

fn on_server(builder: StreamingContextBuilder, server: &Server, bucket: &str) -> StreamingContextBuilder {
    let builder = builder.checkpoint(format!("s3://{bucket}/jobs/counts"));
    server.options().iter().fold(builder, |builder, (key, value)| builder.object_store_option(key, value))
}

#[test]
fn a_job_goes_on_on_an_empty_machine_from_a_bucket_of_s3() {
    let Some(server) = Server::shared() else { return };
    server.create_bucket("goes-on");
    let (world, mut sent) = (World::default(), Sent::default());
    for life in 0..3 {
        let machine = Machine::new();
        let builder = world.builder(&machine).object_store_patience(Duration::from_secs(20));
        let job = world.run(on_server(builder, server, "goes-on")).unwrap();
        job.tick().unwrap();
        world.check(&job, &sent).unwrap_or_else(|wrong| panic!("life {life}: {wrong}"));
        job.run_batches(&format!("life {life}"), 5, &mut sent).unwrap();
        job.send(&format!("life {life} at last"), &mut sent).unwrap();
    }
}

#[test]
fn what_a_lost_machine_took_with_it_beside_a_bucket_of_s3_is_named_and_accepted() {
    let Some(server) = Server::shared() else { return };
    server.create_bucket("beside");
    let (world, mut sent) = (World::local(), Sent::default());
    let start = |machine: &Machine, accepts: bool| {
        let builder = world.builder(machine).object_store_patience(Duration::from_secs(20));
        let builder = if accepts { builder.go_on_without_log() } else { builder };
        world.run(on_server(builder, server, "beside"))
    };
    let (one, other, third) = (Machine::new(), Machine::new(), Machine::new());
    let job = start(&one, false).unwrap();
    job.run_batches("one", 5, &mut sent).unwrap();
    drop(job);
    let refused = start(&other, false).err().expect("batch 5 is lost");
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    println!("{refused}");
    let one = one.restarted();
    let job = start(&one, false).unwrap();
    world.check(&job, &sent).unwrap();
    job.run_batches("one again", 2, &mut sent).unwrap();
    drop(job);
    let job = start(&third, true).unwrap();
    println!("{}", job.running.recovery());
    assert_eq!((job.running.recovery().batches_lost().len(), job.counts().len()), (1, 6));
    job.run_batches("third", 1, &mut sent).unwrap();
    assert_eq!(job.running.status().planned.0, 8);
}

#[test]
fn a_driver_of_s3_that_another_machine_has_overtaken_says_so() {
    let Some(server) = Server::shared() else { return };
    server.create_bucket("overtaken");
    let (world, mut sent) = (World::default(), Sent::default());
    let (one, other) = (Machine::new(), Machine::new());
    let start = |machine: &Machine| {
        let builder = world.builder(machine).object_store_patience(Duration::from_secs(20));
        world.run(on_server(builder, server, "overtaken")).unwrap()
    };
    let first = start(&one);
    first.run_batches("first", 3, &mut sent).unwrap();
    let second = start(&other);
    second.run_batches("second", 1, &mut sent).unwrap();
    first.send("too late", &mut sent).expect_err("it is overtaken");
    let error = first.running.await_termination().expect_err("it ends");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(error.to_string().contains("by process "), "{error}");
    world.check(&second, &sent).unwrap();
}

#[test]
fn a_bucket_that_is_not_there_is_told_at_the_start() {
    let Some(server) = Server::shared() else { return };
    let (world, machine) = (World::default(), Machine::new());
    let error = world.run(on_server(world.builder(&machine), server, "nowhere")).err().expect("no such bucket");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("no such bucket"), "{error}");
}

fn million(
    place: &std::path::Path,
    configure: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
    clock: &ManualClock,
) -> (Running, Queue<(u64, u64)>) {
    let builder = StreamingContext::builder("million").batch_interval(Duration::from_millis(100)).workers(2);
    let builder = builder.checkpoint_every(1).clock(clock.clone());
    let context = configure(builder.working_directory(place).log_in_object_storage(true)).build().unwrap();
    let (keys, stream) = context.queue_stream::<(u64, u64)>("keys");
    stream.update_state_by_key("sums", |values: &[u64], sum: Option<u64>| {
        Some(sum.unwrap_or(0) + values.iter().sum::<u64>())
    });
    (context.start().unwrap(), keys)
}

#[test]
fn a_million_keys_are_restored_from_a_bucket_of_s3_within_seconds() {
    let Some(server) = Server::shared() else { return };
    server.create_bucket("million");
    let clock = ManualClock::at(1_700_000_000_000);
    let configure = |builder| on_server(builder, server, "million");
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (running, keys) = million(one.path(), configure, &clock);
    for part in 0..20_u64 {
        keys.push((0..50_000).map(|key| (part * 50_000 + key, 1)).collect()).unwrap();
    }
    clock.advance_to(clock.epoch_ms() + 100);
    running.wait_until(|status| status.checkpoints >= 1 && !status.checkpointing).unwrap();
    keys.push(vec![(7, 1)]).unwrap();
    drop(running);

    let time = SystemClock::default();
    let before = time.monotonic_ms();
    let (running, _keys) = million(other.path(), configure, &clock);
    let started = time.monotonic_ms() - before;
    clock.advance_to(clock.epoch_ms() + 100);
    running.wait_until(|status| status.published.0 >= 2).unwrap();
    let first_batch = time.monotonic_ms() - before;
    println!("a million keys: started after {started} ms, first batch after {first_batch} ms");
    assert_eq!(running.state::<u64, u64>("sums").unwrap().get(&7).unwrap(), Some(2));
    assert!(first_batch < 15_000, "{first_batch} ms"); // 3 s on a machine that does nothing else
}

/// Makes numbers as fast as they are taken, in blocks of a mebibyte.
struct Numbers(u64);

impl Receiver for Numbers {
    type Item = (u64, u64);

    async fn on_start(&mut self, context: ReceiverContext<(u64, u64)>) -> Result<(), ReceiverError> {
        for number in 0..self.0 {
            context.store((u64::MAX - number, number)).await?;
        }
        context.stopped().await;
        Ok(())
    }
}

#[test]
fn with_the_log_in_a_bucket_of_s3_records_come_in_nearly_as_fast_as_with_a_local_one() {
    const RECORDS: u64 = 4_000_000;
    let Some(server) = Server::shared() else { return };
    server.create_bucket("throughput");
    let time = SystemClock::default();
    let run = |builder: StreamingContextBuilder| {
        let builder = builder.batch_interval(Duration::from_millis(500)).workers(2);
        let context = builder.build().unwrap();
        context.receiver_stream("numbers", Numbers(RECORDS)).count().print(0);
        let running = context.start().unwrap();
        let before = time.monotonic_ms();
        running.wait_until(|status| status.records == RECORDS).unwrap();
        time.monotonic_ms() - before
    };
    let (local, remote) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let of_local = run(StreamingContext::builder("numbers").checkpoint(local.path()));
    let builder = StreamingContext::builder("numbers").working_directory(remote.path()).log_in_object_storage(true);
    let of_remote = run(on_server(builder, server, "throughput"));
    println!(
        "{RECORDS} records: in a batch after {of_local} ms with the local log, after {of_remote} ms with the bucket's"
    );
    assert!(of_remote < 10 * of_local + 5_000); // half as fast on a machine that does nothing else
}
