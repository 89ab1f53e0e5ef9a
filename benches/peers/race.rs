//! Contenders taking turns, so that what slows the machine slows them alike.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::curve::Curve;
use crate::judge::{self, Facts};
use crate::sys::Usage;

/// One line of the table: who does what, and what must be reached.
pub(crate) struct Row {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) bounds: Vec<Bound>,
    /// The file that outputs are compared with, if pictures are encoded.
    pub(crate) source: Option<PathBuf>,
    /// Three qualities, for bits at equal SSIM; the middle one is timed.
    pub(crate) qualities: Option<[u32; 3]>,
    /// Peers that are not here.
    pub(crate) missing: Vec<&'static str>,
}

/// Does the work of one trial and says what it used.
pub(crate) type Work = Box<dyn Fn(&Trial) -> Result<Usage>>;

/// Someone who does the work.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) work: Work,
    /// Names of the outputs in the directory of the trial, those that are compared.
    pub(crate) outputs: Vec<String>,
}

/// One go at the work.
pub(crate) struct Trial {
    /// An empty directory for what is made.
    pub(crate) dir: PathBuf,
    /// Index into the row's qualities.
    pub(crate) quality: usize,
}

/// What is held against what.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) measure: Measure,
    /// Peers by name; where there are several, the one that does best counts.
    pub(crate) against: Vec<String>,
    pub(crate) at_most: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Wall,
    Peak,
    /// Our CPU time beyond that of the contender [`WITHOUT`].
    ExtraCpu,
    /// Bits at equal SSIM.
    Bits,
}

/// Our side in every row.
pub(crate) const OURS: &str = "ours";
/// Our side less what a row asks for besides.
pub(crate) const WITHOUT: &str = "ours, without";

/// What came out of a row.
pub(crate) struct Outcome {
    pub(crate) runners: Vec<Runner>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) differences: Vec<String>,
    pub(crate) missing: Vec<&'static str>,
}

/// What one contender did.
pub(crate) struct Runner {
    pub(crate) name: String,
    pub(crate) samples: Vec<Usage>,
    pub(crate) outputs: Vec<Facts>,
    pub(crate) curve: Option<Curve>,
}

/// A bound and what was reached.
pub(crate) struct Verdict {
    pub(crate) bound: Bound,
    /// Ratio to each peer that is here.
    pub(crate) ratios: Vec<(String, f64)>,
}

pub(crate) struct Race {
    pub(crate) pairs: usize,
    pub(crate) scratch: PathBuf,
    pub(crate) smoke: bool,
}

impl Race {
    pub(crate) fn run(&self, row: &Row) -> Result<Outcome> {
        let mut runners: Vec<_> = row.contenders.iter().map(Runner::new).collect();
        for pair in 0..self.pairs {
            for (contender, runner) in row.contenders.iter().zip(&mut runners) {
                let trial = self.trial(1)?;
                runner.samples.push((contender.work)(&trial)?);
                if pair == 0 {
                    runner.outputs = facts(contender, &trial.dir, row.source.as_deref())?;
                }
            }
        }
        if let (Some(_), Some(source), false) = (row.qualities, &row.source, self.smoke) {
            for (contender, runner) in row.contenders.iter().zip(&mut runners) {
                runner.curve = self.curve(contender, runner, source)?;
            }
        }
        fs::remove_dir_all(&self.scratch)?;
        let verdicts = row.bounds.iter().map(|bound| Verdict::of(bound, &runners)).collect();
        let differences = judge::compare(&runners);
        Ok(Outcome { runners, verdicts, differences, missing: row.missing.clone() })
    }

    /// The timed quality is known already; the two beside it are made once.
    fn curve(&self, contender: &Contender, runner: &Runner, source: &Path) -> Result<Option<Curve>> {
        let mut points = vec![runner.outputs.first().and_then(Facts::point)];
        for quality in [0, 2] {
            let trial = self.trial(quality)?;
            (contender.work)(&trial)?;
            points.push(facts(contender, &trial.dir, Some(source))?.first().and_then(Facts::point));
        }
        Ok(points.into_iter().collect::<Option<Vec<_>>>().and_then(Curve::through))
    }

    fn trial(&self, quality: usize) -> Result<Trial> {
        let dir = self.scratch.join("trial");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Trial { dir, quality })
    }
}

fn facts(contender: &Contender, dir: &Path, source: Option<&Path>) -> Result<Vec<Facts>> {
    contender.outputs.iter().map(|name| Facts::of(name, &dir.join(name), source)).collect()
}

impl Runner {
    fn new(contender: &Contender) -> Self {
        Self { name: contender.name.clone(), samples: Vec::new(), outputs: Vec::new(), curve: None }
    }

    pub(crate) fn median(&self, value: impl Fn(&Usage) -> f64) -> f64 {
        median(self.samples.iter().map(value).collect())
    }
}

impl Verdict {
    fn of(bound: &Bound, runners: &[Runner]) -> Self {
        let named = |name: &str| runners.iter().find(|runner| runner.name == name);
        let peers = bound.against.iter().filter_map(|name| named(name));
        let ratios = match (named(OURS), bound.measure) {
            (None, _) => Vec::new(),
            (Some(ours), Measure::Wall) => by_pair(ours, peers, |ours, theirs| ratio(ours.wall, theirs.wall)),
            (Some(ours), Measure::Peak) => by_pair(ours, peers, |ours, theirs| ours.peak as f64 / theirs.peak as f64),
            (Some(ours), Measure::ExtraCpu) => extra(ours, named(WITHOUT), peers),
            (Some(ours), Measure::Bits) => peers
                .filter_map(|peer| Some((peer.name.clone(), ours.curve.as_ref()?.bits_over(peer.curve.as_ref()?)?)))
                .collect(),
        };
        Self { bound: bound.clone(), ratios }
    }

    /// Against the strongest of those that are here.
    pub(crate) fn worst(&self) -> Option<f64> {
        self.ratios.iter().map(|(_, ratio)| *ratio).reduce(f64::max)
    }
}

fn by_pair<'a>(
    ours: &Runner,
    peers: impl Iterator<Item = &'a Runner>,
    ratio: impl Fn(&Usage, &Usage) -> f64,
) -> Vec<(String, f64)> {
    peers
        .map(|peer| {
            let ratios = ours.samples.iter().zip(&peer.samples).map(|(ours, theirs)| ratio(ours, theirs));
            (peer.name.clone(), median(ratios.collect()))
        })
        .collect()
}

fn extra<'a>(ours: &Runner, without: Option<&Runner>, peers: impl Iterator<Item = &'a Runner>) -> Vec<(String, f64)> {
    let Some(without) = without else { return Vec::new() };
    let pairs = ours.samples.iter().zip(&without.samples);
    let extra = median(pairs.map(|(with, without)| with.cpu.as_secs_f64() - without.cpu.as_secs_f64()).collect());
    peers.map(|peer| (peer.name.clone(), extra / peer.median(|usage| usage.cpu.as_secs_f64()))).collect()
}

fn ratio(ours: std::time::Duration, theirs: std::time::Duration) -> f64 {
    ours.as_secs_f64() / theirs.as_secs_f64().max(1e-9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (length, half) if length % 2 == 0 => f64::midpoint(values[half - 1], values[half]),
        (_, half) => values[half],
    }
}
