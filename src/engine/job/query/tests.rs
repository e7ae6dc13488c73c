//! Questions about batches that are over, that are there, and that are to come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::*;
use crate::source::Queue;
use crate::testing::TestJob;
use crate::{KeyedState, StreamingContext, StreamingContextBuilder};

/// Every push adds its amount to an account.
fn declare(context: &StreamingContext) -> Queue<(String, i64)> {
    let (amounts, stream) = context.queue_stream::<(String, i64)>("amounts");
    stream.update_state_by_key("accounts", |new: &[i64], old: Option<i64>| {
        Some(old.unwrap_or(0) + new.iter().sum::<i64>())
    });
    amounts
}

fn job_of(workers: u32) -> TestJob<Queue<(String, i64)>> {
    TestJob::configured(move |builder: StreamingContextBuilder| builder.workers(workers), declare).unwrap()
}

/// Moves one from "a" to "b", so that the two are always 0 together.
fn move_one(job: &mut TestJob<Queue<(String, i64)>>) -> Batch {
    job.handles().push(vec![("a".into(), -1), ("b".into(), 1)]).unwrap();
    job.run_batch().unwrap()
}

fn accounts<H: Clone>(job: &TestJob<H>) -> StateHandle<'_, String, i64> {
    job.running().state("accounts").unwrap()
}

fn name(name: &str) -> String {
    name.to_string()
}

#[test]
fn an_answer_is_of_one_batch_and_says_which() {
    for workers in [1, 2, 4] {
        let mut job = job_of(workers);
        let before = accounts(&job).snapshot().unwrap();
        assert_eq!((before.batch().id, before.batch().time, before.is_empty()), (BatchId(0), Default::default(), true));
        for round in 1..=3 {
            let batch = move_one(&mut job);
            let keys = [name("b"), name("c"), name("a"), name("b")];
            let some = accounts(&job).get_many(&keys).unwrap();
            assert_eq!(
                (some.batch(), some.len()),
                (batch, 2),
                "once for a key that is asked for twice, none for no state"
            );
            assert_eq!((some.get(&name("a")), some.get(&name("b"))), (Some(&-round), Some(&round)));
            assert_eq!(some.get(&name("c")), None);
            let all = accounts(&job).snapshot().unwrap();
            assert_eq!(all.batch(), batch);
            assert!(all.iter().eq(some.iter()), "both in the order of the keys' hashes");
            assert_eq!(accounts(&job).iter().unwrap().collect::<Vec<_>>(), all.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_batch_that_is_over_is_refused_by_name_and_the_newest_is_answered_at_once() {
    let mut job = job_of(2);
    for _ in 0..3 {
        move_one(&mut job);
    }
    let error = accounts(&job).as_of(BatchId(2)).get(&name("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Past);
    assert_eq!(error.to_string(), "the state is not as of batch 2 any more: it is at batch 3");
    assert_eq!(accounts(&job).as_of(BatchId(3)).get(&name("a")).unwrap(), Some(-3));
    job.crash_and_restart().unwrap();
    assert_eq!(accounts(&job).as_of(BatchId(3)).snapshot().unwrap().get(&name("b")), Some(&3), "also after a restart");
    assert_eq!(accounts(&job).as_of(BatchId(2)).snapshot().unwrap_err().kind(), ErrorKind::Past);
}

#[test]
fn a_question_about_a_batch_to_come_holds_nothing_up_and_is_answered_as_of_it_however_late_it_is_heard() {
    let mut job = job_of(2);
    move_one(&mut job);
    let asked = accounts(&job).as_of(BatchId(3));
    let replies = asked.send(Select::All).unwrap();
    // The job is far beyond when whoever asked looks at the answer.
    let third = (2..=9).map(|_| move_one(&mut job)).nth(1).unwrap();
    let (batch, entries) = accounts(&job).receive(&replies).unwrap();
    assert_eq!(batch, third);
    let found = StateSnapshot::<String, i64>::new(batch, entries).unwrap();
    assert_eq!((found.get(&name("a")), found.get(&name("b"))), (Some(&-3), Some(&3)));
}

#[test]
fn a_question_waits_for_the_attempt_that_succeeds() {
    let fails = Arc::new(AtomicBool::new(false));
    let once = fails.clone();
    let mut job = TestJob::new(move |context| {
        let (amounts, stream) = context.queue_stream::<(String, i64)>("amounts");
        let once = once.clone();
        stream
            .map(move |amount| {
                assert!(!once.swap(false, Ordering::SeqCst), "once");
                amount
            })
            .update_state_by_key("accounts", |new: &[i64], old: Option<i64>| {
                Some(old.unwrap_or(0) + new.iter().sum::<i64>())
            });
        amounts
    })
    .unwrap();
    move_one(&mut job);
    let replies = accounts(&job).as_of(BatchId(2)).send(Select::All).unwrap();
    fails.store(true, Ordering::SeqCst);
    let second = move_one(&mut job);
    assert_eq!(job.running().status().failed_attempts, 1);
    let (batch, entries) = accounts(&job).receive(&replies).unwrap();
    assert_eq!(batch, second);
    assert_eq!(StateSnapshot::<String, i64>::new(batch, entries).unwrap().get(&name("b")), Some(&2));
}

#[test]
fn a_stop_answers_who_waits_for_its_last_batch_and_tells_the_others() {
    for graceful in [true, false] {
        let mut job = job_of(2);
        move_one(&mut job);
        let last = accounts(&job).as_of(BatchId(2)).send(Select::All).unwrap();
        let never = accounts(&job).as_of(BatchId(99)).send(Select::All).unwrap();
        job.running().stop(graceful).unwrap();
        let last = accounts(&job).receive(&last);
        if graceful {
            assert_eq!(last.unwrap().0.id, BatchId(2), "the batch that carries the last checkpoint");
        } else {
            assert_eq!(last.unwrap_err().kind(), ErrorKind::Stopped);
        }
        assert_eq!(accounts(&job).receive(&never).unwrap_err().kind(), ErrorKind::Stopped);
        assert_eq!(accounts(&job).get(&name("a")).unwrap_err().kind(), ErrorKind::Stopped);
    }
}

#[test]
fn an_output_that_asks_for_the_state_of_its_own_job_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let context = StreamingContext::builder("job").checkpoint(place.path()).build().unwrap();
    let (amounts, stream) = context.queue_stream::<(String, i64)>("amounts");
    let accounts = stream.update_state_by_key("accounts", |new: &[i64], old: Option<i64>| {
        Some(old.unwrap_or(0) + new.iter().sum::<i64>())
    });
    let (running, (said, says)) = (Arc::new(OnceLock::<Weak<Running>>::new()), channel());
    let inside = running.clone();
    accounts.foreach_rdd(move |_, rdd| {
        if let (Some(running), false) = (inside.get().and_then(Weak::upgrade), rdd.collect().is_empty()) {
            let asked = running.state::<String, i64>("accounts").unwrap().get(&"a".to_string());
            said.send(asked.unwrap_err().kind()).unwrap();
        }
    });
    let started = Arc::new(context.start().unwrap());
    running.set(Arc::downgrade(&started)).unwrap();
    amounts.push(vec![("a".to_string(), 1)]).unwrap();
    assert_eq!(says.recv().unwrap(), ErrorKind::Configuration);
    started.stop(true).unwrap();
}

/// What a [`Moody`] number does when it is encoded.
static MOOD: Mutex<&str> = Mutex::new("");

/// A number whose serde code fails when it is told to.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
struct Moody(u64);

impl serde::Serialize for Moody {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mood = *MOOD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match mood {
            "panics" => panic!("not today"),
            "refuses" => Err(serde::ser::Error::custom("not today")),
            _ => serializer.serialize_newtype_struct("Moody", &self.0),
        }
    }
}

#[test]
fn a_state_that_cannot_be_encoded_for_whoever_asks_is_told_to_them_by_type_and_the_job_goes_on() {
    let moody = |context: &StreamingContext| {
        let (numbers, stream) = context.queue_stream::<(u64, u64)>("numbers");
        stream.update_state_by_key("moods", |new: &[u64], old: Option<Moody>| new.last().copied().map(Moody).or(old));
        stream.map_with_state("kept", |_: &u64, new: Option<u64>, state: &mut KeyedState<Moody>| {
            new.into_iter().for_each(|new| state.update(Moody(new)));
        });
        let (second, interval) = (std::time::Duration::from_secs(1), std::time::Duration::from_millis(100));
        let sums = stream.map(|(key, number)| (key, Sum(Moody(number))));
        sums.reduce_by_key_and_window_inverse("sums", |_, b| b, |a, _| a, second, interval);
        numbers
    };
    let mut job = TestJob::new(moody).unwrap();
    let push = |job: &mut TestJob<Queue<(u64, u64)>>| {
        job.handles().push((0..50).map(|key| (key, key)).collect()).unwrap();
        job.run_batch().unwrap();
    };
    push(&mut job);
    for mood in ["panics", "refuses"] {
        *MOOD.lock().unwrap() = mood;
        let of = |uid| job.running().state::<u64, Moody>(uid).unwrap();
        let sums = job.running().state::<u64, Sum>("sums").unwrap();
        let errors = [
            of("moods").get(&1).unwrap_err(),
            of("moods").snapshot().unwrap_err(),
            of("kept").get_many(&[1, 2]).unwrap_err(),
            of("kept").snapshot().unwrap_err(),
            sums.snapshot().unwrap_err(),
        ];
        *MOOD.lock().unwrap() = "";
        for (error, uid) in errors.iter().zip(["moods", "moods", "kept", "kept", "sums"]) {
            assert_eq!(error.kind(), ErrorKind::UserCode, "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("\"{uid}\"")) && text.contains("not today"), "{text}");
            assert!(text.contains("Moody") || text.contains("Sum"), "{text}");
        }
        assert_eq!(of("moods").get(&7).unwrap(), Some(Moody(7)));
        push(&mut job);
    }
    assert_eq!(job.running().status().failed_attempts, 0);
    assert_eq!(job.running().state::<u64, Moody>("kept").unwrap().snapshot().unwrap().len(), 50);
}

/// A value of a window.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Sum(Moody);

#[test]
fn a_key_that_cannot_be_encoded_is_an_error_of_whoever_asks() {
    #[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
    struct Even(u64);
    impl serde::Serialize for Even {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                1_001 => Err(serde::ser::Error::custom("an odd number")),
                1_003 => panic!("an odd number"),
                number => serializer.serialize_newtype_struct("Even", &number),
            }
        }
    }
    let mut job = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let counts = stream.map(|number| (Even(number), number));
        counts.update_state_by_key("counts", |new: &[u64], old: Option<u64>| new.last().copied().or(old));
        numbers
    })
    .unwrap();
    job.handles().push(vec![2]).unwrap();
    job.run_batch().unwrap();
    let counts = job.running().state::<Even, u64>("counts").unwrap();
    for key in [1_001, 1_003] {
        for error in [counts.get(&Even(key)).unwrap_err(), counts.get_many(&[Even(2), Even(key)]).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::UserCode);
            let text = error.to_string();
            assert!(text.contains("Even") && text.contains("an odd number"), "{text}");
        }
    }
    assert_eq!(counts.get(&Even(2)).unwrap(), Some(2));
}
