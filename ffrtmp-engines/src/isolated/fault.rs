//! An engine whose attempts end badly, to prove what the parent does about it. Only the tests ask
//! a runner for it.

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

/// What goes wrong once the output has been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process aborts.
    Crash,
    /// The engine panics.
    Panic,
    /// It runs on for ever, deaf to a cancel and to SIGTERM.
    Hang,
    /// It takes memory without end.
    Allocate,
    /// It exits with status 3.
    Exit,
    /// It sends bytes that are no frame.
    Garbage,
    /// The runner speaks another version of the protocol.
    Alien,
}

const NAMES: &[(&str, Fault)] = &[
    ("crash", Fault::Crash),
    ("panic", Fault::Panic),
    ("hang", Fault::Hang),
    ("allocate", Fault::Allocate),
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
    channel: UnixStream,
    inner: SyntheticEngine,
}

impl FaultyEngine {
    /// Made before [`super::serve`] takes standard input, to be able to speak out of turn.
    ///
    /// # Errors
    /// `storage` if standard input cannot be duplicated or written to.
    pub fn new(fault: Fault) -> Result<Self> {
        let storage = |error| Error::new(Code::Storage, "standard input is no channel").source(error);
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(storage)?);
        if fault == Fault::Alien {
            (&channel).write_all(b"FFR\xff\0\0\0\0").map_err(storage)?;
        }
        Ok(Self { fault, channel, inner: SyntheticEngine::default() })
    }

    fn go_wrong(&self) -> Result<JobReport> {
        let failed = |error| Error::new(Code::Storage, "cannot even go wrong").source(error);
        match self.fault {
            Fault::Crash => std::process::abort(),
            Fault::Panic => std::panic::panic_any("told to panic"),
            Fault::Exit => std::process::exit(3),
            Fault::Garbage => (&self.channel).write_all(b"<html>not a frame</html>").map_err(failed)?,
            Fault::Hang => sys::ignore_terminate().map_err(failed)?,
            Fault::Allocate => devour(),
            Fault::Alien => {}
        }
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}

fn devour() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
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
        self.go_wrong()
    }
}
