//! Contenders taking turns, so that what slows the machine slows them alike.

use std::time::{Duration, Instant};

use crate::{Result, Scale};

/// Someone who does the work.
pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    /// One round: prepares, then works on the clock.
    pub(crate) round: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

/// One round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) jobs: usize,
    pub(crate) wall: Duration,
    /// Processor time of everybody who took part, the server included.
    pub(crate) cpu: Duration,
}

impl Sample {
    /// Jobs per second.
    pub(crate) fn rate(&self) -> f64 {
        self.jobs as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.jobs.max(1) as f64
    }
}

/// What must be reached: the first contender's rate over that of the strongest other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) at_least: f64,
}

/// Lets all have their turns and prints what came out.
pub(crate) fn run(scale: &Scale, contenders: &mut [Contender<'_>], bound: Bound) -> Result<()> {
    let mut samples = vec![Vec::new(); contenders.len()];
    for _ in 0..scale.pairs {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            samples.push((contender.round)()?);
        }
    }
    println!("  {:34} {:>10} {:>10} {:>12}", "", "jobs/s", "ratio", "CPU µs/job");
    let mut worst = f64::INFINITY;
    for (index, (contender, theirs)) in contenders.iter().zip(&samples).enumerate() {
        let rate = median(theirs.iter().map(Sample::rate).collect());
        let cpu = median(theirs.iter().map(Sample::cpu_micros).collect());
        let ratio = median(samples[0].iter().zip(theirs).map(|(ours, theirs)| ours.rate() / theirs.rate()).collect());
        println!("  {:34} {rate:>10.0} {ratio:>10.2} {cpu:>12.1}", contender.name);
        if index > 0 {
            worst = worst.min(ratio);
        }
    }
    if !scale.smoke {
        println!("  at least {}: {}", bound.at_least, verdict(worst, bound.at_least));
    }
    Ok(())
}

/// Says whether a figure is reached.
pub(crate) fn verdict(reached: f64, at_least: f64) -> String {
    match reached {
        _ if !reached.is_finite() => "not measured: nobody to compare with is here".to_owned(),
        reached if reached >= at_least => format!("met ({reached:.2})"),
        reached => format!("MISSED ({reached:.2})"),
    }
}

/// Times some work.
pub(crate) fn timed(cpu: impl Fn() -> Duration, work: impl FnOnce() -> Result<usize>) -> Result<Sample> {
    let (before, begun) = (cpu(), Instant::now());
    let jobs = work()?;
    let wall = begun.elapsed();
    Ok(Sample { jobs, wall, cpu: cpu().saturating_sub(before) })
}

pub(crate) fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that this share of all is not above.
pub(crate) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
