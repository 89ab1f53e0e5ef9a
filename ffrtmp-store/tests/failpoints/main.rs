//! A master is killed, or its store fails, at every named point of a store. Afterwards another
//! master takes over: nothing is lost, nothing is given twice under one fence, what has ended stays
//! as it ended, keys are known, counts are right, and the queue goes on to its end.
//!
//! Every run is a process of its own, this program with [`ORDER`] in its environment. A long story
//! reaches some points very often; of these a few times are tried, spread over the story. With
//! `FFRTMP_FAILPOINT_TIMES=1000` all are.

mod locks;
mod place;
mod record;
mod story;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;

use ffrtmp_store::failpoint;

use place::{Kind, Place};
use record::Record;
use story::{Life, Tolerance};

/// Where the master works, as [`Place`] writes it.
const PLACE: &str = "FFRTMP_FAILPOINT_TEST_PLACE";
/// Which run it is: its jobs and its time are its own.
const RUN: &str = "FFRTMP_FAILPOINT_TEST_RUN";
/// A file with what its predecessor said, if it has one.
const HERITAGE: &str = "FFRTMP_FAILPOINT_TEST_HERITAGE";
/// Stores that are worked on at once.
const WORKERS: usize = 3;
/// Armed so that points are counted and nothing is done.
const ONLY_COUNT: &str = "nowhere=sleep:0";

/// A master: the one that is killed or disturbed, or its heir. It says on its standard error what it
/// was answered. It runs only when another test starts it.
#[test]
fn master() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let place: Place = place.parse().expect("a place");
    let run: u64 = std::env::var(RUN).expect("a run").parse().expect("a number");
    let is_disturbed = std::env::var(failpoint::VARIABLE).is_ok_and(|order| order.contains("=error"));
    let tolerance = if is_disturbed { Tolerance::Once } else { Tolerance::None };
    let heritage = std::env::var_os(HERITAGE).map(|file| std::fs::read_to_string(file).expect("a heritage"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let record = heritage.as_deref().map_or_else(Record::default, Record::of).aloud();
        let mut life = Life::begin(place.open().await, run, heritage.is_some(), tolerance, record).await;
        life.find_what_was_told().await;
        life.live().await;
        for (name, times) in failpoint::disarm() {
            eprintln!("reached {name} {times}");
        }
        life.judge().await;
        life.end().await;
    });
}

#[test]
fn sqlite_recovers_from_every_point() {
    try_every_point(Kind::Sqlite);
}

#[test]
fn postgres_recovers_from_every_point() {
    try_every_point(Kind::Postgres);
}

/// What is armed, and in which run.
struct Trial {
    order: String,
    run: u64,
}

fn try_every_point(kind: Kind) {
    let places: Vec<Place> = (0..WORKERS).map(|_| Place::new(kind)).collect();
    let undisturbed = Trial { order: ONLY_COUNT.into(), run: 0 };
    let (status, said) = run(&places[0], &undisturbed, None);
    assert!(status.success(), "{status}: {said}");
    let trials = Mutex::new(trials(kind, &Record::of(&said).reached));
    std::thread::scope(|scope| {
        for place in &places {
            let trials = &trials;
            scope.spawn(move || {
                while let Some(trial) = next(trials) {
                    attempt(place, &trial);
                }
            });
        }
    });
}

fn next(trials: &Mutex<VecDeque<Trial>>) -> Option<Trial> {
    trials.lock().ok()?.pop_front()
}

/// Every point of the store, killed and failing.
fn trials(kind: Kind, reached: &BTreeMap<String, u64>) -> VecDeque<Trial> {
    let times = std::env::var("FFRTMP_FAILPOINT_TIMES").map_or(3, |times| times.parse().expect("a number"));
    let mut trials = VecDeque::new();
    for name in failpoint::NAMES.iter().filter(|name| name.starts_with(kind.name())) {
        let count = *reached.get(*name).unwrap_or_else(|| panic!("the story never reaches {name}"));
        for at in spread(count, times) {
            for action in ["kill", "error"] {
                let run = trials.len() as u64 + 1;
                trials.push_back(Trial { order: format!("{name}={action}@{at}"), run });
            }
        }
    }
    trials
}

/// At most `times` of the numbers from 1 to `count`, the first and the last among them.
fn spread(count: u64, times: u64) -> Vec<u64> {
    let times = times.min(count);
    let mut chosen: Vec<u64> = (0..times).map(|step| 1 + step * (count - 1) / (times - 1).max(1)).collect();
    chosen.dedup();
    chosen
}

fn attempt(place: &Place, trial: &Trial) {
    let (status, said) = run(place, trial, None);
    let story = || format!("{}: {status}\n{}", trial.order, Record::of(&said).heard.join("\n"));
    if trial.order.contains("=error") {
        assert!(status.success(), "{}", story());
        return;
    }
    assert_eq!(status.signal(), Some(9), "{}", story());
    let mut heritage = tempfile::NamedTempFile::new().expect("a file");
    heritage.write_all(said.as_bytes()).expect("it is written");
    let (status, heard) = run(place, &Trial { order: ONLY_COUNT.into(), run: trial.run }, Some(heritage.path()));
    assert!(status.success(), "{}\nthen its heir: {status}\n{}", story(), Record::of(&heard).heard.join("\n"));
}

/// Runs a master to its end, whatever that is, and returns what it said.
fn run(place: &Place, trial: &Trial, heritage: Option<&Path>) -> (ExitStatus, String) {
    let program = std::env::current_exe().expect("this program");
    let mut master = Command::new(program);
    master.args(["--exact", "master", "--nocapture"]).env(PLACE, place.to_string()).env(RUN, trial.run.to_string());
    master.env(failpoint::VARIABLE, &trial.order).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(heritage) = heritage {
        master.env(HERITAGE, heritage);
    }
    let output = master.stderr(Stdio::piped()).output().expect("it runs");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}
