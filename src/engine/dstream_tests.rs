//! Mistakes in a graph: each is found before anything runs, and named with its numbers and uids.

use std::time::Duration;

use crate::job::context::StreamingContext;
use floodmark_base::error::ErrorKind;
use floodmark_store::state::spec::StateSpec;

/// What starting a job says whose batch interval is 200 ms.
fn refusal(declare: impl Fn(&StreamingContext)) -> String {
    let place = tempfile::tempdir().unwrap();
    let context = StreamingContext::builder("wrong")
        .checkpoint(place.path().join("state"))
        .batch_interval(Duration::from_millis(200))
        .build()
        .unwrap();
    declare(&context);
    let error = context.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(!place.path().join("state").exists(), "nothing was written");
    error.to_string()
}

fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_window_whose_length_or_slide_is_no_multiple_is_refused_with_the_numbers() {
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<u64>("numbers");
        stream.window("odd", ms(500), ms(300)).print(1);
    });
    assert_names(&message, &["the length of the window \"odd\" is 500ms", "multiple of 200 ms", "\"numbers\" slides"]);
    assert_names(&message, &["the slide of the window \"odd\" is 300ms"]);
}

#[test]
fn a_window_over_a_window_must_be_a_multiple_of_its_slide() {
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<u64>("numbers");
        stream.window("inner", ms(400), ms(400)).count_by_window("outer", ms(800), ms(600)).print(1);
    });
    assert_names(&message, &["slide of the window \"outer\" is 600ms", "multiple of 400 ms"]);
}

#[test]
fn a_window_of_nothing_or_of_parts_of_a_millisecond_is_refused() {
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<u64>("numbers");
        stream.window("none", ms(0), ms(200)).print(1);
        stream.window("parts", Duration::from_micros(200_500), ms(200)).print(1);
    });
    assert_names(&message, &["length of the window \"none\" is 0ns", "length of the window \"parts\" is 200.5ms"]);
}

#[test]
fn a_checkpoint_interval_that_is_no_multiple_is_refused_with_the_numbers() {
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<(u64, u64)>("numbers");
        stream.reduce_by_key_and_window("sums", |a, b| a + b, ms(800), ms(400)).checkpoint(ms(600)).print(1);
    });
    assert_names(&message, &["checkpoint interval of \"sums\" is 600ms", "multiple of its slide, 400 ms"]);
}

#[test]
fn streams_that_slide_differently_cannot_meet() {
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<u64>("numbers");
        stream.union(&stream.window("slow", ms(400), ms(400))).print(1);
    });
    assert_names(&message, &["union of \"numbers\" and \"slow\"", "they slide by 200 ms and 400 ms"]);
}

#[test]
fn streams_of_two_contexts_cannot_meet() {
    let other = StreamingContext::builder("other").checkpoint("unused").build().unwrap();
    let (_, foreign) = other.queue_stream::<u64>("foreign");
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<u64>("numbers");
        stream.union(&foreign).print(1);
    });
    assert_names(&message, &["two contexts", "union of \"numbers\" and \"foreign\""]);
}

#[test]
fn a_uid_that_is_used_twice_or_is_empty_is_refused() {
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<u64>("numbers");
        stream.window("same", ms(200), ms(200)).window("same", ms(200), ms(200)).print(1);
        stream.count_by_window("", ms(200), ms(200)).print(1);
    });
    assert_names(&message, &["\"same\" is used twice", "a uid is empty"]);
}

#[test]
fn a_timeout_where_none_is_known_is_refused() {
    let message = refusal(|context| {
        let (_, stream) = context.queue_stream::<(u64, u64)>("numbers");
        let spec = StateSpec::new("sums").timeout(ms(1_000));
        stream.update_state_by_key(spec, |new: &[u64], _: Option<u64>| Some(new.len() as u64)).print(1);
    });
    assert_names(&message, &["\"sums\" has a timeout", "map_with_state"]);
}
