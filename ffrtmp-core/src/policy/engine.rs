//! Which engine runs a job, and why.
//!
//! Rules, the first that holds decides:
//! 1. The request names an engine: that one and no other.
//! 2. The queue is `live`: GStreamer.
//! 3. Input or output flows over RTMP, RTSP or SRT: GStreamer.
//! 4. The scenario asks for a GPU encoder and a stream: GStreamer.
//! 5. The queue is `batch`, or everything is files and no word hints a live stream: libav.
//! 6. Otherwise the higher score of a small table: GStreamer has 2 for a live word and 1 for an
//!    input over HTTP, which may be a feed; libav has 2 for an output file and 1 for an input at
//!    rest, a file or generated. libav wins a tie.
//!
//! Where GStreamer was chosen by rule (not by name) and both ends are files, libav makes the same
//! file: it is the fallback for a fleet without GStreamer.

use crate::job::{EngineChoice, EngineName, Queue};
use crate::location::Scheme;
use crate::scenario::Scenario;

/// An engine and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The engine.
    pub engine: EngineName,
    /// Why, in words.
    pub reason: String,
    /// The engine that may stand in where no node has the first one.
    pub fallback: Option<EngineName>,
}

/// Chooses the engine of a job. An input or output that is absent is generated or kept by the
/// agent; one that cannot be read counts as a file.
#[must_use]
pub fn choose(
    asked: EngineChoice,
    queue: Queue,
    scenario: &Scenario,
    input: Option<&str>,
    output: Option<&str>,
) -> Chosen {
    let asked = match asked {
        EngineChoice::Ffmpeg => Some(EngineName::Ffmpeg),
        EngineChoice::Gstreamer => Some(EngineName::Gstreamer),
        EngineChoice::Auto => None,
    };
    if let Some(engine) = asked {
        return Chosen { engine, reason: format!("{engine} was asked for"), fallback: None };
    }
    let source = input.map(|text| Scheme::of_input(text).unwrap_or(Scheme::File));
    let output = output.and_then(|text| Scheme::of_output(text).ok()).unwrap_or(Scheme::File);
    by_rule(queue, scenario, source, output)
}

/// Chooses for an input of this scheme, or a generated one.
fn by_rule(queue: Queue, scenario: &Scenario, source: Option<Scheme>, output: Scheme) -> Chosen {
    let input = source.unwrap_or(Scheme::File);
    let streaming = [input, output].into_iter().find(|scheme| scheme.is_streaming());
    if let Some(scheme) = streaming {
        return gstreamer(format!("the protocol is {}", scheme.as_str()), None);
    }
    let fallback = Some(EngineName::Ffmpeg);
    if queue == Queue::Live {
        return gstreamer("the queue is live".into(), fallback);
    }
    if let Some(gpu) = GPU_WORDS.iter().find(|word| scenario.has_word(word)).filter(|_| scenario.is_live_hint()) {
        return gstreamer(format!("the GPU encoder {gpu} meets a stream"), fallback);
    }
    if queue == Queue::Batch {
        return ffmpeg("the queue is batch".into());
    }
    if !scenario.is_live_hint() && input == Scheme::File {
        let ends = match source {
            Some(_) => "input and output are files",
            None => "the input is generated and the output is a file",
        };
        return ffmpeg(ends.into());
    }
    by_score(scenario, input)
}

/// Words of a scenario that ask for a GPU encoder.
const GPU_WORDS: &[&str] = &["gpu", "nvenc", "qsv", "vaapi"];

/// Rule 6. Only files and HTTP inputs get here, and every output is a file.
fn by_score(scenario: &Scenario, input: Scheme) -> Chosen {
    let points = |applies: bool, points: u32| if applies { points } else { 0 };
    let (live, fetched) = (points(scenario.is_live_hint(), 2), points(input == Scheme::Http, 1));
    let (at_rest, output) = (points(input == Scheme::File, 1), 2);
    let (for_gstreamer, for_ffmpeg) = (live + fetched, at_rest + output);
    let reason = format!(
        "weighted choice: gstreamer {for_gstreamer} (live word {live}, input over HTTP {fetched}), \
         ffmpeg {for_ffmpeg} (input at rest {at_rest}, output file {output})"
    );
    if for_gstreamer > for_ffmpeg { gstreamer(reason, Some(EngineName::Ffmpeg)) } else { ffmpeg(reason) }
}

fn gstreamer(reason: String, fallback: Option<EngineName>) -> Chosen {
    Chosen { engine: EngineName::Gstreamer, reason, fallback }
}

fn ffmpeg(reason: String) -> Chosen {
    Chosen { engine: EngineName::Ffmpeg, reason, fallback: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_their_order() {
        use EngineChoice::{Auto, Ffmpeg, Gstreamer};
        const NONE: Option<&str> = None;
        for (asked, queue, scenario, input, output, chosen, stands_in) in [
            (Ffmpeg, Queue::Live, "live-4k", NONE, Some("rtmp://h/live/x"), "ffmpeg was asked for", false),
            (Gstreamer, Queue::Batch, "transcode", Some("a.mp4"), NONE, "gstreamer was asked for", false),
            (Auto, Queue::Default, "transcode", Some("rtsp://cam/1"), NONE, "gstreamer: the protocol is RTSP", false),
            (Auto, Queue::Batch, "transcode", NONE, Some("srt://h:9000"), "gstreamer: the protocol is SRT", false),
            (Auto, Queue::Live, "transcode", NONE, NONE, "gstreamer: the queue is live", true),
            (Auto, Queue::Live, "live-stream", Some("https://h/a.mp4"), NONE, "gstreamer: the queue is live", true),
            (Auto, Queue::Default, "stream-nvenc", NONE, NONE, "gstreamer: the GPU encoder nvenc meets a stream", true),
            (Auto, Queue::Batch, "live-4k", NONE, NONE, "ffmpeg: the queue is batch", false),
            (Auto, Queue::Default, "1080p-gpu", Some("a.mp4"), NONE, "ffmpeg: input and output are files", false),
            (Auto, Queue::Default, "1080p", NONE, NONE, "ffmpeg: the input is generated and the output is a", false),
            (Auto, Queue::Default, "live-4k", NONE, Some("a.mp4"), "ffmpeg: weighted choice", false),
            (Auto, Queue::Default, "720p", Some("http://h/a.mp4"), NONE, "ffmpeg: weighted choice", false),
            (Auto, Queue::Default, "live-720p", Some("http://h/a"), NONE, "gstreamer: weighted choice", true),
        ] {
            let scenario: Scenario = scenario.parse().unwrap();
            let found = choose(asked, queue, &scenario, input, output);
            let said = format!("{}: {}", found.engine, found.reason);
            assert!(said.starts_with(chosen) || found.reason.starts_with(chosen), "{scenario}: {said}, not {chosen}");
            assert_eq!(found.fallback.is_some(), stands_in, "{scenario}: {said}");
        }
    }
}
