//! The queue beside those that people would pick instead, and beside itself under load: one
//! interleaved run, the same server and disk, medians.
//!
//! `cargo bench --bench queues -- [ROW…] [--pairs N] [--batch N] [--hold SECONDS] [--share PERCENT] [--list]`
//!
//! | file | subject |
//! |---|---|
//! | `rows/` | what is measured, one file per subject |
//! | `contest.rs` | contenders taking turns, medians, the table |
//! | `ground.rs` | the private server, the disk and what one `fdatasync` on it takes |
//! | `cluster.rs` | a master and agents, each in a process of its own |
//! | `load.rs` | callers of our stores: submit, claim, start, finish |
//! | `peer/` | the other queues, each behind a small program of its own language |
//! | `cpu.rs` | processor seconds of processes |
//!
//! `setup.sh` installs the peers into the target directory; this runs it when it measures. Run
//! without `--bench`, as `cargo test --bench queues` does, it only proves that every row works: tiny
//! loads, one round, nothing fetched, bounds not judged. `docs/benchmarks.md` tells what the numbers
//! mean.
#![expect(clippy::print_stdout, reason = "a bench talks to the person who runs it")]

mod cluster;
mod contest;
mod cpu;
mod ground;
mod load;
mod peer;
mod rows;

use std::process::ExitCode;
use std::time::Duration;

use ground::Ground;
use mimalloc::MiMalloc;

/// The one of `ffrtmp-master`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What can go wrong in a bench is told to a person and ends it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Args {
    rows: Vec<String>,
    scale: Scale,
    list: bool,
}

/// How much work a row does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Nothing is judged, only that it works.
    pub(crate) smoke: bool,
    /// Rounds in which every contender has its turn.
    pub(crate) pairs: usize,
    /// Jobs per batched call.
    pub(crate) batch: usize,
    /// Percent of the jobs that a row takes when it is measured.
    pub(crate) share: usize,
    /// How long the old snapshot is held.
    pub(crate) hold: Duration,
}

impl Scale {
    /// So many where it is measured, few where it is only tried.
    pub(crate) fn jobs(&self, measured: usize) -> usize {
        if self.smoke { measured.div_ceil(200).max(20) } else { (measured * self.share).div_ceil(100) }
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if let (Some(cluster::FLAG), Some(role)) = (words.next().as_deref(), words.next()) {
        return cluster::play(&role);
    }
    match Args::parse(std::env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.list {
        rows::ALL.iter().for_each(|row| println!("{:18} {}", row.name, row.title));
        return Ok(());
    }
    let chosen = rows::chosen(&args.rows)?;
    let ground = Ground::prepare(args.scale)?;
    for row in chosen {
        println!("\n{}: {}", row.name, row.title);
        (row.run)(&ground)?;
        println!("  one fdatasync here: {:.0} µs (median)", ground.sync_micros()?);
    }
    Ok(())
}

impl Args {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words = words;
        let (mut rows, mut list, mut pairs, mut hold) = (Vec::new(), false, None, None);
        // Cargo says so when it is told to measure; when it is told to test, it does not.
        let (mut bench, mut asked, mut batch, mut share) = (false, false, 100, 100);
        while let Some(word) = words.next() {
            let mut value = |name: &str| words.next().ok_or_else(|| format!("{name} needs a value"));
            match word.as_str() {
                "--bench" => bench = true,
                "--test" | "--smoke" => asked = true,
                "--list" => list = true,
                "--pairs" => pairs = Some(value("--pairs")?.parse()?),
                "--share" => share = value("--share")?.parse()?,
                "--batch" => batch = value("--batch")?.parse()?,
                "--hold" => hold = Some(Duration::from_secs(value("--hold")?.parse()?)),
                row if !row.starts_with('-') => rows.push(row.to_owned()),
                other => return Err(format!("unknown option {other}; the header of main.rs lists them").into()),
            }
        }
        let smoke = asked || !bench;
        let scale = Scale {
            smoke,
            pairs: pairs.unwrap_or(if smoke { 1 } else { 5 }),
            batch,
            share,
            hold: hold.unwrap_or(Duration::from_secs(if smoke { 1 } else { 300 })),
        };
        Ok(Self { rows, scale, list })
    }
}
