//! Opens foreign media and says what is in it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{AudioInfo, HdrInfo, MediaInfo, StreamInfo, StreamKind, VideoInfo};
use ffrtmp_core::units::{FrameRate, Ratio};

use super::fault::failed;
use super::sys::log::Collector;
use super::sys::{Facts, Guard, Input, InputLimits, OpenError, Parts, StreamView, TimeBase, bit_depth};

/// First bytes of every HLS playlist.
const PLAYLIST: &[u8; 7] = b"#EXTM3U";

/// How the streams of a file are to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Everything about them, as a player sees them.
    Full,
    /// What the header says, and every packet of the file, also those that edit lists hide.
    Raw,
}

/// Opens a file, within bounds.
pub(super) fn open(path: &Path, bounds: &MediaBounds, control: &Control) -> Result<(Input, u64)> {
    let (file, size) = open_file(path)?;
    if is_playlist(&file) {
        return Err(refusal(OpenError::Refused("hls".to_owned()), bounds).field("input"));
    }
    let input = open_parts(Parts::new([(file, size)]), View::Full, bounds, control)?;
    Ok((input, size))
}

/// Opens files that are one file in pieces, within bounds.
pub(super) fn open_parts(parts: Parts, view: View, bounds: &MediaBounds, control: &Control) -> Result<Input> {
    let limits = InputLimits {
        max_streams: bounds.max_streams,
        max_pixels: bounds.max_pixels,
        time: bounds.max_probe,
        hides: view != View::Raw,
        facts: match view {
            View::Full => all_facts(),
            View::Raw => Facts::Header,
        },
    };
    let mut input = match Input::open(parts, Guard::new(control.clone()), &limits) {
        Ok(input) => input,
        Err(error) => {
            control.checkpoint()?;
            return Err(refusal(error, bounds).field("input"));
        }
    };
    control.checkpoint()?;
    check_bounds(&input, bounds)?;
    if view == View::Full {
        input.find_screens(bounds.max_pixels);
    }
    Ok(input)
}

#[cfg(not(test))]
const fn all_facts() -> Facts {
    Facts::All
}

#[cfg(test)]
use tests::all_facts;

/// Describes an opened file.
pub(super) fn describe(input: &Input, size_bytes: u64) -> MediaInfo {
    let streams: Vec<StreamInfo> = input.streams().map(describe_stream).collect();
    let longest = streams.iter().filter_map(|stream| stream.duration_seconds).fold(0.0, f64::max);
    let seconds = |micros: i64| TimeBase::MICROS.seconds(micros);
    let duration_seconds = input.duration().map(seconds).or((longest > 0.0).then_some(longest));
    let average = || duration_seconds.map(|seconds| (size_bytes as f64 * 8.0 / seconds) as u64);
    MediaInfo {
        format: input.format(),
        duration_seconds,
        start_seconds: input.start().map_or(0.0, seconds),
        size_bytes,
        bit_rate: input.bit_rate().or_else(average),
        streams,
        tags: input.tags(),
        chapters: input.chapters().len(),
    }
}

/// How a player turns the pictures of a stream for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Clockwise degrees, below 360.
    pub(super) degrees: u16,
    /// Mirrored upside down before the turn.
    pub(super) mirrored: bool,
}

impl Orientation {
    pub(super) fn of(stream: StreamView<'_>) -> Self {
        stream.display_matrix().map_or_else(Self::default, Self::from_matrix)
    }

    /// Reads a display matrix; what is within a degree of a quarter turn counts as one.
    fn from_matrix(matrix: [i32; 9]) -> Self {
        let [a, b, _, c, d, ..] = matrix.map(f64::from);
        let (across, down) = (a.hypot(c), b.hypot(d));
        if across == 0.0 || down == 0.0 {
            return Self::default();
        }
        let degrees = (b / down).atan2(a / across).to_degrees();
        let quarter = (degrees / 90.0).round() * 90.0;
        let degrees = if (degrees - quarter).abs() <= 1.0 { quarter } else { degrees.round() };
        Self { degrees: (degrees as i32).rem_euclid(360) as u16, mirrored: a * d - b * c < 0.0 }
    }

    /// Whether width and height change places.
    pub(super) fn is_sideways(self) -> bool {
        self.degrees % 180 == 90
    }

    /// Whether the picture stands askew in its frame once it is upright, and loses its corners.
    pub(super) fn is_askew(self) -> bool {
        !self.degrees.is_multiple_of(90)
    }

    /// Filters that turn the pictures upright; an odd turn keeps the frame as it is.
    pub(super) fn filters(self) -> String {
        let filters = match (self.degrees, self.mirrored) {
            (0, false) => "",
            (0, true) => ",vflip",
            (90, false) => ",transpose=clock",
            (90, true) => ",transpose=cclock_flip",
            (180, false) => ",hflip,vflip",
            (180, true) => ",hflip",
            (270, false) => ",transpose=cclock",
            (270, true) => ",transpose=clock_flip",
            (degrees, false) => return format!(",rotate={degrees}*PI/180"),
            (degrees, true) => return format!(",vflip,rotate={degrees}*PI/180"),
        };
        filters.to_owned()
    }
}

/// Average frame rate of a stream, if it is one that video has.
///
/// An average of exactly twice the rate of the pictures counts fields: AVI has room for both.
pub(super) fn frame_rate(stream: StreamView<'_>) -> Option<FrameRate> {
    let [average, pictures] = stream.frame_rates().map(|(num, den)| {
        let (num, den) = (u32::try_from(num).ok()?, u32::try_from(den).ok()?);
        FrameRate::new(num, den).ok()
    });
    match (average, pictures) {
        (Some(average), Some(pictures)) if average.as_f64() == 2.0 * pictures.as_f64() => Some(pictures),
        (average, pictures) => average.or(pictures),
    }
}

/// Whether pictures come with how transparent they are, in a layer of its own that decoders leave
/// alone: so do VP8 and VP9.
pub(super) fn is_veiled(stream: StreamView<'_>) -> bool {
    stream.tags().iter().any(|(key, value)| key.eq_ignore_ascii_case("alpha_mode") && value.trim() == "1")
}

/// Whether a file is an HLS playlist. Newer libraries know one by the name of the file only, which
/// they are not told. A file that cannot be read fails later, in the demuxer.
fn is_playlist(file: &File) -> bool {
    let mut head = *PLAYLIST;
    file.read_exact_at(&mut head, 0).is_ok() && head == *PLAYLIST
}

/// Opens a regular file for reading without ever waiting for a writer on the other end.
pub(super) fn open_file(path: &Path) -> Result<(File, u64)> {
    let unreadable =
        |what: &str| Error::new(Code::InputUnreadable, format!("{} {what}", path.display())).field("input");
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let file = opened.map_err(|error| not_opened(path, error))?;
    let metadata = file.metadata().map_err(|error| unreadable("cannot be examined").source(error))?;
    if metadata.is_dir() {
        return Err(unreadable("is a directory"));
    }
    if !metadata.is_file() {
        return Err(unreadable("is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(Error::new(Code::InputInvalid, format!("{} is empty", path.display())).field("input"));
    }
    Ok((file, metadata.len()))
}

fn not_opened(path: &Path, error: io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::new(Code::InputNotFound, format!("{path} does not exist")).field("input")
        }
        ErrorKind::PermissionDenied => {
            Error::new(Code::InputUnreadable, format!("{path} may not be read")).field("input")
        }
        _ => Error::new(Code::InputUnreadable, format!("{path} cannot be opened")).field("input").source(error),
    }
}

fn refusal(error: OpenError, bounds: &MediaBounds) -> Error {
    match error {
        OpenError::Unknown(error) => failed(Code::InputInvalid, "the file is not media that is known here", error),
        OpenError::Refused(name) => {
            let name = name.split(',').next().unwrap_or_default();
            let hint = match name {
                "hls" | "dash" | "sdp" | "rtsp" | "concat" | "ffconcat" => {
                    "what names other files or hosts, such as a playlist, is refused; give the media file itself"
                }
                _ => "it is a picture, a text or of a format that is not read here; give a file with video or sound",
            };
            Error::new(Code::InputUnsupported, format!("the file is of the format {name}, which is not accepted"))
                .hint(hint)
        }
        OpenError::Damaged(..) if Collector::said("max_streams") => too_many_streams(bounds),
        OpenError::Damaged(name, error) => {
            let name = name.split(',').next().unwrap_or_default();
            failed(Code::InputInvalid, format!("the file looks like {name} but is damaged or cut off"), error)
        }
    }
}

fn too_many_streams(bounds: &MediaBounds) -> Error {
    too_large(format!("the file has more than {} streams", bounds.max_streams))
}

fn check_bounds(input: &Input, bounds: &MediaBounds) -> Result<()> {
    if input.guard().is_late() {
        let limit = bounds.max_probe.as_secs_f64();
        return Err(
            Error::new(Code::InputInvalid, format!("the file could not be analysed in {limit} s")).field("input")
        );
    }
    if input.len() == 0 {
        return Err(Error::new(Code::InputInvalid, "the file has no streams").field("input"));
    }
    if input.len() > bounds.max_streams {
        return Err(too_large(format!("the file has {} streams, more than {}", input.len(), bounds.max_streams)));
    }
    // Some demuxers leave out the streams that were too many.
    if Collector::said("max_streams") {
        return Err(too_many_streams(bounds));
    }
    input.streams().filter(StreamView::is_video).try_for_each(|stream| check_size(stream, bounds.max_pixels))?;
    let limit = bounds.max_duration.as_secs_f64();
    if input.duration().is_some_and(|micros| TimeBase::MICROS.seconds(micros) > limit) {
        return Err(too_large(format!("the file says it is longer than {limit} s")));
    }
    Ok(())
}

fn check_size(stream: StreamView<'_>, limit: u64) -> Result<()> {
    let (index, (width, height)) = (stream.index(), stream.size());
    // What a decoder refuses keeps no size.
    let was_refused = || !stream.is_cover_art() && Collector::said("max pixel count");
    match stream.pixels() {
        0 if was_refused() => {
            Err(too_large(format!("the pictures of stream {index} ({}) have more than {limit} pixels", stream.codec())))
        }
        pixels if pixels > limit => {
            Err(too_large(format!("a picture of stream {index}, {width}x{height}, has more than {limit} pixels")))
        }
        _ => Ok(()),
    }
}

pub(super) fn too_large(what: String) -> Error {
    Error::new(Code::InputTooLarge, what).field("input")
}

fn describe_stream(stream: StreamView<'_>) -> StreamInfo {
    let base = stream.time_base();
    let mut tags = stream.tags();
    StreamInfo {
        index: stream.index(),
        kind: kind(stream),
        codec: stream.codec(),
        profile: stream.profile(),
        language: tags.remove("language").filter(|language| language != "und"),
        title: tags.remove("title"),
        default: stream.is_default(),
        dispositions: stream.dispositions().map(str::to_owned).collect(),
        duration_seconds: stream.duration().map(|ticks| base.seconds(ticks)),
        start_seconds: stream.start().map(|ticks| base.seconds(ticks)),
        frames: stream.frames(),
        bit_rate: stream.bit_rate(),
        time_base: Ratio { num: base.num, den: base.den },
        video: stream.is_video().then(|| describe_video(stream)),
        audio: stream.is_audio().then(|| describe_audio(stream)),
    }
}

fn kind(stream: StreamView<'_>) -> StreamKind {
    match () {
        () if stream.is_video() => StreamKind::Video,
        () if stream.is_audio() => StreamKind::Audio,
        () if stream.is_subtitle() => StreamKind::Subtitle,
        () if stream.is_attachment() => StreamKind::Attachment,
        () => StreamKind::Data,
    }
}

fn describe_video(stream: StreamView<'_>) -> VideoInfo {
    let (width, height) = stream.size();
    let (num, den) = stream.sample_aspect_ratio().unwrap_or((1, 1));
    let color = stream.color();
    VideoInfo {
        width,
        height,
        sample_aspect_ratio: Ratio { num, den },
        frame_rate: frame_rate(stream),
        pixel_format: stream.pixel_format(),
        rotation: Orientation::of(stream).degrees,
        field_order: if stream.is_interlaced() { "interlaced" } else { "progressive" }.to_owned(),
        color_range: color.range_name(),
        color_primaries: color.primaries_name(),
        color_transfer: color.transfer_name(),
        color_space: color.matrix_name(),
        bit_depth: stream.pixel_format().and_then(|format| u8::try_from(bit_depth(&format)).ok()),
        hdr: describe_range(stream, color.transfer_name().as_deref()),
        cover_art: stream.is_cover_art(),
    }
}

/// High dynamic range by the transfer, and what is known of the screen.
fn describe_range(stream: StreamView<'_>, transfer: Option<&str>) -> Option<HdrInfo> {
    let known = stream.hdr();
    let format = match transfer? {
        "smpte2084" if known.is_empty() => "PQ",
        "smpte2084" => "HDR10",
        "arib-std-b67" => "HLG",
        _ => return None,
    };
    Some(HdrInfo {
        format: format.to_owned(),
        mastering_max: known.mastering.map(|screen| screen.max_luminance.value()),
        mastering_min: known.mastering.map(|screen| screen.min_luminance.value()),
        max_cll: known.light.map(|light| light.max_cll),
        max_fall: known.light.map(|light| light.max_fall),
    })
}

fn describe_audio(stream: StreamView<'_>) -> AudioInfo {
    let (channels, layout) = stream.channels();
    AudioInfo { sample_rate: stream.sample_rate(), channels, layout }
}

#[cfg(test)]
mod tests;
