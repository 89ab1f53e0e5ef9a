//! Outputs against real servers, readers and files.

mod playlists;
mod pushes;
mod recordings;
mod reels;
#[path = "../../../tests/gstreamer/servers.rs"]
mod servers;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ffrtmp_core::live::{Endpoint, LiveEvent, LiveEventKind, LiveRules};

use super::{Output, Target};
use crate::gstreamer::media::{Clock, Events};

/// What an output told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<LiveEvent>>>);

impl Heard {
    fn events(&self) -> Events {
        let heard = Arc::clone(&self.0);
        Arc::new(move |event| heard.lock().unwrap_or_else(PoisonError::into_inner).push(event))
    }

    fn all(&self) -> Vec<LiveEvent> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, kind: LiveEventKind) -> usize {
        self.all().iter().filter(|event| event.kind == kind).count()
    }
}

fn rules() -> LiveRules {
    let (connect, backoff) = (Duration::from_secs(5), Duration::from_millis(100));
    LiveRules { connect, backoff, most_backoff: Duration::from_millis(500), ..LiveRules::default() }
}

fn endpoint(uri: &str) -> Endpoint {
    Endpoint::parse(uri, "output").unwrap()
}

fn push(uri: &str, reel: &reels::Reel, rules: &LiveRules, heard: &Heard) -> Output {
    let target = Target::Push(endpoint(uri));
    Output::start(target, reel.numbered(), rules, Clock::start(), heard.events()).unwrap()
}
