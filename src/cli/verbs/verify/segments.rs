//! The log: every frame of every segment, also of those that no checkpoint needs any more.
#![allow(clippy::disallowed_methods)] // reads a stored file, which the verb never changes

use std::fs::File;
use std::io::{self, Read};

use super::work::{Task, Workers};
use crate::finding::{Code, Finding};
use crate::frames::{oldest_needed, torn};
use crate::location::Store;
use crate::progress::Progress;
use floodmark_base::disk::LocalDisk;
use floodmark_base::id::Sequence;
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::block::{AbsentHead, BlockHead};
use floodmark_store::lock::Owner;
use floodmark_store::recovery::facts::WAL;
use floodmark_store::wal::{
    Ending, FrameHeader, FrameKind, LogSurvey, Lost, Seen, SurveyedSegment, Tail, WalDamage, WalError,
};

/// The log as its names and headers tell.
pub(super) struct Log {
    pub survey: LogSurvey,
    oldest_needed: Option<Sequence>,
    /// Whoever drives the job may be appending.
    is_live: bool,
}

/// What was read of a segment.
pub(super) struct ReadSegment {
    pub number: u64,
    pub frames: u64,
    pub bytes: u64,
    damage: Vec<WalDamage>,
    unreadable: Vec<Finding>,
    torn: Option<(SurveyedSegment, Ending)>,
    /// Frames that are lost by damage, but that nobody needs.
    needed_from: Option<Sequence>,
}

impl Log {
    pub fn of(store: &Store) -> Result<Self, WalError> {
        let oldest_needed = oldest_needed(store.path());
        let directory = store.path().join(WAL);
        let survey = match LogSurvey::of(&LocalDisk, &directory, oldest_needed) {
            Err(error @ WalError::Io { .. }) => LogSurvey::unreadable(error),
            survey => survey?,
        };
        Ok(Self { survey, oldest_needed, is_live: matches!(store.owner(), Owner::Alive { .. }) })
    }

    /// What names and headers tell.
    pub fn findings(&self, store: &Store) -> Vec<Finding> {
        let damage = self.survey.damage.iter().map(|damage| Finding::of_damage(store.path(), damage));
        let unreadable = self.survey.unreadable.iter().map(of_wal_error);
        damage.chain(unreadable).collect()
    }

    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        self.survey.segments.iter().cloned().map(Task::Segment)
    }

    /// Reads a segment whole.
    pub fn read(&self, segment: &SurveyedSegment, workers: &Workers) -> ReadSegment {
        let mut read = ReadSegment {
            number: segment.header.number.0,
            frames: 0,
            bytes: segment.bytes,
            damage: Vec::new(),
            unreadable: Vec::new(),
            torn: None,
            needed_from: self.oldest_needed,
        };
        let file = match File::open(&segment.file) {
            Ok(file) => Counting { file, progress: workers.progress.clone() },
            Err(error) => {
                read.unreadable.push(
                    Finding::new(Code::Unreadable).file(&segment.file, &segment.file).concerning(error.to_string()),
                );
                return read;
            }
        };
        let ended = self.survey.check(&LocalDisk, segment, file, |seen| {
            if workers.interruption.is_raised() {
                return Err(WalError::Closed);
            }
            match seen {
                Seen::Frame(at, header, head, _) => {
                    read.frames += 1;
                    if let Some(reason) = undecodable(header, head) {
                        let finding = Finding::new(Code::UnreadableFrame).file(&segment.file, &segment.file);
                        let concern = format!("frame {}: {reason}", at.sequence);
                        read.unreadable.push(finding.offset(at.offset).concerning(concern));
                    }
                }
                Seen::Damage(damage) => read.damage.push(damage),
            }
            Ok(())
        });
        match ended {
            Ok(ending) if ending.tail != Tail::Clean && !self.is_live => read.torn = Some((segment.clone(), ending)),
            Ok(_) | Err(WalError::Closed) => {}
            Err(error) => read.unreadable.push(of_wal_error(&error)),
        }
        read
    }
}

impl ReadSegment {
    pub fn findings(&self, store: &Store) -> Vec<Finding> {
        let damage = self.damage.iter().map(|damage| {
            let finding = Finding::of_damage(store.path(), damage);
            match (damage.lost, self.needed_from) {
                (Lost::Frames { last, .. }, Some(needed)) if last < needed => finding
                    .concerning(format!("no checkpoint needs it: replay begins with frame {needed} at the earliest")),
                _ => finding,
            }
        });
        let unreadable = self.unreadable.iter().cloned().map(|mut finding| {
            let prefix = format!("{}/", store.path().display());
            finding.file = finding.file.map(|file| file.strip_prefix(&prefix).unwrap_or(&file).to_string());
            finding
        });
        let torn = self.torn.iter().map(|(segment, ending)| torn(store.path(), segment, ending));
        damage.chain(unreadable).chain(torn).collect()
    }
}

fn of_wal_error(error: &WalError) -> Finding {
    Finding::new(Code::of_wal(error)).concerning(error.to_string())
}

/// Why a frame says nothing that this build understands.
fn undecodable(header: &FrameHeader, head: &[u8]) -> Option<String> {
    let version = header.version;
    let decoded = match header.kind {
        FrameKind::Mark => Ok(()),
        FrameKind::Block => BlockHead::decode(version, head).map(drop),
        FrameKind::Absent => AbsentHead::decode(version, head).map(drop),
        FrameKind::Event => BatchEvent::decode(version, head).map(drop),
    };
    decoded.err().map(|error| error.to_string())
}

/// Moves the bar with what is read.
struct Counting {
    file: File,
    progress: Progress,
}

impl Read for Counting {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.progress.add(read as u64);
        Ok(read)
    }
}
