//! Supervision of a real process, with the governor of a machine that has no control groups.

use std::time::Duration;

use ffrtmp_core::job::EnergySource;
use ffrtmp_governor::energy::DEFAULT_WATTS_PER_CORE;
use ffrtmp_governor::supervise::{Order, Workload};
use ffrtmp_governor::{CgroupUse, HostOptions, detect};

#[test]
fn energy_is_that_of_the_whole_family_also_where_no_group_counts() {
    let governor = detect(&HostOptions { cgroups: CgroupUse::Off, ..HostOptions::default() }).expect("a governor");
    let work = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
    let away = Workload::new("setsid").arguments(["--wait", "sh", "-c", work]);
    let order = Order { timeout: Some(Duration::from_secs(120)), ..Order::default() };
    let report = away.start(&order, governor.as_ref(), None).expect("it starts").wait().expect("it ends");
    assert_eq!(report.exit_code, Some(0), "{report}");
    assert!(report.cpu_seconds > 0.05, "it computed: {report}");
    let joules = report.energy_joules.expect("energy is always found").0;
    if report.energy_source == Some(EnergySource::Modelled) {
        let expected = report.cpu_seconds * DEFAULT_WATTS_PER_CORE;
        assert!((joules - expected).abs() < 0.02 * expected, "{joules} J for {} s", report.cpu_seconds);
    } else {
        assert!(joules > 0.0, "{report}");
    }
}
