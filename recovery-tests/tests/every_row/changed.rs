//! Programs whose sources or windows have changed: what is stored is never read as something else.

use std::fmt::Debug;
use std::time::Duration;

use floodmark::{Queue, StreamingContext};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

/// Types as one build declares them.
mod before {
    use super::*;

    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub enum Move {
        Deposit(u64),
        Withdraw(u64),
    }

    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct Transfer {
        pub from: String,
        pub to: String,
    }
}

/// The same types as another build declares them: their parts have changed places.
mod after {
    use super::*;

    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub enum Move {
        Withdraw(u64),
        Deposit(u64),
    }

    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct Transfer {
        pub to: String,
        pub from: String,
    }
}

/// Counts records by their text.
fn ledger<T>(context: &StreamingContext) -> Queue<T>
where
    T: Clone + Debug + Send + Sync + Serialize + DeserializeOwned + 'static,
{
    let (moves, stream) = context.queue_stream::<T>("moves");
    stream.map(|it| (format!("{it:?}"), 1_u64)).update_state_by_key("counts", add);
    moves
}

/// Waiting records, and those of a batch that has to be recomputed, are refused as `B`; once nothing is left of them, `B` is taken.
fn refused_until_used_up<A, B>(record: A, newer: B, found: &str, expected: &str)
where
    A: Clone + Debug + Send + Sync + Serialize + DeserializeOwned + 'static,
    B: Clone + Debug + Send + Sync + Serialize + DeserializeOwned + 'static,
{
    let place = Place::default();
    let life = place.start(|builder| builder, ledger::<A>).unwrap();
    life.handles.push(vec![record.clone()]).unwrap();
    drop(life);
    let words = ["source \"moves\" has 1 block", found, expected, "graceful stop", "drop_state(\"moves\")"];
    error_of(place.start(|builder| builder, ledger::<B>), ErrorKind::Incompatible, &words);

    let life = place.start(|builder| builder, ledger::<A>).unwrap();
    life.run_batch().unwrap();
    drop(life);
    let words = ["batch 1", "records of source \"moves\"", found, expected, "graceful stop"];
    // Also under a new version, which may give other results: it would give them for other records.
    for version in ["1", "2"] {
        let refused = place.start(|builder| builder.job_version(version), ledger::<B>);
        error_of(refused, ErrorKind::Incompatible, &words);
    }

    let life = place.start(|builder| builder, ledger::<A>).unwrap();
    life.running.stop(true).unwrap();
    let life = place.start(|builder| builder, ledger::<B>).unwrap();
    life.handles.push(vec![newer.clone()]).unwrap();
    life.run_batch().unwrap();
    let counts = life.running.state::<String, u64>("counts").unwrap();
    for text in [format!("{record:?}"), format!("{newer:?}")] {
        assert!(counts.get(&text).unwrap().is_some(), "{text} is not counted as what it was");
    }
}

#[test]
fn records_of_another_type_are_refused_by_name_and_never_misread() {
    let deposit = before::Move::Deposit(100);
    refused_until_used_up(deposit, after::Move::Deposit(100), "| Deposit(u64) | Withdraw", "| Withdraw(u64) | Dep");
    let (from, to) = ("alice".to_string(), "bob".to_string());
    let newer = after::Transfer { to: to.clone(), from: from.clone() };
    refused_until_used_up(before::Transfer { from, to }, newer, "{ from: str, to: str }", "{ to: str, from: str }");
    refused_until_used_up(("a".to_string(), 7_u64), ("a".to_string(), -4_i64), "(str, u64)", "(str, i64)");
    refused_until_used_up(("a".to_string(), 7_u64), ("a".to_string(), 7_u64, true), "(str, u64)", "(str, u64, bool)");
}

fn other_source(context: &StreamingContext) -> Queue<u64> {
    let (numbers, stream) = context.queue_stream::<u64>("numbers");
    stream.print(1);
    numbers
}

#[test]
fn another_framing_of_a_socket_is_refused_while_its_bytes_wait() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let place = Place::default();
    let lines = |context: &StreamingContext| {
        context.socket_text_stream("in", &address).print(1);
        other_source(context)
    };
    let life = place.start(|builder| builder, lines).unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut connection, b"one\ntwo\n").unwrap();
    // At the end of a connection what came in is logged.
    drop(connection);
    while life.running.receivers()[0].counts.records < 2 {
        std::thread::yield_now();
    }
    // The log is one: what is confirmed after a block is durable after it.
    life.handles.push(vec![1]).unwrap();
    drop(life);
    let frames = |context: &StreamingContext| {
        context.socket_stream("in", &address, floodmark::Framing::length_prefixed()).print(1);
        other_source(context)
    };
    let words = ["source \"in\" has 1 block of lines", "frames behind their lengths now", "drop_state(\"in\")"];
    error_of(place.start(|builder| builder, frames), ErrorKind::Incompatible, &words);
    let life = place.start(|builder| builder, lines).unwrap();
    life.running.stop(true).unwrap();
    place.start(|builder| builder, frames).unwrap();
}

#[test]
fn another_kind_of_source_under_a_uid_is_refused_unless_its_position_is_dropped() {
    let (place, incoming) = (Place::default(), tempfile::tempdir().unwrap());
    fs::write(incoming.path().join("one"), "x\n").unwrap();
    let files = |context: &StreamingContext| context.text_file_stream("in", incoming.path()).print(1);
    let life = place.start(|builder| builder, files).unwrap();
    life.run_batch().unwrap();
    life.running.stop(true).unwrap();
    let queue = |context: &StreamingContext| {
        let (queue, stream) = context.queue_stream::<String>("in");
        stream.print(1);
        queue
    };
    let refused = place.start(|builder| builder, queue);
    error_of(
        refused,
        ErrorKind::Incompatible,
        &["\"in\" was text_file_stream", "queue_stream now", "drop_state(\"in\")"],
    );
    let records = |context: &StreamingContext| context.binary_records_stream("in", incoming.path(), 2).print(1);
    let refused = place.start(|builder| builder, records);
    error_of(refused, ErrorKind::Incompatible, &["\"in\" was text_file_stream", "binary_records_stream, 2 bytes"]);
    let life = place.start(|builder| builder.drop_state("in"), queue).unwrap();
    life.handles.push(vec!["y".to_string()]).unwrap();
    life.run_batch().unwrap();
}

fn sums(length_ms: u64, slide_ms: u64) -> impl Fn(&StreamingContext) -> Queue<(String, u64)> {
    let (length, slide) = (Duration::from_millis(length_ms), Duration::from_millis(slide_ms));
    move |context| {
        let (numbers, stream) = context.queue_stream::<(String, u64)>("numbers");
        stream.reduce_by_key_and_window_inverse("sums", u64::wrapping_add, u64::wrapping_sub, length, slide).print(1);
        stream.window("kept", length, slide).count().print(1);
        stream.count_by_window("count", length, slide).print(1);
        numbers
    }
}

/// With another slide an inverse window took out what it had never put in, and kept the difference for good.
#[test]
fn another_slide_of_a_window_is_refused_and_never_corrupts_it() {
    let place = Place::default();
    let life = place.start(|builder| builder, sums(600, 300)).unwrap();
    for _ in 0..4 {
        life.handles.push(vec![("a".to_string(), 1)]).unwrap();
        life.run_batch().unwrap();
    }
    life.running.stop(true).unwrap();
    let refused = |declare: &dyn Fn(&StreamingContext) -> Queue<(String, u64)>, words: &[&str]| {
        error_of(place.start(|builder| builder, declare), ErrorKind::Incompatible, words);
    };
    refused(&sums(600, 200), &["had a slide of 300 ms", "has 200 ms now", "drop_state"]);
    refused(&sums(900, 300), &["had a length of 600 ms", "has 900 ms now", "drop_state"]);
    let slower = place.start(|builder| builder.batch_interval(Duration::from_millis(300)), sums(600, 300));
    error_of(slower, ErrorKind::Incompatible, &["had a batch interval of 100 ms", "has 300 ms now"]);
    place.start(|builder| builder.batch_interval(Duration::from_millis(150)), sums(600, 300)).unwrap();
}
