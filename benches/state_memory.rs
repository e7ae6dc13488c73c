//! State and memory: what a million keys take, and state that is larger than its budget.
//!
//! `cargo bench --bench state_memory [millions of keys] [budget in MB]`: 50 million keys within 2,000 MB unless told. Each job is a process of
//! its own, with two workers, the log and checkpoints on; memory is the most that the process ever had. Records are pairs of u64 in
//! blocks of 100,000; first every key comes once, then `map_with_state` uses random keys: all alike, or nine in ten records on
//! a tenth of the keys.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Result, millions, table};
use floodmark::{KeyedState, Queue, Running, Status, StreamingContext, Text};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const BLOCK: u64 = 100_000;
/// The most records of a batch, as a part of the keys: what it touches must be in memory, whatever the budget; and keys that lie beside
/// each other in the store are read together.
const BATCH: u64 = 50;
/// Records on random keys, as a part of the keys.
const USED: u64 = 5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--child", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return child(rest);
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let keys = numbers.next().unwrap_or(50) * 1_000_000;
    let budget = numbers.next().unwrap_or(2_000) << 20;
    println!("{}", table::machine());
    println!("a million keys of 8 bytes with u64 counts: the whole process, MB");
    for kind in ["text", "u64"] {
        let peak = run(&[kind, "1000000", "0", "none"])?.peak_megabytes;
        println!("  {kind:<8}{peak:>8}");
        table::enter(
            &format!("memory of a job with a million keys ({kind}) and u64 counts"),
            &format!("{peak} MB"),
            "150 MB",
        )?;
    }
    println!("{} keys, map_with_state, records/s", millions(keys));
    println!(
        "{:<28}{:>14}{:>14}{:>10}{:>10}{:>12}{:>10}",
        "", "first load", "random keys", "hits", "misses", "evictions", "peak MB"
    );
    for keys_used in ["uniform", "skewed"] {
        let [whole, within] =
            [0, budget].map(|budget| run(&["u64", &keys.to_string(), &budget.to_string(), keys_used]));
        let (whole, within) = (whole?, within?);
        for (name, figures) in [("in memory", &whole), ("within the budget", &within)] {
            let Figures { load, used, hits, misses, evictions, peak_megabytes } = figures;
            let name = format!("{keys_used}, {name}");
            println!(
                "{name:<28}{:>14}{:>14}{:>10}{:>10}{:>12}{peak_megabytes:>10}",
                millions(*load),
                millions(*used),
                millions(*hits),
                millions(*misses),
                millions(*evictions)
            );
        }
        let (load, used) = (percent(within.load, whole.load), percent(within.used, whole.used));
        let memory = within.peak_megabytes as f64 / (budget >> 20) as f64;
        println!("{:<28}{load:>13.0}%{used:>13.0}%   memory {memory:.2} of the budget", "");
        let what = format!("{} keys within {} MB, {keys_used}, of the rate in memory", millions(keys), budget >> 20);
        table::enter(
            &what,
            &format!("{used:.0} %, first load {load:.0} %; memory {memory:.2} of the budget"),
            "20 %; 1.2",
        )?;
    }
    Ok(())
}

fn percent(part: u64, of: u64) -> f64 {
    part as f64 * 100.0 / of as f64
}

struct Figures {
    load: u64,
    used: u64,
    hits: u64,
    misses: u64,
    evictions: u64,
    peak_megabytes: u64,
}

fn run(arguments: &[&str]) -> Result<Figures> {
    let place = common::scratch()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(place.path()).args(arguments).stderr(Stdio::inherit());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[load, used, hits, misses, evictions, peak_megabytes] = &numbers[..] else {
        return Err(format!("expected six figures of {arguments:?}, found {text:?}").into());
    };
    Ok(Figures { load, used, hits, misses, evictions, peak_megabytes })
}

fn child(arguments: &[String]) -> Result<()> {
    let [place, kind, keys, budget, keys_used, ..] = arguments else { return Err("expected a job".into()) };
    let (keys, budget): (u64, u64) = (keys.parse()?, budget.parse()?);
    let builder = StreamingContext::builder("memory")
        .checkpoint(Path::new(place).join("state"))
        .batch_interval(Duration::from_millis(20))
        .max_batch_records((keys / BATCH).max(300_000))
        .receive_memory(32 << 20)
        .receive_backlog(64 << 20)
        .workers(2);
    let builder = if budget > 0 { builder.state_memory(budget) } else { builder };
    let context = builder.build()?;
    if kind == "text" {
        let (queue, words) = context.queue_stream::<(Text, u64)>("pairs");
        words.update_state_by_key("sums", |new: &[u64], sum: Option<u64>| {
            Some(sum.unwrap_or(0) + new.iter().sum::<u64>())
        });
        let running = context.start()?;
        let load = feed(&running, &queue, keys, |key| Text::from(format!("w{key:07}")))?;
        return tell(&running, load, 0);
    }
    let (queue, pairs) = context.queue_stream::<(u64, u64)>("pairs");
    pairs
        .map_with_state("sums", |_, value, sum: &mut KeyedState<u64>| {
            sum.update(sum.get().unwrap_or(&0) + value.unwrap_or(0));
        })
        .count()
        .foreach_rdd(|_, _| {});
    let running = context.start()?;
    let load = feed(&running, &queue, keys, |key| key)?;
    if keys_used == "none" {
        return tell(&running, load, 0);
    }
    let mut random = StdRng::seed_from_u64(1);
    let skewed = keys_used == "skewed";
    let used = feed(&running, &queue, keys / USED, |_| {
        let among = if skewed && random.random_range(0..10) > 0 { keys / 10 } else { keys };
        // Neighbours in number are none in hash.
        random.random_range(0..among)
    })?;
    let status = running.status();
    assert_eq!((status.keys, status.records), (keys, keys + keys / USED));
    tell(&running, load, used)
}

/// Pushes so many records and waits for the commit of the last one; says how many there were a second.
fn feed<K: floodmark::Record>(
    running: &Running,
    queue: &Queue<(K, u64)>,
    records: u64,
    mut key: impl FnMut(u64) -> K,
) -> Result<u64> {
    let (before, begun) = (running.status().records, Instant::now());
    for first in (0..records).step_by(BLOCK as usize) {
        queue.push((first..records.min(first + BLOCK)).map(|number| (key(number), 1)).collect())?;
    }
    running.wait_until(|status| status.records == before + records)?;
    Ok((records as f64 / begun.elapsed().as_secs_f64()) as u64)
}

fn tell(running: &Running, load: u64, used: u64) -> Result<()> {
    let Status { state_hits, state_misses, state_evictions, .. } = running.status();
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no peak of memory")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    println!("{load} {used} {state_hits} {state_misses} {state_evictions} {}", kilobytes / 1024);
    Ok(())
}
