//! Many short jobs: what every job costs besides its encode.

use std::process::Command;

use serde_json::json;

use super::wall;
use crate::ours::Isolation;
use crate::peer::{DISTRIBUTION, STATIC};
use crate::race::{Contender, OURS, Row};
use crate::{Ground, Result, ours, sys};

/// Different pictures, taken in turn.
const CLIPS: usize = 8;

/// In the process of the agent.
pub(super) fn inside(ground: &Ground) -> Result<Row> {
    row(ground, Isolation::None, [0.60, 0.75])
}

/// Each attempt in a child process with its sandbox, as agents do it.
pub(super) fn isolated(ground: &Ground) -> Result<Row> {
    row(ground, Isolation::Child, [0.62, 0.78])
}

fn row(ground: &Ground, isolation: Isolation, [distribution, fixed]: [f64; 2]) -> Result<Row> {
    let count = if ground.smoke { 3 } else { 40 };
    let clips = ground.clips.seconds(if ground.smoke { 1 } else { CLIPS })?;
    let inputs: Vec<_> = clips.iter().cycle().take(count).cloned().collect();
    let outputs = vec!["0.mp4".to_owned(), format!("{}.mp4", count - 1)];
    let parameters =
        json!({"codec": "h264", "preset": "veryfast", "crf": 23, "audio_codec": "aac", "audio_bitrate": 128_000});
    let list: Vec<String> = inputs
        .iter()
        .enumerate()
        .flat_map(|(index, input)| [input.display().to_string(), format!("{index}.mp4")])
        .collect();
    let first = clips.first().cloned();
    let mut contenders = vec![Contender {
        name: OURS.to_owned(),
        work: Box::new(move |trial| ours::jobs(&inputs, &trial.dir, &parameters, isolation)),
        outputs: outputs.clone(),
    }];
    for peer in ground.peers.all() {
        let (peer, list) = (peer.clone(), list.clone());
        contenders.push(Contender {
            name: peer.name.to_owned(),
            work: Box::new(move |trial| {
                let names = trial.dir.join("names");
                std::fs::write(&names, list.join("\n"))?;
                Ok(sys::run(xargs().arg(&names).current_dir(&trial.dir).args(SHELL).arg(&peer.path))?.0)
            }),
            outputs: outputs.clone(),
        });
    }
    let bounds = vec![wall(&[DISTRIBUTION.to_owned()], distribution), wall(&[STATIC.to_owned()], fixed)];
    // Only the first output comes from the first clip.
    Ok(Row {
        contenders,
        bounds,
        source: first.filter(|_| clips.len() == 1),
        qualities: None,
        missing: ground.peers.missing().collect(),
    })
}

/// Two lines make one command: `$1` is the build, `$2` and `$3` the names.
const SHELL: [&str; 6] = ["-d", "\n", "sh", "-c", SCRIPT, "sh"];
const SCRIPT: &str = "exec \"$1\" -v error -nostdin -y -i \"$2\" -c:v libx264 -preset veryfast -crf 23 -c:a aac -b:a 128k -movflags +faststart \"$3\"";

fn xargs() -> Command {
    let mut command = Command::new("xargs");
    command.args(["-P", "2", "-n", "2", "-a"]);
    command
}
