//! Decoders and encoders of text subtitles, and their place in a container.

use std::ptr;

use ffmpeg_sys_next as ffi;
use libc::c_int;

use super::input::StreamView;
use super::{AvError, Options, Output, Packet, TimeBase, check, cstring, text};

/// Most bytes of one encoded event, as the `ffmpeg` program has it.
const MAX_EVENT: usize = 1 << 20;
/// What the length field of MPEG-4 timed text can say, with the field itself. libav lets it wrap.
const MAX_MOV_TEXT: usize = u16::MAX as usize + 2;

/// A codec context of our own.
struct Context(*mut ffi::AVCodecContext);

// SAFETY: owned, and used by one thread at a time.
unsafe impl Send for Context {}

impl Context {
    /// # Safety
    /// `codec` is a codec of libav.
    unsafe fn new(codec: *const ffi::AVCodec) -> Result<Self, AvError> {
        // SAFETY: as promised by the caller.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        if context.is_null() { Err(AvError::MEMORY) } else { Ok(Self(context)) }
    }

    fn get(&self) -> &ffi::AVCodecContext {
        // SAFETY: never NULL, and ours as long as self lives.
        unsafe { &*self.0 }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: allocated by avcodec_alloc_context3 and freed once.
        unsafe { ffi::avcodec_free_context(&raw mut self.0) };
    }
}

/// An opened decoder of text subtitles.
pub(crate) struct SubtitleDecoder {
    context: Context,
    /// What ends a stream: a packet without data.
    end: Packet,
}

impl SubtitleDecoder {
    /// # Errors
    /// A codec without decoder, or one that makes pictures.
    pub(crate) fn open(stream: StreamView<'_>) -> Result<Self, AvError> {
        let parameters = stream.parameters();
        // SAFETY: takes any codec id; what is found is static.
        let (codec, descriptor) = unsafe {
            (ffi::avcodec_find_decoder(parameters.codec_id), ffi::avcodec_descriptor_get(parameters.codec_id))
        };
        // SAFETY: a descriptor that was found is static.
        let is_text = unsafe { descriptor.as_ref() }
            .is_some_and(|descriptor| descriptor.props & ffi::AV_CODEC_PROP_TEXT_SUB != 0);
        if codec.is_null() || !is_text {
            return Err(AvError(ffi::AVERROR_DECODER_NOT_FOUND));
        }
        let mut options = Options::new([("threads", "1")]);
        // SAFETY: codec and parameters are valid, and the context is fresh.
        unsafe {
            let context = Context::new(codec)?;
            check(ffi::avcodec_parameters_to_context(context.0, parameters))?;
            (*context.0).pkt_timebase = stream.time_base().into();
            check(ffi::avcodec_open2(context.0, codec, &raw mut options.0))?;
            Ok(Self { context, end: Packet::new() })
        }
    }

    /// Decodes a packet, or what is left where there is none; `None` where it holds nothing to show.
    pub(crate) fn decode(&mut self, packet: Option<&Packet>) -> Result<Option<Event>, AvError> {
        let packet = packet.unwrap_or(&self.end);
        // SAFETY: plain data, for which all zeros is an empty event.
        let mut event = Event(unsafe { std::mem::zeroed() });
        let mut got = 0;
        // SAFETY: the context is open and the packet valid; the event is ours and empty.
        check(unsafe {
            ffi::avcodec_decode_subtitle2(self.context.0, &raw mut event.0, &raw mut got, packet.as_ptr())
        })?;
        Ok((got != 0 && event.0.num_rects > 0).then_some(event))
    }
}

/// Decoded text with the time at which it is shown.
pub(crate) struct Event(ffi::AVSubtitle);

// SAFETY: owned plain data.
unsafe impl Send for Event {}

impl Event {
    /// When it appears, in microseconds.
    pub(crate) fn start(&self) -> Option<i64> {
        let pts = Some(self.0.pts).filter(|pts| *pts != ffi::AV_NOPTS_VALUE)?;
        Some(pts.saturating_add(i64::from(self.0.start_display_time) * 1000))
    }

    /// How long it is shown, in microseconds; `None` if nobody knows.
    pub(crate) fn length(&self) -> Option<i64> {
        let (start, end) = (self.0.start_display_time, self.0.end_display_time);
        (end != u32::MAX).then(|| i64::from(end.saturating_sub(start)) * 1000)
    }

    /// Rewrites the lines of dialogue.
    pub(crate) fn change_texts(&mut self, change: impl Fn(&str) -> String) -> Result<(), AvError> {
        for index in 0..self.texts() {
            // SAFETY: the array has that many entries, each one owned by the event; a line is NULL or
            // NUL-terminated and freed by the allocator that makes the new one.
            unsafe {
                let rect = &mut **self.0.rects.add(index);
                let Some(line) = text(rect.ass) else { continue };
                let line = ffi::av_strdup(cstring(&change(&line)).as_ptr());
                if line.is_null() {
                    return Err(AvError::MEMORY);
                }
                ffi::av_free(rect.ass.cast());
                rect.ass = line;
            }
        }
        Ok(())
    }

    /// The lines of dialogue.
    pub(crate) fn lines(&self) -> Vec<String> {
        // SAFETY: the array has that many entries, each one owned by the event; a line is NULL or
        // NUL-terminated.
        (0..self.texts()).filter_map(|index| unsafe { text((**self.0.rects.add(index)).ass) }).collect()
    }

    /// Texts that are shown together.
    pub(crate) fn texts(&self) -> usize {
        self.0.num_rects as usize
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: filled by a decoder or empty, and freed once.
        unsafe { ffi::avsubtitle_free(&raw mut self.0) };
    }
}

/// An opened encoder of text subtitles.
pub(crate) struct SubtitleEncoder {
    context: Context,
    buffer: Vec<u8>,
    is_ass: bool,
    limit: usize,
}

impl SubtitleEncoder {
    /// Opens an encoder by name for what a decoder makes.
    pub(crate) fn open(name: &str, decoder: &SubtitleDecoder) -> Result<Self, AvError> {
        let name = cstring(name);
        let source = decoder.context.get();
        // SAFETY: a codec that is found is static; the header is as long as the decoder says, and
        // its copy is freed with the context.
        unsafe {
            let codec = ffi::avcodec_find_encoder_by_name(name.as_ptr());
            if codec.is_null() {
                return Err(AvError(ffi::AVERROR_ENCODER_NOT_FOUND));
            }
            let context = Context::new(codec)?;
            let raw = &mut *context.0;
            raw.time_base = TimeBase::MICROS.into();
            raw.width = source.width;
            raw.height = source.height;
            if !source.subtitle_header.is_null() {
                let size = usize::try_from(source.subtitle_header_size).unwrap_or(0);
                raw.subtitle_header = ffi::av_mallocz(size + 1).cast();
                if raw.subtitle_header.is_null() {
                    return Err(AvError::MEMORY);
                }
                ptr::copy_nonoverlapping(source.subtitle_header, raw.subtitle_header, size);
                raw.subtitle_header_size = source.subtitle_header_size;
            }
            check(ffi::avcodec_open2(context.0, codec, ptr::null_mut()))?;
            let is_ass = (*codec).id == ffi::AVCodecID::AV_CODEC_ID_ASS;
            let is_mov_text = (*codec).id == ffi::AVCodecID::AV_CODEC_ID_MOV_TEXT;
            let limit = if is_mov_text { MAX_MOV_TEXT } else { MAX_EVENT };
            Ok(Self { context, buffer: vec![0; MAX_EVENT], is_ass, limit })
        }
    }

    /// Packets that an event becomes: ASS has one for each text.
    pub(crate) fn packets(&self, event: &Event) -> usize {
        if self.is_ass { event.texts() } else { 1 }
    }

    /// Makes one of the packets of an event, without times. It is empty where nothing is left to
    /// show once the target's own forms are all that counts.
    pub(crate) fn encode(&mut self, event: &Event, index: usize) -> Result<Packet, AvError> {
        let mut shown = event.0;
        shown.end_display_time = shown.end_display_time.saturating_sub(shown.start_display_time);
        shown.start_display_time = 0;
        if self.is_ass {
            if index >= event.texts() {
                return Err(AvError::INVALID);
            }
            // SAFETY: the array has that many entries. The copy is shallow and never freed.
            shown.rects = unsafe { event.0.rects.add(index) };
            shown.num_rects = 1;
        }
        // SAFETY: the event outlives the call.
        unsafe { self.encode_shown(&shown) }
    }

    /// Makes a packet of one line of dialogue, in the same way.
    pub(crate) fn encode_line(&mut self, line: &str) -> Result<Packet, AvError> {
        let line = cstring(line);
        // SAFETY: plain data, for which all zeros is nothing to show. The encoder reads the line,
        // which outlives the call.
        unsafe {
            let mut rect: ffi::AVSubtitleRect = std::mem::zeroed();
            rect.type_ = ffi::AVSubtitleType::SUBTITLE_ASS;
            rect.ass = line.as_ptr().cast_mut();
            let mut rects = [&raw mut rect];
            let mut shown: ffi::AVSubtitle = std::mem::zeroed();
            (shown.rects, shown.num_rects) = (rects.as_mut_ptr(), 1);
            self.encode_shown(&shown)
        }
    }

    /// # Safety
    /// The texts are valid.
    unsafe fn encode_shown(&mut self, shown: &ffi::AVSubtitle) -> Result<Packet, AvError> {
        // SAFETY: the buffer is writable for its length; the rest is promised by the caller.
        let size = check(unsafe {
            ffi::avcodec_encode_subtitle(self.context.0, self.buffer.as_mut_ptr(), MAX_EVENT as c_int, shown)
        })?;
        let bytes = self.buffer.get(..usize::try_from(size).unwrap_or(0)).unwrap_or_default();
        if bytes.len() > self.limit {
            return Err(AvError::INVALID);
        }
        Packet::key(bytes)
    }
}

impl Packet {
    /// A key packet with its own copy of the data and no times.
    pub(crate) fn key(data: &[u8]) -> Result<Self, AvError> {
        let packet = Self::new();
        let size = c_int::try_from(data.len()).map_err(|_| AvError::INVALID)?;
        // SAFETY: the packet is fresh and gets a buffer of the size that is copied.
        unsafe {
            if size > 0 {
                check(ffi::av_new_packet(packet.as_ptr(), size))?;
                ptr::copy_nonoverlapping(data.as_ptr(), (*packet.as_ptr()).data, data.len());
            }
            (*packet.as_ptr()).flags |= ffi::AV_PKT_FLAG_KEY;
        }
        Ok(packet)
    }
}

impl Output {
    /// Adds a stream for what an encoder of subtitles makes.
    ///
    /// Its unit should be the microsecond: the MP4 muxer ends a text when a packet of any stream has
    /// a time beyond it, and compares them as numbers. With the finest unit none comes too early.
    pub(crate) fn add_subtitle(&mut self, encoder: &SubtitleEncoder, base: TimeBase) -> Result<usize, AvError> {
        let stream = self.add()?;
        // SAFETY: the stream is fresh; the encoder is open.
        unsafe {
            check(ffi::avcodec_parameters_from_context((*stream).codecpar, encoder.context.0))?;
            (*stream).time_base = base.into();
        }
        Ok(self.last_index())
    }

    /// Adds a stream for subtitles that pass through, in microseconds for the same reason.
    pub(crate) fn add_copied_subtitle(&mut self, source: StreamView<'_>) -> Result<usize, AvError> {
        let stream = self.add()?;
        // SAFETY: the stream is fresh; the parameters of the source are valid.
        unsafe {
            check(ffi::avcodec_parameters_copy((*stream).codecpar, source.parameters()))?;
            (*(*stream).codecpar).codec_tag = 0;
            (*stream).time_base = TimeBase::MICROS.into();
        }
        Ok(self.last_index())
    }
}
