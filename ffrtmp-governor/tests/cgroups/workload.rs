//! What runs inside control groups: this program again, with its part in an environment variable.
//! It ends with the test that started it, also when that fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ffrtmp_core::governor::{ProcessLimits, ResourceGovernor};
use ffrtmp_governor::cgroups::{CgroupGovernor, Ownership};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

const PART: &str = "FFRTMP_TEST_WORKLOAD";
const FILE: &str = "FFRTMP_TEST_FILE";

/// A process that is killed when it is dropped.
pub(crate) struct Workload(Child, Option<BufReader<std::process::ChildStdout>>);

impl Workload {
    pub(crate) fn start(part: &str) -> Self {
        Self::spawn(&mut command(part))
    }

    /// One that works on a file.
    pub(crate) fn on(part: &str, file: &Path) -> Self {
        Self::spawn(command(part).env(FILE, file))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("this program starts");
        let told = child.stdout.take().map(BufReader::new);
        Self(child, told)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets one go on that waits for it.
    pub(crate) fn go(&mut self) {
        self.0.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("it reads");
    }

    /// The next line that it tells; empty when it has ended. What the test harness says is left out.
    pub(crate) fn line(&mut self) -> String {
        let told = self.1.as_mut().expect("a pipe");
        let mut line = String::new();
        while told.read_line(&mut line).expect("text") > 0 {
            if let Some((_, told)) = line.split_once("TOLD ") {
                return told.trim().to_owned();
            }
            line.clear();
        }
        String::new()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }

    /// Waits for its end; the signal that ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.0.wait().expect("a child").signal()
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("a child");
        self.wait();
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn command(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "workload::workload", "--nocapture", "--test-threads=1"]).env(PART, part);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Not a test: the other end of [`command`].
#[test]
fn workload() {
    let Ok(part) = std::env::var(PART) else { return };
    set_parent_process_death_signal(Some(Signal::KILL)).expect("the kernel can");
    match part.as_str() {
        "nothing" => {}
        "busy" => loop {
            std::hint::spin_loop();
        },
        "idle" => wait(),
        "hog" => hog(),
        "forks" => forks(),
        "family" => family(),
        "read" => read(),
        "owner" => own(Ownership::Attempts),
        "foreign owner" => own(Ownership::Foreign),
        "cycles" => cycles(),
        "cost" => cost(),
        "detect" => tell(match CgroupGovernor::detect(Ownership::Attempts) {
            Ok(governor) => format!("yes {:?}", governor.limits()),
            Err(why) => format!("no {why}"),
        }),
        other => panic!("{other} is no part"),
    }
}

fn tell(what: impl std::fmt::Display) {
    let mut out = std::io::stdout();
    writeln!(out, "TOLD {what}").and_then(|()| out.flush()).expect("someone listens");
}

/// Until the other end of the input is closed, or says so.
fn wait() {
    let _ = std::io::stdin().read(&mut [0; 8]);
}

/// Takes memory without end, once it may.
fn hog() {
    wait();
    let mut taken = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Starts processes until the kernel refuses; tells how many.
fn forks() {
    wait();
    let mut children = Vec::new();
    while children.len() < 200 {
        match command("idle").spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    // Each child needs a thread of its own to come so far; those that got none have ended.
    tell(children.len());
    wait();
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A process with a child that computes, and another one for each word.
fn family() {
    let mut children = Vec::new();
    loop {
        let child = Workload::start("busy");
        tell(child.pid());
        children.push(child);
        wait();
    }
}

/// Reads a file past the cache; tells the seconds.
fn read() {
    let file = std::env::var_os(FILE).expect("a file");
    wait();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECT;
    let file = rustix::fs::open(file, flags, rustix::fs::Mode::empty()).expect("the file opens");
    let mut space = vec![0_u8; (1 << 20) + 4096];
    let start = space.as_ptr().align_offset(4096);
    let begin = Instant::now();
    while rustix::io::read(&file, &mut space[start..start + (1 << 20)]).expect("readable") > 0 {}
    tell(begin.elapsed().as_secs_f64());
    wait();
}

/// Governs a process that outlives it.
fn own(ownership: Ownership) {
    let governor = CgroupGovernor::detect(ownership).expect("the test asked");
    let mut sleeper = Command::new("sleep");
    let mut victim = sleeper.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("sleep");
    let _governed = governor.govern(victim.id(), &ProcessLimits::default()).expect("governed");
    tell(victim.id());
    wait();
    victim.kill().and_then(|()| victim.wait()).expect("a child");
}

/// Governs and lets go a thousand times, fewer where time is dear.
fn cycles() {
    let governor = CgroupGovernor::detect(Ownership::Attempts).expect("the test asked");
    let process = Workload::start("idle");
    let limits = ProcessLimits { cpu_percent: Some(100), memory_bytes: Some(1 << 30), ..ProcessLimits::default() };
    let times = std::env::var("FFRTMP_TEST_CYCLES").map_or(1000, |times| times.parse().expect("a number"));
    for _ in 0..times {
        drop(governor.govern(process.pid(), &limits).expect("governed"));
    }
    tell("done");
    wait();
}

/// Tells what one attempt costs: microseconds to govern, and to let go when it has ended.
fn cost() {
    let governor = CgroupGovernor::detect(Ownership::Attempts).expect("the test asked");
    let limits = ProcessLimits {
        cpu_percent: Some(100),
        memory_bytes: Some(1 << 30),
        max_processes: Some(64),
        ..ProcessLimits::default()
    };
    for pause in [0, 200] {
        let (mut govern, mut limit, mut release) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..25 {
            std::thread::sleep(std::time::Duration::from_millis(pause));
            let mut process = Workload::start("idle");
            let begin = Instant::now();
            let governed = governor.govern(process.pid(), &limits).expect("governed");
            govern.push(begin.elapsed().as_micros());
            let begin = Instant::now();
            assert!(governed.limit(&limits).expect("limited"));
            limit.push(begin.elapsed().as_micros());
            process.kill();
            let begin = Instant::now();
            drop(governed);
            release.push(begin.elapsed().as_micros());
        }
        let [govern, limit, release] = [govern, limit, release].map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        tell(format!("every {pause} ms: govern {govern} us, limit {limit} us, let go {release} us (medians of 25)"));
    }
}

/// Kills a process that is no child, when it is dropped.
pub(crate) struct Stray(pub(crate) u32);

impl Stray {
    pub(crate) fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw).filter(|_| self.is_alive()) {
            // It may end by itself in this moment.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
