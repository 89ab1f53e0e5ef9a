//! Inputs that were once treated wrongly, each of its own kind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ffrtmp_core::encoding::Chunking;
use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task, Unobserved};
use ffrtmp_core::error::Code;
use ffrtmp_core::job::Parameters;
use ffrtmp_core::media::{AudioCodec, Container, StreamInfo, VideoCodec};
use ffrtmp_core::plan::{OutputRequest, RateControl, VideoPlan as Pictures};
use ffrtmp_core::units::Crf;

use crate::workbench::{AudioPlan, Bench, ENGINE, Plan, VideoPlan, plan, probe};

/// Far beyond what the work takes; only an attempt that hangs needs it.
const EVER: Duration = Duration::from_secs(120);
const TONE: &str = "-f lavfi -i sine=r=48000:d=12";

/// A film of which the pictures are stored out of order.
fn film(bench: &Bench, seconds: u32) -> Option<std::path::PathBuf> {
    let arguments = format!(
        "-f lavfi -i testsrc2=s=192x108:r=25:d={seconds} {TONE} -shortest -c:v libx264 -preset ultrafast -bf 2 -g 25 -c:a aac"
    );
    bench.ffmpeg("film.mp4", &arguments)
}

#[test]
fn an_encoder_of_av1_that_gets_no_picture_ends() {
    let bench = Bench::new();
    let Some(input) = film(&bench, 12) else { return };
    let source = Source::File(input);
    let mut plan = plan(Container::Mp4, VideoCodec::Av1, AudioCodec::Aac).on(&source);
    plan.chunks = Chunking::On;
    if let Some(Pictures::Encode(picture)) = &mut plan.video {
        let rendition = &mut picture.renditions[0];
        rendition.preset = Some("12".to_owned());
        rendition.rate = RateControl::Quality { crf: Crf::try_from(40.0).unwrap(), cap: None };
    }
    let (output, (end, ended)) = (bench.path("out.mp4"), mpsc::channel());
    let name = output.clone();
    thread::spawn(move || {
        let bounds = MediaBounds::default();
        let made = ENGINE.execute(&plan, &source, &name, &bounds, &Control::default(), &Unobserved);
        end.send(Box::new(made))
    });
    match *ended.recv_timeout(EVER).expect("the encoder hangs") {
        Ok(report) => {
            assert!(report.chunking.unwrap().chunks > 1);
            let made = probe(&output);
            let (stream, _) = made.best_video().unwrap();
            assert!((stream.duration_seconds.unwrap() - 12.0).abs() < 0.1, "{stream:?}");
        }
        Err(error) => assert_eq!(error.code(), Code::CodecUnavailable, "{error}"),
    }
}

#[test]
fn copies_of_a_cut_with_hidden_sound_are_accepted() {
    let bench = Bench::new();
    if film(&bench, 8).is_none() {
        return;
    }
    for start in ["0.5", "1", "1.7", "3"] {
        let name = format!("cut-{start}.mp4");
        let input = bench.ffmpeg(&name, &format!("-ss {start} -i film.mp4 -t 2 -c copy")).unwrap();
        for video in [Some(VideoPlan::Copy), None] {
            for container in [Container::Mp4, Container::Fmp4] {
                let work = plan(container, VideoCodec::H264, AudioCodec::Aac);
                let work = Plan { video: video.clone(), audio: Some(AudioPlan::Copy), ..work };
                let made = bench.run(&work, &input, "copy.mp4");
                assert!(made.is_ok(), "{name} to {container}: {:?}", made.err());
            }
        }
    }
}

#[test]
fn streams_that_begin_late_are_found() {
    let bench = Bench::new();
    let (picture, sound) = ("-f lavfi -i testsrc2=s=64x48:r=10:d", "-f lavfi -i sine=d");
    let codecs = "-map 0 -map 1 -c:v mpeg2video -r 25 -c:a mp2";
    for (name, arguments, [seen, heard]) in [
        ("late-sound.ts", format!("{picture}=16 -itsoffset 12 {sound}=3 {codecs}"), [0.0, 12.0]),
        ("late-sound.mpg", format!("{picture}=16 -itsoffset 12 {sound}=3 {codecs}"), [0.0, 12.0]),
        (
            "late-sound.flv",
            format!("{picture}=16 -itsoffset 12 {sound}=3 -map 0 -map 1 -c:v flv1 -c:a aac"),
            [0.0, 12.0],
        ),
        ("late-picture.ts", format!("-itsoffset 12 {picture}=3 {sound}=16 {codecs}"), [12.0, 0.0]),
    ] {
        let Some(input) = bench.ffmpeg(name, &arguments) else { return };
        let work = plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac);
        let (_, output) = bench.run(&work, &input, "out.mp4").unwrap();
        let made = probe(&output);
        let start = |stream: &StreamInfo| stream.start_seconds.unwrap_or(f64::NAN);
        let starts =
            [made.best_video().map(|(stream, _)| start(stream)), made.audio().next().map(|(stream, _)| start(stream))];
        for (is, wanted) in starts.into_iter().zip([seen, heard]) {
            assert!(is.is_some_and(|is| (is - wanted).abs() < 0.1), "{name}: {starts:?}");
        }
    }
}

/// The table of an MP4 that says how long pictures are shown, with another time for two of them.
#[test]
fn pictures_with_a_wrong_time_are_said() {
    /// Of the second entry, behind the name of the box.
    const PLACE: usize = 24;
    let bench = Bench::new();
    // In turns of two lengths, so that each entry of the table is for a few.
    let arguments = format!(
        "-f lavfi -i testsrc2=s=192x108:r=25:d=4 {TONE} -t 4 -vf select=not(mod(n\\,3))+not(mod(n\\,4)) -vsync vfr \
         -c:v libx264 -preset ultrafast -c:a aac"
    );
    let Some(input) = bench.ffmpeg("good.mp4", &arguments) else { return };
    let good = fs::read(&input).unwrap();
    let table = good.windows(4).position(|window| window == b"stts").unwrap();
    let work = plan(Container::Mkv, VideoCodec::H264, AudioCodec::Aac);
    let copy = Plan { video: Some(VideoPlan::Copy), audio: Some(AudioPlan::Copy), ..work };
    let length = u32::from_be_bytes(*good[table + PLACE..].first_chunk().unwrap());
    // Of the last, times go back; a copy says that it cannot be.
    for (damaged, works, is_said) in
        [(length, &[&work, &copy][..], false), (length * 40, &[&work, &copy], true), (0xffff_f000, &[&work], true)]
    {
        let mut bytes = good.clone();
        bytes[table + PLACE..table + PLACE + 4].copy_from_slice(&damaged.to_be_bytes());
        let input = bench.path("in.mp4");
        fs::write(&input, bytes).unwrap();
        for work in works {
            let (report, _) = bench.run(work, &input, "out.mkv").unwrap();
            let said = report.warnings.iter().any(|warning| warning.contains("be shown for a wrong time"));
            assert_eq!(said, is_said, "{damaged:#x}: {:?}", report.warnings);
        }
    }
}

#[test]
fn sound_in_packets_shorter_than_a_tick_keeps_its_length() {
    let bench = Bench::new();
    let Some(input) = bench.ffmpeg("film.mkv", &format!("{TONE} -c:a truehd -strict -2")) else { return };
    let work = plan(Container::Mkv, VideoCodec::H264, AudioCodec::Aac);
    let work = Plan { video: None, audio: Some(AudioPlan::Copy), ..work };
    let (report, _) = bench.run(&work, &input, "copy.mkv").unwrap();
    assert!((report.duration_seconds - 12.0).abs() < 0.01, "{}", report.duration_seconds);
}

#[test]
fn fields_of_avi_are_not_pictures() {
    let bench = Bench::new();
    if film(&bench, 3).is_none() {
        return;
    }
    let input = bench.ffmpeg("film.avi", "-i film.mp4 -c copy").unwrap();
    let made = probe(&input);
    let (_, video) = made.best_video().unwrap();
    assert_eq!(video.frame_rate.map(|rate| rate.as_f64()), Some(25.0));
}

#[test]
fn text_is_no_markup_in_webvtt() {
    let bench = Bench::new();
    let text = "1\n00:00:00,500 --> 00:00:01,500\nä & < > \"q\", {x} <i>1 < 2</i>\n\n";
    fs::write(bench.path("text.srt"), text).unwrap();
    let arguments = "-f lavfi -i testsrc2=s=64x48:r=10:d=2 -i text.srt -map 0 -map 1 -c:v libx264 -c:s subrip";
    let Some(input) = bench.ffmpeg("text.mkv", arguments) else { return };
    let task = Task {
        source: Source::File(input),
        output: bench.path("text.webm"),
        request: OutputRequest {
            parameters: Parameters { preset: Some("ultrafast".to_owned()), ..Parameters::default() },
            container: Some(Container::Webm),
            ..OutputRequest::default()
        },
        bounds: MediaBounds::default(),
        live: None,
    };
    ENGINE.run(&task, &Control::default(), &Unobserved).unwrap();
    let cues = cues(&task.output);
    assert!(cues.contains("ä &amp; &lt; &gt; \"q\", {x} <i>1 &lt; 2</i>"), "{cues}");
}

#[test]
fn a_copy_that_loses_the_turn_says_so() {
    let bench = Bench::new();
    if film(&bench, 1).is_none() {
        return;
    }
    let input = bench.ffmpeg("turned.mp4", "-i film.mp4 -c copy -metadata:s:v:0 rotate=90").unwrap();
    let rotation = probe(&input).best_video().map(|(_, video)| video.rotation);
    if rotation == Some(0) {
        eprintln!("skipped: this ffmpeg turns nothing by metadata");
        return;
    }
    for (container, is_lost) in [(Container::Mkv, true), (Container::MpegTs, true), (Container::Mp4, false)] {
        let work = plan(container, VideoCodec::H264, AudioCodec::Aac);
        let work = Plan { video: Some(VideoPlan::Copy), audio: Some(AudioPlan::Copy), ..work };
        let (report, _) = bench.run(&work, &input, "copy").unwrap();
        let said = report.warnings.iter().any(|warning| warning.contains("the turn of the picture"));
        assert_eq!(said, is_lost, "{container}: {:?}", report.warnings);
    }
}

/// The cues of the first stream of WebVTT as they are stored.
fn cues(path: &Path) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i"]).arg(path);
    let output = command.args(["-map", "0:s:0", "-c", "copy", "-f", "webvtt", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
