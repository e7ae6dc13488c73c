//! Bad settings, bad records, bad code, bad sinks: each gets a clear error or is set aside by name, and nothing is lost.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::place::{Place, add, expected, word_count};
use floodmark::{
    BatchId, Epoch, Error, ErrorKind, Lineage, PublishedBatch, Queue, Sink, SinkError, StreamingContext,
    StreamingContextBuilder,
};

fn plain(builder: StreamingContextBuilder) -> StreamingContextBuilder {
    builder
}

fn refused<T>(result: Result<T, Error>, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = result else { panic!("expected an error of kind {kind:?}: {parts:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_value() {
    let place = Place::default();
    let build = |builder: StreamingContextBuilder| builder.build().map(drop);
    let configuration = ErrorKind::Configuration;
    refused(
        build(place.builder().batch_interval(Duration::ZERO)),
        configuration,
        &["interval", "0ns", "at least 1 ms"],
    );
    refused(build(place.builder().checkpoint("")), configuration, &["checkpoint location"]);
    refused(build(place.builder().workers(0)), configuration, &["0 workers"]);
    refused(build(place.builder().partitions(0)), configuration, &["0 partitions"]);
    refused(build(place.builder().partitions(129)), configuration, &["129 partitions", "128"]);
    refused(build(place.builder().checkpoint_every(0)), configuration, &["at least 1"]);
    refused(build(place.builder().max_attempts(0)), configuration, &["at least 1"]);
    refused(build(place.builder().max_rate(0.0)), configuration, &["max_rate", "0"]);
    refused(build(StreamingContext::builder("").checkpoint(place.path())), configuration, &["name"]);
    assert!(!place.path().exists(), "a refusal leaves nothing");
}

#[test]
fn two_operators_with_one_uid_are_refused() {
    let place = Place::default();
    let twice = |context: &StreamingContext| {
        let (words, stream) = context.queue_stream::<String>("words");
        let ones = stream.map(|word| (word, 1_u64));
        ones.update_state_by_key("counts", add);
        ones.update_state_by_key("counts", add);
        words
    };
    refused(place.start(plain, twice), ErrorKind::Configuration, &["\"counts\""]);
    let as_a_source = |context: &StreamingContext| {
        let (words, stream) = context.queue_stream::<String>("words");
        stream.map(|word| (word, 1_u64)).update_state_by_key("words", add);
        words
    };
    refused(place.start(plain, as_a_source), ErrorKind::Configuration, &["\"words\""]);
    refused(place.start(plain, |_| ()), ErrorKind::Configuration, &["no source"]);
}

#[test]
fn a_location_that_is_a_file_or_below_one_is_refused_with_its_path() {
    let place = Place::default();
    let file = place.path();
    std::fs::write(&file, "not a directory").unwrap();
    let path = file.display().to_string();
    refused(place.start(plain, word_count), ErrorKind::Environment, &[&path]);
    let below = file.join("state");
    refused(
        place.start(|builder| builder.checkpoint(&below), word_count),
        ErrorKind::Environment,
        &[&below.display().to_string()],
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a directory");
}

#[test]
fn a_location_that_cannot_be_written_is_refused_with_its_path() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::default();
    std::fs::create_dir(place.path()).unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(place.path().join("probe"), "").is_ok() {
        println!("skipped: whoever may do everything is never refused");
        return;
    }
    refused(place.start(plain, word_count), ErrorKind::Environment, &[&place.path().display().to_string()]);
}

/// Counts words; panics at the word `poison` as long as `panics` is above 0, and counts it down.
fn fragile(panics: &Arc<AtomicU64>) -> impl Fn(&StreamingContext) -> Queue<String> + use<> {
    let panics = panics.clone();
    move |context| {
        let (words, stream) = context.queue_stream::<String>("words");
        let panics = panics.clone();
        let ones = stream.map(move |word| {
            let left = || panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            assert!(word != "poison" || !left(), "the word {word:?} is not known");
            (word, 1_u64)
        });
        ones.update_state_by_key("counts", add);
        words
    }
}

#[test]
fn a_batch_whose_code_panics_is_tried_again_and_counts_exactly() {
    for before in 0..5 {
        let place = Place::default();
        let life = place.start(plain, fragile(&Arc::new(AtomicU64::new(3)))).unwrap();
        life.count("a", before).unwrap();
        life.count("a poison b", 1).unwrap();
        assert_eq!(life.running.status().failed_attempts, 3);
        life.count("a", 2).unwrap();
        assert_eq!(life.counts("counts"), expected(&[("a", before + 3), ("b", 1), ("poison", 1)]));
    }
}

#[test]
fn a_batch_whose_code_always_panics_stops_the_job_and_a_fixed_program_goes_on() {
    let place = Place::default();
    let panics = Arc::new(AtomicU64::new(u64::MAX));
    let life = place.start(plain, fragile(&panics)).unwrap();
    life.count("a", 4).unwrap();
    refused(
        life.count("a poison b", 1),
        ErrorKind::UserCode,
        &["batch 5", "4 times", "map", "the word \"poison\" is not known"],
    );
    drop(life);
    // The same program: a new budget, the same end.
    refused(place.start(plain, fragile(&panics)), ErrorKind::UserCode, &["batch 5", "4 times"]);
    panics.store(0, Ordering::SeqCst);
    let life = place.start(plain, fragile(&panics)).unwrap();
    life.count("a", 1).unwrap();
    assert_eq!(life.counts("counts"), expected(&[("a", 6), ("b", 1), ("poison", 1)]));
}

#[test]
fn a_poison_record_is_set_aside_and_all_others_count() {
    let place = Place::default();
    let panics = Arc::new(AtomicU64::new(u64::MAX));
    let dead_letters = |builder: StreamingContextBuilder| builder.dead_letters();
    let life = place.start(dead_letters, fragile(&panics)).unwrap();
    life.count("a b", 1).unwrap();
    life.count("a poison b poison c", 1).unwrap();
    life.count("c", 1).unwrap();
    let all = expected(&[("a", 2), ("b", 2), ("c", 2)]);
    assert_eq!(life.counts("counts"), all);
    let letters: Vec<_> = common::place::files(&place.path().join("dead-letters"));
    let text: String =
        letters.iter().map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()).collect();
    assert!(text.contains("poison") && text.contains("words") && text.contains("not known"), "{letters:?}: {text}");
    drop(life);
    // They stay aside when their batch is recomputed, in the same program and without the setting.
    for configure in [dead_letters, plain] {
        let life = place.start(configure, fragile(&panics)).unwrap();
        assert_eq!(life.counts("counts"), all);
        assert_eq!(life.running.status().failed_attempts, 0);
    }
}

#[test]
fn lines_that_are_not_text_are_counted_and_all_others_count() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let place = Place::default();
    let lines = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = lines.clone();
    let life = place
        .start(plain, |context| {
            context.socket_text_stream("lines", &address).foreach_rdd(move |_, rdd| {
                seen.lock().unwrap().extend(rdd.collect().iter().map(ToString::to_string));
            });
        })
        .unwrap();
    let (mut connection, _) = server.accept().unwrap();
    connection.write_all(b"first\n\xff\xfe\xfd\nthird\r\n\n").unwrap();
    connection.write_all(&vec![b'x'; 2 << 20]).unwrap();
    connection.write_all(b"\nlast\n").unwrap();
    drop(connection);
    // The block interval and the arrival of bytes are real; batches are cut until all has come.
    while !lines.lock().unwrap().contains("last") {
        life.run_batch().unwrap();
    }
    let lines = lines.lock().unwrap();
    assert!(lines.contains("first") && lines.contains("third"));
    assert!(lines.iter().all(|line| line.len() < 1 << 20));
    assert_eq!(life.running.status().failed_records, 1, "the line that is not UTF-8 fails where it is decoded");
    let receiver = &life.running.receivers()[0];
    assert!(receiver.counts.errors >= 1, "the line that is too long is dropped and reported where it is received");
}

/// A sink that refuses a batch, as long as it is told to.
struct Fails {
    batch: u64,
    refuses: Arc<AtomicU64>,
    taken: Arc<Mutex<Vec<(BatchId, usize)>>>,
}

impl Sink<(String, u64)> for Fails {
    fn fence(&mut self, _: Epoch, _: Lineage) -> Result<Option<BatchId>, SinkError> {
        Ok(None)
    }

    fn publish(&mut self, batch: &PublishedBatch<(String, u64)>) -> Result<(), SinkError> {
        if batch.batch.0 == self.batch {
            match self.refuses.load(Ordering::SeqCst) {
                0 => {}
                1 => return Err(SinkError::other("the table is locked")),
                _ => panic!("the sink is broken"),
            }
        }
        self.taken.lock().unwrap().push((batch.batch, batch.len()));
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_stops_the_job_and_gets_the_batch_at_the_next_start() {
    for (how, kind, words) in
        [(1, ErrorKind::Environment, "the table is locked"), (2, ErrorKind::UserCode, "the sink is broken")]
    {
        let place = Place::default();
        let (refuses, taken) = (Arc::new(AtomicU64::new(how)), Arc::new(Mutex::new(Vec::new())));
        let program = |context: &StreamingContext| {
            let (words, stream) = context.queue_stream::<String>("words");
            let sink = Fails { batch: 2, refuses: refuses.clone(), taken: taken.clone() };
            stream.map(|word| (word, 1_u64)).update_state_by_key("counts", add).sink("table", sink);
            words
        };
        let life = place.start(plain, program).unwrap();
        life.count("a", 1).unwrap();
        refused(life.count("b", 1), kind, &["\"table\"", "batch 2", words]);
        drop(life);
        refused(place.start(plain, program), kind, &["\"table\"", "batch 2", words]);
        refuses.store(0, Ordering::SeqCst);
        let life = place.start(plain, program).unwrap();
        life.count("c", 1).unwrap();
        assert_eq!(*taken.lock().unwrap(), [(BatchId(1), 1), (BatchId(2), 2), (BatchId(3), 3)]);
    }
}
