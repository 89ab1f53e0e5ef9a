//! Plans by table: wish, source, result.

use super::*;
use crate::media::{AudioInfo, StreamInfo, StreamKind, VideoInfo};
use crate::units::PictureSize;

mod golden;
mod tables;

fn stream(index: usize, kind: StreamKind, codec: &str, bit_rate: Option<u64>) -> StreamInfo {
    StreamInfo {
        index,
        kind,
        codec: codec.into(),
        profile: None,
        language: None,
        default: true,
        title: None,
        dispositions: Vec::new(),
        duration_seconds: None,
        start_seconds: None,
        frames: None,
        bit_rate,
        time_base: Ratio { num: 1, den: 1000 },
        video: None,
        audio: None,
    }
}

/// A picture of `width`x`height` with pixels `sar` turned by `rotation`, in H.264 at 25 fps.
fn picture(width: u32, height: u32, sar: (i32, i32), rotation: u16) -> MediaInfo {
    let video = VideoInfo {
        width,
        height,
        sample_aspect_ratio: Ratio { num: sar.0, den: sar.1 },
        frame_rate: FrameRate::new(25, 1).ok(),
        pixel_format: None,
        rotation,
        field_order: "progressive".into(),
        color_range: None,
        color_primaries: None,
        color_transfer: None,
        color_space: None,
        bit_depth: None,
        hdr: None,
        cover_art: false,
    };
    let video = StreamInfo { video: Some(video), ..stream(0, StreamKind::Video, "h264", None) };
    MediaInfo { streams: vec![video, sound("aac")], ..MediaInfo::default() }
}

fn sound(codec: &str) -> StreamInfo {
    let audio = AudioInfo { sample_rate: 48_000, channels: 2, layout: None };
    StreamInfo { audio: Some(audio), ..stream(1, StreamKind::Audio, codec, None) }
}

/// A request from a scenario, an output name, and parameters as JSON.
fn request(scenario: &str, output: &str, parameters: serde_json::Value) -> OutputRequest {
    OutputRequest {
        scenario: serde_json::from_value(scenario.into()).unwrap(),
        parameters: serde_json::from_value(parameters).unwrap(),
        container: Container::from_path(output),
    }
}

fn wish(scenario: &str) -> OutputRequest {
    request(scenario, "out.mp4", serde_json::json!({}))
}

fn encode(request: &OutputRequest, source: Option<&MediaInfo>) -> VideoEncode {
    match Plan::resolve(request, source).unwrap().video {
        Some(VideoPlan::Encode(mut pictures)) => pictures.renditions.remove(0),
        other => panic!("not an encode: {other:?}"),
    }
}

#[test]
fn pictures_are_fitted() {
    type Row = (&'static str, (u32, u32, (i32, i32), u16), &'static str, &'static str);
    let rows: &[Row] = &[
        // Asked size, source, result, pixel shape.
        ("", (1280, 720, (1, 1), 0), "1280x720", "1:1"),
        ("", (175, 143, (128, 117), 0), "174x142", "128:117"),
        ("", (176, 144, (128, 117), 90), "144x176", "117:128"),
        ("", (1280, 720, (0, 1), 0), "1280x720", "1:1"),
        ("", (1280, 720, (1, 1_000_000), 180), "1280x720", "1:1"),
        ("4k", (1280, 720, (1, 1), 0), "3840x2160", "1:1"),
        ("480p", (1280, 720, (1, 1), 0), "854x480", "1:1"),
        ("240p", (1280, 720, (1, 1), 0), "426x240", "1:1"),
        ("720p", (640, 272, (1, 1), 0), "1280x544", "1:1"),
        ("720p", (1280, 720, (1, 1), 90), "720x1280", "1:1"),
        ("360p", (1080, 1920, (1, 1), 270), "640x360", "1:1"),
        ("4k", (176, 144, (128, 117), 0), "2888x2160", "1:1"),
        ("576p", (720, 576, (64, 45), 0), "1024x576", "1:1"),
        ("1080p", (1000, 1000, (1, 1), 0), "1080x1080", "1:1"),
        ("144p", (16384, 32, (1, 1), 0), "256x16", "32:1"),
        ("854x480", (1280, 720, (1, 1), 0), "854x480", "1:1"),
        ("640x640", (1280, 720, (1, 1), 0), "640x640", "16:9"),
        ("1440x1080", (1280, 720, (1, 1), 0), "1440x1080", "4:3"),
        ("720x576", (1920, 1080, (1, 1), 90), "720x576", "9:20"),
    ];
    for (asked, (width, height, sar, rotation), size, pixel) in rows {
        let mut wishes = wish("");
        wishes.parameters.resolution = (!asked.is_empty()).then(|| asked.parse().unwrap());
        let found = encode(&wishes, Some(&picture(*width, *height, *sar, *rotation)));
        let shape = format!("{}:{}", found.sample_aspect_ratio.num, found.sample_aspect_ratio.den);
        assert_eq!((found.size.to_string().as_str(), shape.as_str()), (*size, *pixel), "{asked} of {width}x{height}");
    }
}

#[test]
fn every_named_size_keeps_the_shape_and_fills_its_box() {
    for (name, bound) in crate::units::RESOLUTION_NAMES {
        for (width, height, rotation) in
            [(1920, 1080, 0), (640, 480, 0), (853, 1279, 90), (2048, 858, 180), (99, 301, 270)]
        {
            let mut wishes = wish("");
            wishes.parameters.resolution = Some(PictureSize::Bound(*bound));
            let size = encode(&wishes, Some(&picture(width, height, (1, 1), rotation))).size;
            let (width, height) = if rotation % 180 == 90 { (height, width) } else { (width, height) };
            let bound = if height > width { bound.turned() } else { *bound };
            assert!(size.width.is_multiple_of(2) && size.height.is_multiple_of(2), "{name}: {size}");
            assert!(size.width <= bound.width && size.height <= bound.height, "{name}: {size}");
            assert!(size.width == bound.width || size.height == bound.height, "{name}: {size} of {width}x{height}");
            let off = f64::from(size.width) - f64::from(size.height) * f64::from(width) / f64::from(height);
            assert!(off.abs() <= 2.0 + 2.0 * f64::from(width) / f64::from(height), "{name}: {size} off by {off}");
        }
    }
}

#[test]
fn scenarios_give_what_they_name_on_generated_and_real_input() {
    let real = picture(1280, 720, (1, 1), 0);
    for (scenario, output, generated, of_real, fps, codec) in [
        ("4K60-h265", "o.mp4", "3840x2160", "3840x2160", Some(60), VideoCodec::H265),
        ("1080p30-h264", "o.mp4", "1920x1080", "1920x1080", Some(30), VideoCodec::H264),
        ("720p30-vp9", "o.webm", "1280x720", "1280x720", Some(30), VideoCodec::Vp9),
        ("live-4k", "o.mp4", "3840x2160", "3840x2160", None, VideoCodec::H264),
        ("test1", "o.mp4", "1280x720", "1280x720", None, VideoCodec::H264),
    ] {
        let wishes = request(scenario, output, serde_json::json!({}));
        let made = encode(&wishes, None);
        assert_eq!((made.size.to_string().as_str(), made.codec), (generated, codec), "{scenario}");
        assert_eq!(made.fps, Some(FrameRate::whole(fps.unwrap_or(30))), "{scenario}");
        let made = encode(&wishes, Some(&real));
        assert_eq!((made.size.to_string().as_str(), made.codec), (of_real, codec), "{scenario}");
        assert_eq!(made.fps, fps.map(FrameRate::whole), "{scenario}: a real source keeps its timing");
    }
    let wins = request("720p30-vp9", "", serde_json::json!({"resolution": "360p", "fps": 50, "codec": "av1"}));
    let made = encode(&wins, Some(&real));
    assert_eq!(
        (made.size.to_string(), made.fps, made.codec),
        ("640x360".into(), Some(FrameRate::whole(50)), VideoCodec::Av1)
    );
}

#[test]
fn containers_and_codecs() {
    let source = picture(640, 360, (1, 1), 0);
    for (scenario, output, container, video, audio) in [
        ("transcode", "", "mp4", "h264", "aac"),
        ("transcode", "a.webm", "webm", "vp9", "opus"),
        ("transcode", "a.ts", "ts", "h264", "aac"),
        ("720p-vp9", "", "webm", "vp9", "opus"),
        ("720p-vp8", "", "webm", "vp8", "opus"),
        ("720p-av1", "", "mp4", "av1", "aac"),
        ("720p-vp9", "a.mp4", "mp4", "vp9", "aac"),
        ("720p-vp8", "a.mkv", "mkv", "vp8", "aac"),
    ] {
        let plan = Plan::resolve(&request(scenario, output, serde_json::json!({})), Some(&source)).unwrap();
        let encode = plan.renditions().first().unwrap_or_else(|| panic!("{scenario}"));
        let AudioWork::Encode(AudioEncode { codec, .. }) = plan.audio[0].work else { panic!("{scenario}") };
        let found = (plan.container.as_str(), encode.codec.as_str(), codec.as_str());
        assert_eq!(found, (container, video, audio), "{scenario} to {output:?}");
    }
}

#[test]
fn streams_are_copied_where_the_container_carries_them() {
    let of = |video: &str, audio: &str| {
        let mut info = picture(640, 360, (1, 1), 90);
        info.streams[0].codec = video.into();
        info.streams[1].codec = audio.into();
        info
    };
    let copy = serde_json::json!({"codec": "copy", "audio_codec": "copy"});
    for (output, video, audio, found) in [
        ("a.mp4", "h264", "aac", Ok("mp4")),
        ("a.webm", "vp8", "vorbis", Ok("webm")),
        ("", "vp8", "vorbis", Ok("webm")),
        ("", "h264", "pcm_s16le", Ok("mkv")),
        ("a.mkv", "ffv1", "flac", Ok("mkv")),
        ("a.webm", "h264", "opus", Err(("parameters.codec", "h264"))),
        ("a.mp4", "h264", "vorbis", Err(("parameters.audio_codec", "vorbis"))),
        ("a.ts", "vp9", "aac", Err(("parameters.codec", "vp9"))),
        ("a.mkv", "unknown", "aac", Err(("parameters.codec", "unknown"))),
    ] {
        let result = Plan::resolve(&request("", output, copy.clone()), Some(&of(video, audio)));
        match (result, found) {
            (Ok(plan), Ok(container)) => {
                assert_eq!(plan.container.as_str(), container, "{video} + {audio} to {output:?}");
                assert_eq!((plan.video, plan.audio[0].work), (Some(VideoPlan::Copy(0)), AudioWork::Copy));
            }
            (Err(error), Err((field, codec))) => {
                assert_eq!((error.code(), error.field_name()), (Code::ContainerMismatch, Some(field)));
                assert!(error.message().contains(codec) && error.hint_text().contains(".mkv"), "{error}");
            }
            (result, _) => panic!("{video} + {audio} to {output:?}: {result:?}"),
        }
    }
}

#[test]
fn wishes_that_contradict_each_other() {
    use serde_json::json;
    for (scenario, output, parameters, code, field) in [
        ("720p", "a.mp4", json!({"crf": 20, "bitrate": "2M"}), Code::InvalidField, "parameters.crf"),
        ("", "a.mp4", json!({"codec": "h264", "crf": 52}), Code::InvalidField, "parameters.crf"),
        ("", "a.mp4", json!({"codec": "copy", "resolution": "720p"}), Code::InvalidField, "parameters.codec"),
        ("720p", "a.mp4", json!({"codec": "copy"}), Code::InvalidField, "parameters.codec"),
        ("", "a.mp4", json!({"codec": "copy", "crf": 20}), Code::InvalidField, "parameters.codec"),
        ("", "a.mp4", json!({"codec": "copy", "fps": 30}), Code::InvalidField, "parameters.codec"),
        (
            "",
            "a.mp4",
            json!({"audio_codec": "copy", "audio_bitrate": "96k"}),
            Code::InvalidField,
            "parameters.audio_bitrate",
        ),
        ("", "a.mp4", json!({"resolution": "641x360"}), Code::InvalidField, "parameters.resolution"),
        ("", "a.mp4", json!({"preset": "warp"}), Code::InvalidField, "parameters.preset"),
        ("", "a.mp4", json!({"preset": "5"}), Code::InvalidField, "parameters.preset"),
        ("av1", "a.mp4", json!({"preset": "14"}), Code::InvalidField, "parameters.preset"),
        ("vp9", "a.webm", json!({"preset": "9"}), Code::InvalidField, "parameters.preset"),
        ("720p-h264", "a.webm", json!({}), Code::ContainerMismatch, "scenario"),
        ("720p-vp8", "a.mp4", json!({}), Code::ContainerMismatch, "scenario"),
        ("", "a.webm", json!({"codec": "h265"}), Code::ContainerMismatch, "parameters.codec"),
        ("", "a.webm", json!({"audio_codec": "aac"}), Code::ContainerMismatch, "parameters.audio_codec"),
        ("", "a.mp4", json!({"ladder": "auto", "bitrate": "3M"}), Code::InvalidField, "parameters.bitrate"),
        ("", "a.mp4", json!({"bitrate": "3M", "max_bitrate": "1M"}), Code::InvalidField, "parameters.max_bitrate"),
        ("", "a.mp4", json!({"rate_mode": "cbr"}), Code::InvalidField, "parameters.rate_mode"),
        ("", "a.mp4", json!({"buffer_size": "1M"}), Code::InvalidField, "parameters.buffer_size"),
        ("", "a.mp4", json!({"stills": {"sprite_columns": 4}}), Code::InvalidField, "parameters.stills.sprite_columns"),
        ("", "a.webm", json!({"audio_sample_rate": 44100}), Code::InvalidField, "parameters.audio_sample_rate"),
        (
            "",
            "a.m3u8",
            json!({"segment_duration": 3, "keyframe_interval": 7}),
            Code::InvalidField,
            "parameters.keyframe_interval",
        ),
        ("", "a.mpd", json!({"segment_type": "ts"}), Code::InvalidField, "parameters.segment_type"),
        ("", "a.mp4", json!({"segment_type": "ts"}), Code::InvalidField, "parameters.segment_type"),
        ("vp9", "a.m3u8", json!({"segment_type": "ts"}), Code::ContainerMismatch, "parameters.segment_type"),
        ("720p", "a.mp3", json!({}), Code::InvalidField, "parameters.resolution"),
        ("", "a.mp4", json!({"bit_depth": 9}), Code::InvalidField, "parameters.bit_depth"),
        ("", "a.mp4", json!({"two_pass": true}), Code::InvalidField, "parameters.two_pass"),
        ("", "a.mp4", json!({"encoder": "libx265", "codec": "h264"}), Code::InvalidField, "parameters.encoder"),
        ("", "a.mp4", json!({"codec": "copy", "ladder": "auto"}), Code::InvalidField, "parameters.codec"),
        ("", "a.mp4", json!({"container": "ts", "codec": "av1"}), Code::ContainerMismatch, "parameters.codec"),
    ] {
        let shown = format!("{scenario} {output} {parameters}");
        let error = request(scenario, output, parameters).check().expect_err(&shown);
        assert_eq!((error.code(), error.field_name()), (code, Some(field)), "{shown}: {error}");
    }
    for (scenario, preset) in
        [("h264", "Veryfast"), ("av1", "13"), ("vp9", "0"), ("hevc", "placebo"), ("vp8", "medium")]
    {
        let found = encode(&request(scenario, "", json!({"preset": preset})), None).preset;
        assert_eq!(found, Some(preset.to_lowercase()));
    }
}

#[test]
fn sources_without_streams_and_without_pictures() {
    let nothing = MediaInfo { streams: vec![stream(0, StreamKind::Subtitle, "srt", None)], ..MediaInfo::default() };
    assert_eq!(Plan::resolve(&wish(""), Some(&nothing)).unwrap_err().code(), Code::InputUnsupported);
    let only_sound = MediaInfo { streams: vec![sound("mp3")], ..MediaInfo::default() };
    let plan = Plan::resolve(&wish(""), Some(&only_sound)).unwrap();
    assert!(plan.video.is_none() && plan.audio.len() == 1);
    let mut silent = picture(640, 360, (1, 1), 0);
    silent.streams.truncate(1);
    assert!(Plan::resolve(&wish(""), Some(&silent)).unwrap().audio.is_empty());
    let tiny = picture(15, 3, (1, 1), 0);
    assert_eq!(Plan::resolve(&wish(""), Some(&tiny)).unwrap_err().code(), Code::InputUnsupported);
    assert_eq!(encode(&wish("720p"), Some(&tiny)).size.to_string(), "1280x256");
    for copied in ["codec", "audio_codec"] {
        let wishes = request("", "a.mkv", serde_json::json!({copied: "copy"}));
        let error = Plan::resolve(&wishes, None).unwrap_err();
        assert_eq!(error.field_name(), Some(format!("parameters.{copied}").as_str()));
    }
}

#[test]
fn quality_or_rate() {
    let bits = |rate: RateControl| match rate {
        RateControl::Average { bitrate, .. } | RateControl::Constant { bitrate, .. } => bitrate.to_string(),
        RateControl::Quality { crf, .. } => format!("crf {crf}"),
    };
    let mut known = picture(1280, 720, (1, 1), 0);
    known.streams[0].bit_rate = Some(1_200_000);
    let mut by_file = picture(1280, 720, (1, 1), 0);
    by_file.bit_rate = Some(1_300_000);
    by_file.streams[1].bit_rate = Some(100_000);
    let mut liar = picture(1280, 720, (1, 1), 0);
    liar.streams[0].bit_rate = Some(1);
    let unknown = picture(1280, 720, (1, 1), 0);
    let nothing = serde_json::json!({});
    for (scenario, output, parameters, source, expected) in [
        ("", "a.mp4", nothing.clone(), Some(&known), "crf 23"),
        ("", "a.webm", nothing.clone(), Some(&known), "crf 31"),
        ("transcode", "a.mp4", serde_json::json!({"codec": "h265"}), Some(&known), "crf 28"),
        ("transcode", "a.mp4", serde_json::json!({"crf": 18.5}), Some(&known), "crf 18.5"),
        ("1080p30-h264", "a.mp4", serde_json::json!({"crf": 18}), None, "crf 18"),
        ("1080p30-h264", "a.mp4", serde_json::json!({"bitrate": "3M"}), Some(&known), "3M"),
        ("1080p30-h264", "a.mp4", nothing.clone(), None, "5M"),
        ("transcode", "a.mp4", nothing.clone(), None, "2720k"),
        // A source that does not tell its rate gets the table's for its own frame rate.
        ("720p-h264", "a.mp4", nothing.clone(), Some(&unknown), "2370k"),
        // One that does never grows, unless the picture, the rate or the codec's hunger grows.
        ("720p-h264", "a.mp4", nothing.clone(), Some(&known), "1200k"),
        ("720p-h264", "a.mp4", nothing.clone(), Some(&by_file), "1200k"),
        ("360p-h264", "a.mp4", nothing.clone(), Some(&known), "840k"),
        ("1440p-h264", "a.mp4", nothing.clone(), Some(&known), "3394k"),
        ("720p-h265", "a.mp4", nothing.clone(), Some(&known), "1200k"),
        ("720p-h264", "a.mp4", nothing.clone(), Some(&liar), "592k"),
        ("live-stream", "a.mp4", nothing, Some(&unknown), "2370k"),
    ] {
        let found = bits(encode(&request(scenario, output, parameters.clone()), source).rate);
        assert_eq!(found, expected, "{scenario} {output} {parameters}");
    }
}

#[test]
fn the_table_grows_with_size_and_rate_and_shrinks_with_better_codecs() {
    let rows = rate::rows();
    assert_eq!(rows.len(), 18);
    for row in &rows {
        let of = |codec: VideoCodec| row.bitrates.iter().find(|(own, _)| *own == codec).map(|(_, bps)| *bps).unwrap();
        assert!(of(VideoCodec::Av1) < of(VideoCodec::H264) && of(VideoCodec::H264) < of(VideoCodec::Vp8), "{row:?}");
    }
    for pair in rows.chunks(2) {
        assert!(pair[0].bitrates[0].1 < pair[1].bitrates[0].1, "{pair:?}");
    }
}

#[test]
fn audio_rates() {
    for (parameters, output, expected) in [
        (serde_json::json!({}), "a.mp4", "128k"),
        (serde_json::json!({}), "a.webm", "96k"),
        (serde_json::json!({"audio_bitrate": "64k"}), "a.webm", "64k"),
    ] {
        match Plan::resolve(&request("", output, parameters), None).unwrap().audio[0].work {
            AudioWork::Encode(AudioEncode { bitrate, .. }) => assert_eq!(bitrate.to_string(), expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(wish("").generated_length().to_string(), "10");
}

#[test]
fn key_frames_fit_into_segments() {
    for (segment, keys) in [(1.0, 1.0), (3.0, 1.5), (5.0, 5.0 / 3.0), (6.0, 2.0), (0.7, 0.7)] {
        let made = encode(&request("", "a.m3u8", serde_json::json!({"segment_duration": segment})), None);
        let Gop::Fixed(interval) = made.gop else { panic!("{:?}", made.gop) };
        assert!((interval.value() - keys).abs() < 1e-9, "{segment}: {interval}");
    }
}
