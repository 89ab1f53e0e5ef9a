//! Cards of NVIDIA, by the library of their driver, which is looked for at run time: without it
//! there are no such cards, and that is no error.
//!
//! The library numbers cards by their PCI address. An encoder numbers them so too if the
//! environment has `CUDA_DEVICE_ORDER=PCI_BUS_ID`.

use std::ffi::{OsStr, OsString};

use ffrtmp_core::node::{Gpu, GpuTelemetry};
use ffrtmp_core::units::Joules;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::models::{nvidia_class, nvidia_sessions};
use super::{Absence, Card, GpuSource};

/// Names of the library; the second comes with packages for development.
const LIBRARIES: &[&str] = &["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// Cards of NVIDIA.
#[derive(Debug)]
pub struct Nvidia {
    libraries: Vec<OsString>,
    library: Option<Nvml>,
    driver: String,
    /// What each card said it is, by index: a lost one does not say it any more.
    known: Vec<Gpu>,
}

impl Default for Nvidia {
    fn default() -> Self {
        Self::with(LIBRARIES.iter().map(OsString::from).collect())
    }
}

impl Nvidia {
    /// By another library.
    #[must_use]
    pub fn at(library: &OsStr) -> Self {
        Self::with(vec![library.to_owned()])
    }

    fn with(libraries: Vec<OsString>) -> Self {
        Self { libraries, library: None, driver: String::new(), known: Vec::new() }
    }
}

impl GpuSource for Nvidia {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn look(&mut self) -> Result<Vec<Card>, Absence> {
        if self.library.is_none() {
            let library = open(&self.libraries).map_err(|error| absence(&error))?;
            self.driver = library.sys_driver_version().unwrap_or_default();
            self.library = Some(library);
        }
        let Some(library) = &self.library else { return Ok(Vec::new()) };
        let count = library.device_count().map_err(|error| absence(&error))?;
        // A card that fell off the bus may be gone from the count and is still missed.
        let count = count.max(u32::try_from(self.known.len()).unwrap_or(u32::MAX)).min(MOST_CARDS);
        if count == 0 {
            return Err(Absence { source: "nvml", reason: "the driver shows no card".into(), hint: String::new() });
        }
        let cards: Vec<_> = (0..count).map(|index| look(library, index, &self.driver, &self.known)).collect();
        self.known = cards.iter().map(|card| card.about.clone()).collect();
        Ok(cards)
    }
}

/// No machine has more; a library that says so is broken.
const MOST_CARDS: u32 = 256;

fn open(libraries: &[OsString]) -> Result<Nvml, NvmlError> {
    let mut refusal = NvmlError::LibraryNotFound;
    for library in libraries {
        match Nvml::builder().lib_path(library).init() {
            Ok(library) => return Ok(library),
            Err(error @ NvmlError::LibloadingError(_)) => refusal = error,
            // It is there and says why it does not serve.
            Err(error) => return Err(error),
        }
    }
    Err(refusal)
}

/// Why there are no cards, and what to do about it.
fn absence(error: &NvmlError) -> Absence {
    let (reason, hint) = match error {
        NvmlError::LibloadingError(error) => (
            format!("the library of the driver cannot be loaded: {error}"),
            "with a card of NVIDIA, install its driver; in a container, ask the runtime for the capabilities \
             `utility` and `video`",
        ),
        NvmlError::DriverNotLoaded => (
            "the library is there, but the kernel has not loaded the driver".into(),
            "load it with `modprobe nvidia`; `dmesg` says why it does not load",
        ),
        NvmlError::LibRmVersionMismatch => (
            "library and kernel module of the driver are of different versions".into(),
            "start the machine anew: the driver was updated under it",
        ),
        NvmlError::NoPermission | NvmlError::OperatingSystem => (
            format!("the driver may not be asked: {error}"),
            "let this user, and its control group, read and write /dev/nvidia*",
        ),
        NvmlError::FailedToLoadSymbol(symbol) => {
            (format!("the library of the driver is too old: {symbol}"), "install a driver of this decade")
        }
        error => (format!("the library of the driver does not serve: {error}"), "`dmesg` may say why"),
    };
    Absence { source: "nvml", reason, hint: hint.into() }
}

fn look(library: &Nvml, index: u32, driver: &str, known: &[Gpu]) -> Card {
    let before = known.iter().find(|gpu| gpu.index == index);
    let unnamed = || Gpu { index, vendor: "nvidia".into(), driver: driver.to_owned(), ..Gpu::default() };
    let device = match library.device_by_index(index) {
        Ok(device) => device,
        Err(error) => return gone(before.cloned().unwrap_or_else(unnamed), &error),
    };
    let mut asked = Asked { device: &device, lost: None };
    let memory = asked.ask(Device::memory_info);
    let now = GpuTelemetry {
        index,
        lost: None,
        utilization_percent: asked.ask(Device::utilization_rates).map(|rates| f64::from(rates.gpu)),
        encoder_percent: asked.ask(Device::encoder_utilization).map(|part| f64::from(part.utilization)),
        decoder_percent: asked.ask(Device::decoder_utilization).map(|part| f64::from(part.utilization)),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used.saturating_add(memory.reserved)),
        temperature_celsius: asked.ask(|device| device.temperature(TemperatureSensor::Gpu)).map(f64::from),
        power_watts: asked.ask(Device::power_usage).map(|milliwatts| f64::from(milliwatts) / 1e3),
        clock_mhz: asked.ask(|device| device.clock_info(Clock::Graphics)),
        memory_clock_mhz: asked.ask(|device| device.clock_info(Clock::Memory)),
        encode_sessions: asked.ask(Device::encoder_stats).map(|stats| stats.session_count),
    };
    let energy = asked.ask(Device::total_energy_consumption).map(|millijoules| Joules(millijoules as f64 / 1e3));
    let about = before.filter(|before| !before.name.is_empty()).cloned();
    let about = about.unwrap_or_else(|| introduce(&mut asked, memory.map_or(0, |memory| memory.total), unnamed()));
    match asked.lost {
        Some(error) => gone(about, &error),
        None => Card { about, now, energy },
    }
}

/// Asks a card what it is.
fn introduce(asked: &mut Asked<'_>, memory: u64, unnamed: Gpu) -> Gpu {
    let name = asked.ask(Device::name).unwrap_or_default();
    let (encode_bound, max_encode_sessions) = nvidia_sessions(&name, &unnamed.driver);
    let pci = asked.ask(Device::pci_info).map(|pci| address(&pci.bus_id)).unwrap_or_default();
    let class = nvidia_class(&name);
    Gpu { name, memory_total_bytes: memory, max_encode_sessions, encode_bound, class, pci, ..unnamed }
}

/// Asks one card until it is lost. What it does not tell is absent: an old driver has not the
/// function, a card not the part.
struct Asked<'a> {
    device: &'a Device<'a>,
    lost: Option<NvmlError>,
}

impl<'a> Asked<'a> {
    fn ask<T>(&mut self, question: impl FnOnce(&Device<'a>) -> Result<T, NvmlError>) -> Option<T> {
        if self.lost.is_some() {
            return None;
        }
        match question(self.device) {
            Ok(answer) => Some(answer),
            Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => {
                self.lost = Some(error);
                None
            }
            Err(_) => None,
        }
    }
}

fn gone(about: Gpu, error: &NvmlError) -> Card {
    let reason = match error {
        NvmlError::GpuLost => "it fell off the bus; it comes back when the machine starts anew".to_owned(),
        NvmlError::ResetRequired => "it must be reset: `nvidia-smi --gpu-reset`".to_owned(),
        error => format!("its driver does not show it: {error}"),
    };
    let now = GpuTelemetry { index: about.index, lost: Some(reason), ..GpuTelemetry::default() };
    Card { about, now, energy: None }
}

/// The address as the kernel writes it: the library gives the domain eight digits.
fn address(bus_id: &str) -> String {
    let address = bus_id.to_ascii_lowercase();
    match address.split_once(':') {
        Some((domain, rest)) if domain.len() == 8 => match domain.strip_prefix("0000") {
            Some(domain) => format!("{domain}:{rest}"),
            None => address,
        },
        _ => address,
    }
}
