//! Threads whose work nobody waits for: they give way to the batches.

/// How much nicer than the rest: where the processors are all busy, such a thread gets about a third of what a worker gets. It
/// must not get nothing, since a restart takes the longer the older the newest checkpoint is.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// Makes the calling thread give way to others of this process. Only on Linux can a single thread do so; elsewhere it stays as it is.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        // A system that does not permit it costs time, not results.
        let this = Some(rustix::thread::gettid());
        let lowered = getpriority_process(this).and_then(|now| setpriority_process(this, now + NICER));
        if let Err(error) = lowered {
            tracing::debug!(%error, "a thread in the background cannot be told to give way");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn a_thread_that_gives_way_leaves_the_others_as_they_are() {
        let before = getpriority_process(Some(gettid())).unwrap();
        let lowered = std::thread::Builder::new().spawn(|| {
            give_way();
            getpriority_process(Some(gettid())).unwrap()
        });
        assert_eq!(lowered.unwrap().join().unwrap(), (before + NICER).min(19));
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }
}
