//! No panic gets past the driver: whoever holds the threads, the log and the lock ends them in order, whatever happens.
//!
//! User code that the driver calls is called through `user_code`, which says whose it was. What comes here is a bug of the
//! library, and is treated as any other error: the log is abandoned (whoever still holds a handle on it is refused), receivers and
//! workers end, a checkpoint that is being written is waited for, and only then is the lock released.

use std::panic::{AssertUnwindSafe, catch_unwind};

use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::user_code::panic_message;

/// Runs a part of the driver's work; a panic is an error.
pub(crate) fn guarded<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    // What the panic left half done is not used any more: an error ends the life.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let panic = panic_message(&*panic);
        Err(Error::new(ErrorKind::Stopped, format!("the driver panicked, which is a bug: {panic}")))
    })
}
