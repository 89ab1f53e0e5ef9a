//! The rules of admission and the thresholds of strain, as tables.

use ffrtmp_core::governor::Admission;

use crate::probe::disk::Disk;

use super::heat::Sensor;
use super::ledger::{Claim, Held, Seen, decide};
use super::options::Budget;
use super::strain::{Gates, Reasons, Signs, StrainLimits};

const MIB: u64 = 1 << 20;

fn budget() -> Budget {
    Budget {
        cpu_percent: 400,
        cpu_given_percent: 800,
        cpu_default_percent: 100,
        memory_bytes: Some(1000 * MIB),
        disk_bytes: None,
        min_free_disk_percent: 5,
        strain: StrainLimits::default(),
    }
}

/// Half of everything is left.
fn seen() -> Seen {
    Seen {
        disk: Disk { available: 500 * MIB, total: 1000 * MIB },
        memory_available: Some(500 * MIB),
        memory_used: 0,
        strain: Reasons::default(),
    }
}

fn claim(cpu_percent: u64, memory: u64, disk: u64) -> Claim {
    Claim { cpu_percent, memory: memory * MIB, disk: disk * MIB, device: 1 }
}

fn held(claims: &[Claim]) -> Held {
    let mut held = Held::default();
    claims.iter().for_each(|claim| held.take(claim));
    held
}

fn words(admission: Admission) -> String {
    match admission {
        Admission::Admitted => "admitted".to_owned(),
        Admission::Warned(why) => format!("warned: {why}"),
        Admission::Refused(why) => format!("refused: {why}"),
    }
}

#[test]
fn what_fits() {
    let disk = |available| Seen { disk: Disk { available: available * MIB, total: 1000 * MIB }, ..seen() };
    let memory =
        |available: u64, used: u64| Seen { memory_available: Some(available * MIB), memory_used: used * MIB, ..seen() };
    let other_disk = Claim { device: 2, ..claim(1, 1, 500) };
    for (name, taken, asked, seen, answer) in [
        ("all of the disk", vec![], claim(1, 1, 500), seen(), "admitted"),
        (
            "more than the disk",
            vec![],
            claim(1, 1, 501),
            seen(),
            "refused: the attempt may use 501 MB of disk and 500 MB are left",
        ),
        ("half the disk twice", vec![claim(1, 1, 250)], claim(1, 1, 250), seen(), "admitted"),
        (
            "and more",
            vec![claim(1, 1, 251)],
            claim(1, 1, 250),
            seen(),
            "refused: the attempt may use 250 MB of disk and 249 MB",
        ),
        ("two disks", vec![other_disk], claim(1, 1, 500), seen(), "admitted"),
        ("getting full", vec![], claim(1, 1, 1), disk(99), "warned: only 9.9 % of the disk is free"),
        ("nearly full", vec![], claim(1, 1, 1), disk(50), "warned: only 5.0 % of the disk is free"),
        ("full", vec![], claim(1, 1, 1), disk(49), "refused: 4.9 % of the disk is free; at least 5 % must be"),
        ("free memory", vec![], claim(1, 500, 1), seen(), "admitted"),
        (
            "more than is free",
            vec![],
            claim(1, 501, 1),
            seen(),
            "refused: the attempt may use 501 MB of memory and 500 MB",
        ),
        (
            "reserved, not used",
            vec![claim(1, 300, 1)],
            claim(1, 300, 1),
            seen(),
            "refused: the attempt may use 300 MB of memory and 200 MB",
        ),
        ("reserved and used", vec![claim(1, 300, 1)], claim(1, 300, 1), memory(500, 300), "admitted"),
        ("used beyond it", vec![claim(1, 300, 1)], claim(1, 500, 1), memory(500, 900), "admitted"),
        (
            "more than the budget",
            vec![],
            claim(1, 1001, 1),
            memory(5000, 0),
            "refused: the attempt may use 1001 MB of memory and 1000 MB",
        ),
        ("the rest of the budget", vec![claim(1, 600, 1)], claim(1, 400, 1), memory(5000, 0), "admitted"),
        (
            "beyond the budget",
            vec![claim(1, 600, 1)],
            claim(1, 401, 1),
            memory(5000, 600),
            "refused: the attempt may use 401 MB of memory and 400 MB",
        ),
        ("processor, overcommitted", vec![claim(400, 1, 1); 1], claim(400, 1, 1), seen(), "admitted"),
        (
            "too much of it",
            vec![claim(400, 1, 1); 2],
            claim(1, 1, 1),
            seen(),
            "refused: the attempt counts as 1 % of a core and 800 % of 800 % are given out",
        ),
    ] {
        let got = words(decide(&budget(), &held(&taken), &asked, &seen));
        assert!(got.starts_with(answer), "{name}: {got}");
    }
    let untold = Seen { memory_available: None, ..seen() };
    let limitless = Budget { memory_bytes: None, ..budget() };
    assert_eq!(decide(&limitless, &held(&[]), &claim(1, 1 << 40, 1), &untold), Admission::Admitted);
    let small = Budget { disk_bytes: Some(100 * MIB), ..budget() };
    let answer = words(decide(&small, &held(&[claim(1, 1, 60)]), &claim(1, 1, 60), &seen()));
    assert_eq!(answer, "refused: the attempt may use 60 MB of disk and 40 MB are left");
}

#[test]
fn what_is_given_back_is_there_again() {
    let claims = [claim(100, 200, 300), Claim { device: 2, ..claim(1, u64::MAX / MIB, u64::MAX / MIB) }];
    let mut all = held(&claims);
    claims.iter().for_each(|claim| all.give_back(claim));
    assert_eq!(all, Held::default(), "nothing is kept, not even a disk");
}

#[test]
fn strain_holds_back_what_would_add_to_it() {
    let strained = |all: Option<&str>, further: Option<&str>, overcommit: Option<&str>| Seen {
        strain: Reasons {
            all: all.map(str::to_owned),
            further: further.map(str::to_owned),
            overcommit: overcommit.map(str::to_owned),
        },
        ..seen()
    };
    let one = vec![claim(100, 1, 1)];
    for (taken, asked, seen, answer) in [
        (vec![], claim(1, 1, 1), strained(Some("memory"), None, None), "refused: memory"),
        (vec![], claim(1, 1, 1), strained(None, Some("disk"), None), "admitted"),
        (one.clone(), claim(1, 1, 1), strained(None, Some("disk"), None), "refused: disk"),
        (one.clone(), claim(300, 1, 1), strained(None, None, Some("processor")), "admitted"),
        (one.clone(), claim(301, 1, 1), strained(None, None, Some("processor")), "refused: processor"),
        (one, claim(301, 1, 1), strained(None, None, None), "admitted"),
    ] {
        assert_eq!(words(decide(&budget(), &held(&taken), &asked, &seen)), answer, "{asked:?} beside {taken:?}");
    }
}

/// What a sign holds back at each of a row of looks.
fn held_back(signs: impl IntoIterator<Item = Signs>) -> Vec<bool> {
    let mut gates = Gates::default();
    let limits = StrainLimits::default();
    signs.into_iter().map(|signs| gates.judge(&limits, &signs) != Reasons::default()).collect()
}

#[test]
fn thresholds_do_not_flap() {
    let memory = |percent| Signs { memory_full: percent, ..Signs::default() };
    let looks = [Some(9.9), Some(10.0), Some(7.0), Some(9.0), Some(4.9), Some(9.9), Some(10.0), None, Some(9.9)];
    let expected = [false, true, true, true, false, false, true, false, false];
    assert_eq!(held_back(looks.map(memory)), expected);

    let heat = |celsius| Signs { heat: Some(Sensor { celsius, critical: 100.0 }), ..Signs::default() };
    assert_eq!(held_back([94.0, 95.0, 91.0, 90.0, 89.0, 94.0].map(heat)), [false, true, true, true, false, false]);

    let throttled = |percent| Signs { throttled: Some(percent), ..Signs::default() };
    assert_eq!(held_back([9.0, 10.0, 5.0, 4.0].map(throttled)), [false, true, true, false]);
}

#[test]
fn reasons_are_words_and_weigh_differently() {
    let strain = |signs: Signs| Gates::default().judge(&StrainLimits::default(), &signs);
    let busy =
        Signs { cpu_some: Some(97.0), memory_full: Some(23.4), io_full: Some(41.0), heat: None, throttled: Some(50.0) };
    let reasons = strain(busy);
    assert_eq!(reasons.all.as_deref(), Some("memory pressure 23 % over 10 s (limit 10 %)"));
    assert_eq!(reasons.further.as_deref(), Some("disk pressure 41 % over 10 s (limit 40 %)"));
    assert_eq!(reasons.overcommit.as_deref(), Some("processor pressure 97 % over 10 s (limit 90 %)"));
    let slowed = strain(Signs { io_full: None, memory_full: None, ..busy });
    assert_eq!(slowed.further.as_deref(), Some("heat slowed the processor 50 % of the time (limit 10 %)"));
    let hot = strain(Signs { heat: Some(Sensor { celsius: 96.4, critical: 100.0 }), ..busy });
    assert_eq!(hot.all.as_deref(), Some("a sensor shows 96 degrees, 100 are critical (limit 5 below)"));
    assert_eq!(Gates::default().judge(&StrainLimits::none(), &busy), Reasons::default());
}
