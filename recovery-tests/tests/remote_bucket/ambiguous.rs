//! Answers that tell less than they seem to, each on a clock on which nobody waits.

use std::sync::Arc;

use floodmark::testing::remote::{Bucket, Created, RemoteError};
use floodmark::{Clock, ErrorKind};
use floodmark_chaos::store::Refusal::{Broken, Forbidden, Taken};
use floodmark_chaos::store::Request::{Delete, Get, List, Put};
use floodmark_chaos::store::Strike::{self, Deny, Refuse, Silence, Spare, Swallow};
use floodmark_chaos::store::{SimulatedStore, StrikingStore};

use crate::kit::{QuickClock, names, on_quick_clock};

const NAME: &str = "manifests/00000000000000000007";

/// A bucket below `job`, what it holds in truth, and the script of its faults.
struct Place {
    clock: QuickClock,
    truth: SimulatedStore,
    script: StrikingStore,
    bucket: Bucket,
}

impl Place {
    fn new() -> Self {
        let (clock, settings) = on_quick_clock();
        let truth = SimulatedStore::new();
        let script = StrikingStore::around(Arc::new(truth.clone()));
        let bucket = Bucket::on(Arc::new(script.clone()), "job", settings);
        Self { clock, truth, script, bucket }
    }

    fn create(&self, bytes: &'static str) -> Result<Created, RemoteError> {
        self.bucket.create(NAME, bytes.into())
    }

    /// Another writer, whom nothing strikes.
    fn other(&self, bytes: &'static str) -> Created {
        Bucket::on(Arc::new(self.truth.clone()), "job", on_quick_clock().1).create(NAME, bytes.into()).unwrap()
    }

    fn there(&self) -> Option<String> {
        let bytes = self.truth.objects().remove(&format!("job/{NAME}"))?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }
}

#[test]
fn a_create_is_ours_whatever_becomes_of_its_first_answers() {
    let scripts: [(&str, &[Strike], &[Strike]); 9] = [
        ("failed before", &[Refuse(Broken)], &[]),
        ("failed before, often", &[Refuse(Broken); 12], &[]),
        ("done, then failed", &[Deny(Broken)], &[]),
        ("done, then failed; the read fails", &[Deny(Broken)], &[Refuse(Broken)]),
        ("done, then failed; no answer to the read", &[Deny(Broken)], &[Swallow]),
        ("not done, no answer", &[Swallow], &[]),
        ("done, no answer", &[Silence], &[]),
        ("taken by a write under way that comes to nothing", &[Refuse(Taken)], &[]),
        ("done, but said to be taken", &[Deny(Taken)], &[]),
    ];
    for (what, puts, gets) in scripts {
        let place = Place::new();
        place.script.next(Put, puts);
        place.script.next(Get, gets);
        assert_eq!(place.create("ours").unwrap(), Created::Ours, "{what}");
        assert_eq!(place.there().as_deref(), Some("ours"), "{what}");
        assert_eq!(place.bucket.health(), Default::default(), "{what}");
    }
}

#[test]
fn a_create_is_theirs_whatever_becomes_of_its_first_answers() {
    let scripts: [(&str, &[Strike], &[Strike]); 4] = [
        ("answered at once", &[], &[]),
        ("failed", &[Refuse(Broken), Deny(Broken)], &[]),
        ("no answer", &[Silence], &[]),
        ("the read fails", &[], &[Refuse(Broken), Swallow]),
    ];
    for (what, puts, gets) in scripts {
        let place = Place::new();
        assert_eq!(place.other("theirs"), Created::Ours);
        place.script.next(Put, puts);
        place.script.next(Get, gets);
        assert_eq!(place.create("ours").unwrap(), Created::Theirs("theirs".into()), "{what}");
        assert_eq!(place.there().as_deref(), Some("theirs"), "{what}");
    }
}

#[test]
fn a_create_that_stays_unclear_is_unknown_and_may_be_asked_for_again() {
    for (what, first, there) in [("done", Deny(Broken), Some("ours")), ("not done", Refuse(Broken), None)] {
        let place = Place::new();
        place.script.next(Put, &[first]);
        place.script.always(Some(Refuse(Broken)));
        let error = place.create("ours").unwrap_err();
        assert_eq!(place.there().as_deref(), there, "{what}");
        let RemoteError::CommitUnknown { name, failing_ms, tries, .. } = &error else { panic!("{what}: {error:?}") };
        assert_eq!(name, NAME);
        assert!((280_000..=300_000).contains(failing_ms), "{what}: {error}");
        assert!((30..=80).contains(tries), "{what}: {error}");
        assert!(
            error.to_string().starts_with("cannot tell whether manifests/00000000000000000007 was created"),
            "{error}"
        );
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::Other);

        let health = place.bucket.health();
        assert!(health.failures > 30 && health.last_error.unwrap().contains("struck"), "{what}");
        assert_eq!(health.failing_since_ms.map(|since_ms| since_ms / 1000), Some(1_700_000_000), "{what}");
        assert!(place.clock.epoch_ms() > 1_700_000_280_000);

        place.script.always(None);
        assert_eq!(place.create("ours").unwrap(), Created::Ours, "{what}");
        assert_eq!(place.bucket.health(), Default::default(), "{what}");
    }
}

#[test]
fn a_create_that_is_refused_was_not_done_unless_a_try_before_it_may_have_been() {
    let place = Place::new();
    place.script.always(Some(Refuse(Forbidden)));
    let error = place.create("ours").unwrap_err();
    assert!(matches!(error, RemoteError::Denied { .. }), "{error:?}");
    assert_eq!(place.script.asked(Put), 1);

    place.script.next(Put, &[Deny(Broken)]);
    let error = place.create("ours").unwrap_err();
    assert!(matches!(error, RemoteError::CommitUnknown { .. }), "{error:?}");
    assert_eq!(place.there().as_deref(), Some("ours"));

    let place = Place::new();
    assert_eq!(place.other("theirs"), Created::Ours);
    place.script.next(Get, &[Refuse(Forbidden)]);
    let error = place.create("ours").unwrap_err();
    assert!(matches!(error, RemoteError::CommitUnknown { .. }), "nobody knows whose it is: {error:?}");
}

#[test]
fn reads_lists_and_deletes_are_repeated_until_they_are_answered() {
    let place = Place::new();
    assert_eq!(place.create("ours").unwrap(), Created::Ours);
    place.script.next(Get, &[Refuse(Broken), Swallow, Silence]);
    let read = place.bucket.read(NAME).unwrap();
    assert_eq!(read.as_deref(), Some(&b"ours"[..]));
    assert_eq!(place.script.asked(Get), 4);

    place.script.next(List, &[Refuse(Broken), Swallow]);
    let listed = names(&place.bucket, "manifests");
    assert_eq!(listed, [NAME]);

    place.script.next(Delete, &[Refuse(Broken), Deny(Broken), Silence]);
    place.bucket.delete_all(&[NAME.to_string()]).unwrap();
    assert_eq!((place.there(), place.script.asked(Delete)), (None, 4));
    assert_eq!(place.bucket.read(NAME).unwrap(), None);
}

#[test]
fn an_outage_is_given_up_after_the_limit_and_not_before() {
    let place = Place::new();
    place.script.always(Some(Refuse(Broken)));
    let error = place.bucket.read(NAME).unwrap_err();
    let &RemoteError::Unavailable { failing_ms, tries, .. } = &error else { panic!("{error:?}") };
    assert!((280_000..=300_000).contains(&failing_ms), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot read {NAME} in ")), "{error}");
    let error = floodmark::Error::from(error);
    assert_eq!(error.kind(), ErrorKind::Environment);

    // One failure less, and it is answered.
    let place = Place::new();
    place.script.next(Get, &vec![Refuse(Broken); tries as usize - 1]);
    assert_eq!(place.bucket.read(NAME).unwrap(), None);
    assert!(place.clock.monotonic_ms() > 270_000);
}

#[test]
fn a_list_may_be_behind_and_a_create_is_not() {
    use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Point, Step};
    let (truth, door) = (SimulatedStore::new(), FaultyDisk::new(Arc::new(LocalDisk)));
    let bucket = Bucket::on(Arc::new(truth.through(door.clone())), "job", on_quick_clock().1);
    assert_eq!(bucket.create(NAME, "theirs".into()).unwrap(), Created::Ours);
    door.arm_at(Point { step: Step::StoreList, nth: 1 }, Fault::Stale);
    assert!(names(&bucket, "manifests").is_empty(), "the list is behind");
    assert_eq!(bucket.create(NAME, "ours".into()).unwrap(), Created::Theirs("theirs".into()));
    assert_eq!(names(&bucket, "manifests"), [NAME]);
}

#[test]
fn a_call_may_come_from_a_task() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let place = Place::new();
        place.script.next(Put, &[Spare]);
        assert_eq!(place.bucket.create(NAME, "ours".into()).unwrap(), Created::Ours);
        drop(place); // with its own runtime
    });
}
