//! The sandbox around real attempts: it changes no byte of any output, and a runner that asks for
//! what is not its own does not get it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task, Unobserved};
use ffrtmp_core::job::EngineName;
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;
use ffrtmp_core::units::Seconds;
use ffrtmp_engines::isolated::IsolatedEngine;

use crate::{generated, runner};

fn libav(sandbox: &str) -> IsolatedEngine {
    IsolatedEngine::named(runner(), vec!["--sandbox".into(), sandbox.into()], EngineName::Ffmpeg)
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every encoder, muxer and way of encoding that the engine has.
const OUTPUTS: &[(&str, &str)] = &[
    ("h264.mp4", r#"{"codec": "h264"}"#),
    ("h264-twice.mp4", r#"{"codec": "h264", "bitrate": "200k", "two_pass": true}"#),
    ("h265.mp4", r#"{"codec": "h265"}"#),
    ("h265-twice.mkv", r#"{"codec": "h265", "bitrate": "200k", "two_pass": true}"#),
    ("vp8.webm", r#"{"codec": "vp8"}"#),
    ("vp9.webm", r#"{"codec": "vp9"}"#),
    ("vp9-twice.webm", r#"{"codec": "vp9", "bitrate": "200k", "two_pass": true}"#),
    ("av1.mp4", r#"{"codec": "av1"}"#),
    ("av1-aom.mkv", r#"{"encoder": "libaom-av1", "preset": "8"}"#),
    ("mp3.mkv", r#"{"codec": "h264", "audio_codec": "mp3"}"#),
    ("opus.mkv", r#"{"codec": "h264", "audio_codec": "opus"}"#),
    ("flac.mkv", r#"{"codec": "h264", "audio_codec": "flac"}"#),
    ("copied.mkv", r#"{"codec": "copy", "audio_codec": "copy"}"#),
    ("streams.ts", r#"{"codec": "h264"}"#),
    ("quicktime.mov", r#"{"codec": "h264"}"#),
    ("list.m3u8", r#"{"codec": "h264", "segment_duration": 1}"#),
    (
        "ladder.m3u8",
        r#"{"codec": "h264", "ladder": [{"resolution": "176x144", "bitrate": "300k"}, {"resolution": "88x72", "bitrate": "80k"}], "segment_type": "fmp4"}"#,
    ),
    (
        "ladder.mpd",
        r#"{"codec": "h264", "ladder": [{"resolution": "176x144", "bitrate": "300k"}, {"resolution": "88x72", "bitrate": "80k"}]}"#,
    ),
    ("chunks.mp4", r#"{"codec": "h264", "chunks": "on", "duration": 4}"#),
    ("stills.mp4", r#"{"codec": "h264", "stills": {"poster": 1, "thumbnails": 2}}"#),
];

#[test]
fn no_byte_of_an_output_changes() {
    let (bare, confined) = (libav("off"), libav("on"));
    let sources = sources(&bare);
    let mut same = 0;
    for (index, (name, wishes)) in OUTPUTS.iter().enumerate() {
        let source = &sources[index % sources.len()];
        let made = |engine: &IsolatedEngine| {
            let folder = tempfile::tempdir().expect("a scratch directory");
            let task = task(source.path(), &folder.path().join(name), wishes);
            engine.run(&task, &Control::default(), &Unobserved).map(|_| files(folder.path()))
        };
        match (made(&bare), made(&confined)) {
            (Ok(first), Ok(second)) => {
                assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>(), "{name}");
                let mut runs = (vec![first], vec![second]);
                while !is_same(&runs) {
                    assert!(runs.0.len() < ROUNDS, "{name} is another in the sandbox");
                    runs.0.push(made(&bare).expect("it was made before"));
                    runs.1.push(made(&confined).expect("it was made before"));
                }
                println!("{name}: the same {} files after {} runs", runs.0[0].len(), runs.0.len());
                same += 1;
            }
            (Err(bare), Err(confined)) => {
                assert_eq!(bare.to_string(), confined.to_string(), "{name}");
                println!("{name} cannot be made here: {bare}");
            }
            (bare, confined) => {
                panic!(
                    "{name}: {:?} without and {:?} with the sandbox",
                    bare.map(|it| it.len()),
                    confined.map(|it| it.len())
                )
            }
        }
    }
    println!("{same} of {} kinds of outputs are the same", OUTPUTS.len());
    assert!(same > OUTPUTS.len() / 2, "too few encoders to tell");
}

/// How often both are tried: threads of a codec that are made all the same do not always decide alike.
const ROUNDS: usize = 5;

/// Whether each file was made once in the sandbox as it was made once without.
fn is_same((bare, confined): &(Vec<Files>, Vec<Files>)) -> bool {
    let both = || bare.iter().flat_map(|bare| confined.iter().map(move |confined| (bare, confined)));
    bare[0].keys().all(|path| both().any(|(bare, confined)| is_alike(path, &bare[path], &confined[path])))
}

/// Whether two files are the same, but for the random numbers by which Matroska tells files and
/// tracks apart.
fn is_alike(path: &Path, one: &[u8], other: &[u8]) -> bool {
    const RANDOM: usize = 64;
    let is_matroska = path.extension().is_some_and(|kind| kind == "mkv" || kind == "webm");
    let differing = one.iter().zip(other).filter(|(one, other)| one != other).count();
    one.len() == other.len() && differing <= if is_matroska { RANDOM } else { 0 }
}

/// A clip that was found, or made for the test.
enum Clip {
    Found(PathBuf),
    Made(tempfile::TempDir),
}

impl Clip {
    fn path(&self) -> PathBuf {
        match self {
            Self::Found(path) => path.clone(),
            Self::Made(folder) => folder.path().join("clip.mp4"),
        }
    }
}

/// Real clips where they are, and one of moving bars.
fn sources(engine: &IsolatedEngine) -> Vec<Clip> {
    let clips = std::env::var_os("FFRTMP_MEDIA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media"), PathBuf::from);
    let found = fs::read_dir(clips).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_clip = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "mp4" || kind == "webm");
    let mut sources: Vec<_> = found.filter(is_clip).map(Clip::Found).collect();
    let folder = tempfile::tempdir().expect("a scratch directory");
    let made = generated(folder.path(), "clip.mp4", "240p15-h264", 2.0);
    engine.run(&made, &Control::default(), &Unobserved).expect("a clip");
    sources.push(Clip::Made(folder));
    sources
}

/// A short and small encode.
fn task(source: PathBuf, output: &Path, wishes: &str) -> Task {
    let mut wishes: serde_json::Value = serde_json::from_str(wishes).expect("wishes");
    let copied = wishes["codec"] == "copy";
    let laddered = !wishes["ladder"].is_null();
    let mut wish = |name: &str, value: serde_json::Value| {
        if wishes.get(name).is_none() {
            wishes[name] = value;
        }
    };
    wish("duration", 1.5.into());
    if !copied && !laddered {
        wish("resolution", "256x144".into());
    }
    if !copied {
        wish("preset", "veryfast".into());
    }
    let parameters = serde_json::from_value(wishes).expect("parameters");
    let request = OutputRequest {
        parameters,
        container: Container::from_path(&output.to_string_lossy()),
        ..OutputRequest::default()
    };
    // Rate control with several threads does not always decide alike.
    let bounds = MediaBounds { threads: 1, ..MediaBounds::default() };
    Task { source: Source::File(source), output: output.to_owned(), request, bounds, live: None }
}

/// Every file below a directory with its bytes.
fn files(folder: &Path) -> Files {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a readable directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below the folder").to_owned();
                found.insert(name, fs::read(&path).expect("a readable file"));
            }
        }
    }
    found
}

/// A playlist that names a file elsewhere must not bring a byte of it, and a file that is not the
/// task's cannot be named by it either.
#[test]
fn a_foreign_file_cannot_reach_another() {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let elsewhere = tempfile::tempdir().expect("a scratch directory");
    let clip = elsewhere.path().join("canary.mp4");
    let engine = libav("on");
    let made = Task::new(
        Source::Generated(Seconds::try_from(1.0).expect("a span")),
        clip.clone(),
        "144p10-h264".parse().expect("a scenario"),
    );
    engine.run(&made, &Control::default(), &Unobserved).expect("a canary");
    for (name, text) in [
        ("list.mp4", format!("#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", clip.display())),
        ("list.m3u8", format!("#EXTM3U\n#EXTINF:1,\nfile://{}\n#EXT-X-ENDLIST\n", clip.display())),
        ("concat.mp4", format!("ffconcat version 1.0\nfile '{}'\n", clip.display())),
        ("self.mp4", "#EXTM3U\n#EXTINF:1,\nself.mp4\n".to_owned()),
    ] {
        let source = folder.path().join(name);
        fs::write(&source, text).expect("scratch");
        let output = folder.path().join("out.mp4");
        let task = Task::new(Source::File(source), output.clone(), "144p10-h264".parse().expect("a scenario"));
        let started = Instant::now();
        let error = engine.run(&task, &Control::default(), &Unobserved).expect_err(name);
        assert!(started.elapsed() < Duration::from_secs(20), "{name}");
        assert!(!output.exists(), "{name}: {error}");
    }
}
