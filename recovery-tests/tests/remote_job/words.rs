//! Direct sources: plans and commits in the bucket are enough.

use std::fs;
use std::time::Duration;

use floodmark::{Clock, ManualClock, Running, StreamingContext, Text};

fn start(bucket: &str, copy: &std::path::Path, input: &std::path::Path, clock: &ManualClock) -> Running {
    let context = StreamingContext::builder("words")
        .checkpoint(bucket)
        .working_directory(copy)
        .batch_interval(Duration::from_millis(100))
        .checkpoint_every(3)
        .clock(clock.clone())
        .build()
        .unwrap();
    let words = context.text_file_stream("files", input).flat_map(Text::split_words);
    words.map(|word| (word, 1_u64)).update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
        Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
    });
    context.start().unwrap()
}

#[test]
fn a_job_with_direct_sources_goes_on_on_an_empty_machine_without_its_blocks_in_object_storage() {
    let (bucket, input) =
        (floodmark_chaos::scratch::directory().unwrap(), floodmark_chaos::scratch::directory().unwrap());
    let location = format!("file://{}", bucket.path().display());
    let clock = ManualClock::at(1_700_000_000_000);
    for life in 0..4_u64 {
        let copy = floodmark_chaos::scratch::directory().unwrap();
        let running = start(&location, copy.path(), input.path(), &clock);
        for batch in 0..5_u64 {
            let name = format!("{life}-{batch}.txt");
            let unfinished = bucket.path().with_extension(&name);
            fs::write(&unfinished, "every word\n").unwrap();
            fs::rename(&unfinished, input.path().join(name)).unwrap();
            let before = running.status().planned;
            clock.advance_to(clock.epoch_ms() + 100);
            running.wait_until(|status| status.planned > before && status.published == status.planned).unwrap();
        }
        let counts = running.state::<Text, u64>("counts").unwrap();
        assert_eq!(counts.get(&"every".into()).unwrap(), Some((life + 1) * 5), "life {life}: {}", running.recovery());
    }
}
