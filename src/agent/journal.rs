//! What attempts have left lying about so far: the hidden names of their outputs, in one file, so that
//! the next life of an agent can remove what this one could not.
//!
//! A name is one record that ends with a NUL, which no path holds; the last record may be torn. A
//! record stays until the file is written anew, long after its attempt: a hidden name is never used
//! twice, so removing it again does no harm. Before the name of a recording that can be read while it
//! grows stands a record of what may become of it: the number of the attempt, a blank, and the output
//! that it would be a part of. What the names stand for is removed, or published, by `workdir`.

use std::collections::BTreeMap;
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
    open: Names,
}

/// Hidden names, with what may become of those that are recordings.
type Names = BTreeMap<PathBuf, Option<PartOf>>;

/// What a recording may be published as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartOf {
    /// The number of the attempt.
    pub(super) number: u32,
    /// The output of the job.
    pub(super) output: PathBuf,
}

/// A hidden name that an earlier life noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) hidden: PathBuf,
    pub(super) part_of: Option<PartOf>,
}

impl Journal {
    /// What an earlier life noted.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(super) fn left(path: &Path) -> io::Result<Vec<Left>> {
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
        let open = Names::new();
        let pages = Pages { file: rewritten(path, &open)?, bytes: 0, open };
        Ok(Arc::new(Self { path: path.to_owned(), pages: Mutex::new(pages) }))
    }

    /// Notes a name until the value is dropped. In the hands of the kernel when this returns, so that
    /// it outlives the process.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn note(self: &Arc<Self>, hidden: &Path, part_of: Option<PartOf>) -> io::Result<Note> {
        let mut pages = self.pages();
        if pages.bytes >= LONG.max(4 * length(&pages.open)) {
            pages.file = rewritten(&self.path, &pages.open)?;
            pages.bytes = length(&pages.open);
        }
        let record = record(hidden, part_of.as_ref());
        pages.file.write_all(&record)?;
        pages.bytes += record.len();
        pages.open.insert(hidden.to_owned(), part_of);
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
fn rewritten(path: &Path, names: &Names) -> io::Result<File> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&new)?;
    let text: Vec<u8> = names.iter().flat_map(|(name, part_of)| record(name, part_of.as_ref())).collect();
    file.write_all(&text)?;
    fs::rename(&new, path)?;
    Ok(file)
}

fn record(name: &Path, part_of: Option<&PartOf>) -> Vec<u8> {
    let mut record = Vec::new();
    if let Some(PartOf { number, output }) = part_of {
        record.extend_from_slice(format!("{number} ").as_bytes());
        record.extend_from_slice(output.as_os_str().as_bytes());
        record.push(0);
    }
    record.extend_from_slice(name.as_os_str().as_bytes());
    record.push(0);
    record
}

fn length(names: &Names) -> usize {
    names.iter().map(|(name, part_of)| record(name, part_of.as_ref()).len()).sum()
}

/// The whole records of a file.
fn records(bytes: &[u8]) -> Vec<Left> {
    let Some(end) = bytes.iter().rposition(|byte| *byte == 0) else { return Vec::new() };
    let (mut left, mut part_of) = (Vec::new(), None);
    for record in bytes[..end].split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        match part(record) {
            Some(part) => part_of = Some(part),
            None => left.push(Left { hidden: path(record), part_of: part_of.take() }),
        }
    }
    left
}

/// What a record says of the one behind it. Names are absolute and begin with no digit.
fn part(record: &[u8]) -> Option<PartOf> {
    let blank = record.iter().position(|byte| *byte == b' ')?;
    let number = std::str::from_utf8(&record[..blank]).ok()?.parse().ok()?;
    Some(PartOf { number, output: path(&record[blank + 1..]) })
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
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
            let names = names.iter().map(|name| Left { hidden: name.into(), part_of: None }).collect::<Vec<_>>();
            assert_eq!(records(bytes), names, "{bytes:?}");
        }
    }

    #[test]
    fn what_may_become_of_a_recording_stands_before_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("attempts.log");
        let journal = Journal::start(&path).unwrap();
        let part_of = Some(PartOf { number: 3, output: "/out/2 of us.mp4".into() });
        let _one = journal.note(Path::new("/out/.one.part"), part_of.clone()).unwrap();
        let _two = journal.note(Path::new("/out/.two.part"), None).unwrap();
        let expected = [("/out/.one.part", part_of), ("/out/.two.part", None)]
            .map(|(hidden, part_of)| Left { hidden: hidden.into(), part_of });
        assert_eq!(Journal::left(&path).unwrap(), expected);
        let pages = journal.pages();
        drop(rewritten(&path, &pages.open).unwrap());
        assert_eq!(Journal::left(&path).unwrap(), expected, "written anew");
    }

    #[test]
    fn it_stays_short_and_keeps_what_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("attempts.log");
        let journal = Journal::start(&path).unwrap();
        let long = journal.note(Path::new("/out/.long.part"), None).unwrap();
        for number in 0..20_000 {
            journal.note(&dir.path().join(format!(".{number}.part")), None).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() < 2 * LONG as u64);
        let left = Journal::left(&path).unwrap();
        let has = |name: PathBuf| left.iter().any(|left| left.hidden == name);
        assert!(has("/out/.long.part".into()), "what is under way is never forgotten");
        assert!(has(dir.path().join(".19999.part")));
        drop(long);
        drop(Journal::start(&path).unwrap());
        assert_eq!(Journal::left(&path).unwrap(), Vec::new());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
