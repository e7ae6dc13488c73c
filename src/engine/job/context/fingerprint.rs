//! What tells one build of a program from another, where the user gives no version.
#![allow(clippy::disallowed_methods)] // reads the program's own file

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

use xxhash_rust::xxh3::Xxh3Default;

use floodmark_base::error::{Error, ErrorKind, Result};

/// The fingerprint of the running program's file, which is read once per process: it is the program's, whatever replaces the file.
pub(super) fn build_fingerprint() -> Result<String> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let failed = |error| {
        Error::caused_by(ErrorKind::Environment, "the program's own file cannot be read; give a job_version", error)
    };
    let digest = std::env::current_exe().and_then(File::open).and_then(digest_of).map_err(failed)?;
    Ok(KNOWN.get_or_init(|| format!("build-{digest:016x}")).clone())
}

/// XXH3 over a file, of which only a piece is in memory at a time: programs are large, and this is on the way of every start.
fn digest_of(mut file: File) -> io::Result<u64> {
    let (mut hasher, mut piece) = (Xxh3Default::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.digest()),
            read => hasher.update(&piece[..read]),
        }
    }
}
