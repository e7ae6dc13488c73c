//! Tables against a model, and the way of state from a table to the store and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use proptest::prelude::*;

use super::loader::{StateLoader, StoredOperator};
use super::spec::StateSpec;
use super::*;
use crate::state::files::CheckpointFile;
use floodmark_base::codec::{KeyHash, KeyHasher, encode};
use floodmark_base::error::ErrorKind;

type Table = StateTable<u32, String>;

fn hash(key: u32) -> KeyHash {
    KeyHasher::default().hash(&key)
}

fn put(table: &mut Table, key: u32, value: Option<&str>) {
    let slot = table.slot_or_vacant(hash(key), &key);
    table.put(slot, value.map(String::from), true);
}

fn contents(table: &Table) -> Vec<(u32, String)> {
    let mut seen = Vec::new();
    table.for_each_in_order(|key, key_hash, value| {
        assert_eq!(key_hash, hash(*key));
        seen.push((*key, value.clone()));
        ControlFlow::Continue(())
    });
    seen
}

/// A store as a map: what runs leave behind when they are applied in order.
fn apply(store: &mut BTreeMap<(KeyHash, Vec<u8>), Vec<u8>>, run: &FrozenRun) {
    let mut last = None;
    for entry in run.iter() {
        let key = (entry.hash, entry.key.to_vec());
        assert!(last.as_ref().is_none_or(|last| *last < key), "a run is in order");
        last = Some(key.clone());
        match entry.value {
            Some(value) => store.insert(key, value.to_vec()),
            None => store.remove(&key),
        };
    }
}

#[derive(Debug, Clone)]
enum Action {
    Put(u32, u8),
    Remove(u32),
    Look(u32),
    LookAtMany(Vec<u32>),
    TakeAndPutBack(u32),
    Settle,
    Freeze,
}

fn action() -> impl Strategy<Value = Action> {
    let key = 0_u32..60;
    prop_oneof![
        6 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Action::Put(key, value)),
        3 => key.clone().prop_map(Action::Remove),
        2 => key.clone().prop_map(Action::Look),
        2 => prop::collection::vec(key.clone(), 0..20).prop_map(Action::LookAtMany),
        2 => key.prop_map(Action::TakeAndPutBack),
        1 => Just(Action::Settle),
        1 => Just(Action::Freeze),
    ]
}

proptest! {
    #[test]
    fn a_table_is_a_map_whose_freezes_add_up_to_it(actions in prop::collection::vec(action(), 0..400), small in any::<bool>()) {
        let mut table = Table::new();
        let mut model = BTreeMap::new();
        let mut store = BTreeMap::new();
        let mut touched = BTreeSet::new();
        for action in actions {
            match action {
                Action::Put(key, value) => {
                    put(&mut table, key, Some(&value.to_string()));
                    model.insert(key, value.to_string());
                    touched.insert(key);
                }
                Action::Remove(key) => {
                    put(&mut table, key, None);
                    model.remove(&key);
                    touched.insert(key);
                }
                Action::Look(key) => {
                    let slot = table.slot_or_vacant(hash(key), &key);
                    prop_assert_eq!(table.value(slot), model.get(&key));
                    prop_assert_eq!(table.slot(hash(key), &key), Some(slot));
                }
                Action::LookAtMany(keys) => {
                    let mut slots = Vec::new();
                    table.slots_or_vacant(keys.iter().map(|key| (hash(*key), key)), &mut slots);
                    prop_assert_eq!(slots.len(), keys.len());
                    for (slot, key) in slots.into_iter().zip(&keys) {
                        prop_assert_eq!(table.slot(hash(*key), key), Some(slot));
                        prop_assert_eq!(table.value(slot), model.get(key));
                    }
                }
                Action::TakeAndPutBack(key) => {
                    if let Some(slot) = table.slot(hash(key), &key) {
                        let value = table.take(slot);
                        prop_assert_eq!(value.as_ref(), model.get(&key));
                        table.put(slot, value, false);
                    }
                }
                Action::Settle if small => table.fold_now(),
                Action::Settle => {
                    table.settle();
                }
                Action::Freeze => {
                    let run = table.freeze();
                    prop_assert!(run.len() <= touched.len());
                    touched.clear();
                    prop_assert_eq!(table.changed(), 0);
                    apply(&mut store, &run);
                }
            }
            prop_assert_eq!(table.len(), model.len());
            table.check();
        }
        let mut expected: Vec<_> = model.into_iter().collect();
        expected.sort_by_key(|(key, _)| (hash(*key), encode(key).unwrap()));
        prop_assert_eq!(contents(&table), expected.clone());

        let run = table.freeze();
        apply(&mut store, &run);
        let stored: Vec<_> = store.into_iter().map(|(key, value)| (key.1, value)).collect();
        let expected: Vec<_> = expected.iter().map(|(key, value)| (encode(key).unwrap(), encode(value).unwrap())).collect();
        prop_assert_eq!(stored, expected);
    }
}

#[test]
fn a_key_that_comes_and_goes_between_two_freezes_leaves_no_trace() {
    let mut table = Table::new();
    put(&mut table, 1, Some("a"));
    put(&mut table, 1, None);
    assert!(table.freeze().is_empty());
    table.fold_now();
    assert_eq!(table.slots(), 0);
}

#[test]
fn a_removed_key_is_a_tombstone_until_the_freeze_and_ends_as_its_new_value_if_it_comes_back() {
    let mut table = Table::new();
    put(&mut table, 1, Some("a"));
    put(&mut table, 2, Some("b"));
    table.freeze();
    put(&mut table, 1, None);
    put(&mut table, 2, None);
    table.fold_now();
    assert_eq!((table.len(), table.slots()), (0, 2));
    put(&mut table, 2, Some("c"));
    let run = table.freeze();
    let entries: BTreeMap<_, _> = run.iter().map(|entry| (entry.hash, entry.value.map(<[u8]>::to_vec))).collect();
    assert_eq!(entries, BTreeMap::from([(hash(1), None), (hash(2), Some(encode("c").unwrap()))]));
    table.fold_now();
    assert_eq!(table.slots(), 1);
}

#[test]
fn two_keys_with_one_hash_are_two_entries_in_the_order_of_their_encodings() {
    let mut table = Table::new();
    let shared = KeyHash(7);
    for key in [300, 2, 1] {
        let slot = table.slot_or_vacant(shared, &key);
        table.put(slot, Some(key.to_string()), true);
    }
    for _ in 0..2 {
        let mut seen = Vec::new();
        table.for_each_in_order(|key, _, _| {
            seen.push(*key);
            ControlFlow::Continue(())
        });
        assert_eq!(seen, [1, 2, 300]); // 300 is encoded as 251, then two bytes
        table.fold_now();
    }
    let keys: Vec<_> = table.freeze().iter().map(|entry| entry.key.to_vec()).collect();
    assert_eq!(keys, [encode(&1_u32).unwrap(), encode(&2_u32).unwrap(), encode(&300_u32).unwrap()]);
}

#[test]
fn an_ordered_pass_stops_when_told() {
    let mut table = Table::new();
    (0..10).for_each(|key| put(&mut table, key, Some("x")));
    let mut seen = 0;
    table.for_each_in_order(|_, _, _| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(seen, 3);
}

#[test]
fn a_million_counts_take_less_than_150_megabytes() {
    let mut table = StateTable::<u64, u64>::new();
    let mut hasher = KeyHasher::default();
    for key in 0..1_000_000_u64 {
        let slot = table.slot_or_vacant(hasher.hash(&key), &key);
        table.put(slot, Some(1), true);
        if key % 10_000 == 0 {
            table.settle();
        }
    }
    table.settle();
    assert!(table.memory_bytes() < 110_000_000, "{} bytes", table.memory_bytes());
}

// ---- the store

fn files_of(directory: &Path) -> Vec<CheckpointFile> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| CheckpointFile {
            name: entry.file_name().into_string().unwrap(),
            size: entry.metadata().unwrap().len(),
            crc32: crc32fast::hash(&fs::read(entry.path()).unwrap()),
        })
        .collect()
}

fn load(store: &StateStore, operator: OperatorNumber) -> Table {
    let mut table = Table::new();
    let reader = store.reader();
    let scan = reader.scan(operator, KeyHash(0)..=KeyHash(u64::MAX));
    table.try_load_sorted(decode_entries::<u32, String>(scan)).unwrap();
    table
}

#[test]
fn what_was_frozen_is_what_a_store_loads_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let (live, checkpoint) = (place.path().join("live"), place.path().join("checkpoint"));
    let store = StateStore::create(&live).unwrap();
    let (one, two) = (OperatorNumber(1), OperatorNumber(2));
    let (mut first, mut second) = (Table::new(), Table::new());
    for round in 0..12 {
        for key in 0..500 {
            let value = format!("{round}");
            put(&mut first, key * (round + 1), (key % 7 != 0).then_some(value.as_str()));
        }
        put(&mut second, round, Some("second"));
        let bytes = store.ingest(vec![(two, second.freeze()), (one, first.freeze())]).unwrap();
        assert!(bytes > 0);
    }
    assert_eq!(store.ingest(vec![(one, first.freeze())]).unwrap(), 0);
    store.checkpoint(&checkpoint).unwrap();
    drop(store);

    let store = StateStore::open_from(&checkpoint, &live, &files_of(&checkpoint)).unwrap();
    assert_eq!(contents(&load(&store, one)), contents(&first));
    assert_eq!(contents(&load(&store, two)), contents(&second));
    let mut loaded = load(&store, one);
    loaded.check();
    assert_eq!(loaded.changed(), 0);
    assert!(loaded.freeze().is_empty());

    let key = encode(&8_u32).unwrap();
    let slot = first.slot(hash(8), &8).unwrap();
    let expected = first.value(slot).map(|value| encode(value).unwrap());
    assert_eq!(store.reader().get(one, hash(8), &key).unwrap(), expected);
    assert_eq!(store.reader().get(OperatorNumber(3), hash(8), &key).unwrap(), None);
}

#[test]
fn partitions_of_an_operator_are_ranges_of_one_scan() {
    let place = tempfile::tempdir().unwrap();
    let store = StateStore::create(&place.path().join("live")).unwrap();
    let mut partitions = [Table::new(), Table::new(), Table::new()];
    for key in 0..1_000 {
        put(&mut partitions[hash(key).bucket(3) as usize], key, Some("x"));
    }
    let operator = OperatorNumber(5);
    store.ingest(partitions.iter_mut().map(|table| (operator, table.freeze())).collect()).unwrap();
    let reader = store.reader();
    let half = KeyHash(u64::MAX / 2);
    let lower: Vec<_> = reader.scan(operator, KeyHash(0)..=half).map(|entry| entry.unwrap().0).collect();
    let upper: Vec<_> = reader.scan(operator, half..=KeyHash(u64::MAX)).map(|entry| entry.unwrap().0).collect();
    assert_eq!(lower.len() + upper.len(), 1_000);
    assert!(lower.is_sorted() && upper.is_sorted() && lower.last() < upper.first());
    assert_eq!(reader.scan(OperatorNumber(4), KeyHash(0)..=KeyHash(u64::MAX)).count(), 0);
}

#[test]
fn a_stored_key_in_a_form_of_before_is_refused_by_name_and_not_kept_beside_its_equal() {
    /// A key in which the zeros are equal, and all NaNs.
    #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
    struct Level(f64);
    impl PartialEq for Level {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0 || self.0.is_nan() && other.0.is_nan()
        }
    }
    impl Eq for Level {}

    let (operator, spec) = (OperatorNumber(1), StateSpec::<Level, u64>::new("levels"));
    // How an older build stored keys: under the hashes of their encodings, as they came.
    let loaded = |keys: &[f64]| {
        let place = tempfile::tempdir().unwrap();
        let store = StateStore::create(&place.path().join("live")).unwrap();
        let mut table = StateTable::new();
        for key in keys.iter().map(|key| Level(*key)) {
            let slot = table.slot_or_vacant(KeyHasher::default().hash(&key), &key);
            table.put(slot, Some(7_u64), true);
        }
        store.ingest(vec![(operator, table.freeze())]).unwrap();
        let entry = StoredOperator { number: operator, version: 1, entries: keys.len() as u64 };
        let loader = StateLoader::new(store.reader(), [(spec.uid.clone(), entry)].into());
        assert_eq!(loader.check_keys(&spec, 0, 1).is_ok(), loader.load(&spec, 0, 1, &mut StateTable::new()).is_ok());
        loader.load(&spec, 0, 1, &mut StateTable::new())
    };
    loaded(&[0.0, 1.5, f64::NAN]).unwrap();
    for older in [&[-0.0][..], &[0.0, 1.5, -0.0], &[-f64::NAN]] {
        let error = loaded(older).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        let error = error.to_string();
        for word in ["\"levels\"", "kept the two apart", "drop_state"] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
    assert!(loaded(&[-0.0]).unwrap_err().to_string().contains("the stored key -0.0 "));
}

#[test]
fn runs_that_overlap_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let store = StateStore::create(&place.path().join("live")).unwrap();
    let mut tables = [Table::new(), Table::new()];
    (0..100).for_each(|key| put(&mut tables[key as usize % 2], key, Some("x")));
    let runs = tables.iter_mut().map(|table| (OperatorNumber(1), table.freeze())).collect();
    assert!(matches!(store.ingest(runs), Err(StateError::RunsOverlap { operator: OperatorNumber(1), .. })));
}

#[test]
fn a_cut_or_missing_checkpoint_file_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (live, checkpoint) = (place.path().join("live"), place.path().join("checkpoint"));
    let store = StateStore::create(&live).unwrap();
    let mut table = Table::new();
    put(&mut table, 1, Some("x"));
    store.ingest(vec![(OperatorNumber(1), table.freeze())]).unwrap();
    store.checkpoint(&checkpoint).unwrap();
    drop(store);

    let files = files_of(&checkpoint);
    let table_file = files.iter().find(|file| file.is_table()).unwrap();
    let path = checkpoint.join(&table_file.name);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(table_file.size - 1).unwrap();
    let error = StateStore::open_from(&checkpoint, &live, &files).unwrap_err().to_string();
    assert!(error.contains(&format!("{} is damaged: expected {} bytes", path.display(), table_file.size)), "{error}");

    fs::remove_file(&path).unwrap();
    let error = StateStore::open_from(&checkpoint, &live, &files).unwrap_err();
    assert!(matches!(error, StateError::FileMissing { .. }), "{error}");
}

#[test]
fn a_checkpoint_without_its_current_file_is_damage_and_not_an_empty_store() {
    let place = tempfile::tempdir().unwrap();
    let (live, checkpoint) = (place.path().join("live"), place.path().join("checkpoint"));
    let store = StateStore::create(&live).unwrap();
    store.checkpoint(&checkpoint).unwrap();
    drop(store);
    let mut files = files_of(&checkpoint);
    files.retain(|file| file.name != "CURRENT");
    assert!(StateStore::open_from(&checkpoint, &live, &files).is_err());
}

#[test]
fn an_entry_under_a_wrong_hash_or_of_another_type_is_damage() {
    let place = tempfile::tempdir().unwrap();
    let store = StateStore::create(&place.path().join("live")).unwrap();
    let mut misplaced = Table::new();
    let slot = misplaced.slot_or_vacant(KeyHash(1), &1);
    misplaced.put(slot, Some("x".to_string()), true);
    let mut numbers = StateTable::<u32, u64>::new();
    let slot = numbers.slot_or_vacant(hash(1), &1);
    numbers.put(slot, Some(200), true); // as a string: 200 bytes that are not there
    store.ingest(vec![(OperatorNumber(1), misplaced.freeze()), (OperatorNumber(2), numbers.freeze())]).unwrap();
    for operator in [1, 2] {
        let reader = store.reader();
        let scan = reader.scan(OperatorNumber(operator), KeyHash(0)..=KeyHash(u64::MAX));
        let found: Vec<_> = decode_entries::<u32, String>(scan).collect();
        assert!(matches!(found[..], [Err(StateError::Entry { .. })]), "{found:?}");
    }
}

// ---- tables that hold a part of their keys

#[derive(Debug, Clone)]
enum Partly {
    /// Records with these keys; each puts its value, or removes its key.
    Batch(Vec<(u32, Option<u8>)>),
    Settle,
    /// Freezes, unless the last freeze is still on its way.
    Freeze,
    /// The store takes in what was frozen.
    Ingest,
    /// The table hears of it.
    Confirm,
    /// The whole of what was stored comes from the background.
    Complete,
    /// A new table on what is stored.
    Restart,
}

fn partly() -> impl Strategy<Value = Partly> {
    let record = (0_u32..80, prop::option::weighted(0.7, any::<u8>()));
    prop_oneof![
        6 => prop::collection::vec(record, 0..12).prop_map(Partly::Batch),
        4 => Just(Partly::Settle),
        2 => Just(Partly::Freeze),
        2 => Just(Partly::Ingest),
        2 => Just(Partly::Confirm),
        1 => Just(Partly::Complete),
        1 => Just(Partly::Restart),
    ]
}

/// A table over a store, and what both must come to.
struct Under {
    store: StateStore,
    limit: Option<usize>,
    table: Table,
    rest: Option<Rest<u32, String>>,
    frozen: Option<FrozenRun>,
    is_unconfirmed: bool,
    stored: i64,
    model: BTreeMap<u32, String>,
}

const PARTLY: OperatorNumber = OperatorNumber(1);

impl Under {
    fn rest_of(store: &StateStore) -> Rest<u32, String> {
        Rest::new("partly".into(), store.reader(), PARTLY, KeyHash(0)..=KeyHash(u64::MAX), None)
    }

    fn new(store: StateStore, limit: Option<usize>) -> Self {
        let rest = Some(Self::rest_of(&store));
        let mut under = Self {
            store,
            limit,
            table: Table::new(),
            rest,
            frozen: None,
            is_unconfirmed: false,
            stored: 0,
            model: BTreeMap::new(),
        };
        under.begin();
        under
    }

    fn begin(&mut self) {
        self.table = Table::new();
        self.limit.into_iter().for_each(|most| self.table.limit(most));
        self.rest = Some(Self::rest_of(&self.store));
        self.stored = self.model.len() as i64;
    }

    fn batch(&mut self, records: &[(u32, Option<u8>)]) {
        if let Some(rest) = &self.rest {
            let keys = records.iter().map(|(key, _)| (hash(*key), key));
            rest.look_up(&mut self.table, keys, &mut CacheCounts::default());
        }
        for (key, value) in records {
            let slot = self.table.slot_or_vacant(hash(*key), key);
            assert_eq!(self.table.value(slot), self.model.get(key), "key {key}");
            self.table.put(slot, value.map(|value| value.to_string()), true);
            match value {
                Some(value) => self.model.insert(*key, value.to_string()),
                None => self.model.remove(key),
            };
        }
    }

    /// A table without a limit is frozen only when it is whole.
    fn may_freeze(&self) -> bool {
        self.frozen.is_none() && !self.is_unconfirmed && (self.limit.is_some() || self.rest.is_none())
    }

    fn ingest(&mut self) {
        if let Some(run) = self.frozen.take() {
            self.store.ingest(vec![(PARTLY, run)]).unwrap();
            self.is_unconfirmed = true;
        }
    }

    fn confirm(&mut self) {
        if std::mem::take(&mut self.is_unconfirmed) {
            self.table.confirm();
        }
    }

    fn complete(&mut self) {
        if self.limit.is_none() && self.rest.take().is_some() {
            self.table.complete(load(&self.store, PARTLY));
        }
    }

    fn step(&mut self, action: Partly) {
        match action {
            Partly::Batch(records) => self.batch(&records),
            Partly::Settle => drop(self.table.settle()),
            Partly::Freeze if self.may_freeze() => self.frozen = Some(self.table.freeze()),
            Partly::Freeze => {}
            Partly::Ingest => self.ingest(),
            Partly::Confirm => self.confirm(),
            Partly::Complete => self.complete(),
            Partly::Restart => {
                self.complete();
                self.ingest();
                self.confirm();
                self.frozen = Some(self.table.freeze());
                self.ingest();
                self.is_unconfirmed = false;
                self.begin();
            }
        }
        assert_eq!(self.stored + self.table.grown_by(), self.model.len() as i64);
    }

    fn contents(&self) -> Vec<(u32, String)> {
        let Some(rest) = &self.rest else { return contents(&self.table) };
        let mut seen = Vec::new();
        let mut visit = |_: KeyHash, key: &[u8], value: &String| {
            seen.push((floodmark_base::codec::decode(key).unwrap(), value.clone()));
            Ok(())
        };
        rest.scan_with(&self.table, &mut visit).unwrap();
        seen
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_table_over_a_store_is_a_map_whatever_leaves_it_and_whenever_it_becomes_whole(
        actions in prop::collection::vec(partly(), 0..80),
        limit in prop::option::of(1_usize..40),
    ) {
        let place = tempfile::tempdir().unwrap();
        let mut under = Under::new(StateStore::create(&place.path().join("live")).unwrap(), limit);
        for action in actions {
            under.step(action);
            under.table.check();
        }
        let mut expected: Vec<_> = under.model.clone().into_iter().collect();
        expected.sort_by_key(|(key, _)| (hash(*key), encode(key).unwrap()));
        prop_assert_eq!(under.contents(), expected.clone());
        under.step(Partly::Restart);
        prop_assert_eq!(contents(&load(&under.store, PARTLY)), expected);
    }
}

#[test]
fn what_was_not_touched_leaves_first_and_what_changed_never() {
    let mut table = Table::new();
    table.limit(100);
    (0..100).for_each(|key| put(&mut table, key, Some("x")));
    table.freeze();
    (100..120).for_each(|key| put(&mut table, key, Some("x")));
    assert_eq!(table.settle(), 0, "what was frozen is still on its way into the store");
    table.confirm();
    // Everything that came since the last pass counts as touched; the next pass asks anew.
    assert!(table.settle() >= 20);
    let left: Vec<u32> = (0..100).filter(|key| table.slot(hash(*key), key).is_some()).collect();
    let (missing, known) = table.missing(left[..20].iter().chain(&[999]).map(|key| (hash(*key), key)));
    assert_eq!((missing, known), (vec![(hash(999), &999)], 20));
    (200..250).for_each(|key| put(&mut table, key, Some("x")));
    assert!(table.settle() > 0);
    assert!((100..120).chain(200..250).all(|key| table.slot(hash(key), &key).is_some()));
    let kept = |keys: &[u32]| keys.iter().filter(|key| table.slot(hash(**key), key).is_some()).count();
    assert!(
        kept(&left[..20]) >= kept(&left[20..]),
        "{} of 20, {} of {}",
        kept(&left[..20]),
        kept(&left[20..]),
        left.len() - 20
    );
}

#[test]
fn the_log_file_of_the_store_under_the_tables_does_not_grow_with_the_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("live");
    let store = StateStore::create(&live).unwrap();
    let mut table = Table::new();
    let mut log_bytes = |checkpoints: std::ops::Range<u32>| {
        for number in checkpoints {
            put(&mut table, number, Some("value"));
            store.ingest(vec![(OperatorNumber(1), table.freeze())]).unwrap();
            store.checkpoint(&directory.path().join(number.to_string())).unwrap();
            fs::remove_dir_all(directory.path().join(number.to_string())).unwrap();
        }
        let logs = fs::read_dir(&live).unwrap().map(|entry| entry.unwrap());
        let logs = logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("LOG"));
        logs.map(|entry| entry.metadata().unwrap().len()).sum::<u64>()
    };
    let after_ten = log_bytes(0..10);
    let after_three_hundred = log_bytes(10..300);
    let log = fs::read_to_string(live.join("LOG")).unwrap();
    let tail: Vec<&str> = log.lines().rev().take(4).collect();
    // What merges say of themselves may be in it, but nothing for each checkpoint.
    assert!(after_three_hundred < after_ten + 290 * 20, "{after_ten}, then {after_three_hundred}: {tail:#?}");
}
