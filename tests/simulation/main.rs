//! Deterministic simulation: the masters and agents as they are, over the memory store, in a world
//! whose clock, network, faults and people follow from one seed.
//!
//! `FFRTMP_SEEDS=10000` tries more seeds, `FFRTMP_SEED=42` replays one and tells everything that
//! happens in it. `docs/testing.md` says what is simulated and what is not.

mod broken;
mod chance;
mod clock;
mod network;
mod people;
mod process;
mod rules;
mod session;
mod shop;
mod trace;
mod witness;
mod world;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use ffrtmp::core::entropy::seed_this_thread;
use ffrtmp::core::store::Store;
use ffrtmp::store::MemoryStore;
use tokio::time::Instant;

use broken::{Broken, Mistake};
use chance::Chance;
use trace::Trace;
use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;

/// Seeds in which a mistake must show.
const WITH_A_MISTAKE: u64 = 1000;

/// Simulated time after the last fault within which every job has ended.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What came of a seed.
#[derive(Debug)]
struct Outcome {
    hash: u64,
    events: u64,
    last: Vec<String>,
    wrong: Vec<String>,
}

thread_local! {
    /// Panics of tasks on this thread. Killed processes unwind without one.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            usual(panic);
        }));
    });
}

/// Lives through the world of a seed.
fn simulate(seed: u64, store: Arc<dyn Store>, aloud: bool) -> Outcome {
    note_panics();
    seed_this_thread(Some(seed));
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let (hash, events, last, wrong) = runtime.block_on(live(seed, store, aloud)).end();
    drop(runtime);
    seed_this_thread(None);
    let panics = PANICS.take().into_iter().map(|panic| format!("a task panicked: {panic}"));
    Outcome { hash, events, last, wrong: wrong.into_iter().chain(panics).collect() }
}

async fn live(seed: u64, store: Arc<dyn Store>, aloud: bool) -> Arc<Trace> {
    let trace = Arc::new(Trace::new(aloud));
    let world = World::new(seed, store, Arc::clone(&trace));
    let chance = Chance::of(seed, "life");
    for seat in 0..world.masters.len() {
        tokio::spawn(world::keep_master(Arc::clone(&world), seat));
    }
    for seat in 0..world.agents.len() {
        tokio::spawn(world::keep_agent(Arc::clone(&world), seat));
    }
    let until = Instant::now() + chance.ms(5_000, 40_000);
    let submitter = tokio::spawn(people::submit(Arc::clone(&world), chance.between(5, 30)));
    tokio::spawn(people::meddle(Arc::clone(&world)));
    world::trouble(Arc::clone(&world), until).await;
    trace.note(format_args!("faults stop"));
    world.weather.calm_down();
    let ended = async {
        let taken = submitter.await.unwrap_or_default();
        let unknown = taken.iter().find(|id| !world.witness.seen().jobs.contains_key(id));
        if let Some(id) = unknown {
            trace.wrong(format_args!("{id} was taken and is not stored"));
        }
        people::tidy_up(Arc::clone(&world)).await;
    };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        trace.wrong(format_args!("not all jobs have ended {} s after the last fault", PATIENCE.as_secs()));
    }
    if let Err(error) = world.witness.recount().await {
        trace.wrong(format_args!("the store cannot be recounted: {error}"));
    }
    rules::at_the_end(&world.witness.seen(), &trace);
    trace
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// What a person needs who looks at a failure.
fn story(seed: u64, outcome: &Outcome) -> String {
    format!(
        "seed {seed} after {} events:\n  {}\n\nthe events before that:\n  {}\n\nreplay: FFRTMP_SEED={seed} cargo test --test simulation -- --nocapture every_seed",
        outcome.events,
        outcome.wrong.join("\n  "),
        outcome.last.join("\n  "),
    )
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

/// Runs `seeds` on every core; the failures, lowest seed first.
fn on_every_core<T: Send>(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> Option<T> + Sync) -> Vec<(u64, T)> {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Some(outcome) = run(seed) {
                        found.lock().expect("no thread panics with it").push((seed, outcome));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no thread panics with it");
    found.sort_by_key(|(seed, _)| *seed);
    found
}

#[test]
fn every_seed_keeps_the_rules() {
    if let Some(seed) = number("FFRTMP_SEED") {
        let outcome = simulate(seed, memory(), true);
        assert!(outcome.wrong.is_empty(), "{}", story(seed, &outcome));
        return;
    }
    let seeds = number("FFRTMP_SEEDS").unwrap_or(SEEDS);
    let failed = on_every_core(0..seeds, |seed| {
        let outcome = simulate(seed, memory(), false);
        (!outcome.wrong.is_empty()).then_some(outcome)
    });
    let numbers: Vec<_> = failed.iter().map(|(seed, _)| *seed).collect();
    let first = failed.first().map(|(seed, outcome)| story(*seed, outcome));
    assert!(failed.is_empty(), "{} of {seeds} seeds failed: {numbers:?}\n{}", failed.len(), first.unwrap_or_default());
}

#[test]
fn a_seed_is_the_same_twice() {
    for seed in [3, 1_000_003, 77_777_777, u64::MAX / 3, 12] {
        let (first, second) = (simulate(seed, memory(), false), simulate(seed, memory(), false));
        assert!(first.events > 50, "seed {seed} has only {} events", first.events);
        assert_eq!((first.hash, first.events), (second.hash, second.events), "seed {seed}");
    }
    assert_ne!(simulate(1, memory(), false).hash, simulate(2, memory(), false).hash);
}

#[test]
fn a_broken_store_is_caught() {
    for mistake in Mistake::ALL {
        let is_found = AtomicBool::new(false);
        on_every_core(0..WITH_A_MISTAKE, |seed| {
            let wrong =
                !is_found.load(Ordering::Relaxed) && !simulate(seed, Broken::new(*mistake), false).wrong.is_empty();
            is_found.fetch_or(wrong, Ordering::Relaxed).then_some(())
        });
        assert!(is_found.into_inner(), "{mistake:?} was not found in {WITH_A_MISTAKE} seeds");
    }
}
