//! Contenders taking turns, so that what slows the machine slows them alike; medians and bounds.

use std::collections::BTreeMap;

use crate::Result;

/// What one turn measured: name with its unit, and the figure.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// Our side in every row; the first of its contenders.
pub(crate) const OURS: &str = "ours";

/// A contest.
pub(crate) struct Row {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) bounds: Vec<Bound>,
}

/// Someone who does the work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) turn: Box<dyn Fn() -> Result<Figures>>,
}

impl Contender {
    pub(crate) fn new(name: &'static str, turn: impl Fn() -> Result<Figures> + 'static) -> Self {
        Self { name, turn: Box::new(turn) }
    }
}

/// A figure of ours that must not exceed a multiple of a peer's, or, without a peer, a number.
pub(crate) struct Bound {
    pub(crate) figure: &'static str,
    pub(crate) peer: Option<&'static str>,
    pub(crate) at_most: f64,
}

/// All turns of a row, then its table. Bounds are told, not enforced: times vary, and a person reads.
pub(crate) fn run(row: Row, pairs: usize, smoke: bool) -> Result<()> {
    let mut turns: Vec<Vec<Figures>> = row.contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..pairs {
        for (contender, turns) in row.contenders.iter().zip(&mut turns) {
            turns.push((contender.turn)().map_err(|error| format!("{}: {error}", contender.name))?);
        }
    }
    for (contender, turns) in row.contenders.iter().zip(&turns) {
        let names = turns.first().into_iter().flat_map(Figures::keys);
        let figures = names.map(|name| format!("{name} {:.2}", median(turns.iter().map(|turn| turn[name]))));
        println!("  {:32} {}", contender.name, figures.collect::<Vec<_>>().join(", "));
    }
    if smoke {
        return Ok(());
    }
    for bound in &row.bounds {
        let of = |name: &str| row.contenders.iter().position(|it| it.name == name).map(|index| &turns[index]);
        let Some(ours) = of(OURS) else { continue };
        let (against, reached) = match bound.peer {
            None => ("", median(ours.iter().map(|turn| turn[bound.figure]))),
            Some(peer) => {
                let Some(theirs) = of(peer) else {
                    println!("  {} against {peer}: not measured, there is none here", bound.figure);
                    continue;
                };
                let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours[bound.figure] / theirs[bound.figure]);
                (peer, median(ratios))
            }
        };
        let met = if reached <= bound.at_most { "met" } else { "MISSED" };
        println!("  {} at most {} {against}: {reached:.3}: {met}", bound.figure, bound.at_most);
    }
    Ok(())
}

/// The value below which a share of the values lies, 0 to 1.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(index.round() as usize).copied().unwrap_or(f64::NAN)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&values.collect::<Vec<_>>(), 0.5)
}
