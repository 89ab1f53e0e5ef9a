//! Reads outputs back and compares them with what was meant and with what was written.
//!
//! One pass does everything: the packets are counted and timed, those at the sampled points are
//! kept and decoded (`sampling.rs`), and the bytes are hashed as they come by. That the container
//! has its end is in `complete.rs`.

mod complete;
mod sampling;

use std::path::PathBuf;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{Container, StreamKind, SubtitleCodec, VideoCodec};

use super::mux::Lane;
use super::notes::Notes;
use super::probe::{self, View};
use super::sys::{AvError, Input, Measured, Packet, Parts, StreamView};
use sampling::Samples;

/// Rounding of time bases, in seconds.
const SLACK: f64 = 0.05;

/// What a file shall hold.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Of the file itself: never a manifest.
    pub(super) container: Container,
    /// Streams of pictures, sound and subtitles in the order of the file. Cover art, attachments
    /// and data may come besides.
    pub(super) lanes: Vec<ExpectedLane>,
}

/// What a stream of it shall hold.
#[derive(Clone, Debug)]
pub(super) struct ExpectedLane {
    /// Name of the codec, ours or libav's.
    pub(super) codec: String,
    /// `Video`, `Audio` or `Subtitle`.
    pub(super) kind: StreamKind,
    pub(super) origin: Origin,
    /// Stream of the source that it comes from, for messages.
    pub(super) source: Option<usize>,
    /// Pixels across and down, where the plan says.
    pub(super) size: Option<(u32, u32)>,
    pub(super) packets: u64,
    /// Presentation of the first packet and end of the last one, in seconds.
    pub(super) first: f64,
    pub(super) end: f64,
    /// Length of the longest packet, in seconds.
    pub(super) longest: f64,
}

/// Where the packets of a stream came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An encoder of ours: all sampled points must decode.
    Encoded,
    /// The source: what is damaged there is damaged here, but something must decode.
    Copied,
}

/// An output and what it shall hold.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// The file, or what makes one file end to end: an initialisation segment with its segments.
    pub(super) parts: Vec<PathBuf>,
    pub(super) expected: Expected,
}

/// A file that turned out as meant.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) path: PathBuf,
    pub(super) measured: Measured,
}

/// What a stream turned out to hold.
#[derive(Clone, Copy, Default)]
struct Found {
    packets: u64,
    first: Option<f64>,
    end: f64,
}

impl ExpectedLane {
    /// What was written along a lane.
    pub(super) fn of(lane: &Lane) -> Self {
        Self {
            codec: lane.codec.clone(),
            kind: lane.kind,
            origin: if lane.is_copied { Origin::Copied } else { Origin::Encoded },
            source: lane.source,
            size: lane.size,
            packets: lane.packets,
            first: lane.first,
            end: lane.end,
            longest: lane.longest,
        }
    }

    /// The muxer of MP4 drops tracks without samples. It ends each track of text with an empty
    /// sample, so that those always have one.
    fn is_dropped_by(&self, container: Container) -> bool {
        container == Container::Mp4 && self.packets == 0 && self.codec != SubtitleCodec::MovText.as_str()
    }
}

/// Checks every file of a result, and says what each of them measures, in the order given. Streams
/// that nothing came for are worth a warning only.
///
/// # Errors
/// `verify_failed` with the difference and, where there are several, the file; `canceled`.
pub(super) fn check_all(
    outputs: &[Output],
    bounds: &MediaBounds,
    control: &Control,
    notes: &mut Notes<'_>,
) -> Result<Vec<Verified>> {
    let mut verified = Vec::new();
    for output in outputs {
        let measured = check_output(&output.expected, &output.parts, bounds, control, notes)
            .map_err(|error| if outputs.len() > 1 { named(error, output.parts.last()) } else { error })?;
        let files = output.parts.iter().cloned().zip(measured);
        verified.extend(files.map(|(path, measured)| Verified { path, measured }));
    }
    Ok(verified)
}

fn named(error: Error, path: Option<&PathBuf>) -> Error {
    let Some(name) = path.and_then(|path| path.file_name()).filter(|_| error.code() == Code::VerifyFailed) else {
        return error;
    };
    let hint = error.hint_text().to_owned();
    Error::new(Code::VerifyFailed, format!("{}: {error}", name.to_string_lossy())).hint(hint).source(error)
}

fn check_output(
    expected: &Expected,
    parts: &[PathBuf],
    bounds: &MediaBounds,
    control: &Control,
    notes: &mut Notes<'_>,
) -> Result<Vec<Measured>> {
    let is_dropped = |lane: &ExpectedLane| lane.is_dropped_by(expected.container);
    for lane in expected.lanes.iter().filter(|lane| lane.packets == 0) {
        notes.warn(empty(lane, is_dropped(lane)));
    }
    let lanes: Vec<&ExpectedLane> = expected.lanes.iter().filter(|lane| !is_dropped(lane)).collect();
    let check = Check { container: expected.container, lanes, bounds, control };
    check.files(parts)
}

fn empty(lane: &ExpectedLane, dropped: bool) -> String {
    let (kind, what) = match lane.kind {
        StreamKind::Video => ("video", "picture"),
        StreamKind::Subtitle => ("subtitle", "text"),
        _ => ("audio", "sound"),
    };
    let stream = lane.source.map_or_else(String::new, |index| format!(" {index}"));
    let fate = if dropped { "was left out" } else { "is empty" };
    format!("{kind} stream{stream} had no {what} in this range and {fate}")
}

struct Check<'a> {
    container: Container,
    lanes: Vec<&'a ExpectedLane>,
    bounds: &'a MediaBounds,
    control: &'a Control,
}

impl Check<'_> {
    fn files(&self, paths: &[PathBuf]) -> Result<Vec<Measured>> {
        complete::check(self.container, &open(paths)?)?;
        // Where packets have no length of their own, it comes from what is known of their codecs.
        let is_told = matches!(self.container, Container::Mp4 | Container::Fmp4 | Container::Mkv | Container::Webm);
        let view = if is_told { View::Raw } else { View::Full };
        let mut input = self.open(Parts::hashed(open(paths)?), view)?;
        let streams: Vec<usize> = input.streams().filter(is_counted).map(|stream| stream.index()).collect();
        if streams.len() != self.lanes.len() {
            return Err(differs(&format!("the file has {} streams, {} were written", streams.len(), self.lanes.len())));
        }
        self.format(&input)?;
        let mut samples: Vec<Samples<'_>> = self.lanes.iter().map(|lane| Samples::of(lane)).collect();
        let found = self.read(&mut input, &streams, &mut samples)?;
        for ((lane, index), samples) in self.lanes.iter().zip(&streams).zip(&samples) {
            let Some(stream) = input.stream(*index) else { return Err(differs("a stream is missing")) };
            self.stream(lane, stream)?;
            samples.check(stream, self.bounds)?;
        }
        for (lane, found) in self.lanes.iter().zip(&found) {
            check_lane(lane, *found)?;
        }
        self.together(&found)?;
        let measured = input.into_parts().measure();
        measured.map_err(|error| differs("the output cannot be read to its end").source(error))
    }

    fn open(&self, parts: Parts, view: View) -> Result<Input> {
        let bounds = MediaBounds { max_output_bytes: None, ..*self.bounds };
        probe::open_parts(parts, view, &bounds, self.control).map_err(|error| match error.code() {
            Code::Canceled => error,
            _ => differs("the output cannot be read back").source(error),
        })
    }

    /// Reads every packet, once.
    fn read(&self, input: &mut Input, streams: &[usize], samples: &mut [Samples<'_>]) -> Result<Vec<Found>> {
        let mut found = vec![Found::default(); streams.len()];
        let mut packet = Packet::new();
        loop {
            self.control.checkpoint()?;
            match input.read(&mut packet) {
                Ok(()) => {}
                Err(AvError::EOF) => return Ok(found),
                Err(AvError::AGAIN) => continue,
                Err(error) => return Err(differs("the output cannot be read to its end").source(error)),
            }
            let Some(place) = streams.iter().position(|index| *index == packet.stream()) else { continue };
            let Some(base) = input.stream(packet.stream()).map(|stream| stream.time_base()) else { continue };
            let found = &mut found[place];
            found.packets += 1;
            if let Some(pts) = packet.pts() {
                let start = base.seconds(pts);
                found.first = Some(found.first.map_or(start, |first| first.min(start)));
                // Without edit lists libav counts what they hide into the last packet.
                let length = base.seconds(packet.duration()).min(self.lanes[place].longest + SLACK);
                found.end = found.end.max(start + length);
                samples[place].see(&mut packet, start);
            }
        }
    }

    fn format(&self, input: &Input) -> Result<()> {
        let format = input.format();
        let wanted = format_name(self.container)?;
        if format.split(',').any(|name| name == wanted) {
            Ok(())
        } else {
            Err(differs(&format!("the container is {format} instead of {wanted}")))
        }
    }

    fn stream(&self, lane: &ExpectedLane, stream: StreamView<'_>) -> Result<()> {
        let codec = stream.codec();
        if !self.is_same_codec(&codec, libav_name(&lane.codec)) {
            return Err(differs(&format!("stream {} is {codec} instead of {}", stream.index(), lane.codec)));
        }
        // A transport stream has no header that would say it.
        let is_told = |size: (u32, u32)| size.0 > 0 && size.1 > 0;
        match (lane.size, stream.size()) {
            (Some((width, height)), is) if is_told(is) && is != (width, height) => {
                Err(differs(&format!("the picture is {}x{} instead of {width}x{height}", is.0, is.1)))
            }
            _ => Ok(()),
        }
    }

    /// MP4 has one name for both layers of MPEG audio.
    fn is_same_codec(&self, is: &str, wanted: &str) -> bool {
        let is_layered = |codec| matches!(codec, "mp2" | "mp3");
        let is_mp4 = matches!(self.container, Container::Mp4 | Container::Fmp4);
        is == wanted || is_mp4 && is_layered(is) && is_layered(wanted)
    }

    /// Streams must begin as far apart as they were written.
    fn together(&self, found: &[Found]) -> Result<()> {
        let timed = |lane: &ExpectedLane| lane.packets > 0 && lane.kind != StreamKind::Subtitle;
        let filled = self.lanes.iter().zip(found).filter(|(lane, _)| timed(lane));
        let mut offsets = filled.filter_map(|(lane, found)| Some((found.first? - lane.first, lane.codec.as_str())));
        let Some((reference, _)) = offsets.next() else { return Ok(()) };
        match offsets.find(|(offset, _)| (offset - reference).abs() > SLACK) {
            Some((offset, codec)) => {
                Err(differs(&format!("the {codec} stream is {:.3} s away from the first stream", offset - reference)))
            }
            None => Ok(()),
        }
    }
}

fn format_name(container: Container) -> Result<&'static str> {
    Ok(match container {
        Container::Mp4 | Container::Fmp4 => "mp4",
        Container::Mkv => "matroska",
        Container::Webm => "webm",
        Container::MpegTs => "mpegts",
        Container::Mp3 => "mp3",
        Container::Flac => "flac",
        Container::Ogg => "ogg",
        Container::Hls | Container::Dash => return Err(differs("a manifest holds no streams")),
    })
}

fn open(paths: &[PathBuf]) -> Result<Vec<(std::fs::File, u64)>> {
    paths
        .iter()
        .map(|path| probe::open_file(path).map_err(|error| differs("the output cannot be read back").source(error)))
        .collect()
}

fn is_counted(stream: &StreamView<'_>) -> bool {
    (stream.is_video() && !stream.is_cover_art()) || stream.is_audio() || stream.is_subtitle()
}

/// Codecs that libav calls by another name than we do.
fn libav_name(codec: &str) -> &str {
    match codec {
        _ if codec == VideoCodec::H265.as_str() => "hevc",
        _ if codec == SubtitleCodec::Srt.as_str() => "subrip",
        codec => codec,
    }
}

fn check_lane(lane: &ExpectedLane, found: Found) -> Result<()> {
    // Between subtitles containers put empty ones, so that something ends each of them.
    let padded = lane.kind == StreamKind::Subtitle && found.packets > lane.packets;
    if found.packets != lane.packets && !padded {
        let what = format!("the {} stream has {} packets instead of {}", lane.codec, found.packets, lane.packets);
        return Err(differs(&what));
    }
    let Some(first) = found.first.filter(|_| lane.kind != StreamKind::Subtitle) else { return Ok(()) };
    let (is, was) = (found.end - first, lane.end - lane.first);
    if (is - was).abs() > lane.longest + SLACK {
        return Err(differs(&format!("the {} stream lasts {is:.3} s instead of {was:.3} s", lane.codec)));
    }
    Ok(())
}

fn differs(what: &str) -> Error {
    Error::new(Code::VerifyFailed, format!("the output is not what was meant: {what}"))
}
