//! Cards of NVIDIA through a library that is not NVIDIA's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp_core::node::{EncodeBound, GpuClass, GpuTelemetry};
use ffrtmp_governor::gpu::nvml::Nvidia;
use ffrtmp_governor::gpu::{Fleet, GpuOptions, GpuRule, GpuSource, Pool};

const TWO_CONSUMER_CARDS: &[(&str, &str)] = &[
    ("driver", "525.60.13"),
    ("count", "2"),
    ("0.name", "NVIDIA GeForce RTX 3080"),
    ("0.use", "10"),
    ("0.encoder", "20"),
    ("0.decoder", "30"),
    ("0.celsius", "55"),
    ("0.milliwatts", "123456"),
    ("0.clock", "1710"),
    ("0.memory_clock", "9501"),
    ("0.memory_mb", "10240"),
    ("0.used_mb", "512"),
    ("0.sessions", "0"),
    ("0.millijoules", "5000"),
    ("1.name", "NVIDIA GeForce GTX 1660"),
    ("1.use", "50"),
    ("1.celsius", "60"),
    ("1.memory_mb", "6144"),
    ("1.used_mb", "100"),
    ("1.sessions", "1"),
];

/// A library and what it tells.
struct Driver {
    folder: tempfile::TempDir,
    library: PathBuf,
    told: BTreeMap<String, String>,
}

impl Driver {
    fn with(told: &[(&str, &str)]) -> Self {
        Self::built(told, &[])
    }

    fn built(told: &[(&str, &str)], defines: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let library = folder.path().join("libnvidia-ml.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu/fake_nvml.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]).args(defines);
        compiler.arg(format!("-DSTATE=\"{}\"", folder.path().join("state").display()));
        let built = compiler.arg("-o").arg(&library).arg(&source).output().expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let told = told.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let driver = Self { folder, library, told };
        driver.write();
        driver
    }

    /// Tells something else from the next call on.
    fn tell(&mut self, key: &str, value: &str) {
        self.told.insert(key.into(), value.into());
        self.write();
    }

    fn write(&self) {
        let text: String = self.told.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        let (new, state) = (self.folder.path().join("new"), self.folder.path().join("state"));
        fs::write(&new, text).and_then(|()| fs::rename(new, state)).expect("the state");
    }

    fn source(&self) -> Nvidia {
        Nvidia::at(self.library.as_os_str())
    }

    fn fleet(&self) -> Fleet {
        Fleet::of(vec![Box::new(self.source())], &GpuOptions::default())
    }
}

/// Looks again and again until the cards are as wished; a look is repeated once a second.
fn until(fleet: &Fleet, wished: impl Fn(&[GpuTelemetry]) -> bool) -> Vec<GpuTelemetry> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let cards = fleet.telemetry();
        if wished(&cards) {
            return cards;
        }
        assert!(Instant::now() < end, "it never came: {cards:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_cards_are_seen_whole() {
    let driver = Driver::with(TWO_CONSUMER_CARDS);
    let fleet = driver.fleet();
    assert!(fleet.absences().is_empty(), "{:?}", fleet.absences());
    let [first, second] = fleet.cards() else { panic!("{fleet:?}") };
    assert_eq!((first.index, first.name.as_str(), first.class), (0, "NVIDIA GeForce RTX 3080", GpuClass::Consumer));
    assert_eq!(
        (first.vendor.as_str(), first.driver.as_str(), first.pci.as_str()),
        ("nvidia", "525.60.13", "0000:01:00.0")
    );
    assert_eq!((first.memory_total_bytes, first.max_encode_sessions), (10 << 30, 3));
    assert_eq!((second.index, second.encode_bound, second.pci.as_str()), (1, EncodeBound::System, "0000:02:00.0"));

    let now = fleet.telemetry();
    let whole = GpuTelemetry {
        index: 0,
        lost: None,
        utilization_percent: Some(10.0),
        encoder_percent: Some(20.0),
        decoder_percent: Some(30.0),
        memory_used_bytes: Some(512 << 20),
        temperature_celsius: Some(55.0),
        power_watts: Some(123.456),
        clock_mhz: Some(1710),
        memory_clock_mhz: Some(9501),
        encode_sessions: Some(0),
    };
    assert_eq!(now[0], whole);
    assert_eq!((now[1].encode_sessions, now[1].power_watts, now[1].encoder_percent), (Some(1), None, None));
}

#[test]
fn sessions_run_out_for_the_whole_system() {
    let driver = Driver::with(TWO_CONSUMER_CARDS);
    let pool = Pool::new(Arc::new(driver.fleet()), GpuRule::default());
    assert_eq!(pool.free_sessions(), 2, "a program that is not ours has one of 3");
    let leases: Vec<_> = (0..2).map(|_| pool.reserve().expect("a session")).collect();
    assert!(leases.iter().all(|lease| lease.index() == 0), "card 1 is busier: {leases:?}");
    let refused = pool.reserve().expect_err("all are taken").to_string();
    assert_eq!(
        refused,
        "gpu 0: 3 of 3 encode sessions that its driver allows the whole system are taken; \
         gpu 1: 3 of 3 encode sessions that its driver allows the whole system are taken"
    );
    drop(leases);
    assert_eq!(pool.free_sessions(), 2);
}

#[test]
fn a_card_that_is_lost_is_said_to_be_and_not_chosen() {
    let mut driver = Driver::with(TWO_CONSUMER_CARDS);
    let fleet = Arc::new(driver.fleet());
    let pool = Pool::new(Arc::clone(&fleet), GpuRule::default());
    let lease = pool.reserve().expect("a session");
    assert_eq!(lease.index(), 0);

    driver.tell("0.lost", "1");
    let cards = until(&fleet, |cards| cards[0].lost.is_some());
    assert!(cards[0].lost.as_ref().is_some_and(|why| why.contains("fell off the bus")), "{cards:?}");
    assert_eq!((cards[0].utilization_percent, cards[1].lost.as_ref()), (None, None));
    assert_eq!(pool.reserve().expect("a session").index(), 1, "the other card still serves");
    drop(lease);

    // Its handle is refused and the count falls: it stays missed.
    driver.tell("0.handle", "15");
    until(&fleet, |cards| cards[0].lost.is_some() && cards[1].lost.is_none());
    driver.tell("count", "1");
    driver.tell("1.handle", "15");
    until(&fleet, |cards| cards.len() == 2 && cards.iter().all(|card| card.lost.is_some()));
    assert_eq!(fleet.cards().len(), 2);
    let refused = pool.reserve().expect_err("nothing is left").to_string();
    assert!(refused.starts_with("gpu 0: it fell off the bus") && refused.contains("gpu 1: "), "{refused}");

    for (key, value) in [("count", "2"), ("0.handle", "0"), ("1.handle", "0"), ("0.lost", "0")] {
        driver.tell(key, value);
    }
    until(&fleet, |cards| cards.iter().all(|card| card.lost.is_none()));
}

#[test]
fn a_driver_that_hangs_holds_nobody_up() {
    let mut driver = Driver::with(TWO_CONSUMER_CARDS);
    let fleet = Arc::new(driver.fleet());
    let pool = Pool::new(Arc::clone(&fleet), GpuRule::default());
    let lease = pool.reserve().expect("a session");
    driver.tell("hang", "1");
    let mut slowest = Duration::ZERO;
    let end = Instant::now() + Duration::from_secs(30);
    let refused = loop {
        assert!(Instant::now() < end, "a driver that hangs is never found out");
        let began = Instant::now();
        let answer = pool.reserve();
        slowest = slowest.max(began.elapsed());
        match answer {
            // What was seen last is true for some seconds.
            Ok(another) => drop(another),
            Err(refused) => break refused.to_string(),
        }
    };
    assert!(refused.contains("gpu 0: its driver has not answered for"), "{refused}");
    assert!(slowest < Duration::from_secs(5), "somebody waited {slowest:?}");
    drop(lease);
    driver.tell("hang", "0");
    until(&fleet, |cards| cards.iter().all(|card| card.lost.is_none()));
    assert_eq!(pool.free_sessions(), 2);
}

#[test]
fn why_there_are_no_cards_is_said_with_the_cure() {
    for (told, reason, hint) in [
        (("init", "18"), "of different versions", "start the machine anew"),
        (("init", "9"), "has not loaded the driver", "modprobe nvidia"),
        (("init", "4"), "may not be asked", "/dev/nvidia*"),
        (("count", "0"), "shows no card", ""),
    ] {
        let fleet = Driver::with(&[told]).fleet();
        let [absence] = fleet.absences() else { panic!("{fleet:?}") };
        assert!(absence.reason.contains(reason) && absence.hint.contains(hint), "{absence:?}");
        assert!(fleet.cards().is_empty() && fleet.telemetry().is_empty());
    }
    let nowhere = tempfile::tempdir().expect("a directory");
    let broken = nowhere.path().join("broken.so");
    fs::write(&broken, "no library at all").expect("a file");
    for library in [broken, nowhere.path().join("missing.so")] {
        let absence = Nvidia::at(library.as_os_str()).look().expect_err("nothing to load");
        assert!(absence.reason.contains("cannot be loaded") && !absence.hint.is_empty(), "{absence:?}");
    }
    let pool = Pool::new(Arc::new(Fleet::none()), GpuRule::default());
    assert_eq!(pool.reserve().expect_err("no cards").to_string(), "the node has no graphics processor");
}

#[test]
fn an_old_driver_tells_what_it_can() {
    let driver = Driver::built(TWO_CONSUMER_CARDS, &["-DOLD_DRIVER"]);
    let fleet = driver.fleet();
    let now = fleet.telemetry();
    assert_eq!(fleet.cards().len(), 2, "{:?}", fleet.absences());
    assert_eq!((fleet.cards()[0].memory_total_bytes, fleet.cards()[0].pci.as_str()), (0, ""));
    assert_eq!((now[0].lost.as_ref(), now[0].utilization_percent), (None, Some(10.0)));
    assert_eq!((now[0].encode_sessions, now[0].memory_used_bytes), (None, None));
    assert!(fleet.energy().is_empty());
    let pool = Pool::new(Arc::new(fleet), GpuRule::default());
    let leases: Vec<_> = std::iter::from_fn(|| pool.reserve().ok()).take(9).collect();
    assert_eq!(leases.len(), 3, "what is not shown is counted all the same");
}

#[test]
fn a_card_without_an_encoder_is_never_chosen() {
    let mut told = TWO_CONSUMER_CARDS.to_vec();
    told.extend([("0.name", "NVIDIA H200"), ("1.name", "NVIDIA A10")]);
    let mut driver = Driver::with(&told);
    let pool = Pool::new(Arc::new(driver.fleet()), GpuRule::default());
    let leases: Vec<_> = (0..20).map(|_| pool.reserve().expect("an A10 has no bound")).collect();
    assert!(leases.iter().all(|lease| lease.index() == 1));
    assert_eq!(pool.free_sessions(), u32::MAX);
    driver.tell("1.name", "NVIDIA A100-SXM4-80GB");
    let pool = Pool::new(Arc::new(driver.fleet()), GpuRule::default());
    let refused = pool.reserve().expect_err("neither encodes").to_string();
    assert_eq!(refused, "gpu 0: it has no video encoder; gpu 1: it has no video encoder");
}

#[test]
fn an_operator_knows_better() {
    let driver = Driver::with(TWO_CONSUMER_CARDS);
    let options = GpuOptions { sessions: Some(12), sessions_of: BTreeMap::from([(1, 2)]) };
    let fleet = Fleet::of(vec![Box::new(driver.source())], &options);
    let bounds: Vec<_> = fleet.cards().iter().map(|card| (card.max_encode_sessions, card.encode_bound)).collect();
    assert_eq!(bounds, [(12, EncodeBound::System), (2, EncodeBound::System)]);
}

#[test]
fn energy_never_falls() {
    let mut driver = Driver::with(TWO_CONSUMER_CARDS);
    let fleet = driver.fleet();
    assert_eq!(fleet.energy().into_iter().map(|(card, used)| (card, used.0)).collect::<Vec<_>>(), [(0, 0.0)]);
    // The third is that of a driver that was loaded anew.
    for (millijoules, joules) in [("9000", 4.0), ("12500", 7.5), ("100", 7.5), ("600", 8.0)] {
        driver.tell("0.millijoules", millijoules);
        driver.tell("0.clock", millijoules);
        until(&fleet, |cards| cards[0].clock_mhz == millijoules.parse().ok());
        assert!((fleet.energy()[&0].0 - joules).abs() < 1e-9, "{millijoules}: {:?}", fleet.energy());
    }
}
