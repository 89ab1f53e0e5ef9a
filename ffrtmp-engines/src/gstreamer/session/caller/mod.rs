//! [`LiveSession`] for async callers, in plain words: frames or samples in, samples out.
//!
//! ```no_run
//! use std::time::Duration;
//! use ffrtmp_core::media::VideoCodec;
//! use ffrtmp_engines::gstreamer::session::caller::{Frame, Live, PixelFormat, Pictures, Rendition};
//!
//! # async fn example() -> ffrtmp_core::Result<()> {
//! let size = "1280x720".parse()?;
//! let (input, mut output) = Live::builder()
//!     .pictures(Pictures::Raw { format: PixelFormat::I420, size, fps: Some("25".parse()?) })
//!     .rendition(Rendition::new(VideoCodec::H264, size)?.bitrate("3M".parse()?))
//!     .start()?;
//! input.push_picture(Frame::new(vec![128; 1280 * 720 * 3 / 2], Duration::ZERO)).await?;
//! input.finish();
//! while let Some(sample) = output.recv().await {
//!     let sample = sample?;
//!     // `sample.data` holds one access unit, `sample.pts` says when it is shown.
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It needs no runtime of its own and runs on any. The threads are those of GStreamer; they end
//! when both halves are dropped.

mod decode;
mod kinds;
mod mailbox;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::AudioEncode;
use ffrtmp_core::units::Bitrate;
use futures_core::Stream;
use gstreamer as gst;

use super::super::media::{Clock, Encoded, Raw, TrackKind};
use super::{AudioInput, LatencySummary, LiveSession, Pace, Pushed, SessionOptions, StreamFormat, VideoInput};
use decode::Decoder;
pub use kinds::{Data, Frame, Pictures, PixelFormat, Rendition, Sample, SampleFormat, Sound, TrackInfo};
use mailbox::Mailbox;

/// Rate of pictures that do not tell their own.
const USUAL_FPS: i32 = 30;

/// Where a live session begins.
#[derive(Clone, Copy, Debug)]
pub struct Live;

impl Live {
    /// A session with nothing in it yet.
    pub fn builder() -> LiveBuilder {
        LiveBuilder::default()
    }
}

/// What a live session is to do.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing happens before it is started"]
pub struct LiveBuilder {
    pictures: Option<Pictures>,
    sound: Option<Sound>,
    renditions: Vec<Rendition>,
    audio: Option<AudioEncode>,
    format: StreamFormat,
    pace: Pace,
    threads: usize,
}

impl LiveBuilder {
    /// The pictures that will be pushed.
    pub fn pictures(mut self, pictures: Pictures) -> Self {
        self.pictures = Some(pictures);
        self
    }

    /// The sound that will be pushed.
    pub fn sound(mut self, sound: Sound) -> Self {
        self.sound = Some(sound);
        self
    }

    /// One more output of the pictures, the largest first.
    pub fn rendition(mut self, rendition: impl Into<Rendition>) -> Self {
        self.renditions.push(rendition.into());
        self
    }

    /// The output of the sound.
    pub fn audio(mut self, audio: AudioEncode) -> Self {
        self.audio = Some(audio);
        self
    }

    /// How the parts of samples that come out are delimited.
    pub fn format(mut self, format: StreamFormat) -> Self {
        self.format = format;
        self
    }

    /// Whether latency or quality counts.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Processors to use; 0 takes those of the machine.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Starts it. It blocks for some milliseconds while encoders are opened; longer the first time a
    /// device is tried.
    ///
    /// # Errors
    /// `codec_unavailable`, `engine_unavailable` with the package that is missing, `invalid_field`
    /// for outputs without an input.
    pub fn start(self) -> Result<(LiveInput, LiveOutput)> {
        super::super::init()?;
        let mailbox = Arc::new(Mailbox::default());
        let (letters, end) = (Arc::clone(&mailbox), Arc::clone(&mailbox));
        let options = SessionOptions {
            video: self.pictures.as_ref().map(|pictures| self.video_input(pictures)),
            audio: self.sound.as_ref().map(audio_input),
            renditions: self.renditions.iter().map(|rendition| rendition.0.clone()).collect(),
            sound: self.audio,
            pace: self.pace,
            format: self.format,
            threads: self.threads,
            ..SessionOptions::new(Clock::start())
        };
        let session = Arc::new(LiveSession::start_watched(
            &options,
            Box::new(move |encoded, caps| {
                if let Some(sample) = sample(encoded, caps) {
                    letters.put(sample);
                }
            }),
            Box::new(move |fault| end.complete(fault)),
        )?);
        let decoders = Decoders {
            pictures: self.pictures.as_ref().map(|input| Decoder::pictures(&session, input)).transpose()?.flatten(),
            sound: self.sound.as_ref().map(|input| Decoder::sound(&session, input)).transpose()?.flatten(),
        };
        let inner = Arc::new(Inner { decoders, session, mailbox });
        Ok((LiveInput { inner: Arc::clone(&inner) }, LiveOutput { inner }))
    }

    /// Of coded pictures the size and the colours are known once the first is decoded; until then
    /// those of the first rendition stand for them.
    fn video_input(&self, pictures: &Pictures) -> VideoInput {
        let first = self.renditions.first().map(|rendition| rendition.0.size);
        let (format, size, fps) = match pictures {
            Pictures::Raw { format, size, fps } => (format.name(), Some(*size), *fps),
            Pictures::Coded { fps, .. } => (PixelFormat::I420.name(), first, *fps),
        };
        let rate = fps.map_or_else(
            || gst::Fraction::new(USUAL_FPS, 1),
            |fps| gst::Fraction::new(fps.num.cast_signed(), fps.den.cast_signed()),
        );
        let mut caps = gst::Caps::builder("video/x-raw").field("format", format).field("framerate", rate);
        if let Some(size) = size {
            caps = caps.field("width", size.width.cast_signed()).field("height", size.height.cast_signed());
        }
        VideoInput { caps: caps.build() }
    }
}

fn audio_input(sound: &Sound) -> AudioInput {
    let (format, rate, channels) = match sound {
        Sound::Raw { format, rate, channels } => (format.name(), *rate, *channels),
        Sound::Coded { rate, channels, .. } => (SampleFormat::F32.name(), *rate, *channels),
    };
    let caps = gst::Caps::builder("audio/x-raw")
        .field("format", format)
        .field("layout", "interleaved")
        .field("rate", rate.cast_signed())
        .field("channels", i32::from(channels));
    AudioInput { caps: caps.build() }
}

fn sample(encoded: Encoded, caps: Option<&gst::CapsRef>) -> Option<Sample> {
    let is_key = encoded.is_key();
    let Encoded { track, buffer } = encoded;
    let (pts, dts) = (buffer.pts()?, buffer.dts()?);
    let duration = buffer.duration().map(Duration::from);
    let data = Data(buffer.into_mapped_buffer_readable().ok()?);
    Some(Sample {
        track,
        data,
        pts: pts.into(),
        dts: dts.into(),
        duration,
        is_key,
        config: caps.and_then(kinds::config),
    })
}

/// What both halves hold. The decoders go before the session that they feed.
struct Inner {
    decoders: Decoders,
    session: Arc<LiveSession>,
    mailbox: Arc<Mailbox<Sample>>,
}

struct Decoders {
    pictures: Option<Decoder>,
    sound: Option<Decoder>,
}

impl Inner {
    fn decoder(&self, kind: TrackKind) -> Option<&Decoder> {
        match kind {
            TrackKind::Video => self.decoders.pictures.as_ref(),
            TrackKind::Audio => self.decoders.sound.as_ref(),
        }
    }

    fn finish(&self) {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            match self.decoder(kind) {
                Some(decoder) => decoder.finish(),
                None => self.session.finish(kind),
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody may wait inside while the pipelines stop.
        self.mailbox.abandon();
        self.session.close();
    }
}

/// Where media goes in. Dropping it finishes the session like [`LiveInput::finish`].
pub struct LiveInput {
    inner: Arc<Inner>,
}

impl LiveInput {
    /// Gives it a picture, waiting for room: encoding that does not keep up holds the caller back.
    ///
    /// # Cancel safety
    /// Safe: a future that is dropped before it is ready has pushed nothing; the frame goes with it.
    ///
    /// # Errors
    /// What broke inside; `wrong_state` after the end; `invalid_field` where the session takes none.
    pub async fn push_picture(&self, frame: Frame) -> Result<()> {
        self.push(TrackKind::Video, frame).await
    }

    /// The same for a piece of sound.
    ///
    /// # Cancel safety
    /// As [`LiveInput::push_picture`].
    ///
    /// # Errors
    /// As [`LiveInput::push_picture`].
    pub async fn push_sound(&self, frame: Frame) -> Result<()> {
        self.push(TrackKind::Audio, frame).await
    }

    async fn push(&self, kind: TrackKind, frame: Frame) -> Result<()> {
        let session = &self.inner.session;
        if let Some(decoder) = self.inner.decoder(kind) {
            let ready = poll_fn(|context| decoder.room.poll(context.waker())).await;
            return ready.and_then(|()| decoder.push(frame.buffer)).map_err(|error| session.fault().unwrap_or(error));
        }
        let caps = session.input_caps(kind)?;
        let raw = Raw { kind, sample: gst::Sample::builder().buffer(&frame.buffer).caps(&caps).build() };
        loop {
            poll_fn(|context| session.poll_room(kind, context.waker())).await?;
            // Between the two another task may have taken the room.
            if session.push_within(&raw, Duration::ZERO)? == Pushed::Taken {
                return Ok(());
            }
        }
    }

    /// Makes the next picture a key frame, in every rendition.
    pub fn request_key_frame(&self) {
        self.inner.session.request_key_frame();
    }

    /// Gives a rendition another bit rate: at once where its encoder can, else from the next key
    /// frame on.
    ///
    /// # Errors
    /// `invalid_field` for a rendition that there is not.
    pub fn set_bitrate(&self, rendition: usize, bitrate: Bitrate) -> Result<()> {
        self.inner.session.set_bitrate(rendition, bitrate)
    }

    /// Makes the encoders so many steps of preset faster than was asked for, 0 being that, from the
    /// next key frame on.
    ///
    /// # Errors
    /// Those of making an encoder.
    pub fn set_preset(&self, steps: usize) -> Result<()> {
        self.inner.session.set_preset(steps)
    }

    /// How long pictures are inside, from the push to the encoded sample.
    #[must_use]
    pub fn latency(&self) -> LatencySummary {
        self.inner.session.latency()
    }

    /// Nothing more comes: what was pushed comes out, then [`LiveOutput::recv`] gives `None`.
    pub fn finish(&self) {
        self.inner.finish();
    }
}

impl Drop for LiveInput {
    fn drop(&mut self) {
        self.inner.finish();
    }
}

/// Where samples come out. While it is not read the session stands still and [`LiveInput`] waits;
/// dropping it stops the session.
pub struct LiveOutput {
    inner: Arc<Inner>,
}

impl LiveOutput {
    /// The next sample of any track; `None` after the last one. An error is the last word.
    ///
    /// # Cancel safety
    /// Safe: a future that is dropped before it is ready has taken nothing.
    pub async fn recv(&mut self) -> Option<Result<Sample>> {
        poll_fn(|context| self.inner.mailbox.poll(context)).await
    }

    /// The tracks, renditions first; empty until each has made its first sample.
    #[must_use]
    pub fn tracks(&self) -> Vec<TrackInfo> {
        let info = |track: &super::super::media::Track| TrackInfo {
            name: track.name.clone(),
            codec: track.caps.structure(0).map_or_else(String::new, |caps| caps.name().to_string()),
            config: kinds::config(&track.caps),
        };
        self.inner.session.tracks().iter().map(info).collect()
    }
}

impl Stream for LiveOutput {
    type Item = Result<Sample>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.mailbox.poll(context)
    }
}

impl Drop for LiveOutput {
    fn drop(&mut self) {
        self.inner.mailbox.abandon();
        self.inner.session.fail(
            Error::new(Code::Canceled, "nobody takes the samples any more")
                .hint("keep the output while media is pushed"),
        );
    }
}
