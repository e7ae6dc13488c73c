//! Files up and down: whole, checked, and nothing half done under its name.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use floodmark::testing::remote::{Bucket, BucketSettings, Download, RemoteError, Upload};
use floodmark_chaos::store::Refusal::Broken;
use floodmark_chaos::store::Request::{Complete, Get, Part, Put};
use floodmark_chaos::store::Strike::{self, Deny, Refuse, Silence, Spare, Swallow};
use floodmark_chaos::store::{Request, SimulatedStore, StrikingStore};
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{PutPayload, PutResult};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::kit::{names, on_quick_clock, on_s3, open};

/// Around every edge of a part and of what goes up in one piece.
const SIZES: [usize; 8] = [0, 1, 9_999, 10_000, 10_001, 40_000, 40_001, 123_456];

fn in_small_parts(settings: BucketSettings) -> BucketSettings {
    BucketSettings { in_parts_beyond: 40_000, part_size: 10_000, ..settings }
}

/// Files with random bytes, and what is to become of them.
struct Files {
    directory: tempfile::TempDir,
    uploads: Vec<Upload>,
}

impl Files {
    fn new(sizes: &[usize]) -> Self {
        let directory = floodmark_chaos::scratch::directory().unwrap();
        fs::create_dir(directory.path().join("back")).unwrap();
        let mut chance = StdRng::seed_from_u64(7);
        let file = |(number, size): (usize, &usize)| {
            let mut bytes = vec![0; *size];
            chance.fill_bytes(&mut bytes);
            let file = directory.path().join(format!("{number}.sst"));
            fs::write(&file, &bytes).unwrap();
            let name = format!("data/3-40-0123456789abcdef/{number}.sst");
            Upload { name, file, size: *size as u64, crc32: crc32fast::hash(&bytes) }
        };
        let uploads = sizes.iter().enumerate().map(file).collect();
        Self { directory, uploads }
    }

    fn back(&self) -> PathBuf {
        self.directory.path().join("back")
    }

    fn downloads(&self) -> Vec<Download> {
        let download = |upload: &Upload| Download {
            name: upload.name.clone(),
            to: self.back().join(upload.file.file_name().unwrap()),
            size: upload.size,
            crc32: upload.crc32,
        };
        self.uploads.iter().map(download).collect()
    }

    fn total(&self) -> u64 {
        self.uploads.iter().map(|upload| upload.size).sum()
    }

    fn assert_came_back(&self, what: &str) {
        for upload in &self.uploads {
            let back = self.back().join(upload.file.file_name().unwrap());
            assert!(fs::read(&upload.file).unwrap() == fs::read(back).unwrap(), "{what}: {}", upload.name);
        }
        assert_eq!(list(&self.back()).len(), self.uploads.len(), "{what}: no temporary file stays");
    }

    fn there_and_back(&self, bucket: &Bucket, what: &str) {
        assert_eq!(bucket.upload_all(&self.uploads).unwrap(), self.total(), "{what}");
        assert_eq!(names(bucket, "data").len(), self.uploads.len(), "{what}");
        let came = AtomicU64::new(0);
        let progress = |bytes| {
            came.fetch_add(bytes, Ordering::Relaxed);
        };
        bucket.download_all(&self.downloads(), &progress).unwrap();
        assert_eq!(came.into_inner(), self.total(), "{what}");
        self.assert_came_back(what);
    }
}

fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

struct Place {
    truth: SimulatedStore,
    script: StrikingStore,
    bucket: Bucket,
}

fn place() -> Place {
    let truth = SimulatedStore::new();
    let script = StrikingStore::around(Arc::new(truth.clone()));
    let bucket = Bucket::on(Arc::new(script.clone()), "job", in_small_parts(on_quick_clock().1));
    Place { truth, script, bucket }
}

#[test]
fn files_come_back_as_they_went() {
    let files = Files::new(&SIZES);
    let place = place();
    files.there_and_back(&place.bucket, "in memory");
    assert_eq!(place.script.asked(Put), 6, "in one piece");
    assert_eq!((place.script.asked(Part), place.script.asked(Complete)), (5 + 13, 2), "in parts");
    files.there_and_back(&place.bucket, "again, over themselves");

    let directory = floodmark_chaos::scratch::directory().unwrap();
    files.there_and_back(&open(&format!("file://{}", directory.path().display())), "in a directory");
}

#[test]
fn large_files_go_in_parts_to_a_server() {
    let Some(bucket) = on_s3("moving") else { return };
    let files = Files::new(&[10, 16 << 20, (16 << 20) + 1, 20_000_000]);
    files.there_and_back(&bucket, "on a server");
}

#[test]
fn an_upload_is_repeated_until_it_is_done_and_leaves_one_object() {
    type Script<'a> = &'a [(Request, &'a [Strike])];
    let scripts: [(&str, Script); 7] = [
        ("a put fails", &[(Put, &[Refuse(Broken), Swallow])]),
        ("a put's answer is lost", &[(Put, &[Deny(Broken), Silence])]),
        ("a part fails", &[(Part, &[Spare, Spare, Refuse(Broken)])]),
        ("a part's answer is lost", &[(Part, &[Spare, Silence])]),
        ("the end fails", &[(Complete, &[Refuse(Broken), Swallow])]),
        ("the end's answer is lost", &[(Complete, &[Deny(Broken), Silence])]),
        ("everything", &[(Put, &[Deny(Broken)]), (Part, &[Spare, Deny(Broken), Swallow]), (Complete, &[Silence])]),
    ];
    for (what, script) in scripts {
        let (files, place) = (Files::new(&[10, 123_456]), place());
        for (request, strikes) in script {
            place.script.next(*request, strikes);
        }
        files.there_and_back(&place.bucket, what);
        assert_eq!(place.truth.objects().len(), 2, "{what}");
    }
}

#[test]
fn what_was_damaged_here_is_never_uploaded() {
    for size in [100, 123_456] {
        for what in ["flipped", "shorter", "longer"] {
            let (files, place) = (Files::new(&[size]), place());
            let file = &files.uploads[0].file;
            let mut bytes = fs::read(file).unwrap();
            match what {
                "flipped" => bytes[size / 2] ^= 1,
                "shorter" => drop(bytes.pop()),
                _ => bytes.push(0),
            }
            fs::write(file, bytes).unwrap();
            let error = place.bucket.upload_all(&files.uploads).unwrap_err();
            assert!(matches!(error, RemoteError::Damaged { .. }), "{what}: {error:?}");
            let expected = format!("expected {size} bytes with crc32 {:08x}, found ", files.uploads[0].crc32);
            assert!(error.to_string().contains(&expected), "{what}: {error}");
            assert!(place.truth.objects().is_empty(), "{what}");
        }
    }
    let place = place();
    let mut files = Files::new(&[5]);
    files.uploads[0].file.set_extension("gone");
    let error = place.bucket.upload_all(&files.uploads).unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    assert_eq!(
        io::Error::from(error).kind(),
        io::ErrorKind::Other,
        "at the door to the disk it is no answer about a name"
    );
}

#[test]
fn what_is_damaged_there_never_gets_its_name_here() {
    for size in [100, 123_456] {
        for what in ["flipped", "shorter", "longer", "gone"] {
            let (files, place) = (Files::new(&[5, size, 7]), place());
            place.bucket.upload_all(&files.uploads).unwrap();
            let name = files.uploads[1].name.clone();
            let mut bytes = place.bucket.read(&name).unwrap().unwrap().to_vec();
            match what {
                "flipped" => bytes[size / 2] ^= 1,
                "shorter" => drop(bytes.pop()),
                _ => bytes.push(0),
            }
            place.bucket.delete_all(std::slice::from_ref(&name)).unwrap();
            if what != "gone" {
                place.bucket.create(&name, bytes.into()).unwrap();
            }
            let download = &files.downloads()[1];
            fs::write(&download.to, "what was there").unwrap();
            let error = place.bucket.download_all(std::slice::from_ref(download), &|_| {}).unwrap_err();
            assert!(matches!(error, RemoteError::Damaged { .. }), "{what}: {error:?}");
            assert!(error.to_string().starts_with(&format!("{name} is damaged: expected ")), "{what}: {error}");
            assert_eq!(fs::read(&download.to).unwrap(), b"what was there");
            assert_eq!(list(&files.back()), ["1.sst"], "{what}: no temporary file stays");
        }
    }
}

#[test]
fn a_download_is_repeated_part_by_part() {
    let (files, place) = (Files::new(&[10, 123_456]), place());
    place.bucket.upload_all(&files.uploads).unwrap();
    place.script.next(Get, &[Refuse(Broken), Spare, Swallow, Spare, Spare, Silence, Refuse(Broken)]);
    place.bucket.download_all(&files.downloads(), &|_| {}).unwrap();
    files.assert_came_back("struck");
    assert_eq!(place.script.asked(Get), 1 + 13 + 4);

    place.script.always(Some(Refuse(Broken)));
    let error = place.bucket.download_all(&files.downloads(), &|_| {}).unwrap_err();
    assert!(matches!(error, RemoteError::Unavailable { .. }), "{error:?}");
    let error = place.bucket.upload_all(&files.uploads[1..]).unwrap_err();
    assert!(error.to_string().starts_with("cannot upload data/3-40-0123456789abcdef/1.sst in "), "{error}");
}

/// Uploads in parts that have ids, in memory: what is open, and how often a part was sent. It may go down, or lose an answer.
#[derive(Debug, Default)]
struct Parts {
    inner: Arc<InMemory>,
    state: Mutex<PartsState>,
}

#[derive(Debug, Default)]
struct PartsState {
    open: BTreeSet<String>,
    sent: u64,
    /// These sendings of a part fail.
    failing: Vec<u64>,
    /// From this sending on nothing is answered any more.
    down_from: Option<u64>,
    loses_an_end: bool,
}

fn down() -> object_store::Error {
    object_store::Error::Generic { store: "parts", source: "it is down".into() }
}

impl Parts {
    fn state(&self) -> std::sync::MutexGuard<'_, PartsState> {
        self.state.lock().unwrap()
    }

    fn alive(&self) -> object_store::Result<()> {
        let state = self.state();
        if state.down_from.is_some_and(|from| state.sent >= from) { Err(down()) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl MultipartStore for Parts {
    async fn create_multipart(&self, path: &ObjectPath) -> object_store::Result<String> {
        let id = self.inner.create_multipart(path).await?;
        self.state().open.insert(id.clone());
        Ok(id)
    }

    async fn put_part(
        &self,
        path: &ObjectPath,
        id: &String,
        part: usize,
        data: PutPayload,
    ) -> object_store::Result<PartId> {
        let number = {
            let mut state = self.state();
            state.sent += 1;
            state.sent
        };
        if self.state().failing.contains(&number) {
            return Err(down());
        }
        self.alive()?;
        self.inner.put_part(path, id, part, data).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        id: &String,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        self.alive()?;
        let completed = self.inner.complete_multipart(path, id, parts).await?;
        self.state().open.remove(id);
        if std::mem::take(&mut self.state().loses_an_end) { Err(down()) } else { Ok(completed) }
    }

    async fn abort_multipart(&self, path: &ObjectPath, id: &String) -> object_store::Result<()> {
        self.alive()?;
        self.inner.abort_multipart(path, id).await?;
        self.state().open.remove(id);
        Ok(())
    }
}

const NOTE: &str = "uploads/1-1-0123456789abcdef";

fn with_parts() -> (Arc<Parts>, Bucket) {
    let (parts, settings) = (Arc::new(Parts::default()), in_small_parts(on_quick_clock().1));
    let bucket = Bucket::on_with_parts(parts.inner.clone(), parts.clone(), "job", settings);
    (parts, bucket)
}

#[test]
fn a_part_that_fails_is_sent_again_by_itself_and_an_end_without_an_answer_is_looked_up() {
    let files = Files::new(&SIZES);
    let (parts, bucket) = with_parts();
    parts.state().failing = vec![2, 7, 8];
    parts.state().loses_an_end = true;
    assert_eq!(bucket.upload_noted(&files.uploads, NOTE).unwrap(), files.total());
    let (sent, open) = {
        let state = parts.state();
        (state.sent, state.open.len())
    };
    assert_eq!((sent, open), (5 + 13 + 3, 0), "no part that had come was sent again");
    assert!(names(&bucket, "uploads").is_empty(), "the note is gone");
    files.there_and_back(&bucket, "again");
}

#[test]
fn uploads_that_a_crash_has_cut_off_are_ended_by_whoever_reads_the_note() {
    let files = Files::new(&SIZES);
    for down_from in [1, 4, 9, 18] {
        let (parts, bucket) = with_parts();
        parts.state().down_from = Some(down_from);
        bucket.upload_noted(&files.uploads, NOTE).unwrap_err();
        assert!(!parts.state().open.is_empty(), "down from {down_from}: nothing is left");
        parts.state().down_from = None;
        assert_eq!(names(&bucket, "uploads"), [NOTE], "down from {down_from}");
        bucket.abort_uploads(NOTE).unwrap();
        assert!(parts.state().open.is_empty(), "down from {down_from}");
        assert!(names(&bucket, "uploads").is_empty());
        bucket.abort_uploads(NOTE).unwrap();
    }
}

#[test]
fn an_upload_of_a_damaged_file_is_ended_at_once() {
    let files = Files::new(&SIZES);
    let (parts, bucket) = with_parts();
    let mut uploads = files.uploads.clone();
    uploads.iter_mut().for_each(|upload| upload.crc32 ^= 1);
    bucket.upload_noted(&uploads, NOTE).unwrap_err();
    assert!(parts.state().open.is_empty());
    assert!(names(&bucket, "uploads").is_empty());
}

#[test]
fn uploads_in_parts_to_a_server_leave_no_note() {
    let Some(bucket) = on_s3("noted") else { return };
    let files = Files::new(&[10, (16 << 20) + 1, 20_000_000]);
    assert_eq!(bucket.upload_noted(&files.uploads, NOTE).unwrap(), files.total());
    assert!(names(&bucket, "uploads").is_empty());
    bucket.download_all(&files.downloads(), &|_| {}).unwrap();
    files.assert_came_back("on a server");
}
