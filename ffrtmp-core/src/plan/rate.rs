//! Quality and bit rate: the table for streams whose output was named, the default quality for
//! those that keep what they are.

use super::{OutputRequest, RateControl, Vbv};
use crate::encoding::{RateMode, Rendition};
use crate::media::{AudioCodec, MediaInfo, VideoCodec};
use crate::units::{Bitrate, Crf, FrameRate, RESOLUTION_NAMES, Resolution};

/// H.264 at 1920x1080 and 30 frames per second, in bits per second: the anchor of the table.
const ANCHOR_BPS: f64 = 5_000_000.0;
/// Pixels per second of the anchor.
const ANCHOR_PIXEL_RATE: f64 = 1920.0 * 1080.0 * 30.0;
/// Bits grow slower than pixels: neighbours in space and time resemble each other. Twice the
/// pixels or frames cost 1.7 times the bits.
const GROWTH: f64 = 0.75;
/// Frames per second assumed of a source that does not say.
const USUAL_FPS: f64 = 30.0;

/// Bits that the codec needs for the quality that H.264 has with one: H.265 0.6, VP9 0.65,
/// AV1 0.5, VP8 1.1.
#[must_use]
pub const fn bits_per_h264_bit(codec: VideoCodec) -> f64 {
    match codec {
        VideoCodec::H264 => 1.0,
        VideoCodec::H265 => 0.6,
        VideoCodec::Vp8 => 1.1,
        VideoCodec::Vp9 => 0.65,
        VideoCodec::Av1 => 0.5,
    }
}

/// The bit rate of the table: 5 Mb/s for H.264 at 1080p30, times the growth of pixels per second
/// to the power 0.75, times [`bits_per_h264_bit`]; in steps of 10 kb/s, at least 60 kb/s.
#[must_use]
pub fn table(codec: VideoCodec, size: Resolution, fps: f64) -> Bitrate {
    let growth = (size.pixels() as f64 * fps / ANCHOR_PIXEL_RATE).powf(GROWTH);
    let kbps = ANCHOR_BPS * growth * bits_per_h264_bit(codec) / 1000.0;
    Bitrate::from_kbps(((kbps / 10.0).round() as u64 * 10).max(60))
}

/// A row of the table as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the size.
    pub size: &'static str,
    /// Frames per second.
    pub fps: u32,
    /// The bit rate of each codec.
    pub bitrates: Vec<(VideoCodec, Bitrate)>,
}

/// The table for every named size at 30 and 60 frames per second; 4K and 2160p are one size.
#[must_use]
pub fn rows() -> Vec<Row> {
    let sizes = RESOLUTION_NAMES.iter().filter(|(name, _)| *name != "2160p");
    sizes.flat_map(|(name, size)| [30, 60].map(|fps| row(name, *size, fps))).collect()
}

fn row(name: &'static str, size: Resolution, fps: u32) -> Row {
    let bitrates = VideoCodec::ALL.iter().map(|codec| (*codec, table(*codec, size, f64::from(fps)))).collect();
    Row { size: name, fps, bitrates }
}

/// The quality when nothing is asked for: 23 for H.264, 28 for H.265, 31 for VP9, 35 for AV1, 10
/// for VP8, each on its own encoder's scale.
#[must_use]
pub fn default_quality(codec: VideoCodec) -> Crf {
    let value = match codec {
        VideoCodec::H264 => 23.0,
        VideoCodec::H265 => 28.0,
        VideoCodec::Vp8 => 10.0,
        VideoCodec::Vp9 => 31.0,
        VideoCodec::Av1 => 35.0,
    };
    Crf::try_from(value).expect("between 0 and 63")
}

/// The worst quality on the scale of the codec's encoder.
pub(super) const fn worst_quality(codec: VideoCodec) -> f64 {
    match codec {
        VideoCodec::H264 | VideoCodec::H265 => 51.0,
        VideoCodec::Vp8 | VideoCodec::Vp9 | VideoCodec::Av1 => 63.0,
    }
}

/// The bit rate of a stereo track: 128 kb/s of AAC, 96 kb/s of Opus, 192 kb/s of MP3. FLAC takes
/// what it needs.
#[must_use]
pub fn default_audio(codec: AudioCodec) -> Bitrate {
    match codec {
        AudioCodec::Aac | AudioCodec::Flac => Bitrate::from_kbps(128),
        AudioCodec::Opus => Bitrate::from_kbps(96),
        AudioCodec::Mp3 => Bitrate::from_kbps(192),
    }
}

/// Quality or rate: what is asked for, the rendition's own wish first; else the table where the
/// scenario names an output, is live, or the input is generated; else the default quality. The
/// rungs of a ladder without wishes get the table's rate.
pub(super) fn choose(
    request: &OutputRequest,
    wish: &Rendition,
    codec: VideoCodec,
    size: Resolution,
    fps: Option<FrameRate>,
    source: Option<&MediaInfo>,
) -> RateControl {
    let parameters = &request.parameters;
    let max = wish.max_bitrate.or(parameters.max_bitrate);
    let is_ladder = parameters.ladder.is_some();
    let quality = |crf| RateControl::Quality { crf, cap: max.map(|max| vbv(max, parameters.buffer_size)) };
    if let Some(crf) = wish.crf {
        return quality(crf);
    }
    let rate = |bitrate| average(request, max, bitrate);
    if let Some(bitrate) = wish.bitrate {
        return rate(bitrate);
    }
    if let Some(crf) = parameters.crf {
        return quality(crf);
    }
    if let Some(bitrate) = parameters.bitrate {
        return rate(bitrate);
    }
    let named = request.scenario.names_output() || request.scenario.is_live_hint() || is_ladder;
    match source {
        Some(_) if !named => quality(default_quality(codec)),
        source => {
            let worth = worthwhile(codec, size, fps, source, if is_ladder { 0.0 } else { 1.0 });
            rate(max.map_or(worth, |max| worth.min(max)))
        }
    }
}

/// An average with bounds on bursts, so that players with small buffers keep up.
fn average(request: &OutputRequest, max: Option<Bitrate>, bitrate: Bitrate) -> RateControl {
    let parameters = &request.parameters;
    if parameters.rate_mode == Some(RateMode::Cbr) {
        return RateControl::Constant { bitrate, buffer: parameters.buffer_size.unwrap_or(bitrate) };
    }
    let cap = match max {
        Some(max) => vbv(max, parameters.buffer_size),
        None => Vbv {
            max_rate: bitrate.scaled(3, 2),
            buffer: parameters.buffer_size.unwrap_or_else(|| bitrate.scaled(2, 1)),
        },
    };
    RateControl::Average { bitrate, cap, two_pass: parameters.two_pass == Some(true) }
}

/// Two seconds of the bound, if the buffer is not given.
fn vbv(max_rate: Bitrate, buffer: Option<Bitrate>) -> Vbv {
    Vbv { max_rate, buffer: buffer.unwrap_or_else(|| max_rate.scaled(2, 1)) }
}

/// The bit rate of the table, but no more than the source has to give: its own bit rate, grown
/// with the pixels per second where the output has more, and with the codec where the output's
/// needs more bits; yet never less than a quarter of the table, whatever a header claims. What is
/// smaller than the source gets at least `least` times its rate: the rungs of a ladder become
/// cheaper from one to the next, while a single output may use what there was.
fn worthwhile(
    codec: VideoCodec,
    size: Resolution,
    fps: Option<FrameRate>,
    source: Option<&MediaInfo>,
    least: f64,
) -> Bitrate {
    let source_fps = source.and_then(source_rate).unwrap_or(USUAL_FPS);
    let out_fps = fps.map_or(source_fps, FrameRate::as_f64);
    let table = table(codec, size, out_fps);
    let Some(((stream, video), own)) = source.and_then(|info| Some((info.best_video()?, video_bps(info)?))) else {
        return table;
    };
    let source_pixel_rate = f64::from(video.width) * f64::from(video.height) * source_fps;
    let growth = (size.pixels() as f64 * out_fps / source_pixel_rate).powf(GROWTH).max(least);
    let recoding = (bits_per_h264_bit(codec) / source_bits(&stream.codec)).max(1.0);
    let worth = (own as f64 * growth * recoding / 1000.0) as u64;
    Bitrate::from_kbps(worth).clamp(Bitrate::from_kbps(table.bps() / 4000), table)
}

fn source_rate(info: &MediaInfo) -> Option<f64> {
    info.best_video().and_then(|(_, video)| video.frame_rate).map(FrameRate::as_f64)
}

/// Bit rate of the source's video, or of the file less its sound where only that is known.
fn video_bps(info: &MediaInfo) -> Option<u64> {
    let (stream, _) = info.best_video()?;
    let sound = || info.audio().filter_map(|(stream, _)| stream.bit_rate).fold(0, u64::saturating_add);
    stream.bit_rate.or_else(|| info.bit_rate.map(|whole| whole.saturating_sub(sound()))).filter(|bps| *bps > 0)
}

/// [`bits_per_h264_bit`] of a codec by libav's name; older ones than H.264 need about twice its bits.
fn source_bits(codec: &str) -> f64 {
    codec.parse().map_or(2.0, bits_per_h264_bit)
}
