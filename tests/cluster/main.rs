//! Two masters on one Postgres and four agents, each a process of its own with real HTTP between
//! them, the synthetic engine, and somebody who restarts and kills them under load.
//!
//! `FFRTMP_CHAOS_SECONDS` makes the killing last longer, `FFRTMP_CHAOS_SEED` chooses the victims.

mod fleet;
mod part;
mod tally;

use std::time::{Duration, Instant};

use fleet::{Fleet, Load};
use part::Signal;

/// Every process of the cluster is stopped and started again in turn while jobs go on arriving.
#[test]
fn a_rolling_restart_loses_nothing_and_repeats_nothing() {
    let mut fleet = Fleet::start();
    let load = Load::begin(&fleet, 200, Duration::from_millis(60));
    for index in 0..fleet.parts() {
        fleet.signal(index, Signal::TERM);
        fleet.await_exit(index, Duration::from_secs(15));
        fleet.start_again(index);
        fleet.await_service(Duration::from_secs(15));
    }
    let tally = fleet.tally(load.end(), Duration::from_secs(60));
    tally.print("rolling restart");
    tally.assert_each_completed_once();
    // What stops in good order gives back what it has.
    tally.assert_none_tried_again();
}

/// Any process may be killed at any time, and the database restarted.
#[test]
fn kills_at_random_lose_nothing_and_finish_nothing_twice() {
    let seconds = number_from("FFRTMP_CHAOS_SECONDS", 20);
    let seed = number_from("FFRTMP_CHAOS_SEED", 1);
    let mut fleet = Fleet::start();
    let pace = Duration::from_millis(60);
    let load = Load::begin(&fleet, usize::try_from(seconds * 1000 / 60).expect("some jobs"), pace);
    let begun = Instant::now();
    let mut dice = Dice(seed);
    let mut restarts = [seconds / 3, seconds * 2 / 3].map(Duration::from_secs).into_iter().peekable();
    let mut kills = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        if restarts.next_if(|at| begun.elapsed() >= *at).is_some() {
            fleet.restart_database(kills % 2 == 0);
        }
        let victim = dice.below(fleet.parts());
        fleet.signal(victim, Signal::KILL);
        fleet.await_exit(victim, Duration::from_secs(5));
        kills += 1;
        // The span in which it is missing, then one in which all are there.
        std::thread::sleep(Duration::from_millis(200 + 100 * dice.below(8) as u64));
        fleet.start_again(victim);
        std::thread::sleep(Duration::from_millis(500 + 100 * dice.below(8) as u64));
    }
    let tally = fleet.tally(load.end(), Duration::from_secs(120));
    tally.print(&format!("seed {seed}: {kills} kills and 2 restarts of the database in {seconds} s"));
    tally.assert_each_completed_once();
}

fn number_from(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")),
        Err(_) => default,
    }
}

/// SplitMix64: the same seed kills the same processes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("it is below a usize")
    }
}
