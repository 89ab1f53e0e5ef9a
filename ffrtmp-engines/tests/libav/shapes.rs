//! Sources of every shape: size, turn, depth, tracks.

use std::path::Path;

use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};

use crate::workbench::{Bench, Plan, VideoPlan, encode, frames, pixels, plan, probe};

fn h264(width: u32, height: u32) -> Plan {
    let mut plan = plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac);
    plan.video = Some(VideoPlan::Encode(encode(VideoCodec::H264, width, height)));
    plan
}

#[test]
fn odd_sizes_become_even() {
    let bench = Bench::new();
    let Some(input) = bench.ffmpeg("in.mkv", "-f lavfi -i testsrc2=s=161x91:r=25:d=0.4 -c:v ffv1 -pix_fmt yuv444p")
    else {
        return;
    };
    for codec in VideoCodec::ALL.iter().copied() {
        let mut plan = plan(Container::Mkv, codec, AudioCodec::Aac);
        plan.video = Some(VideoPlan::Encode(encode(codec, 160, 90)));
        assert_eq!(bench.run(&plan, &input, "out.mkv").unwrap().0.frames, 10, "{codec}");
    }
}

/// The output must show the picture as a player shows the source: upright, with no matrix left.
#[test]
fn turned_sources_come_out_upright() {
    let bench = Bench::new();
    let Some(flat) = bench.ffmpeg("flat.mp4", "-f lavfi -i testsrc=s=160x96:r=25:d=0.2 -c:v libx264 -qp 10") else {
        return;
    };
    for (matrix, degrees, turn) in [
        ([0, 1, -1, 0], 90, "transpose=clock"),
        ([-1, 0, 0, -1], 180, "hflip,vflip"),
        ([0, -1, 1, 0], 270, "transpose=cclock"),
        ([1, 0, 0, -1], 0, "vflip"),
        ([0, 1, 1, 0], 90, "transpose=cclock_flip"),
        ([-1, 0, 0, 1], 180, "hflip"),
        ([0, -1, -1, 0], 270, "transpose=clock_flip"),
    ] {
        let turned = bench.path("turned.mp4");
        turn_track(&flat, &turned, matrix);
        assert_eq!(probe(&turned).best_video().unwrap().1.rotation, degrees, "{matrix:?}");
        let (width, height) = if degrees % 180 == 90 { (96, 160) } else { (160, 96) };
        let mut plan = h264(width, height);
        if let Some(VideoPlan::Encode(video)) = &mut plan.video {
            video.rate = ffrtmp_core::plan::RateControl::Quality { crf: 10.0.try_into().unwrap(), cap: None };
        }
        let (_, output) = bench.run(&plan, &turned, "out.mp4").unwrap();
        let video = probe(&output).best_video().unwrap().1.clone();
        assert_eq!((video.width, video.height, video.rotation), (width, height, 0));
        let size = 160 * 96;
        let (Some(is), Some(wanted)) = (pixels(&output, "null", size), pixels(&flat, turn, size)) else { return };
        let difference: u64 = is.iter().zip(&wanted).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(difference / (size as u64) < 4, "{matrix:?}: mean difference {}", difference / size as u64);

        plan.video = Some(VideoPlan::Copy);
        let (_, copy) = bench.run(&plan, &turned, "copy.mp4").unwrap();
        assert_eq!(probe(&copy).best_video().unwrap().1.rotation, degrees, "{matrix:?}");
    }
}

/// The frame stays and the corners go, as in `ffmpeg`.
#[test]
fn an_odd_turn_is_made_and_said() {
    let bench = Bench::new();
    let Some(flat) = bench.ffmpeg("flat.mp4", "-f lavfi -i testsrc=s=160x96:r=25:d=0.2 -c:v libx264 -qp 10") else {
        return;
    };
    let half = (f64::from(1 << 16) * std::f64::consts::FRAC_1_SQRT_2) as i32;
    for (matrix, degrees, filters) in [
        ([half, half, -half, half], 45, "rotate=45*PI/180"),
        ([-half, -half, half, -half], 225, "rotate=225*PI/180"),
        ([half, half, half, -half], 45, "vflip,rotate=45*PI/180"),
    ] {
        let turned = bench.path("turned.mp4");
        place_track(&flat, &turned, matrix);
        assert_eq!(probe(&turned).best_video().unwrap().1.rotation, degrees, "{matrix:?}");
        let mut plan = h264(160, 96);
        if let Some(VideoPlan::Encode(video)) = &mut plan.video {
            video.rate = ffrtmp_core::plan::RateControl::Quality { crf: 10.0.try_into().unwrap(), cap: None };
        }
        let (report, output) = bench.run(&plan, &turned, "out.mp4").unwrap();
        let video = probe(&output).best_video().unwrap().1.clone();
        assert_eq!((video.width, video.height, video.rotation), (160, 96, 0), "{matrix:?}");
        let size = 160 * 96;
        let (Some(is), Some(wanted)) = (pixels(&output, "null", size), pixels(&flat, filters, size)) else { return };
        let difference: u64 = is.iter().zip(&wanted).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(difference / (size as u64) < 4, "{matrix:?}: mean difference {}", difference / size as u64);
        let said = report.warnings.iter().any(|warning| warning.contains(&format!("turned by {degrees} degrees")));
        assert!(said, "{matrix:?}: {:?}", report.warnings);
    }
}

/// Writes the four numbers that turn a picture into the header of the only track of an MP4 file:
/// the options of `ffmpeg` for this differ between its versions.
pub(crate) fn turn_track(flat: &Path, turned: &Path, matrix: [i32; 4]) {
    place_track(flat, turned, matrix.map(|number| number << 16));
}

/// The same with numbers of 16 bits before and behind the point.
fn place_track(flat: &Path, turned: &Path, matrix: [i32; 4]) {
    /// Of the matrix, behind the name of the box.
    const OFFSET: usize = 44;
    let mut bytes = std::fs::read(flat).unwrap();
    let name = bytes.windows(4).position(|window| window == b"tkhd").unwrap();
    for (index, number) in [0, 1, 3, 4].into_iter().zip(matrix) {
        let at = name + OFFSET + index * 4;
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    std::fs::write(turned, bytes).unwrap();
}

#[test]
fn ten_bits_stay_where_the_codec_has_them() {
    let bench = Bench::new();
    // Old versions take the tags of the encoder, new ones those of the pictures.
    let source = "-f lavfi -i testsrc2=s=160x96:r=25:d=0.2 \
                  -vf format=yuv420p10le,setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc \
                  -c:v libx265 -x265-params log-level=none -pix_fmt yuv420p10le \
                  -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv";
    let Some(input) = bench.ffmpeg("in.mp4", source) else { return };
    let wanted = ["bt2020", "smpte2084", "bt2020nc"];
    assert_eq!(tags(&input), wanted, "source");
    for (codec, format) in [
        (VideoCodec::H264, "yuv420p"),
        (VideoCodec::H265, "yuv420p10le"),
        (VideoCodec::Vp9, "yuv420p10le"),
        (VideoCodec::Av1, "yuv420p10le"),
    ] {
        let mut plan = plan(Container::Mp4, codec, AudioCodec::Aac);
        plan.video = Some(VideoPlan::Encode(encode(codec, 160, 96)));
        let (_, output) = bench.run(&plan, &input, "out.mp4").unwrap();
        let video = probe(&output).best_video().unwrap().1.clone();
        assert_eq!(video.pixel_format.as_deref(), Some(format), "{codec}");
        assert_eq!(tags(&output), wanted, "{codec}");
    }
}

fn tags(path: &Path) -> [String; 3] {
    let video = probe(path).best_video().unwrap().1.clone();
    [video.color_primaries, video.color_transfer, video.color_space].map(Option::unwrap_or_default)
}

#[test]
fn anamorphic_full_range_and_rgb_sources() {
    let bench = Bench::new();
    let cases = [
        ("-f lavfi -i testsrc2=s=160x96:r=25:d=0.2 -vf setsar=4/3 -c:v libx264", "tv"),
        ("-f lavfi -i testsrc2=s=160x96:r=25:d=0.2 -c:v libx264 -pix_fmt yuvj420p", "pc"),
        ("-f lavfi -i testsrc2=s=160x96:r=25:d=0.2 -c:v ffv1 -pix_fmt bgr0", "tv"),
    ];
    for (index, (arguments, range)) in cases.into_iter().enumerate() {
        let Some(input) = bench.ffmpeg("in.mkv", arguments) else { return };
        let mut plan = h264(160, 96);
        let Some(VideoPlan::Encode(video)) = &mut plan.video else { unreachable!() };
        video.sample_aspect_ratio = probe(&input).best_video().unwrap().1.sample_aspect_ratio;
        let aspect = video.sample_aspect_ratio;
        let (_, output) = bench.run(&plan, &input, "out.mp4").unwrap();
        let video = probe(&output).best_video().unwrap().1.clone();
        assert_eq!(
            (video.sample_aspect_ratio, video.pixel_format.as_deref()),
            (aspect, Some(if range == "pc" { "yuvj420p" } else { "yuv420p" }))
        );
        if index == 0 {
            assert_eq!((aspect.num, aspect.den), (4, 3));
        } else {
            assert_eq!(video.color_range.as_deref(), Some(range), "case {index}");
        }
    }
}

#[test]
fn all_audio_tracks_with_language_and_layout() {
    let bench = Bench::new();
    let source = "-f lavfi -i testsrc2=s=192x108:r=25:d=0.6 -f lavfi -i sine=r=44100:d=0.6 -f lavfi -i sine=f=880:r=48000:d=0.6 \
                  -map 0 -map 1 -map 2 -c:v libx264 -c:a:0 aac -c:a:1 ac3 -ac:a:0 1 -ac:a:1 6 \
                  -metadata:s:a:0 language=deu -metadata:s:a:1 language=fra -metadata title=Probe";
    let Some(input) = bench.ffmpeg("in.mkv", source) else { return };
    for (container, codec) in [(Container::Mp4, AudioCodec::Aac), (Container::Mkv, AudioCodec::Opus)] {
        let (report, output) = bench.run(&plan(container, VideoCodec::H264, codec), &input, "out.any").unwrap();
        assert_eq!(report.warnings, Vec::<String>::new());
        let info = probe(&output);
        let tracks: Vec<_> =
            info.audio().map(|(stream, sound)| (stream.language.clone().unwrap_or_default(), sound.channels)).collect();
        let tracks: Vec<_> = tracks.iter().map(|(language, channels)| (language.as_str(), *channels)).collect();
        // Matroska and MP4 name German by either of its two codes.
        assert!(matches!(tracks[..], [("deu" | "ger", 1), ("fra" | "fre", 6)]), "{tracks:?}");
        assert_eq!(
            info.tags.iter().find(|(key, _)| key.eq_ignore_ascii_case("title")).map(|(_, title)| title.as_str()),
            Some("Probe")
        );
    }
}

/// A layout that a codec has stays; one that it has not is named when it changes.
#[test]
fn a_change_of_layout_is_said() {
    let bench = Bench::new();
    for (layout, codec, wanted) in [
        ("quad", AudioCodec::Aac, "quad"),
        ("2.1", AudioCodec::Aac, "2.1"),
        ("5.1(side)", AudioCodec::Aac, "5.1"),
        ("quad", AudioCodec::Opus, "quad"),
        ("4.0", AudioCodec::Aac, "4.0"),
        ("4.1", AudioCodec::Aac, "5.0"),
        ("3.1", AudioCodec::Aac, "4.0"),
        ("2.1", AudioCodec::Opus, "3.0"),
    ] {
        let source = format!("-f lavfi -i sine=r=48000:d=0.3 -af pan={layout}|c0=c0 -c:a flac");
        let Some(input) = bench.ffmpeg("in.mka", &source) else { return };
        let mut plan = plan(Container::Mp4, VideoCodec::H264, codec);
        plan.video = None;
        let (report, output) = bench.run(&plan, &input, "out.mp4").unwrap();
        let info = probe(&output);
        let is = info.audio().next().unwrap().1.layout.as_deref();
        assert_eq!(is, Some(wanted), "{layout} {codec}");
        let said = report.warnings.iter().any(|warning| warning.contains(layout) && warning.contains(wanted));
        assert_eq!(said, wanted != layout && layout != "5.1(side)", "{layout} {codec}: {:?}", report.warnings);
    }
}

#[test]
fn layouts_up_to_seven_point_one_survive() {
    let bench = Bench::new();
    for layout in ["mono", "stereo", "3.0", "quad", "5.0", "5.1", "5.1(side)", "6.1", "7.1"] {
        let source = format!("-f lavfi -i sine=r=48000:d=0.3 -af pan={layout}|c0=c0 -c:a pcm_s16le");
        let Some(input) = bench.ffmpeg("in.wav", &source) else { return };
        let channels = probe(&input).audio().next().unwrap().1.channels;
        for codec in [AudioCodec::Aac, AudioCodec::Opus] {
            let mut plan = plan(Container::Mkv, VideoCodec::H264, codec);
            plan.video = None;
            let (report, output) = bench.run(&plan, &input, "out.mkv").unwrap();
            assert_eq!(
                probe(&output).audio().next().unwrap().1.channels,
                channels,
                "{layout} {codec}: {:?}",
                report.warnings
            );
            assert!((report.duration_seconds - 0.3).abs() < 0.03, "{layout} {codec}: {}", report.duration_seconds);
        }
    }
}

#[test]
fn video_only_audio_only_and_a_single_frame() {
    let bench = Bench::new();
    let mut silent = plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac);
    silent.audio = None;
    let (_, input) = bench.generate(&silent, 0.4, "silent.mp4");
    assert_eq!(probe(&input).streams.len(), 1);
    assert_eq!(bench.run(&silent, &input, "again.mp4").unwrap().0.frames, 12);

    let mut deaf = plan(Container::Webm, VideoCodec::Vp9, AudioCodec::Opus);
    deaf.video = None;
    let (_, input) = bench.generate(&deaf, 0.5, "tone.webm");
    let (report, _) = bench.run(&deaf, &input, "again.webm").unwrap();
    assert!((report.duration_seconds - 0.5).abs() < 0.03, "{}", report.duration_seconds);

    for codec in VideoCodec::ALL.iter().copied() {
        let mut one = silent.clone();
        one.container = Container::Mkv;
        one.video = Some(VideoPlan::Encode(encode(codec, 192, 108)));
        let (report, output) = bench.generate(&one, 0.02, "one.mkv");
        assert_eq!(report.frames, 1, "{codec}");
        assert_eq!(bench.run(&one, &output, "one-again.mkv").unwrap().0.frames, 1, "{codec}");
        shows(&output, 1);
    }
}

#[test]
fn chapters_follow_and_interlaced_is_blended() {
    let bench = Bench::new();
    std::fs::write(bench.path("meta.txt"), ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Two\n").unwrap();
    let source = "-f lavfi -i testsrc2=s=160x96:r=50:d=0.8 -i meta.txt -map_metadata 1 -map_chapters 1 -vf tinterlace=interleave_top,fieldorder=tff -c:v libx264 -flags +ildct+ilme";
    let Some(input) = bench.ffmpeg("in.mkv", source) else { return };
    let info = probe(&input);
    assert_eq!((info.chapters, info.best_video().unwrap().1.field_order.as_str()), (2, "interlaced"));
    let before = info.best_video().unwrap().0.frames.or_else(|| frames(&input, "v").map(|times| times.len() as u64));
    let (report, output) = bench.run(&h264(160, 96), &input, "out.mp4").unwrap();
    assert_eq!(probe(&output).chapters, 2);
    assert_eq!(Some(report.frames), before);
    assert!(report.warnings.iter().any(|warning| warning.contains("interlaced")));
}

fn shows(path: &Path, count: usize) {
    if let Some(times) = frames(path, "v") {
        assert_eq!(times.len(), count, "{}", path.display());
    }
}
