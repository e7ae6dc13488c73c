//! Every kind of store: one name, one winner; reads, lists and deletes.

use std::sync::Barrier;

use floodmark::testing::remote::{Bucket, Created};

use crate::kit::{create, names, on_s3, open, read};

const RACERS: usize = 16;

/// So many writers at the same name, each with bytes of its own.
fn race(bucket: &Bucket, name: &str) {
    let barrier = Barrier::new(RACERS);
    let outcomes: Vec<Created> = std::thread::scope(|scope| {
        let racer = |number: usize| {
            let (bucket, barrier) = (bucket.clone(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                create(&bucket, name, &format!("racer {number}"))
            })
        };
        let racers: Vec<_> = (0..RACERS).map(racer).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let winners: Vec<usize> = (0..RACERS).filter(|racer| outcomes[*racer] == Created::Ours).collect();
    assert_eq!(winners.len(), 1, "{name}: {outcomes:?}");
    let expected = format!("racer {}", winners[0]);
    assert_eq!(read(bucket, name).as_deref(), Some(expected.as_str()));
    for (number, outcome) in outcomes.iter().enumerate().filter(|(number, _)| *number != winners[0]) {
        assert_eq!(*outcome, Created::Theirs(expected.clone().into()), "racer {number}");
    }
}

/// All that is asked of a store, on one that is empty.
fn check(bucket: &Bucket, races: usize) {
    for round in 0..races {
        race(bucket, &format!("manifests/{round:020}"));
    }
    create(bucket, "log/1", "one");
    create(bucket, "log/2", "");
    create(bucket, "logs/3", "no neighbour of log/");
    assert_eq!(names(bucket, "log"), ["log/1", "log/2"]);
    assert_eq!(bucket.list("log").unwrap()[0].size, 3);
    assert_eq!(read(bucket, "log/2").as_deref(), Some(""));
    assert_eq!(names(bucket, "").len(), races + 3);
    assert_eq!(read(bucket, "log/9"), None);

    let gone = ["log/1", "log/9", "logs/3"].map(String::from);
    bucket.delete_all(&gone).unwrap();
    assert_eq!(names(bucket, "log"), ["log/2"]);
    assert_eq!(create(bucket, "log/1", "one again"), Created::Ours);
    assert_eq!(bucket.health(), Default::default());
}

#[test]
fn sixteen_racers_have_one_winner_in_memory() {
    check(&open("memory://racing/a/job"), 50);
    assert_eq!(
        names(&open("memory://racing/a"), "job/log"),
        ["job/log/1", "job/log/2"],
        "the process has one such store"
    );
    assert!(names(&open("memory://racing-elsewhere"), "").is_empty());
}

#[test]
fn sixteen_racers_have_one_winner_in_a_directory() {
    let directory = floodmark_chaos::scratch::directory().unwrap();
    let location = format!("file://{}/not/there/yet", directory.path().display());
    check(&open(&location), 10);
    assert_eq!(names(&open(&location), "log"), ["log/1", "log/2"]);
}

#[test]
fn sixteen_racers_have_one_winner_on_a_server() {
    let Some(bucket) = on_s3("racing") else { return };
    check(&bucket, 50);
}
