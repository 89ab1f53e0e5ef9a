//! An opened container: its streams, and packets one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ptr;
use std::time::Duration;

use ffmpeg_sys_next as ffi;
use ffrtmp_core::engine::Control;
use libc::{c_int, c_void};

use super::accepted::{DECODERS, DEMUXERS};
use super::analyse::{Facts, Found};
use super::io::{Guard, Io, Source, interrupted, refuse_open};
use super::names::{pixel_format_name, sample_format_name};
use super::parts::Parts;
use super::{AvError, Color, Options, Packet, TimeBase, check, pairs, text};

/// Bounds on opening.
pub(crate) struct InputLimits {
    pub(crate) max_streams: usize,
    pub(crate) max_pixels: u64,
    /// Time for opening and analysing; reading afterwards has no limit.
    pub(crate) time: Duration,
    /// Whether edit lists hide packets, as in a player. They move times in any case.
    pub(crate) hides: bool,
    /// What is found out about the streams.
    pub(crate) facts: Facts,
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

/// Bytes that opening may read. The index of a film of two days is far smaller, and what a demuxer
/// keeps of a header (an index, extradata, attachments) is not much larger than the header.
const MAX_HEADER: u64 = 128 << 20;
/// Bytes of one allocation of the libraries: a picture of the default bounds at eight bits with four
/// channels. Tables that a header of a few bytes asks for end here.
const MAX_ALLOCATION: usize = 320 << 20;

/// How much of a file is looked at for its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Usual,
    /// As many bytes, for streams that begin late. The packets stay in memory until they are read
    /// again.
    Wide(u64),
}

impl Window {
    /// Bytes, and microseconds.
    const fn extent(self) -> (u64, u64) {
        match self {
            Self::Usual => (5_000_000, 10_000_000),
            Self::Wide(bytes) => (bytes, 7_200_000_000),
        }
    }
}

/// An opened container.
pub(crate) struct Input {
    pub(super) context: *mut ffi::AVFormatContext,
    io: Io<Source>,
    /// Packets that opening read already.
    pub(super) pending: VecDeque<Packet>,
    // Referenced by the context and by `io`, so it is dropped after both.
    guard: Box<Guard>,
}

// SAFETY: all of it is owned and used by one thread at a time.
unsafe impl Send for Input {}

impl Input {
    /// Recognises the container by its content, opens it and finds out what is asked for.
    pub(crate) fn open(parts: Parts, guard: Guard, limits: &InputLimits) -> Result<Self, OpenError> {
        guard.allow(Some(limits.time));
        let mut input = Self::open_header(parts, Box::new(guard), limits, Window::Usual)?;
        // Too many streams are refused by who asked, and so are pictures that the header says are too
        // large: a decoder that refuses them would leave them without a size.
        if input.len() <= limits.max_streams && !input.streams().any(|stream| stream.pixels() > limits.max_pixels) {
            let name = input.format();
            let damaged = |error| OpenError::Damaged(name, error);
            if input.find(limits.facts, limits.max_pixels).map_err(damaged)? == Found::TooLittle {
                input = input.again(limits, Window::Usual)?;
            }
            if limits.facts != Facts::Header && input.may_hold_more() {
                input.guard.allow(Some(limits.time / 2));
                let late = input.late_streams();
                input.guard.allow(Some(limits.time));
                if let Some(bytes) = late {
                    input = input.look_further(limits, bytes)?;
                }
            }
        }
        input.io.allow(None);
        input.guard.allow(None);
        Ok(input)
    }

    /// Starts over with libav's own analysis, which wants to see the packets from the first on.
    fn again(self, limits: &InputLimits, window: Window) -> Result<Self, OpenError> {
        let mut input = self.anew(limits, window)?;
        let name = input.format();
        input.search(limits.max_pixels).map_err(|error| OpenError::Damaged(name, error))?;
        Ok(input)
    }

    /// Looks for streams that begin late; where that takes too long, what was found before has to do.
    fn look_further(self, limits: &InputLimits, bytes: u64) -> Result<Self, OpenError> {
        self.guard.allow(Some(limits.time / 2));
        let mut further = self.anew(limits, Window::Wide(bytes))?;
        let found = further.search(limits.max_pixels);
        let is_late = further.guard.is_late();
        further.guard.allow(Some(limits.time));
        if found.is_ok() && !is_late { Ok(further) } else { further.again(limits, Window::Usual) }
    }

    /// The same file from its beginning.
    fn anew(mut self, limits: &InputLimits, window: Window) -> Result<Self, OpenError> {
        let parts = self.io.take_parts();
        let guard = mem::replace(&mut self.guard, Box::new(Guard::new(Control::default())));
        drop(self);
        Self::open_header(parts, guard, limits, window)
    }

    fn open_header(parts: Parts, guard: Box<Guard>, limits: &InputLimits, window: Window) -> Result<Self, OpenError> {
        // SAFETY: a plain setter.
        unsafe { ffi::av_max_alloc(MAX_ALLOCATION) };
        let mut io = Io::reading(parts, &guard).map_err(OpenError::Unknown)?;
        io.allow(Some(MAX_HEADER));
        let format = recognise(&io)?;
        // SAFETY: a format that was found is static, and so is its name.
        let name = unsafe { text((*format).name) }.unwrap_or_default();
        // SAFETY: plain allocation, checked below.
        let mut context = unsafe { ffi::avformat_alloc_context() };
        if context.is_null() {
            return Err(OpenError::Unknown(AvError::MEMORY));
        }
        let mut options = limits.options(window);
        // SAFETY: the context is fresh and ours; guard and byte stream outlive it.
        let opened = unsafe {
            (*context).pb = io.as_ptr();
            (*context).io_open = Some(refuse_open);
            (*context).interrupt_callback.callback = Some(interrupted);
            (*context).interrupt_callback.opaque = ptr::from_ref::<Guard>(&guard).cast_mut().cast::<c_void>();
            ffi::avformat_open_input(&raw mut context, c"".as_ptr(), format, &raw mut options.0)
        };
        // On failure libav frees the context.
        check(opened).map_err(|error| OpenError::Damaged(name, error))?;
        Ok(Self { context, io, pending: VecDeque::new(), guard })
    }

    pub(super) fn get(&self) -> &ffi::AVFormatContext {
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

    /// What the file has at a position, whatever was read.
    pub(super) fn peek(&mut self, position: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.io.peek(position, buffer)
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.io.state().len()
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
        if let Some(stream) = self.get_stream(index) {
            // SAFETY: the entry exists; the field is for users to set.
            unsafe { (*stream).discard = ffi::AVDiscard::AVDISCARD_ALL };
        }
    }

    /// The next packet of any stream.
    pub(crate) fn read(&mut self, packet: &mut Packet) -> Result<(), AvError> {
        if let Some(first) = self.pending.pop_front() {
            *packet = first;
            return Ok(());
        }
        self.read_on(packet)
    }

    /// The next packet that was not read yet.
    pub(super) fn read_on(&mut self, packet: &mut Packet) -> Result<(), AvError> {
        packet.clear();
        // SAFETY: context and packet are valid.
        check(unsafe { ffi::av_read_frame(self.context, packet.as_ptr()) }).map(drop)
    }

    /// What was read, with the hashes that grew meanwhile.
    pub(crate) fn into_parts(mut self) -> Parts {
        self.io.take_parts()
    }

    pub(super) fn get_stream(&self, index: usize) -> Option<*mut ffi::AVStream> {
        // SAFETY: the array has nb_streams valid entries.
        (index < self.len()).then(|| unsafe { *self.get().streams.add(index) })
    }
}

impl InputLimits {
    fn options(&self, window: Window) -> Options {
        let max_streams = self.max_streams.to_string();
        let (bytes, micros) = window.extent();
        let (bytes, micros) = (bytes.to_string(), micros.to_string());
        Options::new([
            ("format_whitelist", DEMUXERS.join(",").as_str()),
            ("codec_whitelist", DECODERS.join(",").as_str()),
            ("protocol_whitelist", "none"),
            ("max_streams", max_streams.as_str()),
            ("probesize", bytes.as_str()),
            ("analyzeduration", micros.as_str()),
            ("enable_drefs", "0"),
            ("advanced_editlist", if self.hides { "1" } else { "0" }),
        ])
    }
}

/// What libav calls a demuxer; constant by version.
#[cfg(feature = "ffmpeg_5_0")]
type Format = *const ffi::AVInputFormat;
#[cfg(not(feature = "ffmpeg_5_0"))]
type Format = *mut ffi::AVInputFormat;

/// Finds the demuxer by content alone.
fn recognise(io: &Io<Source>) -> Result<Format, OpenError> {
    let mut format: Format = ptr::null_mut();
    // SAFETY: the byte stream is valid; no name is given, so only content decides.
    let probed =
        unsafe { ffi::av_probe_input_buffer2(io.as_ptr(), &raw mut format, c"".as_ptr(), ptr::null_mut(), 0, 1 << 20) };
    check(probed).map_err(OpenError::Unknown)?;
    // SAFETY: a format that was found is static, and so is its name.
    let name = unsafe { text((*format).name) }.unwrap_or_default();
    if name.split(',').any(|name| DEMUXERS.contains(&name)) { Ok(format) } else { Err(OpenError::Refused(name)) }
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

    pub(crate) fn pixels(&self) -> u64 {
        let (width, height) = self.size();
        u64::from(width) * u64::from(height)
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
    pub(super) fn side_data(&self, kind: ffi::AVPacketSideDataType) -> Option<(*const u8, usize)> {
        (0..usize::try_from(self.stream.nb_side_data).unwrap_or(0))
            // SAFETY: the array has nb_side_data entries.
            .map(|index| unsafe { &*self.stream.side_data.add(index) })
            .find(|data| data.type_ == kind && !data.data.is_null())
            .map(|data| (data.data.cast_const(), data.size as usize))
    }

    #[cfg(feature = "ffmpeg_6_1")]
    pub(super) fn side_data(&self, kind: ffi::AVPacketSideDataType) -> Option<(*const u8, usize)> {
        (0..usize::try_from(self.parameters.nb_coded_side_data).unwrap_or(0))
            // SAFETY: the array has nb_coded_side_data entries.
            .map(|index| unsafe { &*self.parameters.coded_side_data.add(index) })
            .find(|data| data.type_ == kind && !data.data.is_null())
            .map(|data| (data.data.cast_const(), data.size))
    }

    /// Whether the libraries can decode it, with a decoder that foreign bytes may reach.
    pub(crate) fn has_decoder(&self) -> bool {
        // SAFETY: takes any codec id; a codec that is found is static, and so is its name.
        let name =
            unsafe { ffi::avcodec_find_decoder(self.parameters.codec_id).as_ref().and_then(|codec| text(codec.name)) };
        name.is_some_and(|name| DECODERS.contains(&name.as_str()))
    }

    /// Number of channels and their layout in libav's words.
    pub(crate) fn channels(&self) -> (u16, Option<String>) {
        super::codec::channel_layout(self.parameters)
    }
}
