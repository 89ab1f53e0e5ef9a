//! Starting a workload so that its limits are in force before its program begins.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::ResourceGovernor;
use rustix::process::{getpid, set_child_subreaper};

use super::family::Family;
use super::hold::{self, Hold};
use super::inbox::Inbox;
use super::process::Grip;
use super::supervised::{Order, Supervised};
use super::sys::{Held, Image};
use crate::probe::Root;

/// Names the step in errors of programs that cannot be begun; the source is an [`io::Error`].
pub const EXEC: &str = "supervise.exec";

/// A program with its arguments, to be started. Nothing goes through a shell.
#[derive(Clone, Debug)]
pub struct Workload {
    program: OsString,
    arguments: Vec<OsString>,
    directory: Option<PathBuf>,
    adopts: bool,
}

impl Workload {
    /// A program: a path, or a name that is looked for on the `PATH`.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), directory: None, adopts: false }
    }

    /// Its arguments, as they are.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// The directory that it starts in; a relative program path counts from there.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Makes this program the parent of orphans, so that processes that leave the workload's group
    /// are found and waited for as well. Only for a program that starts nothing else: it concerns
    /// every child.
    #[must_use]
    pub fn adopt_orphans(mut self) -> Self {
        self.adopts = true;
        self
    }

    /// Starts it under limits. Standard input, output and error are this program's own.
    ///
    /// With a terminal it stays in this program's process group, so that Ctrl-C, Ctrl-Z and `fg`
    /// do what a shell's user expects; without one it gets a group of its own. It lives on when
    /// this program is killed.
    ///
    /// # Errors
    /// `invalid_field` for `workdir`, for limits that cannot be, and for a program that cannot be
    /// begun (operation [`EXEC`], with the [`io::Error`] as its source); `storage` if the kernel
    /// refuses a process.
    pub fn start(&self, order: &Order, governor: &dyn ResourceGovernor, inbox: Option<&Inbox>) -> Result<Supervised> {
        hold::check(&order.limits)?;
        self.check_directory()?;
        if self.adopts {
            set_child_subreaper(Some(getpid())).map_err(|error| refused(error.into()))?;
        }
        let own_group = !has_terminal();
        let mut held = Held::start(self.command(own_group), self.image()?, inbox.map(|inbox| inbox.before))
            .map_err(|error| self.not_begun(error))?;
        let root = Root::default();
        let grip = Grip::take(&root, held.pid).map_err(unseen)?;
        let mut family = Family::of(root.clone(), grip.identity);
        family.group = own_group.then_some(held.pid);
        family.orphans_of = self.adopts.then(std::process::id);
        let taken = Hold::take(&root, governor, &family, held.pid, order)?;
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let command = words.map(|word| word.to_string_lossy().into_owned()).collect();
        match held.release() {
            Ok(_) => Ok(Supervised::new(order.clone(), command, grip, family, taken, true)),
            Err(error) => {
                let mut taken = taken;
                // Nobody is left whose priority could stay.
                let _ = taken.let_go(&family);
                Err(self.not_begun(error))
            }
        }
    }

    fn command(&self, own_group: bool) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if own_group {
            command.process_group(0);
        }
        command
    }

    fn check_directory(&self) -> Result<()> {
        let Some(directory) = self.directory.as_deref().filter(|directory| !directory.is_dir()) else { return Ok(()) };
        let what = if directory.exists() { "is no directory" } else { "does not exist" };
        Err(Error::new(Code::InvalidField, format!("{} {what}", directory.display()))
            .field("workdir")
            .hint("give a directory that exists"))
    }

    fn image(&self) -> Result<Image> {
        let text = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|error| {
                Error::new(Code::InvalidField, "a NUL byte cannot be passed on").field("command").source(error)
            })
        };
        let candidates = candidates(&self.program, std::env::var_os("PATH").as_deref());
        let candidates = candidates.iter().map(|path| text(path.as_os_str())).collect::<Result<_>>()?;
        let arguments = std::iter::once(&self.program).chain(&self.arguments);
        let arguments = arguments.map(|word| text(word)).collect::<Result<_>>()?;
        let environment = std::env::vars_os().map(|(name, value)| {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            text(&pair)
        });
        Ok(Image::new(candidates, arguments, environment.collect::<Result<_>>()?))
    }

    fn not_begun(&self, error: io::Error) -> Error {
        let program = self.program.to_string_lossy();
        let (what, hint) = match error.kind() {
            io::ErrorKind::NotFound => ("is not found", "give a path, or the name of a program on the PATH"),
            io::ErrorKind::PermissionDenied => {
                ("may not be executed", "give a program: a file with execute permission")
            }
            _ if error.raw_os_error() == Some(NO_PROGRAM) => {
                ("is no program", "a script names its interpreter in its first line, such as #!/bin/sh")
            }
            _ => ("cannot be begun", "the source of this error is the kernel's reason"),
        };
        Error::new(Code::InvalidField, format!("{program:?} {what}"))
            .field("command")
            .hint(hint)
            .operation(EXEC)
            .source(error)
    }
}

/// `ENOEXEC`.
const NO_PROGRAM: i32 = 8;

fn refused(error: io::Error) -> Error {
    Error::new(Code::Storage, "the kernel refuses to hand over orphans").operation("supervise.start").source(error)
}

/// A child that waits has not ended: what cannot be found is `/proc`.
fn unseen(error: Error) -> Error {
    match error.field_name() {
        Some(_) => Error::new(Code::Storage, "/proc does not show the process that was started")
            .operation("supervise.start")
            .hint("mount /proc: what a program uses is read there"),
        None => error,
    }
}

/// Whether this process has a terminal that sends it signals.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Where a program may be: itself if it is a path, else each directory of the `PATH`.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') || program.is_empty() {
        return vec![program.into()];
    }
    let usual = OsStr::new("/usr/local/bin:/usr/bin:/bin");
    std::env::split_paths(path.unwrap_or(usual)).map(|folder| Path::new(&folder).join(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_as_a_shell_does() {
        let found = |program: &str, path: Option<&str>| candidates(OsStr::new(program), path.map(OsStr::new));
        assert_eq!(found("./a", Some("/x")), [PathBuf::from("./a")]);
        assert_eq!(found("a", Some("/x:/y z")), [PathBuf::from("/x/a"), PathBuf::from("/y z/a")]);
        assert_eq!(found("a", None).len(), 3);
        assert_eq!(found("", Some("/x")), [PathBuf::from("")]);
    }
}
