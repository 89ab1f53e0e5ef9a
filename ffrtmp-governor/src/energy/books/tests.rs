//! Whatever the meters, the clock and the attempts do: nobody gets what the node did not use.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::probe::{Root, energy};

use super::*;

/// Where the counter of the test turns over, in microjoules.
const RANGE: u64 = 40_000_000;

/// A node whose counters are files, and what it really used.
struct Node {
    folder: tempfile::TempDir,
    at: Duration,
    busy: Duration,
    capacity: Duration,
    microjoules: u64,
    gpu_joules: f64,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Start {
        gpu: bool,
    },
    /// An attempt works, perhaps longer than the processors did by their own count.
    Work {
        who: usize,
        millis: u64,
    },
    End {
        who: usize,
    },
    /// Time passes and is looked at.
    Look {
        millis: i64,
        joules: u64,
        busy: f64,
        gpu_joules: f64,
        sessions: u32,
        meter: Meter,
    },
}

#[derive(Clone, Copy, Debug)]
enum Meter {
    Whole,
    NoEnergy,
    NoTimes,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(folder.path().join("sys/class/powercap/intel-rapl:0")).expect("a zone");
        let node = Self {
            folder,
            at: Duration::ZERO,
            busy: Duration::ZERO,
            capacity: Duration::ZERO,
            microjoules: 0,
            gpu_joules: 0.0,
        };
        node.write("name", "package-0".into());
        node.write("max_energy_range_uj", RANGE.to_string());
        node
    }

    fn write(&self, file: &str, text: String) {
        fs::write(self.folder.path().join("sys/class/powercap/intel-rapl:0").join(file), text).expect("a file");
    }

    fn look(&self, sessions: u32, meter: Meter) -> Look {
        self.write("energy_uj", (self.microjoules % RANGE).to_string());
        let root = Root::at(self.folder.path());
        let gpu = GpuLook { at: self.at, joules: Some(self.gpu_joules), watts: None, sessions };
        Look {
            at: self.at,
            energy: energy::read(&root).filter(|_| !matches!(meter, Meter::NoEnergy)),
            cpu: (!matches!(meter, Meter::NoTimes)).then_some((self.busy, self.capacity)),
            gpus: BTreeMap::from([(0, gpu)]),
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let meter = prop_oneof![8 => Just(Meter::Whole), 1 => Just(Meter::NoEnergy), 1 => Just(Meter::NoTimes)];
    // Now and then the clock runs back, and a counter turns over.
    let look = (-500..3000_i64, 0..60_u64, 0.0..=1.0, 0.0..900.0, 0..4_u32, meter).prop_map(
        |(millis, joules, busy, gpu_joules, sessions, meter)| Event::Look {
            millis,
            joules,
            busy,
            gpu_joules,
            sessions,
            meter,
        },
    );
    prop_oneof![
        2 => any::<bool>().prop_map(|gpu| Event::Start { gpu }),
        4 => (any::<usize>(), 0..4000_u64).prop_map(|(who, millis)| Event::Work { who, millis }),
        1 => any::<usize>().prop_map(|who| Event::End { who }),
        5 => look,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attempts_never_get_more_than_the_node_used(events in vec(event(), 1..60)) {
        let mut node = Node::new();
        let mut books = Books::default();
        let mut living: Vec<(u64, Duration)> = Vec::new();
        let mut given: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for event in events {
            match event {
                Event::Start { gpu } => {
                    let cpu = Duration::from_secs(7);
                    living.push((books.open(node.at, cpu, gpu.then_some(0)), cpu));
                }
                Event::Work { who, millis } if !living.is_empty() => {
                    let index = who % living.len();
                    let (key, cpu) = &mut living[index];
                    *cpu += Duration::from_millis(millis);
                    books.worked(*key, *cpu);
                }
                Event::End { who } if !living.is_empty() => {
                    let (key, cpu) = living.swap_remove(who % living.len());
                    books.close(key, cpu, node.at);
                }
                Event::Work { .. } | Event::End { .. } => {}
                Event::Look { millis, joules, busy, gpu_joules, sessions, meter } => {
                    let step = Duration::from_millis(millis.unsigned_abs());
                    if millis < 0 {
                        node.at = node.at.saturating_sub(step);
                    } else {
                        node.at += step;
                        node.capacity += step * 4;
                        node.busy += (step * 4).mul_f64(busy);
                        node.microjoules += joules * 1_000_000;
                        node.gpu_joules += gpu_joules;
                    }
                    books.settle(node.look(sessions, meter));
                }
            }
            for (key, account) in &books.accounts {
                let (joules, gpu_joules) = (account.joules, account.gpu_joules);
                prop_assert!(joules.is_finite() && gpu_joules.is_finite(), "{account:?}");
                let before = given.insert(*key, (joules, gpu_joules)).unwrap_or_default();
                prop_assert!(joules >= before.0 && gpu_joules >= before.1, "{before:?} became {account:?}");
            }
            let all: f64 = given.values().map(|(joules, _)| joules).sum();
            let all_gpu: f64 = given.values().map(|(_, joules)| joules).sum();
            prop_assert!(all <= node.microjoules as f64 / 1e6 + 1e-6, "{all} J of {} uJ", node.microjoules);
            prop_assert!(all_gpu <= node.gpu_joules + 1e-6, "{all_gpu} J of {}", node.gpu_joules);
        }
        prop_assert!(books.accounts.len() <= given.len());
    }
}

/// A node of four processors that used 30 J in 10 s, in which they worked 20 of 40 s.
fn ten_seconds(node: &mut Node) {
    node.at += Duration::from_secs(10);
    node.capacity += Duration::from_secs(40);
    node.busy += Duration::from_secs(20);
    node.microjoules += 30_000_000;
}

fn energy_of(books: &Books, key: u64, at: Duration) -> (f64, EnergySource) {
    let (joules, source) = books.of(key, at, 2.0).expect("an account");
    ((joules.0 * 1e6).round() / 1e6, source)
}

#[test]
fn working_energy_by_time_idle_energy_by_presence() {
    let (mut node, mut books) = (Node::new(), Books::default());
    books.settle(node.look(0, Meter::Whole));
    let busy = books.open(node.at, Duration::from_secs(100), None);
    let calm = books.open(node.at, Duration::ZERO, None);
    let late = books.open(node.at + Duration::from_secs(5), Duration::ZERO, None);
    ten_seconds(&mut node);
    books.worked(busy, Duration::from_secs(112));
    books.worked(calm, Duration::from_secs(4));
    books.worked(late, Duration::from_secs(2));
    let reserve = books.open(node.at - Duration::from_secs(10), Duration::from_secs(1), None);
    books.settle(node.look(0, Meter::Whole));
    // Of 30 J half is idle; attempts worked 18 of 20 s, so they share 13.5 J of that by 10, 10, 5 s.
    assert_eq!(energy_of(&books, busy, node.at), (9.0 + 5.4, EnergySource::Rapl));
    assert_eq!(energy_of(&books, calm, node.at), (3.0 + 5.4, EnergySource::Rapl));
    assert_eq!(energy_of(&books, late, node.at), (1.5 + 2.7, EnergySource::Rapl));
    assert_eq!(energy_of(&books, reserve, node.at), (0.0, EnergySource::Rapl), "waits for work");
}

#[test]
fn a_meter_that_is_silent_is_made_up_for_and_one_that_is_lost_is_modelled() {
    let (mut node, mut books) = (Node::new(), Books::default());
    let key = books.open(node.at, Duration::ZERO, None);
    books.worked(key, Duration::from_secs(1));
    assert_eq!(energy_of(&books, key, node.at), (2.0, EnergySource::Modelled), "never measured");
    books.settle(node.look(0, Meter::Whole));
    ten_seconds(&mut node);
    books.worked(key, Duration::from_secs(21));
    books.settle(node.look(0, Meter::NoEnergy));
    books.settle(node.look(0, Meter::Whole));
    assert_eq!(energy_of(&books, key, node.at), (30.0, EnergySource::Rapl), "the whole of a busy node");
    node.at += LOST_AFTER;
    books.worked(key, Duration::from_secs(24));
    assert_eq!(energy_of(&books, key, node.at), (30.0, EnergySource::Rapl), "not lost yet");
    node.at += Duration::from_millis(1);
    assert_eq!(energy_of(&books, key, node.at), (36.0, EnergySource::Modelled), "3 s are modelled");
}

#[test]
fn a_counter_that_was_set_back_gives_nothing() {
    let (mut node, mut books) = (Node::new(), Books::default());
    node.microjoules = 100;
    let key = books.open(node.at, Duration::ZERO, None);
    books.settle(node.look(0, Meter::Whole));
    node.at += Duration::from_millis(1);
    node.microjoules = 0;
    books.worked(key, Duration::from_millis(1));
    books.settle(node.look(0, Meter::Whole));
    assert_eq!(energy_of(&books, key, node.at), (0.002, EnergySource::Modelled), "40 J in a millisecond");
}

#[test]
fn a_graphics_processor_adds_what_it_uses_above_idle() {
    let (mut node, mut books) = (Node::new(), Books::default());
    let look = |node: &Node, joules: Option<f64>, watts: f64, sessions| Look {
        gpus: BTreeMap::from([(0, GpuLook { at: node.at, joules, watts: Some(watts), sessions })]),
        ..node.look(0, Meter::Whole)
    };
    books.settle(look(&node, None, 20.0, 0));
    let ours = books.open(node.at, Duration::ZERO, Some(0));
    let other = books.open(node.at, Duration::ZERO, Some(1));
    node.at += Duration::from_secs(10);
    // 60 W on average, 20 W of them idle; one of two sessions is ours.
    books.settle(look(&node, None, 100.0, 2));
    assert_eq!(energy_of(&books, ours, node.at), (200.0, EnergySource::RaplNvml));
    assert_eq!(energy_of(&books, other, node.at), (0.0, EnergySource::Rapl), "on another card");
    books.settle(look(&node, Some(1000.0), 100.0, 2));
    node.at += Duration::from_secs(10);
    // A counter is better than two looks at the power.
    books.settle(look(&node, Some(1500.0), 100.0, 0));
    assert_eq!(energy_of(&books, ours, node.at).0, 200.0 + 500.0 - 200.0);
}
