//! A source that is lost and connected anew, until the stall is over.

use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::LiveEventKind;
use ffrtmp_core::location::Scheme;

use super::basin::{Basin, Overflow};
use super::graph::{Connection, Feed};
use super::news::words_for;
use super::{Intake, Link, Origin, fault, is_wanted};
use crate::gstreamer::complaints;
use crate::gstreamer::media::TrackKind;

/// A live source that is silent for this long is lost.
const SILENCE: Duration = Duration::from_secs(2);
/// The same for one that is fetched in segments.
const SILENCE_BETWEEN_SEGMENTS: Duration = Duration::from_secs(10);

impl Intake {
    /// Nothing came: a live source that is silent for long is lost, then connected anew.
    pub(super) fn watch(&mut self) {
        if !self.is_live() {
            return;
        }
        let silence = if self.is_streaming() { SILENCE } else { SILENCE_BETWEEN_SEGMENTS };
        if self.clock.is_some() && self.last.elapsed() > silence {
            self.lose("is silent");
        }
        let connected = match &self.link {
            Link::Up { since, .. } => since.elapsed(),
            Link::Away { .. } | Link::Over => Duration::ZERO,
        };
        // What is fetched may have to wait for a segment that it does not have yet.
        let wait = if self.is_streaming() { Duration::ZERO } else { SILENCE_BETWEEN_SEGMENTS };
        if self.lost.is_some() && self.last.elapsed().min(connected) > self.rules.connect + wait {
            self.retry(None);
        }
    }

    pub(super) fn end(&mut self) -> Result<()> {
        if !self.is_streaming() {
            self.link = Link::Over;
            return Ok(());
        }
        if self.clock.is_none() {
            return self.fail(Error::new(Code::Network, "the source ended before it sent anything").field("input"));
        }
        self.lose("ended");
        self.retry(None);
        Ok(())
    }

    pub(super) fn fail(&mut self, error: Error) -> Result<()> {
        // What does not talk RTMP breaks as well, and that tells less.
        self.check_sense()?;
        let never_there = self.clock.is_none();
        let is_final = !fault::may_pass(&error) || self.opened.elapsed() > self.rules.connect;
        if !self.is_live() || never_there && is_final {
            return Err(error);
        }
        if !never_there {
            self.lose(error.message());
        }
        self.retry(Some(error));
        Ok(())
    }

    fn lose(&mut self, how: &str) {
        if self.lost.is_none() {
            self.lost = Some(self.last);
            self.losses.count += 1;
            let Origin::Live(endpoint) = &self.origin else { return };
            let text = if how.contains("://") { how.to_owned() } else { format!("{endpoint} {how}") };
            self.tell(LiveEventKind::SourceLost, text);
        }
    }

    fn retry(&mut self, after: Option<Error>) {
        self.link = Link::Away { until: Instant::now() + self.backoff, after };
        self.backoff = (self.backoff * 2).min(self.rules.most_backoff);
    }

    pub(super) fn reconnect(&mut self) -> Result<()> {
        self.link = self.up()?;
        Ok(())
    }

    /// A connection began without a kind that is there now; a new one begins with it.
    pub(super) fn renew(&mut self, kind: TrackKind) -> Result<()> {
        if std::mem::replace(&mut self.renewed[kind as usize], true) {
            return Ok(());
        }
        let what = words_for(kind);
        if !is_wanted(&self.wants, kind) {
            let text = format!("the source sends {what} now; the attempt began without and goes on without");
            self.tell(LiveEventKind::SourceChanged, text);
            return Ok(());
        }
        let text = format!("the source begins to send {what}: it is connected anew for that");
        self.tell(LiveEventKind::SourceChanged, text);
        self.timeline.begin_stretch();
        self.reconnect()
    }

    pub(super) fn check_stall(&self) -> Result<()> {
        if !self.is_live() || self.last.elapsed() < self.rules.stall {
            return Ok(());
        }
        let Origin::Live(endpoint) = &self.origin else { return Ok(()) };
        let seconds = self.rules.stall.as_secs_f64();
        let (why, hint) = match &self.link {
            Link::Away { after: Some(after), .. } => (format!(": {}", after.message()), after.hint_text()),
            _ => (String::new(), "start the publisher before the job, or raise the stall limit"),
        };
        let what = format!("{endpoint} sent nothing for {seconds:.0} s{why}");
        Err(Error::new(Code::Timeout, what).field("input").hint(hint.to_owned()))
    }

    /// Whether what came so far may be a source at all.
    pub(super) fn check_sense(&self) -> Result<()> {
        let Origin::Live(endpoint) = &self.origin else { return Ok(()) };
        if self.clock.is_some() || endpoint.scheme() != Scheme::Rtmp || complaints::of_rtmp() == self.complaints {
            return Ok(());
        }
        let what = format!("{endpoint} talks nonsense after the handshake of RTMP");
        let hint = "check that host and port are those of an RTMP server, and that it publishes this stream";
        Err(Error::new(Code::InputInvalid, what).field("input").hint(hint))
    }

    pub(super) fn up(&self) -> Result<Link> {
        let overflow = if self.is_streaming() { Overflow::DropOldest } else { Overflow::Hold };
        let feed = match &self.origin {
            Origin::File(path) => Feed::File(path),
            Origin::Generated(generated) => Feed::Generated(generated),
            Origin::Live(endpoint) => Feed::Live(endpoint, &self.played),
        };
        let connection = Connection::start(feed, &self.wants, self.rules.connect, Basin::new(overflow))?;
        Ok(Link::Up { connection, since: Instant::now() })
    }
}
