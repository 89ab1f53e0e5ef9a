//! An opened container: its streams, and packets one after the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::mem;
use std::ptr;
use std::time::Duration;

use ffmpeg_sys_next as ffi;
use libc::{c_int, c_void};

use super::io::{Guard, Io, Source, interrupted, refuse_open};
use super::names::{pixel_format_name, sample_format_name};
use super::{AvError, Color, Options, Packet, TimeBase, check, pairs, text};

/// Bounds on opening.
pub(crate) struct InputLimits<'a> {
    /// Demuxers that may be used, by any of their names.
    pub(crate) formats: &'a [&'a str],
    pub(crate) max_streams: usize,
    pub(crate) max_pixels: u64,
    /// Time for opening and analysing; reading afterwards has no limit.
    pub(crate) time: Duration,
    /// Whether edit lists are obeyed, as a player does.
    pub(crate) edit_lists: bool,
}

/// Why a container did not open.
pub(crate) enum OpenError {
    /// Nothing that any demuxer knows.
    Unknown(AvError),
    /// A demuxer that is not on the list.
    Refused(String),
    /// Known, but damaged; the demuxer's name and the answer.
    Damaged(String, AvError),
}

/// An opened container.
pub(crate) struct Input {
    context: *mut ffi::AVFormatContext,
    io: Io<Source>,
    // Referenced by the context and by `io`, so it is dropped after both.
    guard: Box<Guard>,
}

// SAFETY: all of it is owned and used by one thread at a time.
unsafe impl Send for Input {}

impl Input {
    /// Recognises the container by its content, opens it and analyses its streams.
    pub(crate) fn open(file: File, guard: Guard, limits: &InputLimits<'_>) -> Result<Self, OpenError> {
        let guard = Box::new(guard);
        guard.allow(Some(limits.time));
        let io = Io::reading(file, &guard).map_err(OpenError::Unknown)?;
        // SAFETY: the type is a pointer, const or not by version, for which all zeros is NULL.
        let mut format = unsafe { mem::zeroed() };
        // SAFETY: the byte stream is valid; no name is given, so only content decides.
        let probed = unsafe {
            ffi::av_probe_input_buffer2(io.as_ptr(), &raw mut format, c"".as_ptr(), ptr::null_mut(), 0, 1 << 20)
        };
        check(probed).map_err(OpenError::Unknown)?;
        // SAFETY: a format that was found is static, and so is its name.
        let name = unsafe { text((*format).name) }.unwrap_or_default();
        if !name.split(',').any(|name| limits.formats.contains(&name)) {
            return Err(OpenError::Refused(name));
        }
        // SAFETY: plain allocation, checked below.
        let mut context = unsafe { ffi::avformat_alloc_context() };
        if context.is_null() {
            return Err(OpenError::Unknown(AvError::MEMORY));
        }
        let max_streams = limits.max_streams.to_string();
        let allowed = limits.formats.join(",");
        let mut options = Options::new([
            ("format_whitelist", allowed.as_str()),
            ("protocol_whitelist", "none"),
            ("max_streams", max_streams.as_str()),
            ("analyzeduration", "10000000"),
            ("enable_drefs", "0"),
            ("ignore_editlist", if limits.edit_lists { "0" } else { "1" }),
        ]);
        // SAFETY: the context is fresh and ours; guard and byte stream outlive it.
        let opened = unsafe {
            (*context).pb = io.as_ptr();
            (*context).io_open = Some(refuse_open);
            (*context).interrupt_callback.callback = Some(interrupted);
            (*context).interrupt_callback.opaque = ptr::from_ref::<Guard>(&guard).cast_mut().cast::<c_void>();
            ffi::avformat_open_input(&raw mut context, c"".as_ptr(), format, &raw mut options.0)
        };
        // On failure libav frees the context.
        check(opened).map_err(|error| OpenError::Damaged(name.clone(), error))?;
        let mut input = Self { context, io, guard };
        input.analyse(limits.max_pixels).map_err(|error| OpenError::Damaged(name, error))?;
        input.guard.allow(None);
        Ok(input)
    }

    fn analyse(&mut self, max_pixels: u64) -> Result<(), AvError> {
        let max_pixels = max_pixels.to_string();
        let mut options: Vec<Options> =
            (0..self.len()).map(|_| Options::new([("max_pixels", max_pixels.as_str())])).collect();
        let mut raw: Vec<*mut ffi::AVDictionary> =
            options.iter_mut().map(|options| mem::replace(&mut options.0, ptr::null_mut())).collect();
        let pointer = if raw.is_empty() { ptr::null_mut() } else { raw.as_mut_ptr() };
        // SAFETY: one dictionary per stream that exists now, as libav asks.
        let analysed = unsafe { ffi::avformat_find_stream_info(self.context, pointer) };
        drop(raw.into_iter().map(Options).collect::<Vec<_>>());
        check(analysed).map(drop)
    }

    fn get(&self) -> &ffi::AVFormatContext {
        // SAFETY: opened, and ours as long as self lives.
        unsafe { &*self.context }
    }

    /// Whether the time for opening ran out.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Names of the demuxer.
    pub(crate) fn format(&self) -> String {
        // SAFETY: an opened context has a format with a static name.
        unsafe { text((*self.get().iformat).name) }.unwrap_or_default()
    }

    /// Whether timestamps of this container may jump.
    pub(crate) fn may_jump(&self) -> bool {
        // SAFETY: an opened context has a format.
        unsafe { (*self.get().iformat).flags & ffi::AVFMT_TS_DISCONT != 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.get().nb_streams as usize
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = StreamView<'_>> {
        (0..self.len()).filter_map(|index| self.stream(index))
    }

    pub(crate) fn stream(&self, index: usize) -> Option<StreamView<'_>> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: the array has nb_streams valid entries, which live as long as the context.
        unsafe {
            let stream = *self.get().streams.add(index);
            Some(StreamView { stream: stream.as_ref()?, parameters: (*stream).codecpar.as_ref()? })
        }
    }

    /// Length in microseconds, if known.
    pub(crate) fn duration(&self) -> Option<i64> {
        Some(self.get().duration).filter(|duration| *duration > 0)
    }

    /// Earliest time in microseconds, if known.
    pub(crate) fn start(&self) -> Option<i64> {
        Some(self.get().start_time).filter(|start| *start != ffi::AV_NOPTS_VALUE)
    }

    pub(crate) fn bit_rate(&self) -> Option<u64> {
        u64::try_from(self.get().bit_rate).ok().filter(|rate| *rate > 0)
    }

    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        // SAFETY: the dictionary belongs to the context.
        unsafe { pairs(self.get().metadata) }.into_iter().collect()
    }

    /// Start and end of each chapter in microseconds, with its title.
    pub(crate) fn chapters(&self) -> Vec<(i64, i64, Option<String>)> {
        let context = self.get();
        (0..context.nb_chapters as usize)
            .filter_map(|index| {
                // SAFETY: the array has nb_chapters valid entries.
                let chapter = unsafe { (*context.chapters.add(index)).as_ref()? };
                let base = TimeBase::from(chapter.time_base);
                // SAFETY: the dictionary belongs to the chapter.
                let title = unsafe { pairs(chapter.metadata) }.into_iter().find(|(key, _)| key == "title");
                let micros = |ticks| base.rescale(ticks, TimeBase::MICROS);
                Some((micros(chapter.start), micros(chapter.end), title.map(|(_, title)| title)))
            })
            .collect()
    }

    /// Bytes that were read from the file so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.io.state().bytes_read
    }

    /// What the file itself answered when reading failed.
    pub(crate) fn fault(&self) -> Option<String> {
        self.io.state().fault.as_ref().map(ToString::to_string)
    }

    /// Lets the demuxer skip the packets of a stream.
    pub(crate) fn discard(&mut self, index: usize) {
        if index < self.len() {
            // SAFETY: the entry exists; the field is for users to set.
            unsafe { (**(*self.context).streams.add(index)).discard = ffi::AVDiscard::AVDISCARD_ALL };
        }
    }

    /// The next packet of any stream.
    pub(crate) fn read(&mut self, packet: &mut Packet) -> Result<(), AvError> {
        packet.clear();
        // SAFETY: context and packet are valid.
        check(unsafe { ffi::av_read_frame(self.context, packet.as_ptr()) }).map(drop)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: opened and closed once; the byte stream is custom and dropped by `io` after it.
        unsafe { ffi::avformat_close_input(&raw mut self.context) };
    }
}

/// One stream of an input.
#[derive(Clone, Copy)]
pub(crate) struct StreamView<'a> {
    stream: &'a ffi::AVStream,
    parameters: &'a ffi::AVCodecParameters,
}

impl StreamView<'_> {
    pub(super) fn parameters(&self) -> &ffi::AVCodecParameters {
        self.parameters
    }

    pub(super) fn raw(&self) -> &ffi::AVStream {
        self.stream
    }

    pub(crate) fn index(&self) -> usize {
        usize::try_from(self.stream.index).unwrap_or(0)
    }

    pub(crate) fn is_video(&self) -> bool {
        self.kind() == ffi::AVMediaType::AVMEDIA_TYPE_VIDEO as i32
    }

    pub(crate) fn is_audio(&self) -> bool {
        self.kind() == ffi::AVMediaType::AVMEDIA_TYPE_AUDIO as i32
    }

    pub(crate) fn is_subtitle(&self) -> bool {
        self.kind() == ffi::AVMediaType::AVMEDIA_TYPE_SUBTITLE as i32
    }

    pub(crate) fn is_attachment(&self) -> bool {
        self.kind() == ffi::AVMediaType::AVMEDIA_TYPE_ATTACHMENT as i32
    }

    fn kind(&self) -> i32 {
        self.parameters.codec_type as i32
    }

    /// Name of the codec; `unknown` if it has none.
    pub(crate) fn codec(&self) -> String {
        if self.parameters.codec_id == ffi::AVCodecID::AV_CODEC_ID_NONE {
            return "unknown".to_owned();
        }
        // SAFETY: takes any codec id; the name is static.
        unsafe { text(ffi::avcodec_get_name(self.parameters.codec_id)) }.unwrap_or_else(|| "unknown".to_owned())
    }

    pub(crate) fn profile(&self) -> Option<String> {
        // SAFETY: takes any codec id and number; the name is static or NULL.
        unsafe { text(ffi::avcodec_profile_name(self.parameters.codec_id, self.parameters.profile)) }
    }

    pub(crate) fn time_base(&self) -> TimeBase {
        self.stream.time_base.into()
    }

    /// First time in ticks, if known.
    pub(crate) fn start(&self) -> Option<i64> {
        Some(self.stream.start_time).filter(|start| *start != ffi::AV_NOPTS_VALUE)
    }

    /// Length in ticks, if known.
    pub(crate) fn duration(&self) -> Option<i64> {
        Some(self.stream.duration).filter(|duration| *duration > 0)
    }

    pub(crate) fn frames(&self) -> Option<u64> {
        u64::try_from(self.stream.nb_frames).ok().filter(|frames| *frames > 0)
    }

    pub(crate) fn bit_rate(&self) -> Option<u64> {
        u64::try_from(self.parameters.bit_rate).ok().filter(|rate| *rate > 0)
    }

    pub(crate) fn is_cover_art(&self) -> bool {
        self.stream.disposition & ffi::AV_DISPOSITION_ATTACHED_PIC != 0
    }

    pub(crate) fn is_default(&self) -> bool {
        self.stream.disposition & ffi::AV_DISPOSITION_DEFAULT != 0
    }

    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        // SAFETY: the dictionary belongs to the stream.
        unsafe { pairs(self.stream.metadata) }.into_iter().collect()
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        (u32::try_from(self.parameters.width).unwrap_or(0), u32::try_from(self.parameters.height).unwrap_or(0))
    }

    /// Shape of a pixel as the container says, else the codec; `None` if neither does.
    pub(crate) fn sample_aspect_ratio(&self) -> Option<(i32, i32)> {
        [self.stream.sample_aspect_ratio, self.parameters.sample_aspect_ratio]
            .into_iter()
            .find(|ratio| ratio.num > 0 && ratio.den > 0)
            .map(|ratio| (ratio.num, ratio.den))
    }

    /// Average frame rate as the analysis found it, else the guess from the time base.
    pub(crate) fn frame_rates(&self) -> [(i32, i32); 2] {
        [self.stream.avg_frame_rate, self.stream.r_frame_rate].map(|rate| (rate.num, rate.den))
    }

    pub(crate) fn pixel_format(&self) -> Option<String> {
        self.is_video().then(|| pixel_format_name(self.parameters.format)).flatten()
    }

    pub(crate) fn sample_format(&self) -> Option<String> {
        self.is_audio().then(|| sample_format_name(self.parameters.format)).flatten()
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        u32::try_from(self.parameters.sample_rate).unwrap_or(0)
    }

    pub(crate) fn color(&self) -> Color {
        // SAFETY: the struct lives; the fields are read as integers, so any value is sound.
        unsafe {
            Color {
                range: (&raw const self.parameters.color_range).cast::<c_int>().read(),
                primaries: (&raw const self.parameters.color_primaries).cast::<c_int>().read(),
                transfer: (&raw const self.parameters.color_trc).cast::<c_int>().read(),
                matrix: (&raw const self.parameters.color_space).cast::<c_int>().read(),
            }
        }
    }

    pub(crate) fn is_interlaced(&self) -> bool {
        // SAFETY: as for the colours. 0 is unknown and 1 progressive.
        unsafe { (&raw const self.parameters.field_order).cast::<c_int>().read() > 1 }
    }

    /// Whether it says what the screen was like on which it was graded (HDR10).
    pub(crate) fn has_mastering_metadata(&self) -> bool {
        let kinds = [
            ffi::AVPacketSideDataType::AV_PKT_DATA_MASTERING_DISPLAY_METADATA,
            ffi::AVPacketSideDataType::AV_PKT_DATA_CONTENT_LIGHT_LEVEL,
        ];
        kinds.into_iter().any(|kind| self.side_data(kind).is_some())
    }

    /// The nine numbers of the display matrix, if the stream has one.
    pub(crate) fn display_matrix(&self) -> Option<[i32; 9]> {
        let (data, size) = self.side_data(ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX)?;
        if size < 36 {
            return None;
        }
        // SAFETY: libav stores native 32-bit integers there; 36 bytes were checked.
        Some(std::array::from_fn(|index| unsafe { data.cast::<i32>().add(index).read_unaligned() }))
    }

    #[cfg(not(feature = "ffmpeg_6_1"))]
    #[allow(clippy::unnecessary_cast, reason = "an int before FFmpeg 5")]
    fn side_data(&self, kind: ffi::AVPacketSideDataType) -> Option<(*const u8, usize)> {
        (0..usize::try_from(self.stream.nb_side_data).unwrap_or(0))
            // SAFETY: the array has nb_side_data entries.
            .map(|index| unsafe { &*self.stream.side_data.add(index) })
            .find(|data| data.type_ == kind && !data.data.is_null())
            .map(|data| (data.data.cast_const(), data.size as usize))
    }

    #[cfg(feature = "ffmpeg_6_1")]
    fn side_data(&self, kind: ffi::AVPacketSideDataType) -> Option<(*const u8, usize)> {
        (0..usize::try_from(self.parameters.nb_coded_side_data).unwrap_or(0))
            // SAFETY: the array has nb_coded_side_data entries.
            .map(|index| unsafe { &*self.parameters.coded_side_data.add(index) })
            .find(|data| data.type_ == kind && !data.data.is_null())
            .map(|data| (data.data.cast_const(), data.size))
    }

    /// Whether the libraries can decode it.
    pub(crate) fn has_decoder(&self) -> bool {
        // SAFETY: takes any codec id.
        !unsafe { ffi::avcodec_find_decoder(self.parameters.codec_id) }.is_null()
    }

    /// Number of channels and their layout in libav's words.
    pub(crate) fn channels(&self) -> (u16, Option<String>) {
        super::codec::channel_layout(self.parameters)
    }
}
