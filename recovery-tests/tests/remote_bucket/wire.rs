//! The same promises over a wire, with a client of S3.

use std::time::Duration;

use floodmark::ErrorKind;
use floodmark::testing::remote::{Bucket, BucketSettings, Created, RemoteError, RemoteLocation};

use crate::kit::{create, knows_s3, location, read, settings};
use crate::stub::Act::{self, Cut, DoAndRefuse, DoAndReset, Refuse, Reset, Stall};
use crate::stub::Stub;

const NAME: &str = "manifests/00000000000000000007";

fn at(stub: &Stub) -> RemoteLocation {
    let options = [("aws_access_key_id", "test"), ("aws_secret_access_key", "test"), ("aws_region", "us-east-1")];
    let location = location("s3://bucket/job").with_option("aws_endpoint", stub.endpoint());
    options.into_iter().fold(location, |location, (key, value)| location.with_option(key, value))
}

/// A server, and a bucket that is open there; nothing where the client was not built.
fn opened(settings: BucketSettings) -> Option<(Stub, Bucket)> {
    if !knows_s3() {
        eprintln!("skipped: built without floodmark's feature `aws`");
        return None;
    }
    let stub = Stub::start();
    let bucket = Bucket::open(&at(&stub), settings).unwrap();
    Some((stub, bucket))
}

#[test]
fn a_create_over_a_wire_is_ours_whatever_becomes_of_its_first_answers() {
    let Some((stub, bucket)) = opened(settings()) else { return };
    let scripts: [(&str, &[Act], &[Act]); 8] = [
        ("500 before", &[Refuse(500, "InternalError")], &[]),
        ("500 after", &[DoAndRefuse(500, "InternalError")], &[]),
        ("503 twice", &[Refuse(503, "SlowDown"), Refuse(503, "SlowDown")], &[]),
        ("409 while nothing is there", &[Refuse(409, "ConditionalRequestConflict")], &[]),
        ("409 after", &[DoAndRefuse(409, "ConditionalRequestConflict")], &[]),
        ("reset before", &[Reset], &[]),
        ("reset after", &[DoAndReset], &[]),
        ("reset after, and the read is cut", &[DoAndReset], &[Cut, Reset]),
    ];
    for (number, (what, puts, gets)) in scripts.into_iter().enumerate() {
        stub.next("PUT", puts);
        stub.next("GET", gets);
        let name = format!("log/{number}");
        assert_eq!(create(&bucket, &name, "ours"), Created::Ours, "{what}");
        assert_eq!(stub.object(&name).as_deref(), Some(&b"ours"[..]), "{what}");
    }
}

#[test]
fn a_create_over_a_wire_is_theirs_also_after_a_reset() {
    let Some((stub, bucket)) = opened(settings()) else { return };
    assert_eq!(create(&bucket, NAME, "theirs"), Created::Ours);
    assert_eq!(create(&bucket, NAME, "ours"), Created::Theirs("theirs".into()));
    stub.next("PUT", &[Reset, Refuse(500, "InternalError")]);
    assert_eq!(create(&bucket, NAME, "ours"), Created::Theirs("theirs".into()));
}

#[test]
fn a_body_that_is_cut_or_stalls_is_read_again() {
    // An answer that stalls is waited for on the real clock.
    let impatient = BucketSettings { answer_within: Duration::from_secs(1), ..settings() };
    let Some((stub, bucket)) = opened(impatient) else { return };
    create(&bucket, NAME, "a body that has a middle");
    let before = stub.asked("GET");
    stub.next("GET", &[Cut, Stall, Reset]);
    assert_eq!(read(&bucket, NAME).as_deref(), Some("a body that has a middle"));
    assert!(stub.asked("GET") - before >= 4);
}

#[test]
fn what_a_start_is_refused_for_is_told() {
    if !knows_s3() {
        return;
    }
    type Is = fn(&RemoteError) -> bool;
    let denied: Is = |error| matches!(error, RemoteError::Denied { .. });
    let elsewhere: Is = |error| matches!(error, RemoteError::WrongRegion { .. });
    let cases: [(&str, u16, &str, Is, ErrorKind, &str); 8] = [
        ("GET", 403, "AccessDenied", denied, ErrorKind::Environment, "must allow to read, create, list and delete"),
        ("GET", 403, "InvalidAccessKeyId", denied, ErrorKind::Environment, "InvalidAccessKeyId"),
        ("PUT", 403, "AccessDenied", denied, ErrorKind::Environment, "cannot create probe/"),
        ("POST", 403, "AccessDenied", denied, ErrorKind::Environment, "cannot delete "),
        ("GET", 301, "PermanentRedirect", elsewhere, ErrorKind::Configuration, "set its region"),
        ("GET", 400, "AuthorizationHeaderMalformed", elsewhere, ErrorKind::Configuration, "set its region"),
        (
            "GET",
            404,
            "NoSuchBucket",
            |error| matches!(error, RemoteError::NoSuchBucket { .. }),
            ErrorKind::Configuration,
            "there is no such bucket: create it first",
        ),
        (
            "PUT",
            501,
            "NotImplemented",
            |error| matches!(error, RemoteError::Unsupported { .. }),
            ErrorKind::Configuration,
            "Use a store that creates an object only if its name is free",
        ),
    ];
    for (method, status, code, is, kind, words) in cases {
        let stub = Stub::start();
        stub.next(method, &[Refuse(status, code); 2]);
        let error = Bucket::open(&at(&stub), settings()).unwrap_err();
        assert!(is(&error), "{method} {status} {code}: {error:?}");
        assert!(error.to_string().contains("s3://bucket/job"), "{error}");
        let error = floodmark::Error::from(error);
        assert_eq!(error.kind(), kind, "{method} {status} {code}");
        assert!(error.to_string().contains(words), "{method} {status} {code}: {error}");
    }
}

#[test]
fn credentials_that_have_just_run_out_are_asked_for_again() {
    if !knows_s3() {
        return;
    }
    let stub = Stub::start();
    stub.next("GET", &[Refuse(403, "RequestTimeTooSkewed"), Refuse(400, "ExpiredToken")]);
    Bucket::open(&at(&stub), settings()).unwrap();
    let stub = Stub::start();
    stub.next("GET", &[Refuse(400, "ExpiredToken"); 20]);
    let impatient = BucketSettings { open_within: Duration::from_millis(700), ..settings() };
    let error = Bucket::open(&at(&stub), impatient).unwrap_err();
    assert!(matches!(error, RemoteError::Denied { .. }), "{error:?}");
}
