//! The filter graphs of a job's pictures, in libav's notation.

use std::fmt::Write as _;

use ffrtmp_core::encoding::{Deinterlace, ToneMap};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::PicturePlan;
use ffrtmp_core::units::{FrameRate, Resolution};

use super::super::fault::failed;
use super::super::hdr::HdrMetadata;
use super::super::sys::{
    Color, Frame, Graph, HardwareDevice, TimeBase, bit_depth, chroma_shift, has_alpha, has_filter,
};
use super::color::{self, Tone};
use super::{Picture, Pixels, Shape, UNKNOWN_RATE};

/// How the source is scaled: libav's own choice.
const SCALER: &str = "bicubic";
/// How a rung is scaled from the one above: as sharper as makes up for the softness of scaling once
/// more. Three rungs down this is within 0.1 VMAF of scaling the source; without it 0.3 are lost.
const CASCADE: &str = "bicubic:param1=0.61";

/// Builds the graphs of a job's pictures.
///
/// Pictures come out in memory, in the pixel format of their rung; [`Filters::upload`] brings them
/// to a device.
#[derive(Clone)]
pub(in super::super) struct Filters {
    /// The pictures as they are now; shape, fields and colours follow the frames.
    picture: Picture,
    /// Tags of the source at its start, and those of its first frame.
    origin: Color,
    first: Option<Color>,
    fields: Fields,
    fps: Option<FrameRate>,
    tone_map: ToneMap,
    tone: Option<Tone>,
    output: Color,
    /// Length of a generated picture in seconds.
    generated: Option<f64>,
    threads: usize,
}

/// What is done about fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    wish: Deinterlace,
    /// Whether the libraries can do anything about them.
    able: bool,
}

impl Filters {
    /// Filters for the pictures of a source; `threads` 0 leaves their number to libav.
    ///
    /// # Errors
    /// `codec_unavailable` where a wish needs a filter that the libraries here lack.
    pub(in super::super) fn new(picture: Picture, plan: &PicturePlan, threads: usize) -> Result<Self> {
        let able = has_filter("bwdif");
        if matches!(plan.deinterlace, Deinterlace::Frame | Deinterlace::Field) && !able {
            let what = "the FFmpeg libraries here have no filter bwdif, which deinterlacing needs";
            return Err(Error::new(Code::CodecUnavailable, what)
                .field("parameters.deinterlace")
                .hint("install FFmpeg libraries with that filter, or ask for off"));
        }
        let codec = plan.renditions.first().map(|rendition| rendition.codec);
        let codec = codec.ok_or_else(|| Error::new(Code::Internal, "a picture plan without renditions"))?;
        let format = &picture.shape.pixel_format;
        let origin = color::of_source(picture.color, format);
        let tone = Tone::for_source(plan.tone_map, origin, &picture.hdr)?;
        let output = color::of_output(origin, format, codec, tone);
        let fields = Fields { wish: plan.deinterlace, able };
        let fps = plan.fps;
        Ok(Self {
            picture: Picture { color: origin, ..picture },
            origin,
            first: None,
            fields,
            fps,
            tone_map: plan.tone_map,
            tone,
            output,
            generated: None,
            threads,
        })
    }

    /// Filters that make a moving test picture of this length in the size of the first rendition.
    ///
    /// # Errors
    /// `internal` for a plan without renditions.
    pub(in super::super) fn generated(plan: &PicturePlan, seconds: f64, threads: usize) -> Result<Self> {
        let size = plan.renditions.first().map(|rendition| rendition.size);
        let Resolution { width, height } =
            size.ok_or_else(|| Error::new(Code::Internal, "a picture plan without renditions"))?;
        let rate = plan.fps.unwrap_or(FrameRate::whole(30));
        let picture = Picture {
            shape: Shape { width: width as i32, height: height as i32, pixel_format: "yuv420p".to_owned() },
            base: TimeBase::new(rate.den as i32, rate.num as i32),
            rate: Some(rate),
            aspect: (1, 1),
            orientation: super::Orientation::default(),
            color: Color {
                range: 0,
                primaries: Color::UNSPECIFIED,
                transfer: Color::UNSPECIFIED,
                matrix: Color::UNSPECIFIED,
            },
            interlaced: false,
            veiled: false,
            hdr: HdrMetadata::default(),
        };
        let filters = Self::new(picture, plan, threads)?;
        // Nothing is done to it: it is made as it is wanted.
        let fields = Fields { wish: Deinterlace::Off, able: false };
        Ok(Self { fps: None, fields, generated: Some(seconds), ..filters })
    }

    /// Colour tags of every rendition.
    pub(in super::super) fn color(&self) -> Color {
        self.output
    }

    /// What headers and encoders shall say about the screen, if the output keeps high dynamic range.
    pub(in super::super) fn hdr(&self) -> HdrMetadata {
        if self.tone.is_some() { HdrMetadata::default() } else { self.picture.hdr }
    }

    /// Frames per second of the output, as far as the source says.
    pub(in super::super) fn rate(&self) -> (i32, i32) {
        let own = |rate: FrameRate| (rate.num as i32, rate.den as i32);
        match (self.fps, self.picture.rate) {
            (Some(rate), _) => own(rate),
            (None, Some(rate)) if self.fields.wish == Deinterlace::Field => {
                FrameRate::new(rate.num.saturating_mul(2), rate.den).map_or(own(rate), own)
            }
            (None, rate) => rate.map_or(UNKNOWN_RATE, own),
        }
    }

    /// Whether frames of the output last as long as each other.
    pub(in super::super) fn is_constant(&self) -> bool {
        self.fps.is_some()
    }

    /// Bits per component that the output can have without inventing any.
    pub(in super::super) fn depth(&self) -> i32 {
        if self.tone.is_some() { 8 } else { self.source_depth() }
    }

    fn source_depth(&self) -> i32 {
        bit_depth(&self.picture.shape.pixel_format)
    }

    /// Looks at a decoded frame before it is pushed: whether the head graph was built for another
    /// kind of picture. The old graph is to be closed and drained, then [`Filters::head`] gives the
    /// new one.
    pub(in super::super) fn follow(&mut self, frame: &Frame) -> bool {
        let shape = Shape::of(frame);
        let interlaced = self.picture.interlaced || frame.is_interlaced();
        let tags = color::of_source(frame.color().sane(), &shape.pixel_format);
        let first = *self.first.get_or_insert(tags);
        // What the container says about the first picture holds for all that look like it.
        let follow = |now: i32, first: i32, origin: i32, unknown: i32| {
            if now == first || now == unknown || first == unknown { origin } else { now }
        };
        let color = Color {
            range: follow(tags.range, first.range, self.origin.range, 0),
            matrix: follow(tags.matrix, first.matrix, self.origin.matrix, Color::UNSPECIFIED),
            ..self.picture.color
        };
        let was = &self.picture;
        let deinterlaces = self.fields.wish == Deinterlace::Auto && self.fields.able;
        let changed = shape != was.shape || color != was.color || (deinterlaces && interlaced != was.interlaced);
        (self.picture.shape, self.picture.color, self.picture.interlaced) = (shape, color, interlaced);
        changed
    }

    /// The graph from decoded frames, or from nothing for a generated picture, to the largest
    /// rendition.
    ///
    /// # Errors
    /// `encode_failed` where the filters do not fit the pictures.
    pub(in super::super) fn head(&self, pixels: &Pixels) -> Result<Graph> {
        let mut notation = match self.generated {
            Some(seconds) => self.pattern(seconds),
            None => self.decoded(pixels),
        };
        notation.push_str(&tail(pixels));
        self.build(&notation, None)
    }

    /// The graph from the pictures of one rung, whose times are in `base`, to those of the next.
    ///
    /// # Errors
    /// `encode_failed` where the filters do not fit the pictures.
    pub(in super::super) fn below(&self, above: &Pixels, base: TimeBase, pixels: &Pixels) -> Result<Graph> {
        let mut notation = self.buffer(above, base);
        let range = if self.output.is_full() { "pc" } else { "tv" };
        let Resolution { width, height } = pixels.size;
        let _ = write!(notation, ",scale={width}:{height}:flags={CASCADE}:in_range={range}:out_range={range}");
        notation.push_str(self.field_scaling());
        notation.push_str(&tail(pixels));
        self.build(&notation, None)
    }

    /// The graph that brings the pictures of a rung to a device.
    ///
    /// # Errors
    /// `encode_failed` where the device does not take them.
    pub(in super::super) fn upload(&self, pixels: &Pixels, base: TimeBase, device: &HardwareDevice) -> Result<Graph> {
        let notation = format!("{},hwupload,buffersink@out", self.buffer(pixels, base));
        self.build(&notation, Some(device))
    }

    fn build(&self, notation: &str, device: Option<&HardwareDevice>) -> Result<Graph> {
        Graph::new(notation, self.threads, device)
            .map_err(|error| failed(Code::EncodeFailed, "the filters do not fit this video", error))
    }

    fn decoded(&self, pixels: &Pixels) -> String {
        let mut notation = self.source();
        self.deinterlace(&mut notation);
        let fps = self.fps.map(|rate| format!(",fps=fps={}/{}", rate.num, rate.den)).unwrap_or_default();
        // Frames that are left out need no work, frames that are repeated need it once.
        let fewer = matches!((self.fps, self.picture.rate), (Some(to), Some(from)) if to.as_f64() <= from.as_f64());
        if fewer {
            notation.push_str(&fps);
        }
        self.scale(&mut notation, pixels);
        notation.push_str(&self.picture.orientation.filters());
        if let Some(tone) = &self.tone {
            let _ = write!(notation, ",{}", tone.filters());
        }
        if !fewer {
            notation.push_str(&fps);
        }
        notation
    }

    fn source(&self) -> String {
        let Picture { shape: Shape { width, height, pixel_format }, base, aspect: (num, den), .. } = &self.picture;
        let mut notation = format!(
            "buffer@in=video_size={width}x{height}:pix_fmt={pixel_format}:time_base={}/{}:pixel_aspect={num}/{den}",
            base.num, base.den
        );
        notation.push_str(&properties(self.picture.color));
        if let Some(rate) = self.picture.rate {
            let _ = write!(notation, ":frame_rate={}/{}", rate.num, rate.den);
        }
        notation
    }

    fn pattern(&self, seconds: f64) -> String {
        let Shape { width, height, .. } = self.picture.shape;
        let (num, den) = self.rate();
        format!("testsrc2=size={width}x{height}:rate={num}/{den}:duration={seconds}")
    }

    fn buffer(&self, pixels: &Pixels, base: TimeBase) -> String {
        let Pixels { size: Resolution { width, height }, aspect, format } = pixels;
        let (num, den) = self.rate();
        format!(
            "buffer@in=video_size={width}x{height}:pix_fmt={format}:time_base={}/{}:pixel_aspect={}/{}\
             :frame_rate={num}/{den}{}",
            base.num,
            base.den,
            aspect.num,
            aspect.den,
            properties(self.output)
        )
    }

    fn deinterlace(&self, notation: &mut String) {
        notation.push_str(match self.fields.wish {
            Deinterlace::Auto if self.picture.interlaced && self.fields.able => {
                ",bwdif=mode=send_frame:deint=interlaced"
            }
            Deinterlace::Auto | Deinterlace::Off => "",
            Deinterlace::Frame => ",bwdif=mode=send_frame:deint=all",
            Deinterlace::Field => ",bwdif=mode=send_field:deint=all",
        });
    }

    /// Scales before the turn, where there are fewer pixels to move.
    fn scale(&self, notation: &mut String, pixels: &Pixels) {
        let size = if self.picture.orientation.is_sideways() { pixels.size.turned() } else { pixels.size };
        let format = &self.picture.shape.pixel_format;
        let conversion = match self.tone {
            // The range changes with the dynamic range, in one step.
            Some(_) => String::new(),
            None => color::conversion(self.picture.color, format, self.output),
        };
        let Resolution { width, height } = size;
        if self.is_odd_of(size) {
            let _ = write!(notation, ",crop={width}:{height}:0:0");
        }
        let _ = write!(notation, ",scale={width}:{height}:flags={SCALER}{conversion}{}", self.field_scaling());
        if self.tone.is_none() {
            let _ = write!(notation, ",format={}", pixels.format);
        }
    }

    /// Whether this is the size of the source less an odd row or column: that is cut off, the others
    /// stay as they are.
    fn is_odd_of(&self, size: Resolution) -> bool {
        let Shape { width, height, .. } = self.picture.shape;
        let (width, height) = (i64::from(width), i64::from(height));
        let own = (i64::from(size.width), i64::from(size.height));
        own != (width, height) && own == (width & !1, height & !1)
    }

    /// Lines of two moments are scaled apart from each other.
    fn field_scaling(&self) -> &'static str {
        if self.fields.wish == Deinterlace::Off && self.picture.interlaced { ":interl=-1" } else { "" }
    }

    /// What becomes of the pictures that a reader of the report should know, whatever the encoder.
    pub(in super::super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let picture = &self.picture;
        if picture.interlaced {
            remarks.push(match self.fields {
                Fields { wish: Deinterlace::Off, .. } => {
                    "the source is interlaced; its lines were left as they are and coded as whole pictures".to_owned()
                }
                Fields { wish: Deinterlace::Field, .. } => {
                    "the source is interlaced; each of its fields became a picture".to_owned()
                }
                Fields { able: true, .. } => {
                    "the source is interlaced; its fields were blended into whole pictures".to_owned()
                }
                _ => "the source is interlaced, and the FFmpeg libraries here cannot blend its fields".to_owned(),
            });
        }
        if picture.orientation.is_askew() {
            let degrees = picture.orientation.degrees;
            remarks.push(format!("the source is turned by {degrees} degrees, so that its corners were cut off"));
        }
        if picture.veiled || has_alpha(&picture.shape.pixel_format) {
            remarks.push("the transparency of the source is not carried over".to_owned());
        }
        if self.tone_map != ToneMap::Off && self.tone.is_none() {
            remarks.push("the source has standard dynamic range, so that no tones were mapped".to_owned());
        }
        remarks
    }

    /// What the pixels of an encoder cannot hold.
    pub(in super::super) fn losses(&self, pixels: &Pixels, encoder: &str) -> Vec<String> {
        let mut losses = Vec::new();
        let format = &self.picture.shape.pixel_format;
        let (from, to) = (self.depth(), bit_depth(pixels.format));
        if from > to {
            losses.push(format!("{from} bits per component became {to}, which is what {encoder} takes here"));
        }
        if let (Some(from), Some(to)) = (chroma_shift(format), chroma_shift(pixels.format))
            && (from.0 < to.0 || from.1 < to.1)
        {
            let sampling = if from == (1, 0) { "4:2:2" } else { "finer than 4:2:0" };
            losses.push(format!("the colour of the source is {sampling}; it became 4:2:0"));
        }
        if self.output.is_high_range() && to < 10 {
            losses.push(
                "the source has high dynamic range and the output only 8 bits: few players show it right; \
                 ask for tone_map, or for a codec with 10 bits"
                    .to_owned(),
            );
        }
        losses
    }
}

/// Colours of a buffer; before FFmpeg 7 they come with the frames only.
fn properties(color: Color) -> String {
    if cfg!(feature = "ffmpeg_7_0") {
        format!(":colorspace={}:range={}", color.matrix, color.range)
    } else {
        String::new()
    }
}

/// Ends every graph in memory: pixel shape, pixel format, sink.
fn tail(pixels: &Pixels) -> String {
    let aspect = pixels.aspect;
    format!(",setsar={}/{},format={},buffersink@out", aspect.num, aspect.den, pixels.format)
}
