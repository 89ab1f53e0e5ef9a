//! What is told of a source: what it is and when it changes, what came unasked, what was dropped.

use std::time::{Duration, Instant};

use ffrtmp_core::error::Result;
use ffrtmp_core::live::LiveEventKind;

use super::basin::Item;
use super::facts::{self, Seen};
use super::{Intake, Link};
use crate::gstreamer::media::TrackKind;

/// Time between two words about dropped media.
const WORDS_APART: Duration = Duration::from_secs(10);

impl Intake {
    /// Notices what the source is, and when it changes.
    pub(super) fn see(&mut self, item: &Item) -> Result<()> {
        let Some(caps) = item.sample.caps() else { return Ok(()) };
        let known = &self.seen[item.kind as usize];
        if known.as_ref().is_some_and(|known| known.caps.as_ref() == caps) {
            return Ok(());
        }
        facts::check(caps, &self.bounds)?;
        let codec = match &self.link {
            Link::Up { connection, .. } => connection.basin.codec(item.kind),
            Link::Away { .. } | Link::Over => None,
        };
        let is_change = known.is_some();
        self.seen[item.kind as usize] = Some(Seen { caps: caps.to_owned(), codec });
        if is_change {
            self.tell(LiveEventKind::SourceChanged, format!("the source is {} now", facts::words(caps)));
        }
        Ok(())
    }

    /// What was not there when the attempt was planned has no place in its outputs.
    pub(super) fn note_uninvited(&mut self, item: &Item) {
        let (known, caps) = (&mut self.seen[item.kind as usize], item.sample.caps_owned());
        let Some(caps) = caps.filter(|_| known.is_none()) else { return };
        let text =
            format!("the source sends {} now; the attempt began without and goes on without", facts::words(&caps));
        *known = Some(Seen { caps, codec: None });
        self.tell(LiveEventKind::SourceChanged, text);
    }

    pub(super) fn note_dropped(&mut self) {
        let Link::Up { connection, .. } = &self.link else { return };
        let (dropped, late) = (connection.basin.take_dropped(), self.timeline.take_lost());
        self.losses.dropped += dropped[0];
        self.losses.late += late[0];
        for (sums, more) in self.unsaid.iter_mut().zip([dropped, late]) {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        if self.unsaid == [[0; 2]; 2] || self.told.is_some_and(|told| told.elapsed() < WORDS_APART) {
            return;
        }
        self.told = Some(Instant::now());
        let [dropped, late] = std::mem::take(&mut self.unsaid);
        for ([pictures, sounds], why) in
            [(dropped, "came faster than they are encoded"), (late, "came when their time was over")]
        {
            if pictures + sounds > 0 {
                let text = format!("{pictures} pictures and {sounds} pieces of sound of the source {why}");
                self.tell(LiveEventKind::Dropped, text);
            }
        }
    }

    /// A kind that was announced may be there at last.
    pub(super) fn note_arrival(&mut self, kind: TrackKind) {
        self.renewed[kind as usize] = false;
        if std::mem::take(&mut self.stands_in[kind as usize]) {
            self.tell(LiveEventKind::SourceChanged, format!("the source sends {} now", words_for(kind)));
        }
    }
}

/// A kind, for people.
pub(super) fn words_for(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "pictures",
        TrackKind::Audio => "sound",
    }
}
