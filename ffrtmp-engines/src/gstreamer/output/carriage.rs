//! Which codecs which target carries, said before anything begins.

use ffrtmp_core::encoding::SegmentKind;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::Container;

use super::{Target, muxed, rtmp};
use crate::gstreamer::media::{Track, TrackKind};

/// What a target carries, and how many tracks of pictures.
struct Carriage {
    name: &'static str,
    codecs: &'static [&'static str],
    videos: usize,
}

const RTMP: Carriage = Carriage { name: "RTMP", codecs: &["H.264", "AAC"], videos: 1 };
const TS: Carriage = Carriage { name: "MPEG-TS", codecs: &["H.264", "H.265", "AAC", "MP3", "Opus"], videos: 8 };
const MP4: Carriage =
    Carriage { name: "MP4", codecs: &["H.264", "H.265", "VP9", "AV1", "AAC", "MP3", "Opus"], videos: 8 };
const MATROSKA: Carriage = Carriage {
    name: "Matroska",
    codecs: &["H.264", "H.265", "VP8", "VP9", "AV1", "AAC", "MP3", "Opus", "FLAC"],
    videos: 8,
};
const WEBM: Carriage = Carriage { name: "WebM", codecs: &["VP8", "VP9", "AV1", "Opus"], videos: 8 };
const HLS: Carriage =
    Carriage { name: "HLS", codecs: &["H.264", "H.265", "VP9", "AV1", "AAC", "MP3", "Opus"], videos: 32 };
const HLS_TS: Carriage = Carriage { name: "HLS of MPEG-TS", codecs: &["H.264", "H.265", "AAC", "MP3"], videos: 32 };
const RTSP: Carriage = Carriage { name: "RTSP", codecs: &["H.264", "H.265", "VP8", "VP9", "AAC", "Opus"], videos: 1 };

/// # Errors
/// `container_mismatch`, naming what the target carries; `unsupported_scheme` for one that nothing
/// is sent to.
pub(super) fn check(target: &Target, tracks: &[Track]) -> Result<()> {
    let carriage = of(target)?;
    let mismatch = |what: String| {
        Error::new(Code::ContainerMismatch, what).field("output").hint(format!(
            "{} carries {}",
            carriage.name,
            carriage.codecs.join(", ")
        ))
    };
    if tracks.is_empty() {
        return Err(mismatch(format!("{target} would get no track")));
    }
    for track in tracks {
        let codec = codec(track);
        if !carriage.codecs.contains(&codec) {
            return Err(mismatch(format!("{} cannot carry {codec}", carriage.name)));
        }
    }
    let videos = tracks.iter().filter(|track| track.kind == TrackKind::Video).count();
    if videos > carriage.videos {
        return Err(mismatch(format!("{} carries one rendition, not {videos}", carriage.name)));
    }
    Ok(())
}

fn of(target: &Target) -> Result<Carriage> {
    Ok(match target {
        Target::Push(endpoint) if rtmp::is_meant(endpoint) => RTMP,
        Target::Push(endpoint) => match muxed::scheme(endpoint) {
            "srt" | "udp" => TS,
            "rtsp" | "rtsps" => RTSP,
            _ => {
                let what = format!("nothing is sent to {endpoint}");
                let hint = "give rtmp://, rtmps://, srt://, rtsp:// or udp://";
                return Err(Error::new(Code::UnsupportedScheme, what).field("output").hint(hint));
            }
        },
        Target::Hls { settings, .. } => match settings.segments {
            SegmentKind::Fmp4 => HLS,
            SegmentKind::Ts => HLS_TS,
        },
        Target::Record { container, .. } => match container {
            Container::Mp4 | Container::Fmp4 => MP4,
            Container::Mkv => MATROSKA,
            Container::Webm => WEBM,
            Container::MpegTs => TS,
            other => {
                let what = format!("nothing is recorded as {other}");
                return Err(Error::new(Code::ContainerMismatch, what)
                    .field("output")
                    .hint("record mp4, mkv, webm or ts"));
            }
        },
    })
}

/// The codec of a track, as people write it.
pub(super) fn codec(track: &Track) -> &'static str {
    let Some(caps) = track.caps.structure(0) else { return "nothing" };
    match caps.name().as_str() {
        "video/x-h264" => "H.264",
        "video/x-h265" => "H.265",
        "video/x-vp8" => "VP8",
        "video/x-vp9" => "VP9",
        "video/x-av1" => "AV1",
        "audio/mpeg" if caps.get::<i32>("mpegversion") == Ok(1) => "MP3",
        "audio/mpeg" => "AAC",
        "audio/x-opus" => "Opus",
        "audio/x-flac" => "FLAC",
        _ => "this codec",
    }
}
