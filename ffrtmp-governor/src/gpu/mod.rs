//! Graphics processors: what they are, how they are, which one an attempt gets.
//!
//! | file | subject |
//! |---|---|
//! | `fleet` | [`Fleet`]: every card of the machine, looked at in good time |
//! | `pool` | [`Pool`]: encode sessions set aside for attempts |
//! | `watch` | a source on a thread of its own, for drivers may hang |
//! | `nvml` | cards of NVIDIA, by the library of their driver |
//! | `drm` | cards of Intel and AMD, by the files of the kernel |
//! | `models` | what kind of card a name stands for, and how many sessions its driver allows |
//!
//! What is not here: the rule of the choice, which is pure ([`ffrtmp_core::policy::gpu`]), and
//! encoders, which engines open.

pub mod drm;
mod fleet;
pub mod models;
pub mod nvml;
mod pool;
mod watch;

use std::fmt;

use ffrtmp_core::node::{Gpu, GpuTelemetry};
use ffrtmp_core::units::Joules;

pub use ffrtmp_core::policy::gpu::{GpuRule, Obstacle, Refusal};
pub use fleet::{Fleet, GpuOptions, Look};
pub use pool::{GpuLease, Pool};

/// A maker of [`Card`]s: one driver's view of the machine.
///
/// # Contract
/// A look may take long or never end; whoever looks does so on a thread of its own ([`Fleet`]).
/// A source gives each card the same index at every look, and a card that was there once is told
/// as lost when it is not any more.
pub trait GpuSource: Send + 'static {
    /// Name for people, such as `nvml`.
    fn name(&self) -> &'static str;

    /// Every card that it knows.
    ///
    /// # Errors
    /// Why it knows none.
    fn look(&mut self) -> Result<Vec<Card>, Absence>;
}

/// A card as its driver shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// What it is.
    pub about: Gpu,
    /// How it is.
    pub now: GpuTelemetry,
    /// Its own counter of energy, if it has one; from when it counts is its own matter.
    pub energy: Option<Joules>,
}

/// Why a source knows no card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The source.
    pub source: &'static str,
    /// Why, in words.
    pub reason: String,
    /// What to do about it; empty if nothing is wrong.
    pub hint: String,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.reason)
    }
}
