//! ffrtmp beside the tools that people would pick instead: one interleaved run, the same inputs,
//! options and file system, outputs compared.
//!
//! `cargo bench --bench peers -- [ROW…] [--pairs N] [--json FILE] [--smoke] [--list]`
//!
//! | file | subject |
//! |---|---|
//! | `rows/` | what is compared, one file per row |
//! | `race.rs` | contenders taking turns, medians, bounds |
//! | `ours.rs` | our side, in a child of its own, so that its CPU time and memory are its own |
//! | `peer.rs`, `clip.rs` | the other tools; the inputs |
//! | `judge.rs`, `curve.rs` | frames, durations, bits and SSIM of the outputs; bits at equal SSIM |
//! | `table.rs` | what is printed and written |
//! | `sys.rs` | what one child used |
//!
//! Run without `--bench`, as `cargo test --bench peers` does, it only proves that every row works:
//! tiny inputs, one round, outputs compared, times not judged. `docs/benchmarks.md` tells what the
//! numbers mean.
#![expect(clippy::print_stdout, reason = "a bench talks to the person who runs it")]

mod clip;
mod curve;
mod judge;
mod ours;
mod peer;
mod race;
mod rows;
mod sys;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clip::Clips;
use peer::Peers;
use race::Race;

/// What can go wrong in a bench is told to a person and ends it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What every row is made from.
struct Ground {
    peers: Peers,
    clips: Clips,
    smoke: bool,
}

#[derive(Default)]
struct Args {
    rows: Vec<String>,
    pairs: Option<usize>,
    json: Option<PathBuf>,
    smoke: bool,
    list: bool,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if let (Some(ours::FLAG), Some(order)) = (words.next().as_deref(), words.next()) {
        return ours::main(&order);
    }
    match Args::parse(std::env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        rows::ALL.iter().for_each(|row| println!("{:10} {}", row.name, row.title));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = rows::chosen(&args.rows)?;
    let root = table::target_dir().join("peers");
    let ground =
        Ground { peers: Peers::find(), clips: Clips::at(&root.join("inputs"), args.smoke)?, smoke: args.smoke };
    ground.peers.introduce();
    let race = Race {
        pairs: args.pairs.unwrap_or(if args.smoke { 1 } else { 5 }),
        scratch: root.join("outputs"),
        smoke: args.smoke,
    };
    let mut results = Vec::new();
    for entry in chosen {
        println!("\n{}: {}", entry.name, entry.title);
        let result = race.run(&(entry.make)(&ground)?)?;
        table::print(&result, args.smoke);
        results.push((entry.name, result));
    }
    if let Some(path) = &args.json {
        std::fs::write(path, table::json(&ground.peers, &results).to_string())?;
    }
    let differs = results.iter().any(|(_, result)| !result.differences.is_empty());
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Args {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words = words.peekable();
        // Cargo says so when it is told to measure; when it is told to test, it does not.
        let mut args = Self { smoke: true, ..Self::default() };
        let mut asked = false;
        while let Some(word) = words.next() {
            let mut value = |name: &str| words.next().ok_or_else(|| format!("{name} needs a value"));
            match word.as_str() {
                "--bench" => args.smoke = false,
                "--smoke" => asked = true,
                "--list" => args.list = true,
                "--pairs" => args.pairs = Some(value("--pairs")?.parse()?),
                "--json" => args.json = Some(value("--json")?.into()),
                row if !row.starts_with('-') => args.rows.push(row.to_owned()),
                other => return Err(format!("unknown option {other}; the header of main.rs lists them").into()),
            }
        }
        args.smoke |= asked;
        Ok(args)
    }
}
