//! The elements that live work uses: which one for which codec, whether it works on this machine,
//! and the Debian package that brings it.
//!
//! What an encoder is told is in `session/settings`; what the attempt can do with it, in `engine`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ffrtmp_core::encoding::{Hardware, VideoEncoder};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use gstreamer as gst;
use gstreamer::prelude::*;

use super::init;

/// What an encoder of pictures is, as far as its settings differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// x264.
    X264,
    /// x265.
    X265,
    /// Cisco's encoder.
    OpenH264,
    /// libvpx, VP8.
    Vp8,
    /// libvpx, VP9.
    Vp9,
    /// libaom.
    Aom,
    /// SVT-AV1.
    Svt,
    /// rav1e.
    Rav1e,
    /// NVIDIA.
    Nvidia,
    /// Intel Quick Sync.
    QuickSync,
    /// VA-API.
    Va,
    /// VA-API by the older plugin.
    Vaapi,
}

impl Family {
    /// Whether it runs on a device of its own.
    #[must_use]
    pub const fn is_hardware(self) -> bool {
        matches!(self, Self::Nvidia | Self::QuickSync | Self::Va | Self::Vaapi)
    }
}

/// An encoder of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VideoElement {
    /// Name of the element.
    pub element: &'static str,
    /// Its kind.
    pub family: Family,
    /// The encoder that a job names, where it has a name for it.
    pub encoder: Option<VideoEncoder>,
}

const fn video(element: &'static str, family: Family, encoder: Option<VideoEncoder>) -> VideoElement {
    VideoElement { element, family, encoder }
}

const H264: &[VideoElement] = &[
    video("nvh264enc", Family::Nvidia, Some(VideoEncoder::H264Nvenc)),
    video("qsvh264enc", Family::QuickSync, Some(VideoEncoder::H264Qsv)),
    video("vah264enc", Family::Va, Some(VideoEncoder::H264Vaapi)),
    video("vaapih264enc", Family::Vaapi, Some(VideoEncoder::H264Vaapi)),
    video("x264enc", Family::X264, Some(VideoEncoder::X264)),
    video("openh264enc", Family::OpenH264, None),
];
const H265: &[VideoElement] = &[
    video("nvh265enc", Family::Nvidia, Some(VideoEncoder::HevcNvenc)),
    video("qsvh265enc", Family::QuickSync, Some(VideoEncoder::HevcQsv)),
    video("vah265enc", Family::Va, Some(VideoEncoder::HevcVaapi)),
    video("vaapih265enc", Family::Vaapi, Some(VideoEncoder::HevcVaapi)),
    video("x265enc", Family::X265, Some(VideoEncoder::X265)),
];
const VP8: &[VideoElement] = &[video("vp8enc", Family::Vp8, Some(VideoEncoder::Vpx))];
const VP9: &[VideoElement] = &[video("vp9enc", Family::Vp9, Some(VideoEncoder::Vpx9))];
const AV1: &[VideoElement] = &[
    video("nvav1enc", Family::Nvidia, Some(VideoEncoder::Av1Nvenc)),
    video("qsvav1enc", Family::QuickSync, Some(VideoEncoder::Av1Qsv)),
    video("vaav1enc", Family::Va, Some(VideoEncoder::Av1Vaapi)),
    video("svtav1enc", Family::Svt, Some(VideoEncoder::SvtAv1)),
    video("av1enc", Family::Aom, Some(VideoEncoder::Aom)),
    video("rav1enc", Family::Rav1e, Some(VideoEncoder::Rav1e)),
];

/// Encoders of a codec, the preferred one first: devices, then software.
#[must_use]
pub const fn video_encoders(codec: VideoCodec) -> &'static [VideoElement] {
    match codec {
        VideoCodec::H264 => H264,
        VideoCodec::H265 => H265,
        VideoCodec::Vp8 => VP8,
        VideoCodec::Vp9 => VP9,
        VideoCodec::Av1 => AV1,
    }
}

/// Encoders of sound, the preferred one first.
#[must_use]
pub const fn audio_encoders(codec: AudioCodec) -> &'static [&'static str] {
    match codec {
        AudioCodec::Aac => &["fdkaacenc", "avenc_aac", "voaacenc"],
        AudioCodec::Opus => &["opusenc"],
        AudioCodec::Mp3 => &["lamemp3enc"],
        AudioCodec::Flac => &["flacenc"],
    }
}

/// What splits a coded stream into samples with exact caps; VP8 needs none.
#[must_use]
pub const fn video_parser(codec: VideoCodec) -> Option<&'static str> {
    match codec {
        VideoCodec::H264 => Some("h264parse"),
        VideoCodec::H265 => Some("h265parse"),
        VideoCodec::Vp8 => None,
        VideoCodec::Vp9 => Some("vp9parse"),
        VideoCodec::Av1 => Some("av1parse"),
    }
}

/// The same for sound.
#[must_use]
pub const fn audio_parser(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "aacparse",
        AudioCodec::Opus => "opusparse",
        AudioCodec::Mp3 => "mpegaudioparse",
        AudioCodec::Flac => "flacparse",
    }
}

/// Decoders of a codec, the preferred one first. None of them runs on a device: a hostile stream
/// must not reach a driver.
#[must_use]
pub const fn video_decoders(codec: VideoCodec) -> &'static [&'static str] {
    match codec {
        VideoCodec::H264 => &["avdec_h264", "openh264dec"],
        VideoCodec::H265 => &["avdec_h265", "libde265dec"],
        VideoCodec::Vp8 => &["vp8dec", "avdec_vp8"],
        VideoCodec::Vp9 => &["vp9dec", "avdec_vp9"],
        VideoCodec::Av1 => &["dav1ddec", "av1dec"],
    }
}

/// The same for sound.
#[must_use]
pub const fn audio_decoders(codec: AudioCodec) -> &'static [&'static str] {
    match codec {
        AudioCodec::Aac => &["avdec_aac", "faad"],
        AudioCodec::Opus => &["opusdec", "avdec_opus"],
        AudioCodec::Mp3 => &["mpg123audiodec", "avdec_mp3"],
        AudioCodec::Flac => &["flacdec", "avdec_flac"],
    }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

/// The Debian package of every element that is used anywhere here.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        BASE,
        &[
            "appsrc",
            "appsink",
            "videoconvertscale",
            "videorate",
            "videotestsrc",
            "audiotestsrc",
            "audioconvert",
            "audioresample",
            "opusenc",
            "opusdec",
            "opusparse",
            "decodebin",
            "uridecodebin",
            "parsebin",
        ],
    ),
    (
        GOOD,
        &[
            "deinterlace",
            "vp8enc",
            "vp8dec",
            "vp9enc",
            "vp9dec",
            "aacparse",
            "flacenc",
            "flacdec",
            "flacparse",
            "lamemp3enc",
            "mpegaudioparse",
            "mpg123audiodec",
            "flvmux",
            "flvdemux",
            "mp4mux",
            "qtdemux",
            "matroskamux",
            "webmmux",
            "matroskademux",
            "rtspsrc",
            "rtph264pay",
            "udpsrc",
            "udpsink",
            "multifilesink",
            "souphttpsrc",
            "hlsdemux2",
        ],
    ),
    (
        BAD,
        &[
            "nvh264enc",
            "nvh265enc",
            "nvav1enc",
            "qsvh264enc",
            "qsvh265enc",
            "qsvav1enc",
            "vah264enc",
            "vah265enc",
            "vaav1enc",
            "x265enc",
            "openh264enc",
            "openh264dec",
            "libde265dec",
            "svtav1enc",
            "av1enc",
            "av1dec",
            "voaacenc",
            "faad",
            "h264parse",
            "h265parse",
            "vp9parse",
            "av1parse",
            "rtmp2src",
            "rtmp2sink",
            "srtsrc",
            "srtsink",
            "mpegtsmux",
            "tsdemux",
            "hlsdemux",
            "hlssink2",
        ],
    ),
    (UGLY, &["x264enc"]),
    (
        LIBAV,
        &[
            "avenc_aac",
            "avdec_aac",
            "avdec_h264",
            "avdec_h265",
            "avdec_vp8",
            "avdec_vp9",
            "avdec_opus",
            "avdec_mp3",
            "avdec_flac",
        ],
    ),
    ("gstreamer1.0-rtsp", &["rtspclientsink"]),
    ("gstreamer1.0-vaapi", &["vaapih264enc", "vaapih265enc"]),
];

/// Elements without which some kind of live work is impossible; of those for which there are
/// several, the first one that Debian has.
const NEEDED: &[&str] = &[
    "appsrc",
    "appsink",
    "videoconvertscale",
    "videorate",
    "audioconvert",
    "audioresample",
    "decodebin",
    "deinterlace",
    "x264enc",
    "x265enc",
    "vp8enc",
    "vp9enc",
    "av1enc",
    "avenc_aac",
    "opusenc",
    "avdec_h264",
    "avdec_h265",
    "avdec_aac",
    "vp9dec",
    "av1dec",
    "opusdec",
    "h264parse",
    "h265parse",
    "vp9parse",
    "av1parse",
    "aacparse",
    "opusparse",
    "rtmp2src",
    "rtmp2sink",
    "flvmux",
    "flvdemux",
    "srtsrc",
    "srtsink",
    "mpegtsmux",
    "tsdemux",
    "rtspsrc",
    "udpsrc",
    "udpsink",
    "hlsdemux2",
    "souphttpsrc",
    "mp4mux",
    "matroskamux",
    "webmmux",
    "rtspclientsink",
];

/// The Debian package that brings an element; `None` for one that Debian does not have, or that is
/// not used here.
#[must_use]
pub fn package(element: &str) -> Option<&'static str> {
    PACKAGES.iter().find(|(_, elements)| elements.contains(&element)).map(|(package, _)| *package)
}

/// Elements that live work needs and that are not on this machine, each with its package.
#[must_use]
pub fn missing() -> Vec<(&'static str, &'static str)> {
    let here = init().is_ok();
    let gone = NEEDED.iter().filter(|element| !here || !is_here(element));
    gone.map(|element| (*element, package(element).unwrap_or("gstreamer1.0-plugins-base"))).collect()
}

/// Every element that is used anywhere here and drives no device.
pub(super) fn in_software() -> impl Iterator<Item = &'static str> {
    let drives = |element: &str| ["nv", "qsv", "va"].iter().any(|driver| element.starts_with(driver));
    let all = PACKAGES.iter().flat_map(|(_, elements)| elements.iter().copied()).chain(NEEDED.iter().copied());
    all.filter(move |element| !drives(element))
}

/// Whether the element is installed; whether it works is another question.
#[must_use]
pub fn is_here(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// Makes an element.
///
/// # Errors
/// `engine_unavailable` naming the package that brings it.
pub fn make(element: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(element).build().map_err(|_| {
        let cure = package(element).map_or_else(
            || format!("install the plugin of GStreamer that has {element}"),
            |package| format!("install {package}"),
        );
        Error::new(Code::EngineUnavailable, format!("the element {element} is not installed")).hint(cure)
    })
}

/// Pictures of a test encode.
const TEST_PICTURES: i32 = 3;
/// Time that it may take; a device that is asleep needs a second or two.
const TEST_TIME: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Whether an encoder works here, proven by encoding a few pictures or a little sound; the answer
/// is remembered.
///
/// # Errors
/// `codec_unavailable` with the reason.
pub fn works(element: &'static str) -> Result<()> {
    static KNOWN: Mutex<Option<HashMap<&'static str, std::result::Result<(), String>>>> = Mutex::new(None);
    init()?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = known.get_or_insert_default().entry(element).or_insert_with(|| test_encode(element));
    answer.clone().map_err(|reason| {
        let error = Error::new(Code::CodecUnavailable, format!("{element}: {reason}"));
        match package(element) {
            Some(package) if !is_here(element) => error.hint(format!("install {package}")),
            _ => error.hint("`ffrtmp doctor` lists the encoders that work here"),
        }
    })
}

fn test_encode(element: &str) -> std::result::Result<(), String> {
    let Some(factory) = gst::ElementFactory::find(element) else { return Err("not installed".to_owned()) };
    let is_video = factory.has_type(gst::ElementFactoryType::VIDEO_ENCODER);
    let names = if is_video {
        ["videotestsrc", "videoconvertscale", "capsfilter"]
    } else {
        ["audiotestsrc", "audioconvert", "audioresample"]
    };
    let [source, convert, fit] = names.map(make);
    let encoder = make(element);
    let chain = || -> Result<[gst::Element; 5]> { Ok([source?, convert?, fit?, encoder?, make("fakesink")?]) };
    let chain = chain().map_err(|error| error.to_string())?;
    chain[0].set_property("num-buffers", TEST_PICTURES);
    if is_video {
        let size = gst::Caps::builder("video/x-raw").field("width", 320).field("height", 192);
        chain[2].set_property("caps", size.field("framerate", gst::Fraction::new(25, 1)).build());
    }
    chain[4].set_property("sync", false);
    let pipeline = gst::Pipeline::new();
    let played = pipeline
        .add_many(&chain)
        .and_then(|()| gst::Element::link_many(&chain))
        .map_err(|_| "it takes no plain pictures".to_owned())
        .and_then(|()| play_to_end(&pipeline));
    let stopped = pipeline.set_state(gst::State::Null);
    played.and(stopped.map(drop).map_err(|_| "it does not stop".to_owned()))
}

fn play_to_end(pipeline: &gst::Pipeline) -> std::result::Result<(), String> {
    let bus = pipeline.bus().ok_or_else(|| "it has no bus".to_owned())?;
    let started = pipeline.set_state(gst::State::Playing);
    let wait = if started.is_ok() { TEST_TIME } else { gst::ClockTime::ZERO };
    let last = bus.timed_pop_filtered(wait, &[gst::MessageType::Eos, gst::MessageType::Error]);
    match last.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => Err(error.error().to_string()),
        _ if started.is_err() => Err("it does not start".to_owned()),
        _ => Err("it did not answer in time".to_owned()),
    }
}

/// An encoder that was chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Which.
    pub element: VideoElement,
    /// Why those that would have been preferred were not taken.
    pub refused: Vec<String>,
}

/// Chooses the encoder of a codec: the one that was named, else a device that works, else
/// software. Software is not tried out here: it works if it is installed.
///
/// # Errors
/// `codec_unavailable` with the reason of each that does not work.
pub fn choose(codec: VideoCodec, named: Option<VideoEncoder>, hardware: Hardware) -> Result<Choice> {
    init()?;
    let mut refused = Vec::new();
    for candidate in video_encoders(codec) {
        let is_hardware = candidate.family.is_hardware();
        let is_meant = match named {
            Some(named) => candidate.encoder == Some(named),
            None if is_hardware => hardware != Hardware::Off,
            None => hardware != Hardware::Require,
        };
        if !is_meant {
            continue;
        }
        let usable = if is_hardware || !is_here(candidate.element) { works(candidate.element) } else { Ok(()) };
        match usable {
            Ok(()) => return Ok(Choice { element: *candidate, refused }),
            Err(error) => refused.push(error.message().to_owned()),
        }
    }
    let reasons = if refused.is_empty() { "there is none".to_owned() } else { refused.join("; ") };
    Err(Error::new(Code::CodecUnavailable, format!("no encoder for {codec} works here: {reasons}"))
        .field("parameters.codec")
        .hint(cure(codec)))
}

/// Chooses the encoder of a codec of sound.
///
/// # Errors
/// `codec_unavailable`.
pub fn choose_audio(codec: AudioCodec) -> Result<&'static str> {
    first_here(audio_encoders(codec)).ok_or_else(|| {
        let packages = audio_encoders(codec).iter().filter_map(|element| package(element));
        Error::new(Code::CodecUnavailable, format!("no encoder for {codec} is installed"))
            .field("parameters.audio_codec")
            .hint(format!("install one of {}", packages.collect::<Vec<_>>().join(", ")))
    })
}

/// The first of several that is installed.
pub(super) fn first_here(elements: &[&'static str]) -> Option<&'static str> {
    init().ok()?;
    elements.iter().copied().find(|element| is_here(element))
}

fn cure(codec: VideoCodec) -> String {
    let mut packages: Vec<_> = video_encoders(codec).iter().filter_map(|encoder| package(encoder.element)).collect();
    packages.dedup();
    format!("install {}", packages.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_its_package() {
        let encoders = VideoCodec::ALL.iter().flat_map(|codec| video_encoders(*codec)).map(|encoder| encoder.element);
        let sound = AudioCodec::ALL.iter().flat_map(|codec| audio_encoders(*codec)).copied();
        // What Debian does not have: not free, or written in Rust.
        let foreign = ["fdkaacenc", "rav1enc", "dav1ddec"];
        for element in encoders.chain(sound).chain(NEEDED.iter().copied()).filter(|name| !foreign.contains(name)) {
            assert!(package(element).is_some(), "{element}");
        }
        let mut all: Vec<_> = PACKAGES.iter().flat_map(|(_, elements)| *elements).collect();
        let length = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), length, "an element has two packages");
    }

    #[test]
    fn software_works_and_hardware_says_why_not() {
        for codec in VideoCodec::ALL {
            let choice = choose(*codec, None, Hardware::Off).unwrap();
            assert!(!choice.element.family.is_hardware());
            works(choice.element.element).unwrap();
        }
        for codec in AudioCodec::ALL {
            works(choose_audio(*codec).unwrap()).unwrap();
        }
        for element in ["nvh264enc", "nosuchenc"] {
            if let Err(error) = works(element) {
                assert_eq!(error.code(), Code::CodecUnavailable);
                assert!(error.message().starts_with(element), "{error}");
                assert!(!error.hint_text().is_empty());
            }
        }
    }
}
