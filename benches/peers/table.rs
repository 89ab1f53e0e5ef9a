//! What is printed for people and written for machines.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::peer::Peers;
use crate::race::{Measure, OURS, Outcome, Runner, Verdict};

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    // …/target/release/deps/peers-HASH
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

pub(crate) fn print(outcome: &Outcome, smoke: bool) {
    let ours = outcome.runners.iter().find(|runner| runner.name == OURS);
    println!("  {:24} {:>9} {:>7} {:>9} {:>9}", "", "wall s", "ratio", "CPU s", "peak MiB");
    for runner in &outcome.runners {
        let (wall, cpu, peak) = medians(runner);
        let ratio = ours.map_or(f64::NAN, |ours| medians(ours).0 / wall);
        println!("  {:24} {wall:>9.3} {ratio:>7.3} {cpu:>9.3} {:>9.1}", runner.name, peak / f64::from(1 << 20));
    }
    for runner in &outcome.runners {
        for output in &runner.outputs {
            let ssim = output.ssim.map_or_else(String::new, |ssim| format!(", SSIM {ssim:.5}"));
            let (frames, seconds, bits) = (output.frames, output.seconds, output.video_bits);
            println!("  {}: {}: {frames} frames, {seconds:.3} s, {bits} video bits{ssim}", runner.name, output.name);
        }
    }
    outcome.missing.iter().for_each(|name| println!("  {name}: not here"));
    outcome.differences.iter().for_each(|what| println!("  DIFFERS: {what}"));
    if !smoke {
        outcome.verdicts.iter().for_each(print_verdict);
    }
}

fn print_verdict(verdict: &Verdict) {
    let Verdict { bound, ratios } = verdict;
    let each = ratios.iter().map(|(name, ratio)| format!("{name} {ratio:.3}")).collect::<Vec<_>>().join(", ");
    let met = match verdict.worst() {
        Some(worst) if worst <= bound.at_most => "met",
        Some(_) => "MISSED",
        None => "not measured: no such peer here",
    };
    println!("  {:?} at most {}: {each}: {met}", bound.measure, bound.at_most);
}

fn medians(runner: &Runner) -> (f64, f64, f64) {
    (
        runner.median(|usage| usage.wall.as_secs_f64()),
        runner.median(|usage| usage.cpu.as_secs_f64()),
        runner.median(|usage| usage.peak as f64),
    )
}

pub(crate) fn json(peers: &Peers, results: &[(&str, Outcome)]) -> Value {
    let versions = peers.all().iter().map(|peer| (peer.name.to_owned(), Value::from(peer.version.clone())));
    json!({
        "peers": versions.collect::<serde_json::Map<_, _>>(),
        "not_here": peers.missing().collect::<Vec<_>>(),
        "rows": results.iter().map(|(name, outcome)| row(name, outcome)).collect::<Vec<_>>(),
    })
}

fn row(name: &str, outcome: &Outcome) -> Value {
    json!({
        "row": name,
        "contenders": outcome.runners.iter().map(contender).collect::<Vec<_>>(),
        "bounds": outcome.verdicts.iter().map(verdict).collect::<Vec<_>>(),
        "differences": outcome.differences,
    })
}

fn contender(runner: &Runner) -> Value {
    let samples = runner.samples.iter().map(
        |usage| json!({"wall_s": usage.wall.as_secs_f64(), "cpu_s": usage.cpu.as_secs_f64(), "peak_bytes": usage.peak}),
    );
    let outputs = runner.outputs.iter().map(|output| {
        json!({
            "name": output.name, "width": output.size.0, "height": output.size.1, "frames": output.frames,
            "seconds": output.seconds, "video_bits": output.video_bits, "ssim": output.ssim,
        })
    });
    json!({"name": runner.name, "samples": samples.collect::<Vec<_>>(), "outputs": outputs.collect::<Vec<_>>()})
}

fn verdict(verdict: &Verdict) -> Value {
    let measure = match verdict.bound.measure {
        Measure::Wall => "wall",
        Measure::Peak => "peak_memory",
        Measure::ExtraCpu => "extra_cpu",
        Measure::Bits => "bits_at_equal_ssim",
    };
    let ratios = verdict.ratios.iter().map(|(name, ratio)| (name.clone(), Value::from(*ratio)));
    json!({
        "measure": measure, "at_most": verdict.bound.at_most, "against": verdict.bound.against,
        "ratios": ratios.collect::<serde_json::Map<_, _>>(),
        "met": verdict.worst().map(|worst| worst <= verdict.bound.at_most),
    })
}
