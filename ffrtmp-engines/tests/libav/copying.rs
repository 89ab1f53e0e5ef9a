//! Copied streams: every packet, at its own time, or a refusal that says why.

use std::path::Path;
use std::process::Command;

use ffrtmp_core::error::Code;
use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};
use ffrtmp_core::units::Seconds;

use crate::workbench::{AudioPlan, Bench, Plan, VideoPlan, frames, plan, probe};

const PICTURES: &str = "-f lavfi -i testsrc2=s=192x108:r=25:d=1";
const TONE: &str = "-f lavfi -i sine=r=48000:d=1";
const REORDERED: &str = "-c:v libx264 -preset ultrafast -bf 3 -b_strategy 0 -x264-params b-pyramid=normal";

fn copy(container: Container) -> Plan {
    Plan {
        video: Some(VideoPlan::Copy),
        audio: Some(AudioPlan::Copy),
        ..plan(container, VideoCodec::H264, AudioCodec::Aac)
    }
}

/// Times of presentation of the video packets in milliseconds, in the order of decoding.
fn times(path: &Path) -> Vec<i64> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // Programs of a transport stream leave empty lines behind.
    let lines = text.lines().map(|line| line.trim_matches(',')).filter(|line| !line.is_empty());
    let seconds = lines.map(|line| line.parse::<f64>().unwrap());
    seconds.map(|seconds| (seconds * 1000.0).round() as i64).collect()
}

fn since_first(times: &[i64]) -> Vec<i64> {
    times.iter().map(|time| time - times[0]).collect()
}

#[test]
fn reordered_pictures_keep_their_times_and_their_order() {
    let bench = Bench::new();
    // A Matroska file holds no decoding times, an MP4 does.
    for name in ["in.mkv", "in.mp4"] {
        let Some(input) = bench.ffmpeg(name, &format!("{PICTURES} {TONE} {REORDERED} -c:a aac")) else { return };
        let wanted = since_first(&times(&input));
        assert!(wanted.windows(2).any(|pair| pair[1] < pair[0]), "{name} is not reordered: {wanted:?}");
        for container in [Container::Mkv, Container::Mp4, Container::MpegTs] {
            let (report, output) = bench.run(&copy(container), &input, &format!("out.{container}")).unwrap();
            assert_eq!(since_first(&times(&output)), wanted, "{name} to {container}");
            assert_eq!(report.frames, 25, "{name} to {container}");
            assert!(report.warnings.is_empty(), "{name} to {container}: {:?}", report.warnings);
            assert_eq!(frames(&output, "v").unwrap().len(), 25, "{name} to {container}");
        }
    }
    // Fewer packets than it takes to know one decoding time.
    let short = format!("-f lavfi -i testsrc2=s=192x108:r=25:d=0.08 {REORDERED}");
    let input = bench.ffmpeg("short.mkv", &short).unwrap();
    let (_, output) = bench.run(&copy(Container::Mp4), &input, "short.mp4").unwrap();
    assert_eq!(since_first(&times(&output)), since_first(&times(&input)));
}

#[test]
fn a_stream_without_times_is_copied_at_its_frame_rate_or_not_at_all() {
    let bench = Bench::new();
    for encoder in ["libx264 -bf 0", "libx265 -x265-params bframes=0:log-level=none"] {
        let format = if encoder.contains("265") { "hevc" } else { "h264" };
        let made = format!("{PICTURES} -c:v {encoder} -preset ultrafast -f {format}");
        let Some(input) = bench.ffmpeg(&format!("plain.{format}"), &made) else { return };
        for container in [Container::Mkv, Container::Mp4, Container::MpegTs] {
            let (report, output) = bench.run(&copy(container), &input, &format!("out.{container}")).unwrap();
            let wanted: Vec<i64> = (0..25).map(|frame| frame * 40).collect();
            assert_eq!(since_first(&times(&output)), wanted, "{format} to {container}");
            assert!((report.duration_seconds - 1.0).abs() < 0.002, "{}", report.duration_seconds);
        }
    }
    // With another order of decoding nothing tells when a picture is shown.
    for (name, arguments) in [
        ("raw.h264", format!("{PICTURES} {REORDERED} -f h264")),
        ("h264.avi", format!("{PICTURES} {TONE} {REORDERED} -c:a pcm_s16le")),
        ("mpeg4.avi", format!("{PICTURES} {TONE} -c:v mpeg4 -bf 2 -c:a libmp3lame")),
    ] {
        let input = bench.ffmpeg(name, &arguments).unwrap();
        let error = bench.run(&copy(Container::Mkv), &input, "out.mkv").unwrap_err();
        assert_eq!(error.code(), Code::InputUnsupported, "{name}: {error}");
        assert!(error.hint_text().contains("name a codec"), "{name}: {error:?}");
        assert!(!bench.path("out.mkv").exists(), "{name}");
    }
}

#[test]
fn a_track_without_sound_in_the_range_does_not_fail_the_file() {
    let bench = Bench::new();
    let late = format!("{PICTURES} -itsoffset 5 {TONE} {REORDERED} -c:a aac");
    let Some(input) = bench.ffmpeg("in.mp4", &late) else { return };
    for (container, streams) in [(Container::Mp4, 1), (Container::Mkv, 2)] {
        for base in [copy(container), plan(container, VideoCodec::H264, AudioCodec::Aac)] {
            let plan = Plan { duration: Some(Seconds::try_from(0.6).unwrap()), ..base };
            let (report, output) = bench.run(&plan, &input, &format!("out.{container}")).unwrap();
            assert_eq!(probe(&output).streams.len(), streams, "{container}");
            let told = |warning: &String| warning.contains("audio stream 1 had no sound in this range");
            assert!(report.warnings.iter().any(told), "{container}: {:?}", report.warnings);
        }
    }
    let silent = bench.ffmpeg("silent.wav", "-f lavfi -i anullsrc -t 0").unwrap();
    for plan in [copy(Container::Mkv), plan(Container::Mkv, VideoCodec::H264, AudioCodec::Aac)] {
        assert_eq!(bench.run(&plan, &silent, "out.mkv").unwrap_err().code(), Code::InputInvalid);
    }
}

#[test]
fn streams_that_containers_know_by_another_name_or_shape_are_copied() {
    let bench = Bench::new();
    let Some(layered) = bench.ffmpeg("in.mpg", &format!("{PICTURES} {TONE} -c:v mpeg2video -bf 0 -c:a mp2")) else {
        return;
    };
    let (report, output) = bench.run(&copy(Container::Mp4), &layered, "out.mp4").unwrap();
    assert_eq!((report.frames, probe(&output).audio().count()), (25, 1));
    // The container says square pixels, the codec 12:11.
    let Some(phone) = bench.ffmpeg("in.3gp", "-f lavfi -i testsrc2=s=176x144:r=25:d=1 -c:v h263 -f 3gp") else {
        return;
    };
    let (report, output) = bench.run(&copy(Container::Mkv), &phone, "out.mkv").unwrap();
    assert_eq!(report.frames, 25);
    let shape = |path: &Path| probe(path).best_video().unwrap().1.sample_aspect_ratio;
    assert_eq!(shape(&output), shape(&phone));
}
