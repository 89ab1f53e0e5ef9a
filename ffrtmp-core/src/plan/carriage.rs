//! Which container, which codecs, and whether they go together.

use super::OutputRequest;
use crate::encoding::{SegmentKind, Selection};
use crate::error::{Code, Error, Result};
use crate::media::{AudioCodec, Container, MediaInfo, Target, VideoCodec};

/// What carries what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carriage {
    pub(super) container: Container,
    /// `None` where the container holds sound only.
    pub(super) video: Option<Target<VideoCodec>>,
    pub(super) audio: Target<AudioCodec>,
}

/// Chooses container and codecs: the container that is asked for, with its default codecs where
/// none is asked for; else the first container that takes the codecs.
///
/// # Errors
/// `container_mismatch` naming the codec's field.
pub(super) fn choose(request: &OutputRequest, source: Option<&MediaInfo>) -> Result<Carriage> {
    if let Some(container) = request.named_container() {
        let carriage = Carriage::with(request, container);
        carriage.check(request, source)?;
        return Ok(carriage);
    }
    let first = Carriage::with(request, candidates(request)[0]);
    let fitting = candidates(request)
        .into_iter()
        .map(|container| Carriage::with(request, container))
        .find(|carriage| carriage.check(request, source).is_ok());
    fitting.map_or_else(|| first.check(request, source).map(|()| first), Ok)
}

/// Containers to try when none is named: WebM first for VP8 and VP9, MP4 first for the rest,
/// Matroska last because it takes everything.
fn candidates(request: &OutputRequest) -> [Container; 3] {
    match request.video_target() {
        Some(Target::Encode(VideoCodec::Vp8 | VideoCodec::Vp9)) => [Container::Webm, Container::Mp4, Container::Mkv],
        _ => [Container::Mp4, Container::Webm, Container::Mkv],
    }
}

impl OutputRequest {
    /// The container that is asked for, by parameter or by the output's name.
    pub(super) fn named_container(&self) -> Option<Container> {
        self.parameters.container.or(self.container)
    }

    /// The video codec that is asked for, if only by naming an encoder; the parameters win over the
    /// scenario.
    pub(super) fn video_target(&self) -> Option<Target<VideoCodec>> {
        let by_encoder = || self.parameters.encoder.map(|encoder| Target::Encode(encoder.codec()));
        self.parameters.codec.or_else(by_encoder).or(self.scenario.codec.map(Target::Encode))
    }

    /// What will be done with the video stream of any source.
    #[must_use]
    pub fn video_codec(&self) -> Option<Target<VideoCodec>> {
        if self.parameters.video_stream == Some(Selection::None) {
            return None;
        }
        let container = self.named_container().unwrap_or(candidates(self)[0]);
        carried_video(self, container)
    }

    fn codec_field(&self) -> &'static str {
        if self.parameters.codec.is_some() { "parameters.codec" } else { "scenario" }
    }
}

fn carried_video(request: &OutputRequest, container: Container) -> Option<Target<VideoCodec>> {
    let default = container.default_video()?;
    Some(request.video_target().unwrap_or(Target::Encode(default)))
}

impl Carriage {
    fn with(request: &OutputRequest, container: Container) -> Self {
        Self {
            container,
            video: carried_video(request, container),
            audio: request.parameters.audio_codec.unwrap_or(Target::Encode(container.default_audio())),
        }
    }

    fn check(&self, request: &OutputRequest, source: Option<&MediaInfo>) -> Result<()> {
        self.check_encoded(request)?;
        let Some(info) = source else { return Ok(()) };
        if let (Some(Target::Copy), Some((stream, _))) = (self.video, info.best_video()) {
            self.check_copied(&stream.codec, "video", "parameters.codec", takes_video(self.container))?;
        }
        if self.audio == Target::Copy {
            for (stream, _) in info.audio() {
                self.check_copied(&stream.codec, "audio", "parameters.audio_codec", takes_audio(self.container))?;
            }
        }
        Ok(())
    }

    /// What can be said before the source is known.
    pub(super) fn check_encoded(&self, request: &OutputRequest) -> Result<()> {
        self.check_segments(request)?;
        match self.video {
            Some(Target::Encode(codec)) if !self.container.carries_video(codec) => {
                let taken = names(VideoCodec::ALL, |codec| self.container.carries_video(codec));
                return Err(self.mismatch(codec.as_str(), request.codec_field(), &taken));
            }
            _ => {}
        }
        match self.audio {
            Target::Encode(codec) if !self.container.carries_audio(codec) => {
                let taken = names(AudioCodec::ALL, |codec| self.container.carries_audio(codec));
                Err(self.mismatch(codec.as_str(), "parameters.audio_codec", &taken))
            }
            _ => Ok(()),
        }
    }

    /// Transport stream segments carry less than CMAF does.
    fn check_segments(&self, request: &OutputRequest) -> Result<()> {
        let field = "parameters.segment_type";
        let Some(kind) = request.parameters.segment_type else { return Ok(()) };
        if !self.container.is_segmented() {
            return Err(Error::new(Code::InvalidField, format!("{} has no segments", self.container))
                .field(field)
                .hint("leave it out, or name the output .m3u8 or .mpd"));
        }
        if kind != SegmentKind::Ts {
            return Ok(());
        }
        if self.container == Container::Dash {
            return Err(Error::new(Code::InvalidField, "dash is made of fmp4 segments")
                .field(field)
                .hint("leave it out, or name the output .m3u8"));
        }
        let video = match self.video {
            Some(Target::Encode(codec)) if !Container::MpegTs.carries_video(codec) => Some(codec.as_str()),
            _ => None,
        };
        let audio = match self.audio {
            Target::Encode(codec) if !matches!(codec, AudioCodec::Aac | AudioCodec::Mp3) => Some(codec.as_str()),
            _ => None,
        };
        match video.or(audio) {
            Some(codec) => Err(Error::new(Code::ContainerMismatch, format!("ts segments cannot carry {codec}"))
                .field(field)
                .hint("take fmp4 segments, or h264 or h265 with aac or mp3")),
            None => Ok(()),
        }
    }

    fn check_copied(&self, codec: &str, what: &str, field: &str, taken: Taken) -> Result<()> {
        let fits = match taken {
            Taken::Anything => codec != "unknown",
            Taken::Only(codecs) => codecs.contains(&codec),
        };
        if fits {
            return Ok(());
        }
        let message = format!("{} cannot carry the source's {what} codec {codec}", self.container);
        let hint = "name the output .mkv, which takes every codec that can be copied, or name a codec instead of copy";
        Err(Error::new(Code::ContainerMismatch, message).field(field).hint(hint))
    }

    fn mismatch(&self, codec: &str, field: &str, taken: &str) -> Error {
        let container = self.container;
        Error::new(Code::ContainerMismatch, format!("{container} cannot carry {codec}"))
            .field(field)
            .hint(format!("{container} takes {taken}; or give the output another extension, such as .mkv"))
    }
}

fn names<C: Copy + std::fmt::Display>(all: &[C], carried: impl Fn(C) -> bool) -> String {
    all.iter().filter(|codec| carried(**codec)).map(C::to_string).collect::<Vec<_>>().join(", ")
}

/// Codecs that may be copied into a container, by libav's names.
enum Taken {
    Anything,
    Only(&'static [&'static str]),
}

fn takes_video(container: Container) -> Taken {
    match container {
        Container::Mkv => Taken::Anything,
        Container::Mp4 => Taken::Only(&["h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"]),
        Container::Fmp4 | Container::Hls | Container::Dash => Taken::Only(&["h264", "hevc", "vp9", "av1"]),
        Container::Mp3 | Container::Flac | Container::Ogg => Taken::Only(&[]),
        Container::Webm => Taken::Only(&["vp8", "vp9", "av1"]),
        // MPEG-4 part 2 has no headers in its packets, and a transport stream keeps none elsewhere.
        Container::MpegTs => Taken::Only(&["h264", "hevc", "mpeg2video", "mpeg1video"]),
    }
}

fn takes_audio(container: Container) -> Taken {
    match container {
        Container::Mkv => Taken::Anything,
        Container::Mp4 => Taken::Only(&["aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac", "dts"]),
        Container::Webm => Taken::Only(&["opus", "vorbis"]),
        Container::MpegTs => Taken::Only(&["aac", "mp3", "mp2", "ac3", "eac3", "opus", "dts"]),
        Container::Fmp4 | Container::Hls | Container::Dash => Taken::Only(&["aac", "ac3", "eac3", "opus", "flac"]),
        Container::Mp3 => Taken::Only(&["mp3"]),
        Container::Flac => Taken::Only(&["flac"]),
        Container::Ogg => Taken::Only(&["opus", "vorbis", "flac"]),
    }
}
