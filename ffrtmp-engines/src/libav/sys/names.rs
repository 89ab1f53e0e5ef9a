//! Numbers of libav and the names it has for them.

use ffmpeg_sys_next as ffi;

use super::{cstring, text};

/// Colour tags as libav numbers them, straight from the coded video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Color {
    pub(crate) range: i32,
    pub(crate) primaries: i32,
    pub(crate) transfer: i32,
    pub(crate) matrix: i32,
}

/// `AVCOL_RANGE_JPEG` and its fellows; the numbers are those of ITU-T H.273 or fixed by the ABI.
impl Color {
    pub(crate) const RANGE_LIMITED: i32 = 1;
    pub(crate) const RANGE_FULL: i32 = 2;
    pub(crate) const BT709: i32 = 1;
    pub(crate) const BT2020: i32 = 9;
    pub(crate) const UNSPECIFIED: i32 = 2;
    /// SMPTE ST 2084, the transfer of HDR10.
    pub(crate) const PQ: i32 = 16;
    /// ARIB STD-B67, hybrid log-gamma.
    pub(crate) const HLG: i32 = 18;
    /// H.273 code points end well below this; extensions of libav begin at 256 and are not tags.
    const LAST: i32 = 22;

    pub(crate) fn is_full(self) -> bool {
        self.range == Self::RANGE_FULL
    }

    /// Whether the transfer is one of high dynamic range.
    pub(crate) fn is_high_range(self) -> bool {
        matches!(self.transfer, Self::PQ | Self::HLG)
    }

    /// The same tags, with what is out of range turned into "unspecified".
    pub(crate) fn sane(self) -> Self {
        let tag = |value: i32| if (0..=Self::LAST).contains(&value) { value } else { Self::UNSPECIFIED };
        Self {
            range: if (0..=2).contains(&self.range) { self.range } else { 0 },
            primaries: tag(self.primaries),
            transfer: tag(self.transfer),
            matrix: tag(self.matrix),
        }
    }

    pub(crate) fn range_name(self) -> Option<String> {
        named(RANGES, self.range)
    }

    pub(crate) fn primaries_name(self) -> Option<String> {
        named(PRIMARIES, self.primaries)
    }

    pub(crate) fn transfer_name(self) -> Option<String> {
        named(TRANSFERS, self.transfer)
    }

    pub(crate) fn matrix_name(self) -> Option<String> {
        named(MATRICES, self.matrix)
    }
}

type Names = &'static [(i32, &'static str)];

const RANGES: Names = &[(1, "tv"), (2, "pc")];

// Code points of ITU-T H.273 with the names that libav gives them.
const PRIMARIES: Names = &[
    (1, "bt709"),
    (4, "bt470m"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (8, "film"),
    (9, "bt2020"),
    (10, "smpte428"),
    (11, "smpte431"),
    (12, "smpte432"),
    (22, "ebu3213"),
];

const TRANSFERS: Names = &[
    (1, "bt709"),
    (4, "bt470m"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (8, "linear"),
    (9, "log100"),
    (10, "log316"),
    (11, "iec61966-2-4"),
    (12, "bt1361e"),
    (13, "iec61966-2-1"),
    (14, "bt2020-10"),
    (15, "bt2020-12"),
    (16, "smpte2084"),
    (17, "smpte428"),
    (18, "arib-std-b67"),
];

const MATRICES: Names = &[
    (0, "gbr"),
    (1, "bt709"),
    (4, "fcc"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (8, "ycgco"),
    (9, "bt2020nc"),
    (10, "bt2020c"),
    (11, "smpte2085"),
    (12, "chroma-derived-nc"),
    (13, "chroma-derived-c"),
    (14, "ictcp"),
];

fn named(names: Names, value: i32) -> Option<String> {
    names.iter().find(|(number, _)| *number == value).map(|(_, name)| (*name).to_owned())
}

/// The name of a pixel format that libav numbers so.
pub(super) fn pixel_format_name(format: i32) -> Option<String> {
    let format = pixel_format(format)?;
    // SAFETY: the value is one of the enum; the name is static.
    unsafe { text(ffi::av_get_pix_fmt_name(format)) }
}

/// The name of a sample format that libav numbers so.
pub(super) fn sample_format_name(format: i32) -> Option<String> {
    const LAST: i32 = ffi::AVSampleFormat::AV_SAMPLE_FMT_NB as i32;
    if !(0..LAST).contains(&format) {
        return None;
    }
    // SAFETY: the enum has no holes between 0 and its last value; the name is static.
    unsafe { text(ffi::av_get_sample_fmt_name(std::mem::transmute::<i32, ffi::AVSampleFormat>(format))) }
}

/// Bits per component of a pixel format.
pub(crate) fn bit_depth(format: &str) -> i32 {
    descriptor(format).map_or(8, |descriptor| descriptor.comp[0].depth)
}

/// Bits of a sample of light, with empty ones at its end, of a format that keeps it in a plane of its own, in the byte order of
/// this machine.
pub(super) fn luma_depth(format: i32) -> Option<u8> {
    // SAFETY: a descriptor is static, NULL for no format.
    let descriptor = unsafe { ffi::av_pix_fmt_desc_get(pixel_format(format)?).as_ref() }?;
    let other_order = if cfg!(target_endian = "little") { ffi::AV_PIX_FMT_FLAG_BE } else { 0 };
    let unfit = ffi::AV_PIX_FMT_FLAG_HWACCEL
        | ffi::AV_PIX_FMT_FLAG_RGB
        | ffi::AV_PIX_FMT_FLAG_PAL
        | ffi::AV_PIX_FMT_FLAG_BITSTREAM
        | ffi::AV_PIX_FMT_FLAG_FLOAT
        | other_order;
    let light = &descriptor.comp[0];
    let bytes = if light.depth > 8 { 2 } else { 1 };
    let fits = descriptor.flags & u64::from(unfit as u32) == 0 && light.step == bytes && light.plane == 0;
    u8::try_from(light.depth + light.shift).ok().filter(|depth| fits && light.offset == 0 && (8..=16).contains(depth))
}

/// Whether a pixel format says how transparent each pixel is.
pub(crate) fn has_alpha(format: &str) -> bool {
    let flag = u64::from(ffi::AV_PIX_FMT_FLAG_ALPHA as u32);
    descriptor(format).is_some_and(|descriptor| descriptor.flags & flag != 0)
}

/// Whether a pixel format holds red, green and blue, or a palette of them.
pub(crate) fn is_rgb(format: &str) -> bool {
    let flags = u64::from(ffi::AV_PIX_FMT_FLAG_RGB as u32) | u64::from(ffi::AV_PIX_FMT_FLAG_PAL as u32);
    descriptor(format).is_some_and(|descriptor| descriptor.flags & flags != 0)
}

/// Whether a pixel format has less colour than light: by how many powers of two across and down;
/// `None` for one without colour.
pub(crate) fn chroma_shift(format: &str) -> Option<(u8, u8)> {
    let descriptor = descriptor(format).filter(|descriptor| descriptor.nb_components > 2 || is_rgb(format))?;
    Some((descriptor.log2_chroma_w, descriptor.log2_chroma_h))
}

fn descriptor(format: &str) -> Option<&'static ffi::AVPixFmtDescriptor> {
    let name = cstring(format);
    // SAFETY: the name is NUL-terminated; a descriptor is static, NULL for no format.
    unsafe { ffi::av_pix_fmt_desc_get(ffi::av_get_pix_fmt(name.as_ptr())).as_ref() }
}

fn pixel_format(format: i32) -> Option<ffi::AVPixelFormat> {
    const LAST: i32 = ffi::AVPixelFormat::AV_PIX_FMT_NB as i32;
    // SAFETY: the enum has no holes between 0 and its last value.
    (0..LAST).contains(&format).then(|| unsafe { std::mem::transmute::<i32, ffi::AVPixelFormat>(format) })
}

/// Whether the libraries were built with this encoder.
pub(crate) fn has_encoder(name: &str) -> bool {
    let name = cstring(name);
    // SAFETY: the name is NUL-terminated.
    !unsafe { ffi::avcodec_find_encoder_by_name(name.as_ptr()) }.is_null()
}

/// Whether the libraries were built with this filter.
pub(crate) fn has_filter(name: &str) -> bool {
    let name = cstring(name);
    // SAFETY: the name is NUL-terminated.
    !unsafe { ffi::avfilter_get_by_name(name.as_ptr()) }.is_null()
}
