//! One rendition: the encoder, and putting another in its place while media flows.
//!
//! The exchange happens between two pictures, on the thread that brings them: what the old encoder
//! still holds comes out before the first picture goes into the new one, which makes it a key
//! frame. No picture is lost and none is waited for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::VideoEncode;
use ffrtmp_core::units::{Bitrate, FrameRate};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use super::Pace;
use super::keys::Marks;
use super::settings::{self, Setting};
use crate::gstreamer::elements::{self, Family, VideoElement};

/// What stays the same about a rendition's encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) what: VideoElement,
    pub(super) pace: Pace,
    pub(super) fps: Option<FrameRate>,
    pub(super) threads: usize,
}

impl Kind {
    /// Whether the encoder makes no key frame when it is asked to: libaom in GStreamer takes no
    /// notice, and libvpx loses pictures when it is asked while it looks ahead. Another encoder
    /// begins with one.
    fn is_deaf(&self) -> bool {
        match self.what.family {
            Family::Aom | Family::Svt | Family::Rav1e => true,
            Family::Vp9 => self.pace == Pace::Calm,
            _ => false,
        }
    }

    fn encoder(&self, plan: &VideoEncode, faster: usize) -> Result<gst::Element> {
        let encoder = elements::make(self.what.element)?;
        let setting = Setting { plan, pace: self.pace, fps: self.fps, threads: self.threads, faster };
        settings::apply(&encoder, self.what, &setting)?;
        Ok(encoder)
    }
}

pub(super) struct Rung {
    kind: Kind,
    pub(super) marks: Marks,
    state: Mutex<State>,
}

struct State {
    plan: VideoEncode,
    /// Steps from the plan's preset towards the fastest.
    faster: usize,
    encoder: gst::Element,
    /// Whether the encoder has not seen a picture yet: its first one is a key frame anyway.
    is_fresh: bool,
    /// What takes its place at the next key frame.
    next: Option<gst::Element>,
}

impl Rung {
    /// Makes the encoder. It is in no pipeline yet.
    pub(super) fn new(kind: Kind, plan: VideoEncode) -> Result<Self> {
        let encoder = kind.encoder(&plan, 0)?;
        let state = State { plan, faster: 0, encoder, is_fresh: true, next: None };
        Ok(Self { kind, marks: Marks::default(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn encoder(&self) -> gst::Element {
        self.state().encoder.clone()
    }

    /// Watches the pictures that go into the encoder through this pad.
    pub(super) fn watch(self: &Arc<Self>, before: &gst::Pad) -> Result<()> {
        let rung = Arc::downgrade(self);
        let probe = before.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BLOCK, move |pad, info| {
            let time = info.buffer().and_then(|buffer| buffer.pts());
            if let (Some(rung), Some(time)) = (rung.upgrade(), time) {
                rung.picture(pad, time);
            }
            gst::PadProbeReturn::Pass
        });
        probe.map(drop).ok_or_else(|| Error::new(Code::Internal, "the pad of the encoder cannot be watched"))
    }

    fn picture(&self, before: &gst::Pad, time: gst::ClockTime) {
        let is_key = self.marks.take(time.nseconds());
        let mut state = self.state();
        if is_key && !state.is_fresh && state.next.is_none() && self.kind.is_deaf() {
            state.next = self.kind.encoder(&state.plan, state.faster).ok();
        }
        if is_key && let Some(next) = state.next.take() {
            exchange(before, &state.encoder, &next);
            state.encoder = next;
            state.is_fresh = true;
        }
        let is_first = std::mem::replace(&mut state.is_fresh, false);
        let encoder = state.encoder.clone();
        drop(state);
        if is_key && !is_first {
            ask_for_key(&encoder, time);
        }
    }

    /// Gives it another rate: at once where the encoder can, else with another encoder, at the next
    /// key frame. Whether a key frame is waited for.
    pub(super) fn set_rate(&self, rate: Bitrate) -> Result<bool> {
        let mut state = self.state();
        let plan = settings::with_rate(&state.plan, rate);
        let waits = if state.next.is_none() && settings::change_rate(&state.encoder, self.kind.what, &state.plan, rate)
        {
            false
        } else {
            state.next = Some(self.kind.encoder(&plan, state.faster)?);
            true
        };
        state.plan = plan;
        Ok(waits)
    }

    /// Goes so many steps from the plan's preset towards the fastest, at the next key frame.
    /// Whether anything changes.
    pub(super) fn set_faster(&self, steps: usize) -> Result<bool> {
        let mut state = self.state();
        if state.faster == steps {
            return Ok(false);
        }
        state.next = Some(self.kind.encoder(&state.plan, steps)?);
        state.faster = steps;
        Ok(true)
    }

    /// Steps that its plan's preset has to the fastest.
    pub(super) fn most_steps(&self) -> usize {
        let preset = settings::Preset::parse(self.state().plan.preset.as_deref(), self.kind.pace);
        preset.map_or(0, settings::Preset::steps_left)
    }
}

fn ask_for_key(encoder: &gst::Element, time: gst::ClockTime) {
    let event = gst_video::UpstreamForceKeyUnitEvent::builder().running_time(time).all_headers(true).build();
    if let Some(pad) = encoder.static_pad("src") {
        pad.send_event(event);
    }
}

/// Drains one encoder and puts another in its place. What can go wrong here goes wrong again when
/// the next picture finds no way, and is reported then.
fn exchange(before: &gst::Pad, old: &gst::Element, new: &gst::Element) {
    let (Some(bin), Some(old_in), Some(old_out)) =
        (old.parent().and_downcast::<gst::Bin>(), old.static_pad("sink"), old.static_pad("src"))
    else {
        return;
    };
    let Some(after) = old_out.peer() else { return };
    let unlinked = before.unlink(&old_in);
    // The end of this encoder is not the end of the track.
    old_out.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        if info.event().is_none_or(|event| event.type_() != gst::EventType::Eos) {
            return gst::PadProbeReturn::Ok;
        }
        info.data = None;
        gst::PadProbeReturn::Handled
    });
    old_in.send_event(gst::event::Eos::new());
    let linked = unlinked
        .and_then(|()| old_out.unlink(&after))
        .map_err(|error| error.to_string())
        .and_then(|()| replace(&bin, old, new).map_err(|error| error.to_string()))
        .and_then(|()| link(before, new, &after));
    if let Err(error) = linked {
        gst::element_error!(bin, gst::CoreError::Pad, ("an encoder cannot be exchanged: {error}"));
    }
}

fn replace(bin: &gst::Bin, old: &gst::Element, new: &gst::Element) -> std::result::Result<(), gst::glib::BoolError> {
    bin.remove(old)?;
    // It stopped with its last picture; that it is gone is all that matters.
    let _ = old.set_state(gst::State::Null);
    bin.add(new)
}

fn link(before: &gst::Pad, new: &gst::Element, after: &gst::Pad) -> std::result::Result<(), String> {
    let pad = |name: &str| new.static_pad(name).ok_or_else(|| format!("it has no {name} pad"));
    let linked = |result: std::result::Result<gst::PadLinkSuccess, gst::PadLinkError>| {
        result.map(drop).map_err(|error| error.to_string())
    };
    linked(pad("src")?.link(after))?;
    new.sync_state_with_parent().map_err(|error| error.to_string())?;
    linked(before.link(&pad("sink")?))
}
