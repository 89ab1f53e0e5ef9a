//! Whose turn it is among claims that wait: when jobs arrive, the oldest claim goes to the store,
//! then the next, until one comes back with room left. Nothing is left for it then, nor for any
//! whose node can do no more, and those are spared the way. So one submission costs one or two
//! claims however many nodes wait.
//!
//! What is deliberately not here: the store. A turn is only the leave to ask it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::node::Offer;

/// A value of [`crate::store::Store::changes`]; later ones are greater.
pub(super) type Change = u64;

/// The claims of a master that wait, in the order of their arrival.
#[derive(Default)]
pub(super) struct Turns(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    arrivals: u64,
    newest: Change,
    waiting: BTreeMap<u64, Waiting>,
    at_store: Option<u64>,
}

struct Waiting {
    offer: Offer,
    /// Up to which change it knows that there is nothing for it.
    knows: Option<Change>,
    call: Arc<Notify>,
}

/// A place in the line; leaves it when dropped, and passes its turn on.
pub(super) struct Place {
    line: Arc<Mutex<Line>>,
    number: u64,
    call: Arc<Notify>,
}

impl Turns {
    /// Joins the line behind all others. As of `change` there was nothing for this offer.
    pub(super) fn join(&self, offer: Offer, change: Change) -> Place {
        let call = Arc::new(Notify::new());
        let mut line = lock(&self.0);
        line.arrivals += 1;
        let number = line.arrivals;
        line.waiting.insert(number, Waiting { offer, knows: Some(change), call: Arc::clone(&call) });
        Place { line: Arc::clone(&self.0), number, call }
    }
}

impl Place {
    /// Returns when it may be this one's turn. Cancel safe.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }

    /// Looks at the store again at its next turn, whether or not anything changed.
    pub(super) fn doubt(&self) {
        if let Some(me) = lock(&self.line).waiting.get_mut(&self.number) {
            me.knows = None;
        }
    }

    /// Whether it may go to the store now, for `change`. If not, it is called when it may, unless
    /// somebody finds out in the meantime that there is nothing for it.
    pub(super) fn begin(&self, change: Change) -> bool {
        let mut line = lock(&self.line);
        line.newest = line.newest.max(change);
        if line.at_store.is_some() {
            return false;
        }
        let mine = line.next() == Some(self.number);
        if mine {
            line.at_store = Some(self.number);
        } else {
            line.call_next();
        }
        mine
    }

    /// Back from the store, where it asked as of `change` with this offer. `dry` if it had room for
    /// more than it was given.
    pub(super) fn end(&self, change: Change, offer: Offer, dry: bool) {
        let mut line = lock(&self.line);
        line.at_store = None;
        for (number, waiting) in &mut line.waiting {
            if *number == self.number || (dry && offer.covers(&waiting.offer)) {
                waiting.knows = waiting.knows.max(Some(change));
            }
        }
        if let Some(me) = line.waiting.get_mut(&self.number) {
            me.offer = offer;
        }
        line.call_next();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        line.waiting.remove(&self.number);
        if line.at_store == Some(self.number) {
            line.at_store = None;
        }
        line.call_next();
    }
}

impl Line {
    /// The oldest for whom there may be something.
    fn next(&self) -> Option<u64> {
        let curious = |waiting: &Waiting| waiting.knows < Some(self.newest);
        self.waiting.iter().find_map(|(number, waiting)| curious(waiting).then_some(*number))
    }

    fn call_next(&self) {
        if self.at_store.is_none()
            && let Some(next) = self.next().and_then(|number| self.waiting.get(&number))
        {
            next.call.notify_one();
        }
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(rack: &str) -> Offer {
        Offer { labels: [("rack".to_owned(), rack.to_owned())].into(), ..Offer::default() }
    }

    #[test]
    fn the_oldest_goes_first_and_a_dry_store_spares_the_rest() {
        let turns = Turns::default();
        let places: Vec<_> = ["a", "a", "b", "a"].iter().map(|rack| turns.join(offer(rack), 0)).collect();
        assert!(!places[3].begin(1), "it is the oldest one's turn");
        assert!(places[0].begin(1) && !places[1].begin(1), "one at a time");
        places[0].end(1, offer("a"), true);
        assert!(!places[1].begin(1), "there is nothing for its equal either");
        assert!(places[2].begin(1), "another rack may have work");
        places[2].end(1, offer("b"), true);
        assert!((0..4).all(|n| !places[n].begin(1)));
        assert!(places[0].begin(2), "until something changes");
    }

    #[test]
    fn a_full_claim_leaves_the_turn_to_the_next() {
        let turns = Turns::default();
        let places: Vec<_> = (0..3).map(|_| turns.join(offer("a"), 0)).collect();
        assert!(places[0].begin(1));
        places[0].end(1, offer("a"), false);
        assert!(!places[0].begin(1) && places[1].begin(1));
        let mut places = places.into_iter();
        drop((places.next(), places.next()));
        let last = places.next().unwrap();
        assert!(last.begin(1), "whoever leaves at the store passes the turn on");
        last.end(1, offer("a"), true);
        assert!(!last.begin(1));
        last.doubt();
        assert!(last.begin(1));
    }

    #[tokio::test]
    async fn whoever_is_next_is_called() {
        let turns = Turns::default();
        let (first, second) = (turns.join(offer("a"), 0), turns.join(offer("a"), 0));
        assert!(first.begin(1) && !second.begin(1));
        drop(first);
        second.called().await;
        assert!(second.begin(1));
    }
}
