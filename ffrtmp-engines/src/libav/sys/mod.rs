//! The only place of the libav engine with unsafe code: owning types around the C libraries.
//!
//! Everything that leaves this folder is safe to call in any order; pointers stay inside. What a
//! job does with these types is in the parent folder.
#![allow(unsafe_code, reason = "calls the C libraries of FFmpeg")]

mod accepted;
mod analyse;
mod attached;
mod canvas;
mod codec;
mod coded;
#[cfg(feature = "gstreamer")]
mod described;
mod disposition;
mod frame;
mod graph;
mod hdr;
mod input;
mod io;
mod late;
pub(crate) mod log;
mod names;
mod output;
mod pages;
mod parts;
mod preview;
mod process;
mod seek;
mod subtitle;
mod table;

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::ptr;

use ffmpeg_sys_next as ffi;

pub(crate) use analyse::Facts;
pub(crate) use canvas::Canvas;
pub(crate) use codec::{AudioFormat, Decoder, Encoder, HardwareDevice, VideoFormat};
#[cfg(feature = "gstreamer")]
pub(crate) use described::{Described, DescribedShape};
pub(crate) use frame::{Frame, Luma, Packet};
pub(crate) use graph::{Graph, Pulled};
pub(crate) use input::{Input, InputLimits, OpenError, StreamView};
pub(crate) use io::Guard;
pub(crate) use names::{Color, bit_depth, chroma_shift, has_alpha, has_encoder, has_filter, is_rgb};
pub(crate) use output::{Output, StreamShape, WriteFault};
pub(crate) use parts::{Measured, Parts};
pub(crate) use preview::Preview;
pub(crate) use process::{Usage, keep_memory, libraries, libraries_match, quiet_svt};
pub(crate) use subtitle::{Event, SubtitleDecoder, SubtitleEncoder};
pub(crate) use table::Told;

/// A code that a C function answered with instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AvError(c_int);

impl AvError {
    pub(crate) const AGAIN: Self = Self(ffi::AVERROR(libc::EAGAIN));
    pub(crate) const EOF: Self = Self(ffi::AVERROR_EOF);
    pub(crate) const MEMORY: Self = Self(ffi::AVERROR(libc::ENOMEM));
    pub(crate) const INVALID: Self = Self(ffi::AVERROR(libc::EINVAL));
}

impl fmt::Display for AvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0 as c_char; 128];
        // SAFETY: the buffer is writable for the length given; libav ends it with NUL.
        let text = unsafe {
            ffi::av_strerror(self.0, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr())
        };
        f.write_str(&text.to_string_lossy().to_lowercase())
    }
}

impl std::error::Error for AvError {}

/// A unit of time in seconds, as a fraction that is never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeBase {
    pub(crate) num: i32,
    pub(crate) den: i32,
}

impl TimeBase {
    pub(crate) const MICROS: Self = Self { num: 1, den: 1_000_000 };

    /// A valid fraction, or microseconds where a file gives nonsense.
    pub(crate) fn new(num: i32, den: i32) -> Self {
        if num > 0 && den > 0 { Self { num, den } } else { Self::MICROS }
    }

    /// `ticks` of this unit in ticks of another, to the nearest, halves away from zero.
    pub(crate) fn rescale(self, ticks: i64, to: Self) -> i64 {
        let numerator = i128::from(ticks) * i128::from(self.num) * i128::from(to.den);
        let denominator = i128::from(self.den) * i128::from(to.num);
        let half = if numerator < 0 { -denominator / 2 } else { denominator / 2 };
        ((numerator + half) / denominator).clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX)) as i64
    }

    pub(crate) fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num) / f64::from(self.den)
    }

    pub(crate) fn ticks(self, seconds: f64) -> i64 {
        (seconds * f64::from(self.den) / f64::from(self.num)).round() as i64
    }
}

impl From<ffi::AVRational> for TimeBase {
    fn from(ratio: ffi::AVRational) -> Self {
        Self::new(ratio.num, ratio.den)
    }
}

impl From<TimeBase> for ffi::AVRational {
    fn from(base: TimeBase) -> Self {
        Self { num: base.num, den: base.den }
    }
}

/// Options on their way into libav; what it did not understand is still in it afterwards.
struct Options(*mut ffi::AVDictionary);

impl Options {
    fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut options = Self(ptr::null_mut());
        for (key, value) in pairs {
            options.set(&cstring(key), &cstring(value));
        }
        options
    }

    fn set(&mut self, key: &CStr, value: &CStr) {
        // SAFETY: both are NUL-terminated and copied; the dictionary pointer is ours.
        unsafe { ffi::av_dict_set(&raw mut self.0, key.as_ptr(), value.as_ptr(), 0) };
    }

    /// The dictionary for a field of libav that takes it over.
    fn into_raw(mut self) -> *mut ffi::AVDictionary {
        std::mem::replace(&mut self.0, ptr::null_mut())
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: we own the dictionary; the call takes NULL as well.
        unsafe { ffi::av_dict_free(&raw mut self.0) };
    }
}

fn check(code: c_int) -> Result<c_int, AvError> {
    if code < 0 { Err(AvError(code)) } else { Ok(code) }
}

/// Text for C, without the NUL bytes that C cannot carry.
fn cstring(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

/// Text from C, repaired where it is not UTF-8; `None` for NULL.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that lives during the call.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: as promised by the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Every pair of a dictionary, in its order.
///
/// # Safety
/// `dictionary` is NULL or a dictionary that lives during the call.
unsafe fn pairs(dictionary: *const ffi::AVDictionary) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut entry = ptr::null();
    loop {
        // SAFETY: an empty key with IGNORE_SUFFIX walks all entries; keys and values are strings.
        unsafe {
            entry = ffi::av_dict_get(dictionary, c"".as_ptr(), entry, ffi::AV_DICT_IGNORE_SUFFIX as c_int).cast_const();
            if entry.is_null() {
                return pairs;
            }
            if let (Some(key), Some(value)) = (text((*entry).key), text((*entry).value)) {
                pairs.push((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_change_their_unit_without_drift() {
        let (ntsc, mpeg) = (TimeBase::new(1001, 30000), TimeBase::new(1, 90000));
        assert_eq!(ntsc.rescale(1, mpeg), 3003);
        assert_eq!(mpeg.rescale(-3003, ntsc), -1);
        assert_eq!(TimeBase::new(1, 1000).rescale(-1, TimeBase::new(1, 100)), 0);
        assert_eq!(TimeBase::new(1, 1000).rescale(-5, TimeBase::new(1, 100)), -1);
        assert_eq!(TimeBase::new(i32::MAX, 1).rescale(i64::MAX, mpeg), i64::MAX);
        assert_eq!(TimeBase::new(0, 0), TimeBase::MICROS);
    }
}
