//! A master and an agent inside one process, without a socket: what a service embeds.

use std::sync::Arc;

use ffrtmp::engines::LibavEngine;
use ffrtmp::governor::NoGovernor;
use ffrtmp::prelude::*;
use ffrtmp::store::MemoryStore;

#[tokio::main]
async fn main() -> Result<()> {
    let stop = CancellationToken::new();
    let nowhere = MasterOptions { api_address: None, ..MasterOptions::default() };
    let master = Master::new(Arc::new(MemoryStore::new()), nowhere).await?;
    let coordinator = master.coordinator();

    let work =
        tempfile::tempdir().map_err(|error| Error::new(Code::Storage, "no temporary directory").source(error))?;
    let options = AgentOptions { work_dir: Some(work.path().join("agent")), ..AgentOptions::default() };
    let engine: Arc<dyn Engine> = Arc::new(LibavEngine::new()?);
    let agent =
        Agent::new(Arc::new(master.transport()), vec![engine], Arc::new(NoGovernor::default()), options).await?;
    let master = tokio::spawn(master.run(stop.clone()));
    let agent = tokio::spawn(agent.run(stop.clone()));

    let mut events = coordinator.events();
    let request = JobRequest { scenario: "360p30-h264-test".into(), ..JobRequest::default() };
    let job = coordinator.submit(request, None).await?.job;
    let job = loop {
        // A slow reader may miss events; the job itself is always right.
        let _ = events.recv().await;
        let job = coordinator.job(&job.id.into()).await?;
        if job.state.is_final() {
            break job;
        }
    };
    let report = job.result.ok_or_else(|| Error::new(Code::Internal, format!("the job ended {}", job.state)))?;
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        println!("{}: {} frames at {:.1}x, {} bytes", job.state, report.frames, report.speed, report.size_bytes);
    }

    stop.cancel();
    agent.await.map_err(panicked)??;
    master.await.map_err(panicked)?
}

fn panicked(error: tokio::task::JoinError) -> Error {
    Error::new(Code::Internal, "a task panicked").source(error)
}
