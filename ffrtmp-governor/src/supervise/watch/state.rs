//! What a watcher remembers over a restart: whom it governs and how they were before.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::{Code, Error, Result};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::probe::Root;

/// Version of the file's form.
const VERSION: u32 = 1;

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// Which life of the machine it is: ids and starts of processes mean nothing in another.
    boot: String,
    pub(super) processes: Vec<Remembered>,
}

/// One process under limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Remembered {
    pub(super) pid: u32,
    pub(super) started: u64,
    pub(super) rule: String,
    pub(super) since: Timestamp,
    /// The priority that it was given, and the one before.
    pub(super) nice: Option<(i32, i32)>,
    /// Its control groups before, as `/proc/PID/cgroup` showed them.
    pub(super) home: String,
}

/// The file that holds it.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    boot: String,
}

impl StateFile {
    /// The file and what it remembers of this life of the machine.
    ///
    /// # Errors
    /// `storage` if it cannot be read or its directory cannot be written; a file that is damaged is
    /// no error but is set aside, and the reason is given.
    pub(super) fn open(root: &Root, path: &Path) -> Result<(Self, State, Option<String>)> {
        let boot = root.text("proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let file = Self { path: path.to_owned(), boot };
        file.prepare_folder()?;
        let (state, damage) = match file.read() {
            Ok(bytes) => match serde_json::from_slice::<State>(&bytes) {
                Ok(state) if state.version == VERSION => (state, None),
                Ok(other) => (State::default(), Some(format!("it has version {}, not {VERSION}", other.version))),
                Err(error) => (State::default(), Some(error.to_string())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (State::default(), None),
            Err(error) => return Err(file.failed("read", error)),
        };
        if damage.is_some() {
            fs::rename(path, path.with_extension("damaged")).map_err(|error| file.failed("set aside", error))?;
        }
        let same_life = state.boot == file.boot;
        let state = if same_life { state } else { State::default() };
        // Written at once, so that a directory that cannot be written is known now.
        file.write(state.processes.clone())?;
        Ok((file, state, damage))
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Makes the directory where there is none.
    fn prepare_folder(&self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(folder).map_err(|error| {
            self.refused(&format!("its directory {} does not exist and cannot be made", folder.display())).source(error)
        })
    }

    /// What is in it. Nothing is waited for on the other end of what is no file.
    fn read(&self) -> io::Result<Vec<u8>> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut file = File::options().read(true).custom_flags(flags).open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes it whole: to another name, to the disk, then under its own.
    pub(super) fn write(&self, processes: Vec<Remembered>) -> Result<()> {
        let state = State { version: VERSION, boot: self.boot.clone(), processes };
        self.replace(&state).map_err(|error| self.failed("written", error))
    }

    fn replace(&self, state: &State) -> io::Result<()> {
        let folder = self.folder();
        let other = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = (|| {
            let mut file = File::create(&other)?;
            serde_json::to_writer(&mut file, state)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&other, &self.path)
        })();
        if written.is_err() {
            // The error says more than a leftover does.
            let _ = fs::remove_file(&other);
        }
        written?;
        File::open(folder)?.sync_all()
    }

    fn failed(&self, done: &str, error: io::Error) -> Error {
        let why = match error.kind() {
            io::ErrorKind::PermissionDenied => format!("this user may not use {} for it", self.folder().display()),
            _ => format!("it cannot be {done}"),
        };
        self.refused(&why).source(error)
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(Code::Storage, format!("the state file {} cannot be used: {why}", self.path.display()))
            .field("state_path")
            .hint("give a file in a directory that this user may write, or leave out --enable-state")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_remembered_in_the_same_life_only() {
        let folder = tempfile::tempdir().expect("a directory");
        let boot = folder.path().join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(boot.parent().expect("a parent")).expect("a directory");
        fs::write(&boot, "one\n").expect("a file");
        let root = Root::at(folder.path());
        let path = folder.path().join("state.json");
        let process = Remembered {
            pid: 7,
            started: 9,
            rule: "ffmpeg".into(),
            since: Timestamp::from_micros(1_700_000_000_000_000),
            nice: Some((10, 0)),
            home: "0::/\n".into(),
        };

        let (file, state, damage) = StateFile::open(&root, &path).expect("a new file");
        assert_eq!((state.processes.len(), damage), (0, None));
        file.write(vec![process.clone()]).expect("written");
        let (_, state, damage) = StateFile::open(&root, &path).expect("the same file");
        assert_eq!((state.processes.as_slice(), damage), (&[process][..], None));

        fs::write(&boot, "two\n").expect("a file");
        assert_eq!(StateFile::open(&root, &path).expect("the same file").1.processes, []);

        fs::write(&path, "{\"version\":1,\"proc").expect("a file");
        let (_, state, damage) = StateFile::open(&root, &path).expect("a damaged file is no error");
        assert!(state.processes.is_empty() && damage.is_some());
        assert!(folder.path().join("state.damaged").exists(), "it is set aside");
    }

    #[test]
    fn the_directory_is_made_and_what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a directory");
        let root = Root::at(folder.path());
        let deep = folder.path().join("a/b/state.json");
        StateFile::open(&root, &deep).expect("the directory is made");
        assert!(deep.is_file());

        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("a pipe with a name");
        for (path, says) in [
            (fifo.as_path(), "no regular file"),
            (folder.path(), "no regular file"),
            (deep.join("state.json").as_path(), "cannot be made"),
        ] {
            let error = StateFile::open(&root, path).expect_err("no state file");
            assert_eq!((error.code(), error.field_name()), (Code::Storage, Some("state_path")));
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(format!("{error} {source}").contains(says), "{error}: {source}");
        }
    }
}
