//! `ffrtmp run` on a terminal: what a person types reaches the program as in a shell.
#![allow(unsafe_code, reason = "a terminal of its own has no safe interface without a feature of its own")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::place::{Guarded, PATIENCE, ffrtmp};

/// What a shell shows when it is ready for a line: typed earlier, it would be thrown away.
const PROMPT: &str = "ready> ";

/// A program with a terminal of its own, and what it wrote so far.
struct Session {
    program: Guarded,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Session {
    fn start(args: &[&str]) -> Self {
        let (ours, theirs) = terminal();
        let mut command = ffrtmp(args);
        command.env("PS1", PROMPT);
        let stream = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        begin_session(&mut command, true);
        let program = Guarded::start(command);
        let mut reader = File::from(ours.try_clone().expect("a descriptor"));
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { program, keyboard: ours.into(), screen, seen: String::new() }
    }

    /// Waits for a text; the next one is looked for after it.
    fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            let more = self.screen.recv_timeout(left).unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("a terminal");
    }
}

/// Makes a program the first of a session, with descriptor 0 as its terminal or with none.
pub(crate) fn begin_session(command: &mut Command, terminal: bool) {
    // SAFETY: all calls are safe after a fork; descriptor 0 is the terminal by then.
    unsafe {
        command.pre_exec(move || {
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            if libc::setsid() < 0 || (terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0) {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// The two ends of a terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: the two places are valid; name, settings and size are not asked for.
    let opened = unsafe { libc::openpty(&mut ours, &mut theirs, none, none.cast(), none.cast()) };
    assert_eq!(opened, 0, "no terminal: {}", std::io::Error::last_os_error());
    // SAFETY: descriptors that were just made and that nobody else owns; not for other children.
    unsafe {
        libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::fcntl(theirs, libc::F_SETFD, libc::FD_CLOEXEC);
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

#[test]
fn interrupt_goes_to_the_program_once_and_its_answer_counts() {
    let script = "n=0; trap 'n=$((n+1)); echo got $n' INT; trap 'echo bye $n; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut session = Session::start(&["run", "--", "bash", "-c", script]);
    session.wait_for("ready");
    session.types(b"\x03");
    session.wait_for("got 1");
    assert!(session.program.is_alive(), "the wrapper ended though the program goes on");
    session.program.signal(rustix::process::Signal::TERM);
    // Once for one key press.
    session.wait_for("bye 1");
    assert_eq!(session.program.code(), 9);
}

#[test]
fn an_interrupted_program_ends_as_in_a_shell() {
    let mut session = Session::start(&["run", "--", "sh", "-c", "echo ready; exec sleep 600"]);
    session.wait_for("ready");
    session.types(b"\x03");
    assert_eq!(session.program.code(), 130);
    session.wait_for("ended: signal, signal 2");
}

#[test]
fn the_program_is_in_the_foreground_and_sees_the_window_change() {
    let script = "trap 'stty size' WINCH; stty -g >/dev/null && echo tty ok; while :; do sleep 0.05; done";
    let mut session = Session::start(&["run", "--quiet", "--", "bash", "-c", script]);
    session.wait_for("tty ok");
    let size = libc::winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is valid for the call.
    let set = unsafe { libc::ioctl(session.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(set, 0);
    session.wait_for("33 77");
}

#[test]
fn a_stopped_job_goes_on_in_the_foreground() {
    if Command::new("bash").arg("-c").arg("true").output().is_err() {
        println!("left out: there is no bash to control jobs");
        return;
    }
    let program = env!("CARGO_BIN_EXE_ffrtmp");
    // The outer `run` gives the shell its terminal; the inner one is the job.
    let mut session = Session::start(&["run", "--quiet", "--", "bash", "--norc", "--noprofile", "-i"]);
    session.wait_for(PROMPT);
    session.types(
        format!("{program} run --quiet -- bash -c 'echo be\"\"gun; read x; echo \"<$x>\"; exit 4'\n").as_bytes(),
    );
    session.wait_for("begun");
    session.types(b"\x1a");
    session.wait_for("Stopped");
    session.wait_for(PROMPT);
    session.types(b"fg\n");
    session.wait_for("exit 4'\r\n");
    session.types(b"typed\n");
    session.wait_for("<typed>");
    session.wait_for(PROMPT);
    session.types(b"echo code=$?\n");
    session.wait_for("code=4");
    session.types(b"exit\n");
}
