//! The part of the mutations that runs in a child: works through a range of them and says how each
//! of them ended.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task, Unobserved};
use ffrtmp_core::job::Parameters;
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::damage::Mutation;
use super::seeds::Seeds;
use crate::workbench::ENGINE;

/// Variables that make a process a child.
pub(super) const FOLDER: &str = "FFRTMP_MUTATION_FOLDER";
pub(super) const RANGE: &str = "FFRTMP_MUTATION_RANGE";
/// Name of the test that is one.
pub(super) const TEST: &str = "mutations::child::works_through_a_range";

/// Begins every word of a child; other lines are those of the test harness.
const MARK: &str = "mutation: ";
/// Address space of a child: what goes beyond fails in the child instead of filling the machine.
const ADDRESS_SPACE: u64 = 6 << 30;

/// What a child says.
#[derive(Clone, Debug)]
pub(super) enum Word {
    Begins(u64),
    Ends(u64, End),
}

/// How a mutation ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// `read`, or the code of the error with its message.
    pub(super) outcome: String,
    /// Resident memory at its highest, in KiB.
    pub(super) peak: u64,
    /// CPU time: wall time would also be that of what else runs here.
    pub(super) took: Duration,
}

impl Word {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_once(MARK)?.1.splitn(4, ' ');
        let number = words.next()?.parse().ok()?;
        let Some(peak) = words.next() else { return Some(Self::Begins(number)) };
        let took = Duration::from_millis(words.next()?.parse().ok()?);
        Some(Self::Ends(number, End { outcome: words.next()?.to_owned(), peak: peak.parse().ok()?, took }))
    }
}

pub(super) fn output(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.out"))
}

#[test]
#[ignore = "a child of the mutations, which starts it"]
fn works_through_a_range() {
    let (Ok(folder), Ok(range)) = (std::env::var(FOLDER), std::env::var(RANGE)) else { return };
    let folder = Path::new(&folder);
    let (start, end) = range.split_once(' ').unwrap();
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) };
    setrlimit(Resource::As, limit).unwrap();
    let seeds = Seeds::read(folder);
    for number in start.parse::<u64>().unwrap()..end.parse().unwrap() {
        say(&number.to_string());
        // Lets the kernel measure the highest point anew.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let seed = seeds.of(number);
        let input = folder.join(format!("{number}.in"));
        fs::write(&input, Mutation::of(number, &seed.bytes).apply(&seed.bytes)).unwrap();
        let before = cpu_millis();
        let outcome = probe_and_transcode(&input, number, output(folder, number));
        let took = cpu_millis() - before;
        say(&format!("{number} {} {took} {outcome}", peak()));
        fs::remove_file(input).unwrap();
    }
}

fn say(word: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{MARK}{word}").and_then(|()| out.flush()).unwrap();
}

/// CPU time of this process so far.
fn cpu_millis() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // User and system time stand at a fixed distance behind the name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks * 1_000 / clock_ticks_per_second()
}

/// Highest resident memory in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn probe_and_transcode(input: &Path, number: u64, output: PathBuf) -> String {
    let source = Source::File(input.to_owned());
    let bounds = MediaBounds { threads: 1, ..MediaBounds::default() };
    let probed = ENGINE.probe(&source, &bounds);
    let container = if number.is_multiple_of(2) { Container::Mp4 } else { Container::Mkv };
    let parameters =
        Parameters { container: Some(container), preset: Some("ultrafast".to_owned()), ..Parameters::default() };
    let request = OutputRequest { parameters, ..OutputRequest::default() };
    let task = Task { source, output: output.clone(), request, bounds, live: None };
    match (ENGINE.run(&task, &Control::default(), &Unobserved), probed) {
        (Ok(report), Ok(_)) if report.hash.is_some() && is_long(&output, report.size_bytes) => "read".to_owned(),
        (Ok(report), Ok(_)) => format!("a report that is not true: {report:?}"),
        (Ok(_), Err(error)) => format!("probe alone fails: {} {error}", error.code()),
        (Err(_), _) if output.exists() => "an output in spite of an error".to_owned(),
        (Err(error), _) => format!("{} {error}", error.code()).replace('\n', " "),
    }
}

fn is_long(path: &Path, bytes: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() == bytes)
}
