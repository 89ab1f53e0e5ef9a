//! The layer `rlimits`: bounds that the kernel keeps for every process.

use ffrtmp_core::sandbox::Reach;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use rustix::thread::sched_getaffinity;

use super::namespaces::Spaces;
use super::{Outcome, refused, sys};

/// An output of many segments has few of them open at once.
const FILES: u64 = 1024;
/// Address space beyond what is used: libraries, and what the allocator sets aside for each thread
/// without ever touching it.
const HEADROOM: u64 = 1 << 30;
const PER_THREAD: u64 = 80 << 20;

/// Bounds this process. The count of processes is per user, so it is bounded only where a count of
/// its own can be had.
pub(super) fn bound(reach: &Reach, spaces: &mut Spaces) -> Outcome {
    let threads = threads();
    let own_count = spaces.users();
    // In a namespace of its own, root is still the kernel's root and is not counted.
    let counted = own_count && !geteuid().is_root();
    let memory = reach.max_memory_bytes.filter(|_| !reach.gpu).map(|bytes| address_space(bytes, threads));
    let bounds = [
        (Resource::Core, Some(0)),
        (Resource::Msgqueue, Some(0)),
        (Resource::Nofile, Some(FILES)),
        (Resource::Fsize, reach.max_file_bytes),
        (Resource::As, memory),
        (Resource::Nproc, counted.then_some(threads)),
    ];
    sys::ignore_file_size_signal();
    for (resource, limit) in bounds {
        if let Some(limit) = limit {
            lower(resource, limit)?;
        }
    }
    Ok(means(reach, memory, counted.then_some(threads)))
}

/// Threads of one attempt, processes included: codecs start a few for each core.
fn threads() -> u64 {
    // The same question that codecs ask; the standard library's reads half a dozen files for it.
    let cores = sched_getaffinity(None).map_or(1, |cores| u64::from(cores.count()));
    128 + 16 * cores
}

fn address_space(memory: u64, threads: u64) -> u64 {
    memory.saturating_add(HEADROOM).saturating_add(threads / 4 * PER_THREAD)
}

fn lower(resource: Resource, limit: u64) -> Result<(), String> {
    let limit = getrlimit(resource).maximum.map_or(limit, |maximum| maximum.min(limit));
    setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) }).map_err(refused)
}

fn means(reach: &Reach, memory: Option<u64>, processes: Option<u64>) -> String {
    let mut said = vec!["no core dumps".to_owned(), format!("{FILES} open files")];
    said.push(match (memory, reach.gpu) {
        (Some(bytes), _) => format!("{} MiB of addresses", bytes >> 20),
        (None, true) => "addresses unbounded, as drivers of graphics processors need".into(),
        (None, false) => "addresses unbounded".into(),
    });
    said.push(match reach.max_file_bytes {
        Some(bytes) => format!("files of {} MiB", bytes >> 20),
        None => "files of any size".into(),
    });
    said.push(match processes {
        Some(count) => format!("{count} threads"),
        None => "threads unbounded, since those of other processes would count".into(),
    });
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_leave_room_for_threads_and_no_more() {
        let small = address_space(512 << 20, 160);
        assert!((4 << 30..8 << 30).contains(&small), "{small}");
        assert_eq!(address_space(u64::MAX, 160), u64::MAX);
    }

    #[test]
    fn what_is_unbounded_is_said() {
        let reach = Reach { gpu: true, max_file_bytes: Some(5 << 20), ..Reach::default() };
        let said = means(&reach, None, None);
        for words in ["drivers of graphics", "files of 5 MiB", "threads unbounded"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(means(&Reach::default(), Some(1 << 30), Some(160)).contains("1024 MiB of addresses"));
    }
}
