//! Whole packages, made of copied streams and judged by independent parsers and by `ffprobe`.
//! Sources come from the `ffmpeg` program; where it is missing, these tests are skipped.

mod contents;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use m3u8_rs::{MasterPlaylist, MediaPlaylist};
use tempfile::TempDir;

use ffrtmp_core::engine::MediaBounds;

use super::*;
use crate::libav::probe;
use crate::libav::sys::AvError;
use crate::libav::timeline::Timeline;

const AUDIO_FRAME: f64 = 1024.0 / 44100.0;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        crate::libav::init();
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file made with `ffmpeg`; `None`, with a line, where that is not installed.
    fn make(&self, name: &str, arguments: &str) -> Option<PathBuf> {
        let path = self.path(name);
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]).args(arguments.split_whitespace()).arg(&path);
        let Ok(made) = command.status() else {
            eprintln!("skipped: ffmpeg is not installed");
            return None;
        };
        assert!(made.success(), "ffmpeg {arguments}");
        Some(path)
    }

    /// Two renditions with key frames every second and two languages, 7.4 s at 25 pictures a second.
    fn ladder(&self, second: &str) -> Option<Vec<PathBuf>> {
        let x264 = "-c:v libx264 -preset ultrafast -bf 2 -g 25 -keyint_min 25 -sc_threshold 0 -pix_fmt yuv420p";
        let large = format!(
            "-f lavfi -i testsrc2=s=320x180:r=25:d=7.4 -f lavfi -i sine=440:r=44100:d=7.4 \
             -f lavfi -i sine=880:r=48000:d=7.4 -map 0 -map 1 -map 2 {x264} -c:a:0 aac -c:a:1 {second} \
             -metadata:s:a:0 language=eng -metadata:s:a:1 language=ger"
        );
        let small = format!("-f lavfi -i testsrc2=s=160x90:r=25:d=7.4 {x264}");
        Some(vec![self.make("large.mp4", &large)?, self.make("small.mp4", &small)?])
    }
}

fn settings(manifest: Manifest, segments: Segments) -> Settings {
    Settings { manifest, segments, seconds: 2.0, names: Vec::new() }
}

/// Packs all streams of the sources, one source after the other.
fn pack(primary: &Path, settings: Settings, bounds: &MediaBounds, sources: &[PathBuf]) -> Result<Packager> {
    let control = Control::default();
    let limit =
        Limit { from: None, seconds: None, bounds: *bounds, control: control.clone(), meter: Arc::new(Meter::new()) };
    let mut packager = Packager::create(primary, settings, &limit)?;
    let mut lanes = Vec::new();
    let mut inputs = Vec::new();
    for path in sources {
        let (input, _) = probe::open(path, bounds, &control)?;
        for stream in input.streams() {
            // As an encoder's: renditions have to agree.
            let mut lane = Lane::copied(stream);
            lane.is_copied = false;
            let lane = packager.add(lane, &mut |output| output.add_copied(stream))?;
            packager.describe_stream(lane, stream);
            lanes.push((inputs.len(), stream.index(), lane));
        }
        inputs.push(input);
    }
    packager.start()?;
    for (number, mut input) in inputs.into_iter().enumerate() {
        let all: Vec<usize> = (0..input.len()).collect();
        let mut timeline = Timeline::new(&input, &all);
        let mut packet = Packet::new();
        loop {
            match input.read(&mut packet) {
                Ok(()) => {}
                Err(AvError::EOF) => break,
                Err(error) => panic!("{error}"),
            }
            let index = packet.stream();
            let base = input.stream(index).unwrap().time_base();
            timeline.place(&mut packet, base);
            let (.., lane) = lanes.iter().find(|(input, stream, _)| (*input, *stream) == (number, index)).unwrap();
            packager.write(*lane, &mut packet, base)?;
        }
    }
    packager.finish()?;
    Ok(packager)
}

fn ffprobe(path: &Path, arguments: &str) -> String {
    let output = Command::new("ffprobe").args(["-v", "warning"]).args(arguments.split_whitespace()).arg(path).output();
    let output = output.unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: Vec<_> = words.lines().filter(|line| !line.contains("Opening '")).collect();
    assert!(complaints.is_empty(), "{}: {complaints:?}", path.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Presentation times of all frames of a stream, decoded.
fn frames(path: &Path, stream: &str) -> Vec<f64> {
    times(path, stream, "frame")
}

fn times(path: &Path, stream: &str, of: &str) -> Vec<f64> {
    let text = ffprobe(path, &format!("-select_streams {stream} -show_entries {of}=pts_time -of csv=p=0"));
    text.lines().filter_map(|line| line.trim_matches([',', ' ']).parse().ok()).collect()
}

fn master(path: &Path) -> MasterPlaylist {
    let bytes = fs::read(path).unwrap();
    m3u8_rs::parse_master_playlist_res(&bytes).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

fn media(path: &Path) -> MediaPlaylist {
    let bytes = fs::read(path).unwrap();
    m3u8_rs::parse_media_playlist_res(&bytes).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

fn seconds(playlist: &MediaPlaylist) -> f64 {
    playlist.segments.iter().map(|segment| f64::from(segment.duration)).sum()
}

/// Every media playlist that a multivariant playlist names, which are whole and lead to files.
fn playlists(primary: &Path) -> Vec<(PathBuf, MediaPlaylist)> {
    let master = master(primary);
    assert!(master.independent_segments);
    let alternatives = master.alternatives.iter().filter_map(|each| each.uri.clone());
    let uris: Vec<String> = alternatives
        .chain(master.variants.iter().filter(|each| !each.is_i_frame).map(|each| each.uri.clone()))
        .collect();
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for uri in uris.into_iter().filter(|uri| seen.insert(uri.clone())) {
        let path = primary.parent().unwrap().join(&uri);
        let playlist = media(&path);
        assert!(playlist.end_list, "{uri}");
        assert_eq!(playlist.playlist_type, Some(m3u8_rs::MediaPlaylistType::Vod), "{uri}");
        for segment in &playlist.segments {
            assert!(path.with_file_name(&segment.uri).is_file(), "{uri}: {}", segment.uri);
            assert!(f64::from(segment.duration).round() as u64 <= playlist.target_duration, "{uri}");
        }
        all.push((path, playlist));
    }
    all
}

/// Every range of a playlist of key pictures decodes to exactly one picture.
fn check_key_pictures(path: &Path, playlist: &MediaPlaylist, bench: &Bench) {
    assert!(playlist.i_frames_only, "{}", path.display());
    for (number, segment) in playlist.segments.iter().enumerate() {
        let range = segment.byte_range.as_ref().unwrap();
        let (offset, length) = (range.offset.unwrap() as usize, range.length as usize);
        let bytes = fs::read(path.with_file_name(&segment.uri)).unwrap();
        let map = playlist.segments[0].map.as_ref();
        let mut picture = map.map(|map| fs::read(path.with_file_name(&map.uri)).unwrap()).unwrap_or_default();
        picture.extend_from_slice(&bytes[offset..offset + length]);
        let alone = bench.path(&format!("key{number}"));
        fs::write(&alone, picture).unwrap();
        // The fragment announces more samples than the range has, of which ffprobe complains.
        let output = Command::new("ffprobe")
            .args(["-v", "quiet", "-show_entries", "frame=pict_type", "-of", "csv=p=0"])
            .arg(&alone)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim_end_matches(['\n', ',']),
            "I",
            "{} {number}",
            segment.uri
        );
    }
}

fn check_hls(bench: &Bench, primary: &Path, segments: Segments) {
    let all = playlists(primary);
    let master = master(primary);
    let targets: HashSet<u64> = all.iter().map(|(_, playlist)| playlist.target_duration).collect();
    assert_eq!(targets.len(), 1, "{targets:?}");
    for (path, playlist) in &all {
        assert!((seconds(playlist) - 7.4).abs() < AUDIO_FRAME * 2.0, "{}: {}", path.display(), seconds(playlist));
        assert_eq!(playlist.segments.len(), 4, "{}", path.display());
        assert_eq!(playlist.segments[0].map.is_some(), segments == Segments::Cmaf);
        for segment in &playlist.segments[..3] {
            assert!(
                (f64::from(segment.duration) - 2.0).abs() < AUDIO_FRAME,
                "{}: {}",
                path.display(),
                segment.duration
            );
        }
    }
    let moving: Vec<_> = master.variants.iter().filter(|variant| !variant.is_i_frame).collect();
    let sizes: Vec<_> = moving.iter().map(|each| each.resolution.unwrap().height).collect();
    assert_eq!(sizes, [180, 180, 90, 90], "each picture with each codec of sound");
    for variant in &moving {
        assert_eq!(variant.frame_rate, Some(25.0));
        let codecs = variant.codecs.as_deref().unwrap();
        assert!(codecs.starts_with("avc1.42C0") || codecs.starts_with("avc1.4D40"), "{codecs}");
        assert!([",mp4a.40.2", ",opus", ",ac-3"].iter().any(|sound| codecs.ends_with(sound)), "{codecs}");
        assert!(variant.average_bandwidth.unwrap() <= variant.bandwidth);
    }
    let stills: Vec<_> = master.variants.iter().filter(|variant| variant.is_i_frame).collect();
    assert_eq!(stills.len(), 2);
    for still in stills {
        let path = primary.parent().unwrap().join(&still.uri);
        let playlist = media(&path);
        assert_eq!(playlist.segments.len(), 8, "one key picture each second");
        check_key_pictures(&path, &playlist, bench);
    }
    let languages: Vec<_> = master.alternatives.iter().map(|each| each.language.clone().unwrap()).collect();
    assert_eq!(languages, ["en", "de"]);
    assert_eq!(master.alternatives[1].name, "de");
}

/// Streams of a package are presented as those of its source, on one clock.
fn check_presentation(primary: &Path, source: &Path) {
    let zero = frames(primary, "v:0")[0];
    for stream in ["v:0", "v:1"] {
        let (ours, theirs) = (frames(primary, stream), frames(source, "v:0"));
        assert_eq!(ours.len(), theirs.len(), "{stream} of {}", primary.display());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((ours - zero - theirs).abs() < 0.001, "{stream}: {ours} {theirs}");
        }
    }
    for stream in ["a:0", "a:1"] {
        // Newer readers of DASH drop the priming anew in front of each segment, also where there is none.
        let is_dash = primary.extension().is_some_and(|extension| extension == "mpd");
        let (ours, theirs) = (times(primary, stream, if is_dash { "packet" } else { "frame" }), frames(source, stream));
        // Priming may be decoded before the start; what is heard is heard when it was in the source.
        assert!((ours[0] - zero - theirs[0]).abs() < AUDIO_FRAME + 0.002, "{stream}: {} {}", ours[0], theirs[0]);
        for time in &theirs[1..theirs.len() - 1] {
            let nearest = ours.iter().map(|ours| (ours - zero - time).abs()).fold(f64::MAX, f64::min);
            assert!(nearest < 0.001, "{stream} of {}: {time} is {nearest} away", primary.display());
        }
        assert!(ours.len().abs_diff(theirs.len()) <= 2, "{stream}: {} {}", ours.len(), theirs.len());
    }
}

#[test]
fn one_set_of_segments_serves_both_manifests() {
    let bench = Bench::new();
    let Some(sources) = bench.ladder("libopus") else { return };
    let primary = bench.path("film.m3u8");
    let settings = settings(Manifest::Both, Segments::Cmaf);
    let packager = pack(&primary, settings, &MediaBounds::default(), &sources).unwrap();
    let names: Vec<_> = packager.streams.iter().map(|stream| stream.name.as_str()).collect();
    assert!(names[0] == "180p" && names[1].starts_with("audio_en_") && names[2].starts_with("audio_de"), "{names:?}");
    drop(packager);
    check_hls(&bench, &primary, Segments::Cmaf);
    check_presentation(&primary, &sources[0]);
    check_dash(&bench.path("film/manifest.mpd"), &sources[0]);
}

fn check_dash(primary: &Path, source: &Path) {
    let mpd = dash_mpd_core::parse(&fs::read_to_string(primary).unwrap()).unwrap();
    let length = mpd.mediaPresentationDuration.unwrap().as_secs_f64();
    assert!((length - 7.4).abs() < 2.0 * AUDIO_FRAME, "{length}");
    let sets = &mpd.periods[0].adaptations;
    assert_eq!(sets.iter().map(|set| set.representations.len()).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(sets.iter().map(|set| set.lang.as_deref()).collect::<Vec<_>>(), [None, Some("en"), Some("de")]);
    for representation in sets.iter().flat_map(|set| &set.representations) {
        assert!(representation.bandwidth.unwrap() > 1000);
        let template = representation.SegmentTemplate.as_ref().unwrap();
        let timescale = template.timescale.unwrap() as f64;
        let runs = &template.SegmentTimeline.as_ref().unwrap().segments;
        let ticks: u64 = runs.iter().map(|run| run.d * (run.r.unwrap_or(0) as u64 + 1)).sum();
        assert!((ticks as f64 / timescale - 7.4).abs() < 2.0 * AUDIO_FRAME, "{ticks} / {timescale}");
        let count: i64 = runs.iter().map(|run| run.r.unwrap_or(0) + 1).sum();
        let folder = primary.parent().unwrap();
        assert!(folder.join(template.initialization.as_ref().unwrap()).is_file());
        for number in 1..=count {
            let media = template.media.as_ref().unwrap().replace("$Number%05d$", &format!("{number:05}"));
            assert!(folder.join(media).is_file());
        }
    }
    check_presentation(primary, source);
}

#[test]
fn transport_streams_are_unbroken() {
    let bench = Bench::new();
    let Some(sources) = bench.ladder("ac3") else { return };
    let primary = bench.path("film.m3u8");
    let packager = pack(&primary, settings(Manifest::Hls, Segments::MpegTs), &MediaBounds::default(), &sources);
    let names: Vec<_> = packager.unwrap().streams.iter().map(|stream| stream.name.clone()).collect();
    check_hls(&bench, &primary, Segments::MpegTs);
    check_presentation(&primary, &sources[0]);
    for name in names {
        check_continuity(&bench.path("film").join(name));
    }
}

/// Counters of every stream go on over the segments, and every segment begins with the tables.
fn check_continuity(folder: &Path) {
    let mut counters = std::collections::HashMap::new();
    for number in 1.. {
        let Ok(bytes) = fs::read(folder.join(format!("seg_{number:05}.ts"))) else {
            assert!(number > 4);
            return;
        };
        assert_eq!(bytes.len() % 188, 0);
        let mut first = Vec::new();
        for packet in bytes.chunks(188) {
            assert_eq!(packet[0], 0x47);
            let id = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
            if !first.contains(&id) {
                first.push(id);
            }
            let has_payload = packet[3] & 0x10 != 0;
            let counter = packet[3] & 0xf;
            if let Some(before) = counters.insert(id, counter) {
                let wanted = if has_payload { (before + 1) & 0xf } else { before };
                assert_eq!(counter, wanted, "stream {id} in segment {number} of {}", folder.display());
            }
        }
        let tables = first.iter().position(|id| *id == 0).unwrap();
        let media = first.iter().position(|id| *id >= 0x100 && *id < 0x1000).unwrap();
        assert!(tables < media, "{first:?}");
    }
}

#[test]
fn renditions_without_common_key_frames_are_refused() {
    let bench = Bench::new();
    let x264 = "-c:v libx264 -preset ultrafast -keyint_min 1 -sc_threshold 0 -pix_fmt yuv420p";
    let large = format!("-f lavfi -i testsrc2=s=320x180:r=25:d=5 {x264} -g 50");
    let small = format!("-f lavfi -i testsrc2=s=160x90:r=25:d=5 {x264} -g 60");
    let (Some(large), Some(small)) = (bench.make("large.mp4", &large), bench.make("small.mp4", &small)) else { return };
    let folder = bench.path("out");
    fs::create_dir(&folder).unwrap();
    let settings = settings(Manifest::Hls, Segments::Cmaf);
    let error = pack(&folder.join("film.m3u8"), settings, &MediaBounds::default(), &[large, small]).err().unwrap();
    assert_eq!(error.code(), Code::EncodeFailed);
    assert!(error.to_string().contains("2.000 s"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "an unfinished package is gone");
}

#[test]
fn a_package_has_a_limit_of_bytes() {
    let bench = Bench::new();
    let Some(sources) = bench.ladder("ac3") else { return };
    let bounds = MediaBounds { max_output_bytes: Some(100_000), ..MediaBounds::default() };
    let folder = bench.path("out");
    fs::create_dir(&folder).unwrap();
    for segments in [Segments::Cmaf, Segments::MpegTs] {
        let made = pack(&folder.join("film.m3u8"), settings(Manifest::Hls, segments), &bounds, &sources);
        assert_eq!(made.err().unwrap().code(), Code::DiskQuotaExceeded);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
