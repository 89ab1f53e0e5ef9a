//! The outputs of an attempt: which track goes where, from the first encoded sample to the end.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Source, Task};
use ffrtmp_core::error::{Error, Result};
use ffrtmp_core::live::LiveRules;
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::{Plan, SegmentPlan};
use gstreamer as gst;

use super::tally::{Meter, Tally};
use crate::gstreamer::media::{Clock, Encoded, Events, Track, TrackKind};
use crate::gstreamer::output::{LiveSettings, Output, OutputState, Target};
use crate::libav::readback;

/// Time for an output to send or write what it has when the attempt ends.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often it is seen, while outputs end, whether nobody shall wait for them.
const PATIENCE: Duration = Duration::from_millis(50);
/// Media that the playlists of a job without an end name.
const WINDOW: Duration = Duration::from_secs(60);
/// Media that may wait for a file while nothing is live.
const PATIENT_QUEUE: Duration = Duration::from_secs(3600);

/// Takes encoded media from the session's threads.
pub(super) struct Outlets {
    meter: Arc<Meter>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tallies: Vec<Tally>,
    kinds: Vec<TrackKind>,
    outlets: Vec<Outlet>,
    /// What came before the outputs were there.
    early: Vec<Encoded>,
    /// What waits for the other tracks where nothing is live: encoders give one track long before
    /// another, and outputs begin with a key frame.
    waiting: Option<Vec<VecDeque<Encoded>>>,
    started: bool,
    /// First moment of each track.
    begins: Vec<Option<gst::ClockTime>>,
}

impl State {
    fn is_picture(&self, encoded: &Encoded) -> bool {
        self.kinds.get(encoded.track) == Some(&TrackKind::Video)
    }

    /// Whether it is sound before the first picture, with which every output begins.
    fn is_too_early(&self, encoded: &Encoded) -> bool {
        let pictures = self.begins.iter().zip(&self.kinds).filter(|(_, kind)| **kind == TrackKind::Video);
        let begin = pictures.filter_map(|(begin, _)| *begin).min();
        !self.is_picture(encoded) && begin.is_some_and(|begin| encoded.buffer.pts() < Some(begin))
    }

    fn send(&mut self, encoded: Encoded) {
        if !self.started {
            self.early.push(encoded);
            return;
        }
        if self.is_too_early(&encoded) {
            return;
        }
        if let Some(tally) = self.tallies.get_mut(encoded.track) {
            tally.add(&encoded.buffer);
        }
        self.outlets.iter().for_each(|outlet| outlet.output.push(&encoded));
    }

    /// Sends what came before the outputs were there, first the pictures that all begin with.
    fn send_early(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        early.sort_by_key(|it| (!self.is_picture(it), it.buffer.dts().or(it.buffer.pts())));
        early.into_iter().for_each(|encoded| self.send(encoded));
    }

    /// Sends what is next in time; `all` does not wait for tracks that have nothing.
    fn send_in_order(&mut self, all: bool) {
        while let Some(next) = self.waiting.as_mut().and_then(|waiting| earliest(waiting, all)) {
            self.send(next);
        }
    }
}

fn earliest(waiting: &mut [VecDeque<Encoded>], all: bool) -> Option<Encoded> {
    if !all && waiting.iter().any(VecDeque::is_empty) {
        return None;
    }
    let time = |encoded: &Encoded| encoded.buffer.dts().or(encoded.buffer.pts());
    let heads = waiting.iter_mut().filter(|queue| !queue.is_empty());
    heads.min_by_key(|queue| queue.front().and_then(time))?.pop_front()
}

struct Outlet {
    recording: Option<Recording>,
    output: Output,
}

/// A file that is written.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) path: PathBuf,
    /// Its tracks, in the order of the file.
    pub(super) tracks: Vec<usize>,
    /// Whether it is a playlist with a directory of segments.
    pub(super) is_package: bool,
}

/// How everything ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) tallies: Vec<Tally>,
    pub(super) recordings: Vec<(Recording, OutputState)>,
    pub(super) pushes: Vec<OutputState>,
}

impl Ended {
    pub(super) fn states(&self) -> impl Iterator<Item = &OutputState> {
        self.recordings.iter().map(|(_, state)| state).chain(&self.pushes)
    }
}

impl Outlets {
    /// Outputs for tracks of these kinds; of a live attempt they get everything at once.
    pub(super) fn new(kinds: Vec<TrackKind>, is_live: bool, meter: Arc<Meter>) -> Self {
        let tallies = vec![Tally::default(); kinds.len()];
        let waiting = (!is_live).then(|| kinds.iter().map(|_| VecDeque::new()).collect());
        Self {
            meter,
            state: Mutex::new(State { begins: vec![None; kinds.len()], tallies, kinds, waiting, ..State::default() }),
        }
    }

    /// Takes a sample from the session; never blocks for long.
    pub(super) fn take(&self, encoded: Encoded) {
        let mut state = self.lock();
        let end = encoded.buffer.pts().map(|pts| pts + encoded.buffer.duration().unwrap_or_default());
        self.meter.add_bytes(encoded.buffer.size() as u64);
        self.meter.reach(end.map_or(0, gst::ClockTime::nseconds));
        if encoded.track == 0 && state.kinds.first() == Some(&TrackKind::Video) {
            self.meter.add_frame();
        }
        if let Some(begin) = state.begins.get_mut(encoded.track) {
            *begin = begin.or(encoded.buffer.pts());
        }
        match state.waiting.as_mut().and_then(|waiting| waiting.get_mut(encoded.track)) {
            Some(queue) => {
                queue.push_back(encoded);
                state.send_in_order(false);
            }
            None => state.send(encoded),
        }
    }

    pub(super) fn are_started(&self) -> bool {
        self.lock().started
    }

    /// Whether something of every track is there.
    pub(super) fn have_begun(&self) -> bool {
        self.lock().begins.iter().all(Option::is_some)
    }

    /// Starts every output of a task, now that the tracks are known.
    ///
    /// # Errors
    /// Those of [`Output::start`].
    pub(super) fn start(
        &self,
        task: &Task,
        plan: &Plan,
        tracks: &[Track],
        clock: &Clock,
        events: &Events,
    ) -> Result<()> {
        let rules = match &task.live {
            Some(live) => live.rules,
            None => LiveRules { queue: PATIENT_QUEUE, ..LiveRules::default() },
        };
        let mut outlets = Vec::new();
        for (target, places, recording) in targets(task, plan, tracks) {
            let own = places.iter().filter_map(|place| Some((*place, tracks.get(*place)?.clone()))).collect();
            let output = Output::start(target, own, &rules, clock.clone(), Arc::clone(events))?;
            outlets.push(Outlet { recording, output });
        }
        let mut state = self.lock();
        state.outlets = outlets;
        state.started = true;
        state.send_early();
        Ok(())
    }

    /// Notices outputs that are gone for good: a recording that failed, or the last server.
    ///
    /// # Errors
    /// Theirs.
    pub(super) fn check(&self) -> Result<()> {
        let state = self.lock();
        let mut failed = None;
        let mut alive = 0;
        for outlet in &state.outlets {
            match outlet.output.state().failed {
                Some(error) if outlet.recording.is_some() => return Err(error),
                Some(error) => failed = Some(error),
                None => alive += 1,
            }
        }
        failed.filter(|_| alive == 0).map_or(Ok(()), Err)
    }

    /// Ends every output, all at once.
    ///
    /// # Errors
    /// Of a recording that could not be completed; of an output that never took anything, where none did
    /// and nothing was recorded.
    pub(super) fn finish(&self, control: &Control) -> Result<Ended> {
        let (outlets, tallies) = {
            let mut state = self.lock();
            state.send_in_order(true);
            (std::mem::take(&mut state.outlets), state.tallies.clone())
        };
        let mut ended = Ended { tallies, ..Ended::default() };
        let until = Instant::now() + FAREWELL;
        outlets.iter().for_each(|outlet| outlet.output.begin_to_finish());
        let (recordings, pushes): (Vec<_>, Vec<_>) = outlets.into_iter().partition(|it| it.recording.is_some());
        let mut failed: Option<Error> = None;
        for Outlet { output, recording } in recordings {
            match output.finish(FAREWELL) {
                Ok(state) => ended.recordings.extend(recording.map(|recording| (recording, state))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for Outlet { output, .. } in pushes {
            while !output.is_done() && Instant::now() < until && !control.is_canceled() {
                output.wait(PATIENCE);
            }
            ended.pushes.push(output.finish(Duration::ZERO)?);
        }
        let is_lost = ended.recordings.is_empty() && ended.pushes.iter().all(|state| state.first_byte_at.is_none());
        if is_lost && failed.is_none() {
            failed = ended.pushes.iter_mut().find_map(|state| state.fault.take());
        }
        failed.map_or(Ok(ended), Err)
    }

    /// Completes the recordings and lets go of everything else.
    pub(super) fn complete_recordings(&self) {
        let outlets = {
            let mut state = self.lock();
            state.send_in_order(true);
            std::mem::take(&mut state.outlets)
        };
        for outlet in outlets.into_iter().filter(|outlet| outlet.recording.is_some()) {
            if let Err(error) = outlet.output.finish(FAREWELL) {
                tracing::warn!(%error, "a recording was left as it is");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every target of a task with the tracks that go there.
fn targets(task: &Task, plan: &Plan, tracks: &[Track]) -> Vec<(Target, Vec<usize>, Option<Recording>)> {
    let of_kind = |kind| tracks.iter().enumerate().filter(move |(_, track)| track.kind == kind).map(|(place, _)| place);
    let pictures: Vec<usize> = of_kind(TrackKind::Video).collect();
    let sound: Vec<usize> = of_kind(TrackKind::Audio).collect();
    // A group of tracks for each rendition, or one for sound alone.
    let groups: Vec<(Option<&str>, Vec<usize>)> = match pictures[..] {
        [] => vec![(None, sound)],
        [only] => vec![(None, std::iter::once(only).chain(sound).collect())],
        _ => pictures
            .iter()
            .map(|place| (Some(tracks[*place].name.as_str()), std::iter::once(*place).chain(sound.clone()).collect()))
            .collect(),
    };
    let is_recorded = task.live.as_ref().is_none_or(|live| live.record);
    let package = plan.segments.filter(|_| plan.container == Container::Hls);
    let mut files = readback::files(&task.output, plan).into_iter();
    let mut targets = Vec::new();
    for (name, places) in groups {
        for endpoint in task.live.iter().flat_map(|live| &live.push) {
            let endpoint = name.map_or_else(|| endpoint.clone(), |name| endpoint.of_rendition(name));
            targets.push((Target::Push(endpoint), places.clone(), None));
        }
        if is_recorded && package.is_none() {
            let path = files.next().unwrap_or_else(|| task.output.clone());
            let recording = Recording { path: path.clone(), tracks: places.clone(), is_package: false };
            let limit = task.bounds.max_output_bytes;
            let (container, grows) = (plan.container, task.live.is_some());
            targets.push((Target::Record { path, container, grows, limit }, places, Some(recording)));
        }
    }
    if let Some(segments) = package.filter(|_| is_recorded) {
        let places: Vec<usize> = (0..tracks.len()).collect();
        let path = task.output.clone();
        let recording = Recording { path: path.clone(), tracks: places.clone(), is_package: true };
        targets.push((Target::Hls { path, settings: package_of(task, plan, segments) }, places, Some(recording)));
    }
    targets
}

/// A job with an end keeps all that it made; one without keeps what viewers need.
fn package_of(task: &Task, plan: &Plan, segments: SegmentPlan) -> LiveSettings {
    let seconds = segments.duration.value();
    let is_endless = matches!(task.source, Source::Live(_)) && plan.duration.is_none();
    let window = is_endless.then(|| (WINDOW.as_secs_f64() / seconds).ceil().max(3.0) as usize);
    LiveSettings { segments: segments.kind, seconds, window, limit: task.bounds.max_output_bytes }
}
