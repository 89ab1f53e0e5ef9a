//! One video stream: decode, and hand the pictures to the renditions in `rungs.rs`.
//!
//! The encoder's side, and what happens to the times, is in `stage.rs`.

use std::fmt::Write as _;

use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::{PicturePlan, VideoEncode};
use ffrtmp_core::units::FrameRate;

use super::encoders::Family;
use super::fault::failed;
use super::limit::Limit;
use super::notes::Notes;
use super::probe::{self, Orientation};
use super::rungs::{Filters, Place, Rungs};
use super::session::Tools;
use super::sys::{
    AvError, Color, Decoder, Encoder, Frame, Graph, HardwareDevice, Packet, StreamView, TimeBase, bit_depth, has_alpha,
    has_filter, is_rgb,
};

/// Frame rate of a source that does not say.
const UNKNOWN_RATE: (i32, i32) = (25, 1);
/// Rates above this are units of clocks.
const MAX_RATE: i32 = 1000;

/// Decodes the packets of one stream and hands the pictures to its renditions.
pub(super) struct VideoTrack {
    decoder: Decoder,
    rungs: Rungs,
    shape: Shape,
    targets: Vec<Target>,
    base: TimeBase,
    nominal: i64,
    next: Option<i64>,
    frame: Frame,
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
pub(super) struct Target {
    pub(super) plan: VideoEncode,
    orientation: Orientation,
    interlaced: bool,
    source_rate: Option<FrameRate>,
    source_aspect: (i32, i32),
    source_color: Color,
    source_depth: i32,
    pixel_format: &'static str,
    pub(super) color: Color,
    upload: Option<HardwareDevice>,
    pub(super) threads: usize,
}

impl VideoTrack {
    /// Opens decoder, filters and encoders; also returns the names of the encoders.
    pub(super) fn open(
        stream: StreamView<'_>,
        plan: &PicturePlan,
        tools: &Tools<'_>,
        place: &dyn Place,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, Vec<String>)> {
        let decoder = open_decoder(stream, &tools.limit.bounds)?;
        let (width, height) = stream.size();
        let Some(pixel_format) = stream.pixel_format().filter(|_| width > 0 && height > 0) else {
            let what = format!("the {} video could not be decoded", stream.codec());
            return Err(Error::new(Code::InputInvalid, what).field("input"));
        };
        let shape = Shape { width: width as i32, height: height as i32, pixel_format };
        let base = stream.time_base();
        let source_rate = probe::frame_rate(stream);
        let rate = plan.fps.or(source_rate).map_or(UNKNOWN_RATE, |rate| (rate.num as i32, rate.den as i32));
        let mut targets: Vec<Target> =
            plan.renditions.iter().map(|plan| Target::new(stream, plan, &shape, source_rate, tools)).collect();
        if targets.iter().any(|target| target.interlaced) {
            notes.warn("the source is interlaced; its fields were blended into whole pictures".to_owned());
        }
        let source = Decoded { shape: &shape, base };
        let (rungs, names) = Rungs::open(&mut targets, &source, rate, tools, place, notes)?;
        if let Some((target, name)) = targets.first().zip(names.first()) {
            target.note_losses(&shape, name, notes);
        }
        let nominal = frame_time(stream).rescale(1, base).max(1);
        let track = Self {
            decoder,
            rungs,
            shape,
            targets,
            base,
            nominal,
            next: None,
            frame: Frame::new(),
            damaged: 0,
            decoded: 0,
            mastered: stream.has_mastering_metadata(),
        };
        Ok((track, names))
    }

    /// Whether the wanted length is reached.
    pub(super) fn is_done(&self) -> bool {
        self.rungs.is_done()
    }

    /// Takes one packet with its times on the output's clock.
    pub(super) fn packet(&mut self, packet: &Packet, limit: &Limit) -> Result<()> {
        match self.decoder.send(Some(packet)) {
            Ok(()) => {}
            Err(AvError::AGAIN) => {
                self.receive(limit)?;
                self.damaged += u64::from(self.decoder.send(Some(packet)).is_err());
            }
            Err(AvError::MEMORY) => return Err(Error::new(Code::MemoryExceeded, "the video decoder found no memory")),
            Err(_) => self.damaged += 1,
        }
        self.receive(limit)
    }

    /// Empties decoder, filters and encoders, and gives the encoders back.
    pub(super) fn finish(&mut self, limit: &Limit) -> Result<Vec<Encoder>> {
        if !self.rungs.is_done() {
            // A decoder that refuses to drain has nothing left.
            let _ = self.decoder.send(None);
            self.receive(limit)?;
            self.rungs.close_heads(self.next.unwrap_or(0), limit)?;
        }
        // Frames of a fixed rate all last the same.
        let is_fixed = self.targets.iter().any(|target| target.plan.fps.is_some());
        let last = self.next.filter(|_| !is_fixed).map(|next| (next, self.base));
        self.rungs.finish(last, limit)
    }

    fn receive(&mut self, limit: &Limit) -> Result<()> {
        while !self.rungs.is_done() {
            limit.control.checkpoint()?;
            match self.decoder.receive(&mut self.frame) {
                Ok(()) => self.filter(limit)?,
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

    fn filter(&mut self, limit: &Limit) -> Result<()> {
        self.decoded += 1;
        self.mastered |= self.frame.has_mastering_metadata();
        self.adapt(limit)?;
        let pts = self.frame.best_effort_pts().or(self.next).unwrap_or(0);
        limit.check(self.base.seconds(pts))?;
        let length = Some(self.frame.duration()).filter(|length| *length > 0).unwrap_or(self.nominal);
        self.next = Some(pts.saturating_add(length));
        self.frame.set_pts(pts);
        if limit.from.is_some_and(|from| pts < self.base.ticks(from)) {
            return Ok(());
        }
        self.rungs.push(&mut self.frame, limit)
    }

    /// Builds other graphs when the pictures change their shape in mid-stream.
    fn adapt(&mut self, limit: &Limit) -> Result<()> {
        let shape = Shape {
            width: self.frame.width(),
            height: self.frame.height(),
            pixel_format: self.frame.pixel_format().unwrap_or_default(),
        };
        if shape == self.shape {
            return Ok(());
        }
        self.rungs.close_heads(self.next.unwrap_or(0), limit)?;
        let (targets, base, color) = (&self.targets, self.base, self.frame.color().sane());
        self.rungs.replace_heads(|index| targets[index].graph(&shape, base, color))?;
        self.shape = shape;
        Ok(())
    }
}

/// Graphs for pictures as they come out of the decoder.
struct Decoded<'a> {
    shape: &'a Shape,
    base: TimeBase,
}

impl Filters for Decoded<'_> {
    fn head(&self, target: &Target) -> Result<Graph> {
        target.graph(self.shape, self.base, target.source_color)
    }
}

/// A generated moving picture, encoded.
pub(super) struct PatternTrack(Rungs);

/// Graphs that make the picture themselves.
struct Pattern {
    rate: FrameRate,
    seconds: f64,
}

impl Filters for Pattern {
    fn head(&self, target: &Target) -> Result<Graph> {
        let (size, Self { rate, seconds }) = (target.plan.size, self);
        let source = format!("testsrc2=size={}x{}:rate={rate}:duration={seconds}", size.width, size.height);
        Graph::new(&format!("{source},{}", target.tail()), target.threads, target.upload.as_ref())
            .map_err(|error| failed(Code::EncodeFailed, "the test picture cannot be made", error))
    }
}

impl PatternTrack {
    pub(super) fn open(
        plan: &PicturePlan,
        seconds: f64,
        tools: &Tools<'_>,
        place: &dyn Place,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, Vec<String>)> {
        let rate = plan.fps.unwrap_or(FrameRate::whole(30));
        let mut targets: Vec<Target> = plan.renditions.iter().map(|plan| Target::generated(plan, tools)).collect();
        let pattern = Pattern { rate, seconds };
        let (rungs, names) =
            Rungs::open(&mut targets, &pattern, (rate.num as i32, rate.den as i32), tools, place, notes)?;
        Ok((Self(rungs), names))
    }

    /// Makes one more frame; false at the end.
    pub(super) fn advance(&mut self, limit: &Limit) -> Result<bool> {
        self.0.advance(limit)
    }

    pub(super) fn reached(&self) -> f64 {
        self.0.reached()
    }

    pub(super) fn finish(&mut self, limit: &Limit) -> Result<Vec<Encoder>> {
        self.0.finish(None, limit)
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
            threads: tools.limit.bounds.threads,
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
            threads: tools.limit.bounds.threads,
        }
    }

    /// Whether its frames live on a device.
    pub(super) fn is_on_device(&self) -> bool {
        self.upload.is_some()
    }

    /// Pixel format as the encoder is told.
    pub(super) fn encoder_pixels(&self) -> &'static str {
        if self.upload.is_some() { "vaapi" } else { self.pixel_format }
    }

    /// The graph that makes these pictures from those of the rung above.
    pub(super) fn below(&self, above: &Self, base: TimeBase) -> Result<Graph> {
        let (from, to, aspect) = (above.plan.size, self.plan.size, above.plan.sample_aspect_ratio);
        let mut notation = String::new();
        let _ = write!(
            notation,
            "buffer@in=video_size={}x{}:pix_fmt={}:time_base={}/{}:pixel_aspect={}/{}",
            from.width, from.height, above.pixel_format, base.num, base.den, aspect.num, aspect.den
        );
        if cfg!(feature = "ffmpeg_7_0") {
            let _ = write!(notation, ":colorspace={}:range={}", above.color.matrix, above.color.range);
        }
        let _ = write!(notation, ",scale={}:{}:flags=bicubic", to.width, to.height);
        if self.color.is_full() {
            notation.push_str(":in_range=pc:out_range=pc");
        }
        let _ = write!(notation, ",{}", self.tail());
        Graph::new(&notation, self.threads, self.upload.as_ref())
            .map_err(|error| failed(Code::EncodeFailed, "the filters do not fit this rendition", error))
    }

    /// Chooses the pixel format, and the device, for an encoder.
    pub(super) fn aim(&mut self, encoder: &str) -> Result<()> {
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
