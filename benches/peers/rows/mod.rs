//! What is compared: one file per row, or per family of rows.

mod encode;
mod first_frame;
mod jobs;
mod ladder;
mod remux;
mod stills;

use std::path::Path;
use std::process::Command;

use crate::peer::Peer;
use crate::race::{Bound, Measure};
use crate::{Ground, Result, race};

/// A row that can be asked for.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) make: fn(&Ground) -> Result<race::Row>,
}

/// Every row, in the order of the table.
pub(crate) const ALL: &[Entry] = &[
    Entry {
        name: "jobs",
        title: "40 jobs of one second, 360p, 2 at a time, through store and agent",
        make: jobs::inside,
    },
    Entry {
        name: "jobs-isolated",
        title: "the same, each attempt in a child process and its sandbox",
        make: jobs::isolated,
    },
    Entry { name: "remux", title: "MP4 to MP4, 200 times through the library", make: remux::row },
    Entry { name: "ladder", title: "ladder 1080/720/480/360, x264 veryfast", make: ladder::row },
    Entry { name: "x264", title: "x264 medium 720p, all cores", make: encode::x264 },
    Entry { name: "vp9", title: "VP9 480p, cpu-used 4", make: encode::vp9 },
    Entry { name: "stills", title: "sprite sheet and 10 thumbnails beside a transcode, extra CPU", make: stills::row },
    Entry { name: "memory", title: "peak memory, 1080p H.264 medium", make: encode::memory },
    Entry { name: "first", title: "time to the first encoded frame of a local file", make: first_frame::single },
    Entry { name: "first-cold", title: "the same, first call of a process", make: first_frame::cold },
    Entry {
        name: "first-whole",
        title: "first packet of a whole encode, with its lookahead",
        make: first_frame::whole,
    },
];

pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Entry>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| {
        ALL.iter().find(|entry| entry.name == name).ok_or_else(|| format!("no row {name}; --list shows them").into())
    };
    names.iter().map(find).collect()
}

/// A bound on wall time.
fn wall(against: &[String], at_most: f64) -> Bound {
    Bound { measure: Measure::Wall, against: against.to_vec(), at_most }
}

/// Names of contenders of all builds: `suffix` says which of a build's commands.
fn names(ground: &Ground, suffix: &str) -> Vec<String> {
    ground.peers.all().iter().map(|peer| named(peer, suffix)).collect()
}

fn named(peer: &Peer, suffix: &str) -> String {
    if suffix.is_empty() { peer.name.to_owned() } else { format!("{}, {suffix}", peer.name) }
}

/// Words of a command after its input, then the output.
fn words<'a>(mut command: Command, words: impl IntoIterator<Item = &'a str>, output: &Path) -> Command {
    command.args(words).arg(output);
    command
}
