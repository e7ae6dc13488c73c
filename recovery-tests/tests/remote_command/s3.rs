//! The command as a process, against a server that speaks the S3 protocol.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use floodmark_chaos::s3::Server;

use crate::kit::{Machine, Sent, World};

/// Runs the program: the endpoint from the environment, or by options.
fn floodmark(server: &Server, by_options: bool, line: &[&str]) -> Output {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_victim")).with_file_name("floodmark"));
    command.args(line);
    for (key, value) in server.options() {
        match by_options {
            true => command.arg("--store-option").arg(format!("{key}={value}")),
            false => command.env(key.to_uppercase(), value),
        };
    }
    command.output().unwrap()
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_program_reads_and_changes_a_job_in_a_bucket_of_s3() {
    let Some(server) = Server::shared() else { return };
    server.create_bucket("command");
    let (world, mut sent) = (World::default(), Sent::default());
    let url = "s3://command/jobs/counts";
    let start = |machine: &Machine| {
        let builder = world.builder(machine).object_store_patience(Duration::from_secs(20)).checkpoint(url);
        let builder =
            server.options().iter().fold(builder, |builder, (key, value)| builder.object_store_option(key, value));
        world.run(builder).unwrap()
    };
    let machine = Machine::new();
    let life = start(&machine);
    life.run_batches("word", 5, &mut sent).unwrap();
    for verb in ["status", "plan", "log", "batches", "wal", "tail", "du", "operators", "verify"] {
        println!("$ floodmark {verb} {url}\n{}", ok(&floodmark(server, verb == "du", &[verb, url])));
    }
    let full = floodmark(server, true, &["verify", url, "--full"]);
    println!("{}", ok(&full));
    assert!(ok(&floodmark(server, false, &["get", url, "counts", "word 1"])).contains("→ 1"));
    assert!(ok(&floodmark(server, false, &["pin", url, "4", "--apply", "--confirm", "counts"])).contains("is pinned"));
    life.run_batches("beside", 8, &mut sent).unwrap();
    assert_eq!(ok(&floodmark(server, false, &["scan", url, "counts", "--as-of", "4"])).lines().count(), 4);
    let backup = tempfile::tempdir().unwrap();
    let to =
        ["rollback", url, "--to", "12", "--apply", "--confirm", "counts", "--backup", backup.path().to_str().unwrap()];
    println!("{}", ok(&floodmark(server, false, &to)));
    life.send("too late", &mut sent).expect_err("it is fenced");

    let nowhere = floodmark(server, false, &["status", "s3://nowhere/jobs/counts"]);
    assert_eq!(nowhere.status.code(), Some(10), "{nowhere:?}");
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("no such bucket"), "{nowhere:?}");
    let empty = floodmark(server, false, &["status", "s3://command/jobs/other"]);
    assert_eq!(empty.status.code(), Some(10), "{empty:?}");
    let unknown = floodmark(server, false, &["status", url, "--store-option", "aws_endpiont=x"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}
