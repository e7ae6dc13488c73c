//! Signals to a real process: SIGTERM, and the first SIGINT, stop a job gracefully; a second SIGINT does no harm.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use floodmark_chaos::process::example;

/// Starts the word count over files and waits until it says what it recovered.
fn start(directory: &Path, more: &[&str]) -> (Child, String) {
    let mut command = Command::new(example("file_word_count").unwrap_or_else(|error| panic!("{error}")));
    command.arg("--input").arg(directory.join("input")).arg("--checkpoint").arg(directory.join("state"));
    command.args(["--batch-interval", "20ms"]).args(more);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name}");
}

fn stopped_by(directory: &Path, signals: &[&str]) -> ExitStatus {
    let (mut child, _) = start(directory, &[]);
    signals.iter().for_each(|name| signal(&child, name));
    child.wait().unwrap()
}

#[test]
fn a_job_that_is_told_to_terminate_leaves_nothing_to_replay() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("input")).unwrap();
    std::fs::write(directory.path().join("input/words"), "to be or not to be\n").unwrap();
    for name in ["TERM", "INT"] {
        assert!(stopped_by(directory.path(), &[name]).success(), "SIG{name} ends the job without an error");
        let (mut child, line) = start(directory.path(), &["--until-idle"]);
        assert!(line.contains(" 0 batches replayed"), "after SIG{name}: {line}");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_second_interrupt_ends_the_job_too_and_it_recovers() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("input")).unwrap();
    std::fs::write(directory.path().join("input/words"), "to be or not to be\n").unwrap();
    assert!(stopped_by(directory.path(), &["INT", "INT"]).code().is_some(), "it ends by itself");
    let (mut child, line) = start(directory.path(), &["--until-idle"]);
    assert!(line.starts_with("recovered: "), "{line}");
    assert!(child.wait().unwrap().success());
}
