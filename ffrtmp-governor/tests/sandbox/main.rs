//! What an attacker inside a confined process still can do: nothing of this table.
//!
//! The attacker is a fork of the test, a process with one thread. Each attack first has to succeed without a sandbox, or its failing would say nothing; then it must fail under all layers,
//! under each of the layers that the table names alone, and with any one layer taken away, as long as
//! another one holds it.

#![allow(clippy::print_stdout, reason = "the table is for whoever reads the test's output")]

mod attacks;
mod process;
mod world;

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use ffrtmp_core::sandbox::{Reach, Sandbox};
use ffrtmp_governor::sandbox::{Layer, Layers, Policy};
use rustix::process::geteuid;

use attacks::{ATTACKS, Attack};
use process::{Process, say};
use world::{Target, World};

const SUCCEEDED: &str = "the attack succeeded";
/// A user who is nobody in particular.
const ORDINARY: u32 = 54_321;

/// As whom the attacker's process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Root,
    Ordinary,
}

#[test]
fn root_is_held() {
    if !geteuid().is_root() {
        println!("skipped: only root can attack as root");
        return;
    }
    judge(Who::Root, |layers| layers);
}

#[test]
fn root_is_held_in_the_copy_of_a_fork_server() {
    if !geteuid().is_root() {
        println!("skipped: only root can attack as root");
        return;
    }
    judge(Who::Root, Layers::ahead);
}

#[test]
fn an_ordinary_user_is_held() {
    judge(Who::Ordinary, |layers| layers);
}

/// Runs the whole table and names every line that is wrong.
fn judge(who: Who, prepare: fn(Layers) -> Layers) {
    let mut wrong = Vec::new();
    for attack in ATTACKS.iter().filter(|attack| attack.fits(who)) {
        let holders = attack.holders(who);
        let mut expect = |without: BTreeSet<Layer>, held: bool, what: String| {
            let run = run(who, attack, &without, prepare);
            if run.held != held {
                wrong.push(format!("{}: {what}: {}", attack.name, run.words));
            }
        };
        let all: BTreeSet<_> = Layer::ALL.iter().copied().collect();
        expect(all.clone(), false, "cannot succeed even without a sandbox".into());
        expect(BTreeSet::new(), true, "succeeds in spite of all layers".into());
        for layer in holders {
            let mut others = all.clone();
            // Landlock and seccomp are for those who gave up new privileges.
            others.retain(|other| other != layer && *other != Layer::NoNewPrivs);
            expect(others, true, format!("succeeds against {layer} alone"));
        }
        for layer in Layer::ALL {
            if holders.iter().any(|holder| holder != layer) {
                expect(BTreeSet::from([*layer]), true, format!("succeeds without {layer}"));
            }
        }
        let names: Vec<_> = holders.iter().map(|layer| layer.as_str()).collect();
        let names = if names.is_empty() { "several layers together".into() } else { names.join(", ") };
        println!("{who:?}: {:<44} held by {names}", attack.name);
        if attack.needs_two && holders.len() < 2 {
            wrong.push(format!("{}: a single layer holds it", attack.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A fork server without a network, and the copy of it whose work opens connections.
#[test]
fn live_work_returns_to_the_network() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let connects = |reach: Reach| {
        let (said, ended) = Process::start(None, || {
            let layers = Layers::new(Policy::default()).ahead();
            layers.confine(&reach).expect("layers that can be had");
            say(if TcpStream::connect(address).is_ok() { "connected" } else { "alone" });
        })
        .wait();
        assert!(ended.success(), "{said} {ended}");
        said
    };
    assert_eq!(connects(Reach { network: true, ..Reach::default() }), "connected");
    assert_eq!(connects(Reach::default()), "alone");
}

/// Every layer by its name, and what it takes to put them on.
#[test]
fn each_layer_is_said_once_and_all_cost_little() {
    let layers = Layers::new(Policy::default());
    let user = geteuid().is_root().then_some(ORDINARY);
    let mut times = Vec::new();
    for who in [None, user].into_iter().take(1 + usize::from(user.is_some())) {
        for round in 0..20 {
            let world = World::new(who);
            let target = world.target();
            let (said, ended) = Process::start(who, || {
                let started = Instant::now();
                let found = layers.confine(&reach(&target)).expect("layers that can be had");
                let took = started.elapsed();
                let guards = found.iter().map(|guard| format!("{}={} {}", guard.name, guard.on, guard.detail));
                say(&format!("{}\n{}", took.as_micros(), guards.collect::<Vec<_>>().join("\n")));
            })
            .wait();
            assert!(ended.success(), "{said} {ended}");
            let (took, guards) = said.split_once('\n').expect("two parts");
            let names: Vec<_> = guards.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
            let wanted: Vec<_> = Layer::ALL.iter().map(|layer| layer.as_str()).collect();
            assert_eq!(names, wanted, "{guards}");
            times.push(took.parse::<u64>().expect("microseconds"));
            if round == 0 {
                println!("{guards}");
            }
        }
        times.sort_unstable();
        println!("putting all layers on took {} us at best, {} us in the median", times[0], times[times.len() / 2]);
        assert!(times[times.len() / 2] < 50_000, "{times:?}");
        times.clear();
    }
}

/// How an attack went.
struct Run {
    held: bool,
    words: String,
}

fn run(who: Who, attack: &Attack, without: &BTreeSet<Layer>, prepare: fn(Layers) -> Layers) -> Run {
    let user = (who == Who::Ordinary && geteuid().is_root()).then_some(ORDINARY);
    let world = World::new(user);
    let target = world.target();
    let mut attacker = Process::start(user, || strike(attack, &target, without, prepare));
    let (said, ended) = attacker.wait();
    assert!(said.contains("confined"), "{}: the attacker did not come so far: {said} {ended}", attack.name);
    let harm = world.harm();
    Run { held: !said.contains(SUCCEEDED) && harm.is_none(), words: format!("{said} {harm:?} {ended}") }
}

fn reach(target: &Target) -> Reach {
    Reach {
        read: vec![target.input.clone()],
        write: vec![target.output.clone()],
        max_file_bytes: Some(64 << 20),
        max_memory_bytes: Some(512 << 20),
        ..Reach::default()
    }
}

/// What the attacker's process does.
fn strike(attack: &Attack, target: &Target, without: &BTreeSet<Layer>, prepare: fn(Layers) -> Layers) {
    let policy = Policy { without: without.iter().copied().collect(), ..Policy::default() };
    let layers = prepare(Layers::new(policy));
    let found = layers.confine(&reach(target)).expect("layers that can be had");
    say("confined");
    for guard in found.iter().filter(|guard| !guard.on && !guard.detail.contains("by the policy")) {
        say(&format!("; not on: {}: {}", guard.name, guard.detail));
    }
    match (attack.strike)(target) {
        Ok(()) => say(&format!("; {SUCCEEDED}")),
        Err(error) => say(&format!("; held: {error}")),
    }
}
