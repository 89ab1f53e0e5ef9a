//! Every software encoder at work: what it was told shows in its packets.

use std::path::Path;

use ffrtmp_core::encoding::{EncoderOptions, Profile, Tune};
use ffrtmp_core::plan::{Gop, RateControl, Vbv};
use ffrtmp_core::units::{Bitrate, Crf, Resolution, Seconds};

use super::super::sys::log::{self, Collector};
use super::super::sys::{AvError, Encoder};
use super::super::sys::{Color, Frame, Graph, Packet, Pulled, TimeBase, VideoFormat, has_encoder};
use super::tests::plan;
use super::*;

const FPS: i32 = 25;
const SOFTWARE: [&str; 7] = ["libx264", "libx265", "libvpx", "libvpx-vp9", "libsvtav1", "libaom-av1", "librav1e"];
/// A quiet and a noisy half, so that rate control has something to do.
const UNEVEN: &str = "testsrc2=size=256x144:rate=25,noise=alls=40:allf=t:enable='between(mod(t,4),2,4)'";

/// What came out: bits and whether it is a key frame, in coding order, and what was measured.
struct Made {
    packets: Vec<(u64, i64, bool)>,
    stats: String,
}

impl Made {
    fn key_frames(&self) -> Vec<i64> {
        self.packets.iter().filter(|(.., key)| *key).map(|(_, pts, _)| *pts).collect()
    }

    fn bits_per_second(&self) -> f64 {
        self.packets.iter().map(|(bits, ..)| *bits as f64).sum::<f64>() * f64::from(FPS) / self.packets.len() as f64
    }

    /// The most bits that were ever sent beyond what a line of this rate had carried by then: what
    /// a decoder's buffer must hold.
    fn burst(&self, rate: Bitrate) -> f64 {
        let arrives = rate.bps() as f64 / f64::from(FPS);
        let (mut ahead, mut most) = (0.0_f64, 0.0_f64);
        for (bits, ..) in &self.packets {
            ahead = (ahead - arrives).max(0.0) + *bits as f64;
            most = most.max(ahead);
        }
        most
    }
}

/// A job for one encoder.
struct Work<'a> {
    encoder: &'a str,
    plan: VideoEncode,
    source: &'a str,
    frames: i64,
    threads: usize,
    pass: Pass<'a>,
    measured: Option<String>,
    /// Frames that are sent as key frames.
    keys: &'a [i64],
}

impl<'a> Work<'a> {
    fn new(encoder: &'a str, change: impl Fn(&mut VideoEncode)) -> Self {
        let mut plan = plan(encoder);
        plan.size = Resolution { width: 256, height: 144 };
        plan.preset = Some("veryfast".to_owned());
        change(&mut plan);
        Self { encoder, plan, source: UNEVEN, frames: 100, threads: 1, pass: Pass::Single, measured: None, keys: &[] }
    }

    fn run(&self) -> Made {
        log::redirect();
        let _quiet = Collector::start();
        self.make().unwrap_or_else(|error| panic!("{}: {error} ({:?})", self.encoder, Collector::last_error()))
    }

    fn make(&self) -> std::result::Result<Made, AvError> {
        let depth = depth(self.encoder, &self.plan, 8).unwrap();
        let pixel_format = Family::of(self.encoder).pixel_format(depth > 8);
        let notation = format!("{},trim=end_frame={},format={pixel_format},buffersink@out", self.source, self.frames);
        let mut graph = Graph::new(&notation, 1, None)?;
        let mut encoder = self.open(&graph, pixel_format)?;
        let (mut frame, mut packet) = (Frame::new(), Packet::new());
        let (mut packets, mut stats, mut count) = (Vec::new(), String::new(), 0);
        loop {
            let more = graph.pull(&mut frame)? == Pulled::Frame;
            frame.prepare_for_encoder();
            frame.set_pts(count);
            if self.keys.contains(&count) {
                frame.force_key();
            }
            count += 1;
            encoder.send(more.then_some(&frame))?;
            loop {
                match encoder.receive(&mut packet) {
                    Ok(()) => packets.push((packet.size() as u64 * 8, packet.pts().unwrap(), packet.is_key())),
                    Err(AvError::AGAIN) if more => break,
                    Err(AvError::EOF) => {
                        stats.push_str(&encoder.stats().unwrap_or_default());
                        return Ok(Made { packets, stats });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn open(&self, graph: &Graph, pixel_format: &str) -> std::result::Result<Encoder, AvError> {
        let settings =
            settings(self.encoder, &self.plan, (FPS, 1), self.threads, self.pass, &HdrMetadata::default()).unwrap();
        let format = VideoFormat {
            width: self.plan.size.width as i32,
            height: self.plan.size.height as i32,
            pixel_format: pixel_format.to_owned(),
            sample_aspect_ratio: (1, 1),
            time_base: TimeBase::new(1, FPS),
            frame_rate: (FPS, 1),
            color: Color { range: 0, primaries: 2, transfer: 2, matrix: 2 },
        };
        match &self.measured {
            Some(measured) => Encoder::second_pass(self.encoder, &format, &settings, true, graph, measured),
            None => Encoder::video(self.encoder, &format, &settings, true, graph),
        }
    }
}

fn here(encoder: &&&str) -> bool {
    let has = has_encoder(encoder);
    if !has {
        eprintln!("skipped: no {encoder} in this FFmpeg");
    }
    has
}

fn kbps(kbps: u64) -> Bitrate {
    Bitrate::from_kbps(kbps)
}

fn quality(crf: f64, cap: Option<Vbv>) -> RateControl {
    RateControl::Quality { crf: Crf::try_from(crf).unwrap(), cap }
}

fn average(two_pass: bool) -> RateControl {
    let cap = Vbv { max_rate: kbps(600), buffer: kbps(800) };
    RateControl::Average { bitrate: kbps(400), cap, two_pass }
}

fn every_two_seconds() -> Gop {
    Gop::Fixed(Seconds::try_from(2.0).unwrap())
}

#[test]
fn every_frame_comes_out_in_both_depths() {
    for encoder in SOFTWARE.iter().filter(here) {
        for bits in [8, 10] {
            if bits == 10 && *encoder == "libvpx" {
                continue;
            }
            let made = Work { frames: 12, ..Work::new(encoder, |plan| plan.bit_depth = Some(bits)) }.run();
            assert_eq!(made.packets.len(), 12, "{encoder} with {bits} bits");
            assert_eq!(made.key_frames(), [0], "{encoder} with {bits} bits");
        }
    }
}

/// An option that the library does not know by this name would not open.
#[test]
fn every_option_in_the_tables_is_one_of_the_library() {
    let mut cases: Vec<EncoderOptions> =
        Tune::ALL.iter().map(|tune| EncoderOptions { tune: Some(*tune), ..EncoderOptions::default() }).collect();
    cases.extend(
        Profile::ALL.iter().map(|profile| EncoderOptions { profile: Some(*profile), ..EncoderOptions::default() }),
    );
    let none = EncoderOptions::default();
    cases.extend([
        EncoderOptions { level: Some(4.1), ..none },
        EncoderOptions { b_frames: Some(2), ..none },
        EncoderOptions { references: Some(2), ..none },
        EncoderOptions { lookahead: Some(12), ..none },
        EncoderOptions { aq_mode: Some(1), ..none },
        EncoderOptions { aq_strength: Some(0.8), ..none },
        EncoderOptions { tile_columns: Some(1), ..none },
        EncoderOptions { tile_rows: Some(1), ..none },
        EncoderOptions { film_grain: Some(8), ..none },
    ]);
    let mut taken = 0;
    for encoder in SOFTWARE.iter().filter(here) {
        for options in &cases {
            let work = Work { frames: 4, ..Work::new(encoder, |plan| plan.options = *options) };
            if settings(encoder, &work.plan, (FPS, 1), 1, Pass::Single, &HdrMetadata::default()).is_ok() {
                assert_eq!(work.run().packets.len(), 4, "{encoder} {options:?}");
                taken += 1;
            }
        }
    }
    assert!(taken > 40, "{taken}");
}

#[test]
fn key_frames_are_where_they_were_ordered_and_nowhere_else() {
    // A cut every second; the key frames are to be every two.
    let cuts = "testsrc2=size=256x144:rate=25,negate=enable='lt(mod(t,2),1)'";
    for encoder in SOFTWARE.iter().filter(here) {
        for rate in [quality(30.0, None), average(false)] {
            let work = Work::new(encoder, |plan| (plan.rate, plan.gop) = (rate, every_two_seconds()));
            let who = key_frames(encoder, &work.plan, (FPS, 1));
            let keys: &[i64] = if who == KeyFrames::Sender { &[0, 50, 100] } else { &[] };
            let made = Work { source: cuts, frames: 120, keys, ..work }.run();
            assert_eq!(made.key_frames(), [0, 50, 100], "{encoder} {rate:?} {who:?}");
        }
    }
}

#[test]
fn most_seconds_between_key_frames_are_kept() {
    for encoder in SOFTWARE.iter().filter(here) {
        let gop = Gop::AtMost(Seconds::try_from(1.0).unwrap());
        let made = Work { frames: 80, ..Work::new(encoder, |plan| plan.gop = gop) }.run();
        let keys = made.key_frames();
        assert!(
            keys.len() >= 4 && keys.windows(2).all(|pair| pair[1] - pair[0] <= i64::from(FPS)),
            "{encoder}: {keys:?}"
        );
    }
}

#[test]
fn caps_hold_at_every_moment() {
    let cap = Vbv { max_rate: kbps(400), buffer: kbps(400) };
    let abr = RateControl::Average { bitrate: kbps(300), cap, two_pass: false };
    let cbr = RateControl::Constant { bitrate: kbps(400), buffer: kbps(400) };
    for encoder in SOFTWARE.iter().filter(here).filter(|encoder| **encoder != "libaom-av1") {
        for rate in [quality(16.0, Some(cap)), abr, cbr] {
            let work = Work { frames: 120, ..Work::new(encoder, |plan| plan.rate = rate) };
            if settings(encoder, &work.plan, (FPS, 1), 1, Pass::Single, &HdrMetadata::default()).is_err() {
                continue;
            }
            let made = work.run();
            let (burst, average) = (made.burst(cap.max_rate) / cap.buffer.bps() as f64, made.bits_per_second() / 4e5);
            eprintln!("{encoder} {rate:?}: burst {burst:.2} of the buffer, average {average:.2} of the cap");
            // Only the buffers of x264 and x265 are verified while they encode.
            let most = if matches!(*encoder, "libx264" | "libx265") { 1.0 } else { 2.0 };
            assert!(burst <= most, "{encoder} {rate:?}: {burst:.2} of the buffer");
            // The buffer may be empty at the end, on top of the rate.
            assert!(average <= 1.0 + 1.0 / 8.0, "{encoder} {rate:?}: {average:.2} of the rate");
        }
    }
}

#[test]
fn a_second_look_comes_nearer_to_the_rate() {
    let directory = tempfile::tempdir().unwrap();
    // libaom takes half a minute for what shows a rate.
    let cases = [("libx264", 200), ("libx265", 200), ("libvpx", 200), ("libvpx-vp9", 200), ("libaom-av1", 10)];
    for (encoder, frames) in cases.into_iter().filter(|(encoder, _)| here(&encoder)) {
        let file = directory.path().join(format!("{encoder}: 'stats'"));
        let work = |pass, measured| Work {
            frames,
            pass,
            measured,
            ..Work::new(encoder, |plan| plan.rate = average(pass != Pass::Single))
        };
        let first = work(Pass::First(&file), None).run();
        let keeps_file = matches!(encoder, "libx264" | "libx265");
        assert_eq!(file.is_file(), keeps_file, "{encoder}");
        assert_eq!(first.stats.is_empty(), keeps_file, "{encoder}");
        let twice = work(Pass::Second(&file), Some(first.stats)).run();
        assert_eq!(twice.packets.len() as i64, frames, "{encoder}");
        if frames > 100 {
            let once = work(Pass::Single, None).run();
            let off = |made: &Made| (made.bits_per_second() / 4e5 - 1.0).abs();
            eprintln!("{encoder}: {:.3} off in one pass, {:.3} in two", off(&once), off(&twice));
            assert!(off(&twice) <= 0.08 && off(&twice) < off(&once), "{encoder}: {} then {}", off(&once), off(&twice));
        }
    }
}

/// Where chunks are encoded side by side, the same bytes must come out whoever encodes them.
#[test]
fn one_thread_makes_the_same_packets_again() {
    for encoder in SOFTWARE.iter().filter(here) {
        let work = Work { frames: 30, ..Work::new(encoder, |plan| plan.rate = average(false)) };
        let (one, other) = (work.run(), work.run());
        assert_eq!(one.packets, other.packets, "{encoder}");
    }
}

#[test]
fn statistics_without_a_first_look_do_not_open() {
    let file = Path::new("/nonexistent/stats");
    let work = Work { pass: Pass::Second(file), ..Work::new("libx264", |plan| plan.rate = average(true)) };
    log::redirect();
    let _quiet = Collector::start();
    assert!(work.make().is_err());
}
