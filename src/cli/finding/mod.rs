//! Findings: what is not as it should be in a store, each with a code that `floodmark explain` knows.
//!
//! A code is stable: scripts and runbooks name it. What it means and what to do is in [`texts`]; which refusal of the engine it
//! stands for is in [`mapping`].

mod code;
mod mapping;
mod texts;

use std::path::Path;

use serde::Serialize;

use super::page::Page;
pub(crate) use code::Code;
#[allow(unused_imports)] // what `explain` prints
pub(crate) use texts::Explanation;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub code: Code,
    /// The file, below the store's directory where it is in it; nothing where no single file is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What it touches: frames that are lost, checkpoints that share the file, operators and their keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<String>,
}

impl Finding {
    /// A finding about nothing in particular yet.
    pub fn new(code: Code) -> Self {
        Self { code, file: None, offset: None, expected: None, found: None, concerns: Vec::new() }
    }

    /// The same, about a file of `store`.
    #[must_use]
    pub fn file(self, store: &Path, file: &Path) -> Self {
        Self { file: Some(below(store, file)), ..self }
    }

    #[must_use]
    pub fn offset(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// The same, with what should be there and what is.
    #[must_use]
    pub fn differs(self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), found: Some(found.into()), ..self }
    }

    /// The same, with one more thing that it touches.
    #[must_use]
    pub fn concerning(mut self, what: impl Into<String>) -> Self {
        self.concerns.push(what.into());
        self
    }
}

/// A path as it is shown: below the store where it is in it.
pub(crate) fn below(store: &Path, file: &Path) -> String {
    file.strip_prefix(store).unwrap_or(file).display().to_string()
}

/// Findings for people: a line with code and place each, and what is known below it.
pub(crate) fn write_findings<'f>(page: &mut Page, findings: impl IntoIterator<Item = &'f Finding>) {
    for finding in findings {
        let place = match (&finding.file, finding.offset) {
            (Some(file), Some(offset)) => format!("{file} @{}", super::page::count(offset)),
            (Some(file), None) => file.clone(),
            (None, _) => finding.code.meaning().to_string(),
        };
        page.line(&format!("{}  {place}", finding.code.name()));
        if let (Some(expected), Some(found)) = (&finding.expected, &finding.found) {
            page.fields([("  expected", expected.clone()), ("  found", found.clone())]);
        }
        for concern in &finding.concerns {
            page.fields([("", concern.clone())]);
        }
    }
}
