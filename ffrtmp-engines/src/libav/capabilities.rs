//! What works on this machine, found out by trying, and which encoders a rendition gets.
//!
//! A device is tested before a job relies on it: a driver may be there and fail at the first frame.
//! Software is not: opening it for the job is the test.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use ffrtmp_core::encoding::{EncoderOptions, Hardware, VideoEncoder};
use ffrtmp_core::engine::EngineCapabilities;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use ffrtmp_core::plan::{AudioEncode, Gop, RateControl, Vbv, VideoEncode};
use ffrtmp_core::units::{Bitrate, FrameRate, Ratio, Resolution};

use super::encoders::{self, Family, Pass, Sound, audio_encoder, audio_formats};
use super::hdr::HdrMetadata;
use super::sys::log::Collector;
use super::sys::{
    AvError, Color, Encoder, Frame, Graph, HardwareDevice, Packet, Pulled, TimeBase, VideoFormat, has_encoder,
    libraries,
};

/// Frames of a test encode: enough for an encoder to fill its pipeline once.
const FRAMES: u64 = 4;
const SIZE: Resolution = Resolution { width: 320, height: 192 };
const RATE: (i32, i32) = (30, 1);

/// Whether a test encode passed, or what it failed with.
type Outcome = std::result::Result<(), String>;
/// A test encode that happens once.
type Test = Arc<OnceLock<Outcome>>;
/// A test encode by encoder and bits, and what it failed with.
type Finding = (VideoEncoder, u8, Option<String>);
/// Test encodes by encoder and bits.
type Tests = Mutex<HashMap<(VideoEncoder, u8), Test>>;

/// What was tried in this process: devices do not come and go with engines.
static TRIED: LazyLock<Tests> = LazyLock::new(Tests::default);

/// The encoders that passed a test encode, each tried once per bit depth when first asked for.
#[derive(Debug, Default)]
pub(super) struct Encoders {
    tested: Tests,
    lists: [OnceLock<Vec<String>>; VideoCodec::ALL.len()],
    all: OnceLock<EngineCapabilities>,
}

/// The encoders to open for a rendition, in this order until one opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// libav's names; at least one.
    pub(super) encoders: Vec<String>,
    /// Those that would have come before or between, and why they do not.
    pub(super) passed_over: Vec<PassedOver>,
}

/// An encoder that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PassedOver {
    pub(super) encoder: String,
    pub(super) reason: String,
}

impl Choice {
    /// Why the preferred encoders are not used, in one line, such as
    /// `h264_nvenc: Cannot load libcuda.so.1`.
    pub(super) fn reason(&self) -> Option<String> {
        (!self.passed_over.is_empty())
            .then(|| self.passed_over.iter().map(PassedOver::line).collect::<Vec<_>>().join("; "))
    }
}

impl PassedOver {
    fn line(&self) -> String {
        let Self { encoder, reason } = self;
        if reason.starts_with(encoder.as_str()) { reason.clone() } else { format!("{encoder}: {reason}") }
    }
}

impl Encoders {
    /// As if these had passed their test.
    #[cfg(test)]
    pub(super) fn preset(codec: VideoCodec, names: Vec<String>) -> Self {
        let encoders = Self::default();
        let fresh = encoders.lists[codec as usize].set(names);
        assert!(fresh.is_ok(), "nothing was tried yet");
        encoders
    }

    /// As if this had been the outcome of a test.
    #[cfg(test)]
    fn assume(&self, encoder: VideoEncoder, depth: u8, outcome: Outcome) {
        let fresh = test_of(&self.tested, encoder, depth).set(outcome);
        assert!(fresh.is_ok(), "nothing was tried yet");
    }

    /// Chooses the encoders for a rendition: the one that was asked for, or the first device that
    /// works and the software behind it. What cannot do what the plan says is passed over.
    ///
    /// # Errors
    /// `invalid_field` if no encoder has what the plan asks for, `codec_unavailable` if none of
    /// those that have it works here.
    pub(super) fn choose(&self, plan: &VideoEncode, source_depth: i32) -> Result<Choice> {
        if let Some(names) = self.lists[plan.codec as usize].get().filter(|_| cfg!(test)) {
            return Ok(Choice { encoders: names.clone(), passed_over: Vec::new() });
        }
        let (mut choice, mut on_device, mut refusals) = (Choice::default(), false, Vec::new());
        for encoder in wanted(plan)? {
            if encoder.is_hardware() && on_device {
                continue;
            }
            match self.fits(encoder, plan, source_depth) {
                Ok(()) => {
                    on_device |= encoder.is_hardware();
                    choice.encoders.push(encoder.as_str().to_owned());
                }
                Err(error) => {
                    let passed =
                        PassedOver { encoder: encoder.as_str().to_owned(), reason: error.message().to_owned() };
                    choice.passed_over.push(passed);
                    refusals.push(error);
                }
            }
        }
        if choice.encoders.is_empty() { Err(none_left(plan, &choice, refusals)) } else { Ok(choice) }
    }

    /// Whether an encoder can do what a plan says, as far as that is known before it is opened.
    fn fits(&self, encoder: VideoEncoder, plan: &VideoEncode, source_depth: i32) -> Result<()> {
        let depth = encoders::depth(encoder.as_str(), plan, source_depth)?;
        encoders::settings(encoder.as_str(), plan, RATE, 0, Pass::Single, &HdrMetadata::default())?;
        let unavailable = |reason: &str| Error::new(Code::CodecUnavailable, reason).field("parameters.encoder");
        if !has_encoder(encoder.as_str()) {
            return Err(unavailable("it is not part of this FFmpeg"));
        }
        if encoder.is_hardware() {
            self.test(encoder, depth).map_err(|reason| unavailable(&reason))?;
        }
        Ok(())
    }

    /// Encodes a few pictures, once.
    fn test(&self, encoder: VideoEncoder, depth: u8) -> Outcome {
        let own = test_of(&self.tested, encoder, depth);
        let tried = || test_of(&TRIED, encoder, depth).get_or_init(|| test_encode(encoder, depth)).clone();
        own.get_or_init(tried).clone()
    }

    /// The outcomes of all tests of devices, as text. What software is there costs nothing to ask.
    pub(super) fn findings(&self) -> Option<String> {
        let tested = self.tested.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<Finding> = tested
            .iter()
            .filter(|((encoder, _), _)| encoder.is_hardware())
            .filter_map(|((encoder, depth), test)| Some((*encoder, *depth, test.get()?.clone().err())))
            .collect();
        serde_json::to_string(&found).ok().filter(|_| !found.is_empty())
    }

    /// Takes over what another process on this machine has found out.
    pub(super) fn learn(&self, findings: &str) {
        let Ok(found) = serde_json::from_str::<Vec<Finding>>(findings) else { return };
        for (encoder, depth, failed) in found {
            // What was tried here already is at least as fresh.
            let _ = test_of(&self.tested, encoder, depth).set(failed.map_or(Ok(()), Err));
        }
    }

    /// Encoders that work for a codec, the preferred one first.
    pub(super) fn for_codec(&self, codec: VideoCodec) -> &[String] {
        self.lists[codec as usize].get_or_init(|| {
            let works = |encoder: &&VideoEncoder| self.test(**encoder, 8).is_ok();
            encoders::candidates(codec).iter().filter(works).map(|encoder| encoder.as_str().to_owned()).collect()
        })
    }

    pub(super) fn all(&self) -> &EngineCapabilities {
        self.all.get_or_init(|| EngineCapabilities {
            video_encoders: VideoCodec::ALL
                .iter()
                .map(|codec| (*codec, self.for_codec(*codec).to_vec()))
                .filter(|(_, encoders)| !encoders.is_empty())
                .collect(),
            audio_encoders: AudioCodec::ALL
                .iter()
                .filter(|codec| {
                    let _quiet = Collector::start();
                    try_audio(**codec).is_ok()
                })
                .map(|codec| audio_encoder(*codec).to_owned())
                .collect(),
            versions: libraries(),
            missing: Vec::new(),
            sandbox: Vec::new(),
        })
    }
}

fn test_of(tests: &Tests, encoder: VideoEncoder, depth: u8) -> Test {
    let mut tests = tests.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(tests.entry((encoder, depth)).or_default())
}

/// The encoders that a plan leaves open, the preferred one first.
fn wanted(plan: &VideoEncode) -> Result<Vec<VideoEncoder>> {
    let allowed = |encoder: &VideoEncoder| match plan.hardware {
        Hardware::Auto => true,
        Hardware::Off => !encoder.is_hardware(),
        Hardware::Require => encoder.is_hardware(),
    };
    match plan.encoder {
        Some(encoder) if !allowed(&encoder) => {
            let kind = if encoder.is_hardware() { "a device" } else { "software" };
            Err(Error::new(Code::InvalidField, format!("{encoder} is {kind}, and hardware is {}", plan.hardware))
                .field("parameters.hardware")
                .hint("leave out encoder or hardware"))
        }
        Some(encoder) => Ok(vec![encoder]),
        None => Ok(encoders::candidates(plan.codec).iter().copied().filter(allowed).collect()),
    }
}

/// What to tell where no encoder is left: what the job can mend, if that is the matter, else what
/// each encoder failed with.
fn none_left(plan: &VideoEncode, choice: &Choice, refusals: Vec<Error>) -> Error {
    let codec = plan.codec;
    let all_asked_too_much = refusals.iter().all(|error| error.code() == Code::InvalidField);
    if let Some(last) = refusals.into_iter().next_back().filter(|_| all_asked_too_much) {
        return last;
    }
    let reasons = choice.reason().map_or_else(String::new, |reasons| format!(" ({reasons})"));
    match plan.hardware {
        Hardware::Require => Error::new(Code::CodecUnavailable, format!("no device encodes {codec} here{reasons}"))
            .field("parameters.hardware")
            .hint("ask for hardware auto, which falls back to software, or send the job to a node with a device"),
        Hardware::Auto | Hardware::Off => {
            Error::new(Code::CodecUnavailable, format!("no encoder for {codec} works here{reasons}"))
                .field("parameters.codec")
        }
    }
}

/// Encodes a few pictures; what a library said last is the reason of a failure.
fn test_encode(encoder: VideoEncoder, depth: u8) -> Outcome {
    if !has_encoder(encoder.as_str()) {
        return Err("it is not part of this FFmpeg".to_owned());
    }
    let _quiet = Collector::start();
    try_video(encoder, depth).map_err(|error| {
        let reason = Collector::last_error().unwrap_or_else(|| error.to_string());
        tracing::debug!(%encoder, depth, reason, "the test encode failed");
        reason
    })
}

fn try_video(encoder: VideoEncoder, depth: u8) -> std::result::Result<(), AvError> {
    let family = Family::of(encoder.as_str());
    let device = if family == Family::Vaapi { Some(HardwareDevice::vaapi()?) } else { None };
    let pixel_format = family.pixel_format(depth > 8);
    let upload = if device.is_some() { ",hwupload" } else { "" };
    let notation = format!(
        "testsrc2=size={}x{}:rate={},trim=end_frame={FRAMES},format={pixel_format}{upload},buffersink@out",
        SIZE.width, SIZE.height, RATE.0
    );
    let graph = Graph::new(&notation, 1, device.as_ref())?;
    let plan = test_plan(encoder, depth);
    let settings = encoders::settings(encoder.as_str(), &plan, RATE, 1, Pass::Single, &HdrMetadata::default())
        .map_err(|_| AvError::INVALID)?;
    let format = VideoFormat {
        width: SIZE.width as i32,
        height: SIZE.height as i32,
        pixel_format: if device.is_some() { "vaapi" } else { pixel_format }.to_owned(),
        sample_aspect_ratio: (1, 1),
        time_base: TimeBase::new(RATE.1, RATE.0),
        frame_rate: RATE,
        color: Color { range: 0, primaries: 2, transfer: 2, matrix: 2 },
    };
    let opened = Encoder::video(encoder.as_str(), &format, &settings, true, &graph)?;
    if encode(graph, opened)? == FRAMES { Ok(()) } else { Err(AvError::EOF) }
}

fn test_plan(encoder: VideoEncoder, depth: u8) -> VideoEncode {
    let bitrate = Bitrate::from_kbps(400);
    VideoEncode {
        name: "test".to_owned(),
        codec: encoder.codec(),
        encoder: Some(encoder),
        hardware: Hardware::Auto,
        size: SIZE,
        sample_aspect_ratio: Ratio { num: 1, den: 1 },
        fps: Some(FrameRate::whole(30)),
        bit_depth: Some(depth),
        rate: RateControl::Average {
            bitrate,
            cap: Vbv { max_rate: bitrate.scaled(3, 2), buffer: bitrate.scaled(2, 1) },
            two_pass: false,
        },
        preset: Some("ultrafast".to_owned()),
        gop: Gop::Free,
        options: EncoderOptions::default(),
    }
}

fn try_audio(codec: AudioCodec) -> std::result::Result<(), AvError> {
    let plan = AudioEncode {
        codec,
        bitrate: Bitrate::from_kbps(96),
        channels: ffrtmp_core::encoding::Channels::Stereo,
        sample_rate: None,
    };
    let sound =
        Sound { sample_rate: 48000, sample_format: "s16".to_owned(), channels: 2, layout: Some("stereo".to_owned()) };
    let format = audio_formats(&plan, &sound).into_iter().next().ok_or(AvError::INVALID)?;
    let encoder = Encoder::audio(audio_encoder(codec), &format, true)?;
    let notation = format!(
        "sine=sample_rate=48000:duration=0.1,aformat=sample_fmts={}:channel_layouts=stereo,abuffersink@out",
        format.sample_format
    );
    let mut graph = Graph::new(&notation, 1, None)?;
    if encoder.frame_size() > 0 {
        graph.set_frame_size(encoder.frame_size());
    }
    if encode(graph, encoder)? > 0 { Ok(()) } else { Err(AvError::EOF) }
}

/// Encodes all that comes out of the graph; the number of packets.
fn encode(mut graph: Graph, mut encoder: Encoder) -> std::result::Result<u64, AvError> {
    let (mut frame, mut packet, mut packets) = (Frame::new(), Packet::new(), 0);
    loop {
        let more = graph.pull(&mut frame)? == Pulled::Frame;
        frame.prepare_for_encoder();
        encoder.send(more.then_some(&frame))?;
        loop {
            match encoder.receive(&mut packet) {
                Ok(()) => packets += 1,
                Err(AvError::AGAIN) if more => break,
                Err(AvError::EOF) => return Ok(packets),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(codec: VideoCodec, hardware: Hardware) -> VideoEncode {
        let encoder = *encoders::candidates(codec).last().unwrap();
        VideoEncode { encoder: None, hardware, bit_depth: None, ..test_plan(encoder, 8) }
    }

    fn without_devices(codec: VideoCodec) -> Encoders {
        let encoders = Encoders::default();
        for encoder in encoders::candidates(codec).iter().filter(|encoder| encoder.is_hardware()) {
            for depth in [8, 10] {
                encoders.assume(*encoder, depth, Err(format!("{encoder}: no device")));
            }
        }
        encoders
    }

    #[test]
    fn software_takes_over_with_the_reason() {
        let choice = without_devices(VideoCodec::H264).choose(&plan(VideoCodec::H264, Hardware::Auto), 8).unwrap();
        assert_eq!(choice.encoders, ["libx264"]);
        let reason = choice.reason().unwrap();
        assert_eq!(reason, "h264_nvenc: no device; h264_qsv: no device; h264_vaapi: no device");
    }

    #[test]
    fn what_one_process_found_out_the_next_need_not_try() {
        let first = without_devices(VideoCodec::H264);
        first.assume(VideoEncoder::Av1Qsv, 10, Ok(()));
        let next = Encoders::default();
        next.learn(&first.findings().unwrap());
        let asked = plan(VideoCodec::H264, Hardware::Auto);
        assert_eq!(next.choose(&asked, 8).unwrap(), first.choose(&asked, 8).unwrap());
        assert_eq!(next.test(VideoEncoder::Av1Qsv, 10), Ok(()));
        next.learn("[[\"h264_nvenc\"");
        assert_eq!(Encoders::default().findings(), None);
    }

    #[test]
    fn a_device_that_works_comes_first_and_software_behind_it() {
        let encoders = Encoders::default();
        encoders.assume(VideoEncoder::HevcNvenc, 8, Err("hevc_nvenc: no device".to_owned()));
        encoders.assume(VideoEncoder::HevcQsv, 8, Ok(()));
        encoders.assume(VideoEncoder::HevcQsv, 10, Err("8 bits only".to_owned()));
        encoders.assume(VideoEncoder::HevcNvenc, 10, Ok(()));
        let h265 = plan(VideoCodec::H265, Hardware::Auto);
        assert_eq!(encoders.choose(&h265, 8).unwrap().encoders, ["hevc_qsv", "libx265"]);
        // Ten bits are another test.
        assert_eq!(encoders.choose(&h265, 10).unwrap().encoders, ["hevc_nvenc", "libx265"]);
        let off = plan(VideoCodec::H265, Hardware::Off);
        assert_eq!(
            encoders.choose(&off, 8).unwrap(),
            Choice { encoders: vec!["libx265".to_owned()], ..Choice::default() }
        );
    }

    #[test]
    fn a_device_that_is_required_is_not_replaced() {
        let encoders = without_devices(VideoCodec::H264);
        let error = encoders.choose(&plan(VideoCodec::H264, Hardware::Require), 8).unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::CodecUnavailable, Some("parameters.hardware")));
        assert!(error.message().contains("h264_vaapi: no device"), "{error}");
        let software = VideoEncode { encoder: Some(VideoEncoder::X264), ..plan(VideoCodec::H264, Hardware::Require) };
        assert_eq!(encoders.choose(&software, 8).unwrap_err().field_name(), Some("parameters.hardware"));
    }

    #[test]
    fn an_encoder_without_what_is_asked_for_is_passed_over() {
        let encoders = without_devices(VideoCodec::Av1);
        let bitrate = Bitrate::from_kbps(400);
        let cap = Vbv { max_rate: bitrate, buffer: bitrate };
        let two_pass = VideoEncode {
            rate: RateControl::Average { bitrate, cap, two_pass: true },
            ..plan(VideoCodec::Av1, Hardware::Off)
        };
        let choice = encoders.choose(&two_pass, 8).unwrap();
        assert_eq!(choice.encoders, ["libaom-av1"]);
        assert_eq!(choice.passed_over.len(), 2, "{choice:?}");
        // The one that was asked for is not replaced.
        let svt = VideoEncode { encoder: Some(VideoEncoder::SvtAv1), ..two_pass };
        let error = encoders.choose(&svt, 8).unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("parameters.max_bitrate")));
        assert!(error.hint_text().contains("libaom-av1"), "{}", error.hint_text());
    }

    /// On this machine, whatever it has.
    #[test]
    fn what_is_not_there_says_why() {
        super::super::sys::log::redirect();
        let encoders = Encoders::default();
        for encoder in VideoEncoder::ALL.iter().filter(|encoder| encoder.is_hardware()) {
            if let Err(reason) = encoders.test(*encoder, 8) {
                assert!(reason.len() > 5, "{encoder}: {reason}");
            }
        }
    }
}
