//! A container being written.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use ffmpeg_sys_next as ffi;

use super::input::StreamView;
use super::io::{Guard, Io, Sink, interrupted};
use super::{AvError, Encoder, Options, Packet, TimeBase, check, cstring};

/// Why writing failed, where the file itself knows.
#[derive(Debug)]
pub(crate) enum WriteFault {
    /// More bytes than allowed.
    OverLimit,
    /// The file system's answer.
    File(std::io::Error),
}

/// What the header of an output says about one of its streams.
#[derive(Clone, Debug)]
pub(crate) struct StreamShape {
    pub(crate) size: (u32, u32),
    /// Width and height of a pixel.
    pub(crate) aspect: (i32, i32),
    /// Transfer characteristics as ITU-T H.273 numbers them.
    pub(crate) transfer: i32,
    pub(crate) frame_rate: Option<f64>,
    pub(crate) channels: u16,
    pub(crate) sample_rate: u32,
    /// Bits per second, where they are declared.
    pub(crate) bit_rate: Option<u64>,
}

impl StreamShape {
    /// Pixels as they are shown: square ones of the same height.
    pub(crate) fn display(&self) -> (u32, u32) {
        let ((width, height), (num, den)) = (self.size, self.aspect);
        let shown = f64::from(width) * f64::from(num) / f64::from(den.max(1));
        (if num > 0 && den > 0 { shown.round() as u32 } else { width }, height)
    }
}

/// Whether pictures come seconds apart, and not evenly. Matroska takes the average rate for the
/// length of every picture, which would then be far off for the last one.
fn is_erratic(source: StreamView<'_>) -> bool {
    let seconds = |rate: ffi::AVRational| f64::from(rate.den) / f64::from(rate.num);
    let (average, real) = (seconds(source.raw().avg_frame_rate), seconds(source.raw().r_frame_rate));
    average > 1.0 && (average / real - 1.0).abs() > 0.1
}

/// A container being written.
pub(crate) struct Output {
    context: *mut ffi::AVFormatContext,
    io: Io<Sink>,
    _guard: Box<Guard>,
}

// SAFETY: all of it is owned and used by one thread at a time.
unsafe impl Send for Output {}

impl Output {
    /// `path` is where `file` is; a muxer that moves its index to the front reads it from there.
    pub(crate) fn new(
        muxer: &str,
        file: File,
        path: &Path,
        guard: Guard,
        max_bytes: Option<u64>,
    ) -> Result<Self, AvError> {
        let url = CString::new([b"file:", path.as_os_str().as_bytes()].concat()).map_err(|_| AvError::INVALID)?;
        Self::build(muxer, Io::writing(file, max_bytes)?, &url, guard)
    }

    /// A container that is collected in memory piece by piece, see [`Self::take`]. Times are written
    /// as they are given, also below zero.
    pub(crate) fn in_memory(muxer: &str, guard: Guard) -> Result<Self, AvError> {
        let output = Self::build(muxer, Io::collecting()?, c"", guard)?;
        // SAFETY: the context is ours; the field is for users to set. 0 leaves times alone.
        unsafe { (*output.context).avoid_negative_ts = 0 };
        Ok(output)
    }

    fn build(muxer: &str, io: Io<Sink>, url: &CStr, guard: Guard) -> Result<Self, AvError> {
        let guard = Box::new(guard);
        let muxer = cstring(muxer);
        let mut context = ptr::null_mut();
        // SAFETY: the strings are NUL-terminated; guard and byte stream outlive the context.
        unsafe {
            check(ffi::avformat_alloc_output_context2(
                &raw mut context,
                ptr::null_mut(),
                muxer.as_ptr(),
                url.as_ptr(),
            ))?;
            (*context).pb = io.as_ptr();
            (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
            (*context).interrupt_callback.callback = Some(interrupted);
            (*context).interrupt_callback.opaque = ptr::from_ref::<Guard>(&guard).cast_mut().cast();
            // Half a second of play-out delay, as the transport stream model wants; others ignore it.
            (*context).max_delay = 700_000;
        }
        Ok(Self { context, io, _guard: guard })
    }

    /// Whether codec headers belong into the container instead of the stream.
    pub(crate) fn wants_global_header(&self) -> bool {
        // SAFETY: an output context has a format.
        unsafe { (*(*self.context).oformat).flags & ffi::AVFMT_GLOBALHEADER != 0 }
    }

    /// Adds a stream for what an encoder makes.
    pub(crate) fn add_encoded(
        &mut self,
        encoder: &Encoder,
        time_base: TimeBase,
        frame_rate: Option<(i32, i32)>,
    ) -> Result<usize, AvError> {
        let stream = self.add()?;
        // SAFETY: the stream is fresh; the encoder is open.
        unsafe {
            check(ffi::avcodec_parameters_from_context((*stream).codecpar, encoder.as_ptr()))?;
            (*stream).time_base = time_base.into();
            (*stream).sample_aspect_ratio = (*(*stream).codecpar).sample_aspect_ratio;
            if let Some((num, den)) = frame_rate {
                (*stream).avg_frame_rate = ffi::AVRational { num, den };
            }
        }
        self.tag_hevc(stream);
        Ok(self.last_index())
    }

    /// Adds a stream whose packets come from an input as they are.
    pub(crate) fn add_copied(&mut self, source: StreamView<'_>) -> Result<usize, AvError> {
        let stream = self.add()?;
        // SAFETY: the stream is fresh; the parameters of the source are valid.
        unsafe {
            check(ffi::avcodec_parameters_copy((*stream).codecpar, source.parameters()))?;
            (*(*stream).codecpar).codec_tag = self.tag_for(source);
            (*stream).time_base = source.raw().time_base;
            // Muxers refuse a stream whose container and codec disagree.
            let shape = source.sample_aspect_ratio().unwrap_or((0, 1));
            (*stream).sample_aspect_ratio = ffi::AVRational { num: shape.0, den: shape.1 };
            (*(*stream).codecpar).sample_aspect_ratio = (*stream).sample_aspect_ratio;
            if !is_erratic(source) {
                (*stream).avg_frame_rate = source.raw().avg_frame_rate;
            }
            copy_side_data(stream, source)?;
        }
        self.tag_hevc(stream);
        Ok(self.last_index())
    }

    pub(super) fn add(&mut self) -> Result<*mut ffi::AVStream, AvError> {
        // SAFETY: the context is ours.
        let stream = unsafe { ffi::avformat_new_stream(self.context, ptr::null()) };
        if stream.is_null() { Err(AvError::MEMORY) } else { Ok(stream) }
    }

    pub(super) fn last_index(&self) -> usize {
        // SAFETY: the context is ours.
        unsafe { (*self.context).nb_streams as usize - 1 }
    }

    /// The tag of a copied stream: the source's where Matroska knows it, for some decoders tell their
    /// pixel format by it; else the muxer's own.
    fn tag_for(&self, source: StreamView<'_>) -> u32 {
        let parameters = source.parameters();
        // SAFETY: the format has a static name and a static list of tables, or none.
        unsafe {
            let format = &*(*self.context).oformat;
            let is_matroska = super::text(format.name).is_some_and(|name| name == "matroska");
            let is_known = is_matroska
                && !format.codec_tag.is_null()
                && ffi::av_codec_get_id(format.codec_tag, parameters.codec_tag) == parameters.codec_id;
            if is_known { parameters.codec_tag } else { 0 }
        }
    }

    /// Apple's players want `hvc1` where the headers are in the container.
    pub(super) fn tag_hevc(&self, stream: *mut ffi::AVStream) {
        // SAFETY: the stream is one of ours; the format has a static name.
        unsafe {
            let mp4 = super::text((*(*self.context).oformat).name).is_some_and(|name| name == "mp4");
            if mp4 && (*(*stream).codecpar).codec_id == ffi::AVCodecID::AV_CODEC_ID_HEVC {
                (*(*stream).codecpar).codec_tag = u32::from_le_bytes(*b"hvc1");
            }
        }
    }

    /// Takes over language, title and dispositions of a stream.
    pub(crate) fn describe_stream(&mut self, index: usize, source: StreamView<'_>, tags: &[(String, String)]) {
        let Some(stream) = self.stream(index) else { return };
        let metadata = Options::new(tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))).into_raw();
        // SAFETY: the stream is ours and has no metadata yet; it frees the dictionary.
        unsafe {
            ffi::av_dict_free(&raw mut (*stream).metadata);
            (*stream).metadata = metadata;
            (*stream).disposition = source.raw().disposition;
        }
    }

    /// Takes over the tags of the whole file.
    pub(crate) fn describe(&mut self, tags: &[(String, String)]) {
        let metadata = Options::new(tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))).into_raw();
        // SAFETY: the context is ours and frees the dictionary.
        unsafe {
            ffi::av_dict_free(&raw mut (*self.context).metadata);
            (*self.context).metadata = metadata;
        }
    }

    /// Adds a chapter; times in microseconds.
    pub(crate) fn add_chapter(&mut self, start: i64, end: i64, title: Option<&str>) -> Result<(), AvError> {
        // SAFETY: plain allocations that the context frees; the array grows by one before the new
        // entry is counted.
        unsafe {
            let context = &mut *self.context;
            let count = context.nb_chapters as usize;
            let chapter = ffi::av_mallocz(size_of::<ffi::AVChapter>()).cast::<ffi::AVChapter>();
            let array = ffi::av_realloc_array(context.chapters.cast(), count + 1, size_of::<*mut ffi::AVChapter>())
                .cast::<*mut ffi::AVChapter>();
            if !array.is_null() {
                context.chapters = array;
            }
            if chapter.is_null() || array.is_null() {
                ffi::av_free(chapter.cast());
                return Err(AvError::MEMORY);
            }
            (*chapter).id = count as _;
            (*chapter).time_base = TimeBase::MICROS.into();
            (*chapter).start = start;
            (*chapter).end = end;
            (*chapter).metadata = Options::new(title.map(|title| ("title", title))).into_raw();
            *array.add(count) = chapter;
            context.nb_chapters += 1;
        }
        Ok(())
    }

    /// Writes the header. Streams have their final time base afterwards.
    pub(crate) fn start(&mut self, settings: &[(&str, &str)]) -> Result<(), AvError> {
        let mut options = Options::new(settings.iter().copied());
        // SAFETY: the context has its streams.
        check(unsafe { ffi::avformat_write_header(self.context, &raw mut options.0) }).map(drop)
    }

    pub(crate) fn time_base(&self, index: usize) -> TimeBase {
        // SAFETY: the entry exists if it is returned.
        self.stream(index).map_or(TimeBase::MICROS, |stream| unsafe { (*stream).time_base }.into())
    }

    /// Places by which decoding goes ahead of presentation in a copied stream.
    pub(crate) fn video_delay(&self, index: usize) -> i32 {
        // SAFETY: a stream has parameters as long as it lives.
        self.stream(index).map_or(0, |stream| unsafe { (*(*stream).codecpar).video_delay })
    }

    /// Hands over a packet, in the order of its own stream; the muxer interleaves.
    pub(crate) fn write(&mut self, packet: &mut Packet) -> Result<(), AvError> {
        // SAFETY: context and packet are valid; the packet is empty afterwards.
        check(unsafe { ffi::av_interleaved_write_frame(self.context, packet.as_ptr()) }).map(drop)
    }

    /// Hands over a packet of the only stream, in its order, without holding it back; its data is
    /// still there afterwards.
    pub(crate) fn write_directly(&mut self, packet: &mut Packet) -> Result<(), AvError> {
        // SAFETY: context and packet are valid; the muxer takes a reference of its own.
        check(unsafe { ffi::av_write_frame(self.context, packet.as_ptr()) }).map(drop)
    }

    /// Writes what the muxer holds back: a fragment, or packets that it gathers.
    pub(crate) fn flush(&mut self) -> Result<(), AvError> {
        // SAFETY: the context has its header; NULL asks for what is held.
        check(unsafe { ffi::av_write_frame(self.context, ptr::null_mut()) }).map(drop)
    }

    /// The bytes since the last call, from a container in memory.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.io.take()
    }

    /// Sets an option of the muxer while it writes.
    pub(crate) fn set(&mut self, key: &CStr, value: &CStr) -> Result<(), AvError> {
        // SAFETY: the strings are NUL-terminated; the private data of a muxer with options begins
        // with its class.
        unsafe {
            let context = &*self.context;
            if context.priv_data.is_null() || (*context.oformat).priv_class.is_null() {
                return Err(AvError::INVALID);
            }
            check(ffi::av_opt_set(context.priv_data, key.as_ptr(), value.as_ptr(), 0)).map(drop)
        }
    }

    /// What is known about a stream without looking into its packets.
    pub(crate) fn shape(&self, index: usize) -> Option<StreamShape> {
        let stream = self.stream(index)?;
        // SAFETY: a stream has parameters as long as it lives; the transfer is read as the integer
        // that it is in memory.
        unsafe {
            let parameters = &*(*stream).codecpar;
            let rate = (*stream).avg_frame_rate;
            Some(StreamShape {
                size: (u32::try_from(parameters.width).unwrap_or(0), u32::try_from(parameters.height).unwrap_or(0)),
                aspect: ((*stream).sample_aspect_ratio.num, (*stream).sample_aspect_ratio.den),
                transfer: (&raw const parameters.color_trc).cast::<i32>().read(),
                frame_rate: (rate.num > 0 && rate.den > 0).then(|| f64::from(rate.num) / f64::from(rate.den)),
                channels: super::codec::channel_layout(parameters).0,
                sample_rate: u32::try_from(parameters.sample_rate).unwrap_or(0),
                bit_rate: u64::try_from(parameters.bit_rate).ok().filter(|rate| *rate > 0),
            })
        }
    }

    /// Codec headers of a stream; empty where they are in its packets.
    pub(crate) fn extradata(&self, index: usize) -> &[u8] {
        let Some(stream) = self.stream(index) else { return &[] };
        // SAFETY: a stream has parameters as long as it lives; their extradata has the size given.
        unsafe {
            let parameters = &*(*stream).codecpar;
            match usize::try_from(parameters.extradata_size) {
                Ok(size) if !parameters.extradata.is_null() => std::slice::from_raw_parts(parameters.extradata, size),
                _ => &[],
            }
        }
    }

    /// Writes the index and flushes.
    pub(crate) fn finish(&mut self) -> Result<(), AvError> {
        // SAFETY: called once after the header.
        check(unsafe { ffi::av_write_trailer(self.context) })?;
        self.io.flush();
        if self.io.state().fault.is_some() || self.io.state().over_limit {
            Err(AvError(ffi::AVERROR(libc::EIO)))
        } else {
            Ok(())
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.io.state().end
    }

    /// Why the file refused bytes, if it did.
    pub(crate) fn fault(&self) -> Option<WriteFault> {
        let sink = self.io.state();
        if sink.over_limit {
            return Some(WriteFault::OverLimit);
        }
        let error = sink.fault.as_ref()?;
        Some(WriteFault::File(
            error.raw_os_error().map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error),
        ))
    }

    pub(super) fn stream(&self, index: usize) -> Option<*mut ffi::AVStream> {
        // SAFETY: the array has nb_streams entries.
        unsafe {
            let context = &*self.context;
            (index < context.nb_streams as usize).then(|| *context.streams.add(index))
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: the byte stream is ours and freed by `io` afterwards, so libav must not touch it.
        unsafe {
            (*self.context).pb = ptr::null_mut();
            ffi::avformat_free_context(self.context);
        }
    }
}

/// Before 6.1 the display matrix and its like do not travel with the codec parameters.
#[cfg(not(feature = "ffmpeg_6_1"))]
#[allow(clippy::unnecessary_cast, reason = "an int before FFmpeg 5")]
unsafe fn copy_side_data(stream: *mut ffi::AVStream, source: StreamView<'_>) -> Result<(), AvError> {
    let source = source.raw();
    for index in 0..usize::try_from(source.nb_side_data).unwrap_or(0) {
        // SAFETY: the array has nb_side_data entries; the new buffer has the size asked for.
        unsafe {
            let data = &*source.side_data.add(index);
            let copy = ffi::av_stream_new_side_data(stream, data.type_, data.size as _);
            if copy.is_null() {
                return Err(AvError::MEMORY);
            }
            ptr::copy_nonoverlapping(data.data, copy, data.size as usize);
        }
    }
    Ok(())
}

#[cfg(feature = "ffmpeg_6_1")]
unsafe fn copy_side_data(_: *mut ffi::AVStream, _: StreamView<'_>) -> Result<(), AvError> {
    Ok(())
}
