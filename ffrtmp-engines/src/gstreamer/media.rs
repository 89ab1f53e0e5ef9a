//! What passes between the pipelines of a live attempt. All times are running times: they begin with
//! the attempt and never go back.

use std::sync::Arc;

use ffrtmp_core::live::LiveEvent;
use gstreamer as gst;
use gstreamer::prelude::*;

/// Kind of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One track of encoded media.
#[derive(Clone, Debug)]
pub struct Track {
    /// Its kind.
    pub kind: TrackKind,
    /// Name of the rendition, such as `720p`; of a sound track `audio`.
    pub name: String,
    /// Exact caps of its samples, codec data included.
    pub caps: gst::Caps,
}

/// One encoded picture or piece of sound, in decoding order within its track.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Index of its track in the list of the session.
    pub track: usize,
    /// The data with PTS, DTS and duration; the flag `DELTA_UNIT` is absent on key frames.
    pub buffer: gst::Buffer,
}

impl Encoded {
    /// Whether decoding can begin here.
    #[must_use]
    pub fn is_key(&self) -> bool {
        !self.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)
    }
}

/// Raw media from a source.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Its kind.
    pub kind: TrackKind,
    /// The data with caps and PTS.
    pub sample: gst::Sample,
}

/// The time of an attempt: every pipeline of it runs by this clock from the same moment on.
#[derive(Clone, Debug)]
pub struct Clock {
    /// What counts.
    pub clock: gst::Clock,
    /// Its reading when the attempt began: running time 0.
    pub base: gst::ClockTime,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        let clock = gst::SystemClock::obtain();
        Self { base: clock.time(), clock }
    }

    /// Time since the beginning.
    #[must_use]
    pub fn running_time(&self) -> gst::ClockTime {
        self.clock.time().saturating_sub(self.base)
    }

    /// Has a pipeline keep this time; before it leaves `NULL`.
    pub fn give_to(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base);
    }
}

/// Hears what happens to a live attempt, from any thread.
pub(super) type Events = Arc<dyn Fn(LiveEvent) + Send + Sync>;
