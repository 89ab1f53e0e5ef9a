//! Live sessions: every codec, key frames, rates, presets, the end, and what is left behind.

use std::sync::mpsc;
use std::time::Duration;

use ffrtmp_core::error::Code;
use ffrtmp_core::media::VideoCodec;
use ffrtmp_core::plan::Gop;
use ffrtmp_core::units::{Bitrate, FrameRate};
use ffrtmp_engines::gstreamer::session::{LiveSession, Pace, Pushed, StreamFormat};
use gstreamer as gst;

use crate::session_bench::{Camera, FPS, Made, PATIENCE, decoded, ffprobe, ms, options, pack, rendition, run};

/// A second and a bit of every codec, live and calm: every picture comes out once, at its time,
/// and decodes.
#[test]
fn every_codec_decodes_to_every_picture() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::new(320, 180);
    for codec in VideoCodec::ALL {
        for pace in [Pace::Live, Pace::Calm] {
            let mut options = options(&camera, vec![rendition(*codec, 320, 180, 600)]);
            options.pace = pace;
            let (made, tracks) = run(options, (0..33).map(|index| camera.picture(index)));
            let times: Vec<_> = made.of(0).iter().map(|encoded| (ms(encoded), encoded.is_key())).collect();
            assert_eq!(times.len(), 33, "{codec} {pace:?}: {times:?}");
            let path = dir.path().join(format!("{codec}-{pace:?}.mkv"));
            pack(&tracks[0], &made.of(0), &path);
            let expected: Vec<_> = (0..33).map(|index| (index * 1000 / FPS, index % FPS == 0)).collect();
            assert_eq!(decoded(&path), expected, "{codec} {pace:?}");
            let dts: Vec<_> = made.of(0).iter().map(|encoded| encoded.buffer.dts().unwrap()).collect();
            assert!(dts.windows(2).all(|pair| pair[0] < pair[1]), "{codec} {pace:?}: {dts:?}");
        }
    }
}

/// Annex B is a file of its own: parameters come with every key frame.
#[test]
fn byte_streams_are_files() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::new(320, 180);
    for codec in [VideoCodec::H264, VideoCodec::H265] {
        let mut options = options(&camera, vec![rendition(codec, 320, 180, 600)]);
        options.format = StreamFormat::ByteStream;
        let (made, _) = run(options, (0..60).map(|index| camera.picture(index)));
        // From the second key frame on, as a player that joins late.
        let bytes: Vec<u8> =
            made.of(0)[25..].iter().flat_map(|one| one.buffer.map_readable().unwrap().to_vec()).collect();
        let path = dir.path().join(codec.as_str());
        std::fs::write(&path, bytes).unwrap();
        let frames = ffprobe(&path, &["-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]);
        assert_eq!(frames.trim(), "35", "{codec}");
    }
}

/// Three rungs: the sizes that were asked for, key frames at the same times, every picture in each.
#[test]
fn key_frames_of_a_ladder_are_aligned() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::new(640, 360);
    let sizes = [(640, 360), (426, 240), (256, 144)];
    let rungs = sizes.map(|(width, height)| rendition(VideoCodec::H264, width, height, 500)).to_vec();
    // It begins in the middle of an interval, and a key frame is asked for in another.
    let made = Made::default();
    let session = LiveSession::start(options(&camera, rungs), made.taker()).unwrap();
    for index in 10..110 {
        if index == 60 {
            session.request_key_frame();
        }
        assert_eq!(session.push(&camera.picture(index)).unwrap(), Pushed::Taken);
    }
    session.end(PATIENCE).unwrap();
    for (track, (width, height)) in sizes.into_iter().enumerate() {
        assert_eq!(made.keys(track), [400, 1000, 2000, 2400, 3000, 4000], "{height}p");
        assert_eq!(made.of(track).len(), 100);
        let path = dir.path().join("rung.mkv");
        pack(&session.tracks()[track], &made.of(track), &path);
        let size = ffprobe(&path, &["-show_entries", "stream=width,height", "-of", "csv=p=0"]);
        assert_eq!(size.trim(), format!("{width},{height}"));
    }
    let latency = session.latency();
    assert_eq!(latency.all.pictures, 300);
    assert!(latency.all.p50 > Duration::ZERO && latency.all.p95 >= latency.all.p50, "{latency:?}");
}

/// Every codec answers a request with the next picture.
#[test]
fn a_key_frame_on_request_is_the_next_picture() {
    let camera = Camera::new(320, 180);
    for codec in VideoCodec::ALL {
        let mut plan = rendition(*codec, 320, 180, 500);
        plan.gop = Gop::Fixed(100.0.try_into().unwrap());
        let made = Made::default();
        let session = LiveSession::start(options(&camera, vec![plan]), made.taker()).unwrap();
        for index in 0..40 {
            if index == 20 {
                session.request_key_frame();
            }
            assert_eq!(session.push(&camera.picture(index)).unwrap(), Pushed::Taken);
        }
        session.end(PATIENCE).unwrap();
        assert_eq!(made.keys(0), [0, 800], "{codec}");
    }
}

/// Half the rate is half the bits, without a picture lost, for encoders that change while they run
/// and for those that are exchanged.
#[test]
fn a_new_bit_rate_shows() {
    let camera = Camera::new(320, 180);
    for codec in VideoCodec::ALL {
        let made = Made::default();
        let session =
            LiveSession::start(options(&camera, vec![rendition(*codec, 320, 180, 1600)]), made.taker()).unwrap();
        let half = 5 * FPS;
        for index in 0..2 * half {
            if index == half {
                session.set_bitrate(0, Bitrate::from_kbps(400)).unwrap();
            }
            assert_eq!(session.push(&camera.picture(index)).unwrap(), Pushed::Taken);
        }
        session.end(PATIENCE).unwrap();
        let all = made.of(0);
        assert_eq!(all.iter().map(ms).collect::<Vec<_>>(), (0..2 * half).map(|i| i * 1000 / FPS).collect::<Vec<_>>());
        // The second in which it changes belongs to neither.
        let bits = |from: u64, to: u64| {
            let within = all.iter().filter(|one| (from..to).contains(&ms(one)));
            within.map(|one| one.buffer.size() as f64 * 8.0).sum::<f64>() / ((to - from) as f64 / 1000.0)
        };
        let (before, after) = (bits(1000, 5000), bits(6000, 10_000));
        assert!(after < before * 0.5, "{codec}: {before:.0} then {after:.0} bits a second");
        assert_eq!(session.set_bitrate(1, Bitrate::from_kbps(400)).unwrap_err().code(), Code::InvalidField);
    }
}

/// Faster and back: the encoder is exchanged at key frames, times go on, everything decodes.
#[test]
fn presets_change_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::new(320, 180);
    for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Vp9] {
        let mut plan = rendition(codec, 320, 180, 500);
        plan.preset = Some("faster".to_owned());
        let made = Made::default();
        let mut options = options(&camera, vec![plan]);
        options.format = StreamFormat::ByteStream;
        let session = LiveSession::start(options, made.taker()).unwrap();
        assert_eq!(session.preset_steps(), 3);
        for index in 0..100 {
            match index {
                30 => session.set_preset(3).unwrap(),
                70 => session.set_preset(0).unwrap(),
                _ => {}
            }
            assert_eq!(session.push(&camera.picture(index)).unwrap(), Pushed::Taken);
        }
        session.end(PATIENCE).unwrap();
        let times: Vec<_> = made.of(0).iter().map(ms).collect();
        assert_eq!(times, (0..100).map(|index| index * 40).collect::<Vec<_>>(), "{codec}");
        assert_eq!(made.keys(0), [0, 1000, 2000, 3000], "{codec}");
        let path = dir.path().join(format!("{codec}.mkv"));
        if codec == VideoCodec::Vp9 {
            pack(&session.tracks()[0], &made.of(0), &path);
        } else {
            let bytes: Vec<u8> =
                made.of(0).iter().flat_map(|one| one.buffer.map_readable().unwrap().to_vec()).collect();
            std::fs::write(&path, bytes).unwrap();
        }
        let frames = ffprobe(&path, &["-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]);
        assert_eq!(frames.trim(), "100", "{codec}");
    }
}

/// What comes faster than it is taken waits outside: a push says so, and nothing is lost.
#[test]
fn a_session_that_cannot_keep_up_says_so() {
    let camera = Camera::new(320, 180);
    let (permit, permits) = mpsc::channel::<()>();
    let permits = std::sync::Mutex::new(permits);
    let made = Made::default();
    let take = made.taker();
    let session = LiveSession::start(
        options(&camera, vec![rendition(VideoCodec::H264, 320, 180, 500)]),
        Box::new(move |encoded| {
            // Until its permit is there, or nobody is left to give one.
            let _ = permits.lock().unwrap().recv();
            take(encoded);
        }),
    )
    .unwrap();
    let mut taken = 0;
    while session.push_within(&camera.picture(taken), Duration::from_millis(200)).unwrap() == Pushed::Taken {
        taken += 1;
        assert!(taken < 10, "nothing holds the caller back");
    }
    assert_eq!(session.push_within(&camera.picture(taken), Duration::ZERO).unwrap(), Pushed::Full);
    permit.send(()).unwrap();
    assert_eq!(session.push(&camera.picture(taken)).unwrap(), Pushed::Taken);
    drop(permit);
    session.end(PATIENCE).unwrap();
    assert_eq!(made.of(0).len() as u64, taken + 1);
    assert_eq!(session.push(&camera.picture(taken + 1)).unwrap_err().code(), Code::WrongState);
}

/// A source that changes its size, format and colours in the middle: the output goes on as it was.
#[test]
fn the_source_may_change() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (Camera::new(320, 180), Camera::new(720, 576));
    let plan = rendition(VideoCodec::H264, 320, 180, 500);
    let raws = (0..50).map(|index| if (20..35).contains(&index) { &large } else { &small }.picture(index));
    let (made, tracks) = run(options(&small, vec![plan]), raws);
    assert_eq!(made.keys(0), [0, 1000]);
    let path = dir.path().join("changed.mkv");
    pack(&tracks[0], &made.of(0), &path);
    assert_eq!(decoded(&path).len(), 50);
}

/// A constant rate that was asked for: jitter is gone, holes are filled, and no picture waits.
#[test]
fn a_constant_rate_is_kept() {
    let camera = Camera::new(320, 180);
    let mut plan = rendition(VideoCodec::H264, 320, 180, 500);
    plan.fps = Some(FrameRate::whole(25));
    let at = |index: u64, time: u64| camera.at(index, gst::ClockTime::from_mseconds(time));
    let raws = [0, 43, 78, 80, 122, 240, 281].into_iter().enumerate().map(|(index, time)| at(index as u64, time));
    let (made, _) = run(options(&camera, vec![plan]), raws);
    assert_eq!(made.of(0).iter().map(ms).collect::<Vec<_>>(), [0, 40, 80, 120, 160, 200, 240, 280]);
}
