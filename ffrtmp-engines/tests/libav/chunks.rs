//! Pictures in chunks: the same pictures and sound as in one piece, the same bytes however many
//! workers there are, and a reason where it is not done.
//!
//! With x264 at quality 0, which loses nothing, decoded pictures show every frame that was dropped,
//! doubled or moved at a seam.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::encoding::Chunking;
use ffrtmp_core::engine::{Control, MediaBounds, Source, Unobserved};
use ffrtmp_core::error::{Code, Result};
use ffrtmp_core::job::{ChunkReport, JobReport};
use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};
use ffrtmp_core::plan::{Plan, RateControl, Vbv, VideoPlan};
use ffrtmp_core::units::{Bitrate, Crf, FrameRate, Seconds};
use ffrtmp_engines::libav::ChunkPlan;

use crate::workbench::{self, Bench, ENGINE};

/// A moving picture with scene cuts every three seconds, and a tone.
const SCENES: &str = "-f lavfi -i testsrc2=s=192x108:r=25:d=12 -f lavfi -i sine=frequency=440:duration=12 \
     -vf hue=h='if(mod(floor(t/3)\\,2)\\,180\\,0)',negate=enable='lt(mod(t\\,6)\\,3)' -c:a aac -pix_fmt yuv420p";

/// Name and arguments of sources that are divided in different ways.
const SOURCES: &[(&str, &str)] = &[
    // Closed groups with key frames at the cuts.
    ("closed.mp4", "-c:v libx264 -preset veryfast -crf 20"),
    // One group for everything: all boundaries are in its middle.
    ("one.mkv", "-c:v libx264 -preset veryfast -x264-params scenecut=0:keyint=9999:bframes=3:b-pyramid=normal"),
    // Open groups: pictures before a key frame refer to the group before.
    ("open.mp4", "-c:v libx264 -preset veryfast -x264-params open-gop=1:keyint=30:bframes=3"),
    ("open.mkv", "-c:v libx265 -preset ultrafast -x265-params open-gop=1:keyint=40:bframes=4:log-level=none"),
    // Decoding times begin below zero, and an edit list hides the delay.
    ("variable.mp4", "-c:v libx264 -preset veryfast -fps_mode vfr -enc_time_base 1/90000"),
    ("keys.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -g 30 -b:v 500k -c:a libopus"),
    ("mpeg2.mkv", "-c:v mpeg2video -g 25 -bf 2 -b:v 2M"),
];

fn source(bench: &Bench, name: &str, arguments: &str) -> Option<PathBuf> {
    bench.ffmpeg(name, &format!("{SCENES} {arguments}"))
}

/// A plan that loses nothing.
fn lossless(input: &Path, chunks: Chunking) -> Plan {
    let mut plan =
        workbench::plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac).on(&Source::File(input.to_owned()));
    plan.chunks = chunks;
    picture(&mut plan, |picture| picture.renditions[0].rate = quality(0.0, None));
    plan
}

fn quality(crf: f64, cap: Option<Vbv>) -> RateControl {
    RateControl::Quality { crf: Crf::try_from(crf).unwrap(), cap }
}

fn picture(plan: &mut Plan, change: impl FnOnce(&mut ffrtmp_core::plan::PicturePlan)) {
    if let Some(VideoPlan::Encode(picture)) = &mut plan.video {
        change(picture);
    }
}

fn run(plan: &Plan, input: &Path, output: &Path, threads: usize) -> Result<JobReport> {
    let bounds = MediaBounds { threads, ..MediaBounds::default() };
    ENGINE.execute(plan, &Source::File(input.to_owned()), output, &bounds, &Control::default(), &Unobserved)
}

fn chunking(report: &JobReport) -> &ChunkReport {
    report.chunking.as_ref().unwrap()
}

/// Times and sums of the decoded frames, or packets, of a stream, by `ffmpeg`.
fn sums(path: &Path, stream: &str, codec: &str) -> String {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", stream, "-fps_mode", "passthrough", "-c", codec, "-f", "framemd5", "-"])
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Decoding and presentation of every packet of the picture, in ticks, by `ffprobe`.
fn packets(path: &Path) -> Vec<(i64, i64)> {
    let entries = ["-show_entries", "packet=dts,pts", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(["-v", "error", "-select_streams", "v"]).args(entries).arg(path).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let number = |text: &str| text.parse::<i64>().unwrap();
    text.lines()
        .filter_map(|line| line.trim_end_matches(',').split_once(','))
        .map(|(pts, dts)| (number(dts), number(pts)))
        .collect()
}

#[test]
fn chunks_hold_the_pictures_and_the_sound_of_one_piece() {
    let bench = Bench::new();
    for (name, arguments) in SOURCES {
        let Some(input) = source(&bench, name, arguments) else { return };
        for rate in [None, Some((30, 1)), Some((24000, 1001))] {
            if rate.is_some() && !["closed.mp4", "one.mkv"].contains(name) {
                continue;
            }
            let [whole, parts] = [Chunking::Off, Chunking::On].map(|chunks| {
                let mut plan = lossless(&input, chunks);
                picture(&mut plan, |picture| {
                    picture.fps = rate.map(|(num, den)| FrameRate::new(num, den).unwrap());
                    picture.renditions[0].fps = picture.fps;
                });
                let output = bench.path(&format!("{chunks}.mp4"));
                let report = run(&plan, &input, &output, 2).unwrap();
                assert!(report.warnings.is_empty(), "{name}: {:?}", report.warnings);
                if chunks == Chunking::On {
                    assert!(chunking(&report).chunks >= 4, "{name}: {:?}", report.chunking);
                }
                output
            });
            assert_eq!(sums(&parts, "0:v", "rawvideo"), sums(&whole, "0:v", "rawvideo"), "{name} {rate:?}: pictures");
            assert_eq!(sums(&parts, "0:a", "copy"), sums(&whole, "0:a", "copy"), "{name} {rate:?}: sound");
            let (times, wanted) = (packets(&parts), packets(&whole));
            assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}: decoding goes back");
            assert!(times.iter().all(|(dts, pts)| dts <= pts), "{name}: shown before it is decoded");
            let ordered = |times: &[(i64, i64)]| times.iter().map(|(dts, _)| *dts).collect::<Vec<_>>();
            assert_eq!(ordered(&times), ordered(&wanted), "{name} {rate:?}: decoding times");
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_workers() {
    let bench = Bench::new();
    for (container, codec) in [(Container::Mp4, VideoCodec::H264), (Container::MpegTs, VideoCodec::H264)] {
        let Some(input) = source(&bench, "in.mp4", "-c:v libx264 -preset veryfast") else { return };
        let mut plan = lossless(&input, Chunking::On);
        plan.container = container;
        picture(&mut plan, |picture| {
            picture.renditions[0].codec = codec;
            picture.renditions[0].rate = quality(28.0, None);
        });
        let made = [1, 2, 5].map(|threads| {
            let output = bench.path("out");
            let report = run(&plan, &input, &output, threads).unwrap();
            assert_eq!(chunking(&report).workers as usize, threads.min(chunking(&report).chunks as usize));
            fs::read(output).unwrap()
        });
        assert!(made[0] == made[1] && made[1] == made[2], "{container}");
    }
}

#[test]
fn several_machines_make_the_same_file_in_steps() {
    let bench = Bench::new();
    let Some(input) = source(&bench, "in.mp4", "-c:v libx264 -preset veryfast") else { return };
    let mut plan = lossless(&input, Chunking::On);
    picture(&mut plan, |picture| picture.renditions[0].rate = quality(30.0, None));
    plan.duration = Some(Seconds::try_from(10.5).unwrap());
    run(&plan, &input, &bench.path("here.mp4"), 2).unwrap();

    let (bounds, control, source) = (MediaBounds::default(), Control::default(), Source::File(input));
    let divided = ENGINE.split(&plan, &source, &bounds, &control).unwrap();
    let divided: ChunkPlan = serde_json::from_str(&serde_json::to_string(&divided).unwrap()).unwrap();
    let encode = |index: u32, name: &str| {
        let part = bench.path(name);
        let done = ENGINE.encode_chunk(&divided, index, &source, &part, &bounds, &control).unwrap();
        assert_eq!((done.index, done.bytes), (index, fs::metadata(&part).unwrap().len()));
        (part, done)
    };
    let order = divided.chunks.iter().map(|chunk| chunk.index).rev();
    let mut parts: Vec<_> = order.map(|index| encode(index, &format!("part{index}"))).collect();
    parts.reverse();
    let (again, done) = encode(1, "again");
    assert_eq!(fs::read(&again).unwrap(), fs::read(&parts[1].0).unwrap());
    assert_eq!(done, parts[1].1);
    assert_eq!(parts.iter().map(|(_, done)| done.packets).sum::<u64>(), 263);

    let paths: Vec<PathBuf> = parts.into_iter().map(|(path, _)| path).collect();
    let output = bench.path("there.mp4");
    let stitch = |parts: &[PathBuf]| ENGINE.stitch(&divided, &source, parts, &output, &bounds, &control, &Unobserved);
    let report = stitch(&paths).unwrap();
    assert_eq!(report.frames, 263);
    assert_eq!(fs::read(&output).unwrap(), fs::read(bench.path("here.mp4")).unwrap());

    let mut swapped = paths.clone();
    swapped.swap(0, 1);
    assert_eq!(stitch(&swapped).unwrap_err().code(), Code::InvalidField);
    assert_eq!(stitch(&paths[1..]).unwrap_err().code(), Code::InvalidField);
    assert_eq!(stitch(&paths[..1]).unwrap_err().code(), Code::InvalidField);
    let bytes = fs::read(&again).unwrap();
    fs::write(&paths[1], &bytes[..bytes.len() - 40]).unwrap();
    assert_eq!(stitch(&paths).unwrap_err().code(), Code::InputInvalid);
    assert!(!output.exists(), "nothing is left of a failed attempt");
}

#[test]
fn the_buffer_of_a_decoder_is_kept_across_seams() {
    let bench = Bench::new();
    let noise = "-f lavfi -i testsrc2=s=192x108:r=25:d=12,noise=alls=60:allf=t -c:v libx264 -preset veryfast -crf 20";
    let Some(input) = bench.ffmpeg("in.mp4", noise) else { return };
    let cap = Vbv { max_rate: Bitrate::from_kbps(400), buffer: Bitrate::from_kbps(200) };
    let mut plan = lossless(&input, Chunking::On);
    picture(&mut plan, |picture| {
        picture.renditions[0].rate = quality(16.0, Some(cap));
        picture.renditions[0].preset = Some("veryfast".to_owned());
    });
    let made = [1, 3].map(|threads| {
        let output = bench.path(&format!("{threads}.mp4"));
        let report = run(&plan, &input, &output, threads).unwrap();
        assert!(chunking(&report).chunks >= 4);
        output
    });
    assert!(fs::read(&made[0]).unwrap() == fs::read(&made[1]).unwrap());
    let (buffer, rate) = (cap.buffer.bps() as f64, cap.max_rate.bps() as f64 / 25.0);
    let (mut level, mut lowest) = (buffer * 0.9, buffer);
    for size in sizes(&made[0]) {
        level -= size * 8.0;
        lowest = lowest.min(level);
        level = (level + rate).min(buffer);
    }
    assert!(lowest > -0.02 * buffer, "{lowest} of {buffer} bits");
}

fn sizes(path: &Path) -> Vec<f64> {
    let entries = ["-show_entries", "packet=size", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(["-v", "error", "-select_streams", "v"]).args(entries).arg(path).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

/// A source, a word of the reason, and what makes the plan one that cannot be divided.
type Case<'a> = (&'a Path, &'a str, Box<dyn Fn(&mut Plan)>);

#[test]
fn what_cannot_be_divided_is_encoded_in_one_piece_and_says_why() {
    let bench = Bench::new();
    let Some(input) = source(&bench, "in.mp4", "-c:v libx264 -preset veryfast") else { return };
    let Some(stream) = source(&bench, "in.ts", "-c:v libx264 -preset veryfast") else { return };
    let Some(fields) = source(&bench, "fields.mkv", "-c:v mpeg2video -flags +ildct+ilme -top 1 -b:v 2M") else {
        return;
    };
    let bytes = fs::read(&input).unwrap();
    let damaged = bench.path("damaged.mp4");
    let mut broken = bytes;
    let middle = broken.len() / 2;
    broken[middle..middle + 3000].fill(0xff);
    fs::write(&damaged, broken).unwrap();

    let average = workbench::average(300);
    let cases: [Case<'_>; 7] = [
        (&input, "switched off", Box::new(|plan| plan.chunks = Chunking::Off)),
        (&input, "bit rate", Box::new(move |plan| picture(plan, |picture| picture.renditions[0].rate = average))),
        (&input, "no pictures", Box::new(|plan| plan.video = None)),
        (&stream, "index", Box::new(|_| {})),
        (&fields, "deinterlacing", Box::new(|_| {})),
        (&damaged, "damaged", Box::new(|_| {})),
        (&input, "too few", Box::new(|plan| plan.chunks = Chunking::Auto)),
    ];
    for (input, reason, change) in cases {
        let mut plan = lossless(input, Chunking::On);
        change(&mut plan);
        let report = run(&plan, input, &bench.path("out.mp4"), 4).unwrap();
        let chunking = chunking(&report);
        assert_eq!(chunking.chunks, 1, "{reason}: {chunking:?}");
        assert!(chunking.reason.contains(reason), "{reason}: {chunking:?}");
    }
}

#[test]
fn chunks_stop_when_told_and_leave_nothing() {
    let bench = Bench::new();
    let Some(input) = source(&bench, "in.mp4", "-c:v libx264 -preset veryfast") else { return };
    let plan = lossless(&input, Chunking::On);
    let (control, source) = (Control::default(), Source::File(input.clone()));
    let output = bench.path("out.mp4");
    let observer = CancelAtOnce(control.clone());
    let bounds = MediaBounds { threads: 2, ..MediaBounds::default() };
    let error = ENGINE.execute(&plan, &source, &output, &bounds, &control, &observer).unwrap_err();
    assert_eq!(error.code(), Code::Canceled);
    fs::remove_file(input).unwrap();
    assert!(bench.is_empty());
}

/// Cancels once the first picture is encoded.
struct CancelAtOnce(Control);

impl ffrtmp_core::engine::Observer for CancelAtOnce {
    fn progress(&self, _: ffrtmp_core::engine::Progress) {
        self.0.cancel();
    }

    fn log(&self, _: &str, _: &str) {}
}
