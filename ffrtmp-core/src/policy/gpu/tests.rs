//! The choice between graphics processors, by table and by property.

use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

#[derive(Clone, Debug)]
struct Card {
    gpu: Gpu,
    now: GpuTelemetry,
    sessions: u32,
}

/// A card at 50 °C that does nothing and has a bound of its own of 8 sessions.
fn card(index: u32) -> Card {
    let gpu = Gpu {
        index,
        memory_total_bytes: 8 * GIB,
        max_encode_sessions: 8,
        encode_bound: EncodeBound::Card,
        ..Gpu::default()
    };
    let now = GpuTelemetry {
        index,
        utilization_percent: Some(0.0),
        memory_used_bytes: Some(0),
        temperature_celsius: Some(50.0),
        ..GpuTelemetry::default()
    };
    Card { gpu, now, sessions: 0 }
}

impl Card {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn shared(self, most: u32, sessions: u32) -> Self {
        self.with(|card| {
            card.gpu.encode_bound = EncodeBound::System;
            card.gpu.max_encode_sessions = most;
            card.sessions = sessions;
        })
    }
}

fn candidates(cards: &[Card]) -> Vec<Candidate<'_>> {
    cards.iter().map(|card| Candidate { gpu: &card.gpu, now: &card.now, sessions: card.sessions }).collect()
}

fn choose(cards: &[Card]) -> Result<u32, String> {
    GpuRule::default().choose(&candidates(cards)).map_err(|refusal| refusal.to_string())
}

#[test]
fn the_least_burdened_card_is_taken() {
    let used = |index, percent| card(index).with(|card| card.now.utilization_percent = Some(percent));
    let encoding = |index, percent| card(index).with(|card| card.now.encoder_percent = Some(percent));
    let warm = |index, celsius| card(index).with(|card| card.now.temperature_celsius = Some(celsius));
    let taken = |index, sessions| card(index).with(|card| card.sessions = sessions);
    let silent = |index| {
        card(index).with(|card| {
            (card.now.utilization_percent, card.now.temperature_celsius, card.now.memory_used_bytes) =
                (None, None, None);
        })
    };
    let unbounded = |index, sessions| {
        taken(index, sessions).with(|card| {
            (card.gpu.max_encode_sessions, card.gpu.encode_bound) = (0, EncodeBound::Unbounded);
        })
    };
    for (why, cards, index) in [
        ("equals go by index, not by place", vec![card(1), card(0)], 0),
        ("use", vec![used(0, 40.0), used(1, 39.0)], 1),
        ("a busy encoder is a busy card", vec![encoding(0, 90.0), used(1, 50.0)], 1),
        ("heat", vec![warm(0, 80.0), warm(1, 60.0)], 1),
        ("heat weighs less than use", vec![warm(0, 85.0), used(1, 60.0)], 0),
        ("sessions", vec![taken(0, 2), taken(1, 1)], 1),
        ("sessions weigh as much as use", vec![taken(0, 4), used(1, 49.0)], 1),
        ("sessions weigh as much as use", vec![taken(0, 4), used(1, 51.0)], 0),
        ("what is unknown is in the middle", vec![used(0, 90.0), silent(1)], 1),
        ("what is unknown is in the middle", vec![silent(0), used(1, 10.0)], 1),
        ("no bound has more room", vec![taken(0, 7), unbounded(1, 20)], 1),
        ("no bound is no free ride", vec![taken(0, 1), unbounded(1, 20)], 0),
        ("nonsense is unknown", vec![used(0, f64::NAN), used(1, 20.0)], 1),
    ] {
        assert_eq!(choose(&cards), Ok(index), "{why}");
    }
}

#[test]
fn hard_limits_are_hard_and_named() {
    let lost = card(0).with(|card| card.now.lost = Some("it fell off the bus".into()));
    let blind = card(1).with(|card| card.gpu.encode_bound = EncodeBound::None);
    let full = card(2).with(|card| card.sessions = 8);
    let hot = card(3).with(|card| card.now.temperature_celsius = Some(90.0));
    let crammed = card(4).with(|card| card.now.memory_used_bytes = Some(8 * GIB - (512 << 20) + 1));
    let refused = choose(&[crammed.clone(), hot.clone(), full.clone(), blind.clone(), lost.clone()]).unwrap_err();
    assert_eq!(
        refused,
        "gpu 0: it fell off the bus; gpu 1: it has no video encoder; gpu 2: 8 of 8 encode sessions are taken; \
         gpu 3: it is at 90 °C; below 90 °C it must be; gpu 4: 511 MB of its memory are free; 512 MB must be"
    );
    let worse_but_able = card(9).with(|card| (card.sessions, card.now.utilization_percent) = (7, Some(100.0)));
    assert_eq!(choose(&[lost, blind, full, hot, crammed, worse_but_able]), Ok(9));
    assert_eq!(choose(&[]).unwrap_err(), "the node has no graphics processor");
    let no_reading = card(0).with(|card| card.now.memory_used_bytes = None);
    assert_eq!(choose(&[no_reading]), Ok(0), "what a card does not tell refuses nothing");
}

#[test]
fn consumer_cards_share_their_sessions() {
    let other = card(2).with(|card| card.sessions = 3);
    let cards = [card(0).shared(3, 2), card(1).shared(3, 0), other];
    assert_eq!(choose(&cards), Ok(1));
    assert_eq!(GpuRule::default().free_sessions(&candidates(&cards)), 1 + 5);
    let cards = [card(0).shared(3, 2), card(1).shared(3, 1)];
    let refused = choose(&cards).unwrap_err();
    assert!(
        refused.contains("gpu 1: 3 of 3 encode sessions that its driver allows the whole system are taken"),
        "{refused}"
    );
    assert_eq!(GpuRule::default().free_sessions(&candidates(&cards)), 0);
}

fn any_card() -> impl Strategy<Value = Card> {
    let bound = prop::sample::select(EncodeBound::ALL.to_vec());
    let readings = (
        prop::option::of(0.0..110.0_f64),
        prop::option::of(0.0..110.0_f64),
        prop::option::of(20.0..100.0_f64),
        prop::option::of(0..9 * GIB),
    );
    (bound, 0..5_u32, 0..6_u32, readings, prop::bool::weighted(0.1)).prop_map(
        |(bound, most, sessions, readings, lost)| {
            card(0).with(|card| {
                (card.gpu.encode_bound, card.gpu.max_encode_sessions, card.sessions) = (bound, most, sessions);
                let (utilization, encoder, celsius, used) = readings;
                (card.now.utilization_percent, card.now.encoder_percent) = (utilization, encoder);
                (card.now.temperature_celsius, card.now.memory_used_bytes) = (celsius, used);
                card.now.lost = lost.then(|| "lost".into());
            })
        },
    )
}

proptest! {
    #[test]
    fn the_choice_is_the_cheapest_that_is_able(cards in prop::collection::vec(any_card(), 0..6), turn in 0..6_usize) {
        let mut cards = cards;
        for (index, card) in (0..).zip(&mut cards) {
            (card.gpu.index, card.now.index) = (index, index);
        }
        let rule = GpuRule::default();
        let all = candidates(&cards);
        let able: Vec<_> = all.iter().filter(|one| rule.obstacle(one, &all).is_none()).collect();
        match rule.choose(&all) {
            Ok(index) => {
                let chosen = able.iter().find(|one| one.gpu.index == index);
                prop_assert!(chosen.is_some(), "an unable card was chosen");
                let chosen = rule.cost(chosen.unwrap());
                prop_assert!(able.iter().all(|one| rule.cost(one) >= chosen));
                prop_assert!(rule.free_sessions(&all) >= 1);
            }
            Err(Refusal(obstacles)) => {
                prop_assert!(able.is_empty());
                prop_assert_eq!(obstacles.len(), cards.len(), "every card has its reason");
                prop_assert_eq!(rule.free_sessions(&all), 0);
            }
        }
        let choice = rule.choose(&all);
        let mut turned = all.clone();
        turned.rotate_left(turn.min(all.len()));
        prop_assert_eq!(choice, rule.choose(&turned), "the order of the cards does not matter");
    }

    #[test]
    fn bounds_are_reached_and_never_passed(cards in prop::collection::vec(any_card(), 1..5)) {
        let rule = GpuRule::default();
        let mut cards = cards;
        for (index, card) in (0..).zip(&mut cards) {
            (card.gpu.index, card.now.index) = (index, index);
            // Without a bound this would not end.
            if card.gpu.session_bound().is_none() {
                (card.gpu.encode_bound, card.gpu.max_encode_sessions) = (EncodeBound::Card, 3);
            }
        }
        let promised = rule.free_sessions(&candidates(&cards));
        let mut given = 0;
        while let Ok(index) = rule.choose(&candidates(&cards)) {
            cards[index as usize].sessions += 1;
            given += 1;
            prop_assert!(given <= 100);
        }
        prop_assert_eq!(given, promised);
    }
}
