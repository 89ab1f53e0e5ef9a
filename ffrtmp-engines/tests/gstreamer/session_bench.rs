//! What the tests of sessions share: pictures and sound to push, what came out, and `ffprobe` as the
//! judge of it.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ffrtmp_core::encoding::{EncoderOptions, Hardware};
use ffrtmp_core::media::VideoCodec;
use ffrtmp_core::plan::{Gop, RateControl, Vbv, VideoEncode};
use ffrtmp_core::units::{Bitrate, Ratio, Resolution};
use ffrtmp_engines::gstreamer::media::{Clock, Encoded, Raw, Track, TrackKind};
use ffrtmp_engines::gstreamer::session::{LiveSession, Pushed, SessionOptions, VideoInput};
use gstreamer as gst;
use gstreamer::prelude::*;

pub(crate) const FPS: u64 = 25;
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Raw pictures of one size: a gradient that moves, with a little noise, so that rate control has
/// something to do.
pub(crate) struct Camera {
    width: usize,
    height: usize,
    caps: gst::Caps,
}

impl Camera {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        ffrtmp_engines::gstreamer::init().unwrap();
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", width as i32)
            .field("height", height as i32)
            .field("framerate", gst::Fraction::new(FPS as i32, 1))
            .build();
        Self { width, height, caps }
    }

    pub(crate) fn input(&self) -> VideoInput {
        VideoInput { caps: self.caps.clone() }
    }

    pub(crate) fn picture(&self, index: u64) -> Raw {
        self.at(index, gst::ClockTime::from_nseconds(index * 1_000_000_000 / FPS))
    }

    pub(crate) fn at(&self, index: u64, time: gst::ClockTime) -> Raw {
        let (width, height) = (self.width, self.height);
        let mut data = vec![128u8; width * height * 3 / 2];
        let mut noise = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for (row, line) in data[..width * height].chunks_exact_mut(width).enumerate() {
            for (column, pixel) in line.iter_mut().enumerate() {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                *pixel = ((column + row + index as usize * 3) as u8 / 2).wrapping_add((noise & 15) as u8 + 16);
            }
        }
        let mut buffer = gst::Buffer::from_mut_slice(data);
        let edit = buffer.get_mut().unwrap();
        edit.set_pts(time);
        edit.set_duration(gst::ClockTime::from_nseconds(1_000_000_000 / FPS));
        Raw { kind: TrackKind::Video, sample: gst::Sample::builder().buffer(&buffer).caps(&self.caps).build() }
    }
}

/// A rendition with a key frame each second, at a rate.
pub(crate) fn rendition(codec: VideoCodec, width: u32, height: u32, kbps: u64) -> VideoEncode {
    let bitrate = Bitrate::from_kbps(kbps);
    VideoEncode {
        name: format!("{height}p"),
        codec,
        encoder: None,
        hardware: Hardware::Off,
        size: Resolution { width, height },
        sample_aspect_ratio: Ratio { num: 1, den: 1 },
        fps: None,
        bit_depth: None,
        rate: RateControl::Average { bitrate, cap: Vbv { max_rate: bitrate, buffer: bitrate }, two_pass: false },
        preset: Some("ultrafast".to_owned()),
        gop: Gop::Fixed(1.0.try_into().unwrap()),
        options: EncoderOptions::default(),
    }
}

pub(crate) fn options(camera: &Camera, renditions: Vec<VideoEncode>) -> SessionOptions {
    ffrtmp_engines::gstreamer::init().unwrap();
    SessionOptions {
        video: Some(camera.input()),
        renditions,
        patience: PATIENCE,
        ..SessionOptions::new(Clock::start())
    }
}

/// What a session made.
#[derive(Clone, Default)]
pub(crate) struct Made(pub(crate) Arc<Mutex<Vec<Encoded>>>);

impl Made {
    pub(crate) fn taker(&self) -> Box<dyn Fn(Encoded) + Send + Sync> {
        let list = Arc::clone(&self.0);
        Box::new(move |encoded| list.lock().unwrap().push(encoded))
    }

    pub(crate) fn of(&self, track: usize) -> Vec<Encoded> {
        self.0.lock().unwrap().iter().filter(|encoded| encoded.track == track).cloned().collect()
    }

    /// Times of the key frames of a track, in milliseconds.
    pub(crate) fn keys(&self, track: usize) -> Vec<u64> {
        self.of(track).iter().filter(|encoded| encoded.is_key()).map(ms).collect()
    }
}

pub(crate) fn ms(encoded: &Encoded) -> u64 {
    encoded.buffer.pts().unwrap().mseconds()
}

/// Pushes all of it, then ends.
pub(crate) fn run(options: SessionOptions, raws: impl IntoIterator<Item = Raw>) -> (Made, Vec<Track>) {
    let made = Made::default();
    let session = LiveSession::start(options, made.taker()).unwrap();
    for raw in raws {
        assert_eq!(session.push(&raw).unwrap(), Pushed::Taken);
    }
    session.end(PATIENCE).unwrap();
    (made, session.tracks())
}

/// Packs one track into a Matroska file.
pub(crate) fn pack(track: &Track, samples: &[Encoded], path: &Path) {
    let names = ["appsrc", "matroskamux", "filesink"];
    let [source, mux, file] = names.map(|name| gst::ElementFactory::make(name).build().unwrap());
    let source = source.downcast::<gstreamer_app::AppSrc>().unwrap();
    source.set_format(gst::Format::Time);
    source.set_caps(Some(&track.caps));
    file.set_property("location", path.to_str().unwrap());
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([source.upcast_ref(), &mux, &file]).unwrap();
    gst::Element::link_many([source.upcast_ref(), &mux, &file]).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for sample in samples {
        source.push_buffer(sample.buffer.clone()).unwrap();
    }
    source.end_of_stream().unwrap();
    let last = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    let last = last.unwrap();
    assert_eq!(last.type_(), gst::MessageType::Eos, "{last:?}");
}

/// Frames as `ffprobe` decodes them: time in milliseconds and whether it is a key frame.
pub(crate) fn decoded(path: &Path) -> Vec<(u64, bool)> {
    let said = ffprobe(path, &["-show_entries", "frame=pts_time,key_frame", "-of", "csv=p=0"]);
    let frame = |line: &str| {
        let mut words = line.split(',');
        let key = words.next()? == "1";
        let seconds: f64 = words.next()?.trim().parse().ok()?;
        Some(((seconds * 1000.0).round() as u64, key))
    };
    said.lines().filter(|line| !line.is_empty()).map(|line| frame(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

pub(crate) fn ffprobe(path: &Path, words: &[&str]) -> String {
    let output = Command::new("ffprobe").args(["-v", "warning"]).args(words).arg(path).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}
