//! Mastering display and light levels as libav carries them beside streams and frames.
//!
//! libav says that these structs may grow at their end; what is read and written here is the part
//! that every version has.

use std::collections::VecDeque;
use std::mem::size_of;

use ffmpeg_sys_next as ffi;

use super::super::hdr::{ContentLight, Fraction, HdrMetadata, Mastering};
use super::{AvError, Color, Decoder, Frame, Input, Output, Packet, StreamView};

/// Packets of all streams, and their bytes, that are read ahead for the first picture of one.
const MAX_PACKETS: usize = 400;
const MAX_BYTES: usize = 16 << 20;

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

impl Input {
    /// Lets the first pictures of HDR10 streams tell their screen where the container does not:
    /// encoders and headers must know it before they open. What is read for that comes again.
    pub(crate) fn find_screens(&mut self, max_pixels: u64) {
        for index in 0..self.len() {
            let is_unknown = self
                .stream(index)
                .is_some_and(|stream| stream.color().transfer == Color::PQ && stream.hdr().mastering.is_none());
            if is_unknown && let Some(hdr) = self.first_screen(index, max_pixels) {
                self.set_screen(index, &hdr);
            }
        }
    }

    /// What the first picture of a stream says; `None` where none can be made.
    fn first_screen(&mut self, index: usize, max_pixels: u64) -> Option<HdrMetadata> {
        let mut decoder = Decoder::open(self.stream(index)?, 1, max_pixels).ok()?;
        let (mut waiting, mut read) = (std::mem::take(&mut self.pending), VecDeque::new());
        let (mut frame, mut bytes, mut found) = (Frame::new(), 0, None);
        while found.is_none() && read.len() < MAX_PACKETS && bytes < MAX_BYTES {
            let packet = waiting.pop_front().or_else(|| {
                let mut packet = Packet::new();
                self.read_on(&mut packet).is_ok().then_some(packet)
            });
            let Some(packet) = packet else { break };
            bytes += packet.size();
            let sent = packet.stream() == index && decoder.send(Some(&packet)).is_ok();
            found = (sent && decoder.receive(&mut frame).is_ok()).then(|| frame.hdr());
            read.push_back(packet);
        }
        read.append(&mut waiting);
        self.pending = read;
        found
    }

    fn set_screen(&mut self, index: usize, hdr: &HdrMetadata) {
        let Some(stream) = self.get_stream(index) else { return };
        // SAFETY: the stream is ours, and nothing borrows it now. What finds no memory stays unknown.
        let _ = unsafe { add_hdr(stream, hdr) };
    }
}

impl Output {
    /// Says in the header what the screen of a stream is like. To be called before the header is
    /// written; containers that have no place for it leave it out.
    ///
    /// # Errors
    /// When there is no such stream, or no memory.
    pub(crate) fn set_hdr(&mut self, index: usize, hdr: &HdrMetadata) -> Result<(), AvError> {
        let stream = self.stream(index).ok_or(AvError::INVALID)?;
        // SAFETY: the stream is ours.
        unsafe { add_hdr(stream, hdr) }
    }
}

/// # Safety
/// The stream is valid, and nobody reads its side data meanwhile.
unsafe fn add_hdr(stream: *mut ffi::AVStream, hdr: &HdrMetadata) -> Result<(), AvError> {
    use ffi::AVPacketSideDataType::{AV_PKT_DATA_CONTENT_LIGHT_LEVEL, AV_PKT_DATA_MASTERING_DISPLAY_METADATA};
    if let Some(mastering) = &hdr.mastering {
        let bytes: Vec<u8> = mastering_words(mastering).into_iter().flat_map(i32::to_ne_bytes).collect();
        // SAFETY: as promised by the caller.
        unsafe { add_side_data(stream, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, &bytes) }?;
    }
    if let Some(light) = hdr.light {
        let words: LightWords = [light.max_cll.into(), light.max_fall.into()];
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        // SAFETY: as promised by the caller.
        unsafe { add_side_data(stream, AV_PKT_DATA_CONTENT_LIGHT_LEVEL, &bytes) }?;
    }
    Ok(())
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
/// The stream is valid, and nobody reads its side data meanwhile.
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
/// The stream is valid, and nobody reads its side data meanwhile.
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
