//! What the table must cover, each at least twice, as `ffprobe` sees it in the inputs.

use std::collections::BTreeMap;

use super::seen::Seen;

const CODECS: &str = "h264 hevc vp8 vp9 av1 mpeg4 mpeg2video mpeg1video mjpeg prores dvvideo ffv1 rawvideo theora wmv2 \
                      flv1 h263 huffyuv png gif qtrle dnxhd \
                      aac mp3 mp2 ac3 eac3 opus vorbis flac alac pcm_s16le pcm_s24le wmav2";
const CONTAINERS: &str = "mov matroska mpegts avi flv mpeg ogg mxf asf dv nut wav mp3 flac yuv4mpegpipe";
const PIXELS: &str = "yuv420p yuv422p yuv444p yuvj420p yuv420p10le yuv422p10le yuv444p10le yuv444p12le gray bgr0 gbrp yuva420p bgra rgba";
const RATES: &str = "25/1 24000/1001 30000/1001 1/1 240/1 1/2 60/1";
const TURNS: &str = "90 180 270";
const LAYOUTS: &str = "mono stereo 2.1 5.0 5.1 6.1 7.1";
const SAMPLE_RATES: &str = "8000 11025 16000 22050 32000 44100 48000 96000 192000";
const SHAPES: &str =
    "audio-only video-only several-audio several-video several-text cover chapters data interlaced anamorphic odd";

/// What is missing.
pub(super) fn gaps(sources: &[Seen]) -> Vec<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    for name in sources.iter().flat_map(names) {
        *counts.entry(name).or_default() += 1;
    }
    let axes = [
        ("codec", CODECS),
        ("container", CONTAINERS),
        ("pixels", PIXELS),
        ("rate", RATES),
        ("turn", TURNS),
        ("layout", LAYOUTS),
        ("sampled", SAMPLE_RATES),
        ("shape", SHAPES),
    ];
    let wanted =
        axes.iter().flat_map(|(axis, values)| values.split_whitespace().map(move |value| format!("{axis} {value}")));
    wanted
        .filter_map(|name| {
            let count = counts.get(&name).copied().unwrap_or(0);
            (count < 2).then(|| format!("coverage: {count} of 2 cases with {name}"))
        })
        .collect()
}

fn names(source: &Seen) -> Vec<String> {
    let mut names = vec![format!("container {}", source.format.format_name.split(',').next().unwrap_or_default())];
    for stream in &source.streams {
        names.push(format!("codec {}", stream.codec_name));
        names.extend(stream.pix_fmt.iter().map(|format| format!("pixels {format}")));
        names.extend(stream.channel_layout.iter().map(|layout| format!("layout {}", layout.replace("(side)", ""))));
        names.extend(stream.sample_rate.iter().map(|rate| format!("sampled {rate}")));
    }
    if let Some(video) = source.video() {
        names.extend(video.r_frame_rate.iter().map(|rate| format!("rate {rate}")));
        names.extend(video.rotation().iter().map(|degrees| format!("turn {}", degrees.rem_euclid(360.0))));
    }
    names.extend(shapes(source).into_iter().map(|shape| format!("shape {shape}")));
    names
}

fn shapes(source: &Seen) -> Vec<&'static str> {
    let count = |kind: &str| source.of_type(kind).len();
    let video = source.video();
    let is = |test: &dyn Fn(&super::seen::Stream) -> bool| video.is_some_and(test);
    let all = [
        ("audio-only", video.is_none()),
        ("video-only", count("audio") == 0),
        ("several-audio", count("audio") > 1),
        ("several-video", count("video") > 1),
        ("several-text", count("subtitle") > 1),
        ("cover", source.covers() > 0),
        ("chapters", source.chapters.len() > 1),
        ("data", count("data") > 0),
        (
            "interlaced",
            is(&|video| video.field_order.as_deref().is_some_and(|order| !matches!(order, "progressive" | "unknown"))),
        ),
        (
            "anamorphic",
            is(&|video| video.sample_aspect_ratio.as_deref().is_some_and(|ratio| !matches!(ratio, "1:1" | "0:1"))),
        ),
        ("odd", is(&|video| video.width % 2 == 1 && video.height % 2 == 1)),
    ];
    all.into_iter().filter_map(|(name, holds)| holds.then_some(name)).collect()
}
