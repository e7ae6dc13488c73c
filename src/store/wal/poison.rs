//! Poison: after a failed write or sync nobody knows what is durable, and the handle says so for ever (I-7).

use std::sync::{Arc, OnceLock};

use super::error::WalError;

/// Set once, by the first failure; never taken back.
#[derive(Debug, Default)]
pub struct Poison(OnceLock<Arc<str>>);

impl Poison {
    /// Poisons, unless an earlier failure already has; gives the error that every append gets from now on.
    pub fn set(&self, cause: &str) -> WalError {
        let cause = Arc::clone(self.0.get_or_init(|| {
            tracing::error!(cause, "the log is poisoned: nothing is acknowledged any more until recovery");
            cause.into()
        }));
        WalError::Poisoned { cause }
    }

    /// # Errors
    /// When poisoned.
    pub fn check(&self) -> Result<(), WalError> {
        match self.0.get() {
            None => Ok(()),
            Some(cause) => Err(WalError::Poisoned { cause: Arc::clone(cause) }),
        }
    }
}
