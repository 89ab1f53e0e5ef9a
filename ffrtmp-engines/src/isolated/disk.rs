//! Watches the disk under an attempt: what it writes, and what is left for everybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffrtmp_core::engine::Task;
use ffrtmp_core::error::{Code, Error};

use super::reach;

/// How often it looks, at most.
const EVERY: Duration = Duration::from_secs(1);
/// A look at many files is repeated so seldom that looking takes this part of the time.
const SHARE: u32 = 200;

/// The places of an attempt.
#[derive(Debug)]
pub(super) struct DiskWatch {
    places: Vec<PathBuf>,
    /// Bytes that lay there before.
    before: u64,
    most: Option<u64>,
    min_free_percent: u8,
    due: Instant,
}

impl DiskWatch {
    /// A watch over what a task writes, from now on.
    pub(super) fn over(task: &Task) -> Self {
        let places = reach::writes(task);
        let before = places.iter().map(|place| bytes_in(place)).sum();
        let (most, min_free_percent) = (task.bounds.max_output_bytes, task.bounds.min_free_disk_percent);
        Self { places, before, most, min_free_percent, due: Instant::now() + EVERY }
    }

    /// Bytes that it may write.
    pub(super) fn most(&self) -> Option<u64> {
        self.most
    }

    /// Why the attempt must end, if it must.
    pub(super) fn look(&mut self) -> Option<Error> {
        let begun = Instant::now();
        if begun < self.due {
            return None;
        }
        let verdict = self.quota().or_else(|| self.free());
        self.due = Instant::now() + EVERY.max(begun.elapsed() * SHARE);
        verdict
    }

    fn quota(&self) -> Option<Error> {
        let most = self.most?;
        let used = self.places.iter().map(|place| bytes_in(place)).sum::<u64>().saturating_sub(self.before);
        (used > most).then(|| over_quota(Some(used), most))
    }

    fn free(&self) -> Option<Error> {
        let place = self.places.first()?;
        // A file system that does not tell is not judged.
        let facts = rustix::fs::statvfs(place).ok()?;
        is_short(facts.f_bavail, facts.f_blocks, self.min_free_percent).then(|| {
            let free = facts.f_bavail.saturating_mul(facts.f_frsize) >> 20;
            let directory = place.parent().unwrap_or(place).display();
            let percent = self.min_free_percent;
            Error::new(Code::DiskFull, format!("{free} MB are free in {directory}, less than {percent} %"))
        })
    }
}

/// The error of an attempt that writes too much.
pub(super) fn over_quota(used: Option<u64>, most: u64) -> Error {
    let used = used.map_or_else(|| "more".to_owned(), |used| format!("{} MB", used.div_ceil(1 << 20)));
    Error::new(Code::DiskQuotaExceeded, format!("the attempt wrote {used}; its limit is {} MB", most >> 20))
}

fn is_short(free: u64, all: u64, min_percent: u8) -> bool {
    u128::from(free) * 100 < u128::from(all) * u128::from(min_percent)
}

/// Bytes of a file, or of all files in a directory and below. What goes away meanwhile is nothing.
fn bytes_in(place: &Path) -> u64 {
    match fs::symlink_metadata(place) {
        Ok(facts) if facts.is_dir() => {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            entries.map(|entry| bytes_in(&entry.path())).sum()
        }
        Ok(facts) if facts.is_file() => facts.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_less_than_the_share_to_keep() {
        for (free, all, percent, short) in [
            (5, 100, 5, false),
            (4, 100, 5, true),
            (4, 100, 4, false),
            (0, 100, 0, false),
            (0, 0, 5, false),
            (u64::MAX / 30, u64::MAX, 5, true),
        ] {
            assert_eq!(is_short(free, all, percent), short, "{free} of {all}, {percent} %");
        }
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: usize| fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
        file("old", 500);
        let before = bytes_in(folder.path());
        let places = vec![folder.path().to_owned()];
        let mut watch = DiskWatch { places, before, most: Some(1000), min_free_percent: 0, due: Instant::now() };
        file("new", 1000);
        assert!(watch.quota().is_none());
        fs::create_dir(folder.path().join("below")).unwrap();
        file("below/segment", 1);
        assert_eq!(watch.look().map(|error| error.code()), Some(Code::DiskQuotaExceeded));
    }
}
