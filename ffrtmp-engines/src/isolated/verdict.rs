//! How an attempt that ended without an answer is called: one error that says who or what ended it.

use std::os::unix::process::ExitStatusExt;

use ffrtmp_core::error::{Code, Error};

use super::child::End;
use super::disk::over_quota;
use super::wire::{Broken, VERSION};

/// What is known of a child that ended without a word.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    /// It was canceled.
    pub(super) canceled: bool,
    /// Why the agent killed it.
    pub(super) doom: Option<Doom>,
    /// How it ended, if it did.
    pub(super) end: Option<End>,
    /// Its limit and the most that it used of memory, in bytes.
    pub(super) memory: (Option<u64>, u64),
    /// Bytes of the largest file that it may write.
    pub(super) max_file_bytes: Option<u64>,
    /// Whether the kernel killed in it for memory.
    pub(super) out_of_memory: bool,
    /// What its libraries said last.
    pub(super) last_words: String,
}

/// Why the agent killed a child.
#[derive(Debug)]
pub(super) enum Doom {
    /// Too much memory.
    Memory,
    /// Too much time, and what that means.
    Time(Code),
    /// Too much disk.
    Disk(Error),
}

impl Circumstances {
    /// The error.
    pub(super) fn into_error(self) -> Error {
        if self.canceled {
            return Error::new(Code::Canceled, "the attempt was canceled");
        }
        match self.doom {
            Some(Doom::Memory) => return self.too_much_memory(),
            Some(Doom::Time(code)) => return Error::new(code, "the runner did not answer within its time limit"),
            Some(Doom::Disk(error)) => return error,
            None => {}
        }
        let how = describe(self.end);
        let signal = match self.end {
            Some(End::WithServer) => {
                return Error::new(Code::Killed, "the fork server of the runner ended, and the attempt with it");
            }
            Some(End::Told(ended)) => ended.status().signal(),
            None => None,
        };
        match signal {
            Some(libc::SIGKILL) if self.out_of_memory => self.too_much_memory(),
            Some(libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => {
                Error::new(Code::Killed, format!("the runner {how}, which the agent did not send"))
            }
            Some(libc::SIGXFSZ) => over_quota(None, self.max_file_bytes.unwrap_or(0)),
            Some(_) if self.is_near_limit() => self.too_much_memory(),
            _ => Error::new(Code::AttemptCrashed, format!("the runner {how}{}", self.last_words)),
        }
    }

    /// An allocation that the kernel refuses ends in an abort just below the limit.
    fn is_near_limit(&self) -> bool {
        let (limit, peak) = self.memory;
        limit.is_some_and(|limit| peak >= limit / 10 * 9)
    }

    fn too_much_memory(&self) -> Error {
        let (limit, peak) = self.memory;
        let used = format!("the attempt used {} MB of memory", peak >> 20);
        let limit = limit
            .map_or_else(|| "the machine has no more".to_owned(), |limit| format!("its limit is {} MB", limit >> 20));
        Error::new(Code::MemoryExceeded, format!("{used}; {limit}"))
    }
}

/// The error of a child that does not keep to the protocol.
pub(super) fn broken(broken: &Broken) -> Error {
    match broken {
        Broken::Version(version) => Error::new(
            Code::EngineUnavailable,
            format!("the runner speaks protocol version {version}, this program {VERSION}"),
        )
        .hint("install ffrtmp-runner of the same release as the program that starts it"),
        broken => Error::new(Code::AttemptCrashed, format!("the runner sent {broken}")),
    }
}

/// How it ended, after `the runner`.
pub(super) fn describe(end: Option<End>) -> String {
    let status = match end {
        Some(End::Told(ended)) => ended.status(),
        Some(End::WithServer) => return "ended with its fork server".into(),
        None => return "is held by the kernel and could not be ended".into(),
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (_, Some(signal)) => format!("ended by signal {signal} ({})", signal_name(signal)),
        _ => status.to_string(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGSYS => "SIGSYS",
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => "a signal",
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Ended;
    use super::*;

    #[test]
    fn each_end_has_its_name() {
        let by = |status: i32| Some(End::Told(Ended { status, ..Ended::default() }));
        let near = (Some(100 << 20), 95 << 20);
        let plain = Circumstances::default;
        for (circumstances, code, words) in [
            (Circumstances { end: by(libc::SIGSEGV), ..plain() }, Code::AttemptCrashed, "SIGSEGV"),
            (Circumstances { end: by(3 << 8), ..plain() }, Code::AttemptCrashed, "status 3"),
            (Circumstances { end: by(libc::SIGKILL), ..plain() }, Code::Killed, "SIGKILL"),
            (
                Circumstances { end: by(libc::SIGKILL), out_of_memory: true, ..plain() },
                Code::MemoryExceeded,
                "the machine has no more",
            ),
            (Circumstances { end: by(libc::SIGABRT), memory: near, ..plain() }, Code::MemoryExceeded, "100 MB"),
            (Circumstances { end: by(libc::SIGXFSZ), ..plain() }, Code::DiskQuotaExceeded, "wrote more"),
            (Circumstances { end: Some(End::WithServer), ..plain() }, Code::Killed, "fork server"),
            (Circumstances { doom: Some(Doom::Time(Code::InputInvalid)), ..plain() }, Code::InputInvalid, "time limit"),
            (Circumstances { canceled: true, end: by(libc::SIGSEGV), ..plain() }, Code::Canceled, "canceled"),
            (plain(), Code::AttemptCrashed, "held by the kernel"),
        ] {
            let error = circumstances.into_error();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
