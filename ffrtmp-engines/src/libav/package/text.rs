//! Subtitles of a package: cues of WebVTT, cut at the segments of the video.
//!
//! Cues come as the WebVTT encoder or demuxer of libav gives them: text only, times beside it.

use std::fmt::Write as _;

use ffrtmp_core::error::{Code, Error, Result};

use super::Segments;

/// All cues in one file, for manifests that do not cut text.
pub(super) const WHOLE: &str = "all.vtt";
/// Bytes of text that a track may have.
const MAX_TEXT: usize = 64 << 20;
/// Where libav's transport streams put time zero, in ticks of 90 kHz.
const TRANSPORT_ZERO: u32 = 126_000;

/// The cues of one track, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Cues {
    cues: Vec<Cue>,
    bytes: usize,
}

#[derive(Debug)]
struct Cue {
    start: f64,
    end: f64,
    text: String,
}

impl Cues {
    pub(super) fn add(&mut self, start: f64, length: f64, text: &[u8]) -> Result<()> {
        let text = harmless(&String::from_utf8_lossy(text));
        if text.is_empty() {
            return Ok(());
        }
        self.bytes += text.len();
        if self.bytes > MAX_TEXT {
            return Err(Error::new(Code::InputTooLarge, "the subtitles are longer than any text").field("input"));
        }
        self.cues.push(Cue { start: start.max(0.0), end: start + length.max(0.001), text });
        Ok(())
    }

    pub(super) fn end(&self) -> f64 {
        self.cues.iter().map(|cue| cue.end).fold(0.0, f64::max)
    }

    /// All of them as a file of its own.
    pub(super) fn whole(&self) -> String {
        file("WEBVTT\n", self.cues.iter())
    }

    /// What is shown in a stretch of time. A cue that is shown in several segments is in all of
    /// them, with the same times, as RFC 8216 section 3.5 asks.
    pub(super) fn segment(&self, start: f64, end: f64, format: Segments) -> String {
        let zero = match format {
            Segments::Cmaf => 0,
            Segments::MpegTs => TRANSPORT_ZERO,
        };
        let head = format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{zero},LOCAL:00:00:00.000\n");
        file(&head, self.cues.iter().filter(|cue| cue.start < end && cue.end > start))
    }
}

fn file<'a>(head: &str, cues: impl Iterator<Item = &'a Cue>) -> String {
    let mut text = head.to_owned();
    for cue in cues {
        let _ = write!(text, "\n{} --> {}\n{}\n", clock(cue.start), clock(cue.end), cue.text);
    }
    text
}

fn clock(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    format!("{:02}:{:02}:{:02}.{:03}", millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60, millis % 1000)
}

/// The text of a cue without what would end it early or begin another.
fn harmless(text: &str) -> String {
    let lines = text.lines().map(|line| line.replace('\0', "").replace("-->", "->"));
    let lines: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_are_in_every_segment_that_shows_them() {
        let mut cues = Cues::default();
        cues.add(1.0, 2.0, b"one\r\n\r\n2 --> 3\n").unwrap();
        cues.add(3600.5, 1.25, "zwei".as_bytes()).unwrap();
        cues.add(5.0, 1.0, b" \n").unwrap();
        let first = cues.segment(0.0, 2.0, Segments::Cmaf);
        assert_eq!(
            first,
            "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n00:00:01.000 --> 00:00:03.000\none\n2 -> 3\n"
        );
        assert_eq!(cues.segment(2.0, 4.0, Segments::Cmaf), first);
        assert_eq!(cues.segment(4.0, 6.0, Segments::MpegTs).lines().count(), 2);
        assert!(cues.whole().ends_with("\n01:00:00.500 --> 01:00:01.750\nzwei\n"));
        assert!((cues.end() - 3601.75).abs() < 1e-9);
    }
}
