//! The renditions of one picture: filter once per rendition, encode each on its own thread.
//!
//! The first rung is made from the source, every further one from the rung above, which has fewer
//! pixels to read. Which filters do that is `picture.rs`.

use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::{Gop, PicturePlan, VideoEncode};

use super::chunks;
use super::encoders::{self, Family, KeyFrames, Pass};
use super::fault::failed;
use super::hdr::HdrMetadata;
use super::limit::Limit;
use super::notes::Notes;
use super::picture::{Cuts, Filters, Pixels};
use super::session::Tools;
use super::stage::{Delivery, Setup, Stage};
use super::stills::Taps;
use super::sys::{Encoder, Frame, Graph, HardwareDevice, Pulled, TimeBase, VideoFormat};

/// Where the packets of the encoders go.
pub(super) trait Place {
    /// Whether codec headers belong into the container instead of the stream.
    fn wants_global_header(&self) -> bool;

    /// Takes the stream of a rendition; its packets then go to what is returned.
    fn open(
        &self,
        rendition: usize,
        encoder: &Encoder,
        plan: &VideoEncode,
        base: TimeBase,
        rate: (i32, i32),
        hdr: &HdrMetadata,
    ) -> Result<Delivery>;
}

/// All renditions of a picture.
pub(super) struct Rungs {
    filters: Filters,
    /// The largest first.
    rungs: Vec<Rung>,
    /// Finds scene cuts, where a rendition wants to know them.
    cuts: Option<Cuts>,
    stills: Taps,
}

struct Rung {
    pixels: Pixels,
    /// From the source, or from the rung above, to pictures in memory.
    graph: Graph,
    /// Unit of the times of its pictures, whatever graph they come from.
    base: TimeBase,
    /// From memory to the device of its encoder.
    upload: Option<Graph>,
    stage: Stage,
    frame: Frame,
}

impl Rungs {
    /// Opens filters and encoders, the largest rendition first; for each the first encoder that
    /// opens. Returns their names.
    pub(super) fn open(
        filters: Filters,
        plan: &PicturePlan,
        tools: &Tools<'_>,
        place: &dyn Place,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, Vec<String>)> {
        let (mut rungs, mut names): (Vec<Rung>, Vec<String>) = (Vec::new(), Vec::new());
        for (index, plan) in plan.renditions.iter().enumerate() {
            let opening = Opening { index, plan, tools, place, filters: &filters, above: rungs.last() };
            let (rung, name) = opening.open(notes)?;
            for loss in filters.losses(&rung.pixels, &name) {
                notes.warn_once(loss);
            }
            rungs.push(rung);
            names.push(name);
        }
        let wants_cuts = plan.renditions.iter().any(|plan| matches!(plan.gop, Gop::FixedAndCuts(_)));
        let (cuts, stills) = (wants_cuts.then(Cuts::default), tools.stills.clone());
        Ok((Self { filters, rungs, cuts, stills }, names))
    }

    pub(super) fn filters(&self) -> &Filters {
        &self.filters
    }

    /// Whether every rendition has reached the wanted length.
    pub(super) fn is_done(&self) -> bool {
        self.rungs.iter().all(|rung| rung.stage.is_done())
    }

    /// Time of the last frame that was handed to an encoder, in seconds.
    pub(super) fn reached(&self) -> f64 {
        self.rungs.first().map_or(0.0, |rung| rung.stage.reached())
    }

    /// Puts a decoded frame through; it is empty afterwards. `end` is when the one before it ends.
    pub(super) fn push(&mut self, frame: &mut Frame, end: i64, limit: &Limit) -> Result<()> {
        if self.filters.follow(frame) {
            self.close(0, end, limit)?;
            self.rungs[0].graph = self.filters.head(&self.rungs[0].pixels)?;
        }
        self.feed(0, frame)?;
        self.drain(0, limit)
    }

    /// Ends the graph that reads the source at this time; what is left inside goes to the encoders.
    pub(super) fn close_head(&mut self, end: i64, limit: &Limit) -> Result<()> {
        self.close(0, end, limit)
    }

    /// Ends everything. The last frame is shown until `last`, if that is known.
    pub(super) fn finish(&mut self, last: Option<(i64, TimeBase)>, limit: &Limit) -> Result<Vec<Encoder>> {
        for index in 1..self.rungs.len() {
            let above = &self.rungs[index - 1];
            let base = above.base;
            let end = last.map_or_else(|| base.ticks(above.stage.reached()), |(end, own)| own.rescale(end, base));
            self.close(index, end, limit)?;
        }
        for rung in &mut self.rungs {
            rung.stage.end(last)?;
        }
        self.rungs.iter_mut().map(|rung| rung.stage.wait()).collect()
    }

    /// Makes one more frame with a graph that has no source; false at the end.
    pub(super) fn advance(&mut self, limit: &Limit) -> Result<bool> {
        match self.pull(0)? {
            Pulled::Frame => self.pass(0, None, limit).map(|()| !self.is_done()),
            Pulled::Hungry | Pulled::End => Ok(false),
        }
    }

    fn close(&mut self, index: usize, end: i64, limit: &Limit) -> Result<()> {
        let closed = self.rungs[index].graph.close(end);
        closed.map_err(|error| failed(Code::EncodeFailed, "the filters did not end", error))?;
        self.drain(index, limit)
    }

    fn feed(&mut self, index: usize, frame: &mut Frame) -> Result<()> {
        let pushed = self.rungs[index].graph.push(frame);
        pushed.map_err(|error| failed(Code::EncodeFailed, "a picture was refused", error))
    }

    fn drain(&mut self, index: usize, limit: &Limit) -> Result<()> {
        self.drain_marked(index, None, limit)
    }

    fn drain_marked(&mut self, index: usize, cut: Option<bool>, limit: &Limit) -> Result<()> {
        loop {
            limit.control.checkpoint()?;
            match self.pull(index)? {
                Pulled::Frame => self.pass(index, cut, limit)?,
                Pulled::Hungry | Pulled::End => return Ok(()),
            }
        }
    }

    fn pull(&mut self, index: usize) -> Result<Pulled> {
        let Rung { graph, frame, base, .. } = &mut self.rungs[index];
        let pulled = graph.pull(frame).map_err(|error| failed(Code::EncodeFailed, "a filter failed", error))?;
        if let Some(pts) = frame.pts().filter(|_| pulled == Pulled::Frame && graph.time_base() != *base) {
            frame.set_pts(graph.time_base().rescale(pts, *base));
        }
        Ok(pulled)
    }

    /// Hands the frame of a rung to its encoder and to the rung below. Whether another scene begins
    /// is found on the largest picture; the others are told.
    fn pass(&mut self, index: usize, cut: Option<bool>, limit: &Limit) -> Result<()> {
        let found = |cuts: &mut Cuts| cuts.begins(&self.rungs[index].frame);
        let cut = cut.unwrap_or_else(|| self.cuts.as_mut().is_some_and(found));
        if index + 1 < self.rungs.len() {
            let mut copy = self.rungs[index].frame.reference()?;
            self.feed(index + 1, &mut copy)?;
            self.drain_marked(index + 1, Some(cut), limit)?;
        }
        let Rung { upload, stage, frame, base, .. } = &mut self.rungs[index];
        if let Some(pts) = frame.pts() {
            self.stills.see(index, frame, base.seconds(pts))?;
        }
        match upload {
            None => stage.push(frame, *base, cut),
            Some(upload) => to_device(upload, frame).and_then(|()| stage.push(frame, *base, cut)),
        }
    }
}

/// Replaces a frame in memory by its copy on a device.
fn to_device(upload: &mut Graph, frame: &mut Frame) -> Result<()> {
    let lost = |error| failed(Code::EncodeFailed, "a picture did not reach the device", error);
    upload.push(frame).map_err(lost)?;
    match upload.pull(frame).map_err(lost)? {
        Pulled::Frame => Ok(()),
        Pulled::Hungry | Pulled::End => Err(Error::new(Code::EncodeFailed, "a picture did not come to the device")),
    }
}

/// What one rung is opened with.
struct Opening<'a> {
    index: usize,
    plan: &'a VideoEncode,
    tools: &'a Tools<'a>,
    place: &'a dyn Place,
    filters: &'a Filters,
    above: Option<&'a Rung>,
}

impl Opening<'_> {
    /// Tries the encoders in their order; what fails is noted and the next one takes over.
    fn open(&self, notes: &mut Notes<'_>) -> Result<(Rung, String)> {
        let choice = self.tools.encoders.choose(self.plan, self.filters.depth())?;
        if let Some(reason) = choice.reason() {
            notes.info_once(format!("encoders passed over: {reason}"));
        }
        let mut last = Error::new(Code::CodecUnavailable, "no encoder opened").field("parameters.codec");
        for name in &choice.encoders {
            let (rate, threads, hdr) = (self.filters.rate(), self.tools.limit.bounds.threads, self.filters.hdr());
            let file = self.tools.passes.map(|passes| passes.file(self.index)).unwrap_or_default();
            let pass = self.tools.passes.map_or(Pass::Single, |passes| passes.of(self.plan, &file));
            let mut settings = encoders::settings(name, self.plan, rate, threads, pass, &hdr)?;
            settings.extend(encoders::device(name, self.tools.limit.bounds.gpu));
            settings.extend(self.tools.fullness.and_then(|share| chunks::fullness(self.plan, share)));
            let second = self.tools.passes.filter(|_| matches!(pass, Pass::Second(_)));
            let text = second.and_then(|passes| passes.text(self.index));
            match self.open_one(name, &settings, text) {
                Ok(rung) => return Ok((rung, name.clone())),
                Err(error) => {
                    notes.warn(format!("the encoder {name} did not open, trying the next one: {error}"));
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// `measured` is what the first of two passes said.
    fn open_one(&self, name: &str, settings: &[(String, String)], measured: Option<&str>) -> Result<Rung> {
        let Self { index, plan, tools, place, filters, above } = self;
        let pixels = self.pixels(name)?;
        let graph = match above {
            Some(above) => filters.below(&above.pixels, above.base, &pixels)?,
            None => filters.head(&pixels)?,
        };
        let upload = match Family::of(name) {
            Family::Vaapi => Some(filters.upload(&pixels, graph.time_base(), &vaapi()?)?),
            _ => None,
        };
        let (num, den) = filters.rate();
        let format = VideoFormat {
            width: plan.size.width as i32,
            height: plan.size.height as i32,
            pixel_format: if upload.is_some() { "vaapi" } else { pixels.format }.to_owned(),
            sample_aspect_ratio: (plan.sample_aspect_ratio.num, plan.sample_aspect_ratio.den),
            time_base: TimeBase::new(den, num),
            frame_rate: (num, den),
            color: filters.color(),
        };
        let frames_of = upload.as_ref().unwrap_or(&graph);
        let global_header = place.wants_global_header();
        let encoder = match measured {
            Some(text) => Encoder::second_pass(name, &format, settings, global_header, frames_of, text),
            None => Encoder::video(name, &format, settings, global_header, frames_of),
        };
        let encoder =
            encoder.map_err(|error| failed(Code::EncodeFailed, format!("{name} refused the settings"), error))?;
        let base = fine(graph.time_base());
        let setup = Setup {
            base,
            nominal: TimeBase::new(den, num).rescale(1, base).max(1),
            gop: ordered(encoders::key_frames(name, plan, (num, den)), plan.gop),
            leads: *index == 0,
            limit: tools.limit.clone(),
            delivery: place.open(*index, &encoder, plan, base, (num, den), &filters.hdr())?,
        };
        let stage = Stage::start(encoder, setup, Arc::clone(&tools.reaper))?;
        Ok(Rung { pixels, base: graph.time_base(), graph, upload, stage, frame: Frame::new() })
    }

    fn pixels(&self, encoder: &str) -> Result<Pixels> {
        let depth = encoders::depth(encoder, self.plan, self.filters.depth())?;
        let format = Family::of(encoder).pixel_format(depth > 8);
        Ok(Pixels { size: self.plan.size, aspect: self.plan.sample_aspect_ratio, format })
    }
}

/// The key frames that the sender orders; those that the encoder counts itself would come twice.
fn ordered(who: KeyFrames, gop: Gop) -> Gop {
    match who {
        KeyFrames::Sender => gop,
        KeyFrames::Encoder | KeyFrames::Count(_) => Gop::Free,
    }
}

fn vaapi() -> Result<HardwareDevice> {
    HardwareDevice::vaapi().map_err(|error| failed(Code::CodecUnavailable, "no VA-API device opens", error))
}

/// The same unit, divided until single ticks are shorter than a millisecond: room to keep frames
/// in order. Units beyond a microsecond gain nothing and overflow containers.
fn fine(base: TimeBase) -> TimeBase {
    let per_second = i64::from(base.den) / i64::from(base.num).max(1);
    if per_second > 1_000_000 {
        return TimeBase::MICROS;
    }
    let factor = if per_second < 1000 { 10_000 / per_second.max(1) + 1 } else { 1 };
    i32::try_from(i64::from(base.den) * factor).map_or(base, |den| TimeBase { num: base.num, den })
}
