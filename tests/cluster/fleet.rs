//! The cluster, and the load on it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use ffrtmp::core::coordinator::JobEvent;
use ffrtmp::core::job::{Job, JobRequest};
use ffrtmp::store::private_server::PrivateServer;
use ffrtmp::transport::http::MasterClient;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;

use crate::part::{Part, Role, Signal, client};
use crate::tally::Tally;

const MASTERS: usize = 2;
const AGENTS: usize = 4;

pub(crate) struct Fleet {
    /// Masters first; dropped before the database.
    parts: Vec<Part>,
    urls: Vec<String>,
    runtime: Runtime,
    _server: PrivateServer,
    _home: TempDir,
}

impl Fleet {
    /// Starts all of it and waits until it is in service.
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let server = PrivateServer::start().expect("a server");
        let dsn = server.new_database().expect("a database");
        let addresses: Vec<_> = (0..MASTERS).map(|_| free_address()).collect();
        let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
        let masters = addresses.iter().map(|address| Role::Master { dsn: dsn.clone(), address: *address });
        let agents = (0..AGENTS).map(|number| Role::Agent {
            // Half of them know the masters the other way round.
            masters: if number % 2 == 0 { urls.join(",") } else { reversed(&urls).join(",") },
            dir: home.path().to_owned(),
            name: format!("agent-{number}"),
        });
        let log = |number: usize| home.path().join(format!("{number}.log"));
        let parts = masters.chain(agents).enumerate().map(|(number, role)| Part::start(role, log(number))).collect();
        let runtime = Runtime::new().expect("a runtime");
        let fleet = Self { parts, urls, runtime, _server: server, _home: home };
        fleet.await_service(Duration::from_secs(30));
        fleet
    }

    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        self.parts[index].signal(signal);
    }

    pub(crate) fn await_exit(&mut self, index: usize, limit: Duration) -> ExitStatus {
        self.parts[index].await_exit(limit)
    }

    pub(crate) fn start_again(&mut self, index: usize) {
        self.parts[index].start_again();
    }

    /// Waits until every master answers and every agent is known and heard of.
    pub(crate) fn await_service(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for url in &self.urls {
            let master = client(url);
            while !self.runtime.block_on(in_service(&master)) {
                assert!(Instant::now() < deadline, "{url} is not in service; {}", self.logs());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Waits until all of these jobs have ended and counts how.
    pub(crate) fn tally(&self, ids: Vec<String>, limit: Duration) -> Tally {
        let deadline = Instant::now() + limit;
        let client = client(&self.urls.join(","));
        let jobs = ids.iter().map(|id| {
            loop {
                match self.runtime.block_on(client.job(id)) {
                    Ok(view) if view.job.state.is_final() => return view.job,
                    Ok(view) => assert!(Instant::now() < deadline, "a job hangs: {:#?}; {}", view.job, self.logs()),
                    Err(error) => assert!(Instant::now() < deadline, "no answer: {error}; {}", self.logs()),
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Tally::of(jobs, || self.logs())
    }

    /// Submits a job to the first master and follows it there until it has ended.
    pub(crate) fn follow_one(&self) -> (Job, Vec<JobEvent>) {
        let client = client(&self.urls[0]);
        self.runtime.block_on(async {
            let id = client.submit(&short_job(), None).await.expect("submitted").job.id.to_string();
            let events = client.follow(&id).await.expect("a stream");
            let mut events = std::pin::pin!(events);
            let mut heard = Vec::new();
            while let Some(event) = events.next().await {
                heard.push(event.expect("an event"));
            }
            (client.job(&id).await.expect("the job").job, heard)
        })
    }

    fn logs(&self) -> String {
        self.parts.iter().map(|part| format!("----\n{}\n", part.log())).collect()
    }
}

async fn in_service(master: &MasterClient) -> bool {
    let nodes = master.nodes().await.unwrap_or_default();
    nodes.iter().filter(|node| node.is_alive()).count() == AGENTS
}

fn reversed(urls: &[String]) -> Vec<String> {
    urls.iter().rev().cloned().collect()
}

fn free_address() -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}

/// Jobs that arrive one after the other, whatever happens to the masters.
pub(crate) struct Load(std::thread::JoinHandle<Vec<String>>);

impl Load {
    pub(crate) fn begin(fleet: &Fleet, jobs: usize, pace: Duration) -> Self {
        let masters = fleet.urls.join(",");
        Self(std::thread::spawn(move || {
            let runtime = Runtime::new().expect("a runtime");
            let client = client(&masters);
            (0..jobs).map(|number| runtime.block_on(submit(&client, number, pace))).collect()
        }))
    }

    /// The ids of all jobs, once the last one is submitted.
    pub(crate) fn end(self) -> Vec<String> {
        self.0.join().expect("the load goes on")
    }
}

/// Submits until it is answered: the key makes it one job.
async fn submit(client: &MasterClient, number: usize, pace: Duration) -> String {
    let request = short_job();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match client.submit(&request, Some(&format!("job-{number}"))).await {
            Ok(view) => {
                tokio::time::sleep(pace).await;
                return view.job.id.to_string();
            }
            Err(error) => assert!(Instant::now() < deadline, "job {number} cannot be submitted: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn short_job() -> JobRequest {
    serde_json::from_value(json!({"scenario": "144p-h264", "parameters": {"duration": 0.3}})).expect("a request")
}
