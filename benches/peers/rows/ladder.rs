//! Four renditions of one source.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::remux::one_after_another;
use super::{named, names, wall, words};
use crate::peer::Peer;
use crate::race::{Contender, OURS, Row, Trial};
use crate::{Ground, Result, ours, sys};

/// Name, width, height and output of every rung, the largest first.
const RUNGS: [(&str, u32, u32, &str); 4] = [
    ("1080p", 1920, 1080, "out.mp4"),
    ("720p", 1280, 720, "out_720p.mp4"),
    ("480p", 854, 480, "out_480p.mp4"),
    ("360p", 640, 360, "out_360p.mp4"),
];

/// Key frames at the same times in every rung, two seconds apart.
const X264: [&str; 12] = [
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "23",
    "-g",
    "50",
    "-sc_threshold",
    "0",
    "-movflags",
    "+faststart",
];

pub(super) fn row(ground: &Ground) -> Result<Row> {
    let input = ground.clips.full_hd_silent()?;
    let renditions =
        RUNGS.map(|(name, width, height, _)| json!({"name": name, "resolution": format!("{width}x{height}")}));
    let parameters = json!({"codec": "h264", "preset": "veryfast", "crf": 23, "keyframe_interval": 2, "scene_cut": false, "ladder": renditions});
    let mine = input.clone();
    let mut contenders =
        vec![contender(OURS.to_owned(), move |trial| ours::transcode(&mine, &trial.dir.join(RUNGS[0].3), &parameters))];
    for peer in ground.peers.all() {
        let (four, split) = ((peer.clone(), input.clone()), (peer.clone(), input.clone()));
        contenders.push(contender(named(peer, "four commands"), move |trial| {
            one_after_another(RUNGS.iter().map(|rung| alone(&four.0, &four.1, *rung, trial)))
        }));
        contenders.push(contender(named(peer, "split"), move |trial| {
            Ok(sys::run(&mut together(&split.0, &split.1, trial))?.0)
        }));
    }
    let bounds = vec![wall(&names(ground, "four commands"), 0.66), wall(&names(ground, "split"), 0.97)];
    Ok(Row { contenders, bounds, source: Some(input), qualities: None, missing: ground.peers.missing().collect() })
}

fn contender(name: String, work: impl Fn(&Trial) -> Result<sys::Usage> + 'static) -> Contender {
    Contender { name, work: Box::new(work), outputs: RUNGS.map(|rung| rung.3.to_owned()).to_vec() }
}

fn alone(peer: &Peer, input: &Path, (_, width, height, output): (&str, u32, u32, &str), trial: &Trial) -> Command {
    let mut command = peer.reading(input);
    command.args(["-vf", &format!("scale={width}:{height}:flags=bicubic")]);
    words(command, X264, &trial.dir.join(output))
}

fn together(peer: &Peer, input: &Path, trial: &Trial) -> Command {
    let mut command = peer.reading(input);
    let scale = |(index, (_, width, height, _)): (usize, &(&str, u32, u32, &str))| {
        format!("[s{index}]scale={width}:{height}:flags=bicubic[v{index}]")
    };
    let scales: Vec<String> = RUNGS.iter().enumerate().map(scale).collect();
    command.args(["-filter_complex", &format!("[0:v]split=4[s0][s1][s2][s3];{}", scales.join(";"))]);
    RUNGS.iter().enumerate().fold(command, |mut command, (index, rung)| {
        command.args(["-map", &format!("[v{index}]")]);
        words(command, X264, &trial.dir.join(rung.3))
    })
}
