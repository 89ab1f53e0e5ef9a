//! From a frame to a JPEG: scaled, in the colours that JFIF means, compressed.

use std::fmt::Write as _;

use ffrtmp_core::error::{Code, Error, Result};

use super::Size;
use crate::libav::fault::failed;
use crate::libav::sys::{AvError, Color, Encoder, Frame, Graph, Packet, Pulled, TimeBase, VideoFormat};

/// Quantiser scale of libav's JPEG encoder, 2 (best) to 31: what `-q:v 3` means on the command line.
const QUALITY: &str = "3";
/// JFIF: full range, the matrix of BT.601.
const JFIF: Color = Color { range: Color::RANGE_FULL, primaries: 2, transfer: 2, matrix: 5 };
/// Pictures have no rate.
const CLOCK: TimeBase = TimeBase { num: 1, den: 25 };

/// Scales and compresses pictures of one kind; scaler and encoder are kept from one to the next.
#[derive(Default)]
pub(super) struct Printer {
    scaler: Option<(Shape, Graph)>,
    encoder: Option<(Size, Encoder)>,
    count: i64,
}

impl Printer {
    /// A JPEG of this size.
    pub(super) fn print(&mut self, frame: &Frame, size: Size) -> Result<Vec<u8>> {
        let scaled = self.scale(frame, size)?;
        let encoder = match self.encoder.take() {
            Some((opened, encoder)) if opened == size => encoder,
            _ => self.open(size, "optimal")?,
        };
        let (_, encoder) = self.encoder.insert((size, encoder));
        self.count += 1;
        compress(encoder, scaled, self.count)
    }

    /// A JPEG of a picture that is put together from scaled ones. It may be huge, so codes are not
    /// fitted to it, which would take its memory several times.
    pub(super) fn print_sheet(&self, sheet: Frame) -> Result<Vec<u8>> {
        let size = Size { width: sheet.width().unsigned_abs(), height: sheet.height().unsigned_abs() };
        compress(&mut self.open(size, "default")?, sheet, 0)
    }

    /// The picture as JPEG holds it, with square pixels.
    pub(super) fn scale(&mut self, frame: &Frame, to: Size) -> Result<Frame> {
        let color = frame.color().sane();
        let shape = Shape { width: frame.width(), height: frame.height(), format: frame.format(), color, to };
        let graph = match self.scaler.take() {
            Some((built, graph)) if built == shape => graph,
            _ => shape.graph(&frame.pixel_format().unwrap_or_default())?,
        };
        let (_, graph) = self.scaler.insert((shape, graph));
        pass(graph, frame.reference()?)
            .map_err(|error| failed(Code::EncodeFailed, "a still could not be scaled", error))?
            .ok_or_else(|| Error::new(Code::EncodeFailed, "a still got lost in the scaler"))
    }

    fn open(&self, size: Size, codes: &str) -> Result<Encoder> {
        let Some((_, graph)) = &self.scaler else {
            return Err(Error::new(Code::Internal, "a still was not scaled before it is compressed"));
        };
        let format = VideoFormat {
            width: size.width as i32,
            height: size.height as i32,
            pixel_format: "yuv420p".to_owned(),
            sample_aspect_ratio: (1, 1),
            time_base: CLOCK,
            frame_rate: (CLOCK.den, CLOCK.num),
            color: JFIF,
        };
        let settings = [("flags", "+qscale+bitexact"), ("qmin", QUALITY), ("qmax", QUALITY), ("huffman", codes)];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Encoder::video("mjpeg", &format, &settings, false, graph)
            .map_err(|error| failed(Code::CodecUnavailable, "no JPEG encoder opens here", error))
    }
}

fn compress(encoder: &mut Encoder, mut picture: Frame, number: i64) -> Result<Vec<u8>> {
    picture.prepare_for_encoder();
    picture.set_pts(number);
    let mut packet = Packet::new();
    let sent = encoder.send(Some(&picture)).and_then(|()| encoder.receive(&mut packet));
    sent.map_err(|error| failed(Code::EncodeFailed, "a still could not be compressed", error))?;
    Ok(packet.data().to_vec())
}

fn pass(graph: &mut Graph, mut frame: Frame) -> std::result::Result<Option<Frame>, AvError> {
    graph.push(&mut frame)?;
    let mut scaled = Frame::new();
    Ok((graph.pull(&mut scaled)? == Pulled::Frame).then_some(scaled))
}

/// What a scaler was built for.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    width: i32,
    height: i32,
    format: i32,
    color: Color,
    to: Size,
}

impl Shape {
    fn graph(&self, pixel_format: &str) -> Result<Graph> {
        let Self { width, height, color, to, .. } = self;
        let mut notation = format!(
            "buffer@in=video_size={width}x{height}:pix_fmt={pixel_format}:time_base={}/{}:pixel_aspect=1/1",
            CLOCK.num, CLOCK.den
        );
        if cfg!(feature = "ffmpeg_7_0") {
            let _ = write!(notation, ":colorspace={}:range={}", color.matrix, color.range);
        }
        let Size { width, height } = to;
        let _ = write!(
            notation,
            ",scale={width}:{height}:flags=bicubic:out_color_matrix=bt601:out_range=pc,format=yuv420p,buffersink@out"
        );
        Graph::new(&notation, 1, None)
            .map_err(|error| failed(Code::EncodeFailed, format!("a still cannot be scaled to {width}x{height}"), error))
    }
}
