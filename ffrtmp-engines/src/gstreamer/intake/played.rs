//! Segments of a playlist that came before its connection broke. A new connection begins with the last
//! ones of the playlist, some of which the outputs have already: those are left out, until there is
//! one that is new.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

/// Segments that are remembered, and left out at most: connections begin three before the end. Names
/// may go round, and then what has an old one is new.
const REMEMBERED: usize = 6;

/// What an element fetches now.
#[derive(Debug, Default)]
struct Fetched {
    address: String,
    is_left_out: bool,
    /// That came so far.
    bytes: u64,
}

/// What came of a playlist, over all of its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Played(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Of segments that came whole, the oldest first: the connection, and the address.
    whole: VecDeque<(u32, String)>,
    connection: u32,
    /// Segments that were left out in this connection.
    left_out: usize,
    /// What comes now is new.
    is_caught_up: bool,
    /// Segments have no addresses of their own.
    is_one_file: bool,
}

impl Played {
    /// A new connection begins.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        state.connection += 1;
        (state.left_out, state.is_caught_up) = (0, false);
    }

    /// Watches everything that is fetched by an element.
    pub(super) fn watch(&self, element: &gst::Element) {
        let Some(bin) = element.downcast_ref::<gst::Bin>() else { return };
        let played = self.clone();
        bin.connect_deep_element_added(move |_, _, element| {
            let has_address =
                element.find_property("location").is_some_and(|it| it.value_type() == String::static_type());
            let fetches = has_address && element.sink_pads().is_empty();
            if let Some(pad) = element.static_pad("src").filter(|_| fetches) {
                played.watch_source(&pad, element);
            }
        });
    }

    fn watch_source(&self, pad: &gst::Pad, source: &gst::Element) {
        let (played, source) = (self.clone(), source.downgrade());
        let current = Mutex::new(Fetched::default());
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(types, move |_, info| {
            let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    let address = source.upgrade().and_then(|it| it.property::<Option<String>>("location"));
                    if let Some(address) = address.filter(|address| *address != current.address) {
                        let is_left_out = !is_header(buffer) && !played.is_new(&address);
                        *current = Fetched { address, is_left_out, bytes: 0 };
                    }
                    current.bytes += buffer.size() as u64;
                    if current.is_left_out { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
                }
                Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => {
                    let fetched = std::mem::take(&mut *current);
                    // What breaks ends its stream as well.
                    let length = source.upgrade().and_then(|it| it.query_duration::<gst::format::Bytes>());
                    if length.is_none_or(|length| fetched.bytes >= *length) {
                        played.note(fetched.address);
                    }
                    gst::PadProbeReturn::Ok
                }
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }

    fn is_new(&self, address: &str) -> bool {
        let mut state = self.lock();
        let own = state.connection;
        let is_known = state.whole.iter().any(|(connection, known)| *connection != own && known == address);
        if !is_known || state.is_one_file || state.left_out == REMEMBERED {
            state.is_caught_up = true;
        }
        state.left_out += usize::from(!state.is_caught_up);
        state.is_caught_up
    }

    /// A segment came whole.
    fn note(&self, address: String) {
        if address.is_empty() {
            return;
        }
        let mut state = self.lock();
        let own = state.connection;
        state.is_one_file |= state.whole.back().is_some_and(|last| *last == (own, address.clone()));
        state.whole.push_back((own, address));
        if state.whole.len() > REMEMBERED {
            state.whole.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is a playlist, or tells how to decode what follows: no connection can do without.
fn is_header(buffer: &gst::Buffer) -> bool {
    let Ok(data) = buffer.map_readable() else { return true };
    data.starts_with(b"#EXT") || matches!(data.get(4..8), Some(b"ftyp" | b"moov"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(played: &Played, address: &str) -> bool {
        let is_new = played.is_new(address);
        played.note(address.to_owned());
        is_new
    }

    #[test]
    fn what_came_before_is_left_out_until_something_new_comes() {
        let played = Played::default();
        played.begin();
        assert!(["1.ts", "2.ts", "3.ts"].iter().all(|it| fetch(&played, it)));
        played.begin();
        assert_eq!(
            ["2.ts", "3.ts", "4.ts", "5.ts", "1.ts"].map(|it| fetch(&played, it)),
            [false, false, true, true, true]
        );
        let ring = Played::default();
        for _ in 0..2 {
            ring.begin();
            for it in 0..3 {
                fetch(&ring, &format!("{it}.ts"));
            }
        }
        ring.begin();
        assert_eq!((0..9).filter(|it| fetch(&ring, &format!("{}.ts", it % 3))).count(), 3, "not for ever");
        let whole = Played::default();
        whole.begin();
        assert!((0..3).all(|_| fetch(&whole, "all.ts")));
        whole.begin();
        assert!(fetch(&whole, "all.ts"), "parts of one file");
    }
}
