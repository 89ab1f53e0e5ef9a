//! The governor that fits this machine, whatever that is.

mod judge;

use std::time::{Duration, Instant};

use ffrtmp_core::error::Code;
use ffrtmp_core::governor::{Limit, ProcessLimits, ResourceGovernor};
use ffrtmp_governor::budget::{BudgetOptions, StrainLimits};
use ffrtmp_governor::cgroups::{CgroupGovernor, Ownership};
use ffrtmp_governor::host::{CgroupUse, HostOptions, detect};
use judge::{Busy, judge};

fn options(cgroups: CgroupUse) -> HostOptions {
    let budget = BudgetOptions { strain: StrainLimits::none(), ..BudgetOptions::default() };
    HostOptions { cgroups, budget, ..HostOptions::default() }
}

#[test]
fn what_is_composed_conforms() {
    for cgroups in [CgroupUse::Off, CgroupUse::Auto] {
        let governor = detect(&options(cgroups)).expect("nothing is required");
        judge(&*governor);
    }
}

#[test]
fn control_groups_are_used_where_they_can_be() {
    let possible = CgroupGovernor::detect(Ownership::Attempts);
    let auto = detect(&options(CgroupUse::Auto)).expect("nothing is required");
    let required = detect(&options(CgroupUse::Require));
    match possible {
        Ok(groups) => {
            assert_eq!(required.expect("they can be had").limits(), groups.limits());
            assert_eq!(auto.name(), "cgroups");
        }
        Err(why) => {
            let error = required.err().expect("they cannot be had");
            assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("cgroups")));
            assert!(error.to_string().contains(&why.to_string()), "{error}");
            let cpu = auto.limits().into_iter().find(|limit| limit.name == Limit::Cpu.as_str()).expect("named");
            assert!(!cpu.on && cpu.detail == why.of(Limit::Cpu), "{cpu:?}");
        }
    }
    assert_eq!(detect(&options(CgroupUse::Off)).expect("nothing is required").name(), "nice");
}

#[test]
fn every_attempt_has_its_energy_and_its_source() {
    let governor = detect(&options(CgroupUse::Auto)).expect("nothing is required");
    let busy = Busy::start();
    let guard = governor.govern(busy.pid(), &ProcessLimits::default()).expect("governed");
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (joules, source) = guard.usage().energy.expect("measured or modelled");
        if joules.0 > 0.0 {
            return eprintln!("{} J, {source}", joules.0);
        }
        assert!(Instant::now() < until, "a busy process uses no energy");
        std::thread::sleep(Duration::from_millis(20));
    }
}
