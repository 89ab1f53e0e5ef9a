//! Graphics processors of a node: what they are and how they are. Which one an attempt gets is
//! [`crate::policy::gpu`].

use serde::{Deserialize, Serialize};

use crate::media::named_enum;

/// A graphics processor of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gpu {
    /// Index on the node.
    pub index: u32,
    /// Model name.
    pub name: String,
    /// Memory in bytes.
    pub memory_total_bytes: u64,
    /// Encode sessions that it can hold at once; 0 if unknown. `encode_bound` says how it is meant.
    pub max_encode_sessions: u32,
    /// What bounds its encode sessions.
    #[serde(skip_serializing_if = "EncodeBound::is_unknown")]
    pub encode_bound: EncodeBound,
    /// What kind of processor it is.
    pub class: GpuClass,
    /// `nvidia`, `intel`, `amd`, or another maker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vendor: String,
    /// Version of its driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// PCI address, such as `0000:01:00.0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pci: String,
}

named_enum!(
    /// Kinds of graphics processors.
    #[derive(Default)]
    GpuClass, "class" {
        /// Not known.
        #[default]
        Unknown "unknown",
        /// For people at home; its driver bounds encode sessions for the whole system.
        Consumer "consumer",
        /// For workstations.
        Professional "professional",
        /// For servers.
        Datacenter "datacenter",
        /// A part of the processor.
        Integrated "integrated",
    }
);

named_enum!(
    /// What bounds the encode sessions of a graphics processor.
    #[derive(Default)]
    EncodeBound, "bound" {
        /// Not known: a number above 0 is meant as for a card.
        #[default]
        Unknown "unknown",
        /// It has no encoder.
        None "none",
        /// The number is its own.
        Card "card",
        /// The number is that of all such cards of the system together.
        System "system",
        /// Nothing but its memory and speed.
        Unbounded "unbounded",
    }
);

impl EncodeBound {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl Gpu {
    /// The most encode sessions that it can hold, or that all cards with [`EncodeBound::System`]
    /// can together; `None` without a bound.
    #[must_use]
    pub fn session_bound(&self) -> Option<u32> {
        match self.encode_bound {
            EncodeBound::None => Some(0),
            EncodeBound::Card | EncodeBound::System => Some(self.max_encode_sessions),
            EncodeBound::Unknown => Some(self.max_encode_sessions).filter(|most| *most > 0),
            EncodeBound::Unbounded => None,
        }
    }

    /// Encode sessions of cards together; `None` without a bound, or without a card.
    #[must_use]
    pub fn session_bounds(cards: &[Self]) -> Option<u32> {
        let (shared, own): (Vec<_>, Vec<_>) = cards.iter().partition(|gpu| gpu.encode_bound == EncodeBound::System);
        let own = own.iter().try_fold(0, |sum: u32, gpu| Some(sum.saturating_add(gpu.session_bound()?)))?;
        let shared = shared.iter().map(|gpu| gpu.max_encode_sessions).min().unwrap_or(0);
        (!cards.is_empty()).then(|| own.saturating_add(shared))
    }
}

/// How a graphics processor is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpuTelemetry {
    /// Index on the node.
    pub index: u32,
    /// Why nothing is known of it any more; absent while it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Use, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<f64>,
    /// Use of its encoders, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder_percent: Option<f64>,
    /// Use of its decoders, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_percent: Option<f64>,
    /// Memory in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Temperature in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<f64>,
    /// Power in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_watts: Option<f64>,
    /// Clock of its processors in megahertz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<u32>,
    /// Clock of its memory in megahertz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<u32>,
    /// Encode sessions under way, of every program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode_sessions: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_cards_together() {
        let card = |encode_bound, max_encode_sessions| Gpu { encode_bound, max_encode_sessions, ..Gpu::default() };
        use EncodeBound::{Card, None as Blind, System, Unbounded, Unknown};
        for (cards, sessions) in [
            (vec![], None),
            (vec![card(Unknown, 0)], None),
            (vec![card(Unknown, 2), card(Unknown, 3)], Some(5)),
            (vec![card(Card, 2), card(Blind, 0)], Some(2)),
            (vec![card(Blind, 0)], Some(0)),
            (vec![card(System, 8), card(System, 8), card(Card, 1)], Some(9)),
            (vec![card(System, 8), card(Unbounded, 0)], None),
            (vec![card(Card, u32::MAX), card(Unknown, u32::MAX)], Some(u32::MAX)),
        ] {
            assert_eq!(Gpu::session_bounds(&cards), sessions, "{cards:?}");
        }
        let old = serde_json::to_value(Gpu::default()).unwrap();
        assert!(old.get("encode_bound").is_none(), "what was not said is not told: {old}");
    }
}
