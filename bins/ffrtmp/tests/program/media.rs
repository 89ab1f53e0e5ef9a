//! Local media work: probe, transcode, doctor, and what bad input comes to.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::desk::{Desk, clip, said};

#[test]
fn a_file_is_transcoded_and_described() {
    let desk = Desk::new();
    clip(&desk.path("in.mp4"), "360p30-h264", 2.0);
    let plan = desk.json(&["transcode", "in.mp4", "out.webm", "--scenario", "240p-vp9", "--dry-run"]);
    assert_eq!(plan["plan"]["video"]["encode"]["renditions"][0]["size"], "426x240");
    assert_eq!(desk.names(), ["in.mp4"]);

    let done = desk.run(&["transcode", "in.mp4", "out.webm", "--scenario", "240p-vp9"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.starts_with("out.webm: vp9 426x240") && done.out.lines().count() == 1, "{}", done.out);
    let asked = desk.run(&["transcode", "in.mp4", "out.webm", "--scenario", "240p-vp9", "--chunks", "on"]);
    assert!(asked.out.contains("\n  chunks: "), "{asked:?}");
    assert_eq!(desk.names(), ["in.mp4", "out.webm"]);

    let info = desk.json(&["probe", "out.webm"]);
    let streams = info["streams"].as_array().unwrap();
    assert_eq!(streams[0]["codec"], "vp9");
    assert_eq!((&streams[0]["video"]["width"], &streams[0]["video"]["height"]), (&426.into(), &240.into()));
    assert_eq!((streams.len(), &streams[1]["codec"]), (2, &"opus".into()));
    assert!((info["duration_seconds"].as_f64().unwrap() - 2.0).abs() < 0.1, "{info}");
    let table = desk.run(&["probe", "out.webm"]);
    assert!(table.out.contains("426x240") && table.out.contains("48000 Hz"), "{}", table.out);

    let report = desk.json(&["transcode", "in.mp4", "copy.mkv", "--codec", "copy", "--audio-codec", "copy"]);
    assert_eq!((&report["frames"], &report["output_uri"]), (&60.into(), &"copy.mkv".into()));
}

#[test]
fn bad_input_is_one_line_that_names_the_field_and_leaves_nothing() {
    let desk = Desk::new();
    clip(&desk.path("good.mp4"), "240p30-h264", 1.0);
    let good = std::fs::read(desk.path("good.mp4")).unwrap();
    desk.write("empty.mp4", b"");
    desk.write("text.mp4", b"this is not a film\n");
    desk.write("cut.mp4", &good[..good.len() / 3]);
    std::fs::create_dir(desk.path("folder")).unwrap();
    std::os::unix::fs::symlink("good.mp4", desk.path("link.mp4")).unwrap();
    let before = desk.names();
    for (args, code, start, hint) in [
        (&["transcode", "absent.mp4", "out.mp4"][..], 3, "IN: absent.mp4 does not exist", "check the path"),
        (&["probe", "absent.mp4"], 3, "IN: absent.mp4 does not exist", "check the path"),
        (&["probe", "folder"], 6, "IN: folder is a directory", "give a media file"),
        (&["probe", "empty.mp4"], 6, "IN: empty.mp4 is empty", "again"),
        (&["transcode", "empty.mp4", "out.mp4"], 6, "IN: empty.mp4 is empty", "again"),
        (&["transcode", "text.mp4", "out.mp4"], 6, "IN: text.mp4", ""),
        (&["probe", "text.mp4"], 6, "IN: text.mp4", ""),
        (&["transcode", "cut.mp4", "out.mp4"], 6, "IN: cut.mp4", ""),
        (&["transcode", "good.mp4", "out.mp4", "--scenario", "1080pp"], 2, "--scenario: ", "1080p30"),
        (&["transcode", "good.mp4", "out.mp4", "--duration", "-5"], 2, "--duration: ", "positive"),
        (&["transcode", "good.mp4", "nowhere/out.mp4"], 3, "OUT: the directory nowhere does not exist", "mkdir"),
        (&["transcode", "good.mp4", "folder"], 4, "OUT: folder is a directory", "file path"),
        (&["transcode", "good.mp4", "out.xyz"], 2, "OUT: out.xyz names no container", "webm"),
        (&["transcode", "good.mp4", "out.webm", "--codec", "h264"], 2, "--codec: ", "webm"),
        (&["transcode", "good.mp4", "out.mp4", "--crf", "60"], 2, "--crf: ", "51"),
        (&["transcode", "good.mp4", "out.mp4", "--two-pass"], 2, "--two-pass: ", "--bitrate"),
        (&["transcode", "good.mp4", "out.mp4", "--encoder-option", "tun=film"], 2, "--encoder-option tun: ", "tune"),
        (&["transcode", "good.mp4", "out.mp4", "--audio-streams", "fra"], 2, "--audio-streams: ", "probe"),
        (&["transcode", "good.mp4", "out.m4a", "--ladder", "auto"], 2, "--ladder: ", "--audio-bitrate"),
        (&["transcode", "https://host/a.mp4", "out.mp4"], 2, "IN: https://host/a.mp4 is a URL", "jobs submit"),
        (&["transcode", "good.mp4", "rtmp://host/live"], 2, "OUT: rtmp://host/live is a URL", "jobs submit"),
        (&["transcode", "good.mp4", "./good.mp4"], 2, "OUT: ./good.mp4 is the input", "another"),
        (&["transcode", "good.mp4", "link.mp4"], 2, "OUT: link.mp4 is the input", "another"),
    ] {
        let said = desk.run(args);
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
        let lines: Vec<_> = said.err.lines().collect();
        assert!(lines.len() == 2 && said.out.is_empty(), "{args:?}: {said:?}");
        assert!(lines[0].starts_with(&format!("error: {start}")), "{args:?}: {}", said.err);
        assert!(lines[1].starts_with("hint: ") && lines[1].contains(hint), "{args:?}: {}", said.err);
        assert_eq!(desk.names(), before, "{args:?} left something behind");
    }
    assert_eq!(std::fs::read(desk.path("good.mp4")).unwrap(), good);
}

#[test]
fn an_output_of_several_files_is_planned_made_and_listed() {
    let desk = Desk::new();
    clip(&desk.path("in.mp4"), "360p30-h264", 2.0);
    let flags = ["--ladder", "240p:300k,144p:crf35", "--preset", "ultrafast", "--poster", "1", "--thumbnails", "2"];
    let args = [&["transcode", "in.mp4", "out.m3u8"][..], &flags[..]].concat();
    let shown = desk.run(&[&args[..], &["--dry-run"]].concat());
    for words in ["hls", "h264 426x240", "300 kb/s", "h264 256x144", "quality 35", "poster at 1 s, 2 thumbnails"] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    assert_eq!(desk.names(), ["in.mp4"]);

    let done = desk.run(&args);
    assert_eq!(done.code, 0, "{}", done.err);
    for words in ["240p: 426x240", "144p: 256x144", "out/240p/: 4 files", "out_poster.jpg"] {
        assert!(done.out.contains(words), "{words}: {}", done.out);
    }
    let names = ["in.mp4", "out", "out.m3u8", "out_poster.jpg", "out_thumb_01.jpg", "out_thumb_02.jpg"];
    assert_eq!(desk.names(), names);
    let report = desk.json(&args);
    for file in report["files"].as_array().unwrap() {
        let size = std::fs::metadata(desk.path(file["path"].as_str().unwrap())).unwrap().len();
        assert_eq!(file["size_bytes"], size, "{file}");
    }
    assert_eq!(desk.names(), names);

    let sound = desk.json(&["transcode", "in.mp4", "out.m4a"]);
    assert_eq!((&sound["frames"], &sound["video_codec"]), (&0.into(), &serde_json::Value::Null));
}

#[test]
fn what_others_made_is_never_replaced() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("show")).unwrap();
    clip(&desk.path("show/ep1.mp4"), "240p30-h264", 1.0);
    let source = std::fs::read(desk.path("show/ep1.mp4")).unwrap();
    desk.write("film_60p.mp4", &source);
    let made = desk.run(&["transcode", "film_60p.mp4", "a.m3u8"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let before = desk.names();
    for (args, code, start) in [
        (&["show/ep1.mp4", "show.m3u8"][..], 5, "OUT: show holds the input"),
        (&["film_60p.mp4", "show.mpd"], 4, "OUT: show is not a package of show.mpd"),
        (&["film_60p.mp4", "a.mpd"], 4, "OUT: a is not a package of a.mpd"),
        (&["film_60p.mp4", "film.mp4", "--ladder", "160x120,80x60"], 5, "OUT: film_60p.mp4 is the input"),
    ] {
        let refused = desk.run(&[&["transcode"], args].concat());
        assert_eq!(refused.code, code, "{args:?}: {}", refused.err);
        assert!(refused.err.contains(start) && refused.err.contains("name the output otherwise"), "{}", refused.err);
        assert_eq!(desk.names(), before, "{args:?}");
        for kept in ["show/ep1.mp4", "film_60p.mp4"] {
            assert_eq!(std::fs::read(desk.path(kept)).unwrap(), source, "{args:?}");
        }
    }
    let again = desk.run(&["transcode", "film_60p.mp4", "a.m3u8"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(desk.names(), before);
}

#[test]
fn an_interrupt_cancels_and_leaves_nothing() {
    let desk = Desk::new();
    clip(&desk.path("in.mp4"), "720p30-h264", 10.0);
    let args = ["transcode", "in.mp4", "out.mp4", "--scenario", "1440p60-av1", "--preset", "slower"];
    let child = desk.command(&args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    // The staged output shows that work has begun.
    while desk.names().len() < 2 {
        assert!(Instant::now() < deadline, "the transcode does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let asked = Instant::now();
    let ended = said(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 130, "{}", ended.err);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(desk.names(), ["in.mp4"]);
}

#[test]
fn doctor_says_what_works_and_what_is_missing() {
    let desk = Desk::new();
    let shown = desk.json(&["doctor"]);
    assert_eq!(shown["transcoding_works"], true, "{shown}");
    let finding = |what: &str| {
        let all = shown["findings"].as_array().unwrap();
        all.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{what}: {shown}")).clone()
    };
    assert_eq!(finding("encoder h264")["standing"], "works");
    assert!(finding("disk here")["detail"].as_str().unwrap().contains("free"));

    let mut without = desk.command(&["doctor"]);
    let ended = said(without.env("FFRTMP_RUNNER", "/nowhere/ffrtmp-runner").output().unwrap());
    assert_eq!(ended.code, 7, "{}", ended.err);
    assert!(ended.out.contains("MISSING") && ended.err.contains("hint: install ffrtmp-runner"), "{ended:?}");
}
