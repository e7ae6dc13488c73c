//! For tests: waiting for what other tasks do, with a limit, so that what never happens fails a test and does not hang it.

use std::future::Future;
use std::time::Duration;

/// Far more than a busy machine needs for anything that is waited for.
const LIMIT: Duration = Duration::from_secs(120);

/// Lets every other task run until it is so.
///
/// # Panics
/// When it is not so within the limit, with the name of what was waited for.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    within(what, looks).await;
}

/// Waits for a call.
///
/// # Panics
/// When it does not end within the limit, with the name of what was waited for.
pub(super) async fn within<R>(what: &str, call: impl Future<Output = R>) -> R {
    let ended = tokio::time::timeout(LIMIT, call).await;
    ended.unwrap_or_else(|_| panic!("this did not happen within {LIMIT:?}: {what}"))
}
