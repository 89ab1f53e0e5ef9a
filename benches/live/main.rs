//! Live work beside the tools that people would pick instead: contenders take turns at the same
//! pictures, servers and rates.
//!
//! `cargo bench --features gstreamer --bench live -- [ROW…] [--pairs N] [--seconds N] [--list]`
//!
//! | file | subject |
//! |---|---|
//! | `latency.rs`, `glass.rs`, `ladder.rs`, `soak.rs` | the rows |
//! | `contest.rs` | turns, medians, bounds, what is printed |
//! | `camera.rs` | pictures that carry their number, on schedule; real ones where the clips are |
//! | `units.rs` | when each access unit of a byte stream was complete |
//! | `attempt.rs` | our engine in a child, so that its CPU time and memory are its own |
//!
//! Run without `--bench`, as `cargo test --bench live` does, it only proves that every row works: few
//! seconds, one round, nothing judged. `soak` runs when it is named only.
#![expect(clippy::print_stdout, reason = "a bench talks to the person who runs it")]

mod attempt;
mod camera;
mod contest;
mod glass;
mod ladder;
mod latency;
#[path = "../../ffrtmp-engines/tests/gstreamer/servers.rs"]
mod servers;
mod soak;
#[path = "../peers/sys.rs"]
#[allow(dead_code, reason = "the other rows use the rest")]
mod sys;
mod units;

use std::process::ExitCode;

use contest::Row;

/// What can go wrong in a bench is told to a person and ends it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Seconds of pictures that each contender gets in a turn.
    seconds: u64,
}

/// Name, what it is, how it is made, whether it runs without being named.
type Entry = (&'static str, &'static str, fn(Scale) -> Result<Row>, bool);

const ROWS: [Entry; 4] = [
    ("latency", "720p25 pictures on schedule, in to access unit out", latency::row, true),
    ("glass", "RTMP in, transcoded, RTMP out: camera to screen, 360p25", glass::row, true),
    ("ladder", "RTMP in, three rungs of 720p out: processor time", ladder::row, true),
    ("soak", "360p for many minutes: memory and drift (--seconds 1800)", soak::row, false),
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if let (Some(attempt::FLAG), Some(order)) = (words.next().as_deref(), words.next()) {
        return attempt::main(&order);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let (mut named, mut pairs, mut seconds) = (Vec::new(), None, None);
    // Cargo says so when it is told to measure; when it is told to test, it does not.
    let mut smoke = true;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--bench" => smoke = false,
            "--pairs" => pairs = Some(value()?.parse::<usize>()?),
            "--seconds" => seconds = Some(value()?.parse()?),
            "--list" => {
                ROWS.iter().for_each(|(name, title, ..)| println!("{name:8} {title}"));
                return Ok(());
            }
            row if ROWS.iter().any(|(name, ..)| *name == row) => named.push(row.to_owned()),
            other => return Err(format!("unknown word {other}; the header of main.rs lists them").into()),
        }
    }
    let scale = Scale { seconds: seconds.unwrap_or(if smoke { 3 } else { 12 }) };
    let pairs = pairs.unwrap_or(if smoke { 1 } else { 5 });
    let is_chosen = |(name, _, _, usual): &&Entry| {
        if named.is_empty() { *usual } else { named.iter().any(|word| word == name) }
    };
    for (name, title, make, _) in ROWS.iter().filter(is_chosen) {
        println!("\n{name}: {title}, {} s, {pairs} turns", scale.seconds);
        contest::run(make(scale)?, pairs, smoke)?;
    }
    Ok(())
}
