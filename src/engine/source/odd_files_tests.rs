//! Files and directories as people have them: byte order marks, compressed files, links, odd names, directories that come and go.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::text_files_tests::{Fixture, fixture, fixture_with};
use super::*;
use crate::dataflow::task::Before;
use crate::source::compression::Compression;
use crate::source::compression::tests::compressed;
use floodmark_base::clock::ManualClock;

/// What was met, without the number of files that are known.
fn status(f: &Fixture) -> FilesStatus {
    FilesStatus { known: 0, ..f.direct.files_status().unwrap() }
}

fn passed_over(f: &Fixture) -> Vec<String> {
    status(f).passed_over_names.into_iter().map(|(name, why)| format!("{name}: {why}")).collect()
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_part_of_the_lines() {
    let mut f = fixture();
    f.put("a", 2, "\u{feff}tea\r\nrum\r\n");
    f.put("b", 1, b"\xff\xfet\0e\0a\0\n\0");
    assert_eq!(f.batch(u64::MAX), ["tea", "rum"]);
}

#[test]
fn compressed_files_are_read_by_their_names() {
    let mut f = fixture();
    f.put("a.txt.gz", 4, compressed(Compression::Gzip, b"one\ntwo"));
    f.put("b.bz2", 3, compressed(Compression::Bzip2, b"\xef\xbb\xbfthree\r\nfour\r\n"));
    f.put("c.ZST", 2, compressed(Compression::Zstd, b"five\n"));
    f.put("d.gz", 1, b"");
    assert_eq!(f.batch(u64::MAX), ["one", "two", "three", "four", "five"]);
}

#[test]
fn a_compressed_file_is_one_task_and_waits_for_the_next_batch_where_it_does_not_fit() {
    let mut f = fixture_with(|files| files.task_bytes(10));
    let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
    f.put("a", 3, "first of all\n");
    f.put("b.gz", 2, compressed(Compression::Gzip, text.as_bytes()));
    f.put("c", 1, "last\n");
    assert_eq!(f.batch(50), ["first of all"], "the compressed file is larger than what is left");
    let ranges = f.offer(50);
    assert_eq!(ranges.len(), 1, "taken whole, whatever the limit");
    assert_eq!(f.batch(50).len(), 100);
    assert_eq!(f.batch(50), ["last"]);
}

#[test]
fn a_compressed_file_that_is_cut_off_or_damaged_or_misnamed_is_an_error_that_names_it() {
    let gz = compressed(Compression::Gzip, b"some lines\nof text\n");
    let mut damaged = gz.clone();
    *damaged.iter_mut().nth_back(6).unwrap() ^= 1;
    for bytes in [&gz[..gz.len() - 3], &damaged, b"plain"] {
        let mut f = fixture();
        f.put("a.gz", 1, bytes);
        let ranges = f.offer(u64::MAX);
        let error = f.read(&ranges).unwrap_err().to_string();
        let start =
            format!("{}: the file cannot be read as gzip, which its name stands for: ", f.path("a.gz").display());
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn a_link_is_taken_as_the_file_it_leads_to_and_one_that_leads_nowhere_when_it_does() {
    let clock = ManualClock::at(1_000_000);
    let mut f = fixture_with(|files| files.clock(Arc::new(clock.clone())));
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("there"), "there\n").unwrap();
    symlink(elsewhere.path().join("there"), f.path("link")).unwrap();
    symlink(elsewhere.path().join("later"), f.path("dangling")).unwrap();
    assert_eq!(f.batch(u64::MAX), ["there"]);
    // So long after the last change that a listing of the directory would not be repeated.
    for _ in 0..3 {
        clock.advance(Duration::from_secs(10));
        assert_eq!(f.batch(u64::MAX), [""; 0]);
    }
    fs::write(elsewhere.path().join("later"), "later\n").unwrap();
    assert_eq!(f.batch(u64::MAX), ["later"], "nothing has changed in the directory itself");
    assert_eq!(status(&f), FilesStatus::default());
}

#[test]
fn odd_entries_are_passed_over_and_named_and_the_files_beside_them_are_taken() {
    let mut f = fixture();
    symlink(f.path("loop"), f.path("loop")).unwrap();
    fs::create_dir(f.path("sub")).unwrap();
    symlink(f.path("sub"), f.path("to_sub")).unwrap();
    let _socket = UnixListener::bind(f.path("socket")).unwrap();
    f.put("file", 1, "tea\n");
    assert_eq!(f.batch(u64::MAX), ["tea"]);
    let told = passed_over(&f);
    assert_eq!((status(&f).passed_over, told.len()), (4, 4), "{told:?}");
    assert!(told[0].starts_with("loop: ") && told[0].contains("symbolic link"), "{told:?}");
    assert_eq!(told[1], "socket: neither a file nor a link to one");
    assert_eq!(told[2], "sub: a directory: sub-directories are not read");
    fs::remove_file(f.path("loop")).unwrap();
    f.put("loop", 0, "a file now\n");
    assert_eq!(f.batch(u64::MAX), ["a file now"]);
    assert_eq!(status(&f).passed_over, 3);
}

#[test]
fn a_name_may_have_any_bytes() {
    let mut f = fixture();
    let name = OsStr::from_bytes(b"caf\xe9 \xff\n");
    fs::write(f.directory.path().join(name), "one\ntwo\n").unwrap();
    assert_eq!(f.batch(u64::MAX), ["one", "two"]);
    let (_, position) = f.checkpoint();
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX), [""; 0], "it is known after a restart");
}

#[test]
fn a_directory_that_appears_later_or_is_away_for_a_while_has_no_files_meanwhile() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("in");
    let direct = Direct::new(TextFiles::new(&directory).task_bytes(4));
    let mut f = Fixture { directory: place, direct, stored: BTreeMap::new() };
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    let why = status(&f).unavailable.unwrap();
    assert!(why.starts_with(&format!("{}: the directory cannot be listed: ", directory.display())), "{why}");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a"), "one\n").unwrap();
    assert_eq!(f.batch(u64::MAX), ["one"]);
    assert_eq!(status(&f), FilesStatus::default());
    // In the middle of a file, and for longer than names of missing files are kept.
    fs::write(directory.join("b"), "lines\n".repeat(2_000)).unwrap();
    let before = f.batch(1).len();
    fs::rename(&directory, f.path("away")).unwrap();
    for _ in 0..40 {
        assert_eq!(f.batch(1), [""; 0]);
    }
    assert!(status(&f).unavailable.is_some());
    fs::rename(f.path("away"), &directory).unwrap();
    assert_eq!(before + f.batch(u64::MAX).len(), 2_000, "it goes on where it was, and takes nothing twice");
    assert_eq!(status(&f), FilesStatus::default());
}

#[test]
fn a_file_that_was_taken_in_part_is_waited_for_while_it_is_away() {
    let mut f = fixture();
    f.put("a", 2, "one\n".repeat(3_000));
    let before = f.batch(1).len();
    f.put("b", 1, "other\n");
    fs::rename(f.path("a"), f.path(".a")).unwrap();
    for _ in 0..40 {
        assert_eq!(f.batch(u64::MAX), [""; 0], "files are taken in their order");
    }
    let why = status(&f).unavailable.unwrap();
    assert!(why.contains("the file was taken up to byte 4096 of 12000 and cannot be read on"), "{why}");
    fs::rename(f.path(".a"), f.path("a")).unwrap();
    assert_eq!(before + f.batch(u64::MAX).len(), 3_001);
    assert_eq!(status(&f).unavailable, None);
}

/// Runs a test on a thread to which the permissions of files apply, also where it is root's.
#[cfg(target_os = "linux")]
pub(super) fn without_privileges(test: impl FnOnce() + Send + 'static) {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let unprivileged = move || {
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).unwrap();
        test();
    };
    if let Err(panic) = std::thread::spawn(unprivileged).join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_may_not_be_read_is_passed_over_and_named_until_it_may() {
    without_privileges(|| {
        let mut f = fixture();
        f.put("locked", 2, "locked\n");
        f.put("open", 1, "open\n");
        let permit = |mode| fs::set_permissions(f.path("locked"), fs::Permissions::from_mode(mode)).unwrap();
        permit(0o000);
        assert!(fs::read(f.path("locked")).is_err(), "permissions apply to this thread");
        assert_eq!(f.batch(u64::MAX), ["open"]);
        assert_eq!(f.batch(u64::MAX), [""; 0]);
        assert_eq!(passed_over(&f), ["locked: Permission denied (os error 13)"]);
        let permit = |mode| fs::set_permissions(f.path("locked"), fs::Permissions::from_mode(mode)).unwrap();
        permit(0o400);
        assert_eq!(f.batch(u64::MAX), ["locked"], "nothing has changed in the directory itself");
        assert_eq!(passed_over(&f), [""; 0]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_that_may_not_be_listed_is_waited_for_and_named() {
    without_privileges(|| {
        let mut f = fixture();
        f.put("a", 1, "tea\n");
        let permit = |f: &Fixture, mode| {
            fs::set_permissions(f.directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        };
        permit(&f, 0o000);
        assert_eq!(f.batch(u64::MAX), [""; 0]);
        let why = status(&f).unavailable.unwrap();
        assert!(why.ends_with("the directory cannot be listed: Permission denied (os error 13)"), "{why}");
        permit(&f, 0o700);
        assert_eq!(f.batch(u64::MAX), ["tea"]);
        assert_eq!(status(&f), FilesStatus::default());
    });
}

fn make_pipe(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

#[test]
fn a_pipe_is_passed_over_and_named_and_nothing_waits_for_its_writer() {
    let mut f = fixture_with(|files| files.max_files_per_batch(1));
    make_pipe(&f.path("pipe"));
    symlink(f.path("pipe"), f.path("to_pipe")).unwrap();
    f.put("a", 3, "tea\n");
    f.put("b", 2, "rum\n");
    f.put("c", 1, "milk\n");
    let no_file = "neither a file nor a link to one";
    assert_eq!(f.batch(u64::MAX), ["tea"]);
    assert_eq!(passed_over(&f), ["pipe", "to_pipe"].map(|name| format!("{name}: {no_file}")));
    // In the place of a file that was seen, and waits to be taken.
    fs::remove_file(f.path("b")).unwrap();
    make_pipe(&f.path("b"));
    assert_eq!(f.batch(u64::MAX), ["milk"]);
    assert_eq!(passed_over(&f), ["b", "pipe", "to_pipe"].map(|name| format!("{name}: {no_file}")));
    f.put("b", 2, "rum\n");
    assert_eq!(f.batch(u64::MAX), ["rum"]);
    assert_eq!(status(&f).passed_over, 2);
}

#[test]
fn a_pipe_or_a_directory_or_a_socket_in_the_place_of_a_planned_file_is_an_error_that_names_it() {
    for number in 0..3 {
        let mut f = fixture();
        f.put("a", 1, "tea\n");
        let ranges = f.plan(u64::MAX);
        fs::remove_file(f.path("a")).unwrap();
        match number {
            0 => make_pipe(&f.path("a")),
            1 => fs::create_dir(f.path("a")).unwrap(),
            _ => drop(UnixListener::bind(f.path("a")).unwrap()),
        }
        let expected = format!("{}: cannot be read at byte 0: neither a file nor a link to one", f.path("a").display());
        assert_eq!(f.read(&ranges).unwrap_err().to_string(), expected);
        let checked = f.direct.check(&ranges[0], &Before::Restored, false);
        assert_eq!(checked.unwrap_err().to_string(), expected, "so it is at a start");
    }
}

#[test]
fn a_reference_file_that_is_a_pipe_is_an_error_and_no_wait() {
    let place = tempfile::tempdir().unwrap();
    make_pipe(&place.path().join("pipe"));
    let mut file = ReferenceFile::new(place.path().join("pipe"), |line| Some((line.to_string(), 1_u64)));
    let error = file.load().unwrap_err().to_string();
    assert!(error.ends_with("pipe: cannot be read at byte 0: neither a file nor a link to one"), "{error}");
}

#[test]
fn a_link_to_nothing_is_named_and_is_taken_when_it_leads_to_a_file_though_the_directory_stays_as_it_is() {
    let clock = Arc::new(ManualClock::at(0));
    let mut f = fixture_with(|files| files.clock(clock.clone()));
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("there"), "there\n").unwrap();
    symlink(elsewhere.path().join("there"), f.path("first")).unwrap();
    symlink(elsewhere.path().join("later"), f.path("second")).unwrap();
    let passes = |clock: &ManualClock| clock.advance(Duration::from_secs(10));
    assert_eq!(f.offer(u64::MAX).len(), 1, "seen, and not planned");
    passes(&clock);
    fs::remove_file(elsewhere.path().join("there")).unwrap();
    for _ in 0..3 {
        assert_eq!(f.batch(u64::MAX), [""; 0]);
        assert_eq!(passed_over(&f), ["first: a link to nothing", "second: a link to nothing"]);
        passes(&clock);
    }
    fs::write(elsewhere.path().join("later"), "later\n").unwrap();
    assert_eq!(f.batch(u64::MAX), ["later"]);
    fs::write(elsewhere.path().join("there"), "there\n").unwrap();
    assert_eq!(f.batch(u64::MAX), ["there"]);
    assert_eq!(passed_over(&f), [""; 0]);
}

#[test]
fn a_directory_that_is_back_is_listed_again_though_its_time_is_what_it_was() {
    let (place, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(1_000_000));
    let directory = place.path().join("in");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a"), "one\n").unwrap();
    let direct = Direct::new(TextFiles::new(&directory).clock(Arc::new(clock.clone())));
    let mut f = Fixture { directory: place, direct, stored: BTreeMap::new() };
    assert_eq!(f.batch(u64::MAX), ["one"]);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(10));
        assert_eq!(f.batch(u64::MAX), [""; 0]);
    }
    let modified = fs::metadata(&directory).unwrap().modified().unwrap();
    fs::rename(&directory, f.path("away")).unwrap();
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    fs::write(f.path("away/b"), "two\n").unwrap();
    File::open(f.path("away")).unwrap().set_modified(modified).unwrap();
    fs::rename(f.path("away"), &directory).unwrap();
    assert_eq!(f.batch(u64::MAX), ["two"]);
}

#[test]
fn a_file_that_was_taken_in_part_goes_on_also_when_it_comes_back_late_and_with_another_time() {
    let mut f = fixture();
    f.put("a", 2, "one\n".repeat(3_000));
    let before = f.batch(1).len();
    fs::rename(f.path("a"), f.path(".a")).unwrap();
    for _ in 0..40 {
        assert_eq!(f.batch(u64::MAX), [""; 0]);
    }
    f.put("a", 9, "one\n".repeat(3_000));
    assert_eq!(before + f.batch(u64::MAX).len(), 3_000);
}
