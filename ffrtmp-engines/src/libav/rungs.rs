//! The renditions of one picture: filter once per rendition, encode each on its own thread.
//!
//! The first rung is made from the source, every further one from the rung above, which has fewer
//! pixels to read. Frames that live on a device cannot be handed down; there every rung is made
//! from the source.

use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::VideoEncode;

use super::encoders;
use super::chunks;
use super::fault::failed;
use super::hdr::HdrMetadata;
use super::limit::Limit;
use super::notes::Notes;
use super::session::Tools;
use super::stage::{Delivery, Setup, Stage};
use super::sys::{Encoder, Frame, Graph, Pulled, TimeBase, VideoFormat};
use super::video::Target;

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
    ) -> Result<Delivery>;
}

/// All renditions of a picture.
pub(super) struct Rungs(Vec<Rung>);

struct Rung {
    graph: Graph,
    stage: Stage,
    frame: Frame,
    /// Whether it is made from the source.
    is_direct: bool,
}

/// How the graphs are made.
pub(super) trait Filters {
    /// The graph of the first rung, or of any other that is made from the source.
    fn head(&self, target: &Target) -> Result<Graph>;
}

impl Rungs {
    /// Opens filters and encoders, the largest rendition first; for each the first encoder that
    /// opens. Returns their names.
    pub(super) fn open(
        targets: &mut [Target],
        filters: &dyn Filters,
        rate: (i32, i32),
        tools: &Tools<'_>,
        place: &dyn Place,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, Vec<String>)> {
        let (mut rungs, mut names): (Vec<Rung>, Vec<String>) = (Vec::new(), Vec::new());
        for index in 0..targets.len() {
            let (above, rest) = targets.split_at_mut(index);
            let above = above.last().zip(rungs.last().map(|rung| rung.graph.time_base()));
            let (rung, name) = Opening { index, rate, tools, place, filters, above }.open(&mut rest[0], notes)?;
            rungs.push(rung);
            names.push(name);
        }
        Ok((Self(rungs), names))
    }

    /// Whether every rendition has reached the wanted length.
    pub(super) fn is_done(&self) -> bool {
        self.0.iter().all(|rung| rung.stage.is_done())
    }

    /// Time of the last frame that was handed to an encoder, in seconds.
    pub(super) fn reached(&self) -> f64 {
        self.0.first().map_or(0.0, |rung| rung.stage.reached())
    }

    /// Puts a decoded frame through; it is empty afterwards.
    pub(super) fn push(&mut self, frame: &mut Frame, limit: &Limit) -> Result<()> {
        let refused = |error| failed(Code::EncodeFailed, "a picture was refused", error);
        for index in 1..self.0.len() {
            if self.0[index].is_direct {
                self.0[index].graph.push(&mut frame.reference()?).map_err(refused)?;
                self.drain(index, limit)?;
            }
        }
        self.0[0].graph.push(frame).map_err(refused)?;
        self.drain(0, limit)
    }

    /// Ends the graphs that read the source at this time; what is left inside goes to the encoders.
    pub(super) fn close_heads(&mut self, end: i64, limit: &Limit) -> Result<()> {
        for index in (0..self.0.len()).rev() {
            if index == 0 || self.0[index].is_direct {
                self.close(index, end, limit)?;
            }
        }
        Ok(())
    }

    /// Replaces the graphs that read the source.
    pub(super) fn replace_heads(&mut self, build: impl Fn(usize) -> Result<Graph>) -> Result<()> {
        for index in 0..self.0.len() {
            if index == 0 || self.0[index].is_direct {
                self.0[index].graph = build(index)?;
            }
        }
        Ok(())
    }

    /// Ends everything. The last frame is shown until `last`, if that is known.
    pub(super) fn finish(&mut self, last: Option<(i64, TimeBase)>, limit: &Limit) -> Result<Vec<Encoder>> {
        for index in 1..self.0.len() {
            if !self.0[index].is_direct {
                let above = &self.0[index - 1];
                let base = above.graph.time_base();
                let end = last.map_or_else(|| base.ticks(above.stage.reached()), |(end, own)| own.rescale(end, base));
                self.close(index, end, limit)?;
            }
        }
        for rung in &mut self.0 {
            rung.stage.end(last)?;
        }
        self.0.iter_mut().map(|rung| rung.stage.wait()).collect()
    }

    /// Makes one more frame with a graph that has no source; false at the end.
    pub(super) fn advance(&mut self, limit: &Limit) -> Result<bool> {
        match self.pull(0)? {
            Pulled::Frame => self.pass(0, limit).map(|()| !self.is_done()),
            Pulled::Hungry | Pulled::End => Ok(false),
        }
    }

    fn close(&mut self, index: usize, end: i64, limit: &Limit) -> Result<()> {
        let closed = self.0[index].graph.close(end);
        closed.map_err(|error| failed(Code::EncodeFailed, "the filters did not end", error))?;
        self.drain(index, limit)
    }

    fn drain(&mut self, index: usize, limit: &Limit) -> Result<()> {
        loop {
            limit.control.checkpoint()?;
            match self.pull(index)? {
                Pulled::Frame => self.pass(index, limit)?,
                Pulled::Hungry | Pulled::End => return Ok(()),
            }
        }
    }

    fn pull(&mut self, index: usize) -> Result<Pulled> {
        let Rung { graph, frame, .. } = &mut self.0[index];
        graph.pull(frame).map_err(|error| failed(Code::EncodeFailed, "a filter failed", error))
    }

    /// Hands the frame of a rung to its encoder and to the rung below.
    fn pass(&mut self, index: usize, limit: &Limit) -> Result<()> {
        if self.0.get(index + 1).is_some_and(|below| !below.is_direct) {
            let mut copy = self.0[index].frame.reference()?;
            let pushed = self.0[index + 1].graph.push(&mut copy);
            pushed.map_err(|error| failed(Code::EncodeFailed, "a picture was refused", error))?;
            self.drain(index + 1, limit)?;
        }
        let Rung { graph, stage, frame, .. } = &mut self.0[index];
        stage.push(frame, graph.time_base(), false)
    }
}

/// What one rung is opened with.
struct Opening<'a> {
    index: usize,
    rate: (i32, i32),
    tools: &'a Tools<'a>,
    place: &'a dyn Place,
    filters: &'a dyn Filters,
    /// The rung above, and the unit of its times.
    above: Option<(&'a Target, TimeBase)>,
}

impl Opening<'_> {
    /// Tries the encoders in their order; what fails is noted and the next one takes over.
    fn open(&self, target: &mut Target, notes: &mut Notes<'_>) -> Result<(Rung, String)> {
        let codec = target.plan.codec;
        let mut last = Error::new(Code::CodecUnavailable, format!("no encoder for {codec} works here")).field("codec");
        for name in self.tools.encoders.for_codec(codec) {
            let mut settings = encoders::settings(name, &target.plan, self.rate, target.threads, encoders::Pass::Single, &HdrMetadata::default())?;
            settings.extend(self.tools.fullness.and_then(|share| chunks::fullness(&target.plan, share)));
            match target.aim(name).and_then(|()| self.open_one(target, name, &settings)) {
                Ok(rung) => return Ok((rung, name.clone())),
                Err(error) => {
                    notes.warn(format!("the encoder {name} did not open, trying the next one: {error}"));
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn open_one(&self, target: &Target, name: &str, settings: &[(String, String)]) -> Result<Rung> {
        let above = self.above.filter(|(above, _)| !above.is_on_device() && !target.is_on_device());
        let graph = match above {
            Some((above, base)) => target.below(above, base)?,
            None => self.filters.head(target)?,
        };
        let plan = &target.plan;
        let (num, den) = self.rate;
        let format = VideoFormat {
            width: plan.size.width as i32,
            height: plan.size.height as i32,
            pixel_format: target.encoder_pixels().to_owned(),
            sample_aspect_ratio: (plan.sample_aspect_ratio.num, plan.sample_aspect_ratio.den),
            time_base: TimeBase::new(den, num),
            frame_rate: self.rate,
            color: target.color,
        };
        let encoder = Encoder::video(name, &format, settings, self.place.wants_global_header(), &graph)
            .map_err(|error| failed(Code::EncodeFailed, format!("{name} refused the settings"), error))?;
        let base = fine(graph.time_base());
        let setup = Setup {
            base,
            nominal: TimeBase::new(den, num).rescale(1, base).max(1),
            gop: plan.gop,
            leads: self.index == 0,
            limit: self.tools.limit.clone(),
            reaper: Arc::clone(&self.tools.reaper),
            delivery: self.place.open(self.index, &encoder, plan, base, self.rate)?,
        };
        let stage = Stage::start(encoder, setup)?;
        Ok(Rung { graph, stage, frame: Frame::new(), is_direct: above.is_none() })
    }
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
