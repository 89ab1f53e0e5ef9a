//! Processes are moved, stopped, killed and moved back as families.

use std::time::Duration;

use ffrtmp_core::governor::{ProcessLimits, ResourceGovernor};
use ffrtmp_governor::cgroups::Ownership;

use crate::workload::{Stray, Workload};
use crate::{eventually, governor, groups_of};

#[test]
fn a_family_comes_and_goes_together() {
    let Some(governor) = governor(Ownership::Foreign) else { return };
    let mut parent = Workload::start("family");
    let child: u32 = parent.line().parse().expect("a child");
    let before = (groups_of(parent.pid()), groups_of(child));
    let governed = governor.govern(parent.pid(), &ProcessLimits::default()).expect("governed");
    parent.go();
    let late: u32 = parent.line().parse().expect("another child");
    for pid in [parent.pid(), child, late] {
        assert!(groups_of(pid).contains("/ffrtmp-foreign-"), "{pid}: {}", groups_of(pid));
    }
    drop(governed);
    assert_eq!((groups_of(parent.pid()), groups_of(child)), before);
    assert_eq!(groups_of(late), before.0, "who was born inside goes where the parent is");
    assert!(parent.is_alive());
    parent.kill();
}

#[test]
fn a_stopped_family_uses_nothing() {
    let Some(governor) = governor(Ownership::Attempts) else { return };
    let mut parent = Workload::start("family");
    let child: u32 = parent.line().parse().expect("a child");
    let governed = governor.govern(parent.pid(), &ProcessLimits::default()).expect("governed");
    eventually("it computes", || governed.usage().cpu > Duration::from_millis(20));
    assert!(governed.freeze(true).expect("stopped"));
    let before = governed.usage().cpu;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(governed.usage().cpu, before, "a stopped process computes");
    assert!(governed.freeze(false).expect("goes on"));
    eventually("it computes again", || governed.usage().cpu > before + Duration::from_millis(20));

    // Who is stopped dies too, and at once.
    assert!(governed.freeze(true).expect("stopped"));
    assert!(governed.kill().expect("killed"));
    assert_eq!(parent.wait(), Some(9));
    let child = Stray(child);
    eventually("the child is killed", || !child.is_alive());
    assert!(governed.usage().cpu >= before, "what was used is remembered");
}

#[test]
fn a_stopped_family_that_is_let_go_goes_on() {
    let Some(governor) = governor(Ownership::Foreign) else { return };
    let process = Workload::start("busy");
    let governed = governor.govern(process.pid(), &ProcessLimits::default()).expect("governed");
    assert!(governed.freeze(true).expect("stopped"));
    drop(governed);
    let again = governor.govern(process.pid(), &ProcessLimits::default()).expect("governed");
    eventually("it computes", || again.usage().cpu > Duration::from_millis(20));
}
