//! One file, one encoder, all cores.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{named, names, wall, words};
use crate::peer::{DISTRIBUTION, Peer, STATIC};
use crate::race::{Bound, Contender, Measure, OURS, Row};
use crate::{Ground, Result, ours, sys};

/// The same encode in both languages.
#[derive(Clone)]
struct Encode {
    input: PathBuf,
    output: &'static str,
    /// Ours, without the quality.
    parameters: Value,
    /// Theirs, without the quality.
    words: Vec<&'static str>,
    qualities: [u32; 3],
}

impl Encode {
    fn ours(&self) -> Contender {
        let encode = self.clone();
        Contender {
            name: OURS.to_owned(),
            work: Box::new(move |trial| {
                let mut parameters = encode.parameters.clone();
                parameters["crf"] = encode.qualities[trial.quality].into();
                ours::transcode(&encode.input, &trial.dir.join(encode.output), &parameters)
            }),
            outputs: vec![self.output.to_owned()],
        }
    }

    /// With `more` options besides; `suffix` names them.
    fn theirs(&self, peer: &Peer, suffix: &str, more: &[&'static str]) -> Contender {
        let (encode, peer, more) = (self.clone(), peer.clone(), more.to_vec());
        Contender {
            name: named(&peer, suffix),
            work: Box::new(move |trial| {
                let quality = encode.qualities[trial.quality].to_string();
                let options = encode.words.iter().chain(&more).copied().chain(["-crf", &quality]);
                let output = trial.dir.join(encode.output);
                Ok(sys::run(&mut words(peer.reading(&encode.input), options, &output))?.0)
            }),
            outputs: vec![self.output.to_owned()],
        }
    }

    fn row(self, ground: &Ground, theirs: Vec<Contender>, bounds: Vec<Bound>) -> Row {
        let contenders = std::iter::once(self.ours()).chain(theirs).collect();
        let (source, qualities) = (Some(self.input), Some(self.qualities));
        Row { contenders, bounds, source, qualities, missing: ground.peers.missing().collect() }
    }
}

fn bits(ground: &Ground, suffix: &str) -> Bound {
    Bound { measure: Measure::Bits, against: names(ground, suffix), at_most: 1.01 }
}

fn h264(input: PathBuf) -> Encode {
    Encode {
        input,
        output: "out.mp4",
        parameters: json!({"codec": "h264", "preset": "medium", "audio_codec": "aac", "audio_bitrate": 128_000}),
        words: vec!["-c:v", "libx264", "-preset", "medium", "-c:a", "aac", "-b:a", "128k", "-movflags", "+faststart"],
        qualities: [20, 23, 26],
    }
}

pub(super) fn x264(ground: &Ground) -> Result<Row> {
    let encode = h264(ground.clips.hd()?);
    let theirs = ground.peers.all().iter().map(|peer| encode.theirs(peer, "", &[])).collect();
    let bounds = vec![wall(&[DISTRIBUTION.to_owned()], 0.92), wall(&[STATIC.to_owned()], 0.97), bits(ground, "")];
    Ok(encode.row(ground, theirs, bounds))
}

pub(super) fn memory(ground: &Ground) -> Result<Row> {
    let encode = h264(ground.clips.full_hd()?);
    let theirs = ground.peers.all().iter().map(|peer| encode.theirs(peer, "", &[])).collect();
    let bounds = vec![Bound { measure: Measure::Peak, against: names(ground, ""), at_most: 1.0 }];
    Ok(Row { qualities: None, ..encode.row(ground, theirs, bounds) })
}

/// The default command, and what those who know libvpx would type.
pub(super) fn vp9(ground: &Ground) -> Result<Row> {
    const TUNED: [&str; 6] = ["-row-mt", "1", "-tile-columns", "1", "-threads", "4"];
    let encode = Encode {
        input: ground.clips.hd()?,
        output: "out.webm",
        parameters: json!({
            "codec": "vp9", "preset": "4", "resolution": "854x480", "audio_codec": "opus", "audio_bitrate": 96_000,
        }),
        words: vec![
            "-vf",
            "scale=854:480:flags=bicubic",
            "-c:v",
            "libvpx-vp9",
            "-deadline",
            "good",
            "-cpu-used",
            "4",
            "-b:v",
            "0",
            "-c:a",
            "libopus",
            "-b:a",
            "96k",
        ],
        qualities: [28, 33, 38],
    };
    let peers = ground.peers.all();
    let theirs =
        peers.iter().flat_map(|peer| [encode.theirs(peer, "", &[]), encode.theirs(peer, "tuned", &TUNED)]).collect();
    let bounds = vec![wall(&names(ground, ""), 0.65), wall(&names(ground, "tuned"), 0.80), bits(ground, "")];
    Ok(encode.row(ground, theirs, bounds))
}
