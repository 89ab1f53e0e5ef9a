//! Everything at once: submission, claims, starts and results through the master's HTTPS API.

use std::time::{Duration, Instant};

use ffrtmp::transport::http::{JobQuery, MasterClient};

use crate::cluster::{Cluster, Place, least_job};
use crate::contest::{self, Sample};
use crate::ground::Ground;
use crate::{Result, cpu};

const AGENTS: usize = 16;
const SLOTS: u32 = 16;
const AT_LEAST: f64 = 5_000.0;
/// Between looks whether all have ended: a look costs the master as much as several jobs.
const POLL: Duration = Duration::from_millis(100);
/// Jobs of one submission.
const CALL: usize = 500;

pub(super) fn run(ground: &Ground) -> Result<()> {
    let jobs = ground.scale.jobs(20_000);
    let dir = tempfile::tempdir_in(ground.scratch())?;
    let server = ground.server()?.pid().unwrap_or_default();
    println!(
        "  {:12} {:>8}   CPU µs/job: {:>8} {:>8} {:>8} {:>8}",
        "", "jobs/s", "master", "agents", "database", "client"
    );
    for place in Place::both(ground, dir.path())? {
        let home = tempfile::tempdir_in(ground.scratch())?;
        let rounds = ground.runtime.block_on(async {
            let cluster = Cluster::start(&place, home.path(), AGENTS, SLOTS).await?;
            let mut rounds = Vec::new();
            for _ in 0..ground.scale.pairs {
                rounds.push(round(&cluster, jobs, server).await?);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(rounds)
        })?;
        report(ground, &place, &rounds);
    }
    Ok(())
}

/// Jobs and wall time, and who used the processor: master, agents, database, this client.
struct Round {
    sample: Sample,
    cpu: [Duration; 4],
}

async fn round(cluster: &Cluster, jobs: usize, server: u32) -> Result<Round> {
    let used = || [cluster.master_cpu(), cluster.agents_cpu(), cpu::of_family(server), cpu::of_self()];
    let (before, begun) = (used(), Instant::now());
    submit(&cluster.client, jobs).await?;
    drained(&cluster.client).await?;
    let wall = begun.elapsed();
    let mut cpu = used();
    cpu.iter_mut().zip(before).for_each(|(after, before)| *after = after.saturating_sub(before));
    Ok(Round { sample: Sample { jobs, wall, cpu: cpu.iter().sum() }, cpu })
}

async fn submit(client: &MasterClient, jobs: usize) -> Result<()> {
    let batch = vec![least_job()?; CALL.min(jobs)];
    let mut left = jobs;
    while left > 0 {
        let now = left.min(batch.len());
        client.submit_batch(&batch[..now]).await?;
        left -= now;
    }
    Ok(())
}

/// Waits until no job is left that has not ended, and that all of them completed.
async fn drained(client: &MasterClient) -> Result<()> {
    let of = |state: &str| JobQuery { limit: Some(1), state: Some(state.to_owned()), ..JobQuery::default() };
    while client.jobs(&of("queued,assigned,running,retrying")).await?.count > 0 {
        tokio::time::sleep(POLL).await;
    }
    match client.jobs(&of("failed,rejected,canceled")).await?.jobs.first() {
        None => Ok(()),
        Some(failed) => Err(format!("a job did not complete: {:?}", failed.job.error).into()),
    }
}

fn report(ground: &Ground, place: &Place, rounds: &[Round]) {
    let rate = contest::median(rounds.iter().map(|round| round.sample.rate()).collect());
    let part = |index: usize| {
        let each = |round: &Round| round.cpu[index].as_secs_f64() * 1e6 / round.sample.jobs as f64;
        contest::median(rounds.iter().map(each).collect())
    };
    let (master, agents, database, client) = (part(0), part(1), part(2), part(3));
    println!(
        "  {:12} {rate:>8.0}               {master:>8.0} {agents:>8.0} {database:>8.0} {client:>8.0}",
        place.name()
    );
    if !ground.scale.smoke {
        println!("  at least {AT_LEAST} jobs/s: {}", contest::verdict(rate, AT_LEAST));
    }
}
