//! Parts in order become one stream.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::VideoEncode;

use super::part::{Coded, Header};
use crate::libav::fault::failed;
use crate::libav::hdr::HdrMetadata;
use crate::libav::rungs::Place;
use crate::libav::stage::Delivery;
use crate::libav::sys::{Encoder, Packet, TimeBase};

/// Opens the stream of the output for packets that are encoded elsewhere: what an encoder would be
/// given to deliver to is kept.
pub(in crate::libav) struct Relay<'a> {
    place: &'a dyn Place,
    opened: RefCell<Option<Opened>>,
}

struct Opened {
    delivery: Delivery,
    base: TimeBase,
    encoder: String,
    header: Vec<u8>,
}

impl<'a> Relay<'a> {
    pub(in crate::libav) fn new(place: &'a dyn Place) -> Self {
        Self { place, opened: RefCell::new(None) }
    }

    /// What writes to the stream that was opened.
    pub(super) fn stitcher(&self) -> Result<Stitcher> {
        let opened = self.opened.take().ok_or_else(|| Error::new(Code::Internal, "no stream for the chunks"))?;
        Ok(Stitcher { opened, delay: 0, waiting: BinaryHeap::new(), begin: None, next: 0 })
    }
}

impl Place for Relay<'_> {
    fn wants_global_header(&self) -> bool {
        self.place.wants_global_header()
    }

    fn open(
        &self,
        rendition: usize,
        encoder: &Encoder,
        plan: &VideoEncode,
        base: TimeBase,
        rate: (i32, i32),
        hdr: &HdrMetadata,
    ) -> Result<Delivery> {
        let delivery = self.place.open(rendition, encoder, plan, base, rate, hdr)?;
        let (encoder, header) = (encoder.name(), encoder.header().to_vec());
        *self.opened.borrow_mut() = Some(Opened { delivery, base, encoder, header });
        Ok(Box::new(|_, _| Err(Error::new(Code::Internal, "the pictures are encoded in chunks"))))
    }
}

/// Writes the packets of chunk after chunk with decoding times that go on without a seam.
///
/// An encoder lets decoding run ahead of presentation by some pictures, and begins every chunk anew
/// with that. Over the whole stream the decoding time of packet *n* is the presentation of picture
/// *n - delay*, whatever chunk either of them is in.
pub(super) struct Stitcher {
    opened: Opened,
    /// Pictures by which decoding runs ahead.
    delay: usize,
    /// Presentations of packets of which no packet has taken its decoding time yet.
    waiting: BinaryHeap<Reverse<i64>>,
    begin: Option<i64>,
    /// The chunk that comes next.
    next: u32,
}

impl Stitcher {
    /// Begins a part.
    ///
    /// # Errors
    /// `invalid_field` for a part that does not belong here, `engine_unavailable` for one that was
    /// made by another encoder.
    pub(super) fn begin(&mut self, part: &Header) -> Result<()> {
        if part.index != self.next {
            let what = format!("chunk {} came where {} was expected", part.index, self.next);
            return Err(Error::new(Code::InvalidField, what).field("parts").hint("give the parts in their order"));
        }
        let opened = &self.opened;
        let base = TimeBase::new(part.base.0, part.base.1);
        if (part.encoder.as_str(), part.codec_header.as_slice(), base)
            != (opened.encoder.as_str(), opened.header.as_slice(), opened.base)
        {
            let what = format!("chunk {} was made by another {}", part.index, part.encoder);
            let hint = "encode all chunks with the same version and settings of the encoder";
            return Err(Error::new(Code::EngineUnavailable, what).field("parts").hint(hint));
        }
        self.next += 1;
        Ok(())
    }

    /// Unit of the times of all parts.
    pub(super) fn base(&self) -> TimeBase {
        self.opened.base
    }

    /// When a packet will be decoded, in seconds.
    pub(super) fn seconds(&self, coded: &Coded) -> f64 {
        self.opened.base.seconds(coded.dts)
    }

    pub(super) fn write(&mut self, coded: &Coded) -> Result<()> {
        let begin = *self.begin.get_or_insert(coded.pts);
        self.waiting.push(Reverse(coded.pts));
        let is_first = self.next == 1;
        let dts = if is_first && coded.dts < begin && self.waiting.len() == self.delay + 1 {
            self.delay += 1;
            coded.dts
        } else {
            self.waiting.pop().map_or(coded.dts, |Reverse(pts)| pts)
        };
        let mut packet = Packet::with_data(&coded.data, coded.is_key)
            .map_err(|error| failed(Code::MemoryExceeded, "no memory for a coded picture", error))?;
        packet.set_times(Some(coded.pts), Some(dts), coded.duration);
        (self.opened.delivery)(&mut packet, self.opened.base)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn stitcher(written: &Arc<Mutex<Vec<(i64, i64)>>>) -> Stitcher {
        let written = Arc::clone(written);
        let delivery: Delivery = Box::new(move |packet, _| {
            written.lock().unwrap().push((packet.dts().unwrap(), packet.pts().unwrap()));
            Ok(())
        });
        let base = TimeBase::new(1, 25);
        let opened = Opened { delivery, base, encoder: "libx264".to_owned(), header: vec![1] };
        Stitcher { opened, delay: 0, waiting: BinaryHeap::new(), begin: None, next: 0 }
    }

    fn header(index: u32) -> Header {
        let (encoder, codec_header) = ("libx264".to_owned(), vec![1]);
        Header { index, encoder, codec_header, base: (1, 25), fullness: None }
    }

    #[test]
    fn decoding_times_go_on_across_chunks() {
        let written = Arc::default();
        let mut stitcher = stitcher(&written);
        for index in 0..3 {
            stitcher.begin(&header(index)).unwrap();
            // I B B P in decoding order, two pictures ahead.
            let first = i64::from(index) * 40;
            for (place, pts) in [0, 30, 10, 20].into_iter().enumerate() {
                let dts = first + (place as i64 - 2) * 10;
                let coded = Coded { pts: first + pts, dts, duration: 10, is_key: pts == 0, data: vec![0] };
                stitcher.write(&coded).unwrap();
            }
        }
        let written = written.lock().unwrap();
        let decoding: Vec<i64> = written.iter().map(|(dts, _)| *dts).collect();
        assert_eq!(decoding, (-2..10).map(|place| place * 10).collect::<Vec<_>>());
        assert!(written.iter().all(|(dts, pts)| dts <= pts));
    }

    #[test]
    fn strange_parts_are_refused() {
        let mut stitcher = stitcher(&Arc::default());
        stitcher.begin(&header(0)).unwrap();
        assert_eq!(stitcher.begin(&header(2)).unwrap_err().code(), Code::InvalidField);
        let other = Header { codec_header: vec![2], ..header(1) };
        assert_eq!(stitcher.begin(&other).unwrap_err().code(), Code::EngineUnavailable);
        stitcher.begin(&header(1)).unwrap();
    }
}
