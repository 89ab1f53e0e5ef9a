//! Which streams of the source go along.

use super::subtitles::{Treatment, is_text, requested};
use super::{LeftOut, OutputRequest, Plan, SubtitlePlan, VideoPlan};
use crate::encoding::{Pick, Selection};
use crate::error::{Code, Error, Result};
use crate::media::{Container, MediaInfo, StreamInfo, StreamKind, SubtitleCodec, Target};

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Generated,
    Stream(usize),
}

/// The video stream to work on.
///
/// # Errors
/// `invalid_field` for a stream that the source has not.
pub(super) fn video(request: &OutputRequest, source: Option<&MediaInfo>) -> Result<Found> {
    let wish = request.parameters.video_stream.clone().unwrap_or_default();
    if wish == Selection::None {
        return Ok(Found::Nothing);
    }
    let Some(info) = source else { return Ok(Found::Generated) };
    let named = named(info, &wish, "video_stream", |stream| stream.kind == StreamKind::Video)?;
    let best = || info.best_video().map(|(stream, _)| stream.index);
    Ok(named.map_or_else(best, |indices| indices.first().copied()).map_or(Found::Nothing, Found::Stream))
}

/// The audio streams, in the order of the container; `None` is the generated tone.
///
/// # Errors
/// `invalid_field` for a stream that the source has not.
pub(super) fn audio(request: &OutputRequest, source: Option<&MediaInfo>) -> Result<Vec<Option<usize>>> {
    let wish = request.parameters.audio_streams.clone().unwrap_or_default();
    let Some(info) = source else {
        return Ok(if wish == Selection::None { Vec::new() } else { vec![None] });
    };
    if wish == Selection::None {
        return Ok(Vec::new());
    }
    let named = named(info, &wish, "audio_streams", |stream| stream.kind == StreamKind::Audio)?;
    let all: Vec<usize> = named.unwrap_or_else(|| info.audio().map(|(stream, _)| stream.index).collect());
    let one = request.named_container().is_some_and(holds_one_track);
    Ok(all.into_iter().map(Some).take(if one { 1 } else { usize::MAX }).collect())
}

/// Decides about everything that is neither the picture nor the sound.
///
/// # Errors
/// `invalid_field` for subtitles that the source has not.
pub(super) fn besides(request: &OutputRequest, info: &MediaInfo, plan: &mut Plan) -> Result<()> {
    let wish = request.parameters.subtitle_streams.clone().unwrap_or_default();
    named(info, &wish, "subtitle_streams", |stream| stream.kind == StreamKind::Subtitle)?;
    for stream in &info.streams {
        if is_used(plan, stream.index) || is_excluded(request, stream) {
            continue;
        }
        let kept = match stream.kind {
            StreamKind::Subtitle => subtitle(request, &wish, stream, plan.container).map(|codec| {
                plan.subtitles.push(SubtitlePlan { stream: stream.index, codec });
            }),
            StreamKind::Video if stream.video.as_ref().is_some_and(|video| video.cover_art) => {
                cover(plan.container, stream).map(|()| plan.cover_art.push(stream.index))
            }
            // The titles of an MP4's chapters, which go along as chapters.
            StreamKind::Data if info.chapters > 0 && stream.codec == "bin_data" => Ok(()),
            StreamKind::Attachment if plan.container == Container::Mkv => {
                plan.attachments.push(stream.index);
                Ok(())
            }
            _ => Err(unwanted(stream, plan.container, plan.video.as_ref())),
        };
        if let Err(reason) = kept {
            if stream.kind == StreamKind::Subtitle && is_wished(request, &wish, stream) {
                return Err(not_carried(stream, &reason));
            }
            plan.left_out.push(LeftOut { stream: stream.index, reason: format!("{reason} ({})", stream.codec) });
        }
    }
    Ok(())
}

/// Whether somebody named these subtitles, or what shall become of them.
fn is_wished(request: &OutputRequest, wish: &Selection, stream: &StreamInfo) -> bool {
    let is_copy = request.parameters.subtitle_codec == Some(Target::Copy) && is_text(&stream.codec);
    is_copy || wish.names(stream.index, stream.language.as_deref()) == Some(true)
}

fn not_carried(stream: &StreamInfo, reason: &str) -> Error {
    Error::new(Code::ContainerMismatch, format!("stream {} ({}): {reason}", stream.index, stream.codec))
        .field("parameters.subtitle_streams")
        .hint("name the output .mkv, leave the stream out, or let the container's own form be chosen")
}

/// Whether the request itself says that the stream stays behind: no news then.
fn is_excluded(request: &OutputRequest, stream: &StreamInfo) -> bool {
    let parameters = &request.parameters;
    let wish = match stream.kind {
        StreamKind::Video if stream.video.as_ref().is_some_and(|video| video.cover_art) => return false,
        StreamKind::Video => &parameters.video_stream,
        StreamKind::Audio => &parameters.audio_streams,
        StreamKind::Subtitle => &parameters.subtitle_streams,
        StreamKind::Data | StreamKind::Attachment => return false,
    };
    let names_sound =
        stream.kind == StreamKind::Video && request.named_container().is_some_and(|to| to.default_video().is_none());
    let is_named = |wish: &Selection| wish.names(stream.index, stream.language.as_deref());
    let stays = wish.as_ref().is_some_and(|wish| *wish == Selection::None || is_named(wish) == Some(false));
    names_sound || stays
}

fn is_used(plan: &Plan, index: usize) -> bool {
    let video = match &plan.video {
        Some(VideoPlan::Copy(stream)) => Some(*stream),
        Some(VideoPlan::Encode(pictures)) => pictures.stream,
        None => None,
    };
    video == Some(index) || plan.audio.iter().any(|audio| audio.stream == Some(index))
}

fn subtitle(
    request: &OutputRequest,
    wish: &Selection,
    stream: &StreamInfo,
    container: Container,
) -> Result<Target<SubtitleCodec>, String> {
    let by_default = match wish {
        Selection::None => false,
        Selection::Default => is_text(&stream.codec),
        _ => true,
    };
    let wanted = wish.names(stream.index, stream.language.as_deref()).unwrap_or(by_default);
    if !wanted {
        let what = if is_text(&stream.codec) { "subtitles" } else { "subtitles that are pictures" };
        return Err(format!("{what}, which were not asked for"));
    }
    match requested(&stream.codec, container, request.parameters.subtitle_codec) {
        Treatment::Copy => Ok(Target::Copy),
        Treatment::Convert(codec) => Ok(Target::Encode(codec)),
        Treatment::LeaveOut(reason) => Err(format!("subtitles: {reason}")),
    }
}

fn cover(container: Container, stream: &StreamInfo) -> Result<(), String> {
    let is_still = matches!(stream.codec.as_str(), "mjpeg" | "png" | "bmp" | "gif" | "webp");
    match container {
        Container::Mp4 if matches!(stream.codec.as_str(), "mjpeg" | "png" | "bmp") => Ok(()),
        Container::Mkv | Container::Mp3 | Container::Flac if is_still => Ok(()),
        _ => Err(format!("cover art, which {container} does not carry")),
    }
}

fn unwanted(stream: &StreamInfo, container: Container, video: Option<&VideoPlan>) -> String {
    match stream.kind {
        StreamKind::Video if container.default_video().is_none() => {
            format!("a video stream, which {container} does not carry")
        }
        StreamKind::Video if stream.video.as_ref().is_some_and(|video| video.width == 0) => {
            "a video stream that has no picture as far as the file was looked through".to_owned()
        }
        StreamKind::Video if video.is_none() => "a video stream that was not asked for".to_owned(),
        StreamKind::Video => "a further video stream".to_owned(),
        StreamKind::Audio if holds_one_track(container) => format!("an audio stream; {container} holds one"),
        StreamKind::Audio => "an audio stream that was not asked for".to_owned(),
        StreamKind::Attachment => format!("an attachment, which {container} does not carry"),
        StreamKind::Data | StreamKind::Subtitle => "a data stream".to_owned(),
    }
}

const fn holds_one_track(container: Container) -> bool {
    matches!(container, Container::Mp3 | Container::Flac | Container::Ogg)
}

/// The streams of a list; `None` if the wish is no list.
fn named(
    info: &MediaInfo,
    wish: &Selection,
    field: &str,
    is_kind: impl Fn(&StreamInfo) -> bool,
) -> Result<Option<Vec<usize>>> {
    let Selection::Some(picks) = wish else { return Ok(None) };
    let of_kind = || info.streams.iter().filter(|stream| is_kind(stream));
    for pick in picks {
        let single = Selection::Some(vec![pick.clone()]);
        if !of_kind().any(|stream| single.names(stream.index, stream.language.as_deref()) == Some(true)) {
            return Err(missing(pick, field));
        }
    }
    let chosen = of_kind().filter(|stream| wish.names(stream.index, stream.language.as_deref()) == Some(true));
    Ok(Some(chosen.map(|stream| stream.index).collect()))
}

fn missing(pick: &Pick, field: &str) -> Error {
    let what = match pick {
        Pick::Index(index) => format!("the input has no such stream {index}"),
        Pick::Language(language) => format!("the input has no such stream in {language}"),
    };
    Error::new(Code::InvalidField, what)
        .field(format!("parameters.{field}"))
        .hint("`ffrtmp probe FILE` lists the streams with their languages")
}
