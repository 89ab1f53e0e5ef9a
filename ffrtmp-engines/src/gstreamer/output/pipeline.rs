//! A pipeline that is fed from outside: sources of ours, the elements of the target, and what its
//! bus says about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ffrtmp_core::error::{Code, Error, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSrc, AppSrcCallbacks};

use super::fault;
use super::line::Shared;

/// Samples that may wait inside a pipeline for each track; the queue is where they wait.
const INSIDE: u64 = 4;

/// A pipeline with its feeds. Dropped, it stops.
pub(super) struct Pipeline {
    pipeline: gst::Pipeline,
    feeds: Vec<AppSrc>,
    bytes: Arc<AtomicU64>,
}

/// A source for one stream.
pub(super) fn feed(caps: &gst::Caps, shared: &Arc<Shared>) -> AppSrc {
    let waker = Arc::clone(shared);
    let feed = AppSrc::builder()
        .caps(caps)
        .format(gst::Format::Time)
        .is_live(false)
        .block(false)
        .max_buffers(0)
        .max_bytes(0)
        .max_time(gst::ClockTime::ZERO);
    feed.callbacks(AppSrcCallbacks::builder().need_data(move |_, _| waker.wake()).build()).build()
}

impl Pipeline {
    /// Takes elements that are linked already, in a pipeline that has not begun; what passes into
    /// `sink` is counted.
    ///
    /// # Errors
    /// `encode_failed` if it does not begin.
    pub(super) fn start(
        pipeline: gst::Pipeline,
        feeds: Vec<AppSrc>,
        sink: &gst::Element,
        shared: &Arc<Shared>,
    ) -> Result<Self> {
        let started = Self { pipeline, feeds, bytes: Arc::default() };
        started.count(sink, shared);
        started.watch(shared)?;
        shared.clock().give_to(&started.pipeline);
        if started.pipeline.set_state(gst::State::Playing).is_err() {
            // The bus has told why, as a rule; that is the better error.
            shared.broke(Error::new(Code::EncodeFailed, format!("{} could not begin", shared.name())));
        }
        Ok(started)
    }

    /// A muxer that waits for a track must get it, however much there is of the others.
    pub(super) fn has_room(&self) -> bool {
        let mut levels = self.feeds.iter().map(AppSrc::current_level_buffers);
        levels.clone().any(|level| level == 0) || levels.all(|level| level < INSIDE)
    }

    /// Gives a buffer to a feed.
    ///
    /// # Errors
    /// `network` if the pipeline takes nothing any more; why, is on its bus.
    pub(super) fn push(&self, feed: usize, buffer: gst::Buffer) -> Result<()> {
        match self.feeds[feed].push_buffer(buffer) {
            // What went wrong, the bus tells; the line ends with that.
            Ok(_) | Err(gst::FlowError::Flushing | gst::FlowError::Error) => Ok(()),
            Err(error) => Err(Error::new(Code::EncodeFailed, "an output takes nothing more").source(error)),
        }
    }

    /// Tells a feed that nothing of its track lies before this time.
    pub(super) fn skip(&self, feed: usize, time: gst::ClockTime) {
        self.feeds[feed].send_event(gst::event::Gap::builder(time).build());
    }

    pub(super) fn end(&self) {
        for feed in &self.feeds {
            // Refused only by a pipeline that has broken, which its bus tells.
            let _ = feed.end_of_stream();
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A sink asks for the next buffer when it is done with the one before. Some have a pad for each
    /// track, which they were asked for.
    fn count(&self, sink: &gst::Element, shared: &Arc<Shared>) {
        let audience = audience(sink);
        for pad in sink.sink_pads() {
            self.count_on(&pad, audience.clone(), shared);
        }
    }

    fn count_on(&self, pad: &gst::Pad, audience: Option<Arc<AtomicI64>>, shared: &Arc<Shared>) {
        let (bytes, shared) = (Arc::clone(&self.bytes), Arc::clone(shared));
        let mut before = 0;
        let take = move |length: usize| {
            let is_taken = audience.as_ref().is_none_or(|readers| readers.load(Ordering::Relaxed) > 0);
            if before > 0 && is_taken {
                shared.passed(bytes.fetch_add(before, Ordering::Relaxed) + before);
            }
            before = length as u64;
        };
        let take = std::sync::Mutex::new(take);
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
            let length = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => buffer.size(),
                Some(gst::PadProbeData::BufferList(list)) => list.calculate_size(),
                _ => 0,
            };
            take.lock().unwrap_or_else(std::sync::PoisonError::into_inner)(length);
            gst::PadProbeReturn::Ok
        });
    }

    fn watch(&self, shared: &Arc<Shared>) -> Result<()> {
        let bus = self.pipeline.bus().ok_or_else(|| Error::new(Code::Internal, "a pipeline without a bus"))?;
        let shared = Arc::clone(shared);
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::Error(said) => shared.broke(fault::of(said, shared.name())),
                gst::MessageView::Eos(_) => shared.ended(),
                _ => {}
            }
            gst::BusSyncReply::Drop
        });
        Ok(())
    }
}

/// Whether others connect to this sink.
pub(super) fn is_listener(sink: &gst::Element) -> bool {
    let is_srt = sink.factory().is_some_and(|factory| factory.name() == "srtsink");
    let mode = || sink.property_value("mode");
    is_srt && gst::glib::EnumValue::from_value(&mode()).is_some_and(|(_, mode)| mode.nick() == "listener")
}

/// How many have connected to a sink and are still there; `None` for one that connects by itself.
fn audience(sink: &gst::Element) -> Option<Arc<AtomicI64>> {
    if !is_listener(sink) {
        return None;
    }
    let readers = Arc::new(AtomicI64::new(0));
    for (signal, change) in [("caller-added", 1), ("caller-removed", -1)] {
        let readers = Arc::clone(&readers);
        sink.connect(signal, false, move |_| {
            readers.fetch_add(change, Ordering::Relaxed);
            None
        });
    }
    Some(readers)
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the pipeline of an output did not stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}
