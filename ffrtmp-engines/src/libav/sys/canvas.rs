//! Pictures put together out of others.

use ffmpeg_sys_next as ffi;
use libc::c_int;

use super::{AvError, Frame, check};

/// What JPEG mostly holds: colours at half the size.
const FORMAT: c_int = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
/// Black in each plane.
const BLACK: [u8; 3] = [0, 128, 128];

/// A picture for JPEG that is filled piece by piece. Its memory is taken up as it is filled.
pub(crate) struct Canvas(Frame);

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Result<Self, AvError> {
        let frame = Frame::new();
        let raw = frame.as_ptr();
        // SAFETY: the frame is empty and ours alone; it gets buffers that nobody else has.
        unsafe {
            (*raw).width = c_int::try_from(width).map_err(|_| AvError::INVALID)?;
            (*raw).height = c_int::try_from(height).map_err(|_| AvError::INVALID)?;
            (*raw).format = FORMAT;
            check(ffi::av_frame_get_buffer(raw, 0))?;
        }
        Ok(Self(frame))
    }

    /// Copies a picture to a place; both lie on even pixels.
    pub(crate) fn place(&mut self, tile: &Frame, x: u32, y: u32) -> Result<(), AvError> {
        let (width, height) = (tile.width().unsigned_abs(), tile.height().unsigned_abs());
        if tile.format() != FORMAT {
            return Err(AvError::INVALID);
        }
        self.each_plane((x, y), (width, height), |plane, target, stride, width, height| {
            let source = tile.as_ptr();
            // SAFETY: the tile has this plane with the size given, as its format says; the target
            // was checked to have room.
            unsafe {
                let (from, pitch) = ((*source).data[plane], (*source).linesize[plane]);
                ffi::av_image_copy_plane(target, stride, from, pitch, width, height);
            }
        })
    }

    /// Blackens a part.
    pub(crate) fn blank(&mut self, at: (u32, u32), size: (u32, u32)) -> Result<(), AvError> {
        self.each_plane(at, size, |plane, target, stride, width, height| {
            for row in 0..height as isize {
                // SAFETY: the rows were checked to lie in the plane.
                unsafe { target.offset(row * stride as isize).write_bytes(BLACK[plane], width as usize) };
            }
        })
    }

    /// The upper left part as a picture.
    pub(crate) fn into_frame(self, width: u32, height: u32) -> Result<Frame, AvError> {
        if !self.has((0, 0), (width, height)) {
            return Err(AvError::INVALID);
        }
        // SAFETY: the frame is ours, and there is no less than what it says from now on.
        unsafe {
            (*self.0.as_ptr()).width = width as c_int;
            (*self.0.as_ptr()).height = height as c_int;
        }
        Ok(self.0)
    }

    fn has(&self, at: (u32, u32), size: (u32, u32)) -> bool {
        let fits = |at: u32, size: u32, all: i32| at.checked_add(size).is_some_and(|end| end <= all.unsigned_abs());
        let whole = [at.0, at.1, size.0, size.1].into_iter().all(|edge| edge % 2 == 0);
        whole && fits(at.0, size.0, self.0.width()) && fits(at.1, size.1, self.0.height())
    }

    /// Visits the three planes of a part: number, first byte, bytes to the next row, bytes, rows.
    fn each_plane(
        &mut self,
        at: (u32, u32),
        size: (u32, u32),
        mut visit: impl FnMut(usize, *mut u8, c_int, c_int, c_int),
    ) -> Result<(), AvError> {
        if !self.has(at, size) {
            return Err(AvError::INVALID);
        }
        let raw = self.0.as_ptr();
        for plane in 0..BLACK.len() {
            let part = if plane == 0 { 1 } else { 2 };
            // SAFETY: the part lies in the picture, so its first byte lies in the plane.
            unsafe {
                let stride = (*raw).linesize[plane];
                let first = (at.1 / part) as isize * stride as isize + (at.0 / part) as isize;
                let target = (*raw).data[plane].offset(first);
                visit(plane, target, stride, (size.0 / part) as c_int, (size.1 / part) as c_int);
            }
        }
        Ok(())
    }
}
