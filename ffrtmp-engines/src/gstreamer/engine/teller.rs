//! Tells the observer, on one thread, how far the attempt is and what happens in it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::Observer;
use ffrtmp_core::live::LiveEvent;

use super::tally::Meter;
use crate::gstreamer::media::Events;

/// Half of what the contract of `Observer::progress` allows.
const INTERVAL: Duration = Duration::from_millis(250);

/// What there is to tell.
enum News {
    Event(LiveEvent),
    End,
}

/// Takes news from any thread.
#[derive(Clone)]
pub(super) struct Teller(Sender<News>);

impl Teller {
    /// For those who only have events to tell.
    pub(super) fn events(&self) -> Events {
        let teller = self.0.clone();
        // Nobody listens any more once the attempt is over.
        Arc::new(move |event| drop(teller.send(News::Event(event))))
    }

    pub(super) fn event(&self, event: LiveEvent) {
        drop(self.0.send(News::Event(event)));
    }
}

/// Runs the work while another thread tells of it; the last progress is the final state.
pub(super) fn accompany<T>(observer: &dyn Observer, meter: &Meter, work: impl FnOnce(&Teller) -> T) -> T {
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        scope.spawn(move || listen(observer, meter, &receiver));
        // Also when the work panics, or the scope would wait for ever.
        let _end = End(sender.clone());
        work(&Teller(sender))
    })
}

struct End(Sender<News>);

impl Drop for End {
    fn drop(&mut self) {
        drop(self.0.send(News::End));
    }
}

fn listen(observer: &dyn Observer, meter: &Meter, news: &Receiver<News>) {
    let mut due = Instant::now();
    loop {
        if due <= Instant::now() {
            observer.progress(meter.progress());
            due = Instant::now() + INTERVAL;
        }
        match news.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(News::Event(event)) => observer.event(&event),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return observer.progress(meter.progress()),
        }
    }
}
