//! What a simulated crash leaves, against what a file system promises.

use std::fs;
use std::io::IoSlice;
use std::path::PathBuf;

use super::{Disk, DiskFile, Image, Loss, SimulatedDisk, Step};

struct Place {
    root: tempfile::TempDir,
    disk: SimulatedDisk,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = SimulatedDisk::new(root.path()).unwrap();
        Self { root, disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
        let mut file = self.disk.create(Step::WalRoll, &self.path(name)).unwrap();
        append(&mut *file, bytes);
        file
    }

    fn sync_names(&self, directory: &str) {
        self.disk.sync_directory(Step::WalRoll, &self.path(directory)).unwrap();
    }

    /// Name and contents of every file after a crash.
    fn after(&self, loss: Loss) -> Vec<(String, String)> {
        let image = self.disk.image(loss).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        image.files().into_iter().map(|(path, bytes)| (path.display().to_string(), text(bytes))).collect()
    }
}

fn append(file: &mut dyn DiskFile, bytes: &[u8]) {
    file.append(Step::WalAppend, &mut [IoSlice::new(bytes)]).unwrap();
}

fn files(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

#[test]
fn a_synced_file_whose_directory_was_not_synced_is_gone_after_a_power_cut() {
    let place = Place::new();
    place.write("file", b"abc").sync(Step::WalSync).unwrap();
    assert_eq!(place.after(Loss::Everything), []);
    assert_eq!(place.after(Loss::Names), []);
    assert_eq!(place.after(Loss::Bytes), files(&[("file", "abc")]));
    place.sync_names("");
    assert_eq!(place.after(Loss::Everything), files(&[("file", "abc")]));
}

#[test]
fn a_file_whose_name_was_synced_ends_where_its_bytes_were_synced() {
    let place = Place::new();
    let mut file = place.write("file", b"abc");
    place.sync_names("");
    assert_eq!(place.after(Loss::Everything), files(&[("file", "")]));
    file.sync(Step::WalSync).unwrap();
    append(&mut *file, b"def");
    assert_eq!(place.after(Loss::Everything), files(&[("file", "abc")]));
    assert_eq!(place.after(Loss::Names), files(&[("file", "abcdef")]));
    assert_eq!(place.after(Loss::Nothing), files(&[("file", "abcdef")]));
}

#[test]
fn a_name_that_was_removed_or_moved_without_a_sync_comes_back() {
    let place = Place::new();
    place.disk.create_whole(Step::ManifestCreate, &place.path("one"), b"1").unwrap();
    place.disk.create_whole(Step::ManifestCreate, &place.path("two"), b"2").unwrap();
    place.disk.remove_file(Step::ManifestRemove, &place.path("one")).unwrap();
    place.disk.rename(Step::SinkPublish, &place.path("two"), &place.path("three")).unwrap();
    assert_eq!(place.after(Loss::Nothing), files(&[("three", "2")]));
    assert_eq!(place.after(Loss::Everything), files(&[("one", "1"), ("two", "2")]));
    place.sync_names("");
    assert_eq!(place.after(Loss::Everything), files(&[("three", "2")]));
}

#[test]
fn a_directory_that_moves_takes_what_was_synced_in_it_along() {
    let place = Place::new();
    place.disk.create_dir(Step::SinkPublish, &place.path(".hidden")).unwrap();
    place.write(".hidden/part", b"x").sync(Step::SinkPublish).unwrap();
    place.write(".hidden/torn", b"y");
    place.sync_names(".hidden");
    place.disk.rename(Step::SinkPublish, &place.path(".hidden"), &place.path("batch")).unwrap();
    place.sync_names("");
    assert_eq!(place.after(Loss::Everything), files(&[("batch/part", "x"), ("batch/torn", "")]));
}

#[test]
fn what_was_made_outside_of_the_door_lasts_once_its_tree_is_synced() {
    let place = Place::new();
    fs::create_dir(place.path("made")).unwrap();
    fs::write(place.path("made/a"), "a").unwrap();
    assert_eq!(place.after(Loss::Everything), []);
    place.disk.sync_tree(Step::CheckpointFiles, &place.path("made")).unwrap();
    fs::hard_link(place.path("made/a"), place.path("made/b")).unwrap();
    fs::write(place.path("made/c"), "c").unwrap();
    assert_eq!(place.after(Loss::Everything), files(&[("made/a", "a")]));
    place.sync_names("made");
    assert_eq!(place.after(Loss::Everything), files(&[("made/a", "a"), ("made/b", "a"), ("made/c", "")]));
}

#[test]
fn reordered_writes_keep_later_sectors_and_lose_earlier_ones_and_never_touch_what_was_synced() {
    let place = Place::new();
    let mut file = place.write("file", &[b'a'; 700]);
    file.sync(Step::WalSync).unwrap();
    place.sync_names("");
    append(&mut *file, &[b'b'; 2_000]);
    let mut holes = 0;
    for seed in 0..64 {
        let image = place.disk.image(Loss::Some { seed }).unwrap();
        assert_eq!(image, place.disk.image(Loss::Some { seed }).unwrap(), "seed {seed}");
        let (_, bytes) = image.files()[0];
        assert!(bytes.starts_with(&[b'a'; 700]) && bytes.len() <= 2_700, "seed {seed}");
        let kept =
            |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(|byte| *byte == b'b'));
        let lost = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(|byte| *byte == 0));
        for (from, to) in [(700, 1_024), (1_024, 1_536), (1_536, 2_048), (2_048, 2_560), (2_560, 2_700)] {
            assert!(kept(from, to) || lost(from, to) || bytes.len() <= from, "seed {seed}: sector at {from}");
        }
        holes += u32::from(lost(700, 1_024) && kept(2_048, 2_560));
    }
    assert!(holes > 5, "{holes} of 64 images have a hole before later bytes");
}

#[test]
fn an_image_can_be_written_and_read_back() {
    let place = Place::new();
    place.write("file", b"abc");
    fs::create_dir(place.path("deep")).unwrap();
    fs::write(place.path("deep/er"), "x").unwrap();
    let image = place.disk.image(Loss::Nothing).unwrap();
    let other = tempfile::tempdir().unwrap();
    image.write_to(&other.path().join("copy")).unwrap();
    assert_eq!(Image::of(&other.path().join("copy")).unwrap(), image);
    assert_eq!(image.files().len(), 2);
}
