//! Restart: from the start of the process until a new batch is visible outside.
//!
//! `cargo bench --bench restart [rounds] [keys…]`: five rounds at 1 and 10 million keys unless told. Each life is a process of its own,
//! ended by SIGKILL. By operator: `map_with_state`, which looks up what it touches and reads the rest beside the batches; the
//! same so that it reads everything first; `update_state_by_key`, which has to. Then the word count of the examples with 1,000,000
//! keys, whose restarts also write files; that needs `cargo build --release --examples`.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::table::{self, Figure};
use common::{Result, UNIFORM_1M};
use floodmark::{KeyedState, Queue, Running, StreamingContext};

const GIVE_UP: Duration = Duration::from_secs(300);
/// What a job is told to read before its first batch.
const OPERATORS: [(&str, &str); 3] =
    [("map_with_state", "lazy"), ("map_with_state", "all first"), ("update_state_by_key", "all first")];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|first| first == "--child") {
        return child(&arguments.collect::<Vec<_>>());
    }
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let rounds = numbers.next().unwrap_or(5).max(1);
    let keys: Vec<usize> = numbers.collect();
    println!("{}", table::machine());
    let keys = if keys.is_empty() { vec![1_000_000, 10_000_000] } else { keys };
    by_operator(rounds, &keys)?;
    word_count(rounds)
}

// ---- by operator, in children of this program

fn by_operator(rounds: usize, keys: &[usize]) -> Result<()> {
    println!("u64 keys and u64 states, 2 workers, medians of {rounds} restarts after SIGKILL (least to most)");
    println!(
        "{:<32}{:>12}{:>12}{:>26}{:>14}{:>16}{:>12}",
        "", "keys", "start", "to the first new batch", "keys/s", "all in memory", "peak MB"
    );
    for (operator, how) in OPERATORS {
        let mut medians = Vec::new();
        for &keys in keys {
            let place = common::scratch()?;
            let mut load = spawn(place.path(), operator, how, keys, "load")?;
            if !load.wait()?.success() {
                return Err("the state could not be made".into());
            }
            let mut lives = Vec::new();
            for _ in 0..=rounds {
                lives.push(life(place.path(), operator, how, keys)?);
            }
            lives.remove(0); // it follows the graceful stop
            let middle = |mut times: Vec<Duration>| {
                times.sort_unstable();
                (times[times.len() / 2], times[0], times[times.len() - 1])
            };
            let (started, ..) = middle(lives.iter().map(|life| life.started).collect());
            let (first, least, most) = middle(lives.iter().map(|life| life.first).collect());
            let (whole, ..) = middle(lives.iter().map(|life| life.whole).collect());
            let peak = lives.iter().map(|life| life.peak_megabytes).max().unwrap_or_default();
            let spread = format!("{first:.1?} ({least:.1?} to {most:.1?})");
            let rate = common::millions((keys as f64 / first.as_secs_f64()) as u64);
            let name = format!("{operator}, {how}");
            println!(
                "{name:<32}{keys:>12}{:>12}{spread:>26}{rate:>14}{:>16}{peak:>12}",
                format!("{started:.1?}"),
                format!("{whole:.1?}")
            );
            let target = match (operator, how) {
                ("map_with_state", "lazy") if keys <= 1_000_000 => "0.3 s",
                ("map_with_state", "lazy") => "0.5 s",
                ("update_state_by_key", _) => "2 M keys/s",
                _ => "",
            };
            table::enter(&format!("restart, {name}, {keys} keys"), &format!("{spread}, {rate} keys/s"), target)?;
            medians.push(first);
        }
        if let [few, .., many] = medians[..] {
            println!(
                "{:<32}{:>50}",
                "",
                format!("{:.2} times as long with the most keys", many.as_secs_f64() / few.as_secs_f64())
            );
        }
    }
    Ok(())
}

struct Life {
    started: Duration,
    first: Duration,
    whole: Duration,
    peak_megabytes: u64,
}

fn spawn(place: &Path, operator: &str, how: &str, keys: usize, part: &str) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(place).args([operator, how, &keys.to_string(), part]);
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

/// One life: until its first batch, then until all its state is in memory, then SIGKILL.
fn life(place: &Path, operator: &str, how: &str, keys: usize) -> Result<Life> {
    let begun = Instant::now();
    let mut child = spawn(place, operator, how, keys, "restart")?;
    let mut said = BufReader::new(child.stdout.take().ok_or("the child says nothing")?).lines();
    let mut next = |word: &str| -> Result<(Duration, String)> {
        let line = said.next().ok_or("the child ended early")??;
        let rest = line.strip_prefix(word).ok_or_else(|| format!("expected {word}, found {line}"))?;
        Ok((begun.elapsed(), rest.trim().to_string()))
    };
    let (started, _) = next("started")?;
    let (first, _) = next("first")?;
    let (whole, peak) = next("whole")?;
    child.kill()?;
    child.wait()?;
    Ok(Life { started, first, whole, peak_megabytes: peak.parse()? })
}

fn child(arguments: &[String]) -> Result<()> {
    let [place, operator, how, keys, part, ..] = arguments else { return Err("expected a place and a job".into()) };
    let keys: u64 = keys.parse()?;
    let (running, queue) = start(Path::new(place), operator, how)?;
    if part == "load" {
        // Two checkpoints at least: the second half after the first is there.
        let blocks: Vec<u64> = (0..keys).step_by(50_000).collect();
        for (number, first) in blocks.iter().enumerate() {
            queue.push((*first..keys.min(first + 50_000)).map(|key| (key, 1)).collect())?;
            if number == blocks.len() / 2 {
                let pushed = keys.min(first + 50_000);
                running.wait_until(|status| status.records == pushed && status.checkpoints > 0)?;
            }
        }
        running.wait_until(|status| status.keys == keys)?;
        running.stop(true)?;
        return Ok(());
    }
    println!("started");
    queue.push(vec![(keys / 2, 1), (keys / 3, 1), (keys + 1, 1)])?;
    let published = running.wait_until(|status| status.records == 3)?;
    println!("first");
    assert!(published.keys > keys, "{} of {keys} keys", published.keys);
    running.wait_until(|status| !status.loading)?;
    println!("whole {}", peak_megabytes()?);
    running.await_termination()?;
    Ok(())
}

fn start(place: &Path, operator: &str, how: &str) -> Result<(Running, Queue<(u64, u64)>)> {
    let builder = StreamingContext::builder("restart")
        .checkpoint(place.join("state"))
        .batch_interval(Duration::from_millis(20))
        .workers(2)
        .job_version("1");
    let builder = if how == "lazy" { builder } else { builder.lazy_restart_above(u64::MAX) };
    let context = builder.build()?;
    let (queue, pairs) = context.queue_stream::<(u64, u64)>("pairs");
    match operator {
        "map_with_state" => {
            let sums = pairs.map_with_state("sums", |_, value, sum: &mut KeyedState<u64>| {
                sum.update(sum.get().unwrap_or(&0) + value.unwrap_or(0));
            });
            sums.count().foreach_rdd(|_, _| {});
        }
        _ => {
            pairs.update_state_by_key("sums", |new: &[u64], sum: Option<u64>| {
                Some(sum.unwrap_or(0) + new.iter().sum::<u64>())
            });
        }
    }
    Ok((context.start()?, queue))
}

fn peak_megabytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no peak of memory")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kilobytes / 1024)
}

// ---- the example

fn word_count(rounds: usize) -> Result<()> {
    let scratch = common::scratch()?;
    let input = scratch.path().join("input");
    fs::create_dir(&input)?;
    for entry in fs::read_dir(UNIFORM_1M.files()?)? {
        let path = entry?.path();
        fs::hard_link(&path, input.join(path.file_name().unwrap_or_default()))?;
    }
    let mut first = job(scratch.path())?;
    let figures = common::run(first.arg("--until-idle"))?;
    println!(
        "state: {} words over up to {} keys, {} MB of memory",
        figures.words, UNIFORM_1M.distinct, figures.peak_megabytes
    );

    // The first restart follows a graceful stop; each later one follows the SIGKILL that ended the one before.
    let mut after_kill = Vec::new();
    for round in 0..=rounds {
        let (took, recovered) = restart(scratch.path(), round)?;
        let before = if round == 0 { "graceful stop" } else { "SIGKILL" };
        println!("  after {before:<14} {took:>9.1?} to the first new batch; {recovered}");
        if round > 0 {
            after_kill.push(took);
        }
    }
    let figure = Figure::of(after_kill.iter().map(Duration::as_secs_f64)).show(|seconds| format!("{seconds:.2} s"));
    println!("median after SIGKILL: {figure}");
    table::enter("restart of the file word count, to its new output, 1,000,000 keys", &figure, "")
}

fn job(scratch: &Path) -> Result<Command> {
    let mut command = common::example("file_word_count")?;
    command.arg("--input").arg(scratch.join("input")).arg("--checkpoint").arg(scratch.join("state"));
    command.arg("--output").arg(scratch.join("output")).args(["--workers", "2", "--batch-interval", "50ms"]);
    Ok(command)
}

/// Starts the job with one new file, waits for its batch in the output, and kills it. Also gives what it said of its recovery.
fn restart(scratch: &Path, round: usize) -> Result<(Duration, String)> {
    let (input, output) = (scratch.join("input"), scratch.join("output"));
    let word = format!("round-{round}");
    let hidden = input.join(format!(".new-{round}"));
    fs::write(&hidden, format!("w0000001 w0000002 {word}\n"))?;
    fs::rename(hidden, input.join(format!("new-{round}.txt")))?;

    let started = Instant::now();
    let mut child = job(scratch)?.stdout(Stdio::piped()).spawn()?;
    while !is_visible(&output, &word)? {
        if child.try_wait()?.is_some() || started.elapsed() > GIVE_UP {
            return Err("the job came to no new batch".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let took = started.elapsed();
    // Batches without input follow: they are what a restart after SIGKILL replays.
    thread::sleep(Duration::from_millis(500));
    child.kill()?;
    let said = child.wait_with_output()?.stdout;
    let said = String::from_utf8_lossy(&said);
    Ok((took, said.lines().next().unwrap_or("no word of its recovery").to_string()))
}

/// Whether one of the newest batches has this word. Unfinished batches have hidden names.
fn is_visible(output: &Path, word: &str) -> Result<bool> {
    let mut batches = fs::read_dir(output)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    batches.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("batch-")));
    batches.sort_unstable();
    for batch in batches.iter().rev().take(20) {
        for part in fs::read_dir(batch)? {
            if fs::read_to_string(part?.path())?.contains(word) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
