//! Every example runs and shows what it promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cluster::{Room, command, example};
use crate::media;

/// Those that need the libraries of GStreamer.
const LIVE: [(&str, &[&str], &[&str]); 2] = [
    ("live_camera", &[], &["75 pictures", "added latency: median"]),
    ("live_transcode", &[], &["VP9 320x180: 50 pictures"]),
];

#[test]
fn every_example_does_what_it_says() {
    let _room = Room::some();
    let dir = tempfile::tempdir().expect("a directory");
    let (input, output) = (dir.path().join("in.mp4"), dir.path().join("out.webm"));
    media::make_clip(&input, "320x180", 0.8);

    let mut cases: Vec<(&str, &[&str], &[&str])> = vec![
        ("chunked", &["in.mp4", "chunked.mp4", "30"], &["chunked.mp4: 20 frames from 1 chunks"]),
        ("custom_engine", &[], &["completed: 720p30-h264 was asked for"]),
        ("custom_scheduler", &[], &["claimed in this order: 2 s, 30 s, 300 s"]),
        ("embedded_cluster", &[], &["completed: 300 frames"]),
        ("hls_package", &["in.mp4", "hls.m3u8"], &["hls.m3u8: 8 files"]),
        (
            "ladder",
            &["in.mp4", "ladder.mp4", "240p:crf30,144p"],
            &["240p: ladder.mp4 426x240, 20 frames", "144p: ladder_144p.mp4 256x144, 20 frames"],
        ),
        ("supervise", &["true"], &["is supervised", "ended well"]),
        (
            "thumbnails",
            &["in.mp4", "stills.mp4"],
            &["stills.mp4 (", "stills_poster.jpg (", "stills_thumb_05.jpg (", "stills_sprite.vtt ("],
        ),
        ("transcode_file", &["in.mp4", "out.webm", "144p-vp9"], &["out.webm: 20 frames"]),
    ];
    if cfg!(feature = "gstreamer") {
        cases.extend(LIVE);
    }
    for (name, args, promised) in &cases {
        let run = command(&example(name), dir.path()).current_dir(dir.path()).args(*args).output().expect("it runs");
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{name}: {}", String::from_utf8_lossy(&run.stderr));
        for words in *promised {
            assert!(text.contains(words), "{name} does not say {words:?}: {text}");
        }
    }
    assert_eq!(media::look(&output).picture.codec, "vp9");

    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let names: BTreeSet<_> = fs::read_dir(sources)
        .expect("examples")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    let run: BTreeSet<_> = cases.iter().chain(&LIVE).map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names, run, "an example is not run here");
}
