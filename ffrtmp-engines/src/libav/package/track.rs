//! One stream of a package: its muxer, its segments, and what the playlists will say about it.
//!
//! Where a segment begins is decided elsewhere (`cuts.rs`). A track closes a fragment before every
//! key frame, so that each is the first sample of its fragment and players can fetch it alone.

use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};

use super::folder::{Folder, Ledger, Piece};
use super::{Segments, boxes, codecs};
use crate::libav::fault::failed;
use crate::libav::sys::{AvError, Guard, Output, Packet, StreamShape, StreamView, TimeBase};

/// Bytes of a fragment after which it is written, also without a key frame.
const MAX_FRAGMENT: usize = 8 << 20;
pub(super) const HEADER: &str = "init.mp4";

/// One stream being written as segments.
pub(super) struct Track {
    output: Output,
    format: Segments,
    codec: String,
    is_video: bool,
    /// The packet before, of which the length is not known until the next comes.
    held: Option<Packet>,
    writing: Option<Writing>,
    fragment: Option<Fragment>,
    /// What makes all decoding times positive; an edit list tells players to take it off again.
    origin: i64,
    has_header: bool,
    made: Made,
}

/// Segments of one stream, and how to decode them.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Ticks per second inside the segments.
    pub(super) timescale: u32,
    pub(super) segments: Vec<Segment>,
    pub(super) keys: Vec<KeyPicture>,
    /// By RFC 6381, if there is a name for it.
    pub(super) codec: Option<String>,
}

/// A stretch of presentation and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) bytes: u64,
}

/// A picture that can be decoded alone, inside a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyPicture {
    pub(super) segment: usize,
    pub(super) pts: i64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

struct Writing {
    piece: Piece,
    start: i64,
}

/// What the muxer holds back.
#[derive(Clone, Copy)]
struct Fragment {
    pts: i64,
    dts: i64,
    is_key: bool,
    bytes: usize,
}

/// Where a track writes to.
pub(super) struct Target<'a> {
    pub(super) folder: &'a Folder,
    pub(super) ledger: &'a mut Ledger,
}

impl Track {
    pub(super) fn new(format: Segments, codec: &str, is_video: bool, control: &Control) -> Result<Self> {
        let muxer = match format {
            Segments::Cmaf => "mp4",
            Segments::MpegTs => "mpegts",
        };
        let output = Output::in_memory(muxer, Guard::new(control.clone()))
            .map_err(|error| failed(Code::CodecUnavailable, format!("no muxer {muxer}"), error))?;
        Ok(Self {
            output,
            format,
            codec: codec.to_owned(),
            is_video,
            held: None,
            writing: None,
            fragment: None,
            origin: 0,
            has_header: false,
            made: Made::default(),
        })
    }

    /// The container that carries the stream, for it to be added to.
    pub(super) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    pub(super) fn describe(&mut self, source: StreamView<'_>, tags: &[(String, String)]) {
        self.output.describe_stream(0, source, tags);
    }

    pub(super) fn shape(&self) -> Option<StreamShape> {
        self.output.shape(0)
    }

    /// Places by which decoding goes ahead of presentation in a copied stream.
    pub(super) fn video_delay(&self) -> i32 {
        self.output.video_delay(0)
    }

    pub(super) fn start(&mut self) -> Result<()> {
        let settings: &[(&str, &str)] = match self.format {
            // Edit lists are ours to write: the muxer's would move streams against each other.
            Segments::Cmaf => &[
                ("movflags", "+frag_custom+empty_moov+default_base_moof+delay_moov"),
                ("use_editlist", "0"),
                ("strict", "experimental"),
            ],
            Segments::MpegTs => &[("strict", "experimental")],
        };
        self.output.start(settings).map_err(|error| {
            let what = format!("{} segments cannot carry {}", self.format, self.codec);
            failed(Code::ContainerMismatch, what, error)
        })?;
        Ok(())
    }

    pub(super) fn base(&self) -> TimeBase {
        self.output.time_base(0)
    }

    /// Takes a packet with its times in [`Self::base`], both known and in order.
    pub(super) fn push(&mut self, packet: &mut Packet, cut: bool, to: &mut Target<'_>) -> Result<()> {
        let mut packet = std::mem::replace(packet, Packet::new());
        let (pts, dts) = (packet.pts().unwrap_or(0), packet.dts().unwrap_or(0));
        match self.held.take() {
            None if self.format == Segments::Cmaf => self.origin = (-dts).max(0),
            None => {}
            Some(mut before) => {
                let length = dts - before.dts().unwrap_or(dts);
                before.set_times(before.pts(), before.dts(), length.max(1));
                self.feed(&mut before, to)?;
            }
        }
        if cut {
            self.close_segment(pts, to)?;
        } else if self.is_video && packet.is_key() {
            self.close_fragment(to)?;
        }
        if self.writing.is_none() {
            self.open_segment(pts, to)?;
        }
        packet.set_stream(0);
        packet.clear_position();
        self.held = Some(packet);
        Ok(())
    }

    /// Ends the last segment; presentation ends at `end`.
    pub(super) fn finish(&mut self, end: i64, to: &mut Target<'_>) -> Result<()> {
        if let Some(mut last) = self.held.take() {
            self.feed(&mut last, to)?;
        }
        if self.writing.is_none() {
            return Ok(());
        }
        self.close_fragment(to)?;
        // What it would still write is an index of fragments that nobody asked for, or the last
        // packets of a transport stream.
        self.output.finish().map_err(muxing)?;
        let rest = self.output.take();
        if self.format == Segments::MpegTs {
            self.append(&rest, to)?;
        }
        self.end_segment(end);
        Ok(())
    }

    pub(super) fn made(&self) -> &Made {
        &self.made
    }

    /// Gives a packet with its final length to the muxer.
    fn feed(&mut self, packet: &mut Packet, to: &mut Target<'_>) -> Result<()> {
        let fragment = self.fragment.get_or_insert(Fragment {
            pts: packet.pts().unwrap_or(0),
            dts: packet.dts().unwrap_or(0),
            is_key: self.is_video && packet.is_key(),
            bytes: 0,
        });
        fragment.bytes += packet.size();
        let (fragment, is_full) = (*fragment, fragment.bytes > MAX_FRAGMENT);
        if self.format == Segments::MpegTs && self.made.codec.is_none() {
            self.made.codec = codecs::of_elementary(&self.codec, self.output.extradata(0), packet.data());
        }
        self.output.write_directly(packet).map_err(muxing)?;
        match self.format {
            Segments::Cmaf if is_full => self.close_fragment(to),
            Segments::Cmaf => Ok(()),
            Segments::MpegTs => self.append_packets(packet, fragment, to),
        }
    }

    /// Transport stream packets are written as they come; only a key frame is remembered.
    fn append_packets(&mut self, packet: &Packet, fragment: Fragment, to: &mut Target<'_>) -> Result<()> {
        let bytes = self.output.take();
        if fragment.is_key && packet.dts() == Some(fragment.dts) {
            self.remember_key(fragment.pts, bytes.len());
        }
        self.append(&bytes, to)
    }

    fn remember_key(&mut self, pts: i64, length: usize) {
        let offset = self.writing.as_ref().map_or(0, |writing| writing.piece.length());
        let segment = self.made.segments.len();
        self.made.keys.push(KeyPicture { segment, pts, offset, length: length as u64 });
    }

    /// Writes what the muxer holds back.
    fn close_fragment(&mut self, to: &mut Target<'_>) -> Result<()> {
        let Some(fragment) = self.fragment.take() else { return Ok(()) };
        self.output.flush().map_err(muxing)?;
        match self.format {
            Segments::MpegTs => {
                let bytes = self.output.take();
                self.append(&bytes, to)?;
                // The next packet begins with the tables, so that decoding can begin there.
                self.output.set(c"mpegts_flags", c"resend_headers").map_err(muxing)
            }
            Segments::Cmaf => {
                let mut bytes = self.output.take();
                if !self.has_header {
                    bytes = self.write_header(bytes, to)?;
                }
                let ticks = fragment.dts.saturating_add(self.origin);
                let ticks = u64::try_from(ticks).map_err(|_| unfit("a fragment begins before the stream"))?;
                boxes::set_decode_time(&mut bytes, ticks).ok_or_else(|| unfit("a fragment without its time"))?;
                if fragment.is_key {
                    let end = boxes::first_sample_end(&bytes).ok_or_else(|| unfit("a fragment without a sample"))?;
                    self.remember_key(fragment.pts, end);
                }
                self.append(&bytes, to)
            }
        }
    }

    /// Writes the initialization segment and returns the first fragment.
    fn write_header(&mut self, mut bytes: Vec<u8>, to: &mut Target<'_>) -> Result<Vec<u8>> {
        // The first flush may have written the header only.
        if boxes::split_header(&bytes).1.is_empty() {
            self.output.flush().map_err(muxing)?;
            bytes.extend(self.output.take());
        }
        let (header, fragment) = boxes::split_header(&bytes);
        let header = &boxes::with_brand(header).ok_or_else(|| unfit("no header"))?;
        self.made.timescale = boxes::timescale(header).ok_or_else(|| unfit("a header without a clock"))?;
        self.made.codec = codecs::of_header(header);
        if self.origin > 0 {
            let start = u32::try_from(self.origin).ok().and_then(|start| boxes::with_presentation_start(header, start));
            let header = start.ok_or_else(|| unfit("a header that takes no edit list"))?;
            to.folder.write(HEADER, &header, to.ledger)?;
        } else {
            to.folder.write(HEADER, header, to.ledger)?;
        }
        self.has_header = true;
        Ok(fragment.to_vec())
    }

    fn append(&mut self, bytes: &[u8], to: &mut Target<'_>) -> Result<()> {
        match &mut self.writing {
            Some(writing) => writing.piece.append(bytes, to.ledger),
            None if bytes.is_empty() => Ok(()),
            None => Err(unfit("bytes outside of a segment")),
        }
    }

    fn open_segment(&mut self, start: i64, to: &mut Target<'_>) -> Result<()> {
        let mut piece = to.folder.create(&self.format.segment_name(self.made.segments.len()), to.ledger)?;
        if self.format == Segments::Cmaf {
            piece.append(&boxes::segment_type(), to.ledger)?;
        }
        self.writing = Some(Writing { piece, start });
        Ok(())
    }

    fn close_segment(&mut self, end: i64, to: &mut Target<'_>) -> Result<()> {
        self.close_fragment(to)?;
        self.end_segment(end);
        Ok(())
    }

    fn end_segment(&mut self, end: i64) {
        if let Some(Writing { piece, start }) = self.writing.take() {
            // Priming is not presented.
            let start = if self.origin > 0 { start.max(0) } else { start };
            self.made.segments.push(Segment { start, end: end.max(start + 1), bytes: piece.length() });
        }
    }
}

fn muxing(error: AvError) -> Error {
    failed(Code::EncodeFailed, "the muxer of a segment failed", error)
}

fn unfit(what: &str) -> Error {
    Error::new(Code::EncodeFailed, format!("the muxer wrote {what}"))
}
