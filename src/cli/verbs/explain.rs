//! `floodmark explain`: the long text behind a finding's code.

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::finding::{Code, Explanation};
use crate::page::Page;

/// What is behind the code of a finding.
///
/// Without a code, all codes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Such as TORN_TAIL.
    code: Option<String>,
}

#[derive(Serialize)]
struct ExplainReport {
    code: Code,
    meaning: &'static str,
    exit_code: Exit,
    #[serde(flatten)]
    explanation: Explanation,
}

#[derive(Serialize)]
struct CodesReport {
    codes: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    code: Code,
    exit_code: Exit,
    meaning: &'static str,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let Some(name) = &args.code else {
        let line = |code: &Code| Line { code: *code, exit_code: code.exit(), meaning: code.meaning() };
        console.show(&CodesReport { codes: Code::ALL.iter().map(line).collect() })?;
        return Ok(Exit::Healthy);
    };
    let unknown = || Failure::usage(format!("no finding has the code {name}")).try_next("floodmark explain");
    let code = Code::parse(name).ok_or_else(unknown)?;
    let explanation = code.explanation();
    console.show(&ExplainReport { code, meaning: code.meaning(), exit_code: code.exit(), explanation })?;
    Ok(Exit::Healthy)
}

impl Report for ExplainReport {
    const SCHEMA: &'static str = "floodmark.explain/1";

    fn write(&self, page: &mut Page) {
        let Explanation { means, cause, recovery, to_do, next } = self.explanation;
        page.line(&format!("{}: {} (exit code {})", self.code, self.meaning, self.exit_code.code()));
        for (title, text) in [
            ("What it means", means),
            ("Where it comes from", cause),
            ("What the next start does", recovery),
            ("What to do", to_do),
        ] {
            page.gap();
            page.line(title);
            page.paragraph(text);
        }
        page.gap();
        next.iter().for_each(|command| page.next(command));
    }
}

impl Report for CodesReport {
    const SCHEMA: &'static str = "floodmark.codes/1";

    fn write(&self, page: &mut Page) {
        let row =
            |line: &Line| vec![line.code.to_string(), line.exit_code.code().to_string(), line.meaning.to_string()];
        page.table(&["code", "exit", "meaning"], &self.codes.iter().map(row).collect::<Vec<_>>());
    }
}
