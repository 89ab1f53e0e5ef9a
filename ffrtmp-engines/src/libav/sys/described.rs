//! Streams that come from elsewhere, coded already, and are known by plain values alone.

use std::ffi::c_int;
use std::ptr;

use ffmpeg_sys_next as ffi;

use super::codec::set_usual_layout;
use super::{AvError, Output, TimeBase, cstring};

/// A stream that another library coded.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// The codec by libav's name.
    pub(crate) codec: &'static str,
    /// Its header as ISO containers have it; empty where it has none.
    pub(crate) header: Vec<u8>,
    pub(crate) shape: DescribedShape,
}

/// What it shows or sounds like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DescribedShape {
    Video {
        size: (u32, u32),
        frame_rate: Option<(i32, i32)>,
        /// Transfer characteristics as ITU-T H.273 numbers them; 2 if they are not known.
        transfer: i32,
    },
    Audio {
        sample_rate: u32,
        channels: u16,
    },
}

impl Output {
    /// Adds a stream whose packets are coded elsewhere.
    pub(crate) fn add_described(&mut self, described: &Described, base: TimeBase) -> Result<usize, AvError> {
        let stream = self.add()?;
        let size = |value: u32| c_int::try_from(value).map_err(|_| AvError::INVALID);
        let header_size = c_int::try_from(described.header.len()).map_err(|_| AvError::INVALID)?;
        // SAFETY: the stream is fresh and frees its header, whose buffer has room for the padding
        // that libav asks for, which is zero; the transfer is an integer in memory.
        unsafe {
            let descriptor = ffi::avcodec_descriptor_get_by_name(cstring(described.codec).as_ptr());
            let Some(descriptor) = descriptor.as_ref() else { return Err(AvError::INVALID) };
            let parameters = &mut *(*stream).codecpar;
            parameters.codec_id = descriptor.id;
            parameters.codec_type = descriptor.type_;
            if header_size > 0 {
                let room = described.header.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
                let data = ffi::av_mallocz(room).cast::<u8>();
                if data.is_null() {
                    return Err(AvError::MEMORY);
                }
                ptr::copy_nonoverlapping(described.header.as_ptr(), data, described.header.len());
                (parameters.extradata, parameters.extradata_size) = (data, header_size);
            }
            match described.shape {
                DescribedShape::Video { size: (width, height), frame_rate, transfer } => {
                    (parameters.width, parameters.height) = (size(width)?, size(height)?);
                    parameters.format = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
                    (&raw mut parameters.color_trc).cast::<i32>().write(transfer);
                    if let Some((num, den)) = frame_rate {
                        (*stream).avg_frame_rate = ffi::AVRational { num, den };
                    }
                }
                DescribedShape::Audio { sample_rate, channels } => {
                    parameters.sample_rate = size(sample_rate)?;
                    set_usual_layout(parameters, c_int::from(channels));
                }
            }
            (*stream).time_base = base.into();
        }
        self.tag_hevc(stream);
        Ok(self.last_index())
    }
}
