//! Cards of Intel and AMD, by the files of the kernel below `/sys/class/drm`. Cards of NVIDIA are
//! seen here only under nouveau, which cannot encode; their own driver shows them through its
//! library.

use std::collections::BTreeMap;
use std::time::Instant;

use ffrtmp_core::node::{EncodeBound, Gpu, GpuClass, GpuTelemetry};
use ffrtmp_core::units::Joules;

use super::models::{amd_class, amd_encodes, intel_class, intel_encodes};
use super::{Absence, Card, GpuSource};
use crate::probe::Root;

/// Lists of names of cards, by distribution.
const PCI_IDS: &[&str] = &["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];

/// Cards that the kernel shows.
#[derive(Debug, Default)]
pub struct Drm {
    root: Root,
    /// Every card that was there at the first look, by its folder such as `card0`.
    known: Option<Vec<(String, Gpu)>>,
    /// How long each part of a card has slept, in milliseconds, and when it was read.
    asleep: BTreeMap<String, (Instant, u64)>,
}

impl Drm {
    /// Cards of the machine below a root.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self { root, known: None, asleep: BTreeMap::new() }
    }
}

impl GpuSource for Drm {
    fn name(&self) -> &'static str {
        "drm"
    }

    fn look(&mut self) -> Result<Vec<Card>, Absence> {
        let known = self.known.take().unwrap_or_else(|| cards(&self.root));
        let found = known.iter().map(|(name, about)| self.card(name, about)).collect::<Vec<_>>();
        self.known = Some(known);
        if found.is_empty() {
            let reason = "the kernel shows no card of Intel or AMD".into();
            return Err(Absence { source: "drm", reason, hint: String::new() });
        }
        Ok(found)
    }
}

/// The cards, in the order of their PCI addresses; so are they numbered.
fn cards(root: &Root) -> Vec<(String, Gpu)> {
    let is_card = |name: &String| name.strip_prefix("card").is_some_and(|number| number.parse::<u32>().is_ok());
    let names = root.names("sys/class/drm").into_iter().filter(is_card);
    let mut cards: Vec<_> = names.filter_map(|name| Some((introduce(root, &name)?, name))).collect();
    cards.sort_by(|(one, first), (other, second)| one.pci.cmp(&other.pci).then_with(|| first.cmp(second)));
    let numbered = |(index, (about, name)): (u32, (Gpu, String))| (name, Gpu { index, ..about });
    (0..).zip(cards).map(numbered).collect()
}

/// What a card is; `None` for what is no graphics processor of these makers.
fn introduce(root: &Root, name: &str) -> Option<Gpu> {
    let folder = format!("sys/class/drm/{name}/device");
    let number = |file: &str| {
        let text = root.text(&format!("{folder}/{file}"))?;
        u16::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
    };
    let (maker, model) = (number("vendor")?, number("device")?);
    let event = root.text(&format!("{folder}/uevent")).unwrap_or_default();
    let said = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let (module, pci) = (said("DRIVER"), said("PCI_SLOT_NAME"));
    let model_name = root.text(&format!("{folder}/product_name")).map(|text| text.trim().to_owned());
    let listed = || PCI_IDS.iter().find_map(|list| parse_pci_ids(&root.text(list)?, maker, model));
    let model_name = model_name.filter(|name| !name.is_empty()).or_else(listed).unwrap_or_default();
    let (vendor, class, encodes) = match (maker, module) {
        (0x8086, _) => ("intel", intel_class(&model_name, pci), intel_encodes(&model_name)),
        (0x1002, _) => ("amd", amd_class(&model_name), amd_encodes(&model_name)),
        (0x10de, "nouveau") => ("nvidia", GpuClass::Unknown, false),
        _ => return None,
    };
    let release = root.text("proc/sys/kernel/osrelease").unwrap_or_default();
    Some(Gpu {
        index: 0,
        name: if model_name.is_empty() { format!("{vendor} {model:04x}") } else { model_name },
        memory_total_bytes: root.number(&format!("{folder}/mem_info_vram_total")).unwrap_or(0),
        max_encode_sessions: 0,
        encode_bound: if encodes { EncodeBound::Unbounded } else { EncodeBound::None },
        class,
        vendor: vendor.into(),
        driver: format!("{module} {}", release.trim()).trim().to_owned(),
        pci: pci.to_owned(),
    })
}

/// Looks a card up in a `pci.ids`: a line of the maker, below it indented lines of its models.
#[must_use]
pub fn parse_pci_ids(list: &str, maker: u16, model: u16) -> Option<String> {
    let (maker, model) = (format!("{maker:04x}  "), format!("\t{model:04x}  "));
    let models = list.lines().skip_while(|line| !line.starts_with(&maker)).skip(1);
    let mut models = models.take_while(|line| line.starts_with(['\t', '#']));
    models.find_map(|line| line.strip_prefix(&model)).map(|name| name.trim().to_owned())
}

impl Drm {
    fn card(&mut self, name: &str, about: &Gpu) -> Card {
        let (card, folder) = (format!("sys/class/drm/{name}"), format!("sys/class/drm/{name}/device"));
        if !self.root.path(&folder).exists() {
            let lost = Some("it was taken out of the machine".to_owned());
            let now = GpuTelemetry { index: about.index, lost, ..GpuTelemetry::default() };
            return Card { about: about.clone(), now, energy: None };
        }
        let awake = self.awake_percent(&card);
        let root = &self.root;
        let monitor = root.names(&format!("{folder}/hwmon")).into_iter().next();
        let sensor =
            |file: &str| -> Option<u64> { root.number(&format!("{folder}/hwmon/{}/{file}", monitor.as_ref()?)) };
        let millionth = |amount: u64| amount as f64 / 1e6;
        let celsius = sensor("temp1_input").map(|millidegrees| millidegrees as f64 / 1e3);
        let busy = root.number::<f64>(&format!("{folder}/gpu_busy_percent")).or(awake);
        let megahertz = |hertz: u64| u32::try_from(hertz / 1_000_000).ok();
        let now = GpuTelemetry {
            index: about.index,
            utilization_percent: busy.filter(|percent| (0.0..=100.0).contains(percent)),
            memory_used_bytes: root.number(&format!("{folder}/mem_info_vram_used")),
            temperature_celsius: celsius.filter(|celsius| *celsius <= 150.0),
            power_watts: sensor("power1_average").or_else(|| sensor("power1_input")).map(millionth),
            clock_mhz: clock(root, &card).or_else(|| sensor("freq1_input").and_then(megahertz)),
            memory_clock_mhz: sensor("freq2_input").and_then(megahertz),
            ..GpuTelemetry::default()
        };
        let energy = sensor("energy1_input").map(|micros| Joules(millionth(micros)));
        Card { about: about.clone(), now, energy }
    }

    /// Percent of the time since the last look for which the busiest part of a card of Intel was
    /// not asleep; its drivers tell no use.
    fn awake_percent(&mut self, card: &str) -> Option<f64> {
        let mut busiest: Option<f64> = None;
        for file in sleep_counters(&self.root, card) {
            let Some(slept) = self.root.number::<u64>(&file) else { continue };
            let now = Instant::now();
            let Some((then, before)) = self.asleep.insert(file, (now, slept)) else { continue };
            let elapsed = now.duration_since(then).as_secs_f64() * 1000.0;
            let Some(slept) = slept.checked_sub(before).filter(|_| elapsed > 0.0) else { continue };
            let awake = (100.0 * (1.0 - slept as f64 / elapsed)).clamp(0.0, 100.0);
            busiest = Some(busiest.map_or(awake, |busiest| busiest.max(awake)));
        }
        busiest
    }
}

/// The parts of a card of Intel: `gt0` draws, later ones have `gt1` for media.
fn parts(root: &Root, folder: &str) -> Vec<String> {
    let names = root.names(folder).into_iter().filter(|name| name.starts_with("gt"));
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// i915 keeps them below the card, xe below tiles of the device.
fn sleep_counters(root: &Root, card: &str) -> Vec<String> {
    let old = parts(root, &format!("{card}/gt")).into_iter().map(|part| format!("{part}/rc6_residency_ms"));
    let tiles = root.names(&format!("{card}/device")).into_iter().filter(|name| name.starts_with("tile"));
    let new = tiles.flat_map(|tile| parts(root, &format!("{card}/device/{tile}")));
    old.chain(new.map(|part| format!("{part}/gtidle/idle_residency_ms"))).collect()
}

fn clock(root: &Root, card: &str) -> Option<u32> {
    let files = ["gt_act_freq_mhz", "gt/gt0/rps_act_freq_mhz", "device/tile0/gt0/freq0/act_freq"];
    files.iter().find_map(|file| root.number(&format!("{card}/{file}")))
}
