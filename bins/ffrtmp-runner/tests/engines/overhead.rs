//! What isolation costs, printed; asserted only so far that a lost warm child shows.

use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Unobserved};
use ffrtmp_engines::isolated::IsolatedEngine;
use ffrtmp_engines::libav::LibavEngine;
use ffrtmp_engines::synthetic::{Behaviour, SyntheticEngine};

use crate::{generated, isolated_synthetic, runner};

/// Median time of a run; between two runs the next child may warm up.
fn median(engine: &dyn Engine, scenario: &str, runs: usize) -> Duration {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let mut times: Vec<_> = (0..runs)
        .map(|run| {
            let task = generated(folder.path(), &format!("{run}.mp4"), scenario, 1.0);
            let started = Instant::now();
            engine.run(&task, &Control::default(), &Unobserved).expect("a run");
            let took = started.elapsed();
            std::thread::sleep(Duration::from_millis(100));
            took
        })
        .collect();
    times.sort();
    times[runs / 2]
}

#[test]
fn a_warm_child_costs_little() {
    let isolated = isolated_synthetic(&Behaviour::default());
    isolated.warm();
    let inside = median(&SyntheticEngine::default(), "360p30-h264", 9);
    let outside = median(&isolated, "360p30-h264", 9);
    println!("synthetic, 1 s of 360p: {inside:?} in process, {outside:?} isolated");
    assert!(outside < inside + Duration::from_millis(500), "{outside:?}");
}

#[test]
fn a_real_task_costs_little_more() {
    let isolated = IsolatedEngine::new(runner(), Vec::new());
    isolated.warm();
    let inside = median(&LibavEngine::new().expect("the libraries load"), "360p30-h264", 5);
    let outside = median(&isolated, "360p30-h264", 5);
    let cold = median(&IsolatedEngine::cold(runner(), Vec::new()), "360p30-h264", 5);
    println!("libav, 1 s of 360p: {inside:?} in process, {outside:?} isolated, {cold:?} without a warm child");
    assert!(outside < inside * 2 + Duration::from_secs(2), "{outside:?}");
}
