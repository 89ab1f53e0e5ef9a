//! The encoder that a job asks for, what it makes, and what happens where it cannot.
//!
//! How each encoder keeps to rates and key frames is tested beside its settings; here `ffprobe`
//! reads what reached the file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use ffrtmp_core::encoding::{Hardware, Profile, VideoEncoder};
use ffrtmp_core::engine::{Control, MediaBounds, Observer, Progress, Source};
use ffrtmp_core::error::{Code, Result};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::{AudioCodec, Container};
use ffrtmp_core::plan::{Gop, RateControl, VideoEncode, VideoPlan};
use ffrtmp_core::units::Seconds;
use serde_json::Value;

use crate::workbench::{Bench, ENGINE, plan};

/// Old versions take the tags of the encoder, new ones those of the pictures.
const TAGGED: &str = "-f lavfi -i testsrc2=size=192x108:rate=25:duration=2.4 -vf format=yuv420p,\
                      setparams=range=tv:color_primaries=bt470bg:color_trc=bt470bg:colorspace=bt470bg -color_range tv \
                      -color_primaries bt470bg -color_trc gamma28 -colorspace bt470bg -c:v libx264 -preset ultrafast";

/// Remembers the lines of the job's log.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn progress(&self, _: Progress) {}

    fn log(&self, _: &str, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// Encodes the pictures of a file with one encoder.
fn run(
    bench: &Bench,
    input: &Path,
    (encoder, container): (VideoEncoder, Container),
    log: &Log,
    change: impl FnOnce(&mut VideoEncode),
) -> Result<(JobReport, PathBuf)> {
    let source = Source::File(input.to_owned());
    let mut wishes = plan(container, encoder.codec(), AudioCodec::Aac);
    wishes.audio = None;
    let mut plan = wishes.on(&source);
    let Some(VideoPlan::Encode(pictures)) = &mut plan.video else { panic!("no pictures in {}", input.display()) };
    let first = &mut pictures.renditions[0];
    first.encoder = Some(encoder);
    first.preset = Some("veryfast".to_owned());
    first.rate = RateControl::Quality { crf: 35.0.try_into().unwrap(), cap: None };
    change(first);
    let output = bench.path(&format!("{encoder}.{container}"));
    let (bounds, control) = (MediaBounds::default(), Control::default());
    let report = ENGINE.execute(&plan, &source, &output, &bounds, &control, log)?;
    Ok((report, output))
}

/// What `ffprobe` says about the stream, and the frames at which its key frames are.
fn facts(path: &Path) -> (Value, Vec<usize>) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_streams", "-show_packets", "-of", "json"])
        .arg(path)
        .output()
        .unwrap();
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packets: Vec<(f64, bool)> = all["packets"].as_array().unwrap().iter().map(shown).collect();
    packets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let keys = packets.iter().enumerate().filter(|(_, packet)| packet.1).map(|(frame, _)| frame).collect();
    (all["streams"][0].clone(), keys)
}

/// When a packet is shown, and whether it is a key frame.
fn shown(packet: &Value) -> (f64, bool) {
    (packet["pts_time"].as_str().unwrap().parse().unwrap(), packet["flags"].as_str().unwrap().contains('K'))
}

#[test]
fn every_encoder_makes_what_was_asked_for_in_every_container() {
    use VideoEncoder as E;
    let bench = Bench::new();
    let Some(input) = bench.ffmpeg("in.mp4", TAGGED) else { return };
    for (encoder, bits, profile, expected) in [
        (E::X264, 8, Some(Profile::Main), ("h264", "Main", "yuv420p")),
        (E::X264, 10, None, ("h264", "High 10", "yuv420p10le")),
        (E::X265, 8, None, ("hevc", "Main", "yuv420p")),
        (E::X265, 10, Some(Profile::Main10), ("hevc", "Main 10", "yuv420p10le")),
        (E::Vpx, 8, None, ("vp8", "0", "yuv420p")),
        (E::Vpx9, 8, None, ("vp9", "Profile 0", "yuv420p")),
        (E::Vpx9, 10, None, ("vp9", "Profile 2", "yuv420p10le")),
        (E::SvtAv1, 8, None, ("av1", "Main", "yuv420p")),
        (E::SvtAv1, 10, None, ("av1", "Main", "yuv420p10le")),
        (E::Aom, 10, None, ("av1", "Main", "yuv420p10le")),
        (E::Rav1e, 8, None, ("av1", "Main", "yuv420p")),
    ] {
        if !ENGINE_HAS.contains(&encoder.as_str().to_owned()) {
            eprintln!("skipped: no {encoder} here");
            continue;
        }
        let containers = if encoder == E::Vpx { vec![Container::Mkv] } else { vec![Container::Mp4, Container::Mkv] };
        for container in containers {
            let case = format!("{encoder} {bits} {container}");
            let (report, output) = run(&bench, &input, (encoder, container), &Log::default(), |video| {
                video.bit_depth = Some(bits);
                video.options.profile = profile;
                video.gop = Gop::Fixed(Seconds::try_from(1.0).unwrap());
            })
            .unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(report.video_encoder.as_deref(), Some(encoder.as_str()), "{case}");
            let (stream, keys) = facts(&output);
            let said = |field: &str| stream[field].as_str().unwrap_or("?").to_owned();
            assert_eq!((said("codec_name"), said("pix_fmt")), (expected.0.to_owned(), expected.2.to_owned()), "{case}");
            assert_eq!(said("profile"), expected.1, "{case}");
            assert_eq!(keys, [0, 25, 50], "{case}");
            let colors = ["color_range", "color_primaries", "color_transfer", "color_space"].map(said);
            assert_eq!(colors, ["tv", "bt470bg", "bt470bg", "bt470bg"], "{case}");
        }
    }
}

static ENGINE_HAS: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| {
    use ffrtmp_core::engine::Engine as _;
    ENGINE.capabilities().video_encoders.iter().flat_map(|(_, encoders)| encoders.clone()).collect()
});

#[test]
fn where_no_device_works_software_takes_over_and_says_why() {
    let bench = Bench::new();
    let Some(input) = bench.ffmpeg("in.mp4", TAGGED) else { return };
    if ENGINE_HAS.iter().any(|encoder| encoder.starts_with("h264_")) {
        eprintln!("skipped: a device encodes H.264 here");
        return;
    }
    let log = Log::default();
    let target = (VideoEncoder::X264, Container::Mp4);
    let (report, _) = run(&bench, &input, target, &log, |video| video.encoder = None).unwrap();
    assert_eq!(report.video_encoder.as_deref(), Some("libx264"));
    let lines = log.0.into_inner().unwrap();
    assert!(lines.iter().any(|line| line.contains("h264_nvenc: ")), "{lines:?}");

    let required = |video: &mut VideoEncode| (video.encoder, video.hardware) = (None, Hardware::Require);
    let error = run(&bench, &input, target, &Log::default(), required).unwrap_err();
    assert_eq!((error.code(), error.field_name()), (Code::CodecUnavailable, Some("parameters.hardware")), "{error}");
    assert!(error.message().contains("h264_nvenc: "), "{error}");
}

#[test]
fn an_option_that_the_encoder_has_not_stops_the_job() {
    let bench = Bench::new();
    let Some(input) = bench.ffmpeg("in.mp4", TAGGED) else { return };
    let grain = |video: &mut VideoEncode| video.options.film_grain = Some(10);
    let error = run(&bench, &input, (VideoEncoder::X264, Container::Mp4), &Log::default(), grain).unwrap_err();
    assert_eq!(error.field_name(), Some("parameters.encoder_options.film_grain"), "{error}");
    assert!(error.hint_text().contains("libsvtav1"), "{}", error.hint_text());
    assert!(!bench.path("libx264.mp4").exists());
}
#[test]
fn sound_keeps_what_each_codec_can_hold() {
    let bench = Bench::new();
    let surround = "-f lavfi -i sine=frequency=300:sample_rate=96000:duration=0.5 -af aformat=channel_layouts=5.1 \
                    -c:a pcm_s24le";
    let Some(input) = bench.ffmpeg("in.mkv", surround) else { return };
    for (codec, expected) in [
        (AudioCodec::Aac, ("aac", "96000", 6, "fltp")),
        (AudioCodec::Opus, ("opus", "48000", 6, "fltp")),
        (AudioCodec::Mp3, ("mp3", "48000", 2, "fltp")),
        (AudioCodec::Flac, ("flac", "96000", 6, "s32")),
    ] {
        let mut wishes = plan(Container::Mkv, VideoEncoder::X264.codec(), codec);
        wishes.video = None;
        let (_, output) = bench.run(&wishes, &input, &format!("{codec}.mkv")).unwrap();
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "a:0", "-show_streams", "-of", "json"])
            .arg(output)
            .output()
            .unwrap();
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let stream = &all["streams"][0];
        let said = |field: &str| stream[field].as_str().unwrap_or("?").to_owned();
        let found = (said("codec_name"), said("sample_rate"), stream["channels"].as_u64().unwrap(), said("sample_fmt"));
        let (name, rate, channels, format) = expected;
        assert_eq!(found, (name.to_owned(), rate.to_owned(), channels, format.to_owned()), "{codec}");
    }
}
