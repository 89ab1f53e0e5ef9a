//! Many attempts in a row leave nothing: no process, thread, descriptor, file or memory.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Unobserved};
use ffrtmp_engines::synthetic::Behaviour;

use crate::processes::{descendants, descriptors, resident_kib, wait_until};
use crate::{generated, isolated_synthetic};

/// What may grow: allocators keep a little.
const SLACK_KIB: u64 = 4096;

/// In a process of its own, since other tests open and close things. `FFRTMP_TEST_ATTEMPTS` gives the
/// number.
#[test]
fn many_attempts_leave_nothing() {
    const NAME: &str = "endurance::many_attempts_leave_nothing";
    const INSIDE: &str = "FFRTMP_TEST_ENDURANCE";
    if std::env::var_os(INSIDE).is_some() {
        return endure();
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([NAME, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("a second process");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a process and its fork server hold.
#[derive(Debug)]
struct Holdings {
    descriptors: (usize, usize),
    threads: usize,
    resident_kib: (u64, u64),
}

impl Holdings {
    fn of(server: u32) -> Self {
        let own = std::process::id();
        Self {
            descriptors: (descriptors(own), descriptors(server)),
            threads: fs::read_dir("/proc/self/task").expect("/proc").count(),
            resident_kib: (resident_kib(own), resident_kib(server)),
        }
    }
}

fn endure() {
    let attempts = std::env::var("FFRTMP_TEST_ATTEMPTS").map_or(200, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a scratch directory");
    let engine = isolated_synthetic(&Behaviour::default());
    let attempt = || {
        let task = generated(folder.path(), "out.mp4", "144p10-h264", 0.2);
        engine.run(&task, &Control::default(), &Unobserved).expect("a run");
        fs::remove_file(&task.output).expect("an output");
        assert_eq!(fs::read_dir(folder.path()).expect("scratch").count(), 0, "something lies beside the output");
    };
    (0..20).for_each(|_| attempt());
    let server = only_server();
    let before = Holdings::of(server);
    let started = Instant::now();
    (0..attempts).for_each(|_| attempt());
    let took = started.elapsed();
    assert_eq!(only_server(), server, "the server was not the same all the time");
    let after = Holdings::of(server);
    println!("{attempts} attempts in {took:?}, {:?} each: {before:?}, {after:?}", took / attempts);
    assert_eq!((after.descriptors, after.threads), (before.descriptors, before.threads));
    assert!(after.resident_kib.0 <= before.resident_kib.0 + SLACK_KIB, "this process grew");
    assert!(after.resident_kib.1 <= before.resident_kib.1 + SLACK_KIB, "the server grew");
    drop(engine);
    wait_until("the end of the server", Duration::from_secs(10), || descendants(std::process::id()).is_empty());
}

/// The only process below this one, once what has ended is reaped.
fn only_server() -> u32 {
    wait_until("the end of the last child", Duration::from_secs(10), || descendants(std::process::id()).len() == 1);
    descendants(std::process::id())[0]
}
