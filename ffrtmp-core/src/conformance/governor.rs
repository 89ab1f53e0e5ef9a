//! What every [`ResourceGovernor`] must do.
//!
//! Failures panic with a message; call [`run`] from a test.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::governor::{Admission, Demand, Limit, ProcessLimits, ResourceGovernor};
use crate::job::ResourceLimits;

/// A governor and the surroundings in which it is judged.
pub struct Subject<'a> {
    /// The governor.
    pub governor: &'a dyn ResourceGovernor,
    /// A directory on a disk with room for a megabyte.
    pub work_dir: PathBuf,
    /// A process that computes without end; the caller ends it.
    pub busy_pid: u32,
    /// The id of a process that has ended and was reaped.
    pub dead_pid: u32,
}

/// Judges a governor.
///
/// # Panics
/// If it breaks the contract.
pub fn run(subject: &Subject<'_>) {
    names_are_stable(subject);
    room_is_granted_by_the_machine_alone(subject);
    telemetry_never_fails(subject);
    use_of_a_process_is_told(subject);
    a_dead_process_does_no_harm(subject);
}

fn names_are_stable(subject: &Subject<'_>) {
    let governor = subject.governor;
    assert!(!governor.name().is_empty());
    let enforced = governor.enforced();
    assert_eq!(enforced, governor.enforced(), "what is enforced changes");
    let told = governor.limits();
    for limit in Limit::ALL {
        let named: Vec<_> = told.iter().filter(|guard| guard.name == limit.as_str()).collect();
        assert!(named.len() == 1 && !named[0].detail.is_empty(), "{limit}: {named:?}");
        assert_eq!(named[0].on, enforced.contains(limit), "{limit}");
    }
    assert_eq!(told.len(), Limit::ALL.len(), "{told:?}");
}

fn room_is_granted_by_the_machine_alone(subject: &Subject<'_>) {
    let small = ResourceLimits { max_memory_mb: Some(1), max_disk_mb: Some(1), ..ResourceLimits::default() };
    let demand = Demand { limits: &small, gpu: false, work_dir: &subject.work_dir };
    let first = subject.governor.admit(&demand).expect("admission can be decided");
    assert!(!matches!(first, Admission::Refused(_)), "no room for a megabyte: {first:?}");
    let held = subject.governor.reserve(&demand).expect("what is admitted can be set aside");
    assert_eq!(held.gpu(), None, "nobody asked for a graphics processor");
    for answer in [&first, &subject.governor.admit(&demand).expect("again")] {
        if let Admission::Warned(reason) | Admission::Refused(reason) = answer {
            assert!(!reason.is_empty(), "a warning without a reason");
        }
    }
}

fn telemetry_never_fails(subject: &Subject<'_>) {
    for work_dir in [subject.work_dir.clone(), subject.work_dir.join("missing")] {
        let telemetry = subject.governor.telemetry(&work_dir);
        assert!((0.0..=100.0).contains(&telemetry.cpu_percent), "{telemetry:?}");
        assert!(telemetry.memory_used_bytes <= telemetry.memory_total_bytes, "{telemetry:?}");
        assert!(telemetry.disk_available_bytes <= telemetry.disk_total_bytes, "{telemetry:?}");
    }
}

fn use_of_a_process_is_told(subject: &Subject<'_>) {
    let limits = ProcessLimits::default();
    let governed = subject.governor.govern(subject.busy_pid, &limits).expect("a living process can be governed");
    let before = governed.usage();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let now = governed.usage();
        assert!(now.cpu >= before.cpu, "CPU time runs backwards: {before:?}, {now:?}");
        if now.cpu > before.cpu && now.peak_memory_bytes > 0 {
            break;
        }
        assert!(Instant::now() < until, "a busy process uses nothing: {now:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn a_dead_process_does_no_harm(subject: &Subject<'_>) {
    // Either answer is right: it may have ended before or after it was put under limits.
    if let Ok(governed) = subject.governor.govern(subject.dead_pid, &ProcessLimits::default()) {
        let first = governed.usage();
        assert!(governed.usage().cpu >= first.cpu);
    }
}
