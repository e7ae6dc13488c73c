//! Buckets to try.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use floodmark::testing::remote::{Bucket, BucketSettings, Created, RemoteLocation};
use floodmark::{Clock, Interrupt, ManualClock, Waited};
use floodmark_chaos::s3::Server;

/// Patience that no test needs to wait for, and the same jitter in every run.
pub fn settings() -> BucketSettings {
    BucketSettings { seed: Some(1), ..BucketSettings::default() }
}

/// Nobody waits on this clock: whoever sleeps has slept. It stands still where nothing sleeps.
#[derive(Clone, Debug)]
pub struct QuickClock(ManualClock);

impl Clock for QuickClock {
    fn epoch_ms(&self) -> u64 {
        self.0.epoch_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.monotonic_ms()
    }

    fn wait_while(&self, epoch_ms: Range<u64>, interrupt: &Interrupt) -> Waited {
        self.0.wait_while(epoch_ms, interrupt)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.0.clone();
        Box::pin(async move { clock.advance(duration) })
    }
}

/// For stores that answer at once or never.
pub fn on_quick_clock() -> (QuickClock, BucketSettings) {
    let clock = QuickClock(ManualClock::at(1_700_000_000_000));
    (clock.clone(), BucketSettings { clock: Arc::new(clock), ..settings() })
}

pub fn location(text: &str) -> RemoteLocation {
    RemoteLocation::parse(text).unwrap().expect("a location in an object store")
}

pub fn open(text: &str) -> Bucket {
    Bucket::open(&location(text), settings()).unwrap()
}

/// The server, and a client that can speak with it.
pub fn server() -> Option<&'static Server> {
    if !knows_s3() {
        eprintln!("skipped: built without floodmark's feature `aws`");
        return None;
    }
    Server::shared()
}

/// Whether the client was built; it is asked for something that it refuses without sending anything.
pub fn knows_s3() -> bool {
    let misspelt = location("s3://bucket/x").with_option("aws_nothing", "x");
    Bucket::open(&misspelt, settings()).unwrap_err().to_string().contains("aws_nothing")
}

/// A bucket of the shared server, with this name.
pub fn on_s3(name: &str) -> Option<Bucket> {
    let server = server()?;
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
