//! One attempt from the opened source to the verified output.

use std::fs;
use std::path::Path;

use ffrtmp_core::engine::{Control, MediaBounds, Observer, Source};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::plan::{AudioPlan, Plan, VideoPlan};

use super::audio::{AudioTrack, ToneTrack};
use super::capabilities::Encoders;
use super::copy::CopyTrack;
use super::fault::failed;
use super::meter::Meter;
use super::mux::Muxer;
use super::notes::Notes;
use super::probe::{self, too_large};
use super::report;
use super::stage::Ends;
use super::sys::{AvError, Input, Packet, StreamView, TimeBase, Usage};
use super::timeline::Timeline;
use super::verify;
use super::video::{PatternTrack, VideoTrack};

/// What every stage of an attempt obeys.
pub(super) struct Limit<'a> {
    /// Length of the output in seconds, if it is cut.
    pub(super) seconds: Option<f64>,
    pub(super) bounds: &'a MediaBounds,
    pub(super) control: &'a Control,
    pub(super) meter: &'a Meter,
}

impl Limit<'_> {
    /// Refuses media that goes on and on.
    pub(super) fn check(&self, seconds: f64) -> Result<()> {
        let max = self.bounds.max_duration.as_secs_f64();
        if seconds <= max { Ok(()) } else { Err(too_large(format!("the media goes on after {max} s"))) }
    }
}

/// What tracks are made with.
pub(super) struct Tools<'a> {
    pub(super) encoders: &'a Encoders,
    pub(super) bounds: &'a MediaBounds,
    pub(super) ends: Ends,
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

/// Does what the plan says and describes the result.
pub(super) fn transcode(
    tools: Tools<'_>,
    plan: &Plan,
    source: Opened,
    output: &Path,
    control: &Control,
    observer: &dyn Observer,
) -> Result<JobReport> {
    let before = Usage::now();
    let meter = Meter::new();
    let seconds = plan.duration.map(|length| length.value());
    let limit = Limit { seconds, bounds: tools.bounds, control, meter: &meter };
    let attempt = Attempt { tools, plan, output, limit };
    let report = meter.watch(observer, || attempt.run(source, Notes::new(observer)));
    // What fails because it was told to stop has not failed.
    let mut report = report.map_err(|error| control.checkpoint().err().unwrap_or(error))?;
    report::add_usage(&mut report, &meter, before);
    Ok(report)
}

/// Removes an attempt's output unless it is kept.
pub(super) struct Remains<'a>(Option<&'a Path>);

impl<'a> Remains<'a> {
    pub(super) fn of(output: &'a Path) -> Self {
        Self(Some(output))
    }

    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Remains<'_> {
    fn drop(&mut self) {
        // Only what we made: a device or directory that was named by mistake stays.
        if let Some(path) = self.0
            && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "the remains of a failed attempt could not be removed");
        }
    }
}

struct Attempt<'a> {
    tools: Tools<'a>,
    plan: &'a Plan,
    output: &'a Path,
    limit: Limit<'a>,
}

/// What was made, before it is checked.
struct Made {
    encoder: Option<String>,
    input_bytes: u64,
}

impl Attempt<'_> {
    fn run(&self, source: Opened, mut notes: Notes<'_>) -> Result<JobReport> {
        let limit = &self.limit;
        let mut muxer = Muxer::create(self.plan.container, self.output, limit.bounds, limit.control, limit.meter)?;
        let made = match source {
            Opened::File(input) => self.convert(input, &mut muxer, &mut notes)?,
            Opened::Generated(length) => self.generate(length, &mut muxer, &mut notes)?,
        };
        muxer.finish()?;
        let lanes = muxer.lanes().to_vec();
        drop(muxer);
        let moved: u64 = lanes.iter().map(|lane| lane.moved).sum();
        if moved > 0 {
            notes.warn(format!("{moved} timestamps out of order were repaired"));
        }
        verify::check(self.plan, &lanes, self.output, limit, &mut notes)?;
        report::describe(self.plan, &lanes, self.output, made.encoder, made.input_bytes, notes, limit)
    }

    fn generate(&self, length: f64, muxer: &mut Muxer<'_>, notes: &mut Notes<'_>) -> Result<Made> {
        let length = self.limit.seconds.map_or(length, |cut| cut.min(length));
        self.limit.meter.expect(length);
        let copies =
            matches!(self.plan.video, Some(VideoPlan::Copy)) || matches!(self.plan.audio, Some(AudioPlan::Copy));
        if copies {
            let what = "a generated input has no packets to copy";
            return Err(Error::new(Code::InvalidField, what).field("codec").hint("name a codec instead of copy"));
        }
        let mut encoder = None;
        let mut picture = match &self.plan.video {
            Some(VideoPlan::Encode(plan)) => {
                let (track, name) = PatternTrack::open(plan, length, &self.tools, muxer, notes)?;
                encoder = Some(name);
                Some(track)
            }
            _ => None,
        };
        let mut tone = match self.plan.audio {
            Some(AudioPlan::Encode { codec, bitrate }) => Some(ToneTrack::open(codec, bitrate, length, muxer, notes)?),
            _ => None,
        };
        muxer.start()?;
        let (mut more_picture, mut more_tone) = (picture.is_some(), tone.is_some());
        while more_picture || more_tone {
            self.limit.control.checkpoint()?;
            let (seen, heard) = (picture.as_ref().map(PatternTrack::reached), tone.as_ref().map(ToneTrack::reached));
            let picture_first = more_picture && (!more_tone || seen <= heard);
            match (&mut picture, &mut tone) {
                (Some(picture), _) if picture_first => more_picture = picture.advance(muxer, &self.limit)?,
                (_, Some(tone)) => more_tone = tone.advance(muxer, &self.limit)?,
                _ => break,
            }
            notes.relay();
        }
        if let Some(picture) = &mut picture {
            picture.finish(muxer, &self.limit)?;
        }
        if let Some(tone) = &mut tone {
            tone.finish(muxer, &self.limit)?;
        }
        Ok(Made { encoder, input_bytes: 0 })
    }

    fn convert(&self, mut input: Input, muxer: &mut Muxer<'_>, notes: &mut Notes<'_>) -> Result<Made> {
        let (mut tracks, encoder) = self.open_tracks(&input, muxer, notes)?;
        let selected: Vec<usize> = tracks.iter().map(|track| track.source).collect();
        for index in (0..input.len()).filter(|index| !selected.contains(index)) {
            input.discard(index);
        }
        let mut timeline = Timeline::new(&input, &selected);
        let cut = self.limit.seconds.map(|seconds| TimeBase::MICROS.ticks(seconds));
        muxer.describe(&input, timeline.shift(), cut)?;
        for track in &tracks {
            if let Some(stream) = input.stream(track.source) {
                muxer.describe_stream(track.lane(), stream);
            }
        }
        let declared = declared_seconds(&input, &selected, timeline.shift());
        if let Some(seconds) = [declared, self.limit.seconds].into_iter().flatten().reduce(f64::min) {
            self.limit.meter.expect(seconds);
        }
        muxer.start()?;
        self.pump(&mut input, &mut tracks, &mut timeline, muxer, notes)?;
        for track in &mut tracks {
            track.finish(muxer, &self.limit)?;
        }
        notes.relay();
        self.judge(&input, &tracks, &timeline, declared, muxer, notes)?;
        Ok(Made { encoder, input_bytes: input.bytes_read() })
    }

    /// Opens a track for the best video stream and for every audio stream.
    fn open_tracks(
        &self,
        input: &Input,
        muxer: &mut Muxer<'_>,
        notes: &mut Notes<'_>,
    ) -> Result<(Vec<Track>, Option<String>)> {
        let info = probe::describe(input, 0);
        let best = info.best_video().map(|(stream, _)| stream.index).filter(|_| self.plan.video.is_some());
        let mut tracks = Vec::new();
        let (mut encoder, mut refused) = (None, None);
        if let (Some(stream), Some(plan)) = (best.and_then(|index| input.stream(index)), &self.plan.video) {
            let work = match plan {
                VideoPlan::Copy => {
                    encoder = Some("copy".to_owned());
                    Work::Copy(CopyTrack::open(stream, muxer)?)
                }
                VideoPlan::Encode(plan) => {
                    let (track, name) = VideoTrack::open(stream, plan, &self.tools, muxer, notes)?;
                    encoder = Some(name);
                    Work::Video(Box::new(track))
                }
            };
            tracks.push(Track::new(stream.index(), work));
        }
        for stream in input.streams().filter(|stream| Some(stream.index()) != best) {
            match &self.plan.audio {
                Some(plan) if stream.is_audio() => {
                    match self.open_audio(stream, plan, muxer, notes) {
                        Ok(work) => tracks.push(Track::new(stream.index(), work)),
                        // A track that nobody could decode is left out; the others are worth having.
                        Err(error) if matches!(error.code(), Code::InputUnsupported | Code::InputInvalid) => {
                            notes.warn(format!("audio stream {} was left out: {error}", stream.index()));
                            refused = Some(error);
                        }
                        Err(error) => return Err(error),
                    }
                }
                _ => notes.warn(skipped(stream)),
            }
        }
        if tracks.is_empty() {
            let nothing = Error::new(Code::InputUnsupported, "the input has no stream that can be worked on");
            return Err(refused.unwrap_or(nothing.field("input")));
        }
        Ok((tracks, encoder))
    }

    fn open_audio(
        &self,
        stream: StreamView<'_>,
        plan: &AudioPlan,
        muxer: &mut Muxer<'_>,
        notes: &mut Notes<'_>,
    ) -> Result<Work> {
        let AudioPlan::Encode { codec, bitrate } = *plan else {
            return Ok(Work::Copy(CopyTrack::open(stream, muxer)?));
        };
        let track = AudioTrack::open(stream, codec, bitrate, self.limit.bounds, muxer, notes)?;
        Ok(Work::Audio(Box::new(track)))
    }

    fn pump(
        &self,
        input: &mut Input,
        tracks: &mut [Track],
        timeline: &mut Timeline,
        muxer: &mut Muxer<'_>,
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
            track.packet(&mut packet, muxer, &self.limit)?;
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
        muxer: &Muxer<'_>,
        notes: &mut Notes<'_>,
    ) -> Result<()> {
        let invalid = |what: String| Err(Error::new(Code::InputInvalid, what).field("input"));
        for track in tracks {
            let (decoded, damaged) = track.decoded();
            let lane = &muxer.lanes()[track.lane()];
            if decoded == Some(0) && (lane.is_video || tracks.len() == 1) {
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
        let end = muxer.lanes().iter().map(|lane| lane.end).fold(0.0, f64::max);
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

fn skipped(stream: StreamView<'_>) -> String {
    let what = match () {
        () if stream.is_cover_art() => "cover art",
        () if stream.is_video() => "a further video stream",
        () if stream.is_audio() => "an audio stream",
        () if stream.is_subtitle() => "subtitles",
        () if stream.is_attachment() => "an attachment",
        () => "a data stream",
    };
    format!("stream {} was left out: {what} ({})", stream.index(), stream.codec())
}

/// A stream of the source and what is done with it.
struct Track {
    source: usize,
    work: Work,
    packets: u64,
    /// Whether the container had less data than its index says.
    cut_off: bool,
}

enum Work {
    Copy(CopyTrack),
    Video(Box<VideoTrack>),
    Audio(Box<AudioTrack>),
}

impl Track {
    fn new(source: usize, work: Work) -> Self {
        Self { source, work, packets: 0, cut_off: false }
    }

    fn lane(&self) -> usize {
        match &self.work {
            Work::Copy(track) => track.lane(),
            Work::Video(track) => track.lane(),
            Work::Audio(track) => track.lane(),
        }
    }

    fn is_done(&self) -> bool {
        match &self.work {
            Work::Copy(track) => track.is_done(),
            Work::Video(track) => track.is_done(),
            Work::Audio(track) => track.is_done(),
        }
    }

    fn packet(&mut self, packet: &mut Packet, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        match &mut self.work {
            Work::Copy(track) => track.packet(packet, muxer, limit),
            Work::Video(track) => track.packet(packet, muxer, limit),
            Work::Audio(track) => track.packet(packet, muxer, limit),
        }
    }

    fn finish(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        match &mut self.work {
            Work::Copy(track) => track.finish(muxer, limit),
            Work::Video(track) => track.finish(muxer, limit),
            Work::Audio(track) => track.finish(muxer, limit),
        }
    }

    /// Frames decoded, if it decodes, and packets that could not be.
    fn decoded(&self) -> (Option<u64>, u64) {
        match &self.work {
            Work::Copy(_) => (None, 0),
            Work::Video(track) => (Some(track.decoded), track.damaged),
            Work::Audio(track) => (Some(track.decoded), track.damaged),
        }
    }
}
