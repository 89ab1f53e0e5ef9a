//! Graphics processors of machines that are not here: a library of a driver that this test builds,
//! trees of files that stand for kernels, and scripted sources.

mod files;
mod library;
mod pool;

use std::sync::{Arc, Mutex};

use ffrtmp_governor::gpu::{Absence, Card, GpuSource};

/// A source that shows what it is told to.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    cards: Vec<Card>,
    /// Looks so far.
    looks: u32,
    /// What the next looks do instead.
    mishap: Option<Mishap>,
}

#[derive(Clone, Copy)]
enum Mishap {
    Panic,
    Absent,
}

impl Scripted {
    fn of(cards: impl IntoIterator<Item = Card>) -> Self {
        let script = Self::default();
        script.change(|script| script.cards = cards.into_iter().collect());
        script
    }

    fn change<R>(&self, change: impl FnOnce(&mut Script) -> R) -> R {
        change(&mut self.0.lock().expect("nobody panics with it"))
    }
}

impl GpuSource for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn look(&mut self) -> Result<Vec<Card>, Absence> {
        let (cards, mishap) = self.change(|script| {
            script.looks += 1;
            (script.cards.clone(), script.mishap)
        });
        match mishap {
            None => Ok(cards),
            Some(Mishap::Panic) => panic!("a library that breaks"),
            Some(Mishap::Absent) => Err(Absence { source: "scripted", reason: "all gone".into(), hint: String::new() }),
        }
    }
}
