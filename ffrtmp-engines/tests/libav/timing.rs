//! Times: no frame lost, none invented, sound with the picture.

use std::path::Path;

use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};
use ffrtmp_core::plan::{AudioPlan, Plan};
use ffrtmp_core::units::Seconds;

use crate::workbench::{Bench, at, frames, plan, probe};

fn mkv(codec: VideoCodec) -> Plan {
    plan(Container::Mkv, codec, AudioCodec::Aac)
}

/// Distances between neighbours, in milliseconds.
fn steps(times: &[f64]) -> Vec<i64> {
    times.windows(2).map(|pair| ((pair[1] - pair[0]) * 1000.0).round() as i64).collect()
}

fn same_times(input: &Path, output: &Path, what: &str) {
    let (Some(wanted), Some(is)) = (frames(input, "v"), frames(output, "v")) else { return };
    assert_eq!(is.len(), wanted.len(), "{what}");
    for (a, b) in steps(&is).iter().zip(steps(&wanted)) {
        assert!((a - b).abs() <= 1, "{what}: {:?} instead of {:?}", steps(&is), steps(&wanted));
    }
}

#[test]
fn variable_frame_rate_is_kept_by_every_codec() {
    let bench = Bench::new();
    let source = "-f lavfi -i testsrc2=s=192x108:r=30:d=1 -vf select=not(mod(n\\,7))+not(mod(n\\,3)) -vsync vfr -c:v libx264 -preset ultrafast";
    let Some(input) = bench.ffmpeg("in.mkv", source) else { return };
    for codec in VideoCodec::ALL.iter().copied() {
        for container in [Container::Mp4, Container::Mkv] {
            if container.carries_video(codec) {
                let mut plan = mkv(codec);
                plan.container = container;
                let (_, output) = bench.run(&plan, &input, "out.any").unwrap();
                same_times(&input, &output, &format!("{codec} in {container}"));
            }
        }
    }
}

#[test]
fn b_frames_and_their_reordering_lose_nothing() {
    let bench = Bench::new();
    let source = "-f lavfi -i testsrc2=s=192x108:r=30000/1001:d=1.5 -c:v libx264 -bf 8 -b_strategy 0 -x264-params b-pyramid=normal";
    let Some(input) = bench.ffmpeg("in.mp4", source) else { return };
    for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Av1] {
        for container in [Container::Mp4, Container::Mkv] {
            let mut plan = mkv(codec);
            plan.container = container;
            if let Some(ffrtmp_core::plan::VideoPlan::Encode(video)) = &mut plan.video {
                video.preset = Some(if codec == VideoCodec::Av1 { "10" } else { "fast" }.to_owned());
            }
            let (report, output) = bench.run(&plan, &input, "out.any").unwrap();
            same_times(&input, &output, &format!("{codec} in {container}"));
            assert!((report.duration_seconds - 1.5015).abs() < 0.034, "{}", report.duration_seconds);
        }
    }
}

#[test]
fn clocks_that_begin_anywhere_begin_at_zero() {
    let bench = Bench::new();
    let both = "-f lavfi -i testsrc2=s=192x108:r=25:d=1 -f lavfi -i sine=r=48000:d=1 -c:v libx264 -c:a aac";
    let cases = [
        ("late.ts", format!("{both} -output_ts_offset 5000")),
        ("wrapped.ts", format!("{both} -output_ts_offset 95442.9")),
        ("edit.mp4", format!("-itsoffset 0.4 {both} -vsync passthrough")),
    ];
    for (name, arguments) in cases {
        let Some(input) = bench.ffmpeg(name, &arguments) else { return };
        for container in [Container::Mp4, Container::MpegTs] {
            let mut plan = mkv(VideoCodec::H264);
            plan.container = container;
            let (report, output) = bench.run(&plan, &input, "out.any").unwrap();
            assert_eq!(report.frames, 25, "{name}");
            let info = probe(&output);
            let limit = if container == Container::MpegTs { 1.6 } else { 0.5 };
            assert!(info.start_seconds < limit, "{name}: starts at {}", info.start_seconds);
            assert_offset(&input, &output, name);
        }
    }
}

/// The distance between the first picture and the first sound is that of the source, to within one
/// frame of the encoder.
fn assert_offset(input: &Path, output: &Path, what: &str) {
    let offset = |path: &Path| Some(frames(path, "v")?.first()? - frames(path, "a")?.first()?);
    if let (Some(was), Some(is)) = (offset(input), offset(output)) {
        assert!((was - is).abs() < 1024.0 / 44100.0 + 0.002, "{what}: {is:.4} s instead of {was:.4} s");
    }
}

#[test]
fn sound_that_begins_late_or_pauses_stays_with_the_picture() {
    let bench = Bench::new();
    let late = "-f lavfi -i testsrc2=s=192x108:r=25:d=2 -itsoffset 0.7 -f lavfi -i sine=r=44100:d=1 -c:v libx264 -preset ultrafast -c:a libopus";
    let pause = "-f lavfi -i testsrc2=s=192x108:r=25:d=2 -f lavfi -i sine=r=44100:d=2 -af aselect=not(between(t\\,0.5\\,1.2)) -c:v libx264 -preset ultrafast -c:a pcm_s16le";
    for (name, arguments) in [("late.mkv", late), ("pause.mkv", pause)] {
        let Some(input) = bench.ffmpeg(name, arguments) else { return };
        for (container, codec) in [(Container::Mp4, AudioCodec::Aac), (Container::Webm, AudioCodec::Opus)] {
            let video = container.default_video();
            let (_, output) = bench.run(&plan(container, video, codec), &input, "out.any").unwrap();
            assert_offset(&input, &output, name);
            let (Some(was), Some(is)) = (frames(&input, "a"), frames(&output, "a")) else { return };
            let (was, is) = (was.last().unwrap(), is.last().unwrap());
            assert!((was - is).abs() < 0.15, "{name}: the last sound is at {is} instead of {was}");
        }
    }
}

#[test]
fn frame_rates_are_converted_exactly() {
    let bench = Bench::new();
    let (_, input) = bench.generate(&at(mkv(VideoCodec::H264), 25, 1), 2.0, "in.mkv");
    for (num, den, count) in [(25, 1, 50), (50, 1, 100), (30, 1, 60), (10, 1, 20), (30000, 1001, 60)] {
        let (report, output) = bench.run(&at(mkv(VideoCodec::H264), num, den), &input, "out.mkv").unwrap();
        assert_eq!(report.frames, count, "{num}/{den}");
        assert!((report.duration_seconds - 2.0).abs() <= f64::from(den) / f64::from(num) + 0.03, "{num}/{den}");
        let rate = probe(&output).best_video().unwrap().1.frame_rate.unwrap();
        assert!((rate.as_f64() - f64::from(num) / f64::from(den)).abs() < 0.2, "{rate}");
    }
}

#[test]
fn a_duration_cuts_picture_and_sound_alike() {
    let bench = Bench::new();
    let (_, input) = bench.generate(&at(mkv(VideoCodec::H264), 25, 1), 2.0, "in.mkv");
    for copy in [false, true] {
        let mut plan = mkv(VideoCodec::H264);
        plan.duration = Some(Seconds::try_from(0.8).unwrap());
        if copy {
            plan.audio = Some(AudioPlan::Copy);
        }
        let (report, output) = bench.run(&plan, &input, "out.mkv").unwrap();
        assert_eq!(report.frames, 20);
        assert!((report.duration_seconds - 0.8).abs() < 0.045, "{}", report.duration_seconds);
        if let (Some(video), Some(audio)) = (frames(&output, "v"), frames(&output, "a")) {
            assert!((video.last().unwrap() - audio.last().unwrap()).abs() < 0.07, "{video:?} {audio:?}");
        }
    }
    // Longer than the source means all of it.
    let mut plan = mkv(VideoCodec::H264);
    plan.duration = Some(Seconds::try_from(9.0).unwrap());
    assert_eq!(bench.run(&plan, &input, "all.mkv").unwrap().0.frames, 50);
}

#[test]
fn missing_and_backward_times_are_repaired() {
    let bench = Bench::new();
    let Some(raw) = bench.ffmpeg("in.h264", "-f lavfi -i testsrc2=s=192x108:r=25:d=1 -c:v libx264 -bf 2 -f h264")
    else {
        return;
    };
    let (report, output) = bench.run(&mkv(VideoCodec::H264), &raw, "out.mkv").unwrap();
    assert_eq!(report.frames, 25);
    if let Some(times) = frames(&output, "v") {
        assert!(times.windows(2).all(|pair| pair[1] > pair[0]), "{times:?}");
    }
    // Two recordings one after the other, as a receiver writes them: the clock jumps back.
    for (name, offset) in [("a.ts", "9000"), ("b.ts", "100")] {
        let source = "-f lavfi -i testsrc2=s=192x108:r=25:d=1 -f lavfi -i sine=r=48000:d=1 -c:v libx264 -c:a aac";
        bench.ffmpeg(name, &format!("{source} -output_ts_offset {offset}")).unwrap();
    }
    let joined = bench.path("joined.ts");
    std::fs::write(
        &joined,
        [std::fs::read(bench.path("a.ts")).unwrap(), std::fs::read(bench.path("b.ts")).unwrap()].concat(),
    )
    .unwrap();
    let (report, _) = bench.run(&mkv(VideoCodec::H264), &joined, "out.mkv").unwrap();
    assert_eq!(report.frames, 50);
    assert!((report.duration_seconds - 2.0).abs() < 0.1, "{}", report.duration_seconds);
    assert!(report.warnings.iter().any(|warning| warning.contains("jumped")), "{:?}", report.warnings);
}
