//! What a job may rely on, and what it may not.

use std::sync::Arc;

use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Point, Step};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use super::SimulatedStore;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn create(store: &SimulatedStore, name: &str, text: &str) -> object_store::Result<()> {
    let payload = PutPayload::from(text.to_string());
    wait(store.put_opts(&Path::from(name), payload, PutMode::Create.into())).map(drop)
}

fn read(store: &SimulatedStore, name: &str) -> object_store::Result<String> {
    let bytes = wait(async { store.get(&Path::from(name)).await?.bytes().await })?;
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn list(store: &SimulatedStore, prefix: &str) -> Vec<String> {
    let objects: Vec<_> = wait(store.list(Some(&Path::from(prefix))).try_collect()).unwrap();
    objects.into_iter().map(|object| object.location.to_string()).collect()
}

/// A handle whose door does this at the first step of this kind.
fn struck(store: &SimulatedStore, step: Step, fault: Fault) -> SimulatedStore {
    let door = FaultyDisk::new(Arc::new(LocalDisk));
    door.arm_at(Point { step, nth: 1 }, fault);
    store.through(door)
}

#[test]
fn of_sixteen_creates_of_one_name_one_wins_and_all_read_its_bytes() {
    let (store, barrier) = (SimulatedStore::new(), std::sync::Barrier::new(16));
    let outcomes: Vec<(String, bool)> = std::thread::scope(|scope| {
        let create = |number: usize| {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let created = create(store, "manifests/1", &number.to_string());
                let lost = matches!(created, Err(Error::AlreadyExists { .. }));
                assert!(created.is_ok() || lost, "thread {number}: {created:?}");
                (read(store, "manifests/1").unwrap(), created.is_ok())
            })
        };
        let threads: Vec<_> = (0..16).map(create).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winner = outcomes.iter().position(|(_, won)| *won).expect("somebody wins");
    assert_eq!(outcomes.iter().filter(|(_, won)| *won).count(), 1);
    assert!(outcomes.iter().all(|(read, _)| *read == winner.to_string()), "{outcomes:?}");
}

#[test]
fn what_was_put_is_read_at_once_whole_and_in_ranges_and_is_gone_after_its_deletion() {
    let store = SimulatedStore::new();
    create(&store, "a", "0123456789").unwrap();
    assert_eq!(read(&store, "a").unwrap(), "0123456789");
    let at = Path::from("a");
    assert_eq!(wait(store.get_ranges(&at, &[2..4, 8..20])).unwrap(), ["23", "89"]);
    let suffix = GetOptions { range: Some(GetRange::Suffix(3)), ..GetOptions::default() };
    let suffix = wait(async { store.get_opts(&at, suffix).await?.bytes().await });
    assert_eq!(suffix.unwrap(), "789");
    assert_eq!(wait(store.head(&at)).unwrap().size, 10);
    wait(store.delete(&at)).unwrap();
    assert!(matches!(read(&store, "a"), Err(Error::NotFound { .. })));
    wait(store.delete(&at)).expect("deleting what is not there changes nothing");
}

#[test]
fn a_put_whose_answer_is_lost_is_there_and_one_that_fails_is_not() {
    let store = SimulatedStore::new();
    assert!(create(&struck(&store, Step::StorePut, Fault::FailAfter), "a", "x").is_err());
    assert_eq!(read(&store, "a").unwrap(), "x");
    assert!(create(&struck(&store, Step::StorePut, Fault::FailOnce), "b", "x").is_err());
    assert!(matches!(read(&store, "b"), Err(Error::NotFound { .. })));
}

#[test]
fn a_lost_answer_may_be_a_refusal() {
    let store = SimulatedStore::new();
    create(&store, "a", "first").unwrap();
    let second = create(&struck(&store, Step::StorePut, Fault::FailAfter), "a", "second");
    assert!(matches!(second, Err(Error::Generic { .. })), "{second:?}");
    assert_eq!(read(&store, "a").unwrap(), "first");
}

#[test]
fn after_the_death_of_the_process_its_handle_answers_with_errors_and_others_go_on() {
    let store = SimulatedStore::new();
    let (dying, at) = (struck(&store, Step::StorePut, Fault::DieAfter), Path::from("a"));
    assert!(create(&dying, "a", "x").is_err());
    assert!(matches!(read(&dying, "a"), Err(Error::Generic { .. })));
    assert!(wait(dying.head(&at)).is_err() && wait(dying.delete(&at)).is_err());
    assert!(wait(dying.list(None).try_collect::<Vec<_>>()).is_err());
    assert!(wait(dying.put_multipart(&at)).is_err());
    assert_eq!(read(&store, "a").unwrap(), "x");
}

#[test]
fn a_list_that_is_behind_lacks_the_newest_objects_and_the_next_one_has_them() {
    let store = SimulatedStore::new();
    ["d/4", "d/1", "d/2", "d/3", "e"].into_iter().for_each(|name| create(&store, name, name).unwrap());
    let behind = struck(&store, Step::StoreList, Fault::Stale);
    assert_eq!(list(&behind, "d"), ["d/1", "d/4"]);
    assert_eq!(read(&behind, "d/3").unwrap(), "d/3");
    assert_eq!(list(&behind, "d"), ["d/1", "d/2", "d/3", "d/4"]);
}

#[test]
fn a_list_goes_by_parts_of_names_and_with_a_delimiter_it_is_one_level_deep() {
    let store = SimulatedStore::new();
    ["a/b/1", "a/b/2", "a/c", "a.d", "ab"].into_iter().for_each(|name| create(&store, name, name).unwrap());
    assert_eq!(list(&store, "a"), ["a/b/1", "a/b/2", "a/c"]);
    assert_eq!(list(&store, "a/c"), [""; 0]);
    let level = wait(store.list_with_delimiter(Some(&Path::from("a")))).unwrap();
    assert_eq!(level.common_prefixes, [Path::from("a/b")]);
    let names: Vec<_> = level.objects.iter().map(|object| object.location.as_ref()).collect();
    assert_eq!(names, ["a/c"]);
}

#[test]
fn an_update_needs_the_version_that_is_there() {
    let (store, at) = (SimulatedStore::new(), Path::from("a"));
    let update = |e_tag: Option<String>, text: &'static str| {
        let mode = PutMode::Update(UpdateVersion { e_tag, version: None });
        wait(store.put_opts(&at, text.into(), mode.into()))
    };
    let absent = update(Some("\"1\"".to_string()), "x");
    assert!(matches!(absent, Err(Error::Precondition { .. })), "{absent:?}");
    let first = wait(store.put(&at, "first".into())).unwrap();
    let second = update(first.e_tag.clone(), "second").unwrap();
    assert_ne!(first.e_tag, second.e_tag);
    assert!(matches!(update(first.e_tag, "third"), Err(Error::Precondition { .. })));
    assert!(matches!(update(None, "third"), Err(Error::Generic { .. })));
    assert_eq!(read(&store, "a").unwrap(), "second");
}

#[test]
fn copies_and_renames_keep_the_bytes_and_respect_what_is_there() {
    let store = SimulatedStore::new();
    let (a, b, c) = (Path::from("a"), Path::from("b"), Path::from("c"));
    create(&store, "a", "x").unwrap();
    create(&store, "b", "y").unwrap();
    assert!(matches!(wait(store.copy_if_not_exists(&a, &b)), Err(Error::AlreadyExists { .. })));
    wait(store.copy(&a, &b)).unwrap();
    wait(store.rename(&a, &c)).unwrap();
    assert!(matches!(wait(store.rename(&a, &c)), Err(Error::NotFound { .. })));
    let objects: Vec<_> = store.objects().into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
    assert_eq!(objects, [("b".to_string(), b"x".to_vec()), ("c".to_string(), b"x".to_vec())]);
}

#[test]
fn an_upload_in_parts_is_there_when_it_is_completed_in_the_order_of_its_parts() {
    let (store, at) = (SimulatedStore::new(), Path::from("a"));
    wait(async {
        let mut upload = store.put_multipart(&at).await.unwrap();
        let (first, second) = (upload.put_part("ab".into()), upload.put_part("cd".into()));
        second.await.unwrap();
        assert!(upload.complete().await.is_err(), "the first part has not arrived");
        first.await.unwrap();
        assert!(store.objects().is_empty());
        upload.complete().await.unwrap();
        let mut aborted = store.put_multipart(&Path::from("b")).await.unwrap();
        let part = aborted.put_part("x".into());
        aborted.abort().await.unwrap();
        assert!(part.await.is_err());
    });
    assert_eq!(store.objects().into_keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(read(&store, "a").unwrap(), "abcd");
}

#[test]
fn a_trace_has_no_random_names_and_readers_see_no_hidden_ones() {
    let door = FaultyDisk::new(Arc::new(LocalDisk));
    let store = SimulatedStore::new().through(door.clone());
    create(&store, "data/7-0123456789abcdef.bin", "x").unwrap();
    create(&store, ".fences/1", "y").unwrap();
    let trace: Vec<_> = door.trace().into_iter().map(|step| (step.step, step.what)).collect();
    assert_eq!(trace[0], (Step::StorePut, "create data/7-….bin".to_string()));
    assert_eq!(store.visible(), ["data/7-0123456789abcdef.bin x"]);
}
