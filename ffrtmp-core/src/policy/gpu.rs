//! Which graphics processor of a node an attempt gets. Pure: what the cards are and how they are
//! goes in, an index or the reasons come out. Who reads cards and holds sessions is the governor.

use std::fmt;

use crate::node::{EncodeBound, Gpu, GpuTelemetry};

/// Temperature at which a card counts as cold, in degrees Celsius.
const COLD_CELSIUS: f64 = 30.0;
/// Sessions at which an encoder without a bound counts as half taken.
const HALF_TAKEN: f64 = 8.0;
/// What a term weighs that a card does not tell: neither the best nor the worst.
const UNKNOWN: f64 = 0.5;

/// The rule: of the cards within the hard limits the one with the least
/// `utilization·U + temperature·T + sessions·S`, of equals the one with the lowest index.
///
/// Every term lies between 0 and 1. `U` is the use of the busiest of processors, encoders and
/// decoders. `T` is 0 at 30 °C and 1 at the hottest that is allowed. `S` is the share of its
/// sessions that is taken; without a bound, n sessions count as n / (n + 8).
///
/// By default use and sessions weigh the same: use is what counts, but the driver shows it a
/// second late, and sessions tell at once. Temperature weighs half, for it follows from the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuRule {
    /// Weight of the use.
    pub utilization: f64,
    /// Weight of the temperature.
    pub temperature: f64,
    /// Weight of the sessions.
    pub sessions: f64,
    /// Hard limit: a card this hot takes nothing, in degrees Celsius.
    pub hottest_celsius: f64,
    /// Hard limit: memory that must be free on the card, in bytes.
    pub least_memory_bytes: u64,
}

impl Default for GpuRule {
    /// Weights 1, 0.5 and 1; below 90 °C; 512 MiB, which a 2160p session needs.
    fn default() -> Self {
        Self { utilization: 1.0, temperature: 0.5, sessions: 1.0, hottest_celsius: 90.0, least_memory_bytes: 512 << 20 }
    }
}

/// A card that may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What it is.
    pub gpu: &'a Gpu,
    /// How it is.
    pub now: &'a GpuTelemetry,
    /// Encode sessions on it, those included that are set aside and that its driver does not show.
    pub sessions: u32,
}

/// Why a card takes no further session.
#[derive(Clone, Debug, PartialEq)]
pub enum Obstacle {
    /// It does not answer; the reason in words.
    Lost(String),
    /// It has no encoder.
    NoEncoder,
    /// All of its sessions are taken.
    Sessions {
        /// Taken.
        taken: u32,
        /// The bound.
        most: u32,
        /// Whether the bound is that of several cards together.
        shared: bool,
    },
    /// It is too hot.
    Heat {
        /// Degrees Celsius.
        celsius: f64,
        /// The limit.
        hottest: f64,
    },
    /// Its memory is too full.
    Memory {
        /// Free bytes.
        free: u64,
        /// The limit.
        least: u64,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(reason) => write!(f, "{reason}"),
            Self::NoEncoder => write!(f, "it has no video encoder"),
            Self::Sessions { taken, most, shared } => {
                let whose = if *shared { " that its driver allows the whole system" } else { "" };
                write!(f, "{taken} of {most} encode sessions{whose} are taken")
            }
            Self::Heat { celsius, hottest } => write!(f, "it is at {celsius:.0} °C; below {hottest:.0} °C it must be"),
            Self::Memory { free, least } => {
                write!(f, "{} MB of its memory are free; {} MB must be", free >> 20, least >> 20)
            }
        }
    }
}

/// No card takes a further session; the reason for each by its index. Empty if there is no card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusal(pub Vec<(u32, Obstacle)>);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "the node has no graphics processor");
        }
        for (place, (index, obstacle)) in self.0.iter().enumerate() {
            write!(f, "{}gpu {index}: {obstacle}", if place == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl GpuRule {
    /// The index of the card to take.
    ///
    /// # Errors
    /// The obstacle of every card if none may be taken.
    pub fn choose(&self, candidates: &[Candidate<'_>]) -> Result<u32, Refusal> {
        let able = candidates.iter().filter(|candidate| self.obstacle(candidate, candidates).is_none());
        let ranked = able.map(|candidate| (self.cost(candidate), candidate.gpu.index));
        let best = ranked.min_by(|(one, first), (other, second)| one.total_cmp(other).then(first.cmp(second)));
        best.map(|(_, index)| index).ok_or_else(|| {
            let why = |candidate: &Candidate<'_>| Some((candidate.gpu.index, self.obstacle(candidate, candidates)?));
            let mut obstacles: Vec<_> = candidates.iter().filter_map(why).collect();
            obstacles.sort_by_key(|(index, _)| *index);
            Refusal(obstacles)
        })
    }

    /// Sessions that may still be taken on all cards together; `u32::MAX` where nothing bounds them.
    #[must_use]
    pub fn free_sessions(&self, candidates: &[Candidate<'_>]) -> u32 {
        let able = candidates.iter().filter(|candidate| self.obstacle(candidate, candidates).is_none());
        let (shared, own): (Vec<_>, Vec<_>) =
            able.partition(|candidate| candidate.gpu.encode_bound == EncodeBound::System);
        let left = |candidate: &&Candidate<'_>| {
            Taken::of(candidate, candidates).map_or(u32::MAX, |taken| taken.most.saturating_sub(taken.sessions))
        };
        let own = own.iter().map(left).fold(0, u32::saturating_add);
        own.saturating_add(shared.iter().map(left).max().unwrap_or(0))
    }

    /// What keeps a card from taking a further session.
    #[must_use]
    pub fn obstacle(&self, candidate: &Candidate<'_>, all: &[Candidate<'_>]) -> Option<Obstacle> {
        let Candidate { gpu, now, .. } = candidate;
        if let Some(reason) = &now.lost {
            return Some(Obstacle::Lost(reason.clone()));
        }
        if gpu.encode_bound == EncodeBound::None {
            return Some(Obstacle::NoEncoder);
        }
        if let Some(taken) = Taken::of(candidate, all).filter(|taken| taken.sessions >= taken.most) {
            let shared = gpu.encode_bound == EncodeBound::System;
            return Some(Obstacle::Sessions { taken: taken.sessions, most: taken.most, shared });
        }
        if let Some(celsius) = known(now.temperature_celsius).filter(|celsius| *celsius >= self.hottest_celsius) {
            return Some(Obstacle::Heat { celsius, hottest: self.hottest_celsius });
        }
        let free = now.memory_used_bytes.filter(|_| gpu.memory_total_bytes > 0);
        let free = free.map(|used| gpu.memory_total_bytes.saturating_sub(used));
        let short = free.filter(|free| *free < self.least_memory_bytes);
        short.map(|free| Obstacle::Memory { free, least: self.least_memory_bytes })
    }

    fn cost(&self, candidate: &Candidate<'_>) -> f64 {
        let Candidate { gpu, now, sessions } = candidate;
        let parts = [now.utilization_percent, now.encoder_percent, now.decoder_percent];
        let busiest = parts.into_iter().filter_map(known).max_by(f64::total_cmp);
        let used = busiest.map_or(UNKNOWN, |percent| (percent / 100.0).clamp(0.0, 1.0));
        let span = (self.hottest_celsius - COLD_CELSIUS).max(1.0);
        let warm = known(now.temperature_celsius);
        let warm = warm.map_or(UNKNOWN, |celsius| ((celsius - COLD_CELSIUS) / span).clamp(0.0, 1.0));
        let sessions = f64::from(*sessions);
        let taken = match gpu.session_bound() {
            Some(most) => (sessions / f64::from(most.max(1))).min(1.0),
            None => sessions / (sessions + HALF_TAKEN),
        };
        self.utilization * used + self.temperature * warm + self.sessions * taken
    }
}

/// Sessions of a bound, those of all cards that share it.
struct Taken {
    sessions: u32,
    most: u32,
}

impl Taken {
    /// `None` without a bound. Where cards that share a bound differ in it, the tightest is meant.
    fn of(candidate: &Candidate<'_>, all: &[Candidate<'_>]) -> Option<Self> {
        let most = candidate.gpu.session_bound()?;
        if candidate.gpu.encode_bound != EncodeBound::System {
            return Some(Self { sessions: candidate.sessions, most });
        }
        let sharing = || all.iter().filter(|other| other.gpu.encode_bound == EncodeBound::System);
        let sessions = sharing().map(|other| other.sessions).fold(0, u32::saturating_add);
        let most = sharing().filter_map(|other| other.gpu.session_bound()).min().unwrap_or(most);
        Some(Self { sessions, most })
    }
}

/// A reading that is a number.
fn known(reading: Option<f64>) -> Option<f64> {
    reading.filter(|reading| reading.is_finite())
}

#[cfg(test)]
mod tests;
