//! The streams of a source that go into the outputs, whatever is done with each.

use ffrtmp_core::encoding::SegmentKind;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{Container, Target};
use ffrtmp_core::plan::{AudioPlan, AudioWork, Plan, SubtitlePlan, VideoPlan};

use super::audio::AudioTrack;
use super::copy::CopyTrack;
use super::limit::Limit;
use super::mux::Lane;
use super::notes::Notes;
use super::outputs::{Audience, Outputs, Route};
use super::probe::{self, Orientation};
use super::rungs::Place;
use super::session::Tools;
use super::subtitles::{SubtitleTrack, Window};
use super::sys::{Input, Packet};
use super::video::VideoTrack;

/// A stream of the source and what is done with it.
pub(super) struct Track {
    pub(super) source: usize,
    pub(super) work: Work,
    pub(super) packets: u64,
    /// Whether the container had less data than its index says.
    pub(super) cut_off: bool,
}

pub(super) enum Work {
    Copy(CopyTrack),
    Video(Box<VideoTrack>),
    Audio(Box<AudioTrack>),
    Subtitle(Box<SubtitleTrack>, Outputs, Route),
}

/// What was opened.
#[derive(Default)]
pub(super) struct Tracks {
    pub(super) all: Vec<Track>,
    /// Names of the video encoders, by rendition; `copy` for a copy.
    pub(super) encoders: Vec<String>,
}

impl Tracks {
    /// Opens a track for every stream of the plan. Sound that nobody can decode is left out with a
    /// warning where there is something else.
    pub(super) fn open(
        input: &Input,
        plan: &Plan,
        tools: &Tools<'_>,
        outputs: &Outputs,
        notes: &mut Notes<'_>,
    ) -> Result<Self> {
        let mut tracks = Self::default();
        tracks.open_video(input, plan, tools, outputs, outputs, notes)?;
        tracks.open_others(input, plan, tools, outputs, notes)?;
        Ok(tracks)
    }

    /// Opens the video track only; its packets go to `place`.
    pub(super) fn open_video(
        &mut self,
        input: &Input,
        plan: &Plan,
        tools: &Tools<'_>,
        outputs: &Outputs,
        place: &dyn Place,
        notes: &mut Notes<'_>,
    ) -> Result<()> {
        let (index, work) = match &plan.video {
            None => return Ok(()),
            Some(VideoPlan::Copy(index)) => {
                let stream = input.stream(*index).ok_or_else(|| missing(*index))?;
                self.encoders.push("copy".to_owned());
                if let Some(container) =
                    without_turn(plan).filter(|_| Orientation::of(stream) != Orientation::default())
                {
                    notes.warn(format!("the turn of the picture is not carried by {container}"));
                }
                if probe::is_veiled(stream) && !matches!(plan.container, Container::Mkv | Container::Webm) {
                    notes.warn(format!("the transparency of the picture is not carried by {}", plan.container));
                }
                (*index, Work::Copy(CopyTrack::open(stream, outputs)?))
            }
            Some(VideoPlan::Encode(pictures)) => {
                let index = pictures.stream.ok_or_else(|| missing(0))?;
                let stream = input.stream(index).ok_or_else(|| missing(index))?;
                let (track, names) = VideoTrack::open(stream, pictures, tools, place, notes)?;
                self.encoders = names;
                (index, Work::Video(Box::new(track)))
            }
        };
        self.all.push(Track::new(index, work));
        Ok(())
    }

    /// Opens everything but the pictures.
    pub(super) fn open_others(
        &mut self,
        input: &Input,
        plan: &Plan,
        tools: &Tools<'_>,
        outputs: &Outputs,
        notes: &mut Notes<'_>,
    ) -> Result<()> {
        let mut refused = None;
        for audio in &plan.audio {
            match open_audio(input, audio, tools, outputs, notes) {
                Ok(track) => self.all.push(track),
                Err(error) if matches!(error.code(), Code::InputUnsupported | Code::InputInvalid) => {
                    notes.warn(format!("audio stream {} was left out: {error}", audio.stream.unwrap_or(0)));
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        for subtitle in &plan.subtitles {
            match open_subtitle(input, subtitle, tools, outputs) {
                Ok(track) => self.all.push(track),
                Err(error) => notes.warn(format!("subtitle stream {} was left out: {error}", subtitle.stream)),
            }
        }
        if plan.video.is_none() && self.all.is_empty() {
            let nothing = Error::new(Code::InputUnsupported, "the input has no stream that can be worked on");
            return Err(refused.unwrap_or(nothing.field("input")));
        }
        Ok(())
    }

    /// Lets go of the video track: its pictures are encoded elsewhere.
    pub(super) fn drop_video(&mut self) {
        self.all.retain(|track| !track.is_video());
    }

    /// Streams of the source that are read.
    pub(super) fn sources(&self) -> Vec<usize> {
        self.all.iter().map(|track| track.source).collect()
    }
}

/// Whether nothing more need be read. Text is sparse: nobody waits for more of it than lies before
/// the end of pictures and sound, where there are any.
pub(super) fn are_done(tracks: &[Track]) -> bool {
    let mut dense = tracks.iter().filter(|track| !matches!(track.work, Work::Subtitle(..))).peekable();
    if dense.peek().is_some() { dense.all(Track::is_done) } else { tracks.iter().all(Track::is_done) }
}

fn open_audio(
    input: &Input,
    plan: &AudioPlan,
    tools: &Tools<'_>,
    outputs: &Outputs,
    notes: &mut Notes<'_>,
) -> Result<Track> {
    let index = plan.stream.ok_or_else(|| missing(0))?;
    let stream = input.stream(index).ok_or_else(|| missing(index))?;
    let work = match &plan.work {
        AudioWork::Copy => Work::Copy(CopyTrack::open(stream, outputs)?),
        AudioWork::Encode(plan) => {
            Work::Audio(Box::new(AudioTrack::open(stream, plan, &tools.limit.bounds, outputs, notes)?))
        }
    };
    Ok(Track::new(index, work))
}

fn open_subtitle(input: &Input, plan: &SubtitlePlan, tools: &Tools<'_>, outputs: &Outputs) -> Result<Track> {
    let stream = input.stream(plan.stream).ok_or_else(|| missing(plan.stream))?;
    let window = Window::new(tools.limit.seconds, tools.limit.bounds.max_duration);
    let track = SubtitleTrack::open(stream, plan.codec, window)?;
    let lane = match plan.codec {
        Target::Copy => Lane::copied(stream),
        Target::Encode(codec) => Lane::subtitle(codec.as_str()),
    };
    let route = outputs.add(Audience::Everyone, &lane, &mut |output| track.add_to(output, stream))?;
    outputs.describe_stream(route, stream);
    Ok(Track::new(plan.stream, Work::Subtitle(Box::new(track), outputs.clone(), route)))
}

fn missing(index: usize) -> Error {
    Error::new(Code::InvalidField, format!("the plan names stream {index}, which the input has not")).field("input")
}

/// What a plan writes, where that cannot say how players turn the pictures.
fn without_turn(plan: &Plan) -> Option<Container> {
    match (plan.container, &plan.segments) {
        (Container::Hls | Container::Dash, Some(segments)) if segments.kind == SegmentKind::Ts => {
            Some(Container::MpegTs)
        }
        (Container::Mp4 | Container::Fmp4 | Container::Hls | Container::Dash, _) => None,
        (container, _) => Some(container),
    }
}

impl Track {
    fn new(source: usize, work: Work) -> Self {
        Self { source, work, packets: 0, cut_off: false }
    }

    /// Where its packets go; a video encode has one route per rendition, which [`Outputs`] knows.
    pub(super) fn route(&self) -> Option<Route> {
        match &self.work {
            Work::Copy(track) => Some(track.route()),
            Work::Audio(track) => Some(track.route()),
            Work::Video(_) | Work::Subtitle(..) => None,
        }
    }

    pub(super) fn is_video(&self) -> bool {
        match &self.work {
            Work::Video(_) => true,
            Work::Copy(track) => track.is_video(),
            Work::Audio(_) | Work::Subtitle(..) => false,
        }
    }

    /// Whether the wanted length is reached.
    pub(super) fn is_done(&self) -> bool {
        match &self.work {
            Work::Copy(track) => track.is_done(),
            Work::Video(track) => track.is_done(),
            Work::Audio(track) => track.is_done(),
            Work::Subtitle(track, ..) => track.is_done(),
        }
    }

    pub(super) fn packet(&mut self, packet: &mut Packet, outputs: &Outputs, limit: &Limit) -> Result<()> {
        match &mut self.work {
            Work::Copy(track) => track.packet(packet, outputs, limit),
            Work::Video(track) => track.packet(packet, limit),
            Work::Audio(track) => track.packet(packet, outputs, limit),
            Work::Subtitle(track, outputs, route) => {
                track.packet(packet, &mut |packet, base| outputs.write(*route, packet, base))
            }
        }
    }

    pub(super) fn finish(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        match &mut self.work {
            Work::Copy(track) => track.finish(outputs, limit),
            Work::Video(track) => track.finish(limit).map(drop),
            Work::Audio(track) => track.finish(outputs, limit),
            Work::Subtitle(track, outputs, route) => {
                track.finish(&mut |packet, base| outputs.write(*route, packet, base))
            }
        }
    }

    /// Frames decoded, if it decodes, and packets that could not be.
    pub(super) fn decoded(&self) -> (Option<u64>, u64) {
        match &self.work {
            Work::Copy(_) => (None, 0),
            Work::Video(track) => (Some(track.decoded), track.damaged),
            Work::Audio(track) => (Some(track.decoded), track.damaged),
            Work::Subtitle(track, ..) => (None, track.damaged()),
        }
    }
}
