//! Packets and frames that free themselves.

use ffmpeg_sys_next as ffi;

use super::{Color, TimeBase};

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

    /// Whether it says what the screen was like on which it was graded (HDR10).
    pub(crate) fn has_mastering_metadata(&self) -> bool {
        let kinds = [
            ffi::AVFrameSideDataType::AV_FRAME_DATA_MASTERING_DISPLAY_METADATA,
            ffi::AVFrameSideDataType::AV_FRAME_DATA_CONTENT_LIGHT_LEVEL,
        ];
        // SAFETY: the frame is valid; NULL means that it has none.
        kinds.into_iter().any(|kind| !unsafe { ffi::av_frame_get_side_data(self.0, kind) }.is_null())
    }

    /// Lets an encoder choose the picture type itself and drops what the pixels already obey.
    pub(crate) fn prepare_for_encoder(&mut self) {
        self.get_mut().pict_type = ffi::AVPictureType::AV_PICTURE_TYPE_NONE;
        // SAFETY: the frame is valid; removing absent side data is allowed.
        unsafe { ffi::av_frame_remove_side_data(self.0, ffi::AVFrameSideDataType::AV_FRAME_DATA_DISPLAYMATRIX) };
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
