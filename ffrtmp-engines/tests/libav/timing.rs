//! Times: no frame lost, none invented, sound with the picture.

use std::path::Path;

use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};
use ffrtmp_core::units::Seconds;

use crate::workbench::{AudioPlan, Bench, Plan, at, frames, plan, probe};

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
            if let Some(crate::workbench::VideoPlan::Encode(video)) = &mut plan.video {
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

/// What such headers say is where the file ends, not how long it is.
#[test]
fn a_late_beginning_is_no_missing_end() {
    let bench = Bench::new();
    let both = "-f lavfi -i testsrc2=s=192x108:r=25:d=2 -f lavfi -i sine=r=44100:d=2 -c:v libx264 -preset ultrafast";
    for (name, codec) in [("late.mkv", "aac"), ("late.webm", "libopus"), ("late.flv", "aac"), ("late.ts", "aac")] {
        let video = if name.ends_with("webm") { "-c:v libvpx -deadline realtime -cpu-used 8" } else { "" };
        let arguments = format!("{both} {video} -c:a {codec} -output_ts_offset 10");
        let Some(input) = bench.ffmpeg(name, &arguments) else { return };
        assert!(probe(&input).start_seconds > 9.0, "{name}");
        let (report, _) = bench.run(&mkv(VideoCodec::H264), &input, "out.mkv").unwrap();
        assert!((report.duration_seconds - 2.0).abs() < 0.1, "{name}: {}", report.duration_seconds);
        assert_eq!(report.warnings, Vec::<String>::new(), "{name}");
    }
    // One that is cut off still is.
    let whole = std::fs::read(bench.path("late.mkv")).unwrap();
    let input = bench.path("cut.mkv");
    std::fs::write(&input, &whole[..whole.len() / 2]).unwrap();
    let (report, _) = bench.run(&mkv(VideoCodec::H264), &input, "out.mkv").unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("but ends after")), "{:?}", report.warnings);
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
            let video = container.default_video().unwrap();
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
    // What lies behind the cut is not decoded, and not missed.
    let both =
        "-f lavfi -i testsrc2=s=192x108:r=25:d=1 -f lavfi -i sine=r=44100:d=4 -c:v libx264 -preset ultrafast -c:a aac";
    if let Some(longer) = bench.ffmpeg("longer.mp4", both) {
        let mut plan = mkv(VideoCodec::H264);
        plan.duration = Some(Seconds::try_from(1.5).unwrap());
        let (report, _) = bench.run(&plan, &longer, "out.mkv").unwrap();
        assert_eq!((report.frames, report.warnings), (25, Vec::new()));
        assert!((report.duration_seconds - 1.5).abs() < 0.045, "{}", report.duration_seconds);
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

#[test]
fn the_last_picture_is_held_as_long_as_the_source_says() {
    let bench = Bench::new();
    let still = "-f lavfi -i testsrc2=s=192x108:r=1/8:d=8 -c:v libx264";
    let slow = "-f lavfi -i testsrc2=s=192x108:r=1/5:d=15 -c:v libx264 -bf 2";
    let slower = "-f lavfi -i testsrc2=s=192x108:r=1/10:d=30 -c:v libx264 -bf 2";
    for (name, arguments, count, seconds) in
        [("still.mp4", still, 1, 8.0), ("slow.mp4", slow, 3, 15.0), ("slower.mkv", slower, 3, 30.0)]
    {
        let Some(input) = bench.ffmpeg(name, arguments) else { return };
        for container in [Container::Mp4, Container::Mkv] {
            let mut plan = mkv(VideoCodec::H264);
            plan.container = container;
            let (report, output) = bench.run(&plan, &input, "out.any").unwrap();
            assert_eq!(report.frames, count, "{name} in {container}");
            let is = probe(&output).duration_seconds.unwrap();
            assert!((is - seconds).abs() < 0.05, "{name} in {container}: {is} s instead of {seconds} s");
            same_times(&input, &output, name);
        }
    }
}

#[test]
fn what_is_left_out_does_not_count() {
    let bench = Bench::new();
    std::fs::write(bench.path("long.srt"), "1\n00:00:00,500 --> 00:00:08,000\nstill talking\n").unwrap();
    let both = "-f lavfi -i testsrc2=s=192x108:r=25:d=1 -f lavfi -i sine=r=48000:d=1";
    let codecs = "-map 0 -map 1 -map 2 -c:v libx264 -preset ultrafast -c:a aac";
    let cases = [
        ("subtitles.mp4", format!("{both} -i long.srt {codecs} -c:s mov_text")),
        ("second.mp4", format!("{both} -f lavfi -i testsrc2=s=64x64:r=25:d=5 {codecs}")),
    ];
    for (name, arguments) in cases {
        let Some(input) = bench.ffmpeg(name, &arguments) else { return };
        let mut plan = mkv(VideoCodec::H264);
        plan.container = Container::Mp4;
        let (report, _) = bench.run(&plan, &input, "out.mp4").unwrap();
        assert_eq!(report.frames, 25, "{name}");
        assert!((report.duration_seconds - 1.0).abs() < 0.05, "{name}: {}", report.duration_seconds);
    }
}

#[test]
fn joined_recordings_lose_neither_picture_nor_sound() {
    let bench = Bench::new();
    let part = |name: &str, format: &str, offset: f64| {
        let source = "-f lavfi -i testsrc2=s=192x108:r=25:d=2 -f lavfi -i sine=r=48000:d=2";
        let (video, audio) = if format == "mpegts" { ("libx264 -bf 2", "aac") } else { ("mpeg2video", "mp2") };
        let codecs = format!("-c:v {video} -c:a {audio} -output_ts_offset {offset} -f {format}");
        bench.ffmpeg(name, &format!("{source} {codecs}")).map(|path| std::fs::read(path).unwrap())
    };
    // Back by less than the parts are long, back to the start, far ahead, and back by seconds.
    for (format, offsets) in [
        ("mpegts", [0.0, 0.0, 0.0]),
        ("mpegts", [0.0, 1.0, 2.5]),
        ("mpegts", [0.0, 60.0, 9000.0]),
        ("mpegts", [50.0, 45.0, 0.0]),
        ("vob", [0.0, 0.0, 0.0]),
    ] {
        let mut joined = Vec::new();
        for offset in offsets {
            let Some(bytes) = part("part", format, offset) else { return };
            joined.extend(bytes);
        }
        let input = bench.path("joined");
        std::fs::write(&input, joined).unwrap();
        let mut plan = mkv(VideoCodec::H264);
        plan.container = Container::Mp4;
        let (report, output) = bench.run(&plan, &input, "out.mp4").unwrap();
        let what = format!("{format} {offsets:?}: {:?}", report.warnings);
        assert_eq!(report.frames, 150, "{what}");
        assert!((report.duration_seconds - 6.0).abs() < 0.3, "{}: {what}", report.duration_seconds);
        assert!(report.warnings.iter().any(|warning| warning.contains("jumped")), "{what}");
        let (Some(video), Some(audio)) = (frames(&output, "v"), frames(&output, "a")) else { return };
        let (video, audio) = (video.last().unwrap() + 0.04, audio.last().unwrap() + 1024.0 / 48000.0);
        assert!((video - audio).abs() < 0.2, "{video} {audio}: {what}");
        assert!(audio > 5.7, "{audio}: {what}");
    }
}

#[test]
fn sound_before_the_picture_is_sound() {
    let bench = Bench::new();
    let early = "-itsoffset -0.4 -f lavfi -i sine=r=48000:d=2 -itsoffset 0 -f lavfi -i testsrc2=s=192x108:r=25:d=1 -c:v libx264 -preset ultrafast -avoid_negative_ts disabled -c:a";
    for codec in ["aac", "libopus", "flac"] {
        let Some(input) = bench.ffmpeg("early.mkv", &format!("{early} {codec}")) else { return };
        assert!(probe(&input).start_seconds < -0.3, "{codec}");
        let (_, output) = bench.run(&mkv(VideoCodec::H264), &input, "out.mkv").unwrap();
        assert_offset(&input, &output, codec);
        let (Some(was), Some(is)) = (frames(&input, "a"), frames(&output, "a")) else { return };
        let length = |times: &[f64]| times.last().unwrap() - times[0];
        let (was, is) = (length(&was), length(&is));
        // Frames of codecs differ in length.
        assert!((was - 0.06..was + 0.1).contains(&is), "{codec}: {is} instead of {was}");
    }
}
