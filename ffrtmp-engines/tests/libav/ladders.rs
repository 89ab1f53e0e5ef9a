//! One decode, several renditions: as files, and as packages of segments.

use std::path::Path;
use std::process::Command;

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task, Unobserved};
use ffrtmp_core::error::Result;
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;

use crate::workbench::{Bench, ENGINE, frames, media, probe};

/// Runs a job as people ask for it.
fn ask(source: Source, output: &Path, parameters: serde_json::Value) -> Result<JobReport> {
    let request = OutputRequest {
        parameters: serde_json::from_value(parameters).unwrap(),
        container: Container::from_path(&output.to_string_lossy()),
        ..OutputRequest::default()
    };
    let task = Task { source, output: output.to_owned(), request, bounds: MediaBounds::default(), live: None };
    ENGINE.run(&task, &Control::default(), &Unobserved)
}

/// Times of key frames, by ffprobe.
fn keys(path: &Path) -> Option<Vec<f64>> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let key = |line: &str| line.split_once(",K").map(|(time, _)| time.parse().unwrap());
    Some(text.lines().filter_map(key).collect())
}

#[test]
fn renditions_are_files_with_the_same_key_frames() {
    let bench = Bench::new();
    let Some(clip) = media("bbb720.mp4") else { return };
    let output = bench.path("film.mp4");
    let wishes = serde_json::json!({
        "ladder": [{"resolution": "720p"}, {"resolution": "480p", "bitrate": "700k"}, {"name": "small", "resolution": "360p"}],
        "preset": "ultrafast", "duration": 5.0
    });
    let report = ask(Source::File(clip), &output, wishes).unwrap();
    let names: Vec<&str> = report.renditions.iter().map(|rendition| rendition.name.as_str()).collect();
    assert_eq!(names, ["720p", "480p", "small"]);
    let files: Vec<&str> = report.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["film.mp4", "film_480p.mp4", "film_small.mp4"]);
    let sizes = [(1280, 720), (854, 480), (640, 360)];
    for ((file, rendition), size) in report.files.iter().zip(&report.renditions).zip(sizes) {
        let path = bench.path(&file.path);
        let info = probe(&path);
        let picture = info.best_video().unwrap().1;
        assert_eq!((picture.width, picture.height), size, "{}", file.path);
        assert_eq!(info.audio().count(), 1);
        assert_eq!(rendition.frames, report.frames);
        assert!(file.hash.starts_with("blake3:") && file.size_bytes == std::fs::metadata(&path).unwrap().len());
    }
    let Some(first) = keys(&output) else { return };
    assert_eq!(first.len(), 3, "at 0, 2 and 4 s: {first:?}");
    for file in &report.files {
        assert_eq!(keys(&bench.path(&file.path)).unwrap(), first, "{}", file.path);
        let seen = frames(&bench.path(&file.path), "v").unwrap();
        assert_eq!(seen.len() as u64, report.frames);
    }
}

#[test]
fn ladders_become_packages_that_players_read() {
    let bench = Bench::new();
    let Some(clip) = media("bbb720.mp4") else { return };
    for (name, kind) in [("film.m3u8", "fmp4"), ("film.m3u8", "ts"), ("film.mpd", "fmp4")] {
        let output = bench.path(&format!("{kind}/{name}"));
        std::fs::create_dir_all(output.parent().unwrap()).unwrap();
        let wishes = serde_json::json!({
            "ladder": [{"resolution": "720p"}, {"resolution": "360p"}], "preset": "ultrafast", "duration": 5.0, "segment_duration": 2, "segment_type": kind
        });
        let report = ask(Source::File(clip.clone()), &output, wishes).unwrap();
        assert_eq!(report.renditions.len(), 2);
        assert!(report.files.len() > 10 && report.files[0].path == name, "{:?}", report.files);
        let Some(times) = frames(&output, "v:0") else { return };
        assert_eq!(times.len() as u64, report.frames, "{kind} {name}");
        std::fs::remove_dir_all(bench.path(kind)).unwrap();
    }
}

#[test]
fn a_second_pass_meets_the_rate_and_leaves_nothing_else() {
    let bench = Bench::new();
    let Some(clip) = media("scene_cuts.mp4") else { return };
    for (name, codec) in [("film.mp4", "h264"), ("film.webm", "vp9"), ("film.mkv", "h265")] {
        let output = bench.path(name);
        let wishes = serde_json::json!({
            "codec": codec, "bitrate": "400k", "two_pass": true, "preset": "veryfast", "resolution": "320x180",
            "audio_streams": "none"
        });
        let report = ask(Source::File(clip.clone()), &output, wishes).unwrap();
        let off = report.bit_rate as f64 / 400_000.0 - 1.0;
        assert!(off.abs() < 0.12, "{name}: {} b/s", report.bit_rate);
        assert_eq!(frames(&output, "v").map_or(report.frames, |seen| seen.len() as u64), report.frames);
        let left: Vec<_> =
            std::fs::read_dir(output.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [name], "{name}");
        std::fs::remove_file(output).unwrap();
    }
}
