//! How long until there is something encoded.
//!
//! Ours counts from the call, in a process that has called before; theirs from the start of their
//! process. Both write a transport stream into a pipe and stop at its first byte.

use serde_json::{Value, json};

use super::names;
use crate::race::{Bound, Contender, Measure, OURS, Row};
use crate::{Ground, Result, ours, sys};

const X264: [&str; 8] = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-an", "-flush_packets"];

/// One frame only: what it costs to begin.
pub(super) fn single(ground: &Ground) -> Result<Row> {
    row(ground, &["-t", "0.04"], json!({"duration": 0.04}), 1)
}

/// Nothing is loaded yet.
pub(super) fn cold(ground: &Ground) -> Result<Row> {
    row(ground, &["-t", "0.04"], json!({"duration": 0.04}), 0)
}

/// The encoder looks ahead before it lets the first picture out.
pub(super) fn whole(ground: &Ground) -> Result<Row> {
    Ok(Row { bounds: Vec::new(), ..row(ground, &[], json!({}), 1)? })
}

fn row(ground: &Ground, more: &'static [&'static str], mut parameters: Value, warm: usize) -> Result<Row> {
    let input = ground.clips.silent()?;
    for (key, value) in
        [("codec", json!("h264")), ("preset", json!("veryfast")), ("crf", json!(23)), ("container", json!("mpegts"))]
    {
        parameters[key] = value;
    }
    let mine = input.clone();
    let mut contenders = vec![Contender {
        name: OURS.to_owned(),
        work: Box::new(move |trial| ours::first_byte(&mine, &trial.dir.join("pipe"), &parameters, warm)),
        outputs: Vec::new(),
    }];
    for peer in ground.peers.all() {
        let (peer, input) = (peer.clone(), input.clone());
        contenders.push(Contender {
            name: peer.name.to_owned(),
            work: Box::new(move |_| {
                let mut command = peer.reading(&input);
                sys::run_to_first_byte(command.args(X264).arg("1").args(more).args(["-f", "mpegts", "pipe:1"]))
            }),
            outputs: Vec::new(),
        });
    }
    let bounds = vec![Bound { measure: Measure::Wall, against: names(ground, ""), at_most: 0.3 }];
    Ok(Row { contenders, bounds, source: None, qualities: None, missing: ground.peers.missing().collect() })
}
