//! Which colours the output has, and how pixels get there.
//!
//! Pictures of light and colour keep their tags and their values: range, primaries, transfer and
//! matrix pass through at every size and depth. Red, green and blue become BT.709, or BT.2020
//! where their primaries are; a tag always says so. VP8 knows the limited range only. Tone mapping
//! ends in BT.709.

use std::fmt::Write as _;

use ffrtmp_core::encoding::ToneMap;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::VideoCodec;

use super::super::hdr::HdrMetadata;
use super::super::sys::{Color, has_filter, is_rgb};

/// Light of a white page, in candela per square metre: 1.0 between the tone mapping filters.
const REFERENCE_WHITE: i32 = 100;

/// The colours of the pixels that go into the filters, before `target` is known.
pub(super) fn of_source(tags: Color, pixel_format: &str) -> Color {
    if is_rgb(pixel_format) {
        Color { range: Color::RANGE_FULL, matrix: 0, ..tags }
    } else if pixel_format.starts_with("yuvj") {
        Color { range: Color::RANGE_FULL, ..tags }
    } else {
        tags
    }
}

/// The colours of the output.
pub(super) fn of_output(source: Color, pixel_format: &str, codec: VideoCodec, tone: Option<Tone>) -> Color {
    if tone.is_some() {
        let (range, all) = (Color::RANGE_LIMITED, Color::BT709);
        return Color { range, primaries: all, transfer: all, matrix: all };
    }
    let mut color = source;
    if is_rgb(pixel_format) {
        color.range = Color::RANGE_LIMITED;
        color.matrix = if source.primaries == Color::BT2020 { Color::BT2020 } else { Color::BT709 };
    }
    if codec == VideoCodec::Vp8 && color.is_full() {
        color.range = Color::RANGE_LIMITED;
    }
    color
}

/// Options of `scale` for the pixels of a source in an output; empty where nothing changes.
pub(super) fn conversion(source: Color, pixel_format: &str, output: Color) -> String {
    let mut options = String::new();
    if is_rgb(pixel_format) {
        let matrix = matrix_name(output.matrix).unwrap_or("bt709");
        let _ = write!(options, ":out_color_matrix={matrix}:out_range=tv");
        return options;
    }
    let range = |color: Color| if color.is_full() { "pc" } else { "tv" };
    if source.range != 0 || output.is_full() {
        let _ = write!(options, ":in_range={}:out_range={}", range(source), range(output));
    }
    // The same picture in other numbers, where a stream changes its mind.
    if source.matrix != output.matrix
        && let (Some(from), Some(to)) = (matrix_name(source.matrix), matrix_name(output.matrix))
    {
        let _ = write!(options, ":in_color_matrix={from}:out_color_matrix={to}");
    }
    options
}

/// The words of `scale` for the matrices that it computes with.
fn matrix_name(matrix: i32) -> Option<&'static str> {
    Some(match matrix {
        1 => "bt709",
        4 => "fcc",
        5 | 6 => "smpte170m",
        7 => "smpte240m",
        9 => "bt2020",
        _ => return None,
    })
}

/// High dynamic range that becomes standard range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tone {
    curve: &'static str,
    source: Color,
    /// The brightest light in multiples of the reference white, if the source says.
    peak: Option<f64>,
}

impl Tone {
    /// What a wish means for a source; `None` where the source has standard range already.
    ///
    /// # Errors
    /// `codec_unavailable` where the libraries lack a filter.
    pub(super) fn for_source(wish: ToneMap, source: Color, hdr: &HdrMetadata) -> Result<Option<Self>> {
        let curve = match wish {
            ToneMap::Off => return Ok(None),
            ToneMap::Hable => "hable",
            ToneMap::Mobius => "mobius",
            ToneMap::Reinhard => "reinhard",
        };
        if !source.is_high_range() {
            return Ok(None);
        }
        if let Some(missing) = ["zscale", "tonemap"].into_iter().find(|filter| !has_filter(filter)) {
            let what = format!("the FFmpeg libraries here have no filter {missing}, which tone mapping needs");
            return Err(Error::new(Code::CodecUnavailable, what).field("parameters.tone_map").hint(
                "install FFmpeg libraries that were built with libzimg (on Debian the package libavfilter-extra or \
                 libavfilter8), or leave tone_map out",
            ));
        }
        let light = hdr.light.map(|light| f64::from(light.max_cll)).filter(|light| *light > 0.0);
        let screen = hdr.mastering.map(|screen| screen.max_luminance.steps(100) as f64 / 100.0);
        let peak = light.or(screen).map(|light| light / f64::from(REFERENCE_WHITE));
        Ok(Some(Self { curve, source, peak }))
    }

    /// The filters: to linear light, to the primaries of BT.709, along the curve, and back.
    pub(super) fn filters(&self) -> String {
        let Self { curve, source, peak } = self;
        let known = |value: i32, otherwise: i32| if value == Color::UNSPECIFIED { otherwise } else { value };
        let (primaries, matrix) = (known(source.primaries, Color::BT2020), known(source.matrix, Color::BT2020));
        let range = if source.is_full() { Color::RANGE_FULL } else { Color::RANGE_LIMITED };
        let peak = peak.map(|peak| format!(":peak={peak}")).unwrap_or_default();
        format!(
            "setparams=range={range}:color_primaries={primaries}:color_trc={}:colorspace={matrix},\
             zscale=transfer=linear:npl={REFERENCE_WHITE},format=gbrpf32le,zscale=primaries=bt709,\
             tonemap=tonemap={curve}:desat=0{peak},zscale=transfer=bt709:matrix=bt709:range=tv,\
             sidedata=mode=delete:type=MASTERING_DISPLAY_METADATA,sidedata=mode=delete:type=CONTENT_LIGHT_LEVEL",
            source.transfer
        )
    }
}
