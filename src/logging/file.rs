//! A log file that begins anew when it is full, and the older ones beside it: `agent.log`,
//! `agent.log.1`, the oldest last.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

/// Programs of one name on one machine; each has files of its own.
const MOST_TWINS: u32 = 64;

/// A file that one process writes.
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    kept: u32,
    current: Mutex<Current>,
    _lock: File,
}

struct Current {
    file: File,
    bytes: u64,
    /// A line was lost, and nobody was told.
    is_failing: bool,
}

impl LogFile {
    /// Opens `NAME.log` in a directory that is made; a program of the same name that runs already
    /// keeps it, and `NAME-2.log` is opened.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(dir: &Path, name: &str, max_bytes: u64, kept: u32) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        let name = plain(name);
        for twin in 1..=MOST_TWINS {
            let name = if twin == 1 { name.clone() } else { format!("{name}-{twin}") };
            let lock = writable(&dir.join(format!(".{name}.lock")))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let path = dir.join(format!("{name}.log"));
            let file = writable(&path)?;
            let bytes = file.metadata()?.len();
            let current = Mutex::new(Current { file, bytes, is_failing: false });
            return Ok(Self { path, max_bytes: max_bytes.max(1), kept, current, _lock: lock });
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "every name is taken by another program"))
    }

    /// Adds a line. One that cannot be written is lost, which is said once on standard error.
    pub(super) fn append(&self, line: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = current.bytes > 0 && current.bytes + line.len() as u64 > self.max_bytes;
        let written = if is_full { self.begin_anew(&mut current) } else { Ok(()) };
        // A full file that cannot be moved is better than none.
        let written = current.file.write_all(line).and(written);
        current.bytes += line.len() as u64;
        if let Err(error) = &written
            && !current.is_failing
        {
            // Not through `tracing`, which would come here again.
            let _ = writeln!(io::stderr(), "cannot write the log {}: {error}", self.path.display());
        }
        current.is_failing = written.is_err();
    }

    fn begin_anew(&self, current: &mut Current) -> io::Result<()> {
        if self.kept == 0 {
            current.file.set_len(0)?;
        } else {
            for number in (1..self.kept).rev() {
                match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.path, self.numbered(1))?;
            current.file = writable(&self.path)?;
        }
        current.bytes = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn writable(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// A name that is one part of a path.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).take(128).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "log".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("agent");
        let log = LogFile::open(&place, "../worker 1", 30, 2).unwrap();
        for line in 0..10 {
            log.append(format!("line number {line}\n").as_bytes());
        }
        assert_eq!(names(&place), ["_worker_1.log", "_worker_1.log.1", "_worker_1.log.2"]);
        assert_eq!(fs::read_to_string(&log.path).unwrap(), "line number 8\nline number 9\n");
        assert_eq!(fs::read_to_string(log.numbered(2)).unwrap(), "line number 4\nline number 5\n");
        drop(log);
        let again = LogFile::open(&place, "../worker 1", 1000, 2).unwrap();
        again.append(b"goes on\n");
        assert!(fs::read_to_string(&again.path).unwrap().ends_with("number 9\ngoes on\n"));
        let twin = LogFile::open(&place, "../worker 1", 1000, 2).unwrap();
        assert!(twin.path.ends_with("_worker_1-2.log"));
    }

    #[test]
    fn without_older_files_the_one_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::open(dir.path(), "master", 10, 0).unwrap();
        for line in ["first 1\n", "second\n", "a line that is longer than a file\n"] {
            log.append(line.as_bytes());
        }
        assert_eq!(names(dir.path()), ["master.log"]);
        assert_eq!(fs::read_to_string(&log.path).unwrap(), "a line that is longer than a file\n");
    }
}
