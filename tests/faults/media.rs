//! Files that reach for other files, for hosts, for themselves: a playlist under the name of a film.

use std::cell::Cell;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp::core::job::JobState;
use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, files_under};
use crate::stage::{assert_unharmed, error, runners, with};
use crate::table::{Row, Seen};

pub(crate) const ROWS: &[Row] = &[
    Row { name: "playlist that names itself", harm: recursive },
    Row { name: "playlist that names a file", harm: file },
    Row { name: "playlist that names a host", harm: host },
];

/// Memory that looking at a hostile file may take.
const MOST_MEMORY: u64 = 512 << 20;
const CANARY: &str = "canary-5f3a1c";

fn playlist(entry: &str) -> String {
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{entry}\n#EXT-X-ENDLIST\n")
}

fn recursive() -> Seen {
    let mut cluster = with(AgentSetup::new("harmed"));
    let (said, peak) = refused(&cluster, "recursive.mp4", &playlist("recursive.mp4"));
    assert_unharmed(&mut cluster);
    Seen::Held(format!("{said}; at most {} MB", peak >> 20))
}

fn file() -> Seen {
    let mut cluster = with(AgentSetup::new("harmed"));
    let canary = cluster.path("outside/canary.ts");
    fs::write(&canary, CANARY.repeat(4096)).expect("a canary");
    let mut said = String::new();
    for (name, entry) in
        [("file.mp4", format!("file://{}", canary.display())), ("path.m3u8", canary.display().to_string())]
    {
        said = refused(&cluster, name, &playlist(&entry)).0;
    }
    assert_no_canary(&cluster.files());
    assert_unharmed(&mut cluster);
    Seen::Held(format!("{said}; no byte of it in any output"))
}

fn host() -> Seen {
    let canary = TcpListener::bind(("127.0.0.1", 0)).expect("a canary server");
    canary.set_nonblocking(true).expect("a listener that does not wait");
    let port = canary.local_addr().expect("its address").port();
    let mut cluster = with(AgentSetup::new("harmed"));
    let (said, _) = refused(&cluster, "host.mp4", &playlist(&format!("http://127.0.0.1:{port}/canary.ts")));
    assert!(canary.accept().is_err(), "somebody asked the canary server");
    assert_unharmed(&mut cluster);
    Seen::Held(format!("{said}; nobody asked the host"))
}

/// Submits text as an input; it must be refused soon. What was said, and the most memory that was
/// seen in children.
fn refused(cluster: &Cluster, name: &str, text: &str) -> (String, u64) {
    fs::write(cluster.files().join(name), text).expect("an input");
    let begun = Instant::now();
    let output = cluster.file("out/never.mp4");
    let id = cluster.submit(json!({"scenario": "144p-h264", "input": name, "output": output, "max_retries": 0}));
    let peak = Cell::new(0);
    let job = cluster.job_when(&id, "ended", |job| {
        let most = runners(cluster).into_iter().filter_map(resident).max();
        peak.set(peak.get().max(most.unwrap_or_default()));
        job.state.is_final()
    });
    let peak = peak.get();
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    assert_eq!(job.state, JobState::Failed, "{name} was taken");
    assert!(peak < MOST_MEMORY, "a child held {peak} bytes");
    (error(&job).code.to_string(), peak)
}

/// Resident memory of a process, unless it is gone.
fn resident(pid: u32) -> Option<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// No file that a job may write holds what only the canary holds.
fn assert_no_canary(folder: &Path) {
    for path in files_under(folder) {
        let bytes = fs::read(&path).expect("a file of the test");
        let reached = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!reached, "{} holds the canary", path.display());
    }
}
