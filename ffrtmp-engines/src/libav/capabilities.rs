//! What works on this machine, found out by trying.

use std::sync::OnceLock;

use ffrtmp_core::engine::EngineCapabilities;
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use ffrtmp_core::encoding::{EncoderOptions, Hardware};
use ffrtmp_core::plan::{Gop, RateControl, Vbv, VideoEncode};
use ffrtmp_core::units::{Bitrate, FrameRate, Ratio, Resolution};

use super::encoders::{self, Family, audio_encoder};
use super::sys::log::Collector;
use super::sys::{
    AudioFormat, AvError, Color, Encoder, Frame, Graph, HardwareDevice, Packet, Pulled, TimeBase, VideoFormat,
    has_encoder, libraries,
};

/// Frames of a test encode: enough for an encoder to fill its pipeline once.
const FRAMES: u64 = 4;
const SIZE: Resolution = Resolution { width: 320, height: 192 };

/// The encoders that passed a test encode, tried once per codec when first asked for.
#[derive(Debug, Default)]
pub(super) struct Encoders {
    tried: [OnceLock<Vec<String>>; VideoCodec::ALL.len()],
    all: OnceLock<EngineCapabilities>,
}

impl Encoders {
    /// As if these had passed their test.
    #[cfg(test)]
    pub(super) fn preset(codec: VideoCodec, names: Vec<String>) -> Self {
        let encoders = Self::default();
        let fresh = encoders.tried[codec as usize].set(names);
        assert!(fresh.is_ok(), "nothing was tried yet");
        encoders
    }

    /// Encoders that work for a codec, the preferred one first.
    pub(super) fn for_codec(&self, codec: VideoCodec) -> &[String] {
        self.tried[codec as usize].get_or_init(|| {
            let works = |name: &&&str| {
                let _quiet = Collector::start();
                let tried = try_video(codec, name);
                if let Err(error) = tried {
                    tracing::debug!(encoder = **name, %error, "the test encode failed");
                }
                tried.is_ok()
            };
            encoders::candidates(codec).iter().filter(works).map(|name| (*name).to_owned()).collect()
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
                .map(|codec| audio_encoder(*codec))
                .filter(|name| {
                    let _quiet = Collector::start();
                    try_audio(name).is_ok()
                })
                .map(str::to_owned)
                .collect(),
            versions: libraries(),
        })
    }
}

fn try_video(codec: VideoCodec, name: &str) -> Result<(), AvError> {
    if !has_encoder(name) {
        return Err(AvError::INVALID);
    }
    let family = Family::of(name);
    let device = if family == Family::Vaapi { Some(HardwareDevice::vaapi()?) } else { None };
    let pixel_format = family.pixel_format(false);
    let upload = if device.is_some() { ",hwupload" } else { "" };
    let notation = format!(
        "testsrc2=size={}x{}:rate=30,trim=end_frame={FRAMES},format={pixel_format}{upload},buffersink@out",
        SIZE.width, SIZE.height
    );
    let graph = Graph::new(&notation, 1, device.as_ref())?;
    let plan = VideoEncode {
        codec,
        size: SIZE,
        sample_aspect_ratio: Ratio { num: 1, den: 1 },
        fps: Some(FrameRate::whole(30)),
        rate: RateControl::Average {
            bitrate: Bitrate::from_kbps(400),
            cap: Vbv { max_rate: Bitrate::from_kbps(600), buffer: Bitrate::from_kbps(800) },
            two_pass: false,
        },
        preset: Some("ultrafast".to_owned()),
        name: String::new(),
        encoder: None,
        hardware: Hardware::Auto,
        bit_depth: None,
        gop: Gop::Free,
        options: EncoderOptions::default(),
    };
    let settings = encoders::settings(name, &plan, (30, 1), 1).map_err(|_| AvError::INVALID)?;
    let format = VideoFormat {
        width: SIZE.width as i32,
        height: SIZE.height as i32,
        pixel_format: if device.is_some() { "vaapi" } else { pixel_format }.to_owned(),
        sample_aspect_ratio: (1, 1),
        time_base: TimeBase::new(1, 30),
        frame_rate: (30, 1),
        color: Color { range: 0, primaries: 2, transfer: 2, matrix: 2 },
    };
    let encoder = Encoder::video(name, &format, &settings, true, &graph)?;
    if encode(graph, encoder)? == FRAMES { Ok(()) } else { Err(AvError::EOF) }
}

fn try_audio(name: &str) -> Result<(), AvError> {
    let format = AudioFormat {
        sample_rate: 48000,
        sample_format: if name == audio_encoder(AudioCodec::Aac) { "fltp" } else { "flt" },
        layout: "stereo".to_owned(),
        bit_rate: 96_000,
    };
    let encoder = Encoder::audio(name, &format, true)?;
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
fn encode(mut graph: Graph, mut encoder: Encoder) -> Result<u64, AvError> {
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
