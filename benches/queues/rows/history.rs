//! A store that has seen much beside one that has seen nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp::core::id::{JobId, JobKey};
use ffrtmp::core::job::JobState;
use ffrtmp::core::store::{JobFilter, Page, Store};

use crate::cluster::Place;
use crate::contest::{self, Bound, Contender, Sample};
use crate::ground::Ground;
use crate::{Result, load};

const ENDED: usize = 1_000_000;
const QUEUED: usize = 100_000;
/// Milliseconds.
const PAGE_AT_MOST: f64 = 20.0;
const BYTES_AT_MOST: f64 = 2048.0;

pub(super) fn run(ground: &Ground) -> Result<()> {
    let (empty, full) = (tempfile::tempdir_in(ground.scratch())?, tempfile::tempdir_in(ground.scratch())?);
    let empty = Place::both(ground, empty.path())?.map(|place| (place, empty.path()));
    let full = Place::both(ground, full.path())?.map(|place| (place, full.path()));
    for ((empty, _), (full, dir)) in empty.iter().zip(&full) {
        println!("  {}:", full.name());
        compare(ground, empty, full, dir)?;
    }
    Ok(())
}

fn compare(ground: &Ground, empty: &Place, full: &Place, dir: &Path) -> Result<()> {
    let runtime = &ground.runtime;
    let (ended, queued) = (ground.scale.jobs(ENDED), ground.scale.jobs(QUEUED));
    let (young, old) = (runtime.block_on(empty.open())?, runtime.block_on(full.open())?);
    let before = size(ground, full, dir)?;
    let mut ids = Vec::new();
    for left in (0..ended).rev().step_by(10_000) {
        ids.push(runtime.block_on(live_through(&old, left.min(9_999) + 1, ground.scale.batch))?);
    }
    let bytes = (size(ground, full, dir)? - before) / ended as f64;
    runtime.block_on(load::fill(&*old, queued))?;
    let slots = ground.scale.batch;
    let jobs = ground.scale.jobs(20_000);
    let mut contenders =
        [("1,000,000 ended, 100,000 queued", &old), ("empty", &young)].map(|(name, store)| Contender {
            name: name.to_owned(),
            round: Box::new(move || {
                runtime.block_on(load::fill(&**store, jobs))?;
                runtime.block_on(claims(&**store, jobs, slots))
            }),
        });
    contest::run(&ground.scale, &mut contenders, Bound { at_least: 0.9 })?;
    let pages = runtime.block_on(pages(&*old, ended, ground.scale.jobs(1000)))?;
    let status = runtime.block_on(statuses(&*old, &ids, ground.scale.jobs(2000)))?;
    told(ground, "list page p99, ms", pages, PAGE_AT_MOST);
    told(ground, "status p99, ms", status, PAGE_AT_MOST);
    told(ground, "bytes per ended job", bytes, BYTES_AT_MOST);
    runtime.block_on(async {
        young.close().await?;
        old.close().await
    })?;
    Ok(())
}

fn told(ground: &Ground, what: &str, value: f64, at_most: f64) {
    let verdict = match value <= at_most {
        _ if ground.scale.smoke => "",
        true => ": met",
        false => ": MISSED",
    };
    println!("    {what} {value:.2}, at most {at_most}{verdict}");
}

/// Jobs from submission to their end; one of their ids.
async fn live_through(store: &Arc<dyn Store>, jobs: usize, slots: usize) -> Result<JobId> {
    load::fill(&**store, jobs).await?;
    load::drain(store, 4, slots, jobs).await?;
    let newest = store.list_jobs(&JobFilter::default(), Page { limit: 1, before: None }).await?;
    Ok(newest.first().ok_or("no job is there")?.id)
}

/// The claims of a full cycle, timed without the rest of it.
async fn claims(store: &dyn Store, jobs: usize, slots: usize) -> Result<Sample> {
    let mut sample = Sample::default();
    while sample.jobs < jobs {
        let begun = Instant::now();
        let claimed = load::claim(store, slots.min(jobs - sample.jobs)).await?;
        sample.wall += begun.elapsed();
        sample.jobs += claimed.len();
        load::conclude(store, &claimed).await?;
    }
    Ok(sample)
}

/// Pages of 100 here and there, of all jobs and of some states.
async fn pages(store: &dyn Store, ended: usize, count: usize) -> Result<f64> {
    let states = [vec![], vec![JobState::Completed], vec![JobState::Queued], vec![JobState::Failed]];
    let mut times = Vec::new();
    for number in 0..count {
        let filter = JobFilter { states: states[number % states.len()].clone(), ..JobFilter::default() };
        let before = (number / states.len() * 7919 % ended) as u64 + 200;
        let page = Page { limit: 100, before: (number % 3 > 0).then_some(before) };
        let begun = Instant::now();
        store.list_jobs(&filter, page).await?;
        times.push(millis(begun.elapsed()));
    }
    Ok(contest::quantile(times, 0.99))
}

/// By id, by number, by the first digits of an id.
async fn statuses(store: &dyn Store, ids: &[JobId], count: usize) -> Result<f64> {
    let mut times = Vec::new();
    for number in 0..count {
        let id = ids[number % ids.len()];
        let key: JobKey = match number % 3 {
            0 => id.to_string().parse()?,
            1 => id.to_string()[..13].parse()?,
            _ => (number + 1).to_string().parse()?,
        };
        let begun = Instant::now();
        store.job(&key).await?;
        times.push(millis(begun.elapsed()));
    }
    Ok(contest::quantile(times, 0.99))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Bytes on the disk.
fn size(ground: &Ground, place: &Place, dir: &Path) -> Result<f64> {
    Ok(match place {
        Place::Postgres(dsn) => {
            ground.server()?.sql(dsn, "SELECT pg_database_size(current_database())")?.parse::<f64>()?
        }
        Place::Sqlite(_) => {
            let files = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len() as f64));
            files.sum::<Result<f64>>()?
        }
    })
}
