//! Sessions are set aside and come back, whatever others do and whatever breaks.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::node::{EncodeBound, Gpu, GpuTelemetry};
use ffrtmp_governor::gpu::{Card, Fleet, GpuOptions, GpuRule, GpuSource, Pool};

use super::{Mishap, Scripted};

fn card(index: u32, vendor: &str, bound: EncodeBound, most: u32) -> Card {
    let about = Gpu { index, vendor: vendor.into(), encode_bound: bound, max_encode_sessions: most, ..Gpu::default() };
    Card { about, now: shown(index, 0), energy: None }
}

fn shown(index: u32, sessions: u32) -> GpuTelemetry {
    GpuTelemetry { index, encode_sessions: Some(sessions), ..GpuTelemetry::default() }
}

fn pool(sources: impl IntoIterator<Item = Scripted>) -> Pool {
    let sources = sources.into_iter().map(|source| Box::new(source) as Box<dyn GpuSource>);
    Pool::new(Arc::new(Fleet::of(sources.collect(), &GpuOptions::default())), GpuRule::default())
}

/// Lets the driver show so many sessions and waits until the pool has seen it.
fn show(pool: &Pool, driver: &Scripted, sessions: u32) {
    driver.change(|script| script.cards[0].now = shown(0, sessions));
    let end = Instant::now() + Duration::from_secs(20);
    while pool.fleet().telemetry()[0].encode_sessions != Some(sessions) {
        assert!(Instant::now() < end, "it is never seen");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nobody_gets_what_another_holds() {
    let driver = Scripted::of([card(0, "nvidia", EncodeBound::System, 5), card(1, "nvidia", EncodeBound::System, 5)]);
    let pool = pool([driver]);
    let most = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let pool = pool.clone();
                scope.spawn(move || (0..200).filter_map(|_| pool.reserve().ok()).count())
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).sum::<usize>()
    });
    assert!(most >= 5, "they were given out again and again: {most}");
    let held: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..3).filter_map(|_| pool.reserve().ok()).collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert_eq!(held.len(), 5);
    assert_eq!((pool.free_sessions(), pool.refusal().is_some()), (0, true));
    let cards: Vec<_> = held.iter().map(|lease| lease.index()).collect();
    assert!(cards.contains(&0) && cards.contains(&1), "they are spread: {cards:?}");
    let broken = thread::spawn(move || {
        let _held = held;
        panic!("an attempt that breaks");
    });
    assert!(broken.join().is_err());
    assert_eq!(pool.free_sessions(), 5, "a panic gives back too");
}

#[test]
fn what_others_hold_is_told_from_ours() {
    let driver = Scripted::of([card(0, "nvidia", EncodeBound::Card, 8)]);
    let pool = pool([driver.clone()]);
    show(&pool, &driver, 2);
    assert_eq!(pool.free_sessions(), 6, "two of others");
    let ours: Vec<_> = (0..3).map(|_| pool.reserve().expect("a session")).collect();
    assert_eq!(pool.free_sessions(), 3, "ours are not shown yet");
    show(&pool, &driver, 5);
    assert_eq!(pool.free_sessions(), 3, "ours are shown and not counted twice");
    show(&pool, &driver, 6);
    assert_eq!(pool.free_sessions(), 2, "another program began");
    drop(ours);
    assert_eq!(pool.free_sessions(), 5, "three of others");
    show(&pool, &driver, 3);
    assert_eq!(pool.free_sessions(), 5);
    show(&pool, &driver, 0);
    assert_eq!(pool.free_sessions(), 8);
}

#[test]
fn only_one_maker_is_given_out() {
    let nvidia = || Scripted::of([card(0, "nvidia", EncodeBound::Card, 1)]);
    let blind = || Scripted::of([card(0, "nvidia", EncodeBound::None, 0)]);
    let intel = || Scripted::of([card(0, "intel", EncodeBound::Unbounded, 0)]);
    let both = pool([nvidia(), intel()]);
    let indices: Vec<_> = both.fleet().cards().iter().map(|card| card.index).collect();
    assert_eq!(indices, [0, 1], "the second source's only card is the fleet's second");
    let lease = both.reserve().expect("a session");
    assert_eq!((lease.index(), both.reserve().is_err()), (0, true), "an encoder of NVIDIA cannot open a card of Intel");
    assert_eq!(pool([blind(), intel()]).reserve().expect("a session").index(), 1);
}

#[test]
fn a_source_that_breaks_loses_its_cards_and_finds_them_again() {
    let driver = Scripted::of([card(0, "nvidia", EncodeBound::Card, 1)]);
    let pool = pool([driver.clone()]);
    for (mishap, why) in [(Mishap::Panic, "broke"), (Mishap::Absent, "all gone")] {
        driver.change(|script| script.mishap = Some(mishap));
        let end = Instant::now() + Duration::from_secs(20);
        let refused = loop {
            match pool.reserve() {
                Err(refused) if refused.to_string().contains(why) => break refused.to_string(),
                answer => assert!(Instant::now() < end, "{answer:?}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        assert!(refused.starts_with("gpu 0: "), "{refused}");
    }
    driver.change(|script| script.mishap = None);
    show(&pool, &driver, 0);
    assert_eq!(pool.free_sessions(), 1);
}

#[test]
fn looks_are_seldom() {
    let driver = Scripted::of([card(0, "nvidia", EncodeBound::Card, 1)]);
    let began = Instant::now();
    let pool = pool([driver.clone()]);
    for _ in 0..1000 {
        assert_eq!(pool.free_sessions(), 1);
    }
    let (looks, seconds) = (driver.change(|script| script.looks), began.elapsed().as_secs());
    assert!(u64::from(looks) <= seconds + 2, "{looks} looks in {seconds} s");
}
