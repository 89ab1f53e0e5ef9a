//! Master and agent as programs of their own, for one round.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ffrtmp::core::job::JobState;
use ffrtmp::prelude::JobRequest;
use ffrtmp::transport::http::{ClientConfig, MasterClient};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cpu;
use crate::listeners::{Collector, Scraper};
use crate::{Result, Watch};

/// What a round took, without the start of the programs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// Between two looks at a job, and how long any of it may take.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(600);

/// A program that is told to stop when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already need not be told.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// Runs so many jobs, watched so closely.
pub(crate) fn run(programs: &Path, watch: Watch, jobs: usize) -> Result<Took> {
    let dir = tempfile::Builder::new().prefix("ffrtmp-observed-").tempdir()?;
    let dir = dir.path();
    let ports: Vec<u16> = (0..9).map(|_| free_port()).collect::<Result<_>>()?;
    let (api, scraped) = (ports[0], &ports[1..]);
    let collector = (watch == Watch::Traced).then(Collector::start).transpose()?;
    let endpoint = collector.as_ref().map(|collector| format!("127.0.0.1:{}", collector.port));
    let start = |name: &str, flags: &[String]| -> Result<Program> {
        let mut command = Command::new(programs.join(name));
        command.args(flags).args(observing(watch, name, scraped, endpoint.as_deref(), dir)).current_dir(dir);
        command.env_clear().env("HOME", dir).env("FFRTMP_MIN_FREE_DISK_PERCENT", "0");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Program(child.map_err(|error| format!("{name} does not start: {error}"))?))
    };
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let database = dir.join("master.db").display().to_string();
    let master = format!("--bind 127.0.0.1 --port {api} --tls false --insecure-no-auth --db {database}");
    let master = start("ffrtmp-master", &words(master))?;
    let work = dir.join("work").display().to_string();
    let agent = format!("--master http://127.0.0.1:{api} --work-dir {work} --max-concurrent-jobs 2");
    let agent = start("ffrtmp-agent", &words(agent))?;
    let _scraper = (watch != Watch::Plain).then(|| Scraper::start(scraped.to_vec()));
    let client = ClientConfig { master: format!("http://127.0.0.1:{api}"), ..ClientConfig::default() };
    let client = MasterClient::new(&client)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let roots = [master.0.id(), agent.0.id()];
    let took = runtime.block_on(work_on(&client, jobs, roots))?;
    // What they still have to say they say at their end.
    drop((agent, master));
    if let Some(collector) = &collector
        && collector.requests() == 0
    {
        return Err("no span reached the collector".into());
    }
    Ok(took)
}

/// The flags that this is about.
fn observing(watch: Watch, name: &str, ports: &[u16], endpoint: Option<&str>, dir: &Path) -> Vec<String> {
    let is_master = name == "ffrtmp-master";
    if watch == Watch::Plain {
        let none = if is_master { "--metrics=false" } else { "--metrics-port=0" };
        return [none, "--log-console=off", "--log-level=error"].map(str::to_owned).to_vec();
    }
    let (names, ports): (&[&str], &[u16]) = match is_master {
        true => (&["metrics", "results", "qoe", "cost", "predictions"], &ports[..5]),
        false => (&["metrics", "rapl", "gpu"], &ports[5..]),
    };
    let mut flags: Vec<_> = names.iter().zip(ports).map(|(name, port)| format!("--{name}-port={port}")).collect();
    flags.push(format!("--log-dir={}", dir.join("logs").display()));
    flags.extend(["--log-console=off", "--log-format=json", "--log-level=info"].map(str::to_owned));
    flags.extend(is_master.then(|| "--cost-cpu-hour=0.04".to_owned()));
    flags.extend(endpoint.into_iter().flat_map(|at| ["--tracing".to_owned(), format!("--tracing-endpoint={at}")]));
    flags
}

async fn work_on(client: &MasterClient, jobs: usize, roots: [u32; 2]) -> Result<Took> {
    let end = Instant::now() + PATIENCE;
    while !client.nodes().await.is_ok_and(|nodes| nodes.len() == 1) {
        patient(end, "no agent came").await?;
    }
    let request = json!({"scenario": "360p30-h264", "parameters": {"duration": 1, "preset": "veryfast"}});
    let requests: Vec<JobRequest> =
        (0..jobs).map(|_| serde_json::from_value(request.clone())).collect::<serde_json::Result<_>>()?;
    let used = || roots.map(cpu::of_family).into_iter().sum::<Duration>();
    let (before, begun) = (used(), Instant::now());
    for job in client.submit_batch(&requests).await? {
        let id = job.job.id.to_string();
        loop {
            match client.job(&id).await?.job {
                job if job.state == JobState::Completed => break,
                job if job.state.is_final() => return Err(format!("a job is {}: {:?}", job.state, job.error).into()),
                _ => patient(end, "the jobs do not end").await?,
            }
        }
    }
    Ok(Took { wall: begun.elapsed(), cpu: used().saturating_sub(before) })
}

async fn patient(end: Instant, otherwise: &str) -> Result<()> {
    if Instant::now() > end {
        return Err(otherwise.into());
    }
    tokio::time::sleep(LOOK).await;
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
