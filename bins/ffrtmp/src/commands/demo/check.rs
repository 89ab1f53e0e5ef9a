//! Compares what a reader saw with what was asked for.

use ffrtmp::core::media::{AudioCodec, VideoCodec};
use ffrtmp::core::plan::{AudioEncode, AudioPlan, AudioWork, Plan};

use super::reader::Seen;

/// What differs, in words; nothing if all is well.
pub(super) fn differences(seen: &Seen, source: &Seen, plan: &Plan) -> Vec<String> {
    let Some(video) = plan.renditions().first() else { return vec!["no video was planned".to_owned()] };
    let mut off = Vec::new();
    let mut compare = |what: &str, is: String, should: String| {
        if is != should {
            off.push(format!("{what} is {is} instead of {should}"));
        }
    };
    compare("codec", seen.codec.clone(), video_name(video.codec).to_owned());
    compare("size", format!("{}x{}", seen.width, seen.height), video.size.to_string());
    compare("audio", seen.audio.join("+"), audio(source, plan).join("+"));

    let source_frame = source.seconds.zip(source.frames).map(|(seconds, frames)| seconds / frames.max(1) as f64);
    let frame = video.fps.map(|fps| 1.0 / fps.as_f64()).or(source_frame).unwrap_or(0.04);
    if let (Some(is), Some(should)) = (seen.seconds, source.seconds) {
        let tolerance = frame.max(source_frame.unwrap_or(frame)) + 0.002;
        if (is - should).abs() > tolerance {
            off.push(format!("length is {is:.3} s instead of {should:.3} s"));
        }
    }
    let should = match (video.fps, source.seconds) {
        (Some(fps), Some(seconds)) => Some((seconds * fps.as_f64()).round() as u64),
        (Some(_), None) => None,
        (None, _) => source.frames,
    };
    if let (Some(is), Some(should)) = (seen.frames, should)
        && is.abs_diff(should) > 1
    {
        off.push(format!("{is} frames instead of {should}"));
    }
    off
}

fn audio(source: &Seen, plan: &Plan) -> Vec<String> {
    let name = |(plan, own): (&AudioPlan, &String)| match plan.work {
        AudioWork::Copy => own.clone(),
        AudioWork::Encode(AudioEncode { codec, .. }) => audio_name(codec).to_owned(),
    };
    plan.audio.iter().zip(&source.audio).map(name).collect()
}

/// The name that libav has for the codec.
const fn video_name(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H265 => "hevc",
        other => other.as_str(),
    }
}

const fn audio_name(codec: AudioCodec) -> &'static str {
    codec.as_str()
}

#[cfg(test)]
mod tests {
    use ffrtmp::core::media::Container;
    use ffrtmp::core::plan::OutputRequest;

    use super::*;

    fn seen(codec: &str, width: u32, height: u32, frames: u64, seconds: f64, audio: &[&str]) -> Seen {
        let audio = audio.iter().map(|name| (*name).to_owned()).collect();
        Seen { codec: codec.into(), width, height, frames: Some(frames), seconds: Some(seconds), audio }
    }

    fn plan() -> Plan {
        let request = OutputRequest {
            scenario: "480p30-vp9".parse().unwrap(),
            container: Some(Container::Webm),
            ..OutputRequest::default()
        };
        Plan::resolve(&request, None).unwrap()
    }

    #[test]
    fn what_differs_is_named() {
        let source = seen("h264", 1280, 720, 150, 6.0, &["aac"]);
        let good = seen("vp9", 854, 480, 180, 6.0, &["opus"]);
        assert_eq!(differences(&good, &source, &plan()), Vec::<String>::new());
        for (bad, word) in [
            (Seen { codec: "vp8".into(), ..good.clone() }, "codec"),
            (Seen { width: 852, ..good.clone() }, "size"),
            (Seen { frames: Some(178), ..good.clone() }, "frames"),
            (Seen { seconds: Some(6.1), ..good.clone() }, "length"),
            (Seen { audio: vec![], ..good }, "audio"),
        ] {
            let off = differences(&bad, &source, &plan());
            assert!(off.len() == 1 && off[0].contains(word), "{word}: {off:?}");
        }
    }
}
