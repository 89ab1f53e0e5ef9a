//! The other tools, as far as they are here. One that is not is named, never replaced.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::table;

/// A build of the `ffmpeg` command.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// What it is called in results.
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    /// What it says it is.
    pub(crate) version: String,
}

/// The builds that rows compare with.
#[derive(Debug)]
pub(crate) struct Peers {
    found: Vec<Peer>,
    missing: Vec<(&'static str, &'static str)>,
}

/// The build of the distribution.
pub(crate) const DISTRIBUTION: &str = "distribution";
/// The static FFmpeg 9 of `imageio-ffmpeg`.
pub(crate) const STATIC: &str = "static9";

impl Peers {
    pub(crate) fn find() -> Self {
        let mut peers = Self { found: Vec::new(), missing: Vec::new() };
        peers.look(DISTRIBUTION, "install ffmpeg", PathBuf::from("ffmpeg"));
        let venv = table::target_dir().join("peers-venv/bin/ffmpeg-static");
        let path = std::env::var_os("FFRTMP_PEER_FFMPEG9").map_or(venv, PathBuf::from);
        peers.look(STATIC, "run benches/peers/setup.sh, or name it with FFRTMP_PEER_FFMPEG9", path);
        peers
    }

    fn look(&mut self, name: &'static str, cure: &'static str, path: PathBuf) {
        match version(&path) {
            Some(version) => self.found.push(Peer { name, path, version }),
            None => self.missing.push((name, cure)),
        }
    }

    pub(crate) fn introduce(&self) {
        for peer in &self.found {
            println!("{:14} ffmpeg {}", peer.name, peer.version);
        }
        for (name, cure) in &self.missing {
            println!("{name:14} not here: {cure}");
        }
    }

    pub(crate) fn all(&self) -> &[Peer] {
        &self.found
    }

    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.missing.iter().map(|(name, _)| *name)
    }
}

impl Peer {
    /// A command that reads one file and says nothing but errors.
    pub(crate) fn reading(&self, input: &Path) -> Command {
        let mut command = self.quiet();
        command.arg("-i").arg(input);
        command
    }

    pub(crate) fn quiet(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(["-v", "error", "-nostdin", "-y"]);
        command
    }
}

fn version(path: &Path) -> Option<String> {
    let said = Command::new(path).arg("-version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(said.stdout).ok()?;
    text.split_whitespace().nth(2).map(str::to_owned)
}
