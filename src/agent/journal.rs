//! What attempts have left lying about so far: the hidden names of their outputs, in one file, so that
//! the next life of an agent can remove what this one could not.
//!
//! A name is one record that ends with a NUL, which no path holds; the last record may be torn. A
//! record stays until the file is written anew, long after its attempt: a hidden name is never used
//! twice, so removing it again does no harm. What the names stand for is removed by `workdir`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes after which the file is written anew with what still counts.
const LONG: usize = 64 << 10;

/// The hidden names of the attempts under way.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    file: File,
    bytes: usize,
    open: BTreeSet<PathBuf>,
}

impl Journal {
    /// What an earlier life noted.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(super) fn left(path: &Path) -> io::Result<Vec<PathBuf>> {
        match fs::read(path) {
            Ok(bytes) => Ok(records(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// An empty one in the place of what was there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn start(path: &Path) -> io::Result<Arc<Self>> {
        let open = BTreeSet::new();
        let pages = Pages { file: rewritten(path, &open)?, bytes: 0, open };
        Ok(Arc::new(Self { path: path.to_owned(), pages: Mutex::new(pages) }))
    }

    /// Notes a name until the value is dropped. In the hands of the kernel when this returns, so that
    /// it outlives the process.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn note(self: &Arc<Self>, hidden: &Path) -> io::Result<Note> {
        let mut pages = self.pages();
        if pages.bytes >= LONG.max(4 * length(&pages.open)) {
            pages.file = rewritten(&self.path, &pages.open)?;
            pages.bytes = length(&pages.open);
        }
        let record = record(hidden);
        pages.file.write_all(&record)?;
        pages.bytes += record.len();
        pages.open.insert(hidden.to_owned());
        Ok(Note { journal: Arc::clone(self), hidden: hidden.to_owned() })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that counts as long as this lives.
#[derive(Debug)]
pub(super) struct Note {
    journal: Arc<Journal>,
    hidden: PathBuf,
}

impl Drop for Note {
    fn drop(&mut self) {
        self.journal.pages().open.remove(&self.hidden);
    }
}

/// A file with these names only. It takes the old one's place when it is complete.
fn rewritten(path: &Path, names: &BTreeSet<PathBuf>) -> io::Result<File> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&new)?;
    let text: Vec<u8> = names.iter().flat_map(|name| record(name)).collect();
    file.write_all(&text)?;
    fs::rename(&new, path)?;
    Ok(file)
}

fn record(name: &Path) -> Vec<u8> {
    [name.as_os_str().as_bytes(), b"\0"].concat()
}

fn length(names: &BTreeSet<PathBuf>) -> usize {
    names.iter().map(|name| name.as_os_str().len() + 1).sum()
}

/// The whole records of a file.
fn records(bytes: &[u8]) -> Vec<PathBuf> {
    let Some(end) = bytes.iter().rposition(|byte| *byte == 0) else { return Vec::new() };
    let names = bytes[..end].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(OsString::from_vec(name.to_vec()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_ignored() {
        for (bytes, names) in [
            (&b""[..], &[][..]),
            (b"/a/.x.part\0", &["/a/.x.part"]),
            (b"/a/.x.part\0/b/.y.pa", &["/a/.x.part"]),
            (b"/a/.x.pa", &[]),
            (b"\0\0/a/line\nfeed.part\0\0", &["/a/line\nfeed.part"]),
        ] {
            assert_eq!(records(bytes), names.iter().map(PathBuf::from).collect::<Vec<_>>(), "{bytes:?}");
        }
    }

    #[test]
    fn it_stays_short_and_keeps_what_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("attempts.log");
        let journal = Journal::start(&path).unwrap();
        let long = journal.note(Path::new("/out/.long.part")).unwrap();
        for number in 0..20_000 {
            journal.note(&dir.path().join(format!(".{number}.part"))).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() < 2 * LONG as u64);
        let left = Journal::left(&path).unwrap();
        assert!(left.contains(&PathBuf::from("/out/.long.part")), "what is under way is never forgotten");
        assert!(left.contains(&dir.path().join(".19999.part")));
        drop(long);
        drop(Journal::start(&path).unwrap());
        assert_eq!(Journal::left(&path).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
