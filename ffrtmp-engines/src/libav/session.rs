//! One attempt from the opened source to the verified output.

use std::path::Path;
use std::sync::Arc;

use ffrtmp_core::engine::{Control, MediaBounds, Observer, Source};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::plan::{AudioWork, Plan, VideoPlan};

use super::audio::ToneTrack;
use super::capabilities::Encoders;
use super::fault::failed;
use super::limit::Limit;
use super::meter::Meter;
use super::mux::Muxer;
use super::names;
use super::notes::Notes;
use super::outputs::{Outputs, Sink};
use super::probe;
use super::reaper::Reaper;
use super::remains::Remains;
use super::report;
use super::sys::{AvError, Input, Packet, TimeBase, Usage};
use super::timeline::Timeline;
use super::tracks::{Track, Tracks, Work};
use super::verify;
use super::video::PatternTrack;

/// What tracks are made with.
pub(super) struct Tools<'a> {
    pub(super) encoders: &'a Encoders,
    pub(super) reaper: Arc<Reaper>,
    pub(super) limit: Limit,
}

/// Where an attempt reads from.
pub(super) enum Opened {
    File(Input),
    Generated(f64),
}

impl Opened {
    pub(super) fn source(source: &Source, bounds: &MediaBounds, control: &Control) -> Result<(Self, u64)> {
        match source {
            Source::File(path) => {
                let (input, size) = probe::open(path, bounds, control)?;
                Ok((Self::File(input), size))
            }
            Source::Generated(length) => Ok((Self::Generated(length.value()), 0)),
        }
    }
}

/// What an attempt is made of.
pub(super) struct Order<'a> {
    pub(super) encoders: &'a Encoders,
    pub(super) reaper: &'a Arc<Reaper>,
    pub(super) plan: &'a Plan,
    pub(super) output: &'a Path,
    pub(super) bounds: &'a MediaBounds,
    pub(super) control: &'a Control,
    pub(super) observer: &'a dyn Observer,
    pub(super) remains: &'a Remains,
}

/// Does what the plan says and describes the result.
pub(super) fn transcode(order: &Order<'_>, source: Opened) -> Result<JobReport> {
    let before = Usage::now();
    let meter = Arc::new(Meter::new());
    let limit = Limit {
        seconds: order.plan.duration.map(|length| length.value()),
        bounds: *order.bounds,
        control: order.control.clone(),
        meter: Arc::clone(&meter),
    };
    let tools = Tools { encoders: order.encoders, reaper: Arc::clone(order.reaper), limit: limit.clone() };
    let attempt = Attempt { tools, plan: order.plan, output: order.output, limit, remains: order.remains };
    let report = meter.watch(order.observer, || attempt.run(source, Notes::new(order.observer)));
    // What fails because it was told to stop has not failed.
    let mut report = report.map_err(|error| order.control.checkpoint().err().unwrap_or(error))?;
    report::add_usage(&mut report, &meter, before);
    Ok(report)
}

struct Attempt<'a> {
    tools: Tools<'a>,
    plan: &'a Plan,
    output: &'a Path,
    limit: Limit,
    remains: &'a Remains,
}

/// What was made, before it is checked.
struct Made {
    /// Video encoders by rendition.
    encoders: Vec<String>,
    input_bytes: u64,
}

impl Attempt<'_> {
    fn run(&self, source: Opened, mut notes: Notes<'_>) -> Result<JobReport> {
        for left_out in &self.plan.left_out {
            notes.warn(format!("stream {} was left out: {}", left_out.stream, left_out.reason));
        }
        let outputs = self.outputs()?;
        let made = match source {
            Opened::File(input) => self.convert(input, &outputs, &mut notes)?,
            Opened::Generated(length) => self.generate(length, &outputs, &mut notes)?,
        };
        outputs.finish()?;
        let written = outputs.written();
        outputs.close();
        let moved: u64 = written.iter().flat_map(|sink| &sink.lanes).map(|lane| lane.moved).sum();
        if moved > 0 {
            notes.warn(format!("{moved} timestamps out of order were repaired"));
        }
        for (index, sink) in written.iter().enumerate() {
            let rendition = self.plan.renditions().get(index);
            verify::check(self.plan.container, rendition, &sink.lanes, &sink.primary, &self.limit, &mut notes)?;
        }
        report::describe(self.plan, &written, made.encoders, made.input_bytes, notes, &self.limit)
    }

    /// A file per rendition, or a package.
    fn outputs(&self) -> Result<Outputs> {
        let container = self.plan.container;
        let renditions = self.plan.renditions();
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        for (index, path) in names::renditions(self.output, renditions).into_iter().enumerate() {
            if index > 0 {
                self.remains.add(&path);
            }
            sinks.push(Box::new(Muxer::create(container, &path, &self.limit)?));
        }
        Ok(Outputs::new(sinks, (0..renditions.len()).collect()))
    }

    fn generate(&self, length: f64, outputs: &Outputs, notes: &mut Notes<'_>) -> Result<Made> {
        let length = self.limit.seconds.map_or(length, |cut| cut.min(length));
        self.limit.meter.expect(length);
        let mut encoders = Vec::new();
        let mut picture = match &self.plan.video {
            None => None,
            Some(VideoPlan::Copy(_)) => return Err(nothing_to_copy()),
            Some(VideoPlan::Encode(plan)) => {
                let (track, names) = PatternTrack::open(plan, length, &self.tools, outputs, notes)?;
                encoders = names;
                Some(track)
            }
        };
        let mut tone = match self.plan.audio.first().map(|plan| plan.work) {
            None => None,
            Some(AudioWork::Copy) => return Err(nothing_to_copy()),
            Some(AudioWork::Encode(plan)) => Some(ToneTrack::open(&plan, length, outputs, notes)?),
        };
        outputs.start()?;
        let (mut more_picture, mut more_tone) = (picture.is_some(), tone.is_some());
        while more_picture || more_tone {
            self.limit.control.checkpoint()?;
            let (seen, heard) = (picture.as_ref().map(PatternTrack::reached), tone.as_ref().map(ToneTrack::reached));
            let picture_first = more_picture && (!more_tone || seen <= heard);
            match (&mut picture, &mut tone) {
                (Some(picture), _) if picture_first => more_picture = picture.advance(&self.limit)?,
                (_, Some(tone)) => more_tone = tone.advance(outputs, &self.limit)?,
                _ => break,
            }
            notes.relay();
        }
        if let Some(picture) = &mut picture {
            picture.finish(&self.limit)?;
        }
        if let Some(tone) = &mut tone {
            tone.finish(outputs, &self.limit)?;
        }
        Ok(Made { encoders, input_bytes: 0 })
    }

    fn convert(&self, mut input: Input, outputs: &Outputs, notes: &mut Notes<'_>) -> Result<Made> {
        let mut tracks = Tracks::open(&input, self.plan, &self.tools, outputs, notes)?;
        let selected = tracks.sources();
        for index in (0..input.len()).filter(|index| !selected.contains(index)) {
            input.discard(index);
        }
        let mut timeline = Timeline::new(&input, &selected);
        let cut = self.limit.seconds.map(|seconds| TimeBase::MICROS.ticks(seconds));
        outputs.describe(&input, timeline.shift(), cut)?;
        for track in &tracks.all {
            match (input.stream(track.source), track.route()) {
                (Some(stream), Some(route)) => outputs.describe_stream(route, stream),
                (Some(stream), None) if track.is_video() => outputs.describe_renditions(stream),
                _ => {}
            }
        }
        let declared = declared_seconds(&input, &selected, timeline.shift());
        if let Some(seconds) = [declared, self.limit.seconds].into_iter().flatten().reduce(f64::min) {
            self.limit.meter.expect(seconds);
        }
        outputs.start()?;
        self.pump(&mut input, &mut tracks.all, &mut timeline, outputs, notes)?;
        for track in &mut tracks.all {
            track.finish(outputs, &self.limit)?;
        }
        notes.relay();
        self.judge(&input, &tracks.all, &timeline, declared, outputs, notes)?;
        Ok(Made { encoders: tracks.encoders, input_bytes: input.bytes_read() })
    }

    fn pump(
        &self,
        input: &mut Input,
        tracks: &mut [Track],
        timeline: &mut Timeline,
        outputs: &Outputs,
        notes: &mut Notes<'_>,
    ) -> Result<()> {
        let mut packet = Packet::new();
        while !tracks.iter().all(Track::is_done) {
            self.limit.control.checkpoint()?;
            match input.read(&mut packet) {
                Ok(()) => {}
                Err(AvError::EOF) => break,
                Err(AvError::AGAIN) => continue,
                Err(error) => return self.unreadable(input, error),
            }
            let index = packet.stream();
            let Some(base) = input.stream(index).map(|stream| stream.time_base()) else { continue };
            let Some(track) = tracks.iter_mut().find(|track| track.source == index) else { continue };
            timeline.place(&mut packet, base);
            // What lies behind the wanted length is none of our business, nor is its state.
            if track.is_done() {
                continue;
            }
            track.cut_off |= packet.is_corrupt();
            track.packets += 1;
            track.packet(&mut packet, outputs, &self.limit)?;
            notes.relay();
        }
        Ok(())
    }

    fn unreadable(&self, input: &Input, error: AvError) -> Result<()> {
        self.limit.control.checkpoint()?;
        Err(match input.fault() {
            Some(fault) => Error::new(Code::InputUnreadable, format!("reading the input failed: {fault}")),
            None => failed(Code::InputInvalid, "the input is damaged and cannot be read on", error),
        }
        .field("input"))
    }

    /// Whether what came out of the source is what it promised.
    fn judge(
        &self,
        input: &Input,
        tracks: &[Track],
        timeline: &Timeline,
        declared: Option<f64>,
        outputs: &Outputs,
        notes: &mut Notes<'_>,
    ) -> Result<()> {
        let invalid = |what: String| Err(Error::new(Code::InputInvalid, what).field("input"));
        for track in tracks {
            let (decoded, damaged) = track.decoded();
            if decoded == Some(0) && (track.is_video() || tracks.len() == 1) {
                return invalid(format!("nothing of stream {} could be decoded", track.source));
            }
            if decoded.is_some() && damaged * 2 > track.packets {
                return invalid(format!(
                    "{damaged} of {} packets of stream {} are damaged",
                    track.packets, track.source
                ));
            }
            if damaged > 0 {
                notes.warn(format!("{damaged} damaged packets of stream {} were skipped", track.source));
            }
        }
        if tracks.iter().any(|track| matches!(&track.work, Work::Video(track) if track.mastered)) {
            notes.warn("HDR10 mastering metadata is not carried over".to_owned());
        }
        if timeline.jumps() > 0 {
            notes.warn(format!("the clock of the source jumped {} times; the jumps were closed", timeline.jumps()));
            // Lengths were told on a clock that did not hold.
            return Ok(());
        }
        let end = outputs.written().iter().flat_map(|sink| &sink.lanes).map(|lane| lane.end).fold(0.0, f64::max);
        let missing = declared.map_or(0.0, |declared| declared - end);
        if self.limit.seconds.is_none() && missing > 0.5 {
            let what = format!("the input says it lasts {:.2} s but ends after {end:.2} s", declared.unwrap_or(0.0));
            // An MP4 has an index of what must be there; other headers are guesses.
            if input.format().contains("mp4") || tracks.iter().any(|track| track.cut_off) {
                return invalid(format!("the input is cut off: {what}"));
            }
            notes.warn(what);
        }
        Ok(())
    }
}

/// Length that the selected streams promise, else the container, on the output's clock.
fn declared_seconds(input: &Input, selected: &[usize], shift: i64) -> Option<f64> {
    let container = || Some(input.start().unwrap_or(0).saturating_add(input.duration()?));
    let end = selected.iter().filter_map(|index| stream_end(input, *index)).max().or_else(container)?;
    Some(TimeBase::MICROS.seconds(end.saturating_add(shift))).filter(|seconds| *seconds > 0.0)
}

fn stream_end(input: &Input, index: usize) -> Option<i64> {
    let stream = input.stream(index)?;
    let end = stream.start().unwrap_or(0).saturating_add(stream.duration()?);
    Some(stream.time_base().rescale(end, TimeBase::MICROS))
}

fn nothing_to_copy() -> Error {
    let what = "a generated input has no packets to copy";
    Error::new(Code::InvalidField, what).field("codec").hint("name a codec instead of copy")
}
