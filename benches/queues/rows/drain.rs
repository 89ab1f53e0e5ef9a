//! Claim, start and fenced finish of a filled queue, against the other queues.
//!
//! Ours does three steps per job and keeps its history; the peers do two, claim and delete.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp::core::store::Store;
use serde_json::{Value, json};

use crate::cluster::Place;
use crate::contest::{self, Bound, Contender, timed};
use crate::ground::Ground;
use crate::peer::{Commits, Peer};
use crate::{Result, cpu, load, peer};

/// Callers at once, where calls are for single jobs.
const SINGLE: usize = 64;
/// The same where calls are for batches.
const BATCHED: usize = 4;

/// Who calls ours, and how.
#[derive(Clone, Copy)]
struct Callers {
    count: usize,
    slots: usize,
    jobs: usize,
}

pub(super) fn postgres_batched(ground: &Ground) -> Result<()> {
    let callers = Callers { count: BATCHED, slots: ground.scale.batch, jobs: ground.scale.jobs(100_000) };
    let theirs = [1, 2, 4].map(|processes| {
        let order = json!({"processes": processes, "concurrency": 24, "localQueue": 500, "batched": true});
        (format!("graphile-worker, batched, {processes} processes"), order)
    });
    postgres(ground, callers, &theirs, Bound { at_least: 2.0 })
}

pub(super) fn postgres_single(ground: &Ground) -> Result<()> {
    let callers = Callers { count: SINGLE, slots: 1, jobs: ground.scale.jobs(20_000) };
    let theirs = [1, 4].map(|processes| {
        let order = json!({"processes": processes, "concurrency": SINGLE / processes, "batched": false});
        (format!("graphile-worker, {processes} × {} at once", SINGLE / processes), order)
    });
    postgres(ground, callers, &theirs, Bound { at_least: 3.0 })
}

fn postgres(ground: &Ground, callers: Callers, theirs: &[(String, Value)], bound: Bound) -> Result<()> {
    let server = ground.server()?;
    let database = || server.pid().map_or(Duration::ZERO, cpu::of_family);
    let (ours_at, theirs_at) = (server.new_database()?, server.new_database()?);
    let store = ground.runtime.block_on(Place::Postgres(ours_at.clone()).open())?;
    let graphile = peer::graphile(&ground.peers, &theirs_at)?.map(std::cell::RefCell::new);
    let settled = |dsn: &str| server.sql(dsn, "ANALYZE").and_then(|_| server.sql(dsn, "CHECKPOINT")).map(drop);
    let settle = || Ok(settled(&ours_at)?);
    let mut contenders = vec![ours(ground, &store, callers, &settle, &database)];
    if let Some(graphile) = &graphile {
        contenders.extend(theirs.iter().map(|(name, order)| Contender {
            name: name.clone(),
            round: Box::new(|| {
                let mut peer = graphile.borrow_mut();
                peer.fill(callers.jobs)?;
                settled(&theirs_at)?;
                let mut order = order.clone();
                order["jobs"] = callers.jobs.into();
                peer.drain(order, database)
            }),
        }));
    }
    contest::run(&ground.scale, &mut contenders, bound)?;
    drop(contenders);
    ground.runtime.block_on(store.close())?;
    Ok(())
}

pub(super) fn sqlite_single(ground: &Ground) -> Result<()> {
    let callers = Callers { count: SINGLE, slots: 1, jobs: ground.scale.jobs(20_000) };
    sqlite(ground, callers, Bound { at_least: 2.0 })
}

pub(super) fn sqlite_batched(ground: &Ground) -> Result<()> {
    let callers = Callers { count: BATCHED, slots: ground.scale.batch, jobs: ground.scale.jobs(100_000) };
    sqlite(ground, callers, Bound { at_least: 1.0 })
}

fn sqlite(ground: &Ground, callers: Callers, bound: Bound) -> Result<()> {
    let dir = tempfile::tempdir_in(ground.scratch())?;
    let store = ground.runtime.block_on(Place::Sqlite(dir.path().join("ours.db")).open())?;
    let honker = |commits, file| peer::honker(&ground.peers, &dir.path().join(file), commits);
    let mut unsynced = honker(Commits::AsShipped, "honker.db")?;
    let mut synced = honker(Commits::Synced, "synced.db")?;
    let mut contenders = vec![ours(ground, &store, callers, &|| Ok(()), &|| Duration::ZERO)];
    contenders.extend(unsynced.as_mut().map(|honker| honkers(honker, "unsynced", callers)));
    contenders.extend(synced.as_mut().map(|honker| honkers(honker, "made to sync", callers)));
    contest::run(&ground.scale, &mut contenders, bound)?;
    drop(contenders);
    ground.runtime.block_on(store.close())?;
    Ok(())
}

/// By itself it does not sync its commits to the disk (`synchronous=NORMAL`); more threads make it no
/// faster.
fn honkers<'a>(honker: &'a mut Peer, commits: &str, Callers { slots, jobs, .. }: Callers) -> Contender<'a> {
    Contender {
        name: format!("honker, {commits}, 1 caller of {slots}"),
        round: Box::new(move || {
            honker.fill(jobs)?;
            honker.drain(json!({"batch": slots}), Duration::default)
        }),
    }
}

/// Our side; `settle` runs between the filling and the clock.
fn ours<'a>(
    ground: &'a Ground,
    store: &'a Arc<dyn Store>,
    Callers { count, slots, jobs }: Callers,
    settle: &'a dyn Fn() -> Result<()>,
    database: &'a dyn Fn() -> Duration,
) -> Contender<'a> {
    Contender {
        name: format!("ours, {count} callers of {slots}"),
        round: Box::new(move || {
            ground.runtime.block_on(load::fill(&**store, jobs))?;
            settle()?;
            let used = || cpu::of_self() + database();
            timed(used, || ground.runtime.block_on(load::drain(store, count, slots, jobs)))
        }),
    }
}
