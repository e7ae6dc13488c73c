//! A job whose program changes its current directory. The only test of its process, since the directory is the process's.

use std::path::Path;
use std::time::Duration;

use floodmark::{Clock, FileSink, ManualClock, Queue, ReferenceFile, Running, StreamingContext};

const INTERVAL_MS: u64 = 100;

fn start(clock: &ManualClock) -> (Running, Queue<String>) {
    let context = StreamingContext::builder("job")
        .checkpoint("./state")
        .batch_interval(Duration::from_millis(INTERVAL_MS))
        .checkpoint_every(1)
        .workers(1)
        .job_version("1")
        .clock(clock.clone())
        .build()
        .unwrap();
    let (words, stream) = context.queue_stream::<String>("words");
    let known = context.reference_data("known", ReferenceFile::new("known", |line| Some((line.to_string(), ()))));
    let pairs = stream.map(|word| (word, 1_u64));
    pairs.subtract_reference("unknown", &known).map(|(word, _)| word).sink("sunk", FileSink::new("sunk"));
    let counts =
        pairs.update_state_by_key("counts", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64));
    counts.map(|(word, count)| format!("{word} {count}")).save_as_text_files("saved", "saved/counts", "txt");
    context.text_file_stream("files", "in").map(|line| line.to_string()).save_as_text_files("copied", "copied", "");
    (context.start().unwrap(), words)
}

fn batch(running: &Running, clock: &ManualClock, words: &Queue<String>, word: &str) {
    let before = running.status().planned;
    words.push(vec![word.to_string()]).unwrap();
    clock.advance_to(clock.epoch_ms() / INTERVAL_MS * INTERVAL_MS + INTERVAL_MS);
    running.wait_until(|status| status.planned > before && status.published == status.planned).unwrap();
    running.wait_until(|status| !status.checkpointing).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    names
}

#[test]
fn a_job_with_relative_paths_goes_on_where_it_began_when_its_process_changes_the_directory() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::env::set_current_dir(home.path()).unwrap();
    std::fs::create_dir("in").unwrap();
    std::fs::write("known", "tea\n").unwrap();
    let clock = ManualClock::at(1_700_000_000_000);
    let (running, words) = start(&clock);
    batch(&running, &clock, &words, "tea");

    std::env::set_current_dir(elsewhere.path()).unwrap();
    std::fs::write(home.path().join("in/late"), "late\n").unwrap();
    std::fs::write(home.path().join("known"), "rum\n").unwrap();
    for word in ["rum", "tea", "rum"] {
        batch(&running, &clock, &words, word);
    }
    let counts = running.state::<String, u64>("counts").unwrap();
    assert_eq!(counts.get(&"rum".to_string()).unwrap(), Some(2));
    running.stop(true).unwrap();

    assert!(names(elsewhere.path()).is_empty(), "{:?}", names(elsewhere.path()));
    let home_names = names(home.path());
    assert!(home_names.iter().filter(|name| name.starts_with("copied-")).count() >= 4, "{home_names:?}");
    assert!(names(&home.path().join("sunk")).len() >= 4 && names(&home.path().join("saved")).len() >= 4);

    // A start from there again goes on with the same job.
    std::env::set_current_dir(home.path()).unwrap();
    let (running, words) = start(&clock);
    batch(&running, &clock, &words, "rum");
    let counts = running.state::<String, u64>("counts").unwrap();
    assert_eq!(counts.get(&"rum".to_string()).unwrap(), Some(3));
    running.stop(true).unwrap();
}
