//! One audio stream: decode, resample, cut into the encoder's frames, encode.
//!
//! Gaps in the source become silence and overlaps are dropped, so that sound stays with the picture
//! to within one frame of the encoder.

use ffrtmp_core::encoding::Channels as Wish;
use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::AudioEncode;

use super::channels::{Channels, Placing, speakers};
use super::encoders::{Sound, audio_encoder, audio_formats, same_speakers};
use super::fault::failed;
use super::limit::Limit;
use super::notes::Notes;
use super::outputs::{Outputs, Route};
use super::sys::{AudioFormat, AvError, Decoder, Encoder, Frame, Graph, Packet, Pulled, StreamView, TimeBase};

/// No sound is sampled more often.
const MAX_RATE: u32 = 6_144_000;

/// Decodes, converts and encodes the packets of one stream.
pub(super) struct AudioTrack {
    decoder: Decoder,
    converter: Graph,
    shape: Shape,
    base: TimeBase,
    next: Option<i64>,
    stage: Stage,
    frame: Frame,
    converted: Frame,
    pub(super) damaged: u64,
    pub(super) decoded: u64,
}

/// What a converter was built for; another shape in mid-stream needs another one.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    sample_rate: u32,
    sample_format: String,
    channels: Channels,
}

impl AudioTrack {
    pub(super) fn open(
        stream: StreamView<'_>,
        plan: &AudioEncode,
        bounds: &MediaBounds,
        outputs: &Outputs,
        notes: &mut Notes<'_>,
    ) -> Result<Self> {
        let decoder = open_decoder(stream, bounds)?;
        let (count, named) = stream.channels();
        let shape = Shape {
            sample_rate: stream.sample_rate(),
            sample_format: stream.sample_format().unwrap_or_default(),
            channels: Channels { count, named },
        };
        if !(1..=MAX_RATE).contains(&shape.sample_rate) || shape.sample_format.is_empty() || count == 0 {
            let what = format!("the {} audio could not be decoded", stream.codec());
            return Err(Error::new(Code::InputInvalid, what).field("input"));
        }
        if shape.channels.are_too_many() {
            let what = format!("nothing says where the {count} channels of audio stream {} belong", stream.index());
            return Err(Error::new(Code::InputUnsupported, what)
                .field("input")
                .hint("more than 64 cannot be mixed: name other streams with audio_streams, or copy it"));
        }
        let stage = open_encoder(plan, &shape, outputs, notes)?;
        let base = stream.time_base();
        let (converter, placing) = shape.converter(base, &stage.format)?;
        if let Some(remark) = shape.channels.remark(&placing, &stage.format.layout) {
            notes.warn(format!("audio stream {}: {remark}", stream.index()));
        }
        Ok(Self {
            decoder,
            converter,
            shape,
            base,
            next: None,
            stage,
            frame: Frame::new(),
            converted: Frame::new(),
            damaged: 0,
            decoded: 0,
        })
    }

    pub(super) fn route(&self) -> Route {
        self.stage.route
    }

    /// Whether the wanted length is reached.
    pub(super) fn is_done(&self) -> bool {
        self.stage.done
    }

    /// Takes one packet with its times on the output's clock.
    pub(super) fn packet(&mut self, packet: &Packet, outputs: &Outputs, limit: &Limit) -> Result<()> {
        match self.decoder.send(Some(packet)) {
            Ok(()) => {}
            Err(AvError::AGAIN) => {
                self.receive(outputs, limit)?;
                self.damaged += u64::from(self.decoder.send(Some(packet)).is_err());
            }
            Err(_) => self.damaged += 1,
        }
        self.receive(outputs, limit)
    }

    /// Empties decoder, converter and encoder.
    pub(super) fn finish(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        if !self.stage.done {
            // A decoder that refuses to drain has nothing left.
            let _ = self.decoder.send(None);
            self.receive(outputs, limit)?;
            self.end_converter(outputs, limit)?;
        }
        self.stage.finish(outputs, limit)
    }

    fn receive(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        while !self.stage.done {
            limit.control.checkpoint()?;
            match self.decoder.receive(&mut self.frame) {
                Ok(()) => self.convert(outputs, limit)?,
                Err(AvError::AGAIN | AvError::EOF) => return Ok(()),
                Err(_) => {
                    self.damaged += 1;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn convert(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        self.decoded += 1;
        self.adapt(outputs, limit)?;
        let length = TimeBase::new(1, self.shape.sample_rate as i32).rescale(self.frame.samples().into(), self.base);
        let pts = self.frame.best_effort_pts().or(self.next).unwrap_or(0);
        limit.check(self.base.seconds(pts))?;
        self.next = Some(pts.saturating_add(length));
        self.frame.set_pts(pts);
        self.converter
            .push(&mut self.frame)
            .map_err(|error| failed(Code::EncodeFailed, "samples were refused", error))?;
        self.drain_converter(outputs, limit)
    }

    /// Builds another converter when the samples change their shape in mid-stream.
    fn adapt(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        let (count, named) = self.decoder.layout();
        let shape = Shape {
            sample_rate: u32::try_from(self.frame.sample_rate()).unwrap_or(0),
            sample_format: self.frame.sample_format().unwrap_or_default(),
            channels: Channels { count, named },
        };
        if shape == self.shape || shape.sample_rate == 0 || count == 0 {
            return Ok(());
        }
        self.end_converter(outputs, limit)?;
        (self.converter, _) = shape.converter(self.base, &self.stage.format)?;
        self.shape = shape;
        Ok(())
    }

    fn end_converter(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        let end = self.next.unwrap_or(0);
        self.converter.close(end).map_err(|error| failed(Code::EncodeFailed, "the converter did not end", error))?;
        self.drain_converter(outputs, limit)
    }

    fn drain_converter(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        loop {
            match self.converter.pull(&mut self.converted) {
                Ok(Pulled::Frame) => self.stage.push(&mut self.converted, outputs, limit)?,
                Ok(Pulled::Hungry | Pulled::End) => return Ok(()),
                Err(error) => return Err(failed(Code::EncodeFailed, "the sample converter failed", error)),
            }
        }
    }
}

/// A generated tone, encoded.
pub(super) struct ToneTrack {
    source: Graph,
    stage: Stage,
    frame: Frame,
}

impl ToneTrack {
    pub(super) fn open(plan: &AudioEncode, seconds: f64, outputs: &Outputs, notes: &mut Notes<'_>) -> Result<Self> {
        let channels = Channels { count: 2, named: None };
        let shape = Shape { sample_rate: 48000, sample_format: "s16".to_owned(), channels };
        let stage = open_encoder(plan, &shape, outputs, notes)?;
        let notation = format!(
            "sine=frequency=440:sample_rate=48000:duration={seconds},{},abuffersink@out",
            stage.format.conversion()
        );
        let source = Graph::new(&notation, 1, None)
            .map_err(|error| failed(Code::EncodeFailed, "the test tone cannot be made", error))?;
        Ok(Self { source, stage, frame: Frame::new() })
    }

    /// Makes some more of the tone; false at the end.
    pub(super) fn advance(&mut self, outputs: &Outputs, limit: &Limit) -> Result<bool> {
        match self.source.pull(&mut self.frame) {
            Ok(Pulled::Frame) => {
                self.stage.push(&mut self.frame, outputs, limit)?;
                Ok(!self.stage.done)
            }
            Ok(Pulled::Hungry | Pulled::End) => Ok(false),
            Err(error) => Err(failed(Code::EncodeFailed, "the test tone failed", error)),
        }
    }

    pub(super) fn reached(&self) -> f64 {
        self.stage.reached
    }

    pub(super) fn finish(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        self.stage.finish(outputs, limit)
    }
}

fn open_decoder(stream: StreamView<'_>, bounds: &MediaBounds) -> Result<Decoder> {
    if !stream.has_decoder() {
        let what = format!("no decoder for {} audio", stream.codec());
        return Err(Error::new(Code::InputUnsupported, what).field("input"));
    }
    // Audio decodes faster than threads start.
    Decoder::open(stream, 1, bounds.max_pixels)
        .map_err(|error| failed(Code::InputInvalid, format!("the {} audio cannot be decoded", stream.codec()), error))
}

/// Opens the encoder with the source's layout, or with the nearest one that it takes.
fn open_encoder(plan: &AudioEncode, shape: &Shape, outputs: &Outputs, notes: &mut Notes<'_>) -> Result<Stage> {
    let codec = plan.codec;
    let name = audio_encoder(codec);
    let Channels { count, named } = &shape.channels;
    let sound = Sound {
        sample_rate: shape.sample_rate,
        sample_format: shape.sample_format.clone(),
        channels: shape.channels.apart(),
        layout: named.clone(),
    };
    let mut refused = None;
    for format in audio_formats(plan, &sound) {
        match Encoder::audio(name, &format, outputs.wants_global_header()) {
            Ok(encoder) => {
                let layout = &format.layout;
                let is_other = |own: &&str| match named {
                    Some(_) => !same_speakers(own, layout),
                    None => *count > 2 && layout == "stereo",
                };
                let changed = shape.channels.layout().filter(is_other);
                if let Some(own) = changed.filter(|_| plan.channels == Wish::Source || *count > 8) {
                    let own = speakers(own);
                    notes.warn(format!("{count} channels ({own}) became {layout} for {codec}"));
                }
                let route = outputs.add_sound(&encoder, codec.as_str())?;
                return Stage::new(encoder, route, format);
            }
            Err(error) => refused = Some(error),
        }
    }
    let error = refused.unwrap_or(AvError::INVALID);
    Err(failed(Code::CodecUnavailable, format!("no encoder for {codec} works here"), error).field("audio_codec"))
}

impl Shape {
    /// The first way to read the channels that libav can go.
    fn converter(&self, base: TimeBase, format: &AudioFormat) -> Result<(Graph, Placing)> {
        let mut refused = AvError::INVALID;
        for placing in self.channels.placings() {
            match self.graph(&placing, base, format) {
                Ok(graph) => return Ok((graph, placing)),
                Err(error) => refused = error,
            }
        }
        Err(failed(Code::EncodeFailed, "the sound cannot be converted", refused))
    }

    fn graph(&self, placing: &Placing, base: TimeBase, format: &AudioFormat) -> Result<Graph, AvError> {
        let notation = format!(
            "abuffer@in=sample_rate={}:sample_fmt={}:{}:time_base={}/{},{}{},abuffersink@out",
            self.sample_rate,
            self.sample_format,
            placing.declared,
            base.num,
            base.den,
            placing.filters,
            format.conversion()
        );
        Graph::new(&notation, 1, None)
    }
}

impl AudioFormat {
    /// Filters that bring any sound into this format, without gaps.
    fn conversion(&self) -> String {
        format!("aresample={}:async=1:min_hard_comp=0.02,{}", self.sample_rate, self.constraint())
    }

    fn constraint(&self) -> String {
        format!(
            "aformat=sample_fmts={}:sample_rates={}:channel_layouts={}",
            self.sample_format, self.sample_rate, self.layout
        )
    }

    /// Cuts samples into frames of the encoder's size.
    fn framer(&self, samples: u32) -> Result<Graph, AvError> {
        let notation = format!(
            "abuffer@in=sample_rate={0}:sample_fmt={1}:channel_layout={2}:time_base=1/{0},{3},abuffersink@out",
            self.sample_rate,
            self.sample_format,
            self.layout,
            self.constraint()
        );
        let mut graph = Graph::new(&notation, 1, None)?;
        if samples > 0 {
            graph.set_frame_size(samples);
        }
        Ok(graph)
    }
}

/// The encoder behind the cutter into frames.
struct Stage {
    encoder: Encoder,
    framer: Graph,
    format: AudioFormat,
    route: Route,
    base: TimeBase,
    framed: Frame,
    packet: Packet,
    /// Seconds of sound that went in.
    reached: f64,
    fed: bool,
    done: bool,
}

impl Stage {
    fn new(encoder: Encoder, route: Route, format: AudioFormat) -> Result<Self> {
        let framer = format
            .framer(encoder.frame_size())
            .map_err(|error| failed(Code::EncodeFailed, "the sound cannot be cut into frames", error))?;
        Ok(Self {
            base: encoder.time_base(),
            encoder,
            framer,
            format,
            route,
            framed: Frame::new(),
            packet: Packet::new(),
            reached: 0.0,
            fed: false,
            done: false,
        })
    }

    fn push(&mut self, frame: &mut Frame, outputs: &Outputs, limit: &Limit) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let pts = frame.pts().unwrap_or_else(|| self.base.ticks(self.reached));
        if let Some(end) = limit.seconds.map(|seconds| self.base.ticks(seconds)) {
            let left = end - pts;
            if left <= i64::from(frame.samples()) {
                self.done = true;
                frame.truncate_samples(i32::try_from(left.max(0)).unwrap_or(0));
            }
        }
        if frame.samples() > 0 {
            let end = pts + i64::from(frame.samples());
            self.reached = self.base.seconds(end);
            limit.check(self.reached)?;
            frame.set_pts(pts);
            self.fed = true;
            self.framer.push(frame).map_err(|error| failed(Code::EncodeFailed, "samples were refused", error))?;
        }
        self.drain_framer(outputs, limit)
    }

    fn finish(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        if !self.fed {
            return Ok(());
        }
        let end = self.base.ticks(self.reached);
        self.framer.close(end).map_err(|error| failed(Code::EncodeFailed, "the sound did not end", error))?;
        self.drain_framer(outputs, limit)?;
        self.encoder.send(None).map_err(|error| failed(Code::EncodeFailed, "the audio encoder did not end", error))?;
        self.drain(outputs, limit)
    }

    fn drain_framer(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        loop {
            match self.framer.pull(&mut self.framed) {
                Ok(Pulled::Frame) => self.encode(outputs, limit)?,
                Ok(Pulled::Hungry | Pulled::End) => return Ok(()),
                Err(error) => return Err(failed(Code::EncodeFailed, "the sound cannot be cut into frames", error)),
            }
        }
    }

    fn encode(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        loop {
            limit.control.checkpoint()?;
            match self.encoder.send(Some(&self.framed)) {
                Ok(()) => return self.drain(outputs, limit),
                Err(AvError::AGAIN) => self.drain(outputs, limit)?,
                Err(error) => return Err(failed(Code::EncodeFailed, "the audio encoder refused a frame", error)),
            }
        }
    }

    fn drain(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        loop {
            limit.control.checkpoint()?;
            match self.encoder.receive(&mut self.packet) {
                Ok(()) => outputs.write(self.route, &mut self.packet, self.base)?,
                Err(AvError::AGAIN | AvError::EOF) => return Ok(()),
                Err(error) => return Err(failed(Code::EncodeFailed, "the audio encoder failed", error)),
            }
        }
    }
}
