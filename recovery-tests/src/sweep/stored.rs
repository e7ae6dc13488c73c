//! What a stopped job has stored, looked at from outside.

use std::path::Path;

use super::oracle::Divergence;

pub(super) fn check(_state: &Path) -> Result<(), Divergence> {
    Ok(())
}
