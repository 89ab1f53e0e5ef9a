//! The child in reserve: governed before it has work, limited when it gets some.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ffrtmp_core::Result;
use ffrtmp_core::engine::{Control, Engine, Unobserved};
use ffrtmp_core::governor::{Admission, Demand, Governed, ProcessLimits, Reservation, ResourceGovernor, Room, Usage};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_core::node::{Safeguard, Telemetry};
use ffrtmp_engines::synthetic::Behaviour;

use crate::processes::{is_alive, wait_until};
use crate::{generated, isolated_synthetic};

/// Notes what is asked of it.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Govern(u32, Option<u64>),
    Limit(u32, Option<u64>),
    Lift(u32),
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Asked>>>);

impl Notes {
    fn add(&self, asked: Asked) {
        self.0.lock().expect("no panic").push(asked);
    }

    fn all(&self) -> Vec<Asked> {
        self.0.lock().expect("no panic").clone()
    }
}

struct Held(Notes, u32);

impl Governed for Held {
    fn usage(&self) -> Usage {
        Usage { cpu: Duration::from_secs(77), ..Usage::default() }
    }

    fn limit(&self, limits: &ProcessLimits) -> Result<bool> {
        self.0.add(Asked::Limit(self.1, limits.memory_bytes));
        Ok(true)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(Asked::Lift(self.1));
    }
}

impl ResourceGovernor for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn limits(&self) -> Vec<Safeguard> {
        Vec::new()
    }

    fn admit(&self, _: &Demand<'_>) -> Result<Admission> {
        Ok(Admission::Admitted)
    }

    fn reserve(&self, _: &Demand<'_>) -> Result<Reservation> {
        Ok(Reservation::new(None, None, ()))
    }

    fn room(&self, _: &Path) -> Room {
        Room::default()
    }

    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
        self.add(Asked::Govern(pid, limits.memory_bytes));
        Ok(Box::new(Held(self.clone(), pid)))
    }

    fn telemetry(&self, _: &Path) -> Telemetry {
        Telemetry::default()
    }
}

#[test]
fn the_second_attempt_finds_a_governed_child() {
    let notes = Notes::default();
    let governor: Arc<dyn ResourceGovernor> = Arc::new(notes.clone());
    let limits = ResourceLimits { max_memory_mb: Some(700), ..ResourceLimits::default() };
    let engine = isolated_synthetic(&Behaviour::default());
    let folder = tempfile::tempdir().expect("a scratch directory");
    let run = || {
        let task = generated(folder.path(), "out.mp4", "144p10-h264", 0.2);
        let limited = engine.limited(&limits, &governor).expect("it has a process");
        limited.run(&task, &Control::default(), &Unobserved).expect("a run")
    };
    let report = run();
    assert!((report.cpu_seconds - 77.0).abs() < 1e-9, "the governor's count is not in {report:?}");
    wait_until("a child in reserve", Duration::from_secs(10), || notes.all().len() == 3);
    let bytes = Some(700 << 20);
    let seen = notes.all();
    let [Asked::Govern(first, at_first), Asked::Lift(lifted), Asked::Govern(spare, None)] = seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!((first, at_first), (lifted, bytes));
    assert!(spare != first && is_alive(spare));
    run();
    let seen = notes.all();
    assert_eq!(seen[3..5], [Asked::Limit(spare, bytes), Asked::Lift(spare)], "{seen:?}");
    wait_until("another in reserve", Duration::from_secs(10), || notes.all().len() == 6);
    let Asked::Govern(last, None) = notes.all()[5] else { panic!("{:?}", notes.all()) };
    drop(engine);
    wait_until("its end", Duration::from_secs(10), || !is_alive(last) && notes.all().contains(&Asked::Lift(last)));
}
