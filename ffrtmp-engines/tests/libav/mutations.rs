//! Damaged files by the thousand: a right result or a typed error, in bounded time and memory.
//!
//! Mutation N is the same on every run with the same `ffmpeg`. This many are tried:
//! `FFRTMP_MUTATIONS`, 1,000 by default; `FFRTMP_MUTATION=N` tries one. Children of this program do
//! the work, so that a crash of a codec library is seen, named and survived. What went wrong is kept
//! in cargo's directory for temporary files of tests.

mod child;
mod damage;
mod seeds;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use child::{FOLDER, RANGE, Word};
use damage::Mutation;
use seeds::Seeds;

/// Mutations when nothing else is asked for.
const COUNT: u64 = 1_000;
/// Mutations that one child works through.
const BATCH: u64 = 25;
/// CPU time that a mutation may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Wall time without a word after which a child hangs, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// Memory that a mutation may take, in KiB.
const MEMORY: u64 = 512 * 1024;

#[test]
fn damaged_files_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let Some(seeds) = Seeds::make(folder.path()) else { return };
    let all = wanted();
    let trial =
        Trial { folder: folder.path(), seeds, next: Mutex::new(all.start), end: all.end, seen: Mutex::default() };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| trial.work());
        }
    });
    let seen = trial.seen.into_inner().unwrap();
    let Seen { read, refused, peak, slowest, faults } = &seen;
    eprintln!("mutations: {read} read, {refused} refused, at most {} MiB and {slowest:?} each", peak / 1024);
    assert!(faults.is_empty(), "{} of {} mutations:\n{}", faults.len(), all.end - all.start, faults.join("\n"));
    assert_eq!(read + refused, all.end - all.start);
    if all.end - all.start >= COUNT {
        // Damage that nothing notices, or that nothing survives, would test nothing.
        assert!(*read > 100 && *refused > 100, "{read} read, {refused} refused");
    }
}

fn wanted() -> Range<u64> {
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number of mutations"));
    match number("FFRTMP_MUTATION") {
        Some(single) => single..single + 1,
        None => 0..number("FFRTMP_MUTATIONS").unwrap_or(COUNT),
    }
}

struct Trial<'a> {
    folder: &'a Path,
    seeds: Seeds,
    next: Mutex<u64>,
    end: u64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    read: u64,
    refused: u64,
    /// KiB.
    peak: u64,
    slowest: Duration,
    faults: Vec<String>,
}

impl Trial<'_> {
    fn work(&self) {
        while let Some(mut batch) = self.batch() {
            while !batch.is_empty() {
                batch.start = self.child(batch.clone());
            }
        }
    }

    fn batch(&self) -> Option<Range<u64>> {
        let mut next = self.next.lock().unwrap();
        let start = *next;
        *next = (start + BATCH).min(self.end);
        (start < self.end).then_some(start..*next)
    }

    /// Lets a child work through a range until it ends; where to go on.
    fn child(&self, range: Range<u64>) -> u64 {
        let mut worker = Worker::start(self.folder, &range);
        let mut at = None;
        loop {
            match worker.words.recv_timeout(PATIENCE) {
                Ok(Word::Begins(number)) => at = Some(number),
                Ok(Word::Ends(number, end)) => {
                    at = None;
                    self.judge(number, &end);
                }
                Err(ended) => {
                    let how = worker.end(ended);
                    return self.after(range, at, how.as_deref());
                }
            }
        }
    }

    /// Judges the end of a child, which may have left a mutation unfinished.
    fn after(&self, range: Range<u64>, at: Option<u64>, how: Option<&str>) -> u64 {
        match (at, how) {
            (None, None) => return range.end,
            (Some(number), how) if number > range.start => {
                // What came before may have done it; alone it says so.
                let alone = self.child(number..number + 1);
                if self.seen.lock().unwrap().faults.iter().all(|fault| !fault.starts_with(&format!("{number} "))) {
                    let how = how.unwrap_or("ended");
                    self.fault(number, &format!("{how}, only behind {} in the same process", range.start));
                }
                return alone;
            }
            (Some(number), how) => self.fault(number, how.unwrap_or("ended without a word")),
            (None, Some(how)) => {
                self.fault(range.start, &format!("{how}, outside of any mutation up to {}", range.end));
            }
        }
        at.map_or(range.end, |number| number + 1)
    }

    fn judge(&self, number: u64, end: &child::End) {
        let output = child::output(self.folder, number);
        let complaint = match end.outcome.as_str() {
            "read" => complaint_of_ffprobe(&output),
            code if code.starts_with("input_") => None,
            other => Some(format!("failed with {other}")),
        };
        if output.exists() {
            fs::remove_file(&output).unwrap();
        }
        if let Some(complaint) = complaint {
            self.fault(number, &complaint);
        } else if end.peak > MEMORY {
            self.fault(number, &format!("took {} MiB", end.peak / 1024));
        } else if end.took > LIMIT {
            self.fault(number, &format!("took {:?}", end.took));
        }
        let mut seen = self.seen.lock().unwrap();
        *(if end.outcome == "read" { &mut seen.read } else { &mut seen.refused }) += 1;
        seen.peak = seen.peak.max(end.peak);
        seen.slowest = seen.slowest.max(end.took);
    }

    fn fault(&self, number: u64, what: &str) {
        let seed = self.seeds.of(number);
        let mutation = Mutation::of(number, &seed.bytes);
        let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("mutation-{number}-{}", seed.name));
        fs::write(&kept, mutation.apply(&seed.bytes)).unwrap();
        let fault = format!("{number} ({}) {what}: {:?}, kept as {}", seed.name, mutation, kept.display());
        self.seen.lock().unwrap().faults.push(fault);
    }
}

/// What `ffprobe` does not like about a file, of which it reads every packet. Cover art goes along as
/// it is, damage and all.
fn complaint_of_ffprobe(path: &Path) -> Option<String> {
    let run = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&run.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("[mjpeg @")).collect();
    let found = !run.stdout.is_empty();
    (!run.status.success() || !said.is_empty() || !found).then(|| format!("ffprobe says {said:?}"))
}

/// A child at work.
struct Worker {
    child: Child,
    words: Receiver<Word>,
    errors: PathBuf,
}

impl Worker {
    fn start(folder: &Path, range: &Range<u64>) -> Self {
        let errors = folder.join(format!("{}.err", range.start));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", child::TEST, "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .env(RANGE, format!("{} {}", range.start, range.end))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, words) = channel();
        thread::spawn(move || {
            let said = lines.map_while(Result::ok).filter_map(|line| Word::parse(&line));
            said.take_while(|word| sender.send(word.clone()).is_ok()).for_each(drop);
        });
        Self { child, words, errors }
    }

    /// How it ended, if not well.
    fn end(&mut self, ended: RecvTimeoutError) -> Option<String> {
        if ended == RecvTimeoutError::Timeout {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            return Some(format!("hung for {PATIENCE:?}"));
        }
        let status = self.child.wait().unwrap();
        let said = fs::read_to_string(&self.errors).unwrap_or_default();
        (!status.success()).then(|| format!("crashed ({status}) {:?}", said.trim()))
    }
}
