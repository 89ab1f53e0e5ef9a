//! From raw media of a caller to encoded media, as fast as it can be had: one conversion, a ladder
//! scaled from rung to rung, encoders that hold nothing back.
//!
//! [`LiveSession`] is the blocking core, in the words of GStreamer; [`caller`] wraps it for async
//! callers in plain words.
//!
//! | file | subject |
//! |---|---|
//! | `graph.rs` | the pipeline |
//! | `rung.rs` | one rendition, and exchanging its encoder while it runs |
//! | `settings/` | what a plan means to each encoder |
//! | `keys.rs`, `grid.rs` | when key frames are due; a constant rate |
//! | `caller/` | the async interface: typed frames in, samples out, decoding of coded input |
//! | `sink.rs` | running times of what comes out |
//! | `shared.rs`, `room.rs`, `meter.rs`, `fault.rs` | what the threads share: tracks, room, latency, faults |
//!
//! Not here: where raw media comes from (`intake`) and where encoded media goes (`output`).

pub mod caller;
mod fault;
mod graph;
mod grid;
mod keys;
mod meter;
mod room;
mod rung;
mod settings;
mod shared;
mod sink;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::{AudioEncode, VideoEncode};
use ffrtmp_core::units::{Bitrate, FrameRate};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::media::{Clock, Encoded, Raw, Track, TrackKind};
use grid::Grid;
use keys::Schedule;
pub use meter::{Latency, LatencySummary};
use rung::Rung;
use shared::{Ended, Shared, Taker};

/// Pictures that wait before the first conversion.
const ROOM_PICTURES: usize = 2;
/// Pieces of sound that wait; they are short.
const ROOM_SOUND: usize = 32;
/// Rate of a source that does not tell its own.
const USUAL_FPS: u32 = 30;

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The pictures that will be pushed.
    pub video: Option<VideoInput>,
    /// The sound that will be pushed.
    pub audio: Option<AudioInput>,
    /// What becomes of the pictures, the largest first.
    pub renditions: Vec<VideoEncode>,
    /// What becomes of the sound.
    pub sound: Option<AudioEncode>,
    /// The time of the attempt.
    pub clock: Clock,
    /// Whether latency or quality counts.
    pub pace: Pace,
    /// How samples are delimited.
    pub format: StreamFormat,
    /// Processors to use; 0 takes those of the machine.
    pub threads: usize,
    /// How long a push waits for room before it says [`Pushed::Full`].
    pub patience: Duration,
}

impl SessionOptions {
    /// A live session with nothing in it yet; a push waits for a second.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            video: None,
            audio: None,
            renditions: Vec::new(),
            sound: None,
            clock,
            pace: Pace::Live,
            format: StreamFormat::Lengths,
            threads: 0,
            patience: Duration::from_secs(1),
        }
    }
}

/// Raw pictures that will be pushed. Their size, format and colours may change later; the output
/// stays as it is.
#[derive(Clone, Debug)]
pub struct VideoInput {
    /// Caps of the first picture.
    pub caps: gst::Caps,
}

/// Raw sound that will be pushed; it may change later like pictures.
#[derive(Clone, Debug)]
pub struct AudioInput {
    /// Caps of the first piece.
    pub caps: gst::Caps,
}

/// What counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Latency: no lookahead, no B-frames, a picture on all processors at once.
    #[default]
    Live,
    /// Quality for the bits, as for files.
    Calm,
}

/// How the parts of a sample are delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamFormat {
    /// By their lengths, the parameters of the codec in the caps: `avc`, `hvc1`, raw AAC. For RTMP,
    /// MP4, Matroska.
    #[default]
    Lengths,
    /// By start codes, parameters with every key frame: Annex B, ADTS. For transport streams and
    /// elementary streams.
    ByteStream,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what found no room is still the caller's"]
pub enum Pushed {
    /// The session has it.
    Taken,
    /// There was no room: encoding does not keep up. Push it again, or leave it out.
    Full,
}

/// Raw media in, encoded media out.
///
/// # Contract
/// - Times are running times; those of a kind grow. A picture without a time is refused.
/// - The taker is called on threads of the session, once for each sample, in decoding order within
///   a track; while it blocks, that track stands still and [`LiveSession::push`] soon finds no room.
/// - Key frames of renditions with the same interval are at the same times.
/// - Dropping it ends its threads; what was not encoded yet is lost. [`LiveSession::end`] loses
///   nothing.
pub struct LiveSession {
    pipeline: gst::Pipeline,
    shared: Arc<Shared>,
    rungs: Vec<Arc<Rung>>,
    video: Option<Mutex<VideoSide>>,
    audio: Option<Mutex<AudioSide>>,
    patience: Duration,
}

/// The pictures as the encoders get them.
struct Pictures {
    /// What the first picture is, with a rate.
    caps: gst::Caps,
    fps: Option<FrameRate>,
    /// The constant rate of all renditions.
    grid: Option<FrameRate>,
    colors: Option<String>,
    depth: u32,
    is_interlaced: bool,
}

impl Pictures {
    fn of(input: &VideoInput, renditions: &[VideoEncode]) -> Result<Self> {
        let info = graph::picture_info(&input.caps)?;
        let asked = renditions.first().and_then(|first| first.fps);
        let grid = asked.filter(|asked| renditions.iter().all(|plan| plan.fps == Some(*asked)));
        let own = FrameRate::new(info.fps().numer().unsigned_abs(), info.fps().denom().unsigned_abs()).ok();
        let fps = grid.or(own).or(Some(FrameRate::whole(USUAL_FPS)));
        // Colours of another kind, and those that are not told, are for the conversion to find.
        let told = input.caps.structure(0).is_some_and(|caps| caps.has_field("colorimetry"));
        let colors = (told && info.is_yuv()).then(|| info.colorimetry().to_string());
        Ok(Self {
            caps: definite(&info, fps)?,
            fps,
            grid,
            colors: colors.filter(|colors| !colors.is_empty()),
            depth: info.format_info().depth().first().copied().unwrap_or(8),
            is_interlaced: info.interlace_mode() != gst_video::VideoInterlaceMode::Progressive,
        })
    }

    /// Whether a rendition has ten bits: asked for, or as the source has, but not for H.264, which
    /// hardly a player decodes then.
    fn has_ten_bits(&self, plan: &VideoEncode) -> bool {
        use ffrtmp_core::media::VideoCodec;
        let keeps = !matches!(plan.codec, VideoCodec::H264 | VideoCodec::Vp8);
        plan.bit_depth.map_or(self.depth > 8 && keeps, |bits| bits > 8)
    }
}

/// Caps with everything said that GStreamer would assume, and with the rate of the session: another
/// one in the middle of a stream would start the encoder again.
fn definite(info: &gst_video::VideoInfo, fps: Option<FrameRate>) -> Result<gst::Caps> {
    let mut caps = info.to_caps().map_err(|_| graph::not_linked("the caps"))?;
    if let Some(fps) = fps {
        let rate = gst::Fraction::new(fps.num.cast_signed(), fps.den.cast_signed());
        caps.make_mut().set("framerate", rate);
    }
    Ok(caps)
}

struct VideoSide {
    source: gst_app::AppSrc,
    fps: Option<FrameRate>,
    /// Caps of the last picture as they came.
    known: Option<gst::Caps>,
    grid: Option<Grid>,
    /// The last picture, to be shown again where one is missing.
    last: Option<gst::Buffer>,
    schedules: Vec<Schedule>,
    /// Whether the next picture becomes a key frame.
    is_asked: bool,
    newest: Option<u64>,
}

struct AudioSide {
    source: gst_app::AppSrc,
    known: Option<gst::Caps>,
}

impl LiveSession {
    /// Starts a session; `taker` gets what it makes.
    ///
    /// # Errors
    /// `codec_unavailable`, `engine_unavailable` with the package that is missing, `invalid_field`
    /// for caps or options that cannot be.
    pub fn start(options: SessionOptions, taker: Box<dyn Fn(Encoded) + Send + Sync>) -> Result<Self> {
        Self::start_watched(&options, Box::new(move |encoded, _| taker(encoded)), Box::new(|_| ()))
    }

    /// The same with a taker that gets caps where they are new, and with one who is told, once or
    /// more often, that nothing comes any more and why.
    pub(super) fn start_watched(options: &SessionOptions, taker: Taker, ended: Ended) -> Result<Self> {
        super::init()?;
        let names = options.renditions.iter().map(|plan| (TrackKind::Video, plan.name.clone()));
        let sound = options.sound.iter().map(|_| (TrackKind::Audio, "audio".to_owned()));
        let shared = Arc::new(Shared::new((ROOM_PICTURES, ROOM_SOUND), names.chain(sound).collect(), taker, ended));
        let pipeline = gst::Pipeline::new();
        options.clock.give_to(&pipeline);
        let mut session =
            Self { pipeline, shared, rungs: Vec::new(), video: None, audio: None, patience: options.patience };
        session.build(options)?;
        session.play()?;
        Ok(session)
    }

    fn build(&mut self, options: &SessionOptions) -> Result<()> {
        if !options.renditions.is_empty() {
            let input = options.video.as_ref().ok_or_else(|| no_input("video"))?;
            let pictures = Pictures::of(input, &options.renditions)?;
            let (source, rungs) = graph::pictures(&self.pipeline, options, &pictures, &self.shared)?;
            let schedules = options.renditions.iter().map(|plan| Schedule::of(plan.gop)).collect();
            self.rungs = rungs;
            self.video = Some(Mutex::new(VideoSide {
                source,
                fps: pictures.fps,
                known: None,
                grid: pictures.grid.map(Grid::new),
                last: None,
                schedules,
                is_asked: false,
                newest: None,
            }));
        }
        if let Some(sound) = &options.sound {
            let input = options.audio.as_ref().ok_or_else(|| no_input("audio"))?;
            let source = graph::sound(&self.pipeline, &input.caps, sound, options, &self.shared)?;
            self.audio = Some(Mutex::new(AudioSide { source, known: Some(input.caps.clone()) }));
        }
        if self.video.is_none() && self.audio.is_none() {
            return Err(Error::new(Code::InvalidField, "a live session needs a rendition or sound")
                .field("renditions")
                .hint("name at least one thing to encode"));
        }
        Ok(())
    }

    fn play(&self) -> Result<()> {
        let bus = self.pipeline.bus().ok_or_else(|| graph::not_linked("the pipeline"))?;
        let shared = Arc::clone(&self.shared);
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                shared.fail(fault::of(error));
            }
            gst::BusSyncReply::Drop
        });
        self.pipeline.set_state(gst::State::Playing).map(drop).map_err(|_| {
            self.shared.fault().unwrap_or_else(|| Error::new(Code::EncodeFailed, "the encoders do not start"))
        })
    }

    /// Gives it a picture or a piece of sound. Waits for room as long as the options say.
    ///
    /// # Errors
    /// What broke inside; `wrong_state` after the end; `invalid_field` for media without time or
    /// caps, or of a kind that the session has not.
    pub fn push(&self, raw: &Raw) -> Result<Pushed> {
        self.push_within(raw, self.patience)
    }

    /// The same with another wait; with none it never blocks.
    ///
    /// # Errors
    /// As [`LiveSession::push`].
    pub fn push_within(&self, raw: &Raw, patience: Duration) -> Result<Pushed> {
        let has_room = self.shared.room(raw.kind).wait(patience).map_err(|over| self.fault().unwrap_or(over))?;
        if !has_room {
            return Ok(Pushed::Full);
        }
        match (raw.kind, &self.video, &self.audio) {
            (TrackKind::Video, Some(side), _) => lock(side).push(&self.shared, &self.rungs, &raw.sample),
            (TrackKind::Audio, _, Some(side)) => lock(side).push(&self.shared, &raw.sample),
            (TrackKind::Video, None, _) => Err(no_input("video")),
            (TrackKind::Audio, _, None) => Err(no_input("audio")),
        }
        .map(|()| Pushed::Taken)
        .map_err(|error| self.fault().unwrap_or(error))
    }

    /// Whether a push would find room; the waker is told once it would.
    ///
    /// # Errors
    /// What broke inside; `wrong_state` after the end.
    pub(super) fn poll_room(&self, kind: TrackKind, waker: &Waker) -> Poll<Result<()>> {
        self.shared.room(kind).poll(waker).map_err(|over| self.fault().unwrap_or(over))
    }

    /// Makes the next picture that is pushed a key frame, in every rendition.
    pub fn request_key_frame(&self) {
        if let Some(side) = &self.video {
            lock(side).is_asked = true;
        }
    }

    /// Gives a rendition another bit rate: at once where its encoder can, else from the next key
    /// frame on.
    ///
    /// # Errors
    /// `invalid_field` for a rendition that there is not.
    pub fn set_bitrate(&self, rendition: usize, rate: Bitrate) -> Result<()> {
        let rung = self.rungs.get(rendition).ok_or_else(|| {
            Error::new(Code::InvalidField, format!("there is no rendition {rendition}"))
                .field("rendition")
                .hint(format!("there are {}", self.rungs.len()))
        })?;
        if rung.set_rate(rate)? {
            self.hasten_keys();
        }
        Ok(())
    }

    /// Makes every encoder so many steps faster than its plan says, 0 being the plan, from the next
    /// key frame on; times go on without a gap.
    ///
    /// # Errors
    /// Those of making an encoder.
    pub fn set_preset(&self, steps: usize) -> Result<()> {
        for rung in &self.rungs {
            rung.set_faster(steps.min(rung.most_steps()))?;
        }
        self.hasten_keys();
        Ok(())
    }

    /// Most steps that [`LiveSession::set_preset`] can take.
    #[must_use]
    pub fn preset_steps(&self) -> usize {
        self.rungs.iter().map(|rung| rung.most_steps()).max().unwrap_or(0)
    }

    /// Where nobody knows when the next key frame comes, it is the next picture.
    fn hasten_keys(&self) {
        if let Some(side) = &self.video {
            let mut side = lock(side);
            if side.schedules.iter().any(Schedule::is_free) {
                side.is_asked = true;
            }
        }
    }

    /// The tracks, renditions first; empty until the caps of all of them are known.
    #[must_use]
    pub fn tracks(&self) -> Vec<Track> {
        self.shared.tracks()
    }

    /// The same, waiting until they are known.
    ///
    /// # Errors
    /// What broke inside; `timeout`.
    pub fn wait_for_tracks(&self, timeout: Duration) -> Result<Vec<Track>> {
        let known = self.shared.wait_for_tracks(timeout);
        match self.fault() {
            Some(fault) => Err(fault),
            None if known => Ok(self.tracks()),
            None => Err(Error::new(Code::Timeout, "not every track has begun")
                .hint("push media of every kind that the session has")),
        }
    }

    /// How long pictures are inside, from the push to the taker.
    #[must_use]
    pub fn latency(&self) -> LatencySummary {
        self.shared.latency()
    }

    /// What broke inside, if anything did.
    #[must_use]
    pub fn fault(&self) -> Option<Error> {
        self.shared.fault()
    }

    /// Ends it well: everything that was pushed comes out. Nothing can be pushed afterwards.
    ///
    /// # Errors
    /// What broke inside; `timeout`.
    pub fn end(&self, timeout: Duration) -> Result<()> {
        self.finish(TrackKind::Video);
        self.finish(TrackKind::Audio);
        self.shared.wait_for_end(timeout)
    }
}

impl LiveSession {
    /// No more of a kind comes; what was pushed comes out.
    pub(super) fn finish(&self, kind: TrackKind) {
        self.shared.room(kind).close();
        let source = match kind {
            TrackKind::Video => self.video.as_ref().map(|side| lock(side).source.clone()),
            TrackKind::Audio => self.audio.as_ref().map(|side| lock(side).source.clone()),
        };
        if let Some(source) = source {
            // A source that does not flow any more tells why on the bus.
            let _ = source.end_of_stream();
        }
    }

    /// Something around it broke: whoever pushes or waits hears of it.
    pub(super) fn fail(&self, fault: Error) {
        self.shared.fail(fault);
    }

    /// Nobody waits for room any more.
    pub(super) fn close(&self) {
        self.shared.pictures.close();
        self.shared.sound.close();
    }

    /// Caps of the raw media of a kind.
    pub(super) fn input_caps(&self, kind: TrackKind) -> Result<gst::Caps> {
        let (name, source) = match kind {
            TrackKind::Video => ("video", self.video.as_ref().map(|side| lock(side).source.clone())),
            TrackKind::Audio => ("audio", self.audio.as_ref().map(|side| lock(side).source.clone())),
        };
        source.and_then(|source| source.caps()).ok_or_else(|| no_input(name))
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        self.close();
        // Going to NULL cannot fail for elements without a device, and there is nobody to tell.
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

fn lock<T>(side: &Mutex<T>) -> MutexGuard<'_, T> {
    side.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_input(kind: &'static str) -> Error {
    Error::new(Code::InvalidField, format!("this live session has no {kind}"))
        .field(kind)
        .hint(format!("name the {kind} that will be pushed when the session starts"))
}

impl VideoSide {
    fn push(&mut self, shared: &Shared, rungs: &[Arc<Rung>], sample: &gst::Sample) -> Result<()> {
        let arrived = Instant::now();
        let buffer = sample.buffer_owned().ok_or_else(|| incomplete("data"))?;
        let time = buffer.pts().ok_or_else(|| incomplete("a time"))?.nseconds();
        self.renew_caps(sample.caps())?;
        match &mut self.grid {
            None => self.enter(shared, rungs, buffer, time, arrived),
            Some(grid) => {
                let Some(placed) = grid.place(time) else { return Ok(()) };
                let (again, period) =
                    (placed.repeated().map(|place| grid.time(place)).collect::<Vec<_>>(), grid.period());
                let own = grid.time(placed.place());
                for missing in again {
                    if let Some(last) = self.last.clone() {
                        self.enter(shared, rungs, timed(last, missing, period), missing, arrived)?;
                    }
                }
                self.last = Some(buffer.clone());
                self.enter(shared, rungs, timed(buffer, own, period), own, arrived)
            }
        }
    }

    fn renew_caps(&mut self, caps: Option<&gst::CapsRef>) -> Result<()> {
        let caps = caps.ok_or_else(|| incomplete("caps"))?;
        if self.known.as_deref().is_some_and(|known| known == caps) {
            return Ok(());
        }
        let info = graph::picture_info(&caps.to_owned())?;
        self.source.set_caps(Some(&definite(&info, self.fps)?));
        self.known = Some(caps.to_owned());
        // A picture of another kind cannot be shown again.
        self.last = None;
        Ok(())
    }

    fn enter(
        &mut self,
        shared: &Shared,
        rungs: &[Arc<Rung>],
        buffer: gst::Buffer,
        time: u64,
        arrived: Instant,
    ) -> Result<()> {
        if self.newest.is_some_and(|newest| time <= newest) {
            return Ok(());
        }
        self.newest = Some(time);
        let is_asked = std::mem::take(&mut self.is_asked);
        for (rung, schedule) in rungs.iter().zip(&mut self.schedules) {
            // Both are asked: a key frame on request does not move the schedule.
            if schedule.is_due(time) | is_asked {
                rung.marks.put(time);
            }
        }
        shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).note(time, arrived);
        shared.pictures.enter();
        self.source.push_buffer(buffer).map(drop).map_err(|_| room::over())
    }
}

impl AudioSide {
    fn push(&mut self, shared: &Shared, sample: &gst::Sample) -> Result<()> {
        let buffer = sample.buffer_owned().ok_or_else(|| incomplete("data"))?;
        buffer.pts().ok_or_else(|| incomplete("a time"))?;
        let caps = sample.caps().ok_or_else(|| incomplete("caps"))?;
        if self.known.as_deref().is_none_or(|known| known != caps) {
            let caps = caps.to_owned();
            self.source.set_caps(Some(&caps));
            self.known = Some(caps);
        }
        shared.sound.enter();
        self.source.push_buffer(buffer).map(drop).map_err(|_| room::over())
    }
}

fn timed(mut buffer: gst::Buffer, time: u64, period: u64) -> gst::Buffer {
    let data = buffer.make_mut();
    data.set_pts(gst::ClockTime::from_nseconds(time));
    data.set_duration(gst::ClockTime::from_nseconds(period));
    buffer
}

fn incomplete(what: &str) -> Error {
    Error::new(Code::InvalidField, format!("a sample without {what} was pushed"))
        .field("sample")
        .hint("give every sample data, caps and a running time")
}
