//! The async interface, sound, and what is left behind. The tasks run on no runtime at all: a thread
//! that is parked until it is woken.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use ffrtmp_core::encoding::Channels;
use ffrtmp_core::error::Code;
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use ffrtmp_core::plan::AudioEncode;
use ffrtmp_core::units::{Bitrate, Resolution};
use ffrtmp_engines::gstreamer::session::StreamFormat;
use ffrtmp_engines::gstreamer::session::caller::{
    Frame, Live, LiveInput, LiveOutput, Pictures, PixelFormat, Rendition, Sample, SampleFormat, Sound,
};

const SIZE: Resolution = Resolution { width: 320, height: 180 };

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn picture(index: u64) -> Frame {
    let (width, height) = (SIZE.width as usize, SIZE.height as usize);
    let mut pixels: Vec<u8> = (0..width * height).map(|place| (place + index as usize * 3) as u8).collect();
    pixels.resize(width * height * 3 / 2, 128);
    Frame::new(pixels, Duration::from_millis(index * 40))
}

fn raw() -> Pictures {
    Pictures::Raw { format: PixelFormat::I420, size: SIZE, fps: Some("25".parse().unwrap()) }
}

fn rendition(codec: VideoCodec) -> Rendition {
    Rendition::new(codec, SIZE).unwrap().preset("ultrafast").key_frames_every("1".parse().unwrap())
}

/// Reads on this thread what another pushes.
fn collect(output: LiveOutput, push: impl FnOnce() -> LiveInput + Send + 'static) -> (Vec<Sample>, LiveOutput) {
    let pushing = thread::spawn(push);
    let mut output = output;
    let mut samples = Vec::new();
    while let Some(sample) = block_on(output.recv()) {
        samples.push(sample.unwrap());
    }
    drop(pushing.join().unwrap());
    (samples, output)
}

fn made(pictures: u64) -> Vec<Sample> {
    let (input, output) = Live::builder().pictures(raw()).rendition(rendition(VideoCodec::H264)).start().unwrap();
    let (samples, output) = collect(output, move || {
        (0..pictures).for_each(|index| block_on(input.push_picture(picture(index))).unwrap());
        input.finish();
        input
    });
    assert_eq!(output.tracks()[0].codec, "video/x-h264");
    assert_eq!(output.tracks()[0].config, samples[0].config);
    samples
}

#[test]
fn frames_go_in_and_samples_come_out() {
    let samples = made(60);
    assert_eq!(samples.len(), 60);
    for (index, sample) in samples.iter().enumerate() {
        assert_eq!(sample.pts, Duration::from_millis(index as u64 * 40));
        assert_eq!(sample.is_key, index % 25 == 0);
        assert_eq!(sample.config.is_some(), index == 0);
        assert!(!sample.data.is_empty());
    }
}

#[test]
fn samples_of_one_codec_become_samples_of_another() {
    let samples = made(50);
    for codec in [VideoCodec::H265, VideoCodec::Vp9] {
        let config = samples[0].config.clone();
        let again = made(50);
        let (input, output) = Live::builder()
            .pictures(Pictures::Coded { codec: VideoCodec::H264, format: StreamFormat::Lengths, config, fps: None })
            .rendition(rendition(codec))
            .start()
            .unwrap();
        let (out, _) = collect(output, move || {
            for sample in again {
                block_on(input.push_picture(Frame::new(sample.data, sample.pts).dts(sample.dts))).unwrap();
            }
            input.finish();
            input
        });
        let times: Vec<_> = out.iter().map(|sample| sample.pts).collect();
        assert_eq!(times, samples.iter().map(|sample| sample.pts).collect::<Vec<_>>(), "{codec}");
    }
}

/// Bytes that are no stream end the session with an error, and nobody waits for ever.
#[test]
fn garbage_is_an_error() {
    let (input, mut output) = Live::builder()
        .pictures(Pictures::Coded {
            codec: VideoCodec::H264,
            format: StreamFormat::ByteStream,
            config: None,
            fps: None,
        })
        .rendition(rendition(VideoCodec::H264))
        .start()
        .unwrap();
    for index in 0..20 {
        let garbage: Vec<u8> = (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        if block_on(input.push_picture(Frame::new(garbage, Duration::from_millis(index * 40)))).is_err() {
            break;
        }
    }
    input.finish();
    let mut words = Vec::new();
    while let Some(word) = block_on(output.recv()) {
        words.push(word.map(|sample| sample.pts));
    }
    assert!(matches!(words.as_slice(), [Err(error)] if error.code() == Code::InputInvalid), "{words:?}");
}

/// Every codec of sound: as long as what went in, from its beginning.
#[test]
fn sound_keeps_its_time() {
    for codec in AudioCodec::ALL {
        let audio = AudioEncode {
            codec: *codec,
            bitrate: Bitrate::from_kbps(96),
            channels: Channels::Source,
            sample_rate: None,
        };
        let (input, output) = Live::builder()
            .sound(Sound::Raw { format: SampleFormat::S16, rate: 48000, channels: 2 })
            .audio(audio)
            .start()
            .unwrap();
        let (samples, _) = collect(output, move || {
            for piece in 0..100u64 {
                // 10 ms of a tone of 480 Hz: one period in 100 samples.
                let tone = (0..480).flat_map(|at| {
                    let wave = (f64::from(at % 100) / 100.0 * std::f64::consts::TAU).sin() * 8000.0;
                    [wave as i16, wave as i16]
                });
                let data: Vec<u8> = tone.flat_map(i16::to_le_bytes).collect();
                let frame = Frame::new(data, Duration::from_millis(piece * 10)).duration(Duration::from_millis(10));
                block_on(input.push_sound(frame)).unwrap();
            }
            input.finish();
            input
        });
        let (first, last) = (samples.first().unwrap(), samples.last().unwrap());
        let end = last.pts + last.duration.unwrap_or_default();
        assert!(first.pts < Duration::from_millis(40), "{codec}: {:?}", first.pts);
        assert!((980..1100).contains(&end.as_millis()), "{codec}: {end:?}");
        assert!(samples.windows(2).all(|pair| pair[0].pts < pair[1].pts), "{codec}");
    }
}

/// A reader that goes away in the middle stops everything, as often as it happens: the pusher hears
/// of it, and threads do not add up. In a process of its own, where no other test has threads.
#[test]
fn a_session_that_is_dropped_leaves_nothing() {
    const ALONE: &str = "FFRTMP_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let this = ["--exact", "session_async::a_session_that_is_dropped_leaves_nothing"];
        let child = std::process::Command::new(std::env::current_exe().unwrap()).args(this).env(ALONE, "1").output();
        let child = child.unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    (0..4).for_each(|_| break_off());
    let before = threads();
    (0..12).for_each(|_| break_off());
    assert!(threads() <= before + 2, "{before} threads became {}", threads());
}

fn break_off() {
    let (input, mut output) = Live::builder()
        .pictures(raw())
        .rendition(rendition(VideoCodec::H264))
        .rendition(Rendition::new(VideoCodec::H264, Resolution { width: 160, height: 90 }).unwrap())
        .start()
        .unwrap();
    let (some, pushed) = std::sync::mpsc::channel();
    let pushing = thread::spawn(move || {
        for index in 0.. {
            if index == 5 {
                some.send(()).unwrap();
            }
            if let Err(error) = block_on(input.push_picture(picture(index))) {
                return error;
            }
        }
        unreachable!()
    });
    block_on(output.recv()).unwrap().unwrap();
    pushed.recv().unwrap();
    drop(output);
    let error = pushing.join().unwrap();
    assert!(matches!(error.code(), Code::Canceled | Code::WrongState), "{error}");
}
