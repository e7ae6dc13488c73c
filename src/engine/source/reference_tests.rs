//! Reference data as the driver sees it, and the file that it is loaded from.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::source::SourceError;
use crate::source::compression::Compression;
use crate::source::compression::tests::compressed;
use crate::source::direct::{ErasedDirect, OfferLimits};
use crate::source::reference::{ReferenceInput, ReferenceLoader, ReferenceReader};
use crate::source::reference_file::ReferenceFile;
use crate::source::task::{TaskBytes, TaskReader};
use floodmark_base::clock::ManualClock;

type Entries = Vec<(u64, String)>;
type Loaded = Result<Option<Entries>, SourceError>;

/// A loader that answers in turn, then says that nothing has changed.
fn answers(answers: impl IntoIterator<Item = Loaded>) -> impl ReferenceLoader<Key = u64, Value = String> {
    let mut answers: VecDeque<Loaded> = answers.into_iter().collect();
    move || answers.pop_front().unwrap_or(Ok(None))
}

fn input(loaded: impl IntoIterator<Item = Loaded>) -> ReferenceInput<impl ReferenceLoader> {
    ReferenceInput::new("names".into(), answers(loaded))
}

fn entries(names: &[&str]) -> Entries {
    (0..).zip(names).map(|(number, name)| (number, (*name).to_string())).collect()
}

fn version(names: &[&str]) -> Loaded {
    Ok(Some(entries(names)))
}

fn failure(text: &str) -> Loaded {
    Err(SourceError::other(text))
}

/// Plans what there is, and says what it holds.
fn plan(input: &mut impl ErasedDirect) -> Option<Entries> {
    // The narrowest limits: a version is never cut, and never held back.
    let ranges = input.offer(&OfferLimits { records: 1, bytes: 1 }).unwrap();
    assert!(ranges.len() <= 1, "a version is one range");
    let range = ranges.first()?;
    input.advance(range).unwrap();
    let mut entries = Vec::new();
    let read =
        ReferenceReader::<u64, String>::default().read(TaskBytes::Range(range), &mut |entry| entries.push(entry));
    assert_eq!(read.unwrap().records as usize, entries.len());
    Some(entries)
}

#[test]
fn a_version_is_planned_once_and_as_a_whole() {
    let mut input = input([version(&["a", "b"]), version(&["a", "b"]), Ok(None), version(&["b"]), version(&[])]);
    assert!(input.is_missing());
    assert_eq!(plan(&mut input), Some(entries(&["a", "b"])));
    assert!(!input.is_missing());
    assert_eq!(plan(&mut input), None, "the same again");
    assert_eq!(plan(&mut input), None, "nothing new");
    assert_eq!(plan(&mut input), Some(entries(&["b"])));
    assert_eq!(plan(&mut input), Some(vec![]), "a version without entries is one, too");
    assert_eq!(plan(&mut input), None);
}

#[test]
fn without_a_version_a_failure_is_an_error_and_later_the_old_one_stays() {
    let mut input = input([failure("no such file"), version(&["a"]), failure("gone"), version(&["b"])]);
    assert_eq!(input.offer(&OfferLimits::UNLIMITED).unwrap_err().to_string(), "no such file");
    assert_eq!(plan(&mut input), Some(entries(&["a"])));
    assert_eq!(plan(&mut input), None);
    assert_eq!(plan(&mut input), Some(entries(&["b"])));
}

#[test]
fn a_loader_that_never_gave_a_version_cannot_say_that_nothing_changed() {
    let error = input([]).offer(&OfferLimits::UNLIMITED).unwrap_err().to_string();
    assert!(error.contains("before it gave a first version"), "{error}");
}

#[test]
fn a_failure_is_news_once_until_the_circumstances_change() {
    let mut input = input([version(&["a"]), Ok(None)]);
    let mut is_news = |text: &str| input.is_news(&SourceError::other(text));
    assert_eq!([is_news("gone"), is_news("gone"), is_news("not text"), is_news("gone")], [true, false, true, true]);
    plan(&mut input);
    assert!(input.is_news(&SourceError::other("gone")), "it could be loaded in between");
}

#[test]
fn an_unchanged_version_is_not_planned_again_after_a_restart() {
    let mut first_life = input([version(&["a"])]);
    plan(&mut first_life);
    let position = first_life.position().unwrap();
    let mut second_life = input([version(&["a"]), version(&["b"])]);
    second_life.restore(Some(&position)).unwrap();
    assert_eq!(plan(&mut second_life), None);
    assert_eq!(plan(&mut second_life), Some(entries(&["b"])));
    second_life.restore(None).unwrap();
    assert!(second_life.is_missing(), "in an empty place there is none");
}

#[test]
fn an_operator_that_is_new_has_the_version_planned_again() {
    let mut first_life = input([version(&["a"])]);
    first_life.joins().add(&"one".into());
    plan(&mut first_life);
    let position = first_life.position().unwrap();
    for (operators, is_missing) in [(["one", "one"], false), (["one", "two"], true)] {
        let mut second_life = input([version(&["a"])]);
        operators.iter().for_each(|uid| second_life.joins().add(&(*uid).into()));
        second_life.restore(Some(&position)).unwrap();
        assert_eq!(second_life.is_missing(), is_missing, "{operators:?}");
        assert_eq!(plan(&mut second_life).is_some(), is_missing, "{operators:?}");
    }
}

#[test]
fn a_value_that_does_not_survive_its_encoding_is_refused_before_it_is_planned() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Lossy {
        #[serde(skip)]
        _forgotten: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u64>,
    }
    let mut given =
        Some(vec![(1_u64, Lossy { _forgotten: 1, note: None }), (2, Lossy { _forgotten: 1, note: Some(1) })]);
    let mut input = ReferenceInput::new("lossy".into(), move || Ok(given.take()));
    let error = input.offer(&OfferLimits::UNLIMITED).unwrap_err().to_string();
    assert!(error.contains("Lossy"), "{error}");
}

fn file(path: &Path, clock: &ManualClock) -> impl ReferenceLoader<Key = String, Value = u64> + use<> {
    let parse = |line: &str| Some((line.split_once(' ')?.0.to_string(), line.split_once(' ')?.1.parse().ok()?));
    ReferenceFile::new(path, parse).clock(Arc::new(clock.clone()))
}

fn pairs(of: &[(&str, u64)]) -> Option<Vec<(String, u64)>> {
    Some(of.iter().map(|(key, value)| ((*key).to_string(), *value)).collect())
}

#[test]
fn a_file_is_read_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (path, clock) = (directory.path().join("prices"), ManualClock::at(0));
    fs::write(&path, "# cents\n\napple 3\r\npear 5").unwrap();
    let mut file = file(&path, &clock);
    assert_eq!(file.load().unwrap(), pairs(&[("apple", 3), ("pear", 5)]));
    assert_eq!(file.load().unwrap(), None);
    fs::write(directory.path().join("new"), "apple 4\n").unwrap();
    fs::rename(directory.path().join("new"), &path).unwrap();
    assert_eq!(file.load().unwrap(), pairs(&[("apple", 4)]));
    assert_eq!(file.load().unwrap(), None);
    fs::write(&path, "").unwrap();
    assert_eq!(file.load().unwrap(), Some(vec![]));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_entry_and_a_compressed_file_is_read_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(0);
    let load = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        file(&path, &clock).load()
    };
    let text = b"\xef\xbb\xbftea 3\r\nrum 5\r\n";
    let expected = pairs(&[("tea", 3), ("rum", 5)]);
    assert_eq!(load("prices", text).unwrap(), expected);
    for (name, compression) in
        [("a.gz", Compression::Gzip), ("a.bz2", Compression::Bzip2), ("a.zst", Compression::Zstd)]
    {
        let bytes = compressed(compression, text);
        assert_eq!(load(name, &bytes).unwrap(), expected, "{compression}");
        let error = load(name, &bytes[..bytes.len() - 1]).unwrap_err().to_string();
        let start = format!("{}: the file cannot be read as {compression}", directory.path().join(name).display());
        assert!(error.starts_with(&start), "{error}");
    }
    let error = load("wide", b"\xff\xfet\x00e\x00a\x00 \x003\x00").unwrap_err().to_string();
    assert!(error.contains("wide: the text begins with the byte order mark of UTF-16"), "{error}");
}

#[test]
fn a_change_that_leaves_size_and_time_as_they_were_is_seen_while_the_time_is_young() {
    let directory = tempfile::tempdir().unwrap();
    let (path, clock) = (directory.path().join("prices"), ManualClock::at(0));
    fs::write(&path, "apple 3").unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let rewrite = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    };
    let mut file = file(&path, &clock);
    assert_eq!(file.load().unwrap(), pairs(&[("apple", 3)]));
    rewrite("apple 4");
    assert_eq!(file.load().unwrap(), pairs(&[("apple", 4)]));
    clock.advance_to(3_000);
    assert_eq!(file.load().unwrap(), None);
    // From here on no honest change leaves the same stamp, and the file is not read again.
    rewrite("apple 5");
    assert_eq!(file.load().unwrap(), None);
}

#[test]
fn a_file_that_is_missing_or_no_text_is_an_error_that_names_it_and_it_may_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let (path, clock) = (directory.path().join("prices"), ManualClock::at(0));
    let mut file = file(&path, &clock);
    let missing = file.load().unwrap_err().to_string();
    assert!(missing.starts_with(&format!("{}: cannot be read at byte 0: ", path.display())), "{missing}");
    fs::write(&path, b"apple 3\n\xff\xfe 4\n").unwrap();
    for _ in 0..2 {
        let no_text = file.load().unwrap_err().to_string();
        assert_eq!(no_text, format!("{}: expected text in utf-8, found other bytes at byte 8", path.display()));
    }
    fs::write(&path, "apple 3\n").unwrap();
    assert_eq!(file.load().unwrap(), pairs(&[("apple", 3)]));
    fs::remove_file(&path).unwrap();
    assert_eq!(file.load().unwrap_err().to_string(), missing);
    fs::write(&path, "apple 3\n").unwrap();
    assert_eq!(file.load().unwrap(), None, "it came back as it was");
}
