//! The verbs beside a job that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::words::{batch, fails, job, json, output, run};

#[test]
fn state_is_read_beside_a_running_job_before_and_after_checkpoints_were_collected() {
    let mut job = job();
    let store = job.directory().to_path_buf();
    batch(&mut job, "apple");
    batch(&mut job, "apple pear");
    assert_eq!(output(&store, &["get", "counts", "apple"]), "\"apple\" → 2\n");
    for _ in 0..6 {
        batch(&mut job, "apple");
    }
    // Batches 6 and 8 are retained; 2 and 4 were collected.
    assert_eq!(output(&store, &["get", "counts", "apple"]), "\"apple\" → 8\n");
    assert_eq!(json(&store, &["history", "counts", "apple"])["batches"], "batches 6 and 8");
    fails(&store, &["get", "counts", "apple", "--as-of", "2"], 2, &["no checkpoint of batch 2", "batches 6 and 8"]);
    assert_eq!(output(&store, &["scan", "counts"]).lines().count(), 4);
    assert_eq!(json(&store, &["diff", "6", "8", "--operator", "counts"])["operators"][0]["changed"], 1);
    assert_eq!(json(&store, &["operators"])["batch"], 8);
    assert_eq!(run(&store, &["export"]).code, 0);
    // The job has noticed nothing.
    batch(&mut job, "apple");
    job.stop_and_restart().unwrap();
    assert_eq!(job.running().state::<String, u64>("counts").unwrap().get(&"apple".to_string()).unwrap(), Some(9));
}

#[test]
fn answers_stay_whole_while_checkpoints_come_and_go() {
    let mut job = job();
    let store = job.directory().to_path_buf();
    batch(&mut job, "apple");
    batch(&mut job, "apple");
    let (ended, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (store, ended, asked) = (store.clone(), Arc::clone(&ended), Arc::clone(&asked));
            scope.spawn(move || {
                let mut newest = 0;
                while !ended.load(Ordering::Relaxed) {
                    let report = json(&store, &["get", "counts", "apple"]);
                    let batch = report["batch"].as_u64().unwrap();
                    // Each batch brings one apple, so state and batch must fit together.
                    assert_eq!(report["state"], json!(batch), "{report}");
                    assert!(batch >= newest, "an older checkpoint was shown than before");
                    newest = batch;
                    let outcome = run(&store, &["history", "counts", "apple"]);
                    assert_eq!(outcome.code, 0, "{outcome:#?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..60 {
            batch(&mut job, "apple");
        }
        // On a busy machine the last answers may still be under way.
        while asked.load(Ordering::Relaxed) < 10 {
            batch(&mut job, "apple");
        }
        ended.store(true, Ordering::Relaxed);
    });
}
