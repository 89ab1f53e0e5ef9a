//! The fork server: a process with one thread that has loaded what every child needs, makes a copy
//! of itself for each attempt, and tells the agent how each one ended.
//!
//! It reads nothing foreign. It outlives no agent, and no child outlives it: those that still run
//! when the agent is gone are told to end, then killed, also those that left their group.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::link::{Link, Received, wait_on};
use super::sys::{self, Forked};
use super::wire::{Ended, FromServer, ToServer};

/// Time for an agent to take a message.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for children to end by themselves when the agent is gone.
const GRACE: Duration = Duration::from_millis(300);
/// Time for what a child left behind to be gone, unless the kernel holds it.
const DEATH: Duration = Duration::from_secs(1);
/// The same for all of them when the server ends.
const LAST_DEATH: Duration = Duration::from_secs(5);
/// How often what does not tell of its end is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How likely the kernel ends a child instead of the agent when memory is short, -1000 to 1000.
const OOM_SCORE: &str = "500";

/// What this process is when [`Server::run`] returns.
pub(super) enum Role {
    /// A child, with its channel.
    Child(UnixStream),
    /// The server, at its end.
    Done,
}

/// The state of a fork server.
pub(super) struct Server {
    link: Link,
    signals: OwnedFd,
    own: Pid,
    wards: Vec<Ward>,
}

/// A child of the server.
struct Ward {
    pid: Pid,
    /// Gone when the agent has let go of the child.
    tether: Option<Link>,
    remains: Option<PathBuf>,
    /// How and when it ended, which makes it a zombie until the agent lets go.
    end: Option<(Ended, Instant)>,
    told: bool,
}

enum Asked {
    Nothing,
    Become(UnixStream),
    End,
}

impl Server {
    /// A server for the agent at the other end.
    pub(super) fn new(link: Link) -> io::Result<Self> {
        // Whoever loses a parent below becomes a child of the server, which ends it.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self { link, signals: sys::catch_signals()?, own: rustix::process::getpid(), wards: Vec::new() })
    }

    /// Tells the agent something that is about no child.
    pub(super) fn say(&self, message: &FromServer) -> Result<()> {
        self.link.send(message, &[], PATIENCE).map_err(|error| {
            Error::new(Code::Storage, "the agent cannot be told").operation("runner.start").source(error)
        })
    }

    /// Serves until the agent is gone or a signal ends it; in a child it returns at once.
    pub(super) fn run(mut self) -> Role {
        loop {
            self.wait();
            if sys::is_told_to_end(self.signals.as_fd()) {
                break;
            }
            self.tend();
            match self.listen() {
                Asked::Nothing => {}
                Asked::Become(channel) => {
                    // Its descriptors are closed already, those of the engine's making included.
                    std::mem::forget(self);
                    return Role::Child(channel);
                }
                Asked::End => break,
            }
        }
        self.end();
        Role::Done
    }

    fn wait(&self) {
        let is_watched = |ward: &Ward| ward.end.is_some() && !ward.told || ward.tether.is_none();
        let timeout = if self.wards.iter().any(is_watched) { LOOK } else { Duration::from_secs(60) };
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.link, PollFlags::IN)];
        fds.extend(self.wards.iter().filter_map(|ward| ward.tether.as_ref()).map(|it| PollFd::new(it, PollFlags::IN)));
        wait_on(&mut fds, timeout);
    }

    /// Looks after the children that there are.
    fn tend(&mut self) {
        for ward in &mut self.wards {
            ward.hear();
            ward.look();
        }
        let alone = self.wards.iter().any(|ward| ward.end.is_some() && !ward.told) && self.end_orphans();
        for ward in &mut self.wards {
            ward.tell(alone);
        }
        self.wards.retain_mut(|ward| !ward.is_over());
    }

    /// Does what the agent asks.
    fn listen(&mut self) -> Asked {
        match self.link.receive() {
            Ok(Received::Message(ToServer::Fork { nice, remains }, descriptors)) => {
                self.fork(nice, remains.as_ref().map(PathBuf::from), descriptors)
            }
            Ok(Received::Nothing | Received::Message(..)) => Asked::Nothing,
            Ok(Received::Gone) => Asked::End,
            Err(error) => {
                eprintln!("the agent does not speak this protocol: {error}");
                Asked::End
            }
        }
    }

    fn fork(&mut self, nice: i32, remains: Option<PathBuf>, descriptors: Vec<OwnedFd>) -> Asked {
        let Ok([channel, errors, tether]) = <[OwnedFd; 3]>::try_from(descriptors) else { return Asked::Nothing };
        let Ok(tether) = Link::over(tether) else { return Asked::Nothing };
        match sys::fork() {
            Ok(Forked::Child) => {
                std::mem::forget(tether);
                become_child(self.own, nice, channel, errors)
            }
            Ok(Forked::Server(pid)) => {
                self.adopt(pid, tether, remains);
                Asked::Nothing
            }
            Err(error) => {
                // An agent that is gone is noticed on the link.
                let _ = tether.send(&FromServer::NotForked(error.to_string()), &[], PATIENCE);
                Asked::Nothing
            }
        }
    }

    fn adopt(&mut self, pid: Pid, tether: Link, remains: Option<PathBuf>) {
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
        let beside: Vec<_> = process.iter().map(AsFd::as_fd).collect();
        let told = tether.send(&FromServer::Forked { pid: pid.as_raw_nonzero().get() }, &beside, PATIENCE);
        let tether = told.is_ok().then_some(tether);
        self.wards.push(Ward { pid, tether, remains, end: None, told: false });
    }

    /// Kills and reaps the children that are nobody's attempt: what attempts left behind. Whether
    /// none is left.
    fn end_orphans(&self) -> bool {
        let mut alone = true;
        for orphan in children(self.own).into_iter().filter(|pid| !self.wards.iter().any(|ward| ward.pid == *pid)) {
            // They are children and not reaped yet: the ids are theirs.
            let _ = rustix::process::kill_process(orphan, Signal::KILL);
            alone &= matches!(rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG), Ok(Some(_)));
        }
        alone
    }

    /// Ends all children and removes what they did not finish.
    fn end(mut self) {
        self.wards.iter().for_each(Ward::terminate);
        let asked = Instant::now();
        while self.wards.iter_mut().any(Ward::is_alive) && asked.elapsed() < GRACE {
            self.await_signal();
        }
        for ward in &mut self.wards {
            // The agent's last word may have come after the last look.
            ward.hear();
            ward.tether = None;
        }
        // From here on those that are alive are killed.
        let killed = Instant::now();
        while killed.elapsed() < LAST_DEATH {
            self.wards.retain_mut(|ward| !ward.is_over());
            if self.end_orphans() && self.wards.is_empty() {
                break;
            }
            self.await_signal();
        }
    }

    fn await_signal(&self) {
        wait_on(&mut [PollFd::new(&self.signals, PollFlags::IN)], LOOK);
        sys::is_told_to_end(self.signals.as_fd());
    }
}

impl Ward {
    /// Notices when the agent lets go, or is gone: then what the child did not finish is the server's
    /// to remove.
    fn hear(&mut self) {
        let Some(tether) = &self.tether else { return };
        loop {
            match tether.receive() {
                Ok(Received::Nothing) => return,
                Ok(Received::Message(ToServer::Mind { remains }, _)) => self.remains = Some((&remains).into()),
                Ok(Received::Message(ToServer::LetGo, _)) => {
                    self.remains = None;
                    break;
                }
                Ok(_) | Err(_) => break,
            }
        }
        self.tether = None;
        self.kill();
    }

    /// Notices the end, and ends the rest of the group.
    fn look(&mut self) {
        if self.end.is_some() {
            return;
        }
        match sys::peek(self.pid) {
            Ok(None) => {}
            Ok(Some(ended)) => {
                self.end = Some((ended, Instant::now()));
                self.kill();
            }
            Err(error) => {
                eprintln!("somebody else has reaped the child {}: {error}", self.pid.as_raw_nonzero());
                self.end = Some((Ended::default(), Instant::now()));
            }
        }
    }

    fn is_alive(&mut self) -> bool {
        self.look();
        self.end.is_none()
    }

    /// Tells the agent of the end once what the child left behind is gone, or does not go.
    fn tell(&mut self, alone: bool) {
        let Some((ended, since)) = self.end else { return };
        if self.told || !alone && since.elapsed() < DEATH {
            return;
        }
        self.told = true;
        let told = self.tether.as_ref().map(|tether| tether.send(&FromServer::Ended(ended), &[], PATIENCE));
        if matches!(told, Some(Err(_))) {
            // The agent is gone, or it let go since the last look and what it said waits to be heard.
            self.hear();
            self.tether = None;
        }
    }

    /// Reaps a child that has ended and that the agent has let go of.
    fn is_over(&mut self) -> bool {
        if self.tether.is_some() {
            return false;
        }
        if self.is_alive() {
            self.kill();
            return false;
        }
        // Either it is reaped now or it was before.
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
        if let Some(remains) = self.remains.take() {
            remove(&remains);
        }
        true
    }

    /// Asks the group to end, one that stands still as well.
    fn terminate(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Not reaped yet, so the group is its own. The only refusal is that nobody is left in it.
        let _ = rustix::process::kill_process_group(self.pid, signal);
    }
}

/// The copy's side of a fork. What goes wrong here ends it; the agent hears of the end.
fn become_child(server: Pid, nice: i32, channel: OwnedFd, errors: OwnedFd) -> Asked {
    match sys::stand_alone(server, channel, errors) {
        Ok(channel) => {
            if rustix::process::getpriority_process(None).is_ok_and(|now| now < nice) {
                // Refused at worst: then it runs at the server's priority.
                let _ = rustix::process::setpriority_process(None, nice);
            }
            // As above.
            let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
            Asked::Become(channel.into())
        }
        Err(error) => {
            eprintln!("the child cannot stand alone: {error}");
            sys::exit_now(1)
        }
    }
}

/// The children of this process, where the kernel lists them.
fn children(own: Pid) -> Vec<Pid> {
    let own = own.as_raw_nonzero();
    let listed = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Removes an unfinished file and the measurements beside it.
fn remove(remains: &Path) {
    // Nobody is left who could be told, and the next agent sweeps.
    let _ = fs::remove_file(remains);
    let _ = fs::remove_dir_all(super::reach::scratch_beside(remains));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that has ended, whose agent goes away between the last look and the word of the end.
    fn left_behind(last_word: Option<ToServer>, remains: &Path) {
        let mut process = std::process::Command::new("true").spawn().unwrap();
        process.wait().unwrap();
        let pid = Pid::from_child(&process);
        let (tether, agent) = Link::pair().unwrap();
        let end = Some((Ended::default(), Instant::now()));
        let mut ward = Ward { pid, tether: Some(tether), remains: Some(remains.to_owned()), end, told: false };
        ward.hear();
        if let Some(word) = last_word {
            agent.send(&word, &[], Duration::ZERO).unwrap();
        }
        drop(agent);
        ward.tell(true);
        assert!(ward.is_over());
    }

    #[test]
    fn what_the_agent_took_over_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let remains = folder.path().join("part");
        fs::write(&remains, "x").unwrap();
        left_behind(Some(ToServer::LetGo), &remains);
        assert!(remains.exists(), "the agent had let go in time");
        left_behind(None, &remains);
        assert!(!remains.exists(), "nobody else removes it");
    }
}
