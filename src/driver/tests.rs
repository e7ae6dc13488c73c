//! What the driver does when the program changes between two lives.

use std::cell::Cell;
use std::rc::Rc;

use crate::StateSpec;
use crate::testing::TestJob;

#[test]
fn state_is_migrated_also_when_a_new_operator_brings_initial_state() {
    let version = Rc::new(Cell::new(1));
    let declared = version.clone();
    let mut job = TestJob::new(move |context| {
        let (words, stream) = context.queue_stream::<(String, u64)>("words");
        if declared.get() == 1 {
            stream.update_state_by_key("totals", |new: &[u64], old: Option<u32>| {
                Some(old.unwrap_or(0) + new.len() as u32)
            });
        } else {
            let totals = StateSpec::new("totals").version(2).migrate_from(1, |old: u32| u64::from(old) * 100);
            stream
                .update_state_by_key(totals, |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64));
            let known = StateSpec::new("known").initial_state([("pear".to_string(), 7_u64)]);
            stream.update_state_by_key(known, |_: &[u64], old: Option<u64>| old);
        }
        words
    })
    .unwrap();
    job.handles().push(vec![("apple".to_string(), 1), ("apple".to_string(), 1)]).unwrap();
    job.run_batch().unwrap();

    version.set(2);
    for life in 1..=3 {
        if life == 2 {
            job.crash_and_restart().unwrap()
        } else {
            job.stop_and_restart().unwrap()
        }
        let of = |uid, key: &str| job.running().state::<String, u64>(uid).unwrap().get(&key.to_string()).unwrap();
        assert_eq!((of("totals", "apple"), of("known", "pear")), (Some(200), Some(7)), "life {life} of version 2");
    }
}
