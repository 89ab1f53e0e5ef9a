//! How long a scrape of a master takes, and how large it is: with a long history, then with many nodes
//! besides. `cargo bench --bench scrape -- [JOBS] [NODES] [sqlite]`; 1,000,000 and 1,000 by default.
//! Under `cargo test` a hundredth of that, and no time is judged.
//!
//! The history is in memory or in a file, ended through the calls that masters make. Nothing of a scrape may grow
//! with it, so that is what is printed first: the same scrape without any history.

#![expect(clippy::print_stdout, reason = "a bench talks to the person who runs it")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp::core::clock::{Clock, Timestamp};
use ffrtmp::core::coordinator::{Coordinator, Settings};
use ffrtmp::core::id::{JobId, NodeId};
use ffrtmp::core::job::{Job, JobReport, JobRequest};
use ffrtmp::core::lifecycle::{JobCommand, Lease, Outcome};
use ffrtmp::core::node::Offer;
use ffrtmp::core::request;
use ffrtmp::core::store::{Caps, ClaimOrder, NewJob, Rank, Store};
use ffrtmp::prelude::{CancellationToken, Master, MasterOptions};
use ffrtmp::store::{MemoryStore, SqliteStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SCRAPES: usize = 200;
const CALL: usize = 1000;
/// What the issue that asked for metrics allows.
const MOST: [(Duration, usize); 2] = [(Duration::from_millis(20), 2 << 20), (Duration::from_millis(50), 2 << 20)];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let measured = std::env::args().any(|word| word == "--bench");
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let number =
        |place: usize, whole: usize| numbers.get(place).copied().unwrap_or(if measured { whole } else { whole / 100 });
    let (jobs, nodes) = (number(0, 1_000_000), number(1, 1000));
    let dir = tempfile::tempdir()?;
    let store: Arc<dyn Store> = match std::env::args().any(|word| word == "sqlite") {
        true => Arc::new(SqliteStore::open(&dir.path().join("master.db"))?),
        false => Arc::new(MemoryStore::new()),
    };
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings { retention: None, ..Settings::default() };
    let options = MasterOptions { metrics_address: Some(here), settings, ..MasterOptions::default() };
    let master = Master::new(Arc::clone(&store), options).await?;
    let (coordinator, address) = (master.coordinator(), master.metrics_address().ok_or("no port")?);
    let stop = CancellationToken::new();
    let running = tokio::spawn(master.run(stop.clone()));
    tell("no history", address).await?;
    end(&*store, jobs).await?;
    let history = tell(&format!("{jobs} ended jobs"), address).await?;
    register(&coordinator, nodes).await?;
    let fleet = tell(&format!("{jobs} ended jobs, {nodes} nodes"), address).await?;
    stop.cancel();
    running.await??;
    for ((median, bytes), (longest, largest)) in [history, fleet].into_iter().zip(MOST) {
        if measured && (median > longest || bytes > largest) {
            return Err(format!("{median:?} and {bytes} bytes; {longest:?} and {largest} bytes are allowed").into());
        }
    }
    Ok(())
}

/// Scrapes again and again; the median time and the size come back.
async fn tell(what: &str, address: SocketAddr) -> Result<(Duration, usize)> {
    let mut times = Vec::with_capacity(SCRAPES);
    let mut text = String::new();
    for _ in 0..SCRAPES {
        let begun = Instant::now();
        text = scrape(address).await?;
        times.push(begun.elapsed());
    }
    times.sort();
    let (median, late) = (times[SCRAPES / 2], times[SCRAPES * 99 / 100]);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("{what}: median {median:.2?}, p99 {late:.2?}, {} bytes, {series} series", text.len());
    Ok((median, text.len()))
}

async fn scrape(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok(body.to_owned())
}

/// Adds so many jobs that ended.
async fn end(store: &dyn Store, jobs: usize) -> Result<()> {
    let clock = ffrtmp::clock::SteadyClock::start();
    let about = serde_json::from_value(json!({"name": "one", "max_concurrent_jobs": 64}))?;
    let node = NodeId::random();
    store.register_node(node, about, clock.now()).await?;
    let mut left = jobs;
    while left > 0 {
        let batch = left.min(CALL);
        left -= batch;
        let at = clock.now();
        store.submit((0..batch).map(|number| draft(at, number)).collect::<Result<_>>()?, at).await?;
        let order = ClaimOrder {
            node,
            node_name: "one".into(),
            offer: Offer::default(),
            slots: batch,
            lease: Duration::from_secs(3600),
            caps: Caps::default(),
        };
        let claimed = store.claim(&order, clock.now()).await?;
        let lease = |job: &Job| Lease { node, fence: job.fence };
        let start = |job: &Job| (job.id, JobCommand::Start { lease: lease(job), engine: None });
        store.apply(claimed.iter().map(start).collect(), clock.now()).await?;
        let outcome = || Outcome::Completed(Box::new(JobReport { frames: 300, ..JobReport::default() }));
        let finish = |job: &Job| (job.id, JobCommand::Finish { lease: lease(job), outcome: outcome() });
        let ended = store.apply(claimed.iter().map(finish).collect(), clock.now()).await?;
        if ended.len() != batch || ended.iter().any(std::result::Result::is_err) {
            return Err("a job did not end".into());
        }
    }
    Ok(())
}

fn draft(at: Timestamp, number: usize) -> Result<NewJob> {
    let scenario = format!("show{}-720p30-h264", number % 500);
    let request: JobRequest = serde_json::from_value(json!({"scenario": scenario, "input": "/srv/media/input.mp4"}))?;
    let prepared = request::prepare(request, JobId::random(), 3, at)?;
    Ok(NewJob { job: prepared.job, rank: Rank(0), requirements: prepared.requirements, idempotency: None })
}

/// Adds nodes as large machines tell of themselves.
async fn register(coordinator: &Coordinator, nodes: usize) -> Result<()> {
    let cores: Vec<f64> = (0..64).map(f64::from).collect();
    let gpu = json!({"index": 0, "name": "a card", "memory_total_bytes": 1_u64 << 34, "vendor": "nvidia"});
    for number in 0..nodes {
        let registration = json!({
            "name": format!("worker-{number:04}.rack-{}.example.net", number % 40), "cpu_threads": 64, "has_gpu": true,
            "cpu_model": "a processor", "ram_total_bytes": 1_u64 << 38, "gpus": [gpu], "max_concurrent_jobs": 16,
            "labels": {"rack": format!("r{}", number % 40), "site": "north"},
            "capabilities": {"engines": ["ffmpeg"], "encoders": ["libx264", "libx265", "libsvtav1", "h264_nvenc"]},
        });
        let node = coordinator.register(serde_json::from_value(registration)?).await?.node.id;
        let telemetry = json!({
            "cpu_percent": 50.0, "memory_used_bytes": 1 << 30, "disk_available_bytes": 1_u64 << 39,
            "disk_total_bytes": 1_u64 << 40, "core_percents": cores, "gpus": [{"index": 0, "utilization_percent": 5.0}],
        });
        coordinator.heartbeat(node, serde_json::from_value(json!({"telemetry": telemetry, "attempts": []}))?).await?;
    }
    Ok(())
}
