//! Pictures of the pictures: by the way of a transcode, or by a command of their own.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::names;
use crate::peer::Peer;
use crate::race::{Bound, Contender, Measure, OURS, Row, Trial, WITHOUT};
use crate::{Ground, Result, ours, sys};

const THUMB: &str = "out_thumb_01.jpg";
const SPRITE: &str = "out_sprite.jpg";

pub(super) fn row(ground: &Ground) -> Result<Row> {
    let input = ground.clips.hd()?;
    let interval = if ground.smoke { 0.1 } else { 2.0 };
    let plain = json!({"codec": "h264", "preset": "veryfast", "crf": 23, "audio_codec": "copy"});
    let mut with = plain.clone();
    with["stills"] = json!({"thumbnails": 10, "sprite_interval": interval});
    let mut contenders = vec![
        contender(OURS, &input, with, &["out.mp4", THUMB, SPRITE]),
        contender(WITHOUT, &input, plain, &["out.mp4"]),
    ];
    let seconds = crate::judge::Facts::of("", &input, None)?.seconds;
    for peer in ground.peers.all() {
        let (peer, input) = (peer.clone(), input.clone());
        contenders.push(Contender {
            name: peer.name.to_owned(),
            work: Box::new(move |trial| Ok(sys::run(&mut separate(&peer, &input, seconds, interval, trial))?.0)),
            outputs: vec![THUMB.to_owned(), SPRITE.to_owned()],
        });
    }
    let bounds = vec![Bound { measure: Measure::ExtraCpu, against: names(ground, ""), at_most: 0.08 }];
    Ok(Row { contenders, bounds, source: None, qualities: None, missing: ground.peers.missing().collect() })
}

fn contender(name: &str, input: &Path, parameters: Value, outputs: &[&str]) -> Contender {
    let input = input.to_owned();
    Contender {
        name: name.to_owned(),
        work: Box::new(move |trial| ours::transcode(&input, &trial.dir.join("out.mp4"), &parameters)),
        outputs: outputs.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// One decode for both, as those who know the command would write it.
fn separate(peer: &Peer, input: &Path, seconds: f64, interval: f64, trial: &Trial) -> Command {
    let rows = ((seconds / interval).round() / 10.0).ceil();
    let graph = format!(
        "[0:v]split=2[a][b];[a]fps=10/{seconds},scale=320:-2[thumbs];[b]fps=1/{interval},scale=160:-2,tile=10x{rows}[sprite]"
    );
    let mut command = peer.reading(input);
    command.args(["-filter_complex", &graph, "-map", "[thumbs]", "-frames:v", "10"]);
    command.arg(trial.dir.join("out_thumb_%02d.jpg")).args(["-map", "[sprite]", "-frames:v", "1", "-update", "1"]);
    command.arg(trial.dir.join(SPRITE));
    command
}
