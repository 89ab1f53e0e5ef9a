//! A session elsewhere that never ends its transaction: what it might still see cannot be removed,
//! so dead rows pile up. Beside it the same load in a database without such a session.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use ffrtmp::core::store::Store;

use crate::cluster::Place;
use crate::contest::{self, Sample, timed};
use crate::ground::Ground;
use crate::{Result, cpu, load};

const AT_LEAST: f64 = 0.9;

pub(super) fn run(ground: &Ground) -> Result<()> {
    let server = ground.server()?;
    let (held, free) = (server.new_database()?, server.new_database()?);
    let stores = [&held, &free].map(|dsn| ground.runtime.block_on(Place::Postgres(dsn.clone()).open()));
    let [with, without] = stores;
    let (with, without) = (with?, without?);
    round(ground, &with)?;
    round(ground, &without)?;
    let session = Session::open(ground, &held)?;
    let (mut ratios, begun) = (Vec::new(), Instant::now());
    while ratios.is_empty() || begun.elapsed() < ground.scale.hold {
        let (with, without) = (round(ground, &with)?, round(ground, &without)?);
        ratios.push((with.rate(), with.rate() / without.rate()));
    }
    let held_for = begun.elapsed();
    drop(session);
    report(ground, &ratios, held_for.as_secs_f64());
    ground.runtime.block_on(async {
        with.close().await?;
        without.close().await
    })?;
    Ok(())
}

fn round(ground: &Ground, store: &Arc<dyn Store>) -> Result<Sample> {
    let jobs = ground.scale.jobs(20_000);
    ground.runtime.block_on(load::fill(&**store, jobs))?;
    timed(cpu::of_self, || ground.runtime.block_on(load::drain(store, 4, ground.scale.batch, jobs)))
}

/// Early, middle and late rounds; the late ones count.
fn report(ground: &Ground, ratios: &[(f64, f64)], seconds: f64) {
    let third = ratios.len().div_ceil(3);
    println!("  held for {seconds:.0} s, {} rounds; jobs/s with the snapshot, ratio to those without:", ratios.len());
    let mut last = f64::NAN;
    for part in ratios.chunks(third) {
        last = contest::median(part.iter().map(|(_, ratio)| *ratio).collect());
        println!("    {:>10.0} {last:>8.2}", contest::median(part.iter().map(|(rate, _)| *rate).collect()));
    }
    if !ground.scale.smoke {
        println!("  at least {AT_LEAST}: {}", contest::verdict(last, AT_LEAST));
    }
}

/// Another session with an open transaction; dropped, it ends.
struct Session {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Session {
    fn open(ground: &Ground, dsn: &str) -> Result<Self> {
        let psql = ground.server()?.programs().join("psql");
        let mut child =
            Command::new(psql).args(["-X", "-q", dsn]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut orders = child.stdin.take().ok_or("psql takes no orders")?;
        // The first query takes the snapshot.
        writeln!(orders, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;")?;
        let session = Self { child, orders: Some(orders) };
        let open =
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xmin IS NOT NULL
                    AND datname = current_database()";
        let begun = Instant::now();
        while ground.server()?.sql(dsn, open)? == "0" {
            if begun.elapsed().as_secs() > 10 {
                return Err("the other session took no snapshot".into());
            }
        }
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
