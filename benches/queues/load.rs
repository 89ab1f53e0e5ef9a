//! Callers of our stores: what agents make a master do, without the master.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ffrtmp::core::clock::{Clock, Timestamp};
use ffrtmp::core::id::{JobId, NodeId};
use ffrtmp::core::job::{Job, JobReport, JobRequest};
use ffrtmp::core::lifecycle::{JobCommand, Lease, Outcome};
use ffrtmp::core::node::Offer;
use ffrtmp::core::request;
use ffrtmp::core::store::{Caps, ClaimOrder, NewJob, Rank, Store};
use serde_json::{Value, json};

use crate::Result;

/// What a job asks for, in every queue that is compared.
pub(crate) fn payload() -> Value {
    json!({"scenario": "720p30-h264", "input": "/srv/media/input.mp4", "output": "/srv/media/output.mp4"})
}

fn now() -> Timestamp {
    ffrtmp::clock::SteadyClock::start().now()
}

fn draft(at: Timestamp) -> Result<NewJob> {
    let request: JobRequest = serde_json::from_value(payload())?;
    let prepared = request::prepare(request, JobId::random(), 3, at)?;
    Ok(NewJob { job: prepared.job, rank: Rank(0), requirements: prepared.requirements, idempotency: None })
}

/// Queues so many jobs.
pub(crate) async fn fill(store: &dyn Store, jobs: usize) -> Result<()> {
    const CALL: usize = 1000;
    let mut left = jobs;
    while left > 0 {
        let at = now();
        let batch = (0..left.min(CALL)).map(|_| draft(at)).collect::<Result<Vec<_>>>()?;
        left -= batch.len();
        store.submit(batch, at).await?;
    }
    Ok(())
}

/// Until `jobs` are claimed, started and finished: `callers` at once, each a node of its own that
/// takes up to `slots` jobs per call.
pub(crate) async fn drain(store: &Arc<dyn Store>, callers: usize, slots: usize, jobs: usize) -> Result<usize> {
    let left = Arc::new(AtomicUsize::new(jobs));
    let callers: Vec<_> = (1..=callers)
        .map(|number| {
            let (store, left) = (Arc::clone(store), Arc::clone(&left));
            tokio::spawn(async move { call(&*store, number as u128, slots, &left).await })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await??;
    }
    Ok(done)
}

/// One caller; takes nobody's share of what is left.
async fn call(store: &dyn Store, number: u128, slots: usize, left: &AtomicUsize) -> Result<usize> {
    let node = NodeId::from_u128(number);
    let mut done = 0;
    loop {
        let Ok(had) = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 0).then(|| left.saturating_sub(slots)))
        else {
            return Ok(done);
        };
        let mut wanted = had.min(slots);
        while wanted > 0 {
            let claimed = claim_as(store, node, wanted).await?;
            conclude(store, &claimed).await?;
            wanted -= claimed.len();
            done += claimed.len();
        }
    }
}

/// A claim of some node.
pub(crate) async fn claim(store: &dyn Store, slots: usize) -> Result<Vec<Job>> {
    claim_as(store, NodeId::from_u128(1), slots).await
}

async fn claim_as(store: &dyn Store, node: NodeId, slots: usize) -> Result<Vec<Job>> {
    let claimed = store.claim(&order(node, slots), now()).await?;
    if claimed.is_empty() {
        return Err("the queue is empty before its time".into());
    }
    Ok(claimed)
}

/// Starts and finishes what was claimed.
pub(crate) async fn conclude(store: &dyn Store, claimed: &[Job]) -> Result<()> {
    each(store, claimed, start).await?;
    each(store, claimed, finish).await
}

fn order(node: NodeId, slots: usize) -> ClaimOrder {
    ClaimOrder {
        node,
        node_name: "bench".into(),
        offer: Offer::default(),
        slots,
        lease: Duration::from_secs(60),
        caps: Caps::default(),
    }
}

async fn each(store: &dyn Store, claimed: &[Job], command: fn(Lease) -> JobCommand) -> Result<()> {
    let commands: Option<Vec<(JobId, JobCommand)>> =
        claimed.iter().map(|job| Some((job.id, command(job.lease()?)))).collect();
    for answer in store.apply(commands.ok_or("a claimed job has a lease")?, now()).await? {
        answer?;
    }
    Ok(())
}

fn start(lease: Lease) -> JobCommand {
    JobCommand::Start { lease, engine: None }
}

fn finish(lease: Lease) -> JobCommand {
    JobCommand::Finish { lease, outcome: Outcome::Completed(Box::new(report())) }
}

/// What an attempt of the synthetic engine reports, numbers of a usual length.
fn report() -> JobReport {
    JobReport {
        output_uri: Some("file:///srv/media/output.mp4".into()),
        size_bytes: 1_482_919,
        duration_seconds: 10.01,
        frames: 300,
        fps: 1134.8,
        speed: 37.82,
        wall_seconds: 0.264_31,
        cpu_seconds: 0.511_92,
        peak_memory_bytes: 61_931_520,
        input_bytes: 9_281_223,
        output_bytes: 1_482_919,
        hash: Some("blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262".into()),
        video_encoder: Some("libx264".into()),
        video_codec: Some("h264".into()),
        resolution: Some("1280x720".into()),
        bit_rate: 1_185_150,
        ..JobReport::default()
    }
}
