//! What kind of card a name stands for, and how many encode sessions its driver allows.
//!
//! | cards | sessions |
//! |---|---|
//! | consumer (GeForce, TITAN), professional below the 2000 models (P400, T1000, …), unknown ones | a number by the driver, for all of them in a system together |
//! | professional, datacenter, integrated | no bound |
//! | those without an encoder (A100, A30, H100, H200, B200, GT 1030, MX, …) | none |
//!
//! The number by the driver for Linux: 2, from 455 on 3, from 530 on 5, from 550 on 8; 535 has 8
//! since its release 183. NVIDIA speaks of 12 for its newest drivers without saying since when; an
//! operator who has one says so. Sources: the support matrix and the NVENC application note of
//! NVIDIA, and reports of people who counted (keylase/nvidia-patch issues 628, 776, 797 and 811).

use ffrtmp_core::node::{EncodeBound, GpuClass};

/// Tesla and its successors, by the first part of the name.
const DATACENTER: &[&str] = &[
    "A2", "A10", "A10G", "A10M", "A16", "A30", "A40", "A100", "A100X", "A30X", "A800", "L2", "L4", "L20", "L40",
    "L40S", "L40G", "H20", "H100", "H200", "H800", "GH200", "B100", "B200", "B300", "GB200", "GB300", "V100", "P100",
    "P40", "P4", "P6", "T4", "T4G", "K80", "M60", "M40", "M10", "M6", "M4", "GRID", "TESLA", "DGX",
];
/// Those of them that only compute.
const COMPUTE_ONLY: &[&str] = &[
    "A30", "A30X", "A100", "A100X", "A800", "H20", "H100", "H200", "H800", "GH200", "B100", "B200", "B300", "GB200",
    "GB300",
];
/// Consumer cards whose chip has no encoder.
const BLIND: &[&str] = &["GT 1030", "GT 1010", "830M", "840M", "920M", "930M", "940M", "CMP"];
/// The driver of systems on a chip.
const ON_CHIP: &[&str] = &["NVGPU", "TEGRA", "ORIN", "XAVIER", "THOR", "GB10"];

/// What kind of card of NVIDIA a name stands for.
#[must_use]
pub fn nvidia_class(name: &str) -> GpuClass {
    let name = Name::of(name);
    if name.has_any(ON_CHIP) {
        GpuClass::Integrated
    } else if name.has_any(&["GEFORCE", "TITAN", "CMP"]) || name.is_mining() {
        GpuClass::Consumer
    } else if DATACENTER.contains(&name.first()) || name.0.contains("SERVER EDITION") {
        GpuClass::Datacenter
    } else if name.has_any(&["QUADRO", "RTX", "NVS"]) || name.is_small_workstation() {
        GpuClass::Professional
    } else {
        GpuClass::Unknown
    }
}

/// What bounds the encode sessions of a card of NVIDIA, and the number where there is one.
#[must_use]
pub fn nvidia_sessions(name: &str, driver: &str) -> (EncodeBound, u32) {
    let class = nvidia_class(name);
    let name = Name::of(name);
    let capped = match class {
        GpuClass::Datacenter if name.computes_only() => return (EncodeBound::None, 0),
        GpuClass::Consumer if name.is_blind() => return (EncodeBound::None, 0),
        GpuClass::Datacenter | GpuClass::Integrated => false,
        GpuClass::Professional => name.is_below_2000(),
        GpuClass::Consumer | GpuClass::Unknown => true,
    };
    if capped { (EncodeBound::System, sessions_by_driver(driver)) } else { (EncodeBound::Unbounded, 0) }
}

/// Sessions that a driver for Linux allows consumer cards; the fewest ever for one that cannot be
/// read.
#[must_use]
pub fn sessions_by_driver(driver: &str) -> u32 {
    let mut parts = driver.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0)) {
        (..455, _) => 2,
        (..530, _) => 3,
        (535, 183..) => 8,
        (..550, _) => 5,
        _ => 8,
    }
}

/// What kind of card of Intel a name stands for. Those inside a processor sit at a fixed address.
#[must_use]
pub fn intel_class(name: &str, pci: &str) -> GpuClass {
    let name = Name::of(name);
    if pci.ends_with(":00:02.0") {
        GpuClass::Integrated
    } else if name.0.contains("DATA CENTER") || name.has_any(&["FLEX", "MAX"]) {
        GpuClass::Datacenter
    } else if name.0.contains("ARC PRO") || name.0.contains("PRO A") || name.0.contains("PRO B") {
        GpuClass::Professional
    } else if name.has_any(&["ARC", "DG1", "DG2", "BATTLEMAGE"]) {
        GpuClass::Consumer
    } else {
        GpuClass::Unknown
    }
}

/// Whether a card of Intel encodes: all do but those made to compute.
#[must_use]
pub fn intel_encodes(name: &str) -> bool {
    !Name::of(name).has_any(&["MAX", "PONTE"])
}

/// Chips of AMD with processor and graphics in one.
const AMD_APU: &[&str] = &[
    "KAVERI",
    "CARRIZO",
    "STONEY",
    "WANI",
    "RAVEN",
    "PICASSO",
    "DALI",
    "POLLOCK",
    "RENOIR",
    "LUCIENNE",
    "CEZANNE",
    "BARCELO",
    "VANGOGH",
    "REMBRANDT",
    "RAPHAEL",
    "MENDOCINO",
    "PHOENIX",
    "PHOENIX1",
    "PHOENIX2",
    "PHOENIX3",
    "HAWKPOINT",
    "HAWKPOINT1",
    "HAWKPOINT2",
    "STRIX",
    "KRACKAN",
    "GRANITE",
];

/// What kind of card of AMD a name stands for.
#[must_use]
pub fn amd_class(name: &str) -> GpuClass {
    let name = Name::of(name);
    if name.has_any(AMD_APU) || name.0.contains("VAN GOGH") {
        GpuClass::Integrated
    } else if name.has_any(&["INSTINCT", "ALDEBARAN", "ARCTURUS", "AQUA"]) {
        GpuClass::Datacenter
    } else if name.0.contains("RADEON PRO") || name.has_any(&["FIREPRO", "FIREGL", "W5700", "W6800", "W7900"]) {
        GpuClass::Professional
    } else if name.has_any(&["RX", "R5", "R7", "R9", "VII", "HD"]) || name.0.contains("RADEON") {
        GpuClass::Consumer
    } else {
        GpuClass::Unknown
    }
}

/// Whether a card of AMD encodes: all do but those made to compute, and the chip Navi 24.
#[must_use]
pub fn amd_encodes(name: &str) -> bool {
    amd_class(name) != GpuClass::Datacenter && !Name::of(name).0.contains("NAVI 24")
}

/// A name in capitals, without its maker.
struct Name(String);

impl Name {
    fn of(name: &str) -> Self {
        let name = name.to_ascii_uppercase();
        Self(name.strip_prefix("NVIDIA ").unwrap_or(&name).trim().to_owned())
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty())
    }

    fn first(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    fn has_any(&self, words: &[&str]) -> bool {
        self.parts().any(|part| words.contains(&part))
    }

    /// "Tesla A100" was a name too.
    fn computes_only(&self) -> bool {
        self.has_any(COMPUTE_ONLY)
    }

    fn is_blind(&self) -> bool {
        let mobile = |part: &str| part.strip_prefix("MX").is_some_and(|model| model.parse::<u32>().is_ok());
        self.is_mining()
            || self.parts().any(mobile)
            || BLIND.iter().any(|model| match model.split_once(' ') {
                Some(_) => self.0.contains(model),
                None => self.has_any(&[model]),
            })
    }

    /// P102-100, P104-100 and P106-100 have no outputs and no encoder.
    fn is_mining(&self) -> bool {
        ["P102-", "P104-", "P106-"].iter().any(|model| self.0.starts_with(model))
    }

    /// T400, T500, T550, T600, T1000 and T1200 dropped the name of their family.
    fn is_small_workstation(&self) -> bool {
        self.first().strip_prefix('T').and_then(|model| model.parse::<u32>().ok()).is_some_and(|model| model >= 400)
    }

    /// Below the 2000 models a professional card counts as a consumer's. The K2000 does too; GP100
    /// and GV100 are no small models.
    fn is_below_2000(&self) -> bool {
        let model = |part: &str| part.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse::<u32>().ok();
        let big = self.has_any(&["GP100", "GV100"]);
        let small = |model: u32| (100..2000).contains(&model);
        !big && (self.parts().filter_map(model).find(|model| *model >= 100).is_some_and(small)
            || self.has_any(&["K2000"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_of_nvidia_by_name() {
        use EncodeBound::{None as Blind, System, Unbounded};
        use GpuClass::{Consumer, Datacenter, Integrated, Professional, Unknown};
        for (name, class, bound) in [
            ("NVIDIA GeForce RTX 3080", Consumer, System),
            ("GeForce GTX 1650", Consumer, System),
            ("NVIDIA GeForce RTX 4090 Laptop GPU", Consumer, System),
            ("NVIDIA GeForce GT 1030", Consumer, Blind),
            ("NVIDIA GeForce MX450", Consumer, Blind),
            ("NVIDIA TITAN RTX", Consumer, System),
            ("NVIDIA CMP 170HX", Consumer, Blind),
            ("P106-100", Consumer, Blind),
            ("NVIDIA A100-SXM4-80GB", Datacenter, Blind),
            ("NVIDIA A100 80GB PCIe", Datacenter, Blind),
            ("NVIDIA H100 80GB HBM3", Datacenter, Blind),
            ("NVIDIA H200", Datacenter, Blind),
            ("NVIDIA H200 NVL", Datacenter, Blind),
            ("NVIDIA GH200 480GB", Datacenter, Blind),
            ("NVIDIA B200", Datacenter, Blind),
            ("NVIDIA A30", Datacenter, Blind),
            ("NVIDIA A10G", Datacenter, Unbounded),
            ("NVIDIA A2", Datacenter, Unbounded),
            ("NVIDIA L4", Datacenter, Unbounded),
            ("NVIDIA L40S", Datacenter, Unbounded),
            ("NVIDIA A40-8Q", Datacenter, Unbounded),
            ("Tesla T4", Datacenter, Unbounded),
            ("Tesla V100-SXM2-16GB", Datacenter, Unbounded),
            ("GRID T4-2Q", Datacenter, Unbounded),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", Datacenter, Unbounded),
            ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", Professional, Unbounded),
            ("NVIDIA RTX A4000", Professional, Unbounded),
            ("NVIDIA RTX 6000 Ada Generation", Professional, Unbounded),
            ("NVIDIA RTX A400", Professional, System),
            ("Quadro RTX 4000", Professional, Unbounded),
            ("Quadro P2000", Professional, Unbounded),
            ("Quadro P1000", Professional, System),
            ("Quadro K2000", Professional, System),
            ("Quadro K2200", Professional, Unbounded),
            ("Quadro GV100", Professional, Unbounded),
            ("NVIDIA T1000 8GB", Professional, System),
            ("Orin (nvgpu)", Integrated, Unbounded),
            ("NVIDIA Graphics Device", Unknown, System),
            ("", Unknown, System),
        ] {
            assert_eq!((nvidia_class(name), nvidia_sessions(name, "570.86.10").0), (class, bound), "{name}");
        }
    }

    #[test]
    fn sessions_follow_the_driver() {
        for (driver, sessions) in [
            ("390.157", 2),
            ("450.248.02", 2),
            ("455.23.04", 3),
            ("525.60.13", 3),
            ("530.41.03", 5),
            ("535.54.03", 5),
            ("535.183.01", 8),
            ("545.29.06", 5),
            ("550.40.07", 8),
            ("580.178.04", 8),
            ("", 2),
            ("nonsense", 2),
        ] {
            assert_eq!(sessions_by_driver(driver), sessions, "{driver}");
            assert_eq!(nvidia_sessions("NVIDIA GeForce RTX 3080", driver), (EncodeBound::System, sessions));
        }
        assert_eq!(nvidia_sessions("NVIDIA H200", "570.86.10"), (EncodeBound::None, 0));
    }

    #[test]
    fn cards_of_intel_and_amd_by_name() {
        use GpuClass::{Consumer, Datacenter, Integrated, Professional, Unknown};
        for (name, pci, class) in [
            ("AlderLake-S GT1 [UHD Graphics 770]", "0000:00:02.0", Integrated),
            ("DG2 [Arc A770]", "0000:03:00.0", Consumer),
            ("DG2 [Arc Pro A40/A50]", "0000:03:00.0", Professional),
            ("ATS-M [Data Center GPU Flex 170]", "0000:03:00.0", Datacenter),
            ("", "0000:03:00.0", Unknown),
        ] {
            assert_eq!(intel_class(name, pci), class, "{name}");
        }
        assert!(
            intel_encodes("ATS-M [Data Center GPU Flex 170]")
                && !intel_encodes("Ponte Vecchio XT [Data Center GPU Max 1550]")
        );
        assert!(amd_encodes("Navi 31 [Radeon Pro W7900]") && !amd_encodes("Aqua Vanjaram [Instinct MI300X]"));
        assert!(!amd_encodes("Navi 24 [Radeon RX 6400/6500 XT/6500M]"));
        for (name, class) in [
            ("Cezanne [Radeon Vega Series / Radeon Vega Mobile Series]", Integrated),
            ("Phoenix1", Integrated),
            ("Navi 31 [Radeon RX 7900 XT/7900 XTX/7900M]", Consumer),
            ("Navi 31 [Radeon Pro W7900]", Professional),
            ("Aqua Vanjaram [Instinct MI300X]", Datacenter),
            ("", Unknown),
        ] {
            assert_eq!(amd_class(name), class, "{name}");
        }
    }
}
