//! A decoder that looks at single packets: for what it says of a stream, or to see whether it can.

use std::ptr;

use ffmpeg_sys_next as ffi;
use libc::c_int;

use super::accepted::DECODERS;
use super::codec::Context;
use super::input::StreamView;
use super::{AvError, Frame, Options, Packet, check};

/// A decoder with one thread, fed by hand.
pub(crate) struct Preview(Context);

impl Preview {
    pub(crate) fn open(stream: StreamView<'_>, max_pixels: u64) -> Result<Self, AvError> {
        let parameters = stream.parameters();
        let mut options =
            Options::new([("max_pixels", max_pixels.to_string().as_str()), ("codec_whitelist", &DECODERS.join(","))]);
        // SAFETY: takes any codec id; a codec that is found is static. The parameters are valid and
        // the context is fresh.
        unsafe {
            let codec = ffi::avcodec_find_decoder(parameters.codec_id);
            if codec.is_null() {
                return Err(AvError(ffi::AVERROR_DECODER_NOT_FOUND));
            }
            let mut context = Context::new(codec)?;
            check(ffi::avcodec_parameters_to_context(context.0, parameters))?;
            context.get_mut().pkt_timebase = stream.raw().time_base;
            context.get_mut().thread_count = 1;
            check(ffi::avcodec_open2(context.0, codec, &raw mut options.0))?;
            Ok(Self(context))
        }
    }

    /// What the first packet tells about a stream.
    pub(super) fn of(stream: StreamView<'_>, packet: &Packet, max_pixels: u64) -> Result<Self, AvError> {
        let mut preview = Self::open(stream, max_pixels)?;
        if tells_without_pictures(stream.parameters().codec_id) {
            preview.parse(packet);
            preview.0.get_mut().skip_frame = ffi::AVDiscard::AVDISCARD_ALL;
        }
        if !preview.is_complete() || preview.learns_from_sound() {
            preview.decode(&[packet])?;
        }
        Ok(preview)
    }

    /// Whether only sound tells rate and channels: AAC that is doubled, or has joint channels.
    fn learns_from_sound(&self) -> bool {
        // SAFETY: an open context has a codec, which is static.
        let capabilities = unsafe { (*self.0.get().codec).capabilities };
        capabilities as u32 & ffi::AV_CODEC_CAP_CHANNEL_CONF != 0
    }

    /// Frames that come out of these packets and nothing else.
    pub(crate) fn decode(&mut self, packets: &[&Packet]) -> Result<usize, AvError> {
        let frame = Frame::new();
        let mut frames = 0;
        let mut fault = None;
        for packet in packets.iter().map(|packet| packet.as_ptr().cast_const()).chain([ptr::null()]) {
            // SAFETY: the context is open and the packet valid; NULL starts draining.
            fault = check(unsafe { ffi::avcodec_send_packet(self.0.0, packet) }).err().or(fault);
            // SAFETY: both are valid; the frame is unreferenced first.
            while unsafe { ffi::avcodec_receive_frame(self.0.0, frame.as_ptr()) } >= 0 {
                frames += 1;
            }
        }
        // SAFETY: the context is open; it takes packets again afterwards.
        unsafe { ffi::avcodec_flush_buffers(self.0.0) };
        fault.filter(|_| frames == 0).map_or(Ok(frames), Err)
    }

    /// Hands over what is known now; `None` if something is missing.
    pub(super) fn fill(&self, parameters: &mut ffi::AVCodecParameters) -> Option<()> {
        if !self.is_complete() {
            return None;
        }
        // SAFETY: both are valid.
        check(unsafe { ffi::avcodec_parameters_from_context(parameters, self.0.0) }).ok().map(drop)
    }

    fn is_complete(&self) -> bool {
        let context = self.0.get();
        if context.codec_type == ffi::AVMediaType::AVMEDIA_TYPE_VIDEO {
            return context.width > 0 && context.height > 0 && context.pix_fmt != ffi::AVPixelFormat::AV_PIX_FMT_NONE;
        }
        let (channels, _) = super::codec::channel_layout(context);
        context.sample_rate > 0 && channels > 0 && context.sample_fmt != ffi::AVSampleFormat::AV_SAMPLE_FMT_NONE
    }

    /// Reads headers that a decoder keeps for itself: whether fields are interlaced.
    fn parse(&mut self, packet: &Packet) {
        let context = self.0.0;
        // SAFETY: the parser is ours and closed once; it points into the packet, which is not changed.
        unsafe {
            let parser = ffi::av_parser_init((*context).codec_id as c_int);
            let Some(state) = parser.as_mut() else { return };
            state.flags |= ffi::PARSER_FLAG_COMPLETE_FRAMES as c_int;
            let (mut data, mut size) = (ptr::null_mut(), 0);
            let raw = &*packet.as_ptr();
            ffi::av_parser_parse2(
                parser,
                context,
                &raw mut data,
                &raw mut size,
                raw.data,
                raw.size,
                raw.pts,
                raw.dts,
                raw.pos,
            );
            ffi::av_parser_close(parser);
        }
    }
}

/// Whether decoders of a codec say everything after the headers, without making a picture.
fn tells_without_pictures(codec: ffi::AVCodecID) -> bool {
    matches!(codec, ffi::AVCodecID::AV_CODEC_ID_H264 | ffi::AVCodecID::AV_CODEC_ID_HEVC)
}
