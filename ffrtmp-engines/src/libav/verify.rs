//! Reads the output back and compares it with what was meant and with what was written.

use std::path::Path;

use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{Container, VideoCodec};
use ffrtmp_core::plan::{Plan, VideoPlan};

use super::mux::Lane;
use super::notes::Notes;
use super::probe;
use super::session::Limit;
use super::sys::{AvError, Input, Packet};

/// Rounding of time bases, in seconds.
const SLACK: f64 = 0.05;

/// What a lane turned out to hold.
#[derive(Clone, Copy, Default)]
struct Found {
    packets: u64,
    first: Option<f64>,
    end: f64,
}

/// Streams that nothing came for are worth a warning only.
///
/// # Errors
/// `verify_failed` with the difference; `canceled`.
pub(super) fn check(plan: &Plan, lanes: &[Lane], path: &Path, limit: &Limit<'_>, notes: &mut Notes<'_>) -> Result<()> {
    // The muxer drops tracks without samples.
    let drops_empty = plan.container == Container::Mp4;
    for lane in lanes.iter().filter(|lane| lane.packets == 0) {
        notes.warn(empty(lane, drops_empty));
    }
    let lanes: Vec<&Lane> = lanes.iter().filter(|lane| lane.packets > 0 || !drops_empty).collect();
    check_file(plan, &lanes, path, limit)
}

fn empty(lane: &Lane, dropped: bool) -> String {
    let (kind, what) = if lane.is_video { ("video", "picture") } else { ("audio", "sound") };
    let stream = lane.source.map_or_else(String::new, |index| format!(" {index}"));
    let fate = if dropped { "was left out" } else { "is empty" };
    format!("{kind} stream{stream} had no {what} in this range and {fate}")
}

fn check_file(plan: &Plan, lanes: &[&Lane], path: &Path, limit: &Limit<'_>) -> Result<()> {
    let bounds = MediaBounds { max_output_bytes: None, ..*limit.bounds };
    let (mut input, _) = probe::open_raw(path, &bounds, limit.control).map_err(|error| match error.code() {
        Code::Canceled => error,
        _ => differs("the output cannot be read back").source(error),
    })?;
    let streams: Vec<usize> =
        input.streams().filter(|stream| stream.is_video() || stream.is_audio()).map(|stream| stream.index()).collect();
    if streams.len() != lanes.len() {
        return Err(differs(&format!("{} streams instead of {}", streams.len(), lanes.len())));
    }
    check_format(plan, &input)?;
    for (lane, index) in lanes.iter().zip(&streams) {
        check_stream(plan, lane, &input, *index)?;
    }
    let found = count(&mut input, limit)?;
    for (lane, index) in lanes.iter().zip(&streams) {
        check_lane(lane, found.get(*index).copied().unwrap_or_default())?;
    }
    check_together(plan, lanes, &starts(plan, path, &bounds, limit, &streams, &found)?)
}

/// Where each lane begins for a player. In an MP4 that is up to its edit lists, so it is opened once
/// more with them.
fn starts(
    plan: &Plan,
    path: &Path,
    bounds: &MediaBounds,
    limit: &Limit<'_>,
    streams: &[usize],
    found: &[Found],
) -> Result<Vec<Option<f64>>> {
    if plan.container != Container::Mp4 {
        return Ok(streams.iter().map(|index| found.get(*index).and_then(|found| found.first)).collect());
    }
    let (input, _) = probe::open(path, bounds, limit.control)?;
    Ok(streams
        .iter()
        .map(|index| input.stream(*index).and_then(|stream| Some(stream.time_base().seconds(stream.start()?))))
        .collect())
}

fn check_format(plan: &Plan, input: &Input) -> Result<()> {
    let format = input.format();
    let wanted = match plan.container {
        Container::Mp4 => "mp4",
        Container::Mkv => "matroska",
        Container::Webm => "webm",
        Container::MpegTs => "mpegts",
    };
    if format.split(',').any(|name| name == wanted) {
        Ok(())
    } else {
        Err(differs(&format!("the container is {format} instead of {wanted}")))
    }
}

fn check_stream(plan: &Plan, lane: &Lane, input: &Input, index: usize) -> Result<()> {
    let Some(stream) = input.stream(index) else { return Err(differs("a stream is missing")) };
    let codec = stream.codec();
    if !is_same_codec(plan.container, &codec, libav_name(&lane.codec)) {
        return Err(differs(&format!("stream {index} is {codec} instead of {}", lane.codec)));
    }
    if lane.packets == 0 {
        return Ok(());
    }
    let (width, height) = stream.size();
    match &plan.video {
        _ if !lane.is_video && stream.sample_rate() == 0 => {
            Err(differs(&format!("the {codec} stream cannot be read without its source")))
        }
        _ if !lane.is_video => Ok(()),
        Some(VideoPlan::Encode(plan)) if (width, height) != (plan.size.width, plan.size.height) => {
            Err(differs(&format!("the picture is {width}x{height} instead of {}", plan.size)))
        }
        _ if width == 0 || height == 0 => {
            Err(differs(&format!("the {codec} stream cannot be read without its source")))
        }
        _ => Ok(()),
    }
}

/// MP4 has one name for both layers of MPEG audio.
fn is_same_codec(container: Container, is: &str, wanted: &str) -> bool {
    let is_layered = |codec| matches!(codec, "mp2" | "mp3");
    is == wanted || container == Container::Mp4 && is_layered(is) && is_layered(wanted)
}

/// Codecs that libav calls by another name than we do.
fn libav_name(codec: &str) -> &str {
    if codec == VideoCodec::H265.as_str() { "hevc" } else { codec }
}

fn count(input: &mut Input, limit: &Limit<'_>) -> Result<Vec<Found>> {
    let mut found = vec![Found::default(); input.len()];
    let mut packet = Packet::new();
    loop {
        limit.control.checkpoint()?;
        match input.read(&mut packet) {
            Ok(()) => {}
            Err(AvError::EOF) => return Ok(found),
            Err(AvError::AGAIN) => continue,
            Err(error) => return Err(differs("the output cannot be read to its end").source(error)),
        }
        let Some(base) = input.stream(packet.stream()).map(|stream| stream.time_base()) else { continue };
        let Some(found) = found.get_mut(packet.stream()) else { continue };
        found.packets += 1;
        if let Some(pts) = packet.pts() {
            let start = base.seconds(pts);
            found.first = Some(found.first.map_or(start, |first| first.min(start)));
            found.end = found.end.max(base.seconds(pts.saturating_add(packet.duration())));
        }
    }
}

fn check_lane(lane: &Lane, found: Found) -> Result<()> {
    if found.packets != lane.packets {
        let what = format!("the {} stream has {} packets instead of {}", lane.codec, found.packets, lane.packets);
        return Err(differs(&what));
    }
    let Some(first) = found.first else { return Ok(()) };
    let (is, was) = (found.end - first, lane.end - lane.first);
    if (is - was).abs() > lane.longest + SLACK {
        return Err(differs(&format!("the {} stream lasts {is:.3} s instead of {was:.3} s", lane.codec)));
    }
    Ok(())
}

/// Streams must begin as far apart as they were written.
fn check_together(plan: &Plan, lanes: &[&Lane], starts: &[Option<f64>]) -> Result<()> {
    let filled = lanes.iter().zip(starts).filter(|(lane, _)| lane.packets > 0);
    // An edit list hides what lies before zero: the priming of an audio codec.
    let hides = plan.container == Container::Mp4;
    let first = |lane: &Lane| if hides { lane.first.max(0.0) } else { lane.first };
    let mut offsets = filled.filter_map(|(lane, start)| Some(((*start)? - first(lane), lane.codec.as_str())));
    let Some((reference, _)) = offsets.next() else { return Ok(()) };
    match offsets.find(|(offset, _)| (offset - reference).abs() > SLACK) {
        Some((offset, codec)) => {
            Err(differs(&format!("the {codec} stream is {:.3} s away from the first stream", offset - reference)))
        }
        None => Ok(()),
    }
}

fn differs(what: &str) -> Error {
    Error::new(Code::VerifyFailed, format!("the output is not what was meant: {what}"))
}
