//! Coded pictures that were stored between encoder and muxer.

use ffmpeg_sys_next as ffi;

use super::{AvError, Encoder, Packet, StreamView, check, text};

impl Packet {
    /// A packet with this data and no times.
    pub(crate) fn with_data(data: &[u8], is_key: bool) -> Result<Self, AvError> {
        let packet = Self::new();
        let size = i32::try_from(data.len()).map_err(|_| AvError::INVALID)?;
        // SAFETY: the packet is fresh and gets a buffer of the size that is then filled.
        unsafe {
            check(ffi::av_new_packet(packet.as_ptr(), size))?;
            std::ptr::copy_nonoverlapping(data.as_ptr(), (*packet.as_ptr()).data, data.len());
            if is_key {
                (*packet.as_ptr()).flags |= ffi::AV_PKT_FLAG_KEY;
            }
        }
        Ok(packet)
    }
}

impl Encoder {
    pub(crate) fn name(&self) -> String {
        // SAFETY: an open context has a codec with a static name.
        unsafe { text((*(*self.as_ptr()).codec).name) }.unwrap_or_default()
    }

    /// The codec's header, which goes into the container.
    pub(crate) fn header(&self) -> &[u8] {
        // SAFETY: the context is open and keeps its header as long as it lives.
        unsafe {
            let context = &*self.as_ptr();
            match usize::try_from(context.extradata_size) {
                Ok(size) if !context.extradata.is_null() => std::slice::from_raw_parts(context.extradata, size),
                _ => &[],
            }
        }
    }
}

impl StreamView<'_> {
    /// The codec's header as the container has it.
    pub(crate) fn header(&self) -> &[u8] {
        let parameters = self.parameters();
        match usize::try_from(parameters.extradata_size) {
            // SAFETY: the parameters keep their header as long as they live.
            Ok(size) if !parameters.extradata.is_null() => unsafe {
                std::slice::from_raw_parts(parameters.extradata, size)
            },
            _ => &[],
        }
    }
}
