//! What is known of a live source from the raw media that it gives, in the words of a probe.

use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::Endpoint;
use ffrtmp_core::media::{AudioInfo, MediaInfo, StreamInfo, StreamKind, VideoInfo};
use ffrtmp_core::units::{FrameRate, Ratio};
use gstreamer as gst;
use gstreamer_audio as gst_audio;
use gstreamer_video as gst_video;

/// Caps of raw media, and what it was before it was decoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) caps: gst::Caps,
    pub(super) codec: Option<String>,
}

/// Describes a source; pictures are its first stream.
pub(super) fn describe(endpoint: &Endpoint, video: Option<&Seen>, audio: Option<&Seen>) -> MediaInfo {
    let mut streams = Vec::new();
    if let Some((seen, info)) = video.and_then(|seen| Some((seen, video_info(&seen.caps)?))) {
        streams.push(StreamInfo { video: Some(info), ..stream(streams.len(), StreamKind::Video, seen) });
    }
    if let Some((seen, info)) = audio.and_then(|seen| Some((seen, audio_info(&seen.caps)?))) {
        streams.push(StreamInfo { audio: Some(info), ..stream(streams.len(), StreamKind::Audio, seen) });
    }
    MediaInfo { format: endpoint.scheme().as_str().to_ascii_lowercase(), streams, ..MediaInfo::default() }
}

/// Refuses pictures that are larger than the bounds.
///
/// # Errors
/// `input_too_large`.
pub(super) fn check(caps: &gst::CapsRef, bounds: &MediaBounds) -> Result<()> {
    let Ok(info) = gst_video::VideoInfo::from_caps(caps) else { return Ok(()) };
    let pixels = u64::from(info.width()) * u64::from(info.height());
    if pixels <= bounds.max_pixels {
        return Ok(());
    }
    let what = format!("a picture of {}x{} pixels is more than {}", info.width(), info.height(), bounds.max_pixels);
    Err(Error::new(Code::InputTooLarge, what).field("input"))
}

/// What media of these caps is, for people.
pub(super) fn words(caps: &gst::CapsRef) -> String {
    if let Ok(info) = gst_video::VideoInfo::from_caps(caps) {
        return format!(
            "{}x{} at {}/{} per second",
            info.width(),
            info.height(),
            info.fps().numer(),
            info.fps().denom()
        );
    }
    match gst_audio::AudioInfo::from_caps(caps) {
        Ok(info) => format!("{} channels at {} Hz", info.channels(), info.rate()),
        Err(_) => "something else".to_owned(),
    }
}

fn stream(index: usize, kind: StreamKind, seen: &Seen) -> StreamInfo {
    StreamInfo {
        index,
        kind,
        codec: seen.codec.clone().unwrap_or_else(|| "unknown".to_owned()),
        profile: None,
        language: None,
        title: None,
        default: true,
        dispositions: Vec::new(),
        duration_seconds: None,
        start_seconds: None,
        frames: None,
        bit_rate: None,
        time_base: Ratio { num: 1, den: 1_000_000_000 },
        video: None,
        audio: None,
    }
}

fn video_info(caps: &gst::CapsRef) -> Option<VideoInfo> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let shape = Some((info.par().numer(), info.par().denom())).filter(|(num, den)| *num > 0 && *den > 0);
    let is_progressive = matches!(info.interlace_mode(), gst_video::VideoInterlaceMode::Progressive);
    Some(VideoInfo {
        width: info.width(),
        height: info.height(),
        sample_aspect_ratio: shape.map_or(Ratio { num: 1, den: 1 }, |(num, den)| Ratio { num, den }),
        frame_rate: frame_rate(&info),
        pixel_format: None,
        rotation: 0,
        field_order: if is_progressive { "progressive" } else { "interlaced" }.to_owned(),
        color_range: None,
        color_primaries: None,
        color_transfer: None,
        color_space: None,
        bit_depth: u8::try_from(info.comp_depth(0)).ok(),
        hdr: None,
        cover_art: false,
    })
}

fn frame_rate(info: &gst_video::VideoInfo) -> Option<FrameRate> {
    let (num, den) = (u32::try_from(info.fps().numer()).ok()?, u32::try_from(info.fps().denom()).ok()?);
    FrameRate::new(num, den).ok().filter(|_| num > 0)
}

fn audio_info(caps: &gst::CapsRef) -> Option<AudioInfo> {
    let info = gst_audio::AudioInfo::from_caps(caps).ok()?;
    Some(AudioInfo { sample_rate: info.rate(), channels: u16::try_from(info.channels()).ok()?, layout: None })
}

/// What libav calls the codec of these caps.
pub(super) fn codec_name(caps: &gst::CapsRef) -> Option<String> {
    let structure = caps.structure(0)?;
    let version = |name| structure.get::<i32>(name).ok();
    let named = |name: &str| Some(name.to_owned());
    match structure.name().as_str() {
        "application/x-rtp" => {
            let name = structure.get::<String>("encoding-name").ok()?.to_ascii_lowercase();
            Some(match name.as_str() {
                "h265" => "hevc".to_owned(),
                "mpeg4-generic" | "mp4a-latm" => "aac".to_owned(),
                _ => name,
            })
        }
        "video/x-h265" => named("hevc"),
        "video/mpeg" => match version("mpegversion") {
            Some(4) => named("mpeg4"),
            _ => named("mpeg2video"),
        },
        "audio/mpeg" => match version("mpegversion") {
            Some(2 | 4) => named("aac"),
            _ => named("mp3"),
        },
        name => name.split_once("/x-").map(|(_, codec)| codec.to_owned()),
    }
}
