//! Contexts as programs use them: several in one process, inside of a tokio runtime, from start to end.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::job::running::Phase;
use crate::source::Queue;
use floodmark_base::clock::ManualClock;

/// Sums up what is pushed, by key, once in every tick of `clock`.
fn totals(place: &TempDir, clock: &ManualClock) -> (StreamingContext, Queue<(u64, u64)>) {
    let location = place.path().join("state");
    let builder = StreamingContext::builder("totals").checkpoint(location).workers(1).clock(clock.clone());
    let context = builder.build().unwrap();
    let queue = declare(&context);
    (context, queue)
}

fn declare(context: &StreamingContext) -> Queue<(u64, u64)> {
    let (queue, stream) = context.queue_stream::<(u64, u64)>("numbers");
    stream.update_state_by_key("totals", |new: &[u64], old: Option<u64>| {
        Some(old.unwrap_or(0) + new.iter().map(|&number| 10 / number).sum::<u64>())
    });
    queue
}

fn clock() -> ManualClock {
    ManualClock::at(1_700_000_000_000)
}

fn total(running: &Running, key: u64) -> Option<u64> {
    running.state::<u64, u64>("totals").unwrap().get(&key).unwrap()
}

fn push_and_wait(running: &Running, queue: &Queue<(u64, u64)>, clock: &ManualClock, record: (u64, u64)) {
    let before = running.status().records;
    queue.push(vec![record]).unwrap();
    clock.advance(Duration::from_secs(1));
    running.wait_until(|status| status.records > before && status.published == status.planned).unwrap();
}

#[test]
fn several_contexts_live_in_one_process_each_with_its_own_state() {
    let jobs: Vec<_> = (0..3)
        .map(|job| {
            let (place, clock) = (tempfile::tempdir().unwrap(), clock());
            let (context, queue) = totals(&place, &clock);
            (job, place, clock, context.start().unwrap(), queue)
        })
        .collect();
    for (job, _, clock, running, queue) in &jobs {
        push_and_wait(running, queue, clock, (*job, 2));
    }
    for (job, _, _, running, _) in &jobs {
        let found: Vec<_> = running.state::<u64, u64>("totals").unwrap().iter().unwrap().collect();
        assert_eq!(found, [(*job, 5)]);
    }
    jobs[0].3.stop(true).unwrap();
    assert_eq!(jobs[0].3.phase(), Phase::Stopped);
    push_and_wait(&jobs[1].3, &jobs[1].4, &jobs[1].2, (1, 2));
    assert_eq!(total(&jobs[1].3, 1), Some(10), "the others go on");
}

#[test]
fn two_contexts_with_one_location_are_refused() {
    let (place, clock) = (tempfile::tempdir().unwrap(), clock());
    let running = totals(&place, &clock).0.start().unwrap();
    let error = totals(&place, &clock).0.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Owned, "{error}");
    drop(running);
    totals(&place, &clock).0.start().unwrap();
}

/// A whole life, and a second one after a crash, on whatever thread this is called.
fn live_twice() {
    let (place, clock) = (tempfile::tempdir().unwrap(), clock());
    let (context, queue) = totals(&place, &clock);
    let running = context.start().unwrap();
    push_and_wait(&running, &queue, &clock, (7, 2));
    drop(running);
    let (context, queue) = totals(&place, &clock);
    let running = context.start().unwrap();
    push_and_wait(&running, &queue, &clock, (7, 1));
    assert_eq!(total(&running, 7), Some(15));
    running.stop(true).unwrap();
    drop(running);
}

#[tokio::test(flavor = "current_thread")]
async fn a_job_lives_inside_of_a_runtime_of_one_thread() {
    live_twice();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_lives_inside_of_a_runtime_of_several_threads() {
    live_twice();
    tokio::spawn(async { live_twice() }).await.unwrap();
    tokio::task::spawn_blocking(live_twice).await.unwrap();
}

#[test]
fn waiting_for_the_end_with_a_timeout_says_whether_it_came() {
    let (place, clock) = (tempfile::tempdir().unwrap(), clock());
    let running = totals(&place, &clock).0.start().unwrap();
    assert!(!running.await_termination_timeout(Duration::from_millis(1)).unwrap());
    assert_eq!(running.phase(), Phase::Active);
    running.stop(false).unwrap();
    assert!(running.await_termination_timeout(Duration::from_secs(60)).unwrap());
    assert!(running.await_termination_timeout(Duration::ZERO).unwrap(), "and says so again");
    assert_eq!(running.phase(), Phase::Stopped);
}

#[test]
fn a_job_that_failed_says_so_and_why() {
    let (place, clock) = (tempfile::tempdir().unwrap(), clock());
    let (context, queue) = totals(&place, &clock);
    let running = context.start().unwrap();
    queue.push(vec![(1, 0)]).unwrap();
    clock.advance(Duration::from_secs(1));
    let error = running.await_termination_timeout(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode, "{error}");
    assert_eq!(running.phase(), Phase::Failed);
}

#[test]
fn get_or_create_creates_at_every_start_and_recovers_what_is_there() {
    let (place, clock) = (tempfile::tempdir().unwrap(), clock());
    let location = place.path().join("state");
    for life in 1..=3 {
        let mut queue = None;
        let running = StreamingContext::get_or_create("totals", &location, |builder| {
            let context = builder.workers(1).clock(clock.clone()).build()?;
            queue = Some(declare(&context));
            Ok(context)
        });
        let running = running.unwrap();
        push_and_wait(&running, &queue.unwrap(), &clock, (7, 10));
        assert_eq!(total(&running, 7), Some(life));
    }
}

#[test]
fn get_or_create_refuses_a_context_of_another_place() {
    let (place, clock) = (tempfile::tempdir().unwrap(), clock());
    let error = StreamingContext::get_or_create("totals", "./elsewhere", |_| Ok(totals(&place, &clock).0)).unwrap_err();
    let expected = format!(
        "the context that was created has the checkpoint location {}: expected ./elsewhere",
        place.path().join("state").display()
    );
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Configuration, expected));
    let error = StreamingContext::get_or_create("totals", "./elsewhere", |builder| builder.workers(0).build());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration);
}

/// The error of a job that is declared wrongly.
fn refusal(declare: impl FnOnce(&StreamingContext)) -> String {
    let place = tempfile::tempdir().unwrap();
    let context = StreamingContext::builder("wrong").checkpoint(place.path().join("state")).build().unwrap();
    declare(&context);
    let error = context.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error.to_string()
}

#[test]
fn sources_that_cannot_work_are_refused_at_the_start() {
    use crate::source::Framing;
    let error = refusal(|context| context.socket_stream("s", "127.0.0.1:1", Framing::fixed(0)).print(1));
    assert_eq!(error, "the framing of source \"s\" cannot be used: frames of 0 bytes: expected 1 to 1048576");
    let error = refusal(|context| context.raw_socket_stream::<u64>("s", "nowhere").print(1));
    assert!(error.starts_with("the address \"nowhere\" of source \"s\" cannot be used: "), "{error}");
    let error = refusal(|context| context.binary_records_stream("s", "./in", 0).print(1));
    assert_eq!(error, "the record length of source \"s\" is 0 bytes: expected 1 to 1073741824");
}

#[test]
fn a_union_of_nothing_or_of_another_contexts_stream_is_refused() {
    let error = refusal(|context| context.union::<u64>(&[]).print(1));
    assert_eq!(error, "a union of no streams: expected one at least");
    let place = tempfile::tempdir().unwrap();
    let other = StreamingContext::builder("other").checkpoint(place.path()).build().unwrap();
    let (_queue, foreign) = other.queue_stream::<u64>("foreign");
    let context = StreamingContext::builder("mixed").checkpoint(place.path()).build().unwrap();
    let (_queue, own) = context.queue_stream::<u64>("own");
    context.union(&[own, foreign]).print(1);
    let error = context.start().unwrap_err().to_string();
    assert_eq!(
        error,
        "streams of two contexts are mixed: union of \"own\" and \"foreign\"; all must come from the same one"
    );
}

/// A context whose batch interval is 3 s.
fn slow() -> StreamingContext {
    StreamingContext::builder("slow").checkpoint("./unused").batch_interval(Duration::from_secs(3)).build().unwrap()
}

#[test]
fn a_stream_with_state_wants_a_checkpoint_at_the_smallest_multiple_of_its_slide_from_10_s_on() {
    let wished = |declare: fn(&StreamingContext)| {
        let context = slow();
        declare(&context);
        let (_, wish) = context.graph.finish().unwrap();
        (wish.given_ms, wish.smallest_ms)
    };
    let stateless = |context: &StreamingContext| context.queue_stream::<u64>("n").1.print(1);
    assert_eq!(wished(stateless), (None, 12_000));
    let of_slide_24 = |context: &StreamingContext| {
        let (_, numbers) = context.queue_stream::<u64>("n");
        numbers.window("window", Duration::from_secs(24), Duration::from_secs(24)).print(1);
    };
    assert_eq!(wished(of_slide_24), (None, 24_000));
    let of_both = |context: &StreamingContext| {
        let (_, numbers) = context.queue_stream::<u64>("n");
        let slow = numbers.window("slow", Duration::from_secs(24), Duration::from_secs(24));
        slow.checkpoint(Duration::from_secs(48)).print(1);
        numbers.window("fast", Duration::from_secs(6), Duration::from_secs(6)).print(1);
    };
    assert_eq!(wished(of_both), (Some(48_000), 12_000), "the smallest of all counts");
    let given = |context: &StreamingContext| {
        let (_, numbers) = context.queue_stream::<u64>("n");
        numbers
            .window("fast", Duration::from_secs(3), Duration::from_secs(3))
            .checkpoint(Duration::from_secs(6))
            .print(1);
    };
    assert_eq!(wished(given), (Some(6_000), 6_000));
}

#[test]
fn the_checkpoint_interval_of_a_stream_holds_also_where_the_job_wants_fewer() {
    let mut job = crate::testing::TestJob::configured(
        |builder| builder.checkpoint_every(1_000).recovery_target(Duration::from_secs(3_600)),
        |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            let interval = Duration::from_millis(100);
            stream.window("window", interval, interval).checkpoint(3 * interval).print(0);
            numbers
        },
    )
    .unwrap();
    for _ in 0..6 {
        let batch = job.run_batch().unwrap();
        if batch.id.0.is_multiple_of(3) {
            job.running().wait_until(|status| status.checkpoint == batch.id).unwrap();
        }
    }
    assert_eq!(job.running().status().checkpoints, 2);
}

#[test]
fn a_host_that_does_not_resolve_holds_up_neither_the_start_nor_the_schema_nor_other_sources() {
    let place = tempfile::tempdir().unwrap();
    let context = StreamingContext::builder("job").checkpoint(place.path().join("state")).build().unwrap();
    context.socket_text_stream("feed", "feed.no-such-host.invalid:9999").print(0);
    let (numbers, stream) = context.queue_stream::<u64>("numbers");
    stream.print(0);
    context.schema().unwrap();
    let running = context.start().unwrap();
    numbers.push(vec![1, 2]).unwrap();
    running.wait_until(|status| status.records == 2).unwrap();
    running.stop(true).unwrap();
}

/// What a builder is refused with.
fn refused(builder: StreamingContextBuilder) -> String {
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error.to_string()
}

#[test]
fn durations_in_fractions_of_a_millisecond_are_refused_by_name() {
    let odd = Duration::from_micros(1_900);
    let place = tempfile::tempdir().unwrap();
    let builder = || StreamingContext::builder("job").checkpoint(place.path().join("state"));
    let bucket = || StreamingContext::builder("job").checkpoint("memory://odd").working_directory(place.path());
    for (setting, builder) in [
        ("batch_interval", builder().batch_interval(odd)),
        ("recovery_target", builder().recovery_target(odd)),
        ("keep_checkpoints_for", builder().keep_checkpoints_for(odd)),
        ("object_store_patience", bucket().object_store_patience(odd)),
    ] {
        assert_eq!(refused(builder), format!("{setting} is 1.9ms: expected whole milliseconds"));
    }
    let error = refusal(|context| {
        let (_, pairs) = context.queue_stream::<(u64, u64)>("pairs");
        let spec = floodmark_store::state::spec::StateSpec::new("sums").timeout(odd);
        pairs.map_with_state(spec, |_, _, _: &mut crate::KeyedState<u64>| ()).print(0);
    });
    assert_eq!(error, "the timeout of \"sums\" is 1.9ms: expected whole milliseconds");
}

#[test]
fn a_stream_is_remembered_for_at_least_as_long_as_was_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let builder = StreamingContext::builder("job").checkpoint(place.path()).batch_interval(Duration::from_millis(1));
    let context = builder.remember(Duration::from_micros(1_900)).build().unwrap();
    let (_, numbers) = context.queue_stream::<u64>("numbers");
    assert_eq!(numbers.remembered_window(Duration::ZERO).length_ms, 2);
}

#[test]
fn a_location_that_is_almost_a_url_is_refused_with_the_right_spelling() {
    for (location, spelling) in [
        ("file:/data/x", "file:///data/x"),
        ("file:data/x", "file:///data/x"),
        ("s3:/bucket/x", "s3://bucket/x"),
        ("s3:bucket/x", "s3://bucket/x"),
        ("S3://bucket/x", "s3://bucket/x"),
        ("s3a://bucket/x", "s3://bucket/x"),
        ("GS:/bucket", "gs://bucket"),
        ("hdfs:/data", "./hdfs:/data"),
    ] {
        let error = refused(StreamingContext::builder("job").checkpoint(location));
        assert!(error.contains(location) && error.contains(spelling), "{location}: {error}");
    }
    let error = refused(StreamingContext::builder("job").checkpoint("memory://x").working_directory("file:/tmp/x"));
    assert!(error.contains("working directory") && error.contains("is a URL"), "{error}");
}

#[test]
fn directories_of_sources_and_sinks_that_are_urls_are_refused() {
    let error = refusal(|context| context.text_file_stream("files", "s3://bucket/in").print(0));
    assert!(error.starts_with("the directory of source \"files\" cannot be used: s3://bucket/in is a URL"), "{error}");
    let error = refusal(|context| context.binary_records_stream("files", "file:/in", 8).print(0));
    assert!(error.contains("file:/in is a URL"), "{error}");
    let saved =
        |context: &StreamingContext| context.queue_stream::<u64>("n").1.save_as_text_files("out", "s3:/b/out", "txt");
    let error = refusal(saved);
    assert!(error.contains("s3:/b/out is a URL"), "{error}");
    let place = tempfile::tempdir().unwrap();
    let context = StreamingContext::builder("job").checkpoint(place.path().join("state")).build().unwrap();
    context.queue_stream::<u64>("n").1.sink("out", crate::FileSink::new("hdfs://host/out"));
    let error = context.start().unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{error} {cause}").contains("hdfs://host/out is a URL"), "{error}: {cause}");
}

#[test]
fn the_working_copy_of_a_job_stays_in_its_directory_whatever_the_job_is_called() {
    let here = std::env::current_dir().unwrap().join(".floodmark");
    for name in ["../outside", "x/../../y", "..", ".", "/abs/path", "word count"] {
        let context = StreamingContext::builder(name).checkpoint("memory://names").build().unwrap();
        assert_eq!(context.settings.location.parent(), Some(here.as_path()), "{name}");
    }
    assert!(
        refused(StreamingContext::builder(&"/".repeat(100)).checkpoint("memory://names")).contains("working_directory")
    );
}
