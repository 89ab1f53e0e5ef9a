//! The chunks of a job as plain values that travel between machines.

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::{PicturePlan, Plan, VideoPlan};
use serde::{Deserialize, Serialize};

use super::Fit;
use super::cut::{self, Entry};
use super::scan::Scan;
use crate::libav::sys::TimeBase;

/// How a source is divided. The same source and plan are always divided alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkPlan {
    /// What is made of the source.
    pub plan: Plan,
    /// Stream of the source with the pictures.
    pub stream: usize,
    /// Unit of the times of the chunks, in seconds as a fraction.
    pub time_base: (i32, i32),
    /// Microseconds to add to the times of the source for the output to begin at zero.
    pub shift: i64,
    /// The chunks in the order of their presentation; at least one.
    pub chunks: Vec<Chunk>,
}

/// A run of pictures that is encoded by itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Place among the chunks.
    pub index: u32,
    /// The key frame that decoding begins at; pictures before `start` are decoded and dropped.
    pub entry: Entry,
    /// Presentation of the first picture, in ticks of the stream; `None` for the first chunk, which
    /// has everything before its end.
    pub start: Option<i64>,
    /// Presentation of the first picture that is not in it any more; `None` for the last chunk.
    pub end: Option<i64>,
    /// Pictures of the source in it.
    pub pictures: u64,
    /// How full the decoder's buffer is when it begins, as a share; `None` leaves it to the encoder.
    pub fullness: Option<f64>,
}

/// What [`LibavEngine::encode_chunk`](crate::LibavEngine::encode_chunk) made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkDone {
    /// Place of the chunk.
    pub index: u32,
    /// Coded pictures.
    pub packets: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// `blake3:` and the hexadecimal digest that also ends the file.
    pub hash: String,
    /// Encoder that ran.
    pub encoder: String,
}

impl ChunkPlan {
    /// Divides what a scan found.
    pub(super) fn new(plan: &Plan, stream: usize, shift: i64, scan: &Scan) -> Fit<Self> {
        let rendition = plan.renditions().first().ok_or("no pictures are encoded")?;
        let spans = cut::divide(&scan.pictures, scan.base, rendition.codec);
        let count = spans.len();
        let chunk = |(index, span): (usize, &cut::Span)| {
            let entry = scan.entries.get(span.key as usize).copied();
            Some(Chunk {
                index: u32::try_from(index).ok()?,
                entry: entry?,
                start: (index > 0).then(|| scan.pictures[span.first].pts),
                end: (index + 1 < count).then(|| scan.pictures[span.end].pts),
                pictures: (span.end - span.first) as u64,
                fullness: None,
            })
        };
        let chunks: Option<Vec<Chunk>> = spans.iter().enumerate().map(chunk).collect();
        let chunks = chunks.filter(|chunks| !chunks.is_empty()).ok_or("the source cannot be divided")?;
        let time_base = (scan.base.num, scan.base.den);
        Ok(Self { plan: plan.clone(), stream, time_base, shift, chunks })
    }

    /// Pictures of the source in all chunks.
    #[must_use]
    pub fn pictures(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.pictures).sum()
    }

    pub(super) fn base(&self) -> TimeBase {
        TimeBase::new(self.time_base.0, self.time_base.1)
    }

    /// Time of a boundary on the output's clock, in seconds.
    pub(super) fn seconds(&self, ticks: i64) -> f64 {
        let base = self.base();
        base.seconds(ticks.saturating_add(TimeBase::MICROS.rescale(self.shift, base)))
    }

    pub(super) fn picture(&self) -> Result<&PicturePlan> {
        match &self.plan.video {
            Some(VideoPlan::Encode(picture)) if picture.renditions.len() == 1 => Ok(picture),
            _ => Err(Error::new(Code::InvalidField, "the plan of the chunks has not one rendition").field("plan")),
        }
    }

    /// Whether codec headers belong into the container instead of the stream.
    pub(super) fn wants_global_header(&self) -> bool {
        self.plan.container != Container::MpegTs
    }
}

/// Streams of the source that a plan reads.
pub(super) fn sources(plan: &Plan, stream: usize) -> Vec<usize> {
    let audio = plan.audio.iter().filter_map(|audio| audio.stream);
    let subtitles = plan.subtitles.iter().map(|subtitle| subtitle.stream);
    std::iter::once(stream).chain(audio).chain(subtitles).collect()
}
