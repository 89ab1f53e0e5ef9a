//! Packets and frames that free themselves.

use ffmpeg_sys_next as ffi;
use libc::c_int;

use super::{AvError, Color, TimeBase, check};

/// `AV_FRAME_FLAG_INTERLACED`, which the bindings do not name.
#[cfg(feature = "ffmpeg_6_1")]
const INTERLACED: i32 = 1 << 3;

/// Compressed data of one stream with its times.
pub(crate) struct Packet(*mut ffi::AVPacket);

// SAFETY: the packet is owned and its buffers are counted atomically.
unsafe impl Send for Packet {}

impl Packet {
    pub(crate) fn new() -> Self {
        // SAFETY: plain allocation; NULL is an allocation failure, fatal as everywhere in Rust.
        let packet = unsafe { ffi::av_packet_alloc() };
        assert!(!packet.is_null(), "out of memory");
        Self(packet)
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::AVPacket {
        self.0
    }

    fn get(&self) -> &ffi::AVPacket {
        // SAFETY: never NULL, and ours as long as self lives.
        unsafe { &*self.0 }
    }

    fn get_mut(&mut self) -> &mut ffi::AVPacket {
        // SAFETY: never NULL, and ours alone while self is borrowed mutably.
        unsafe { &mut *self.0 }
    }

    /// A second packet with the same data.
    ///
    /// # Errors
    /// `memory_exceeded`.
    pub(crate) fn reference(&self) -> ffrtmp_core::Result<Self> {
        let copy = Self::new();
        // SAFETY: both packets are valid, and the copy is fresh.
        let referred = unsafe { ffi::av_packet_ref(copy.0, self.0) };
        if referred < 0 { Err(out_of_memory("a packet")) } else { Ok(copy) }
    }

    pub(crate) fn stream(&self) -> usize {
        usize::try_from(self.get().stream_index).unwrap_or(usize::MAX)
    }

    pub(crate) fn set_stream(&mut self, index: usize) {
        self.get_mut().stream_index = i32::try_from(index).unwrap_or(i32::MAX);
    }

    pub(crate) fn pts(&self) -> Option<i64> {
        known(self.get().pts)
    }

    pub(crate) fn dts(&self) -> Option<i64> {
        known(self.get().dts)
    }

    pub(crate) fn duration(&self) -> i64 {
        self.get().duration.max(0)
    }

    pub(crate) fn size(&self) -> usize {
        usize::try_from(self.get().size).unwrap_or(0)
    }

    /// The coded data.
    pub(crate) fn data(&self) -> &[u8] {
        let packet = self.get();
        if packet.data.is_null() {
            return &[];
        }
        // SAFETY: a packet's data has its size, and lives as long as the packet is borrowed.
        unsafe { std::slice::from_raw_parts(packet.data, self.size()) }
    }

    pub(crate) fn is_key(&self) -> bool {
        self.get().flags & ffi::AV_PKT_FLAG_KEY != 0
    }

    /// Whether the container had less data than it announced.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.get().flags & ffi::AV_PKT_FLAG_CORRUPT != 0
    }

    pub(crate) fn set_times(&mut self, pts: Option<i64>, dts: Option<i64>, duration: i64) {
        let packet = self.get_mut();
        packet.pts = pts.unwrap_or(ffi::AV_NOPTS_VALUE);
        packet.dts = dts.unwrap_or(ffi::AV_NOPTS_VALUE);
        packet.duration = duration;
    }

    /// Forgets where in the source file it stood.
    pub(crate) fn clear_position(&mut self) {
        self.get_mut().pos = -1;
    }

    pub(crate) fn rescale(&mut self, from: TimeBase, to: TimeBase) {
        let (pts, dts) = (self.pts(), self.dts());
        let duration = from.rescale(self.duration(), to);
        self.set_times(pts.map(|ticks| from.rescale(ticks, to)), dts.map(|ticks| from.rescale(ticks, to)), duration);
    }

    pub(crate) fn clear(&mut self) {
        // SAFETY: the packet is valid; unreferencing an empty one is allowed.
        unsafe { ffi::av_packet_unref(self.0) };
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: allocated by av_packet_alloc and freed once.
        unsafe { ffi::av_packet_free(&raw mut self.0) };
    }
}

/// A decoded picture or a run of samples.
pub(crate) struct Frame(*mut ffi::AVFrame);

// SAFETY: the frame is owned and its buffers are counted atomically.
unsafe impl Send for Frame {}

impl Frame {
    pub(crate) fn new() -> Self {
        // SAFETY: plain allocation; NULL is an allocation failure, fatal as everywhere in Rust.
        let frame = unsafe { ffi::av_frame_alloc() };
        assert!(!frame.is_null(), "out of memory");
        Self(frame)
    }

    /// A picture of which every sample is zero.
    pub(super) fn zeroed(width: c_int, height: c_int, format: c_int) -> Result<Self, AvError> {
        let frame = Self::new();
        // SAFETY: the frame is fresh; a buffer that it got is ours and writable for its size.
        unsafe {
            let raw = &mut *frame.as_ptr();
            (raw.width, raw.height, raw.format) = (width, height, format);
            check(ffi::av_frame_get_buffer(raw, 0))?;
            raw.pts = 0;
            for buffer in raw.buf.iter().filter_map(|buffer| buffer.as_ref()) {
                std::ptr::write_bytes(buffer.data, 0, buffer.size);
            }
        }
        Ok(frame)
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::AVFrame {
        self.0
    }

    fn get(&self) -> &ffi::AVFrame {
        // SAFETY: never NULL, and ours as long as self lives.
        unsafe { &*self.0 }
    }

    fn get_mut(&mut self) -> &mut ffi::AVFrame {
        // SAFETY: never NULL, and ours alone while self is borrowed mutably.
        unsafe { &mut *self.0 }
    }

    /// A second frame with the same data.
    ///
    /// # Errors
    /// `memory_exceeded`.
    pub(crate) fn reference(&self) -> ffrtmp_core::Result<Self> {
        let copy = Self::new();
        // SAFETY: both frames are valid, and the copy is fresh.
        let referred = unsafe { ffi::av_frame_ref(copy.0, self.0) };
        if referred < 0 { Err(out_of_memory("a picture")) } else { Ok(copy) }
    }

    pub(crate) fn pts(&self) -> Option<i64> {
        known(self.get().pts)
    }

    pub(crate) fn set_pts(&mut self, pts: i64) {
        self.get_mut().pts = pts;
    }

    /// The time that libav makes out of whatever the container gave.
    pub(crate) fn best_effort_pts(&self) -> Option<i64> {
        known(self.get().best_effort_timestamp)
    }

    /// How long the decoder says it is shown; 0 if it does not.
    #[cfg(feature = "ffmpeg_6_0")]
    pub(crate) fn duration(&self) -> i64 {
        self.get().duration.max(0)
    }

    /// How long the decoder says it is shown; 0 if it does not.
    #[cfg(not(feature = "ffmpeg_6_0"))]
    pub(crate) fn duration(&self) -> i64 {
        self.get().pkt_duration.max(0)
    }

    pub(crate) fn width(&self) -> i32 {
        self.get().width
    }

    pub(crate) fn height(&self) -> i32 {
        self.get().height
    }

    /// Pixel or sample format as libav numbers it.
    pub(crate) fn format(&self) -> i32 {
        self.get().format
    }

    pub(crate) fn sample_rate(&self) -> i32 {
        self.get().sample_rate
    }

    pub(crate) fn samples(&self) -> i32 {
        self.get().nb_samples
    }

    /// Drops samples at the end.
    pub(crate) fn truncate_samples(&mut self, samples: i32) {
        let frame = self.get_mut();
        frame.nb_samples = samples.clamp(0, frame.nb_samples);
    }

    pub(crate) fn color(&self) -> Color {
        // SAFETY: the frame lives; the fields are read as integers, so any value is sound.
        unsafe {
            Color {
                range: (&raw const (*self.0).color_range).cast::<i32>().read(),
                primaries: (&raw const (*self.0).color_primaries).cast::<i32>().read(),
                transfer: (&raw const (*self.0).color_trc).cast::<i32>().read(),
                matrix: (&raw const (*self.0).colorspace).cast::<i32>().read(),
            }
        }
    }

    /// Whether its lines are those of two moments.
    #[cfg(feature = "ffmpeg_6_1")]
    pub(crate) fn is_interlaced(&self) -> bool {
        self.get().flags & INTERLACED != 0
    }

    /// Whether its lines are those of two moments.
    #[cfg(not(feature = "ffmpeg_6_1"))]
    pub(crate) fn is_interlaced(&self) -> bool {
        self.get().interlaced_frame != 0
    }

    /// The light of the picture; `None` where it does not lie in memory in a plane of its own.
    pub(crate) fn luma(&self) -> Option<Luma<'_>> {
        let frame = self.get();
        let depth = super::names::luma_depth(frame.format)?;
        let sample_bytes = if depth > 8 { 2 } else { 1 };
        let width = usize::try_from(frame.width).ok().filter(|width| *width > 0)?;
        let height = usize::try_from(frame.height).ok().filter(|height| *height > 0)?;
        let stride = usize::try_from(frame.linesize[0]).ok().filter(|stride| *stride >= width * sample_bytes)?;
        let data = frame.data[0];
        if data.is_null() {
            return None;
        }
        // SAFETY: a plane has its height in lines, each a stride after the one before, of which the
        // last one ends with its last sample; it lives as long as the frame.
        let data = unsafe { std::slice::from_raw_parts(data, stride * (height - 1) + width * sample_bytes) };
        Some(Luma { data, stride, width, height, depth })
    }

    /// Orders the encoder to make a key frame of it.
    pub(crate) fn force_key(&mut self) {
        self.get_mut().pict_type = ffi::AVPictureType::AV_PICTURE_TYPE_I;
    }

    /// Lets an encoder choose the picture type itself and drops what the pixels already obey.
    pub(crate) fn prepare_for_encoder(&mut self) {
        self.get_mut().pict_type = ffi::AVPictureType::AV_PICTURE_TYPE_NONE;
        // SAFETY: the frame is valid; removing absent side data is allowed.
        unsafe { ffi::av_frame_remove_side_data(self.0, ffi::AVFrameSideDataType::AV_FRAME_DATA_DISPLAYMATRIX) };
    }
}

/// The light of a picture, line by line.
#[derive(Clone, Copy)]
pub(crate) struct Luma<'a> {
    data: &'a [u8],
    stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Bits of a sample; above 8 it has two bytes in the order of this machine.
    pub(crate) depth: u8,
}

impl Luma<'_> {
    /// Every `step`th sample of a line from the first on.
    pub(crate) fn samples(&self, line: usize, step: usize) -> impl Iterator<Item = u16> + '_ {
        let bytes = if self.depth > 8 { 2 } else { 1 };
        let line = self.data.get(line * self.stride..).unwrap_or_default();
        let line = &line[..line.len().min(self.width * bytes)];
        line.chunks_exact(bytes).step_by(step.max(1)).map(|sample| match *sample {
            [low, high] => u16::from_ne_bytes([low, high]),
            [value] => u16::from(value),
            _ => 0,
        })
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: allocated by av_frame_alloc and freed once.
        unsafe { ffi::av_frame_free(&raw mut self.0) };
    }
}

fn known(ticks: i64) -> Option<i64> {
    (ticks != ffi::AV_NOPTS_VALUE).then_some(ticks)
}

fn out_of_memory(what: &str) -> ffrtmp_core::Error {
    ffrtmp_core::Error::new(ffrtmp_core::Code::MemoryExceeded, format!("no memory for {what}"))
}
