//! Every card of the machine. Which cards there are is settled when the fleet is made, and so is
//! the index of each; how they are is looked at again when somebody asks, at most once a second.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error};
use ffrtmp_core::node::{EncodeBound, Gpu, GpuClass, GpuTelemetry};
use ffrtmp_core::units::Joules;

use super::drm::Drm;
use super::nvml::Nvidia;
use super::watch::{Seen, Watch};
use super::{Absence, Card, GpuSource};
use crate::probe::Root;

/// How long a look is taken as true.
const FRESH: Duration = Duration::from_secs(1);
/// How long somebody waits for a look.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the first look may take: drivers wake every card at it.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// After this long without an answer a card counts as lost.
const SILENCE: Duration = Duration::from_secs(5);

/// Wishes of the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Encode sessions of every card, instead of what is known of it and its driver.
    pub sessions: Option<u32>,
    /// The same of single cards, by index.
    pub sessions_of: BTreeMap<u32, u32>,
}

impl FromStr for GpuOptions {
    type Err = Error;

    /// Reads `8` for every card, `0=8,1=3` for single ones, or both: `8,1=3`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut options = Self::default();
        for part in text.split(',') {
            let wrong = || {
                Error::new(Code::InvalidField, format!("{part:?} is no number of encode sessions"))
                    .field("gpu_sessions")
                    .hint("give a number for every card such as 8, INDEX=NUMBER for single ones, or both with commas")
            };
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
            let again = match part.split_once('=') {
                None => options.sessions.replace(number(part)?).is_some(),
                Some((index, sessions)) => options.sessions_of.insert(number(index)?, number(sessions)?).is_some(),
            };
            if again {
                return Err(wrong());
            }
        }
        Ok(options)
    }
}

/// The graphics processors of a machine.
pub struct Fleet {
    sources: Vec<Source>,
    cards: Vec<Gpu>,
    absences: Vec<Absence>,
    meters: Mutex<BTreeMap<u32, Meter>>,
}

/// How the cards were at a look.
#[derive(Clone, Debug)]
pub struct Look {
    /// When the oldest part of it was seen.
    pub at: Instant,
    /// Every card, in the order of [`Fleet::cards`].
    pub cards: Vec<GpuTelemetry>,
}

/// A source and where its cards stand in the fleet.
struct Source {
    watch: Watch,
    /// Its index of a card, and the fleet's.
    places: BTreeMap<u32, u32>,
}

/// A counter that never goes back, out of one that may.
#[derive(Clone, Copy, Debug)]
struct Meter {
    last: Joules,
    sum: Joules,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("cards", &self.cards).field("absences", &self.absences).finish_non_exhaustive()
    }
}

impl Fleet {
    /// The cards of this machine, for the whole process: drivers are woken once, and all who ask
    /// speak of a card by the same index. The wishes of the first call count.
    #[must_use]
    pub fn here(options: &GpuOptions) -> Arc<Self> {
        static HERE: OnceLock<Arc<Fleet>> = OnceLock::new();
        let detect = || {
            let sources: Vec<Box<dyn GpuSource>> =
                vec![Box::new(Nvidia::default()), Box::new(Drm::new(Root::default()))];
            Arc::new(Self::of(sources, options))
        };
        Arc::clone(HERE.get_or_init(detect))
    }

    /// No cards.
    #[must_use]
    pub fn none() -> Self {
        Self::of(Vec::new(), &GpuOptions::default())
    }

    /// The cards of these sources; those of the first come first. Waits up to 10 s for each.
    #[must_use]
    pub fn of(sources: Vec<Box<dyn GpuSource>>, options: &GpuOptions) -> Self {
        let mut fleet = Self { sources: Vec::new(), cards: Vec::new(), absences: Vec::new(), meters: Mutex::default() };
        // All of them wake their cards at the same time.
        let watches: Vec<_> = sources.into_iter().map(Watch::start).collect();
        watches.iter().for_each(|watch| drop(watch.look(FRESH, Duration::ZERO)));
        let patient_until = Instant::now() + FIRST_PATIENCE;
        for watch in watches {
            let left = patient_until.saturating_duration_since(Instant::now());
            match watch.look(FIRST_PATIENCE, left).map(|seen| seen.cards) {
                Some(Ok(cards)) => fleet.add(watch, cards, options),
                Some(Err(absence)) => fleet.absences.push(absence),
                None => fleet.absences.push(silent(watch.name())),
            }
        }
        fleet
    }

    /// What the cards are, by index.
    #[must_use]
    pub fn cards(&self) -> &[Gpu] {
        &self.cards
    }

    /// The sources that know no card, and why.
    #[must_use]
    pub fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// How the cards are. A card that does not answer any more has its reason in `lost`. Takes a
    /// quarter of a second at most.
    #[must_use]
    pub fn look(&self) -> Look {
        let mut look = Look { at: Instant::now(), cards: self.cards.iter().map(unseen).collect() };
        // All are asked before the first is waited for.
        self.sources.iter().for_each(|source| drop(source.watch.look(FRESH, Duration::ZERO)));
        let patient_until = look.at + PATIENCE;
        for source in &self.sources {
            let left = patient_until.saturating_duration_since(Instant::now());
            let Some(seen) = source.watch.look(FRESH, left) else { continue };
            look.at = look.at.min(seen.at);
            for (index, card) in source.cards(&seen) {
                if let Some(place) = look.cards.iter_mut().find(|place| place.index == index) {
                    self.measure(index, card.energy);
                    *place = card.now;
                }
            }
        }
        look
    }

    /// How the cards are, for telemetry.
    #[must_use]
    pub fn telemetry(&self) -> Vec<GpuTelemetry> {
        self.look().cards
    }

    /// Energy that each card with a counter used since the fleet first looked; it never falls, also
    /// when a driver starts anew. Cards that are a part of the processor are left out: the counter
    /// of the processor holds them.
    #[must_use]
    pub fn energy(&self) -> BTreeMap<u32, Joules> {
        drop(self.look());
        self.meters().iter().map(|(index, meter)| (*index, meter.sum)).collect()
    }

    fn add(&mut self, watch: Watch, cards: Vec<Card>, options: &GpuOptions) {
        let mut places = BTreeMap::new();
        for card in cards {
            let index = u32::try_from(self.cards.len()).unwrap_or(u32::MAX);
            places.insert(card.about.index, index);
            self.cards.push(wished(Gpu { index, ..card.about }, options));
            self.measure(index, card.energy);
        }
        self.sources.push(Source { watch, places });
    }

    fn measure(&self, index: u32, energy: Option<Joules>) {
        let counts = self.cards.iter().any(|card| card.index == index && card.class != GpuClass::Integrated);
        let Some(now) = energy.filter(|now| counts && now.0.is_finite()) else { return };
        let mut meters = self.meters();
        let meter = meters.entry(index).or_insert(Meter { last: now, sum: Joules(0.0) });
        meter.sum.0 += (now.0 - meter.last.0).max(0.0);
        meter.last = now;
    }

    fn meters(&self) -> MutexGuard<'_, BTreeMap<u32, Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Its cards with the indices of the fleet; all are lost while it does not answer.
    fn cards(&self, seen: &Seen) -> Vec<(u32, Card)> {
        let lost = |index: u32, reason: String| Card {
            now: GpuTelemetry { index, lost: Some(reason), ..GpuTelemetry::default() },
            ..Card::default()
        };
        let silence = seen.silent_for.filter(|silence| *silence >= SILENCE);
        let why = silence.map(|silence| format!("its driver has not answered for {} s", silence.as_secs()));
        let why = why.or_else(|| seen.cards.as_ref().err().map(|absence| absence.reason.clone()));
        let found = seen.cards.as_deref().unwrap_or_default();
        self.places
            .iter()
            .map(|(theirs, index)| match (&why, found.iter().find(|card| card.about.index == *theirs)) {
                (Some(why), _) => (*index, lost(*index, why.clone())),
                (None, None) => (*index, lost(*index, "its driver does not show it any more".into())),
                (None, Some(card)) => {
                    (*index, Card { now: GpuTelemetry { index: *index, ..card.now.clone() }, ..card.clone() })
                }
            })
            .collect()
    }
}

/// A card with the sessions that the operator wishes; one without an encoder has none all the same.
fn wished(mut card: Gpu, options: &GpuOptions) -> Gpu {
    let wish = options.sessions_of.get(&card.index).copied().or(options.sessions);
    if let Some(sessions) = wish.filter(|_| card.encode_bound != EncodeBound::None) {
        card.max_encode_sessions = sessions;
        if card.encode_bound != EncodeBound::System {
            card.encode_bound = EncodeBound::Card;
        }
    }
    card
}

fn unseen(card: &Gpu) -> GpuTelemetry {
    GpuTelemetry { index: card.index, lost: Some("its driver has not answered yet".into()), ..GpuTelemetry::default() }
}

fn silent(source: &'static str) -> Absence {
    Absence {
        source,
        reason: format!("the driver did not answer within {} s", FIRST_PATIENCE.as_secs()),
        hint: "look into the kernel's log (`dmesg`) for a broken card, then start again".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read() {
        let options = |sessions, of: &[(u32, u32)]| GpuOptions { sessions, sessions_of: of.iter().copied().collect() };
        for (text, read) in [
            ("8", options(Some(8), &[])),
            ("0=8,1=3", options(None, &[(0, 8), (1, 3)])),
            ("12, 1 = 0", options(Some(12), &[(1, 0)])),
        ] {
            assert_eq!(text.parse::<GpuOptions>().ok(), Some(read), "{text}");
        }
        for wrong in ["", "-1", "8,9", "1=2,1=3", "a=1", "1=", "=1", "1=2=3", "4294967296"] {
            let error = wrong.parse::<GpuOptions>().expect_err(wrong);
            assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("gpu_sessions")), "{wrong}");
        }
    }
}
