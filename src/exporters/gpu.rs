//! Port 9501: the graphics processors of a machine, as their drivers tell.

use std::sync::Arc;

use ffrtmp_core::node::{Gpu, GpuTelemetry};
use ffrtmp_governor::gpu::Fleet;
use prometheus::proto::{LabelPair, MetricFamily};

use super::Exporter;
use super::rows::{Column, families, label, one};

/// A card at one moment.
struct Card {
    about: Gpu,
    now: GpuTelemetry,
    joules: Option<f64>,
}

type Of = Column<Card>;

const MEGAHERTZ: f64 = 1e6;

const INFO: &[Of] = &[Of::gauge("gpu_info", "What the card is, 1", |_| Some(1.0))];

const COLUMNS: &[Of] = &[
    Of::gauge("gpu_lost", "1 if the card does not answer any more, else 0", |it| {
        Some(f64::from(u8::from(it.now.lost.is_some())))
    }),
    Of::gauge("gpu_utilization_percent", "Use, percent", |it| it.now.utilization_percent),
    Of::gauge("gpu_encoder_utilization_percent", "Use of its encoders, percent", |it| it.now.encoder_percent),
    Of::gauge("gpu_decoder_utilization_percent", "Use of its decoders, percent", |it| it.now.decoder_percent),
    Of::gauge("gpu_memory_used_bytes", "Memory in use, bytes", |it| it.now.memory_used_bytes.map(|bytes| bytes as f64)),
    Of::gauge("gpu_memory_total_bytes", "Memory, bytes", |it| {
        (it.about.memory_total_bytes > 0).then_some(it.about.memory_total_bytes as f64)
    }),
    Of::gauge("gpu_temperature_celsius", "Temperature, degrees Celsius", |it| it.now.temperature_celsius),
    Of::gauge("gpu_power_watts", "Power, watts", |it| it.now.power_watts),
    Of::counter("gpu_energy_joules_total", "Energy since the agent started, joules", |it| it.joules),
    Of::gauge("gpu_clock_hertz", "Clock of its processors, hertz", |it| {
        it.now.clock_mhz.map(|clock| f64::from(clock) * MEGAHERTZ)
    }),
    Of::gauge("gpu_memory_clock_hertz", "Clock of its memory, hertz", |it| {
        it.now.memory_clock_mhz.map(|clock| f64::from(clock) * MEGAHERTZ)
    }),
    Of::gauge("gpu_encode_sessions", "Encode sessions under way, of every program", |it| {
        it.now.encode_sessions.map(f64::from)
    }),
    Of::gauge("gpu_encode_sessions_max", "Encode sessions that it can hold", |it| {
        it.about.session_bound().map(f64::from)
    }),
];

/// Tells of every card of a fleet.
pub(crate) struct Gpus(Arc<Fleet>);

impl Gpus {
    pub(crate) fn new(fleet: Arc<Fleet>) -> Self {
        Self(fleet)
    }

    fn cards(&self) -> Vec<Card> {
        let (look, energy) = (self.0.look(), self.0.energy());
        let card = |now: GpuTelemetry| {
            let about = self.0.cards().iter().find(|card| card.index == now.index).cloned().unwrap_or_default();
            Card { about, joules: energy.get(&now.index).map(|joules| joules.0), now }
        };
        look.cards.into_iter().map(card).collect()
    }
}

impl Exporter for Gpus {
    fn families(&self) -> Vec<MetricFamily> {
        let cards = self.cards();
        let up = if cards.is_empty() { 0.0 } else { 1.0 };
        let mut told = vec![one("gpu_exporter_up", "1 if there is a graphics processor, else 0", up)];
        told.extend(families(INFO, cards.iter().map(|card| (introduced(card), card))));
        told.extend(families(COLUMNS, cards.iter().map(|card| (vec![index(card)], card))));
        told
    }
}

fn index(card: &Card) -> LabelPair {
    label("gpu", &card.now.index.to_string())
}

fn introduced(card: &Card) -> Vec<LabelPair> {
    let Gpu { name, vendor, driver, pci, .. } = &card.about;
    vec![index(card), label("name", name), label("vendor", vendor), label("driver", driver), label("pci", pci)]
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::node::EncodeBound;
    use ffrtmp_core::units::Joules;
    use ffrtmp_governor::gpu::{Absence, Card, GpuOptions, GpuSource};

    use super::*;
    use crate::exporters::page::keeps_its_promise;
    use crate::exporters::text;

    struct Recorded(f64);

    fn telling() -> GpuTelemetry {
        GpuTelemetry {
            utilization_percent: Some(1.0),
            encoder_percent: Some(2.0),
            decoder_percent: Some(3.0),
            memory_used_bytes: Some(4),
            temperature_celsius: Some(55.0),
            memory_clock_mhz: Some(6),
            encode_sessions: Some(7),
            ..GpuTelemetry::default()
        }
    }

    impl GpuSource for Recorded {
        fn name(&self) -> &'static str {
            "recorded"
        }

        fn look(&mut self) -> Result<Vec<Card>, Absence> {
            self.0 += 50.0;
            let encode_bound = EncodeBound::Card;
            let about = Gpu {
                name: "Card \"A\"".into(),
                vendor: "nvidia".into(),
                encode_bound,
                max_encode_sessions: 8,
                memory_total_bytes: 9,
                ..Gpu::default()
            };
            let now = GpuTelemetry { power_watts: Some(71.5), clock_mhz: Some(1500), ..telling() };
            let gone = GpuTelemetry { index: 1, lost: Some("off the bus".into()), ..GpuTelemetry::default() };
            let lost = Card { about: Gpu { index: 1, ..about.clone() }, now: gone, energy: None };
            Ok(vec![Card { about, now, energy: Some(Joules(self.0)) }, lost])
        }
    }

    #[test]
    fn cards_tell_what_they_know() {
        let fleet = Arc::new(Fleet::of(vec![Box::new(Recorded(1000.0))], &GpuOptions::default()));
        let text = text(&Gpus::new(fleet).families());
        for line in [
            "gpu_exporter_up 1",
            "gpu_info{gpu=\"0\",name=\"Card \\\"A\\\"\",vendor=\"nvidia\",driver=\"\",pci=\"\"} 1",
            "gpu_power_watts{gpu=\"0\"} 71.5",
            "gpu_clock_hertz{gpu=\"0\"} 1500000000",
            "gpu_lost{gpu=\"0\"} 0",
            "gpu_lost{gpu=\"1\"} 1",
            "gpu_encode_sessions_max{gpu=\"0\"} 8",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
        }
        assert!(!text.contains("gpu_power_watts{gpu=\"1\"}"), "what is lost tells nothing: {text}");
        keeps_its_promise("### GPU, agent", &text, &[]);
        let nothing = Gpus::new(Arc::new(Fleet::none())).families();
        assert_eq!(nothing.len(), 1);
    }
}
