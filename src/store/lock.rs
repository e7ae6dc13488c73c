//! The lock on the job's directory: one driver at a time (I-8).
#![allow(clippy::disallowed_methods)] // a lock is of the process, and leaves nothing on the disk that counts

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use floodmark_base::error::{Error, ErrorKind, Result};

const LOCK: &str = "LOCK";

/// Holds the lock; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock(#[allow(dead_code)] File);

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
        // Over the bytes that are there, which needs no room on a full disk.
        file.rewind()
            .and_then(|()| file.write_all(owner.as_bytes()))
            .and_then(|()| file.set_len(owner.len() as u64))
            .map_err(|error| failed("write", error))?;
        Ok(Self(file))
    }
}

/// Who drives the job in a directory, as far as can be told without touching its lock.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Owner {
    /// A process holds the lock.
    Alive { process: u32 },
    /// Nobody does.
    Nobody,
    /// The system does not say, or the lock is on another machine; `last` is the process that took it last.
    Unknown { last: Option<u32> },
    /// The job is in object storage: who wrote its newest manifest, and how old the newest object is. It may be at work.
    Elsewhere { epoch: u64, who: String, newest_object_age_ms: u64 },
}

/// Looks who holds the lock. Trying to take it, even for a moment, could turn a starting driver away, so the system's list of
/// locks is read instead.
pub fn owner_of(job: &Path) -> Owner {
    use std::os::unix::fs::MetadataExt;
    let path = job.join(LOCK);
    let last = std::fs::read_to_string(&path).ok();
    let last = last.and_then(|text| text.trim().strip_prefix("process ")?.parse::<u32>().ok());
    let inode = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.ino(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Owner::Nobody,
        Err(_) => return Owner::Unknown { last },
    };
    look_for_holder(|| std::fs::read_to_string("/proc/locks"), inode, last)
}

/// Looks for the holder in the system's list of locks. The list is read in pieces, and lacks a lock now and then while others come and
/// go. So only a lock that is missing several times in a row is taken for free.
fn look_for_holder(mut read: impl FnMut() -> std::io::Result<String>, inode: u64, last: Option<u32>) -> Owner {
    const LOOKS: u32 = 5;
    for _ in 0..LOOKS {
        match read().map(|locks| holder_of(&locks, inode, last)) {
            Ok(Owner::Nobody) => {}
            Ok(owner) => return owner,
            Err(_) => return Owner::Unknown { last },
        }
    }
    Owner::Nobody
}

/// Finds the lock on `inode`: `1: FLOCK  ADVISORY  WRITE 711 fe:00:1180692 0 EOF`. Inodes repeat on other file systems, whose numbers
/// differ from what files say on layered ones; so the process must be the one that wrote its number down.
fn holder_of(locks: &str, inode: u64, last: Option<u32>) -> Owner {
    let holders = locks.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", process, place, ..] = words.as_slice() else { return None };
        let locked: u64 = place.rsplit(':').next()?.parse().ok()?;
        (locked == inode).then(|| process.parse::<u32>().ok())?
    });
    match holders.into_iter().find(|process| Some(*process) == last) {
        Some(process) => Owner::Alive { process },
        None => Owner::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_inode_and_process() {
        let locks = "1: FLOCK  ADVISORY  WRITE 711 fe:00:1180692 0 EOF\n2: POSIX  ADVISORY  WRITE 712 fe:00:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 713 fe:00:1180692 0 EOF\n";
        assert_eq!(holder_of(locks, 1_180_692, Some(711)), Owner::Alive { process: 711 });
        assert_eq!(holder_of(locks, 1_180_692, Some(9)), Owner::Nobody, "another file with this inode");
        assert_eq!(holder_of(locks, 77, Some(712)), Owner::Nobody, "a lock of another kind");
        assert_eq!(holder_of("", 1, None), Owner::Nobody);
    }

    #[test]
    fn a_list_that_lacks_the_lock_is_read_again_before_the_lock_is_taken_for_free() {
        let held = "1: FLOCK  ADVISORY  WRITE 711 fe:00:42 0 EOF\n";
        let mut lists = ["", "", held].into_iter();
        let owner = look_for_holder(|| Ok(lists.next().expect("one more list").to_string()), 42, Some(711));
        assert_eq!(owner, Owner::Alive { process: 711 });
        assert_eq!(look_for_holder(|| Ok(String::new()), 42, Some(711)), Owner::Nobody);
        let unreadable = || Err(std::io::Error::other("no /proc here"));
        assert_eq!(look_for_holder(unreadable, 42, Some(711)), Owner::Unknown { last: Some(711) });
    }

    #[test]
    fn a_lock_that_is_held_is_seen_without_touching_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(owner_of(directory.path()), Owner::Nobody);
        let lock = DirectoryLock::take(directory.path()).unwrap();
        assert_eq!(owner_of(directory.path()), Owner::Alive { process: std::process::id() });
        drop(lock);
        assert_eq!(owner_of(directory.path()), Owner::Nobody);
    }
}
