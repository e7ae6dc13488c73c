//! Stores that must be refused, and with which words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use floodmark::ErrorKind;
use floodmark::testing::remote::{Bucket, BucketSettings, RemoteError, RemoteLocation};
use floodmark_chaos::store::Refusal::{Broken, Forbidden, Unknown};
use floodmark_chaos::store::Request::{Delete, List, Put};
use floodmark_chaos::store::Strike::{self, Deny, Refuse};
use floodmark_chaos::store::{Request, SimulatedStore, StrikingStore};
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::kit::{location, names, on_quick_clock, s3_location, server, settings};

/// A store with a promise that it does not keep.
#[derive(Debug)]
struct Faithless {
    inner: InMemory,
    promise: Promise,
    reads: AtomicU64,
}

#[derive(Debug, PartialEq)]
enum Promise {
    /// A create replaces what is there.
    Create,
    /// Reads are behind: after the first ones an object cannot be seen.
    Read,
}

impl Faithless {
    fn bucket(promise: Promise) -> Bucket {
        let store = Self { inner: InMemory::new(), promise, reads: AtomicU64::new(0) };
        Bucket::on(Arc::new(store), "job", settings())
    }
}

impl std::fmt::Display for Faithless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faithless")
    }
}

#[async_trait]
impl ObjectStore for Faithless {
    async fn put_opts(&self, at: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.promise == Promise::Create {
            options.mode = PutMode::Overwrite;
        }
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        // The probe looks before it creates, and the one that lost reads back; then the probe looks.
        let is_behind = self.reads.fetch_add(1, Ordering::Relaxed) >= 2;
        if self.promise == Promise::Read && is_behind {
            return self.inner.get(&Path::from("nothing here")).await;
        }
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[test]
fn a_store_whose_creates_replace_is_refused_with_words() {
    let error = Faithless::bucket(Promise::Create).probe().unwrap_err();
    assert_eq!(
        error.to_string(),
        "Faithless/job cannot be used: two creates of one name were both successful; two drivers could both publish there. Use a \
         store that creates an object only if its name is free (S3's `If-None-Match: *`): Amazon S3, Google Cloud Storage, Azure \
         Blob Storage, or a newer release of this one"
    );
    assert_eq!(floodmark::Error::from(error).kind(), ErrorKind::Configuration);
}

#[test]
fn a_store_whose_reads_are_behind_is_refused() {
    let error = Faithless::bucket(Promise::Read).probe().unwrap_err();
    assert!(matches!(error, RemoteError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("a read after a write is behind"), "{error}");
}

#[test]
fn what_a_probe_meets_is_told() {
    type Is = fn(&RemoteError) -> bool;
    let cases: [(&str, Request, Strike, Is); 4] = [
        ("no creates", Put, Refuse(Unknown), |error| matches!(error, RemoteError::Unsupported { .. })),
        ("puts denied", Put, Refuse(Forbidden), |error| matches!(error, RemoteError::Denied { .. })),
        ("lists denied", List, Refuse(Forbidden), |error| matches!(error, RemoteError::Denied { .. })),
        ("deletes denied", Delete, Refuse(Forbidden), |error| matches!(error, RemoteError::Denied { .. })),
    ];
    for (what, request, strike, is) in cases {
        let script = StrikingStore::around(Arc::new(SimulatedStore::new()));
        script.next(request, &[strike; 2]);
        let error = Bucket::on(Arc::new(script), "job", settings()).probe().unwrap_err();
        assert!(is(&error), "{what}: {error:?}");
    }
}

#[test]
fn a_probe_survives_lost_answers_and_leaves_nothing() {
    let (_, settings) = on_quick_clock();
    let truth = SimulatedStore::new();
    let script = StrikingStore::around(Arc::new(truth.clone()));
    for request in [Put, Request::Get, List, Delete] {
        script.next(request, &[Deny(Broken), Refuse(Broken)]);
    }
    let bucket = Bucket::on(Arc::new(script), "job", settings);
    bucket.probe().unwrap();
    assert!(truth.objects().is_empty());
}

#[test]
fn a_store_that_is_away_is_told_soon() {
    let (_, settings) = on_quick_clock();
    let script = StrikingStore::around(Arc::new(SimulatedStore::new()));
    script.always(Some(Refuse(Broken)));
    let bucket = Bucket::on(Arc::new(script), "job", settings);
    let error = bucket.probe().unwrap_err();
    let RemoteError::Unavailable { failing_ms, .. } = error else { panic!("{error:?}") };
    assert!((8_000..=15_000).contains(&failing_ms), "{failing_ms}");
}

#[test]
fn what_cannot_be_a_location_is_told_and_a_path_is_none() {
    for path in ["state", "/var/lib/job", "./s3:/x", "C:\\state"] {
        assert!(RemoteLocation::parse(path).unwrap().is_none(), "{path}");
    }
    for text in ["s3://bucket", "s3://bucket/a/b", "gs://bucket/x", "az://container/x", "file:///var/job", "memory://x"]
    {
        assert_eq!(location(text).to_string(), text);
    }
    assert_eq!(location("s3://bucket/a/").to_string(), "s3://bucket/a");
    let wrong = ["s4://bucket", "s3://", "s3:///a", "s3://b/a//c", "s3://key@b/x", "file://relative", "s3://b/../c"];
    for text in wrong {
        let error = RemoteLocation::parse(text).unwrap_err();
        assert!(error.to_string().starts_with(&format!("the location {text} cannot be used: expected ")), "{error}");
        assert_eq!(floodmark::Error::from(error).kind(), ErrorKind::Configuration);
    }
    let secret = location("s3://bucket/x").with_option("aws_secret_access_key", "hush");
    assert_eq!(format!("{secret:?}"), "RemoteLocation(s3://bucket/x, options [\"aws_secret_access_key\"])");
}

#[test]
fn a_bucket_that_is_not_there_and_a_server_that_is_not_there_are_told_apart() {
    let Some(server) = server() else { return };
    let misspelt = s3_location(server, "probing").with_option("aws_endpiont", "x");
    let error = Bucket::open(&misspelt, settings()).unwrap_err();
    assert!(error.to_string().ends_with("the option aws_endpiont is not known"), "{error}");

    let error = Bucket::open(&s3_location(server, "nobody-made-me"), settings()).unwrap_err();
    assert!(matches!(error, RemoteError::NoSuchBucket { .. }), "{error:?}");
    assert_eq!(floodmark::Error::from(error).kind(), ErrorKind::Configuration);

    server.create_bucket("probing");
    let bucket = Bucket::open(&s3_location(server, "probing"), settings()).unwrap();
    assert!(names(&bucket, "").is_empty(), "a probe leaves nothing");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = s3_location(server, "probing").with_option("aws_endpoint", format!("http://{nobody}"));
    let impatient = BucketSettings { open_within: std::time::Duration::from_millis(300), ..settings() };
    let error = Bucket::open(&away, impatient).unwrap_err();
    assert!(matches!(error, RemoteError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("probing/a/job"), "{error}");
}
