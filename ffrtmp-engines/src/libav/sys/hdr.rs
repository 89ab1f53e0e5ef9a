//! Mastering display and light levels as libav carries them beside streams and frames.
//!
//! libav says that these structs may grow at their end; what is read and written here is the part
//! that every version has.

use std::mem::size_of;

use ffmpeg_sys_next as ffi;

use super::super::hdr::{ContentLight, Fraction, HdrMetadata, Mastering};
use super::{AvError, Frame, Output, StreamView};

/// Steps of the fractions that are written.
const CHROMATICITY: i32 = 50_000;
const LUMINANCE: i32 = 10_000;

/// `AVMasteringDisplayMetadata`: x and y of red, green, blue and white, luminances from least to
/// most, each as two integers; then whether colours and luminances are there.
type MasteringWords = [i32; 22];
/// `AVContentLightMetadata`: MaxCLL, MaxFALL.
type LightWords = [u32; 2];

impl StreamView<'_> {
    /// What the container says about the screen of the pictures.
    pub(crate) fn hdr(&self) -> HdrMetadata {
        use ffi::AVPacketSideDataType::{AV_PKT_DATA_CONTENT_LIGHT_LEVEL, AV_PKT_DATA_MASTERING_DISPLAY_METADATA};
        let bytes = |kind| {
            self.side_data(kind).map(|(data, size)| {
                // SAFETY: side data has its size and lives as long as the stream.
                unsafe { std::slice::from_raw_parts(data, size) }
            })
        };
        HdrMetadata {
            mastering: bytes(AV_PKT_DATA_MASTERING_DISPLAY_METADATA).and_then(mastering),
            light: bytes(AV_PKT_DATA_CONTENT_LIGHT_LEVEL).and_then(light),
        }
    }
}

impl Frame {
    /// What the coded picture says about its screen.
    pub(crate) fn hdr(&self) -> HdrMetadata {
        use ffi::AVFrameSideDataType::{AV_FRAME_DATA_CONTENT_LIGHT_LEVEL, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA};
        let bytes = |kind| {
            // SAFETY: the frame is valid; NULL means that it has none, else the data has its size
            // and lives as long as the frame.
            unsafe {
                let data = ffi::av_frame_get_side_data(self.as_ptr(), kind).as_ref()?;
                #[allow(clippy::unnecessary_cast, reason = "an int before FFmpeg 5")]
                let size = data.size as usize;
                (!data.data.is_null()).then(|| std::slice::from_raw_parts(data.data.cast_const(), size))
            }
        };
        HdrMetadata {
            mastering: bytes(AV_FRAME_DATA_MASTERING_DISPLAY_METADATA).and_then(mastering),
            light: bytes(AV_FRAME_DATA_CONTENT_LIGHT_LEVEL).and_then(light),
        }
    }
}

impl Output {
    /// Says in the header what the screen of a stream is like. To be called before the header is
    /// written; containers that have no place for it leave it out.
    ///
    /// # Errors
    /// When there is no such stream, or no memory.
    pub(crate) fn set_hdr(&mut self, index: usize, hdr: &HdrMetadata) -> Result<(), AvError> {
        use ffi::AVPacketSideDataType::{AV_PKT_DATA_CONTENT_LIGHT_LEVEL, AV_PKT_DATA_MASTERING_DISPLAY_METADATA};
        let stream = self.stream(index).ok_or(AvError::INVALID)?;
        if let Some(mastering) = &hdr.mastering {
            let bytes: Vec<u8> = mastering_words(mastering).into_iter().flat_map(i32::to_ne_bytes).collect();
            // SAFETY: the stream is ours.
            unsafe { add_side_data(stream, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, &bytes) }?;
        }
        if let Some(light) = hdr.light {
            let words: LightWords = [light.max_cll.into(), light.max_fall.into()];
            let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
            // SAFETY: the stream is ours.
            unsafe { add_side_data(stream, AV_PKT_DATA_CONTENT_LIGHT_LEVEL, &bytes) }?;
        }
        Ok(())
    }
}

fn mastering(bytes: &[u8]) -> Option<Mastering> {
    let words = words::<22>(bytes)?;
    let [has_colors, has_luminance] = [words[20], words[21]];
    if has_colors == 0 || has_luminance == 0 {
        return None;
    }
    let fraction = |place: usize| Fraction::new(words[2 * place], words[2 * place + 1]);
    let point = |place: usize| Some((fraction(2 * place)?, fraction(2 * place + 1)?));
    Mastering {
        primaries: [point(0)?, point(1)?, point(2)?],
        white: point(3)?,
        min_luminance: fraction(8)?,
        max_luminance: fraction(9)?,
    }
    .sane()
}

fn mastering_words(mastering: &Mastering) -> MasteringWords {
    let mut words = [1; 22];
    let points = mastering.primaries.iter().chain([&mastering.white]);
    let coordinates = points.flat_map(|(x, y)| [*x, *y]).map(|coordinate| (coordinate, CHROMATICITY));
    let lights = [mastering.min_luminance, mastering.max_luminance].map(|light| (light, LUMINANCE));
    for (pair, (number, steps)) in words.chunks_exact_mut(2).zip(coordinates.chain(lights)) {
        pair.copy_from_slice(&[i32::try_from(number.steps(steps)).unwrap_or(i32::MAX), steps]);
    }
    words
}

fn light(bytes: &[u8]) -> Option<ContentLight> {
    let [max_cll, max_fall] = words::<2>(bytes)?.map(|word| u16::try_from(word).unwrap_or(0));
    (max_cll > 0 || max_fall > 0).then_some(ContentLight { max_cll, max_fall })
}

fn words<const COUNT: usize>(bytes: &[u8]) -> Option<[i32; COUNT]> {
    let mut words = [0; COUNT];
    let bytes = bytes.get(..COUNT * size_of::<i32>())?;
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(size_of::<i32>())) {
        *word = i32::from_ne_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}

/// # Safety
/// The stream is one of an output that has no header yet.
#[cfg(not(feature = "ffmpeg_6_1"))]
#[allow(clippy::unnecessary_cast, reason = "an int before FFmpeg 5")]
unsafe fn add_side_data(
    stream: *mut ffi::AVStream,
    kind: ffi::AVPacketSideDataType,
    bytes: &[u8],
) -> Result<(), AvError> {
    // SAFETY: the stream is valid; the new buffer has the size asked for.
    unsafe {
        let data = ffi::av_stream_new_side_data(stream, kind, bytes.len() as _);
        if data.is_null() {
            return Err(AvError::MEMORY);
        }
        data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
    Ok(())
}

/// # Safety
/// The stream is one of an output that has no header yet.
#[cfg(feature = "ffmpeg_6_1")]
unsafe fn add_side_data(
    stream: *mut ffi::AVStream,
    kind: ffi::AVPacketSideDataType,
    bytes: &[u8],
) -> Result<(), AvError> {
    // SAFETY: a stream has parameters as long as it lives; the new buffer has the size asked for.
    unsafe {
        let parameters = (*stream).codecpar;
        let entry = ffi::av_packet_side_data_new(
            &raw mut (*parameters).coded_side_data,
            &raw mut (*parameters).nb_coded_side_data,
            kind,
            bytes.len(),
            0,
        );
        if entry.is_null() {
            return Err(AvError::MEMORY);
        }
        (*entry).data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_survives_the_memory_of_libav() {
        let screen: Mastering = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50)".parse().unwrap();
        let bytes: Vec<u8> = mastering_words(&screen).into_iter().flat_map(i32::to_ne_bytes).collect();
        assert_eq!(mastering(&bytes), Some(screen));
        assert_eq!(mastering(&bytes[1..]), None);
        let light_bytes: Vec<u8> = [1000_u32, 400].into_iter().flat_map(u32::to_ne_bytes).collect();
        assert_eq!(light(&light_bytes), Some(ContentLight { max_cll: 1000, max_fall: 400 }));
        assert_eq!((light(&[0; 8]), light(&[255; 8])), (None, None));
    }
}
