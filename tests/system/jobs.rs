//! Jobs that end well: what was asked for is what comes out, and it is measured.

use std::fs;
use std::path::Path;

use ffrtmp::core::job::{Classification, EngineName, Job, JobReport, JobState, Queue};
use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, Setup};
use crate::media::{self, Seen};

/// What a scenario promises.
struct Promise {
    scenario: &'static str,
    size: (u64, u64),
    /// Frames per second, if the scenario names them.
    fps: Option<f64>,
    /// As ffprobe calls it.
    codec: &'static str,
    /// Of the output's name.
    extension: &'static str,
}

const PROMISES: [Promise; 5] = [
    Promise { scenario: "4K60-h265", size: (3840, 2160), fps: Some(60.0), codec: "hevc", extension: "mp4" },
    Promise { scenario: "1080p30-h264", size: (1920, 1080), fps: Some(30.0), codec: "h264", extension: "mkv" },
    Promise { scenario: "720p30-vp9", size: (1280, 720), fps: Some(30.0), codec: "vp9", extension: "webm" },
    Promise { scenario: "live-4k", size: (3840, 2160), fps: None, codec: "h264", extension: "ts" },
    Promise { scenario: "test1", size: (1280, 720), fps: None, codec: "h264", extension: "mp4" },
];

/// What a scenario leaves open comes from a generated input, or from the source.
const GENERATED_FPS: f64 = 30.0;
const SOURCE_FPS: f64 = 25.0;
const SECONDS: f64 = 0.4;

#[test]
fn a_scenario_gives_what_it_names() {
    let cluster = Cluster::single();
    let source = cluster.files().join("source.mp4");
    match media::clips().into_iter().find(|clip| clip.ends_with("bbb720.mp4")) {
        Some(clip) => drop(fs::copy(clip, &source).expect("a copy")),
        None => media::make_clip(&source, "1280x720", 2.0),
    }
    for Promise { scenario, size, fps, codec, extension } in PROMISES {
        for input in [None, Some(source.display().to_string())] {
            let kind = if input.is_some() { "real" } else { "generated" };
            let output = cluster.file(&format!("out/{scenario}-{kind}.{extension}"));
            let open = if input.is_some() { SOURCE_FPS } else { GENERATED_FPS };
            let id = cluster.submit(json!({
                "scenario": scenario, "input": input, "output": output,
                "parameters": {"duration": SECONDS, "preset": "ultrafast"},
            }));
            let (job, report) = cluster.completed(&id);
            let seen = media::look(Path::new(&output));
            let picture = &seen.picture;
            let context = format!("{scenario} {kind}: {seen:?}");
            assert_eq!((picture.width, picture.height), size, "{context}");
            assert_eq!(picture.codec, codec, "{context}");
            let wanted_fps = fps.unwrap_or(open);
            assert!((picture.fps - wanted_fps).abs() < 0.01 * wanted_fps, "{context}");
            let wanted_frames = (SECONDS * wanted_fps).round();
            assert!((picture.frames as f64 - wanted_frames).abs() <= 1.0, "{wanted_frames} frames wanted: {context}");
            assert_eq!(seen.audio.len(), 1, "{context}");
            check_report(&job, &report, &seen);
            if scenario == "live-4k" {
                assert_eq!((job.queue, job.engine_used), (Queue::Live, Some(EngineName::Gstreamer)), "{job:?}");
                assert!(job.engine_reason.unwrap_or_default().contains("live"), "the choice is explained");
            }
            if scenario == "test1" {
                assert_eq!(job.classification, Classification::Test);
            }
        }
    }
    cluster.assert_no_residue();
    cluster.assert_no_panic();
}

#[test]
fn real_clips_keep_length_frames_sound_and_shape() {
    let clips = media::clips();
    if clips.is_empty() {
        return;
    }
    let agents = vec![AgentSetup { slots: 2, ..AgentSetup::new("first") }];
    let cluster = Cluster::start(Setup { agents, ..Setup::default() });
    let submitted: Vec<_> = clips
        .iter()
        .map(|clip| {
            let name = clip.file_name().and_then(|name| name.to_str()).expect("a name");
            fs::copy(clip, cluster.files().join(name)).expect("a copy");
            let output = cluster.file(&format!("out/{name}.mp4"));
            let id = cluster.submit(json!({
                "scenario": "360p-h264", "input": name, "output": output, "parameters": {"preset": "ultrafast"},
            }));
            (clip, id, output)
        })
        .collect();
    for (clip, id, output) in submitted {
        let source = media::look(clip);
        let (job, report) = cluster.completed(&id);
        let seen = media::look(Path::new(&output));
        let context = format!("{}: {source:?} became {seen:?}", clip.display());
        assert_eq!(seen.picture.frames, source.picture.frames, "{context}");
        assert!((seen.duration - source.duration).abs() <= 1.0 / source.picture.fps, "{context}");
        assert_eq!(seen.audio, source.audio, "{context}");
        assert!((seen.picture.aspect / source.picture.aspect - 1.0).abs() < 0.02, "{context}");
        assert!(seen.picture.width == 640 || seen.picture.height == 360, "{context}");
        assert_eq!(seen.picture.rotation, 0, "{context}");
        check_report(&job, &report, &seen);
        // An index at the end costs a second look at the beginning.
        let share = report.input_bytes as f64 / fs::metadata(clip).expect("the clip").len() as f64;
        assert!((0.99..1.5).contains(&share), "read {share} of the input: {context}");
        assert!(!cluster.call(cluster.client.logs(&id)).expect("logs").is_empty(), "the attempt said something");
    }
    cluster.assert_no_residue();
}

#[test]
fn a_rotated_clip_comes_out_upright() {
    let cluster = Cluster::single();
    let flat = cluster.files().join("flat.mp4");
    let turned = cluster.files().join("turned.mp4");
    media::make_clip(&flat, "320x180", 0.4);
    let path = flat.display().to_string();
    // Newer versions turn on reading, older ones on writing.
    let tags: [&[&str]; 2] = [
        &["-display_rotation", "90", "-i", &path, "-c", "copy"],
        &["-i", &path, "-c", "copy", "-metadata:s:v:0", "rotate=90"],
    ];
    let tagged = tags.iter().any(|args| media::can_make(&turned, args) && media::look(&turned).picture.rotation != 0);
    assert!(tagged, "this ffmpeg cannot tag a rotation");
    let id = cluster.submit(json!({
        "scenario": "144p-h264", "input": "turned.mp4", "output": "out/upright.mp4", "parameters": {"crf": 18},
    }));
    cluster.completed(&id);
    let upright = cluster.files().join("out/upright.mp4");
    let picture = media::look(&upright).picture;
    assert_eq!((picture.width, picture.height, picture.rotation), (144, 256, 0), "{picture:?}");
    let [wanted, got] = [&turned, &upright].map(|path| media::first_picture(path, 72, 128));
    let difference = media::difference(&wanted, &got);
    assert!(difference < 12.0, "the picture is turned wrongly: mean difference {difference}");
}

/// The report says what an independent reader and the file system say, and nothing is left at zero.
fn check_report(job: &Job, report: &JobReport, seen: &Seen) {
    let context = format!("{} {report:#?}", job.scenario);
    let path = report.output_uri.as_deref().expect("an output");
    let bytes = fs::read(path).expect("the output");
    assert_eq!((report.size_bytes, report.output_bytes), (bytes.len() as u64, bytes.len() as u64), "{context}");
    assert_eq!(report.hash, Some(format!("blake3:{}", blake3::hash(&bytes).to_hex())), "{context}");
    let files: Vec<_> = report.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        Some(files),
        Path::new(path).file_name().and_then(|name| name.to_str()).map(|name| vec![name]),
        "{context}"
    );
    assert_eq!(report.frames, seen.picture.frames, "{context}");
    assert!((report.duration_seconds - seen.duration).abs() < 0.1, "{} s: {context}", seen.duration);
    for (name, value) in [
        ("wall_seconds", report.wall_seconds),
        ("cpu_seconds", report.cpu_seconds),
        ("fps", report.fps),
        ("speed", report.speed),
        ("peak_memory_bytes", report.peak_memory_bytes as f64),
        ("bit_rate", report.bit_rate as f64),
    ] {
        assert!(value > 0.0, "{name} was not measured: {context}");
    }
    assert_eq!(report.input_bytes > 0, job.input.is_some(), "{context}");
    assert!(report.peak_memory_bytes > 8 << 20, "{context}");
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    assert!(report.cpu_seconds < report.wall_seconds * cores + 1.0, "{context}");
    assert_eq!((job.state, job.progress, job.attempt), (JobState::Completed, 100.0, 1), "{job:?}");
    assert!(job.started_at.is_some() && job.completed_at > job.started_at, "{job:?}");
}
