//! Orders from outside: cancel, pause, progress.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, MediaBounds, Observer, Progress, Source};
use ffrtmp_core::error::Code;
use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};
use ffrtmp_core::units::Seconds;

use crate::workbench::{Bench, ENGINE, Listener, VideoPlan, at, encode, plan};

/// What the contract of `Engine` promises.
const LIMIT: Duration = Duration::from_millis(200);

/// Says when the encoder is at work.
struct Started(mpsc::SyncSender<()>);

impl Observer for Started {
    fn progress(&self, progress: Progress) {
        if progress.frames >= 8 {
            let _ = self.0.try_send(());
        }
    }

    fn log(&self, _: &str, _: &str) {}
}

/// What a busy machine adds differs from time to time, so the best of eight counts.
#[test]
fn a_cancel_ends_every_encoder_within_200_ms() {
    for codec in VideoCodec::ALL.iter().copied() {
        let mut latencies = Vec::new();
        while latencies.len() < 8 && latencies.last().is_none_or(|last| *last >= LIMIT) {
            latencies.push(cancel(codec));
        }
        eprintln!("{codec}: canceled in {latencies:?}");
        assert!(latencies.last().is_some_and(|last| *last < LIMIT), "{codec}: {latencies:?}");
    }
}

/// Cancels an endless encode in its middle; the time until it has returned.
fn cancel(codec: VideoCodec) -> Duration {
    let bench = Bench::new();
    let mut wanted = plan(Container::Mkv, codec, AudioCodec::Aac);
    let mut video = encode(codec, 640, 360);
    video.preset = None;
    wanted.video = Some(VideoPlan::Encode(video));
    let wanted = at(wanted, 30, 1);
    let output = bench.path("out.mkv");
    let control = Control::default();
    let (started, when_started) = mpsc::sync_channel(1);
    let latency = thread::scope(|scope| {
        let run = scope.spawn(|| {
            let source = Source::Generated(Seconds::try_from(600.0).unwrap());
            let bounds = MediaBounds::default();
            ENGINE
                .execute(&wanted.on(&source), &source, &output, &bounds, &control, &Started(started))
                .unwrap_err()
                .code()
        });
        when_started.recv_timeout(Duration::from_secs(60)).unwrap();
        let ordered = Instant::now();
        control.cancel();
        assert_eq!(run.join().unwrap(), Code::Canceled, "{codec}");
        ordered.elapsed()
    });
    assert!(bench.is_empty(), "{codec}");
    latency
}

#[test]
fn progress_grows_and_ends_at_the_whole() {
    let bench = Bench::new();
    let wanted = at(plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac), 30, 1);
    let (_, input) = bench.generate(&wanted, 3.0, "in.mp4");
    let listener = Listener::default();
    let report = ENGINE
        .execute(
            &wanted.on(&Source::File(input.clone())),
            &Source::File(input),
            &bench.path("out.mp4"),
            &MediaBounds::default(),
            &Control::default(),
            &listener,
        )
        .unwrap();
    let seen = listener.progress.into_inner().unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].frames <= pair[1].frames && pair[0].percent <= pair[1].percent));
    let last = seen.last().unwrap();
    assert_eq!((last.frames, last.out_bytes), (90, report.size_bytes));
    assert!(last.percent.unwrap() > 97.0, "{last:?}");
    assert!(report.wall_seconds > 0.0 && report.cpu_seconds > 0.0 && report.peak_memory_bytes > 1 << 20);
    assert!(report.input_bytes > 0 && report.speed > 0.0 && report.bit_rate > 0);
}

#[test]
fn a_paused_attempt_stands_still_and_goes_on() {
    let bench = Bench::new();
    let wanted = at(plan(Container::Mkv, VideoCodec::H264, AudioCodec::Aac), 30, 1);
    let control = Control::default();
    control.pause();
    let listener = Listener::default();
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let source = Source::Generated(Seconds::try_from(0.5).unwrap());
            ENGINE.execute(
                &wanted.on(&source),
                &source,
                &bench.path("out.mkv"),
                &MediaBounds::default(),
                &control,
                &listener,
            )
        });
        control.wait(Duration::from_millis(100));
        assert!(!run.is_finished());
        control.resume();
        assert_eq!(run.join().unwrap().unwrap().frames, 15);
    });
}
