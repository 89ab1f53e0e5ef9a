//! What every [`ResourceGovernor`] must do.
//!
//! Failures panic with a message; call [`run`] from a test.

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Code;
use crate::governor::{Admission, Demand, Limit, ProcessLimits, ResourceGovernor, Room};
use crate::job::ResourceLimits;

/// A governor and the surroundings in which it is judged.
pub struct Subject<'a> {
    /// The governor.
    pub governor: &'a dyn ResourceGovernor,
    /// A directory on a disk with room for a megabyte. The machine is under no pressure for which the
    /// governor would hold attempts back.
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
    reservations_hold_different_parts(subject);
    one_of_many_gets_what_only_one_can_have(subject);
    sessions_are_counted(subject);
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
    let demand = Demand { limits: &SMALL, gpu: false, work_dir: &subject.work_dir };
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

/// Memory and disk: what reads how much of it is left, and how an attempt asks for it.
type Part = (fn(&Room) -> Option<u64>, fn(u64) -> ResourceLimits);

const PARTS: [Part; 2] = [
    (|room| room.memory_bytes, |mb| ResourceLimits { max_memory_mb: Some(mb), ..SMALL }),
    (|room| room.disk_bytes, |mb| ResourceLimits { max_disk_mb: Some(mb), ..SMALL }),
];

/// Hardly anything of a machine.
const SMALL: ResourceLimits =
    ResourceLimits { max_cpu_percent: Some(1), max_memory_mb: Some(1), max_disk_mb: Some(1), timeout_sec: None };

/// More than half of what is left, so that it is there once: much more than what other programs
/// take or free meanwhile. Absent if the machine does not tell.
fn most_of(subject: &Subject<'_>, (left, asking): Part) -> Option<(u64, ResourceLimits)> {
    let left = left(&subject.governor.room(&subject.work_dir))?;
    Some((left, asking((left >> 20) * 6 / 10))).filter(|_| left >> 20 >= 10)
}

fn reservations_hold_different_parts(subject: &Subject<'_>) {
    let governor = subject.governor;
    for part in PARTS {
        let Some((before, limits)) = most_of(subject, part) else { continue };
        let demand = Demand { limits: &limits, gpu: false, work_dir: &subject.work_dir };
        let left = || part.0(&governor.room(&subject.work_dir)).expect("told before");
        for _ in 0..3 {
            let admission = governor.admit(&demand).expect("decided");
            assert!(!matches!(admission, Admission::Refused(_)), "asking sets something aside: {admission:?}");
        }
        let held = governor.reserve(&demand).expect("six tenths of the room");
        assert!(left() < before / 10 * 7, "{} of {before} are left beside {limits:?}", left());
        let refused = governor.reserve(&demand).expect_err("two hold the same");
        assert_eq!(refused.code(), Code::NoRoom, "{refused}");
        match governor.admit(&demand).expect("decided") {
            Admission::Refused(reason) => assert!(!reason.is_empty()),
            other => panic!("admitted what cannot be set aside: {other:?}"),
        }
        drop(held);
        assert!(left() > before / 10 * 7, "{} of {before} came back", left());
        governor.reserve(&demand).expect("room that came back");
    }
}

fn one_of_many_gets_what_only_one_can_have(subject: &Subject<'_>) {
    for part in PARTS {
        let Some((before, limits)) = most_of(subject, part) else { continue };
        let demand = Demand { limits: &limits, gpu: false, work_dir: &subject.work_dir };
        let start = Barrier::new(8);
        let held: Vec<_> = thread::scope(|scope| {
            let race = || {
                start.wait();
                subject.governor.reserve(&demand).ok()
            };
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
            racers.into_iter().filter_map(|racer| racer.join().expect("no panic")).collect()
        });
        assert_eq!(held.len(), 1, "reservations of {limits:?} with {before} left");
        thread::scope(|scope| drop(scope.spawn(move || drop(held))));
        subject.governor.reserve(&demand).expect("what another thread gave back");
    }
}

fn sessions_are_counted(subject: &Subject<'_>) {
    let governor = subject.governor;
    let demand = Demand { limits: &SMALL, gpu: true, work_dir: &subject.work_dir };
    let Some(sessions) = governor.room(&subject.work_dir).gpu_sessions else { return };
    // Without a bound there are more than anybody can try.
    let tried = sessions.min(64);
    let held: Vec<_> = (0..tried).map(|_| governor.reserve(&demand).expect("a session")).collect();
    assert!(held.iter().all(|held| held.gpu().is_some()), "a session on no graphics processor: {held:?}");
    if sessions > 0 && tried == sessions {
        assert_eq!(governor.room(&subject.work_dir).gpu_sessions, Some(0));
        assert_eq!(governor.reserve(&demand).expect_err("no session is left").code(), Code::NoRoom);
    }
    drop(held);
    assert_eq!(governor.room(&subject.work_dir).gpu_sessions, Some(sessions), "sessions that came back");
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
    governed.limit(&limits).expect("to change nothing is no error");
    let before = governed.usage();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let now = governed.usage();
        assert!(now.cpu >= before.cpu, "CPU time runs backwards: {before:?}, {now:?}");
        if now.cpu > before.cpu && now.peak_memory_bytes > 0 {
            break;
        }
        assert!(Instant::now() < until, "a busy process uses nothing: {now:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn a_dead_process_does_no_harm(subject: &Subject<'_>) {
    // Either answer is right: it may have ended before or after it was put under limits.
    if let Ok(governed) = subject.governor.govern(subject.dead_pid, &ProcessLimits::default()) {
        let first = governed.usage();
        assert!(governed.usage().cpu >= first.cpu);
    }
}
