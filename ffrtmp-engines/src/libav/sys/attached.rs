//! Pictures and files that a container carries beside its streams.

use std::ptr;
use std::slice;

use ffmpeg_sys_next as ffi;
use libc::c_int;

use super::input::StreamView;
use super::{AvError, Options, Output, Packet, check};

impl<'a> StreamView<'a> {
    /// The picture that the demuxer keeps for an attached picture; it comes with the header, whatever
    /// packets are read.
    pub(crate) fn attached_picture(&self) -> Option<&'a [u8]> {
        let packet = &self.raw().attached_pic;
        // SAFETY: the demuxer keeps the picture as long as the stream.
        unsafe { bytes(packet.data, packet.size) }
    }

    /// Whether its pictures belong to the times of chapters, one each.
    pub(crate) fn is_timed_thumbnails(&self) -> bool {
        self.raw().disposition & ffi::AV_DISPOSITION_TIMED_THUMBNAILS != 0
    }

    /// The contents of an attached file.
    pub(crate) fn attached_file(&self) -> Option<&'a [u8]> {
        let parameters = self.parameters();
        // SAFETY: the data has that size and lives as long as the stream.
        unsafe { bytes(parameters.extradata, parameters.extradata_size) }
    }
}

/// What a pointer of libav leads to; `None` if it is nothing.
///
/// # Safety
/// Where it leads to anything, that has `size` bytes and stays as it is for the lifetime.
unsafe fn bytes<'a>(data: *const u8, size: c_int) -> Option<&'a [u8]> {
    let size = usize::try_from(size).ok().filter(|size| *size > 0 && !data.is_null())?;
    // SAFETY: as promised by the caller.
    Some(unsafe { slice::from_raw_parts(data, size) })
}

impl Output {
    /// Adds a stream for one attached picture. Nothing but that may be its disposition: the MP4
    /// muxer would make a video track of it.
    pub(crate) fn add_picture(&mut self, source: StreamView<'_>, tags: &[(String, String)]) -> Result<usize, AvError> {
        let stream = self.add()?;
        // SAFETY: the stream is fresh and frees its dictionary; the parameters are valid.
        unsafe {
            check(ffi::avcodec_parameters_copy((*stream).codecpar, source.parameters()))?;
            (*(*stream).codecpar).codec_tag = 0;
            (*(*stream).codecpar).codec_type = ffi::AVMediaType::AVMEDIA_TYPE_VIDEO;
            (*stream).time_base = source.time_base().into();
            (*stream).disposition = ffi::AV_DISPOSITION_ATTACHED_PIC;
            (*stream).metadata = dictionary(tags);
        }
        Ok(self.last_index())
    }

    /// Adds a file with the codec of a stream, which Matroska keeps in its header.
    pub(crate) fn add_file(
        &mut self,
        source: StreamView<'_>,
        contents: &[u8],
        tags: &[(String, String)],
    ) -> Result<usize, AvError> {
        let stream = self.add()?;
        let size = c_int::try_from(contents.len()).map_err(|_| AvError::INVALID)?;
        // SAFETY: the stream is fresh and frees dictionary and data; the buffer has room for the
        // contents and the padding that libav asks for, which is zero.
        unsafe {
            let parameters = (*stream).codecpar;
            let data = ffi::av_mallocz(contents.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
            if data.is_null() {
                return Err(AvError::MEMORY);
            }
            ptr::copy_nonoverlapping(contents.as_ptr(), data, contents.len());
            (*parameters).extradata = data;
            (*parameters).extradata_size = size;
            (*parameters).codec_type = ffi::AVMediaType::AVMEDIA_TYPE_ATTACHMENT;
            (*parameters).codec_id = source.parameters().codec_id;
            (*stream).metadata = dictionary(tags);
        }
        Ok(self.last_index())
    }
}

fn dictionary(tags: &[(String, String)]) -> *mut ffi::AVDictionary {
    Options::new(tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))).into_raw()
}

impl Packet {
    /// The packet of a stream that has no other.
    pub(crate) fn only(data: &[u8]) -> Result<Self, AvError> {
        let mut packet = Self::key(data)?;
        packet.set_times(Some(0), Some(0), 0);
        Ok(packet)
    }
}
