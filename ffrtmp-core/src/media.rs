//! What media is made of: codecs, containers, and the description that a probe gives.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, nearest};
use crate::units::{FrameRate, Ratio};

/// Declares an enum with a stable text form, aliases, and an error that names the nearest value.
macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident, $field:literal { $($(#[$vdoc:meta])* $variant:ident $text:literal $(| $alias:literal)*),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text $(, alias = $alias)*)] $variant,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::openapi::names(Self::ALL.iter().map(|value| value.as_str()))
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text.to_ascii_lowercase().as_str() {
                    $($text $(| $alias)* => Ok(Self::$variant),)*
                    other => Err($crate::media::unknown_name($field, text, other, &[$($text),*])),
                }
            }
        }
    };
}
pub(crate) use named_enum;

pub(crate) fn unknown_name(field: &'static str, text: &str, lower: &str, known: &[&'static str]) -> Error {
    let hint = match nearest(lower, known.iter().copied()) {
        Some(near) => format!("did you mean {near}? known: {}", known.join(", ")),
        None => format!("known: {}", known.join(", ")),
    };
    Error::new(Code::InvalidField, format!("unknown {} {text:?}", field.replace('_', " "))).field(field).hint(hint)
}

named_enum!(
    /// A video codec that can be asked for.
    VideoCodec, "codec" {
        /// H.264 / AVC.
        H264 "h264" | "avc" | "libx264" | "x264",
        /// H.265 / HEVC.
        H265 "h265" | "hevc" | "libx265" | "x265",
        /// VP8.
        Vp8 "vp8" | "libvpx",
        /// VP9.
        Vp9 "vp9" | "libvpx-vp9",
        /// AV1.
        Av1 "av1" | "libsvtav1" | "svt-av1",
    }
);

named_enum!(
    /// An audio codec that can be asked for.
    AudioCodec, "audio_codec" {
        /// Advanced Audio Coding, low complexity.
        Aac "aac",
        /// Opus.
        Opus "opus" | "libopus",
        /// MPEG layer III.
        Mp3 "mp3" | "libmp3lame",
        /// Free Lossless Audio Codec.
        Flac "flac",
    }
);

named_enum!(
    /// A codec of text subtitles that can be asked for.
    SubtitleCodec, "subtitle_codec" {
        /// MPEG-4 timed text.
        MovText "mov_text" | "tx3g",
        /// SubRip.
        Srt "srt" | "subrip",
        /// Advanced SubStation Alpha.
        Ass "ass" | "ssa",
        /// Web video text tracks.
        WebVtt "webvtt" | "vtt",
    }
);

named_enum!(
    /// An output container.
    Container, "container" {
        /// MPEG-4 part 14, index at the front.
        Mp4 "mp4" | "m4v" | "mov" | "m4a",
        /// Fragmented MP4 that follows CMAF, in one file.
        Fmp4 "fmp4" | "cmaf" | "cmfv",
        /// Matroska.
        Mkv "mkv" | "matroska" | "mka",
        /// WebM.
        Webm "webm" | "weba",
        /// MPEG transport stream.
        MpegTs "ts" | "mpegts" | "m2ts" | "mts",
        /// HTTP live streaming: playlists and segments.
        Hls "hls" | "m3u8",
        /// Dynamic adaptive streaming over HTTP: a manifest and segments.
        Dash "dash" | "mpd",
        /// MPEG layer III audio.
        Mp3 "mp3",
        /// FLAC audio.
        Flac "flac",
        /// Ogg with Opus or FLAC audio.
        Ogg "ogg" | "opus" | "oga",
    }
);

impl Container {
    /// The container that a file name's extension stands for.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        let (stem, extension) = name.rsplit_once('.')?;
        (!stem.is_empty()).then(|| extension.parse().ok()).flatten()
    }

    /// Whether the file name's extension is one that players take for sound, in a container that
    /// could hold pictures as well.
    #[must_use]
    pub fn is_name_of_sound(path: &str) -> bool {
        let extension = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
        extension.is_some_and(|own| ["m4a", "mka", "weba"].iter().any(|known| own.eq_ignore_ascii_case(known)))
    }

    /// The container that the name of an output asks for; `None` for a name without extension.
    ///
    /// # Errors
    /// `container_mismatch` naming `output` for an extension that stands for none of them: the file
    /// would not be what it says.
    pub fn of_output(path: &str) -> Result<Option<Self>, Error> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, extension)| extension);
        match (Self::from_path(path), extension) {
            (None, Some(extension)) if !extension.is_empty() => Err(Error::new(
                Code::ContainerMismatch,
                format!("no container here is named .{extension}"),
            )
            .field("output")
            .hint(
                "name it .mp4, .mkv, .webm, .ts, .m3u8, .mpd, .mp3, .flac or .opus, or give the parameter container",
            )),
            (container, _) => Ok(container),
        }
    }

    /// The usual extension, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Fmp4 => "mp4",
            Self::Hls => "m3u8",
            Self::Dash => "mpd",
            other => other.as_str(),
        }
    }

    /// Whether it is a manifest with segments beside it.
    #[must_use]
    pub const fn is_segmented(self) -> bool {
        matches!(self, Self::Hls | Self::Dash)
    }

    /// Whether the container can carry the codec.
    #[must_use]
    pub const fn carries_video(self, codec: VideoCodec) -> bool {
        match self {
            Self::Mp4 | Self::Fmp4 | Self::Hls | Self::Dash => !matches!(codec, VideoCodec::Vp8),
            Self::Mkv => true,
            Self::Webm => matches!(codec, VideoCodec::Vp8 | VideoCodec::Vp9 | VideoCodec::Av1),
            Self::MpegTs => matches!(codec, VideoCodec::H264 | VideoCodec::H265),
            Self::Mp3 | Self::Flac | Self::Ogg => false,
        }
    }

    /// Whether the container can carry the codec.
    #[must_use]
    pub const fn carries_audio(self, codec: AudioCodec) -> bool {
        match self {
            Self::Mp4 | Self::Mkv => true,
            Self::Fmp4 | Self::Hls | Self::Dash => !matches!(codec, AudioCodec::Mp3),
            Self::MpegTs => !matches!(codec, AudioCodec::Flac),
            Self::Webm => matches!(codec, AudioCodec::Opus),
            Self::Mp3 => matches!(codec, AudioCodec::Mp3),
            Self::Flac => matches!(codec, AudioCodec::Flac),
            Self::Ogg => matches!(codec, AudioCodec::Opus | AudioCodec::Flac),
        }
    }

    /// The video codec when nothing else is asked for; `None` for a container of sound only.
    #[must_use]
    pub const fn default_video(self) -> Option<VideoCodec> {
        match self {
            Self::Webm => Some(VideoCodec::Vp9),
            Self::Mp3 | Self::Flac | Self::Ogg => None,
            _ => Some(VideoCodec::H264),
        }
    }

    /// The audio codec when nothing else is asked for.
    #[must_use]
    pub const fn default_audio(self) -> AudioCodec {
        match self {
            Self::Webm | Self::Ogg => AudioCodec::Opus,
            Self::Mp3 => AudioCodec::Mp3,
            Self::Flac => AudioCodec::Flac,
            _ => AudioCodec::Aac,
        }
    }
}

/// What to do with the streams of one kind: encode them to a codec or pass them through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target<C> {
    /// Pass the packets through without decoding: `copy`.
    Copy,
    /// Decode and encode.
    Encode(C),
}

impl<C: FromStr<Err = Error>> FromStr for Target<C> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.eq_ignore_ascii_case("copy") { Ok(Self::Copy) } else { text.parse().map(Self::Encode) }
    }
}

impl<C: fmt::Display> fmt::Display for Target<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy => f.pad("copy"),
            Self::Encode(codec) => codec.fmt(f),
        }
    }
}

impl<C: fmt::Display> Serialize for Target<C> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, C: FromStr<Err = Error>> Deserialize<'de> for Target<C> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

named_enum!(
    /// What a stream carries.
    StreamKind, "kind" {
        /// Pictures.
        Video "video",
        /// Sound.
        Audio "audio",
        /// Text or picture subtitles.
        Subtitle "subtitle",
        /// Timed data.
        Data "data",
        /// A file such as a font.
        Attachment "attachment",
    }
);

/// What a probe found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MediaInfo {
    /// Short name of the demuxer, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// Length in seconds, if the container or the streams say.
    pub duration_seconds: Option<f64>,
    /// Earliest presentation time in seconds.
    pub start_seconds: f64,
    /// Size of the file in bytes; 0 if it is not a file.
    pub size_bytes: u64,
    /// Bits per second over everything, if known.
    pub bit_rate: Option<u64>,
    /// The streams in the order of the container.
    pub streams: Vec<StreamInfo>,
    /// Container tags such as `title`.
    pub tags: BTreeMap<String, String>,
    /// Number of chapters.
    pub chapters: usize,
}

impl MediaInfo {
    /// The video stream that a job works on: the largest one that is not cover art, the first of
    /// equals.
    #[must_use]
    pub fn best_video(&self) -> Option<(&StreamInfo, &VideoInfo)> {
        self.streams
            .iter()
            .filter_map(|stream| stream.video.as_ref().map(|video| (stream, video)))
            .filter(|(_, video)| !video.cover_art && video.width > 0 && video.height > 0)
            .rev()
            .max_by_key(|(_, video)| u64::from(video.width) * u64::from(video.height))
    }

    /// The audio streams in the order of the container.
    pub fn audio(&self) -> impl Iterator<Item = (&StreamInfo, &AudioInfo)> {
        self.streams.iter().filter_map(|stream| stream.audio.as_ref().map(|audio| (stream, audio)))
    }
}

/// One stream of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamInfo {
    /// Index in the container.
    pub index: usize,
    /// What it carries.
    pub kind: StreamKind,
    /// Codec name as libav gives it, such as `h264`; `unknown` if it has none.
    pub codec: String,
    /// Codec profile, if known.
    pub profile: Option<String>,
    /// Language tag, if the container has one.
    pub language: Option<String>,
    /// Title of the track, if the container has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether players should choose it by default.
    pub default: bool,
    /// What it is for beside that, in libav's words: `forced`, `hearing_impaired`, `comment` and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dispositions: Vec<String>,
    /// Length in seconds, if the stream says.
    pub duration_seconds: Option<f64>,
    /// First presentation time in seconds, if known.
    pub start_seconds: Option<f64>,
    /// Number of frames, if the container counts them.
    pub frames: Option<u64>,
    /// Bits per second, if known.
    pub bit_rate: Option<u64>,
    /// Unit of the timestamps, in seconds.
    pub time_base: Ratio,
    /// Picture facts of a video stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoInfo>,
    /// Sound facts of an audio stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioInfo>,
}

/// Picture facts of a video stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VideoInfo {
    /// Coded pixels across, before rotation.
    pub width: u32,
    /// Coded pixels down, before rotation.
    pub height: u32,
    /// Shape of a pixel; 1:1 if the file does not say.
    pub sample_aspect_ratio: Ratio,
    /// Average frame rate, if known and within 1 to 240.
    pub frame_rate: Option<FrameRate>,
    /// Pixel format as libav names it, such as `yuv420p`.
    pub pixel_format: Option<String>,
    /// Clockwise turn in degrees, below 360, that a player applies for display; nearly always a quarter.
    pub rotation: u16,
    /// `progressive`, or `interlaced` with any field order.
    pub field_order: String,
    /// Colour range, primaries, transfer and matrix, where tagged.
    pub color_range: Option<String>,
    /// Colour primaries, where tagged.
    pub color_primaries: Option<String>,
    /// Transfer characteristics, where tagged.
    pub color_transfer: Option<String>,
    /// Matrix coefficients, where tagged.
    pub color_space: Option<String>,
    /// Bits per component, where the pixel format is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_depth: Option<u8>,
    /// What makes it high dynamic range; `None` for standard range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<HdrInfo>,
    /// A still picture that belongs to the metadata.
    pub cover_art: bool,
}

/// High dynamic range of a video stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HdrInfo {
    /// `HDR10` (PQ with a mastering display or light levels), `PQ` or `HLG`.
    pub format: String,
    /// Brightest white of the mastering display in candela per square metre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mastering_max: Option<f64>,
    /// Darkest black of the mastering display in candela per square metre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mastering_min: Option<f64>,
    /// Brightest pixel in candela per square metre: MaxCLL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cll: Option<u16>,
    /// Brightest frame on average in candela per square metre: MaxFALL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fall: Option<u16>,
}

/// Sound facts of an audio stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AudioInfo {
    /// Samples per second.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u16,
    /// Layout such as `stereo` or `5.1`, if known.
    pub layout: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases() {
        assert_eq!("HEVC".parse::<VideoCodec>().unwrap(), VideoCodec::H265);
        let error = "h2644".parse::<VideoCodec>().unwrap_err();
        assert!(error.hint_text().contains("did you mean h264"), "{}", error.hint_text());
        assert_eq!("copy".parse::<Target<VideoCodec>>().unwrap(), Target::Copy);
        assert_eq!(Container::from_path("/a/b.c/out.MKV"), Some(Container::Mkv));
        assert_eq!(Container::from_path("/a.mp4/out"), None);
        assert_eq!(Container::from_path(".mp4"), None);
        for (name, asks) in [("a.mp4", Some(Container::Mp4)), ("a.d/b", None), (".hidden", None), ("a.", None)] {
            assert_eq!(Container::of_output(name).unwrap(), asks, "{name}");
        }
        assert_eq!(Container::of_output("a.exe").unwrap_err().code(), Code::ContainerMismatch);
    }
}
