//! Where the streaming threads of a connection leave raw media and its end, bounded.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ffrtmp_core::error::Error;
use gstreamer as gst;

use crate::gstreamer::media::TrackKind;

/// Pictures that wait, while the source waits with them.
const PICTURES_HELD: usize = 8;
/// Pictures of a live source that wait before the oldest is dropped.
const LIVE_PICTURES: usize = 48;
/// Pieces of sound that wait; of either source many more than come with as many pictures.
const SOUNDS_HELD: usize = 96;
/// Bytes of either kind that wait.
const MOST_BYTES: usize = 192 << 20;

/// How a full basin meets more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The source waits: it is a file.
    Hold,
    /// The oldest goes: the source is live and does not wait.
    DropOldest,
}

/// Raw media with the time that its source gave it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: TrackKind,
    pub(super) sample: gst::Sample,
    /// Running time of the source's pipeline, in nanoseconds.
    pub(super) time: u64,
    /// In nanoseconds; 0 if it is not known.
    pub(super) duration: u64,
}

/// Pictures that were announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Pictures in a thousand seconds; 0 if it is not known.
    pub(super) millihertz: u32,
}

/// What came.
#[derive(Debug)]
pub(super) enum Taken {
    Item(Item),
    /// A kind began that this connection cannot give any more; a new one can.
    Late(TrackKind),
    /// Nothing until the time was over.
    Nothing,
    /// Nothing more will come.
    Ended,
    /// The connection broke.
    Failed(Error),
}

#[derive(Debug)]
pub(super) struct Basin {
    overflow: Overflow,
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lanes: [Lane; 2],
    ended: bool,
    introduced: bool,
    shape: Option<Shape>,
    late: Option<TrackKind>,
    /// Every stream of the source is known.
    settled: bool,
    failed: Option<Error>,
    closed: bool,
    /// Of each kind.
    dropped: [u64; 2],
}

#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<Item>,
    bytes: usize,
    /// Something comes here, or will.
    open: bool,
    /// What it is encoded as in the source.
    codec: Option<String>,
}

impl Lane {
    fn is_full(&self, limit: usize) -> bool {
        self.items.len() >= limit || self.bytes >= MOST_BYTES && self.items.len() > 1
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= size(&item);
        Some(item)
    }
}

fn size(item: &Item) -> usize {
    item.sample.buffer().map_or(0, gst::BufferRef::size)
}

impl Basin {
    pub(super) fn new(overflow: Overflow) -> Self {
        Self { overflow, state: Mutex::default(), filled: Condvar::new(), drained: Condvar::new() }
    }

    /// Something of this kind will come.
    pub(super) fn open(&self, kind: TrackKind, codec: Option<String>) {
        let lane = &mut self.lock().lanes[kind as usize];
        lane.open = true;
        lane.codec = codec.or(lane.codec.take());
    }

    /// Whether something of this kind is there or will come.
    pub(super) fn is_open(&self, kind: TrackKind) -> bool {
        let lane = &self.lock().lanes[kind as usize];
        lane.open || !lane.items.is_empty()
    }

    pub(super) fn codec(&self, kind: TrackKind) -> Option<String> {
        self.lock().lanes[kind as usize].codec.clone()
    }

    /// The source has told which kinds it has, and perhaps what its pictures are.
    pub(super) fn introduce(&self, shape: Option<Shape>) {
        let mut state = self.lock();
        state.introduced = true;
        state.shape = shape.or(state.shape);
    }

    pub(super) fn shape(&self) -> Option<Shape> {
        self.lock().shape
    }

    /// A kind begins that the demuxer takes no notice of.
    pub(super) fn renew(&self, kind: TrackKind) {
        self.lock().late = Some(kind);
        self.filled.notify_all();
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.lock().introduced
    }

    /// No further stream will be found.
    pub(super) fn settle(&self) {
        self.lock().settled = true;
        self.filled.notify_all();
    }

    pub(super) fn is_settled(&self) -> bool {
        let state = self.lock();
        state.settled || state.ended
    }

    /// Takes it in, waiting for room if the source can wait. Whether more is welcome.
    pub(super) fn pour(&self, item: Item) -> bool {
        let mut state = self.lock();
        let kind = item.kind as usize;
        let limit = self.limit(kind);
        while !state.closed && state.lanes[kind].is_full(limit) {
            match self.overflow {
                Overflow::Hold => state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner),
                Overflow::DropOldest => {
                    state.lanes[kind].pop();
                    state.dropped[kind] += 1;
                }
            }
        }
        if state.closed {
            return false;
        }
        let lane = &mut state.lanes[kind];
        lane.open = true;
        lane.bytes += size(&item);
        lane.items.push_back(item);
        self.filled.notify_all();
        true
    }

    /// Nothing of this kind comes any more.
    pub(super) fn end_lane(&self, kind: TrackKind) {
        self.lock().lanes[kind as usize].open = false;
        self.filled.notify_all();
    }

    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.filled.notify_all();
    }

    /// The first failure counts; those that follow are its consequences.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.filled.notify_all();
    }

    /// Lets go of everything and of everyone who waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.lanes = Default::default();
        self.drained.notify_all();
        self.filled.notify_all();
    }

    /// Raw media of each kind that was dropped since the last call.
    pub(super) fn take_dropped(&self) -> [u64; 2] {
        std::mem::take(&mut self.lock().dropped)
    }

    /// The next item: of a file the earliest, of a live source whatever is there. None of a kind for
    /// which there is no room.
    pub(super) fn take(&self, full: [bool; 2], until: Instant) -> Taken {
        let mut state = self.lock();
        loop {
            if let Some(kind) = state.late.take() {
                return Taken::Late(kind);
            }
            if let Some(item) = self.choose(full, &mut state) {
                self.drained.notify_all();
                return Taken::Item(item);
            }
            if state.lanes.iter().all(|lane| lane.items.is_empty()) {
                if let Some(error) = state.failed.take() {
                    state.ended = true;
                    return Taken::Failed(error);
                }
                if state.ended || state.closed {
                    return Taken::Ended;
                }
            }
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Taken::Nothing;
            };
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn choose(&self, full: [bool; 2], state: &mut State) -> Option<Item> {
        let heads = [0, 1].map(|kind| state.lanes[kind].items.front().map(|item| item.time));
        let kind = match heads {
            [Some(video), Some(audio)] if full == [false, false] => usize::from(audio < video),
            [Some(_), _] if !full[0] => 0,
            [_, Some(_)] if !full[1] => 1,
            _ => return None,
        };
        let other = &state.lanes[1 - kind];
        let waits = self.overflow == Overflow::Hold
            && heads[1 - kind].is_none()
            && other.open
            && !state.ended
            && state.failed.is_none()
            && !state.lanes[kind].is_full(self.limit(kind));
        if waits { None } else { state.lanes[kind].pop() }
    }

    fn limit(&self, kind: usize) -> usize {
        match (kind, self.overflow) {
            (0, Overflow::Hold) => PICTURES_HELD,
            (0, Overflow::DropOldest) => LIVE_PICTURES,
            _ => SOUNDS_HELD,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn item(kind: TrackKind, time: u64) -> Item {
        Item { kind, sample: gst::Sample::builder().build(), time, duration: 0 }
    }

    fn times(basin: &Basin) -> Vec<(TrackKind, u64)> {
        std::iter::from_fn(|| match basin.take([false; 2], Instant::now()) {
            Taken::Item(item) => Some((item.kind, item.time)),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn a_file_is_read_in_order_of_time() {
        use TrackKind::{Audio, Video};
        crate::gstreamer::init().unwrap();
        let basin = Basin::new(Overflow::Hold);
        basin.open(Video, None);
        basin.open(Audio, None);
        for (kind, time) in [(Video, 0), (Video, 40), (Audio, 10)] {
            assert!(basin.pour(item(kind, time)));
        }
        assert_eq!(times(&basin), [(Video, 0), (Audio, 10)], "the sound at 40 may still come");
        basin.end_lane(Audio);
        assert_eq!(times(&basin), [(Video, 40)]);
        basin.end();
        assert!(matches!(basin.take([false; 2], Instant::now() + Duration::from_secs(5)), Taken::Ended));
    }

    #[test]
    fn a_live_source_loses_the_oldest_and_says_so() {
        crate::gstreamer::init().unwrap();
        let basin = Basin::new(Overflow::DropOldest);
        for time in 0..LIVE_PICTURES as u64 + 3 {
            assert!(basin.pour(item(TrackKind::Video, time)));
        }
        assert_eq!((basin.take_dropped(), basin.take_dropped()), ([3, 0], [0, 0]));
        assert_eq!(times(&basin).first(), Some(&(TrackKind::Video, 3)));
        assert!(basin.pour(item(TrackKind::Video, 100)) && basin.pour(item(TrackKind::Audio, 101)));
        let Taken::Item(sound) = basin.take([true, false], Instant::now()) else { panic!("the sound waits") };
        assert_eq!((sound.kind, sound.time), (TrackKind::Audio, 101), "though pictures find no room");
        assert!(matches!(basin.take([true, false], Instant::now()), Taken::Nothing));
        basin.close();
        assert!(!basin.pour(item(TrackKind::Video, 99)));
    }
}
