//! What an attach leaves for the next one to the same process, in case it is killed: the priority
//! that the process had before. The names of control groups tell whose they are; a priority tells
//! nothing.
//!
//! Notes are files in `/run/ffrtmp`, which ends with this life of the machine. Only root leaves them:
//! nobody else could give a priority back.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use super::process::{self, Identity};
use crate::probe::Root;

const FOLDER: &str = "run/ffrtmp";
const PREFIX: &str = "priority-";

/// The note about one process; it goes when the process is let go.
#[derive(Debug)]
pub(super) struct Note(PathBuf);

impl Note {
    /// Leaves word of the priority that a process was given and of the one before; `None` where
    /// nothing can be kept.
    pub(super) fn leave(root: &Root, about: Identity, (given, usual): (i32, i32)) -> Option<Self> {
        let owner = process::stat(root, std::process::id())?.identity;
        let folder = root.path(FOLDER);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            _ => sweep(root),
        }
        let path = place(root, about);
        fs::write(&path, format!("{} {} {given} {usual}\n", owner.pid, owner.started)).ok()?;
        Some(Self(path))
    }

    /// What one who died left about a process; the note is gone then.
    pub(super) fn take(root: &Root, about: Identity) -> Option<(i32, i32)> {
        let path = place(root, about);
        let text = fs::read_to_string(&path).ok()?;
        let (owner, change) = parse(&text)?;
        if lives(root, owner) {
            return None;
        }
        drop(Self(path));
        Some(change)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // One that stays is swept when its process has ended.
        let _ = fs::remove_file(&self.0);
    }
}

fn place(root: &Root, about: Identity) -> PathBuf {
    root.path(FOLDER).join(format!("{PREFIX}{}-{}", about.pid, about.started))
}

/// Who left it, and what was given and was before.
fn parse(text: &str) -> Option<(Identity, (i32, i32))> {
    let mut words = text.split_ascii_whitespace();
    let owner = Identity { pid: words.next()?.parse().ok()?, started: words.next()?.parse().ok()? };
    let mut priority = || words.next()?.parse().ok().filter(|nice| (-20..=19).contains(nice));
    Some((owner, (priority()?, priority()?)))
}

/// Removes notes about processes that have ended.
fn sweep(root: &Root) {
    for name in root.names(FOLDER) {
        let numbers = name.strip_prefix(PREFIX).and_then(|numbers| numbers.split_once('-'));
        let about = numbers
            .and_then(|(pid, started)| Some(Identity { pid: pid.parse().ok()?, started: started.parse().ok()? }));
        if let Some(about) = about.filter(|about| !lives(root, *about)) {
            drop(Note(place(root, about)));
        }
    }
}

fn lives(root: &Root, identity: Identity) -> bool {
    process::stat(root, identity.pid).is_some_and(|stat| stat.identity == identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which these processes run.
    fn machine(processes: &[(u32, u64)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().expect("a directory");
        fs::create_dir(folder.path().join("run")).expect("a directory");
        for (pid, started) in processes {
            fs::create_dir_all(folder.path().join(format!("proc/{pid}"))).expect("a directory");
            let stat = format!("{pid} (x) S 1 1 1 0 -1 0 0 0 0 0 7 3 5 1 30 10 4 0 {started} 1000 200");
            fs::write(folder.path().join(format!("proc/{pid}/stat")), stat).expect("a file");
        }
        let root = Root::at(folder.path());
        (folder, root)
    }

    #[test]
    fn a_note_is_for_who_comes_after_a_death() {
        let own = std::process::id();
        let (folder, root) = machine(&[(own, 50), (own + 1, 900)]);
        let about = Identity { pid: own + 1, started: 900 };
        let note = Note::leave(&root, about, (10, -3)).expect("a note");
        assert_eq!(Note::take(&root, about), None, "who left it lives");
        fs::write(folder.path().join(format!("proc/{own}/stat")), "").expect("a file");
        assert_eq!(Note::take(&root, Identity { started: 901, ..about }), None, "another process");
        assert_eq!(Note::take(&root, about), Some((10, -3)));
        assert_eq!(Note::take(&root, about), None, "once");
        drop(note);
    }

    #[test]
    fn notes_go_with_their_process_and_nonsense_is_none() {
        let own = std::process::id();
        let (folder, root) = machine(&[(own, 50), (own + 1, 900)]);
        let place = folder.path().join(FOLDER);
        fs::create_dir_all(&place).expect("a directory");
        for name in [format!("{PREFIX}{}-899", own + 1), "of another program".to_owned()] {
            fs::write(place.join(name), "").expect("a file");
        }
        drop(Note::leave(&root, Identity { pid: own + 1, started: 900 }, (1, 0)).expect("a note"));
        assert_eq!(root.names(FOLDER), ["of another program"]);
        for text in ["", "1 2 3", "1 2 20 0", "1 2 x 0", "-1 2 3 4"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
