//! Filter graphs with at most one source and one sink.

use std::ptr;

use ffmpeg_sys_next as ffi;

use super::{AvError, Frame, HardwareDevice, TimeBase, check, cstring};

/// A configured filter graph.
pub(crate) struct Graph {
    graph: *mut ffi::AVFilterGraph,
    // Both belong to the graph.
    source: *mut ffi::AVFilterContext,
    sink: *mut ffi::AVFilterContext,
}

// SAFETY: owned, and used by one thread at a time.
unsafe impl Send for Graph {}

/// What came out of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// The frame was filled.
    Frame,
    /// It wants more input first.
    Hungry,
    /// Nothing will come any more.
    End,
}

impl Graph {
    /// Builds a graph from libav's notation. Its source, if it has one, is named `@in` and its sink
    /// `@out`, such as `buffer@in=…,scale=…,buffersink@out`. The notation is made by us; texts of
    /// users never get into it.
    pub(crate) fn new(notation: &str, threads: usize, device: Option<&HardwareDevice>) -> Result<Self, AvError> {
        // SAFETY: plain allocation, checked below.
        let graph = unsafe { ffi::avfilter_graph_alloc() };
        if graph.is_null() {
            return Err(AvError::MEMORY);
        }
        let mut built = Self { graph, source: ptr::null_mut(), sink: ptr::null_mut() };
        let notation = cstring(notation);
        let (mut inputs, mut outputs) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the graph is ours until dropped; open pads are freed whatever comes back; filters
        // are only looked at after parsing made them.
        unsafe {
            (*graph).nb_threads = i32::try_from(threads).unwrap_or(0);
            let parsed = ffi::avfilter_graph_parse2(graph, notation.as_ptr(), &raw mut inputs, &raw mut outputs);
            ffi::avfilter_inout_free(&raw mut inputs);
            ffi::avfilter_inout_free(&raw mut outputs);
            check(parsed)?;
            for index in 0..(*graph).nb_filters as usize {
                let filter = *(*graph).filters.add(index);
                if let Some(device) = device {
                    ffi::av_buffer_unref(&raw mut (*filter).hw_device_ctx);
                    (*filter).hw_device_ctx = device.share();
                }
                let name = super::text((*filter).name).unwrap_or_default();
                if name.ends_with("@in") {
                    built.source = filter;
                } else if name.ends_with("@out") {
                    built.sink = filter;
                }
            }
            check(ffi::avfilter_graph_config(graph, ptr::null_mut()))?;
        }
        if built.sink.is_null() { Err(AvError::INVALID) } else { Ok(built) }
    }

    /// Gives a frame; the reference in it moves into the graph.
    pub(crate) fn push(&mut self, frame: &mut Frame) -> Result<(), AvError> {
        if self.source.is_null() {
            return Err(AvError::INVALID);
        }
        // SAFETY: source and frame are valid.
        check(unsafe { ffi::av_buffersrc_add_frame_flags(self.source, frame.as_ptr(), 0) }).map(drop)
    }

    /// Says that no frame follows, and when the last one ends.
    pub(crate) fn close(&mut self, end: i64) -> Result<(), AvError> {
        if self.source.is_null() {
            return Ok(());
        }
        // SAFETY: the source is valid.
        check(unsafe { ffi::av_buffersrc_close(self.source, end, 0) }).map(drop)
    }

    pub(crate) fn pull(&mut self, frame: &mut Frame) -> Result<Pulled, AvError> {
        // SAFETY: sink and frame are valid; unreferencing an empty frame is allowed.
        let code = unsafe {
            ffi::av_frame_unref(frame.as_ptr());
            ffi::av_buffersink_get_frame(self.sink, frame.as_ptr())
        };
        match check(code) {
            Ok(_) => Ok(Pulled::Frame),
            Err(AvError::AGAIN) => Ok(Pulled::Hungry),
            Err(AvError::EOF) => Ok(Pulled::End),
            Err(error) => Err(error),
        }
    }

    /// Lets the sink cut audio into frames of this many samples.
    pub(crate) fn set_frame_size(&mut self, samples: u32) {
        // SAFETY: the sink is valid.
        unsafe { ffi::av_buffersink_set_frame_size(self.sink, samples) };
    }

    /// Unit of the times that come out.
    pub(crate) fn time_base(&self) -> TimeBase {
        // SAFETY: the sink is configured.
        unsafe { ffi::av_buffersink_get_time_base(self.sink) }.into()
    }

    /// A new reference to the hardware frames that come out, NULL for frames in memory.
    pub(super) fn share_hardware_frames(&self) -> *mut ffi::AVBufferRef {
        // SAFETY: the sink is configured; NULL is passed on.
        unsafe {
            let frames = ffi::av_buffersink_get_hw_frames_ctx(self.sink);
            if frames.is_null() { ptr::null_mut() } else { ffi::av_buffer_ref(frames) }
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: allocated by avfilter_graph_alloc and freed once, with its filters.
        unsafe { ffi::avfilter_graph_free(&raw mut self.graph) };
    }
}
