//! Every example runs and shows what it promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cluster::{Room, command, example};
use crate::media;

#[test]
fn every_example_does_what_it_says() {
    let _room = Room::some();
    let dir = tempfile::tempdir().expect("a directory");
    let (input, output) = (dir.path().join("in.mp4"), dir.path().join("out.webm"));
    media::make_clip(&input, "320x180", 0.4);
    let paths = [input.display().to_string(), output.display().to_string(), "144p-vp9".to_owned()];
    let files: Vec<&str> = paths.iter().map(String::as_str).collect();

    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("custom_engine", &[], &["completed: 720p30-h264 was asked for"]),
        ("custom_scheduler", &[], &["claimed in this order: 2 s, 30 s, 300 s"]),
        ("embedded_cluster", &[], &["completed: 300 frames"]),
        ("transcode_file", &files, &["out.webm: 10 frames"]),
    ];
    for (name, args, promised) in cases {
        let run = command(&example(name), dir.path()).current_dir(dir.path()).args(args).output().expect("it runs");
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{name}: {}", String::from_utf8_lossy(&run.stderr));
        for words in promised {
            assert!(text.contains(words), "{name} does not say {words:?}: {text}");
        }
    }
    assert_eq!(media::look(&output).picture.codec, "vp9");

    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let names: BTreeSet<_> = fs::read_dir(sources)
        .expect("examples")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    let run: BTreeSet<_> = cases.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names, run, "an example is not run here");
}
