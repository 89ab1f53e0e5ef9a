//! What happened, as text: a hash over all of it, and for people the events that led to a mistake.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

const KEPT: usize = 50;

/// Events of one run.
pub(crate) struct Trace {
    began: Instant,
    told: Mutex<Told>,
}

struct Told {
    hash: u64,
    events: u64,
    last: VecDeque<String>,
    line: String,
    aloud: bool,
    wrong: Vec<String>,
    until_wrong: Vec<String>,
}

impl Trace {
    /// An empty trace that begins now; `aloud` prints every event.
    pub(crate) fn new(aloud: bool) -> Self {
        let told = Told {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            last: VecDeque::new(),
            line: String::new(),
            aloud,
            wrong: Vec::new(),
            until_wrong: Vec::new(),
        };
        Self { began: Instant::now(), told: Mutex::new(told) }
    }

    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let at = self.began.elapsed();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = std::mem::take(&mut told.line);
        line.clear();
        // Writing to a string does not fail.
        let _ = write!(line, "{:>8.3} {event}", at.as_secs_f64());
        told.hash = line.bytes().fold(told.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        told.events += 1;
        if told.aloud {
            eprintln!("{line}");
        }
        if told.last.len() == KEPT {
            told.line = told.last.pop_front().unwrap_or_default();
        }
        told.last.push_back(line);
    }

    /// For who replays a seed; no part of what happened.
    pub(crate) fn whisper(&self, detail: fmt::Arguments<'_>) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.aloud {
            eprintln!("{:>8.3}     {detail}", self.began.elapsed().as_secs_f64());
        }
    }

    /// A rule was broken.
    pub(crate) fn wrong(&self, what: fmt::Arguments<'_>) {
        self.note(format_args!("WRONG: {what}"));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.wrong.push(what.to_string());
        if told.until_wrong.is_empty() {
            told.until_wrong = told.last.iter().cloned().collect();
        }
    }

    /// Hash, number of events, the last ones before something was wrong, and what was.
    pub(crate) fn end(&self) -> (u64, u64, Vec<String>, Vec<String>) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.hash, told.events, told.until_wrong.clone(), told.wrong.clone())
    }
}
