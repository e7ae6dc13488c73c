//! The lock on the job's directory: one driver at a time (I-8).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

const LOCK: &str = "LOCK";

/// Holds the lock; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock(#[allow(dead_code)] File);

impl DirectoryLock {
    /// Locks the directory and writes down who holds it.
    ///
    /// # Errors
    /// `Owned` when another driver is alive, with who it is; `Environment` when the file system does not lock.
    pub fn take(job: &Path) -> Result<Self> {
        let path = job.join(LOCK);
        let failed = |doing: &str, error: std::io::Error| {
            Error::caused_by(ErrorKind::Environment, format!("cannot {doing} {}", path.display()), error)
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| failed("open", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Who it is helps, but does not decide.
                if file.read_to_string(&mut owner).is_err() || owner.is_empty() {
                    owner = "another driver".to_string();
                }
                return Err(Error::new(ErrorKind::Owned, format!("{} is owned by {}", job.display(), owner.trim())));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
        }
        let owner = format!("process {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(owner.as_bytes()))
            .map_err(|error| failed("write", error))?;
        Ok(Self(file))
    }
}
