//! Packages for adaptive streaming, as jobs ask for them: read by independent parsers of playlists
//! and manifests, and decoded from end to end by ffprobe.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task, Unobserved};
use ffrtmp_core::error::{Code, Result};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;
use m3u8_rs::{MasterPlaylist, MediaPlaylist};
use serde_json::json;

use crate::workbench::{Bench, ENGINE, frames, media};

/// Priming and the grid of AAC packets at 44.1 kHz, in seconds.
const AUDIO_FRAME: f64 = 1024.0 / 44100.0;

fn ask(source: &Path, output: &Path, wishes: serde_json::Value, control: &Control) -> Result<JobReport> {
    let request = OutputRequest {
        parameters: serde_json::from_value(wishes).unwrap(),
        container: Container::from_path(&output.to_string_lossy()),
        ..OutputRequest::default()
    };
    let source = Source::File(source.to_owned());
    let task = Task { source, output: output.to_owned(), request, bounds: MediaBounds::default(), live: None };
    ENGINE.run(&task, control, &Unobserved)
}

fn package(source: &Path, output: &Path, wishes: serde_json::Value) -> JobReport {
    fs::create_dir_all(output.parent().unwrap()).unwrap();
    let report = ask(source, output, wishes, &Control::default());
    report.unwrap_or_else(|error| panic!("{}: {error}", output.display()))
}

fn master(path: &Path) -> MasterPlaylist {
    m3u8_rs::parse_master_playlist_res(&fs::read(path).unwrap()).unwrap()
}

fn playlist(path: &Path) -> MediaPlaylist {
    m3u8_rs::parse_media_playlist_res(&fs::read(path).unwrap()).unwrap()
}

/// Files below a directory, as paths from there.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found
}

/// What is reached from a multivariant playlist, as paths from its directory.
fn referred(primary: &Path) -> BTreeSet<PathBuf> {
    let master = master(primary);
    let root = primary.parent().unwrap();
    let lists = master.variants.iter().map(|each| each.uri.clone());
    let lists = lists.chain(master.alternatives.iter().filter_map(|each| each.uri.clone()));
    let mut found: BTreeSet<PathBuf> = [PathBuf::from(primary.file_name().unwrap())].into();
    for uri in lists {
        let path = root.join(&uri);
        let list = playlist(&path);
        let maps = list.segments.iter().filter_map(|segment| Some(segment.map.as_ref()?.uri.clone()));
        let beside = list.segments.iter().map(|segment| segment.uri.clone()).chain(maps);
        found.extend(beside.map(|name| Path::new(&uri).with_file_name(name)));
        found.insert(PathBuf::from(uri));
    }
    found
}

/// First presentation of pictures and of sound, and the numbers of frames.
fn presented(path: &Path) -> Option<([f64; 2], [usize; 2])> {
    let (seen, heard) = (frames(path, "v:0")?, frames(path, "a:0")?);
    Some(([seen[0], heard[0]], [seen.len(), heard.len()]))
}

#[test]
fn packages_are_presented_as_their_source() {
    let bench = Bench::new();
    let Some(clip) = media("bbb720.mp4") else { return };
    let Some(([seen, heard], [pictures, sounds])) = presented(&clip) else { return };
    for (name, kind, codec, sound) in [
        ("fmp4/film.m3u8", "fmp4", "h264", "aac"),
        ("ts/film.m3u8", "ts", "h264", "aac"),
        ("dash/film.mpd", "fmp4", "h264", "aac"),
        ("hevc/film.m3u8", "fmp4", "h265", "opus"),
        ("hevc-ts/film.m3u8", "ts", "h265", "aac"),
        ("vp9/film.mpd", "fmp4", "vp9", "opus"),
        ("flac/film.m3u8", "fmp4", "h264", "flac"),
        ("flac-dash/film.mpd", "fmp4", "h264", "flac"),
        ("copy/film.m3u8", "fmp4", "copy", "copy"),
        ("copy-ts/film.m3u8", "ts", "copy", "copy"),
    ] {
        let output = bench.path(name);
        let mut wishes = json!({"codec": codec, "audio_codec": sound, "segment_duration": 2, "segment_type": kind});
        if codec != "copy" {
            wishes["resolution"] = json!("320x180");
        }
        let report = package(&clip, &output, wishes);
        let ([our_seen, our_heard], [our_pictures, our_sounds]) = presented(&output).unwrap();
        assert_eq!(our_pictures, pictures, "{name}");
        assert_eq!(report.frames as usize, pictures, "{name}");
        let offset = (our_heard - our_seen) - (heard - seen);
        assert!(offset.abs() <= AUDIO_FRAME, "{name}: {our_seen} {our_heard}");
        // Samples in a packet; AAC's have 1024.
        let ratio = match sound {
            "opus" => 1024.0 / 960.0,
            "flac" => 1024.0 / 4608.0,
            _ => 1.0,
        };
        assert!((our_sounds as f64 - sounds as f64 * ratio).abs() <= 3.0, "{name}: {our_sounds} {sounds}");
        let root = output.parent().unwrap();
        let told: BTreeSet<PathBuf> = report.files.iter().map(|file| PathBuf::from(&file.path)).collect();
        assert_eq!(told, files(root), "{name}: what is there is what is told");
        for file in &report.files {
            assert_eq!(file.size_bytes, fs::metadata(root.join(&file.path)).unwrap().len(), "{name}: {}", file.path);
        }
        if name.ends_with("m3u8") {
            assert_eq!(referred(&output), told, "{name}: what is there is what playlists name");
        }
    }
}

#[test]
fn ladders_switch_at_every_segment() {
    let bench = Bench::new();
    let Some(clip) = media("carphone.mp4") else { return };
    let output = bench.path("film.m3u8");
    let wishes = json!({
        "ladder": [{"resolution": "176x144", "bitrate": "300k"}, {"resolution": "88x72", "bitrate": "80k"}],
        "preset": "veryfast", "segment_duration": 1, "keyframe_interval": 0.5
    });
    let report = package(&clip, &output, wishes);
    assert_eq!(report.frames, 120);
    let master = master(&output);
    let moving: Vec<_> = master.variants.iter().filter(|variant| !variant.is_i_frame).collect();
    assert_eq!(moving.len(), 2);
    let mut starts = BTreeSet::new();
    for variant in moving {
        assert_eq!(variant.frame_rate, Some(29.97));
        assert!(variant.codecs.as_deref().is_some_and(|codecs| codecs.starts_with("avc1.") && !codecs.contains(',')));
        let list = playlist(&bench.path(&variant.uri));
        let lengths: Vec<f64> = list.segments.iter().map(|segment| f64::from(segment.duration)).collect();
        // The first frame from each second on, 30 frames of 1001/30000 s apart.
        assert_eq!(lengths.len(), 4, "{lengths:?}");
        for length in &lengths[..3] {
            assert!((length - 1.001).abs() < 1e-4, "{lengths:?}");
        }
        assert!((lengths.iter().sum::<f64>() - 4.004).abs() < 1e-3, "{lengths:?}");
        starts.insert(lengths.iter().map(|length| format!("{length:.4}")).collect::<Vec<_>>());
        // What is measured is what was written.
        let folder = bench.path(&variant.uri);
        let sizes =
            list.segments.iter().map(|segment| fs::metadata(folder.with_file_name(&segment.uri)).unwrap().len());
        let rates: Vec<f64> = sizes.zip(&lengths).map(|(bytes, seconds)| bytes as f64 * 8.0 / seconds).collect();
        let peak = rates.iter().copied().fold(0.0, f64::max);
        assert!((variant.bandwidth as f64 / peak - 1.0).abs() < 0.01, "{} {rates:?}", variant.bandwidth);
    }
    assert_eq!(starts.len(), 1, "renditions have the same segments");
    let keys = master.variants.iter().filter(|variant| variant.is_i_frame);
    for variant in keys {
        assert_eq!(playlist(&bench.path(&variant.uri)).segments.len(), 8, "two key frames a second");
    }
}

#[test]
fn a_package_is_the_same_each_time() {
    let bench = Bench::new();
    let Some(clip) = media("bbb720.mp4") else { return };
    // Encoders with threads and a buffer model do not repeat themselves.
    let wishes = json!({"codec": "copy", "audio_codec": "aac", "segment_duration": 1});
    let [once, again] = ["once", "again"].map(|name| {
        let report = package(&clip, &bench.path(&format!("{name}/film.m3u8")), wishes.clone());
        report.files
    });
    assert_eq!(once, again, "the same bytes under the same names");
}

#[test]
fn a_canceled_package_leaves_nothing() {
    let bench = Bench::new();
    let Some(clip) = media("bbb720.mp4") else { return };
    let control = Control::default();
    control.cancel();
    let error = ask(&clip, &bench.path("film.m3u8"), json!({"segment_duration": 2}), &control).unwrap_err();
    assert_eq!(error.code(), Code::Canceled);
    assert!(bench.is_empty());
}

#[test]
fn everything_of_a_film_is_in_its_package() {
    let bench = Bench::new();
    let text = "1\n00:00:00,500 --> 00:00:01,000\nfirst\n\n2\n00:00:01,500 --> 00:00:04,500\n<i>long</i> & last\n";
    fs::write(bench.path("in.srt"), text).unwrap();
    fs::write(
        bench.path("in.txt"),
        ";FFMETADATA1\ntitle=A <film>\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=3\ntitle=one\n",
    )
    .unwrap();
    let Some(cover) = bench.ffmpeg("cover.jpg", "-f lavfi -i testsrc2=s=64x64:d=0.04 -frames:v 1") else { return };
    let arguments = "-f lavfi -i testsrc2=s=320x180:r=25:d=6 -f lavfi -i sine=440:r=48000:d=6 \
                     -f lavfi -i sine=880:r=44100:d=6 -i in.srt -i in.txt -map 0 -map 1 -map 2 -map 3 -map_metadata 4 \
                     -c:v libx264 -preset ultrafast -c:a aac -c:s srt -attach cover.jpg -metadata:s:t mimetype=image/jpeg \
                     -metadata:s:a:0 language=eng -metadata:s:a:0 title=Stereo -metadata:s:a:1 language=spa \
                     -metadata:s:s:0 language=eng";
    assert!(cover.is_file());
    let Some(source) = bench.ffmpeg("in.mkv", arguments) else { return };
    let wishes = json!({
        "ladder": [{"resolution": "320x180", "bitrate": "300k"}, {"resolution": "160x90", "bitrate": "100k"}],
        "preset": "ultrafast", "segment_duration": 2
    });
    let output = bench.path("hls/a film.m3u8");
    let report = package(&source, &output, wishes.clone());
    let master = master(&output);
    let alternatives: Vec<_> =
        master.alternatives.iter().map(|each| (each.name.as_str(), each.language.as_deref())).collect();
    assert_eq!(alternatives, [("Stereo", Some("en")), ("es", Some("es")), ("en", Some("en"))], "{:?}", report.warnings);
    assert!(master.variants.iter().filter(|each| !each.is_i_frame).all(|each| each.subtitles.is_some()));
    let subtitles = master.alternatives[2].uri.clone().unwrap();
    assert!(subtitles.starts_with("a%20film/"), "{subtitles}");
    let folder = output.with_file_name(subtitles.replace("%20", " "));
    let shown = |name: &str| fs::read_to_string(folder.with_file_name(name)).unwrap();
    // The container begins with the priming of the sound, so its pictures and texts come 23 ms later.
    let cue = "00:00:01.523 --> 00:00:04.523\n<i>long</i> &amp; last\n";
    assert!(shown("seg_00001.vtt").contains(cue), "{}", shown("seg_00001.vtt"));
    assert!(shown("seg_00003.vtt").contains("last") && !shown("seg_00003.vtt").contains("first"));

    let output = bench.path("dash/film.mpd");
    package(&source, &output, wishes);
    let mpd = dash_mpd_core::parse(&fs::read_to_string(&output).unwrap()).unwrap();
    let sets = &mpd.periods[0].adaptations;
    let kinds: Vec<_> = sets.iter().map(|set| (set.contentType.as_deref(), set.lang.as_deref())).collect();
    assert_eq!(
        kinds,
        [(Some("video"), None), (Some("audio"), Some("en")), (Some("audio"), Some("es")), (Some("text"), Some("en"))]
    );
    assert_eq!(sets[0].representations.len(), 2);
    let title = mpd.ProgramInformation[0].Title.as_ref().and_then(|title| title.content.as_deref());
    assert_eq!(title, Some("A <film>"));
    // FFmpeg wants to be told that a manifest may name files of text.
    let decoded = Command::new("ffprobe")
        .args(["-v", "error", "-allowed_extensions", "ALL", "-count_frames", "-show_entries", "stream=nb_read_frames"])
        .args(["-of", "csv=p=0", "-select_streams", "v"])
        .arg(&output)
        .output()
        .unwrap();
    let counts = String::from_utf8_lossy(&decoded.stdout);
    let counts: Vec<_> = counts.lines().filter(|line| !line.is_empty()).collect();
    assert!(counts.len() >= 2 && counts.iter().all(|count| *count == "150"), "{counts:?}");
}

#[test]
fn a_fragmented_file_starts_where_its_source_does() {
    let bench = Bench::new();
    let Some(clip) = media("bbb720.mp4") else { return };
    let output = bench.path("film.mp4");
    for codec in ["h264", "copy"] {
        package(
            &clip,
            &output,
            json!({"container": "fmp4", "codec": codec, "audio_codec": codec.replace("h264", "aac")}),
        );
        let Some((theirs, counts)) = presented(&clip) else { return };
        let (ours, our_counts) = presented(&output).unwrap();
        assert!(ours[0].abs() < 0.001 && (ours[1] - theirs[1]).abs() <= AUDIO_FRAME, "{codec}: {ours:?} {theirs:?}");
        assert!(our_counts[0] == counts[0] && our_counts[1].abs_diff(counts[1]) <= 2, "{codec}: {our_counts:?}");
        let bytes = fs::read(&output).unwrap();
        let index = bytes.windows(4).position(|window| window == b"sidx").unwrap();
        assert!(index < bytes.windows(4).position(|window| window == b"moof").unwrap());
    }
}
