//! The real programs under a hail of blows: two masters on one Postgres and four agents, each of
//! them killed, stopped or frozen at random under load, and the database restarted twice. In the
//! end the database and the files must agree that every job was done exactly once.
//!
//! A short version runs with the other tests. `make chaos MINUTES=5` makes it last longer;
//! `FFRTMP_CHAOS_SEED` repeats the blows of a run, not their effects: those depend on the machine.

mod fleet;
mod load;
#[path = "../system/cluster/processes.rs"]
#[allow(dead_code, reason = "the tests of the system look at more")]
mod processes;
#[path = "../system/cluster/program.rs"]
#[allow(dead_code, reason = "the tests of the system look at more")]
mod program;
mod tally;

use std::time::{Duration, Instant};

use ffrtmp::store::private_server::Shutdown;

use fleet::{Fleet, LEASE};
use load::Load;
use tally::Tally;

/// Longest wait for what a healthy cluster does, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until there is something, or fails saying what did not happen.
fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is done to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// `kill -9`, and started again after a while.
    Kill(Duration),
    /// Stopped in good order, and started again.
    Stop,
    /// Stands still for a while, perhaps for longer than its leases hold.
    Freeze(Duration),
}

#[test]
fn whatever_is_killed_every_job_is_done_exactly_once() {
    let span = Duration::from_secs(number_from("FFRTMP_CHAOS_SECONDS").unwrap_or(25));
    let seed = number_from("FFRTMP_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("chaos for {span:?}; FFRTMP_CHAOS_SEED={seed} repeats the blows");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut fleet = Fleet::start();
    let load = Load::begin(&fleet);
    let begun = Instant::now();
    let mut restarts = vec![(span * 2 / 3, Shutdown::Immediate), (span / 3, Shutdown::Fast)];
    while begun.elapsed() < span {
        let victim = dice.usize(..fleet.parts());
        let blow = blow(&mut dice);
        fleet.strike(victim, blow);
        if restarts.last().is_some_and(|(at, _)| begun.elapsed() >= *at)
            && let Some((_, how)) = restarts.pop()
        {
            fleet.restart_database(how);
        }
        fleet.recover(victim, blow);
        std::thread::sleep(Duration::from_millis(dice.u64(100..1000)));
    }
    let submitted = load.end();
    fleet.await_service();
    fleet.await_the_end(&submitted);
    let tally = Tally::take(&fleet, &submitted);
    eprintln!("seed {seed}, {:?}: {}\n{tally}", begun.elapsed(), fleet.story());
    fleet.stop();
    tally.assert_right();
}

fn blow(dice: &mut fastrand::Rng) -> Blow {
    match dice.u32(..4) {
        0 | 1 => Blow::Kill(Duration::from_millis(dice.u64(50..1000))),
        2 => Blow::Stop,
        _ => Blow::Freeze(dice_between(dice, Duration::from_millis(200), LEASE * 3 / 2)),
    }
}

fn dice_between(dice: &mut fastrand::Rng, shortest: Duration, longest: Duration) -> Duration {
    shortest + (longest - shortest).mul_f64(dice.f64())
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}
