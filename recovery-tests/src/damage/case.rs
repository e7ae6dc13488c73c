//! One damage: its name, and how it is done.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::kind::FileKind;
use super::store::{Store, StoredFile};

/// One damage of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The file or directory that is damaged, by its name in reports.
    pub target: String,
    pub kind: FileKind,
    pub change: Change,
}

/// What is done to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bits of one byte are turned.
    Flip { offset: usize, mask: u8 },
    /// The file ends after so many bytes.
    Cut { len: usize },
    /// A piece of it is zero.
    Zero { offset: usize, len: usize },
    /// The name is gone; with a directory, all that was in it.
    Remove,
    /// It and another file have each other's names.
    Swap { with: String },
    /// It is replaced by a file of another store.
    Foreign { name: String },
    /// It stands under another name, too.
    Duplicate { name: String },
}

/// The kinds of [`Change`]: the columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Flip,
    Cut,
    Zero,
    Remove,
    Swap,
    Foreign,
    Duplicate,
}

impl Change {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match self {
            Self::Flip { .. } => ChangeKind::Flip,
            Self::Cut { .. } => ChangeKind::Cut,
            Self::Zero { .. } => ChangeKind::Zero,
            Self::Remove => ChangeKind::Remove,
            Self::Swap { .. } => ChangeKind::Swap,
            Self::Foreign { .. } => ChangeKind::Foreign,
            Self::Duplicate { .. } => ChangeKind::Duplicate,
        }
    }

    /// Whether only bytes are changed, under all names that they have.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        matches!(self, Self::Flip { .. } | Self::Cut { .. } | Self::Zero { .. })
    }

    /// The bytes of a file after this change, where that is all that it does.
    #[must_use]
    pub fn bytes(&self, sound: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = sound.to_vec();
        match self {
            Self::Flip { offset, mask } => bytes[*offset] ^= mask,
            Self::Cut { len } => bytes.truncate(*len),
            Self::Zero { offset, len } => bytes[*offset..offset + len].fill(0),
            _ => return None,
        }
        Some(bytes)
    }
}

impl Case {
    /// Names that a refusal may give to what is damaged: the end of a path is enough.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = vec![last_part(&self.target)];
        if let Change::Swap { with: name } | Change::Duplicate { name } = &self.change {
            names.push(last_part(name));
        }
        names
    }

    /// Does it to a copy of `store` at `root`; files of another store are taken from `foreign`.
    ///
    /// # Errors
    /// When the file system refuses, or the case does not belong to the store.
    pub fn apply(&self, store: &Store, foreign: Option<&Store>, root: &Path) -> io::Result<()> {
        let unknown = |name: &str| io::Error::new(io::ErrorKind::NotFound, format!("{self}: no {name} in the store"));
        if self.kind == FileKind::Directory {
            let directory = store.directories().find(|(name, _)| *name == self.target);
            return fs::remove_dir_all(root.join(directory.ok_or_else(|| unknown(&self.target))?.1));
        }
        let find = |name: &str| store.file(name).ok_or_else(|| unknown(name));
        let file = find(&self.target)?;
        let path = root.join(&file.path);
        match &self.change {
            Change::Remove => fs::remove_file(path),
            Change::Swap { with } => {
                let other = root.join(&find(with)?.path);
                let aside = root.join("swapped aside");
                fs::rename(&path, &aside)?;
                fs::rename(&other, &path)?;
                fs::rename(&aside, &other)
            }
            Change::Foreign { name } => {
                let other = foreign.and_then(|foreign| foreign.file(name)).ok_or_else(|| unknown(name))?;
                fs::remove_file(&path)?;
                fs::write(path, &other.bytes)
            }
            Change::Duplicate { .. } => fs::write(root.join(self.added(file).unwrap_or_default()), &file.bytes),
            in_place => {
                let bytes = in_place.bytes(&file.bytes).unwrap_or_default();
                fs::write(path, bytes)
            }
        }
    }

    /// Undoes it in a copy to which it was done, and in which a job may have lived since.
    pub(super) fn undo(&self, store: &Store, root: &Path) -> io::Result<()> {
        let file = store.file(&self.target);
        match &self.change {
            Change::Remove => {}
            Change::Swap { with } => {
                for file in [file, store.file(with)].into_iter().flatten() {
                    remove_if_there(&root.join(&file.path))?;
                }
            }
            Change::Foreign { .. } => {
                if let Some(file) = file {
                    remove_if_there(&root.join(&file.path))?;
                }
            }
            Change::Duplicate { .. } => {
                if let Some(added) = file.and_then(|file| self.added(file)) {
                    remove_if_there(&root.join(added))?;
                }
            }
            Change::Flip { .. } | Change::Cut { .. } | Change::Zero { .. } => {
                if let Some(file) = file {
                    store.mend(root, file)?;
                }
            }
        }
        store.write_missing(root)
    }

    /// The path of a duplicate, below the root.
    fn added(&self, file: &StoredFile) -> Option<PathBuf> {
        match &self.change {
            Change::Duplicate { name } => Some(file.path.with_file_name(last_part(name))),
            _ => None,
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The name under which a case is told and run again: the same in every store of the same job.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        match &self.change {
            Change::Flip { offset, mask } => write!(f, "flip {target}@{offset}^{mask:02x}"),
            Change::Cut { len } => write!(f, "cut {target}@{len}"),
            Change::Zero { offset, len } => write!(f, "zero {target}@{offset}+{len}"),
            Change::Remove if self.kind == FileKind::Directory => write!(f, "remove {target}/"),
            Change::Remove => write!(f, "remove {target}"),
            Change::Swap { with } => write!(f, "swap {target} with {with}"),
            Change::Foreign { name } => write!(f, "foreign {target} from {name}"),
            Change::Duplicate { name } => write!(f, "duplicate {target} as {name}"),
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flip => "flip",
            Self::Cut => "cut",
            Self::Zero => "zero",
            Self::Remove => "remove",
            Self::Swap => "swap",
            Self::Foreign => "foreign",
            Self::Duplicate => "duplicate",
        })
    }
}

/// Reads a case's name; the kind is looked up in the store.
///
/// # Errors
/// When it is no name of a case, or names nothing in the store.
pub fn parse(name: &str, store: &Store) -> Result<Case, String> {
    let bad = || format!("{name:?} is not the name of a damage, such as \"flip wal/00000000000000000001.log@99^ff\"");
    let (verb, rest) = name.split_once(' ').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| bad());
    let at = |rest: &str| rest.rsplit_once('@').map(|(file, at)| (file.to_string(), at.to_string())).ok_or_else(bad);
    let pair = |by: &str| rest.split_once(by).map(|(a, b)| (a.to_string(), b.to_string())).ok_or_else(bad);
    let (target, change) = match verb {
        "flip" => {
            let (target, at) = at(rest)?;
            let (offset, mask) = at.split_once('^').ok_or_else(bad)?;
            let mask = u8::from_str_radix(mask, 16).map_err(|_| bad())?;
            (target, Change::Flip { offset: number(offset)?, mask })
        }
        "cut" => at(rest).and_then(|(target, len)| Ok((target, Change::Cut { len: number(&len)? })))?,
        "zero" => {
            let (target, at) = at(rest)?;
            let (offset, len) = at.split_once('+').ok_or_else(bad)?;
            (target, Change::Zero { offset: number(offset)?, len: number(len)? })
        }
        "remove" => (rest.to_string(), Change::Remove),
        "swap" => pair(" with ").map(|(target, with)| (target, Change::Swap { with }))?,
        "foreign" => pair(" from ").map(|(target, name)| (target, Change::Foreign { name }))?,
        "duplicate" => pair(" as ").map(|(target, name)| (target, Change::Duplicate { name }))?,
        _ => return Err(bad()),
    };
    if let Some(directory) = target.strip_suffix('/') {
        let known = store.directories().any(|(name, _)| name == directory);
        let case = Case { target: directory.to_string(), kind: FileKind::Directory, change };
        return if known { Ok(case) } else { Err(format!("{name:?}: no such directory in the store")) };
    }
    let file = store.file(&target).ok_or_else(|| format!("{name:?}: no such file in the store"))?;
    let fits = match &change {
        Change::Flip { offset, .. } => *offset < file.bytes.len(),
        Change::Zero { offset, len } => offset + len <= file.bytes.len(),
        _ => true,
    };
    if fits { Ok(Case { target, kind: file.kind, change }) } else { Err(format!("{name:?}: beyond the file's end")) }
}
