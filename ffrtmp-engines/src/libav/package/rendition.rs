//! What manifests say about a stream: plain values, made once when everything is written.

/// One stream of a package as the manifests describe it.
#[derive(Clone, Debug)]
pub(super) struct Rendition {
    /// Its directory, which is also its name in manifests.
    pub(super) name: String,
    pub(super) content: Content,
    /// By RFC 6381, if there is a name for it.
    pub(super) codec: Option<String>,
    pub(super) label: Label,
    pub(super) segments: Vec<Span>,
    /// Ticks per second of the segments' own times; 0 where they have none.
    pub(super) timescale: u32,
}

/// What it shows or sounds like.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Video {
        /// Pixels as they are coded, and as they are shown.
        size: (u32, u32),
        display: (u32, u32),
        frame_rate: f64,
        range: Range,
        keys: Vec<Key>,
    },
    Audio {
        channels: u16,
        sample_rate: u32,
    },
    Text,
}

/// Dynamic range, in the words of EXT-X-STREAM-INF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    Sdr,
    Hlg,
    Pq,
}

/// How people tell it from others of its kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Label {
    /// A language tag of BCP 47.
    pub(super) language: Option<String>,
    pub(super) title: Option<String>,
    pub(super) is_default: bool,
    /// Text that belongs to the film, such as what signs say.
    pub(super) is_forced: bool,
    /// What it does for people who cannot hear or see, in Apple's words.
    pub(super) characteristics: Option<&'static str>,
}

/// A segment: when it is presented, in seconds, and its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) bytes: u64,
}

/// A picture that can be fetched and decoded alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) segment: usize,
    pub(super) start: f64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bandwidth {
    pub(super) peak: u64,
    pub(super) average: u64,
}

impl Range {
    /// By the transfer characteristics of ITU-T H.273.
    pub(super) fn of_transfer(transfer: i32) -> Self {
        match transfer {
            16 => Self::Pq,
            18 => Self::Hlg,
            _ => Self::Sdr,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sdr => "SDR",
            Self::Hlg => "HLG",
            Self::Pq => "PQ",
        }
    }
}

impl Span {
    pub(super) fn seconds(&self) -> f64 {
        self.end - self.start
    }
}

impl Rendition {
    pub(super) fn end(&self) -> f64 {
        self.segments.last().map_or(0.0, |last| last.end)
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self.content, Content::Video { .. })
    }

    pub(super) fn is_audio(&self) -> bool {
        matches!(self.content, Content::Audio { .. })
    }

    pub(super) fn keys(&self) -> &[Key] {
        match &self.content {
            Content::Video { keys, .. } => keys,
            _ => &[],
        }
    }

    /// How long each key picture is shown where only key pictures are, with its size.
    pub(super) fn key_spans(&self) -> Vec<Span> {
        let keys = self.keys();
        let ends = keys.iter().skip(1).map(|key| key.start).chain([self.end()]);
        keys.iter().zip(ends).map(|(key, end)| Span { start: key.start, end, bytes: key.length }).collect()
    }
}

/// Peak and average of a playlist, measured (RFC 8216bis, section 4.4.6.2): the peak is that of any
/// run of segments which lasts from half to one and a half times the target duration.
pub(super) fn bandwidth(spans: &[Span], target: f64) -> Bandwidth {
    let average = rate(spans);
    let mut peak = average;
    for first in 0..spans.len() {
        let (mut bits, mut seconds) = (0.0, 0.0);
        for span in &spans[first..] {
            bits += span.bytes as f64 * 8.0;
            seconds += span.seconds();
            if seconds > target * 1.5 {
                break;
            }
            if seconds >= target * 0.5 {
                peak = f64::max(peak, bits / seconds);
            }
        }
    }
    Bandwidth { peak: peak.ceil() as u64, average: average.ceil() as u64 }
}

/// The same of a playlist of key pictures: players fetch them one by one, so that the peak is that of
/// the one that asks for most in its time.
pub(super) fn key_bandwidth(spans: &[Span]) -> Bandwidth {
    let average = rate(spans);
    let peak = spans.iter().map(|span| rate(std::slice::from_ref(span))).fold(average, f64::max);
    Bandwidth { peak: peak.ceil() as u64, average: average.ceil() as u64 }
}

/// Bits per second of segments one after the other.
fn rate(spans: &[Span]) -> f64 {
    let bits: f64 = spans.iter().map(|span| span.bytes as f64 * 8.0).sum();
    let seconds: f64 = spans.iter().map(Span::seconds).sum();
    if seconds > 0.0 { bits / seconds } else { 0.0 }
}

/// The longest segment, in whole seconds as EXT-X-TARGETDURATION counts them.
pub(super) fn target_duration<'a>(spans: impl IntoIterator<Item = &'a Span>) -> u64 {
    let longest = spans.into_iter().map(Span::seconds).fold(0.0, f64::max);
    (longest.round() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(each: &[(f64, u64)]) -> Vec<Span> {
        let mut start = 0.0;
        let mut span = |&(seconds, bytes): &(f64, u64)| {
            let span = Span { start, end: start + seconds, bytes };
            start = span.end;
            span
        };
        each.iter().map(&mut span).collect()
    }

    #[test]
    fn the_peak_is_that_of_the_worst_run_of_segments() {
        let even = spans(&[(4.0, 1000), (4.0, 1000), (4.0, 1000)]);
        assert_eq!(bandwidth(&even, 4.0), Bandwidth { peak: 2000, average: 2000 });
        let uneven = spans(&[(4.0, 1000), (4.0, 3000), (4.0, 1000)]);
        assert_eq!(bandwidth(&uneven, 4.0), Bandwidth { peak: 6000, average: 3334 });
        // A piece shorter than half a segment counts together with its neighbours only.
        let short = spans(&[(4.0, 1000), (0.5, 1000)]);
        assert_eq!(bandwidth(&short, 4.0), Bandwidth { peak: 3556, average: 3556 });
        assert_eq!(bandwidth(&[], 4.0), Bandwidth::default());
    }

    #[test]
    fn the_peak_of_key_pictures_is_that_of_one() {
        for (keys, peak, average) in [
            (&[(2.0, 1000), (2.0, 3000), (2.0, 1000)][..], 12_000, 6667),
            // The largest is not the one that asks for most.
            (&[(4.0, 5000), (0.4, 1000), (3.6, 2000)], 20_000, 8000),
            // A picture without a length says nothing.
            (&[(2.0, 1000), (0.0, 9000)], 40_000, 40_000),
            (&[], 0, 0),
        ] {
            assert_eq!(key_bandwidth(&spans(keys)), Bandwidth { peak, average }, "{keys:?}");
        }
    }

    #[test]
    fn the_target_duration_rounds_as_players_do() {
        for (seconds, target) in [(3.4, 3), (3.5, 4), (0.2, 1)] {
            assert_eq!(target_duration(&spans(&[(seconds, 1), (0.1, 1)])), target);
        }
    }
}
