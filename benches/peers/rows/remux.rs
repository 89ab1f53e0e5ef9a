//! Another container for the same packets, 200 times.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::{wall, words};
use crate::peer::{DISTRIBUTION, STATIC};
use crate::race::{Contender, OURS, Row, Trial};
use crate::sys::{self, Usage};
use crate::{Ground, Result, ours};

const COPY: [&str; 6] = ["-map", "0", "-c", "copy", "-movflags", "+faststart"];

pub(super) fn row(ground: &Ground) -> Result<Row> {
    let count = if ground.smoke { 3 } else { 200 };
    let input = ground.clips.short()?;
    let names =
        move |trial: &Trial| (0..count).map(|index| trial.dir.join(format!("{index}.mp4"))).collect::<Vec<PathBuf>>();
    let outputs = vec!["0.mp4".to_owned(), format!("{}.mp4", count - 1)];
    let mine = input.clone();
    let mut contenders = vec![Contender {
        name: OURS.to_owned(),
        work: Box::new(move |trial| {
            ours::repeat(&mine, &names(trial), &json!({"codec": "copy", "audio_codec": "copy"}))
        }),
        outputs: outputs.clone(),
    }];
    for peer in ground.peers.all() {
        let (peer, input) = (peer.clone(), input.clone());
        contenders.push(Contender {
            name: peer.name.to_owned(),
            work: Box::new(move |trial| {
                let commands = names(trial).into_iter().map(|output| words(peer.reading(&input), COPY, &output));
                one_after_another(commands)
            }),
            outputs: outputs.clone(),
        });
    }
    let bounds = vec![wall(&[DISTRIBUTION.to_owned()], 0.06), wall(&[STATIC.to_owned()], 0.22)];
    Ok(Row { contenders, bounds, source: None, qualities: None, missing: ground.peers.missing().collect() })
}

/// Times add up; memory is that of the largest.
pub(super) fn one_after_another(commands: impl Iterator<Item = Command>) -> Result<Usage> {
    let mut sum = Usage::default();
    for mut command in commands {
        let (usage, _) = sys::run(&mut command)?;
        sum = Usage { wall: sum.wall + usage.wall, cpu: sum.cpu + usage.cpu, peak: sum.peak.max(usage.peak) };
    }
    Ok(sum)
}
