//! Buckets to try.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use floodmark::ManualClock;
use floodmark::testing::remote::{Bucket, BucketSettings, Created, RemoteLocation};
use recovery_tests::s3::Server;

/// Patience that no test needs to wait for, and the same jitter in every run.
pub fn settings() -> BucketSettings {
    BucketSettings { seed: Some(1), ..BucketSettings::default() }
}

/// Time passes only when the test lets it.
pub fn on_manual_clock() -> (ManualClock, BucketSettings) {
    let clock = ManualClock::at(1_700_000_000_000);
    (clock.clone(), BucketSettings { clock: Arc::new(clock), ..settings() })
}

/// Lets time pass, a bit at a time, until the call has ended: waits between tries end, whenever they begin.
pub fn while_time_passes<T: Send>(clock: &ManualClock, call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let call = scope.spawn(call);
        while !call.is_finished() {
            clock.advance(Duration::from_millis(50));
            std::thread::yield_now();
        }
        call.join().unwrap()
    })
}

pub fn location(text: &str) -> RemoteLocation {
    RemoteLocation::parse(text).unwrap().expect("a location in an object store")
}

pub fn open(text: &str) -> Bucket {
    Bucket::open(&location(text), settings()).unwrap()
}

/// A bucket of the shared server, with this name.
pub fn on_s3(name: &str) -> Option<Bucket> {
    let server = Server::shared()?;
    server.create_bucket(name);
    Some(Bucket::open(&s3_location(server, name), settings()).unwrap())
}

pub fn s3_location(server: &Server, bucket: &str) -> RemoteLocation {
    let location = location(&format!("s3://{bucket}/a/job"));
    server.options().into_iter().fold(location, |location, (key, value)| location.with_option(key, value))
}

pub fn create(bucket: &Bucket, name: &str, text: &str) -> Created {
    bucket.create(name, Bytes::from(text.to_string())).unwrap()
}

pub fn read(bucket: &Bucket, name: &str) -> Option<String> {
    bucket.read(name).unwrap().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

pub fn names(bucket: &Bucket, below: &str) -> Vec<String> {
    bucket.list(below).unwrap().into_iter().map(|file| file.name).collect()
}
