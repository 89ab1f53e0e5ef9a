//! One subtitle stream: passed through, or decoded and written as text of another format.
//!
//! Packets come on the output's clock and leave with the times at which they are shown; what they
//! go into is the caller's. Which stream becomes what is decided in `ffrtmp_core::plan::subtitles`.
//! Overlaps stay where the container has them; for MPEG-4, `together.rs` makes one text of them.

mod together;

use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{SubtitleCodec, Target};
use ffrtmp_core::plan::subtitles::is_pictures;

use super::fault::failed;
use super::sys::{AvError, Event, Output, Packet, StreamView, SubtitleDecoder, SubtitleEncoder, TimeBase};
use together::Together;

/// Most bytes of a packet of text; no page of text is that long.
const MAX_TEXT: usize = 1 << 20;
/// Most bytes of a packet of pictures, uncompressed ones of 4K included.
const MAX_PICTURE: usize = 1 << 26;
/// How long a text is shown, in microseconds, where nothing says when it ends.
const UNENDED: i64 = 10_000_000;
/// Longest step between samples of MPEG-4 timed text, in microseconds. The muxer's own limit of
/// 31 bits is reached after 35 minutes of silence, and then it puts the next text at the wrong time.
const MAX_STEP: i64 = 1_800_000_000;
/// A sample of MPEG-4 timed text that shows nothing.
const NOTHING: &[u8] = &[0, 0];

/// Place of the text among the fields of a line of dialogue, from 0; it may hold commas itself.
const TEXT_FIELD: usize = 8;
/// Most bytes of a code in braces.
const MAX_CODE: usize = 1024;

/// Takes packets on their way out, with the unit of their times.
pub(super) type Deliver<'a> = &'a mut dyn FnMut(&mut Packet, TimeBase) -> Result<()>;

/// A subtitle stream of the source and what becomes of it.
pub(super) struct SubtitleTrack {
    base: TimeBase,
    most_bytes: usize,
    work: Work,
    outlet: Outlet,
    done: bool,
}

enum Work {
    Copy,
    Convert(Box<Converter>),
}

impl SubtitleTrack {
    /// # Errors
    /// `input_unsupported` if the text cannot be decoded, `codec_unavailable` if the libraries do
    /// not have the target.
    pub(super) fn open(stream: StreamView<'_>, target: Target<SubtitleCodec>, window: Window) -> Result<Self> {
        let work = match target {
            Target::Copy => Work::Copy,
            Target::Encode(codec) => Work::Convert(Box::new(Converter::open(stream, codec)?)),
        };
        let codec = stream.codec();
        let is_timed_text = match target {
            Target::Copy => codec == "mov_text",
            Target::Encode(codec) => codec == SubtitleCodec::MovText,
        };
        let is_pictures = is_pictures(&codec);
        Ok(Self {
            base: stream.time_base(),
            most_bytes: if is_pictures { MAX_PICTURE } else { MAX_TEXT },
            work,
            outlet: Outlet { window, is_pictures, filled: is_timed_text.then_some(0), damaged: 0 },
            done: false,
        })
    }

    /// Adds the stream that the packets go into.
    pub(super) fn add_to(&self, output: &mut Output, source: StreamView<'_>) -> std::result::Result<usize, AvError> {
        match &self.work {
            Work::Copy => output.add_copied_subtitle(source),
            Work::Convert(converter) => output.add_subtitle(&converter.encoder, TimeBase::MICROS),
        }
    }

    /// Whether everything from here on lies behind the cut. Subtitles are sparse: it may never come
    /// true, so the reader should not wait for it where there is anything else to read.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Packets and texts that could not be read or written, and were skipped.
    pub(super) fn damaged(&self) -> u64 {
        self.outlet.damaged
    }

    /// Takes a packet whose times are on the output's clock, in the stream's unit.
    ///
    /// # Errors
    /// Those of `deliver`, and of memory.
    pub(super) fn packet(&mut self, packet: &mut Packet, deliver: Deliver<'_>) -> Result<()> {
        if self.done || packet.size() == 0 {
            return Ok(());
        }
        let Some(span) = self.span(packet).filter(|_| packet.size() <= self.most_bytes) else {
            self.outlet.damaged += 1;
            return Ok(());
        };
        if self.outlet.window.cut.is_some_and(|cut| span.start >= cut) {
            self.done = true;
            return Ok(());
        }
        match &mut self.work {
            Work::Copy => self.outlet.deliver(packet, span, deliver),
            Work::Convert(converter) => converter.feed(Some(packet), span.length, &mut self.outlet, deliver),
        }
    }

    /// Delivers what the decoder still holds.
    ///
    /// # Errors
    /// As [`Self::packet`].
    pub(super) fn finish(&mut self, deliver: Deliver<'_>) -> Result<()> {
        self.done = true;
        match &mut self.work {
            Work::Copy => Ok(()),
            Work::Convert(converter) => converter.end(&mut self.outlet, deliver),
        }
    }

    fn span(&self, packet: &Packet) -> Option<Span> {
        let start = self.base.rescale(packet.pts().or(packet.dts())?, TimeBase::MICROS);
        let length = self.base.rescale(packet.duration(), TimeBase::MICROS);
        (start < self.outlet.window.max).then_some(Span { start, length })
    }
}

/// The part of the clock that an output shows, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Where the output is cut.
    cut: Option<i64>,
    /// Beyond this no time is believed.
    max: i64,
}

impl Window {
    /// `cut` is the length of the output in seconds, where one is wanted.
    pub(super) fn new(cut: Option<f64>, max: Duration) -> Self {
        let max = i64::try_from(max.as_micros()).unwrap_or(i64::MAX);
        Self { cut: cut.map(|seconds| TimeBase::MICROS.ticks(seconds)), max }
    }
}

/// When something is shown, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: i64,
    length: i64,
}

/// From text in one format to text in another.
struct Converter {
    decoder: SubtitleDecoder,
    encoder: SubtitleEncoder,
    /// Whether characters of the text are markup in the target: libav does not mask them.
    has_markup: bool,
    /// Where the target shows one text at a time.
    together: Option<Together>,
}

impl Converter {
    fn open(stream: StreamView<'_>, target: SubtitleCodec) -> Result<Self> {
        let decoder = SubtitleDecoder::open(stream).map_err(|error| {
            let what = format!("subtitles of the codec {} cannot be read", stream.codec());
            failed(Code::InputUnsupported, what, error).field("input")
        })?;
        let name = match target {
            SubtitleCodec::MovText => "mov_text",
            SubtitleCodec::Srt => "subrip",
            SubtitleCodec::Ass => "ass",
            SubtitleCodec::WebVtt => "webvtt",
        };
        let encoder = SubtitleEncoder::open(name, &decoder)
            .map_err(|error| failed(Code::CodecUnavailable, format!("no encoder for {target}"), error))?;
        let together = (target == SubtitleCodec::MovText).then(Together::default);
        Ok(Self { decoder, encoder, has_markup: target == SubtitleCodec::WebVtt, together })
    }

    /// Decodes a packet of which the container says the length, or the end of the stream.
    fn feed(&mut self, packet: Option<&Packet>, length: i64, outlet: &mut Outlet, deliver: Deliver<'_>) -> Result<()> {
        let mut event = match self.decoder.decode(packet) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(_) => {
                outlet.damaged += 1;
                return Ok(());
            }
        };
        let Some(start) = event.start() else {
            outlet.damaged += 1;
            return Ok(());
        };
        if self.has_markup {
            event.change_texts(masked).map_err(no_memory)?;
        }
        let length = match event.length() {
            // The decoder rounds to milliseconds what the container said.
            Some(told) if told.abs_diff(length) < 1000 => length,
            told => told.unwrap_or(UNENDED),
        };
        let span = Span { start, length };
        match &mut self.together {
            None => self.convert(&event, span, outlet, deliver),
            Some(together) => {
                let shown = together.add(event.lines(), span);
                self.show(&shown, outlet, deliver)
            }
        }
    }

    /// Takes what the decoder still holds, and lets go of everything.
    fn end(&mut self, outlet: &mut Outlet, deliver: Deliver<'_>) -> Result<()> {
        self.feed(None, 0, outlet, deliver)?;
        let shown = self.together.as_mut().map(Together::rest).unwrap_or_default();
        self.show(&shown, outlet, deliver)
    }

    fn show(&mut self, shown: &[(Span, String)], outlet: &mut Outlet, deliver: Deliver<'_>) -> Result<()> {
        for (span, line) in shown {
            pass(self.encoder.encode_line(line), *span, outlet, deliver)?;
        }
        Ok(())
    }

    fn convert(&mut self, event: &Event, span: Span, outlet: &mut Outlet, deliver: Deliver<'_>) -> Result<()> {
        for index in 0..self.encoder.packets(event) {
            pass(self.encoder.encode(event, index), span, outlet, deliver)?;
        }
        Ok(())
    }
}

fn pass(
    encoded: std::result::Result<Packet, AvError>,
    span: Span,
    outlet: &mut Outlet,
    deliver: Deliver<'_>,
) -> Result<()> {
    match encoded {
        // Nothing of it is left in this format.
        Ok(packet) if packet.size() == 0 => {}
        Ok(mut packet) => outlet.deliver(&mut packet, span, deliver)?,
        Err(_) => outlet.damaged += 1,
    }
    Ok(())
}

/// A line of dialogue in which `&`, `<` and `>` are WebVTT's words for them, but for the codes in
/// braces.
fn masked(line: &str) -> String {
    let text = line.match_indices(',').nth(TEXT_FIELD - 1).map_or(0, |(comma, _)| comma + 1);
    let mut masked = line[..text].to_owned();
    let mut rest = &line[text..];
    while let Some(first) = rest.chars().next() {
        let code =
            if rest.starts_with("{\\") { rest.bytes().take(MAX_CODE).position(|byte| byte == b'}') } else { None };
        let length = code.map_or(first.len_utf8(), |end| end + 1);
        masked.push_str(match first {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => &rest[..length],
        });
        rest = &rest[length..];
    }
    masked
}

/// Where events leave, within the window.
struct Outlet {
    window: Window,
    is_pictures: bool,
    /// Of MPEG-4 timed text, until when something was delivered.
    filled: Option<i64>,
    damaged: u64,
}

impl Outlet {
    fn deliver(&mut self, packet: &mut Packet, span: Span, deliver: Deliver<'_>) -> Result<()> {
        let Some(span) = self.shown(span) else { return Ok(()) };
        let Some(filled) = self.filled else { return send(packet, span, deliver) };
        if span.start.saturating_sub(filled) > MAX_STEP {
            let nothing = Packet::key(NOTHING).map_err(no_memory)?;
            send_in_steps(&nothing, Span { start: filled, length: span.start - filled }, deliver)?;
        }
        self.filled = Some(filled.max(span.start + span.length));
        if span.length > MAX_STEP { send_in_steps(packet, span, deliver) } else { send(packet, span, deliver) }
    }

    /// The part of a span that lies within the window. Pictures also end what is shown, so none of
    /// them is dropped for being early.
    fn shown(&self, span: Span) -> Option<Span> {
        let end = span.start.saturating_add(span.length).min(self.window.cut.unwrap_or(i64::MAX)).min(self.window.max);
        if span.start < 0 && end <= 0 && !self.is_pictures {
            return None;
        }
        let start = span.start.max(0);
        let length = end.saturating_sub(start).max(0);
        (start < self.window.cut.unwrap_or(i64::MAX)).then_some(Span { start, length })
    }
}

fn send(packet: &mut Packet, span: Span, deliver: Deliver<'_>) -> Result<()> {
    packet.set_times(Some(span.start), Some(span.start), span.length);
    deliver(packet, TimeBase::MICROS)
}

fn send_in_steps(packet: &Packet, span: Span, deliver: Deliver<'_>) -> Result<()> {
    let end = span.start + span.length;
    for start in (span.start..end).step_by(MAX_STEP as usize) {
        let mut step = packet.reference()?;
        send(&mut step, Span { start, length: MAX_STEP.min(end - start) }, deliver)?;
    }
    Ok(())
}

fn no_memory(error: AvError) -> Error {
    failed(Code::MemoryExceeded, "no memory for a subtitle", error)
}

#[cfg(test)]
mod tests;
