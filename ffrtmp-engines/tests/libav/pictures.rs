//! What pictures look like afterwards: ladders, colours, depth, dynamic range, fields, rates.
//!
//! The judges are `ffmpeg`'s own filters and what `ffprobe` reads of the result.

use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::encoding::{Deinterlace, ToneMap};
use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source};
use ffrtmp_core::error::Result;
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};
use ffrtmp_core::plan::{Gop, PicturePlan, RateControl, VideoPlan};
use ffrtmp_core::units::{FrameRate, Resolution, Seconds};
use serde_json::Value;

use crate::workbench::{Bench, ENGINE, Listener, frames, media, plan, probe};

/// Runs a job on the pictures of a file that the caller may change.
fn run(
    bench: &Bench,
    input: &Path,
    name: &str,
    (container, codec): (Container, VideoCodec),
    change: impl FnOnce(&mut PicturePlan),
) -> Result<(JobReport, PathBuf)> {
    let source = Source::File(input.to_owned());
    let mut wishes = plan(container, codec, AudioCodec::Aac);
    wishes.audio = None;
    let mut plan = wishes.on(&source);
    let info = ENGINE.probe(&source, &MediaBounds::default()).unwrap();
    let (_, shape) = info.best_video().unwrap();
    let Some(VideoPlan::Encode(pictures)) = &mut plan.video else { panic!("no pictures in {}", input.display()) };
    let first = &mut pictures.renditions[0];
    first.size = Resolution { width: shape.width & !1, height: shape.height & !1 };
    first.rate = quality(if codec == VideoCodec::H264 { 1.0 } else { 8.0 });
    if codec == VideoCodec::Av1 {
        first.preset = Some("10".to_owned());
    }
    change(pictures);
    let output = bench.path(name);
    let (bounds, control) = (MediaBounds::default(), Control::default());
    let report = ENGINE.execute(&plan, &source, &output, &bounds, &control, &Listener::default())?;
    Ok((report, output))
}

const MP4: (Container, VideoCodec) = (Container::Mp4, VideoCodec::H264);

fn quality(crf: f64) -> RateControl {
    RateControl::Quality { crf: crf.try_into().unwrap(), cap: None }
}

/// Structural similarity of a file to what `ffmpeg` makes of another one, over all frames; the
/// filters end in the same size and format.
fn ssim(path: &Path, filter: &str, reference: &Path, wanted: &str) -> Option<f64> {
    let graph = format!("[0:v]{filter}[a];[1:v]{wanted}[b];[a][b]ssim");
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-i"])
        .arg(path)
        .arg("-i")
        .arg(reference)
        .args(["-lavfi", &graph, "-f", "null", "-"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let all = text.lines().find_map(|line| line.split_once(" All:")).map(|(_, all)| all);
    let all = all.and_then(|all| all.split(' ').next()).unwrap_or_else(|| panic!("{graph}: {text}"));
    Some(all.parse().unwrap())
}

/// What `ffprobe` says about the first video stream and its first frame.
fn facts(path: &Path) -> Option<(Value, Value)> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_streams", "-show_frames"])
        .args(["-read_intervals", "%+#1", "-of", "json"])
        .arg(path)
        .output()
        .ok()?;
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    Some((all["streams"][0].clone(), all["frames"][0].clone()))
}

/// The first picture in a raw format.
fn raw(path: &Path, filter: &str, format: &str) -> Option<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-vf", filter, "-f", "rawvideo", "-pix_fmt", format, "-"])
        .output()
        .ok()?;
    assert!(output.status.success(), "{filter}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn mean_difference(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let sum: u64 = one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len().max(1) as f64
}

/// Adds further renditions of these sizes.
fn ladder(pictures: &mut PicturePlan, sizes: &[(u32, u32)]) {
    for &(width, height) in sizes {
        let mut rung = pictures.renditions[0].clone();
        rung.name = format!("{height}p");
        rung.size = Resolution { width, height };
        pictures.renditions.push(rung);
    }
}

fn rung(output: &Path, name: &str) -> PathBuf {
    let stem = output.file_stem().unwrap().to_string_lossy().into_owned();
    output.with_file_name(format!("{stem}_{name}.{}", output.extension().unwrap().to_string_lossy()))
}

/// Scaling rung by rung looks like scaling the source.
#[test]
fn a_cascade_is_as_good_as_direct_scaling() {
    let bench = Bench::new();
    let Some(input) = media("bbb720.mp4").or_else(|| {
        bench.ffmpeg("in.mp4", "-f lavfi -i testsrc2=s=1280x720:r=25:d=1 -c:v libx264 -preset ultrafast -qp 10")
    }) else {
        return;
    };
    let (report, output) = run(&bench, &input, "out.mp4", MP4, |pictures| {
        ladder(pictures, &[(854, 480), (640, 360), (426, 240)]);
        pictures.fps = Some(FrameRate::whole(10));
    })
    .unwrap();
    let mut direct = "fps=10".to_owned();
    for (name, width, height) in [("480p", 854, 480), ("360p", 640, 360), ("240p", 426, 240)] {
        let path = rung(&output, name);
        direct = format!("fps=10,scale={width}:{height}:flags=bicubic");
        let Some(likeness) = ssim(&path, "fps=10", &input, &direct) else { return };
        assert!(likeness > 0.985, "{name}: {likeness}");
        let times = frames(&path, "v").unwrap();
        assert_eq!(times, frames(&output, "v").unwrap(), "{name}");
        assert_eq!(times.len() as u64, report.frames, "{name}");
    }
    assert!(direct.contains("240"));
}

/// The pictures are those of `ffmpeg`, and the tags say what they are.
#[test]
fn colours_keep_values_and_tags() {
    let bench = Bench::new();
    let tagged = "-color_primaries bt470bg -color_trc gamma28 -colorspace bt470bg";
    // New versions of ffmpeg take the tags of the pictures, not those of the encoder.
    let on_pictures = "setparams=color_primaries=bt470bg:color_trc=bt470bg:colorspace=bt470bg";
    let cases = [
        ("yuv420p", "", "tv", "scale=160:90", false),
        ("yuv420p", "-color_range pc", "pc", "scale=160:90:in_range=pc:out_range=pc", false),
        ("yuvj420p", "", "pc", "scale=160:90:in_range=pc:out_range=pc", false),
        ("yuv422p", tagged, "tv", "scale=160:90", true),
        ("yuv444p", "-color_range pc", "pc", "scale=160:90:in_range=pc:out_range=pc", true),
        ("yuv444p12le", "", "tv", "scale=160:90", true),
        ("gray", "-color_range pc", "pc", "scale=160:90:in_range=pc:out_range=pc", false),
        ("gbrp", "", "tv", "scale=160:90:out_color_matrix=bt709:out_range=tv", true),
        ("bgra", "", "tv", "scale=160:90:out_color_matrix=bt709:out_range=tv", true),
    ];
    for (format, tags, range, wanted, thinner) in cases {
        let source = "-f lavfi -i testsrc2=s=320x180:r=25:d=0.2";
        let codec = if format == "yuvj420p" { "mjpeg -q:v 2" } else { "ffv1" };
        let pictures =
            if tags == tagged { format!("format={format},{on_pictures}") } else { format!("format={format}") };
        let arguments = format!("{source} -vf {pictures} -c:v {codec} -pix_fmt {format} {tags} -strict -1");
        let Some(input) = bench.ffmpeg("in.mkv", &arguments) else { return };
        for codec in [VideoCodec::H264, VideoCodec::Vp9] {
            let shrink = |pictures: &mut PicturePlan| {
                pictures.renditions[0].size = Resolution { width: 160, height: 90 };
                pictures.renditions[0].bit_depth = Some(8);
            };
            let (report, output) = run(&bench, &input, "out.mkv", (Container::Mkv, codec), shrink).unwrap();
            let what = format!("{format} {tags} to {codec}: {:?}", report.warnings);
            let is = raw(&output, "null", "yuv420p").unwrap();
            // Without a conversion of the range: the numbers themselves are compared.
            let is_plain = if range == "pc" { raw(&output, "null", "yuvj420p").unwrap() } else { is };
            let plain = if range == "pc" { "yuvj420p" } else { "yuv420p" };
            let wanted = raw(&input, wanted, plain).unwrap();
            let off = mean_difference(&is_plain, &wanted);
            assert!(off < 2.5, "{what}: off by {off}");
            let video = probe(&output).best_video().unwrap().1.clone();
            assert_eq!(video.color_range.as_deref().unwrap_or("tv"), range, "{what}");
            if !tags.is_empty() && tags == tagged {
                assert_eq!(video.color_space.as_deref(), Some("bt470bg"), "{what}");
                assert_eq!(video.color_primaries.as_deref(), Some("bt470bg"), "{what}");
            } else if format == "gbrp" || format == "bgra" {
                assert_eq!(video.color_space.as_deref(), Some("bt709"), "{what}");
            }
            assert_eq!(report.warnings.iter().any(|warning| warning.contains("4:2:0")), thinner, "{what}");
            let transparent = report.warnings.iter().any(|warning| warning.contains("transparency"));
            assert_eq!(transparent, format == "bgra", "{what}");
        }
    }
}

/// VP8 cannot say that a picture has full range, so that it must not have it.
#[test]
fn a_codec_without_full_range_gets_the_limited_one() {
    let bench = Bench::new();
    let Some(input) =
        bench.ffmpeg("in.mkv", "-f lavfi -i color=white:s=64x64:r=25:d=0.2 -c:v mjpeg -q:v 2 -pix_fmt yuvj420p")
    else {
        return;
    };
    let (_, output) = run(&bench, &input, "out.webm", (Container::Webm, VideoCodec::Vp8), |_| {}).unwrap();
    let luma = raw(&output, "extractplanes=y", "gray").unwrap();
    assert!(luma.iter().all(|light| (233..=237).contains(light)), "{:?}", &luma[..8]);
}

/// Between two levels of 8 bits, pictures hold both.
#[test]
fn depth_goes_down_with_dither_and_up_on_request() {
    let bench = Bench::new();
    let half = "-f lavfi -i color=gray:s=64x64:r=25:d=0.2 -vf format=yuv420p10le,geq=lum=514:cb=512:cr=512 -c:v ffv1";
    let Some(input) = bench.ffmpeg("half.mkv", half) else { return };
    let (report, output) = run(&bench, &input, "out.mp4", MP4, |_| {}).unwrap();
    let luma = raw(&output, "extractplanes=y", "gray").unwrap();
    let mean = luma.iter().map(|light| f64::from(*light)).sum::<f64>() / luma.len() as f64;
    assert!((128.3..128.7).contains(&mean), "mean {mean}");
    assert!(report.warnings.iter().any(|warning| warning.contains("10 bits")), "{:?}", report.warnings);

    let deep = "-f lavfi -i testsrc2=s=64x64:r=25:d=0.2 -vf format=yuv420p12le -c:v ffv1 -strict -2";
    let plain = "-f lavfi -i testsrc2=s=64x64:r=25:d=0.2 -c:v ffv1 -pix_fmt yuv420p";
    for (source, wish, format) in
        [(deep, None, "yuv420p10le"), (deep, Some(8), "yuv420p"), (plain, Some(10), "yuv420p10le")]
    {
        let Some(input) = bench.ffmpeg("in.mkv", source) else { return };
        for codec in [VideoCodec::H265, VideoCodec::Av1] {
            let wish = |pictures: &mut PicturePlan| pictures.renditions[0].bit_depth = wish;
            let (_, output) = run(&bench, &input, "deep.mp4", (Container::Mp4, codec), wish).unwrap();
            let is = probe(&output).best_video().unwrap().1.pixel_format.clone();
            assert_eq!(is.as_deref(), Some(format), "{codec} of {source}");
            let likeness = ssim(&output, "format=yuv420p", &input, "format=yuv420p").unwrap();
            assert!(likeness > 0.9, "{codec} of {source}: {likeness}");
        }
    }
}

const SCREEN: &str = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)";

/// An HDR10 file as its encoder makes it: what the screen is like is only said in the pictures.
fn hdr10(bench: &Bench, name: &str, transfer: &str) -> Option<PathBuf> {
    let source = "-f lavfi -i testsrc2=s=320x180:r=25:d=0.4";
    let screen = if transfer == "smpte2084" {
        format!("master-display={SCREEN}:max-cll=1000,400:hdr10=1:")
    } else {
        String::new()
    };
    let tags = format!("-color_primaries bt2020 -color_trc {transfer} -colorspace bt2020nc -color_range tv");
    let pixels = format!(
        "format=yuv420p10le,setparams=range=tv:color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    );
    let encoder = format!("-c:v libx265 -preset ultrafast -crf 8 -x265-params {screen}repeat-headers=1:log-level=none");
    bench.ffmpeg(name, &format!("{source} -vf {pixels} {encoder} -pix_fmt yuv420p10le {tags}"))
}

/// Screen and light of a stream or frame as `ffprobe` lists them: red x, brightest white, MaxCLL.
fn screen(of: &Value) -> (Option<f64>, Option<f64>, Option<u64>) {
    let list = of["side_data_list"].as_array().cloned().unwrap_or_default();
    let fraction = |value: &Value| {
        let (num, den) = value.as_str()?.split_once('/')?;
        Some(num.parse::<f64>().ok()? / den.parse::<f64>().ok()?)
    };
    (
        list.iter().find_map(|data| fraction(&data["red_x"])),
        list.iter().find_map(|data| fraction(&data["max_luminance"])),
        list.iter().find_map(|data| data["max_content"].as_u64()),
    )
}

fn color_tags(stream: &Value) -> [&str; 3] {
    ["color_primaries", "color_transfer", "color_space"].map(|key| stream[key].as_str().unwrap_or_default())
}

#[test]
fn hdr10_and_hlg_are_kept_through_h265_and_av1() {
    let bench = Bench::new();
    for (extension, transfer) in
        [("mp4", "smpte2084"), ("mkv", "smpte2084"), ("ts", "smpte2084"), ("mp4", "arib-std-b67")]
    {
        let Some(input) = hdr10(&bench, &format!("in.{extension}"), transfer) else { return };
        for (container, codec) in [
            (Container::Mp4, VideoCodec::H265),
            (Container::Mkv, VideoCodec::H265),
            (Container::Mp4, VideoCodec::Av1),
            (Container::Mkv, VideoCodec::Av1),
        ] {
            let what = format!("{transfer} in {extension} to {codec} in {container}");
            let name = format!("out.{container}");
            let (report, output) = run(&bench, &input, &name, (container, codec), |_| {}).unwrap();
            let Some((stream, frame)) = facts(&output) else { return };
            assert_eq!(color_tags(&stream), ["bt2020", transfer, "bt2020nc"], "{what}");
            assert_eq!(stream["pix_fmt"], "yuv420p10le", "{what}");
            assert_eq!(report.warnings, Vec::<String>::new(), "{what}");
            let (stream, frame) = (screen(&stream), screen(&frame));
            if transfer != "smpte2084" {
                assert_eq!((stream, frame), ((None, None, None), (None, None, None)), "{what}");
                continue;
            }
            for (place, (red, white, light)) in [("stream", stream), ("frame", frame)] {
                assert!(red.is_some_and(|red| (red - 0.68).abs() < 0.001), "{what}: red of {place} {red:?}");
                assert!(white.is_some_and(|white| (white - 1000.0).abs() < 1.0), "{what}: {place} {white:?}");
                assert_eq!(light, Some(1000), "{what}: {place}");
            }
            // What the container says is enough for the next generation.
            let (_, again) = run(&bench, &output, &format!("again.{container}"), (container, codec), |_| {}).unwrap();
            assert_eq!(screen(&facts(&again).unwrap().0), stream, "{what}: again");
        }
        // A transport stream says nothing itself; its pictures do.
        let (_, output) = run(&bench, &input, "out.ts", (Container::MpegTs, VideoCodec::H265), |_| {}).unwrap();
        assert_eq!(screen(&facts(&output).unwrap().1).2, (transfer == "smpte2084").then_some(1000), "{transfer}");
        let (report, _) = run(&bench, &input, "flat.mp4", MP4, |_| {}).unwrap();
        assert!(report.warnings.iter().any(|warning| warning.contains("tone_map")), "{:?}", report.warnings);
    }
}

#[test]
fn tones_are_mapped_as_ffmpeg_maps_them() {
    let bench = Bench::new();
    for transfer in ["smpte2084", "arib-std-b67"] {
        let Some(input) = hdr10(&bench, "in.mp4", transfer) else { return };
        for (curve, name) in [(ToneMap::Hable, "hable"), (ToneMap::Mobius, "mobius"), (ToneMap::Reinhard, "reinhard")] {
            let (report, output) = run(&bench, &input, "out.mp4", MP4, |pictures| pictures.tone_map = curve).unwrap();
            let what = format!("{transfer} by {name}: {:?}", report.warnings);
            let Some((stream, frame)) = facts(&output) else { return };
            assert_eq!(color_tags(&stream), ["bt709", "bt709", "bt709"], "{what}");
            assert_eq!((stream["pix_fmt"].as_str(), stream["color_range"].as_str()), (Some("yuv420p"), Some("tv")));
            assert_eq!((screen(&stream), screen(&frame)), ((None, None, None), (None, None, None)), "{what}");
            assert!(report.warnings.is_empty(), "{what}");
            let peak = if transfer == "smpte2084" { 10 } else { 0 };
            let chain = format!(
                "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
                 tonemap=tonemap={name}:desat=0:peak={peak},zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
            );
            let likeness = ssim(&output, "null", &input, &chain).unwrap();
            assert!(likeness > 0.99, "{what}: {likeness}");
        }
    }
    // Ten bits on request, and the same tones in every rendition.
    let Some(input) = hdr10(&bench, "in.mp4", "smpte2084") else { return };
    let (_, output) = run(&bench, &input, "deep.mp4", (Container::Mp4, VideoCodec::H265), |pictures| {
        pictures.tone_map = ToneMap::Hable;
        pictures.renditions[0].bit_depth = Some(10);
        ladder(pictures, &[(160, 90)]);
    })
    .unwrap();
    for path in [rung(&output, "90p"), output] {
        let (stream, frame) = facts(&path).unwrap();
        assert_eq!((stream["pix_fmt"].as_str(), color_tags(&stream)), (Some("yuv420p10le"), ["bt709"; 3]));
        assert_eq!((screen(&stream), screen(&frame)), ((None, None, None), (None, None, None)));
    }
    let Some(plain) = bench.ffmpeg("plain.mp4", "-f lavfi -i testsrc2=s=64x64:r=25:d=0.2 -c:v libx264") else {
        return;
    };
    let (report, _) = run(&bench, &plain, "out.mp4", MP4, |pictures| pictures.tone_map = ToneMap::Hable).unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("standard dynamic range")), "{:?}", report.warnings);
}

/// Fields of 50 pictures a second, woven into 25 frames.
const WOVEN: &str = "-f lavfi -i testsrc2=s=192x108:r=50:d=1 -vf";

#[test]
fn fields_become_pictures_by_choice() {
    let bench = Bench::new();
    for (order, weave) in
        [("tff", "tinterlace=interleave_top,fieldorder=tff"), ("bff", "tinterlace=interleave_bottom,fieldorder=bff")]
    {
        let flags = format!("-c:v libx264 -flags +ildct+ilme -x264-params {order}=1 -qp 10");
        let Some(input) = bench.ffmpeg("in.mkv", &format!("{WOVEN} {weave} {flags}")) else { return };
        for (wish, count, said) in [
            (Deinterlace::Auto, 25, "blended"),
            (Deinterlace::Frame, 25, "blended"),
            (Deinterlace::Field, 50, "each of its fields"),
            (Deinterlace::Off, 25, "as they are"),
        ] {
            let what = format!("{order} {wish:?}");
            let (report, output) = run(&bench, &input, "out.mkv", (Container::Mkv, VideoCodec::H264), |pictures| {
                pictures.deinterlace = wish;
            })
            .unwrap();
            assert_eq!(report.frames, count, "{what}");
            assert!(report.warnings.iter().any(|warning| warning.contains(said)), "{what}: {:?}", report.warnings);
            let times = frames(&output, "v").unwrap();
            let step = 1.0 / count as f64;
            let even = times.windows(2).all(|pair| (pair[1] - pair[0] - step).abs() < 0.0015);
            assert!(even && times[0].abs() < 0.0015, "{what}: {times:?}");
            assert!((report.duration_seconds - 1.0).abs() < 0.021, "{what}: {}", report.duration_seconds);
            let judge = match wish {
                Deinterlace::Off => "null",
                Deinterlace::Field => "bwdif=mode=send_field:deint=all",
                Deinterlace::Auto | Deinterlace::Frame => "bwdif=mode=send_frame:deint=all",
            };
            let likeness = ssim(&output, "null", &input, judge).unwrap();
            assert!(likeness > 0.99, "{what}: {likeness}");
        }
    }
}

/// Neither the container nor the first pictures say that fields come later.
#[test]
fn fields_are_found_where_they_begin() {
    let bench = Bench::new();
    let whole = "-f lavfi -i testsrc2=s=192x108:r=25:d=1 -c:v libx264 -bf 0 -qp 10";
    let woven =
        format!("{WOVEN} tinterlace=interleave_top,fieldorder=tff -c:v libx264 -bf 0 -flags +ildct+ilme -qp 10");
    let (Some(whole), Some(woven)) =
        (bench.ffmpeg("whole.ts", whole), bench.ffmpeg("woven.ts", &format!("{woven} -output_ts_offset 1")))
    else {
        return;
    };
    let joined = bench.path("joined.ts");
    std::fs::write(&joined, [std::fs::read(whole).unwrap(), std::fs::read(&woven).unwrap()].concat()).unwrap();
    let (report, output) = run(&bench, &joined, "out.mkv", (Container::Mkv, VideoCodec::H264), |pictures| {
        ladder(pictures, &[(96, 54)]);
    })
    .unwrap();
    assert_eq!(report.frames, 50, "{:?}", report.warnings);
    assert!(report.warnings.iter().any(|warning| warning.contains("interlaced")), "{:?}", report.warnings);
    for path in [rung(&output, "54p"), output.clone()] {
        let times = frames(&path, "v").unwrap();
        assert_eq!(times.len(), 50);
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 0.04).abs() < 0.0015), "{times:?}");
    }
    let likeness = ssim(&output, "trim=start_frame=25,setpts=N/25/TB", &woven, "bwdif=mode=send_frame,setpts=N/25/TB");
    assert!(likeness.unwrap() > 0.98, "{likeness:?}");
}

#[test]
fn a_constant_rate_has_the_frames_of_ffmpeg() {
    let bench = Bench::new();
    let uneven = "-f lavfi -i testsrc2=s=192x108:r=30:d=2 -vf select=not(mod(n\\,7))+not(mod(n\\,3)) -vsync vfr -c:v libx264 -preset ultrafast";
    let Some(input) = bench.ffmpeg("in.mkv", uneven) else { return };
    for (num, den) in [(25, 1), (30, 1), (60, 1), (24000, 1001)] {
        let Some(wanted) = bench.ffmpeg("wanted.mkv", &format!("-i in.mkv -vf fps={num}/{den} -c:v ffv1")) else {
            return;
        };
        let rate = FrameRate::new(num, den).unwrap();
        let (report, output) = run(&bench, &input, "out.mkv", (Container::Mkv, VideoCodec::H264), |pictures| {
            pictures.fps = Some(rate);
            pictures.renditions[0].fps = Some(rate);
        })
        .unwrap();
        let (is, wanted_times) = (frames(&output, "v").unwrap(), frames(&wanted, "v").unwrap());
        assert_eq!((is.len(), report.frames), (wanted_times.len(), wanted_times.len() as u64), "{rate}");
        assert!(is[0].abs() < 0.001, "{rate}: {is:?}");
        let likeness = ssim(&output, "setpts=N/25/TB", &wanted, "setpts=N/25/TB").unwrap();
        assert!(likeness > 0.99, "{rate}: {likeness}");
    }
}

/// Every rendition has its key frames at the same times: multiples of the interval, and cuts.
#[test]
fn scene_cuts_are_key_frames_of_every_rendition() {
    let bench = Bench::new();
    let scenes = "-f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i smptebars=s=320x180:r=25:d=3 \
                  -filter_complex [0:v]trim=0:1.4[a];[1:v]trim=0:1[b];[0:v]trim=1.4:2[c];[a][b][c]concat=n=3 -c:v libx264 -qp 10";
    let scenes = scenes
        .replace("[0:v]trim=0:1.4[a]", "[0:v]split[x][y];[x]trim=0:1.4[a]")
        .replace("[0:v]trim=1.4:2", "[y]trim=1.4:2,setpts=PTS-STARTPTS,negate");
    let Some(input) = bench.ffmpeg("in.mp4", &scenes) else { return };
    let (_, output) = run(&bench, &input, "out.mp4", MP4, |pictures| {
        ladder(pictures, &[(160, 90)]);
        for rendition in &mut pictures.renditions {
            rendition.gop = Gop::FixedAndCuts(Seconds::try_from(2.0).unwrap());
        }
    })
    .unwrap();
    let keys = |path: &Path| -> Option<Vec<f64>> {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "v:0", "-skip_frame", "nokey", "-show_entries"])
            .args(["frame=best_effort_timestamp_time", "-of", "csv=p=0"])
            .arg(path)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text.lines().filter_map(|line| line.trim_matches([',', ' ']).parse().ok()).collect())
    };
    let Some(first) = keys(&output) else { return };
    for wanted in [0.0, 1.4, 2.0, 2.4] {
        assert!(first.iter().any(|time| (time - wanted).abs() < 0.001), "{wanted} is not in {first:?}");
    }
    assert_eq!(first.len(), 4, "{first:?}");
    assert_eq!(keys(&rung(&output, "90p")).unwrap(), first);
}

/// The second half of a recording has another size, another range and another matrix than the first:
/// the output keeps what it began with, and the pictures look the same.
#[test]
fn pictures_that_change_in_mid_stream_fit_the_first() {
    let bench = Bench::new();
    let part = |name: &str, size: &str, offset: f64, (matrix, range): (&str, &str)| {
        // The numbers of one red in both matrices and ranges.
        let (light, blue, red) = if offset == 0.0 { (63, 102, 240) } else { (76, 85, 255) };
        let source = format!("-f lavfi -i color=black:s={size}:r=25:d=1");
        // The tags are on the pictures too: new versions of ffmpeg would convert them otherwise.
        let pixels = format!(
            "-vf format=yuv420p,geq=lum={light}:cb={blue}:cr={red},setparams=range={range}:colorspace={matrix}"
        );
        let tags = format!("-colorspace {matrix} -color_range {range}");
        bench.ffmpeg(name, &format!("{source} {pixels} -c:v libx264 -bf 0 -qp 1 {tags} -output_ts_offset {offset}"))
    };
    let first = part("first.ts", "192x108", 0.0, ("bt709", "tv"));
    let second = part("second.ts", "320x180", 1.0, ("smpte170m", "pc"));
    let (Some(first), Some(second)) = (first, second) else { return };
    let joined = bench.path("joined.ts");
    std::fs::write(&joined, [std::fs::read(first).unwrap(), std::fs::read(second).unwrap()].concat()).unwrap();
    for rate in [None, Some(FrameRate::whole(50))] {
        let (report, output) = run(&bench, &joined, "out.mkv", (Container::Mkv, VideoCodec::H264), |pictures| {
            pictures.fps = rate;
            pictures.renditions[0].fps = rate;
        })
        .unwrap();
        let count = if rate.is_some() { 100 } else { 50 };
        assert_eq!(report.frames, count, "{rate:?}");
        let (stream, _) = facts(&output).unwrap();
        assert_eq!((stream["color_space"].as_str(), stream["color_range"].as_str()), (Some("bt709"), Some("tv")));
        for (place, format, wanted) in [
            ("0.2", "y", 63),
            ("1.6", "y", 63),
            ("0.2", "u", 102),
            ("1.6", "u", 102),
            ("0.2", "v", 240),
            ("1.6", "v", 240),
        ] {
            let samples = raw(&output, &format!("select=gte(t\\,{place}),extractplanes={format}"), "gray").unwrap();
            let middle = samples[samples.len() / 2];
            assert!(middle.abs_diff(wanted) <= 3, "{format} at {place}: {middle} instead of {wanted}, {rate:?}");
        }
    }
}

/// An odd row and column are cut off; nothing else moves.
#[test]
fn odd_sizes_lose_a_row_and_no_sharpness() {
    let bench = Bench::new();
    let odd = "-f lavfi -i testsrc2=s=161x91:r=25:d=0.2 -c:v ffv1 -pix_fmt yuv420p";
    let Some(input) = bench.ffmpeg("in.mkv", odd) else { return };
    let (_, output) = run(&bench, &input, "out.mp4", MP4, |_| {}).unwrap();
    let likeness = ssim(&output, "null", &input, "crop=160:90:0:0").unwrap();
    assert!(likeness > 0.99, "{likeness}");
}
