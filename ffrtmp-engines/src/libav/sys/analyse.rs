//! Finds out what the header of a container leaves open about its streams.
//!
//! libav's own analysis reads on and decodes until it has guessed frame rates and delays: several
//! times what a short job costs. An MP4 or WebM header tells both, so that the first packet of each
//! stream is enough there. Everything else goes through libav's analysis; [`Gap`] says why.

use std::mem;
use std::ptr;

use ffmpeg_sys_next as ffi;

use super::input::{Input, StreamView};
use super::preview::Preview;
use super::{AvError, Options, Packet, TimeBase, check};

/// Packets, and their bytes, among which every stream must have begun.
const MAX_PENDING: usize = 256;
const MAX_PENDING_BYTES: usize = 8 << 20;
/// Frames per second that a header may tell; beyond is the unit of a clock.
const PLAUSIBLE_RATES: std::ops::RangeInclusive<f64> = 1.0..=240.0;

/// What is found out about the streams of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// What its header says.
    Header,
    /// And everything that a decoder would say of them.
    All,
    /// The same by libav's own analysis, whether it is needed or not.
    #[cfg(test)]
    Searched,
}

/// Whether that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    All,
    /// Packets were read, but they left something open.
    TooLittle,
}

/// What only libav's analysis can find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// Headers of this format list neither all streams nor their lengths.
    Format,
    /// A chapter ends where the next begins, or where the file ends.
    Chapters,
    /// A codec that no header names, or none that may be decoded.
    Codec,
    /// Pictures without rate: only packets tell.
    Rate,
    /// Pictures whose decoding times are not stored, or whose headers say too little about how they
    /// are reordered or hidden.
    Order,
    /// A still picture, in a codec that nobody tells the size of.
    Cover,
}

impl Input {
    pub(super) fn find(&mut self, facts: Facts, max_pixels: u64) -> Result<Found, AvError> {
        match facts {
            Facts::Header => {}
            Facts::All if self.gap().is_some() => self.search(max_pixels)?,
            Facts::All => return Ok(self.preview_all(max_pixels)),
            #[cfg(test)]
            Facts::Searched => self.search(max_pixels)?,
        }
        Ok(Found::All)
    }

    fn preview_all(&mut self, max_pixels: u64) -> Found {
        let streams = 0..self.len();
        if self.read_starts().is_err() || !streams.into_iter().all(|index| self.preview(index, max_pixels).is_some()) {
            return Found::TooLittle;
        }
        self.settle_times();
        Found::All
    }

    fn gap(&self) -> Option<Gap> {
        let format = self.format();
        let is = |name| format.split(',').any(|known| known == name);
        if self.len() == 0 || self.duration().is_none() || !(is("mp4") || is("webm")) {
            return Some(Gap::Format);
        }
        if self.has_open_chapters() {
            return Some(Gap::Chapters);
        }
        self.streams().find_map(|stream| stream.gap(is("mp4")))
    }

    fn has_open_chapters(&self) -> bool {
        let context = self.get();
        (0..context.nb_chapters as usize).any(|index| {
            // SAFETY: the array has nb_chapters valid entries.
            unsafe { (**context.chapters.add(index)).end == ffi::AV_NOPTS_VALUE }
        })
    }

    /// Whether a stream has not begun where the analysis ended: one without its parameters, or one that
    /// the header does not even list.
    pub(super) fn may_hold_more(&self) -> bool {
        let is_open = self.get().ctx_flags & ffi::AVFMTCTX_NOHEADER != 0;
        let has_both = self.streams().any(|stream| stream.is_video()) && self.streams().any(|stream| stream.is_audio());
        is_open && !has_both || self.streams().any(|stream| stream.has_not_begun())
    }

    /// Reads until every stream of pictures or sound has begun; the packets stay for who reads next.
    fn read_starts(&mut self) -> Result<(), AvError> {
        let mut missing: Vec<usize> =
            self.streams().filter(StreamView::is_timed).map(|stream| stream.index()).collect();
        let mut bytes = 0;
        while !missing.is_empty() && self.pending.len() < MAX_PENDING && bytes < MAX_PENDING_BYTES {
            let mut packet = Packet::new();
            match self.read_on(&mut packet) {
                Ok(()) => {}
                Err(AvError::AGAIN) => continue,
                Err(AvError::EOF) => break,
                Err(error) => return Err(error),
            }
            bytes += packet.size();
            missing.retain(|index| *index != packet.stream());
            self.pending.push_back(packet);
        }
        Ok(())
    }

    /// Takes over what a decoder says after the first packet of a stream; `None` if that is not all.
    fn preview(&mut self, index: usize, max_pixels: u64) -> Option<()> {
        let stream = self.stream(index)?;
        if !stream.is_timed() {
            return Some(());
        }
        let packet = self.pending.iter().find(|packet| packet.stream() == index)?;
        let seen = Preview::of(stream, packet, max_pixels).ok()?;
        let target = self.get_stream(index)?;
        // SAFETY: the stream is ours, and nothing borrows it any more.
        unsafe { seen.fill(&mut *(*target).codecpar) }
    }

    /// Lets libav read and decode until it knows.
    pub(super) fn search(&mut self, max_pixels: u64) -> Result<(), AvError> {
        let max_pixels = max_pixels.to_string();
        let mut options: Vec<Options> =
            (0..self.len()).map(|_| Options::new([("max_pixels", max_pixels.as_str())])).collect();
        let mut raw: Vec<*mut ffi::AVDictionary> =
            options.iter_mut().map(|options| mem::replace(&mut options.0, ptr::null_mut())).collect();
        let pointer = if raw.is_empty() { ptr::null_mut() } else { raw.as_mut_ptr() };
        // SAFETY: one dictionary per stream that exists now, as libav asks.
        let analysed = unsafe { ffi::avformat_find_stream_info(self.context, pointer) };
        drop(raw.into_iter().map(Options).collect::<Vec<_>>());
        check(analysed).map(drop)
    }

    /// Gives the file the start and end of its streams, and streams that do not say those of the
    /// file, as libav's analysis does.
    fn settle_times(&mut self) {
        let micros = |stream: &StreamView<'_>, ticks| stream.time_base().rescale(ticks, TimeBase::MICROS);
        let earliest = |timed: bool| {
            let streams = self.streams().filter(|stream| stream.is_timed() == timed);
            streams.filter_map(|stream| Some(micros(&stream, stream.start()?))).min()
        };
        let start = match (earliest(true), earliest(false)) {
            (Some(timed), Some(text)) if timed > text && timed - text < 1_000_000 => Some(text),
            (timed, text) => timed.or(text),
        };
        let Some(start) = start else { return };
        let duration = self.duration();
        let bytes = self.total_bytes();
        // SAFETY: the context is ours; its streams are walked one at a time. What they and the file
        // say of themselves is kept.
        unsafe {
            (*self.context).start_time = start;
            for index in 0..self.len() {
                let stream = &mut **(*self.context).streams.add(index);
                let base = TimeBase::from(stream.time_base);
                if stream.start_time == ffi::AV_NOPTS_VALUE {
                    stream.start_time = TimeBase::MICROS.rescale(start, base);
                    if let Some(duration) = duration.filter(|_| stream.duration == ffi::AV_NOPTS_VALUE) {
                        stream.duration = TimeBase::MICROS.rescale(duration, base);
                    }
                }
            }
            if let Some(duration) = duration {
                (*self.context).bit_rate = (bytes as f64 * 8.0 * 1e6 / duration as f64) as i64;
            }
        }
    }
}

impl StreamView<'_> {
    /// Whether its packets come at all times, so that the first one is not far.
    fn is_timed(&self) -> bool {
        self.is_video() || self.is_audio()
    }

    /// Whether it can be decoded, but nothing of it was seen.
    pub(super) fn has_not_begun(&self) -> bool {
        let is_empty = match () {
            () if self.is_video() => self.pixels() == 0 || self.pixel_format().is_none(),
            () if self.is_audio() => self.sample_rate() == 0 || self.sample_format().is_none(),
            () => false,
        };
        is_empty && self.has_decoder()
    }

    fn gap(&self, stores_decoding_times: bool) -> Option<Gap> {
        if !self.is_timed() {
            return None;
        }
        if !self.has_decoder() {
            return Some(Gap::Codec);
        }
        if self.is_audio() {
            return None;
        }
        if self.is_cover_art() {
            return Some(Gap::Cover);
        }
        let [(num, den), _] = self.frame_rates();
        if !PLAUSIBLE_RATES.contains(&(f64::from(num) / f64::from(den))) {
            return Some(Gap::Rate);
        }
        match self.codec().as_str() {
            "mpeg1video" | "mpeg2video" => Some(Gap::Order),
            "vp9" | "av1" => None,
            _ => (!stores_decoding_times).then_some(Gap::Order),
        }
    }
}
