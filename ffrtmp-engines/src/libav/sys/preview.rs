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
            // What an edit list hides is looked at as well.
            context.get_mut().flags2 |= ffi::AV_CODEC_FLAG2_SKIP_MANUAL as c_int;
            check(ffi::avcodec_open2(context.0, codec, &raw mut options.0))?;
            Ok(Self(context))
        }
    }

    /// What the first packet tells about a stream.
    pub(super) fn of(stream: StreamView<'_>, packet: &Packet, max_pixels: u64) -> Result<Self, AvError> {
        let mut preview = Self::open(stream, max_pixels)?;
        if stream.parameters().codec_id == ffi::AVCodecID::AV_CODEC_ID_H264 {
            preview.parse(packet);
            preview.peek(packet);
        }
        if !preview.is_complete() || preview.learns_from_sound() {
            preview.decode(&[packet])?;
        }
        Ok(preview)
    }

    /// Shows an H.264 decoder the head of the first slice: it says everything then, and making the
    /// picture is most of the work.
    fn peek(&mut self, packet: &Packet) {
        let Some(head) = head_of_slice(self.extradata(), packet.data()) else { return };
        let context = self.0.get_mut();
        let (level, concealment) = (context.log_level_offset, context.error_concealment);
        // That the picture ends early is no news.
        context.log_level_offset = QUIET;
        context.error_concealment = 0;
        // What comes of it is looked at afterwards.
        let _ = holding(&head).and_then(|cut| self.decode(&[&cut]));
        let context = self.0.get_mut();
        context.log_level_offset = level;
        context.error_concealment = concealment;
    }

    fn extradata(&self) -> &[u8] {
        let context = self.0.get();
        let size = usize::try_from(context.extradata_size).unwrap_or(0);
        // SAFETY: libav holds that many bytes there, and they live as long as the context.
        if context.extradata.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(context.extradata, size) } }
    }

    /// Whether only sound tells rate and channels: AAC that is doubled, or has joint channels.
    fn learns_from_sound(&self) -> bool {
        // SAFETY: an open context has a codec, which is static.
        let capabilities = unsafe { (*self.0.get().codec).capabilities };
        capabilities as u32 & ffi::AV_CODEC_CAP_CHANNEL_CONF != 0
    }

    /// Whether the headers of the stream are those that a picture asks for: then the decoder says
    /// everything about it before it makes it. Only told of H.264 as an MP4 has it.
    pub(crate) fn knows(&mut self, packet: &Packet) -> bool {
        if self.0.get().codec_id != ffi::AVCodecID::AV_CODEC_ID_H264 {
            return false;
        }
        self.0.get_mut().pix_fmt = ffi::AVPixelFormat::AV_PIX_FMT_NONE;
        self.peek(packet);
        self.is_complete()
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

fn holding(bytes: &[u8]) -> Result<Packet, AvError> {
    let packet = Packet::new();
    let size = c_int::try_from(bytes.len()).map_err(|_| AvError::INVALID)?;
    // SAFETY: the packet is ours and empty; it has that much room, and padding, once it was made.
    unsafe {
        check(ffi::av_new_packet(packet.as_ptr(), size))?;
        ptr::copy_nonoverlapping(bytes.as_ptr(), (*packet.as_ptr()).data, bytes.len());
    }
    Ok(packet)
}

/// Bytes of a slice that hold its header.
const SLICE_HEAD: usize = 128;
/// Moves every log line of a decoder beyond what is listened to.
const QUIET: c_int = 100;

/// The units of an MP4's H.264 packet up to the head of its first slice.
fn head_of_slice(configuration: &[u8], packet: &[u8]) -> Option<Vec<u8>> {
    let [1, _, _, _, width, ..] = configuration else { return None };
    let width = usize::from(width & 3) + 1;
    let mut rest = packet;
    loop {
        let (length, content) = rest.split_at_checked(width)?;
        let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        let unit = content.get(..length)?;
        if matches!(unit.first()? & 31, 1 | 5) {
            let kept = length.min(SLICE_HEAD);
            let before = packet.len() - rest.len();
            let announced = &(kept as u64).to_be_bytes()[8 - width..];
            return Some([&packet[..before], announced, &unit[..kept]].concat());
        }
        rest = &content[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_cut_behind_the_head_of_its_first_slice() {
        let configuration = [1, 77, 0, 30, 0xff];
        let unit = |kind: u8, length: usize| {
            [(length as u32).to_be_bytes().as_slice(), &[kind], &vec![9; length - 1]].concat()
        };
        let packet = [unit(6, 40), unit(0x65, 5000), unit(0x65, 5000)].concat();
        assert_eq!(head_of_slice(&configuration, &packet), Some([unit(6, 40), unit(0x65, SLICE_HEAD)].concat()));
        assert_eq!(head_of_slice(&configuration, &unit(0x41, 20)), Some(unit(0x41, 20)));
        for broken in [&packet[..30], &[], &unit(6, 40), &[255; 60]] {
            assert_eq!(head_of_slice(&configuration, broken), None);
        }
        assert_eq!(head_of_slice(&[0, 0, 0, 1, 0x67], &packet), None);
    }
}
