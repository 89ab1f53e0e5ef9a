//! Encoded media to send: made by the encoders once, in memory.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::encoding::{EncoderOptions, Hardware};
use ffrtmp_core::media::VideoCodec;
use ffrtmp_core::plan::{Gop, RateControl, Vbv, VideoEncode};
use ffrtmp_core::units::{Bitrate, Ratio, Resolution};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

use crate::gstreamer::media::{Clock, Encoded, Raw, Track, TrackKind};
use crate::gstreamer::output::Output;
use crate::gstreamer::session::{LiveSession, Pushed, SessionOptions, VideoInput};

/// Pictures per second, and pictures per group.
pub(super) const RATE: u64 = 25;

/// Encoded pictures and sound, in the order of time.
pub(super) struct Reel {
    pub(super) tracks: Vec<Track>,
    pub(super) samples: Vec<Encoded>,
}

impl Reel {
    /// So many seconds with a key frame each second.
    pub(super) fn of(seconds: u64, video: &str, audio: &str) -> Self {
        Self::showing("ball", seconds, video, audio)
    }

    /// H.264 of noise, which takes megabytes a second, and AAC.
    pub(super) fn heavy(seconds: u64) -> Self {
        Self::showing("snow", seconds, &x264("bframes=0").replace("bitrate=400", "bitrate=40000"), AAC)
    }

    /// The same of a black picture and silence.
    pub(super) fn still(seconds: u64) -> Self {
        Self::made("black", "silence", seconds, &x264("bframes=0"), AAC)
    }

    fn showing(pattern: &str, seconds: u64, video: &str, audio: &str) -> Self {
        Self::made(pattern, "sine", seconds, video, audio)
    }

    fn made(pattern: &str, wave: &str, seconds: u64, video: &str, audio: &str) -> Self {
        crate::gstreamer::init().unwrap();
        let frames = seconds * RATE;
        let (picture, tone) = (
            format!(
                "videotestsrc pattern={pattern} num-buffers={frames} ! video/x-raw,format=I420,width=320,height=180,framerate={RATE}/1 ! {video}"
            ),
            format!(
                "audiotestsrc wave={wave} samplesperbuffer=1024 num-buffers={} ! audio/x-raw,rate=48000,channels=2 ! audioconvert ! {audio}",
                seconds * 48000 / 1024
            ),
        );
        let made = [("picture", picture, TrackKind::Video), ("audio", tone, TrackKind::Audio)];
        let mut reel = Self { tracks: Vec::new(), samples: Vec::new() };
        for (name, line, kind) in made {
            let (caps, buffers) = run(&line);
            let track = reel.tracks.len();
            reel.tracks.push(Track { kind, name: name.to_owned(), caps });
            reel.samples.extend(buffers.into_iter().map(|buffer| Encoded { track, buffer }));
        }
        reel.samples.sort_by_key(|sample| sample.buffer.dts_or_pts());
        reel
    }

    /// H.264 without pictures out of order, and AAC: what RTMP carries.
    pub(super) fn plain(seconds: u64) -> Self {
        Self::of(seconds, &x264("bframes=0"), AAC)
    }

    /// Pictures of a session that goes to the fastest preset in the middle, and AAC.
    pub(super) fn of_presets(seconds: u64) -> Self {
        let mut reel = Self::plain(seconds);
        reel.samples.retain(|sample| sample.track != 0);
        let line = format!(
            "videotestsrc pattern=ball num-buffers={} ! video/x-raw,format=I420,width=320,height=180,framerate={RATE}/1",
            seconds * RATE
        );
        let (caps, buffers) = run(&line);
        let made = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&made);
        let options = SessionOptions {
            video: Some(VideoInput { caps: caps.clone() }),
            renditions: vec![rendition()],
            patience: Duration::from_secs(60),
            ..SessionOptions::new(Clock::start())
        };
        let session = LiveSession::start(options, Box::new(move |encoded| list.lock().unwrap().push(encoded))).unwrap();
        let half = buffers.len() / 2;
        for (index, buffer) in buffers.iter().enumerate() {
            if index == half {
                reel.tracks[0] = session.wait_for_tracks(Duration::from_secs(60)).unwrap().remove(0);
                session.set_preset(session.preset_steps()).unwrap();
            }
            let sample = gst::Sample::builder().caps(&caps).buffer(buffer).build();
            assert_eq!(session.push(&Raw { kind: TrackKind::Video, sample }).unwrap(), Pushed::Taken);
        }
        session.end(Duration::from_secs(60)).unwrap();
        assert_ne!(session.tracks()[0].caps, reel.tracks[0].caps, "the presets tell the same");
        reel.samples.append(&mut made.lock().unwrap());
        reel.samples.sort_by_key(|sample| sample.buffer.dts_or_pts());
        reel
    }

    pub(super) fn numbered(&self) -> Vec<(usize, Track)> {
        self.tracks.iter().cloned().enumerate().collect()
    }

    pub(super) fn pictures(&self) -> impl Iterator<Item = &Encoded> {
        self.samples.iter().filter(|sample| sample.track == 0)
    }

    /// Gives everything at once.
    pub(super) fn pour(&self, output: &Output) {
        self.samples.iter().for_each(|sample| output.push(sample));
    }

    /// Gives it in its own time, over and over, until told to stop; returns the seconds given.
    pub(super) fn play(&self, output: &Output, mut goes_on: impl FnMut(f64) -> bool) -> f64 {
        let begin = Instant::now();
        let length = gst::ClockTime::from_nseconds(self.pictures().count() as u64 * 1_000_000_000 / RATE);
        for round in 0.. {
            for sample in &self.samples {
                let mut sample = sample.clone();
                let buffer = sample.buffer.make_mut();
                let shift = length * round;
                buffer.set_pts(buffer.pts().map(|time| time + shift));
                buffer.set_dts(buffer.dts().map(|time| time + shift));
                let due = Duration::from(buffer.dts_or_pts().unwrap());
                if let Some(early) = due.checked_sub(begin.elapsed()) {
                    thread::sleep(early);
                }
                if !goes_on(due.as_secs_f64()) {
                    return due.as_secs_f64();
                }
                output.push(&sample);
            }
        }
        unreachable!("rounds do not end")
    }
}

fn rendition() -> VideoEncode {
    let bitrate = Bitrate::from_kbps(400);
    VideoEncode {
        name: "picture".to_owned(),
        codec: VideoCodec::H264,
        encoder: None,
        hardware: Hardware::Off,
        size: Resolution { width: 320, height: 180 },
        sample_aspect_ratio: Ratio { num: 1, den: 1 },
        fps: None,
        bit_depth: None,
        rate: RateControl::Average { bitrate, cap: Vbv { max_rate: bitrate, buffer: bitrate }, two_pass: false },
        preset: Some("medium".to_owned()),
        gop: Gop::Fixed(1.0.try_into().unwrap()),
        options: EncoderOptions::default(),
    }
}

/// What decoding may be ahead.
const ROOM: gst::ClockTime = gst::ClockTime::from_mseconds(200);

pub(super) const AAC: &str = "avenc_aac bitrate=64000 ! aacparse ! audio/mpeg,stream-format=raw";

pub(super) fn x264(more: &str) -> String {
    format!(
        "x264enc speed-preset=ultrafast key-int-max={RATE} bitrate=400 {more} ! h264parse ! video/x-h264,stream-format=avc,alignment=au"
    )
}

fn run(line: &str) -> (gst::Caps, Vec<gst::Buffer>) {
    let pipeline = gst::parse::launch(&format!("{line} ! appsink name=out sync=false")).unwrap();
    let sink = pipeline.downcast_ref::<gst::Bin>().unwrap().by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut caps, mut buffers) = (None, Vec::new());
    while let Ok(sample) = sink.pull_sample() {
        caps = sample.caps_owned();
        let mut buffer = sample.buffer_owned().unwrap();
        // Some encoders count from a thousand hours on, to have room for what is decoded ahead.
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap().clone();
        let running = |time: Option<gst::ClockTime>| {
            let time = segment.to_running_time_full(time?)?;
            Some(time + gst::Signed::Positive(ROOM))
        };
        let own = buffer.make_mut();
        let (pts, dts) = (running(own.pts()), running(own.dts()));
        own.set_pts(pts.and_then(|time| time.positive()));
        own.set_dts(dts.and_then(|time| time.positive()));
        buffers.push(buffer);
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(!buffers.is_empty(), "{line} made nothing");
    (caps.unwrap(), buffers)
}
