//! An engine whose attempts end badly, to prove what the agent does about it. Only the tests ask
//! a runner for it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::time::Duration;

use ffrtmp_core::engine::{Control, Engine, EngineCapabilities, MediaBounds, Observer, Source, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{EngineName, JobReport};
use ffrtmp_core::media::MediaInfo;

use super::sys;
use crate::synthetic::SyntheticEngine;

/// Most processes of a bomb: a machine without limits must survive the test.
const SWARM: u32 = 200;

/// What goes wrong once the output has been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process aborts.
    Crash,
    /// It writes where there is no memory.
    Segfault,
    /// The engine panics.
    Panic,
    /// It runs on for ever, deaf to a cancel and to SIGTERM.
    Hang,
    /// It spins for ever on every core that it gets.
    Spin,
    /// It takes memory without end.
    Allocate,
    /// It writes its output without end.
    Fill,
    /// It forks processes that leave its group and are deaf to SIGTERM, until it must not or there
    /// are 200, says how many, and stays.
    Swarm,
    /// The same with one, and then it exits as if it had done its work.
    Orphan,
    /// It exits with status 3.
    Exit,
    /// It sends bytes that are no frame.
    Garbage,
    /// The runner speaks another version of the protocol.
    Alien,
}

const NAMES: &[(&str, Fault)] = &[
    ("crash", Fault::Crash),
    ("segfault", Fault::Segfault),
    ("panic", Fault::Panic),
    ("hang", Fault::Hang),
    ("spin", Fault::Spin),
    ("allocate", Fault::Allocate),
    ("fill", Fault::Fill),
    ("swarm", Fault::Swarm),
    ("orphan", Fault::Orphan),
    ("exit", Fault::Exit),
    ("garbage", Fault::Garbage),
    ("alien", Fault::Alien),
];

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        NAMES
            .iter()
            .find_map(|(name, fault)| (*name == text).then_some(*fault))
            .ok_or_else(|| Error::new(Code::InvalidField, format!("unknown fault {text:?}")).field("fault"))
    }
}

/// An engine that does one wrong.
#[derive(Debug)]
pub struct FaultyEngine {
    fault: Fault,
    inner: SyntheticEngine,
}

impl FaultyEngine {
    /// Made before [`super::serve`] takes standard input, to be able to speak out of turn.
    ///
    /// # Errors
    /// `storage` if standard input cannot be duplicated or written to.
    pub fn new(fault: Fault) -> Result<Self> {
        if fault == Fault::Alien {
            let storage = |error| Error::new(Code::Storage, "standard input is no channel").source(error);
            let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(storage)?);
            (&channel).write_all(b"FFR\xff\0\0\0\0").map_err(storage)?;
        }
        Ok(Self { fault, inner: SyntheticEngine::default() })
    }

    fn go_wrong(&self, task: &Task, observer: &dyn Observer) -> Result<JobReport> {
        let failed = |error: io::Error| {
            let is_bounded = error.kind() == io::ErrorKind::FileTooLarge;
            let code = if is_bounded { Code::DiskQuotaExceeded } else { Code::Storage };
            Error::new(code, "cannot even go wrong").source(error)
        };
        match self.fault {
            Fault::Crash => std::process::abort(),
            Fault::Segfault => sys::segfault(),
            Fault::Panic => std::panic::panic_any("told to panic"),
            Fault::Exit => std::process::exit(3),
            Fault::Garbage => sys::babble(b"<html>not a frame</html>"),
            Fault::Hang => sys::ignore_terminate().map_err(failed)?,
            Fault::Spin => spin(),
            Fault::Allocate => devour(),
            Fault::Fill => fill(task).map_err(failed)?,
            Fault::Swarm => {
                let made = sys::leave_behind(SWARM);
                sys::ignore_terminate().map_err(failed)?;
                observer.log("info", &format!("forked {made}"));
            }
            Fault::Orphan => {
                sys::leave_behind(1);
                std::process::exit(0)
            }
            Fault::Alien => {}
        }
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}

fn spin() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..cores * 2 {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
}

fn devour() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn fill(task: &Task) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(&task.output)?;
    let bytes = vec![1; 1 << 20];
    loop {
        file.write_all(&bytes)?;
        // Slower than a disk, so that a watch that looks every second has something to see.
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Engine for FaultyEngine {
    fn name(&self) -> EngineName {
        EngineName::Synthetic
    }

    fn capabilities(&self) -> &EngineCapabilities {
        self.inner.capabilities()
    }

    fn probe(&self, source: &Source, bounds: &MediaBounds) -> Result<MediaInfo> {
        self.inner.probe(source, bounds)
    }

    fn run(&self, task: &Task, _: &Control, observer: &dyn Observer) -> Result<JobReport> {
        std::fs::write(&task.output, "half an output")
            .map_err(|error| Error::new(Code::Storage, "cannot write the output").source(error))?;
        observer.log("info", "about to go wrong");
        self.go_wrong(task, observer)
    }
}
