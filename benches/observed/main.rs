//! What being watched costs: forty one-second jobs through master and agent, plain, watched, and watched and
//! traced, in turns. `cargo build --release && cargo bench --bench observed -- [ROUNDS] [JOBS]`; 9 and 40 by
//! default.
//!
//! Plain has no metrics, exporters, logs or traces. Watched has all ports, each of them scraped every second,
//! ten times as often as deployed, and logs in JSON to files. Traced sends every span to a collector besides.
//! Counted is the processor time of master, agent and children from the first submission to their end; who
//! scrapes and who collects is not in it. Fails where the ratio is above what is allowed by more than rounds
//! differ. Under `cargo test` one round of two jobs, and no time is judged.

#![expect(clippy::print_stdout, reason = "a bench talks to the person who runs it")]

mod cluster;
#[path = "../queues/cpu.rs"]
#[expect(dead_code, reason = "what is asked here is the time of families alone")]
mod cpu;
mod listeners;

use std::path::PathBuf;
use std::time::Duration;

use cluster::Took;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Plain,
    Watched,
    Traced,
}

const ALL: [Watch; 3] = [Watch::Plain, Watch::Watched, Watch::Traced];
/// What the issue that asked for metrics allows, as parts of the plain one.
const ALLOWED: [(Watch, f64); 2] = [(Watch::Watched, 1.01), (Watch::Traced, 1.03)];

fn main() -> Result<()> {
    let measured = std::env::args().any(|word| word == "--bench");
    let usual = if measured { [9, 40] } else { [1, 2] };
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let [rounds, jobs] = [0, 1].map(|place| numbers.get(place).copied().unwrap_or(usual[place]));
    let programs = programs()?;
    let mut took: Vec<[Took; 3]> = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut row = [Took::default(); 3];
        // Each is first, second and last equally often.
        for place in 0..ALL.len() {
            let which = (round + place) % ALL.len();
            row[which] = cluster::run(&programs, ALL[which], jobs)?;
        }
        let words = row.iter().map(|took| format!("{:.2} s ({:.2} s wall)", secs(took.cpu), secs(took.wall)));
        let words: Vec<_> = words.collect();
        println!("round {}: {}", round + 1, words.join(", "));
        took.push(row);
    }
    let worse = told(&took, jobs);
    if worse.is_empty() || !measured { Ok(()) } else { Err(worse.join(", ").into()) }
}

/// Prints what the rounds say, and returns what is above its bound.
fn told(took: &[[Took; 3]], jobs: usize) -> Vec<String> {
    println!("{jobs} jobs, {} rounds, processor time and wall time:", took.len());
    for (place, watch) in ALL.iter().enumerate() {
        let of = |part: fn(&Took) -> Duration| quantile(took.iter().map(|row| secs(part(&row[place]))).collect(), 0.5);
        println!("  {watch:?}: median {:.3} s, {:.3} s", of(|took| took.cpu), of(|took| took.wall));
    }
    let mut worse = Vec::new();
    for (watch, allowed) in ALLOWED {
        let place = ALL.iter().position(|one| *one == watch).unwrap_or_default();
        let ratios: Vec<_> = took.iter().map(|row| secs(row[place].cpu) / secs(row[0].cpu)).collect();
        let [low, median, high] = [0.25, 0.5, 0.75].map(|part| quantile(ratios.clone(), part));
        println!("  {watch:?} / Plain: {median:.3} ({low:.3} to {high:.3} in half of the rounds), allowed {allowed}");
        worse.extend((low > allowed).then(|| format!("{watch:?} takes {median:.3} times as long")));
    }
    worse
}

fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().saturating_sub(1)) as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The directory of the programs, beside that of this one.
fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).find(|directory| directory.join("ffrtmp-master").is_file());
    Ok(found.ok_or("no ffrtmp-master here; `cargo build --release` makes it")?.to_owned())
}
