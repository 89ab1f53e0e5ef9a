//! The rules for copies: every packet arrives, at the source's time.

use std::path::Path;

use ffrtmp_core::error::Code;
use ffrtmp_core::job::Parameters;
use ffrtmp_core::media::{Container, Target};

use super::seen::{Seen, Stream};
use super::{Quirk, Trial};

/// Most that a time may be off, in seconds: Matroska rounds to milliseconds, twice.
const ROUNDING: f64 = 0.001_6;

impl Trial<'_> {
    pub(super) fn copies(&mut self, input: &Path, source: &Seen) {
        if self.case.refusal().is_some() {
            return;
        }
        for container in [Container::Mkv, Container::Mp4, Container::MpegTs] {
            self.copy(input, source, container);
        }
    }

    fn copy(&mut self, input: &Path, source: &Seen, container: Container) {
        let parameters =
            Parameters { codec: Some(Target::Copy), audio_codec: Some(Target::Copy), ..Parameters::default() };
        let (output, made) = self.run(input, container, parameters);
        let refusal = self.case.quirks.iter().find_map(|quirk| match quirk {
            Quirk::NoCopy(to, code, _) if *to == container => Some(*code),
            _ => None,
        });
        match (made, refusal) {
            (Ok(_), Some(_)) => self.fault(format!("a copy to {container} is not refused any more")),
            (Ok(_), None) => {
                for fault in self.differences(source, &Seen::read(&output), container) {
                    self.fault(format!("copy to {container}: {fault}"));
                }
            }
            (Err(error), Some(code)) if error.code() == code => {}
            (Err(error), None) if error.code() == Code::ContainerMismatch && !takes_all(container, source) => {}
            (Err(error), _) => self.fault(format!("copy to {container}: {} {error}", error.code())),
        }
    }

    fn differences(&self, source: &Seen, copy: &Seen, container: Container) -> Vec<String> {
        let kept = |seen: &'_ Seen| -> Vec<usize> {
            seen.video().into_iter().chain(seen.of_type("audio")).map(|stream| stream.index).collect()
        };
        let (old, new) = (kept(source), kept(copy));
        if old.len() != new.len() {
            return vec![format!("{} streams instead of {}", new.len(), old.len())];
        }
        let by_index = |seen: &'_ Seen, index: usize| -> Vec<Option<f64>> {
            seen.streams.iter().find(|stream| stream.index == index).map_or(Vec::new(), |stream| seen.packets(stream))
        };
        let old: Vec<_> = old.into_iter().map(|index| by_index(source, index)).collect();
        let new: Vec<_> = new.into_iter().map(|index| by_index(copy, index)).collect();
        let origin = |streams: &[Vec<Option<f64>>]| streams.iter().flatten().flatten().copied().reduce(f64::min);
        let (Some(from), Some(to)) = (origin(&old), origin(&new)) else { return vec!["nothing in it".to_owned()] };
        let is_delayed =
            container == Container::Mkv && source.of_type("audio").iter().any(|stream| stream.codec_name == "opus");
        let rounding = if is_delayed { DELAY } else { ROUNDING };
        let mut faults = Vec::new();
        for (stream, (old, new)) in old.iter().zip(&new).enumerate() {
            if old.len() != new.len() {
                faults.push(format!("stream {stream} has {} packets instead of {}", new.len(), old.len()));
                continue;
            }
            if self.case.has(&Quirk::OtherTimes) || old.iter().any(Option::is_none) {
                continue;
            }
            let pairs =
                old.iter().zip(new).map(|(old, new)| (old.unwrap_or(0.0) - from, new.unwrap_or(f64::INFINITY) - to));
            let wrong = pairs.enumerate().find(|(_, (old, new))| (old - new).abs() > rounding);
            if let Some((place, (old, new))) = wrong {
                faults.push(format!("packet {place} of stream {stream} is at {new:.4} s instead of {old:.4} s"));
            }
        }
        faults
    }
}

/// The Matroska muxer of libav moves Opus by its delay of 6.5 ms.
const DELAY: f64 = 0.008;

/// Codecs for which libav's Matroska has no name.
const NAMELESS: [&str; 3] = ["rawvideo", "rv20", "adpcm_ima_qt"];

/// Whether a container must take every stream of a source; what it takes beyond that is its affair.
fn takes_all(container: Container, source: &Seen) -> bool {
    let kept: Vec<&Stream> = source.video().into_iter().chain(source.of_type("audio")).collect();
    let codecs: &[&str] = match container {
        Container::Mp4 => &["h264", "hevc", "av1", "vp9", "mpeg4", "aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"],
        Container::MpegTs => &["h264", "hevc", "mpeg2video", "aac", "mp3", "mp2", "ac3", "eac3", "opus"],
        _ => return kept.iter().all(|stream| !NAMELESS.contains(&stream.codec_name.as_str())),
    };
    kept.iter().all(|stream| codecs.contains(&stream.codec_name.as_str()))
}
