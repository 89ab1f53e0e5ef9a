//! One video stream: decode, filter, encode.
//!
//! The encoder's side, and what happens to the times, is in `stage.rs`.

use std::fmt::Write as _;

use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::VideoEncode;
use ffrtmp_core::units::FrameRate;

use super::encoders::{self, Family};
use super::fault::failed;
use super::mux::Muxer;
use super::notes::Notes;
use super::probe::{self, Orientation};
use super::session::{Limit, Tools};
use super::stage::{Ends, Stage};
use super::sys::{
    AvError, Color, Decoder, Encoder, Frame, Graph, HardwareDevice, Packet, Pulled, StreamView, TimeBase, VideoFormat,
    bit_depth, has_alpha, has_filter, is_rgb,
};

/// Frame rate of a source that does not say.
const UNKNOWN_RATE: (i32, i32) = (25, 1);
/// Rates above this are units of clocks.
const MAX_RATE: i32 = 1000;

/// Decodes, filters and encodes the packets of one stream.
pub(super) struct VideoTrack {
    decoder: Decoder,
    graph: Graph,
    shape: Shape,
    target: Target,
    base: TimeBase,
    nominal: i64,
    next: Option<i64>,
    stage: Stage,
    frame: Frame,
    filtered: Frame,
    pub(super) damaged: u64,
    pub(super) decoded: u64,
    /// Whether the source says what screen it was graded on, which no encoder is told.
    pub(super) mastered: bool,
}

/// What a graph was built for; another shape in mid-stream needs another graph.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    width: i32,
    height: i32,
    pixel_format: String,
}

/// What comes out of the filters, whatever goes in.
struct Target {
    plan: VideoEncode,
    orientation: Orientation,
    interlaced: bool,
    source_rate: Option<FrameRate>,
    source_aspect: (i32, i32),
    source_color: Color,
    source_depth: i32,
    pixel_format: &'static str,
    color: Color,
    upload: Option<HardwareDevice>,
    threads: usize,
    ends: Ends,
}

impl VideoTrack {
    /// Opens decoder, filters and the first encoder of `encoders` that opens.
    pub(super) fn open(
        stream: StreamView<'_>,
        plan: &VideoEncode,
        tools: &Tools<'_>,
        muxer: &mut Muxer<'_>,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, String)> {
        let decoder = open_decoder(stream, tools.bounds)?;
        let (width, height) = stream.size();
        let Some(pixel_format) = stream.pixel_format().filter(|_| width > 0 && height > 0) else {
            let what = format!("the {} video could not be decoded", stream.codec());
            return Err(Error::new(Code::InputInvalid, what).field("input"));
        };
        let shape = Shape { width: width as i32, height: height as i32, pixel_format };
        let base = stream.time_base();
        let source_rate = probe::frame_rate(stream);
        let rate = plan.fps.or(source_rate).map_or(UNKNOWN_RATE, |rate| (rate.num as i32, rate.den as i32));
        let mut target = Target::new(stream, plan, &shape, source_rate, tools);
        if target.interlaced {
            notes.warn("the source is interlaced; its fields were blended into whole pictures".to_owned());
        }
        let (graph, stage, encoder) = open_encoder(&mut target, tools, notes, muxer, rate, |target| {
            target.graph(&shape, base, target.source_color)
        })?;
        target.note_losses(&shape, &encoder, notes);
        let nominal = frame_time(stream).rescale(1, base).max(1);
        let track = Self {
            decoder,
            graph,
            shape,
            target,
            base,
            nominal,
            next: None,
            stage,
            frame: Frame::new(),
            filtered: Frame::new(),
            damaged: 0,
            decoded: 0,
            mastered: stream.has_mastering_metadata(),
        };
        Ok((track, encoder))
    }

    pub(super) fn lane(&self) -> usize {
        self.stage.lane
    }

    /// Whether the wanted length is reached.
    pub(super) fn is_done(&self) -> bool {
        self.stage.done
    }

    /// Takes one packet with its times on the output's clock.
    pub(super) fn packet(&mut self, packet: &Packet, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        match self.decoder.send(Some(packet)) {
            Ok(()) => {}
            Err(AvError::AGAIN) => {
                self.receive(muxer, limit)?;
                self.damaged += u64::from(self.decoder.send(Some(packet)).is_err());
            }
            Err(AvError::MEMORY) => return Err(Error::new(Code::MemoryExceeded, "the video decoder found no memory")),
            Err(_) => self.damaged += 1,
        }
        self.receive(muxer, limit)
    }

    /// Empties decoder, filters and encoder.
    pub(super) fn finish(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        if !self.stage.done {
            // A decoder that refuses to drain has nothing left.
            let _ = self.decoder.send(None);
            self.receive(muxer, limit)?;
            self.end_graph(muxer, limit)?;
        }
        // Frames of a fixed rate all last the same.
        let last = self.next.filter(|_| self.target.plan.fps.is_none()).map(|next| (next, self.base));
        self.stage.finish(last, muxer, limit)
    }

    fn receive(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        while !self.stage.done {
            limit.control.checkpoint()?;
            match self.decoder.receive(&mut self.frame) {
                Ok(()) => self.filter(muxer, limit)?,
                Err(AvError::AGAIN | AvError::EOF) => return Ok(()),
                Err(AvError::MEMORY) => {
                    return Err(Error::new(Code::MemoryExceeded, "the video decoder found no memory"));
                }
                Err(_) => {
                    self.damaged += 1;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn filter(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        self.decoded += 1;
        self.mastered |= self.frame.has_mastering_metadata();
        self.adapt(muxer, limit)?;
        let pts = self.frame.best_effort_pts().or(self.next).unwrap_or(0);
        limit.check(self.base.seconds(pts))?;
        let length = Some(self.frame.duration()).filter(|length| *length > 0).unwrap_or(self.nominal);
        self.next = Some(pts.saturating_add(length));
        self.frame.set_pts(pts);
        self.graph.push(&mut self.frame).map_err(|error| failed(Code::EncodeFailed, "a picture was refused", error))?;
        self.drain_graph(muxer, limit)
    }

    /// Builds another graph when the pictures change their shape in mid-stream.
    fn adapt(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        let shape = Shape {
            width: self.frame.width(),
            height: self.frame.height(),
            pixel_format: self.frame.pixel_format().unwrap_or_default(),
        };
        if shape == self.shape {
            return Ok(());
        }
        self.end_graph(muxer, limit)?;
        self.graph = self.target.graph(&shape, self.base, self.frame.color().sane())?;
        self.shape = shape;
        Ok(())
    }

    fn end_graph(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        let end = self.next.unwrap_or(0);
        self.graph.close(end).map_err(|error| failed(Code::EncodeFailed, "the filters did not end", error))?;
        self.drain_graph(muxer, limit)
    }

    fn drain_graph(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        let base = self.graph.time_base();
        loop {
            limit.control.checkpoint()?;
            match self.graph.pull(&mut self.filtered) {
                Ok(Pulled::Frame) => self.stage.push(&mut self.filtered, base, muxer, limit)?,
                Ok(Pulled::Hungry | Pulled::End) => return Ok(()),
                Err(error) => return Err(failed(Code::EncodeFailed, "a filter failed", error)),
            }
        }
    }
}

/// A generated moving picture, encoded.
pub(super) struct PatternTrack {
    graph: Graph,
    stage: Stage,
    frame: Frame,
}

impl PatternTrack {
    pub(super) fn open(
        plan: &VideoEncode,
        seconds: f64,
        tools: &Tools<'_>,
        muxer: &mut Muxer<'_>,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, String)> {
        let rate = plan.fps.unwrap_or(FrameRate::whole(30));
        let mut target = Target::generated(plan, tools);
        let (graph, stage, encoder) =
            open_encoder(&mut target, tools, notes, muxer, (rate.num as i32, rate.den as i32), |target| {
                let size = plan.size;
                let source = format!("testsrc2=size={}x{}:rate={rate}:duration={seconds}", size.width, size.height);
                Graph::new(&format!("{source},{}", target.tail()), target.threads, target.upload.as_ref())
                    .map_err(|error| failed(Code::EncodeFailed, "the test picture cannot be made", error))
            })?;
        Ok((Self { graph, stage, frame: Frame::new() }, encoder))
    }

    /// Makes one more frame; false at the end.
    pub(super) fn advance(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<bool> {
        let base = self.graph.time_base();
        match self.graph.pull(&mut self.frame) {
            Ok(Pulled::Frame) => {
                self.stage.push(&mut self.frame, base, muxer, limit)?;
                Ok(!self.stage.done)
            }
            Ok(Pulled::Hungry | Pulled::End) => Ok(false),
            Err(error) => Err(failed(Code::EncodeFailed, "the test picture failed", error)),
        }
    }

    pub(super) fn reached(&self) -> f64 {
        self.stage.reached()
    }

    pub(super) fn finish(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        self.stage.finish(None, muxer, limit)
    }
}

fn open_decoder(stream: StreamView<'_>, bounds: &MediaBounds) -> Result<Decoder> {
    if !stream.has_decoder() {
        let what = format!("no decoder for {} video", stream.codec());
        return Err(Error::new(Code::InputUnsupported, what).field("input"));
    }
    Decoder::open(stream, bounds.threads, bounds.max_pixels)
        .map_err(|error| failed(Code::InputInvalid, format!("the {} video cannot be decoded", stream.codec()), error))
}

/// How long a frame is shown where it does not say so itself.
fn frame_time(stream: StreamView<'_>) -> TimeBase {
    let is_rate = |(num, den): &(i32, i32)| *num > 0 && *den > 0 && num / den <= MAX_RATE;
    let (num, den) = stream.frame_rates().into_iter().find(is_rate).unwrap_or(UNKNOWN_RATE);
    TimeBase::new(den, num)
}

/// Tries the encoders in their order; what fails is noted and the next one takes over.
fn open_encoder(
    target: &mut Target,
    tools: &Tools<'_>,
    notes: &mut Notes<'_>,
    muxer: &mut Muxer<'_>,
    rate: (i32, i32),
    build: impl Fn(&Target) -> Result<Graph>,
) -> Result<(Graph, Stage, String)> {
    let codec = target.plan.codec;
    let mut last = Error::new(Code::CodecUnavailable, format!("no encoder for {codec} works here")).field("codec");
    for name in tools.encoders.for_codec(codec) {
        let settings = encoders::settings(name, &target.plan, rate, target.threads)?;
        match target.aim(name).and_then(|()| try_encoder(target, name, &settings, muxer, rate, &build)) {
            Ok((graph, stage)) => return Ok((graph, stage, name.clone())),
            Err(error) => {
                notes.warn(format!("the encoder {name} did not open, trying the next one: {error}"));
                last = error;
            }
        }
    }
    Err(last)
}

fn try_encoder(
    target: &Target,
    name: &str,
    settings: &[(String, String)],
    muxer: &mut Muxer<'_>,
    rate: (i32, i32),
    build: impl Fn(&Target) -> Result<Graph>,
) -> Result<(Graph, Stage)> {
    let graph = build(target)?;
    let plan = &target.plan;
    let format = VideoFormat {
        width: plan.size.width as i32,
        height: plan.size.height as i32,
        pixel_format: if target.upload.is_some() { "vaapi".to_owned() } else { target.pixel_format.to_owned() },
        sample_aspect_ratio: (plan.sample_aspect_ratio.num, plan.sample_aspect_ratio.den),
        time_base: TimeBase::new(rate.1, rate.0),
        frame_rate: rate,
        color: target.color,
    };
    let encoder = Encoder::video(name, &format, settings, muxer.wants_global_header(), &graph)
        .map_err(|error| failed(Code::EncodeFailed, format!("{name} refused the settings"), error))?;
    let base = fine(graph.time_base());
    let lane = muxer.add_encoded(&encoder, plan.codec.as_str(), base, Some(rate))?;
    let nominal = TimeBase::new(rate.1, rate.0).rescale(1, base).max(1);
    Ok((graph, Stage::new(encoder, lane, base, nominal, &target.ends)))
}

/// The same unit, divided until single ticks are shorter than a millisecond: room to keep frames
/// in order. Units beyond a microsecond gain nothing and overflow containers.
fn fine(base: TimeBase) -> TimeBase {
    let per_second = i64::from(base.den) / i64::from(base.num).max(1);
    if per_second > 1_000_000 {
        return TimeBase::MICROS;
    }
    let factor = if per_second < 1000 { 10_000 / per_second.max(1) + 1 } else { 1 };
    i32::try_from(i64::from(base.den) * factor).map_or(base, |den| TimeBase { num: base.num, den })
}

impl Target {
    fn new(
        stream: StreamView<'_>,
        plan: &VideoEncode,
        shape: &Shape,
        source_rate: Option<FrameRate>,
        tools: &Tools<'_>,
    ) -> Self {
        let color = stream.color().sane();
        let mut target = Self {
            plan: plan.clone(),
            orientation: Orientation::of(stream),
            interlaced: stream.is_interlaced() && has_filter("bwdif"),
            source_rate,
            source_aspect: stream.sample_aspect_ratio().unwrap_or((1, 1)),
            source_color: color,
            source_depth: bit_depth(&shape.pixel_format),
            pixel_format: "yuv420p",
            color,
            upload: None,
            threads: tools.bounds.threads,
            ends: tools.ends.clone(),
        };
        if is_rgb(&shape.pixel_format) {
            target.color = Color { range: Color::RANGE_LIMITED, matrix: Color::BT709, ..color };
        } else if shape.pixel_format.starts_with("yuvj") {
            target.color.range = Color::RANGE_FULL;
        }
        target.source_color.range = target.color.range;
        target
    }

    fn generated(plan: &VideoEncode, tools: &Tools<'_>) -> Self {
        let color = Color { range: 0, primaries: 2, transfer: 2, matrix: 2 };
        Self {
            plan: plan.clone(),
            orientation: Orientation::default(),
            interlaced: false,
            source_rate: None,
            source_aspect: (1, 1),
            source_color: color,
            source_depth: 8,
            pixel_format: "yuv420p",
            color,
            upload: None,
            threads: tools.bounds.threads,
            ends: tools.ends.clone(),
        }
    }

    /// Chooses the pixel format, and the device, for an encoder.
    fn aim(&mut self, encoder: &str) -> Result<()> {
        let family = Family::of(encoder);
        let deep = self.source_depth > 8 && family.takes_ten_bit(self.plan.codec);
        self.pixel_format = family.pixel_format(deep);
        self.upload = match family {
            Family::Vaapi => Some(
                HardwareDevice::vaapi()
                    .map_err(|error| failed(Code::CodecUnavailable, "no VA-API device opens", error))?,
            ),
            _ => None,
        };
        Ok(())
    }

    /// Says what the encoder's pixels cannot hold.
    fn note_losses(&self, shape: &Shape, encoder: &str, notes: &mut Notes<'_>) {
        let (from, to) = (self.source_depth, bit_depth(self.pixel_format));
        if from > to {
            notes.warn(format!("{from} bits per component became {to}, which is what {encoder} takes here"));
        }
        if has_alpha(&shape.pixel_format) {
            notes.warn("the transparency of the source is not carried over".to_owned());
        }
    }

    fn graph(&self, shape: &Shape, base: TimeBase, color: Color) -> Result<Graph> {
        let mut notation = String::new();
        let Shape { width, height, pixel_format } = shape;
        let (num, den) = self.source_aspect;
        let _ = write!(
            notation,
            "buffer@in=video_size={width}x{height}:pix_fmt={pixel_format}:time_base={}/{}:pixel_aspect={num}/{den}",
            base.num, base.den
        );
        if cfg!(feature = "ffmpeg_7_0") {
            let _ = write!(notation, ":colorspace={}:range={}", color.matrix, color.range);
        }
        if let Some(rate) = self.source_rate {
            let _ = write!(notation, ":frame_rate={}/{}", rate.num, rate.den);
        }
        if self.interlaced {
            notation.push_str(",bwdif=mode=send_frame:deint=interlaced");
        }
        let fps = self.plan.fps.map(|rate| format!(",fps=fps={}/{}", rate.num, rate.den));
        let fewer = matches!((self.plan.fps, self.source_rate), (Some(to), Some(from)) if to.as_f64() <= from.as_f64());
        if fewer {
            notation.push_str(fps.as_deref().unwrap_or_default());
        }
        self.scale(&mut notation, shape);
        for filter in self.orientation.filters() {
            let _ = write!(notation, ",{filter}");
        }
        if !fewer {
            notation.push_str(fps.as_deref().unwrap_or_default());
        }
        let _ = write!(notation, ",{}", self.tail());
        Graph::new(&notation, self.threads, self.upload.as_ref())
            .map_err(|error| failed(Code::EncodeFailed, "the filters do not fit this video", error))
    }

    /// Scales before the turn, where there are fewer pixels to move.
    fn scale(&self, notation: &mut String, shape: &Shape) {
        let size = self.plan.size;
        let (width, height) =
            if self.orientation.is_sideways() { (size.height, size.width) } else { (size.width, size.height) };
        let _ = write!(notation, ",scale={width}:{height}:flags=bicubic");
        if is_rgb(&shape.pixel_format) {
            notation.push_str(":out_color_matrix=bt709:out_range=tv");
        } else if self.color.is_full() {
            notation.push_str(":in_range=pc:out_range=pc");
        }
    }

    /// Ends every graph: pixel shape, pixel format, upload, sink.
    fn tail(&self) -> String {
        let aspect = self.plan.sample_aspect_ratio;
        let upload = if self.upload.is_some() { ",hwupload" } else { "" };
        format!("setsar={}/{},format={}{upload},buffersink@out", aspect.num, aspect.den, self.pixel_format)
    }
}
