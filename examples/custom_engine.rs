//! An engine of your own behind a real master and agent: here one that writes a note instead of a
//! video. Whatever you run, claims, leases, retries, progress and atomic outputs come with it.

use std::sync::Arc;

use ffrtmp::core::engine::{EngineCapabilities, MediaBounds, Source, Task};
use ffrtmp::core::job::EngineName;
use ffrtmp::core::media::{MediaInfo, VideoCodec};
use ffrtmp::governor::NoGovernor;
use ffrtmp::prelude::*;
use ffrtmp::store::MemoryStore;

/// Writes what it was asked for into the output file.
struct NoteEngine(EngineCapabilities);

impl Engine for NoteEngine {
    fn name(&self) -> EngineName {
        EngineName::Ffmpeg
    }

    fn capabilities(&self) -> &EngineCapabilities {
        &self.0
    }

    fn probe(&self, _: &Source, _: &MediaBounds) -> Result<MediaInfo> {
        Ok(MediaInfo::default())
    }

    fn run(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        control.checkpoint()?;
        observer.progress(Progress { percent: Some(50.0), ..Progress::default() });
        let note = format!("{} was asked for", task.request.scenario);
        std::fs::write(&task.output, &note).map_err(|error| Error::new(Code::Storage, "cannot write").source(error))?;
        Ok(JobReport { size_bytes: note.len() as u64, ..JobReport::default() })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let stop = CancellationToken::new();
    let options = MasterOptions { api_address: None, ..MasterOptions::default() };
    let master = Master::new(Arc::new(MemoryStore::new()), options).await?;
    let coordinator = master.coordinator();
    let codecs = vec![(VideoCodec::H264, vec!["note".into()])];
    let engine: Arc<dyn Engine> =
        Arc::new(NoteEngine(EngineCapabilities { video_encoders: codecs, ..Default::default() }));
    let work =
        tempfile::tempdir().map_err(|error| Error::new(Code::Storage, "no temporary directory").source(error))?;
    let options = AgentOptions { work_dir: Some(work.path().join("agent")), ..AgentOptions::default() };
    let agent =
        Agent::new(Arc::new(master.transport()), vec![engine], Arc::new(NoGovernor::default()), options).await?;
    let running = [tokio::spawn(master.run(stop.clone())), tokio::spawn(agent.run(stop.clone()))];

    let mut events = coordinator.events();
    let job =
        coordinator.submit(JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() }, None).await?.job;
    let job = loop {
        let _ = events.recv().await;
        let job = coordinator.job(&job.id.into()).await?;
        if job.state.is_final() {
            break job;
        }
    };
    let output = job.result.and_then(|report| report.output_uri).unwrap_or_default();
    let note =
        std::fs::read_to_string(&output).map_err(|error| Error::new(Code::Storage, "no output").source(error))?;
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        println!("{}: {note}", job.state);
    }
    stop.cancel();
    for task in running {
        task.await.map_err(|error| Error::new(Code::Internal, "a task panicked").source(error))??;
    }
    Ok(())
}
