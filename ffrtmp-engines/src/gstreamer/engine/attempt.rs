//! One attempt: source → raw media → encoded media → outputs, until the source ends, the time is
//! over, or somebody says so.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Observer, Source, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{JobReport, Stage};
use ffrtmp_core::live::{LiveEvent, LiveEventKind, LiveReport, LiveRules};
use ffrtmp_core::media::MediaInfo;
use ffrtmp_core::plan::{AudioEncode, AudioWork, PicturePlan, Plan, VideoPlan};

use super::outlets::{Ended, Outlets};
use super::pace::{Look, Pace, Verdict};
use super::reaper::{Reaped, Reaper};
use super::report::Made;
use super::tally::Meter;
use super::teller::{self, Teller};
use crate::gstreamer::elements;
use crate::gstreamer::intake::{Generated, Intake, Next, Origin, Wants};
use crate::gstreamer::media::{Clock, Raw, TrackKind};
use crate::gstreamer::session::{self, AudioInput, LiveSession, Pushed, SessionOptions, VideoInput};
use crate::libav::readback::{self, Usage};
use crate::stages::Stages;

/// How often the orders are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often room is looked for, for one kind, while the other goes on.
const ROOM: Duration = Duration::from_millis(5);
/// Time for encoders to give what they hold when the source is over.
const DRAIN: Duration = Duration::from_secs(60);

/// Works out what an attempt would do.
///
/// # Errors
/// Those of [`Plan::resolve`]; `invalid_field` for what this engine does not do.
pub(super) fn plan(task: &Task, info: Option<&MediaInfo>) -> Result<Plan> {
    let plan = Plan::resolve(&task.request, info)?;
    let copies = |field: &str| {
        Err(Error::new(Code::InvalidField, "copy is not for the engine gstreamer, which encodes everything anew")
            .field(field)
            .hint("name a codec, or take the engine ffmpeg"))
    };
    if matches!(plan.video, Some(VideoPlan::Copy(_))) {
        return copies("parameters.codec");
    }
    if plan.audio.iter().any(|audio| audio.work == AudioWork::Copy) {
        return copies("parameters.audio_codec");
    }
    Ok(plan)
}

/// Does a task.
pub(super) fn run(task: &Task, reaper: &Reaper, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
    control.checkpoint()?;
    let (stages, usage) = (Stages::begin(), Usage::now());
    let meter = Arc::new(Meter::start());
    let remains = Remains::default();
    let made = teller::accompany(observer, &meter, |teller| {
        let begun = Instant::now();
        let attempt =
            Attempt { task, reaper, control, teller, meter: &meter, remains: &remains, stages: &stages, begun };
        attempt.transcode(observer)
    });
    let mut report = made?;
    readback::add_usage(&mut report, meter.elapsed(), usage);
    report.stages = stages.times();
    remains.keep();
    Ok(report)
}

struct Attempt<'a> {
    task: &'a Task,
    reaper: &'a Reaper,
    control: &'a Control,
    teller: &'a Teller,
    meter: &'a Arc<Meter>,
    remains: &'a Remains,
    stages: &'a Stages,
    begun: Instant,
}

/// A source that is open, with the plan for it.
struct Opened {
    intake: Intake,
    plan: Plan,
    input_bytes: u64,
}

/// A session with its outputs.
struct Going<'a> {
    session: Reaped<'a>,
    outlets: Arc<Outlets>,
    plan: &'a Plan,
    clock: Clock,
    pace: Pace,
    /// Steps by which the preset is faster than planned.
    faster: usize,
    preset_changes: u64,
    /// End of what the source gave, by kind.
    offered: [Duration; 2],
    /// Kinds that have reached the end of the wanted length.
    over: [bool; 2],
    /// What the session had no room for yet, by kind; the other kind goes on meanwhile.
    waiting: [Option<Raw>; 2],
}

impl Attempt<'_> {
    fn transcode(&self, observer: &dyn Observer) -> Result<JobReport> {
        let Opened { mut intake, mut plan, input_bytes } = self.open()?;
        self.stages.end(Stage::Probe);
        let mut warnings = left_out(&plan);
        if plan.video.is_some() && intake.caps(TrackKind::Video).is_none() {
            return Err(Error::new(Code::InputInvalid, "no picture of the source could be decoded").field("input"));
        }
        if !plan.audio.is_empty() && intake.caps(TrackKind::Audio).is_none() {
            plan.audio.clear();
            intake.restrict(true, false);
            warnings.push("the sound of the source was left out: none came".to_owned());
        }
        self.prepare_output(&plan)?;
        let kinds = kinds(&plan);
        let clock = intake.clock();
        let outlets = Arc::new(Outlets::new(kinds.clone(), self.task.live.is_some(), Arc::clone(self.meter)));
        let session = self.session(&intake, &plan, &clock, &outlets)?;
        let session = Reaped::new(session, self.reaper, self.control);
        let encoders = encoders(&plan, &mut warnings)?;
        let pace = Pace::over(self.rules().slow);
        let mut going = Going {
            session,
            outlets,
            plan: &plan,
            clock,
            pace,
            faster: 0,
            preset_changes: 0,
            offered: [Duration::ZERO; 2],
            over: [plan.video.is_none(), plan.audio.is_empty()],
            waiting: [None, None],
        };
        let pumped = self.pump(&mut intake, &mut going);
        let losses = intake.losses();
        drop(intake);
        if let Err(error) = pumped.and_then(|()| self.drain(&mut going)) {
            self.rescue(&going);
            return Err(error);
        }
        let live = self.task.live.is_some().then(|| self.live_report(&going, &losses));
        let ended = going.outlets.finish(self.control);
        self.keep_recordings();
        let ended = ended?;
        let live = live.map(|live| self.with_outputs(live, &going, &ended));
        drop(going);
        self.control.checkpoint()?;
        warnings.extend(ended.pushes.iter().filter_map(|state| state.fault.as_ref()).map(ToString::to_string));
        let audio_codec = sound(&plan).map(|sound| sound.codec.as_str());
        let made = Made {
            task: self.task,
            plan: &plan,
            kinds: &kinds,
            ended: &ended,
            encoders,
            audio_codec,
            input_bytes,
            live,
            warnings,
        };
        self.stages.end(Stage::Encode);
        let report = made.report(self.control, observer)?;
        self.stages.end(Stage::Verify);
        Ok(report)
    }

    fn rules(&self) -> LiveRules {
        self.task.live.as_ref().map(|live| live.rules).unwrap_or_default()
    }

    /// Opens the source and plans.
    fn open(&self) -> Result<Opened> {
        let Task { source, bounds, .. } = self.task;
        let rules = self.rules();
        let paced = self.task.live.is_some();
        let begin = |origin, wants| Intake::open(origin, wants, &rules, bounds, self.teller.events());
        match source {
            Source::File(path) => {
                let info = readback::describe(path, bounds, self.control)?;
                let plan = plan(self.task, Some(&info))?;
                self.expect(info.duration_seconds, &plan);
                let wants = Wants { paced, ..file_wants(&plan, &info) };
                let mut intake = begin(Origin::File(path.clone()), wants)?;
                intake.look(self.control)?;
                Ok(Opened { intake, plan, input_bytes: info.size_bytes })
            }
            Source::Generated(length) => {
                let plan = plan(self.task, None)?;
                self.expect(Some(length.value()), &plan);
                let first = plan.renditions().first();
                let usual = ffrtmp_core::units::FrameRate::whole(30);
                let generated = Generated {
                    length: *length,
                    size: first.map_or(ffrtmp_core::units::Resolution { width: 1280, height: 720 }, |it| it.size),
                    rate: pictures(&plan).and_then(|it| it.fps).unwrap_or(usual),
                };
                let wants = Wants {
                    paced,
                    video: plan.video.as_ref().map(|_| 0),
                    audio: (!plan.audio.is_empty()).then_some(0),
                    ..Wants::everything()
                };
                let mut intake = begin(Origin::Generated(generated), wants)?;
                intake.look(self.control)?;
                Ok(Opened { intake, plan, input_bytes: 0 })
            }
            Source::Live(endpoint) => {
                let mut intake = begin(Origin::Live(endpoint.clone()), Wants::everything())?;
                let info = intake.look(self.control)?;
                let plan = plan(self.task, info.as_ref())?;
                self.expect(None, &plan);
                intake.restrict(plan.video.is_some(), !plan.audio.is_empty());
                Ok(Opened { intake, plan, input_bytes: 0 })
            }
        }
    }

    fn expect(&self, length: Option<f64>, plan: &Plan) {
        let wanted = plan.duration.map(ffrtmp_core::units::Seconds::value);
        let expected = match (length, wanted) {
            (Some(length), Some(wanted)) => Some(length.min(wanted)),
            (length, wanted) => length.or(wanted),
        };
        self.meter.expect(expected.unwrap_or(0.0));
    }

    /// Finds out now whether the output can be written, and remembers what to remove.
    fn prepare_output(&self, plan: &Plan) -> Result<()> {
        if self.task.live.as_ref().is_some_and(|live| !live.record) {
            return Ok(());
        }
        if let Source::File(source) = &self.task.source
            && is_same_file(source, &self.task.output)
        {
            return Err(Error::new(Code::OutputIsInput, "the output is the input itself").field("output"));
        }
        for path in readback::files(&self.task.output, plan) {
            make_file(&path)?;
            self.remains.add(path);
        }
        Ok(())
    }

    fn session(&self, intake: &Intake, plan: &Plan, clock: &Clock, outlets: &Arc<Outlets>) -> Result<LiveSession> {
        let taker = Arc::clone(outlets);
        let options = SessionOptions {
            video: intake.caps(TrackKind::Video).filter(|_| plan.video.is_some()).map(|caps| VideoInput { caps }),
            audio: intake.caps(TrackKind::Audio).filter(|_| !plan.audio.is_empty()).map(|caps| AudioInput { caps }),
            renditions: plan.renditions().to_vec(),
            sound: sound(plan),
            pace: if self.task.live.is_some() { session::Pace::Live } else { session::Pace::Calm },
            threads: self.task.bounds.threads,
            patience: LOOK,
            ..SessionOptions::new(clock.clone())
        };
        LiveSession::start(options, Box::new(move |encoded| taker.take(encoded)))
    }

    /// From the source into the session, until it is over.
    fn pump(&self, intake: &mut Intake, going: &mut Going<'_>) -> Result<()> {
        let is_live = self.task.live.is_some();
        let wanted = going.plan.duration.map(|wanted| Duration::from_secs_f64(wanted.value()));
        loop {
            self.control.checkpoint()?;
            if is_live && self.control.is_finishing() {
                return Ok(());
            }
            self.look_after(intake, going)?;
            let full = self.push_waiting(going, self.patience())?;
            match intake.next(full, if full == [false; 2] { LOOK } else { ROOM })? {
                Next::Raw(raw) => {
                    if self.is_beyond(going, &raw, wanted)? {
                        if going.over == [true, true] {
                            return self.push_rest(going);
                        }
                    } else {
                        self.push(going, raw)?;
                        continue;
                    }
                }
                Next::Idle => {}
                Next::Ended => return self.push_rest(going),
            }
            // Nothing of the wanted length came for a while; what comes late is still taken.
            let is_late =
                |wanted: Duration| Duration::from(going.clock.running_time()) > wanted + Duration::from_secs(1);
            if is_live && wanted.is_some_and(is_late) {
                return Ok(());
            }
        }
    }

    /// Whether raw media lies behind the wanted length, or the media goes on for too long.
    fn is_beyond(&self, going: &mut Going<'_>, raw: &Raw, wanted: Option<Duration>) -> Result<bool> {
        let Some(buffer) = raw.sample.buffer() else { return Ok(true) };
        let at = Duration::from(buffer.pts().unwrap_or_default());
        if self.task.live.is_none() && at > self.task.bounds.max_duration {
            let what = format!("the media goes on after {} s", self.task.bounds.max_duration.as_secs());
            return Err(Error::new(Code::InputTooLarge, what).field("input"));
        }
        let kind = raw.kind as usize;
        if wanted.is_some_and(|wanted| at >= wanted) {
            going.over[kind] = true;
            return Ok(true);
        }
        going.offered[kind] = at + Duration::from(buffer.duration().unwrap_or_default());
        Ok(false)
    }

    /// How long one kind waits for room: not at all where the other does not wait.
    fn patience(&self) -> Duration {
        if self.task.live.is_some() { Duration::ZERO } else { LOOK }
    }

    fn push(&self, going: &mut Going<'_>, raw: Raw) -> Result<()> {
        if going.session.push_within(&raw, self.patience())? == Pushed::Full {
            let kind = raw.kind as usize;
            going.waiting[kind] = Some(raw);
        }
        Ok(())
    }

    /// Gives the session what waits for room; which kinds still do.
    fn push_waiting(&self, going: &mut Going<'_>, patience: Duration) -> Result<[bool; 2]> {
        let mut full = [false; 2];
        for (waiting, full) in going.waiting.iter_mut().zip(&mut full) {
            let Some(raw) = waiting else { continue };
            match going.session.push_within(raw, patience)? {
                Pushed::Taken => *waiting = None,
                Pushed::Full => *full = true,
            }
        }
        Ok(full)
    }

    /// The same at the end, until nothing waits.
    fn push_rest(&self, going: &mut Going<'_>) -> Result<()> {
        while self.push_waiting(going, LOOK)? != [false; 2] {
            self.control.checkpoint()?;
            if self.control.is_finishing() && self.task.live.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Starts the outputs when they can be, notices those that fail, watches the pace.
    fn look_after(&self, intake: &Intake, going: &mut Going<'_>) -> Result<()> {
        if !going.outlets.are_started() && going.outlets.have_begun() {
            let tracks = going.session.tracks();
            if !tracks.is_empty() {
                going.outlets.start(self.task, going.plan, &tracks, &going.clock, &self.teller.events())?;
            }
        }
        let wall = Duration::from(going.clock.running_time());
        if !going.pace.is_due(wall) {
            return Ok(());
        }
        going.outlets.check()?;
        let offered = going.offered[0].max(going.offered[1]);
        let (encoded, pictures) = (self.meter.reached(), self.meter.progress().frames);
        let look = Look { wall, encoded, offered, pictures, dropped: intake.losses().dropped };
        let verdict = going.pace.look(look);
        if self.task.live.is_some() {
            self.follow(verdict, going)?;
        }
        Ok(())
    }

    fn follow(&self, verdict: Verdict, going: &mut Going<'_>) -> Result<()> {
        let tell = |kind, text: String| self.teller.event(LiveEvent::new(kind, text));
        match verdict {
            Verdict::Fine => {}
            Verdict::Slow(speed) => {
                tell(LiveEventKind::Slow, format!("encoding keeps up with {:.0} % of the source", speed * 100.0));
                if self.rules().adapt && going.faster < going.session.preset_steps() {
                    going.session.set_preset(going.faster + 1)?;
                    going.faster += 1;
                    going.preset_changes += 1;
                    tell(
                        LiveEventKind::PresetDown,
                        format!("the preset is {} steps faster than planned", going.faster),
                    );
                }
            }
            Verdict::Calm if going.faster > 0 => {
                going.session.set_preset(going.faster - 1)?;
                going.faster -= 1;
                going.preset_changes += 1;
                tell(LiveEventKind::PresetUp, format!("the preset is {} steps faster than planned", going.faster));
            }
            Verdict::Calm => {}
        }
        Ok(())
    }

    /// Has the encoders give what they hold.
    fn drain(&self, going: &mut Going<'_>) -> Result<()> {
        let until = Instant::now() + DRAIN;
        loop {
            match going.session.end(LOOK) {
                Ok(()) => break,
                Err(error) if error.code() != Code::Timeout || Instant::now() > until => return Err(error),
                Err(_) => self.control.checkpoint()?,
            }
        }
        if going.outlets.are_started() {
            return Ok(());
        }
        let tracks = going.session.tracks();
        if tracks.is_empty() {
            return Err(Error::new(Code::InputInvalid, "the source has too little media to encode").field("input"));
        }
        going.outlets.start(self.task, going.plan, &tracks, &going.clock, &self.teller.events())
    }

    /// Completes what a live attempt that goes wrong has recorded until then.
    fn rescue(&self, going: &Going<'_>) {
        if self.leaves_recordings() {
            going.outlets.complete_recordings();
            self.keep_recordings();
        }
    }

    /// Whether a recording stays, however the attempt ends: only one that is told to stop at once
    /// throws it away.
    fn leaves_recordings(&self) -> bool {
        self.task.live.is_some() && (self.control.is_finishing() || !self.control.is_canceled())
    }

    fn keep_recordings(&self) {
        if self.leaves_recordings() {
            self.remains.keep_media();
        }
    }

    fn live_report(&self, going: &Going<'_>, losses: &crate::gstreamer::intake::Losses) -> LiveReport {
        let latency = going.session.latency().all;
        LiveReport {
            added_latency_ms_p50: (latency.pictures > 0).then_some(latency.p50.as_secs_f64() * 1e3),
            added_latency_ms_p95: (latency.pictures > 0).then_some(latency.p95.as_secs_f64() * 1e3),
            source_losses: losses.count,
            source_away_seconds: losses.away.as_secs_f64(),
            dropped_frames: losses.dropped + losses.late,
            slowest_speed: going.pace.slowest(),
            preset_changes: going.preset_changes,
            ..LiveReport::default()
        }
    }

    fn with_outputs(&self, live: LiveReport, going: &Going<'_>, ended: &Ended) -> LiveReport {
        let first = ended.states().filter_map(|state| state.first_byte_at).min();
        let running = going.clock.running_time();
        let since_first = first.map(|first| Duration::from(running.saturating_sub(first)));
        let sum = |count: fn(&crate::gstreamer::output::OutputState) -> u64| ended.states().map(count).sum::<u64>();
        LiveReport {
            first_output_ms: since_first.map(|since| self.begun.elapsed().saturating_sub(since).as_secs_f64() * 1e3),
            output_losses: sum(|state| state.losses),
            outputs_unreached: ended.pushes.iter().filter(|state| state.first_byte_at.is_none()).count() as u64,
            dropped_groups: sum(|state| state.dropped_groups),
            dropped_frames: live.dropped_frames + sum(|state| state.dropped_frames),
            ..live
        }
    }
}

/// Kinds of the session's tracks: the renditions, then the sound.
fn kinds(plan: &Plan) -> Vec<TrackKind> {
    let pictures = plan.renditions().iter().map(|_| TrackKind::Video);
    pictures.chain(sound(plan).map(|_| TrackKind::Audio)).collect()
}

fn pictures(plan: &Plan) -> Option<&PicturePlan> {
    match &plan.video {
        Some(VideoPlan::Encode(pictures)) => Some(pictures),
        _ => None,
    }
}

/// The one track of sound that live outputs have.
fn sound(plan: &Plan) -> Option<AudioEncode> {
    match plan.audio.first()?.work {
        AudioWork::Encode(sound) => Some(sound),
        AudioWork::Copy => None,
    }
}

/// The encoder of each rendition, as the session chooses it; what was refused on the way is worth a
/// warning.
fn encoders(plan: &Plan, warnings: &mut Vec<String>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for rendition in plan.renditions() {
        let choice = elements::choose(rendition.codec, rendition.encoder, rendition.hardware)?;
        names.push(super::encoder_name(&choice.element));
        warnings.extend(choice.refused);
    }
    warnings.dedup();
    Ok(names)
}

/// What of a file is wanted, with streams counted among their kind.
fn file_wants(plan: &Plan, info: &MediaInfo) -> Wants {
    let place = |index: usize, is_kind: fn(&ffrtmp_core::media::StreamInfo) -> bool| {
        info.streams.iter().take_while(|stream| stream.index != index).filter(|stream| is_kind(stream)).count()
    };
    let is_picture = |it: &ffrtmp_core::media::StreamInfo| it.video.as_ref().is_some_and(|video| !video.cover_art);
    let picture = pictures(plan);
    let stream = picture.and_then(|it| it.stream);
    let rotation = stream.and_then(|index| info.streams.get(index)?.video.as_ref()).map_or(0, |it| it.rotation);
    Wants {
        video: stream.map(|index| place(index, is_picture)),
        audio: plan.audio.first().and_then(|it| it.stream).map(|index| place(index, |it| it.audio.is_some())),
        deinterlace: picture.map_or(ffrtmp_core::encoding::Deinterlace::Off, |it| it.deinterlace),
        turned: rotation != 0,
        paced: false,
    }
}

/// What the plan has and this engine leaves out.
fn left_out(plan: &Plan) -> Vec<String> {
    let mut left: Vec<_> =
        plan.left_out.iter().map(|left| format!("stream {} was left out: {}", left.stream, left.reason)).collect();
    for (what, is_there) in [
        ("further tracks of sound", plan.audio.len() > 1),
        ("subtitles", !plan.subtitles.is_empty()),
        ("attached pictures", !plan.cover_art.is_empty()),
        ("attachments", !plan.attachments.is_empty()),
        ("stills", !plan.stills.is_empty()),
    ] {
        if is_there {
            left.push(format!("{what} were left out: the engine gstreamer makes pictures and one track of sound"));
        }
    }
    left
}

fn make_file(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            ErrorKind::NotFound => Code::OutputDirectoryMissing,
            ErrorKind::StorageFull => Code::DiskFull,
            _ => Code::OutputNotWritable,
        };
        Error::new(code, format!("cannot write {}", path.display())).field("output").source(error)
    };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let is_file = file.metadata().map_err(failed)?.is_file();
    if is_file {
        Ok(())
    } else {
        Err(Error::new(Code::OutputNotWritable, format!("{} is no regular file", path.display())).field("output"))
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Files of an attempt, which go unless they are kept.
#[derive(Default)]
struct Remains(std::sync::Mutex<Vec<PathBuf>>);

impl Remains {
    fn add(&self, path: PathBuf) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(path);
    }

    fn keep(self) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    /// Keeps those that something was written to.
    fn keep_media(&self) {
        let is_empty = |path: &PathBuf| fs::metadata(path).is_ok_and(|facts| facts.len() == 0);
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(is_empty);
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        for path in self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "the remains of a failed attempt could not be removed");
            }
        }
    }
}
