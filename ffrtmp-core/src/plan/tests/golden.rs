//! Whole plans, as they were agreed upon: wishes and a source on one side, the plan as JSON in
//! `plan/golden/` on the other.
//!
//! `FFRTMP_GOLDEN=write cargo test -p ffrtmp-core golden` writes them anew; the difference is then
//! for a person to read.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{picture, sound, stream};
use crate::error::Result;
use crate::media::{MediaInfo, StreamInfo, StreamKind, VideoInfo};
use crate::plan::{OutputRequest, Plan};
use crate::units::{FrameRate, Ratio};

/// Name; scenario, output and parameters; the source.
type Row = (&'static str, &'static str, &'static str, Value, Option<MediaInfo>);

fn rows() -> Vec<Row> {
    vec![
        ("generated", "720p30-h264-test", "", json!({}), None),
        ("film-to-mp4", "", "out.mp4", json!({}), Some(film())),
        ("film-to-mkv", "", "out.mkv", json!({}), Some(film())),
        ("film-to-webm", "480p-vp9", "out.webm", json!({}), Some(film())),
        ("film-to-ts", "1080p30-h264", "out.ts", json!({"scene_cut": false}), Some(film())),
        ("film-copied-to-mkv", "", "out.mkv", json!({"codec": "copy", "audio_codec": "copy"}), Some(film())),
        (
            "film-in-german",
            "",
            "out.mkv",
            json!({"audio_streams": "deu", "subtitle_streams": "3,deu", "audio_channels": "stereo", "subtitle_codec": "srt"}),
            Some(film()),
        ),
        (
            "film-without-sound",
            "",
            "out.mp4",
            json!({"audio_streams": "none", "subtitle_streams": "none"}),
            Some(film()),
        ),
        ("film-all-subtitles", "", "out.mkv", json!({"subtitle_streams": "all"}), Some(film())),
        ("film-sound-to-mp3", "", "out.mp3", json!({"audio_bitrate": "192k"}), Some(film())),
        ("film-sound-to-flac", "", "out.flac", json!({"audio_streams": 2, "audio_sample_rate": 44100}), Some(film())),
        ("film-sound-to-m4a", "", "out.m4a", json!({}), Some(film())),
        ("song-to-opus", "", "out.opus", json!({}), Some(song())),
        ("song-to-mp4", "", "out.mp4", json!({"audio_channels": 1}), Some(song())),
        ("ladder-auto", "", "out.mp4", json!({"ladder": "auto"}), Some(film())),
        ("ladder-auto-of-a-phone", "", "out.mp4", json!({"ladder": "auto", "codec": "h265"}), Some(phone())),
        (
            "ladder-by-hand",
            "",
            "out.mp4",
            json!({"ladder": ["720p:3M", {"resolution": "360p", "crf": 26, "name": "small"}, "1080p"], "two_pass": true, "scene_cut": true}),
            Some(film()),
        ),
        ("hls", "", "out.m3u8", json!({"ladder": "auto", "segment_duration": 4}), Some(film())),
        ("hls-of-transport-streams", "720p-h264", "out.m3u8", json!({"segment_type": "ts"}), Some(film())),
        (
            "dash-av1",
            "",
            "out.mpd",
            json!({"ladder": "720p,360p", "codec": "av1", "keyframe_interval": 3}),
            Some(film()),
        ),
        ("cmaf", "", "out.mp4", json!({"container": "fmp4", "crf": 20, "max_bitrate": "4M"}), Some(film())),
        ("hdr-kept", "", "out.mkv", json!({"codec": "h265"}), Some(hdr())),
        ("hdr-to-sdr", "1080p-h264", "out.mp4", json!({"tone_map": "hable", "bit_depth": 8}), Some(hdr())),
        ("broadcast", "", "out.mp4", json!({"deinterlace": "frame", "timing": "constant"}), Some(broadcast())),
        (
            "constant-rate",
            "",
            "out.mp4",
            json!({"bitrate": "2M", "rate_mode": "cbr", "buffer_size": "1M", "fps": 29.97}),
            Some(film()),
        ),
        (
            "capped-average-in-two-passes",
            "1080p-vp9",
            "out.webm",
            json!({"bitrate": "2M", "max_bitrate": "3M", "two_pass": true, "preset": 4}),
            Some(film()),
        ),
        (
            "encoder-and-options",
            "",
            "out.mkv",
            json!({"codec": "av1", "encoder": "libaom-av1", "preset": "6", "encoder_options": {"tile_columns": 2, "film_grain": 10}}),
            Some(film()),
        ),
        (
            "stills",
            "360p-h264",
            "out.mp4",
            json!({"stills": {"poster": 3, "thumbnails": 10, "sprite_interval": "2"}, "chunks": "off"}),
            Some(film()),
        ),
        ("chunks", "", "out.mp4", json!({"chunks": "on", "duration": 60, "hardware": "off"}), Some(film())),
    ]
}

#[test]
fn plans_are_the_agreed_ones() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/plan/golden");
    let write = std::env::var_os("FFRTMP_GOLDEN").is_some_and(|value| value == "write");
    for (name, scenario, output, parameters, source) in rows() {
        let plan =
            plan(scenario, output, &parameters, source.as_ref()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let story = json!({ "scenario": scenario, "output": output, "parameters": parameters, "plan": plan });
        let text = format!("{}\n", serde_json::to_string_pretty(&story).expect("a plan is JSON"));
        let path = folder.join(format!("{name}.json"));
        if write {
            fs::write(&path, &text).expect("the folder can be written");
        }
        let agreed = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, agreed, "{name}: another plan than in {}", path.display());
        let read: Plan = serde_json::from_value(serde_json::from_str::<Value>(&agreed).expect("JSON")["plan"].take())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, plan, "{name}: a plan is not read as it was written");
    }
    let kept: BTreeSet<_> = fs::read_dir(&folder)
        .expect("the folder")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    let known: BTreeSet<_> = rows().iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(kept, known, "a plan in {} belongs to no row", folder.display());
}

fn plan(scenario: &str, output: &str, parameters: &Value, source: Option<&MediaInfo>) -> Result<Plan> {
    let body = json!({ "scenario": "transcode", "parameters": parameters });
    let scenario = if scenario.is_empty() { "transcode" } else { scenario }.parse()?;
    let parameters = crate::request::parse(body)?.parameters;
    Plan::resolve(&OutputRequest::for_output(scenario, parameters, Some(output)), source)
}

/// A film on disc: two languages, four subtitles, a cover and a font.
pub(super) fn film() -> MediaInfo {
    let spoken = |language: &str, stream: StreamInfo| StreamInfo { language: Some(language.into()), ..stream };
    let mut surround = spoken("eng", sound("ac3"));
    if let Some(audio) = &mut surround.audio {
        (audio.channels, audio.layout) = (6, Some("5.1".into()));
    }
    let text = |codec: &str| stream(0, StreamKind::Subtitle, codec, None);
    let cover = StreamInfo {
        video: picture(600, 800, (1, 1), 0).streams[0]
            .video
            .clone()
            .map(|video| VideoInfo { cover_art: true, ..video }),
        ..stream(0, StreamKind::Video, "mjpeg", None)
    };
    let mut info = picture(1920, 1080, (1, 1), 0);
    info.streams.truncate(1);
    info.streams[0].bit_rate = Some(8_000_000);
    info.streams.extend([
        surround,
        spoken("deu", sound("aac")),
        spoken("eng", text("subrip")),
        spoken("deu", text("ass")),
        text("hdmv_pgs_subtitle"),
        cover,
        stream(0, StreamKind::Attachment, "ttf", None),
    ]);
    for (index, stream) in info.streams.iter_mut().enumerate() {
        stream.index = index;
    }
    info.duration_seconds = Some(5400.0);
    info
}

/// An upright film of a phone.
fn phone() -> MediaInfo {
    let mut info = picture(1280, 720, (1, 1), 90);
    info.duration_seconds = Some(12.0);
    info
}

/// Ten bits, perceptual quantiser, as cameras and discs have it.
fn hdr() -> MediaInfo {
    let mut info = picture(3840, 2160, (1, 1), 0);
    info.streams[0].codec = "hevc".into();
    if let Some(video) = &mut info.streams[0].video {
        video.pixel_format = Some("yuv420p10le".into());
        video.color_range = Some("tv".into());
        video.color_primaries = Some("bt2020".into());
        video.color_transfer = Some("smpte2084".into());
        video.color_space = Some("bt2020nc".into());
    }
    info
}

/// Interlaced, with pixels that are not square.
fn broadcast() -> MediaInfo {
    let mut info = picture(720, 576, (64, 45), 0);
    info.streams[0].codec = "mpeg2video".into();
    info.streams[0].time_base = Ratio { num: 1, den: 90_000 };
    if let Some(video) = &mut info.streams[0].video {
        video.field_order = "interlaced".into();
        video.frame_rate = FrameRate::new(25, 1).ok();
    }
    info.streams[1].codec = "mp2".into();
    info
}

/// Music with a cover.
fn song() -> MediaInfo {
    let mut info = film();
    info.streams.retain(|stream| stream.codec == "mjpeg" || stream.codec == "aac");
    for (index, stream) in info.streams.iter_mut().enumerate() {
        stream.index = index;
    }
    info
}
