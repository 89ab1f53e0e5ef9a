//! The renditions of a job: one, or a ladder with the largest first.

use super::{Gop, OutputRequest, VideoEncode, rate, size, whole_seconds};
use crate::encoding::{Hardware, Ladder, Rendition};
use crate::error::Result;
use crate::media::{MediaInfo, VideoCodec, VideoInfo};
use crate::units::{FrameRate, PictureSize, RESOLUTION_NAMES, Resolution, Seconds};

/// Heights of an automatic ladder.
const AUTOMATIC: [&str; 4] = ["1080p", "720p", "480p", "360p"];
/// Seconds between key frames of ladders and segments when nothing else is asked for.
const ALIGNED_GOP_SECONDS: u32 = 2;

/// Plans every rendition.
///
/// # Errors
/// Those of the picture size.
pub(super) fn plan(
    request: &OutputRequest,
    codec: VideoCodec,
    fps: Option<FrameRate>,
    picture: Option<&VideoInfo>,
    source: Option<&MediaInfo>,
) -> Result<Vec<VideoEncode>> {
    let wishes = wishes(request, picture);
    let mut planned: Vec<VideoEncode> =
        wishes.iter().map(|wish| one(request, wish, codec, fps, picture, source)).collect::<Result<_>>()?;
    planned.sort_by_key(|rendition| std::cmp::Reverse(rendition.size.pixels()));
    if matches!(request.parameters.ladder, Some(Ladder::Auto(_))) {
        planned.dedup_by_key(|rendition| rendition.size);
    }
    for place in 1..planned.len() {
        let (before, rest) = planned.split_at_mut(place);
        rest[0].name = distinct(&rest[0].name, before);
    }
    Ok(planned)
}

/// The name, or with a number behind it where another rendition has it: two rates of one size.
fn distinct(name: &str, others: &[VideoEncode]) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| others.iter().all(|other| other.name != *name)).unwrap_or_else(|| name.to_owned())
}

fn wishes(request: &OutputRequest, picture: Option<&VideoInfo>) -> Vec<Rendition> {
    let parameters = &request.parameters;
    let single = Rendition { resolution: parameters.resolution.or(request.scenario.size), ..Rendition::default() };
    match &parameters.ladder {
        None => vec![single],
        Some(Ladder::Renditions(renditions)) => renditions.clone(),
        Some(Ladder::Auto(_)) => automatic(picture, single.resolution),
    }
}

/// The usual heights, no larger than the source or the size that was asked for.
fn automatic(picture: Option<&VideoInfo>, top: Option<PictureSize>) -> Vec<Rendition> {
    let source = picture.map(|video| video.width.min(video.height));
    let bound = top.map(|size| size.resolution().height).into_iter().chain(source).min().unwrap_or(u32::MAX);
    let fits = |name: &&&str| RESOLUTION_NAMES.iter().any(|(own, size)| own == *name && size.height <= bound);
    let mut rungs: Vec<Rendition> = AUTOMATIC
        .iter()
        .filter(fits)
        .filter_map(|name| Some(Rendition { resolution: Some(name.parse().ok()?), ..Rendition::default() }))
        .collect();
    if rungs.is_empty() {
        rungs.push(Rendition { resolution: top, ..Rendition::default() });
    }
    rungs
}

fn one(
    request: &OutputRequest,
    wish: &Rendition,
    codec: VideoCodec,
    fps: Option<FrameRate>,
    picture: Option<&VideoInfo>,
    source: Option<&MediaInfo>,
) -> Result<VideoEncode> {
    let parameters = &request.parameters;
    let (size, sample_aspect_ratio) = size::fit(wish.resolution, picture)?;
    Ok(VideoEncode {
        name: wish.name.clone().unwrap_or_else(|| name(size, wish.resolution)),
        codec,
        encoder: parameters.encoder,
        hardware: parameters.hardware.unwrap_or(Hardware::Auto),
        size,
        sample_aspect_ratio,
        fps,
        bit_depth: parameters.bit_depth,
        rate: rate::choose(request, wish, codec, size, fps, source),
        preset: parameters.preset.as_ref().map(|preset| preset.to_ascii_lowercase()),
        gop: gop(request),
        options: parameters.encoder_options,
    })
}

/// The name that the size was asked for by, or the shorter side.
fn name(size: Resolution, wish: Option<PictureSize>) -> String {
    match wish {
        Some(wish @ PictureSize::Bound(_)) => wish.to_string(),
        _ => format!("{}p", size.width.min(size.height)),
    }
}

fn gop(request: &OutputRequest) -> Gop {
    let parameters = &request.parameters;
    let aligned = parameters.ladder.is_some() || request.named_container().is_some_and(|to| to.is_segmented());
    let interval = parameters.keyframe_interval;
    let regular = || interval.unwrap_or_else(|| aligned_interval(parameters.segment_duration));
    match (aligned, parameters.scene_cut) {
        (false, None | Some(true)) => interval.map_or(Gop::Free, Gop::AtMost),
        (false, Some(false)) => Gop::Fixed(interval.unwrap_or_else(|| whole_seconds(10))),
        (true, Some(true)) => Gop::FixedAndCuts(regular()),
        (true, _) => Gop::Fixed(regular()),
    }
}

/// Two seconds, or less so that it fits into a segment a whole number of times.
fn aligned_interval(segment: Option<Seconds>) -> Seconds {
    let usual = whole_seconds(ALIGNED_GOP_SECONDS);
    let Some(segment) = segment else { return usual };
    let parts = (segment.value() / usual.value()).ceil().max(1.0);
    Seconds::try_from(segment.value() / parts).unwrap_or(usual)
}
