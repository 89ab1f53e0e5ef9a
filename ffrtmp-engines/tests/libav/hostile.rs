//! Foreign bytes: a typed error, in bounded time, and nothing left behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Unobserved};
use ffrtmp_core::error::Code;
use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};

use crate::workbench::{Bench, ENGINE, plan, probe};

/// Probing and transcoding both answer within the time that the system promises.
fn refused(input: &Path, bounds: &MediaBounds) -> Code {
    let bench = Bench::new();
    let started = Instant::now();
    let source = Source::File(input.to_owned());
    let wanted = plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac);
    let probed = ENGINE.probe(&source, bounds).err().map(|error| error.code());
    let output = bench.path("out.mp4");
    let run =
        ENGINE.execute(&wanted.on(&source), &source, &output, bounds, &Control::default(), &Unobserved).unwrap_err();
    assert!(probed.is_none_or(|code| code == run.code()), "{probed:?} and {run}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(run.field_name(), Some("input"), "{run}");
    assert!(!run.to_string().contains('\n'), "{run}");
    assert!(bench.is_empty());
    run.code()
}

#[test]
fn what_is_not_media_is_refused() {
    let bench = Bench::new();
    let canary = bench.path("canary");
    fs::write(&canary, "secret").unwrap();
    let secret = canary.display();
    let noise: Vec<u8> = (0..200_000_u64).map(|n| (n.wrapping_mul(6_364_136_223_846_793_005) >> 33) as u8).collect();
    let cases: Vec<(&str, Vec<u8>, &[Code])> = vec![
        ("empty.mp4", Vec::new(), &[Code::InputInvalid]),
        ("text.mp4", b"once upon a time there was a file\n".repeat(50), &[Code::InputInvalid, Code::InputUnsupported]),
        ("noise.mp4", noise, &[Code::InputInvalid, Code::InputUnsupported]),
        ("zeros.mp4", vec![0; 100_000], &[Code::InputInvalid, Code::InputUnsupported]),
        ("hls.mp4", format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n").into(), &[Code::InputUnsupported]),
        ("self.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nself.mp4\n".to_vec(), &[Code::InputUnsupported]),
        ("concat.mp4", format!("ffconcat version 1.0\nfile '{secret}'\n").into(), &[Code::InputUnsupported]),
        ("sdp.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n".to_vec(), &[Code::InputUnsupported, Code::InputInvalid]),
        ("dash.mp4", b"<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"></MPD>".to_vec(), &[Code::InputUnsupported, Code::InputInvalid]),
        ("subs.mp4", b"1\n00:00:00,000 --> 00:00:02,000\nHello\n\n2\n00:00:03,000 --> 00:00:04,000\nYou\n".to_vec(), &[Code::InputUnsupported, Code::InputInvalid]),
    ];
    for (name, bytes, codes) in cases {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        let code = refused(&path, &MediaBounds::default());
        assert!(codes.contains(&code), "{name}: {code}");
    }
    assert_eq!(refused(&bench.path("missing.mp4"), &MediaBounds::default()), Code::InputNotFound);
    assert_eq!(refused(&bench.path(""), &MediaBounds::default()), Code::InputUnreadable);
    let fifo = bench.path("fifo.mp4");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(refused(&fifo, &MediaBounds::default()), Code::InputUnreadable);
    assert_eq!(refused(Path::new("/dev/zero"), &MediaBounds::default()), Code::InputUnreadable);
}

#[test]
fn truncated_files_are_refused() {
    let bench = Bench::new();
    let (_, whole) = bench.generate(&plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac), 4.0, "whole.mp4");
    let bytes = fs::read(&whole).unwrap();
    for percent in [1, 10, 50, 80] {
        let cut = bench.path("cut.mp4");
        fs::write(&cut, &bytes[..bytes.len() * percent / 100]).unwrap();
        assert_eq!(refused(&cut, &MediaBounds::default()), Code::InputInvalid, "{percent} %");
    }
    // An index at the end that was never written.
    if let Some(late) = bench.ffmpeg("late.mp4", "-i whole.mp4 -c copy") {
        let bytes = fs::read(&late).unwrap();
        fs::write(&late, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(refused(&late, &MediaBounds::default()), Code::InputInvalid);
    }
}

#[test]
fn damaged_bytes_never_crash_or_hang() {
    let bench = Bench::new();
    for (container, video, audio) in [
        (Container::Mp4, VideoCodec::H264, AudioCodec::Aac),
        (Container::Webm, VideoCodec::Vp9, AudioCodec::Opus),
        (Container::MpegTs, VideoCodec::H265, AudioCodec::Aac),
    ] {
        let (_, whole) = bench.generate(&plan(container, video, audio), 0.6, "whole");
        let bytes = fs::read(&whole).unwrap();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        for round in 0..25 {
            let mut damaged = bytes.clone();
            // Headers are where the interesting mistakes are.
            let reach = if round % 2 == 0 { damaged.len().min(2000) } else { damaged.len() };
            for _ in 0..=random() % 20 {
                let position = random() % reach;
                damaged[position] = random() as u8;
            }
            let input = bench.path("damaged");
            fs::write(&input, damaged).unwrap();
            let started = Instant::now();
            let output = bench.path("out");
            let wanted = plan(Container::Mkv, VideoCodec::H264, AudioCodec::Aac);
            let source = Source::File(input);
            let run = ENGINE.execute(
                &wanted.on(&source),
                &source,
                &output,
                &MediaBounds::default(),
                &Control::default(),
                &Unobserved,
            );
            assert!(started.elapsed() < Duration::from_secs(10), "{container} {round}");
            match run {
                Ok(_) => assert!(output.is_file()),
                Err(error) => {
                    assert!(
                        error.code().as_str().starts_with("input_"),
                        "{container} {round}: {} {error}",
                        error.code()
                    );
                    assert!(!output.exists());
                }
            }
        }
    }
}

#[test]
fn bounds_on_media_hold() {
    let bench = Bench::new();
    let (_, input) = bench.generate(&plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac), 0.5, "in.mp4");
    let bounds = MediaBounds::default();
    assert_eq!(refused(&input, &MediaBounds { max_pixels: 100 * 100, ..bounds }), Code::InputTooLarge);
    assert_eq!(refused(&input, &MediaBounds { max_streams: 1, ..bounds }), Code::InputTooLarge);
    assert_eq!(
        refused(&input, &MediaBounds { max_duration: Duration::from_millis(200), ..bounds }),
        Code::InputTooLarge
    );
    assert_eq!(refused(&input, &MediaBounds { max_probe: Duration::ZERO, ..bounds }), Code::InputInvalid);
    assert!(probe(&input).best_video().is_some());
}

#[test]
fn pictures_beyond_the_bound_are_refused_whoever_tells_their_size() {
    let bench = Bench::new();
    let small = MediaBounds { max_pixels: 100 * 100, ..MediaBounds::default() };
    let gif = b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b";
    fs::write(bench.path("giant.gif"), gif).unwrap();
    let mut cases = vec![(bench.path("giant.gif"), MediaBounds::default())];
    for (name, codec) in [
        ("jpeg.mkv", "mjpeg"),
        ("raw.nut", "rawvideo"),
        ("pictures.gif", "gif"),
        ("h264.ts", "libx264"),
        ("mpeg2.mpg", "mpeg2video"),
    ] {
        let made = bench.ffmpeg(name, &format!("-f lavfi -i testsrc=s=320x240:d=0.2 -pix_fmt yuvj420p -c:v {codec}"));
        cases.extend(made.map(|path| (path, small)));
    }
    for (input, bounds) in cases {
        let error = ENGINE.probe(&Source::File(input.clone()), &bounds).expect_err(&input.display().to_string());
        assert_eq!(error.code(), Code::InputTooLarge, "{}: {error}", input.display());
        assert!(error.to_string().contains("stream 0"), "{error}");
        assert_eq!(refused(&input, &bounds), Code::InputTooLarge, "{}", input.display());
    }
}

#[test]
fn a_full_disk_and_a_size_limit_are_told_apart() {
    let bench = Bench::new();
    let wanted = plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac);
    let (_, input) = bench.generate(&wanted, 2.0, "in.mp4");
    let source = Source::File(input);
    let bounds = MediaBounds { max_output_bytes: Some(8_000), ..MediaBounds::default() };
    let output = bench.path("out.mp4");
    let error =
        ENGINE.execute(&wanted.on(&source), &source, &output, &bounds, &Control::default(), &Unobserved).unwrap_err();
    assert_eq!(error.code(), Code::DiskQuotaExceeded, "{error}");
    assert!(!output.exists());
    let full = Path::new("/dev/full");
    let error = ENGINE
        .execute(&wanted.on(&source), &source, full, &MediaBounds::default(), &Control::default(), &Unobserved)
        .unwrap_err();
    assert_eq!(error.code(), Code::DiskFull, "{error}");
    assert!(full.exists());
    let nowhere = bench.path("missing/out.mp4");
    let error = ENGINE
        .execute(&wanted.on(&source), &source, &nowhere, &MediaBounds::default(), &Control::default(), &Unobserved)
        .unwrap_err();
    assert_eq!(error.code(), Code::OutputDirectoryMissing, "{error}");
}
