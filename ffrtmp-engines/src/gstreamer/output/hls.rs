//! HLS that grows: caps and samples of GStreamer into the package of the libav engine, whose segments
//! and playlists are the same.

use std::path::Path;
use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use gstreamer as gst;

use super::carriage;
use super::line::{Link, Shared};
use crate::gstreamer::media::{Track, TrackKind};
use crate::libav::{Described, DescribedShape, LivePackager, LiveSample, LiveSettings};

/// Time of a picture where nothing says it.
const PICTURE: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// A package that is being begun.
pub(super) fn open(
    path: &Path,
    settings: LiveSettings,
    tracks: &[Track],
    shared: &Arc<Shared>,
) -> Result<Box<dyn Link>> {
    let streams = tracks.iter().map(|track| Ok((track.name.clone(), described(track)?)));
    let streams: Vec<_> = streams.collect::<Result<_>>()?;
    let packager = LivePackager::create(path, &streams, settings)?;
    Ok(Box::new(Hls { packager, shared: Arc::clone(shared) }))
}

struct Hls {
    packager: LivePackager,
    shared: Arc<Shared>,
}

impl Link for Hls {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, track: usize, is_key: bool, buffer: &gst::Buffer) -> Result<()> {
        let data = buffer.map_readable();
        let data = data.map_err(|error| Error::new(Code::EncodeFailed, "a sample cannot be read").source(error))?;
        let nanos = |time: gst::ClockTime| i64::try_from(time.nseconds()).unwrap_or(i64::MAX);
        let pts = buffer.pts().or(buffer.dts()).unwrap_or_default();
        let sample = LiveSample {
            pts: nanos(pts),
            dts: nanos(buffer.dts().unwrap_or(pts)),
            duration: nanos(buffer.duration().unwrap_or(PICTURE)),
            is_key,
            data: &data,
        };
        self.packager.push(track, &sample)?;
        self.shared.passed(self.packager.bytes());
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.packager.finish()?;
        self.shared.ended();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.packager.bytes()
    }
}

fn described(track: &Track) -> Result<Described> {
    let codec = match carriage::codec(track) {
        "H.264" => "h264",
        "H.265" => "hevc",
        "VP9" => "vp9",
        "AV1" => "av1",
        "AAC" => "aac",
        "MP3" => "mp3",
        "Opus" => "opus",
        other => return Err(Error::new(Code::ContainerMismatch, format!("HLS cannot carry {other}")).field("output")),
    };
    let caps = track.caps.structure(0);
    let number = |name: &str| caps.and_then(|caps| caps.get::<i32>(name).ok()).unwrap_or(0);
    let positive = |name: &str| u32::try_from(number(name)).unwrap_or(0);
    let shape = match track.kind {
        TrackKind::Video => DescribedShape::Video {
            size: (positive("width"), positive("height")),
            frame_rate: caps
                .and_then(|caps| caps.get::<gst::Fraction>("framerate").ok())
                .filter(|rate| rate.numer() > 0)
                .map(|rate| (rate.numer(), rate.denom())),
            transfer: transfer(caps.and_then(|caps| caps.get::<String>("colorimetry").ok()).as_deref()),
        },
        TrackKind::Audio => DescribedShape::Audio {
            sample_rate: positive("rate"),
            channels: u16::try_from(number("channels")).unwrap_or(2),
        },
    };
    Ok(Described { codec, header: header(caps), shape })
}

/// The codec's header: in `codec_data`, and of Opus the first of the headers of its stream.
fn header(caps: Option<&gst::StructureRef>) -> Vec<u8> {
    let data = caps.and_then(|caps| caps.get::<gst::Buffer>("codec_data").ok());
    let first = || caps?.get::<gst::Array>("streamheader").ok()?.first()?.get::<gst::Buffer>().ok();
    let data = data.or_else(first);
    data.and_then(|data| Some(data.map_readable().ok()?.to_vec())).unwrap_or_default()
}

/// The transfer characteristics of ITU-T H.273 that a colorimetry has.
fn transfer(colorimetry: Option<&str>) -> i32 {
    match colorimetry {
        Some("bt2100-pq") => 16,
        Some("bt2100-hlg") => 18,
        Some("bt709") => 1,
        _ => 2,
    }
}
