//! The agent's side of the fork server: starts the program once, asks it for children, and starts
//! it again when it is gone.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use ffrtmp_core::error::{Code, Error, Result};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::child::Child;
use super::link::{Link, LinkError, Received};
use super::sys;
use super::wire::{Broken, FromServer, ToServer, VERSION};

/// Time for a server to load its libraries and greet.
const GREETING: Duration = Duration::from_secs(10);
/// Time for a server to fork a child. Giving up on it ends every attempt that it has, so a machine that
/// is only busy is given long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a line of its words that are kept.
const MAX_LINE: usize = 2048;

/// How the server and its children are made.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// The runner.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<OsString>,
    /// Scheduling priority of the children.
    pub(super) nice: i32,
}

/// Variables that a runner may see. The agent's own environment holds API keys, and children read
/// foreign bytes.
const VARIABLES: &[&str] =
    &["PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG", "TZ", "RUST_BACKTRACE", "XDG_RUNTIME_DIR"];
/// Tells the allocator of the GNU C library how to treat a process that lives for one attempt, unless
/// the agent's environment does. A child touches all of its memory for the first time, and asking for
/// it page by page costs more than anything else that sets it apart from a process that goes on: so one
/// heap, in huge pages where the system lends them. The thresholds are those of `libav::init`.
const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=4194304:glibc.malloc.trim_threshold=8388608",
);
/// Beginnings of further ones: locale, codec and graphics libraries.
const FAMILIES: &[&str] = &["LC_", "LIBVA_", "CUDA_", "NVIDIA_", "GST_", "SVT_", "MALLOC_", "LLVM_PROFILE_"];

/// Where children come from.
#[derive(Debug)]
pub(super) struct Servers {
    recipe: Recipe,
    current: Mutex<Option<Arc<Server>>>,
}

impl Servers {
    /// Starts nothing yet.
    pub(super) fn new(recipe: Recipe) -> Self {
        Self { recipe, current: Mutex::new(None) }
    }

    /// A child that waits for its request; `remains` is what the server removes if this process is
    /// gone before the child ends. A server that is gone is started again.
    ///
    /// # Errors
    /// `engine_unavailable` if the program cannot be started or is no runner of this version;
    /// `no_room` if the kernel refuses another process; `killed` if servers keep ending.
    pub(super) fn child(&self, remains: Option<&Path>) -> Result<Child> {
        for _ in 0..2 {
            let server = self.running()?;
            match server.fork(self.recipe.nice, remains) {
                Ok(child) => return Ok(child),
                Err(NoChild::Refused(reason)) => {
                    return Err(Error::new(Code::NoRoom, format!("the runner cannot fork a child: {reason}")));
                }
                Err(NoChild::Io(error)) => return Err(unavailable(&self.recipe, error)),
                Err(NoChild::ServerGone) => server.dismiss(),
            }
        }
        Err(Error::new(Code::Killed, "the fork server of the runner ended before it forked a child"))
    }

    /// The server that runs, or a new one.
    ///
    /// # Errors
    /// As [`Self::child`].
    pub(super) fn running(&self) -> Result<Arc<Server>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = current.as_ref().filter(|server| !server.is_gone()) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(Server::start(&self.recipe)?);
        *current = Some(Arc::clone(&server));
        Ok(server)
    }
}

/// A fork server. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Server {
    link: Link,
    pid: Pid,
    process: Option<OwnedFd>,
    /// It is gone, or it shall be.
    gone: AtomicBool,
}

/// Why there is no child.
enum NoChild {
    ServerGone,
    Refused(String),
    Io(io::Error),
}

impl Server {
    fn start(recipe: &Recipe) -> Result<Self> {
        let (reply, started) = sync_channel(1);
        let own = recipe.clone();
        let words = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&words);
        // The kernel tells a server of the end of the *thread* that started it, so this one stays.
        thread::Builder::new()
            .name("runner-server".into())
            .spawn(move || accompany(&own, &reply, &heard))
            .map_err(|error| unavailable(recipe, error))?;
        let server = started
            .recv()
            .map_err(|_| Error::new(Code::Internal, "the thread of the fork server has ended"))?
            .map_err(|error| unavailable(recipe, error))?;
        server.await_greeting().inspect_err(|_| server.dismiss_all()).map_err(|silence| silence.into_error(&words))?;
        Ok(server)
    }

    fn await_greeting(&self) -> std::result::Result<(), NoGreeting> {
        match self.link.await_message(GREETING) {
            Ok(Received::Message(FromServer::Hello { version, engine }, _)) => {
                tracing::debug!(pid = %self.pid.as_raw_nonzero(), %version, %engine, "the fork server is ready");
                Ok(())
            }
            Ok(Received::Message(FromServer::Unable(error), _)) => Err(NoGreeting::Unable(error.into())),
            Ok(Received::Gone) => Err(NoGreeting::Gone),
            Ok(Received::Nothing) => Err(NoGreeting::Silence),
            Ok(Received::Message(..)) => Err(NoGreeting::Alien),
            Err(LinkError::Broken(Broken::Version(version))) => Err(NoGreeting::Version(version)),
            Err(_) => Err(NoGreeting::Alien),
        }
    }

    fn fork(&self, nice: i32, remains: Option<&Path>) -> std::result::Result<Child, NoChild> {
        let (channel, theirs) = UnixStream::pair().map_err(NoChild::Io)?;
        let (errors, their_errors) = io::pipe().map_err(NoChild::Io)?;
        let (tether, their_tether) = Link::pair().map_err(NoChild::Io)?;
        channel.set_nonblocking(true).map_err(NoChild::Io)?;
        rustix::io::ioctl_fionbio(&errors, true).map_err(|error| NoChild::Io(error.into()))?;
        let order = ToServer::Fork { nice, remains: remains.map(Into::into) };
        let carried = [theirs.as_fd(), their_errors.as_fd(), their_tether.as_fd()];
        if self.link.send(&order, &carried, PATIENCE).is_err() {
            return Err(NoChild::ServerGone);
        }
        drop((theirs, their_errors, their_tether));
        match tether.await_message(PATIENCE) {
            Ok(Received::Message(FromServer::Forked { pid }, mut descriptors)) => {
                let pid = Pid::from_raw(pid).ok_or(NoChild::ServerGone)?;
                Ok(Child::new(pid, descriptors.pop(), channel, errors, tether))
            }
            Ok(Received::Message(FromServer::NotForked(reason), _)) => Err(NoChild::Refused(reason)),
            _ => Err(NoChild::ServerGone),
        }
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Ends a program that did not greet, and what it started: those are not this runner's children,
    /// who end with it.
    fn dismiss_all(&self) {
        // Its group is its own since it began.
        let grouped = self.process.as_ref().map(|process| sys::signal_group(process, Signal::KILL));
        let unheard = |error: &io::Error| error.kind() == io::ErrorKind::InvalidInput;
        if grouped.is_none_or(|sent| sent.as_ref().is_err_and(unheard)) {
            // An older kernel. Nobody is left in it at worst.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        self.dismiss();
    }

    /// Ends a server that does not answer, or has answered wrongly.
    fn dismiss(&self) {
        self.gone.store(true, Ordering::Release);
        // It may have ended by itself; its children end with it.
        let _ = match &self.process {
            Some(process) => pidfd_send_signal(process, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
    }
}

/// Starts the program, hands out the server, listens to its words, and reaps it.
fn accompany(recipe: &Recipe, reply: &SyncSender<io::Result<Server>>, last: &Mutex<String>) {
    let started = spawn(recipe).and_then(|(mut process, link)| {
        let errors = process.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let pid = Pid::from_child(&process);
        let own = pidfd_open(pid, PidfdFlags::empty()).ok();
        Ok((process, errors, Server { link, pid, process: own, gone: AtomicBool::new(false) }))
    });
    let (mut process, errors, server) = match started {
        Ok(started) => started,
        // Whoever waits for the reply tells it.
        Err(error) => return drop(reply.send(Err(error))),
    };
    // A caller that is gone drops the server, which ends.
    let _ = reply.send(Ok(server));
    listen(errors, last);
    match process.wait() {
        Ok(status) => tracing::debug!(%status, "the fork server has ended"),
        Err(error) => tracing::warn!(%error, "the fork server cannot be reaped"),
    }
}

fn spawn(recipe: &Recipe) -> io::Result<(std::process::Child, Link)> {
    let (link, theirs) = Link::pair()?;
    let mut command = Command::new(&recipe.program);
    command
        .args(&recipe.args)
        .current_dir("/")
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| may_see(name)))
        .env(ALLOCATOR.0, std::env::var_os(ALLOCATOR.0).unwrap_or_else(|| ALLOCATOR.1.into()))
        // So that an index means the card that the driver's own library means by it.
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        // The live engine's sockets would ask a desktop's settings for proxies, and write them down.
        .env("GIO_USE_PROXY_RESOLVER", "dummy")
        .env("GSETTINGS_BACKEND", "memory")
        .stdin(theirs.into_descriptor())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    sys::detach(&mut command);
    Ok((command.spawn()?, link))
}

/// Passes on what the server prints until it has closed its standard error.
fn listen(errors: ChildStderr, last: &Mutex<String>) {
    for line in BufReader::new(errors).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)]).into_owned();
        tracing::warn!(%line, "the fork server said");
        *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

/// Why a program that was started is of no use.
enum NoGreeting {
    Unable(Error),
    Gone,
    Silence,
    Alien,
    Version(u8),
}

impl NoGreeting {
    fn into_error(self, words: &Mutex<String>) -> Error {
        let wrong = |what: String| {
            Error::new(Code::EngineUnavailable, what).hint("FFRTMP_RUNNER must name the ffrtmp-runner of this release")
        };
        match self {
            Self::Unable(error) => error,
            Self::Gone => {
                let words = words.lock().unwrap_or_else(PoisonError::into_inner);
                let words = if words.is_empty() { String::new() } else { format!(": {words}") };
                wrong(format!("the runner ended before it was ready{words}")).hint(
                    "`ffrtmp doctor` names missing libraries; FFRTMP_RUNNER must name the ffrtmp-runner of this release",
                )
            }
            Self::Silence => wrong("the program that was started does not answer as an ffrtmp-runner".into()),
            Self::Alien => wrong("the program that was started is no ffrtmp-runner".into()),
            Self::Version(version) => {
                wrong(format!("the runner speaks protocol version {version}, this program {VERSION}"))
                    .hint("install ffrtmp-runner of the same release as the program that starts it")
            }
        }
    }
}

fn unavailable(recipe: &Recipe, error: io::Error) -> Error {
    Error::new(Code::EngineUnavailable, format!("cannot start the runner {}", recipe.program.display()))
        .source(error)
        .hint("install ffrtmp-runner beside the agent, or name it in FFRTMP_RUNNER")
}

fn may_see(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| VARIABLES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_with_the_parent() {
        assert!(may_see("PATH".as_ref()) && may_see("LC_ALL".as_ref()));
        assert!(!may_see("MASTER_API_KEY".as_ref()) && !may_see("AWS_SECRET_ACCESS_KEY".as_ref()));
    }
}
