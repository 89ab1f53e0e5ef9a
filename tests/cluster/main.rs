//! Two masters on one Postgres and four agents, each a process of its own with real HTTP between
//! them and the synthetic engine: what works in good order. What is killed is in `tests/chaos`.

mod away;
mod fleet;
mod part;
mod tally;

use std::collections::BTreeSet;
use std::time::Duration;

use ffrtmp::core::coordinator::JobEventKind;
use ffrtmp::core::job::JobState;
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

/// Who follows a job at one master hears what the other one did, in order and once.
#[test]
fn followers_hear_of_every_master() {
    let fleet = Fleet::start();
    let mut nodes = BTreeSet::new();
    for _ in 0..12 {
        let (job, heard) = fleet.follow_one();
        let states: Vec<_> =
            heard.iter().filter(|event| event.kind == JobEventKind::State).map(|event| event.state).collect();
        assert_eq!(states, [JobState::Queued, JobState::Assigned, JobState::Running, JobState::Completed]);
        nodes.extend(job.node_name);
        if nodes.len() == 4 {
            break;
        }
    }
    assert!(nodes.len() > 2, "half of the agents prefer the other master: {nodes:?}");
}
