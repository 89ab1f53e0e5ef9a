//! What an output cannot carry is said, and no more than that is lost.

use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::error::Code;
use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};

use crate::workbench::{Bench, Plan, VideoPlan, plan, probe};

/// Half a second of channels of which only the last one is heard; `mask` says where they belong.
fn wave(bench: &Bench, channels: u16, mask: Option<u32>) -> PathBuf {
    const RATE: u32 = 48_000;
    let samples = (0..RATE / 2).flat_map(|time| {
        let tone = (f64::from(time) * 440.0 * std::f64::consts::TAU / f64::from(RATE)).sin() * 30_000.0;
        (1..=channels).flat_map(move |number| if number == channels { tone as i16 } else { 0 }.to_le_bytes())
    });
    let samples: Vec<u8> = samples.collect();
    let size = |bytes: usize| (bytes as u32).to_le_bytes();
    let kind: u16 = if mask.is_some() { 0xfffe } else { 1 };
    let mut format = [kind, channels].map(u16::to_le_bytes).concat();
    format.extend([RATE, RATE * 2 * u32::from(channels)].map(u32::to_le_bytes).concat());
    format.extend([channels * 2, 16].map(u16::to_le_bytes).concat());
    if let Some(mask) = mask {
        format.extend([22_u16, 16].map(u16::to_le_bytes).concat());
        format.extend(mask.to_le_bytes());
        format.extend(b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let chunks = [b"WAVEfmt ", &size(format.len())[..], &format, b"data", &size(samples.len()), &samples].concat();
    let path = bench.path("in.wav");
    std::fs::write(&path, [b"RIFF", &size(chunks.len())[..], &chunks].concat()).unwrap();
    path
}

/// Whether something is heard left and right, by `ffmpeg`.
fn heard(path: &Path) -> Option<[bool; 2]> {
    let arguments = ["-f", "s16le", "-ac", "2", "-"];
    let output = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-i"]).arg(path).args(arguments).output();
    let samples = output.ok()?.stdout;
    let loudest = |side: usize| {
        let sides = samples.chunks_exact(4).map(|both| i16::from_le_bytes([both[side], both[side + 1]]).unsigned_abs());
        sides.max().unwrap_or(0)
    };
    Some([loudest(0) > 100, loudest(2) > 100])
}

#[test]
fn channels_that_nothing_places_are_all_heard() {
    let bench = Bench::new();
    let only = |codec| Plan { video: None, ..plan(Container::Mkv, VideoCodec::H264, codec) };
    for (channels, mask, codec, sides, said) in [
        (9, None, AudioCodec::Aac, [true, true], "nothing says where its 9 channels belong"),
        (12, None, AudioCodec::Aac, [true, true], "nothing says where its 12 channels belong"),
        (12, Some(0), AudioCodec::Opus, [true, true], "nothing says where its 12 channels belong"),
        (16, None, AudioCodec::Mp3, [true, true], "nothing says where its 16 channels belong"),
        (24, None, AudioCodec::Flac, [true, true], "nothing says where its 24 channels belong"),
        (64, None, AudioCodec::Aac, [true, true], "nothing says where its 64 channels belong"),
        (6, None, AudioCodec::Mp3, [false, true], "6 channels (5.1) became stereo"),
        // Left and middle, which libav does not mix.
        (2, Some(5), AudioCodec::Aac, [false, true], "taken for stereo"),
    ] {
        let what = format!("{channels} {mask:?} {codec}");
        let input = wave(&bench, channels, mask);
        let made = bench.run(&only(codec), &input, "out.mkv");
        let (report, output) = made.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(probe(&output).audio().next().unwrap().1.channels, 2, "{what}");
        let told = report.warnings.iter().any(|warning| warning.contains(said));
        assert!(told && report.warnings.len() <= 2, "{what}: {:?}", report.warnings);
        assert!((report.duration_seconds - 0.5).abs() < 0.08, "{what}: {}", report.duration_seconds);
        let Some(heard) = heard(&output) else { continue };
        assert_eq!(heard, sides, "{what}");
    }
    let error = bench.run(&only(AudioCodec::Aac), &wave(&bench, 65, None), "out.mkv").unwrap_err();
    assert_eq!(error.code(), Code::InputUnsupported);
    assert!(error.to_string().contains("the 65 channels of audio stream 0"), "{error}");
    assert!(error.hint_text().contains("audio_streams"), "{}", error.hint_text());
}

#[test]
fn transparency_that_is_lost_is_said() {
    let bench = Bench::new();
    let vpx = "-auto-alt-ref 0 -deadline realtime -cpu-used 8 -c:v";
    for (name, codec, is_lost) in [
        ("vp8.webm", format!("{vpx} libvpx -pix_fmt yuva420p"), true),
        ("vp9.webm", format!("{vpx} libvpx-vp9 -pix_fmt yuva420p"), true),
        ("opaque.webm", format!("{vpx} libvpx-vp9 -pix_fmt yuv420p"), false),
        ("planes.mkv", "-c:v ffv1 -pix_fmt yuva420p".to_owned(), true),
        ("opaque.mkv", "-c:v ffv1 -pix_fmt yuv420p".to_owned(), false),
        ("pixels.mov", "-c:v qtrle -pix_fmt argb".to_owned(), true),
        ("opaque.mov", "-c:v qtrle -pix_fmt rgb24".to_owned(), false),
        ("grey.mkv", "-c:v png -pix_fmt ya8".to_owned(), true),
        ("deep.mov", "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le".to_owned(), true),
    ] {
        let source = "-f lavfi -i testsrc2=s=192x108:r=25:d=0.2:alpha=128,format=rgba";
        let Some(input) = bench.ffmpeg(name, &format!("{source} {codec}")) else { return };
        let work = plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac);
        let (report, _) = bench.run(&work, &input, "out.mp4").unwrap();
        let said = report.warnings.iter().any(|warning| warning.contains("transparency"));
        assert_eq!(said, is_lost, "{name}: {:?}", report.warnings);
    }
    // A copy keeps it where the container can.
    let is_transparent = |path: &Path| {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-c:v", "libvpx-vp9", "-i"]).arg(path);
        command.args(["-frames:v", "1", "-vf", "format=yuva420p,extractplanes=a", "-f", "rawvideo", "-"]);
        let layer = command.output().unwrap().stdout;
        assert_eq!(layer.len(), 192 * 108);
        layer.iter().any(|alpha| (100..150).contains(alpha))
    };
    for (container, is_kept) in [(Container::Webm, true), (Container::Mkv, true), (Container::Mp4, false)] {
        let work = Plan { video: Some(VideoPlan::Copy), ..plan(container, VideoCodec::Vp9, AudioCodec::Opus) };
        let (report, output) = bench.run(&work, &bench.path("vp9.webm"), "copy").unwrap();
        assert_eq!(is_transparent(&output), is_kept, "{container}");
        assert_eq!(report.warnings.is_empty(), is_kept, "{container}: {:?}", report.warnings);
    }
}
