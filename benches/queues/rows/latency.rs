//! How soon an idle agent begins a job: from before the submission is sent until the master has
//! stored the start, both by the clock of this machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ffrtmp::core::clock::Timestamp;
use ffrtmp::transport::http::MasterClient;

use crate::Result;
use crate::cluster::{Cluster, Place, least_job};
use crate::contest;
use crate::ground::Ground;

/// Milliseconds.
const P50_AT_MOST: f64 = 5.0;
const P99_AT_MOST: f64 = 20.0;

pub(super) fn run(ground: &Ground) -> Result<()> {
    let samples = ground.scale.jobs(400).max(5);
    let dir = tempfile::tempdir_in(ground.scratch())?;
    for place in Place::both(ground, dir.path())? {
        let home = tempfile::tempdir_in(ground.scratch())?;
        let waits = ground.runtime.block_on(async {
            let cluster = Cluster::start(&place, home.path(), 1, 1).await?;
            let mut waits = Vec::new();
            for _ in 0..samples {
                waits.push(wait(&cluster.client).await?.as_secs_f64() * 1e3);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(waits)
        })?;
        let (p50, p99) = (contest::quantile(waits.clone(), 0.5), contest::quantile(waits, 0.99));
        println!("  {:12} p50 {p50:.2} ms, p99 {p99:.2} ms", place.name());
        if !ground.scale.smoke {
            let met = p50 <= P50_AT_MOST && p99 <= P99_AT_MOST;
            println!("  p50 at most {P50_AT_MOST}, p99 at most {P99_AT_MOST}: {}", if met { "met" } else { "MISSED" });
        }
    }
    Ok(())
}

async fn wait(client: &MasterClient) -> Result<Duration> {
    let request = least_job()?;
    let sent = Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH)?;
    let id = client.submit(&request, None).await?.job.id.to_string();
    loop {
        let job = client.job(&id).await?.job;
        if job.state.is_final() {
            let started = job.started_at.ok_or_else(|| format!("it did not start: {:?}", job.error))?;
            // The agent asks for the next one before it is idle again.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Ok(started.since(sent));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
