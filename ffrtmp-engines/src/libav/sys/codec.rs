//! Decoders and encoders.

use std::ffi::{CStr, CString};
use std::ptr;

use ffmpeg_sys_next as ffi;
use libc::{c_char, c_int};

use super::accepted::DECODERS;
use super::input::StreamView;
use super::names::{pixel_format_name, sample_format_name};
use super::{AvError, Color, Frame, Graph, Options, Packet, TimeBase, check, cstring, pairs, text};

/// Pictures that an encoder takes.
#[derive(Clone, Debug)]
pub(crate) struct VideoFormat {
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) pixel_format: String,
    pub(crate) sample_aspect_ratio: (i32, i32),
    pub(crate) time_base: TimeBase,
    pub(crate) frame_rate: (i32, i32),
    pub(crate) color: Color,
}

/// Samples that an encoder takes.
#[derive(Clone, Debug)]
pub(crate) struct AudioFormat {
    pub(crate) sample_rate: u32,
    pub(crate) sample_format: &'static str,
    /// Layout in libav's words, such as `5.1`.
    pub(crate) layout: String,
    pub(crate) bit_rate: u64,
}

/// A codec context, freed with its threads joined.
pub(super) struct Context(pub(super) *mut ffi::AVCodecContext);

// SAFETY: owned, and used by one thread at a time.
unsafe impl Send for Context {}

impl Context {
    /// # Safety
    /// `codec` is NULL or a codec of libav.
    pub(super) unsafe fn new(codec: *const ffi::AVCodec) -> Result<Self, AvError> {
        // SAFETY: as promised by the caller.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        if context.is_null() { Err(AvError::MEMORY) } else { Ok(Self(context)) }
    }

    pub(super) fn get(&self) -> &ffi::AVCodecContext {
        // SAFETY: never NULL, and ours as long as self lives.
        unsafe { &*self.0 }
    }

    pub(super) fn get_mut(&mut self) -> &mut ffi::AVCodecContext {
        // SAFETY: never NULL, and ours alone while self is borrowed mutably.
        unsafe { &mut *self.0 }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: allocated by avcodec_alloc_context3 and freed once.
        unsafe { ffi::avcodec_free_context(&raw mut self.0) };
    }
}

/// An opened decoder.
pub(crate) struct Decoder(Context);

impl Decoder {
    /// `threads` 0 lets libav choose.
    pub(crate) fn open(stream: StreamView<'_>, threads: usize, max_pixels: u64) -> Result<Self, AvError> {
        let parameters = stream.parameters();
        // SAFETY: takes any codec id; a codec that is found is static.
        let codec = unsafe { ffi::avcodec_find_decoder(parameters.codec_id) };
        if codec.is_null() {
            return Err(AvError(ffi::AVERROR_DECODER_NOT_FOUND));
        }
        let mut options =
            Options::new([("max_pixels", max_pixels.to_string().as_str()), ("codec_whitelist", &DECODERS.join(","))]);
        // SAFETY: codec and parameters are valid, and the context is fresh.
        unsafe {
            let mut context = Context::new(codec)?;
            check(ffi::avcodec_parameters_to_context(context.0, parameters))?;
            let raw = context.get_mut();
            raw.pkt_timebase = stream.raw().time_base;
            raw.thread_count = c_int::try_from(threads).unwrap_or(0);
            check(ffi::avcodec_open2(context.0, codec, &raw mut options.0))?;
            Ok(Self(context))
        }
    }

    /// Gives a packet, or `None` at the end of the stream.
    pub(crate) fn send(&mut self, packet: Option<&Packet>) -> Result<(), AvError> {
        let packet = packet.map_or(ptr::null(), |packet| packet.as_ptr().cast_const());
        // SAFETY: the context is open; NULL starts draining.
        check(unsafe { ffi::avcodec_send_packet(self.0.0, packet) }).map(drop)
    }

    pub(crate) fn receive(&mut self, frame: &mut Frame) -> Result<(), AvError> {
        // SAFETY: both are valid; the frame is unreferenced first.
        check(unsafe { ffi::avcodec_receive_frame(self.0.0, frame.as_ptr()) }).map(drop)
    }

    /// Layout of the samples now, in libav's words.
    pub(crate) fn layout(&self) -> (u16, Option<String>) {
        channel_layout(self.0.get())
    }
}

impl Frame {
    pub(crate) fn pixel_format(&self) -> Option<String> {
        pixel_format_name(self.format())
    }

    pub(crate) fn sample_format(&self) -> Option<String> {
        sample_format_name(self.format())
    }
}

/// A device that encodes.
pub(crate) struct HardwareDevice(*mut ffi::AVBufferRef);

// SAFETY: a reference to an atomically counted buffer.
unsafe impl Send for HardwareDevice {}

impl HardwareDevice {
    pub(crate) fn vaapi() -> Result<Self, AvError> {
        let mut device = ptr::null_mut();
        // SAFETY: the result goes into our variable; no options.
        let created = unsafe {
            ffi::av_hwdevice_ctx_create(
                &raw mut device,
                ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VAAPI,
                ptr::null(),
                ptr::null_mut(),
                0,
            )
        };
        check(created).map(|_| Self(device))
    }

    pub(super) fn share(&self) -> *mut ffi::AVBufferRef {
        // SAFETY: the reference is valid; a new one is made.
        unsafe { ffi::av_buffer_ref(self.0) }
    }
}

impl Drop for HardwareDevice {
    fn drop(&mut self) {
        // SAFETY: our reference, given back once.
        unsafe { ffi::av_buffer_unref(&raw mut self.0) };
    }
}

impl Options {
    /// Refuses what is left over: options that libav has not, and that it would ignore in silence.
    fn all_taken(&self) -> Result<(), AvError> {
        // SAFETY: the dictionary is ours.
        let left = unsafe { pairs(self.0) };
        if left.is_empty() {
            return Ok(());
        }
        tracing::warn!(target: "libav", options = ?left, "unknown options");
        Err(AvError(ffi::AVERROR_OPTION_NOT_FOUND))
    }
}

/// An opened encoder.
pub(crate) struct Encoder {
    context: Context,
    /// What a first pass measured, which the context points to.
    _measured: Option<CString>,
    /// Whether it got a frame.
    is_fed: bool,
}

impl Drop for Encoder {
    /// SVT-AV1 waits for its first picture when it is closed, and for ever where none comes.
    fn drop(&mut self) {
        let (context, is_fed) = (self.context.get(), self.is_fed);
        // SAFETY: an open context has a codec, which is static, with a name.
        let name = unsafe { CStr::from_ptr((*context.codec).name) };
        if is_fed || name != c"libsvtav1" {
            return;
        }
        let frame = Frame::zeroed(context.width, context.height, context.pix_fmt as c_int);
        if frame.and_then(|frame| self.send(Some(&frame))).is_err() {
            // Its memory rather than a thread that never ends.
            self.context.0 = ptr::null_mut();
        }
    }
}

impl Encoder {
    /// Opens a video encoder by name. Frames for a hardware encoder come out of `frames_of`.
    pub(crate) fn video(
        name: &str,
        format: &VideoFormat,
        settings: &[(String, String)],
        global_header: bool,
        frames_of: &Graph,
    ) -> Result<Self, AvError> {
        Self::pictures(name, format, settings, global_header, frames_of, None)
    }

    /// As [`Encoder::video`], with the text that [`Encoder::stats`] returned after the first pass.
    /// Encoders that keep it in a file of their own take an empty one.
    pub(crate) fn second_pass(
        name: &str,
        format: &VideoFormat,
        settings: &[(String, String)],
        global_header: bool,
        frames_of: &Graph,
        measured: &str,
    ) -> Result<Self, AvError> {
        Self::pictures(name, format, settings, global_header, frames_of, Some(cstring(measured)))
    }

    fn pictures(
        name: &str,
        format: &VideoFormat,
        settings: &[(String, String)],
        global_header: bool,
        frames_of: &Graph,
        measured: Option<CString>,
    ) -> Result<Self, AvError> {
        let pixel_format = cstring(&format.pixel_format);
        Self::open(name, settings, global_header, measured, |context| {
            context.width = format.width;
            context.height = format.height;
            context.sample_aspect_ratio =
                ffi::AVRational { num: format.sample_aspect_ratio.0, den: format.sample_aspect_ratio.1 };
            context.time_base = format.time_base.into();
            context.framerate = ffi::AVRational { num: format.frame_rate.0, den: format.frame_rate.1 };
            // SAFETY: the name is NUL-terminated; an unknown one gives NONE, which does not open. The
            // colours are C enums in memory, written as the integers that they are, never read back
            // as Rust enums.
            unsafe {
                context.pix_fmt = ffi::av_get_pix_fmt(pixel_format.as_ptr());
                (&raw mut context.color_range).cast::<c_int>().write(format.color.range);
                (&raw mut context.color_primaries).cast::<c_int>().write(format.color.primaries);
                (&raw mut context.color_trc).cast::<c_int>().write(format.color.transfer);
                (&raw mut context.colorspace).cast::<c_int>().write(format.color.matrix);
            }
            context.hw_frames_ctx = frames_of.share_hardware_frames();
            Ok(())
        })
    }

    /// Opens an audio encoder by name.
    pub(crate) fn audio(name: &str, format: &AudioFormat, global_header: bool) -> Result<Self, AvError> {
        let sample_format = cstring(format.sample_format);
        let layout = cstring(&format.layout);
        Self::open(name, &[], global_header, None, |context| {
            context.sample_rate = c_int::try_from(format.sample_rate).unwrap_or(0);
            context.time_base = ffi::AVRational { num: 1, den: context.sample_rate };
            context.bit_rate = i64::try_from(format.bit_rate).unwrap_or(0);
            // SAFETY: the name is NUL-terminated; an unknown one gives NONE, which does not open.
            context.sample_fmt = unsafe { ffi::av_get_sample_fmt(sample_format.as_ptr()) };
            set_layout(context, &layout)
        })
    }

    fn open(
        name: &str,
        settings: &[(String, String)],
        global_header: bool,
        measured: Option<CString>,
        fill: impl FnOnce(&mut ffi::AVCodecContext) -> Result<(), AvError>,
    ) -> Result<Self, AvError> {
        let name = cstring(name);
        let mut options = Options::new(settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        // SAFETY: a codec that is found is static; the context is fresh and filled before opening.
        unsafe {
            let codec = ffi::avcodec_find_encoder_by_name(name.as_ptr());
            if codec.is_null() {
                return Err(AvError(ffi::AVERROR_ENCODER_NOT_FOUND));
            }
            let mut context = Context::new(codec)?;
            fill(context.get_mut())?;
            if global_header {
                context.get_mut().flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as c_int;
            }
            if let Some(measured) = measured.as_ref().filter(|measured| !measured.is_empty()) {
                context.get_mut().stats_in = measured.as_ptr().cast_mut();
            }
            check(ffi::avcodec_open2(context.0, codec, &raw mut options.0))?;
            let encoder = Self { context, _measured: measured, is_fed: false };
            options.all_taken()?;
            Ok(encoder)
        }
    }

    /// What a first pass has measured by now, for encoders that keep it in memory. Some say it bit
    /// by bit, after each packet; the others say it all at the end.
    pub(crate) fn stats(&self) -> Option<String> {
        // SAFETY: NULL or text of the encoder that lives until the next call.
        unsafe { text(self.context.get().stats_out) }
    }

    /// Gives a frame, or `None` at the end of the stream.
    pub(crate) fn send(&mut self, frame: Option<&Frame>) -> Result<(), AvError> {
        let frame = frame.map_or(ptr::null(), |frame| frame.as_ptr().cast_const());
        // SAFETY: the context is open; NULL starts draining.
        check(unsafe { ffi::avcodec_send_frame(self.context.0, frame) })?;
        self.is_fed |= !frame.is_null();
        Ok(())
    }

    pub(crate) fn receive(&mut self, packet: &mut Packet) -> Result<(), AvError> {
        // SAFETY: both are valid; the packet is unreferenced first.
        check(unsafe { ffi::avcodec_receive_packet(self.context.0, packet.as_ptr()) }).map(drop)
    }

    /// Samples per frame that it wants; 0 for any number.
    pub(crate) fn frame_size(&self) -> u32 {
        u32::try_from(self.context.get().frame_size).unwrap_or(0)
    }

    pub(crate) fn time_base(&self) -> TimeBase {
        self.context.get().time_base.into()
    }

    pub(super) fn as_ptr(&self) -> *const ffi::AVCodecContext {
        self.context.0
    }
}

#[cfg(feature = "ffmpeg_5_1")]
mod layouts {
    use super::*;

    /// What has a channel layout.
    pub(in super::super) trait HasLayout {
        fn layout(&self) -> &ffi::AVChannelLayout;
    }

    impl HasLayout for ffi::AVCodecContext {
        fn layout(&self) -> &ffi::AVChannelLayout {
            &self.ch_layout
        }
    }

    impl HasLayout for ffi::AVCodecParameters {
        fn layout(&self) -> &ffi::AVChannelLayout {
            &self.ch_layout
        }
    }

    pub(in super::super) fn channel_layout(of: &impl HasLayout) -> (u16, Option<String>) {
        let layout = of.layout();
        let channels = u16::try_from(layout.nb_channels).unwrap_or(0);
        let mut buffer = [0 as c_char; 256];
        // SAFETY: the buffer is writable for the length given; libav ends it with NUL.
        let named = unsafe { ffi::av_channel_layout_describe(layout, buffer.as_mut_ptr(), buffer.len()) };
        if named < 0 || layout.order != ffi::AVChannelOrder::AV_CHANNEL_ORDER_NATIVE {
            return (channels, None);
        }
        // SAFETY: ended with NUL by the call above.
        (channels, Some(unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy().into_owned()))
    }

    pub(super) fn set_layout(context: &mut ffi::AVCodecContext, name: &CStr) -> Result<(), AvError> {
        // SAFETY: the layout belongs to the context; the name is NUL-terminated.
        check(unsafe { ffi::av_channel_layout_from_string(&raw mut context.ch_layout, name.as_ptr()) }).map(drop)
    }

    #[cfg(feature = "gstreamer")]
    pub(in super::super) fn set_usual_layout(parameters: &mut ffi::AVCodecParameters, channels: c_int) {
        // SAFETY: the layout belongs to the parameters.
        unsafe { ffi::av_channel_layout_default(&raw mut parameters.ch_layout, channels) };
    }
}

#[cfg(not(feature = "ffmpeg_5_1"))]
mod layouts {
    use super::*;

    /// What has a channel layout.
    pub(in super::super) trait HasLayout {
        fn layout(&self) -> (c_int, u64);
    }

    impl HasLayout for ffi::AVCodecContext {
        fn layout(&self) -> (c_int, u64) {
            (self.channels, self.channel_layout)
        }
    }

    impl HasLayout for ffi::AVCodecParameters {
        fn layout(&self) -> (c_int, u64) {
            (self.channels, self.channel_layout)
        }
    }

    pub(in super::super) fn channel_layout(of: &impl HasLayout) -> (u16, Option<String>) {
        let (channels, layout) = of.layout();
        let mut buffer = [0 as c_char; 256];
        // SAFETY: the buffer is writable for the length given; libav ends it with NUL.
        let name = unsafe {
            ffi::av_get_channel_layout_string(buffer.as_mut_ptr(), buffer.len() as c_int, channels, layout);
            CStr::from_ptr(buffer.as_ptr())
        };
        (u16::try_from(channels).unwrap_or(0), (layout != 0).then(|| name.to_string_lossy().into_owned()))
    }

    pub(super) fn set_layout(context: &mut ffi::AVCodecContext, name: &CStr) -> Result<(), AvError> {
        // SAFETY: the name is NUL-terminated; an unknown one gives 0.
        unsafe {
            context.channel_layout = ffi::av_get_channel_layout(name.as_ptr());
            context.channels = ffi::av_get_channel_layout_nb_channels(context.channel_layout);
        }
        if context.channels == 0 { Err(AvError::INVALID) } else { Ok(()) }
    }

    #[cfg(feature = "gstreamer")]
    pub(in super::super) fn set_usual_layout(parameters: &mut ffi::AVCodecParameters, channels: c_int) {
        parameters.channels = channels;
        // SAFETY: a question without memory.
        parameters.channel_layout = unsafe { ffi::av_get_default_channel_layout(channels) } as u64;
    }
}

pub(super) use layouts::channel_layout;
use layouts::set_layout;
#[cfg(feature = "gstreamer")]
pub(super) use layouts::set_usual_layout;
