//! One attempt from the opened source to the verified output.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::engine::{Control, MediaBounds, Observer, Source, Unobserved};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{ChunkReport, JobReport, Stage};
use ffrtmp_core::plan::{AudioWork, Plan, VideoPlan};

use super::attached;
use super::audio::ToneTrack;
use super::capabilities::Encoders;
use super::chunks::{self, Division, Feed, Fit, Relay};
use super::fault::failed;
use super::limit::Limit;
use super::meter::Meter;
use super::mux::{Lane, Muxer};
use super::names;
use super::notes::Notes;
use super::outputs::{Audience, Outputs, Sink, Written};
use super::package::{self, Packager};
use super::passes::{Nowhere, Passes};
use super::probe;
use super::promise;
use super::reaper::Reaper;
use super::remains::Remains;
use super::report;
use super::stills::Taps;
use super::sys::{AvError, Encoder, Input, Packet, TimeBase, Usage};
use super::timeline::Timeline;
use super::tracks::{self, Track, Tracks, Work};
use super::verify;
use super::video::PatternTrack;
use crate::stages::Stages;

/// Below this length, in seconds, an output gets codecs without threads.
const BRIEF: f64 = 0.2;

/// What tracks are made with.
pub(super) struct Tools<'a> {
    pub(super) encoders: &'a Encoders,
    pub(super) reaper: Arc<Reaper>,
    pub(super) limit: Limit,
    /// How full the decoder's buffer is when encoding begins, as a share; `None` leaves it to the
    /// encoder.
    pub(super) fullness: Option<f64>,
    pub(super) stills: Taps,
    /// Measurements, where pictures are looked at twice.
    pub(super) passes: Option<&'a Passes>,
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
            Source::Live(endpoint) => Err(Source::refused_live(endpoint)),
        }
    }

    /// Length that it says it has, if it is not cut before.
    fn seconds(&self, cut: Option<f64>) -> Option<f64> {
        let own = match self {
            Self::File(input) => input.duration().map(|micros| TimeBase::MICROS.seconds(micros)),
            Self::Generated(length) => Some(*length),
        };
        [own, cut].into_iter().flatten().reduce(f64::min)
    }
}

/// What an attempt is made of.
pub(super) struct Order<'a> {
    pub(super) encoders: &'a Encoders,
    pub(super) reaper: &'a Arc<Reaper>,
    pub(super) plan: &'a Plan,
    pub(super) source: &'a Source,
    /// Parts of the pictures that were encoded before.
    pub(super) division: Option<Division>,
    pub(super) output: &'a Path,
    pub(super) bounds: &'a MediaBounds,
    pub(super) control: &'a Control,
    pub(super) observer: &'a dyn Observer,
    pub(super) remains: &'a Remains,
    pub(super) stages: &'a Stages,
}

/// Does what the plan says and describes the result.
pub(super) fn transcode(order: &Order<'_>, source: Opened) -> Result<JobReport> {
    let before = Usage::now();
    let meter = Arc::new(Meter::new());
    let seconds = order.plan.duration.map(|length| length.value());
    let limit = Limit {
        from: None,
        seconds,
        bounds: bounds(order.bounds, source.seconds(seconds)),
        control: order.control.clone(),
        meter: Arc::clone(&meter),
    };
    let report = meter.watch(order.observer, || {
        let passes = measure(order, &limit)?;
        order.attempt(&limit, passes.as_ref()).divided(order, source)
    });
    // What fails because it was told to stop has not failed.
    let mut report = report.map_err(|error| order.control.checkpoint().err().unwrap_or(error))?;
    report::add_usage(&mut report, meter.elapsed(), before);
    report.stages = order.stages.times();
    Ok(report)
}

/// Looks at everything once before encoding, where the plan wants that.
fn measure(order: &Order<'_>, limit: &Limit) -> Result<Option<Passes>> {
    if !Passes::are_wanted(order.plan) {
        return Ok(None);
    }
    limit.meter.begin_first_look();
    let mut passes = Passes::beside(order.output)?;
    let mut notes = Notes::new(&Unobserved);
    let (source, _) = Opened::source(order.source, order.bounds, order.control)?;
    let encoders = order.attempt(limit, Some(&passes)).look(source, &mut notes)?;
    passes.measured(&encoders);
    limit.meter.end_first_look();
    Ok(Some(passes))
}

impl<'a> Order<'a> {
    fn attempt(&self, limit: &Limit, passes: Option<&'a Passes>) -> Attempt<'a> {
        let tools = Tools {
            encoders: self.encoders,
            reaper: Arc::clone(self.reaper),
            limit: limit.clone(),
            fullness: None,
            stills: Taps::default(),
            passes,
        };
        let Self { plan, output, remains, stages, .. } = *self;
        Attempt { tools, plan, output, limit: limit.clone(), remains, stages }
    }
}

/// A few pictures are done before codecs have started their threads.
fn bounds(bounds: &MediaBounds, seconds: Option<f64>) -> MediaBounds {
    let is_brief = bounds.threads == 0 && seconds.is_some_and(|seconds| seconds < BRIEF);
    MediaBounds { threads: if is_brief { 1 } else { bounds.threads }, ..*bounds }
}

struct Attempt<'a> {
    tools: Tools<'a>,
    plan: &'a Plan,
    output: &'a Path,
    limit: Limit,
    remains: &'a Remains,
    stages: &'a Stages,
}

/// What was made, before it is checked.
pub(super) struct Made {
    /// Video encoders by rendition.
    pub(super) encoders: Vec<String>,
    pub(super) input_bytes: u64,
}

impl Attempt<'_> {
    /// Encodes in chunks where that is better, else in one piece; the report says why.
    fn divided(&self, order: &Order<'_>, source: Opened) -> Result<JobReport> {
        let notes = &mut Notes::new(order.observer);
        let Source::File(path) = order.source else { return in_one_piece(self.run(source, None, notes)?, None) };
        if let Some(division) = &order.division {
            return self.run(source, Some(division), notes)?.map_err(chunks::not_divided);
        }
        let seconds = source.seconds(self.limit.seconds);
        match Division::consider(self.plan, path, self.output, order.encoders, &self.limit, seconds)? {
            Err(reason) => in_one_piece(self.run(source, None, notes)?, Some(reason)),
            Ok(division) => match self.run(source, Some(&division), notes)? {
                Ok(report) => Ok(report),
                Err(reason) => {
                    let (source, _) = Opened::source(order.source, order.bounds, order.control)?;
                    notes.begin_anew();
                    in_one_piece(self.run(source, None, notes)?, Some(reason))
                }
            },
        }
    }

    fn run(&self, source: Opened, division: Option<&Division>, notes: &mut Notes<'_>) -> Result<Fit<JobReport>> {
        for left_out in &self.plan.left_out {
            notes.warn(format!("stream {} was left out: {}", left_out.stream, left_out.reason));
        }
        let outputs = self.outputs()?;
        let made = match source {
            Opened::File(input) => match self.convert(input, division, &outputs, notes)? {
                Ok(made) => made,
                Err(reason) => return Ok(Err(reason)),
            },
            Opened::Generated(length) => self.generate(length, &outputs, notes)?,
        };
        outputs.finish()?;
        let written = outputs.written();
        outputs.close();
        let stills = self.finish_stills(&written, notes)?;
        let moved: u64 = written.iter().flat_map(|sink| &sink.lanes).map(|lane| lane.moved).sum();
        if moved > 0 {
            notes.warn(format!("{moved} timestamps out of order were repaired"));
        }
        self.stages.end(Stage::Encode);
        let checks: Vec<verify::Output> = written.iter().flat_map(|sink| sink.checks.clone()).collect();
        let verified = verify::check_all(&checks, &self.limit.bounds, &self.limit.control, notes)?;
        let mut report = report::describe(self.plan, &written, &verified, &stills, made, notes, &self.limit)?;
        self.stages.end(Stage::Verify);
        report.chunking = division.map(Division::report);
        Ok(Ok(report))
    }

    /// Encodes the pictures into nothing, and gives the encoders back.
    fn look(&self, source: Opened, notes: &mut Notes<'_>) -> Result<Vec<Encoder>> {
        let mut input = match source {
            Opened::File(input) => input,
            Opened::Generated(length) => return self.look_at_pattern(length, notes),
        };
        let outputs = Outputs::new(Vec::new(), Vec::new());
        let mut tracks = Tracks::default();
        tracks.open_video(&input, self.plan, &self.tools, &outputs, &Nowhere, notes)?;
        let pictures = tracks.sources();
        // The clock is that of all streams, as it will be in the second pass.
        let sound = self.plan.audio.iter().filter_map(|audio| audio.stream);
        let mut timeline = Timeline::new(&input, &pictures.iter().copied().chain(sound).collect::<Vec<_>>());
        for index in (0..input.len()).filter(|index| !pictures.contains(index)) {
            input.discard(index);
        }
        if let Some(seconds) = promise::declared_seconds(&input, &pictures, timeline.shift()) {
            self.limit.meter.expect(self.limit.seconds.map_or(seconds, |cut| cut.min(seconds)));
        }
        self.pump(&mut input, &mut tracks.all, &mut timeline, &outputs, None, notes)?;
        match tracks.all.pop().map(|track| track.work) {
            Some(Work::Video(mut track)) => track.finish(&self.limit),
            _ => Ok(Vec::new()),
        }
    }

    fn look_at_pattern(&self, length: f64, notes: &mut Notes<'_>) -> Result<Vec<Encoder>> {
        let Some(VideoPlan::Encode(plan)) = &self.plan.video else { return Ok(Vec::new()) };
        let length = self.limit.seconds.map_or(length, |cut| cut.min(length));
        let (mut track, _) = PatternTrack::open(plan, length, &self.tools, &Nowhere, notes)?;
        while track.advance(&self.limit)? {
            self.limit.control.checkpoint()?;
        }
        track.finish(&self.limit)
    }

    fn open_stills(&self, expected: Option<f64>) -> Result<()> {
        self.tools.stills.open(&self.plan.stills, self.plan.renditions(), expected, self.output, &self.limit)
    }

    fn finish_stills(&self, written: &[Written], notes: &mut Notes<'_>) -> Result<Vec<PathBuf>> {
        let video = written.iter().flat_map(|sink| &sink.lanes).find(|lane| lane.is_video());
        let stills = self.tools.stills.finish(video.map_or(0.0, |lane| lane.end))?;
        stills.iter().for_each(|still| self.remains.add(still));
        if stills.is_empty() && !self.plan.stills.is_empty() {
            notes.warn("there are no stills: no picture was encoded that they could be taken from".to_owned());
        }
        Ok(stills)
    }

    /// A file per rendition, or a package.
    fn outputs(&self) -> Result<Outputs> {
        let container = self.plan.container;
        let renditions = self.plan.renditions();
        if let Some(settings) = package::Settings::of(self.plan) {
            let packager = Packager::create(self.output, settings, &self.limit)?;
            self.remains.add_directory(packager.directory());
            return Ok(Outputs::new(vec![Box::new(packager)], vec![0; renditions.len()]));
        }
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
        self.open_stills(Some(length))?;
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

    fn convert(
        &self,
        mut input: Input,
        division: Option<&Division>,
        outputs: &Outputs,
        notes: &mut Notes<'_>,
    ) -> Result<Fit<Made>> {
        let relay = Relay::new(outputs);
        let mut tracks = match division {
            None => Tracks::open(&input, self.plan, &self.tools, outputs, notes)?,
            Some(division) => {
                let mut tracks = Tracks::default();
                tracks.open_video(&input, self.plan, &division.tools(&self.tools), outputs, &relay, notes)?;
                tracks.open_others(&input, self.plan, &self.tools, outputs, notes)?;
                tracks
            }
        };
        let (attached, warnings) =
            attached::gather(&input, self.plan.container, &self.plan.cover_art, &self.plan.attachments);
        warnings.into_iter().for_each(|warning| notes.warn(warning));
        let mut pictures = Vec::new();
        for attached in &attached {
            let lane = Lane::attached(attached.source());
            let route = outputs.add(Audience::Everyone, &lane, &mut |output| attached.add_to(output))?;
            pictures.extend(attached.packet()?.map(|packet| (route, packet)));
        }
        let selected = tracks.sources();
        if let Some(division) = division {
            tracks.drop_video();
            input.discard(division.stream());
            if let Some(stream) = input.stream(division.stream()) {
                outputs.describe_renditions(stream);
            }
        }
        for index in (0..input.len()).filter(|index| !selected.contains(index)) {
            input.discard(index);
        }
        if let Some(broken) = promise::broken(&mut input, self.plan) {
            notes.warn(broken);
        }
        let mut timeline = Timeline::new(&input, &selected);
        let cut = self.limit.seconds.map(|seconds| TimeBase::MICROS.ticks(seconds));
        if let Some(Err(reason)) = division.map(|division| division.check(&timeline)) {
            return Ok(Err(reason));
        }
        outputs.describe(&input, timeline.shift(), cut)?;
        for track in &tracks.all {
            match (input.stream(track.source), track.route()) {
                (Some(stream), Some(route)) => outputs.describe_stream(route, stream),
                (Some(stream), None) if track.is_video() => outputs.describe_renditions(stream),
                _ => {}
            }
        }
        let declared = promise::declared_seconds(&input, &selected, timeline.shift());
        self.open_stills(declared)?;
        if let Some(seconds) = [declared, self.limit.seconds].into_iter().flatten().reduce(f64::min) {
            self.limit.meter.expect(seconds);
        }
        outputs.start()?;
        for (route, mut packet) in pictures {
            outputs.write(route, &mut packet, TimeBase::MICROS)?;
        }
        let all = &mut tracks.all;
        let mut whole = |feed: Option<&mut Feed<'_>>, notes: &mut Notes<'_>| {
            self.pump(&mut input, all, &mut timeline, outputs, feed, notes)?;
            all.iter_mut().try_for_each(|track| track.finish(outputs, &self.limit))
        };
        match division {
            None => whole(None, notes)?,
            Some(division) => {
                let fed = division.run(&self.tools, &relay, |feed| {
                    whole(Some(feed), notes)?;
                    feed.advance(None)
                });
                if let Err(reason) = fed? {
                    return Ok(Err(reason));
                }
            }
        }
        notes.relay();
        self.judge(&input, &tracks.all, &timeline, declared, outputs, notes)?;
        Ok(Ok(Made { encoders: tracks.encoders, input_bytes: input.bytes_read() }))
    }

    fn pump(
        &self,
        input: &mut Input,
        tracks: &mut [Track],
        timeline: &mut Timeline,
        outputs: &Outputs,
        mut feed: Option<&mut Feed<'_>>,
        notes: &mut Notes<'_>,
    ) -> Result<()> {
        let mut packet = Packet::new();
        while !tracks::are_done(tracks) {
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
            if let (Some(feed), Some(dts)) = (&mut feed, packet.dts().or(packet.pts())) {
                feed.advance(Some(base.seconds(dts)))?;
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
        for track in tracks {
            if let Work::Video(track) = &track.work {
                track.remarks().into_iter().for_each(|remark| notes.warn_once(remark));
            }
        }
        if timeline.jumps() > 0 {
            notes.warn(format!("the clock of the source jumped {} times; the jumps were closed", timeline.jumps()));
            // Lengths were told on a clock that did not hold.
            return Ok(());
        }
        let end = outputs.reached();
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

fn in_one_piece(report: Fit<JobReport>, reason: Option<String>) -> Result<JobReport> {
    let mut report = report.map_err(chunks::not_divided)?;
    report.chunking = reason.map(|reason| ChunkReport { chunks: 1, workers: 1, reason });
    Ok(report)
}

fn nothing_to_copy() -> Error {
    let what = "a generated input has no packets to copy";
    Error::new(Code::InvalidField, what).field("codec").hint("name a codec instead of copy")
}
