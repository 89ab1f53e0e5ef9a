//! Going to a place in an input.

use ffmpeg_sys_next as ffi;
use libc::c_int;

use super::{AvError, Input, Packet, check};

impl Input {
    /// Goes to the last key frame of a stream that its index has at or before a time, in ticks of
    /// the stream. What the index means by time is the demuxer's affair: the next packet may lie
    /// elsewhere, and says so itself.
    pub(crate) fn seek(&mut self, stream: usize, time: i64) -> Result<(), AvError> {
        let stream = c_int::try_from(stream).map_err(|_| AvError::INVALID)?;
        self.pending.clear();
        // SAFETY: the context is open; a stream that it has not is refused.
        check(unsafe { ffi::avformat_seek_file(self.context, stream, i64::MIN, time, time, 0) }).map(drop)
    }
}

impl Packet {
    /// Whether its pictures are decoded but not shown: an edit list hides them.
    pub(crate) fn is_hidden(&self) -> bool {
        // SAFETY: a packet's pointer is never NULL.
        unsafe { (*self.as_ptr()).flags & ffi::AV_PKT_FLAG_DISCARD as c_int != 0 }
    }
}
