//! The encoder of a rendition, on a thread of its own behind a bounded queue.
//!
//! Encoders see a steady count of frames instead of times: frame 0, 1, 2 … at the nominal rate.
//! What comes out gets the times of the frames back that went in. So variable frame rates, odd time
//! bases and rounding survive every encoder exactly, and decoding times follow from the order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::Gop;

use super::fault::failed;
use super::limit::Limit;
use super::queue::{Put, Queue};
use super::reaper::Reaper;
use super::sys::{AvError, Encoder, Frame, Packet, TimeBase};

/// No codec decodes a frame more places than this before it is shown.
const MAX_REORDER: u64 = 64;
/// Frames that wait for an encoder: enough to keep it busy while the next one is decoded, and no more
/// memory than that.
const WAITING: usize = 2;
/// How often a wait for the encoder's end looks whether it was told to stop.
const LOOK: Duration = Duration::from_millis(20);
/// A frame this much before a multiple of the key interval counts as being there, in seconds.
const KEY_SLACK: f64 = 0.000_5;

/// Takes the packets of an encoder, with the unit of their times.
pub(super) type Delivery = Box<dyn FnMut(&mut Packet, TimeBase) -> Result<()> + Send>;

/// What a stage knows besides its encoder.
pub(super) struct Setup {
    pub(super) base: TimeBase,
    /// Ticks that a frame lasts when nothing better is known.
    pub(super) nominal: i64,
    pub(super) gop: Gop,
    /// Whether its frames are those that the attempt counts.
    pub(super) leads: bool,
    pub(super) limit: Limit,
    pub(super) delivery: Delivery,
}

/// The near side of an encoder's thread.
pub(super) struct Stage {
    queue: Arc<Queue<Order>>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
    ending: Arc<Ending>,
    done: Arc<AtomicBool>,
    limit: Limit,
    reaper: Arc<Reaper>,
    last: Option<f64>,
}

/// What goes to the far side.
enum Order {
    Frame {
        frame: Frame,
        base: TimeBase,
        /// Whether another scene begins.
        cut: bool,
    },
    /// The end; the last frame is shown until this time, if that is known.
    End(Option<(i64, TimeBase)>),
}

/// How the far side ended.
#[derive(Default)]
struct Ending {
    result: Mutex<Option<Result<Encoder>>>,
    ended: Condvar,
}

impl Stage {
    /// Starts the thread. The reaper, which may become its owner, stays on the near side: the last
    /// to let go of it waits for the thread.
    ///
    /// # Errors
    /// `internal` where no thread can be had.
    pub(super) fn start(encoder: Encoder, setup: Setup, reaper: Arc<Reaper>) -> Result<Self> {
        let queue = Arc::new(Queue::new(WAITING));
        let ending = Arc::new(Ending::default());
        let done = Arc::new(AtomicBool::new(false));
        let limit = setup.limit.clone();
        let (orders, end) = (Arc::clone(&queue), Arc::clone(&ending));
        let line = Line::new(encoder, setup, Arc::clone(&done));
        let work = move || {
            let result = line.work(&orders);
            orders.abandon();
            end.set(result);
        };
        let thread = Builder::new()
            .name("encoder".to_owned())
            .spawn(work)
            .map_err(|error| Error::new(Code::Internal, "no thread for the encoder").source(error))?;
        Ok(Self { queue, thread: Some(thread), ending, done, limit, reaper, last: None })
    }

    /// Hands a frame over with its time in `base`, and leaves an empty one; waits while the encoder
    /// is behind. `cut` says that another scene begins.
    ///
    /// # Errors
    /// `canceled`; what the encoder or the delivery failed with.
    pub(super) fn push(&mut self, frame: &mut Frame, base: TimeBase, cut: bool) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        self.last = frame.pts().map(|pts| base.seconds(pts)).or(self.last);
        let frame = std::mem::replace(frame, Frame::new());
        match self.queue.put(Order::Frame { frame, base, cut }, &self.limit.control)? {
            Put::Taken => Ok(()),
            Put::Abandoned => self.failure(),
        }
    }

    /// Says that no more frames come. The last one is shown until `last`, if that is known.
    ///
    /// # Errors
    /// As [`Stage::push`].
    pub(super) fn end(&mut self, last: Option<(i64, TimeBase)>) -> Result<()> {
        match self.queue.put(Order::End(last), &self.limit.control)? {
            Put::Taken => self.queue.end(),
            Put::Abandoned => return self.failure(),
        }
        Ok(())
    }

    /// Waits until everything is delivered, and gives the encoder back.
    ///
    /// # Errors
    /// As [`Stage::push`].
    pub(super) fn wait(&mut self) -> Result<Encoder> {
        let result = self.ending.wait(&self.limit)?;
        self.join();
        result
    }

    /// Whether the wanted length is reached.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Time of the last frame that was handed over, in seconds.
    pub(super) fn reached(&self) -> f64 {
        self.last.unwrap_or(0.0)
    }

    /// Why nothing is taken any more.
    fn failure(&mut self) -> Result<()> {
        self.wait().map(drop)
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic there has left no result, which says the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.queue.abandon();
        self.queue.end();
        if self.limit.control.is_canceled()
            && let Some(thread) = self.thread.take()
        {
            self.reaper.adopt(thread);
        }
        self.join();
    }
}

impl Ending {
    fn set(&self, result: Result<Encoder>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.ended.notify_all();
    }

    fn wait(&self, limit: &Limit) -> Result<Result<Encoder>> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = result.take() {
                return Ok(result);
            }
            limit.control.checkpoint()?;
            result = self.ended.wait_timeout(result, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The far side: the encoder with the times of the frames that are in it.
struct Line {
    encoder: Encoder,
    setup: Setup,
    keys: Keys,
    held: Option<(Frame, i64, bool)>,
    /// Number of the next frame for the encoder.
    count: i64,
    first: i64,
    last: Option<i64>,
    /// Added to times after the clock of the source went back.
    shift: i64,
    /// Time and length of frames by number, from number `forgotten` on.
    times: VecDeque<(i64, i64)>,
    forgotten: i64,
    packet: Packet,
    done: Arc<AtomicBool>,
}

impl Line {
    fn new(encoder: Encoder, setup: Setup, done: Arc<AtomicBool>) -> Self {
        Self {
            encoder,
            keys: Keys::new(setup.gop),
            setup,
            held: None,
            count: 0,
            first: 0,
            last: None,
            shift: 0,
            times: VecDeque::new(),
            forgotten: 0,
            packet: Packet::new(),
            done,
        }
    }

    fn work(mut self, orders: &Queue<Order>) -> Result<Encoder> {
        while let Some(order) = orders.take() {
            match order {
                Order::Frame { frame, base, cut } => self.push(frame, base, cut)?,
                Order::End(last) => {
                    self.finish(last)?;
                    return Ok(self.encoder);
                }
            }
        }
        self.setup.limit.control.checkpoint()?;
        Err(Error::new(Code::Internal, "the encoder was left without an end"))
    }

    /// Takes a frame with its time in `base`; the one before it now has its length.
    fn push(&mut self, frame: Frame, base: TimeBase, cut: bool) -> Result<()> {
        if self.done.load(Ordering::Acquire) {
            return Ok(());
        }
        let own = self.setup.base;
        let pts = self.in_order(frame.pts().map(|pts| base.rescale(pts, own)));
        if self.setup.limit.from.is_some_and(|from| pts < own.ticks(from)) {
            return Ok(());
        }
        if let Some(end) = self.cut().filter(|end| pts >= *end) {
            self.done.store(true, Ordering::Release);
            return match self.held.take() {
                Some((frame, start, cut)) => self.encode(frame, start, end - start, cut),
                None => Ok(()),
            };
        }
        self.setup.limit.check(own.seconds(pts))?;
        let held = self.held.replace((frame, pts, cut));
        self.last = Some(pts);
        match held {
            Some((frame, start, cut)) => self.encode(frame, start, pts - start, cut),
            None => Ok(()),
        }
    }

    /// Where the output ends, if it is cut.
    fn cut(&self) -> Option<i64> {
        self.setup.limit.seconds.map(|seconds| self.setup.base.ticks(seconds))
    }

    fn finish(&mut self, last: Option<(i64, TimeBase)>) -> Result<()> {
        if let Some((frame, start, cut)) = self.held.take() {
            let own = self.setup.base;
            let end = self.cut().unwrap_or(i64::MAX);
            let last = last.map(|(ticks, base)| base.rescale(ticks, own).saturating_add(self.shift) - start);
            let length = last.filter(|length| *length > 0).unwrap_or(self.setup.nominal).min(end - start).max(1);
            self.setup.limit.check(own.seconds(start.saturating_add(length)))?;
            self.encode(frame, start, length, cut)?;
        }
        if self.count == 0 {
            return Ok(());
        }
        self.encoder.send(None).map_err(|error| failed(Code::EncodeFailed, "the encoder did not end", error))?;
        self.drain()
    }

    /// Time of a frame on a clock that only goes forward. A step back of more than a second is a
    /// new epoch of the source's clock; less is disorder.
    fn in_order(&mut self, pts: Option<i64>) -> i64 {
        let nominal = self.setup.nominal;
        let Some(last) = self.last else { return pts.unwrap_or(0) };
        let Some(pts) = pts else { return last + nominal };
        let pts = pts.saturating_add(self.shift);
        if pts > last {
            return pts;
        }
        if self.setup.base.seconds(last - pts) > 1.0 {
            self.shift = self.shift.saturating_add(last + nominal - pts);
            return last + nominal;
        }
        last + 1
    }

    fn encode(&mut self, mut frame: Frame, start: i64, length: i64, cut: bool) -> Result<()> {
        self.setup.limit.control.checkpoint()?;
        if self.count == 0 {
            self.first = start;
        }
        self.times.push_back((start, length));
        frame.prepare_for_encoder();
        let seconds = self.setup.base.seconds(start);
        if self.keys.is_due(seconds, cut) {
            frame.force_key();
        }
        frame.set_pts(self.count);
        self.count += 1;
        loop {
            match self.encoder.send(Some(&frame)) {
                Ok(()) => break,
                Err(AvError::AGAIN) => self.drain()?,
                Err(error) => return Err(failed(Code::EncodeFailed, "the encoder refused a frame", error)),
            }
        }
        if self.setup.leads {
            self.setup.limit.meter.add_frame();
            self.setup.limit.meter.reach(seconds);
        }
        drop(frame);
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        loop {
            self.setup.limit.control.checkpoint()?;
            match self.encoder.receive(&mut self.packet) {
                Ok(()) => self.deliver()?,
                Err(AvError::AGAIN | AvError::EOF) => return Ok(()),
                Err(error) => return Err(failed(Code::EncodeFailed, "the encoder failed", error)),
            }
        }
    }

    /// Turns frame numbers back into times.
    fn deliver(&mut self) -> Result<()> {
        let number = self.packet.pts().unwrap_or(self.forgotten);
        let (pts, length) = self.time_of(number);
        let order = decoding_place(number, self.packet.dts());
        let dts = self.time_of(order).0.min(pts);
        self.forget_before(order);
        self.packet.set_times(Some(pts), Some(dts), length);
        (self.setup.delivery)(&mut self.packet, self.setup.base)
    }

    fn time_of(&self, number: i64) -> (i64, i64) {
        let nominal = self.setup.nominal;
        if number < 0 {
            // As far before the first frame as its counterpart comes after it, so that the decoding
            // times of a slow clip are as slow.
            let after = self.frame(-number).map_or(-number * nominal, |(start, _)| start - self.first);
            return (self.first - after, nominal);
        }
        self.frame(number).or(self.times.back().copied()).unwrap_or((self.first, nominal))
    }

    fn frame(&self, number: i64) -> Option<(i64, i64)> {
        self.times.get(usize::try_from(number - self.forgotten).ok()?).copied()
    }

    /// Packets come in decoding order, so no later one asks for a frame before this.
    fn forget_before(&mut self, number: i64) {
        while self.forgotten < number && self.times.len() > 1 {
            self.times.pop_front();
            self.forgotten += 1;
        }
    }
}

/// Where key frames are ordered.
struct Keys {
    interval: Option<f64>,
    at_cuts: bool,
    /// Number of the interval that the last ordered key frame lies in.
    last: Option<i64>,
}

impl Keys {
    fn new(gop: Gop) -> Self {
        let (interval, at_cuts) = match gop {
            Gop::Free | Gop::AtMost(_) => (None, false),
            Gop::Fixed(seconds) => (Some(seconds.value()), false),
            Gop::FixedAndCuts(seconds) => (Some(seconds.value()), true),
        };
        Self { interval, at_cuts, last: None }
    }

    fn is_due(&mut self, seconds: f64, cut: bool) -> bool {
        let Some(interval) = self.interval else { return false };
        let place = ((seconds + KEY_SLACK) / interval).floor() as i64;
        let is_next = self.last.is_none_or(|last| place > last);
        self.last = Some(self.last.map_or(place, |last| last.max(place)));
        is_next || cut && self.at_cuts
    }
}

/// Place of a frame in decoding order. x265 leaves it uninitialised where a clip has fewer frames
/// than its delay; so short a clip is not reordered.
fn decoding_place(number: i64, dts: Option<i64>) -> i64 {
    dts.filter(|dts| dts.abs_diff(number) <= MAX_REORDER).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::units::Seconds;

    use super::*;

    #[test]
    fn only_plausible_decoding_places_count() {
        for (dts, place) in [(Some(-2), -2), (Some(3), 3), (None, 1), (Some(i64::MIN), 1), (Some(i64::MAX), 1)] {
            assert_eq!(decoding_place(1, dts), place, "{dts:?}");
        }
    }

    #[test]
    fn key_frames_are_ordered_at_multiples_whatever_the_rate() {
        let two = Seconds::try_from(2.0).unwrap();
        for fps in [23.976, 25.0, 29.97, 60.0, 1.0] {
            let mut keys = Keys::new(Gop::Fixed(two));
            let ordered: Vec<f64> =
                (0..600).map(|frame| f64::from(frame) / fps).filter(|seconds| keys.is_due(*seconds, true)).collect();
            for (place, seconds) in ordered.iter().enumerate() {
                let due = place as f64 * 2.0;
                assert!((due - KEY_SLACK..due + 1.0 / fps).contains(seconds), "{fps}: {seconds} for {due}");
            }
        }
        let mut keys = Keys::new(Gop::FixedAndCuts(two));
        let ordered: Vec<bool> = [0.0, 0.5, 1.0, 2.0].map(|seconds| keys.is_due(seconds, seconds == 0.5)).to_vec();
        assert_eq!(ordered, [true, true, false, true]);
    }
}
