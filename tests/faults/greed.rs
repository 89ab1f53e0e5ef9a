//! Attempts that take more than they may: memory, processor, processes, disk, time.

use std::time::Duration;

use ffrtmp::core::error::Code;
use serde_json::json;

use crate::stage::{assert_unharmed, enforces, error, failure, faulty, limited};
use crate::table::{Row, Seen};

pub(crate) const ROWS: &[Row] = &[
    Row { name: "memory hog", harm: memory },
    Row { name: "CPU hog", harm: processor },
    Row { name: "fork bomb", harm: processes },
    Row { name: "deaf to SIGTERM", harm: deaf },
    Row { name: "disk filler", harm: disk },
];

fn memory() -> Seen {
    let mut cluster = faulty("allocate");
    let (job, took) = failure(&cluster, limited(&json!({"max_memory_mb": 300})), Code::MemoryExceeded);
    assert!(took < Duration::from_secs(30), "it took {took:?}");
    assert_unharmed(&mut cluster);
    Seen::Held(error(&job).message.clone())
}

fn processor() -> Seen {
    let mut cluster = faulty("spin");
    let held = enforces(&cluster, "cpu");
    let limits = json!({"max_cpu_percent": 50, "timeout_sec": 3});
    let (job, took) = failure(&cluster, limited(&limits), Code::Timeout);
    assert!((3.0..10.0).contains(&took.as_secs_f64()), "it took {took:?}");
    assert_unharmed(&mut cluster);
    let bound = held.map_or_else(|why| why, |()| "bounded to half a core".into());
    Seen::Held(format!("{}; {bound}", error(&job).message))
}

fn processes() -> Seen {
    let mut cluster = faulty("swarm");
    let (job, took) = failure(&cluster, limited(&json!({"timeout_sec": 6})), Code::Timeout);
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    assert_unharmed(&mut cluster);
    let lines = cluster.call(cluster.client.logs(&job.id.to_string())).expect("a log");
    let said: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    let forked = said.iter().find_map(|line| line.split_once("forked ")).map(|(_, number)| number);
    let forked = forked.unwrap_or_else(|| panic!("it does not say how many: {said:?}"));
    Seen::Held(format!("{forked} of 200 processes came to be, none is left"))
}

fn deaf() -> Seen {
    let mut cluster = faulty("hang");
    let (_, took) = failure(&cluster, limited(&json!({"timeout_sec": 2})), Code::Timeout);
    assert!((2.0..8.0).contains(&took.as_secs_f64()), "it took {took:?}");
    assert_unharmed(&mut cluster);
    Seen::Held(format!("killed {:.1} s after its time was over", took.as_secs_f64() - 2.0))
}

fn disk() -> Seen {
    let mut cluster = faulty("fill");
    let (job, took) = failure(&cluster, limited(&json!({"max_disk_mb": 50})), Code::DiskQuotaExceeded);
    assert!(took < Duration::from_secs(30), "it took {took:?}");
    assert_unharmed(&mut cluster);
    Seen::Held(error(&job).message.clone())
}
